//! One attempt of a stage: a sandbox, files in, the program, files out, the sandbox gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ringfence_engine::api::{Sandboxes, Trading};
use ringfence_model::{
    ApiError, Code, SandboxId,
    api::{
        Actor, CreateAnswer, ExecutionAnswer, ExecutionRequest, ExecutionStatus, PipelineArtefact, PipelineExecution,
        PipelineHanded, PipelineStage, PipelineTrading, SandboxRequest, StageKind, TradeOrdersRequest,
        TradeStatusRequest,
    },
};
use ringfence_store::StoreError;
use tokio::sync::watch;

use super::{
    live::Live,
    show::{last_lines, tail},
};
use crate::desk::Desk;

/// Bytes of all outputs of one stage together.
const OUTPUTS_BYTES_MAX: u64 = 256 << 20;
/// Bytes that a record keeps of what a program printed on each stream.
const TAIL_BYTES: usize = 4 << 10;
/// Seconds of one look at a program that runs.
const LOOK_S: f64 = 20.0;
/// Longest wait for what its orders came to, and how often it is asked for.
const SETTLE_TIME: Duration = Duration::from_secs(5);
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// Orders of a stage that are counted.
const ORDERS_MAX: u32 = 1000;

/// How an attempt ended.
pub(crate) enum Outcome {
    /// Its outputs are stored.
    Done { outputs: Vec<PipelineArtefact>, trading: Option<PipelineTrading> },
    /// It failed.
    Failed(Failed),
    /// The pipeline was cancelled.
    Cancelled,
    /// The daemon ends: nothing is to be written of it, and the next start finds it as one that runs.
    CutOff,
    /// The database refuses.
    Store(StoreError),
}

/// Why a stage failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// In our words, which may be audited.
    pub(crate) why: String,
    /// What the program said last, which may not.
    pub(crate) said: String,
    /// Whether another attempt may end otherwise.
    pub(crate) again: bool,
    pub(crate) trading: Option<PipelineTrading>,
}

impl Failed {
    pub(crate) fn new(why: impl Into<String>, again: bool) -> Self {
        Self { why: why.into(), said: String::new(), again, trading: None }
    }
}

impl From<Failed> for Outcome {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<StoreError> for Outcome {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An attempt that is under way.
pub(crate) struct Attempt {
    pub(crate) desk: Desk,
    pub(crate) live: Arc<Live>,
    pub(crate) number: usize,
    pub(crate) actor: Actor,
    pub(crate) asked: PipelineStage,
    /// The name of its sandbox.
    pub(crate) name: String,
    pub(crate) inputs: Vec<PipelineHanded>,
}

impl Attempt {
    /// Makes it, from beginning to end.
    pub(crate) async fn make(self) -> Outcome {
        let mut sandbox = None;
        let mut cancelled = self.live.cancelled.subscribe();
        let made = tokio::select! {
            biased;
            () = seen(&mut cancelled) => Err(Outcome::Cancelled),
            made = self.work(&mut sandbox) => made,
        };
        let outcome = made.unwrap_or_else(|outcome| outcome);
        let engine = &self.desk.inner.engine;
        if engine.is_ending() && !matches!(outcome, Outcome::Done { .. } | Outcome::Store(_)) {
            return Outcome::CutOff;
        }
        if let Some(sandbox) = sandbox {
            let request = SandboxRequest { sandbox_id: sandbox.to_string() };
            if let Err(error) = engine.delete(self.actor, request).await {
                tracing::warn!(%sandbox, %error, "the sandbox of a stage could not be deleted; it ends with its lifetime");
            }
        }
        outcome
    }

    async fn work(&self, place: &mut Option<SandboxId>) -> Result<Outcome, Outcome> {
        let mode = match self.asked.kind {
            StageKind::Trade => Some(self.mode().await?),
            StageKind::Code => None,
        };
        if let Some(mode) = mode.clone() {
            let trading = PipelineTrading { mode, mode_at_end: None, orders: 0, filled: 0, problem: None };
            self.note(move |record| record.trading = Some(trading)).await?;
        }
        let made = self.sandbox().await?;
        let id = made.sandbox_id;
        *place = Some(id.clone());
        let noted = id.clone();
        self.note(move |record| record.sandbox = Some(noted)).await?;
        for input in &self.inputs {
            self.put_in(&id, input).await?;
        }
        let run = self.run(&id).await?;
        let mut result = match run.status {
            ExecutionStatus::Completed => self.take_out(&id).await,
            _ => Err(Failed::new(verdict(&run, &self.asked), true)),
        };
        if let Err(failed) = &mut result {
            failed.said = last_lines(&run.stderr);
        }
        let trading = match mode {
            Some(mode) => Some(self.trading(&id, mode).await),
            None => None,
        };
        Ok(match result {
            Ok(outputs) => Outcome::Done { outputs, trading },
            Err(failed) => Failed { trading, ..failed }.into(),
        })
    }

    /// Where orders go now, if that is where the stage wants them.
    async fn mode(&self) -> Result<String, Failed> {
        let wanted = self.asked.mode.clone().unwrap_or_default();
        let asked = self.desk.inner.engine.trade_status(self.actor, TradeStatusRequest::default()).await;
        let status = asked.map_err(|error| {
            Failed::new(
                format!("where its orders would go is not known, so it was not begun: {}", error.message),
                false,
            )
        })?;
        match status.environment {
            Some(mode) if mode == wanted => Ok(mode),
            mode => {
                let mode = mode.unwrap_or_else(|| "none, for live has ended".to_owned());
                Err(Failed::new(
                    format!(
                        "it is for mode {wanted}, and the mode of trading is {mode}: it was not begun; `ringfence trade mode` sets the mode"
                    ),
                    false,
                ))
            }
        }
    }

    /// Its sandbox. When nobody waits any more, it is deleted once it is there.
    async fn sandbox(&self) -> Result<CreateAnswer, Outcome> {
        let mut request = self.asked.sandbox(self.name.clone());
        let pipeline = self.live.pipeline().clone();
        request.env_vars = pipeline.environment_of(&self.desk.inner.store, self.number).await?;
        request.project = pipeline.project;
        let (engine, actor) = (self.desk.inner.engine.clone(), self.actor);
        let making = tokio::spawn(async move { engine.create(actor, request, None).await });
        let mut guard = Unwanted { making: Some(making), desk: self.desk.clone(), actor };
        let made = guard.made().await;
        made.map_err(|error| {
            let again = matches!(
                error.code,
                Code::InsufficientResources | Code::Internal | Code::PackageInstallFailed | Code::TemplateBuilding
            );
            Failed::new(format!("its sandbox could not be made: {}", error.message), again).into()
        })
    }

    async fn put_in(&self, sandbox: &SandboxId, input: &PipelineHanded) -> Result<(), Failed> {
        let what = || format!("`{}` of stage `{}`", input.path, input.from);
        let desk = &self.desk.inner;
        let _turn = desk.pipelines.transfers.acquire().await;
        let (artefacts, hash) = (desk.pipelines.artefacts.clone(), input.sha256.clone());
        let read = blocking(move || artefacts.get(&hash)).await?;
        let bytes = read.map_err(|error| {
            Failed::new(format!("{} could not be put in: {error}; resume from that stage", what()), false)
        })?;
        let put = desk.engine.hand_in(self.actor, sandbox, &input.to, &bytes).await;
        put.map_err(|error| {
            Failed::new(format!("{} could not be put in at `{}`: {}", what(), input.to, error.message), true)
        })
    }

    /// Runs its program to the end.
    async fn run(&self, sandbox: &SandboxId) -> Result<ExecutionAnswer, Outcome> {
        let engine = &self.desk.inner.engine;
        let began = engine.execute(self.actor, self.asked.program(sandbox.to_string())).await;
        let mut run = began.map_err(|error| {
            Failed::new(
                format!("its program could not be run: {}", error.message),
                error.code != Code::LanguageNotAvailable,
            )
        })?;
        let shown = execution(&run);
        self.note(move |record| record.execution = Some(shown)).await?;
        while run.status == ExecutionStatus::Running {
            let request = ExecutionRequest { execution_id: run.execution_id.to_string(), wait: Some(LOOK_S) };
            run = engine
                .execution(self.actor, request)
                .await
                .map_err(|error| Failed::new(format!("its program was lost sight of: {}", error.message), true))?;
        }
        let shown = execution(&run);
        self.note(move |record| record.execution = Some(shown)).await?;
        Ok(run)
    }

    /// Its outputs, stored. All of them or a failure.
    async fn take_out(&self, sandbox: &SandboxId) -> Result<Vec<PipelineArtefact>, Failed> {
        let desk = &self.desk.inner;
        let mut outputs = Vec::new();
        let mut total = 0;
        for path in &self.asked.outputs {
            let _turn = desk.pipelines.transfers.acquire().await;
            let taken = desk.engine.hand_out(self.actor, sandbox, path).await;
            let bytes = taken.map_err(|error| Failed::new(missing(path, &error), true))?;
            if bytes.is_empty() {
                return Err(Failed::new(format!("its output `{path}` is empty"), true));
            }
            let size = bytes.len() as u64;
            total += size;
            if total > OUTPUTS_BYTES_MAX {
                let most = OUTPUTS_BYTES_MAX >> 20;
                return Err(Failed::new(format!("its outputs have more than {most} MiB together; hand on less"), true));
            }
            let (artefacts, needed) = (desk.pipelines.artefacts.clone(), desk.pipelines.needed());
            let needed =
                needed.into_iter().chain(outputs.iter().map(|o: &PipelineArtefact| o.sha256.clone())).collect();
            let stored = blocking(move || artefacts.put(&bytes, &needed)).await?;
            let sha256 = stored
                .map_err(|error| Failed::new(format!("its output `{path}` could not be stored: {error}"), true))?;
            outputs.push(PipelineArtefact { path: path.clone(), size, sha256 });
        }
        Ok(outputs)
    }

    /// What became of its orders, as the gate's ledger says.
    async fn trading(&self, sandbox: &SandboxId, mode: String) -> PipelineTrading {
        let engine = &self.desk.inner.engine;
        let request = TradeOrdersRequest {
            sandbox_id: Some(sandbox.to_string()),
            limit: Some(ORDERS_MAX),
            ..TradeOrdersRequest::default()
        };
        let now = engine.trade_status(self.actor, TradeStatusRequest::default()).await;
        let at_end = now.ok().map(|status| status.environment.unwrap_or_else(|| "none".to_owned()));
        let mode_at_end = at_end.filter(|at_end| *at_end != mode);
        // Of a fill the gate hears within two seconds.
        let mut orders = engine.trade_orders(self.actor, request.clone()).await;
        let until = Instant::now() + SETTLE_TIME;
        while orders.as_ref().is_ok_and(|answer| answer.orders.iter().any(|order| order.state != "closed"))
            && Instant::now() < until
        {
            tokio::time::sleep(SETTLE_PAUSE).await;
            orders = engine.trade_orders(self.actor, request.clone()).await;
        }
        match orders {
            Ok(answer) => {
                let is_some = |filled: &str| filled.bytes().any(|b| (b'1'..=b'9').contains(&b));
                let filled = answer.orders.iter().filter(|order| is_some(&order.filled)).count();
                let filled = u32::try_from(filled).unwrap_or(u32::MAX);
                PipelineTrading { mode, mode_at_end, orders: answer.count, filled, problem: None }
            }
            Err(error) => PipelineTrading { mode, mode_at_end, orders: 0, filled: 0, problem: Some(error.message) },
        }
    }

    async fn note(&self, change: impl FnOnce(&mut super::record::StageRecord)) -> Result<(), Outcome> {
        self.desk.change(&self.live, self.number, None, |stage| change(&mut stage.record)).await?;
        Ok(())
    }
}

/// A sandbox that is being made, and deleted when nobody wants it any more.
struct Unwanted {
    making: Option<tokio::task::JoinHandle<Result<CreateAnswer, ApiError>>>,
    desk: Desk,
    actor: Actor,
}

impl Unwanted {
    async fn made(&mut self) -> Result<CreateAnswer, ApiError> {
        let making = self.making.as_mut().expect("asked once");
        let made = making.await;
        self.making = None;
        made.unwrap_or_else(|error| {
            tracing::error!(%error, "making a sandbox panicked");
            Err(ApiError::internal("the request failed inside the daemon; its log says where"))
        })
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        let Some(making) = self.making.take() else { return };
        let (desk, actor) = (self.desk.clone(), self.actor);
        tokio::spawn(async move {
            if let Ok(Ok(made)) = making.await {
                let request = SandboxRequest { sandbox_id: made.sandbox_id.to_string() };
                let _ = desk.inner.engine.delete(actor, request).await;
            }
        });
    }
}

/// Waits until a pipeline is cancelled.
async fn seen(cancelled: &mut watch::Receiver<bool>) {
    if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs what blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failed::new("the store of artefacts failed inside the daemon; its log says where", true))
}

fn missing(path: &str, error: &ApiError) -> String {
    match error.code {
        Code::FileNotFound => format!("its output `{path}` was expected, and there is no such file"),
        Code::TooLarge => format!(
            "its output `{path}` is larger than {} MiB; hand on less, or in several files",
            ringfence_model::api::TRANSFER_BYTES_MAX >> 20
        ),
        _ => format!("its output `{path}` could not be taken out: {}", error.message),
    }
}

/// Why a program that did not succeed did not.
fn verdict(run: &ExecutionAnswer, asked: &PipelineStage) -> String {
    match (run.status, run.exit_code) {
        (ExecutionStatus::Timeout, _) => {
            let seconds = Duration::from_secs_f64(asked.timeout_s());
            format!("its program had not ended after {seconds:?}, and was ended; `timeout` gives it longer")
        }
        (ExecutionStatus::Killed, _) => {
            let why = if run.warnings.is_empty() { "from outside".to_owned() } else { run.warnings.join("; ") };
            format!("its program was killed: {why}")
        }
        (_, Some(code)) => format!("its program ended with exit code {code}"),
        (_, None) => "its program did not come to its end".to_owned(),
    }
}

fn execution(run: &ExecutionAnswer) -> PipelineExecution {
    PipelineExecution {
        execution_id: run.execution_id.clone(),
        status: run.status.as_str().to_owned(),
        exit_code: run.exit_code,
        execution_time: run.execution_time,
        cpu_time: run.cpu_time,
        memory_peak_bytes: run.memory_peak_bytes,
        output_tail: tail(&run.output, TAIL_BYTES).to_owned(),
        stderr_tail: tail(&run.stderr, TAIL_BYTES).to_owned(),
    }
}

//! Trials: one program in a sandbox of its own, which is gone when the program has ended
//! ([decision 40](../../../docs/decisions/0040-a-trial-leaves-nothing.md)).
//!
//! What a sandbox has that outlives a program is left out: a disk, an environment, a network, a log, a lifetime. What protects
//! others from the program is the same, and so is what an auditor can read afterwards.

use std::{sync::Arc, time::Duration};

use ringfence_jail::proto::Rights;
use ringfence_model::{
    ApiError, Code, ExecutionId, Limits, Project,
    api::{self, CODE_BYTES_MAX},
};
use ringfence_store::{
    Actor, CodeHash, ExecutionEnd, ExecutionOutput, ExecutionStatus, Interpreter, NewExecution, StoreError, TrialRow,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use self::{
    shelf::Prepared,
    talk::{Heard, Talk},
};
use crate::{
    api::{
        Answering, Conversation, TRIAL_INPUT_MAX, TRIAL_PURPOSE_MAX, TRIAL_TIMEOUT_MAX_S, TrialAnswer, TrialRequest,
        Trials,
    },
    engine::{Engine, now_ms},
    environment,
    error::Failure,
    execution::{Begin, Execution},
    language::Language,
    registry::{Template, Warm},
    run::Program,
    view,
};

mod shelf;
mod talk;

pub(crate) use shelf::Ground;

/// Bytes of each stream of a trial that its row keeps: the first of standard output, the last of standard error. The whole is
/// the caller's, who keeps what matters of it.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// How long trials that are told to end may take, while the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A request that was looked at.
struct Plan {
    by: Actor,
    template: Arc<Template>,
    limits: Limits,
    language: Language,
    project: Project,
    purpose: String,
    code: String,
    input: Vec<u8>,
    timeout: Duration,
}

/// Counts a trial for as long as this lives.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(among: &watch::Sender<usize>) -> Self {
        among.send_modify(|count| *count += 1);
        Self(among.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Trials for Engine {
    fn trial(&self, actor: api::Actor, request: TrialRequest) -> Answering<'_, TrialAnswer> {
        Box::pin(async move { self.run_trial(actor, request, Talk::Whole).await.map_err(Failure::public) })
    }

    fn converse(&self, actor: api::Actor, request: TrialRequest, with: Conversation) -> Answering<'_, TrialAnswer> {
        Box::pin(async move { self.run_trial(actor, request, Talk::With(with)).await.map_err(Failure::public) })
    }
}

fn stored(actor: api::Actor) -> Actor {
    match actor {
        api::Actor::Operator => Actor::Operator,
        api::Actor::Agent => Actor::Agent,
    }
}

impl Engine {
    async fn run_trial(&self, by: api::Actor, request: TrialRequest, talk: Talk) -> Result<TrialAnswer, Failure> {
        self.admit()?;
        let plan = self.plan_trial(stored(by), request).await?;
        let waiting = Counted::new(&self.inner.trials.waiting);
        let turn = Arc::clone(&self.inner.trials.turns).acquire_owned().await;
        let turn = turn.expect("the semaphore is never closed");
        drop(waiting);
        self.admit()?;
        let counted = Counted::new(&self.inner.trials.running);
        // What has begun is brought to its end in a task. This future holds the leash: when it is dropped the program is ended.
        let (leash, is_dropped) = oneshot::channel::<()>();
        let engine = self.clone();
        let task = tokio::spawn(async move { engine.live_trial(plan, talk, is_dropped, turn, counted).await });
        let lived = task.await;
        drop(leash);
        lived.unwrap_or_else(|error| {
            tracing::error!(%error, "a trial panicked");
            Err(ApiError::internal("the trial failed inside the daemon; its log says where").into())
        })
    }

    async fn plan_trial(&self, by: Actor, request: TrialRequest) -> Result<Plan, Failure> {
        let template = self.template_for(&request.template, None).await?;
        let invalid = |text: String| ApiError::new(Code::InvalidArgument, text);
        if request.code.len() > CODE_BYTES_MAX {
            let text = format!("the program has {} bytes; at most {CODE_BYTES_MAX} are possible", request.code.len());
            return Err(ApiError::new(Code::TooLarge, text).into());
        }
        if request.input.len() > TRIAL_INPUT_MAX {
            let text = format!("the input has {} bytes; at most {TRIAL_INPUT_MAX} are possible", request.input.len());
            return Err(ApiError::new(Code::TooLarge, text).into());
        }
        if !(request.timeout > 0.0 && request.timeout <= TRIAL_TIMEOUT_MAX_S) {
            let text = format!("a trial may run for more than 0 and at most {TRIAL_TIMEOUT_MAX_S} s");
            return Err(invalid(text).into());
        }
        if request.purpose.len() > TRIAL_PURPOSE_MAX {
            return Err(invalid(format!("`purpose` has more than {TRIAL_PURPOSE_MAX} bytes")).into());
        }
        let mut limits = template.defaults.limits;
        limits.memory_mib = request.memory_mib.unwrap_or(limits.memory_mib);
        limits.check().map_err(|error| invalid(error.to_string()))?;
        Ok(Plan {
            by,
            language: template.language,
            template,
            limits,
            project: request.project,
            purpose: request.purpose,
            code: request.code,
            input: request.input,
            timeout: Duration::from_secs_f64(request.timeout),
        })
    }

    async fn live_trial(
        self,
        plan: Plan,
        talk: Talk,
        mut is_dropped: oneshot::Receiver<()>,
        turn: OwnedSemaphorePermit,
        counted: Counted,
    ) -> Result<TrialAnswer, Failure> {
        let _active = self.inner.activity.begin();
        let machine = &self.inner.machine;
        let shelf = self.trial_shelf(&plan.template, plan.limits);
        let Prepared { id: sandbox, shell, mut interpreter } = shelf.take(machine).await?;
        let waits = plan.language == Language::Python && matches!(plan.template.warm, Warm::Forked(_));
        let interpreter = interpreter.take().filter(|_| waits);
        let origin = if interpreter.is_some() { Interpreter::Parked } else { Interpreter::Fresh };
        let begin = Begin {
            id: ExecutionId::from_parts(now_ms(), rand::random()),
            sandbox: sandbox.clone(),
            language: plan.language.as_str(),
            interpreter: origin,
            started_at_ms: now_ms(),
            env_version: 0,
            tap: None,
        };
        let execution = Arc::new(Execution::new(begin, &self.logs(), None));
        if let Err(error) = self.record_trial(&plan, &execution).await {
            self.end_trial_shell(&shell, &shelf).await;
            return Err(error);
        }
        self.running().insert(execution.id.clone(), Arc::clone(&execution));
        let program = Program {
            code: plan.code,
            language: plan.language,
            rights: Rights::Program,
            env: Vec::new(),
            exposed: Vec::new(),
            working_dir: None,
            timeout: plan.timeout,
            stdin: Vec::new(),
            background: false,
            tap: None,
        };
        let env = environment::base_environment(&plan.template);
        let cwd = plan.template.defaults.working_dir.clone();
        let timeout_ms = u64::try_from(plan.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let launched = self.launch(&shell, &execution, interpreter, &program, env, cwd, timeout_ms).await;
        let (heard, error) = match launched {
            Ok((process, request)) => {
                let mut closing = self.inner.trials.closing.subscribe();
                let stop = async {
                    tokio::select! {
                        _ = &mut is_dropped => "its caller went away",
                        _ = closing.wait_for(|closing| *closing) => "the daemon was stopped",
                    }
                };
                (talk::attend(machine, &execution, process, request, plan.input, talk, stop).await, None)
            }
            Err(error) => {
                execution.end_because("it could not be started");
                (Heard::default(), Some(error))
            }
        };
        let (answer, end) = conclude(&sandbox, &execution, heard);
        let end = Arc::new(end);
        execution.finish(Arc::clone(&end));
        let engine = self.clone();
        tokio::spawn(async move {
            // The turn ends when the machine is free again, and the count when nothing is left.
            let (_turn, _counted) = (turn, counted);
            tokio::join!(engine.write_trial_end(&execution, end), engine.end_trial_shell(&shell, &shelf));
        });
        error.map_or(Ok(answer), Err)
    }

    /// Audit entry and rows, in one transaction: it is on disk before the program has its first instruction.
    async fn record_trial(&self, plan: &Plan, execution: &Execution) -> Result<(), Failure> {
        let code = plan.code.clone().into_bytes();
        let timeout_ms = u64::try_from(plan.timeout.as_millis()).unwrap_or(u64::MAX);
        let detail = serde_json::json!({
            "purpose": plan.purpose,
            "template": plan.template.name,
            "template_version": plan.template.row.version,
            "code_sha256": CodeHash::of(&code).to_string(),
            "code_bytes": code.len(),
            "input_bytes": plan.input.len(),
            "language": execution.language,
            "interpreter": execution.interpreter.as_str(),
            "timeout_ms": timeout_ms,
            "memory_mib": plan.limits.memory_mib,
        });
        let entry =
            Self::entry(plan.by, "trial.start").sandbox(&execution.sandbox).execution(&execution.id).detail(detail);
        let trial = TrialRow {
            id: execution.sandbox.clone(),
            project: plan.project.clone(),
            purpose: plan.purpose.clone(),
            template: plan.template.name.clone(),
            limits: plan.limits,
            started_at_ms: execution.started_at_ms,
        };
        let new = NewExecution {
            id: execution.id.clone(),
            sandbox: execution.sandbox.clone(),
            number: 1,
            language: execution.language.to_owned(),
            code,
            started_at_ms: execution.started_at_ms,
            timeout_ms,
            background: false,
            interpreter: execution.interpreter,
        };
        let (_, receipt) = self
            .inner
            .store
            .write_with_audit(entry, move |tx| {
                tx.insert_trial(&trial)?;
                tx.insert_execution(&new).map(drop)
            })
            .await?;
        drop(receipt);
        Ok(())
    }

    /// Writes the end down, without waiting for the disk. What cannot be written is found by the next start, as killed.
    async fn write_trial_end(&self, execution: &Execution, end: Arc<ExecutionEnd>) {
        let (id, sandbox) = (execution.id.clone(), execution.sandbox.clone());
        let written = self.inner.store.note(move |tx| {
            tx.finish_execution(&id, &end)?;
            tx.end_trial(&sandbox, end.finished_at_ms)
        });
        match written.await {
            Ok(()) => {
                self.running().remove(&execution.id);
            }
            Err(StoreError::Gone(_)) => {}
            // It is answered from memory for as long as this daemon lives.
            Err(error) => {
                tracing::error!(error = %Failure::from(error).chain(), execution = %execution.id, "the end of a trial could not be written");
            }
        }
    }

    /// Ends what has begun, while the daemon stops.
    pub(crate) async fn stop_trials(&self) {
        self.inner.trials.closing.send_replace(true);
        // The jailer ends what is on the shelves when this process goes.
        drop(self.inner.trials.take_shelves(|_| true));
        let mut running = self.inner.trials.running.subscribe();
        if tokio::time::timeout(STOP_PATIENCE, running.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!("some trials did not end in time; the next start finds them killed");
        }
    }
}

/// What is answered and what is kept of a trial.
fn conclude(sandbox: &ringfence_model::SandboxId, execution: &Execution, heard: Heard) -> (TrialAnswer, ExecutionEnd) {
    let Heard { exited, output, output_seen, stderr, stderr_seen, is_too_much } = heard;
    let (mut status, exit_code, warnings) = execution.verdict(exited.as_ref());
    if is_too_much {
        status = ExecutionStatus::Failed;
    }
    let (head, _) = execution.stdout.snapshot();
    let tail = stderr[stderr.len().saturating_sub(KEPT_BYTES_MAX)..].to_vec();
    let (execution_time_us, cpu_time_us, memory_peak_bytes) =
        exited.as_ref().map_or((0, 0, 0), |e| (e.wall_usec, e.cpu_usec, e.memory_peak_bytes));
    let mut text = String::from_utf8_lossy(&stderr).into_owned();
    if status != ExecutionStatus::Completed {
        // Whoever reads no more than this must find the cause.
        text.extend(warnings.iter().map(|warning| format!("ringfence: {warning}\n")));
    }
    let answer = TrialAnswer {
        sandbox: sandbox.clone(),
        execution: execution.id.clone(),
        status: view::execution_status(status),
        exit_code: exit_code.unwrap_or(-1),
        output,
        stderr: text,
        execution_time: Duration::from_micros(execution_time_us).as_secs_f64(),
        cpu_time: Duration::from_micros(cpu_time_us).as_secs_f64(),
        memory_peak_bytes,
    };
    let end = ExecutionEnd {
        status,
        exit_code,
        finished_at_ms: now_ms(),
        execution_time_us: exited.as_ref().map(|e| e.wall_usec),
        cpu_time_us: exited.as_ref().map(|e| e.cpu_usec),
        memory_peak_bytes: exited.as_ref().map(|e| e.memory_peak_bytes),
        truncated: output_seen > head.len() as u64 || stderr_seen > tail.len() as u64,
        output: ExecutionOutput {
            stdout: head,
            stderr: tail,
            stdout_seen_bytes: output_seen,
            stderr_seen_bytes: stderr_seen,
        },
        warnings,
        artifacts: serde_json::json!([]),
        denials: serde_json::json!([]),
    };
    (answer, end)
}

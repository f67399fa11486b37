//! Strategies in sandboxes: what a strategy wants, bar by bar, is asked of it here, and nothing else is believed.
//!
//! A strategy is one Python file (docs/reference/python.md). It runs as a [trial](ringfence_engine::api::Trials), without network and
//! without bars other than those that it is given; what it writes is read strictly (`strategy/answer.rs`), because it runs in the process
//! that writes it. Fills, equity and figures are made of it outside, by `ringfence_backtest`.

mod answer;
mod ask;
mod built_in;
mod parameters;
pub mod peek;
mod said;
mod stepwise;

use std::sync::Arc;

use futures::future::join_all;
use ringfence_backtest::{Curve, Orders, Panel, Targets, Trade};
use ringfence_engine::api::{TRIAL_OUTPUT_MAX, TRIAL_TIMEOUT_MAX_S, TrialAnswer, TrialRequest, Trials};
use ringfence_model::{
    ApiError, Code, ExecutionId, Project, SandboxId,
    api::{Actor, CODE_BYTES_MAX, ExecutionStatus},
};
use sha2::{Digest, Sha256};

pub use built_in::{BuiltIn, Kind, Parameter, built_ins};
pub use parameters::{PARAMETERS_MAX, Parameters};
pub use said::Failure;

/// What stands below every strategy, and hands it to the runner in the harness (`ringfence/_trial.py`).
const FOOTER: &str = "\nimport ringfence._trial; ringfence._trial.finish()\n";

/// The largest weight, in equity, that is taken for one. More is a fault of the strategy's arithmetic.
pub const WEIGHT_MAX: f64 = 1e3;

/// A strategy: its file, and what is known about it.
#[derive(Debug, Clone)]
pub struct Strategy {
    name: String,
    code: Arc<str>,
    sha256: String,
    built_in: Option<&'static BuiltIn>,
}

impl Strategy {
    /// A built-in one.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn built_in(name: &str) -> Result<Self, ApiError> {
        let Some(built_in) = built_ins().iter().find(|b| b.name == name) else {
            let names: Vec<_> = built_ins().iter().map(|b| b.name).collect();
            return Err(refused(format!(
                "there is no built-in strategy {:?}; there are {}, or send code",
                name.chars().take(40).collect::<String>(),
                names.join(", ")
            )));
        };
        Ok(Self { built_in: Some(built_in), ..Self::of(built_in.name, built_in.code) })
    }

    /// A file of the caller's, under a name of the caller's.
    ///
    /// # Errors
    /// It is empty, too long, or holds a NUL.
    pub fn code(name: &str, code: &str) -> Result<Self, ApiError> {
        if code.trim().is_empty() {
            return Err(refused(
                "the code of the strategy is empty: send a Python file that defines signals, orders or on_bar".into(),
            ));
        }
        if code.len() + FOOTER.len() > CODE_BYTES_MAX {
            let most = CODE_BYTES_MAX - FOOTER.len();
            return Err(ApiError::new(
                Code::TooLarge,
                format!("a strategy has at most {most} bytes, and this one {}", code.len()),
            ));
        }
        if code.contains('\0') {
            return Err(refused("the code of the strategy holds a NUL character".into()));
        }
        Ok(Self::of(name, code))
    }

    fn of(name: &str, code: &str) -> Self {
        let sha256 = hex::encode(Sha256::digest(code.as_bytes()));
        Self { name: name.to_owned(), code: code.into(), sha256, built_in: None }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its file, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Its file.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.code
    }

    /// What is known of it, where it is built in.
    #[must_use]
    pub fn about(&self) -> Option<&'static BuiltIn> {
        self.built_in
    }

    /// The parameters with defaults, where the strategy is built in; as they are, where it is not: its file may declare
    /// `PARAMETERS`, which only Python reads.
    ///
    /// # Errors
    /// One that there is not, of another type, or out of bounds; a number of symbols that the strategy does not take.
    pub fn complete(&self, parameters: &Parameters, symbols: usize) -> Result<Parameters, ApiError> {
        match self.built_in {
            Some(built_in) => built_in.complete(parameters, symbols).map_err(refused),
            None => Ok(parameters.clone()),
        }
    }

    /// The trial's program. A built-in file is imported by the warm interpreter already: its own copy, which is this program's, is
    /// taken, and named by its hash for whoever reads the audit log.
    fn program(&self) -> String {
        match self.built_in {
            None => format!("{}{FOOTER}", self.code),
            Some(BuiltIn { name, .. }) => format!(
                "# The built-in strategy {name}, SHA-256 {}\nfrom ringfence.strategies.{name} import PARAMETERS, SYMBOLS, signals{FOOTER}",
                self.sha256
            ),
        }
    }
}

/// How bars are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// All at once.
    #[default]
    Whole,
    /// One by one, each after the strategy has answered the one before: what comes later is not in the sandbox.
    PointInTime,
}

/// How a strategy is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The template, a Python one with pandas.
    pub template: String,
    /// Whose its sandbox is.
    pub project: Project,
    /// Seconds for each parameter set.
    pub timeout: f64,
    /// Memory of the sandbox in MiB; the template's default where it is `None`.
    pub memory_mib: Option<u32>,
    /// How bars are given.
    pub mode: Mode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            template: "python".to_owned(),
            project: Project::default(),
            timeout: 30.0,
            memory_mib: None,
            mode: Mode::Whole,
        }
    }
}

/// What a strategy has answered for one parameter set.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it wants.
    pub proposal: Proposal,
    /// What it logged or printed: at most 200 lines of 1,000 characters, without control characters.
    pub log: Vec<String>,
    /// Lines beyond those.
    pub log_dropped: u64,
    /// What it ran in; `None` when its trial was given up because of what it wrote.
    pub spent: Option<Spent>,
}

/// What it wants.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// Weights bar by bar, every one at most [`WEIGHT_MAX`] or NaN.
    Targets(Targets),
    /// Orders, in order of time.
    Orders(Orders),
    /// Figures of its own, which nobody has checked.
    SelfReported(SelfReported),
    /// Nothing, and why.
    Failed(Failure),
}

/// What a program reports of itself. To be shown as self-reported wherever it is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SelfReported {
    /// Its equity; the first value is taken for the capital.
    pub curve: Option<Curve>,
    /// Its trades.
    pub trades: Vec<Trade>,
}

/// Figures of a trial, measured outside of the sandbox.
#[derive(Debug, Clone)]
pub struct Spent {
    /// The sandbox, which is gone.
    pub sandbox: SandboxId,
    /// The execution, which the audit log knows.
    pub execution: ExecutionId,
    /// Parameter sets that shared it, and the figures below.
    pub sets: usize,
    /// Wall-clock time in seconds.
    pub execution_time: f64,
    /// Processor time in seconds.
    pub cpu_time: f64,
    /// Largest memory of the sandbox.
    pub memory_peak_bytes: u64,
}

impl Spent {
    fn of(answer: &TrialAnswer, sets: usize) -> Self {
        Self {
            sandbox: answer.sandbox.clone(),
            execution: answer.execution.clone(),
            sets,
            execution_time: answer.execution_time,
            cpu_time: answer.cpu_time,
            memory_peak_bytes: answer.memory_peak_bytes,
        }
    }
}

/// Runs a strategy over bars for one or more parameter sets, and says what it wants for each, in the order of `sets`.
///
/// All sets run in one sandbox, one after the other, each with the file run anew; what one does to libraries reaches the
/// next (decision 41). Call it once for each set where they must not
/// know of each other. Point in time, each set has a sandbox of its own: what one has seen is another's future.
///
/// # Errors
/// Bars or parameters that cannot be sent, and whatever keeps the engine from running a trial. A strategy that fails is an
/// [`Outcome`].
pub async fn propose(
    trials: &dyn Trials,
    actor: Actor,
    purpose: &str,
    strategy: &Strategy,
    panel: &Panel,
    sets: &[Parameters],
    options: &Options,
) -> Result<Vec<Outcome>, ApiError> {
    if sets.is_empty() {
        return Ok(Vec::new());
    }
    let symbols = panel.columns().len();
    let complete: Vec<Parameters> = sets.iter().map(|set| strategy.complete(set, symbols)).collect::<Result<_, _>>()?;
    let run = Run { trials, actor, purpose, strategy, panel, options };
    match options.mode {
        Mode::Whole => run.whole(&complete).await,
        Mode::PointInTime => join_all(complete.iter().map(|set| run.stepwise(set))).await.into_iter().collect(),
    }
}

/// How many parameter sets may share a sandbox over these bars, so that all that they want is read.
#[must_use]
pub fn batch_max(panel: &Panel) -> usize {
    const BATCH_MAX: usize = 10_000;
    // What each adds to its weights: a head, and a log of ordinary length.
    const BESIDES: usize = 4 << 10;
    let one = panel.len() * panel.columns().len() * size_of::<f64>() + BESIDES;
    (TRIAL_OUTPUT_MAX / one).clamp(1, BATCH_MAX)
}

/// What the trials of one call have in common.
struct Run<'a> {
    trials: &'a dyn Trials,
    actor: Actor,
    purpose: &'a str,
    strategy: &'a Strategy,
    panel: &'a Panel,
    options: &'a Options,
}

impl Run<'_> {
    fn request(&self, input: Vec<u8>, timeout: f64) -> TrialRequest {
        TrialRequest {
            template: self.options.template.clone(),
            project: self.options.project.clone(),
            purpose: self.purpose.to_owned(),
            code: self.strategy.program(),
            input,
            timeout,
            memory_mib: self.options.memory_mib,
        }
    }

    async fn whole(&self, sets: &[Parameters]) -> Result<Vec<Outcome>, ApiError> {
        let asked = ask::Asked::of(self.panel);
        let input = asked.whole(sets, self.options.timeout)?;
        if sets.len() > batch_max(self.panel) {
            let most = batch_max(self.panel);
            return Err(ApiError::new(
                Code::TooLarge,
                format!("over these bars at most {most} parameter sets share a sandbox, not {}", sets.len()),
            ));
        }
        #[allow(clippy::cast_precision_loss, reason = "a number of parameter sets is small")]
        let timeout = (self.options.timeout * sets.len() as f64).min(TRIAL_TIMEOUT_MAX_S);
        let answer = self.trials.trial(self.actor, self.request(input, timeout)).await?;
        let spent = Spent::of(&answer, sets.len());
        let mut said = answer::read(&answer.output, &asked, sets.len());
        // The runner ends with 0 whatever the strategy did. One that has answered, and then went on, is not to be believed.
        if answer.status != ExecutionStatus::Completed
            && let Some(last) = said.parts.last_mut()
        {
            *last = None;
        }
        let outcome = |part: Result<answer::Part, Failure>| {
            let part = part
                .unwrap_or_else(|failure| answer::Part { proposal: Proposal::Failed(failure), ..Default::default() });
            let mut log = said.early.clone();
            log.extend(part.log);
            Outcome { proposal: part.proposal, log, log_dropped: part.log_dropped, spent: Some(spent.clone()) }
        };
        let missing = said::ended(&answer, self.options.timeout, said.fault.as_deref());
        Ok(said.parts.into_iter().map(|part| outcome(part.ok_or_else(|| missing.clone()))).collect())
    }
}

fn refused(why: String) -> ApiError {
    ApiError::new(Code::InvalidArgument, why)
}

#[cfg(test)]
mod tests;

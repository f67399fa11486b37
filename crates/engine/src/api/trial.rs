//! Trials: one program in a sandbox of its own that is gone when it has ended. Backtests are trials.

use ringfence_model::{
    ExecutionId, Project, SandboxId,
    api::{Actor, ExecutionStatus},
};
use tokio::sync::mpsc;

use super::Answering;

/// One program to be run in a sandbox that nobody else can reach, without any network, and with nothing at `/data`: what it may
/// know it is given.
#[derive(Debug, Clone, Default)]
pub struct TrialRequest {
    /// The template.
    pub template: String,
    /// Whose its sandbox is.
    pub project: Project,
    /// What it is for, such as `sweep_… 17`: in the audit log, and the name of its sandbox.
    pub purpose: String,
    /// The program, at most [`CODE_BYTES_MAX`](ringfence_model::api::CODE_BYTES_MAX).
    pub code: String,
    /// Its standard input, up to [`TRIAL_INPUT_MAX`].
    pub input: Vec<u8>,
    /// Seconds after which it is ended, at most [`TRIAL_TIMEOUT_MAX_S`].
    pub timeout: f64,
    /// Memory in MiB; the template's default where it is `None`.
    pub memory_mib: Option<u32>,
}

/// Seconds that a trial may run.
pub const TRIAL_TIMEOUT_MAX_S: f64 = 86_400.0;
/// Bytes of [`TrialRequest::purpose`].
pub const TRIAL_PURPOSE_MAX: usize = 200;
/// Bytes that the input of a trial may have.
pub const TRIAL_INPUT_MAX: usize = 64 << 20;
/// Bytes of a trial's standard output that are read; one that writes more has failed.
pub const TRIAL_OUTPUT_MAX: usize = 64 << 20;

/// What became of it.
#[derive(Debug, Clone)]
pub struct TrialAnswer {
    /// The sandbox that it ran in, which is gone.
    pub sandbox: SandboxId,
    /// The execution, which the audit log and `execution_status` know.
    pub execution: ExecutionId,
    /// How it ended.
    pub status: ExecutionStatus,
    /// Its exit code, as in an execution.
    pub exit_code: i32,
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error, the last 64 KiB.
    pub stderr: String,
    /// Wall-clock time in seconds.
    pub execution_time: f64,
    /// Processor time in seconds.
    pub cpu_time: f64,
    /// Largest memory of the sandbox.
    pub memory_peak_bytes: u64,
}

/// Both ends of a conversation with a program that runs.
#[derive(Debug)]
pub struct Conversation {
    /// What goes to its standard input after [`TrialRequest::input`], in order; the end of the channel is the end of the input.
    pub to: mpsc::Receiver<Vec<u8>>,
    /// What it writes to standard output, as it comes, in pieces of at most 64 KiB. [`TrialAnswer::output`] is empty then. While
    /// nobody takes the pieces the program waits, until its time is over; what it writes after the receiver was dropped is lost to
    /// nobody's harm. After its end the last pieces are held for some seconds.
    pub from: mpsc::Sender<Vec<u8>>,
}

/// Programs in sandboxes of their own. The engine alone offers it, to the crate `research`.
///
/// As many run at once as the processors can use, in the order in which they were asked for; all others wait for their turn. A future
/// that is dropped ends its program, and takes its sandbox away.
///
/// # Errors
/// As [`Sandboxes`](super::Sandboxes); a program that fails is an answer, not an error.
pub trait Trials: Send + Sync + 'static {
    /// Runs a program to its end.
    fn trial(&self, actor: Actor, request: TrialRequest) -> Answering<'_, TrialAnswer>;

    /// Runs a program and speaks with it meanwhile.
    fn converse(&self, actor: Actor, request: TrialRequest, with: Conversation) -> Answering<'_, TrialAnswer>;
}

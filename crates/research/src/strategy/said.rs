//! What is told of a strategy that failed: its own words, cleaned.

use ringfence_engine::api::{TRIAL_OUTPUT_MAX, TrialAnswer};
use ringfence_model::api::ExecutionStatus;
use serde::{Deserialize, Serialize};

/// Why a strategy has proposed nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence, or the last line of the traceback.
    pub message: String,
    /// The traceback in the strategy's own file, `strategy.py`; empty where there is none.
    pub traceback: String,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), traceback: String::new() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.traceback.is_empty() { self.message.fmt(f) } else { self.traceback.trim_end().fmt(f) }
    }
}

const MESSAGE_CHARS_MAX: usize = 2000;
const TRACEBACK_CHARS_MAX: usize = 8000;
/// Lines of a log, and characters of a line (`LOG_LINES_MAX` and `LOG_LINE_CHARS_MAX` of `_trial.py`).
pub(super) const LOG_LINES_MAX: usize = 200;
pub(super) const LOG_LINE_CHARS_MAX: usize = 1000;

/// Text of a stranger for a terminal or a page: without control characters but line ends and tabs, and not longer than `most`.
pub(super) fn plain(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().take(most).map(clean).collect()
}

/// The words of the runner in the sandbox, cleaned.
pub(super) fn failure(message: &str, traceback: &str) -> Failure {
    let message = plain(message, MESSAGE_CHARS_MAX).replace('\n', " ");
    let message = if message.trim().is_empty() { "the strategy has failed without a word".to_owned() } else { message };
    Failure { message, traceback: plain(traceback, TRACEBACK_CHARS_MAX) }
}

/// Why a trial has left sets without an answer. `fault` is what is wrong with its output, if anything is.
pub(super) fn ended(answer: &TrialAnswer, timeout: f64, fault: Option<&str>) -> Failure {
    match answer.status {
        ExecutionStatus::Timeout => {
            return Failure::new(format!("it was not done in the time that it has, {timeout} s a set"));
        }
        ExecutionStatus::Killed => {
            let mib = answer.memory_peak_bytes >> 20;
            return Failure::new(format!(
                "its sandbox ended it, most likely for want of memory (it had {mib} MiB at its largest)"
            ));
        }
        ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Running => {}
    }
    if answer.output.len() > TRIAL_OUTPUT_MAX - (1 << 20) {
        return Failure::new(format!("it wrote more than the {} MiB that are read", TRIAL_OUTPUT_MAX >> 20));
    }
    if let Some(fault) = fault {
        return Failure::new(fault);
    }
    let path = format!("/run/ringfence/{}.py", answer.execution);
    let stderr = answer.stderr.replace(&path, "strategy.py");
    let code = answer.exit_code;
    let Some(at) =
        stderr.rfind("Traceback (most recent call last):").or_else(|| stderr.rfind("  File \"strategy.py\""))
    else {
        return Failure::new(format!("the program ended before it had answered (exit code {code})"));
    };
    let traceback = without_harness(&stderr[at..]);
    failure(traceback.trim_end().lines().last().unwrap_or_default(), &traceback)
}

/// A traceback without the lines about files of the module `ringfence` and of the harness at its end.
fn without_harness(traceback: &str) -> String {
    let mut kept = String::new();
    let mut hidden = false;
    for line in traceback.lines() {
        if line.starts_with("  File \"") {
            hidden = line.contains("/python3.11/ringfence/_") || line.contains("\"/usr/lib/ringfence/");
        } else if !line.starts_with("    ") {
            hidden = false;
        }
        if !hidden {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

//! Why a command did not do what it was asked, and the exit code that says so.

use std::{fmt, io};

use ringfence_model::{ApiError, Code};
use serde_json::json;

use crate::output;

/// The request was refused or failed.
pub(crate) const FAILED: i32 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: i32 = 2;
/// Whoever read the output is gone, as the shell reports it: 128 and SIGPIPE.
const PIPE_CLOSED: i32 = 141;

/// A command line that clap accepts and that makes no sense all the same.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Refuses a command line.
pub(crate) fn usage<T>(why: impl Into<String>) -> anyhow::Result<T> {
    Err(Usage(why.into()).into())
}

/// Says what went wrong on standard error, or as JSON on standard output, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error, as_json: bool) -> i32 {
    if is_closed_pipe(error) {
        return PIPE_CLOSED;
    }
    let refused = error.downcast_ref::<ApiError>();
    let is_usage = error.is::<Usage>();
    if as_json {
        let code = match (refused, is_usage) {
            (Some(refused), _) => refused.code,
            (None, true) => Code::InvalidArgument,
            (None, false) => Code::Internal,
        };
        let text = json!({"success": false, "error": {"code": code, "message": format!("{error:#}")}});
        let _ = output::json(&text);
    } else {
        let code = refused.map(|refused| format!(" ({})", refused.code.as_str())).unwrap_or_default();
        output::note(&format!("ringfence: {error:#}{code}"));
    }
    if is_usage { USAGE } else { FAILED }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_usage_from_failure_and_a_closed_pipe() {
        assert_eq!(report(&Usage("no".into()).into(), false), 2);
        assert_eq!(report(&ApiError::internal("no").into(), false), 1);
        assert_eq!(report(&anyhow::anyhow!("no"), false), 1);
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert_eq!(report(&closed, false), PIPE_CLOSED);
    }
}

//! From what a client calls a sandbox to the sandbox.

use std::sync::Arc;

use ringfence_model::{ApiError, Code, SandboxId};
use ringfence_store::{SandboxFilter, SandboxRow, SandboxStatus};

use crate::{engine::Engine, error::Failure, sandbox::Sandbox};

/// A sandbox that exists or existed.
#[derive(Debug)]
pub(crate) enum Found {
    /// It has not ended.
    Live(Arc<Sandbox>),
    /// What is left of one that has.
    Ended(Box<SandboxRow>),
}

fn shown(reference: &str) -> String {
    reference.chars().take(80).collect::<String>().escape_debug().to_string()
}

/// What a sandbox that there is not answers, for whoever asks.
pub(crate) fn unknown(reference: &str) -> ApiError {
    let text = format!("there is no sandbox `{}`; `sandbox_list` shows those that exist", shown(reference));
    ApiError::new(Code::SandboxNotFound, text)
}

/// What a name that several have answers.
pub(crate) fn ambiguous(sandboxes: usize, reference: &str) -> ApiError {
    let text = format!("{sandboxes} sandboxes are named `{}`; use the id of one", shown(reference));
    ApiError::new(Code::SandboxNameAmbiguous, text)
}

impl Engine {
    /// The sandbox of that id or unique name.
    ///
    /// # Errors
    /// There is none, or several have that name.
    pub(crate) async fn find(&self, reference: &str) -> Result<Found, Failure> {
        let unknown = || unknown(reference);
        if let Ok(id) = SandboxId::parse(reference) {
            if let Some(sandbox) = self.live(&id) {
                return Ok(Found::Live(sandbox));
            }
            let row = self.inner.store.sandbox(&id).await?.ok_or_else(unknown)?;
            return Ok(Found::Ended(Box::new(row)));
        }
        let mut named: Vec<_> = self.all_live().into_iter().filter(|s| s.name == reference).collect();
        match (named.pop(), named.len()) {
            (Some(sandbox), 0) => Ok(Found::Live(sandbox)),
            (Some(_), others) => Err(ambiguous(others + 1, reference).into()),
            (None, _) => {
                let filter =
                    SandboxFilter { name: Some(reference.to_owned()), limit: Some(1), ..SandboxFilter::default() };
                let row = self.inner.store.sandboxes(filter).await?.pop().ok_or_else(unknown)?;
                Ok(Found::Ended(Box::new(row)))
            }
        }
    }

    /// As [`Self::find`], for what needs one that has not ended.
    ///
    /// # Errors
    /// Also when it has ended.
    pub(crate) async fn find_live(&self, reference: &str) -> Result<Arc<Sandbox>, Failure> {
        match self.find(reference).await? {
            Found::Live(sandbox) => Ok(sandbox),
            Found::Ended(row) => Err(ended(&row.id, row.status).into()),
        }
    }
}

/// What a sandbox that has ended answers.
pub(crate) fn ended(id: &SandboxId, status: SandboxStatus) -> ApiError {
    match status {
        SandboxStatus::Expired => ApiError::new(
            Code::SandboxExpired,
            format!(
                "the lifetime of sandbox {id} is over; make another with `sandbox_create`, with a larger `timeout`"
            ),
        ),
        // Nobody is told the id of another one that is not alive here.
        SandboxStatus::Running => ApiError::new(
            Code::SandboxNotRunning,
            format!("sandbox {id} is a trial: it runs one program for a job, and is gone when that has ended"),
        ),
        _ => ApiError::new(
            Code::SandboxNotRunning,
            format!("sandbox {id} is {status}; make another with `sandbox_create`"),
        ),
    }
}

/// What a sandbox that is not running answers.
pub(crate) fn not_running(id: &SandboxId, status: SandboxStatus) -> ApiError {
    match status {
        SandboxStatus::Stopped | SandboxStatus::Paused => ApiError::new(
            Code::SandboxNotRunning,
            format!("sandbox {id} is {status}; `sandbox_resume` starts it again, with its files"),
        ),
        other => ended(id, other),
    }
}

//! Removing jobs that have ended, as every face reaches it.

use ringfence_engine::api::Answering;
use ringfence_model::api::{Actor, JobPruneAnswer, JobPruneRequest, SweepOneRequest};

/// Jobs that have ended. For operators; not offered over MCP.
///
/// # Errors
/// As [`Sandboxes`](ringfence_engine::api::Sandboxes).
pub trait Jobs: Send + Sync + 'static {
    /// Removes a sweep that has ended, with its table and the files that nothing else needs.
    fn sweep_delete(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, JobPruneAnswer>;

    /// Removes jobs of a kind that ended long enough ago, with the files that nothing else needs.
    fn job_prune(&self, actor: Actor, request: JobPruneRequest) -> Answering<'_, JobPruneAnswer>;
}

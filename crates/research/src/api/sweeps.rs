//! Sweeps, as every face reaches them.

use ringfence_engine::api::{Answering, Chunks, ProgressSender};
use ringfence_model::api::{
    Actor, SweepAnswer, SweepListAnswer, SweepListRequest, SweepOneRequest, SweepRequest, SweepStatusRequest,
    SweepTableRequest,
};

/// Sweeps of backtests.
///
/// # Errors
/// As [`Sandboxes`](ringfence_engine::api::Sandboxes).
pub trait Sweeps: Send + Sync + 'static {
    /// Starts a sweep, and waits for its end as long as the request says. It goes on when nobody waits any more.
    fn sweep(
        &self,
        actor: Actor,
        request: SweepRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, SweepAnswer>;

    /// How a sweep stands.
    fn sweep_status(
        &self,
        actor: Actor,
        request: SweepStatusRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, SweepAnswer>;

    /// Sweeps, newest first. Not offered over MCP, like the next three.
    fn sweep_list(&self, actor: Actor, request: SweepListRequest) -> Answering<'_, SweepListAnswer>;

    /// Ends a sweep; what is done is ranked and kept. One that has ended stays as it is.
    fn sweep_cancel(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, SweepAnswer>;

    /// The whole table, or results as they come.
    fn sweep_table(&self, actor: Actor, request: SweepTableRequest) -> Answering<'_, Chunks>;

    /// The report, an HTML file.
    fn sweep_report(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, Chunks>;
}

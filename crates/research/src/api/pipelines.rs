//! Pipelines, as every face reaches them.

use ringfence_engine::api::{Answering, ProgressSender};
use ringfence_model::api::{
    Actor, PipelineAnswer, PipelineCancelRequest, PipelineListAnswer, PipelineListRequest, PipelineOutputAnswer,
    PipelineOutputRequest, PipelineRequest, PipelineResumeRequest, PipelineStatusRequest,
};

/// Pipelines.
///
/// # Errors
/// As [`Sandboxes`](ringfence_engine::api::Sandboxes).
pub trait Pipelines: Send + Sync + 'static {
    /// Starts a pipeline, and waits for its end as long as the request says.
    fn pipeline(
        &self,
        actor: Actor,
        request: PipelineRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer>;

    /// How a pipeline stands.
    fn pipeline_status(&self, actor: Actor, request: PipelineStatusRequest) -> Answering<'_, PipelineAnswer>;

    /// Pipelines, newest first. Not offered over MCP.
    fn pipeline_list(&self, actor: Actor, request: PipelineListRequest) -> Answering<'_, PipelineListAnswer>;

    /// Runs stages of an ended pipeline again, and waits for its end as long as the request says.
    fn pipeline_resume(
        &self,
        actor: Actor,
        request: PipelineResumeRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer>;

    /// Ends a pipeline: what runs is ended, what waits is never begun. One that has ended stays as it is.
    fn pipeline_cancel(&self, actor: Actor, request: PipelineCancelRequest) -> Answering<'_, PipelineAnswer>;

    /// A file that a stage has handed on.
    fn pipeline_output(&self, actor: Actor, request: PipelineOutputRequest) -> Answering<'_, PipelineOutputAnswer>;
}

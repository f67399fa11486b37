//! Pipelines, asked of the daemon.

use hyper::Method;
use ringfence_engine::api::{Answering, ProgressSender};
use ringfence_model::api::{
    Actor, PipelineAnswer, PipelineCancelRequest, PipelineListAnswer, PipelineListRequest, PipelineOutputAnswer,
    PipelineOutputRequest, PipelineRequest, PipelineResumeRequest, PipelineStatusRequest, WaitQuery,
};
use ringfence_research::api::Pipelines;
use serde_json::json;

use super::{Client, exchange::Ask, segment, with_query};

fn pipeline(id: &str, rest: &str) -> String {
    format!("/v1/pipelines/{}{rest}", segment(id))
}

impl Pipelines for Client {
    fn pipeline(
        &self,
        actor: Actor,
        request: PipelineRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        let ask = Ask::new(Method::POST, "/v1/pipelines".into()).body(&request);
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn pipeline_status(&self, actor: Actor, request: PipelineStatusRequest) -> Answering<'_, PipelineAnswer> {
        let path = pipeline(&request.pipeline_id, "");
        Box::pin(self.ask(actor, Ask::get(with_query(&path, &WaitQuery { wait: request.wait }))))
    }

    fn pipeline_list(&self, actor: Actor, request: PipelineListRequest) -> Answering<'_, PipelineListAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/pipelines", &request))))
    }

    fn pipeline_resume(
        &self,
        actor: Actor,
        request: PipelineResumeRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        let ask = Ask::new(Method::POST, pipeline(&request.pipeline_id, "/resume")).body(&request);
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn pipeline_cancel(&self, actor: Actor, request: PipelineCancelRequest) -> Answering<'_, PipelineAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, pipeline(&request.pipeline_id, "/cancel"))))
    }

    fn pipeline_output(&self, actor: Actor, request: PipelineOutputRequest) -> Answering<'_, PipelineOutputAnswer> {
        let query = json!({"stage": request.stage, "path": request.path});
        Box::pin(self.ask(actor, Ask::get(with_query(&pipeline(&request.pipeline_id, "/output"), &query))))
    }
}

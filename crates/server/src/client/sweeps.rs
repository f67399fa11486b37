//! Sweeps, asked of the daemon.

use hyper::Method;
use ringfence_engine::api::{Answering, Chunks, ProgressSender};
use ringfence_model::api::{
    Actor, SweepAnswer, SweepListAnswer, SweepListRequest, SweepOneRequest, SweepRequest, SweepStatusRequest,
    SweepTableRequest,
};
use ringfence_research::api::Sweeps;
use serde_json::json;

use super::{Client, exchange::Ask, segment, with_query};

fn sweep(id: &str, rest: &str) -> String {
    format!("/v1/sweeps/{}{rest}", segment(id))
}

impl Sweeps for Client {
    fn sweep(
        &self,
        actor: Actor,
        request: SweepRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, SweepAnswer> {
        let ask = Ask::new(Method::POST, "/v1/sweeps".into()).body(&request);
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn sweep_status(
        &self,
        actor: Actor,
        request: SweepStatusRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, SweepAnswer> {
        let query = json!({"wait": request.wait, "top": request.top, "chart": request.chart.then_some(true)});
        let ask = Ask::get(with_query(&sweep(&request.sweep_id, ""), &query));
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn sweep_list(&self, actor: Actor, request: SweepListRequest) -> Answering<'_, SweepListAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/sweeps", &request))))
    }

    fn sweep_cancel(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, SweepAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, sweep(&request.sweep_id, "/cancel"))))
    }

    fn sweep_table(&self, actor: Actor, request: SweepTableRequest) -> Answering<'_, Chunks> {
        let query = json!({"format": request.format, "follow": request.follow.then_some(true)});
        let ask = Ask::get(with_query(&sweep(&request.sweep_id, "/results"), &query));
        Box::pin(self.ask_for_chunks(actor, ask))
    }

    fn sweep_report(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, Chunks> {
        Box::pin(self.ask_for_chunks(actor, Ask::get(sweep(&request.sweep_id, "/report"))))
    }
}

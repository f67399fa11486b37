//! Removing jobs that have ended, asked of the daemon.

use hyper::Method;
use ringfence_engine::api::Answering;
use ringfence_model::api::{Actor, JobPruneAnswer, JobPruneRequest, SweepOneRequest};
use ringfence_research::api::Jobs;

use super::{Client, exchange::Ask, segment};

impl Jobs for Client {
    fn sweep_delete(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, JobPruneAnswer> {
        let path = format!("/v1/sweeps/{}", segment(&request.sweep_id));
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, path).long()))
    }

    fn job_prune(&self, actor: Actor, request: JobPruneRequest) -> Answering<'_, JobPruneAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/jobs/prune".into()).body(&request).long()))
    }
}

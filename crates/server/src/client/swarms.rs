//! Swarms, asked of the daemon.

use hyper::Method;
use ringfence_engine::api::{Answering, ProgressSender};
use ringfence_model::api::{
    Actor, AgentAnswer, AgentSpawnRequest, CreateRequest, SwarmAnswer, SwarmDestroyAnswer, SwarmInitRequest,
    SwarmListAnswer, SwarmListRequest, SwarmRequest, SwarmScaleRequest, TaskAnswer, TaskCancelRequest, TaskRequest,
    TaskStatusRequest, WaitQuery,
};
use ringfence_research::api::Swarms;

use super::{Client, exchange::Ask, segment, with_query};
use crate::rest::swarms::NEWEST;

/// The path of a swarm; without an id, of the newest active one.
fn swarm(id: Option<&str>, rest: &str) -> String {
    format!("/v1/swarms/{}{rest}", segment(id.unwrap_or(NEWEST)))
}

fn task(id: &str) -> String {
    format!("/v1/tasks/{}", segment(id))
}

impl Swarms for Client {
    fn swarm_init(&self, actor: Actor, request: SwarmInitRequest) -> Answering<'_, SwarmAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/swarms".into()).body(&request)))
    }

    fn agent_spawn(&self, actor: Actor, mut request: AgentSpawnRequest) -> Answering<'_, AgentAnswer> {
        let path = swarm(request.swarm_id.take().as_deref(), "/agents");
        Box::pin(self.ask(actor, Ask::new(Method::POST, path).body(&request)))
    }

    fn swarm_status(&self, actor: Actor, request: SwarmRequest) -> Answering<'_, SwarmAnswer> {
        Box::pin(self.ask(actor, Ask::get(swarm(request.swarm_id.as_deref(), ""))))
    }

    fn swarm_list(&self, actor: Actor, request: SwarmListRequest) -> Answering<'_, SwarmListAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/swarms", &request))))
    }

    fn swarm_scale(&self, actor: Actor, mut request: SwarmScaleRequest) -> Answering<'_, SwarmAnswer> {
        let path = swarm(request.swarm_id.take().as_deref(), "/scale");
        Box::pin(self.ask(actor, Ask::new(Method::POST, path).body(&request).long()))
    }

    fn swarm_destroy(&self, actor: Actor, request: SwarmRequest) -> Answering<'_, SwarmDestroyAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, swarm(request.swarm_id.as_deref(), "")).long()))
    }

    /// The daemon asks when it is asked for the sandbox.
    fn swarm_link(&self, request: CreateRequest) -> Answering<'_, CreateRequest> {
        Box::pin(async move { Ok(request) })
    }

    fn task_orchestrate(
        &self,
        actor: Actor,
        request: TaskRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, TaskAnswer> {
        let ask = Ask::new(Method::POST, "/v1/tasks".into()).body(&request);
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn task_status(&self, actor: Actor, request: TaskStatusRequest) -> Answering<'_, TaskAnswer> {
        let uri = with_query(&task(&request.task_id), &WaitQuery { wait: request.wait });
        Box::pin(self.ask(actor, Ask::get(uri)))
    }

    fn task_cancel(&self, actor: Actor, request: TaskCancelRequest) -> Answering<'_, TaskAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, task(&request.task_id))))
    }
}

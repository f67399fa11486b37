//! Swarms, as every face reaches them.

use ringfence_engine::api::{Answering, ProgressSender};
use ringfence_model::api::{
    Actor, AgentAnswer, AgentSpawnRequest, CreateRequest, SwarmAnswer, SwarmDestroyAnswer, SwarmInitRequest,
    SwarmListAnswer, SwarmListRequest, SwarmRequest, SwarmScaleRequest, TaskAnswer, TaskCancelRequest, TaskRequest,
    TaskStatusRequest,
};

/// Swarms of agents and their tasks.
///
/// # Errors
/// As [`Sandboxes`](ringfence_engine::api::Sandboxes).
pub trait Swarms: Send + Sync + 'static {
    /// Makes a swarm. No sandbox is made yet.
    fn swarm_init(&self, actor: Actor, request: SwarmInitRequest) -> Answering<'_, SwarmAnswer>;

    /// Adds an agent to a swarm.
    fn agent_spawn(&self, actor: Actor, request: AgentSpawnRequest) -> Answering<'_, AgentAnswer>;

    /// How a swarm stands.
    fn swarm_status(&self, actor: Actor, request: SwarmRequest) -> Answering<'_, SwarmAnswer>;

    /// Swarms, newest first.
    fn swarm_list(&self, actor: Actor, request: SwarmListRequest) -> Answering<'_, SwarmListAnswer>;

    /// Gives a swarm more agents, or fewer; the sandboxes of those that go end.
    fn swarm_scale(&self, actor: Actor, request: SwarmScaleRequest) -> Answering<'_, SwarmAnswer>;

    /// Ends a swarm, its tasks and its sandboxes.
    fn swarm_destroy(&self, actor: Actor, request: SwarmRequest) -> Answering<'_, SwarmDestroyAnswer>;

    /// Fills in which swarm and agent a sandbox that is about to be made belongs to, by `swarm_id` and `agent_id` or by its name.
    /// A face asks this before it has the sandbox made: the engine knows no swarms. A client of the daemon answers what it was
    /// given, because the daemon asks.
    fn swarm_link(&self, request: CreateRequest) -> Answering<'_, CreateRequest>;

    /// Starts a task, and waits for its end as long as the request says.
    fn task_orchestrate(
        &self,
        actor: Actor,
        request: TaskRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, TaskAnswer>;

    /// How a task stands.
    fn task_status(&self, actor: Actor, request: TaskStatusRequest) -> Answering<'_, TaskAnswer>;

    /// Ends a task and its programs. Doing it again is no error.
    fn task_cancel(&self, actor: Actor, request: TaskCancelRequest) -> Answering<'_, TaskAnswer>;
}

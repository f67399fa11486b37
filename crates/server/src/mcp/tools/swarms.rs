//! Swarms of agents, and their tasks.

use ringfence_model::api::{
    AgentSpawnRequest, SwarmInitRequest, SwarmListRequest, SwarmRequest, SwarmScaleRequest, TaskCancelRequest,
    TaskRequest, TaskStatusRequest,
};

use super::{AGENT, Effect, Entry, entry};

macro_rules! research {
    ($name:literal, $title:literal, $effect:ident, $method:ident($request:ty), $description:literal) => {
        entry($name, $title, Effect::$effect, $description, |services, request: $request, _| {
            Box::pin(async move { services.research.$method(AGENT, request).await })
        })
    };
}

pub(super) fn table() -> Vec<Entry> {
    vec![
        research!(
            "swarm_init",
            "Make a swarm",
            Adds,
            swarm_init(SwarmInitRequest),
            "Makes a swarm of agents and answers their ids. Each agent gets a sandbox when a task needs one, or when you create one \
             named agent-<agent id>-sandbox. `topology` says who hears whom: in a mesh a quorum decides, in a star the hub weighs, \
             in a ring each agent hears the one before it, in a hierarchical one a tree reduces. Then: task_orchestrate."
        ),
        research!(
            "agent_spawn",
            "Add an agent to a swarm",
            Adds,
            agent_spawn(AgentSpawnRequest),
            "Adds an agent to a swarm, at most 100 in all."
        ),
        research!(
            "swarm_status",
            "Read a swarm",
            Reads,
            swarm_status(SwarmRequest),
            "Answers a swarm's agents with their sandboxes, how many tasks run, and what it has cost so far."
        ),
        research!("swarm_list", "List swarms", Reads, swarm_list(SwarmListRequest), "Lists swarms, newest first."),
        research!(
            "swarm_scale",
            "Scale a swarm",
            Changes,
            swarm_scale(SwarmScaleRequest),
            "Gives a swarm more agents, or fewer: the newest go first, and their sandboxes end with them."
        ),
        research!(
            "swarm_destroy",
            "Destroy a swarm",
            ChangesOnce,
            swarm_destroy(SwarmRequest),
            "Ends a swarm, its tasks and every sandbox of its agents for good, and says what they cost in credits."
        ),
        entry(
            "task_orchestrate",
            "Run a task in a swarm",
            Effect::AddsOpen,
            "Runs a task in the sandboxes of a swarm's agents, and answers each agent's result and what the swarm decides (`aggregate`: \
             buy, sell or hold, with votes and figures). `task` names a handler: `Run distributed backtest` (each agent a strategy on \
             real bars), `Technical analysis`, `Sentiment analysis` (inputs: texts), `Risk calculation` (inputs: positions); or give \
             `code` of your own. An agent that fails counts as absent. Waits 50 s at most: a longer task is answered with \
             status=running and is read with task_status.",
            |services, request: TaskRequest, progress| {
                Box::pin(async move { services.research.task_orchestrate(AGENT, request, progress).await })
            },
        ),
        research!(
            "task_status",
            "Read a task",
            Reads,
            task_status(TaskStatusRequest),
            "Answers how a task stands, with each agent's result so far. With `wait` it waits for the end."
        ),
        research!(
            "task_cancel",
            "Cancel a task",
            ChangesOnce,
            task_cancel(TaskCancelRequest),
            "Ends a task and the programs that run for it. The sandboxes stay."
        ),
    ]
}

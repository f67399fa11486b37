//! How a task begins: everything that can be refused is refused here, before anything runs.

use std::sync::Arc;

use ringfence_model::{
    ApiError, Code, JobId,
    api::{self, AgentResult, StepState, SwarmStrategy, TaskRequest, TaskState, TaskStrategy, Topology},
};
use ringfence_store::AuditEntry;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Live, State, TASK,
    record::{Asked, End, StepRecord},
    work,
};
use crate::{
    Desk,
    swarm::{
        bars::Bars,
        handler::{Handler, LIST},
        invalid, now_ms,
        plan::{Step, role},
        public,
        rows::{Agent, Swarm},
        stored,
    },
};

/// Tasks that may run at once.
const RUNNING_MAX: usize = 100;

/// Which handler a request means.
fn handler(request: &TaskRequest) -> Result<Handler, ApiError> {
    match (&request.code, &request.handler) {
        (Some(_), _) => Ok(Handler::Code),
        (None, Some(name)) => Handler::named(name).ok_or_else(|| {
            let shown = name.chars().take(80).collect::<String>().escape_debug().to_string();
            invalid(format!("there is no handler `{shown}`; there are {LIST}"))
        }),
        (None, None) => Handler::named(&request.task).ok_or_else(|| {
            invalid(format!(
                "the task names no handler, and a text alone cannot be run: give `handler`, or `code`, a program that is run in each \
                 agent's sandbox. Handlers are {LIST}"
            ))
        }),
    }
}

/// The input of the agent at `place`: its own, or the one that is for all.
fn given(request: &TaskRequest, place: usize) -> Map<String, Value> {
    match request.inputs.as_slice() {
        [all] => all.clone(),
        inputs => inputs.get(place).cloned().unwrap_or_default(),
    }
}

/// A handler, and what it is given.
type Given = (Handler, Map<String, Value>);

/// What each agent is asked, by which handler. Reads files.
fn asked_of_each(
    request: &TaskRequest,
    main: Handler,
    strategy: SwarmStrategy,
    agents: &[Agent],
    bars: &Bars,
) -> Result<Vec<Given>, ApiError> {
    let one = |(place, agent): (usize, &Agent)| {
        let mut input = given(request, place);
        let by = match (main, input.get("handler").and_then(Value::as_str).map(str::to_owned)) {
            // A program of the caller's own may have an argument of that name.
            (Handler::Code, _) => Handler::Code,
            (_, Some(name)) => {
                input.remove("handler");
                Handler::named(&name).ok_or_else(|| {
                    invalid(format!("`inputs[{place}]` names a handler that there is not; there are {LIST}"))
                })?
            }
            (main, None) if strategy == SwarmStrategy::Specialized => Handler::named(&agent.kind).unwrap_or(main),
            (main, None) => main,
        };
        let complete = by.complete(input, place, bars).map_err(|why| {
            invalid(format!("`inputs[{place}]`, for agent {} and handler {}: {why}", agent.name, by.as_str()))
        })?;
        Ok((by, complete))
    };
    agents.iter().enumerate().map(one).collect()
}

fn record(asked: &Asked, plan: &[Step], number: usize, of: &[Given]) -> StepRecord {
    let step = &plan[number];
    let agent = &asked.agents[step.agent];
    let (handler, input) = of[step.agent].clone();
    StepRecord {
        view: AgentResult {
            agent_id: agent.id.clone(),
            agent: agent.name.clone(),
            role: role(asked.topology, step.agent, asked.agents.len()).to_owned(),
            step: step.kind.as_str().to_owned(),
            handler: handler.as_str().to_owned(),
            status: StepState::Pending,
            reason: None,
            vote: None,
            weight: None,
            received_from: Vec::new(),
            result: Map::new(),
            output: None,
            sandbox_id: None,
            execution_id: None,
            execution_time: None,
        },
        handler,
        input,
        curve: None,
        tries: 0,
    }
}

fn check_shape(request: &TaskRequest, swarm: &Swarm, handler: Handler) -> Result<(), ApiError> {
    let (inputs, agents) = (request.inputs.len(), swarm.agents.len());
    if inputs > 1 && inputs != agents {
        return Err(invalid(format!(
            "`inputs` has {inputs} objects, and the swarm {agents} agents: give one for each, or a single one for all"
        )));
    }
    if request.rounds() > 1 && (handler != Handler::Code || swarm.topology != Topology::Mesh) {
        return Err(invalid("`rounds` 2 is for `code` in a mesh: elsewhere the topology says who hears whom"));
    }
    Ok(())
}

/// Starts a task.
///
/// # Errors
/// SWARM_NOT_FOUND, INVALID_ARGUMENT, TOO_LARGE, QUOTA_EXCEEDED, or the database.
pub(crate) async fn start(desk: Desk, actor: api::Actor, request: TaskRequest) -> Result<Arc<Live>, ApiError> {
    let swarm = desk.active_swarm(request.swarm_id.as_deref()).await?;
    request.check()?;
    let handler = handler(&request)?;
    check_shape(&request, &swarm, handler)?;
    if desk.inner.floor.tasks().len() >= RUNNING_MAX {
        let text = format!("{RUNNING_MAX} tasks run; wait for one to end, or cancel one with `task_cancel`");
        return Err(ApiError::new(Code::QuotaExceeded, text));
    }
    let by_swarm =
        if swarm.strategy == SwarmStrategy::Adaptive { TaskStrategy::Adaptive } else { TaskStrategy::Parallel };
    let agents: Vec<Agent> = swarm.agents.iter().map(|(_, agent)| agent.clone()).collect();
    let bars = desk.bars();
    let dealt = swarm.strategy;
    let reading = tokio::task::spawn_blocking(move || {
        let each = asked_of_each(&request, handler, dealt, &agents, &bars)?;
        Ok::<_, ApiError>((request, agents, each))
    });
    let (request, agents, each) = reading
        .await
        .map_err(|_| ApiError::internal("the inputs could not be looked at; the daemon's log says why"))??;
    let strategy = request.strategy.unwrap_or(by_swarm);
    let asked = Asked { request, swarm: swarm.id, topology: swarm.topology, strategy, handler, agents };
    let plan = asked.plan();
    let steps: Vec<StepRecord> = (0..plan.len()).map(|number| record(&asked, &plan, number, &each)).collect();
    let now = now_ms();
    let code = asked.request.code.as_ref().map(|code| hex::encode(Sha256::digest(code)));
    let live = Live {
        id: JobId::from_random(TASK, rand::random()),
        actor,
        project: swarm.project,
        plan,
        created_at_ms: now,
        state: std::sync::Mutex::new(State {
            steps,
            status: TaskState::Running,
            end: End::default(),
            ended_at_ms: None,
        }),
        cancel: tokio::sync::watch::Sender::new(false),
        changed: tokio::sync::watch::Sender::new(0),
        asked,
    };
    let entry = AuditEntry::new(now, stored(actor), "task.start").detail(json!({
        "task": live.id, "swarm": live.asked.swarm, "handler": live.asked.handler, "code_sha256": code,
        "agents": live.asked.agents.len(), "strategy": live.asked.strategy, "topology": live.asked.topology,
    }));
    let row = live.row();
    let parts: Vec<_> = (0..live.plan.len()).map(|number| live.part(number)).collect();
    let written = desk.inner.store.write_with_audit(entry, move |tx| {
        tx.put_job(&row)?;
        tx.put_job_parts(&row.id, &parts)
    });
    drop(written.await.map_err(public)?);
    let live = Arc::new(live);
    work::spawn(&desk, Arc::clone(&live));
    Ok(live)
}

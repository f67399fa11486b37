//! One program in an agent's sandbox, which is made, or started again, where that is needed.

use std::time::Duration;

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError, Code, ExecutionId, JobId, Project, SandboxId,
    api::{self, CreateRequest, ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExecutionStatus, SandboxRequest},
};
use ringfence_store::SandboxStatus;
use tokio::sync::watch;

use super::rows::{self, Agent, linked};
use crate::Desk;

/// What a sandbox that a task makes for an agent is made from.
const TEMPLATE: &str = "python";
/// How long such a sandbox lives, in seconds, beside the time of the program that it is made for.
const LIFETIME_S: f64 = 3600.0;
/// Between a death from outside and the next attempt: a daemon that ends is known to end by then.
const BEFORE_AGAIN: Duration = Duration::from_secs(1);

/// In whose sandbox something is run, and on whose behalf.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) actor: api::Actor,
    /// Whose sandbox it is.
    pub(crate) project: Project,
    pub(crate) swarm: JobId,
    pub(crate) agent: Agent,
    /// Seconds that the program may take.
    pub(crate) timeout_s: f64,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) seat: Seat,
    pub(crate) code: String,
    pub(crate) language: Option<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) stdin: String,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It has ended, well or not.
    Ended(Box<ExecutionAnswer>),
    /// It could not be run: why.
    Refused(String),
    /// The task was cancelled.
    Cancelled,
    /// The daemon ends; it is run again after the next start.
    Interrupted,
}

/// Runs it. `place` hears where it runs, as soon as that is known.
pub(crate) async fn run(
    desk: &Desk,
    ask: &Ask,
    mut cancelled: watch::Receiver<bool>,
    place: impl Fn(SandboxId, ExecutionId),
) -> Ran {
    let engine = &desk.inner.engine;
    for is_last in [false, true] {
        if *cancelled.borrow() {
            return Ran::Cancelled;
        }
        // Neither of these is left half way: a sandbox that is being made is made, and a program that is begun is known by its id.
        let mut making = tokio::spawn(sandbox(desk.clone(), ask.seat.clone()));
        let sandbox = tokio::select! {
            biased;
            () = end(&mut cancelled) => {
                tokio::spawn(clear(desk.clone(), ask.seat.clone(), making));
                return Ran::Cancelled;
            }
            made = &mut making => made.unwrap_or_else(|_| Err(ApiError::internal("the agent's sandbox could not be made"))),
        };
        let begun = match sandbox {
            Ok(sandbox) => begin(desk, ask, &sandbox).await,
            Err(error) => Err(error),
        };
        let ran = match begun {
            Ok(answer) => {
                place(answer.sandbox_id.clone(), answer.execution_id.clone());
                attend(desk, ask.seat.actor, answer.execution_id, &mut cancelled).await
            }
            Err(error) => Ran::Refused(error.message),
        };
        let died = matches!(&ran, Ran::Ended(end) if end.status == ExecutionStatus::Killed && !out_of_memory(end));
        if engine.is_ending() && (died || matches!(ran, Ran::Refused(_))) {
            return Ran::Interrupted;
        }
        if !died || is_last {
            return ran;
        }
        // Its sandbox ended under it, or the daemon is about to: that is not the program's fault, once.
        tokio::time::sleep(BEFORE_AGAIN).await;
        if engine.is_ending() {
            return Ran::Interrupted;
        }
    }
    Ran::Interrupted
}

/// Waits until the task is cancelled.
pub(crate) async fn end(cancelled: &mut watch::Receiver<bool>) {
    drop(cancelled.wait_for(|cancelled| *cancelled).await);
}

fn out_of_memory(end: &ExecutionAnswer) -> bool {
    end.warnings.iter().any(|warning| warning.contains("out of memory"))
}

async fn begin(desk: &Desk, ask: &Ask, sandbox: &SandboxId) -> Result<ExecutionAnswer, ApiError> {
    let request = ExecuteRequest {
        sandbox_id: sandbox.to_string(),
        code: ask.code.clone(),
        language: ask.language.clone(),
        working_dir: ask.working_dir.clone(),
        timeout: Some(ask.seat.timeout_s),
        stdin: Some(ask.stdin.clone()),
        background: true,
        ..ExecuteRequest::default()
    };
    desk.inner.engine.execute(ask.seat.actor, request).await
}

async fn attend(desk: &Desk, actor: api::Actor, id: ExecutionId, cancelled: &mut watch::Receiver<bool>) -> Ran {
    let engine = &desk.inner.engine;
    loop {
        let request = ExecutionRequest { execution_id: id.to_string(), wait: Some(api::WAIT_S_MAX) };
        tokio::select! {
            biased;
            () = end(cancelled) => {
                engine.end_execution(&id, "its task was cancelled").await;
                return Ran::Cancelled;
            }
            answer = engine.execution(actor, request) => match answer {
                Ok(answer) if answer.status == ExecutionStatus::Running => {}
                Ok(answer) => return Ran::Ended(Box::new(answer)),
                Err(error) => return Ran::Refused(error.message),
            },
        }
    }
}

/// Ends a sandbox that was made for a swarm that was destroyed meanwhile.
async fn clear(desk: Desk, seat: Seat, making: tokio::task::JoinHandle<Result<SandboxId, ApiError>>) {
    let Ok(Ok(id)) = making.await else { return };
    if desk.active_swarm(Some(seat.swarm.as_str())).await.is_err() {
        let request = SandboxRequest { sandbox_id: id.to_string() };
        if let Err(error) = desk.inner.engine.delete(seat.actor, request).await {
            tracing::warn!(error = %error.message, sandbox = %id, "the sandbox of a destroyed swarm could not be ended");
        }
    }
}

/// The agent's sandbox, running.
async fn sandbox(desk: Desk, seat: Seat) -> Result<SandboxId, ApiError> {
    let engine = &desk.inner.engine;
    let (swarm, agent) = (seat.swarm.clone(), seat.agent.id.clone());
    let read = desk.inner.store.read(move |view| {
        let Some(swarm) = rows::find(view, None, Some(swarm.as_str()))?.filter(|swarm| swarm.ended_at_ms.is_none())
        else {
            return Ok(None);
        };
        let is_there = swarm.agents.iter().any(|(_, other)| other.id == agent);
        let sandboxes = view.sandboxes_of_swarm(&swarm.id, swarm.created_at_ms)?;
        Ok(is_there.then(|| linked(&sandboxes, &agent).map(|row| (row.id.clone(), row.status))))
    });
    let Some(found) = read.await.map_err(super::public)? else {
        return Err(ApiError::new(Code::SwarmNotFound, "the agent is no longer in the swarm"));
    };
    match found {
        Some((id, SandboxStatus::Stopped)) => {
            engine.resume(seat.actor, SandboxRequest { sandbox_id: id.to_string() }).await?;
            Ok(id)
        }
        Some((id, _)) => Ok(id),
        None => {
            let request = CreateRequest {
                template: TEMPLATE.to_owned(),
                name: Some(format!("agent-{}-sandbox", seat.agent.id)),
                timeout: Some((LIFETIME_S + 2.0 * seat.timeout_s) as u64),
                swarm_id: Some(seat.swarm.to_string()),
                agent_id: Some(seat.agent.id.to_string()),
                project: seat.project.clone(),
                ..CreateRequest::default()
            };
            Ok(engine.create(seat.actor, request, None).await?.sandbox_id)
        }
    }
}

//! Swarms of agents, and tasks that run in their sandboxes.
//!
//! A swarm is a job whose parts are its agents, a task a job whose parts are its programs. Which sandbox is whose stands in the
//! sandbox's own row. Programs run in the agents' sandboxes; what they say is counted here, and an agent's vote is its own whatever
//! its program prints.

mod bars;
mod decide;
mod handler;
mod link;
mod places;
mod plan;
mod rows;
mod run;
mod task;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use ringfence_engine::api::{Answering, ProgressSender, Sandboxes};
use ringfence_model::{
    AgentId, ApiError, Code, JobId, SandboxId,
    api::{
        self, AGENT_WORD_CHARS_MAX, AGENTS_DEFAULT, AGENTS_MAX, AgentAnswer, AgentSpawnRequest, CreateRequest,
        NAME_CHARS_MAX, SandboxCost, SandboxRequest, SwarmAnswer, SwarmDestroyAnswer, SwarmInitRequest,
        SwarmListAnswer, SwarmListRequest, SwarmRequest, SwarmScaleRequest, SwarmSummary, TaskAnswer,
        TaskCancelRequest, TaskRequest, TaskStatusRequest, list_limit,
    },
    credit::MilliCredits,
};
use ringfence_store::{Actor, AuditEntry, SandboxRow, SandboxStatus, StoreError};
use serde_json::json;

use crate::{Desk, api::Swarms};
use places::{PLACES, Places};
use rows::{ACTIVE_MAX, Agent, SWARM, Swarm};
use task::Live;

/// Sandboxes that are ended at once when a swarm ends.
const ENDS_AT_ONCE: usize = 8;

/// What the desk holds of swarms beside their rows.
#[derive(Debug)]
pub(crate) struct Floor {
    places: Places,
    tasks: Mutex<HashMap<JobId, Arc<Live>>>,
}

impl Default for Floor {
    fn default() -> Self {
        Self { places: Places::new(PLACES), tasks: Mutex::default() }
    }
}

impl Floor {
    fn tasks(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Live>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tasks of a swarm that run.
    fn of(&self, swarm: &JobId) -> Vec<Arc<Live>> {
        self.tasks().values().filter(|task| task.swarm() == swarm).cloned().collect()
    }

    /// Agents whose programs run.
    fn busy(&self, swarm: &JobId) -> HashSet<AgentId> {
        self.of(swarm).iter().flat_map(|task| task.busy()).collect()
    }
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

pub(crate) fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |at| at.to_string())
}

pub(crate) fn stored(actor: api::Actor) -> Actor {
    match actor {
        api::Actor::Operator => Actor::Operator,
        api::Actor::Agent => Actor::Agent,
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

/// What a client is told of the database's refusal.
pub(crate) fn public(error: StoreError) -> ApiError {
    if let StoreError::Refused(why) = error {
        return invalid(why);
    }
    tracing::error!(%error, cause = ?std::error::Error::source(&error).map(ToString::to_string), "the database failed a swarm");
    ApiError::internal("the database could not be used; the daemon's log says why")
}

/// Runs to its end whether or not anybody still waits.
/// Credits of all of them.
fn sum(costs: &[SandboxCost]) -> MilliCredits {
    MilliCredits(costs.iter().map(|cost| cost.credits.0).sum())
}

fn tracked<'a, T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Answering<'a, T> {
    Box::pin(async move {
        tokio::spawn(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request about a swarm panicked");
            Err(ApiError::internal("the request failed inside the daemon; its log says where"))
        })
    })
}

/// A word of the caller's that stands in names and tables.
fn check_word(argument: &str, word: Option<&str>, chars_max: usize) -> Result<(), ApiError> {
    let Some(word) = word else { return Ok(()) };
    let count = word.chars().count();
    if count == 0 || count > chars_max || word.chars().any(char::is_control) {
        return Err(invalid(format!(
            "`{argument}` must have 1 to {chars_max} characters, none of them a control character"
        )));
    }
    Ok(())
}

fn check_count(agents: u32) -> Result<(), ApiError> {
    if (1..=AGENTS_MAX).contains(&agents) {
        return Ok(());
    }
    Err(invalid(format!("`maxAgents` is {agents}; it must be between 1 and {AGENTS_MAX}")))
}

/// Takes up what an earlier run of the daemon left unfinished: tasks, and the ends of sandboxes whose swarm was destroyed.
///
/// # Errors
/// The database.
pub(crate) async fn resume(desk: &Desk) -> Result<(), StoreError> {
    let left = desk.inner.store.read(|view| {
        let mut left = Vec::new();
        for row in view.sandboxes_in(&[SandboxStatus::Running, SandboxStatus::Paused, SandboxStatus::Stopped])? {
            let Some(swarm) = &row.swarm_id else { continue };
            if rows::find(view, None, Some(swarm))?.is_none_or(|swarm| swarm.ended_at_ms.is_some()) {
                left.push(row.id);
            }
        }
        Ok(left)
    });
    let left = left.await?;
    if !left.is_empty() {
        let desk = desk.clone();
        tokio::spawn(async move { desk.end_sandboxes(api::Actor::Operator, left).await });
    }
    task::resume(desk).await
}

impl Desk {
    /// The active swarm that is meant.
    async fn active_swarm(&self, reference: Option<&str>) -> Result<Swarm, ApiError> {
        match self.swarm(reference).await? {
            swarm if swarm.ended_at_ms.is_none() => Ok(swarm),
            _ => Err(rows::unknown(reference, true)),
        }
    }

    /// The swarm that is meant, also one that was destroyed.
    async fn swarm(&self, reference: Option<&str>) -> Result<Swarm, ApiError> {
        let (wanted, of) = (reference.map(str::to_owned), self.project.clone());
        let found = self
            .inner
            .store
            .read(move |view| rows::find(view, of.as_ref(), wanted.as_deref()))
            .await
            .map_err(public)?;
        found.ok_or_else(|| rows::unknown(reference, false))
    }

    async fn sandboxes_of(&self, swarm: &Swarm) -> Result<Vec<SandboxRow>, ApiError> {
        let (id, since) = (swarm.id.clone(), swarm.created_at_ms);
        self.inner.store.read(move |view| view.sandboxes_of_swarm(&id, since)).await.map_err(public)
    }

    /// What each sandbox has cost, from the ledger.
    async fn costs(&self, sandboxes: Vec<SandboxRow>) -> Result<Vec<SandboxCost>, ApiError> {
        let read = self.inner.store.read(move |view| {
            let cost = |row: SandboxRow| {
                let (minutes, credits) = (view.sandbox_minutes(&row.id)?, view.sandbox_cost(&row.id)?);
                Ok(SandboxCost { sandbox_id: row.id, agent_id: row.agent_id, minutes, credits, problem: None })
            };
            sandboxes.into_iter().map(cost).collect::<Result<Vec<_>, StoreError>>()
        });
        read.await.map_err(public)
    }

    async fn answer(&self, swarm: Swarm, message: impl Into<String>) -> Result<SwarmAnswer, ApiError> {
        let sandboxes = self.sandboxes_of(&swarm).await?;
        let busy = self.inner.floor.busy(&swarm.id);
        let agents = swarm.views(&sandboxes, |agent| busy.contains(agent));
        let costs = self.costs(sandboxes).await?;
        Ok(SwarmAnswer {
            success: true,
            agents,
            tasks_running: u32::try_from(self.inner.floor.of(&swarm.id).len()).unwrap_or(u32::MAX),
            cost_so_far: sum(&costs),
            created_at: time(swarm.created_at_ms),
            status: swarm.state(),
            topology: swarm.topology,
            strategy: swarm.strategy,
            name: swarm.name,
            swarm_id: swarm.id,
            message: message.into(),
        })
    }

    async fn do_init(self, actor: api::Actor, request: SwarmInitRequest) -> Result<SwarmAnswer, ApiError> {
        let agents = request.max_agents.unwrap_or(AGENTS_DEFAULT);
        check_count(agents)?;
        check_word("name", request.name.as_deref(), NAME_CHARS_MAX)?;
        if request.name.as_deref().is_some_and(|name| JobId::parse(name).is_ok() || name == "newest") {
            return Err(invalid("`name` is one that means something else; choose another"));
        }
        let now = now_ms();
        let strategy = request.strategy.unwrap_or_default();
        let id = JobId::from_random(SWARM, rand::random());
        let mut swarm =
            Swarm::new(id, request.name, (stored(actor), self.makes_for()), request.topology, strategy, now);
        let parts = (0..agents).map(|_| swarm.add(None, None, now)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        let detail = json!({"swarm": swarm.id, "name": swarm.name, "topology": swarm.topology, "agents": agents});
        let entry = AuditEntry::new(now, stored(actor), "swarm.init").detail(detail);
        let (row, name) = (swarm.row(now), swarm.name.clone());
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            let active = rows::active(tx, None)?;
            if active.len() >= ACTIVE_MAX {
                return Err(StoreError::Refused(format!(
                    "{ACTIVE_MAX} swarms are active; destroy one with `swarm_destroy` first"
                )));
            }
            if active.iter().any(|other| other.name == name && other.project == row.project) {
                return Err(StoreError::Refused(format!("an active swarm is named `{}` already", name.escape_debug())));
            }
            tx.put_job(&row)?;
            tx.put_job_parts(&row.id, &parts)
        });
        drop(written.await.map_err(public)?);
        self.answer(swarm, "no sandbox is made until one is needed or linked").await
    }

    async fn do_spawn(self, actor: api::Actor, request: AgentSpawnRequest) -> Result<AgentAnswer, ApiError> {
        let swarm = self.active_swarm(request.swarm_id.as_deref()).await?;
        check_word("type", request.kind.as_deref(), AGENT_WORD_CHARS_MAX)?;
        check_word("name", request.name.as_deref(), AGENT_WORD_CHARS_MAX)?;
        let now = now_ms();
        let entry = AuditEntry::new(now, stored(actor), "swarm.spawn")
            .detail(json!({"swarm": swarm.id, "name": request.name, "type": request.kind}));
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            let mut swarm = again(tx, &swarm.id)?;
            if swarm.agents.len() >= AGENTS_MAX as usize {
                return Err(StoreError::Refused(format!(
                    "the swarm has {AGENTS_MAX} agents, and no more are possible"
                )));
            }
            let part = swarm.add(request.kind.as_deref(), request.name.as_deref(), now).map_err(StoreError::Refused)?;
            tx.put_job_parts(&swarm.id, &[part])?;
            Ok(swarm)
        });
        let (swarm, receipt) = written.await.map_err(public)?;
        drop(receipt);
        let agent =
            swarm.views(&[], |_| false).pop().ok_or_else(|| ApiError::internal("the agent that was added is gone"))?;
        Ok(AgentAnswer { success: true, swarm_id: swarm.id, agent_id: agent.id.clone(), agent })
    }

    async fn do_list(&self, request: SwarmListRequest) -> Result<SwarmListAnswer, ApiError> {
        let limit = list_limit(request.limit)?;
        let wanted = request.status.unwrap_or_else(|| "active".to_owned());
        if !["active", "destroyed", "all"].contains(&wanted.as_str()) {
            return Err(invalid("`status` must be active, destroyed or all"));
        }
        let of = self.project.clone();
        let read = self.inner.store.read(move |view| match wanted.as_str() {
            "active" => rows::active(view, of.as_ref()).map(|mut swarms| {
                swarms.reverse();
                swarms
            }),
            "all" => rows::list(view, of.as_ref(), limit),
            _ => Ok(rows::list(view, of.as_ref(), limit)?
                .into_iter()
                .filter(|swarm| swarm.ended_at_ms.is_some())
                .collect()),
        });
        let summary = |swarm: Swarm| SwarmSummary {
            status: swarm.state(),
            agents: u32::try_from(swarm.agents.len()).unwrap_or(u32::MAX),
            created_at: time(swarm.created_at_ms),
            topology: swarm.topology,
            name: swarm.name,
            swarm_id: swarm.id,
        };
        let swarms: Vec<_> = read.await.map_err(public)?.into_iter().take(limit as usize).map(summary).collect();
        Ok(SwarmListAnswer { success: true, count: u32::try_from(swarms.len()).unwrap_or(u32::MAX), swarms })
    }

    async fn do_scale(self, actor: api::Actor, request: SwarmScaleRequest) -> Result<SwarmAnswer, ApiError> {
        let swarm = self.active_swarm(request.swarm_id.as_deref()).await?;
        check_count(request.max_agents)?;
        let (now, wanted) = (now_ms(), request.max_agents as usize);
        let entry = AuditEntry::new(now, stored(actor), "swarm.scale")
            .detail(json!({"swarm": swarm.id, "from": swarm.agents.len(), "to": wanted}));
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            let mut swarm = again(tx, &swarm.id)?;
            let (gone, mut parts) = swarm.cut(wanted, now);
            while swarm.agents.len() < wanted {
                parts.push(swarm.add(None, None, now).map_err(StoreError::Refused)?);
            }
            tx.put_job_parts(&swarm.id, &parts)?;
            Ok((swarm, gone))
        });
        let ((swarm, gone), receipt) = written.await.map_err(public)?;
        drop(receipt);
        let is_gone =
            |row: &SandboxRow| gone.iter().any(|agent: &Agent| row.agent_id.as_deref() == Some(agent.id.as_str()));
        let ends: Vec<SandboxId> = self
            .sandboxes_of(&swarm)
            .await?
            .into_iter()
            .filter(|row| row.status.is_live() && is_gone(row))
            .map(|row| row.id)
            .collect();
        let count = ends.len();
        let problems = self.end_sandboxes(actor, ends).await;
        let message = match problems.len() {
            0 => format!("it has {} agents; {count} sandboxes of those that went have ended", swarm.agents.len()),
            n => format!("it has {} agents; {n} of {count} sandboxes could not be ended", swarm.agents.len()),
        };
        self.answer(swarm, message).await
    }

    /// Deletes sandboxes, a few at once. Which could not be, and why.
    async fn end_sandboxes(&self, actor: api::Actor, ids: Vec<SandboxId>) -> HashMap<SandboxId, String> {
        let ends = futures::stream::iter(ids).map(|id| async move {
            let request = SandboxRequest { sandbox_id: id.to_string() };
            match self.inner.engine.delete(actor, request).await {
                Ok(_) => None,
                Err(error) => Some((id, error.message)),
            }
        });
        ends.buffer_unordered(ENDS_AT_ONCE).filter_map(|problem| async move { problem }).collect().await
    }

    async fn do_destroy(self, actor: api::Actor, request: SwarmRequest) -> Result<SwarmDestroyAnswer, ApiError> {
        let mut swarm = match request.swarm_id.as_deref() {
            None => self.active_swarm(None).await?,
            reference => self.swarm(reference).await?,
        };
        let (now, already) = (now_ms(), swarm.ended_at_ms.is_some());
        // It takes no task and no sandbox any more before those that it has are ended.
        if !already {
            swarm.ended_at_ms = Some(now);
            let entry = AuditEntry::new(now, stored(actor), "swarm.destroy").detail(json!({"swarm": swarm.id}));
            let row = swarm.row(now);
            drop(self.inner.store.write_with_audit(entry, move |tx| tx.put_job(&row)).await.map_err(public)?);
        }
        let tasks = self.inner.floor.of(&swarm.id);
        for task in &tasks {
            task.cancel("its swarm was destroyed");
        }
        futures::future::join_all(tasks.iter().map(|task| task.ended())).await;
        let sandboxes = self.sandboxes_of(&swarm).await?;
        let live: Vec<SandboxId> =
            sandboxes.iter().filter(|row| row.status.is_live()).map(|row| row.id.clone()).collect();
        let count = live.len();
        let mut problems = self.end_sandboxes(actor, live).await;
        let mut costs = self.costs(sandboxes).await?;
        for cost in &mut costs {
            cost.problem = problems.remove(&cost.sandbox_id);
        }
        let total_cost = sum(&costs);
        let message = if already {
            "it was destroyed before".to_owned()
        } else {
            format!("the swarm and {count} sandboxes have ended; {total_cost} credits in all")
        };
        Ok(SwarmDestroyAnswer {
            success: costs.iter().all(|cost| cost.problem.is_none()),
            status: swarm.state(),
            message,
            tasks_cancelled: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
            sandboxes: costs,
            total_cost,
            destroyed_at: time(swarm.ended_at_ms.unwrap_or(now)),
            already_destroyed: already,
            swarm_id: swarm.id,
        })
    }
}

/// The swarm as it is now, within the transaction that changes it.
fn again(view: &ringfence_store::View<'_>, id: &JobId) -> Result<Swarm, StoreError> {
    let swarm = rows::find(view, None, Some(id.as_str()))?.filter(|swarm| swarm.ended_at_ms.is_none());
    swarm.ok_or_else(|| StoreError::Refused("the swarm was destroyed meanwhile".to_owned()))
}

impl Swarms for Desk {
    fn swarm_init(&self, actor: api::Actor, request: SwarmInitRequest) -> Answering<'_, SwarmAnswer> {
        tracked(self.clone().do_init(actor, request))
    }

    fn agent_spawn(&self, actor: api::Actor, request: AgentSpawnRequest) -> Answering<'_, AgentAnswer> {
        tracked(self.clone().do_spawn(actor, request))
    }

    fn swarm_status(&self, _: api::Actor, request: SwarmRequest) -> Answering<'_, SwarmAnswer> {
        Box::pin(async move {
            let swarm = self.swarm(request.swarm_id.as_deref()).await?;
            self.answer(swarm, "").await
        })
    }

    fn swarm_list(&self, _: api::Actor, request: SwarmListRequest) -> Answering<'_, SwarmListAnswer> {
        Box::pin(self.do_list(request))
    }

    fn swarm_scale(&self, actor: api::Actor, request: SwarmScaleRequest) -> Answering<'_, SwarmAnswer> {
        tracked(self.clone().do_scale(actor, request))
    }

    fn swarm_destroy(&self, actor: api::Actor, request: SwarmRequest) -> Answering<'_, SwarmDestroyAnswer> {
        tracked(self.clone().do_destroy(actor, request))
    }

    fn swarm_link(&self, request: CreateRequest) -> Answering<'_, CreateRequest> {
        Box::pin(async move {
            let of = self.project.clone();
            self.inner
                .store
                .read(move |view| link::link(view, of.as_ref(), request))
                .await
                .map_err(public)
                .and_then(|found| found)
        })
    }

    fn task_orchestrate(
        &self,
        actor: api::Actor,
        request: TaskRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, TaskAnswer> {
        Box::pin(async move {
            let wait = request.wait_s()?;
            let task = tracked(task::start(self.clone(), actor, request)).await?;
            task.watch(wait, progress).await;
            Ok(task.answer())
        })
    }

    fn task_status(&self, _: api::Actor, request: TaskStatusRequest) -> Answering<'_, TaskAnswer> {
        Box::pin(async move {
            let found = task::find(self, &request.task_id).await?;
            let wait = request.wait_s()?;
            found.watch(wait, None).await;
            Ok(found.answer())
        })
    }

    fn task_cancel(&self, actor: api::Actor, request: TaskCancelRequest) -> Answering<'_, TaskAnswer> {
        tracked(task::cancel(self.clone(), actor, request.task_id))
    }
}

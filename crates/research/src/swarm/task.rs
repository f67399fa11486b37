//! Tasks: asked, worked step by step, decided, and taken up again after a restart.

mod begin;
mod record;
mod work;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ringfence_engine::api::ProgressSender;
use ringfence_model::{
    AgentId, ApiError, Code, JobId, Project,
    api::{self, Aggregate, Progress, StepState, TaskAnswer, TaskProgress, TaskState},
};
use ringfence_store::{AuditEntry, JobPartRow, JobRow, StoreError};
use serde_json::json;
use tokio::sync::watch;

pub(crate) use begin::start;
use record::{Asked, End, StepRecord};

use super::{now_ms, plan::Step, public, stored, time};
use crate::Desk;

/// The kind of the job.
pub(crate) const TASK: &str = "task";

/// A task, running or as it ended.
#[derive(Debug)]
pub(crate) struct Live {
    id: JobId,
    actor: api::Actor,
    /// Whose it is.
    project: Project,
    asked: Asked,
    /// What is to be done, in the order of the records.
    plan: Vec<Step>,
    created_at_ms: u64,
    state: Mutex<State>,
    cancel: watch::Sender<bool>,
    /// Grows with every change, and is closed by none.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    steps: Vec<StepRecord>,
    status: TaskState,
    end: End,
    ended_at_ms: Option<u64>,
}

impl State {
    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.end.cancelled.iter().cloned().collect();
        if let Some(aggregate) = self.end.aggregate.as_ref().filter(|aggregate| aggregate.about.len() > 1) {
            warnings.push(format!(
                "the votes are about {}: the decision is about all of them together; give `inputs` one symbol to decide about that",
                aggregate.about.join(", ")
            ));
        }
        warnings
    }
}

impl Live {
    fn of(job: JobRow, parts: Vec<JobPartRow>) -> Result<Self, StoreError> {
        let unreadable = |column| StoreError::Unreadable { column, row: format!("job {}", job.id) };
        let asked: Asked = serde_json::from_value(job.request).map_err(|_| unreadable("request"))?;
        let steps = parts.into_iter().map(|part| serde_json::from_value(part.body).map_err(|_| unreadable("body")));
        let steps: Vec<StepRecord> = steps.collect::<Result<_, _>>()?;
        let plan = asked.plan();
        if plan.len() != steps.len() {
            return Err(unreadable("parts"));
        }
        let status = serde_json::from_value(json!(job.status)).map_err(|_| unreadable("status"))?;
        let actor =
            if job.actor == ringfence_store::Actor::Operator { api::Actor::Operator } else { api::Actor::Agent };
        let state = State {
            steps,
            status,
            end: serde_json::from_value(job.state).map_err(|_| unreadable("state"))?,
            ended_at_ms: job.ended_at_ms,
        };
        Ok(Self {
            id: job.id,
            actor,
            project: job.project,
            asked,
            plan,
            created_at_ms: job.created_at_ms,
            state: Mutex::new(state),
            cancel: watch::Sender::new(false),
            changed: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.send_modify(|count| *count += 1);
        changed
    }

    /// Its swarm.
    pub(crate) fn swarm(&self) -> &JobId {
        &self.asked.swarm
    }

    /// Agents whose programs run.
    pub(crate) fn busy(&self) -> Vec<AgentId> {
        let state = self.state();
        let running = state.steps.iter().filter(|step| step.view.status == StepState::Running);
        running.map(|step| step.view.agent_id.clone()).collect()
    }

    /// Has it end as soon as its programs are killed.
    pub(crate) fn cancel(&self, reason: &str) {
        self.change(|state| state.end.cancelled.get_or_insert_with(|| reason.to_owned()).len());
        self.cancel.send_replace(true);
    }

    /// Waits for its end, without a bound.
    pub(crate) async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        while self.state().ended_at_ms.is_none() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits for its end at most so many seconds, and tells how far it is.
    pub(crate) async fn watch(&self, wait_s: f64, progress: Option<ProgressSender>) {
        let telling = async {
            let mut changed = self.changed.subscribe();
            loop {
                if let Some(progress) = &progress {
                    let TaskProgress { total, completed, failed, .. } = self.progress();
                    let done = completed + failed;
                    let percent = Some(100.0 * f64::from(done) / f64::from(total.max(1)));
                    let message = format!("{done} of {total} programs have ended");
                    let _ = progress.try_send(Progress { message, percent, seconds_left: None });
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = self.ended() => {}
            () = telling => {}
            () = tokio::time::sleep(Duration::from_secs_f64(wait_s)) => {}
        }
    }

    fn progress(&self) -> TaskProgress {
        let state = self.state();
        let count = |wanted: &[StepState]| {
            let found = state.steps.iter().filter(|step| wanted.contains(&step.view.status)).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        TaskProgress {
            total: u32::try_from(state.steps.len()).unwrap_or(u32::MAX),
            completed: count(&[StepState::Completed]),
            failed: count(&[StepState::Failed, StepState::Skipped, StepState::Cancelled]),
            running: count(&[StepState::Running]),
        }
    }

    /// What clients see.
    pub(crate) fn answer(&self) -> TaskAnswer {
        let progress = self.progress();
        let state = self.state();
        TaskAnswer {
            success: matches!(state.status, TaskState::Running | TaskState::Completed),
            task_id: self.id.clone(),
            swarm_id: self.asked.swarm.clone(),
            task: self.asked.request.task.clone(),
            status: state.status,
            handler: self.asked.handler.as_str().to_owned(),
            topology: self.asked.topology,
            strategy: self.asked.strategy,
            priority: self.asked.request.priority.unwrap_or_default(),
            progress,
            results: state.steps.iter().map(|step| step.view.clone()).collect(),
            aggregate: state.end.aggregate.clone(),
            created_at: time(self.created_at_ms),
            finished_at: state.ended_at_ms.map(time),
            warnings: state.warnings(),
        }
    }

    /// The job as it is written.
    fn row(&self) -> JobRow {
        let state = self.state();
        JobRow {
            id: self.id.clone(),
            kind: TASK.to_owned(),
            name: None,
            actor: stored(self.actor),
            project: self.project.clone(),
            status: state.status.as_str().to_owned(),
            request: serde_json::to_value(&self.asked).expect("a request is plain data"),
            state: serde_json::to_value(&state.end).expect("an end is plain data"),
            created_at_ms: self.created_at_ms,
            changed_at_ms: now_ms(),
            ended_at_ms: state.ended_at_ms,
        }
    }

    /// A step as it is written.
    fn part(&self, number: usize) -> JobPartRow {
        let state = self.state();
        let step = &state.steps[number];
        JobPartRow {
            number: number as u64,
            status: step.view.status.as_str().to_owned(),
            body: serde_json::to_value(step).expect("a step is plain data"),
            changed_at_ms: now_ms(),
        }
    }
}

/// The task of that id.
///
/// # Errors
/// TASK_NOT_FOUND, or the database.
pub(crate) async fn find(desk: &Desk, id: &str) -> Result<Arc<Live>, ApiError> {
    let unknown = || {
        let shown = id.chars().take(80).collect::<String>().escape_debug().to_string();
        let text = format!("there is no task `{shown}`; `task_orchestrate` answers the ids of those that there are");
        ApiError::new(Code::TaskNotFound, text)
    };
    let id = JobId::parse(id).map_err(|_| unknown())?;
    if let Some(live) = desk.inner.floor.tasks().get(&id).cloned() {
        return if desk.is_of(&live.project) { Ok(live) } else { Err(unknown()) };
    }
    let own = desk.clone();
    let read = desk.inner.store.read(move |view| {
        let Some(job) = view.job(&id)?.filter(|job| job.kind == TASK && own.has(job)) else { return Ok(None) };
        let parts = view.job_parts(&job.id, 0)?;
        Live::of(job, parts).map(Some)
    });
    read.await.map_err(public)?.map(Arc::new).ok_or_else(unknown)
}

/// Ends a task.
///
/// # Errors
/// As [`find`].
pub(crate) async fn cancel(desk: Desk, actor: api::Actor, id: String) -> Result<TaskAnswer, ApiError> {
    let task = find(&desk, &id).await?;
    if task.state().ended_at_ms.is_none() {
        let entry = AuditEntry::new(now_ms(), stored(actor), "task.cancel").detail(json!({"task": task.id}));
        drop(desk.inner.store.append(entry).await.map_err(public)?);
        task.cancel("it was cancelled");
        task.ended().await;
    }
    Ok(task.answer())
}

/// Takes up what an earlier run of the daemon left unfinished: steps that have ended stay as they are, the others are run.
///
/// # Errors
/// The database.
pub(crate) async fn resume(desk: &Desk) -> Result<(), StoreError> {
    let read = desk.inner.store.read(|view| {
        let jobs = view.unended_jobs(TASK, None)?.into_iter();
        jobs.map(|job| Ok((view.job_parts(&job.id, 0)?, job))).collect::<Result<Vec<_>, StoreError>>()
    });
    for (parts, job) in read.await? {
        let id = job.id.clone();
        match Live::of(job, parts) {
            Ok(live) => {
                live.change(|state| state.steps.iter_mut().for_each(StepRecord::forget_unended));
                tracing::info!(task = %id, "a task is taken up again");
                work::spawn(desk, Arc::new(live));
            }
            // One that nobody can read must not keep the daemon from starting.
            Err(error) => tracing::error!(%error, task = %id, "a task cannot be taken up"),
        }
    }
    Ok(())
}

/// What a task decides, with the combined figures of its backtests.
fn decided(live: &Live) -> Aggregate {
    let state = live.state();
    record::aggregate(&live.asked, &live.plan, &state.steps)
}

//! Pipelines that run in this process.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ringfence_model::{ApiError, Code, JobId, api::PipelineStatus};
use ringfence_store::{AuditEntry, StoreError};
use tokio::sync::{Semaphore, watch};

use super::{
    artefacts::Artefacts,
    plan::{self, Standing, Step},
    record::{Pipeline, Stage},
};
use crate::desk::Desk;

/// Pipelines that run at once.
const RUNNING_MAX: usize = 16;
/// Files that are on their way in or out at once: each is wholly in memory for a while.
const TRANSFERS_MAX: usize = 2;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What all pipelines share.
#[derive(Debug)]
pub(crate) struct Room {
    live: Mutex<HashMap<JobId, Arc<Live>>>,
    pub(crate) artefacts: Arc<Artefacts>,
    pub(crate) transfers: Semaphore,
    /// Resumes, one after the other: each begins with what the one before has written.
    pub(crate) resuming: tokio::sync::Mutex<()>,
}

impl Room {
    /// Opens it in a directory of the desk's.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            live: Mutex::default(),
            artefacts: Arc::new(Artefacts::open(&dir.join("artefacts"))?),
            transfers: Semaphore::new(TRANSFERS_MAX),
            resuming: tokio::sync::Mutex::default(),
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Live>>> {
        self.live.lock().expect("nothing panics under this lock")
    }

    /// Whether none runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    pub(crate) fn get(&self, id: &JobId) -> Option<Arc<Live>> {
        self.all().get(id).cloned()
    }

    /// Takes a pipeline in, unless it is there. Those that a restart takes up have a place in any case.
    ///
    /// # Errors
    /// It runs, or too many do.
    pub(crate) fn enter(&self, pipeline: Pipeline, is_taken_up: bool) -> Result<Arc<Live>, ApiError> {
        let mut all = self.all();
        if all.contains_key(&pipeline.id) {
            return Err(ApiError::new(
                Code::InvalidArgument,
                "the pipeline runs; wait for its end, or cancel it first",
            ));
        }
        if !is_taken_up && all.len() >= RUNNING_MAX {
            let text = format!("{RUNNING_MAX} pipelines run already; wait for one to end, or cancel one");
            return Err(ApiError::new(Code::InsufficientResources, text));
        }
        let live = Arc::new(Live::new(pipeline));
        all.insert(live.id.clone(), live.clone());
        Ok(live)
    }

    pub(crate) fn leave(&self, live: &Live) {
        self.all().remove(&live.id);
        live.ended.send_replace(true);
    }

    /// Hashes of what running pipelines have made.
    pub(crate) fn needed(&self) -> HashSet<String> {
        let all: Vec<Arc<Live>> = self.all().values().cloned().collect();
        let mut needed = HashSet::new();
        for live in all {
            for stage in &live.pipeline().stages {
                needed.extend(stage.record.outputs.iter().map(|output| output.sha256.clone()));
            }
        }
        needed
    }
}

/// A pipeline that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: JobId,
    pipeline: Mutex<Pipeline>,
    /// Held from a change of the pipeline's own row until it is written, so that rows come to the disk in the order of the changes.
    pub(crate) writing: tokio::sync::Mutex<()>,
    pub(crate) cancelled: watch::Sender<bool>,
    /// Grows with every change.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) ended: watch::Sender<bool>,
}

impl Live {
    fn new(pipeline: Pipeline) -> Self {
        Self {
            id: pipeline.id.clone(),
            cancelled: watch::Sender::new(pipeline.state.cancelled),
            pipeline: Mutex::new(pipeline),
            writing: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn pipeline(&self) -> MutexGuard<'_, Pipeline> {
        self.pipeline.lock().expect("nothing panics under this lock")
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// What is to be done next.
    pub(crate) fn step(&self) -> Step {
        let pipeline = self.pipeline();
        let standing = |stage: &Stage| Standing { status: stage.status, not_before_ms: stage.record.not_before_ms };
        let stages: Vec<Standing> = pipeline.stages.iter().map(standing).collect();
        plan::next(&stages, &plan::dependencies(&pipeline.request.stages), self.is_cancelled(), now_ms())
    }

    /// Where it is, in a few words, and how much of it is done in percent.
    pub(crate) fn words(&self) -> (String, f64) {
        use ringfence_model::api::StageStatus::{Completed, Running};
        let pipeline = self.pipeline();
        let done = pipeline.stages.iter().filter(|stage| stage.status == Completed).count();
        let running: Vec<&str> = pipeline
            .request
            .stages
            .iter()
            .zip(&pipeline.stages)
            .filter(|(_, stage)| stage.status == Running)
            .map(|(asked, _)| asked.name.as_str())
            .collect();
        let all = pipeline.stages.len();
        let what =
            if running.is_empty() { "nothing runs now".to_owned() } else { format!("running {}", running.join(", ")) };
        (format!("{done} of {all} stages done: {what}"), 100.0 * done as f64 / all.max(1) as f64)
    }
}

impl Desk {
    /// Changes a stage, and writes that down; with an entry of the audit chain where there is one, in the same transaction.
    pub(super) async fn change(
        &self,
        live: &Live,
        number: usize,
        entry: Option<AuditEntry>,
        change: impl FnOnce(&mut Stage),
    ) -> Result<(), StoreError> {
        let row = {
            let mut pipeline = live.pipeline();
            change(&mut pipeline.stages[number]);
            pipeline.stages[number].row(number, now_ms())
        };
        self.write(entry, live.id.clone(), None, vec![row]).await?;
        live.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Writes rows of a pipeline.
    pub(super) async fn write(
        &self,
        entry: Option<AuditEntry>,
        id: JobId,
        job: Option<ringfence_store::JobRow>,
        parts: Vec<ringfence_store::JobPartRow>,
    ) -> Result<(), StoreError> {
        let put = move |tx: &ringfence_store::Tx<'_>| {
            if let Some(job) = &job {
                tx.put_job(job)?;
            }
            tx.put_job_parts(&id, &parts)
        };
        match entry {
            Some(entry) => self.inner.store.write_with_audit(entry, put).await.map(|(done, receipt)| {
                drop(receipt);
                done
            }),
            None => self.inner.store.write(put).await,
        }
    }

    /// Ends a pipeline: what waits is skipped.
    pub(super) async fn end(&self, live: &Live, status: PipelineStatus) -> Result<(), StoreError> {
        use ringfence_model::api::StageStatus::{Skipped, Waiting};
        let _writing = live.writing.lock().await;
        let (entry, job, parts) = {
            let mut pipeline = live.pipeline();
            let now = now_ms();
            pipeline.status = status;
            pipeline.ended_at_ms = Some(now);
            let why = match status {
                PipelineStatus::Cancelled => "the pipeline was cancelled before it was begun",
                _ => "a stage before it failed",
            };
            for stage in pipeline.stages.iter_mut().filter(|stage| stage.status == Waiting) {
                stage.status = Skipped;
                stage.record.error = Some(why.to_owned());
            }
            if status == PipelineStatus::Cancelled && pipeline.state.error.is_none() {
                pipeline.state.error = Some("it was cancelled".to_owned());
            }
            let parts = pipeline.stages.iter().enumerate().map(|(number, stage)| stage.row(number, now)).collect();
            let detail = serde_json::json!({"pipeline": live.id.as_str(), "status": status.as_str()});
            let entry = AuditEntry::new(now, ringfence_store::Actor::System, "pipeline.end").detail(detail);
            (entry, pipeline.row(now), parts)
        };
        self.write(Some(entry), live.id.clone(), Some(job), parts).await
    }
}

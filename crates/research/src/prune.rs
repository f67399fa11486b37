//! Jobs that have ended go when an operator says so: their rows, each with its entry in the audit chain, and then the files that no
//! row speaks of any more. A row goes before its files do, so that no row ever speaks of a file that is gone.

use std::{collections::HashSet, time::Duration};

use ringfence_engine::api::Answering;
use ringfence_model::{
    ApiError, Code, JobId,
    api::{Actor, JobKind, JobPruneAnswer, JobPruneRequest, SweepOneRequest},
};
use ringfence_store::{AuditEntry, JobRow, StoreError, View};
use serde_json::json;

use crate::{
    api::Jobs,
    desk::Desk,
    pipeline,
    swarm::{now_ms, public, stored},
    sweep,
};

/// Jobs whose rows are read at once.
const AT_ONCE: u32 = 256;

/// Jobs that one request names.
const REMOVED_MAX: usize = 10_000;

/// While something runs, a file that was written or written again so lately may be one that a row is about to speak of.
const FRESH: Duration = Duration::from_secs(600);

fn operators_only(actor: Actor) -> Result<(), ApiError> {
    if actor == Actor::Operator {
        return Ok(());
    }
    let text = "removing what has ended is for operators: use the `ringfence` command on the daemon's machine";
    Err(ApiError::new(Code::PermissionDenied, text))
}

impl Desk {
    /// Removes the row of a job that has ended. Whether it had.
    async fn remove_job(&self, actor: Actor, kind: JobKind, row: &JobRow) -> Result<bool, ApiError> {
        let detail = json!({
            "job": row.id, "name": row.name, "status": row.status, "ended_at": row.ended_at_ms.map(crate::swarm::time),
        });
        let entry = AuditEntry::new(now_ms(), stored(actor), format!("{}.delete", kind.as_str())).detail(detail);
        let id = row.id.clone();
        let gone = move |tx: &ringfence_store::Tx<'_>| {
            // Nothing is removed, and nothing is recorded, of a job that somebody has begun again meanwhile.
            if tx.delete_ended_job(&id)? { Ok(()) } else { Err(StoreError::Refused("the job goes on".to_owned())) }
        };
        match self.inner.store.write_with_audit(entry, gone).await {
            Ok(((), receipt)) => {
                drop(receipt);
                Ok(true)
            }
            Err(StoreError::Refused(_)) => Ok(false),
            Err(error) => Err(public(error)),
        }
    }

    async fn delete_sweep(self, actor: Actor, request: SweepOneRequest) -> Result<JobPruneAnswer, ApiError> {
        operators_only(actor)?;
        let row = self.sweep_row(&request.sweep_id).await?;
        let runs = |id: &JobId| {
            let text = format!("sweep {id} runs; wait for its end, or cancel it first (`ringfence sweep cancel {id}`)");
            ApiError::new(Code::InvalidArgument, text)
        };
        if self.runs_sweep(&row.id) || !self.remove_job(actor, JobKind::Sweep, &row).await? {
            return Err(runs(&row.id));
        }
        let bytes = self.free_files(JobKind::Sweep).await?;
        Ok(JobPruneAnswer { success: true, dry_run: false, removed: vec![row.id], count: 1, bytes })
    }

    async fn prune(self, actor: Actor, request: JobPruneRequest) -> Result<JobPruneAnswer, ApiError> {
        operators_only(actor)?;
        let (kind, ended_ms) = (request.kind, request.ended_before_ms(now_ms())?);
        // A pipeline that is resumed is read, changed and written: not in the middle of that.
        let _resuming = match kind {
            JobKind::Pipeline => Some(self.inner.pipelines.resuming.lock().await),
            _ => None,
        };
        let mut removed = Vec::new();
        if request.dry_run {
            let limit = u32::try_from(REMOVED_MAX).unwrap_or(u32::MAX);
            let of = self.project.clone();
            let read = move |view: &View<'_>| view.ended_jobs(kind.as_str(), of.as_ref(), ended_ms, limit);
            removed.extend(self.inner.store.read(read).await.map_err(public)?.into_iter().map(|row| row.id));
        } else {
            while removed.len() < REMOVED_MAX {
                let of = self.project.clone();
                let read = move |view: &View<'_>| view.ended_jobs(kind.as_str(), of.as_ref(), ended_ms, AT_ONCE);
                let rows = self.inner.store.read(read).await.map_err(public)?;
                let before = removed.len();
                for row in rows {
                    if self.remove_job(actor, kind, &row).await? {
                        removed.push(row.id);
                    }
                }
                if removed.len() == before {
                    break;
                }
            }
        }
        let bytes = if removed.is_empty() || request.dry_run { 0 } else { self.free_files(kind).await? };
        let count = removed.len() as u64;
        Ok(JobPruneAnswer { success: true, dry_run: request.dry_run, removed, count, bytes })
    }

    /// Removes files of jobs of a kind that no row speaks of. Their bytes.
    async fn free_files(&self, kind: JobKind) -> Result<u64, ApiError> {
        let named: HashSet<String>;
        let is_idle;
        let _turn;
        match kind {
            // What these leave is in their rows.
            JobKind::Swarm | JobKind::Task => return Ok(0),
            JobKind::Sweep => {
                _turn = Some(self.inner.sweep_files.write().await);
                is_idle = self.no_sweep_runs();
                named = self.inner.store.read(sweep::files_named).await.map_err(public)?;
            }
            JobKind::Pipeline => {
                _turn = None;
                is_idle = self.inner.pipelines.is_empty();
                named = self.inner.store.read(pipeline::artefacts_named).await.map_err(public)?;
            }
        }
        let fresh = if is_idle { Duration::ZERO } else { FRESH };
        let (artefacts, files) = (self.inner.pipelines.artefacts.clone(), sweep::files(&self.inner));
        let freed = tokio::task::spawn_blocking(move || match kind {
            JobKind::Pipeline => artefacts.keep_only(&named, fresh),
            _ => files.keep_only(&named, fresh),
        });
        let freed = freed.await.map_err(|error| {
            tracing::error!(%error, "removing files of jobs panicked");
            ApiError::internal("the files could not be removed; the daemon's log says why")
        })?;
        freed.map_err(|error| {
            tracing::error!(%error, "files of jobs could not be removed");
            ApiError::internal("the jobs have gone, and their files could not be removed; the daemon's log says why")
        })
    }
}

impl Jobs for Desk {
    fn sweep_delete(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, JobPruneAnswer> {
        pipeline::tracked(self.clone().delete_sweep(actor, request))
    }

    fn job_prune(&self, actor: Actor, request: JobPruneRequest) -> Answering<'_, JobPruneAnswer> {
        pipeline::tracked(self.clone().prune(actor, request))
    }
}

//! Pipelines: stages, each in a sandbox of its own, that hand files on by their hash.
//!
//! A stage that has ended well is not run again by a restart of the daemon: its outputs are stored and its row says so. One that was
//! cut off is begun anew, from its beginning and in a new sandbox, unless it trades: whether its orders were sent nobody knows, so that
//! one has failed until a person resumes it.

mod artefacts;
mod live;
mod plan;
mod record;
mod run;
mod show;
mod stage;

use std::{collections::HashSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ringfence_engine::api::{Answering, ProgressSender, Sandboxes};
use ringfence_model::{
    ApiError, Code, JobId,
    api::{
        Actor, PipelineAnswer, PipelineCancelRequest, PipelineListAnswer, PipelineListRequest, PipelineOutputAnswer,
        PipelineOutputRequest, PipelineRequest, PipelineResumeRequest, PipelineStatus, PipelineStatusRequest, Progress,
        SandboxRequest, StageKind, StageStatus, TemplateRequest, list_limit,
    },
};
use ringfence_store::{AuditEntry, StoreError};
use serde_json::json;

use crate::{api::Pipelines, desk::Desk};
use live::{Live, now_ms};
use record::{KIND, Pipeline};

pub(crate) use live::Room;

/// Ended pipelines that are kept; older ones go when a new one is begun.
const KEPT_MAX: u32 = 1000;
/// How many go at once.
const GONE_AT_ONCE: u32 = 32;
/// How often somebody who waits hears that it goes on.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a call that cancels waits for the end.
const CANCEL_WAIT_S: f64 = 10.0;

fn stored(actor: Actor) -> ringfence_store::Actor {
    match actor {
        Actor::Operator => ringfence_store::Actor::Operator,
        Actor::Agent => ringfence_store::Actor::Agent,
    }
}

fn failed(error: StoreError) -> ApiError {
    match error {
        StoreError::Refused(why) => ApiError::new(Code::InvalidArgument, why),
        error => {
            tracing::error!(%error, "a request about a pipeline failed");
            ApiError::internal("the database did not do it; the daemon's log says why")
        }
    }
}

fn unknown(id: &str) -> ApiError {
    let shown: String = id.chars().take(80).collect();
    ApiError::new(Code::PipelineNotFound, format!("there is no pipeline `{}`", shown.escape_debug()))
}

/// Runs to its end whether or not anybody still waits.
pub(crate) fn tracked<'a, T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Answering<'a, T> {
    Box::pin(async move {
        tokio::spawn(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request panicked");
            Err(ApiError::internal("the request failed inside the daemon; its log says where"))
        })
    })
}

/// Hashes of the artefacts that rows of pipelines speak of.
///
/// # Errors
/// The database refuses, or holds something unreadable: then nobody knows which are needed.
pub(crate) fn artefacts_named(view: &ringfence_store::View<'_>) -> ringfence_store::Result<HashSet<String>> {
    let mut named = HashSet::new();
    for row in view.jobs(KIND, None, u32::MAX)? {
        let pipeline = Pipeline::read(view, row)?;
        let outputs = pipeline.stages.into_iter().flat_map(|stage| stage.record.outputs);
        named.extend(outputs.map(|output| output.sha256));
    }
    Ok(named)
}

impl Desk {
    /// Goes on with what an earlier run of the daemon left.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub(crate) async fn take_up_pipelines(&self) -> Result<(), StoreError> {
        let rows = self.inner.store.read(|view| view.unended_jobs(KIND, None)).await?;
        for row in rows {
            let id = row.id.clone();
            let taken = async {
                let pipeline = self.inner.store.read(move |view| Pipeline::read(view, row)).await?;
                self.take_up(pipeline).await
            };
            if let Err(error) = taken.await {
                tracing::error!(pipeline = %id, %error, "a pipeline of an earlier run cannot be taken up");
            }
        }
        Ok(())
    }

    async fn take_up(&self, mut pipeline: Pipeline) -> Result<(), StoreError> {
        let now = now_ms();
        let mut left = Vec::new();
        for number in 0..pipeline.stages.len() {
            if pipeline.stages[number].status != StageStatus::Running {
                continue;
            }
            let asked = &pipeline.request.stages[number];
            let (kind, name) = (asked.kind, asked.name.clone());
            let attempt = pipeline.stages[number].record.attempts;
            left.push(pipeline.sandbox_name(number, attempt));
            let stage = &mut pipeline.stages[number];
            stage.record.cut_off += 1;
            stage.status = match kind {
                StageKind::Code => StageStatus::Waiting,
                StageKind::Trade => StageStatus::Failed,
            };
            if kind == StageKind::Trade {
                let error = "it was cut off by the end of the daemon, and may have sent orders, so it is not run again by itself: look at \
                     `ringfence trade orders`, then resume the pipeline";
                stage.record.error = Some(error.to_owned());
                stage.record.ended_at_ms = Some(now);
                pipeline.state.error = Some(format!("stage `{name}` failed: {error}"));
            } else {
                stage.record.error =
                    Some("it was cut off by the end of the daemon, and is run again from its beginning".into());
                stage.record.not_before_ms = 0;
            }
            let detail = json!({
                "pipeline": pipeline.id.as_str(), "stage": name, "attempt": attempt,
                "status": pipeline.stages[number].status.as_str(),
            });
            let entry = AuditEntry::new(now, ringfence_store::Actor::System, "pipeline.stage.cut_off").detail(detail);
            let row = pipeline.stages[number].row(number, now);
            self.write(Some(entry), pipeline.id.clone(), Some(pipeline.row(now)), vec![row]).await?;
        }
        let Ok(live) = self.inner.pipelines.enter(pipeline, true) else { return Ok(()) };
        let desk = self.clone();
        tokio::spawn(async move {
            for sandbox_id in left {
                // One that was not made yet, or is gone, is as good as deleted.
                let _ = desk.inner.engine.delete(Actor::Operator, SandboxRequest { sandbox_id }).await;
            }
            run::run(desk, live).await;
        });
        Ok(())
    }

    async fn read_pipeline(&self, id: &str) -> Result<Pipeline, ApiError> {
        let id = JobId::parse(id).ok().filter(|id| id.kind() == KIND).ok_or_else(|| unknown(id))?;
        let of = id.clone();
        let desk = self.clone();
        let read = move |view: &ringfence_store::View<'_>| match view.job(&of)? {
            Some(row) if row.kind == KIND && desk.has(&row) => Pipeline::read(view, row).map(Some),
            _ => Ok(None),
        };
        self.inner.store.read(read).await.map_err(failed)?.ok_or_else(|| unknown(id.as_str()))
    }

    /// Waits for a pipeline's end, at most so long, and tells how it goes on.
    async fn wait_for_pipeline(&self, id: &JobId, seconds: f64, progress: Option<ProgressSender>) {
        let Some(live) = self.inner.pipelines.get(id) else { return };
        let (mut ended, mut changed) = (live.ended.subscribe(), live.changed.subscribe());
        let told = async {
            loop {
                if let Some(progress) = &progress {
                    let (message, percent) = live.words();
                    let _ = progress.try_send(Progress { percent: Some(percent), ..Progress::new(message) });
                }
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => return,
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(HEARTBEAT) => {}
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs_f64(seconds), told).await;
    }

    async fn pipeline_answer(&self, id: &JobId) -> Result<PipelineAnswer, ApiError> {
        Ok(self.read_pipeline(id.as_str()).await?.answer())
    }

    async fn start_pipeline(&self, actor: Actor, request: PipelineRequest) -> Result<JobId, ApiError> {
        request.check(actor)?;
        for stage in &request.stages {
            let asked = TemplateRequest { template_name: stage.template.clone() };
            self.inner
                .engine
                .template(actor, asked)
                .await
                .map_err(|error| ApiError { message: format!("stage `{}`: {}", stage.name, error.message), ..error })?;
        }
        let id = JobId::from_random(KIND, rand::random());
        let (of, now) = (id.clone(), now_ms());
        let by = (stored(actor), self.makes_for());
        let made = self.inner.store.read(move |view| Ok(Pipeline::new(of, by, request, view, now)));
        let pipeline = made.await.map_err(failed)?;
        let detail = json!({
            "pipeline": id.as_str(), "name": pipeline.request.name,
            "stages": pipeline.request.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(),
        });
        let (job, parts) = rows(&pipeline, now);
        let live = self.inner.pipelines.enter(pipeline, false)?;
        let entry = AuditEntry::new(now, stored(actor), "pipeline.start").detail(detail);
        self.launch(&live, self.write(Some(entry), id.clone(), Some(job), parts).await)?;
        tokio::spawn(self.clone().forget_old_ones());
        Ok(id)
    }

    /// Lets a pipeline run whose rows were written, or takes it out again.
    fn launch(&self, live: &Arc<Live>, written: Result<(), StoreError>) -> Result<(), ApiError> {
        match written {
            Ok(()) => {
                tokio::spawn(run::run(self.clone(), live.clone()));
                Ok(())
            }
            Err(error) => {
                self.inner.pipelines.leave(live);
                Err(failed(error))
            }
        }
    }

    async fn resume_pipeline(&self, actor: Actor, request: PipelineResumeRequest) -> Result<JobId, ApiError> {
        let _turn = self.inner.pipelines.resuming.lock().await;
        let mut pipeline = self.read_pipeline(&request.pipeline_id).await?;
        request.check()?;
        let dependencies = plan::dependencies(&pipeline.request.stages);
        let mut again: std::collections::BTreeSet<usize> = (0..pipeline.stages.len())
            .filter(|number| pipeline.stages[*number].status != StageStatus::Completed)
            .collect();
        if let Some(from) = &request.from {
            let number = pipeline.request.stages.iter().position(|stage| stage.name == *from).ok_or_else(|| {
                let shown: String = from.chars().take(80).collect();
                let names: Vec<&str> = pipeline.request.stages.iter().map(|stage| stage.name.as_str()).collect();
                ApiError::new(
                    Code::InvalidArgument,
                    format!("`from` is `{}`, which is none of its stages: {}", shown.escape_debug(), names.join(", ")),
                )
            })?;
            again.extend(plan::dependants(number, &dependencies));
        }
        if pipeline.status == PipelineStatus::Running {
            return Err(ApiError::new(
                Code::InvalidArgument,
                "the pipeline runs; wait for its end, or cancel it first",
            ));
        }
        if again.is_empty() {
            return Err(ApiError::new(
                Code::InvalidArgument,
                "every stage of it ended well; name the stage to run again in `from`",
            ));
        }
        for number in &again {
            let stage = &mut pipeline.stages[*number];
            stage.status = StageStatus::Waiting;
            let record = &mut stage.record;
            (record.failures, record.not_before_ms, record.error) = (0, 0, None);
        }
        let now = now_ms();
        pipeline.status = PipelineStatus::Running;
        pipeline.state = record::PipelineState::default();
        pipeline.ended_at_ms = None;
        let names: Vec<&str> = again.iter().map(|number| pipeline.request.stages[*number].name.as_str()).collect();
        let detail = json!({"pipeline": pipeline.id.as_str(), "stages": names});
        let entry = AuditEntry::new(now, stored(actor), "pipeline.resume").detail(detail);
        let (id, (job, parts)) = (pipeline.id.clone(), rows(&pipeline, now));
        let live = self.inner.pipelines.enter(pipeline, false)?;
        self.launch(&live, self.write(Some(entry), id.clone(), Some(job), parts).await)?;
        Ok(id)
    }

    async fn cancel_pipeline(&self, actor: Actor, request: PipelineCancelRequest) -> Result<PipelineAnswer, ApiError> {
        let pipeline = self.read_pipeline(&request.pipeline_id).await?;
        let id = pipeline.id;
        if let Some(live) = self.inner.pipelines.get(&id) {
            let writing = live.writing.lock().await;
            let now = now_ms();
            let job = {
                let mut pipeline = live.pipeline();
                pipeline.state.cancelled = true;
                pipeline.row(now)
            };
            let entry = AuditEntry::new(now, stored(actor), "pipeline.cancel").detail(json!({"pipeline": id.as_str()}));
            self.write(Some(entry), id.clone(), Some(job), Vec::new()).await.map_err(failed)?;
            drop(writing);
            live.cancelled.send_replace(true);
            self.wait_for_pipeline(&id, CANCEL_WAIT_S, None).await;
        }
        self.pipeline_answer(&id).await
    }

    async fn pipeline_file(&self, request: PipelineOutputRequest) -> Result<PipelineOutputAnswer, ApiError> {
        let pipeline = self.read_pipeline(&request.pipeline_id).await?;
        request.check()?;
        let refuse = |why: String| ApiError::new(Code::FileNotFound, why);
        let number = pipeline.request.stages.iter().position(|stage| stage.name == request.stage);
        let number = number.ok_or_else(|| refuse(format!("the pipeline has no stage `{}`", request.stage)))?;
        let outputs = &pipeline.stages[number].record.outputs;
        let found = outputs.iter().find(|output| output.path == request.path).cloned().ok_or_else(|| {
            let there: Vec<&str> = outputs.iter().map(|output| output.path.as_str()).collect();
            let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
            refuse(format!("stage `{}` has not handed that on; there is {there}", request.stage))
        })?;
        let (artefacts, hash) = (self.inner.pipelines.artefacts.clone(), found.sha256.clone());
        let _turn = self.inner.pipelines.transfers.acquire().await;
        let read = tokio::task::spawn_blocking(move || artefacts.get(&hash)).await;
        let read = read.map_err(|_| ApiError::internal("reading it failed inside the daemon; its log says where"))?;
        let bytes = read.map_err(|error| refuse(format!("`{}`: {error}; resume from that stage", found.path)))?;
        let (content, content_base64) = match String::from_utf8(bytes) {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(BASE64.encode(bytes.as_bytes()))),
        };
        Ok(PipelineOutputAnswer {
            success: true,
            pipeline_id: pipeline.id,
            stage: request.stage,
            path: found.path,
            size: found.size,
            sha256: found.sha256,
            content,
            content_base64,
        })
    }

    async fn list_pipelines(&self, request: PipelineListRequest) -> Result<PipelineListAnswer, ApiError> {
        let limit = list_limit(request.limit)?;
        let of = self.project.clone();
        let read = move |view: &ringfence_store::View<'_>| {
            // One after the other: a request may be large.
            let mut all = Vec::new();
            for id in view.job_ids(KIND, of.as_ref(), 0, limit)? {
                if let Some(row) = view.job(&id)? {
                    all.push(Pipeline::read(view, row)?.summary());
                }
            }
            Ok(all)
        };
        let pipelines = self.inner.store.read(read).await.map_err(failed)?;
        Ok(PipelineListAnswer { success: true, count: u32::try_from(pipelines.len()).unwrap_or(u32::MAX), pipelines })
    }

    /// Removes the rows of the oldest pipelines, beyond those that are kept.
    async fn forget_old_ones(self) {
        let gone = self.inner.store.write(|tx| {
            for id in tx.job_ids(KIND, None, KEPT_MAX, GONE_AT_ONCE)? {
                if tx.job(&id)?.is_some_and(|row| row.ended_at_ms.is_some()) {
                    tx.delete_job(&id)?;
                }
            }
            Ok(())
        });
        if let Err(error) = gone.await {
            tracing::warn!(%error, "the rows of old pipelines could not be removed");
        }
    }
}

fn rows(pipeline: &Pipeline, now_ms: u64) -> (ringfence_store::JobRow, Vec<ringfence_store::JobPartRow>) {
    let parts = pipeline.stages.iter().enumerate().map(|(number, stage)| stage.row(number, now_ms));
    (pipeline.row(now_ms), parts.collect())
}

impl Pipelines for Desk {
    fn pipeline(
        &self,
        actor: Actor,
        request: PipelineRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        let desk = self.clone();
        tracked(async move {
            let seconds = request.wait_s();
            let id = desk.start_pipeline(actor, request).await?;
            desk.wait_for_pipeline(&id, seconds, progress).await;
            desk.pipeline_answer(&id).await
        })
    }

    fn pipeline_status(&self, _: Actor, request: PipelineStatusRequest) -> Answering<'_, PipelineAnswer> {
        Box::pin(async move {
            let id = self.read_pipeline(&request.pipeline_id).await?.id;
            request.check()?;
            self.wait_for_pipeline(&id, request.wait_s(), None).await;
            self.pipeline_answer(&id).await
        })
    }

    fn pipeline_list(&self, _: Actor, request: PipelineListRequest) -> Answering<'_, PipelineListAnswer> {
        Box::pin(self.list_pipelines(request))
    }

    fn pipeline_resume(
        &self,
        actor: Actor,
        request: PipelineResumeRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        let desk = self.clone();
        tracked(async move {
            let seconds = request.wait_s();
            let id = desk.resume_pipeline(actor, request).await?;
            desk.wait_for_pipeline(&id, seconds, progress).await;
            desk.pipeline_answer(&id).await
        })
    }

    fn pipeline_cancel(&self, actor: Actor, request: PipelineCancelRequest) -> Answering<'_, PipelineAnswer> {
        let desk = self.clone();
        tracked(async move { desk.cancel_pipeline(actor, request).await })
    }

    fn pipeline_output(&self, _: Actor, request: PipelineOutputRequest) -> Answering<'_, PipelineOutputAnswer> {
        Box::pin(self.pipeline_file(request))
    }
}

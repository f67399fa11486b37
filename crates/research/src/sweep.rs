//! Sweeps: backtests of strategies over symbols and parameters, each in a sandbox of its own.
//!
//! A sweep is a job of the database. Its [plan](plan) is a pure function of the request and the bars, which are kept with it; each run
//! that is done is a part ([`row`]), its equity lies in a file ([`curves`]). A daemon that starts takes up what has not ended, runs what
//! is missing, and ends with the same table to the bit ([decision 42](../../../docs/decisions/0042-a-sweep-is-a-plan-and-its-parts.md)).

mod answer;
mod chance;
mod curves;
mod data;
mod draw;
pub(crate) mod evaluate;
mod files;
mod finish;
mod forward;
mod job;
mod plan;
mod propose;
mod rank;
mod report;
mod row;
mod state;
mod table;
mod versions;
mod walk;
mod words;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::Engine as _;
use futures::{StreamExt, stream};
use ringfence_engine::api::{Answering, Chunks, ProgressSender};
use ringfence_model::{
    ApiError, Code, JobId,
    api::{
        Actor, Progress, SweepAnswer, SweepChart, SweepFormat, SweepListAnswer, SweepListRequest, SweepListed,
        SweepOneRequest, SweepRequest, SweepStatus, SweepStatusRequest, SweepTableRequest, list_limit,
    },
};
use ringfence_store::{AuditEntry, JobRow};
use serde_json::json;

use crate::{api::Sweeps, desk::Desk};
use data::Data;
use files::Files;
use job::{Job, Live, fault, now_ms};
use state::State;

/// Sweeps that run in this process, by id.
pub(crate) type Running = Mutex<HashMap<JobId, Arc<Live>>>;

/// What jobs of this kind are called in the database.
const KIND: &str = "sweep";
/// Sweeps that run at once; others are refused, because they would only wait for each other.
const RUNNING_MAX: usize = 16;
/// How often somebody who waits is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How many jobs are looked at for a name.
const NAMES_MAX: u32 = 1000;

impl Desk {
    /// Takes up the sweeps that an earlier run of the daemon left unfinished.
    pub(crate) async fn take_up_sweeps(&self) {
        let rows = match self.inner.store.read(|view| view.unended_jobs(KIND, None)).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(error = %data::chain(&error), "sweeps that were left unfinished cannot be read");
                return;
            }
        };
        for row in rows {
            let actor = if row.actor == ringfence_store::Actor::Operator { Actor::Operator } else { Actor::Agent };
            let (inner, of) = (self.inner.clone(), row.clone());
            let made = tokio::task::spawn_blocking(move || Job::of(inner, &of, actor)).await;
            match made {
                Ok(Ok(job)) => drop(self.begin(job)),
                Ok(Err(error)) => self.give_up(row, &error).await,
                Err(error) => tracing::error!(sweep = %row.id, %error, "a sweep cannot be taken up"),
            }
        }
    }

    fn begin(&self, job: Job) -> Arc<Live> {
        let (id, live) = (job.id.clone(), job.live.clone());
        self.sweeps().insert(id.clone(), live.clone());
        let desk = self.clone();
        tokio::spawn(async move {
            Arc::new(job).run().await;
            desk.sweeps().remove(&id);
        });
        live
    }

    fn sweeps(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Live>>> {
        self.inner.sweeps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, id: &JobId) -> Option<Arc<Live>> {
        self.sweeps().get(id).cloned()
    }

    /// Whether a sweep runs in this process.
    pub(crate) fn runs_sweep(&self, id: &JobId) -> bool {
        self.live(id).is_some_and(|live| !live.has_ended())
    }

    /// Whether none does.
    pub(crate) fn no_sweep_runs(&self) -> bool {
        self.sweeps().values().all(|live| live.has_ended())
    }

    /// Ends a sweep that cannot be taken up.
    async fn give_up(&self, mut row: JobRow, error: &ApiError) {
        tracing::warn!(sweep = %row.id, error = %error, "a sweep is not taken up");
        let mut state: State = serde_json::from_value(row.state.clone()).unwrap_or_default();
        let summary = format!("the sweep has failed: {}", error.message);
        state.finished = Some(finish::Finished { summary, ..finish::Finished::default() });
        let now = now_ms();
        row.state = serde_json::to_value(state).unwrap_or_default();
        SweepStatus::Failed.as_str().clone_into(&mut row.status);
        (row.changed_at_ms, row.ended_at_ms) = (now, Some(now));
        let detail = json!({"sweep_id": row.id, "status": row.status, "code": error.code});
        let entry = AuditEntry::new(now, ringfence_store::Actor::System, "sweep.end").detail(detail);
        if let Err(error) = self.inner.store.write_with_audit(entry, move |tx| tx.put_job(&row)).await {
            tracing::error!(error = %data::chain(&error), "and that could not be written down");
        }
    }

    async fn start_sweep(&self, actor: Actor, request: SweepRequest) -> Result<(JobId, Arc<Live>), ApiError> {
        request.check()?;
        if self.sweeps().len() >= RUNNING_MAX {
            return Err(ApiError::new(
                Code::InsufficientResources,
                format!("{RUNNING_MAX} sweeps are running; wait for one, or cancel one (`ringfence sweep list`)"),
            ));
        }
        let _files = self.inner.sweep_files.read().await;
        let (inner, asked) = (self.inner.clone(), request.clone());
        let (state, total) =
            tokio::task::spawn_blocking(move || prepare(&inner, &asked)).await.map_err(|e| fault(&e))??;
        let id = JobId::from_random(KIND, rand::random());
        let now = now_ms();
        let row = JobRow {
            id: id.clone(),
            kind: KIND.to_owned(),
            name: request.name.clone(),
            actor: audited(actor),
            project: self.makes_for(),
            status: SweepStatus::Running.as_str().to_owned(),
            request: serde_json::to_value(&request).map_err(|e| fault(&e))?,
            state: serde_json::to_value(&state).map_err(|e| fault(&e))?,
            created_at_ms: now,
            changed_at_ms: now,
            ended_at_ms: None,
        };
        let (inner, of) = (self.inner.clone(), row.clone());
        let job = tokio::task::spawn_blocking(move || Job::of(inner, &of, actor)).await.map_err(|e| fault(&e))??;
        let detail = json!({
            "sweep_id": id, "runs": total, "strategies": state.strategies, "symbols": state.data.bars.len(),
            "data_sha256": state.data.sha256,
        });
        let entry = AuditEntry::new(now, audited(actor), "sweep.start").detail(detail);
        let written = self.inner.store.write_with_audit(entry, move |tx| tx.put_job(&row)).await;
        written.map(drop).map_err(|e| fault(&e))?;
        Ok((id, self.begin(job)))
    }

    /// The sweep of that id or name.
    pub(crate) async fn sweep_row(&self, named: &str) -> Result<JobRow, ApiError> {
        let not_found = || {
            let shown: String = named.chars().take(80).collect();
            ApiError::new(
                Code::SweepNotFound,
                format!("there is no sweep `{}`; `ringfence sweep list` shows them", shown.escape_debug()),
            )
        };
        let id = JobId::parse(named).ok().filter(|id| id.kind() == KIND);
        if let Some(id) = id {
            let row = self.inner.store.read(move |view| view.job(&id)).await.map_err(|e| fault(&e))?;
            return row.filter(|row| self.has(row)).ok_or_else(not_found);
        }
        let of = self.project.clone();
        let rows = self.inner.store.read(move |view| view.jobs(KIND, of.as_ref(), NAMES_MAX)).await;
        let rows = rows.map_err(|e| fault(&e))?;
        // Of several with a name the newest is meant.
        rows.into_iter().find(|row| row.name.as_deref() == Some(named)).ok_or_else(not_found)
    }

    async fn sweep_answer(&self, named: &str, top: u32) -> Result<SweepAnswer, ApiError> {
        let row = self.sweep_row(named).await?;
        let (rows, _) = job::rows(&self.inner, &row.id).await?;
        // The row may have ended while its parts were read.
        let row = self.sweep_row(row.id.as_str()).await?;
        answer::answer(&row, &rows, self.live(&row.id).as_deref(), top)
    }

    /// Waits for the end of a sweep, and tells meanwhile how far it is.
    async fn wait_for(&self, live: &Live, seconds: f64, progress: Option<ProgressSender>) {
        let end = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
        let mut beat = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                () = live.ended() => return,
                () = tokio::time::sleep_until(end) => return,
                _ = beat.tick() => if let Some(progress) = &progress {
                    let _ = progress.try_send(step(live));
                },
            }
        }
    }
}

fn step(live: &Live) -> Progress {
    let at = live.progress();
    let rate = at.per_second.map(|rate| format!(", {rate:.1} a second")).unwrap_or_default();
    let failed = if at.failed > 0 { format!(", {} failed", at.failed) } else { String::new() };
    Progress {
        message: format!(
            "{}: {} of {} runs{failed}{rate}",
            if at.done < at.total { "running" } else { "ranking and checking" },
            at.done,
            at.total
        ),
        percent: Some(if at.total == 0 { 100.0 } else { at.done as f64 / at.total as f64 * 100.0 }),
        seconds_left: at.seconds_left,
    }
}

fn audited(actor: Actor) -> ringfence_store::Actor {
    match actor {
        Actor::Operator => ringfence_store::Actor::Operator,
        Actor::Agent => ringfence_store::Actor::Agent,
    }
}

/// Chooses the bars, keeps them, and makes the plan for the first time.
fn prepare(inner: &crate::desk::Inner, request: &SweepRequest) -> Result<(State, u64), ApiError> {
    let sources = propose::sources(request)?;
    let data = Data::choose(request, &inner.settings.market)?;
    let plan = job::plan(request, &sources, &data)?;
    let mut warnings = Vec::new();
    for symbols in &plan.groups {
        let bars = data.rows(symbols).len();
        let needed = request.walk_forward.map_or(2, |walk| walk.train as usize + 1);
        if bars < needed {
            let names = symbols.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            return Err(ApiError::new(
                Code::InvalidArgument,
                format!("{names} have {bars} bars in common, and {needed} are needed: choose other symbols or days"),
            ));
        }
    }
    if plan.groups.iter().any(|symbols| data.rows(symbols).len() < 252) && data.view().interval == "day" {
        warnings.push("some symbols have less than a year of bars: their figures say little".to_owned());
    }
    let bars = files(inner).put(data.write().as_bytes()).map_err(|e| fault(&e))?;
    let total = plan.total();
    let state = State {
        bars,
        data: data.view(),
        strategies: sources.iter().map(|s| (s.known.name.clone(), s.sha256.clone())).collect(),
        total,
        versions: versions::own(),
        warnings,
        finished: None,
    };
    Ok((state, total))
}

/// The files of sweeps.
pub(crate) fn files(inner: &crate::desk::Inner) -> Files {
    Files::new(&inner.settings.dir.join("sweeps"))
}

/// Hashes of the files that rows of sweeps speak of.
///
/// # Errors
/// The database refuses, or holds something unreadable: then nobody knows which files are needed.
pub(crate) fn files_named(view: &ringfence_store::View<'_>) -> ringfence_store::Result<HashSet<String>> {
    /// Where a part's row names its file of equity.
    const CURVE: &str = "$.curve[0]";
    let mut named: HashSet<String> = view.job_part_texts(KIND, CURVE)?.into_iter().collect();
    for row in view.jobs(KIND, None, u32::MAX)? {
        let unreadable =
            |_| ringfence_store::StoreError::Unreadable { column: "state", row: format!("job {}", row.id) };
        let state: State = serde_json::from_value(row.state.clone()).map_err(unreadable)?;
        named.insert(state.bars);
        named.extend(state.finished.into_iter().flat_map(|finished| [finished.report, finished.chart]).flatten());
    }
    Ok(named)
}

fn once(bytes: Vec<u8>) -> Chunks {
    stream::once(async move { Ok(bytes.into()) }).boxed()
}

impl Sweeps for Desk {
    fn sweep(
        &self,
        actor: Actor,
        request: SweepRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, SweepAnswer> {
        Box::pin(async move {
            let (wait, top) = (request.wait_s(), request.top_wanted());
            // What was begun goes on when nobody waits for its answer any more.
            let desk = self.clone();
            let begun = tokio::spawn(async move { desk.start_sweep(actor, request).await });
            let (id, live) = begun.await.map_err(|e| fault(&e))??;
            self.wait_for(&live, wait, progress).await;
            self.sweep_answer(id.as_str(), top).await
        })
    }

    fn sweep_status(
        &self,
        _: Actor,
        request: SweepStatusRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, SweepAnswer> {
        Box::pin(async move {
            let row = self.sweep_row(&request.sweep_id).await?;
            let (wait, top) = request.checked()?;
            if let Some(live) = self.live(&row.id).filter(|_| wait > 0.0) {
                self.wait_for(&live, wait, progress).await;
            }
            let mut answer = self.sweep_answer(row.id.as_str(), top).await?;
            if request.chart {
                let row = self.sweep_row(row.id.as_str()).await?;
                let (_, state, _) = answer::read(&row)?;
                if let Some(file) = state.finished.and_then(|finished| finished.chart) {
                    let png = files(&self.inner).get(&file).map_err(|e| fault(&e))?;
                    answer.artifacts.push(SweepChart {
                        name: "equity.png".into(),
                        mime: "image/png".into(),
                        content_base64: Some(base64::engine::general_purpose::STANDARD.encode(png)),
                    });
                }
            }
            Ok(answer)
        })
    }

    fn sweep_list(&self, _: Actor, request: SweepListRequest) -> Answering<'_, SweepListAnswer> {
        Box::pin(async move {
            let limit = list_limit(request.limit)?;
            let of = self.project.clone();
            let rows = self.inner.store.read(move |view| view.jobs(KIND, of.as_ref(), limit)).await;
            let rows = rows.map_err(|e| fault(&e))?;
            let one = |row: JobRow| {
                let (_, state, status) = answer::read(&row)?;
                let progress = answer::progress(&state, self.live(&row.id).as_deref());
                Ok(SweepListed {
                    status,
                    progress,
                    strategies: state.strategies.into_keys().collect(),
                    symbols: state.data.bars.into_keys().collect(),
                    created_at: answer::time(row.created_at_ms),
                    summary: state.finished.map(|finished| finished.summary).unwrap_or_default(),
                    sweep_id: row.id,
                    name: row.name,
                })
            };
            let sweeps: Vec<SweepListed> = rows.into_iter().map(one).collect::<Result<_, ApiError>>()?;
            Ok(SweepListAnswer { success: true, count: sweeps.len() as u64, sweeps })
        })
    }

    fn sweep_cancel(&self, actor: Actor, request: SweepOneRequest) -> Answering<'_, SweepAnswer> {
        Box::pin(async move {
            let row = self.sweep_row(&request.sweep_id).await?;
            if let Some(live) = self.live(&row.id) {
                let entry =
                    AuditEntry::new(now_ms(), audited(actor), "sweep.cancel").detail(json!({"sweep_id": row.id}));
                self.inner.store.append(entry).await.map(drop).map_err(|e| fault(&e))?;
                live.cancel();
                live.ended().await;
            }
            self.sweep_answer(row.id.as_str(), ringfence_model::api::SWEEP_TOP_DEFAULT).await
        })
    }

    fn sweep_table(&self, _: Actor, request: SweepTableRequest) -> Answering<'_, Chunks> {
        Box::pin(async move {
            let row = self.sweep_row(&request.sweep_id).await?;
            let format = request.format.unwrap_or_default();
            if request.follow {
                if format != SweepFormat::Ndjson {
                    return Err(ApiError::new(Code::InvalidArgument, "`follow` is for `format` `ndjson`"));
                }
                return Ok(self.follow(row.id));
            }
            let metric = answer::read(&row)?.0.metric.unwrap_or_default();
            let (rows, _) = job::rows(&self.inner, &row.id).await?;
            let made = tokio::task::spawn_blocking(move || -> Result<Vec<u8>, ApiError> {
                let results: Vec<_> = rank::results(&rows, metric).collect();
                match format {
                    SweepFormat::Csv => Ok(table::Table::new(&results).csv()),
                    SweepFormat::Parquet => table::Table::new(&results).parquet().map_err(|e| fault(&e)),
                    SweepFormat::Ndjson => Ok(results.iter().flat_map(line).collect()),
                }
            });
            Ok(once(made.await.map_err(|e| fault(&e))??))
        })
    }

    fn sweep_report(&self, _: Actor, request: SweepOneRequest) -> Answering<'_, Chunks> {
        Box::pin(async move {
            let row = self.sweep_row(&request.sweep_id).await?;
            let (_, state, status) = answer::read(&row)?;
            let file = state.finished.and_then(|finished| finished.report).ok_or_else(|| {
                let why = if status.has_ended() { "has none" } else { "has none before it has ended" };
                ApiError::new(
                    Code::FileNotFound,
                    format!("the sweep {why}: `ringfence sweep show {}` says why", row.id),
                )
            })?;
            let files = files(&self.inner);
            let html = tokio::task::spawn_blocking(move || files.get(&file)).await.map_err(|e| fault(&e))?;
            Ok(once(html.map_err(|e| fault(&e))?))
        })
    }
}

fn line(result: &ringfence_model::api::SweepResult) -> Vec<u8> {
    let mut line = serde_json::to_vec(result).unwrap_or_default();
    line.push(b'\n');
    line
}

/// How far somebody who follows a sweep has read.
struct Follow {
    desk: Desk,
    id: JobId,
    sent: std::collections::BTreeSet<u64>,
    ended: bool,
}

impl Desk {
    /// Results as they come: unranked, each once, until the sweep has ended.
    fn follow(&self, id: JobId) -> Chunks {
        let follow = Follow { desk: self.clone(), id, sent: std::collections::BTreeSet::new(), ended: false };
        let next = |mut follow: Follow| async move {
            if follow.ended {
                return None;
            }
            let live = follow.desk.live(&follow.id);
            if let Some(live) = &live {
                live.grown(follow.sent.len() as u64).await;
            }
            follow.ended = live.is_none_or(|live| live.has_ended());
            let rows = match job::rows(&follow.desk.inner, &follow.id).await {
                Ok((rows, _)) => rows,
                Err(error) => {
                    follow.ended = true;
                    return Some((Err(error), follow));
                }
            };
            let mut lines = Vec::new();
            for (number, row) in &rows {
                if follow.sent.insert(*number) {
                    lines.extend(line(&rank::result(*number, row, None)));
                }
            }
            Some((Ok(lines.into()), follow))
        };
        stream::unfold(follow, next).boxed()
    }
}

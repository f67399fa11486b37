//! A sweep that runs: what is missing of its plan is run, what is done is written down, and in the end it is ranked and judged.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ringfence_backtest::panel::Panel;
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError, Code, JobId, Project,
    api::{Actor, BuildRequest, SweepCheck, SweepProgress, SweepRequest, SweepStatus, TemplateRequest},
};
use ringfence_store::{AuditEntry, JobPartRow, JobRow};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::{
    curves,
    data::Data,
    evaluate::{Evaluated, Ground},
    files::Files,
    finish::Finished,
    plan::{Plan, Run},
    propose::{self, Proposed, Source},
    row::{Engine, Row},
    state::State,
    versions,
};
use crate::desk::Inner;

/// Parts that are written in one transaction at most.
const FLUSH_PARTS: usize = 256;
/// How long a part waits for others.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// Parameter sets that native code runs at a time.
const NATIVE_BATCH: usize = 64;
/// Grounds that are kept: bars of symbols with what holding them gives.
const GROUNDS_MAX: usize = 64;
/// How long to wait before a sandbox that could not be had is tried again.
const RETRY: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// Bytes of equity that are kept of one sweep, before they are compressed.
const CURVES_BYTES_MAX: u64 = 1 << 30;

/// A sweep that runs, as those who wait for it see it.
#[derive(Debug)]
pub(crate) struct Live {
    done: AtomicU64,
    failed: AtomicU64,
    total: u64,
    /// When it was taken up, how much was done by then, and when something was done last.
    since: Mutex<(Instant, u64, Instant)>,
    cancelled: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    /// Grows with every run that is written.
    written: watch::Sender<u64>,
}

impl Live {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            total,
            since: Mutex::new((Instant::now(), 0, Instant::now())),
            cancelled: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            written: watch::Sender::new(0),
        }
    }

    pub(crate) fn progress(&self) -> SweepProgress {
        let (done, failed) = (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let (since, before, last) = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        // After the last run only the time that the end takes passes.
        let seconds = if done < self.total { since.elapsed() } else { last - since }.as_secs_f64();
        let per_second = (done > before && seconds > 0.0).then(|| (done - before) as f64 / seconds);
        let left = per_second.map(|rate| self.total.saturating_sub(done) as f64 / rate);
        SweepProgress { done, failed, total: self.total, per_second, seconds_left: left }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until more than `seen` runs are written, or it has ended.
    pub(crate) async fn grown(&self, seen: u64) {
        let mut written = self.written.subscribe();
        tokio::select! {
            _ = written.wait_for(|count| *count > seen) => {}
            () = self.ended() => {}
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    fn count(&self, done: u64, failed: u64) {
        self.failed.fetch_add(failed, Ordering::Relaxed);
        self.since.lock().unwrap_or_else(PoisonError::into_inner).2 = Instant::now();
        let done = self.done.fetch_add(done, Ordering::Relaxed) + done;
        self.written.send_replace(done);
    }
}

/// A sweep that runs.
pub(crate) struct Job {
    pub(crate) inner: Arc<Inner>,
    pub(crate) id: JobId,
    pub(crate) actor: Actor,
    /// Whose it is.
    pub(crate) project: Project,
    pub(crate) request: SweepRequest,
    pub(crate) data: Data,
    pub(crate) plan: Plan,
    pub(crate) sources: Vec<Source>,
    pub(crate) files: Files,
    pub(crate) live: Arc<Live>,
    pub(crate) grounds: Mutex<HashMap<(usize, u32), Arc<Ground>>>,
}

impl Job {
    /// Makes a job of its row: the plan is made again.
    ///
    /// # Errors
    /// The bars that were kept, or the strategy, cannot be had any more.
    pub(crate) fn of(inner: Arc<Inner>, row: &JobRow, actor: Actor) -> Result<Self, ApiError> {
        let odd = |what: &str| ApiError::internal(format!("{what} of the sweep cannot be read; start it again"));
        let request: SweepRequest = serde_json::from_value(row.request.clone()).map_err(|_| odd("the request"))?;
        let state: State = serde_json::from_value(row.state.clone()).map_err(|_| odd("the state"))?;
        let files = super::files(&inner);
        let bars = files.get(&state.bars).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let mut data = bars.as_deref().and_then(Data::read).ok_or_else(|| odd("the data"))?;
        data.adjusted = state.data.adjusted;
        let sources = propose::sources(&request)?;
        let hashes: BTreeMap<String, String> =
            sources.iter().map(|s| (s.known.name.clone(), s.sha256.clone())).collect();
        if hashes != state.strategies {
            return Err(ApiError::new(
                Code::NotSupported,
                "a built-in strategy is another one in this version than in the one that began this sweep; start it again",
            ));
        }
        let plan = plan(&request, &sources, &data)?;
        let live = Arc::new(Live::new(plan.total()));
        Ok(Self {
            inner,
            id: row.id.clone(),
            actor,
            project: row.project.clone(),
            request,
            data,
            plan,
            sources,
            files,
            live,
            grounds: Mutex::default(),
        })
    }

    /// Runs it to its end, or to its cancellation. It leaves a row that says how it ended.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut cancelled = self.live.cancelled.subscribe();
        let done = tokio::select! {
            done = self.clone().work() => Some(done),
            _ = cancelled.wait_for(|cancelled| *cancelled) => None,
        };
        let ended = match done {
            Some(done) => done,
            None => self.clone().finish(SweepStatus::Cancelled).await,
        };
        // One that is cut off by the end of the daemon has not failed: the next one takes it up.
        if let Err(error) = ended
            && !self.inner.engine.is_ending()
        {
            tracing::warn!(sweep = %self.id, error = %error, "a sweep has failed");
            if let Err(error) = self.fail(&error).await {
                tracing::error!(sweep = %self.id, error = %error, "and that could not be written down");
            }
        }
        self.live.end();
        drop(self);
        // Bars, rows and equity of a large one are hundreds of MiB.
        tokio::task::spawn_blocking(ringfence_engine::give_back_freed_memory);
    }

    async fn work(self: Arc<Self>) -> Result<(), ApiError> {
        let (known, failed) = self.parts().await?;
        let done: BTreeSet<u64> = known.keys().copied().collect();
        self.live.count(done.len() as u64, failed);
        let now = Instant::now();
        *self.live.since.lock().unwrap_or_else(PoisonError::into_inner) = (now, done.len() as u64, now);
        if !done.is_empty() {
            tracing::info!(sweep = %self.id, done = done.len(), total = self.plan.total(), "a sweep goes on");
        }
        if !self.is_native() {
            self.template().await?;
        }
        self.mark_version(!done.is_empty()).await?;
        drop(known);
        let mut runs = self.plan.first();
        while !runs.is_empty() {
            let missing: Vec<Run> = runs.iter().filter(|run| !done.contains(&run.number)).copied().collect();
            self.clone().all(missing).await?;
            if self.plan.rungs == 1 {
                break;
            }
            // What ranks them is read back: a daemon that takes the sweep up must choose the same.
            let (rows, _) = self.parts().await?;
            let metric = self.request.metric.unwrap_or_default();
            runs = self.plan.next(&runs, |run| rows.get(&run.number).and_then(|row| row.score(metric)));
        }
        self.finish(SweepStatus::Completed).await
    }

    /// What is known of it beside its parts.
    pub(crate) async fn state(&self) -> Result<State, ApiError> {
        let id = self.id.clone();
        let row = self.inner.store.read(move |view| view.job(&id)).await.map_err(|e| fault(&e))?;
        let state = row.map(|row| serde_json::from_value::<State>(row.state)).transpose().map_err(|e| fault(&e))?;
        Ok(state.unwrap_or_default())
    }

    /// Whether all of it is native code, which needs no template.
    fn is_native(&self) -> bool {
        self.sources.iter().all(|source| source.is_native(&self.request))
    }

    /// Writes down what computes it from here on; rows of another build, or of another template, stand beside those that come.
    pub(crate) async fn mark_version(&self, is_begun: bool) -> Result<(), ApiError> {
        let mut versions = tokio::task::spawn_blocking(versions::own).await.map_err(|e| fault(&e))?;
        if !self.is_native() {
            let request = TemplateRequest { template_name: propose::TEMPLATE.to_owned() };
            let found = self.inner.engine.template(self.actor, request).await?.template;
            versions.extend(versions::of_template(&found.layers, &found.packages));
        }
        let id = self.id.clone();
        let row = self.inner.store.read(move |view| view.job(&id)).await.map_err(|e| fault(&e))?;
        let Some(mut row) = row else { return Ok(()) };
        let mut state: State = serde_json::from_value(row.state).map_err(|e| fault(&e))?;
        if !state.goes_on_under(&versions, is_begun) {
            return Ok(());
        }
        row.state = serde_json::to_value(state).map_err(|e| fault(&e))?;
        row.changed_at_ms = now_ms();
        self.inner.store.note(move |tx| tx.put_job(&row)).await.map_err(|e| fault(&e))
    }

    /// Every part that is written, and how many of them failed.
    pub(crate) async fn parts(&self) -> Result<(BTreeMap<u64, Row>, u64), ApiError> {
        rows(&self.inner, &self.id).await
    }

    /// Builds the template if it is not there. It is a shipped one, whose build anybody may cause, as with `sandbox_create`.
    async fn template(&self) -> Result<(), ApiError> {
        let request = BuildRequest { template_name: propose::TEMPLATE.to_owned(), ..BuildRequest::default() };
        self.inner.engine.build(Actor::Operator, request, None).await.map(drop)
    }

    /// Runs what is missing of a rung.
    async fn all(self: Arc<Self>, missing: Vec<Run>) -> Result<(), ApiError> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // One more than there are processors: while one is evaluated, the next one is already in its sandbox.
        let parallelism = self.request.parallelism.map_or(processors + 1, |p| p as usize);
        // Native code shares its indicators within a batch, and has no sandbox that could be shared.
        let size = if self.is_native() { NATIVE_BATCH } else { self.request.batch.unwrap_or(1) as usize };
        let mut batches = batches(&missing, size).into_iter();
        let mut tasks: JoinSet<Vec<(u64, Evaluated)>> = JoinSet::new();
        let mut pending = Vec::new();
        let mut beat = tokio::time::interval(FLUSH_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while tasks.len() < parallelism {
                let Some(batch) = batches.next() else { break };
                tasks.spawn(self.clone().batch(batch));
            }
            tokio::select! {
                done = tasks.join_next() => match done {
                    Some(Ok(done)) => pending.extend(done),
                    Some(Err(error)) => {
                        tracing::error!(sweep = %self.id, %error, "a run broke off");
                        return Err(ApiError::internal("a run broke off by a fault of ringfence; its log says more"));
                    }
                    None => break,
                },
                _ = beat.tick() => self.flush(&mut pending).await?,
            }
            if pending.len() >= FLUSH_PARTS {
                self.flush(&mut pending).await?;
            }
        }
        self.flush(&mut pending).await
    }

    /// How strategies are asked.
    pub(crate) fn asker(&self) -> propose::Asker<'_> {
        propose::Asker { trials: &self.inner.engine, actor: self.actor, project: &self.project, request: &self.request }
    }

    /// Runs parameter sets in one sandbox, and says of each row what it is about.
    async fn batch(self: Arc<Self>, runs: Vec<Run>) -> Vec<(u64, Evaluated)> {
        let mut done = self.clone().sandbox(&runs).await;
        for (run, (_, evaluated)) in runs.iter().zip(&mut done) {
            let row = &mut evaluated.row;
            row.strategy.clone_from(&self.sources[self.plan.lanes[run.lane].strategy].known.name);
            row.symbols = self.plan.symbols(run).iter().map(ToString::to_string).collect();
            row.parameters = self.plan.parameters(run);
            row.is_partial = run.rung + 1 < self.plan.rungs;
        }
        done
    }

    /// Waits for the end of the daemon, if it ends: what a sandbox said meanwhile says nothing about the strategy in it.
    pub(crate) async fn stands(&self) {
        if self.inner.engine.is_ending() {
            std::future::pending::<()>().await;
        }
    }

    async fn sandbox(self: Arc<Self>, runs: &[Run]) -> Vec<(u64, Evaluated)> {
        let (first, last) = (runs[0], runs[runs.len() - 1]);
        let job = self.clone();
        let ground = tokio::task::spawn_blocking(move || job.ground(&first)).await;
        let source = &self.sources[self.plan.lanes[first.lane].strategy];
        let engine = if source.is_native(&self.request) { Engine::Native } else { Engine::Sandbox };
        let fail = |bars: usize, why: &str| -> Vec<(u64, Evaluated)> {
            let failed = || Evaluated { row: Row::failed(engine, bars, why), curves: curves::Curves::default() };
            runs.iter().map(|run| (run.number, failed())).collect()
        };
        let ground = match ground {
            Ok(Ok(ground)) => ground,
            Ok(Err(why)) => return fail(0, &why),
            Err(error) => return fail(0, &format!("a fault of ringfence: {error}")),
        };
        let sets: Vec<_> = runs.iter().map(|run| self.plan.parameters(run)).collect();
        let purpose = if first.number == last.number {
            format!("{} {}", self.id, first.number)
        } else {
            format!("{} {}-{}", self.id, first.number, last.number)
        };
        let asker = self.asker();
        let mut tries = RETRY.iter();
        let proposed = loop {
            let asked = asker.propose(&purpose, source, &ground.panel, &sets).await;
            self.stands().await;
            match (asked, tries.next()) {
                (Ok(proposed), _) => break proposed,
                // No sandbox could be had: that says nothing about the strategy.
                (Err(error), Some(wait)) if error.code != Code::InvalidArgument && error.code != Code::TooLarge => {
                    tracing::debug!(sweep = %self.id, purpose, error = %error, "a run is tried again");
                    tokio::time::sleep(*wait).await;
                }
                (Err(error), _) => return fail(ground.panel.len(), &error.message),
            }
        };
        let mut findings = Vec::new();
        if self.request.look_ahead_check == Some(SweepCheck::All) {
            for (set, proposal) in sets.iter().zip(&proposed) {
                findings.push(asker.peek(&purpose, source, &ground.panel, set, &proposal.outcome).await);
            }
        }
        self.stands().await;
        let evaluated = tokio::task::spawn_blocking(move || {
            let evaluate = |proposal: propose::Proposal| {
                let mut done = match &proposal.outcome {
                    Proposed::Wanted(wanted) => ground.evaluate(engine, wanted),
                    Proposed::Reported { curve, trades } => ground.reported(engine, curve, trades),
                    Proposed::Failed(why) => Evaluated {
                        row: Row::failed(engine, ground.panel.len(), why),
                        curves: curves::Curves::default(),
                    },
                };
                done.row.log = super::row::last_lines(&proposal.log);
                done
            };
            proposed.into_iter().map(evaluate).collect::<Vec<_>>()
        });
        match evaluated.await {
            Ok(mut evaluated) => {
                for (done, finding) in evaluated.iter_mut().zip(findings) {
                    done.row.look_ahead = Some(finding);
                }
                runs.iter().map(|run| run.number).zip(evaluated).collect()
            }
            Err(error) => fail(0, &format!("a fault of ringfence: {error}")),
        }
    }

    /// The bars of a run, and what is common to all over them.
    pub(crate) fn ground(&self, run: &Run) -> Result<Arc<Ground>, String> {
        let group = self.plan.lanes[run.lane].group;
        let key = (group, run.rung);
        if let Some(ground) = self.grounds.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(ground.clone());
        }
        let panel = self.panel(group, run.rung)?;
        let ground = Arc::new(Ground::new(panel, &self.request)?);
        let mut grounds = self.grounds.lock().unwrap_or_else(PoisonError::into_inner);
        if grounds.len() >= GROUNDS_MAX {
            grounds.clear();
        }
        grounds.insert(key, ground.clone());
        Ok(ground)
    }

    fn panel(&self, group: usize, rung: u32) -> Result<Panel, String> {
        let symbols = &self.plan.groups[group];
        let panel = self.data.of(symbols).ok_or("these symbols have no bars in common")?;
        Ok(panel.truncated(self.plan.bars(rung, panel.len())))
    }

    /// Whether equity is kept: of a sweep with very many runs it would fill the disk.
    pub(crate) fn keeps_curves(&self) -> bool {
        is_kept(self.plan.total(), self.data.panel.len() as u64, CURVES_BYTES_MAX)
    }

    async fn flush(&self, pending: &mut Vec<(u64, Evaluated)>) -> Result<(), ApiError> {
        if pending.is_empty() {
            return Ok(());
        }
        let mut done = std::mem::take(pending);
        done.sort_by_key(|(number, _)| *number);
        let keeps = self.keeps_curves();
        let files = self.files.clone();
        let rows = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<(u64, Row)>> {
            let (mut kept, mut rows) = (Vec::new(), Vec::new());
            for (number, Evaluated { mut row, curves }) in done {
                if keeps && !curves.whole.is_empty() {
                    row.curve = Some((String::new(), u32::try_from(kept.len()).unwrap_or(u32::MAX)));
                    kept.push(curves);
                }
                rows.push((number, row));
            }
            if !kept.is_empty() {
                let file = files.put(&curves::encode(&kept)?)?;
                for (_, row) in &mut rows {
                    if let Some((name, _)) = &mut row.curve {
                        name.clone_from(&file);
                    }
                }
            }
            Ok(rows)
        });
        let rows = rows.await.map_err(|e| fault(&e))?.map_err(|e| {
            tracing::error!(sweep = %self.id, error = %e, "equity curves cannot be written");
            ApiError::new(
                Code::InsufficientResources,
                "equity curves cannot be written: is the disk of the daemon full?",
            )
        })?;
        let failed = rows.iter().filter(|(_, row)| row.error.is_some()).count() as u64;
        let count = rows.len() as u64;
        let now = now_ms();
        let parts: Vec<JobPartRow> = rows
            .iter()
            .map(|(number, row)| JobPartRow {
                number: *number,
                status: row.status().to_owned(),
                body: serde_json::to_value(row).unwrap_or_default(),
                changed_at_ms: now,
            })
            .collect();
        let id = self.id.clone();
        self.inner.store.note(move |tx| tx.put_job_parts(&id, &parts)).await.map_err(|e| fault(&e))?;
        self.live.count(count, failed);
        Ok(())
    }

    /// Writes how it ended, with its entry in the audit chain.
    pub(crate) async fn end(&self, status: SweepStatus, finished: Finished) -> Result<(), ApiError> {
        let detail = json!({
            "sweep_id": self.id, "status": status.as_str(), "done": finished.done, "failed": finished.failed,
            "table_sha256": finished.table, "report_sha256": finished.report,
        });
        self.close(status, Some(finished), detail).await
    }

    async fn fail(&self, error: &ApiError) -> Result<(), ApiError> {
        let progress = self.live.progress();
        let finished = Finished {
            summary: format!("the sweep has failed: {}", error.message),
            done: progress.done,
            failed: progress.failed,
            ..Finished::default()
        };
        let detail = json!({"sweep_id": self.id, "status": SweepStatus::Failed.as_str(), "code": error.code});
        self.close(SweepStatus::Failed, Some(finished), detail).await
    }

    async fn close(
        &self,
        status: SweepStatus,
        finished: Option<Finished>,
        detail: serde_json::Value,
    ) -> Result<(), ApiError> {
        let entry = AuditEntry::new(now_ms(), ringfence_store::Actor::System, "sweep.end").detail(detail);
        let id = self.id.clone();
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            let Some(mut row) = tx.job(&id)? else { return Ok(()) };
            let mut state: State = serde_json::from_value(row.state).unwrap_or_default();
            state.finished = finished;
            row.state = serde_json::to_value(state).unwrap_or_default();
            row.status = status.as_str().to_owned();
            let now = now_ms();
            (row.changed_at_ms, row.ended_at_ms) = (now, status.has_ended().then_some(now));
            tx.put_job(&row)
        });
        written.await.map(drop).map_err(|e| fault(&e))
    }
}

/// Whether equity of so many runs over so many bars is within a bound.
fn is_kept(runs: u64, bars: u64, bytes_max: u64) -> bool {
    runs.saturating_mul(bars).saturating_mul(8) <= bytes_max
}

/// The plan of a request over data.
///
/// # Errors
/// As [`Plan::new`].
pub(crate) fn plan(request: &SweepRequest, sources: &[Source], data: &Data) -> Result<Plan, ApiError> {
    let symbols: Vec<_> = data.panel.symbols().cloned().collect();
    let known = sources.iter().map(|source| source.known.clone()).collect();
    Plan::new(request, known, &symbols, |group| data.rows(group).len())
}

/// Every part of a sweep that is written, and how many of them failed.
///
/// # Errors
/// The database cannot be read.
pub(crate) async fn rows(inner: &Inner, id: &JobId) -> Result<(BTreeMap<u64, Row>, u64), ApiError> {
    let id = id.clone();
    let parts = inner.store.read(move |view| view.job_parts(&id, 0)).await.map_err(|e| fault(&e))?;
    let rows: Result<BTreeMap<u64, Row>, _> =
        parts.into_iter().map(|part| Ok((part.number, serde_json::from_value(part.body)?))).collect();
    let rows = rows.map_err(|e: serde_json::Error| fault(&e))?;
    let failed = rows.values().filter(|row| row.error.is_some()).count() as u64;
    Ok((rows, failed))
}

/// A fault of ours: the log has it, the client a sentence.
pub(crate) fn fault(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(error = %super::data::chain(error), "a sweep met a fault");
    ApiError::internal("the sweep met a fault of ringfence; the daemon's log says which")
}

/// Consecutive runs of one lane, so many at most.
fn batches(runs: &[Run], size: usize) -> Vec<Vec<Run>> {
    let lanes = runs.chunk_by(|a, b| a.lane == b.lane && a.rung == b.rung);
    lanes.flat_map(|lane| lane.chunks(size.max(1)).map(<[Run]>::to_vec)).collect()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equity_is_kept_within_its_bound() {
        assert!(is_kept(10, 100, 8_000) && !is_kept(10, 101, 8_000));
        assert!(!is_kept(u64::MAX, 100, CURVES_BYTES_MAX));
    }

    #[test]
    fn a_batch_is_of_one_lane() {
        let run = |number, lane| Run { number, lane, set: 0, rung: 0 };
        let runs = [run(0, 0), run(1, 0), run(2, 0), run(3, 1), run(5, 1)];
        let found: Vec<Vec<u64>> = batches(&runs, 2).iter().map(|b| b.iter().map(|r| r.number).collect()).collect();
        assert_eq!(found, [vec![0, 1], vec![2], vec![3, 5]]);
    }
}

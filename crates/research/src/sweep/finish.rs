//! The end of a sweep: who is best, whether he looks ahead, what buying and holding gave, and the report. What choosing on the past
//! would have given is in [`super::forward`], how likely it is luck in [`super::chance`].

use std::{collections::BTreeMap, sync::Arc};

use ringfence_model::{
    ApiError,
    api::{
        SweepCheck, SweepCompared, SweepFigures, SweepLookAhead, SweepLuck, SweepMetric, SweepStatus, SweepSymbol,
        SweepWalk,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    chance,
    curves::Reader,
    evaluate::{Evaluated, Ground},
    job::{Job, fault, now_ms},
    plan::Run,
    propose::{self, Proposal},
    rank, report,
    row::{Engine, Row, Verdict},
    state::State,
    words,
};

/// How many of the best are checked until an honest one is found.
pub(crate) const CANDIDATES_MAX: usize = 5;
/// Symbols and portfolios that are answered with their best.
pub(crate) const SYMBOLS_MAX: usize = 200;
/// Numbers of runs that look ahead that are answered.
const CAUGHT_MAX: usize = 100;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// In a sentence or two.
    pub(crate) summary: String,
    /// Runs that are done.
    pub(crate) done: u64,
    /// Of those, runs that failed.
    pub(crate) failed: u64,
    /// Hash of the ranked table.
    #[serde(default)]
    pub(crate) table: Option<String>,
    #[serde(default)]
    pub(crate) by_symbol: Vec<SweepSymbol>,
    #[serde(default)]
    pub(crate) luck: Option<SweepLuck>,
    #[serde(default)]
    pub(crate) look_ahead: Option<SweepLookAhead>,
    #[serde(default)]
    pub(crate) walk_forward: Vec<SweepWalk>,
    /// The file of the report.
    #[serde(default)]
    pub(crate) report: Option<String>,
    /// The file of the main chart.
    #[serde(default)]
    pub(crate) chart: Option<String>,
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

impl Finished {
    /// Over which bars the probability of overfitting was made.
    pub(crate) fn compared(&self) -> Option<&SweepCompared> {
        self.luck.as_ref()?.compared.as_ref()
    }
}

/// The best run, as it was run again in the end.
pub(crate) struct Best {
    pub(crate) run: Run,
    pub(crate) ground: Arc<Ground>,
    pub(crate) proposal: Proposal,
    /// Its equity, over all of its bars.
    pub(crate) equity: Vec<f64>,
}

impl Job {
    /// Ranks and judges what is there, writes the report, and ends the sweep.
    pub(crate) async fn finish(self: Arc<Self>, status: SweepStatus) -> Result<(), ApiError> {
        let (mut rows, failed) = self.parts().await?;
        let runs = self.runs(&rows);
        let mut finished = Finished { done: rows.len() as u64, failed, ..Finished::default() };
        let best = self.best(&mut rows, &runs, &mut finished).await?;
        self.check_winners(&mut rows, &runs, &mut finished).await?;
        if let Some(found) = &mut finished.look_ahead {
            let caught = rows.iter().filter(|(_, row)| row.looks_ahead()).map(|(number, _)| *number);
            found.caught = caught.take(CAUGHT_MAX).collect();
        }
        self.stands().await;
        // What went on under others since it was taken up stands in the table as well.
        self.mark_version(!rows.is_empty()).await?;
        let begun = self.state().await?;
        let job = self.clone();
        let finished =
            tokio::task::spawn_blocking(move || job.judge(&rows, &runs, best.as_ref(), finished, status, &begun));
        let finished = finished.await.map_err(|e| fault(&e))?;
        let any = finished.done > finished.failed;
        let status = if status == SweepStatus::Completed && !any { SweepStatus::Failed } else { status };
        self.end(status, finished).await
    }

    /// The run of each row.
    fn runs(&self, rows: &BTreeMap<u64, Row>) -> BTreeMap<u64, Run> {
        let metric = self.metric();
        let mut all = BTreeMap::new();
        let mut runs = self.plan.first();
        while !runs.is_empty() {
            all.extend(runs.iter().map(|run| (run.number, *run)));
            runs = self.plan.next(&runs, |run| rows.get(&run.number).and_then(|row| row.score(metric)));
        }
        all
    }

    pub(crate) fn metric(&self) -> SweepMetric {
        self.request.metric.unwrap_or_default()
    }

    /// Finds the best that does not look ahead, and runs it again: its positions are needed, and they must be what they were.
    async fn best(
        &self,
        rows: &mut BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        finished: &mut Finished,
    ) -> Result<Option<Best>, ApiError> {
        let asked = self.request.look_ahead_check.unwrap_or_default();
        let mut found = SweepLookAhead { verdict: Verdict::NotChecked.as_str().into(), ..SweepLookAhead::default() };
        if asked == SweepCheck::None {
            found.detail = "the check was switched off".into();
        }
        found.checked = rows.values().filter(|row| row.look_ahead.is_some()).count() as u64;
        let mut best = None;
        for _ in 0..CANDIDATES_MAX {
            let (order, ranked) = rank::order(rows, self.metric());
            let Some(number) = order.first().filter(|_| ranked > 0).copied() else { break };
            let (Some(run), Some(row)) = (runs.get(&number).copied(), rows.get(&number).cloned()) else { break };
            let again = self.again(&run).await;
            let (ground, proposal) = match again {
                Ok(again) => again,
                Err(why) => {
                    finished
                        .warnings
                        .push(format!("run {number}, the best, could not be run again for the report: {why}"));
                    break;
                }
            };
            let mut same = row.clone();
            let (evaluated, equity) = self.evaluated(&run, &row, &ground, &proposal);
            if let Some(other) =
                evaluated.filter(|other| other.metrics != row.metrics || other.out_of_sample != row.out_of_sample)
            {
                let was = format!("{:?} and then {:?}", row.score(self.metric()), other.score(self.metric()));
                finished.warnings.push(format!(
                    "run {number} gave other results when it was run again ({was}): the strategy is not deterministic"
                ));
            }
            if asked != SweepCheck::None && row.look_ahead.is_none() {
                let finding = if row.engine == Engine::Native {
                    propose::not_checked("native code computes each bar from those before it")
                } else {
                    let source = &self.sources[self.plan.lanes[run.lane].strategy];
                    let purpose = format!("{} {number} look-ahead", self.id);
                    let set = self.plan.parameters(&run);
                    self.asker().peek(&purpose, source, &ground.panel, &set, &proposal.outcome).await
                };
                self.stands().await;
                found.checked += u64::from(finding.verdict != Verdict::NotChecked);
                same.look_ahead = Some(finding);
                self.rewrite(number, &same).await?;
                rows.insert(number, same.clone());
            }
            if let Some(finding) = &same.look_ahead {
                found.verdict = finding.verdict.as_str().into();
                found.detail.clone_from(&finding.detail);
            }
            best = Some(Best { run, ground, proposal, equity });
            if same.looks_ahead() {
                best = None;
                continue;
            }
            break;
        }
        if best.is_none() && rows.values().any(Row::looks_ahead) {
            // Others may be ranked that nobody has looked at; they are of the same strategies, and no best is named.
            found.verdict = Verdict::LooksAhead.as_str().into();
        }
        if found.detail.is_empty() {
            found.detail = "no run came out as the best".into();
        }
        if let Some(limit) = words::unseen(&found.verdict, self.data.adjusted) {
            found.detail.push_str(limit);
        }
        finished.look_ahead = (!rows.is_empty()).then_some(found);
        Ok(best)
    }

    pub(crate) async fn again(&self, run: &Run) -> Result<(Arc<Ground>, Proposal), String> {
        let ground = self.ground(run)?;
        let source = &self.sources[self.plan.lanes[run.lane].strategy];
        let purpose = format!("{} {} again", self.id, run.number);
        let sets = [self.plan.parameters(run)];
        let proposed = self.asker().propose(&purpose, source, &ground.panel, &sets).await;
        let proposal = proposed.map_err(|e| e.message)?.into_iter().next().ok_or("it answered nothing")?;
        Ok((ground, proposal))
    }

    /// The row again, as the database would give it back, and its equity.
    fn evaluated(&self, run: &Run, row: &Row, ground: &Ground, proposal: &Proposal) -> (Option<Row>, Vec<f64>) {
        let Evaluated { row, curves } = match &proposal.outcome {
            propose::Proposed::Wanted(wanted) => ground.evaluate(row.engine, wanted),
            propose::Proposed::Reported { curve, trades } => ground.reported(row.engine, curve, trades),
            propose::Proposed::Failed(why) => {
                tracing::warn!(sweep = %self.id, run = run.number, why, "the best run failed when it was run again");
                return (Some(Row::failed(row.engine, ground.panel.len(), why)), Vec::new());
            }
        };
        let row = serde_json::to_string(&row).ok().and_then(|text| serde_json::from_str(&text).ok());
        (row, curves.whole)
    }

    pub(crate) async fn rewrite(&self, number: u64, row: &Row) -> Result<(), ApiError> {
        let part = ringfence_store::JobPartRow {
            number,
            status: row.status().to_owned(),
            body: serde_json::to_value(row).map_err(|e| fault(&e))?,
            changed_at_ms: now_ms(),
        };
        let id = self.id.clone();
        self.inner.store.note(move |tx| tx.put_job_parts(&id, &[part])).await.map_err(|e| fault(&e))
    }

    fn judge(
        &self,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        best: Option<&Best>,
        mut finished: Finished,
        status: SweepStatus,
        begun: &State,
    ) -> Finished {
        finished.table = Some(rank::digest(rows, self.metric()));
        finished.by_symbol = self.by_symbol(rows, runs);
        let mut curves = Reader::new(self.files.clone());
        finished.walk_forward = self.walks(rows, runs, &mut curves, &mut finished.warnings);
        let judged = best.and_then(|best| self.luck(rows, runs, best, &mut curves, &mut finished.warnings));
        let (verdict, compared) = judged.unzip();
        finished.luck = verdict.as_ref().map(|verdict| chance::told(verdict, compared.flatten()));
        finished.summary = self.summary(rows, best, &finished, status);
        match report::write(self, rows, best, verdict.as_ref(), &finished, begun) {
            Ok((html, png)) => {
                let kept = |put: std::io::Result<String>| {
                    put.map_err(|error| tracing::error!(%error, "a report cannot be kept")).ok()
                };
                finished.report = kept(self.files.put(html.as_bytes()));
                finished.chart = png.and_then(|png| kept(self.files.put(&png)));
            }
            Err(why) => finished.warnings.push(format!("there is no report: {why}")),
        }
        finished
    }

    /// Buying and holding each group of symbols over the bars on which runs are ranked.
    pub(crate) fn holds_ranked(&self) -> BTreeMap<Vec<String>, SweepFigures> {
        let groups = self.plan.groups.iter().enumerate().take(SYMBOLS_MAX);
        let one = |(at, symbols): (usize, &Vec<ringfence_market::Symbol>)| {
            let figures = self.group_ground(at)?.hold_ranked().clone();
            Some((symbols.iter().map(ToString::to_string).collect(), figures))
        };
        groups.filter_map(one).collect()
    }

    /// The best of each group of symbols beside holding it.
    fn by_symbol(&self, rows: &BTreeMap<u64, Row>, runs: &BTreeMap<u64, Run>) -> Vec<SweepSymbol> {
        let (order, ranked) = rank::order(rows, self.metric());
        let group = |number: &u64| runs.get(number).map(|run| self.plan.lanes[run.lane].group);
        let mut all = Vec::new();
        for (at, symbols) in self.plan.groups.iter().enumerate().take(SYMBOLS_MAX) {
            let own: Vec<(&u64, &Row)> =
                rows.iter().filter(|(n, row)| group(n) == Some(at) && !row.is_partial && row.error.is_none()).collect();
            let best = order[..ranked].iter().find(|number| group(number) == Some(at));
            let row = best.and_then(|number| rows.get(number));
            let Some(ground) = self.group_ground(at) else { continue };
            all.push(SweepSymbol {
                symbols: symbols.iter().map(ToString::to_string).collect(),
                best_run: best.copied(),
                strategy: row.map(|row| row.strategy.clone()),
                parameters: row.map(|row| row.parameters.clone()),
                metrics: row.and_then(|row| row.out_of_sample.clone().or_else(|| row.metrics.clone())),
                buy_and_hold: ground.hold().clone(),
                beat_buy_and_hold: own.iter().filter(|(_, row)| row.beats() == Some(true)).count() as u64,
                runs: own.len() as u64,
            });
        }
        all
    }
}

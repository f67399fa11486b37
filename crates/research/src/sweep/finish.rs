//! The end of a sweep: who is best, whether he looks ahead, what buying and holding gave, what choosing on the past would have given,
//! how likely it is luck, and the report.

use std::{collections::BTreeMap, sync::Arc};

use ringfence_backtest::{Curve, luck};
use ringfence_model::{
    ApiError,
    api::{SweepCheck, SweepLookAhead, SweepLuck, SweepMetric, SweepStatus, SweepSymbol, SweepWalk, SweepWindow},
};
use serde::{Deserialize, Serialize};

use super::{
    curves::Reader,
    evaluate::{self, Ground},
    job::{Job, fault, now_ms},
    plan::{Run, better},
    propose::{self, Proposal},
    rank, report,
    row::{Engine, Row, Verdict},
};

/// How many of the best are checked until an honest one is found.
const CANDIDATES_MAX: usize = 5;
/// Windows of a walk-forward that are answered.
const WINDOWS_MAX: usize = 200;
/// Symbols and portfolios that are answered with their best.
const SYMBOLS_MAX: usize = 200;
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

/// The best run, as it was run again in the end.
pub(crate) struct Best {
    pub(crate) run: Run,
    pub(crate) ground: Arc<Ground>,
    pub(crate) proposal: Proposal,
}

impl Job {
    /// Ranks and judges what is there, writes the report, and ends the sweep.
    pub(crate) async fn finish(self: Arc<Self>, status: SweepStatus) -> Result<(), ApiError> {
        let (mut rows, failed) = self.parts().await?;
        let runs = self.runs(&rows);
        let mut finished = Finished { done: rows.len() as u64, failed, ..Finished::default() };
        let best = self.best(&mut rows, &runs, &mut finished).await?;
        self.stands().await;
        let job = self.clone();
        let finished = tokio::task::spawn_blocking(move || job.judge(&rows, &runs, best.as_ref(), finished, status));
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
            let evaluated = self.evaluated(&run, &row, &ground, &proposal);
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
            best = Some(Best { run, ground, proposal });
            if same.look_ahead.is_some_and(|f| f.verdict == Verdict::LooksAhead) {
                best = None;
                continue;
            }
            break;
        }
        let caught = |row: &Row| row.look_ahead.as_ref().is_some_and(|f| f.verdict == Verdict::LooksAhead);
        found.caught = rows.iter().filter(|(_, row)| caught(row)).map(|(number, _)| *number).take(CAUGHT_MAX).collect();
        if best.is_none() && !found.caught.is_empty() {
            // Others may be ranked that nobody has looked at; they are of the same strategies, and no best is named.
            found.verdict = Verdict::LooksAhead.as_str().into();
        }
        finished.look_ahead = (!rows.is_empty()).then_some(found);
        Ok(best)
    }

    async fn again(&self, run: &Run) -> Result<(Arc<Ground>, Proposal), String> {
        let ground = self.ground(run)?;
        let source = &self.sources[self.plan.lanes[run.lane].strategy];
        let purpose = format!("{} {} again", self.id, run.number);
        let sets = [self.plan.parameters(run)];
        let proposed = self.asker().propose(&purpose, source, &ground.panel, &sets).await;
        let proposal = proposed.map_err(|e| e.message)?.into_iter().next().ok_or("it answered nothing")?;
        Ok((ground, proposal))
    }

    /// The row again, as the database would give it back.
    fn evaluated(&self, run: &Run, row: &Row, ground: &Ground, proposal: &Proposal) -> Option<Row> {
        let done = match &proposal.outcome {
            propose::Proposed::Wanted(wanted) => ground.evaluate(row.engine, wanted),
            propose::Proposed::Reported { curve, trades } => ground.reported(row.engine, curve, trades),
            propose::Proposed::Failed(why) => {
                tracing::warn!(sweep = %self.id, run = run.number, why, "the best run failed when it was run again");
                return Some(Row::failed(row.engine, ground.panel.len(), why));
            }
        };
        serde_json::to_string(&done.row).ok().and_then(|text| serde_json::from_str(&text).ok())
    }

    async fn rewrite(&self, number: u64, row: &Row) -> Result<(), ApiError> {
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
    ) -> Finished {
        finished.table = Some(rank::digest(rows, self.metric()));
        finished.by_symbol = self.by_symbol(rows, runs);
        let mut curves = Reader::new(self.files.clone());
        if !self.keeps_curves() {
            finished
                .warnings
                .push("with so many runs their equity is not kept: there is no probability of overfitting".into());
        }
        finished.walk_forward = self.walks(rows, runs, &mut curves);
        let verdict = best.and_then(|best| self.luck(rows, runs, best, &mut curves));
        finished.luck = verdict.as_ref().map(told);
        finished.summary = self.summary(rows, best, &finished, status);
        match report::write(self, rows, best, verdict.as_ref(), &finished) {
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
            let last = self.plan.lanes.iter().position(|lane| lane.group == at);
            let run = last.map(|lane| Run { number: 0, lane, set: 0, rung: self.plan.rungs - 1 });
            let Some(Ok(ground)) = run.map(|run| self.ground(&run)) else { continue };
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

    /// Judges how likely the best is to be luck. Every combination counts as a trial over all of the data: bars on which its symbols
    /// had none, or which it did not see, count as bars without a position.
    fn luck(
        &self,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        best: &Best,
        curves: &mut Reader,
    ) -> Option<luck::Verdict> {
        let bars = self.data.panel.len();
        let mut trials = luck::Trials::new(bars, luck::BLOCKS).ok()?;
        // Of a combination that went on to more bars, only the last run counts.
        let mut last: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for (number, run) in runs {
            if rows.get(number).is_some_and(|row| row.curve.is_some()) {
                last.insert((run.lane, run.set), *number);
            }
        }
        let mut dates: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        // In the order of their numbers, in which files were written, and in which sums are the same every time.
        let mut last: Vec<(usize, u64)> = last.into_iter().map(|((lane, _), number)| (lane, number)).collect();
        last.sort_by_key(|(_, number)| *number);
        for (lane, number) in last {
            let group = self.plan.lanes[lane].group;
            let places = dates.entry(group).or_insert_with(|| self.places(group));
            let ground_split = self.request.train.map(|share| super::walk::split(share, places.len()));
            let Some(row) = rows.get(&number) else { continue };
            let Some(curve) = curves.get(row) else { continue };
            let mut returns = vec![0.0; bars];
            for (at, earned) in returns_of(&curve.whole, self.request.capital_begun()).into_iter().enumerate() {
                if ground_split.is_none_or(|split| at < split)
                    && let Some(place) = places.get(at)
                {
                    returns[*place] = earned;
                }
            }
            // One that cannot be compared (equity of another length, reported by a program) is no trial.
            if let Err(error) = trials.add(&returns) {
                tracing::debug!(sweep = %self.id, number, %error, "a run is no trial");
            }
        }
        let row = rows.get(&best.run.number)?;
        let mut own = returns_of(&curves.get(row)?.whole, self.request.capital_begun());
        own.truncate(best.ground.split.unwrap_or(usize::MAX));
        let excess = row.metrics.as_ref().and_then(|m| m.total_return).zip(best.ground.hold_curve().equity.last());
        Some(luck::judge(&luck::Search {
            trials: &trials,
            best: &own,
            periods_per_year: self.data.panel.periods_per_year(),
            surroundings: self.surroundings(rows, runs, &best.run),
            excess_return: excess.map(|(own, hold)| own - (hold / self.request.capital_begun() - 1.0)),
            seed: self.request.seed.unwrap_or(0),
        }))
    }

    /// The rows of all data that the bars of a group are.
    fn places(&self, group: usize) -> Vec<usize> {
        let symbols = &self.plan.groups[group];
        let rows = self.data.rows(symbols);
        let own = self.data.panel.columns().iter().filter(|c| symbols.contains(&c.symbol)).collect::<Vec<_>>();
        rows.filter(|row| own.iter().any(|c| c.has(*row))).collect()
    }

    /// The neighbours of the best in its grid.
    fn surroundings(
        &self,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        best: &Run,
    ) -> Option<luck::Surroundings> {
        let space = &self.plan.spaces[self.plan.lanes[best.lane].strategy];
        let (mut cells, mut at) = (Vec::new(), None);
        for run in runs.values().filter(|run| run.lane == best.lane && run.rung == best.rung) {
            let Some(row) = rows.get(&run.number) else { continue };
            if run.number == best.number {
                at = Some(cells.len());
            }
            let (set, places) = space.places(run.set);
            let small = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
            let mut place: Vec<u32> = places.into_iter().map(small).collect();
            place.push(small(set));
            cells.push(luck::Cell { place, score: row.score(self.metric()) });
        }
        // Combinations that were given as they are have no order among them.
        let unordered: Vec<usize> = space.unordered().into_iter().chain([cells.first()?.place.len() - 1]).collect();
        luck::surroundings(&cells, at?, &unordered)
    }

    /// What choosing on the past and trading after it would have given, for each group of symbols.
    fn walks(&self, rows: &BTreeMap<u64, Row>, runs: &BTreeMap<u64, Run>, curves: &mut Reader) -> Vec<SweepWalk> {
        if self.request.walk_forward.is_none() {
            return Vec::new();
        }
        let groups = 0..self.plan.groups.len().min(SYMBOLS_MAX);
        groups.filter_map(|group| self.walk(group, rows, runs, curves)).collect()
    }

    fn walk(
        &self,
        group: usize,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        curves: &mut Reader,
    ) -> Option<SweepWalk> {
        let own: Vec<&Run> = runs.values().filter(|run| self.plan.lanes[run.lane].group == group).collect();
        let ground = self.ground(own.first()?).ok()?;
        let day = |row: usize| ground.panel.label(row);
        let (mut windows, mut dates, mut equity) = (Vec::new(), Vec::new(), Vec::new());
        let (mut chosen, mut at) = (Vec::new(), ground.settings.capital);
        for (number, window) in ground.windows.iter().enumerate() {
            let score = |run: &Run| rows.get(&run.number).and_then(|row| row.walk.get(number).copied().flatten());
            let mut candidates: Vec<(&Run, Option<f64>)> = own.iter().map(|run| (*run, score(run))).collect();
            candidates.sort_by(|(a, x), (b, y)| better(*x, *y).then(a.number.cmp(&b.number)));
            let best = candidates.first().filter(|(_, score)| score.is_some());
            let test = best.and_then(|(run, _)| curves.get(rows.get(&run.number)?)?.tests.get(number).cloned());
            // Nobody is chosen: the money lies.
            let flat = vec![1.0; window.test.len()];
            let growth = test.filter(|test| test.len() == window.test.len()).unwrap_or(flat);
            let begin = at;
            for (row, growth) in window.test.clone().zip(&growth) {
                dates.push(ground.panel.dates()[row]);
                at = begin * growth;
                equity.push(at);
            }
            let part = Curve {
                dates: window.test.clone().map(|row| ground.panel.dates()[row]).collect(),
                equity: growth.clone(),
                capital: 1.0,
            };
            let judged = evaluate::of_curve(&part, None, ground.panel.periods_per_year());
            if let Some((_, Some(score))) = best {
                chosen.push(*score);
            }
            windows.push(SweepWindow {
                train_from: day(window.train.start),
                test_from: day(window.test.start),
                test_to: day(window.test.end - 1),
                run: best.map(|(run, _)| run.number),
                parameters: best.map(|(run, _)| self.plan.parameters(run)),
                train: best.and_then(|(_, score)| *score),
                test: judged.and_then(|figures| figures.of(self.metric())),
            });
        }
        let (first, last) = (ground.windows.first()?, ground.windows.last()?);
        let hold = ground.hold_over(&(first.test.start..last.test.end));
        let joined = Curve { dates, equity, capital: ground.settings.capital };
        let metrics = evaluate::of_curve(&joined, None, ground.panel.periods_per_year());
        let mean =
            (!chosen.is_empty()).then(|| chosen.iter().fold(0.0, |sum, score| sum + score) / chosen.len() as f64);
        let out = metrics.as_ref().and_then(|figures| figures.of(self.metric()));
        windows.truncate(WINDOWS_MAX);
        Some(SweepWalk {
            symbols: self.plan.groups[group].iter().map(ToString::to_string).collect(),
            windows,
            efficiency: out.zip(mean).filter(|(_, mean)| *mean > 0.0).map(|(out, mean)| out / mean),
            metrics,
            buy_and_hold_return: hold,
        })
    }
}

/// Return of each bar: its equity by that of the bar before, the first by the capital. After equity is gone nothing is earned.
fn returns_of(equity: &[f64], capital: f64) -> Vec<f64> {
    let mut before = capital;
    equity
        .iter()
        .map(|now| {
            let earned = if before > 0.0 { now / before - 1.0 } else { 0.0 };
            before = *now;
            earned
        })
        .collect()
}

fn told(verdict: &luck::Verdict) -> SweepLuck {
    let interval =
        |of: fn(&luck::Bootstrap) -> luck::Interval| verdict.bootstrap.as_ref().map(|b| [of(b).low, of(b).high]);
    let around = verdict.surroundings;
    SweepLuck {
        verdict: verdict.sentence.clone(),
        probability_of_luck: verdict.luck,
        trials: verdict.trials,
        still: verdict.still,
        effective_trials: verdict.effective_trials,
        expected_max_sharpe: verdict.expected_maximum_sharpe,
        probabilistic_sharpe: verdict.probabilistic_sharpe,
        deflated_sharpe: verdict.deflated_sharpe,
        pbo: verdict.overfitting,
        sharpe_interval: interval(|b| b.sharpe),
        cagr_interval: interval(|b| b.cagr),
        drawdown_interval: interval(|b| b.max_drawdown),
        min_track_record_years: verdict.minimum_years,
        neighbourhood: around
            .map(|around| format!("{:?}", around.shape).to_lowercase())
            .filter(|shape| shape != "unknown"),
        neighbour_ratio: around.and_then(|around| around.kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_begin_with_the_capital_and_end_with_the_money() {
        assert_eq!(returns_of(&[110.0, 55.0, 0.0, 0.0], 100.0), [0.10000000000000009, -0.5, -1.0, 0.0]);
    }
}

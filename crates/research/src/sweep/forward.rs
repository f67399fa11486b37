//! What choosing on the past and trading after it would have given, for each group of symbols.

use std::collections::BTreeMap;

use ringfence_backtest::Curve;
use ringfence_model::{
    ApiError,
    api::{SweepCheck, SweepMetric, SweepWalk, SweepWindow},
};

use super::{
    curves::Reader,
    evaluate::Ground,
    finish::{CANDIDATES_MAX, Finished, SYMBOLS_MAX},
    job::Job,
    plan::{Run, better},
    propose,
    row::{Engine, Row, Verdict},
};

/// Windows of a walk-forward that are answered.
const WINDOWS_MAX: usize = 200;
/// Runs that a walk-forward chose that are checked for looking ahead, beside the candidates for the best.
const WINNERS_MAX: usize = 20;

/// The run that is chosen in each window, with its score there: the best on the past of those that were not caught at looking ahead.
pub(crate) fn winners<'a>(
    windows: usize,
    rows: impl Iterator<Item = (u64, &'a Row)> + Clone,
) -> Vec<Option<(u64, f64)>> {
    let honest = rows.filter(|(_, row)| !row.looks_ahead());
    let chosen = |window: usize| {
        let scores = honest.clone().map(|(number, row)| (number, row.walk.get(window).copied().flatten()));
        let best = scores.min_by(|(a, x), (b, y)| better(*x, *y).then(a.cmp(b)))?;
        best.1.map(|score| (best.0, score))
    };
    (0..windows).map(chosen).collect()
}

/// Growth over each window's test, of what was chosen in it; where nobody was, the money lies. `None` where the growth of somebody
/// chosen is not there: nothing is made up in its place.
fn grown(
    ground: &Ground,
    winners: &[Option<(u64, f64)>],
    mut tests: impl FnMut(u64, usize) -> Option<Vec<f64>>,
) -> Option<Vec<Vec<f64>>> {
    let mut all = Vec::with_capacity(winners.len());
    for (at, (window, winner)) in ground.windows.iter().zip(winners).enumerate() {
        let bars = window.test.len();
        all.push(match winner {
            Some((run, _)) => tests(*run, at).filter(|test| test.len() == bars)?,
            None => vec![1.0; bars],
        });
    }
    Some(all)
}

/// A walk-forward over a ground, without the parameters of what it chose.
pub(crate) fn walked(
    ground: &Ground,
    metric: SweepMetric,
    winners: &[Option<(u64, f64)>],
    tests: impl FnMut(u64, usize) -> Option<Vec<f64>>,
) -> Option<SweepWalk> {
    let day = |row: usize| ground.panel.label(row);
    let date = |row: usize| ground.panel.dates()[row];
    let growths = grown(ground, winners, tests);
    let (mut windows, mut chosen) = (Vec::new(), Vec::new());
    let mut joined = Curve { dates: Vec::new(), equity: Vec::new(), capital: ground.settings.capital };
    let mut at = ground.settings.capital;
    for (number, (window, winner)) in ground.windows.iter().zip(winners).enumerate() {
        let mut judged = None;
        if let Some(growth) = growths.as_ref().map(|growths| &growths[number]) {
            let dates: Vec<_> = window.test.clone().map(date).collect();
            joined.dates.extend(&dates);
            joined.equity.extend(growth.iter().map(|growth| at * growth));
            at = joined.equity.last().copied().unwrap_or(at);
            let part = Curve { dates, equity: growth.clone(), capital: 1.0 };
            judged = ground.of_curve(&part);
        }
        chosen.extend(winner.map(|(_, score)| score));
        windows.push(SweepWindow {
            train_from: day(window.train.start),
            test_from: day(window.test.start),
            test_to: day(window.test.end - 1),
            run: winner.map(|(run, _)| run),
            parameters: None,
            train: winner.map(|(_, score)| score),
            test: judged.and_then(|figures| figures.of(metric)),
        });
    }
    let (first, last) = (ground.windows.first()?, ground.windows.last()?);
    let hold = ground.hold_over(&(first.test.start..last.test.end));
    let metrics = growths.and_then(|_| ground.of_curve(&joined));
    let mean = (!chosen.is_empty()).then(|| chosen.iter().fold(0.0, |sum, score| sum + score) / chosen.len() as f64);
    // Growth over all tests and growth over one stretch of choice are of different lengths.
    let comparable = metric != SweepMetric::TotalReturn;
    let out = metrics.as_ref().and_then(|figures| figures.of(metric)).filter(|_| comparable);
    windows.truncate(WINDOWS_MAX);
    Some(SweepWalk {
        symbols: Vec::new(),
        windows,
        efficiency: out.zip(mean).filter(|(_, mean)| *mean > 0.0).map(|(out, mean)| out / mean),
        metrics,
        buy_and_hold_return: hold,
    })
}

impl Job {
    /// Places in the plan's groups whose walk-forward is answered, and none without one.
    fn walking(&self) -> std::ops::Range<usize> {
        let all = self.plan.groups.len().min(SYMBOLS_MAX);
        0..if self.request.walk_forward.is_some() { all } else { 0 }
    }

    /// What is chosen over a group of symbols.
    fn chosen(
        &self,
        group: usize,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        windows: usize,
    ) -> Vec<Option<(u64, f64)>> {
        let own = runs.values().filter(|run| self.plan.lanes[run.lane].group == group);
        winners(windows, own.filter_map(|run| Some((run.number, rows.get(&run.number)?))))
    }

    /// All bars of a group of symbols.
    pub(crate) fn group_ground(&self, group: usize) -> Option<std::sync::Arc<Ground>> {
        let lane = self.plan.lanes.iter().position(|lane| lane.group == group)?;
        self.ground(&Run { number: 0, lane, set: 0, rung: self.plan.rungs - 1 }).ok()
    }

    /// Checks what the walk-forward chose for looking ahead, as the best is; what is caught is not chosen, and what takes its place is
    /// checked, up to a bound. What of it nobody has checked is said.
    pub(crate) async fn check_winners(
        &self,
        rows: &mut BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        finished: &mut Finished,
    ) -> Result<(), ApiError> {
        let mut windows = BTreeMap::new();
        for group in self.walking() {
            windows.extend(self.group_ground(group).map(|ground| (group, ground.windows.len())));
        }
        let asked = self.request.look_ahead_check.unwrap_or_default();
        let winners = loop {
            let mut winners: Vec<u64> = Vec::new();
            for (group, windows) in &windows {
                winners.extend(self.chosen(*group, rows, runs, *windows).into_iter().flatten().map(|(run, _)| run));
            }
            // Native code computes each bar from those before it.
            winners.retain(|number| rows.get(number).is_some_and(|row| row.engine != Engine::Native));
            winners.sort_unstable();
            winners.dedup();
            let next = winners.iter().find(|number| rows.get(number).is_some_and(|row| row.look_ahead.is_none()));
            // Counted in what is written, so that a daemon that takes the sweep up ends with the same.
            let checked = rows.values().filter(|row| row.look_ahead.is_some()).count();
            let Some(number) =
                next.copied().filter(|_| asked != SweepCheck::None && checked < CANDIDATES_MAX + WINNERS_MAX)
            else {
                break winners;
            };
            let (Some(run), Some(row)) = (runs.get(&number), rows.get_mut(&number)) else { break winners };
            let finding = match self.again(run).await {
                Ok((ground, proposal)) => {
                    let source = &self.sources[self.plan.lanes[run.lane].strategy];
                    let purpose = format!("{} {number} look-ahead", self.id);
                    let set = self.plan.parameters(run);
                    self.asker().peek(&purpose, source, &ground.panel, &set, &proposal.outcome).await
                }
                Err(why) => propose::not_checked(&why),
            };
            self.stands().await;
            if let Some(found) = &mut finished.look_ahead {
                found.checked += u64::from(finding.verdict != Verdict::NotChecked);
            }
            row.look_ahead = Some(finding);
            self.rewrite(number, row).await?;
        };
        let honest = |row: &Row| row.look_ahead.as_ref().is_some_and(|finding| finding.verdict == Verdict::Honest);
        let open = winners.iter().filter(|number| !rows.get(number).is_some_and(honest)).count();
        if open > 0 {
            finished.warnings.push(format!(
                "of the {} runs that the walk-forward chose, {open} were not found honest by the look-ahead check: \
                 not checked, or not deterministic",
                winners.len()
            ));
        }
        Ok(())
    }

    /// The walk-forward of each group of symbols.
    pub(crate) fn walks(
        &self,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        curves: &mut Reader,
        warnings: &mut Vec<String>,
    ) -> Vec<SweepWalk> {
        let walks: Vec<SweepWalk> = self.walking().filter_map(|group| self.walk(group, rows, runs, curves)).collect();
        if walks.iter().any(|walk| walk.metrics.is_none()) {
            warnings.push(
                "there are walk-forwards without figures: equity of the runs that they chose was not kept, or has none"
                    .into(),
            );
        }
        walks
    }

    fn walk(
        &self,
        group: usize,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        curves: &mut Reader,
    ) -> Option<SweepWalk> {
        let ground = self.group_ground(group)?;
        let winners = self.chosen(group, rows, runs, ground.windows.len());
        let tests = |run: u64, window: usize| curves.get(rows.get(&run)?)?.tests.get(window).cloned();
        let mut walk = walked(&ground, self.metric(), &winners, tests)?;
        walk.symbols = self.plan.groups[group].iter().map(ToString::to_string).collect();
        for window in &mut walk.windows {
            window.parameters = window.run.and_then(|run| runs.get(&run)).map(|run| self.plan.parameters(run));
        }
        Some(walk)
    }
}

#[cfg(test)]
mod tests;

//! How likely it is that the best of a sweep is luck: which of its runs count as trials, and over which bars.

use std::collections::BTreeMap;

use ringfence_backtest::luck;
use ringfence_model::api::SweepLuck;

use super::{curves::Reader, finish::Best, job::Job, plan::Run, row::Row, walk};

/// A combination that was tried: of one that went on to more bars, the last run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) row: &'a Row,
    /// The rows of all data on which it was ranked.
    pub(crate) bars: &'a [usize],
}

/// The trials of a sweep.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) trials: luck::Trials,
    /// Why they could not be compared bar by bar.
    pub(crate) apart: Option<&'static str>,
}

/// Counts trials, each over the bars on which it was ranked and no others: a bar that it did not see is no bar without a return, which
/// would make its Sharpe ratio, and with all of them the hurdle for the best, too small.
///
/// Bar by bar they are compared where all are over the same bars and `equity` of all is there; else each counts by its Sharpe ratio.
pub(crate) fn counted(
    all: &[Trial<'_>],
    mut equity: impl FnMut(&Row) -> Option<Vec<f64>>,
    capital: f64,
    periods_per_year: f64,
) -> Option<Counted> {
    let alone = |row: &Row| row.metrics.as_ref().and_then(|m| m.sharpe).map(|sharpe| sharpe / periods_per_year.sqrt());
    let apart = |why: &'static str| {
        let mut trials = luck::Trials::new(0, luck::BLOCKS).ok()?;
        all.iter().for_each(|trial| trials.add_alone(alone(trial.row)));
        Some(Counted { trials, apart: Some(why) })
    };
    let bars = all.first().map_or(&[][..], |trial| trial.bars);
    if all.iter().any(|trial| !std::ptr::eq(trial.bars, bars) && trial.bars != bars) {
        return apart("combinations were tried on different bars");
    }
    let mut trials = luck::Trials::new(bars.len(), luck::BLOCKS).ok()?;
    for trial in all {
        let Some(mut whole) = equity(trial.row) else {
            return apart("the equity of the runs was not kept");
        };
        whole.truncate(bars.len());
        if let Err(error) = trials.add(&returns_of(&whole, capital)) {
            tracing::debug!(%error, "trials are not compared bar by bar");
            return apart("the equity of a run does not fit the bars");
        }
    }
    Some(Counted { trials, apart: None })
}

impl Job {
    /// Judges how likely the best is to be luck. Every combination counts as a trial, but those that look ahead, and those that report
    /// equity of other days than the bars have.
    pub(crate) fn luck(
        &self,
        rows: &BTreeMap<u64, Row>,
        runs: &BTreeMap<u64, Run>,
        best: &Best,
        curves: &mut Reader,
        warnings: &mut Vec<String>,
    ) -> Option<luck::Verdict> {
        // Of a combination that went on to more bars, only the last run counts.
        let mut last: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for (number, run) in runs {
            if rows.get(number).is_some_and(|row| row.metrics.is_some() && !row.looks_ahead()) {
                last.insert((run.lane, run.set), *number);
            }
        }
        // In the order of their numbers, in which files were written, and in which sums are the same every time.
        let mut last: Vec<(usize, u64)> = last.into_iter().map(|((lane, _), number)| (lane, number)).collect();
        last.sort_by_key(|(_, number)| *number);
        let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (lane, _) in &last {
            let group = self.plan.lanes[*lane].group;
            places.entry(group).or_insert_with(|| self.places(group));
        }
        let trial = |(lane, number): &(usize, u64)| {
            let row = rows.get(number)?;
            let seen = row.bars as usize;
            let ranked = self.request.train.map_or(seen, |share| walk::split(share, seen));
            let places = places.get(&self.plan.lanes[*lane].group)?;
            Some(Trial { row, bars: &places[..ranked.min(places.len())] })
        };
        let (own, all): (Vec<Trial<'_>>, Vec<Trial<'_>>) =
            last.iter().filter_map(trial).partition(|trial| trial.row.own_dates);
        if !own.is_empty() {
            warnings.push(format!(
                "{} of the runs report equity of other days than the bars have: they are not counted as trials",
                own.len()
            ));
        }
        let row = rows.get(&best.run.number)?;
        if row.own_dates {
            warnings.push("how likely the best is to be luck cannot be said: its equity is of other days".into());
            return None;
        }
        let capital = self.request.capital_begun();
        let periods = self.data.panel.periods_per_year();
        let equity = |row: &Row| curves.get(row).map(|curves| curves.whole.clone());
        let Counted { trials, apart } = counted(&all, equity, capital, periods)?;
        if let Some(why) = apart.filter(|_| trials.count() > 1) {
            warnings.push(format!("there is no probability of overfitting and no number of independent trials: {why}"));
        }
        // Where equity is not kept, that of the best is there all the same: it was run again.
        let mut own = curves.get(row).map_or_else(|| best.equity.clone(), |curves| curves.whole.clone());
        own.truncate(best.ground.split.unwrap_or(usize::MAX));
        let excess = row.metrics.as_ref().and_then(|m| m.total_return).zip(best.ground.hold_curve().equity.last());
        Some(luck::judge(&luck::Search {
            trials: &trials,
            best: &returns_of(&own, capital),
            periods_per_year: periods,
            surroundings: self.surroundings(rows, runs, &best.run),
            excess_return: excess.map(|(own, hold)| own - (hold / capital - 1.0)),
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
}

/// Return of each bar: its equity by that of the bar before, the first by the capital. After equity is gone nothing is earned.
fn returns_of(equity: &[f64], capital: f64) -> Vec<f64> {
    let mut before = capital;
    let earned = |now: &f64| {
        if before <= 0.0 {
            return 0.0;
        }
        let now = now.max(0.0);
        let earned = now / before - 1.0;
        before = now;
        earned
    };
    equity.iter().map(earned).collect()
}

/// A verdict as clients read it.
pub(crate) fn told(verdict: &luck::Verdict) -> SweepLuck {
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
mod tests;

//! How likely it is that the best of a sweep is luck: which of its runs count as trials, and over which bars.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ringfence_backtest::{luck, metrics, panel::Panel};
use ringfence_model::api::{SweepCompared, SweepLuck};

use super::{curves::Reader, finish::Best, job::Job, plan::Run, row::Row, walk};

/// The fewest bars over which trials are compared: one for each block of the cross-validation.
const SHARED_MIN: usize = luck::BLOCKS;

/// A combination that was tried: of one that went on to more bars, the last run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) row: &'a Row,
    /// The rows of all data on which it was ranked, ascending.
    pub(crate) bars: &'a [usize],
}

/// The trials of a sweep.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) trials: luck::Trials,
    /// The same over the bars that all of them share, where these are not all of their bars.
    pub(crate) shared: Option<luck::Trials>,
    /// The rows of all data over which they are compared bar by bar.
    pub(crate) bars: Vec<usize>,
    /// Why they could not be compared bar by bar.
    pub(crate) apart: Option<String>,
}

/// Counts trials, each over the bars on which it was ranked and no others: a bar that it did not see is no bar without a return, which
/// would make its Sharpe ratio, and with all of them the hurdle for the best, too small.
///
/// What money earns without a risk in a bar is taken off, as it is of the Sharpe ratios in the rows.
///
/// Bar by bar they are compared over the bars that all of them share, where these are [`SHARED_MIN`] at least or all of them, and
/// `equity` of all is there; else each counts by its Sharpe ratio alone.
pub(crate) fn counted(
    all: &[Trial<'_>],
    mut equity: impl FnMut(&Row) -> Option<Vec<f64>>,
    capital: f64,
    riskless: f64,
    periods_per_year: f64,
) -> Option<Counted> {
    let alone = |row: &Row| row.metrics.as_ref().and_then(|m| m.sharpe).map(|sharpe| sharpe / periods_per_year.sqrt());
    let each = || {
        let mut trials = luck::Trials::new(0, luck::BLOCKS).ok()?;
        all.iter().for_each(|trial| trials.add_alone(alone(trial.row)));
        Some(trials)
    };
    let apart = |why: String| Some(Counted { trials: each()?, shared: None, bars: Vec::new(), apart: Some(why) });
    let first = all.first().map_or(&[][..], |trial| trial.bars);
    let differ = all.iter().any(|trial| !std::ptr::eq(trial.bars, first) && trial.bars != first);
    let bars = if differ { Shared::of(all).rows() } else { first.to_vec() };
    if differ && bars.len() < SHARED_MIN {
        return apart(too_few(all, bars.len()));
    }
    let mut together = luck::Trials::new(bars.len(), luck::BLOCKS).ok()?;
    for trial in all {
        let Some(mut whole) = equity(trial.row) else {
            return apart("the equity of the runs was not kept".into());
        };
        whole.truncate(trial.bars.len());
        let above: Vec<f64> = returns_of(&whole, capital).iter().map(|earned| earned - riskless).collect();
        if let Err(error) = together.add(&on(&bars, trial.bars, &above)) {
            tracing::debug!(%error, "trials are not compared bar by bar");
            return apart("the equity of a run does not fit the bars".into());
        }
    }
    let (trials, shared) = if differ { (each()?, Some(together)) } else { (together, None) };
    Some(Counted { trials, shared, bars, apart: None })
}

/// Of the returns of a trial on its bars, those on some of them. What it earned on the others is left out, not moved to the next one.
fn on(bars: &[usize], own: &[usize], returns: &[f64]) -> Vec<f64> {
    let mut wanted = bars.iter().peekable();
    let mut is_wanted = |row: &usize| wanted.next_if_eq(&row).is_some();
    own.iter().zip(returns).filter_map(|(row, earned)| is_wanted(row).then_some(*earned)).collect()
}

/// How many of the stretches of a sweep have a bar in each row.
struct Shared {
    by_row: Vec<usize>,
    stretches: usize,
}

impl Shared {
    fn of<'a>(trials: impl IntoIterator<Item = &'a Trial<'a>>) -> Self {
        let (mut by_row, mut seen) = (Vec::new(), HashSet::new());
        for Trial { bars, .. } in trials {
            // Most trials are over the very bars of another one.
            if !seen.insert((bars.as_ptr(), bars.len())) {
                continue;
            }
            by_row.resize(by_row.len().max(bars.last().map_or(0, |last| last + 1)), 0);
            bars.iter().for_each(|row| by_row[*row] += 1);
        }
        Self { by_row, stretches: seen.len() }
    }

    /// The rows that all have.
    fn rows(&self) -> Vec<usize> {
        self.without(&Self { by_row: Vec::new(), stretches: 0 })
    }

    /// The rows that all but some of them have.
    fn without(&self, some: &Self) -> Vec<usize> {
        let others = self.stretches - some.stretches;
        let has = |row: &usize| self.by_row[*row] - some.by_row.get(*row).unwrap_or(&0) == others;
        if others == 0 { Vec::new() } else { (0..self.by_row.len()).filter(has).collect() }
    }
}

/// That trials share too few bars, and which symbol makes it so: the one without whose trials the others would share most.
fn too_few(all: &[Trial<'_>], shared: usize) -> String {
    let whole = Shared::of(all);
    let symbols: BTreeSet<&String> = all.iter().flat_map(|trial| &trial.row.symbols).collect();
    let without = |symbol: &String| {
        let own = all.iter().filter(|trial| trial.row.symbols.contains(symbol));
        whole.without(&Shared::of(own)).len()
    };
    // Of equal ones the first: of two symbols that have nothing in common either is as much the cause.
    let worst = symbols.into_iter().map(|symbol| (symbol, without(symbol))).rev().max_by_key(|(_, left)| *left);
    let cause = match (worst, all.iter().min_by_key(|trial| trial.bars.len())) {
        (Some((symbol, left)), _) if left > shared => {
            format!(
                "it is {symbol} that makes it so, without it the others share {left}: leave it out, or choose days that all have"
            )
        }
        (_, Some(trial)) => format!("the fewest, {}, are of {}", trial.bars.len(), trial.row.symbols.join(" and ")),
        (_, None) => return String::new(),
    };
    format!("combinations were tried on different bars and share {shared}, where {SHARED_MIN} are needed; {cause}")
}

/// What clients are told of the bars over which trials were compared. `None` where they were not.
fn compared(counted: &Counted, verdict: &luck::Verdict, panel: &Panel) -> Option<SweepCompared> {
    verdict.halves.as_ref()?;
    Some(SweepCompared {
        from: panel.label(*counted.bars.first()?),
        to: panel.label(*counted.bars.last()?),
        bars: counted.bars.len() as u64,
        still: counted.shared.as_ref().unwrap_or(&counted.trials).still(),
        joined: counted.shared.is_some(),
    })
}

/// The same in words.
pub(crate) fn in_words(compared: &SweepCompared) -> String {
    let SweepCompared { from, to, bars, still, joined } = compared;
    let mut text = format!("combinations are compared over {bars} bars, from {from} to {to}");
    if *joined {
        text += ": those on which every one was ranked, and what each earned on others does not count";
    }
    if *still > 0 {
        text += &format!("; {still} did nothing in them and are not compared");
    }
    text
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
    ) -> Option<(luck::Verdict, Option<SweepCompared>)> {
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
            places.entry(group).or_insert_with(|| self.data.places(&self.plan.groups[group]));
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
        let riskless = metrics::riskless(self.request.risk_free.unwrap_or(0.0), periods);
        let equity = |row: &Row| curves.get(row).map(|curves| curves.whole.clone());
        let counted = counted(&all, equity, capital, riskless, periods)?;
        if let Some(why) = counted.apart.as_ref().filter(|_| counted.trials.count() > 1) {
            warnings.push(format!("there is no probability of overfitting and no number of independent trials: {why}"));
        }
        // Where equity is not kept, that of the best is there all the same: it was run again.
        let mut own = curves.get(row).map_or_else(|| best.equity.clone(), |curves| curves.whole.clone());
        own.truncate(best.ground.split.unwrap_or(usize::MAX));
        let excess = row.metrics.as_ref().and_then(|m| m.total_return).zip(best.ground.hold_curve().equity.last());
        let verdict = luck::judge(&luck::Search {
            trials: &counted.trials,
            shared: counted.shared.as_ref(),
            best: &returns_of(&own, capital),
            riskless,
            periods_per_year: periods,
            surroundings: self.surroundings(rows, runs, &best.run),
            excess_return: excess.map(|(own, hold)| own - (hold / capital - 1.0)),
            seed: self.request.seed.unwrap_or(0),
        });
        let compared = compared(&counted, &verdict, &self.data.panel);
        Some((verdict, compared))
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
pub(crate) fn told(verdict: &luck::Verdict, compared: Option<SweepCompared>) -> SweepLuck {
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
        compared,
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

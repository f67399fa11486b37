//! What a sweep runs, in which order: a pure function of the request, the strategies and the number of bars. A daemon that takes up
//! a sweep after a crash makes the same plan again, and knows from the parts that are there what is missing.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_market::Symbol;
use ringfence_model::{
    ApiError, Code,
    api::{SWEEP_RUNS_MAX, SweepParameters, SweepRequest, SweepSearch},
};
use serde_json::Value;

use super::draw::Draw;

/// Bars that the shortest stretch of a halving search has at least.
const HALVING_BARS_MIN: usize = 60;
/// Combinations that a random or halving search begins with at least, where there are as many.
const BUDGET_MIN: u64 = 8;

/// A strategy, as far as a plan depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its name.
    pub(crate) name: String,
    /// How many symbols it takes: 1 each, 2 in pairs, `None` as many as there are.
    pub(crate) symbols: Option<usize>,
    /// Names of its parameters; `None` where only the strategy knows them.
    pub(crate) parameters: Option<Vec<String>>,
}

/// Parameter sets of one strategy, addressed by a number. They are made when asked for: a space may be larger than memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Space {
    sets: Vec<SweepParameters>,
    axes: Vec<(String, Vec<Value>)>,
}

impl Space {
    fn new(request: &SweepRequest, known: &Known) -> Self {
        let knows = |name: &str| known.parameters.as_ref().is_none_or(|names| names.iter().any(|n| n == name));
        let axes = request.parameters.iter().filter(|(name, _)| knows(name));
        let mut sets: Vec<SweepParameters> = Vec::new();
        for set in &request.combinations {
            let own: SweepParameters =
                set.iter().filter(|(name, _)| knows(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
            // Two that differ only in what another strategy knows are one here.
            if !sets.contains(&own) {
                sets.push(own);
            }
        }
        if sets.is_empty() {
            sets.push(BTreeMap::new());
        }
        Self { sets, axes: axes.map(|(name, values)| (name.clone(), values.clone())).collect() }
    }

    /// How many.
    pub(crate) fn len(&self) -> u128 {
        let grid = self.axes.iter().fold(1_u128, |product, (_, values)| product.saturating_mul(values.len() as u128));
        grid.saturating_mul(self.sets.len() as u128)
    }

    /// The set of that number: the last parameter by name changes fastest.
    pub(crate) fn at(&self, index: u64) -> SweepParameters {
        let (set, places) = self.places(index);
        let mut parameters = self.sets[set].clone();
        for ((name, values), place) in self.axes.iter().zip(places) {
            parameters.insert(name.clone(), values[place].clone());
        }
        parameters
    }

    /// Axes whose values are not numbers in ascending order: neighbours on them say nothing.
    pub(crate) fn unordered(&self) -> Vec<usize> {
        let ascends = |values: &[Value]| {
            let numbers: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
            numbers.is_some_and(|numbers| numbers.windows(2).all(|pair| pair[0] < pair[1]))
        };
        let axes = self.axes.iter().enumerate();
        axes.filter(|(_, (_, values))| !ascends(values)).map(|(at, _)| at).collect()
    }

    /// Where the set of that number lies: which of the combinations, and the place on each axis.
    pub(crate) fn places(&self, index: u64) -> (usize, Vec<usize>) {
        let mut rest = index;
        let mut places: Vec<usize> = self
            .axes
            .iter()
            .rev()
            .map(|(_, values)| {
                let count = values.len() as u64;
                let place = rest % count;
                rest /= count;
                place as usize
            })
            .collect();
        places.reverse();
        (rest as usize % self.sets.len(), places)
    }
}

/// A strategy over a group of symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Place in [`Plan::strategies`].
    pub(crate) strategy: usize,
    /// Place in [`Plan::groups`].
    pub(crate) group: usize,
    /// Numbers of the parameter sets that it begins with, ascending.
    begins: Begins,
}

/// Which parameter sets a lane begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Begins {
    All(u64),
    These(Vec<u64>),
}

impl Begins {
    fn len(&self) -> u64 {
        match self {
            Self::All(count) => *count,
            Self::These(numbers) => numbers.len() as u64,
        }
    }

    fn at(&self, place: u64) -> u64 {
        match self {
            Self::All(_) => place,
            Self::These(numbers) => numbers[place as usize],
        }
    }
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its number within the sweep, from 0.
    pub(crate) number: u64,
    /// Place in [`Plan::lanes`].
    pub(crate) lane: usize,
    /// Number of its parameter set in the strategy's space.
    pub(crate) set: u64,
    /// Which rung of a halving search it is on, from 0; otherwise 0.
    pub(crate) rung: u32,
}

/// What a sweep runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The strategies, in the order of the request.
    pub(crate) strategies: Vec<Known>,
    /// Parameter sets, by strategy.
    pub(crate) spaces: Vec<Space>,
    /// Symbols that are traded together.
    pub(crate) groups: Vec<Vec<Symbol>>,
    /// Strategies over groups, in the order in which they are run.
    pub(crate) lanes: Vec<Lane>,
    /// Rungs of a halving search; 1 otherwise.
    pub(crate) rungs: u32,
}

impl Plan {
    /// Makes the plan. `bars` of a group of symbols are what there is of it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: a parameter that no strategy knows, symbols that do not fit, more runs than one sweep may have.
    pub(crate) fn new(
        request: &SweepRequest,
        strategies: Vec<Known>,
        symbols: &[Symbol],
        bars: impl Fn(&[Symbol]) -> usize,
    ) -> Result<Self, ApiError> {
        check_names(request, &strategies)?;
        let spaces: Vec<Space> = strategies.iter().map(|known| Space::new(request, known)).collect();
        let mut groups: Vec<Vec<Symbol>> = Vec::new();
        let mut lanes = Vec::new();
        for (strategy, known) in strategies.iter().enumerate() {
            let begins = begins(request, &spaces[strategy], strategy)?;
            for group in grouped(known, symbols, request.together)? {
                let at = groups.iter().position(|g| *g == group).unwrap_or_else(|| {
                    groups.push(group);
                    groups.len() - 1
                });
                lanes.push(Lane { strategy, group: at, begins: begins.clone() });
            }
        }
        let shortest = groups.iter().map(|group| bars(group)).min().unwrap_or(0);
        let fewest = lanes.iter().map(|lane| lane.begins.len()).min().unwrap_or(0);
        let rungs = match request.search.unwrap_or_default() {
            SweepSearch::Halving => rungs(fewest, shortest),
            _ => 1,
        };
        let plan = Self { strategies, spaces, groups, lanes, rungs };
        let total = plan.total();
        if total > SWEEP_RUNS_MAX {
            return Err(invalid(format!(
                "that would be {total} runs; a sweep has at most {SWEEP_RUNS_MAX}: take fewer symbols or values, or a smaller `budget`"
            )));
        }
        Ok(plan)
    }

    /// How many runs there will be.
    pub(crate) fn total(&self) -> u64 {
        (0..self.rungs).map(|rung| self.on_rung(rung)).fold(0, u64::saturating_add)
    }

    /// How many runs are on a rung.
    fn on_rung(&self, rung: u32) -> u64 {
        self.lanes.iter().map(|lane| survivors(lane.begins.len(), rung)).fold(0, u64::saturating_add)
    }

    /// The runs of the first rung, in order.
    pub(crate) fn first(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for (lane, l) in self.lanes.iter().enumerate() {
            for place in 0..l.begins.len() {
                runs.push(Run { number: runs.len() as u64, lane, set: l.begins.at(place), rung: 0 });
            }
        }
        runs
    }

    /// The runs of the next rung: of each lane the better half, in the order of their numbers. `score` of a run is what it is ranked
    /// by, `None` for one that failed; of two that are equal the earlier one survives.
    pub(crate) fn next(&self, runs: &[Run], score: impl Fn(&Run) -> Option<f64>) -> Vec<Run> {
        let Some(rung) = runs.first().map(|run| run.rung + 1).filter(|rung| *rung < self.rungs) else {
            return Vec::new();
        };
        let mut number = (0..rung).map(|r| self.on_rung(r)).sum();
        let mut next = Vec::new();
        for lane in 0..self.lanes.len() {
            let mut own: Vec<(&Run, Option<f64>)> =
                runs.iter().filter(|run| run.lane == lane).map(|run| (run, score(run))).collect();
            own.sort_by(|(a, x), (b, y)| better(*x, *y).then(a.number.cmp(&b.number)));
            own.truncate(survivors(self.lanes[lane].begins.len(), rung) as usize);
            own.sort_by_key(|(run, _)| run.number);
            for (run, _) in own {
                next.push(Run { number, rung, ..*run });
                number += 1;
            }
        }
        next
    }

    /// Of `bars`, how many a run on that rung sees.
    pub(crate) fn bars(&self, rung: u32, bars: usize) -> usize {
        (bars >> (self.rungs - 1 - rung.min(self.rungs - 1))).max(1)
    }

    /// The parameters of a run.
    pub(crate) fn parameters(&self, run: &Run) -> SweepParameters {
        self.spaces[self.lanes[run.lane].strategy].at(run.set)
    }

    /// The symbols of a run.
    pub(crate) fn symbols(&self, run: &Run) -> &[Symbol] {
        &self.groups[self.lanes[run.lane].group]
    }
}

/// Which of two figures comes first: the larger; none at all comes last.
pub(crate) fn better(a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => std::cmp::Ordering::Equal,
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

fn survivors(begin: u64, rung: u32) -> u64 {
    (0..rung).fold(begin, |count, _| count.div_ceil(2))
}

fn rungs(runs: u64, bars: usize) -> u32 {
    let mut rungs = 1;
    while survivors(runs, rungs) > 1 && bars >> rungs >= HALVING_BARS_MIN && rungs < 16 {
        rungs += 1;
    }
    rungs
}

fn check_names(request: &SweepRequest, strategies: &[Known]) -> Result<(), ApiError> {
    let names: BTreeSet<&String> =
        request.parameters.keys().chain(request.combinations.iter().flat_map(|set| set.keys())).collect();
    for name in names {
        let known = |s: &Known| s.parameters.as_ref().is_none_or(|names| names.contains(name));
        if !strategies.iter().any(known) {
            let all: BTreeSet<&str> =
                strategies.iter().flat_map(|s| s.parameters.iter().flatten()).map(String::as_str).collect();
            let who = strategies.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(invalid(if all.is_empty() {
                format!("`{name}` is no parameter of {who}, which has none")
            } else {
                let all = all.into_iter().collect::<Vec<_>>().join(", ");
                format!("`{name}` is no parameter of {who}: there are {all}")
            }));
        }
    }
    Ok(())
}

fn begins(request: &SweepRequest, space: &Space, strategy: usize) -> Result<Begins, ApiError> {
    let all = space.len();
    if request.search.unwrap_or_default() == SweepSearch::Grid {
        return match u64::try_from(all) {
            Ok(all) if all <= SWEEP_RUNS_MAX => Ok(Begins::All(all)),
            _ => Err(invalid(format!(
                "that is more than {SWEEP_RUNS_MAX} combinations: use `search` `random` or `halving` with a `budget`"
            ))),
        };
    }
    let all = u64::try_from(all).map_err(|_| invalid("that are more combinations than can be numbered"))?;
    let budget = request.budget.unwrap_or_else(|| (all / 4).clamp(BUDGET_MIN, SWEEP_RUNS_MAX));
    if budget >= all {
        return Ok(Begins::All(all));
    }
    let seed = request.seed.unwrap_or(0).wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(strategy as u64));
    Ok(Begins::These(Draw::new(seed).distinct(budget, all)))
}

fn grouped(known: &Known, symbols: &[Symbol], together: bool) -> Result<Vec<Vec<Symbol>>, ApiError> {
    match known.symbols {
        Some(2) if symbols.len() < 2 => Err(invalid(format!("{} needs two symbols", known.name))),
        Some(2) if together && symbols.len() > 2 => {
            Err(invalid(format!("{} takes two symbols; leave out `together` to run each pair", known.name)))
        }
        Some(2) => Ok(pairs(symbols)),
        Some(1) if together && symbols.len() > 1 => {
            Err(invalid(format!("{} takes one symbol; leave out `together` to run it over each of them", known.name)))
        }
        Some(1) => Ok(symbols.iter().map(|symbol| vec![symbol.clone()]).collect()),
        Some(count) if symbols.len() != count => {
            Err(invalid(format!("{} takes {count} symbols, and there are {}", known.name, symbols.len())))
        }
        Some(_) => Ok(vec![symbols.to_vec()]),
        None if together => Ok(vec![symbols.to_vec()]),
        None => Ok(symbols.iter().map(|symbol| vec![symbol.clone()]).collect()),
    }
}

fn pairs(symbols: &[Symbol]) -> Vec<Vec<Symbol>> {
    let mut pairs = Vec::new();
    for (at, first) in symbols.iter().enumerate() {
        pairs.extend(symbols[at + 1..].iter().map(|second| vec![first.clone(), second.clone()]));
    }
    pairs
}

#[cfg(test)]
mod tests;

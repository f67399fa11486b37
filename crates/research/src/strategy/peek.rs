//! Whether a strategy looks ahead: it is run again over bars that end earlier, and over bars that go on otherwise, and must have
//! wanted the same up to there.
//!
//! [`Depth::Cuts`] tries some places: near the end, at changes of position, and others drawn by a seed. [`Depth::Every`] runs point in
//! time and compares every bar: there the future is not in the sandbox at all. What neither can find is a strategy whose *author*
//! knew the future: parameters fitted to these bars, or dates written into the file.

pub(super) mod cut;
mod future;

use futures::future::{join_all, try_join};
use ringfence_backtest::{Panel, panel::History};
use ringfence_engine::api::Trials;
use ringfence_model::{ApiError, api::Actor};
use serde::{Deserialize, Serialize};

use super::{Mode, Options, Outcome, Parameters, Proposal, Strategy, propose};

/// By how much weights may differ that are the same but for rounding, relative to themselves and to 1.
const TOLERANCE: f64 = 1e-9;

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// About thirty runs.
    #[default]
    Cuts,
    /// Point in time beside the whole, at every bar. Not for files that define `orders`.
    Every,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Nowhere a difference.
    Honest {
        /// Places that were compared.
        cuts: usize,
    },
    /// It wanted something else when it could not see what came later.
    Peeks(Difference),
    /// It wanted something else over the same bars: it draws random numbers without a seed, or asks for the time.
    Random(Difference),
    /// It could not be told.
    NotJudged {
        /// Why.
        why: String,
    },
}

/// The first bar at which two runs wanted different things.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The bar, from 0, among those in which one of the symbols has one.
    pub row: usize,
    /// Its day or time.
    pub at: String,
    /// The symbol.
    pub symbol: String,
    /// What it wanted with all bars: a weight, or shares to order; `None` for no change.
    pub whole: Option<f64>,
    /// What it wanted in the other run.
    pub other: Option<f64>,
    /// The other run.
    pub how: How,
    /// Bars that both runs had in common.
    pub known: usize,
}

/// Which other run it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The same bars again.
    Repeated,
    /// Bars that end earlier.
    Truncated,
    /// As many bars, of which the later ones are others.
    Replaced,
    /// Bars one by one.
    PointInTime,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Honest { cuts } => write!(f, "no look-ahead found at {cuts} places"),
            Self::Peeks(d) => write!(f, "looks ahead: {d}"),
            Self::Random(d) => write!(f, "not the same twice: {d}"),
            Self::NotJudged { why } => write!(f, "not judged: {why}"),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |value: Option<f64>| value.map_or("no change".to_owned(), |v| v.to_string());
        let (at, symbol, whole, other) = (&self.at, &self.symbol, word(self.whole), word(self.other));
        match self.how {
            How::Repeated => {
                write!(f, "at {at} it wanted {whole} of {symbol}, and {other} when it was run again on the same bars")
            }
            How::Truncated => write!(
                f,
                "at {at} it wanted {whole} of {symbol} with all bars, and {other} with the first {} alone",
                self.known
            ),
            How::Replaced => write!(
                f,
                "at {at} it wanted {whole} of {symbol}, and {other} when the bars after the first {} were others",
                self.known
            ),
            How::PointInTime => {
                write!(f, "at {at} it wanted {whole} of {symbol} with all bars, and {other} with those up to it")
            }
        }
    }
}

/// What a check is about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Runs the strategy.
    pub trials: &'a dyn Trials,
    /// On whose behalf.
    pub actor: Actor,
    /// What it is for, for the audit log.
    pub purpose: &'a str,
    /// The strategy.
    pub strategy: &'a Strategy,
    /// The bars.
    pub panel: &'a Panel,
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// How it is run; its mode is not looked at.
    pub options: &'a Options,
}

/// Checks a strategy. The same seed tries the same places.
///
/// # Errors
/// As [`propose`]; a strategy that fails is not judged.
pub async fn check(subject: Subject<'_>, depth: Depth, seed: u64) -> Result<Verdict, ApiError> {
    let compact = compact(subject.panel);
    let subject = Subject { panel: compact.as_ref().unwrap_or(subject.panel), ..subject };
    let panel = subject.panel;
    let (first, second) = try_join(subject.run(panel, Mode::Whole), subject.run(panel, Mode::Whole)).await?;
    let whole = match wanted(&first, panel) {
        Ok(whole) => whole,
        Err(why) => return Ok(Verdict::NotJudged { why }),
    };
    match wanted(&second, panel) {
        Ok(again) => {
            if let Some(difference) = differ(panel, &whole, &again, panel.len(), How::Repeated) {
                return Ok(Verdict::Random(difference));
            }
        }
        Err(why) => return Ok(Verdict::NotJudged { why: format!("the same bars again: {why}") }),
    }
    match depth {
        Depth::Cuts => subject.cuts(&whole, seed).await,
        Depth::Every => subject.every(&whole).await,
    }
}

impl Subject<'_> {
    async fn run(&self, panel: &Panel, mode: Mode) -> Result<Outcome, ApiError> {
        let options = Options { mode, ..self.options.clone() };
        let sets = std::slice::from_ref(self.parameters);
        let outcomes = propose(self.trials, self.actor, self.purpose, self.strategy, panel, sets, &options).await?;
        outcomes.into_iter().next().ok_or_else(|| ApiError::internal("a run has no outcome"))
    }

    async fn every(&self, whole: &[f64]) -> Result<Verdict, ApiError> {
        let outcome = self.run(self.panel, Mode::PointInTime).await?;
        Ok(match wanted(&outcome, self.panel) {
            Err(why) => Verdict::NotJudged { why: format!("point in time: {why}") },
            Ok(stepwise) => match differ(self.panel, whole, &stepwise, self.panel.len(), How::PointInTime) {
                Some(difference) => Verdict::Peeks(difference),
                None => Verdict::Honest { cuts: self.panel.len() },
            },
        })
    }

    async fn cuts(&self, whole: &[f64], seed: u64) -> Result<Verdict, ApiError> {
        let panel = self.panel;
        let mut others = Vec::new();
        for cut in cut::cuts(whole, panel.columns().len(), seed) {
            others.push((cut.known, How::Truncated, panel.truncated(cut.known)));
            if cut.replace {
                match future::replaced(panel, cut.known, seed) {
                    Ok(other) => others.push((cut.known, How::Replaced, other)),
                    Err(error) => {
                        return Ok(Verdict::NotJudged { why: format!("no other future could be made: {error}") });
                    }
                }
            }
        }
        if others.is_empty() {
            return Ok(Verdict::NotJudged { why: format!("{} bars are too few to take any away", panel.len()) });
        }
        let runs = others.iter().map(|(_, _, other)| self.run(other, Mode::Whole));
        let outcomes: Vec<Outcome> = join_all(runs).await.into_iter().collect::<Result<_, _>>()?;

        let mut found: Option<Difference> = None;
        let mut unsure = None;
        for ((known, how, other), outcome) in others.iter().zip(&outcomes) {
            match wanted(outcome, other) {
                Ok(again) => {
                    let difference = differ(panel, whole, &again, *known, *how);
                    found = found.into_iter().chain(difference).min_by_key(|d| d.row);
                }
                // With few bars many a strategy cannot do its work; with most of them it can.
                Err(_) if *known < panel.len() / 2 && *how == How::Truncated => {}
                Err(why) => unsure = unsure.or(Some((*known, *how, why))),
            }
        }
        Ok(match (found, unsure) {
            (Some(difference), _) => Verdict::Peeks(difference),
            (None, Some((known, How::Replaced, why))) => {
                Verdict::NotJudged { why: format!("with other bars after the first {known} it failed: {why}") }
            }
            (None, Some((known, _, why))) => {
                Verdict::NotJudged { why: format!("with the first {known} of {} bars it failed: {why}", panel.len()) }
            }
            (None, None) => Verdict::Honest { cuts: others.len() },
        })
    }
}

/// What was wanted, row after row, NaN for no change; orders as the shares of a row.
fn wanted(outcome: &Outcome, panel: &Panel) -> Result<Vec<f64>, String> {
    match &outcome.proposal {
        Proposal::Targets(targets) => Ok(targets.weights().to_vec()),
        Proposal::Orders(orders) => {
            let symbols = panel.columns().len();
            let mut shares = vec![f64::NAN; panel.len() * symbols];
            for order in &orders.0 {
                let place = &mut shares[order.row * symbols + order.symbol];
                *place = if place.is_nan() { order.shares } else { *place + order.shares };
            }
            Ok(shares)
        }
        Proposal::SelfReported(_) => {
            Err("a program that reports its own figures cannot be checked for look-ahead".to_owned())
        }
        Proposal::Failed(failure) => Err(failure.message.clone()),
    }
}

/// The first difference within the first `known` rows.
fn differ(panel: &Panel, whole: &[f64], other: &[f64], known: usize, how: How) -> Option<Difference> {
    let symbols = panel.columns().len();
    let same = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    };
    let common = known * symbols;
    let place = whole[..common].iter().zip(&other[..common]).position(|(a, b)| !same(*a, *b))?;
    let some = |value: f64| Some(value).filter(|v| !v.is_nan());
    Some(Difference {
        row: place / symbols,
        at: panel.label(place / symbols),
        symbol: panel.columns()[place % symbols].symbol.to_string(),
        whole: some(whole[place]),
        other: some(other[place]),
        how,
        known,
    })
}

/// The panel without rows in which no symbol has a bar; `None` when there are none of them.
fn compact(panel: &Panel) -> Option<Panel> {
    let empty = |row: usize| !panel.columns().iter().any(|c| c.has(row));
    if !(0..panel.len()).any(empty) {
        return None;
    }
    Panel::new(panel.interval(), histories(panel)).ok()
}

/// The bars of each symbol, without gaps.
fn histories(panel: &Panel) -> Vec<History> {
    let one = |columns: &ringfence_backtest::panel::Columns| {
        let rows: Vec<usize> = (0..panel.len()).filter(|row| columns.has(*row)).collect();
        let pick = |column: &[f64]| rows.iter().map(|row| column[*row]).collect();
        History {
            symbol: columns.symbol.clone(),
            dates: rows.iter().map(|row| panel.dates()[*row]).collect(),
            times: rows.iter().filter_map(|row| panel.times().get(*row).copied()).collect(),
            open: pick(&columns.open),
            high: pick(&columns.high),
            low: pick(&columns.low),
            close: pick(&columns.close),
            volume: pick(&columns.volume),
        }
    };
    panel.columns().iter().map(one).collect()
}

//! Intervals of figures, from histories that might have been: the stationary bootstrap of Politis and Romano (*Journal of the American
//! Statistical Association* 89, 1994).
//!
//! A history is put together of stretches of the real one, of random lengths around a mean, so that what hangs together from day to day
//! stays together; the last bar is followed by the first.

use serde::{Deserialize, Serialize};

use super::random::Random;
use crate::metrics::ratios::{ascending, growth, quantile};
use crate::metrics::sum::{constant, count};

/// Histories that are drawn unless another number is asked for.
pub(super) const HISTORIES: usize = 2_000;
/// Share of the histories whose figure lies within an interval.
pub(super) const CONFIDENCE: f64 = 0.95;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How many histories.
    pub histories: usize,
    /// Mean number of bars of a stretch; none for the cube root of the number of bars.
    pub mean_block: Option<f64>,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Bars a year.
    pub periods_per_year: f64,
    /// What money earns without a risk in one bar: the Sharpe ratio is of what is above it, growth and drawdown are not.
    pub riskless: f64,
}

impl Settings {
    /// The usual number of histories.
    #[must_use]
    pub fn new(seed: u64, periods_per_year: f64) -> Self {
        Self { histories: HISTORIES, mean_block: None, seed, periods_per_year, riskless: 0.0 }
    }
}

/// Between what a figure lies in 95 of 100 histories.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Below it are 2.5 of 100.
    pub low: f64,
    /// Half of them are below it.
    pub median: f64,
    /// Above it are 2.5 of 100.
    pub high: f64,
}

/// Intervals of the figures of a backtest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Sharpe ratio of a year.
    pub sharpe: Interval,
    /// Annual growth.
    pub cagr: Interval,
    /// Largest drawdown, from −1 to 0.
    pub max_drawdown: Interval,
    /// Share of the histories that lost money.
    pub loss: f64,
    /// How many were drawn.
    pub histories: u64,
    /// Mean number of bars of a stretch.
    pub mean_block: f64,
    /// The seed of the random numbers.
    pub seed: u64,
}

/// Draws histories of these returns. `None` of fewer than four returns, of ones that do not differ, or of no history.
#[must_use]
pub fn bootstrap(returns: &[f64], settings: &Settings) -> Option<Bootstrap> {
    let bars = returns.len();
    if bars < 4 || settings.histories == 0 || constant(returns) || returns.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean_block = settings.mean_block.unwrap_or_else(|| libm::cbrt(count(returns))).clamp(1.0, count(returns));
    let mut random = Random::new(settings.seed);
    let (mut sharpes, mut growths, mut falls) = (Vec::new(), Vec::new(), Vec::new());
    let mut lost = 0_u64;
    let mut history = Vec::with_capacity(bars);
    for _ in 0..settings.histories {
        draw(returns, mean_block, &mut random, &mut history);
        let (end, fall) = walk(&history);
        lost += u64::from(end < 1.0);
        falls.push(fall);
        growths.push(growth(end, bars, settings.periods_per_year)?);
        sharpes.push(sharpe(&history, settings.riskless) * settings.periods_per_year.sqrt());
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of histories")]
    let loss = lost as f64 / settings.histories as f64;
    Some(Bootstrap {
        sharpe: interval(&sharpes),
        cagr: interval(&growths),
        max_drawdown: interval(&falls),
        loss,
        histories: settings.histories as u64,
        mean_block,
        seed: settings.seed,
    })
}

/// One history, as long as the real one.
fn draw(returns: &[f64], mean_block: f64, random: &mut Random, into: &mut Vec<f64>) {
    let place = |random: &mut Random| usize::try_from(random.below(returns.len() as u64)).expect("below a length");
    into.clear();
    let mut at = place(random);
    while into.len() < returns.len() {
        into.push(returns[at]);
        at = if random.unit() * mean_block < 1.0 { place(random) } else { (at + 1) % returns.len() };
    }
}

/// The last equity of a history that begins with 1, and its largest drawdown. Once nothing is left, nothing comes back.
fn walk(history: &[f64]) -> (f64, f64) {
    let (mut equity, mut high, mut fall) = (1.0_f64, 1.0_f64, 0.0_f64);
    for earned in history {
        equity = (equity * (1.0 + earned)).max(0.0);
        high = high.max(equity);
        fall = fall.min(equity / high - 1.0);
    }
    (equity, fall)
}

/// The Sharpe ratio of one bar, by plain sums in the order of the bars; 0 of a history that never moves.
fn sharpe(history: &[f64], riskless: f64) -> f64 {
    let n = count(history);
    let middle = history.iter().fold(0.0, |sum, value| sum + value) / n;
    let squares = history.iter().fold(0.0, |sum, value| sum + (value - middle) * (value - middle));
    if constant(history) { 0.0 } else { (middle - riskless) / (squares / (n - 1.0)).sqrt() }
}

fn interval(values: &[f64]) -> Interval {
    let sorted = ascending(values);
    let outside = (1.0 - CONFIDENCE) / 2.0;
    Interval { low: quantile(&sorted, outside), median: quantile(&sorted, 0.5), high: quantile(&sorted, 1.0 - outside) }
}

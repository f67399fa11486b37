//! The probability of backtest overfitting: how often the choice that was best on one half of the time is worse than the middling one on the
//! other half.
//!
//! Combinatorially symmetric cross-validation of Bailey, Borwein, López de Prado and Zhu, *The Probability of Backtest Overfitting*,
//! Journal of Computational Finance (2016): the bars are cut into blocks, and every half of the blocks is once what the best is chosen
//! on, while the rest is what it is tried on.

use serde::{Deserialize, Serialize};

use super::trials::Trials;
use crate::metrics::ratios::finite;
use crate::metrics::sum::{constant, count, mean, sum};

/// A half whose variance is a smaller part of the whole trial's than this has none: nothing was done in it.
const STILL: f64 = 1e-12;

/// What the halves say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overfitting {
    /// Share of the combinations in which the best of one half is at or below the middle on the other.
    pub probability: f64,
    /// Mean rank on the other half, from 0 (worst) to 1 (best).
    pub mean_rank: f64,
    /// Share of the combinations in which the best of one half has a negative Sharpe ratio on the other.
    pub loss: f64,
    /// Slope of the Sharpe ratio on the other half on that of the half in which it was chosen: below 0, whatever looked better did worse.
    pub degradation: Option<f64>,
    /// Into how many blocks the bars were cut.
    pub blocks: u64,
    /// Bars of each block.
    pub block_bars: u64,
    /// In how many ways half of the blocks can be taken; all of them were.
    pub combinations: u64,
    /// Trials that were compared.
    pub trials: u64,
}

/// Every combination. `None` of fewer than two trials that have a Sharpe ratio, of halves of fewer than two bars, or where a trial is over
/// bars of its own.
///
/// A trial that did nothing in a half counts as a Sharpe ratio of 0 there, which is what its money earned. Of equal ones the first is
/// the best, and their ranks are the mean of their places.
#[must_use]
pub fn overfitting(trials: &Trials) -> Option<Overfitting> {
    let blocks = trials.sums.len();
    let half_bars = trials.block_bars() * blocks / 2;
    if trials.count() < 2 || trials.alone() > 0 || trials.block_bars() == 0 || half_bars < 2 {
        return None;
    }
    let [mut chosen, mut tried, mut squares] = [(); 3].map(|()| vec![0.0; trials.count()]);
    let mut found = Found::default();
    let all = (1_u32 << blocks) - 1;
    // The half with the first block and the one without it are each other's rest.
    for half in (1..=all).step_by(2).filter(|half| half.count_ones() as usize == blocks / 2) {
        sharpes(trials, half, half_bars, &mut squares, &mut chosen);
        sharpes(trials, all ^ half, half_bars, &mut squares, &mut tried);
        found.choose(&chosen, &tried);
        found.choose(&tried, &chosen);
    }
    let share = |part: u64| {
        #[allow(clippy::cast_precision_loss, reason = "at most 184,756")]
        let part = part as f64;
        part / count(&found.ranks)
    };
    Some(Overfitting {
        probability: share(found.below),
        mean_rank: mean(&found.ranks)?,
        loss: share(found.losses),
        degradation: found.slope(),
        blocks: blocks as u64,
        block_bars: trials.block_bars() as u64,
        combinations: found.ranks.len() as u64,
        trials: trials.count() as u64,
    })
}

/// Sharpe ratios of one bar over the blocks of `half`.
///
/// Of a trial the sums are of `(return − m) / s`, with its own mean and deviation; the ratio of returns is then the mean of those, plus
/// `m / s`, by their deviation. So a trial and the same with twice the stake are equal, and no digits are lost.
fn sharpes(trials: &Trials, half: u32, bars: usize, squares: &mut [f64], into: &mut [f64]) {
    #[allow(clippy::cast_precision_loss, reason = "no curve has 2^53 bars")]
    let bars = bars as f64;
    into.fill(0.0);
    squares.fill(0.0);
    for block in (0..trials.sums.len()).filter(|block| half >> block & 1 == 1) {
        for (to, from) in into.iter_mut().zip(&trials.sums[block]) {
            *to += from;
        }
        for (to, from) in squares.iter_mut().zip(&trials.squares[block]) {
            *to += from;
        }
    }
    for ((to, square), whole) in into.iter_mut().zip(&*squares).zip(&trials.sharpes) {
        let middle = *to / bars;
        let variance = (square - middle * *to) / (bars - 1.0);
        *to = if variance > STILL { (middle + whole) / variance.sqrt() } else { 0.0 };
    }
}

/// What the combinations so far gave.
#[derive(Default)]
struct Found {
    ranks: Vec<f64>,
    below: u64,
    losses: u64,
    /// Ratios of the chosen: where it was chosen, and where it was tried.
    pairs: Vec<(f64, f64)>,
}

impl Found {
    fn choose(&mut self, chosen: &[f64], tried: &[f64]) {
        let best = (1..chosen.len()).fold(0, |best, at| if chosen[at] > chosen[best] { at } else { best });
        let own = tried[best];
        let (mut under, mut equal) = (0_u64, 0_u64);
        for value in tried {
            under += u64::from(*value < own);
            equal += u64::from(*value == own);
        }
        // Twice the mean place of the equal ones, counted from 1, beside the number of trials and one more.
        let (place, whole) = (2 * under + equal + 1, tried.len() as u64 + 1);
        self.below += u64::from(place <= whole);
        self.losses += u64::from(own < 0.0);
        #[allow(clippy::cast_precision_loss, reason = "counts of trials are below 2^53")]
        self.ranks.push(place as f64 / 2.0 / whole as f64);
        self.pairs.push((chosen[best], own));
    }

    fn slope(&self) -> Option<f64> {
        let (from, to): (Vec<f64>, Vec<f64>) = self.pairs.iter().copied().unzip();
        if constant(&from) {
            return None;
        }
        let (x, y) = (mean(&from)?, mean(&to)?);
        let shared = sum(self.pairs.iter().map(|(a, b)| (a - x) * (b - y)));
        finite(shared / sum(from.iter().map(|a| (a - x) * (a - x))))
    }
}

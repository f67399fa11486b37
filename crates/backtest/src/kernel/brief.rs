//! What a large grid is ranked by.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::{
    panel::Panel,
    simulate::{
        Fill, Reason, Run, Settings, SimulateError, shares,
        tally::{Book, Close, Entry},
        weights,
    },
    targets::TargetError,
};

/// By how much a weight may exceed the leverage allowed, as for targets.
const SLACK: f64 = 1e-9;

/// The figures of one combination. They are for ranking: `total_return` is exact; the others are sums in another order than those of
/// `metrics`, and agree with them to about twelve digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// Last equity by capital, less 1.
    pub total_return: f64,
    /// Mean by standard deviation (of a sample) of the returns from close to close, the first from capital, of a year. `None` where they
    /// do not differ.
    pub sharpe: Option<f64>,
    /// The deepest fall of equity from a peak, capital among them, as a fraction of the peak; 0 or below.
    pub max_drawdown: f64,
    /// Round trips, one that is open at the end among them.
    pub trades: u32,
    /// Commission, slippage and borrowing, in the account's currency.
    pub costs: f64,
}

/// What is counted on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    trades: u32,
    costs: f64,
}

impl Counted {
    pub(super) fn of(run: &Run) -> Self {
        Self { trades: u32::try_from(run.trades.len()).unwrap_or(u32::MAX), costs: run.costs.total() }
    }
}

impl Book for Counted {
    fn fill(&mut self, entry: Entry) {
        self.costs += entry.commission + entry.slippage;
        let begins = entry.after != 0.0 && (entry.before == 0.0 || (entry.before > 0.0) != (entry.after > 0.0));
        self.trades += u32::from(begins);
    }

    fn refuse(&mut self, _row: usize, _symbol: usize, _shares: f64, _reason: Reason) {}

    fn carry(&mut self, _symbol: usize, _money: f64) {}

    fn borrow(&mut self, _symbol: usize, money: f64) {
        self.costs += money;
    }

    fn ruin(&mut self, _row: usize, _owed: f64) {}

    fn close(&mut self, _close: Close) {}

    fn end(&mut self, _marks: &[f64]) {}
}

/// Equity from event to event. `None` where row by row is needed.
pub(super) fn events(
    panel: &Panel,
    events: &[Event],
    settings: &Settings,
    equity: &mut Vec<f64>,
) -> Result<Option<Counted>, SimulateError> {
    settings.check()?;
    check(panel, events, settings)?;
    let mut counted = Counted::default();
    let done = match settings.fill {
        Fill::SignalClose => weights::run_events(panel, events, settings, &mut counted, equity),
        Fill::NextOpen | Fill::NextClose => shares::run_events(panel, events, settings, &mut counted, equity),
    };
    Ok(done.map(|()| counted))
}

/// What [`Targets::check`](crate::Targets::check) refuses.
fn check(panel: &Panel, events: &[Event], settings: &Settings) -> Result<(), TargetError> {
    for (row, weight) in events.iter().copied() {
        if weight < 0.0 && !settings.short_allowed {
            let symbol = panel.columns()[0].symbol.to_string();
            return Err(TargetError::Short { row, at: panel.label(row), symbol, value: weight });
        }
        if weight.abs() > settings.leverage_max + SLACK {
            let (gross, limit) = (weight.abs(), settings.leverage_max);
            return Err(TargetError::Leverage { row, at: panel.label(row), gross, limit });
        }
    }
    Ok(())
}

impl Brief {
    /// `returns` is scratch.
    pub(super) fn new(panel: &Panel, capital: f64, equity: &[f64], counted: Counted, returns: &mut Vec<f64>) -> Self {
        returns.clear();
        if let Some(first) = equity.first() {
            returns.push(first / capital - 1.0);
            returns.extend(equity.windows(2).map(|pair| pair[1] / pair[0] - 1.0));
        }
        Self {
            total_return: equity.last().map_or(0.0, |last| last / capital - 1.0),
            sharpe: sharpe(returns, panel.periods_per_year()),
            max_drawdown: max_drawdown(capital, equity),
            trades: counted.trades,
            costs: counted.costs,
        }
    }
}

fn sharpe(returns: &[f64], periods: f64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "no panel has 2^53 rows")]
    let count = returns.len() as f64;
    let mean = sum(returns, |r| r) / count;
    let variance = sum(returns, |r| (r - mean) * (r - mean)) / (count - 1.0);
    let sharpe = mean / variance.sqrt() * periods.sqrt();
    // Returns that do not differ but for rounding have none.
    (variance.sqrt() > 4.0 * f64::EPSILON && sharpe.is_finite()).then_some(sharpe)
}

/// In four sums, of every fourth value each, then these: the processor adds them at once, and every machine in this order.
fn sum(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    let chunks = values.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        // Written out: as a loop it is a call for each chunk.
        lanes[0] += of(chunk[0]);
        lanes[1] += of(chunk[1]);
        lanes[2] += of(chunk[2]);
        lanes[3] += of(chunk[3]);
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += of(*value);
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// One division for each peak: of the lowest equity after it.
fn max_drawdown(capital: f64, equity: &[f64]) -> f64 {
    let (mut peak, mut low, mut deepest) = (capital, capital, 0.0_f64);
    for now in equity {
        if *now > peak {
            deepest = deepest.min(low / peak - 1.0);
            (peak, low) = (*now, *now);
        } else if *now < low {
            low = *now;
        }
    }
    deepest.min(low / peak - 1.0)
}

//! Figures of trades. One that is open at the end counts as it is marked there, as it does in the curve.

use super::ratios::finite;
use super::sum::{constant, count, deviation, mean, sum};
use crate::types::Trade;

/// Figures of a list of trades.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct OfTrades {
    pub(super) count: u64,
    pub(super) open: u64,
    pub(super) win_rate: Option<f64>,
    pub(super) profit_factor: Option<f64>,
    pub(super) expectancy: Option<f64>,
    pub(super) payoff: Option<f64>,
    pub(super) sqn: Option<f64>,
    pub(super) mean_bars: Option<f64>,
}

/// The figures of these trades, whose profits are finite.
pub(super) fn of(trades: &[Trade]) -> OfTrades {
    let profits: Vec<f64> = trades.iter().map(|trade| trade.profit).collect();
    let (wins, losses) = (above(&profits), below(&profits));
    let payoff = mean(&wins).zip(mean(&losses)).and_then(|(win, loss)| finite(win / -loss));
    let spread = deviation(&profits).filter(|_| !constant(&profits));
    OfTrades {
        count: trades.len() as u64,
        open: trades.iter().filter(|trade| trade.open).count() as u64,
        win_rate: finite(count(&wins) / count(&profits)),
        profit_factor: finite(sum(wins.iter().copied()) / -sum(losses.iter().copied())).filter(|_| !losses.is_empty()),
        expectancy: mean(&profits).and_then(finite),
        payoff,
        sqn: mean(&profits).zip(spread).and_then(|(mean, spread)| finite(count(&profits).sqrt() * mean / spread)),
        mean_bars: mean(&trades.iter().map(|trade| f64::from(trade.bars)).collect::<Vec<_>>()),
    }
}

fn above(profits: &[f64]) -> Vec<f64> {
    profits.iter().copied().filter(|profit| *profit > 0.0).collect()
}

fn below(profits: &[f64]) -> Vec<f64> {
    profits.iter().copied().filter(|profit| *profit < 0.0).collect()
}

//! What became of what a strategy wanted: fills, costs, equity and trades.
//!
//! The conventions are `docs/concepts/backtests.md`; each result says which of them it was made under ([`Run::settings`]).

mod price;
mod settings;
pub(crate) mod shares;
pub(crate) mod tally;
pub(crate) mod weights;

use jiff::civil::Date;
use ringfence_market::Symbol;
use serde::{Deserialize, Serialize};

pub use settings::{Commission, Fill, Rebalance, Settings, SettingsError, Slippage};

use crate::{
    panel::Panel,
    targets::{Orders, TargetError, Targets},
    types::{Curve, Side, Trade},
};

/// What became of a backtest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Equity at each close.
    pub curve: Curve,
    /// Cash at each close, in the account's currency; below zero where money is borrowed to buy.
    pub cash: Vec<f64>,
    /// Positions at each close, without regard to sign, as a fraction of equity; 0 once there is no equity.
    pub exposure: Vec<f64>,
    /// Positions at each close, shorts negative, as a fraction of equity; 0 once there is no equity.
    pub net: Vec<f64>,
    /// Round trips, in the order in which they ended; those open at the end last, in the panel's order of symbols.
    pub trades: Vec<Trade>,
    /// Every fill, in order.
    pub fills: Vec<Filled>,
    /// What was not filled for want of equity.
    pub refused: Vec<Refused>,
    /// What was paid.
    pub costs: Costs,
    /// Money that changed hands: the sum over fills of shares times fill price, without regard to sign.
    pub traded: f64,
    /// `traded` by the mean of equity, by years ([`Panel::periods_per_year`]); `None` when equity's mean is not above zero.
    pub turnover: Option<f64>,
    /// The account lost everything.
    pub ruin: Option<Ruin>,
    /// Symbols that were held when their bars ended before the panel's, and were valued at their last close from then on.
    pub stale: Vec<Symbol>,
    /// The conventions under which this was made.
    pub settings: Settings,
}

/// An order that was filled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Filled {
    /// The row of the panel at whose open or close it was filled.
    pub row: usize,
    /// Its day.
    pub date: Date,
    /// The symbol's place in the panel.
    pub symbol: usize,
    /// Shares bought; below zero for sold.
    pub shares: f64,
    /// Price a share, slippage included.
    pub price: f64,
    /// Commission, in the account's currency.
    pub commission: f64,
    /// What slippage cost, in the account's currency.
    pub slippage: f64,
}

impl Filled {
    /// Bought or sold.
    #[must_use]
    pub fn side(&self) -> Side {
        if self.shares > 0.0 { Side::Long } else { Side::Short }
    }
}

/// An order that was not filled, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The row of the panel at which it would have been filled.
    pub row: usize,
    /// Its day.
    pub date: Date,
    /// The symbol's place in the panel.
    pub symbol: usize,
    /// Shares that were not bought; below zero for not sold.
    pub shares: f64,
    /// Why.
    pub reason: Reason,
}

/// Why an order was not filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The positions would have become more than the leverage that is allowed.
    Margin,
    /// It would have made a short position, and short selling is not allowed.
    Short,
    /// It was for less than one share, and only whole shares are traded.
    Fraction,
    /// It still waited for a bar, or for volume, after the last row.
    Ended,
}

/// What was paid, in the account's currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// To the broker.
    pub commission: f64,
    /// To the market: between the price of the bar and the price of the fill.
    pub slippage: f64,
    /// To the lenders of shares that were sold short.
    pub borrow: f64,
}

impl Costs {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.commission + self.slippage + self.borrow
    }
}

/// The account lost everything: at that close equity was zero or below. All was closed there without further costs, and equity is 0
/// from then on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ruin {
    /// The row.
    pub row: usize,
    /// Its day.
    pub date: Date,
    /// What was lost beyond the capital, in the account's currency.
    pub owed: f64,
}

/// Why nothing was simulated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum SimulateError {
    #[error("the settings of the backtest cannot be used")]
    Settings(#[from] SettingsError),
    #[error("what the strategy wants is refused")]
    Targets(#[from] TargetError),
    #[error("orders cannot be filled at the close at which they are given: choose fill `next_open` or `next_close`")]
    OrdersAtSignal,
}

/// Fills what a strategy wanted.
///
/// # Errors
/// Settings out of bounds, or targets that do not fit the panel or the leverage allowed.
pub fn simulate(panel: &Panel, targets: &Targets, settings: &Settings) -> Result<Run, SimulateError> {
    settings.check()?;
    targets.check(panel, settings.leverage_max, settings.short_allowed)?;
    let mut tally = tally::Tally::new(panel, settings);
    match settings.fill {
        Fill::SignalClose => weights::run(panel, targets, settings, &mut tally),
        Fill::NextOpen | Fill::NextClose => shares::run(panel, shares::Wanted::Targets(targets), settings, &mut tally),
    }
    Ok(tally.finish())
}

/// Fills orders.
///
/// # Errors
/// Settings out of bounds, [`Fill::SignalClose`], or orders that do not fit the panel.
pub fn simulate_orders(panel: &Panel, orders: &Orders, settings: &Settings) -> Result<Run, SimulateError> {
    settings.check()?;
    if settings.fill == Fill::SignalClose {
        return Err(SimulateError::OrdersAtSignal);
    }
    orders.check(panel)?;
    let mut tally = tally::Tally::new(panel, settings);
    shares::run(panel, shares::Wanted::Orders(&orders.0), settings, &mut tally);
    Ok(tally.finish())
}

#[cfg(test)]
mod tests;

//! From a curve to its returns, and why one has none.

use jiff::civil::Date;

use super::sum::constant;
use crate::types::{Curve, Trade};

/// Why something cannot be measured. Rows are counted from 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unmeasurable {
    /// There is no bar.
    #[error("the curve has no bar: at least one is needed")]
    Empty,
    /// Days and equity do not belong together.
    #[error("the curve has {dates} days and {equity} values of equity: each bar needs both")]
    Lengths {
        /// How many days.
        dates: usize,
        /// How many values.
        equity: usize,
    },
    /// Nothing can be earned with it.
    #[error("the capital is {0}: it must be a number above 0")]
    Capital(f64),
    /// A value is none.
    #[error("row {row} ({date}): the equity is {value}, which is not a number; what is not known must be left out")]
    NotANumber {
        /// Which row.
        row: usize,
        /// Its day.
        date: Date,
        /// What stands there.
        value: f64,
    },
    /// The quotient of two values of equity is more than a number can hold.
    #[error(
        "row {row} ({date}): the equity is {highest}, and it was {lowest}; their quotient is more than a number can hold"
    )]
    TooFar {
        /// The row of the highest.
        row: usize,
        /// Its day.
        date: Date,
        /// The highest equity.
        highest: f64,
        /// The lowest one above 0, or the capital.
        lowest: f64,
    },
    /// Time goes backwards.
    #[error("row {row}: {date} comes after {before}; rows must be in the order of time")]
    Order {
        /// Which row.
        row: usize,
        /// Its day.
        date: Date,
        /// The day of the row before.
        before: Date,
    },
    /// A trade has no profit or loss.
    #[error("trade {row}: the profit is {value}, which is not a number")]
    Trade {
        /// Which trade.
        row: usize,
        /// What stands there.
        value: f64,
    },
    /// A year has no such number of bars.
    #[error("{0} bars a year: it must be a number from 0.01 to 100000000, such as 252 for daily bars")]
    Periods(f64),
    /// Money does not earn that.
    #[error("the riskless rate is {0}: it must be a fraction a year above -1, such as 0.03")]
    RiskFree(f64),
    /// The benchmark is of other bars.
    #[error("row {row}: the curve and its benchmark are of different bars; measure both over the same ones")]
    OtherBars {
        /// The first row that differs.
        row: usize,
    },
    /// The benchmark cannot be measured.
    #[error("the benchmark cannot be measured")]
    Benchmark(#[source] Box<Unmeasurable>),
}

/// The returns of a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Returns {
    /// What each bar earned: the first one from the capital to its close.
    pub values: Vec<f64>,
    /// Equity at each bar, 0 from the bar on at which nothing was left.
    pub equity: Vec<f64>,
    /// What it began with.
    pub capital: f64,
    /// Where nothing was left, counted from 0. What comes after it does not count: an account without money is closed.
    pub ruined: Option<usize>,
    /// The first day.
    pub first: Date,
    /// The last day.
    pub last: Date,
}

impl Returns {
    /// Last equity by the capital, less one.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.equity.last().map_or(0.0, |last| last / self.capital - 1.0)
    }

    /// The returns less a riskless one. Those of a curve that never moves stay as they are: nothing was risked, and nothing is measured.
    pub(super) fn less(&self, riskless: f64) -> Vec<f64> {
        let still = riskless == 0.0 || constant(&self.values);
        self.values.iter().map(|value| if still { *value } else { value - riskless }).collect()
    }
}

/// The returns of a curve.
///
/// # Errors
/// [`Unmeasurable`], which names the row.
pub fn returns(curve: &Curve) -> Result<Returns, Unmeasurable> {
    let Curve { dates, equity, capital } = curve;
    if dates.len() != equity.len() {
        return Err(Unmeasurable::Lengths { dates: dates.len(), equity: equity.len() });
    }
    let (Some(&first), Some(&last)) = (dates.first(), dates.last()) else { return Err(Unmeasurable::Empty) };
    if !(capital.is_finite() && *capital > 0.0) {
        return Err(Unmeasurable::Capital(*capital));
    }
    if let Some(at) = equity.iter().position(|value| !value.is_finite()) {
        return Err(Unmeasurable::NotANumber { row: at + 1, date: dates[at], value: equity[at] });
    }
    if let Some(at) = dates.windows(2).position(|pair| pair[1] < pair[0]) {
        return Err(Unmeasurable::Order { row: at + 2, date: dates[at + 1], before: dates[at] });
    }
    let ruined = equity.iter().position(|value| *value <= 0.0);
    let alive = ruined.unwrap_or(equity.len());
    let equity: Vec<f64> = equity.iter().enumerate().map(|(at, value)| if at < alive { *value } else { 0.0 }).collect();
    check_range(dates, *capital, &equity[..alive])?;
    let mut before = *capital;
    let values = equity
        .iter()
        .map(|&value| {
            let earned = if before > 0.0 { value / before - 1.0 } else { 0.0 };
            before = value;
            earned
        })
        .collect();
    Ok(Returns { values, equity, capital: *capital, ruined, first, last })
}

/// Refuses equity that spans more than a number can.
fn check_range(dates: &[Date], capital: f64, equity: &[f64]) -> Result<(), Unmeasurable> {
    let lowest = equity.iter().copied().fold(capital, f64::min);
    match equity.iter().position(|value| !(value / lowest).is_finite()) {
        Some(at) => Err(Unmeasurable::TooFar { row: at + 1, date: dates[at], highest: equity[at], lowest }),
        None => Ok(()),
    }
}

/// The returns of a benchmark over the bars of a curve.
pub(super) fn same_bars(curve: &Curve, benchmark: &Curve) -> Result<Returns, Unmeasurable> {
    let found = returns(benchmark).map_err(|e| Unmeasurable::Benchmark(Box::new(e)))?;
    if let Some(at) = curve.dates.iter().zip(&benchmark.dates).position(|(own, other)| own != other) {
        return Err(Unmeasurable::OtherBars { row: at + 1 });
    }
    if curve.dates.len() != benchmark.dates.len() {
        return Err(Unmeasurable::OtherBars { row: curve.dates.len().min(benchmark.dates.len()) + 1 });
    }
    Ok(found)
}

/// Refuses a trade without a profit or a loss.
pub(super) fn check_trades(trades: &[Trade]) -> Result<(), Unmeasurable> {
    match trades.iter().position(|trade| !trade.profit.is_finite()) {
        Some(at) => Err(Unmeasurable::Trade { row: at + 1, value: trades[at].profit }),
        None => Ok(()),
    }
}

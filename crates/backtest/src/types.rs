//! What simulation, figures and reports hand each other.

use jiff::civil::Date;
use ringfence_market::Symbol;
use serde::{Deserialize, Serialize};

/// Equity at the close of each bar.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The day of each bar, ascending. Bars within a day share it.
    pub dates: Vec<Date>,
    /// Equity at its close, in the account's currency; the first is the capital that it began with, less what the first bar cost.
    pub equity: Vec<f64>,
    /// What it began with.
    pub capital: f64,
}

/// Which way a trade goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Bought first.
    Long,
    /// Sold first.
    Short,
}

/// A round trip: a position from flat to flat, or across zero, in one symbol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// What was traded.
    pub symbol: Symbol,
    /// Which way.
    pub side: Side,
    /// The day of the bar at which it began.
    pub entry: Date,
    /// The day of the bar at which it ended; for one that is open at the end, of the last bar.
    pub exit: Date,
    /// Bars from entry to exit.
    pub bars: u32,
    /// Largest number of shares, without sign.
    pub quantity: f64,
    /// Average price of what was bought (sold, for a short) on the way in.
    pub entry_price: f64,
    /// Average price on the way out; for one that is open at the end, the last close.
    pub exit_price: f64,
    /// What it earned after costs.
    pub profit: f64,
    /// `profit` by what was put in: entry price times quantity.
    pub return_on_entry: f64,
    /// Commission and slippage.
    pub costs: f64,
    /// Still open at the end, and marked at the last close.
    pub open: bool,
}

//! What a market said, instant by instant: what the simulated exchange fills orders on, and what it answers about data.

mod bars;
mod day;
mod frame;
mod random;
mod replay;

use jiff::Timestamp;
use rust_decimal::Decimal;

pub use bars::{BarTape, Instrument, PRICE_MAX, TapeError};
pub use frame::{Aggregate, Frame, Scale, Wanted};
pub use replay::{Replayed, replay};

use crate::{action::Action, bar::Symbol};

/// The best prices at which others would trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Since when.
    pub at: Timestamp,
    /// Highest price of a buyer, in dollars.
    pub bid: Decimal,
    /// Shares wanted at that price.
    pub bid_size: u64,
    /// Lowest price of a seller, in dollars; above `bid`.
    pub ask: Decimal,
    /// Shares offered at that price.
    pub ask_size: u64,
}

/// A trade of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// When.
    pub at: Timestamp,
    /// Dollars a share.
    pub price: Decimal,
    /// Shares.
    pub size: u64,
    /// Number of the trade, unique for the symbol and ascending.
    pub id: u64,
}

/// One thing that happened in a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tick {
    /// The best prices changed.
    Quote(Quote),
    /// Shares changed hands.
    Trade(Trade),
}

impl Tick {
    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Quote(quote) => quote.at,
            Self::Trade(trade) => trade.at,
        }
    }
}

/// A recorded market, read point in time: nothing that is later than what was asked for is ever in an answer. The same data
/// and seed give the same answers to the digit.
pub trait Tape: Send + Sync {
    /// Every symbol that has data, ascending.
    fn symbols(&self) -> Vec<Symbol>;

    /// The quote in force at `at`, which may have begun long before (outside of trading hours, the last one of the session).
    /// None for an unknown symbol, and before its first.
    fn quote(&self, symbol: &Symbol, at: Timestamp) -> Option<Quote>;

    /// The last trade up to and including `at`.
    fn last_trade(&self, symbol: &Symbol, at: Timestamp) -> Option<Trade>;

    /// What happened after `after`, up to and including `until`, oldest first, at most `most` of it; a caller that gets `most`
    /// asks again from the last one's instant. (Two ticks of a symbol never have one instant.)
    fn ticks(&self, symbol: &Symbol, after: Timestamp, until: Timestamp, most: usize) -> Vec<Tick>;

    /// Splits and dividends whose ex-date begins (00:00 in New York) after `after`, up to and including `until`.
    fn actions(&self, symbol: &Symbol, after: Timestamp, until: Timestamp) -> Vec<Action>;

    /// SHA-256 of data, seed and model, hexadecimal: two tapes with the same digest answer alike.
    fn digest(&self) -> String;
}

//! One minute of trading.

use jiff::Timestamp;
use rust_decimal::Decimal;

/// Open, high, low, close and volume of one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// When it begins; a whole minute.
    pub at: Timestamp,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Shares traded.
    pub volume: u64,
}

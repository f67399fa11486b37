//! One day of trading, and a checked series of them.

use std::fmt;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Open, high, low, close and volume of one trading day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// The day, in the exchange's own calendar.
    pub date: Date,
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

/// What a security is called: 1 to 12 characters of `A-Z`, `0-9`, `.` and `-`, of which the first is a letter. It is part
/// of file names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(String);

/// A text that is not a symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a symbol: 1 to 12 of A-Z, 0-9, . and -, beginning with a letter")]
pub struct BadSymbol(String);

impl Symbol {
    /// Checks the shape of `text`.
    ///
    /// # Errors
    /// [`BadSymbol`] when the shape is another one.
    pub fn parse(text: &str) -> Result<Self, BadSymbol> {
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        if begins_well && text.len() <= 12 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadSymbol(text.chars().take(40).collect()))
        }
    }

    /// The symbol as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Symbol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bars of one symbol that passed every check: at least one, days ascending without a duplicate, prices positive,
/// and none outside its day's high and low.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    symbol: Symbol,
    bars: Vec<Bar>,
}

/// What is wrong with bars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum Fault {
    #[error("there are no bars")]
    Empty,
    #[error("{date} is there twice")]
    Duplicate { date: Date },
    #[error("{date} comes after {before}")]
    Order { before: Date, date: Date },
    #[error("{date}: {field} is {value}, which is not positive")]
    NotPositive { date: Date, field: &'static str, value: Decimal },
    #[error("{date}: {field} {value} is above the high {high}")]
    AboveHigh { date: Date, field: &'static str, value: Decimal, high: Decimal },
    #[error("{date}: {field} {value} is below the low {low}")]
    BelowLow { date: Date, field: &'static str, value: Decimal, low: Decimal },
}

/// Every fault of a symbol's bars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bars of {symbol} have {} fault(s); the first: {}", faults.len(), faults[0])]
pub struct Faulty {
    /// Whose bars.
    pub symbol: Symbol,
    /// In the order of the bars; never empty.
    pub faults: Vec<Fault>,
}

impl Series {
    /// Checks bars.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn new(symbol: Symbol, bars: Vec<Bar>) -> Result<Self, Faulty> {
        let faults = faults(&bars);
        if faults.is_empty() { Ok(Self { symbol, bars }) } else { Err(Faulty { symbol, faults }) }
    }

    /// Whose bars.
    #[must_use]
    pub fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    /// The bars, days ascending.
    #[must_use]
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// The first day.
    #[must_use]
    pub fn first(&self) -> Date {
        self.bars.first().expect("a series has at least one bar").date
    }

    /// The last day.
    #[must_use]
    pub fn last(&self) -> Date {
        self.bars.last().expect("a series has at least one bar").date
    }
}

fn faults(bars: &[Bar]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if bars.is_empty() {
        faults.push(Fault::Empty);
    }
    let mut before: Option<Date> = None;
    for bar in bars {
        let date = bar.date;
        match before {
            Some(b) if b == date => faults.push(Fault::Duplicate { date }),
            Some(b) if b > date => faults.push(Fault::Order { before: b, date }),
            _ => {}
        }
        before = Some(date);
        let (high, low) = (bar.high, bar.low);
        for (field, value) in [("open", bar.open), ("high", high), ("low", low), ("close", bar.close)] {
            if value <= Decimal::ZERO {
                faults.push(Fault::NotPositive { date, field, value });
            }
            if value > high {
                faults.push(Fault::AboveHigh { date, field, value, high });
            }
            if value < low && field != "high" {
                faults.push(Fault::BelowLow { date, field, value, low });
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(date: &str, prices: [&str; 4]) -> Bar {
        let [open, high, low, close] = prices.map(|p| p.parse().expect("a decimal"));
        Bar { date: date.parse().expect("a date"), open, high, low, close, volume: 1 }
    }

    #[track_caller]
    fn check(bars: Vec<Bar>, expected: &[&str]) {
        let symbol = Symbol::parse("X").expect("a symbol");
        let found = match Series::new(symbol, bars) {
            Ok(_) => Vec::new(),
            Err(e) => e.faults.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(found, expected);
    }

    const GOOD: [&str; 4] = ["2", "3", "1", "2.5"];

    #[test]
    fn sound_bars_make_a_series() {
        check(vec![bar("2020-01-02", GOOD), bar("2020-01-03", ["1", "1", "1", "1"])], &[]);
    }

    #[test]
    fn every_fault_is_named() {
        check(vec![], &["there are no bars"]);
        check(vec![bar("2020-01-02", GOOD), bar("2020-01-02", GOOD)], &["2020-01-02 is there twice"]);
        check(vec![bar("2020-01-03", GOOD), bar("2020-01-02", GOOD)], &["2020-01-02 comes after 2020-01-03"]);
        check(vec![bar("2020-01-02", ["2", "3", "1", "4"])], &["2020-01-02: close 4 is above the high 3"]);
        check(vec![bar("2020-01-02", ["0.5", "3", "1", "2"])], &["2020-01-02: open 0.5 is below the low 1"]);
        check(vec![bar("2020-01-02", ["2", "3", "0", "2"])], &["2020-01-02: low is 0, which is not positive"]);
        check(
            vec![bar("2020-01-02", ["2", "1", "3", "2"])],
            &[
                "2020-01-02: open 2 is above the high 1",
                "2020-01-02: open 2 is below the low 3",
                "2020-01-02: low 3 is above the high 1",
                "2020-01-02: close 2 is above the high 1",
                "2020-01-02: close 2 is below the low 3",
            ],
        );
    }

    #[test]
    fn a_symbol_is_safe_in_a_file_name() {
        for good in ["A", "AAPL", "BRK.B", "BF-B", "A12345678901"] {
            assert!(Symbol::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "aapl", "../X", "A/B", ".A", "1A", "A1234567890123", "A\0", "Ä"] {
            assert!(Symbol::parse(bad).is_err(), "{bad}");
        }
    }
}

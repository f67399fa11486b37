//! Bars of one or more symbols on one time line: what a strategy sees, and what fills are taken from.

mod build;

use std::ops::Range;

use jiff::{Timestamp, civil::Date};
use ringfence_market::{Symbol, import::Interval};
use sha2::{Digest, Sha256};

pub use build::{CELLS_MAX, Field, History, PanelError};

/// Bars of one or more symbols on one time line.
///
/// The time line is the union of the symbols' own: a row for each day (or minute) on which at least one of them has a bar. Where a
/// symbol has none, its columns hold NaN; that is the only place where they hold anything but finite numbers, prices above zero.
/// Prices are meant to be adjusted for splits and dividends ([`Panel::of`], [`Panel::sample`]): the engine knows of neither.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    interval: Interval,
    dates: Vec<Date>,
    times: Vec<Timestamp>,
    columns: Vec<Columns>,
}

/// The bars of one symbol, a value for each row of the [`Panel`]; NaN in rows in which it has no bar.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Whose.
    pub symbol: Symbol,
    /// First prices.
    pub open: Vec<f64>,
    /// Highest prices.
    pub high: Vec<f64>,
    /// Lowest prices.
    pub low: Vec<f64>,
    /// Last prices.
    pub close: Vec<f64>,
    /// Shares traded.
    pub volume: Vec<f64>,
}

impl Columns {
    /// Whether the symbol has a bar in a row. False beyond the last row.
    #[must_use]
    pub fn has(&self, row: usize) -> bool {
        self.close.get(row).is_some_and(|close| !close.is_nan())
    }

    /// Open, high, low, close and volume, in this order.
    #[must_use]
    pub fn all(&self) -> [&[f64]; 5] {
        [&self.open, &self.high, &self.low, &self.close, &self.volume]
    }

    fn part(&self, rows: Range<usize>) -> Self {
        let part = |column: &[f64]| column[rows.clone()].to_vec();
        Self {
            symbol: self.symbol.clone(),
            open: part(&self.open),
            high: part(&self.high),
            low: part(&self.low),
            close: part(&self.close),
            volume: part(&self.volume),
        }
    }
}

/// The same numbers bit for bit, so that a gap equals a gap.
impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        self.symbol == other.symbol && self.all().into_iter().zip(other.all()).all(|(a, b)| same(a, b))
    }
}

impl Panel {
    /// How long each bar is.
    #[must_use]
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// Bars in a year, by which figures are annualised: 252 sessions, of 390 minutes each.
    #[must_use]
    pub fn periods_per_year(&self) -> f64 {
        match self.interval {
            Interval::Day => 252.0,
            Interval::Minute => 252.0 * 390.0,
        }
    }

    /// Rows; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a panel is never empty")]
    pub fn len(&self) -> usize {
        self.dates.len()
    }

    /// The day of each row, ascending; minutes of one day (in New York) share it.
    #[must_use]
    pub fn dates(&self) -> &[Date] {
        &self.dates
    }

    /// When the minute of each row begins. Empty for days.
    #[must_use]
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// The symbols' bars, in the order in which they were given.
    #[must_use]
    pub fn columns(&self) -> &[Columns] {
        &self.columns
    }

    /// The symbols, in the order in which they were given; at least one, none twice.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = &Symbol> {
        self.columns.iter().map(|c| &c.symbol)
    }

    /// A row in words: its day, or its instant.
    #[must_use]
    pub fn label(&self, row: usize) -> String {
        match (self.times.get(row), self.dates.get(row)) {
            (Some(at), _) => at.to_string(),
            (None, Some(date)) => date.to_string(),
            (None, None) => format!("row {row}"),
        }
    }

    /// The first `rows` rows; all of them when there are fewer.
    ///
    /// # Panics
    /// `rows` is 0: a panel is never empty.
    #[must_use]
    pub fn truncated(&self, rows: usize) -> Self {
        self.window(0..rows.min(self.len()))
    }

    /// Some of the rows. A symbol that has no bar among them keeps its columns, all gaps.
    ///
    /// # Panics
    /// The range is empty or reaches beyond the rows.
    #[must_use]
    pub fn window(&self, rows: Range<usize>) -> Self {
        assert!(rows.start < rows.end && rows.end <= self.len(), "{rows:?} are no rows of a panel of {}", self.len());
        Self {
            interval: self.interval,
            dates: self.dates[rows.clone()].to_vec(),
            times: if self.times.is_empty() { Vec::new() } else { self.times[rows.clone()].to_vec() },
            columns: self.columns.iter().map(|c| c.part(rows.clone())).collect(),
        }
    }

    /// The rows from one day to another, both included; an end that is not given is open. May be empty.
    #[must_use]
    pub fn between(&self, from: Option<Date>, to: Option<Date>) -> Range<usize> {
        let start = from.map_or(0, |from| self.dates.partition_point(|d| *d < from));
        let end = to.map_or(self.len(), |to| self.dates.partition_point(|d| *d <= to));
        start..end.max(start)
    }

    /// The same rows with some of the symbols only, in the order of `symbols`. `None` when one of them is not here, is named
    /// twice, or none is named. Rows stay as they are, also those in which none of these symbols has a bar.
    #[must_use]
    pub fn only(&self, symbols: &[Symbol]) -> Option<Self> {
        let twice = (1..symbols.len()).any(|i| symbols[..i].contains(&symbols[i]));
        if symbols.is_empty() || twice {
            return None;
        }
        let columns = symbols.iter().map(|s| self.columns.iter().find(|c| c.symbol == *s).cloned());
        Some(Self {
            interval: self.interval,
            dates: self.dates.clone(),
            times: self.times.clone(),
            columns: columns.collect::<Option<_>>()?,
        })
    }

    /// Identity of the content: SHA-256, hexadecimal, over interval, symbols, times and the bits of every number. The same bars
    /// give the same hash on every machine and in every version.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("ringfence panel 1\n{}\n{}\n{}\n", self.interval.as_str(), self.columns.len(), self.len()));
        for date in &self.dates {
            hash.update(
                [date.year().to_le_bytes(), i16::from(date.month()).to_le_bytes(), i16::from(date.day()).to_le_bytes()]
                    .concat(),
            );
        }
        for at in &self.times {
            hash.update(at.as_second().to_le_bytes());
        }
        for columns in &self.columns {
            hash.update(format!("{}\n", columns.symbol));
            for column in columns.all() {
                let bytes: Vec<u8> = column.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        hex::encode(hash.finalize())
    }
}

#[cfg(test)]
mod tests;

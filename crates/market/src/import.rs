//! Reading bars that somebody brings: CSV and Parquet as the usual sources write them, checked row by row.
//!
//! A file is taken whole or not at all. Errors (a cell that is no number, a high below a low, one instant twice) refuse
//! it; warnings (days that are missing, a price that halves overnight) are told and left to the reader.

mod cells;
mod check;
mod csv_file;
mod parquet_file;

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date, civil::DateTime, civil::Time, tz::TimeZone};
use rust_decimal::Decimal;
use serde::Serialize;

pub use check::examine;

use crate::{
    action::Action,
    bar::{Bar, Symbol},
    minute::Minute,
    new_york,
};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Errors and warnings of one kind that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// How long a bar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// A session.
    Day,
    /// A minute.
    Minute,
}

impl Interval {
    /// `day` or `minute`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Minute => "minute",
        }
    }
}

/// Where clocks show the times of a file that does not say.
#[derive(Debug, Clone, Default)]
pub enum Zone {
    /// In New York, by the rules of [`new_york`].
    #[default]
    NewYork,
    /// Elsewhere.
    Other(TimeZone),
}

impl Zone {
    /// A zone of the IANA database, by name. `None` for a name that this host's database does not have.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "America/New_York" | "US/Eastern" => Some(Self::NewYork),
            "UTC" => Some(Self::Other(TimeZone::UTC)),
            other => TimeZone::get(other).ok().map(Self::Other),
        }
    }

    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self {
            Self::NewYork => new_york::instant(local.date(), local.time()),
            Self::Other(zone) => zone.to_ambiguous_timestamp(local).compatible().ok(),
        }
    }
}

/// What a file does not say of itself.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whose bars they are; else a column says so, or the file's name does.
    pub symbol: Option<Symbol>,
    /// How long the bars are; else their times say so.
    pub interval: Option<Interval>,
    /// Where its clocks stand.
    pub zone: Zone,
}

/// Bars of one symbol and length, ascending, each sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Whose.
    pub symbol: Symbol,
    /// The bars.
    pub bars: Bars,
}

/// Bars of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bars {
    /// Of days.
    Day(Vec<Bar>),
    /// Of minutes.
    Minute(Vec<Minute>),
}

impl Bars {
    /// How long each is.
    #[must_use]
    pub fn interval(&self) -> Interval {
        match self {
            Self::Day(_) => Interval::Day,
            Self::Minute(_) => Interval::Minute,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Day(bars) => bars.len(),
            Self::Minute(bars) => bars.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First and last day.
    #[must_use]
    pub fn span(&self) -> Option<(Date, Date)> {
        match self {
            Self::Day(bars) => Some((bars.first()?.date, bars.last()?.date)),
            Self::Minute(bars) => Some((new_york::date(bars.first()?.at), new_york::date(bars.last()?.at))),
        }
    }
}

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The file is refused.
    Error,
    /// The file is taken; a reader should look.
    Warning,
    /// Said for completeness.
    Note,
}

/// Something about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// Which check found it, in one word or two joined by `_`.
    pub check: &'static str,
    /// Line of a CSV file, or row of a Parquet file, counted from 1; the header is line 1, Parquet has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// In a sentence.
    pub text: String,
}

/// What was found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file, as the caller named it.
    pub file: String,
    /// Rows that were read.
    pub rows: u64,
    /// What was found, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the file is refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|f| f.weight == Weight::Error)
    }

    fn add(&mut self, weight: Weight, check: &'static str, line: Option<u64>, text: impl Into<String>) {
        self.findings.push(Finding { weight, check, line, text: text.into() });
    }

    /// Errors first, and of each check no more than [`NAMED_MAX`].
    fn settle(&mut self) {
        let mut seen: BTreeMap<(Weight, &'static str), usize> = BTreeMap::new();
        self.findings.retain(|f| {
            let count = seen.entry((f.weight, f.check)).or_default();
            *count += 1;
            *count <= NAMED_MAX
        });
        for ((weight, check), count) in seen {
            if count > NAMED_MAX {
                self.add(weight, check, None, format!("{} more like these", count - NAMED_MAX));
            }
        }
        self.findings.sort_by_key(|f| f.weight);
    }
}

/// When a row's bar was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Day(Date),
    Local(DateTime),
    Instant(Timestamp),
}

/// A row that could be read.
#[derive(Debug, Clone)]
struct Row {
    line: u64,
    symbol: Symbol,
    when: When,
    prices: [Decimal; 4],
    volume: u64,
}

/// Reads and checks a file: its report, and its bars unless it is refused. `actions` are what is known of splits, so that
/// they are not suspected.
#[must_use]
pub fn read(file: &str, bytes: Vec<u8>, options: &Options, actions: &[Action]) -> (Report, Vec<Dataset>) {
    let mut report = Report { file: file.to_owned(), ..Report::default() };
    let rows = if bytes.starts_with(b"PAR1") {
        parquet_file::rows(file, bytes, options, &mut report)
    } else {
        csv_file::rows(file, &bytes, options, &mut report)
    };
    report.rows = u64::try_from(rows.len()).expect("a count");
    if rows.is_empty() && !report.is_refused() {
        report.add(Weight::Error, "empty", None, "there is no row in it");
    }
    let interval = options.interval.or_else(|| interval(&rows));
    let mut datasets = Vec::new();
    if let Some(interval) = interval {
        for (symbol, rows) in by_symbol(rows) {
            let bars = match interval {
                Interval::Day => Bars::Day(check::days(rows, &mut report)),
                Interval::Minute => Bars::Minute(check::minutes(rows, &options.zone, &mut report)),
            };
            datasets.push(Dataset { symbol, bars });
        }
    }
    if report.is_refused() {
        datasets.clear();
    }
    for dataset in &datasets {
        check::examine(dataset, actions, &mut report);
    }
    report.settle();
    (report, datasets)
}

/// What the times of the rows look like: days when each is a date or a midnight.
fn interval(rows: &[Row]) -> Option<Interval> {
    let is_day = |row: &Row| match row.when {
        When::Day(_) => true,
        When::Local(local) => local.time() == Time::midnight(),
        When::Instant(at) => day_of(at).is_some(),
    };
    match rows {
        [] => None,
        rows if rows.iter().all(is_day) => Some(Interval::Day),
        _ => Some(Interval::Minute),
    }
}

/// The day that an instant stands for, when it is a midnight in New York (as Alpaca stamps daily bars) or in UTC (as
/// pandas does).
fn day_of(at: Timestamp) -> Option<Date> {
    [new_york::civil(at), TimeZone::UTC.to_datetime(at)]
        .into_iter()
        .find(|local| local.time() == Time::midnight())
        .map(|local| local.date())
}

fn by_symbol(rows: Vec<Row>) -> BTreeMap<Symbol, Vec<Row>> {
    let mut found: BTreeMap<Symbol, Vec<Row>> = BTreeMap::new();
    for row in rows {
        match found.get_mut(&row.symbol) {
            Some(rows) => rows.push(row),
            None => drop(found.insert(row.symbol.clone(), vec![row])),
        }
    }
    found
}

#[cfg(test)]
mod tests;

//! What stands in a cell, and which column holds what.

use jiff::{Timestamp, civil::Date, civil::DateTime};
use rust_decimal::Decimal;

use super::{Options, Report, Row, Weight, When};
use crate::{bar::Symbol, tape::PRICE_MAX};

/// One cell, as far as the file's format tells.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Missing,
    Text(String),
    Number(Decimal),
    Time(When),
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Text(text) => text.chars().take(40).collect(),
            Self::Number(number) => number.to_string(),
            Self::Time(When::Day(day)) => day.to_string(),
            Self::Time(When::Local(local)) => local.to_string(),
            Self::Time(When::Instant(at)) => at.to_string(),
        }
    }
}

/// Which column holds what.
#[derive(Debug)]
pub(super) struct Columns {
    when: usize,
    prices: [usize; 4],
    volume: usize,
    symbol: Option<usize>,
    /// The symbol where no column has it.
    given: Option<Symbol>,
}

const NAMES: [(&str, &[&str]); 7] = [
    ("date", &["date", "datetime", "timestamp", "time", "t", "", "unnamed: 0", "index", "__index_level_0__"]),
    ("open", &["open", "o"]),
    ("high", &["high", "h"]),
    ("low", &["low", "l"]),
    ("close", &["close", "c", "close/last"]),
    ("volume", &["volume", "v", "vol"]),
    ("symbol", &["symbol", "ticker"]),
];

impl Columns {
    /// Finds the columns by their names, in any case and order. `None` when one is missing or there twice, which the
    /// report says.
    pub(super) fn find(file: &str, header: &[String], options: &Options, report: &mut Report) -> Option<Self> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
        let mut used = Vec::new();
        let mut find = |wanted: &str, report: &mut Report| {
            let (_, known) = NAMES.iter().find(|(name, _)| *name == wanted).expect("it is in the table");
            // In the order of preference: an index without a name is a date only where no column is called so.
            let found = known.iter().find_map(|name| names.iter().position(|n| n == name));
            if let Some(at) = found {
                if names.iter().filter(|n| **n == names[at]).count() > 1 {
                    report.add(Weight::Error, "header", Some(1), format!("two columns are called `{}`", header[at]));
                }
                used.push(at);
            }
            found
        };
        let [when, open, high, low, close, volume] =
            ["date", "open", "high", "low", "close", "volume"].map(|name| (name, find(name, report)));
        let symbol = find("symbol", report).filter(|_| options.symbol.is_none());
        let ignored: Vec<&str> =
            header.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, name)| name.as_str()).collect();
        if !ignored.is_empty() {
            report.add(Weight::Note, "columns", None, format!("not read: {}", ignored.join(", ")));
        }
        let missing: Vec<&str> = [when, open, high, low, close, volume]
            .iter()
            .filter(|(_, at)| at.is_none())
            .map(|(name, _)| *name)
            .collect();
        if !missing.is_empty() {
            let found: String = header.join(", ").chars().take(200).collect();
            let text = format!("no column is called {}; there are: {found}", missing.join(" or "));
            report.add(Weight::Error, "header", Some(1), text);
        }
        let given = options.symbol.clone().or_else(|| of_file_name(file));
        if symbol.is_none() && given.is_none() {
            report.add(
                Weight::Error,
                "symbol",
                None,
                "whose bars are these? No column and no file name says so: use --symbol",
            );
        }
        if report.is_refused() {
            return None;
        }
        let at = |column: (&str, Option<usize>)| column.1.expect("a missing column was refused");
        Some(Self { when: at(when), prices: [open, high, low, close].map(at), volume: at(volume), symbol, given })
    }

    /// Reads one row. `None` when a cell is wrong, which the report says.
    pub(super) fn row(&self, line: u64, cells: &[Cell], report: &mut Report) -> Option<Row> {
        let mut wrong = |name: &str, cell: &Cell, expected: &str| {
            let text = format!("{name} `{}` is not {expected}", cell.shown());
            report.add(Weight::Error, "cell", Some(line), text);
        };
        const NAMES: [&str; 4] = ["open", "high", "low", "close"];
        let mut prices = [None; 4];
        for ((price, column), name) in prices.iter_mut().zip(self.prices).zip(NAMES) {
            *price = number(&cells[column]);
            if price.is_none() {
                wrong(name, &cells[column], "a decimal number like 12.34");
            } else if price.is_some_and(|p| p <= Decimal::ZERO || p >= PRICE_MAX) {
                wrong(name, &cells[column], "a price above 0 and below 1000000000");
                *price = None;
            }
        }
        let volume =
            number(&cells[self.volume]).and_then(|v| v.normalize().try_into().ok().filter(|_| v.fract().is_zero()));
        if volume.is_none() {
            wrong("volume", &cells[self.volume], "a whole number of shares");
        }
        let when = when(&cells[self.when]);
        if when.is_none() {
            wrong("date", &cells[self.when], "a date or a time like 2000-03-01 or 2000-03-01T09:30:00-05:00");
        }
        let symbol = match self.symbol.map(|column| &cells[column]) {
            None => self.given.clone(),
            Some(cell) => {
                let found = if let Cell::Text(text) = cell { Symbol::parse(text.trim()).ok() } else { None };
                if found.is_none() {
                    wrong("symbol", cell, "a symbol: 1 to 12 of A-Z, 0-9, . and -, beginning with a letter");
                }
                found
            }
        };
        let [open, high, low, close] = prices;
        Some(Row { line, symbol: symbol?, when: when?, prices: [open?, high?, low?, close?], volume: volume? })
    }
}

/// `AAPL` of `/data/AAPL.csv`, `aapl_daily.csv` of nothing.
fn of_file_name(file: &str) -> Option<Symbol> {
    let name = file.rsplit('/').next()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    Symbol::parse(&stem.to_ascii_uppercase()).ok()
}

fn number(cell: &Cell) -> Option<Decimal> {
    match cell {
        Cell::Number(number) => Some(*number),
        Cell::Text(text) => {
            let text = text.trim();
            let text = text.strip_prefix('$').unwrap_or(text);
            let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
            if plain && text.bytes().any(|b| b.is_ascii_digit()) {
                Decimal::from_str_exact(text).ok()
            } else {
                scientific(text)
            }
        }
        Cell::Missing | Cell::Time(_) => None,
    }
}

/// `1.5e-05`, as programs write small floats.
fn scientific(text: &str) -> Option<Decimal> {
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    if text.bytes().all(allowed) && text.contains(['e', 'E']) { Decimal::from_scientific(text).ok() } else { None }
}

fn when(cell: &Cell) -> Option<When> {
    match cell {
        Cell::Time(when) => Some(*when),
        Cell::Number(number) => since_epoch(number.to_string().as_str()),
        Cell::Text(text) => of_text(text.trim()),
        Cell::Missing => None,
    }
}

fn of_text(text: &str) -> Option<When> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.len() {
            8 => text.parse::<Date>().ok().map(When::Day),
            _ => since_epoch(text),
        };
    }
    // A date's own parser takes a time behind it too, so the longer shapes come first.
    let is_date = text.len() == 10;
    if !is_date {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(When::Instant(at));
        }
        return text.parse::<DateTime>().ok().map(When::Local);
    }
    text.parse::<Date>().ok().map(When::Day)
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by how many digits there are: right from
/// 2001 on.
fn since_epoch(text: &str) -> Option<When> {
    let number: i64 = text.parse().ok().filter(|n| *n > 0)?;
    let at = match text.len() {
        9..=10 => Timestamp::from_second(number),
        12..=13 => Timestamp::from_millisecond(number),
        15..=16 => Timestamp::from_microsecond(number),
        18..=19 => Timestamp::from_nanosecond(i128::from(number)),
        _ => return None,
    };
    at.ok().map(When::Instant)
}

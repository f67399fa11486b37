//! Reading bars from CSV. An error names the file and the line.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::bar::{Bar, Faulty, Series, Symbol};

/// The header of a file of bars, in this order.
pub const HEADER: [&str; 6] = ["date", "open", "high", "low", "close", "volume"];

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its first line is another one.
    #[error("{file}: the header is `{found}`; it must be `{expected}`")]
    Header {
        /// The file, as the caller named it.
        file: String,
        /// What it begins with, cut to 200 characters.
        found: String,
        /// What it must begin with.
        expected: String,
    },
    /// A line has too few or too many fields, or is not UTF-8.
    #[error("{file}: not a table")]
    Table {
        /// The file, as the caller named it.
        file: String,
        /// Where, and what.
        #[source]
        source: csv::Error,
    },
    /// A field is not what it should be.
    #[error("{file}:{line}: {field} `{value}` is not {expected}")]
    Field {
        /// The file, as the caller named it.
        file: String,
        /// Counted from 1.
        line: u64,
        /// Column.
        field: &'static str,
        /// What is there, cut to 40 characters.
        value: String,
        /// What should be.
        expected: &'static str,
    },
    /// The rows are readable, and together not sound.
    #[error("{file}: the bars are refused")]
    Bars {
        /// The file, as the caller named it.
        file: String,
        /// Every fault.
        #[source]
        source: Faulty,
    },
}

/// The bars of one symbol, from the text of a CSV file with [`HEADER`].
///
/// # Errors
/// The first line that cannot be read, or every fault of the bars.
pub fn bars(file: &str, symbol: Symbol, text: &str) -> Result<Series, ReadError> {
    let mut rows = Vec::new();
    table(file, text, &HEADER, |row| {
        rows.push(Bar {
            date: row.date(0, HEADER[0])?,
            open: row.decimal(1, HEADER[1])?,
            high: row.decimal(2, HEADER[2])?,
            low: row.decimal(3, HEADER[3])?,
            close: row.decimal(4, HEADER[4])?,
            volume: row.field(5, HEADER[5], "a whole number of shares", |t| t.parse().ok())?,
        });
        Ok(())
    })?;
    Series::new(symbol, rows).map_err(|source| ReadError::Bars { file: file.to_owned(), source })
}

/// One line of a table.
pub(crate) struct Row<'a> {
    file: &'a str,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    pub(crate) fn text(&self, column: usize) -> &str {
        self.record.get(column).expect("every row has as many fields as the header")
    }

    /// A field, as `parse` understands it.
    pub(crate) fn field<T>(
        &self,
        column: usize,
        field: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ReadError> {
        let text = self.text(column);
        parse(text).ok_or_else(|| ReadError::Field {
            file: self.file.to_owned(),
            line: self.record.position().map_or(0, csv::Position::line),
            field,
            value: text.chars().take(40).collect(),
            expected,
        })
    }

    pub(crate) fn date(&self, column: usize, field: &'static str) -> Result<Date, ReadError> {
        // Date's own parser takes more shapes (a time after it, no hyphens); files hold this one.
        self.field(column, field, "a date like 2000-03-01", |t| {
            let date: Date = t.parse().ok()?;
            (date.to_string() == t).then_some(date)
        })
    }

    pub(crate) fn decimal(&self, column: usize, field: &'static str) -> Result<Decimal, ReadError> {
        self.field(column, field, "a decimal number like 12.34", |t| {
            let plain = t.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
            if plain { Decimal::from_str_exact(t).ok() } else { None }
        })
    }
}

/// Calls `take` with each row of a CSV text that has exactly this header.
pub(crate) fn table(
    file: &str,
    text: &str,
    header: &[&str],
    mut take: impl FnMut(&Row<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let broken = |source| ReadError::Table { file: file.to_owned(), source };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let found = reader.headers().map_err(broken)?;
    if found != header {
        let found: Vec<&str> = found.iter().collect();
        let found = found.join(",").chars().take(200).collect();
        return Err(ReadError::Header { file: file.to_owned(), found, expected: header.join(",") });
    }
    for record in reader.records() {
        take(&Row { file, record: &record.map_err(broken)? })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    const HEAD: &str = "date,open,high,low,close,volume\n";

    fn read(text: &str) -> Result<Series, ReadError> {
        bars("x.csv", Symbol::parse("X").expect("a symbol"), text)
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = read(text).expect_err("it is refused");
        let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
        assert_eq!(format!("{error}{cause}"), expected);
    }

    #[test]
    fn prices_are_read_exactly() {
        let series = read(&format!("{HEAD}2000-03-01,118.56,132.0600,118.5,130.31,9616100\n")).expect("a good file");
        let bar = &series.bars()[0];
        assert_eq!(bar.high.to_string(), "132.0600");
        assert_eq!((bar.date.to_string().as_str(), bar.volume), ("2000-03-01", 9_616_100));
    }

    #[test]
    fn an_error_names_the_file_and_the_line() {
        let good = format!("{HEAD}2000-03-01,1,2,1,2,5\n");
        refused("Date,Open\n", "x.csv: the header is `Date,Open`; it must be `date,open,high,low,close,volume`");
        refused(&format!("{good}2000-03-02,1,two,1,2,5\n"), "x.csv:3: high `two` is not a decimal number like 12.34");
        refused(&format!("{good}2000-03-02,1,2e3,1,2,5\n"), "x.csv:3: high `2e3` is not a decimal number like 12.34");
        refused(&format!("{good}02/03/2000,1,2,1,2,5\n"), "x.csv:3: date `02/03/2000` is not a date like 2000-03-01");
        refused(&format!("{good}2000-02-30,1,2,1,2,5\n"), "x.csv:3: date `2000-02-30` is not a date like 2000-03-01");
        refused(&format!("{good}2000-03-02,1,2,1,2,-5\n"), "x.csv:3: volume `-5` is not a whole number of shares");
        refused(&format!("{good}2000-03-02,1,2,1,2,\n"), "x.csv:3: volume `` is not a whole number of shares");
        refused(
            &format!("{good}2000-03-01,1,2,1,2,5\n"),
            "x.csv: the bars are refused: the bars of X have 1 fault(s); the first: 2000-03-01 is there twice",
        );
        let short = read(&format!("{good}2000-03-02,1,2\n")).expect_err("a short line");
        assert!(short.source().is_some_and(|s| s.to_string().contains("line: 3")), "{short:?}");
    }
}

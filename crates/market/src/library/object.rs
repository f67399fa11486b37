//! The files of the library as text. The same bars always give the same bytes.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Holds;
use crate::{
    action::{self, Action, Kind},
    bar::Symbol,
    import::Bars,
    minute::Minute,
    read::{self, ReadError, table},
};

const MINUTES: [&str; 6] = ["at", "open", "high", "low", "close", "volume"];

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Bars with a header; minutes by the seconds since 1970.
pub(super) fn of_bars(bars: &Bars) -> String {
    let mut text = String::new();
    match bars {
        Bars::Day(bars) => {
            text.push_str(&read::HEADER.join(","));
            text.push('\n');
            for b in bars {
                writeln!(text, "{},{},{},{},{},{}", b.date, b.open, b.high, b.low, b.close, b.volume)
                    .expect("a String takes everything");
            }
        }
        Bars::Minute(bars) => {
            text.push_str(&MINUTES.join(","));
            text.push('\n');
            for m in bars {
                writeln!(text, "{},{},{},{},{},{}", m.at.as_second(), m.open, m.high, m.low, m.close, m.volume)
                    .expect("a String takes everything");
            }
        }
    }
    text
}

/// Actions as [`action::actions`] reads them.
pub(super) fn of_actions(actions: &[Action]) -> String {
    let mut text = action::HEADER.join(",");
    text.push('\n');
    for Action { symbol, ex_date, kind } in actions {
        let (kind, value) = match kind {
            Kind::Split(into) => ("split", into),
            Kind::Dividend(cash) => ("dividend", cash),
        };
        writeln!(text, "{symbol},{ex_date},{kind},{value},imported").expect("a String takes everything");
    }
    text
}

/// Reads what [`of_bars`] wrote.
pub(super) fn bars(holds: Holds, symbol: Symbol, text: &str) -> Result<Bars, String> {
    let read = || -> Result<Bars, ReadError> {
        if holds == Holds::Day {
            return Ok(Bars::Day(read::bars("bars", symbol, text)?.bars().to_vec()));
        }
        let mut minutes = Vec::new();
        table("minutes", text, &MINUTES, |row| {
            let at =
                row.field(0, MINUTES[0], "seconds since 1970", |t| jiff::Timestamp::from_second(t.parse().ok()?).ok())?;
            minutes.push(Minute {
                at,
                open: row.decimal(1, MINUTES[1])?,
                high: row.decimal(2, MINUTES[2])?,
                low: row.decimal(3, MINUTES[3])?,
                close: row.decimal(4, MINUTES[4])?,
                volume: row.field(5, MINUTES[5], "a whole number of shares", |t| t.parse().ok())?,
            });
            Ok(())
        })?;
        Ok(Bars::Minute(minutes))
    };
    read().map_err(|e| e.to_string())
}

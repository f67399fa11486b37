//! What a trial is asked: bars as columns of doubles, and parameters. `ringfence/_trial.py` and `_stepwise.py` read it.
//!
//! `RFASK\1\0\0`, the length of a JSON header (u32), the header; then, unless bars come one by one, the time of each bar (i64,
//! microseconds since 1970) and for each symbol five columns of doubles (open, high, low, close, volume). Little-endian.

use std::borrow::Cow;

use jiff::{civil::Date, tz::TimeZone};
use ringfence_backtest::Panel;
use ringfence_engine::api::TRIAL_INPUT_MAX;
use ringfence_market::import::Interval;
use ringfence_model::{ApiError, Code};
use serde::Serialize;

use super::Parameters;

const MAGIC: &[u8; 8] = b"RFASK\x01\0\0";

#[derive(Serialize)]
struct Header<'a> {
    mode: &'static str,
    symbols: Vec<&'a str>,
    bars: usize,
    intraday: bool,
    /// Seconds that each set may take.
    timeout: f64,
    parameters: Cow<'a, [Parameters]>,
}

/// Bars as a strategy sees them: the rows in which one of its symbols has a bar. (A panel of some of another's symbols has rows
/// without any; columns with holes would be no series of one symbol's bars.)
pub(super) struct Asked<'a> {
    pub(super) panel: &'a Panel,
    pub(super) rows: Vec<usize>,
    /// Of each of `rows`, in microseconds since 1970.
    times: Vec<i64>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(panel: &'a Panel) -> Self {
        let rows: Vec<usize> = (0..panel.len()).filter(|row| panel.columns().iter().any(|c| c.has(*row))).collect();
        let time = |row: &usize| match panel.times().get(*row) {
            Some(at) => at.as_microsecond(),
            None => of_day(panel.dates()[*row]),
        };
        Self { panel, times: rows.iter().map(time).collect(), rows }
    }

    /// The whole input.
    pub(super) fn whole(&self, sets: &[Parameters], timeout: f64) -> Result<Vec<u8>, ApiError> {
        let columns = self.panel.columns().iter().flat_map(|c| c.all());
        let room = self.times.len() * 8 * (1 + 5 * self.panel.columns().len());
        if room > TRIAL_INPUT_MAX {
            let (bars, symbols) = (self.times.len(), self.panel.columns().len());
            return Err(ApiError::new(
                Code::TooLarge,
                format!(
                    "{bars} bars of {symbols} symbol(s) are {room} bytes; a backtest is given at most {TRIAL_INPUT_MAX}: take a shorter time or fewer symbols"
                ),
            ));
        }
        let mut input = self.head("whole", self.rows.len(), sets, timeout, room)?;
        input.extend(self.times.iter().flat_map(|t| t.to_le_bytes()));
        for column in columns {
            input.extend(self.rows.iter().flat_map(|row| column[*row].to_le_bytes()));
        }
        Ok(input)
    }

    /// The beginning of a conversation.
    pub(super) fn stepwise(&self, set: &Parameters, timeout: f64) -> Result<Vec<u8>, ApiError> {
        self.head("stepwise", 0, std::slice::from_ref(set), timeout, 0)
    }

    /// One bar of it: its time, and five numbers for each symbol.
    pub(super) fn step(&self, number: usize) -> Vec<u8> {
        let row = self.rows[number];
        let mut step = self.times[number].to_le_bytes().to_vec();
        step.extend(self.panel.columns().iter().flat_map(|c| c.all()).flat_map(|column| column[row].to_le_bytes()));
        step
    }

    fn head(
        &self,
        mode: &'static str,
        bars: usize,
        sets: &[Parameters],
        timeout: f64,
        room: usize,
    ) -> Result<Vec<u8>, ApiError> {
        let header = Header {
            mode,
            symbols: self.panel.symbols().map(|s| s.as_str()).collect(),
            bars,
            intraday: self.panel.interval() == Interval::Minute,
            timeout,
            parameters: sets.into(),
        };
        let header =
            serde_json::to_vec(&header).map_err(|_| ApiError::internal("parameters could not be written as JSON"))?;
        let length = u32::try_from(header.len()).ok().filter(|length| room + *length as usize + 12 <= TRIAL_INPUT_MAX);
        let length = length.ok_or_else(|| {
            ApiError::new(
                Code::TooLarge,
                format!("{} parameter sets are too many for one sandbox: take smaller batches", sets.len()),
            )
        })?;
        let mut input = Vec::with_capacity(MAGIC.len() + 4 + header.len() + room);
        input.extend(MAGIC);
        input.extend(length.to_le_bytes());
        input.extend(header);
        Ok(input)
    }
}

/// Midnight of a day, in microseconds since 1970.
fn of_day(date: Date) -> i64 {
    // Every day of `Date` but the very first and last ones is within the range of timestamps.
    date.to_zoned(TimeZone::UTC).map_or(i64::MIN, |at| at.timestamp().as_microsecond())
}

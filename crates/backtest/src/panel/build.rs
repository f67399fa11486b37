//! Making a [`Panel`]: checks, and one time line for all symbols.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use ringfence_market::{
    Action, Bar, Minute, Series, Symbol,
    adjust::{self, AdjustError},
    bar::Faulty,
    columns::nearest,
    import::{Bars, Dataset, Interval},
    new_york,
    sample::{self, SampleError},
};
use rust_decimal::{Decimal, prelude::ToPrimitive};

use super::{Columns, Panel};

/// The most values (rows × symbols) of a panel: 1.3 GB.
pub const CELLS_MAX: usize = 1 << 25;

/// The bars of one symbol on its own time line, as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Whose.
    pub symbol: Symbol,
    /// The day of each bar, ascending; of days, none twice.
    pub dates: Vec<Date>,
    /// When each minute begins, ascending, none twice. Empty for days.
    pub times: Vec<Timestamp>,
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

/// A column of bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Field {
    Open,
    High,
    Low,
    Close,
    Volume,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::High => "high",
            Self::Low => "low",
            Self::Close => "close",
            Self::Volume => "volume",
        })
    }
}

/// Why bars make no panel. Rows are counted from 0.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum PanelError {
    #[error("there are no bars: name at least one symbol")]
    NoSymbols,
    #[error("{symbol} has no bars")]
    NoBars { symbol: Symbol },
    #[error("{symbol} is there twice; name each symbol once")]
    Twice { symbol: Symbol },
    #[error("{symbol} has bars of another length than {first}: take days or minutes, not both")]
    Mixed { symbol: Symbol, first: Symbol },
    #[error("{symbol}: column {column} has {found} values and there are {rows} bars")]
    Length { symbol: Symbol, column: String, found: usize, rows: usize },
    #[error("{symbol}, row {row}: {at} does not come after the row before it")]
    Order { symbol: Symbol, row: usize, at: String },
    #[error("{symbol}, row {row} ({at}): {field} is {value}, which is not a price above zero")]
    Price { symbol: Symbol, row: usize, at: String, field: Field, value: f64 },
    #[error("{symbol}, row {row} ({at}): volume is {value}, which is not a number of shares")]
    Volume { symbol: Symbol, row: usize, at: String, value: f64 },
    #[error("{symbol}, row {row} ({at}): {field} {value} is outside of low {low} and high {high}")]
    Outside { symbol: Symbol, row: usize, at: String, field: Field, value: f64, low: f64, high: f64 },
    #[error("{rows} rows of {symbols} symbols are more than {CELLS_MAX} values: take fewer symbols or a shorter time")]
    TooLarge { rows: usize, symbols: usize },
    #[error("the sample holds no {symbol}; it holds {}", known.join(", "))]
    NotInSample { symbol: Symbol, known: Vec<String> },
    #[error("the bars of {symbol} are not sound")]
    Faulty {
        symbol: Symbol,
        #[source]
        source: Faulty,
    },
    #[error("adjusting {symbol}")]
    Adjust {
        symbol: Symbol,
        #[source]
        source: AdjustError,
    },
    #[error("reading the built-in bars")]
    Sample(#[from] SampleError),
}

impl Panel {
    /// Aligns the bars of one or more symbols.
    ///
    /// # Errors
    /// The first thing that is wrong, naming symbol and row: a price that is NaN, infinite, zero or below; a volume that is NaN,
    /// infinite or below zero; an open or close outside of low and high; bars out of order; columns of unequal length.
    pub fn new(interval: Interval, histories: Vec<History>) -> Result<Self, PanelError> {
        if histories.is_empty() {
            return Err(PanelError::NoSymbols);
        }
        for (i, history) in histories.iter().enumerate() {
            if histories[..i].iter().any(|h| h.symbol == history.symbol) {
                return Err(PanelError::Twice { symbol: history.symbol.clone() });
            }
            check(interval, history)?;
        }
        let (dates, times) = match interval {
            Interval::Day => (line(histories.iter().map(|h| h.dates.as_slice())), Vec::new()),
            Interval::Minute => {
                let times = line(histories.iter().map(|h| h.times.as_slice()));
                (times.iter().map(|at| new_york::date(*at)).collect(), times)
            }
        };
        if dates.len().saturating_mul(histories.len()) > CELLS_MAX {
            return Err(PanelError::TooLarge { rows: dates.len(), symbols: histories.len() });
        }
        let columns = histories
            .into_iter()
            .map(|history| match interval {
                Interval::Day => spread(&dates, &history.dates, &history),
                Interval::Minute => spread(&times, &history.times, &history),
            })
            .collect();
        Ok(Self { interval, dates, times, columns })
    }

    /// Aligns daily series, taken as they are.
    ///
    /// # Errors
    /// As [`Panel::new`].
    pub fn of_days(series: &[Series]) -> Result<Self, PanelError> {
        Self::new(Interval::Day, series.iter().map(|s| History::of_days(s.symbol().clone(), s.bars())).collect())
    }

    /// Aligns what an import or the library gave, adjusted for those splits and dividends that fall within the bars.
    ///
    /// # Errors
    /// Bars of both lengths, an action that does not fit its symbol's bars, and as [`Panel::new`].
    pub fn of(datasets: &[Dataset], actions: &[Action]) -> Result<Self, PanelError> {
        let Some(first) = datasets.first() else { return Err(PanelError::NoSymbols) };
        let interval = first.bars.interval();
        let mut histories = Vec::with_capacity(datasets.len());
        for Dataset { symbol, bars } in datasets {
            let failed = |source| PanelError::Adjust { symbol: symbol.clone(), source };
            if bars.is_empty() {
                return Err(PanelError::NoBars { symbol: symbol.clone() });
            }
            histories.push(match (interval, bars) {
                (Interval::Day, Bars::Day(bars)) => {
                    let sound = Series::new(symbol.clone(), bars.clone());
                    let raw = sound.map_err(|source| PanelError::Faulty { symbol: symbol.clone(), source })?;
                    History::of_days(symbol.clone(), adjust::adjust(&raw, actions).map_err(failed)?.bars())
                }
                (Interval::Minute, Bars::Minute(minutes)) => {
                    let adjusted = adjust::adjust_minutes(symbol, minutes, actions).map_err(failed)?;
                    History::of_minutes(symbol.clone(), &adjusted)
                }
                _ => return Err(PanelError::Mixed { symbol: symbol.clone(), first: first.symbol.clone() }),
            });
        }
        Self::new(interval, histories)
    }

    /// Bars of the built-in sample, adjusted for splits and dividends.
    ///
    /// # Errors
    /// A symbol that the sample does not hold, and as [`Panel::new`].
    pub fn sample(symbols: &[Symbol]) -> Result<Self, PanelError> {
        let (raw, actions) = (sample::raw()?, sample::actions()?);
        let mut series = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            let Some(found) = raw.iter().find(|s| s.symbol() == symbol) else {
                let known = raw.iter().map(|s| s.symbol().to_string()).collect();
                return Err(PanelError::NotInSample { symbol: symbol.clone(), known });
            };
            let failed = |source| PanelError::Adjust { symbol: symbol.clone(), source };
            series.push(adjust::adjust(found, &actions).map_err(failed)?);
        }
        Self::of_days(&series)
    }
}

impl History {
    /// Daily bars as numbers: the doubles nearest to the decimals.
    #[must_use]
    pub fn of_days(symbol: Symbol, bars: &[Bar]) -> Self {
        let prices = |of: fn(&Bar) -> Decimal| bars.iter().map(|b| nearest(of(b))).collect();
        Self {
            symbol,
            dates: bars.iter().map(|b| b.date).collect(),
            times: Vec::new(),
            open: prices(|b| b.open),
            high: prices(|b| b.high),
            low: prices(|b| b.low),
            close: prices(|b| b.close),
            volume: bars.iter().map(|b| shares(b.volume)).collect(),
        }
    }

    /// Minutes as numbers: the doubles nearest to the decimals. Their days are New York's.
    #[must_use]
    pub fn of_minutes(symbol: Symbol, minutes: &[Minute]) -> Self {
        let prices = |of: fn(&Minute) -> Decimal| minutes.iter().map(|m| nearest(of(m))).collect();
        Self {
            symbol,
            dates: minutes.iter().map(|m| new_york::date(m.at)).collect(),
            times: minutes.iter().map(|m| m.at).collect(),
            open: prices(|m| m.open),
            high: prices(|m| m.high),
            low: prices(|m| m.low),
            close: prices(|m| m.close),
            volume: minutes.iter().map(|m| shares(m.volume)).collect(),
        }
    }

    fn label(&self, row: usize) -> String {
        self.times.get(row).map_or_else(|| self.dates[row].to_string(), ToString::to_string)
    }
}

fn shares(volume: u64) -> f64 {
    volume.to_f64().expect("every u64 has a double near it")
}

fn check(interval: Interval, history: &History) -> Result<(), PanelError> {
    let symbol = || history.symbol.clone();
    let rows = history.dates.len();
    if rows == 0 {
        return Err(PanelError::NoBars { symbol: symbol() });
    }
    let times = if interval == Interval::Day { 0 } else { rows };
    let columns = [
        ("times", history.times.len(), times),
        ("open", history.open.len(), rows),
        ("high", history.high.len(), rows),
        ("low", history.low.len(), rows),
        ("close", history.close.len(), rows),
        ("volume", history.volume.len(), rows),
    ];
    if let Some((column, found, rows)) = columns.into_iter().find(|(_, found, wanted)| found != wanted) {
        return Err(PanelError::Length { symbol: symbol(), column: column.to_owned(), found, rows });
    }
    let disordered = match interval {
        Interval::Day => history.dates.windows(2).position(|w| w[0] >= w[1]),
        Interval::Minute => history.times.windows(2).position(|w| w[0] >= w[1]),
    };
    if let Some(before) = disordered {
        let row = before + 1;
        return Err(PanelError::Order { symbol: symbol(), row, at: history.label(row) });
    }
    for row in 0..rows {
        check_row(history, row)?;
    }
    Ok(())
}

fn check_row(history: &History, row: usize) -> Result<(), PanelError> {
    let (symbol, at) = (|| history.symbol.clone(), || history.label(row));
    let (open, high) = (history.open[row], history.high[row]);
    let (low, close) = (history.low[row], history.close[row]);
    for (field, value) in [(Field::Open, open), (Field::High, high), (Field::Low, low), (Field::Close, close)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(PanelError::Price { symbol: symbol(), row, at: at(), field, value });
        }
        if value < low || value > high {
            return Err(PanelError::Outside { symbol: symbol(), row, at: at(), field, value, low, high });
        }
    }
    let value = history.volume[row];
    if !(value.is_finite() && value >= 0.0) {
        return Err(PanelError::Volume { symbol: symbol(), row, at: at(), value });
    }
    Ok(())
}

/// Every instant that one of the lines has, ascending.
fn line<'a, T: Copy + Ord + 'a>(lines: impl Iterator<Item = &'a [T]>) -> Vec<T> {
    let mut all: Vec<T> = lines.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A symbol's bars in the rows of the common line; NaN elsewhere.
fn spread<T: Ord>(line: &[T], own: &[T], history: &History) -> Columns {
    let mut next = 0;
    let source: Vec<Option<usize>> = line
        .iter()
        .map(|at| {
            let here = own.get(next).is_some_and(|own| own == at);
            next += usize::from(here);
            here.then(|| next - 1)
        })
        .collect();
    let column = |values: &[f64]| source.iter().map(|row| row.map_or(f64::NAN, |row| values[row])).collect();
    Columns {
        symbol: history.symbol.clone(),
        open: column(&history.open),
        high: column(&history.high),
        low: column(&history.low),
        close: column(&history.close),
        volume: column(&history.volume),
    }
}

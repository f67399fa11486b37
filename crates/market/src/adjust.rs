//! Adjusting a series for splits and dividends, backwards from its last day.
//!
//! Each action multiplies every price *before* its ex-date:
//!
//! - a split of one share into `s`: by `1 / s` (and every volume before it by `s`);
//! - a dividend `d`: by `c / (c + d)`, where `c` is the raw close of the ex-date.
//!
//! With that factor the return from one adjusted close to the next is `(c + d) / c_before - 1`, the holding period return
//! of CRSP (*Data Descriptions Guide*, "Returns": dividends reinvested at the close of the ex-date), and it is what the
//! source of the sample did: a test finds its adjusted closes again. Yahoo's factor, `1 - d / c_before`, differs from it
//! in the second order of `d / c`.
//!
//! The last day's prices are the raw ones. Every earlier level therefore holds knowledge of later actions: returns may be
//! used at any point in time, levels (a price above 100, a number of shares) must come from the raw series.

use jiff::civil::Date;
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

use crate::{
    action::{Action, Kind},
    bar::{Bar, Faulty, Series, Symbol},
    minute::Minute,
    new_york,
};

/// Decimal places of adjusted prices.
pub const PLACES: u32 = 6;

/// Why a series cannot be adjusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum AdjustError {
    #[error("{symbol} was not traded on {ex_date}, the ex-date of an action")]
    NoBar { symbol: String, ex_date: Date },
    #[error("{symbol} has two actions on {ex_date}; their order is not defined")]
    TwoActions { symbol: String, ex_date: Date },
    #[error("{symbol} {date}: the adjusted value is too large")]
    TooLarge { symbol: String, date: Date },
    #[error("adjusting broke the bars")]
    Broken(#[source] Faulty),
}

/// The series with prices adjusted to its last day and rounded to [`PLACES`] (half to even), volumes to whole shares.
/// Actions of other symbols, and those outside the days of the series, are left aside.
///
/// # Errors
/// An action that does not fit the bars.
pub fn adjust(raw: &Series, actions: &[Action]) -> Result<Series, AdjustError> {
    let mut own = within(raw.symbol(), raw.first(), raw.last(), actions)?;
    let mut factors = Factors::default();
    let mut bars = Vec::with_capacity(raw.bars().len());
    for bar in raw.bars().iter().rev() {
        bars.push(scaled(bar, &factors).ok_or_else(|| too_large(raw.symbol(), bar.date))?);
        factors.pass(raw.symbol(), &mut own, bar.date, bar.close)?;
    }
    bars.reverse();
    Series::new(raw.symbol().clone(), bars).map_err(AdjustError::Broken)
}

/// Minutes, ascending, with prices adjusted to their last day in the same way; the raw close of an ex-date is that of its last minute.
///
/// # Errors
/// An action that does not fit the minutes.
pub fn adjust_minutes(symbol: &Symbol, raw: &[Minute], actions: &[Action]) -> Result<Vec<Minute>, AdjustError> {
    let (Some(first), Some(last)) = (raw.first(), raw.last()) else { return Ok(Vec::new()) };
    let mut own = within(symbol, new_york::date(first.at), new_york::date(last.at), actions)?;
    let mut factors = Factors::default();
    let mut minutes = Vec::with_capacity(raw.len());
    for day in raw.chunk_by(|a, b| new_york::date(a.at) == new_york::date(b.at)).rev() {
        let date = new_york::date(day[0].at);
        for minute in day.iter().rev() {
            minutes.push(scaled_minute(minute, &factors).ok_or_else(|| too_large(symbol, date))?);
        }
        factors.pass(symbol, &mut own, date, day[day.len() - 1].close)?;
    }
    minutes.reverse();
    Ok(minutes)
}

/// The actions of a symbol within its days, ascending.
fn within<'a>(symbol: &Symbol, first: Date, last: Date, actions: &'a [Action]) -> Result<Vec<&'a Action>, AdjustError> {
    let fits = |a: &&Action| a.symbol == *symbol && (first..=last).contains(&a.ex_date);
    let mut own: Vec<&Action> = actions.iter().filter(fits).collect();
    own.sort_by_key(|a| a.ex_date);
    match own.windows(2).find(|pair| pair[0].ex_date == pair[1].ex_date) {
        Some(pair) => Err(AdjustError::TwoActions { symbol: symbol.to_string(), ex_date: pair[0].ex_date }),
        None => Ok(own),
    }
}

fn too_large(symbol: &Symbol, date: Date) -> AdjustError {
    AdjustError::TooLarge { symbol: symbol.to_string(), date }
}

/// What a day's prices and volumes are multiplied by.
struct Factors {
    price: Decimal,
    shares: Decimal,
}

impl Default for Factors {
    fn default() -> Self {
        Self { price: Decimal::ONE, shares: Decimal::ONE }
    }
}

impl Factors {
    /// Goes back over a day with that raw close: from here on the factors are those of the days before.
    fn pass(&mut self, symbol: &Symbol, own: &mut Vec<&Action>, date: Date, close: Decimal) -> Result<(), AdjustError> {
        let too_large = || too_large(symbol, date);
        if let Some(action) = own.pop_if(|a| a.ex_date == date) {
            let change = factor(action.kind, close).ok_or_else(too_large)?;
            self.price = self.price.checked_mul(change).ok_or_else(too_large)?;
            if let Kind::Split(into) = action.kind {
                self.shares = self.shares.checked_mul(into).ok_or_else(too_large)?;
            }
        }
        match own.last().filter(|a| a.ex_date >= date) {
            Some(missed) => Err(AdjustError::NoBar { symbol: symbol.to_string(), ex_date: missed.ex_date }),
            None => Ok(()),
        }
    }

    fn price(&self, price: Decimal) -> Option<Decimal> {
        Some(round(price.checked_mul(self.price)?, PLACES).normalize())
    }

    fn volume(&self, volume: u64) -> Option<u64> {
        round(Decimal::from(volume).checked_mul(self.shares)?, 0).to_u64()
    }
}

fn round(value: Decimal, places: u32) -> Decimal {
    value.round_dp_with_strategy(places, RoundingStrategy::MidpointNearestEven)
}

/// What every price before the action is multiplied by. `None` on overflow.
fn factor(kind: Kind, close: Decimal) -> Option<Decimal> {
    match kind {
        Kind::Split(into) => Decimal::ONE.checked_div(into),
        Kind::Dividend(cash) => close.checked_div(close.checked_add(cash)?),
    }
}

fn scaled(bar: &Bar, factors: &Factors) -> Option<Bar> {
    Some(Bar {
        date: bar.date,
        open: factors.price(bar.open)?,
        high: factors.price(bar.high)?,
        low: factors.price(bar.low)?,
        close: factors.price(bar.close)?,
        volume: factors.volume(bar.volume)?,
    })
}

fn scaled_minute(minute: &Minute, factors: &Factors) -> Option<Minute> {
    Some(Minute {
        at: minute.at,
        open: factors.price(minute.open)?,
        high: factors.price(minute.high)?,
        low: factors.price(minute.low)?,
        close: factors.price(minute.close)?,
        volume: factors.volume(minute.volume)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Symbol, action::actions, read};

    const BARS: &str = "date,open,high,low,close,volume\n\
        2020-01-02,100,104,98,102,1000\n2020-01-03,50,52,49,51,2100\n2020-01-06,50,50,47,48,2200\n";

    fn adjusted(rows: &str) -> Result<Series, AdjustError> {
        let raw = read::bars("x.csv", Symbol::parse("X").expect("a symbol"), BARS).expect("good bars");
        let rows = actions("a.csv", &format!("symbol,ex_date,kind,value,source\n{rows}")).expect("good actions");
        adjust(&raw, &rows)
    }

    #[track_caller]
    fn closes(rows: &str, expected: [&str; 3]) {
        let found = adjusted(rows).expect("it can be adjusted");
        assert_eq!(found.bars().iter().map(|b| b.close.to_string()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_earlier_prices_change() {
        closes("", ["102", "51", "48"]);
        closes("X,2020-01-03,split,2,\n", ["51", "51", "48"]);
        closes("X,2020-01-06,dividend,2,\n", ["97.92", "48.96", "48"]);
        closes("X,2020-01-06,dividend,2,\nX,2020-01-03,split,2,\n", ["48.96", "48.96", "48"]);
    }

    #[test]
    fn actions_of_others_and_of_other_times_change_nothing() {
        closes("Y,2020-01-03,split,2,\nX,2021-01-04,split,2,\nX,1999-01-04,dividend,1,\n", ["102", "51", "48"]);
        closes("X,2020-01-02,split,2,\n", ["102", "51", "48"]);
    }

    #[test]
    fn minutes_are_adjusted_as_days_are_by_the_last_close_of_the_ex_date() {
        let minute = |at: &str, close: u32| {
            let price = Decimal::from(close);
            let at = at.parse().expect("an instant");
            Minute { at, open: price, high: price, low: price, close: price, volume: 10 }
        };
        let raw = [
            minute("2020-01-02T14:30:00Z", 102),
            // 19:30 in New York: the day before in UTC's calendar is the same day there.
            minute("2020-01-03T00:30:00Z", 104),
            minute("2020-01-03T14:30:00Z", 60),
            minute("2020-01-03T20:59:00Z", 48),
        ];
        let symbol = Symbol::parse("X").expect("a symbol");
        let adjusted = |rows: &str| {
            let rows = actions("a.csv", &format!("symbol,ex_date,kind,value,source\n{rows}")).expect("good actions");
            adjust_minutes(&symbol, &raw, &rows).expect("it can be adjusted")
        };
        let closes = |rows: &str| adjusted(rows).iter().map(|m| m.close.to_string()).collect::<Vec<_>>();
        assert_eq!(closes("X,2020-01-03,split,2,\n"), ["51", "52", "60", "48"]);
        assert_eq!(closes("X,2020-01-03,dividend,2,\n"), ["97.92", "99.84", "60", "48"]);
        assert_eq!(adjusted("X,2020-01-03,split,2,\n").iter().map(|m| m.volume).collect::<Vec<_>>(), [20, 20, 10, 10]);
    }

    #[test]
    fn a_split_multiplies_earlier_volumes_and_a_dividend_does_not() {
        let found = adjusted("X,2020-01-03,split,2,\nX,2020-01-06,dividend,2,\n").expect("it can be adjusted");
        assert_eq!(found.bars().iter().map(|b| b.volume).collect::<Vec<_>>(), [2000, 2100, 2200]);
    }

    #[test]
    fn actions_that_do_not_fit_are_refused() {
        let date = |t: &str| t.parse().expect("a date");
        assert_eq!(
            adjusted("X,2020-01-05,split,2,\n"),
            Err(AdjustError::NoBar { symbol: "X".into(), ex_date: date("2020-01-05") })
        );
        assert_eq!(
            adjusted("X,2020-01-03,split,2,\nX,2020-01-03,dividend,1,\n"),
            Err(AdjustError::TwoActions { symbol: "X".into(), ex_date: date("2020-01-03") })
        );
        assert_eq!(
            adjusted("X,2020-01-06,split,79228162514264337593543950335,\n").map(drop),
            Err(AdjustError::TooLarge { symbol: "X".into(), date: date("2020-01-03") })
        );
    }
}

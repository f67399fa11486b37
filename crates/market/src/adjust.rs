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
    bar::{Bar, Faulty, Series},
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
    let symbol = || raw.symbol().to_string();
    let mut own: Vec<&Action> = actions
        .iter()
        .filter(|a| a.symbol == *raw.symbol() && (raw.first()..=raw.last()).contains(&a.ex_date))
        .collect();
    own.sort_by_key(|a| a.ex_date);
    if let Some(pair) = own.windows(2).find(|pair| pair[0].ex_date == pair[1].ex_date) {
        return Err(AdjustError::TwoActions { symbol: symbol(), ex_date: pair[0].ex_date });
    }

    let mut price = Decimal::ONE;
    let mut shares = Decimal::ONE;
    let mut bars = Vec::with_capacity(raw.bars().len());
    for bar in raw.bars().iter().rev() {
        let too_large = || AdjustError::TooLarge { symbol: symbol(), date: bar.date };
        bars.push(scaled(bar, price, shares).ok_or_else(too_large)?);
        if let Some(action) = own.pop_if(|a| a.ex_date == bar.date) {
            let change = factor(action.kind, bar.close).ok_or_else(too_large)?;
            price = price.checked_mul(change).ok_or_else(too_large)?;
            if let Kind::Split(into) = action.kind {
                shares = shares.checked_mul(into).ok_or_else(too_large)?;
            }
        }
        if let Some(missed) = own.last().filter(|a| a.ex_date >= bar.date) {
            return Err(AdjustError::NoBar { symbol: symbol(), ex_date: missed.ex_date });
        }
    }
    bars.reverse();
    Series::new(raw.symbol().clone(), bars).map_err(AdjustError::Broken)
}

/// What every price before the action is multiplied by. `None` on overflow.
fn factor(kind: Kind, close: Decimal) -> Option<Decimal> {
    match kind {
        Kind::Split(into) => Decimal::ONE.checked_div(into),
        Kind::Dividend(cash) => close.checked_div(close.checked_add(cash)?),
    }
}

fn scaled(bar: &Bar, price: Decimal, shares: Decimal) -> Option<Bar> {
    let round = |value: Decimal, places| value.round_dp_with_strategy(places, RoundingStrategy::MidpointNearestEven);
    let scale = |value: Decimal| Some(round(value.checked_mul(price)?, PLACES).normalize());
    Some(Bar {
        date: bar.date,
        open: scale(bar.open)?,
        high: scale(bar.high)?,
        low: scale(bar.low)?,
        close: scale(bar.close)?,
        volume: round(Decimal::from(bar.volume).checked_mul(shares)?, 0).to_u64()?,
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

//! Bars, trades and quotes in the wire's words.

use ringfence_market::{Quote, Trade, calendar::Phase, tape::Aggregate};

use super::{DERIVED, EXCHANGE, TAPE, value::Value};

/// A bar. Its mean price is its close when no share was traded.
pub(super) fn bar(bar: &Aggregate) -> Vec<(&'static str, Value)> {
    vec![
        ("t", Value::Time(bar.at)),
        ("o", Value::Number(bar.open)),
        ("h", Value::Number(bar.high)),
        ("l", Value::Number(bar.low)),
        ("c", Value::Number(bar.close)),
        ("v", Value::Whole(bar.volume)),
        ("n", Value::Whole(bar.trades)),
        ("vw", Value::Number(bar.vwap.unwrap_or(bar.close))),
    ]
}

/// A trade.
pub(super) fn trade(trade: &Trade) -> Vec<(&'static str, Value)> {
    vec![
        ("t", Value::Time(trade.at)),
        ("x", Value::text(EXCHANGE)),
        ("p", Value::Number(trade.price)),
        ("s", Value::Whole(trade.size)),
        ("c", Value::list_of(&["@", DERIVED])),
        ("i", Value::Whole(trade.id)),
        ("z", Value::text(TAPE)),
    ]
}

/// A quote, as it is in the given part of the day: outside of the session it is marked as closing (`C`), else as regular
/// (`R`).
pub(super) fn quote(quote: &Quote, phase: Phase) -> Vec<(&'static str, Value)> {
    let condition = if phase == Phase::Regular { "R" } else { "C" };
    vec![
        ("t", Value::Time(quote.at)),
        ("ax", Value::text(EXCHANGE)),
        ("ap", Value::Number(quote.ask)),
        ("as", Value::Whole(quote.ask_size)),
        ("bx", Value::text(EXCHANGE)),
        ("bp", Value::Number(quote.bid)),
        ("bs", Value::Whole(quote.bid_size)),
        ("c", Value::list_of(&[condition, DERIVED])),
        ("z", Value::text(TAPE)),
    ]
}

/// As a map.
pub(super) fn map(fields: Vec<(&'static str, Value)>) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

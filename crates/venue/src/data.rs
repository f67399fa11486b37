//! Alpaca's Market Data API over a tape: pure functions of a request, the account's time and the tape.
//!
//! No answer holds an instant after that time. Bars go up to the last whole minute, as Alpaca's do, which come when their
//! minute is over: the bar of a day or an hour that is under way holds what its whole minutes came to. All feeds are the
//! same data. Trades and quotes are derived from bars (`docs/concepts/replayed-market.md`): they carry exchange `R` and
//! condition `~`, and each answer the header [`LABEL`].
//!
//! Shapes are those of Alpaca's `market-data-api.json`. Errors carry `code` and `message`, because the Python client
//! reads both.

mod adjust;
mod history;
mod latest;
mod query;
mod reference;
pub mod stream;
mod value;
mod words;

use jiff::Timestamp;
use ringfence_market::{BarTape, Symbol};

use query::Query;
use value::Value;

/// The header that says where the data comes from, which clients leave aside.
pub const LABEL: (&str, &str) = ("X-Ringfence-Data", "replayed; trades and quotes are derived from bars");

/// The exchange's code of every trade and quote; Alpaca gives it to no exchange.
const EXCHANGE: &str = "R";
/// The condition of every trade and quote: derived from a bar.
const DERIVED: &str = "~";
/// The tape of every symbol. Which one it was listed on is not in the bars.
const TAPE: &str = "C";

/// An answer for the wire. Its body is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: u16,
    message: String,
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }

    fn absent(message: impl Into<String>) -> Self {
        Self { status: 404, message: message.into() }
    }

    fn answer(&self) -> Answer {
        let code = match self.status {
            400 => 40_010_000,
            405 => 40_510_000,
            _ => 40_410_000,
        };
        let body = Value::map([("code", Value::Whole(code)), ("message", Value::text(self.message.clone()))]);
        Answer { status: self.status, body: body.to_json() }
    }
}

/// Answers a request to the data host: its method, its path as sent (percent-encoded), what follows the `?`, and the
/// account's time.
#[must_use]
pub fn handle(tape: &BarTape, method: &str, path: &str, query: &str, now: Timestamp) -> Answer {
    match answer(tape, method, path, query, now) {
        Ok(value) => Answer { status: 200, body: value.to_json() },
        Err(refusal) => refusal.answer(),
    }
}

/// What is asked for of one symbol or of several.
pub(crate) enum Whose {
    One(Symbol),
    Several(Vec<Symbol>),
}

impl Whose {
    fn symbols(&self) -> &[Symbol] {
        match self {
            Self::One(symbol) => std::slice::from_ref(symbol),
            Self::Several(symbols) => symbols,
        }
    }
}

fn answer(tape: &BarTape, method: &str, path: &str, query: &str, now: Timestamp) -> Result<Value, Refusal> {
    let segments = query::segments(path).ok_or_else(|| Refusal::invalid("the path is not well formed"))?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if method != "GET" {
        return Err(Refusal { status: 405, message: format!("method not allowed: {method}") });
    }
    let query = Query::parse(query)?;
    let several = || query.symbols().map(Whose::Several);
    let one = |symbol: &str| query::symbol(symbol).map(Whose::One);
    match segments[..] {
        ["v2", "stocks", "bars"] => history::bars(tape, &several()?, &query, now),
        ["v2", "stocks", "trades"] => history::trades(tape, &several()?, &query, now),
        ["v2", "stocks", "quotes"] => history::quotes(tape, &several()?, &query, now),
        ["v2", "stocks", "auctions"] => history::auctions(tape, &several()?, &query, now),
        ["v2", "stocks", "bars", "latest"] => latest::bars(tape, &several()?, &query, now),
        ["v2", "stocks", "trades", "latest"] => latest::trades(tape, &several()?, &query, now),
        ["v2", "stocks", "quotes", "latest"] => latest::quotes(tape, &several()?, &query, now),
        ["v2", "stocks", "snapshots"] => latest::snapshots(tape, &several()?, &query, now),
        ["v2", "stocks", "meta", "exchanges"] => Ok(reference::exchanges()),
        ["v2", "stocks", "meta", "conditions", kind] => reference::conditions(kind),
        ["v2", "stocks", symbol, "bars"] => history::bars(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "trades"] => history::trades(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "quotes"] => history::quotes(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "auctions"] => history::auctions(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "bars", "latest"] => latest::bars(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "trades", "latest"] => latest::trades(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "quotes", "latest"] => latest::quotes(tape, &one(symbol)?, &query, now),
        ["v2", "stocks", symbol, "snapshot"] => latest::snapshots(tape, &one(symbol)?, &query, now),
        ["v1", "corporate-actions"] => reference::corporate_actions(tape, &query, now),
        ["v1beta1", "screener", "stocks", "most-actives"] => latest::most_actives(tape, &query, now),
        ["v1beta1", "screener", market, "movers"] => latest::movers(tape, market, &query, now),
        ["v1beta1", "news", ..] => {
            Err(Refusal::absent("there is no recorded news; the simulated exchange replays stocks alone"))
        }
        ["v1beta3", "crypto", ..] | ["v1beta1", "crypto-perps", ..] => {
            Err(Refusal::absent("crypto is not replayed; the simulated exchange replays stocks alone"))
        }
        ["v1beta1", "options", ..] => {
            Err(Refusal::absent("options are not replayed; the simulated exchange replays stocks alone"))
        }
        ["v1beta1", "forex" | "logos" | "fixed_income", ..] => {
            Err(Refusal::absent("this data is not recorded; the simulated exchange replays stocks alone"))
        }
        _ => Err(Refusal::absent("endpoint not found")),
    }
}

#[cfg(test)]
mod tests;

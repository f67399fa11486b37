//! Alpaca's Trading API, version 2: what each of its requests means for an account. Pure: one turn, one request, one answer.

use jiff::{Timestamp, civil::Date};
use ringfence_market::{Symbol, new_york};

use crate::{
    exchange::Turn,
    json::{Json, object},
    refusal::Refusal,
};

mod account;
mod activities;
mod assets;
mod history;
mod orders;
mod positions;
mod watchlists;

/// A request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path's parts, decoded; never empty ones.
    pub path: Vec<String>,
    /// Parameters, decoded; no name is there twice.
    pub query: Vec<(String, String)>,
    /// The body, if there was one.
    pub body: Option<Json>,
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body; none is none.
    pub body: Option<Json>,
}

impl Answer {
    /// 200.
    #[must_use]
    pub fn ok(body: Json) -> Self {
        Self { status: 200, body: Some(body) }
    }

    /// 204.
    #[must_use]
    pub fn nothing() -> Self {
        Self { status: 204, body: None }
    }

    /// 207: each thing has its own status.
    #[must_use]
    pub fn several(body: Vec<Json>) -> Self {
        Self { status: 207, body: Some(Json::List(body)) }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, body: Some(refusal.json()) }
    }
}

/// What a request for something is answered with that no simulation of stocks has.
fn not_simulated(what: &str) -> Refusal {
    Refusal::unprocessable(format!("{what} are not simulated by this venue"))
}

impl Request {
    /// A parameter that is there and not empty.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// A whole number within bounds.
    fn number(&self, name: &str, default: usize, max: usize) -> Result<usize, Refusal> {
        match self.param(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=max).contains(n))
                .ok_or_else(|| Refusal::invalid(format!("{name} must be a number from 1 to {max}"))),
        }
    }

    fn truth(&self, name: &str) -> Result<bool, Refusal> {
        match self.param(name) {
            None => Ok(false),
            // Python's clients write it with a capital.
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(Refusal::invalid(format!("{name} must be true or false"))),
        }
    }

    /// An instant: RFC 3339, or a date, whose begin in New York it is.
    fn instant(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.param(name) else { return Ok(None) };
        let bad = || Refusal::invalid(format!("{name} is neither an RFC 3339 time nor a date"));
        if let Ok(at) = text.parse() {
            return Ok(Some(at));
        }
        new_york::day(text).and_then(new_york::midnight).map(Some).ok_or_else(bad)
    }

    fn date(&self, name: &str) -> Result<Option<Date>, Refusal> {
        let Some(text) = self.param(name) else { return Ok(None) };
        let day = text.get(..10).unwrap_or(text);
        day.parse().map(Some).map_err(|_| Refusal::invalid(format!("{name} is not a date")))
    }

    /// The body as the object that it must be.
    fn object(&self) -> Result<&Json, Refusal> {
        match &self.body {
            Some(body @ Json::Object(_)) => Ok(body),
            _ => Err(Refusal::malformed("request body format is invalid")),
        }
    }
}

/// Answers a request below `/v2`.
///
/// # Errors
/// A refusal, after which the account is as it was.
pub fn answer(turn: &mut Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["account"]) => account::show(turn),
        ("GET", ["account", "configurations"]) => Ok(account::configuration(turn)),
        ("PATCH", ["account", "configurations"]) => account::configure(turn, request),
        ("GET", ["account", "portfolio", "history"]) => history::show(turn, request),
        ("GET", ["account", "activities"]) => activities::list(turn, request, None),
        ("GET", ["account", "activities", kind]) => activities::list(turn, request, Some(kind)),
        ("POST", ["orders"]) => orders::submit(turn, request),
        ("GET", ["orders"]) => orders::list(turn, request),
        ("DELETE", ["orders"]) => Ok(orders::cancel_all(turn)),
        ("GET", ["orders:by_client_order_id"]) => orders::of_client(turn, request),
        ("GET", ["orders", id]) => orders::show(turn, request, id),
        ("PATCH", ["orders", id]) => orders::replace(turn, request, id),
        ("DELETE", ["orders", id]) => orders::cancel(turn, id),
        ("GET", ["positions"]) => positions::list(turn),
        ("GET", ["positions", name]) => positions::show(turn, name),
        ("DELETE", ["positions"]) => positions::close_all(turn, request),
        ("DELETE", ["positions", name]) => positions::close(turn, request, name),
        ("POST", ["positions", _, "exercise" | "do-not-exercise"]) | (_, ["options", ..]) => {
            Err(not_simulated("options"))
        }
        ("GET", ["assets", "fixed_income", ..]) => Err(not_simulated("bonds")),
        ("GET", ["assets"]) => assets::list(turn, request),
        ("GET", ["assets", name]) => assets::show(turn, name),
        ("GET", ["clock"]) => Ok(assets::clock(turn)),
        ("GET", ["calendar"]) => assets::calendar(request),
        ("GET", ["corporate_actions", "announcements"]) => assets::announcements(turn, request),
        ("GET", ["corporate_actions", "announcements", id]) => assets::announcement(turn, id),
        ("GET" | "POST", ["watchlists"])
        | ("GET" | "PUT" | "POST" | "DELETE", ["watchlists", _] | ["watchlists:by_name"])
        | ("DELETE", ["watchlists", _, _]) => watchlists::answer(turn, request, &path),
        (_, ["crypto_funding" | "wallets" | "perpetuals" | "locate", ..]) => Err(not_simulated("transfers and loans")),
        (
            _,
            [
                "account" | "orders" | "positions" | "assets" | "clock" | "calendar" | "watchlists"
                | "corporate_actions",
                ..,
            ],
        ) => Err(Refusal::new(405, 40_510_000, "method not allowed")),
        _ => Err(Refusal::not_found("endpoint not found")),
    }
}

/// The symbol that a path names, by ticker or asset id.
fn named(turn: &Turn<'_>, text: &str) -> Result<Symbol, Refusal> {
    crate::request::symbol(text, turn.symbols())
        .map_err(|_| Refusal::not_found(format!("asset not found for {}", shown(text))))
}

/// What of a client's text an answer repeats.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// A time as New York's clocks show it, with the offset.
fn in_new_york(at: Timestamp) -> Json {
    let local = new_york::civil(at);
    let as_if_utc = local.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp().as_second());
    let offset = as_if_utc.map_or(0, |utc| utc - at.as_second()) / 3600;
    Json::Text(format!("{local}{}{:02}:00", if offset < 0 { '-' } else { '+' }, offset.abs()))
}

/// One of several outcomes.
fn part(name: &str, value: Json, status: u16, body: Json) -> Json {
    let mut of = object! { "status" => u64::from(status), "body" => body };
    if let Json::Object(fields) = &mut of {
        fields.insert(0, (name.to_owned(), value));
    }
    of
}

//! `/ringfence/v1`: what no broker has. Clocks, accounts and the market's data are set there. Alpaca's errors are used there too.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ringfence_market::{Tape, calendar, new_york};
use rust_decimal::Decimal;

use crate::{
    clock::{ClockError, Mode, Speed},
    exact,
    json::{Json, object},
    profile::Profile,
    refusal::Refusal,
    request::Fields,
    trading::{self, Answer, Request},
    venue::{Desk, Venue, Wish},
};

/// Most sessions or minutes of one step.
const BARS_MAX: u64 = 100_000;

/// Longest name of an account, in characters.
const NAME_MAX: usize = 64;

impl From<ClockError> for Refusal {
    fn from(error: ClockError) -> Self {
        Self::unprocessable(error.to_string())
    }
}

/// Answers a request below `/ringfence/v1`, for the account that its key chooses. The number is what to wait for.
///
/// # Errors
/// A refusal, after which everything is as it was.
pub fn answer(venue: &Venue, (name, desk): &(String, Arc<Desk>), request: &Request) -> Result<(Answer, u64), Refusal> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["clock"]) => {
            let number = venue.catch_up(name, desk)?;
            Ok((Answer::ok(clock(venue, desk)), number))
        }
        ("GET", ["facts"]) => facts(venue, name, desk, request),
        ("PUT", ["clock"]) => set_clock(venue, name, desk, request),
        ("POST", ["clock", "step"]) => step(venue, name, desk, request),
        ("GET", ["accounts"]) => Ok((Answer::ok(accounts(venue)), 0)),
        ("POST", ["accounts"]) => create(venue, request),
        ("GET", ["accounts", of]) => {
            let desk = venue.desk(of).ok_or_else(|| Refusal::not_found("account not found"))?;
            Ok((Answer::ok(account(venue, &desk, false)), 0))
        }
        ("POST", ["accounts", of, "reset"]) => reset(venue, of, request),
        ("DELETE", ["accounts", of]) => Ok((Answer::nothing(), venue.close(of)?)),
        ("POST", ["data", "reload"]) => {
            let (digest, changed) = venue.reload().map_err(Refusal::unprocessable)?;
            Ok((Answer::ok(object! { "digest" => digest, "changed" => changed }), 0))
        }
        ("GET", ["status"]) => Ok((Answer::ok(status(venue)), 0)),
        (_, ["clock" | "facts" | "accounts" | "data" | "status", ..]) => {
            Err(Refusal::new(405, 40_510_000, "method not allowed"))
        }
        _ => Err(Refusal::not_found("endpoint not found")),
    }
}

fn mode_json(mode: Mode) -> (Json, Json) {
    match mode {
        Mode::Running { speed } => ("replay".into(), Json::decimal(speed.get())),
        Mode::Stepped => ("stepped".into(), Json::Null),
        Mode::Real => ("real".into(), Json::Null),
    }
}

fn clock(venue: &Venue, desk: &Desk) -> Json {
    let now = venue.now(desk);
    let (mode, speed) = mode_json(desk.look(|account| account.clock.mode()));
    object! {
        "mode" => mode,
        "now" => now,
        "speed" => speed,
        "is_open" => calendar::phase(now) == calendar::Phase::Regular,
        "next_open" => calendar::next_open(now),
        "next_close" => calendar::next_close(now),
    }
}

fn account(venue: &Venue, desk: &Desk, secret: bool) -> Json {
    let clock = clock(venue, desk);
    desk.look(|account| {
        let opening = &account.opening;
        let mut shown = object! {
            "name" => opening.name.as_str(),
            "account_id" => account.id().to_string(),
            "key_id" => opening.key_id.as_str(),
            "cash" => account.cash,
            "seed" => opening.seed,
            "start" => opening.start,
            "generation" => opening.generation,
            "clock" => clock,
            "profile" => opening.profile.json(),
            "orders" => account.orders.len(),
            "open_orders" => account.index.open.len(),
            "positions" => account.positions.len(),
        };
        if let (true, Json::Object(fields)) = (secret, &mut shown) {
            fields.insert(3, ("secret_key".to_owned(), opening.secret.as_str().into()));
        }
        shown
    })
}

/// What an order is judged by, in one answer: account, clock and positions as `/v2` has them, and the latest quotes and trades of
/// `symbols` as the data host has them.
fn facts(venue: &Venue, name: &str, desk: &Desk, request: &Request) -> Result<(Answer, u64), Refusal> {
    let get = |path: &str| Request { method: "GET".into(), path: vec![path.into()], query: vec![], body: None };
    let (seen, number) = venue.act(name, desk, |turn| {
        ["account", "clock", "positions"].map(|path| trading::answer(turn, &get(path)).map(|answer| answer.body))
    })?;
    let [account, clock, positions] = seen;
    let now = venue.now(desk);
    let symbols = request.param("symbols").unwrap_or_default();
    let latest = |what: &str| {
        if symbols.is_empty() {
            return Ok(Json::Object(vec![]));
        }
        let path = format!("/v2/stocks/{what}/latest");
        let said = crate::data::handle(&venue.shelf().tape, "GET", &path, &format!("symbols={symbols}"), now);
        let Ok(Json::Object(fields)) = crate::json::parse::json(said.body.as_bytes()) else {
            return Err(Refusal::internal());
        };
        // A symbol that there is not has neither, as it has none at the data host.
        Ok(fields.into_iter().find(|(field, _)| field == what).map_or(Json::Object(vec![]), |(_, found)| found))
    };
    let facts = object! {
        "account" => account?.unwrap_or(Json::Null),
        "clock" => clock?.unwrap_or(Json::Null),
        "positions" => positions?.unwrap_or(Json::Null),
        "quotes" => latest("quotes")?,
        "trades" => latest("trades")?,
    };
    Ok((Answer::ok(facts), number))
}

fn accounts(venue: &Venue) -> Json {
    Json::List(venue.all().iter().map(|(_, desk)| account(venue, desk, false)).collect())
}

fn status(venue: &Venue) -> Json {
    let shelf = venue.shelf();
    object! {
        "version" => env!("CARGO_PKG_VERSION"),
        "accounts" => venue.all().len(),
        "symbols" => shelf.symbols.len(),
        "digest" => shelf.tape.digest(),
    }
}

fn instant(text: &str) -> Result<Timestamp, Refusal> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    new_york::day(text).and_then(new_york::midnight).ok_or_else(|| {
        Refusal::invalid("a time has its zone, as 2012-06-01T10:00:00-04:00 has, or is a date, as 2012-06-01 is")
    })
}

fn mode(fields: &Fields<'_>) -> Result<Option<Mode>, Refusal> {
    let speed = fields.decimal("speed")?.map(Speed::new).transpose()?;
    match (fields.text("mode")?, speed) {
        (None, None) => Ok(None),
        (None | Some("replay"), speed) => Ok(Some(Mode::Running { speed: speed.unwrap_or(Speed::ONE) })),
        (Some("stepped"), None) => Ok(Some(Mode::Stepped)),
        (Some("real"), None) => Ok(Some(Mode::Real)),
        (Some("stepped" | "real"), Some(_)) => Err(Refusal::invalid("speed is for mode replay")),
        _ => Err(Refusal::invalid("mode must be replay, stepped or real")),
    }
}

fn body(request: &Request) -> Result<Fields<'_>, Refusal> {
    const NOTHING: &Json = &Json::Object(Vec::new());
    Fields::of(request.body.as_ref().unwrap_or(NOTHING))
}

fn set_clock(venue: &Venue, name: &str, desk: &Desk, request: &Request) -> Result<(Answer, u64), Refusal> {
    let fields = body(request)?;
    let to = fields.text("now")?.map(instant).transpose()?;
    let mode = mode(&fields)?;
    if to.is_some() && mode == Some(Mode::Real) {
        return Err(Refusal::invalid("now is not for mode real"));
    }
    let (told, number) = venue.set_clock(name, desk, |clock, _, real| {
        if let Some(mode) = mode {
            clock.set_mode(mode, real)?;
        }
        to.map_or(Ok(()), |to| clock.step_to(to, real).map_err(Refusal::from))
    })?;
    Ok((Answer::ok(with_events(clock(venue, desk), told)), number))
}

fn with_events(mut clock: Json, told: u64) -> Json {
    if let Json::Object(fields) = &mut clock {
        fields.push(("events".to_owned(), told.into()));
    }
    clock
}

fn step(venue: &Venue, name: &str, desk: &Desk, request: &Request) -> Result<(Answer, u64), Refusal> {
    let fields = body(request)?;
    let (to, by, bars) = (fields.text("to")?, fields.any("by")?, fields.decimal("bars")?);
    if [to.is_some(), by.is_some(), bars.is_some()].into_iter().filter(|given| *given).count() != 1 {
        return Err(Refusal::invalid("a step is one of to, by and bars"));
    }
    let frame = fields.text("timeframe")?.unwrap_or("1Day");
    let (told, number) = venue.set_clock(name, desk, |clock, now, real| {
        let none = || Refusal::from(ClockError::NoSession);
        let target = match (to, by, bars) {
            (Some("next_open"), ..) => calendar::next_open(now).ok_or_else(none)?,
            (Some("next_close"), ..) => calendar::next_close(now).ok_or_else(none)?,
            (Some(text), ..) => instant(text)?,
            (_, Some(by), _) => now.checked_add(duration(by)?).map_err(|_| Refusal::from(ClockError::TooFar))?,
            (.., bars) => after_bars(now, bars.unwrap_or_default(), frame)?,
        };
        Ok(clock.step_to(target, real)?)
    })?;
    Ok((Answer::ok(with_events(clock(venue, desk), told)), number))
}

/// Seconds as a number, or a duration like `PT5M` or `2h 30m`.
fn duration(by: &Json) -> Result<SignedDuration, Refusal> {
    let bad = || Refusal::invalid("by must be a number of seconds, or a duration like PT5M");
    let by = match by {
        Json::Number(text) => {
            let seconds = exact::decimal(text).ok_or_else(bad)?;
            let nanos = seconds.checked_mul(Decimal::from(1_000_000_000)).ok_or_else(bad)?;
            SignedDuration::from_nanos(i64::try_from(nanos.trunc()).map_err(|_| bad())?)
        }
        Json::Text(text) => text.parse().map_err(|_| bad())?,
        _ => return Err(bad()),
    };
    if by.is_positive() { Ok(by) } else { Err(bad()) }
}

/// The end of the `bars`th bar from now on.
fn after_bars(now: Timestamp, bars: Decimal, frame: &str) -> Result<Timestamp, Refusal> {
    let bars = u64::try_from(bars).ok().filter(|n| Decimal::from(*n) == bars && (1..=BARS_MAX).contains(n));
    let bars = bars.ok_or_else(|| Refusal::invalid(format!("bars must be a whole number from 1 to {BARS_MAX}")))?;
    let none = || Refusal::from(ClockError::NoSession);
    let mut at = now;
    match frame {
        "1Day" | "day" => {
            for _ in 0..bars {
                at = calendar::next_close(at).ok_or_else(none)?;
            }
        }
        "1Min" | "minute" => {
            let mut left = i64::try_from(bars).unwrap_or(i64::MAX);
            while left > 0 {
                let session = calendar::onwards(new_york::date(at)).find(|session| session.close > at);
                let session = session.ok_or_else(none)?;
                let from = at.max(session.open);
                // A minute that has begun ends with its next full minute.
                let begun = from.as_second().div_euclid(60) * 60;
                let there = (session.close.as_second() - begun) / 60;
                let taken = left.min(there);
                at = Timestamp::from_second(begun + taken * 60).map_err(|_| none())?;
                left -= taken;
            }
        }
        _ => return Err(Refusal::invalid("timeframe must be 1Day or 1Min")),
    }
    Ok(at)
}

fn wish(fields: &Fields<'_>, profile: Profile) -> Result<Wish, Refusal> {
    let cash = fields.decimal("cash")?;
    if cash.is_some_and(|cash| cash < Decimal::ZERO || cash > exact::NOTIONAL_MAX || cash.normalize().scale() > 2) {
        return Err(Refusal::invalid("cash must be between 0 and 1000000000, in whole cents"));
    }
    let seed = fields.decimal("seed")?.map(|seed| {
        u64::try_from(seed)
            .ok()
            .filter(|n| Decimal::from(*n) == seed)
            .ok_or_else(|| Refusal::invalid("seed must be a whole number"))
    });
    Ok(Wish {
        cash,
        seed: seed.transpose()?,
        start: fields.text("start")?.map(instant).transpose()?,
        mode: mode(fields)?,
        profile: fields.any("profile")?.map(|changes| profile.with(changes)).transpose()?,
    })
}

fn create(venue: &Venue, request: &Request) -> Result<(Answer, u64), Refusal> {
    let fields = body(request)?;
    let name = fields.text("name")?.ok_or_else(|| Refusal::invalid("name is required"))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(allowed) || name.starts_with('.') {
        return Err(Refusal::invalid("name must be of 1 to 64 of A-Z, a-z, 0-9, -, _ and ."));
    }
    if venue.desk(name).is_some() {
        return Err(Refusal::new(409, 40_910_000, "there is an account of that name; reset it, or choose another"));
    }
    let (desk, number) = venue.create(name, &wish(&fields, Profile::default())?)?;
    Ok((Answer { status: 201, body: Some(account(venue, &desk, true)) }, number))
}

fn reset(venue: &Venue, name: &str, request: &Request) -> Result<(Answer, u64), Refusal> {
    let desk = venue.desk(name).ok_or_else(|| Refusal::not_found("account not found"))?;
    let before = desk.look(|account| account.opening.profile.clone());
    let (desk, number) = venue.create(name, &wish(&body(request)?, before)?)?;
    Ok((Answer::ok(account(venue, &desk, true)), number))
}

//! `/v2/account/portfolio/history`: what an account was worth. Days come from the marks that each close has left, finer steps
//! are computed from the account's activities and the tape.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use ringfence_market::{Symbol, calendar, new_york};
use rust_decimal::Decimal;

use super::{Answer, Request};
use crate::{
    account::ActivityKind,
    exact::{Exact, TooLarge, round},
    exchange::Turn,
    json::{Json, object},
    refusal::Refusal,
};

/// Most points of one answer.
const POINTS_MAX: usize = 5_000;

/// Steps, in minutes, by name; none is a session.
const FRAMES: [(&str, Option<i64>); 5] =
    [("1Min", Some(1)), ("5Min", Some(5)), ("15Min", Some(15)), ("1H", Some(60)), ("1D", None)];

/// What a span begins with, from its last day and a period like `3M`.
fn begin(last: Date, period: &str) -> Result<Date, Refusal> {
    let bad = || Refusal::invalid("period must be a number and D, W, M or A");
    let unit = period.chars().last().ok_or_else(bad)?;
    let count: i32 = period[..period.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    if !(1..=1000).contains(&count) {
        return Err(bad());
    }
    let span = match unit {
        'D' => (count - 1).days(),
        'W' => count.weeks(),
        'M' => count.months(),
        'A' | 'Y' => count.years(),
        _ => return Err(bad()),
    };
    let date = last.checked_sub(span).map_err(|_| bad())?;
    // A day's period is that of its session.
    let session = calendar::session(date).or_else(|| calendar::previous(date));
    Ok(if unit == 'D' { session.map_or(date, |session| session.date) } else { date })
}

pub(super) fn show(turn: &Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let today = new_york::date(turn.now());
    let end = match (request.date("date_end")?, request.date("end")?) {
        (Some(end), _) | (None, Some(end)) => end.min(today),
        (None, None) => today,
    };
    let start = match (request.date("start")?, request.param("period")) {
        (Some(_), Some(_)) if request.param("end").is_some() || request.param("date_end").is_some() => {
            return Err(Refusal::invalid("only two of start, end and period can be given"));
        }
        (Some(start), _) => start,
        (None, Some("all")) => new_york::date(turn.account().opening.start),
        (None, period) => begin(end, period.unwrap_or("1M"))?,
    };
    let days = (end - start).get_days();
    let default = match days {
        ..7 => "1Min",
        7..30 => "15Min",
        _ => "1D",
    };
    let name = request.param("timeframe").unwrap_or(default);
    let frame = FRAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let (frame, step) = frame.ok_or_else(|| Refusal::invalid("timeframe must be 1Min, 5Min, 15Min, 1H or 1D"))?;
    let whole_day = match request.param("intraday_reporting") {
        None | Some("market_hours") => request.truth("extended_hours")?,
        Some("extended_hours" | "continuous") => true,
        Some(_) => return Err(Refusal::invalid("intraday_reporting is not known")),
    };
    let opened = turn.account().opening.start;
    let points = match step {
        None => days_of(turn, start, end)?,
        Some(minutes) => minutes_of(turn, start, end, *minutes, whole_day)?,
    };
    let before = turn.account().marks.iter().rev().find(|mark| mark.date < start);
    let base = before.map_or(turn.account().opening.cash, |mark| mark.equity);
    let points: Vec<_> = points.into_iter().filter(|(at, _)| *at >= opened).collect();
    let mut lists: [Vec<Json>; 4] = Default::default();
    for (at, equity) in points {
        let gain = equity.minus(base)?;
        let share = if base.is_zero() { Decimal::ZERO } else { gain.over(base)? };
        lists[0].push(Json::from(at.as_second()));
        lists[1].push(Json::decimal(round(equity, 2)));
        lists[2].push(Json::decimal(round(gain, 2)));
        lists[3].push(Json::decimal(round(share, 9)));
    }
    let [timestamp, equity, profit_loss, profit_loss_pct] = lists.map(Json::List);
    let mut history = object! {
        "timestamp" => timestamp,
        "equity" => equity,
        "profit_loss" => profit_loss,
        "profit_loss_pct" => profit_loss_pct,
        "base_value" => Json::decimal(round(base, 2)),
        "timeframe" => *frame,
        "cashflow" => Json::Object(Vec::new()),
    };
    if let (Json::Object(fields), Some(mark)) = (&mut history, before) {
        fields.push(("base_value_asof".to_owned(), mark.date.to_string().into()));
    }
    Ok(Answer::ok(history))
}

type Point = (Timestamp, Decimal);

fn days_of(turn: &Turn<'_>, start: Date, end: Date) -> Result<Vec<Point>, Refusal> {
    let marks = turn.account().marks.iter().filter(|mark| start <= mark.date && mark.date <= end);
    let mut points: Vec<Point> = marks.map(|mark| (mark.at, mark.equity)).collect();
    // The session that is not over yet is worth what it is worth now.
    let today = new_york::date(turn.now());
    let marked = turn.account().marks.last().is_some_and(|mark| mark.date == today);
    if end == today && calendar::session(today).is_some() && !marked {
        points.push((turn.now(), turn.account().value(turn.market())?.equity));
    }
    if points.len() > POINTS_MAX {
        return Err(too_many());
    }
    Ok(points)
}

fn too_many() -> Refusal {
    Refusal::unprocessable(format!("the answer would have more than {POINTS_MAX} points; ask for longer steps"))
}

fn minutes_of(turn: &Turn<'_>, start: Date, end: Date, step: i64, whole_day: bool) -> Result<Vec<Point>, Refusal> {
    let step = SignedDuration::from_mins(step);
    let mut instants = Vec::new();
    for session in calendar::onwards(start).take_while(|session| session.date <= end) {
        let (first, last) =
            if whole_day { (session.pre_open, session.post_close) } else { (session.open, session.close) };
        let mut at = first;
        while at <= last.min(turn.now()) {
            instants.push(at);
            if instants.len() > POINTS_MAX {
                return Err(too_many());
            }
            at = at.checked_add(step).map_err(|_| too_many())?;
        }
    }
    Ok(worth(turn, &instants)?)
}

/// Equity at ascending instants, by replaying what happened.
fn worth(turn: &Turn<'_>, instants: &[Timestamp]) -> Result<Vec<Point>, TooLarge> {
    let account = turn.account();
    let mut positions: BTreeMap<&Symbol, Decimal> = BTreeMap::new();
    let mut cash = account.opening.cash;
    let mut activities = account.activities.iter().peekable();
    let mut points = Vec::with_capacity(instants.len());
    for at in instants {
        while let Some(activity) = activities.next_if(|activity| activity.at <= *at) {
            cash = cash.plus(activity.cash)?;
            if matches!(activity.kind, ActivityKind::Fill | ActivityKind::Split) {
                let qty = positions.entry(&activity.symbol).or_default();
                *qty = qty.plus(activity.qty)?;
            }
        }
        let mut equity = cash;
        for (symbol, qty) in positions.iter().filter(|(_, qty)| !qty.is_zero()) {
            let price = turn.market().tape.last_trade(symbol, *at).map_or(Decimal::ZERO, |trade| trade.price);
            equity = equity.plus(price.times(*qty)?)?;
        }
        points.push((*at, equity));
    }
    Ok(points)
}

//! Bars, trades, quotes and auctions of some time, in pages.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use ringfence_market::{
    BarTape, Symbol, Tape, Tick, calendar,
    calendar::Session,
    new_york,
    tape::{Frame, Scale, Wanted},
};

use super::{
    EXCHANGE, Refusal, Whose,
    adjust::{Adjustment, Factors},
    query::{Mark, Query, Range, Sort},
    value::Value,
    words,
};

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// Ticks that are asked of the tape at a time.
const CHUNK: usize = 4096;

/// The latest instant that is in a bar: the end of the last whole minute.
pub(super) fn whole_minutes(now: Timestamp) -> Timestamp {
    let into = now.as_second().rem_euclid(60);
    Timestamp::from_second(now.as_second() - into).and_then(|m| m.checked_sub(NANOSECOND)).unwrap_or(Timestamp::MIN)
}

pub(super) fn bars(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    let text = query.get("timeframe").ok_or_else(|| Refusal::invalid("timeframe is required"))?;
    let frame = Frame::parse(text).ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        Refusal::invalid(format!(
            "invalid timeframe: {text} (1Min to 59Min, 1Hour to 23Hour, 1Day, 1Week, 1, 2, 3, 4, 6 or 12Month)"
        ))
    })?;
    let adjustment = Adjustment::of(query)?;
    let known = whole_minutes(now);
    pages("bars", whose, &query.range(now)?, |symbol, from, until, most, sort| {
        let factors = Factors::new(tape, symbol, adjustment, now);
        let descending = sort == Sort::Descending;
        let wanted = Wanted { frame, from, until, now: known, most, descending };
        let bars = tape.bars(symbol, &wanted, |day| factors.of(day));
        bars.iter().map(|bar| (bar.at, words::map(words::bar(bar)))).collect()
    })
}

pub(super) fn trades(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    ticks(tape, "trades", whose, &query.range(now)?, |tick| match tick {
        Tick::Trade(trade) => Some((trade.at, words::map(words::trade(trade)))),
        Tick::Quote(_) => None,
    })
}

pub(super) fn quotes(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    ticks(tape, "quotes", whose, &query.range(now)?, |tick| match tick {
        Tick::Quote(quote) => Some((quote.at, words::map(words::quote(quote, calendar::phase(quote.at))))),
        Tick::Trade(_) => None,
    })
}

/// The first and the last trade of each session, once its session has begun or is over.
pub(super) fn auctions(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    let range = query.range(now)?;
    pages("auctions", whose, &range, |symbol, from, until, most, sort| {
        // A day's auctions count as of its open, which is less than a day after the midnight that its bar begins with.
        let wanted = Wanted {
            frame: Frame::Day,
            from: from.checked_sub(SignedDuration::from_hours(24)).unwrap_or(from),
            until,
            now,
            most: most.saturating_add(2),
            descending: sort == Sort::Descending,
        };
        let bars = tape.bars(symbol, &wanted, |_| Scale::NONE);
        let sessions = bars.iter().filter_map(|bar| calendar::session(new_york::date(bar.at)));
        let inside = sessions.filter(|s| from <= s.open && s.open <= until);
        inside.filter_map(|s| Some((s.open, auction(tape, symbol, &s, now)?))).take(most).collect()
    })
}

/// Both auctions of a session.
fn auction(tape: &BarTape, symbol: &Symbol, session: &Session, now: Timestamp) -> Option<Value> {
    let before = session.open.checked_sub(NANOSECOND).ok()?;
    let first = tape.ticks(symbol, before, session.close.min(now), 8).into_iter().find_map(|tick| match tick {
        Tick::Trade(trade) => Some(trade),
        Tick::Quote(_) => None,
    })?;
    let said = |trade: &ringfence_market::Trade, condition: &'static str| {
        Value::map([
            ("t", Value::Time(trade.at)),
            ("x", Value::text(EXCHANGE)),
            ("p", Value::Number(trade.price)),
            ("s", Value::Whole(trade.size)),
            ("c", Value::text(condition)),
        ])
    };
    let close =
        if session.close <= now { tape.last_trade(symbol, session.close.checked_sub(NANOSECOND).ok()?) } else { None };
    Some(Value::map([
        ("d", Value::text(session.date.to_string())),
        ("o", Value::List(vec![said(&first, "Q")])),
        ("c", Value::List(close.iter().map(|trade| said(trade, "M")).collect())),
    ]))
}

fn ticks(
    tape: &BarTape,
    name: &'static str,
    whose: &Whose,
    range: &Range,
    take: impl Fn(&Tick) -> Option<(Timestamp, Value)>,
) -> Result<Value, Refusal> {
    pages(name, whose, range, |symbol, from, until, most, sort| {
        let mut found = Vec::new();
        let Ok(before) = from.checked_sub(NANOSECOND) else { return found };
        if sort == Sort::Ascending {
            let mut after = before;
            loop {
                let more = tape.ticks(symbol, after, until, CHUNK);
                found.extend(more.iter().filter_map(&take).take(most - found.len()));
                match more.last() {
                    Some(last) if more.len() == CHUNK && found.len() < most => after = last.at(),
                    _ => return found,
                }
            }
        }
        // Backwards a day at a time, from the last one that has anything.
        let Some((first, last)) = tape.span(symbol) else { return found };
        let first = first.max(new_york::date(from));
        let mut day = last.min(new_york::date(until));
        while day >= first && found.len() < most {
            let Ok(yesterday) = day.yesterday() else { break };
            if let (Some(begins), Some(ends)) =
                (new_york::midnight(day), day.tomorrow().ok().and_then(new_york::midnight))
            {
                let begins = begins.checked_sub(NANOSECOND).unwrap_or(begins).max(before);
                let ends = ends.checked_sub(NANOSECOND).unwrap_or(ends).min(until);
                let of_day = tape.ticks(symbol, begins, ends, usize::MAX);
                found.extend(of_day.iter().rev().filter_map(&take).take(most - found.len()));
            }
            day = yesterday;
        }
        found
    })
}

/// Symbol after symbol, each in order of time, until the page is full. `fetch` is given a symbol, the earliest and the latest
/// instant, how many at most, and the order.
fn pages(
    name: &'static str,
    whose: &Whose,
    range: &Range,
    fetch: impl Fn(&Symbol, Timestamp, Timestamp, usize, Sort) -> Vec<(Timestamp, Value)>,
) -> Result<Value, Refusal> {
    let mut found: Vec<(&Symbol, Vec<Value>)> = Vec::new();
    let mut left = range.limit;
    let mut last: Option<Mark> = None;
    let mut more = false;
    for symbol in whose.symbols() {
        let (mut from, mut until) = (range.start, range.end);
        if let Some(mark) = &range.after {
            if *symbol < mark.symbol {
                continue;
            }
            if *symbol == mark.symbol {
                match range.sort {
                    Sort::Ascending => from = from.max(mark.at.checked_add(NANOSECOND).unwrap_or(Timestamp::MAX)),
                    Sort::Descending => until = until.min(mark.at.checked_sub(NANOSECOND).unwrap_or(Timestamp::MIN)),
                }
            }
        }
        if from > until {
            continue;
        }
        // One more than fits says whether there is another page.
        let mut items = fetch(symbol, from, until, left + 1, range.sort);
        more = items.len() > left;
        items.truncate(left);
        left -= items.len();
        if let Some((at, _)) = items.last() {
            last = Some(Mark { symbol: symbol.clone(), at: *at });
            found.push((symbol, items.into_iter().map(|(_, value)| value).collect()));
        }
        if more {
            break;
        }
    }
    let token = last.filter(|_| more).map_or(Value::Null, |mark| Value::text(mark.token()));
    let next = (Cow::Borrowed("next_page_token"), token);
    Ok(match whose {
        Whose::One(symbol) => {
            let items = found.pop().map(|(_, items)| items).unwrap_or_default();
            Value::Map(vec![
                (Cow::Borrowed(name), Value::List(items)),
                (Cow::Borrowed("symbol"), Value::text(symbol.to_string())),
                next,
            ])
        }
        Whose::Several(_) => {
            let items = found.into_iter().map(|(s, items)| (s.to_string().into(), Value::List(items))).collect();
            Value::Map(vec![(Cow::Borrowed(name), Value::Map(items)), next])
        }
    })
}

//! The newest of everything: latest bars, trades and quotes, snapshots, and the screener.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use ringfence_market::{
    BarTape, Symbol, Tape, calendar,
    tape::{Aggregate, Frame, Scale, Wanted},
};
use rust_decimal::Decimal;

use super::{Refusal, Whose, history::whole_minutes, query::Query, value::Value, words};

/// The most symbols that the screener names.
const TOP_MAX: usize = 100;

pub(super) fn bars(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    each("bar", "bars", whose, query, |symbol| minute(tape, symbol, now).map(|bar| words::map(words::bar(&bar))))
}

pub(super) fn trades(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    each("trade", "trades", whose, query, |symbol| trade(tape, symbol, now))
}

pub(super) fn quotes(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    each("quote", "quotes", whose, query, |symbol| quote(tape, symbol, now))
}

fn trade(tape: &BarTape, symbol: &Symbol, now: Timestamp) -> Option<Value> {
    tape.last_trade(symbol, now).map(|trade| words::map(words::trade(&trade)))
}

fn quote(tape: &BarTape, symbol: &Symbol, now: Timestamp) -> Option<Value> {
    tape.quote(symbol, now).map(|quote| words::map(words::quote(&quote, calendar::phase(now))))
}

/// The last minute that is over and had a trade.
fn minute(tape: &BarTape, symbol: &Symbol, now: Timestamp) -> Option<Aggregate> {
    newest(tape, symbol, Frame::Minutes(1), now, 1).pop()
}

/// The newest bars, newest first.
fn newest(tape: &BarTape, symbol: &Symbol, frame: Frame, now: Timestamp, most: usize) -> Vec<Aggregate> {
    let known = whole_minutes(now);
    let wanted = Wanted { frame, from: Timestamp::MIN, until: known, now: known, most, descending: true };
    tape.bars(symbol, &wanted, |_| Scale::NONE)
}

fn each(
    one: &'static str,
    several: &'static str,
    whose: &Whose,
    query: &Query,
    of: impl Fn(&Symbol) -> Option<Value>,
) -> Result<Value, Refusal> {
    query.check_source()?;
    match whose {
        Whose::One(symbol) => {
            let found = of(symbol).ok_or_else(|| Refusal::absent(format!("no {one} found for {symbol}")))?;
            Ok(Value::map([("symbol", Value::text(symbol.to_string())), (one, found)]))
        }
        Whose::Several(symbols) => {
            let found = symbols.iter().filter_map(|s| Some((s.to_string().into(), of(s)?))).collect();
            Ok(Value::map([(several, Value::Map(found))]))
        }
    }
}

/// Latest trade and quote, last whole minute, the day so far and the day before. Of several symbols the answer is the
/// bare map.
pub(super) fn snapshots(tape: &BarTape, whose: &Whose, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    query.check_source()?;
    let of = |symbol: &Symbol| -> Option<Vec<(Cow<'static, str>, Value)>> {
        let days = newest(tape, symbol, Frame::Day, now, 2);
        let bar = |bar: Option<&Aggregate>| bar.map_or(Value::Null, |bar| words::map(words::bar(bar)));
        Some(vec![
            ("latestTrade".into(), trade(tape, symbol, now)?),
            ("latestQuote".into(), quote(tape, symbol, now)?),
            ("minuteBar".into(), bar(minute(tape, symbol, now).as_ref())),
            ("dailyBar".into(), bar(days.first())),
            ("prevDailyBar".into(), bar(days.get(1))),
        ])
    };
    match whose {
        Whose::One(symbol) => {
            let mut found = of(symbol).ok_or_else(|| Refusal::absent(format!("no snapshot found for {symbol}")))?;
            found.insert(0, ("symbol".into(), Value::text(symbol.to_string())));
            Ok(Value::Map(found))
        }
        Whose::Several(symbols) => {
            let found = symbols.iter().filter_map(|s| Some((s.to_string().into(), Value::Map(of(s)?)))).collect();
            Ok(Value::Map(found))
        }
    }
}

fn top(query: &Query, otherwise: usize) -> Result<usize, Refusal> {
    let Some(text) = query.get("top") else { return Ok(otherwise) };
    let top = text.parse().ok().filter(|top| (1..=TOP_MAX).contains(top));
    top.ok_or_else(|| Refusal::invalid(format!("invalid top (1 to {TOP_MAX})")))
}

/// The symbols most traded in the newest session of each that is not older than that of another.
pub(super) fn most_actives(tape: &BarTape, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    let top = top(query, 10)?;
    let key: fn(&Aggregate) -> u64 = match query.get("by") {
        None | Some("volume") => |bar| bar.volume,
        Some("trades") => |bar| bar.trades,
        Some(_) => return Err(Refusal::invalid("invalid by (volume or trades)")),
    };
    let mut days = current(tape, now);
    days.sort_by_key(|(_, bar, _)| std::cmp::Reverse(key(bar)));
    let one = |(symbol, bar, _): &(Symbol, Aggregate, Option<Decimal>)| {
        Value::map([
            ("symbol", Value::text(symbol.to_string())),
            ("volume", Value::Whole(bar.volume)),
            ("trade_count", Value::Whole(bar.trades)),
        ])
    };
    Ok(Value::map([
        ("most_actives", Value::List(days.iter().take(top).map(one).collect())),
        ("last_updated", Value::Time(now)),
    ]))
}

/// The symbols whose price changed most since the close before.
pub(super) fn movers(tape: &BarTape, market: &str, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    if market != "stocks" {
        return Err(Refusal::absent("only stocks are replayed"));
    }
    let top = top(query, 10)?;
    let mut moved: Vec<(Symbol, Decimal, Decimal, Decimal)> = current(tape, now)
        .into_iter()
        .filter_map(|(symbol, bar, before)| {
            let before = before?;
            let change = bar.close.checked_sub(before)?;
            let percent = change.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(before)?.round_dp(2);
            Some((symbol, bar.close, change, percent))
        })
        .collect();
    moved.sort_by_key(|(_, _, _, percent)| std::cmp::Reverse(*percent));
    let one = |(symbol, price, change, percent): &(Symbol, Decimal, Decimal, Decimal)| {
        Value::map([
            ("symbol", Value::text(symbol.to_string())),
            ("percent_change", Value::Number(*percent)),
            ("change", Value::Number(*change)),
            ("price", Value::Number(*price)),
        ])
    };
    let gainers = moved.iter().filter(|m| m.2 > Decimal::ZERO).take(top).map(one).collect();
    let losers = moved.iter().rev().filter(|m| m.2 < Decimal::ZERO).take(top).map(one).collect();
    Ok(Value::map([
        ("gainers", Value::List(gainers)),
        ("losers", Value::List(losers)),
        ("market_type", Value::text("stocks")),
        ("last_updated", Value::Time(now)),
    ]))
}

/// The bar of the newest session of each symbol, and the close before it, adjusted for no split; symbols that were traded
/// no more are left out.
fn current(tape: &BarTape, now: Timestamp) -> Vec<(Symbol, Aggregate, Option<Decimal>)> {
    let mut days = Vec::new();
    for symbol in tape.symbols() {
        let mut bars = newest(tape, &symbol, Frame::Day, now, 2).into_iter();
        if let Some(bar) = bars.next() {
            days.push((symbol, bar, bars.next().map(|bar| bar.close)));
        }
    }
    let newest = days.iter().map(|(_, bar, _)| bar.at).max().unwrap_or(now);
    days.retain(|(_, bar, _)| bar.at + SignedDuration::from_hours(1) > newest);
    days
}

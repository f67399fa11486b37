//! `/v2/positions`.

use jiff::Timestamp;
use ringfence_market::{Symbol, calendar, new_york};
use rust_decimal::Decimal;

use super::{Answer, Request, assets::EXCHANGE, named, part};
use crate::{
    account::{ActivityKind, Position},
    exact::{self, Exact, TooLarge},
    exchange::{Portion, Turn},
    json::{Json, object},
    order::Side,
    refusal::Refusal,
    seed::asset_id,
};

/// The close of the last session that was over at `at` before its day.
fn last_close(at: Timestamp) -> Option<Timestamp> {
    calendar::previous(new_york::date(at)).map(|session| session.close)
}

fn json(turn: &Turn<'_>, symbol: &Symbol, position: Position) -> Result<Json, TooLarge> {
    let Position { qty, cost } = position;
    let average = cost.over(qty)?;
    let current = turn.market().price(symbol).unwrap_or(average);
    let worth = current.times(qty)?;
    let close = last_close(turn.now());
    let last_day = close.and_then(|at| turn.market().tape.last_trade(symbol, at)).map_or(current, |t| t.price);
    let gain = worth.minus(cost)?;
    // A position that was changed today gains from what was paid, one of before from yesterday's close.
    let of_symbol = |a: &&crate::account::Activity| a.symbol == *symbol && a.kind == ActivityKind::Fill;
    let last_fill = turn.account().activities.iter().rev().find(of_symbol).map(|activity| activity.at);
    let today = last_fill.is_some_and(|at| close.is_none_or(|close| at > close));
    let base = if today { cost } else { last_day.times(qty)? };
    let gain_today = worth.minus(base)?;
    let ratio = |gain: Decimal, of: Decimal| if of.is_zero() { Ok(Decimal::ZERO) } else { gain.over(of.abs()) };
    let side = if qty > Decimal::ZERO { Side::Sell } else { Side::Buy };
    let free = qty.abs().minus(turn.account().held(symbol, side))?.max(Decimal::ZERO);
    let free = if qty > Decimal::ZERO { free } else { Decimal::ZERO.minus(free)? };
    let fine = |value: Decimal| exact::round(value, exact::QTY_DECIMALS);
    Ok(object! {
        "asset_id" => asset_id(symbol.as_str()).to_string(),
        "symbol" => symbol.as_str(),
        "exchange" => EXCHANGE,
        "asset_class" => "us_equity",
        "asset_marginable" => true,
        "qty" => qty,
        "qty_available" => free,
        "avg_entry_price" => fine(average),
        "side" => if qty > Decimal::ZERO { "long" } else { "short" },
        "market_value" => fine(worth),
        "cost_basis" => fine(cost),
        "unrealized_pl" => fine(gain),
        "unrealized_plpc" => fine(ratio(gain, cost)?),
        "unrealized_intraday_pl" => fine(gain_today),
        "unrealized_intraday_plpc" => fine(ratio(gain_today, base)?),
        "current_price" => current,
        "lastday_price" => last_day,
        "change_today" => fine(ratio(current.minus(last_day)?, last_day)?),
    })
}

pub(super) fn list(turn: &Turn<'_>) -> Result<Answer, Refusal> {
    let each = turn.account().positions.iter().map(|(symbol, position)| json(turn, symbol, *position));
    Ok(Answer::ok(Json::List(each.collect::<Result<_, _>>()?)))
}

fn find(turn: &Turn<'_>, name: &str) -> Result<(Symbol, Position), Refusal> {
    let symbol = named(turn, name)?;
    let position = turn.account().positions.get(&symbol).copied();
    position.map(|position| (symbol, position)).ok_or_else(|| Refusal::not_found("position does not exist"))
}

pub(super) fn show(turn: &Turn<'_>, name: &str) -> Result<Answer, Refusal> {
    let (symbol, position) = find(turn, name)?;
    Ok(Answer::ok(json(turn, &symbol, position)?))
}

pub(super) fn close(turn: &mut Turn<'_>, request: &Request, name: &str) -> Result<Answer, Refusal> {
    let number = |name: &str| match request.param(name) {
        None => Ok(None),
        Some(text) => match exact::decimal(text).filter(|value| *value > Decimal::ZERO) {
            Some(value) => Ok(Some(value.normalize())),
            None => Err(Refusal::invalid(format!("{name} must be a number > 0"))),
        },
    };
    let portion = match (number("qty")?, number("percentage")?) {
        (None, None) => Portion::All,
        (Some(qty), None) => Portion::Qty(qty),
        (None, Some(percent)) if percent <= Decimal::ONE_HUNDRED => Portion::Percentage(percent),
        (None, Some(_)) => return Err(Refusal::invalid("percentage must be at most 100")),
        (Some(_), Some(_)) => return Err(Refusal::invalid("only one of qty or percentage is accepted")),
    };
    let (symbol, _) = find(turn, name)?;
    turn.close_position(&symbol, portion).map(Answer::ok)
}

pub(super) fn close_all(turn: &mut Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    if request.truth("cancel_orders")? {
        let open: Vec<_> = turn.account().open_orders().map(|order| order.id).collect();
        for id in open {
            // One that went with another of its group is gone already.
            let _ = turn.cancel(id);
        }
    }
    let symbols: Vec<Symbol> = turn.account().positions.keys().cloned().collect();
    let each = symbols.into_iter().map(|symbol| {
        let (status, body) = match turn.close_position(&symbol, Portion::All) {
            Ok(order) => (200, order),
            Err(refusal) => (refusal.status, refusal.json()),
        };
        part("symbol", symbol.as_str().into(), status, body)
    });
    Ok(Answer::several(each.collect()))
}

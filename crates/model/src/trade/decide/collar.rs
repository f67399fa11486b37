//! The reference and the collar around it.
//!
//! A price is looked at on its aggressive side only: a buy above the reference, a sell below it. What is on the other side trades
//! when the market comes to it, at a price that the market has then.
//!
//! The stop of an order that opens is held to the same bound, because one far away is a slip of the hand. The stop of an order that
//! only reduces is not: it protects, and where it stands is the strategy's business. What such an order may slip by is, so that its
//! limit is compared with its own stop. A trailing stop stands where it would stand now.

use super::exposure::{alternative, exits};
use crate::trade::{
    AssetClass, Facts, Message, OrderIntent, Percent, Price, Pricing, Question, Reference, Refusal, Rule, Session,
    Side, Trail,
};

/// The reference by which an order is judged: what the gate has asked for, or the price at which the venue counts the position. The
/// second is never fresh.
pub(super) fn reference(facts: &Facts, intent: &OrderIntent) -> Option<Reference> {
    let asked = facts.reference(&intent.symbol).filter(|reference| reference.high().is_some()).cloned();
    let counted = || {
        let position = facts.position(&intent.symbol).filter(|position| position.price.is_positive())?;
        let last = Some(position.price);
        Some(Reference { symbol: intent.symbol.clone(), bid: None, ask: None, last, at_ms: 0 })
    };
    asked.or_else(counted)
}

/// Rung 9: Whether the reference is fresh. What opens needs that while the market trades, and what has no price of its own at any time.
pub(super) fn fresh(
    facts: &Facts,
    intent: &OrderIntent,
    reference: &Reference,
    reduce_only: bool,
    limit_s: u32,
) -> Result<(), Refusal> {
    let in_session = facts.clock.session != Session::Closed || intent.asset_class.never_closes();
    let needed = intent.pricing == Pricing::Market || (!reduce_only && in_session);
    // A reference of the future is of a clock that stands wrong: as old as it is ahead.
    let age_ms = facts.clock.now_ms.abs_diff(reference.at_ms);
    if needed && age_ms > u64::from(limit_s) * 1000 {
        let message = format!("the reference price of {} is {} s old", intent.symbol, age_ms.div_ceil(1000));
        return Err(Refusal::beyond(Rule::MaxReferenceAge, limit_s, age_ms.div_ceil(1000), message));
    }
    Ok(())
}

/// The price that a side is compared with. A quote far from the last trade is not believed: nobody may mean it.
fn compared(reference: &Reference, side: Side, collar: Percent) -> Option<Price> {
    let quoted = reference.of(side)?;
    let Some(last) = reference.last.filter(|last| last.is_positive()) else { return Some(quoted) };
    let far = match side {
        Side::Buy => quoted > last.above(collar)?,
        Side::Sell => quoted < last.below(collar)?,
    };
    Some(if far { last } else { quoted })
}

/// A price that is beyond its bound, if it is.
fn beyond(side: Side, price: Price, from: Price, collar: Percent) -> Option<Price> {
    match side {
        Side::Buy => from.above(collar).filter(|bound| price > *bound),
        Side::Sell => from.below(collar).filter(|bound| price < *bound),
    }
}

/// Whether a price is within the collar of another one.
fn within(side: Side, price: Price, from: Price, collar: Percent) -> Result<(), Refusal> {
    match beyond(side, price, from, collar) {
        None => Ok(()),
        Some(bound) => {
            let word = if side == Side::Buy { "above" } else { "below" };
            let message = format!("to {side} at {price} is more than {collar} % {word} {from}");
            Err(Refusal::beyond(Rule::PriceCollarPercent, bound, price, message))
        }
    }
}

/// Rung 9: Whether another price of a leg is within the collar, as it had to be when the order was sent. A stop protects and stands
/// where the strategy wants it. A limit that comes with a stop is compared with that one where an exit of the order has both;
/// every other limit with the market, for which leg is meant is the venue's to know: who moves the limit of a stop sends the stop along.
pub(super) fn leg(question: &Question<'_>, number: u64) -> Result<(), Refusal> {
    let Message::Replace { changes, .. } = question.message else { return Ok(()) };
    let Some(limit) = changes.limit else { return Ok(()) };
    let open = question.counted.open.iter().find(|open| open.number == number);
    let closed = || Refusal::because(Rule::ReplaceOrder, "the order cannot be changed so: it is no longer open");
    let intent = &open.ok_or_else(closed)?.intent;
    let (side, exits) = match alternative(&intent.structure) {
        Some(own) => (intent.side, vec![own]),
        None => (intent.side.opposite(), exits(&intent.structure)),
    };
    let stop = changes.stop.filter(|_| exits.iter().any(|exit| matches!(exit, Pricing::StopLimit { .. })));
    for (_, limits) in question.limits.each() {
        let Some(collar) = limits.price_collar_percent else { continue };
        let market = || reference(question.facts, intent).and_then(|reference| compared(&reference, side, collar));
        let from = stop.or_else(market).ok_or_else(|| unknown(intent))?;
        within(side, limit, from, collar)?;
    }
    Ok(())
}

/// Rung 9: Whether all prices of an order are within the collar.
pub(super) fn check(
    intent: &OrderIntent,
    reference: &Reference,
    reduce_only: bool,
    collar: Percent,
) -> Result<(), Refusal> {
    let side = intent.side;
    let from = |side| compared(reference, side, collar).ok_or_else(|| unknown(intent));
    let within = |side: Side, price: Price, from: Price| within(side, price, from, collar);
    match intent.pricing {
        Pricing::Market => {}
        Pricing::Limit { limit } => within(side, limit, from(side)?)?,
        Pricing::Stop { stop } if !reduce_only => within(side, stop, from(side)?)?,
        Pricing::StopLimit { stop, limit } if !reduce_only => {
            within(side, stop, from(side)?)?;
            within(side, limit, from(side)?)?;
        }
        Pricing::TrailingStop { trail } if !reduce_only => {
            let from = from(side)?;
            let stands = match (side, trail) {
                (Side::Buy, Trail::Price(by)) => from.plus(by),
                (Side::Buy, Trail::Percent(by)) => from.above(by),
                (Side::Sell, Trail::Price(by)) => from.minus(by),
                (Side::Sell, Trail::Percent(by)) => from.below(by),
            };
            within(side, stands.ok_or_else(Refusal::out_of_range)?, from)?;
        }
        Pricing::StopLimit { stop, limit } => within(side, limit, stop)?,
        Pricing::Stop { .. } | Pricing::TrailingStop { .. } => {}
    }
    let other = side.opposite();
    let others = exits(&intent.structure).into_iter().map(|exit| (other, exit));
    let own = alternative(&intent.structure).into_iter().map(|exit| (side, exit));
    for (side, exit) in others.chain(own) {
        match exit {
            Pricing::Limit { limit } => within(side, limit, from(side)?)?,
            Pricing::StopLimit { stop, limit } => within(side, limit, stop)?,
            Pricing::Market | Pricing::Stop { .. } | Pricing::TrailingStop { .. } => {}
        }
    }
    Ok(())
}

fn unknown(intent: &OrderIntent) -> Refusal {
    Refusal::because(Rule::MaxReferenceAge, format!("no price of {} is known", intent.symbol))
}

/// Rung 7: Whether orders may be sent at this hour.
pub(super) fn hours(facts: &Facts, intent: &OrderIntent, hours: crate::trade::Hours) -> Result<(), Refusal> {
    use crate::trade::Hours;
    if intent.asset_class == AssetClass::Crypto {
        return Ok(());
    }
    let session = facts.clock.session;
    let open = match hours {
        Hours::Regular => session == Session::Regular && !intent.extended_hours,
        Hours::Extended => session != Session::Closed,
        Hours::Any => true,
    };
    if open {
        return Ok(());
    }
    let observed = if session == Session::Regular { "extended_hours" } else { session.as_str() };
    let message = format!("orders are sent in {hours} hours");
    Err(Refusal::beyond(Rule::TradingHours, hours.as_str(), observed, message))
}

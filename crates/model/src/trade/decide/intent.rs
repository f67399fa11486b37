//! What a message comes to as an order, and whether that has one reading.

use crate::trade::{
    AssetClass, Changes, CloseSize, Message, OrderIntent, OrderType, Percent, Pricing, Question, Refusal, Rule, Side,
    Size, StopLoss, Structure, Target, TimeInForce, Trail,
};

use super::exposure::{alternative, exits};

/// What is judged.
pub(super) enum Order {
    /// An order.
    Whole(Box<Candidate>),
    /// Another price of a leg of this order, which is an exit and stays as large as it is.
    Leg(u64),
}

/// An order that is judged.
pub(super) struct Candidate {
    pub(super) intent: OrderIntent,
    /// The order in whose place it comes.
    pub(super) replaces: Option<u64>,
    /// It closes a position.
    pub(super) closes: bool,
}

/// The sandbox's own order that a message names. Of orders of others nothing is told, not even that there are such.
pub(super) fn target<'a>(question: &Question<'a>) -> Result<&'a Target, Refusal> {
    let none = || Refusal::because(Rule::OrderOwnership, "this sandbox has no such order");
    question.counted.target.as_ref().ok_or_else(none)
}

/// What a message comes to.
pub(super) fn of_message(question: &Question<'_>) -> Result<Order, Refusal> {
    let whole = |intent, replaces, closes| Ok(Order::Whole(Box::new(Candidate { intent, replaces, closes })));
    match question.message {
        Message::Submit(intent) => {
            check(intent, None)?;
            whole(intent.clone(), None, false)
        }
        Message::Replace { changes, .. } => {
            let target = target(question)?;
            if !target.open {
                return Err(unchangeable("it is no longer open"));
            }
            if target.leg {
                return leg(target, changes);
            }
            let open = question.counted.open.iter().find(|order| order.number == target.number);
            let open = open.ok_or_else(|| unchangeable("it is no longer open"))?;
            let intent = changed(&open.intent, changes)?;
            check(&intent, changes.client_order_id.as_ref())?;
            whole(intent, Some(target.number), false)
        }
        Message::ClosePosition { symbol, size } => {
            let position = question.facts.position(symbol).filter(|position| position.qty.magnitude().is_positive());
            let none = || Refusal::because(Rule::ClosePosition, format!("there is no position in {symbol}"));
            let position = position.ok_or_else(none)?;
            let all = position.qty.magnitude();
            let qty = match *size {
                CloseSize::All => all,
                CloseSize::Qty(qty) => qty,
                CloseSize::Percentage(percent) => {
                    let hundred = Percent::whole(100).unwrap_or(Percent::MAX);
                    if !percent.is_positive() || percent > hundred {
                        let message = "a position is closed by more than 0 % and at most 100 % of it";
                        return Err(Refusal::beyond(Rule::ClosePosition, hundred, percent, message));
                    }
                    all.share(percent).ok_or_else(Refusal::out_of_range)?.min(all)
                }
            };
            if qty > all {
                let message = format!("more than there is in {symbol}");
                return Err(Refusal::beyond(Rule::ClosePosition, all, qty, message));
            }
            let side = if position.qty.is_positive() { Side::Sell } else { Side::Buy };
            let time_in_force =
                if position.asset_class == AssetClass::Crypto { TimeInForce::Gtc } else { TimeInForce::Day };
            let intent = OrderIntent {
                asset_class: position.asset_class,
                time_in_force,
                ..OrderIntent::market(symbol.clone(), side, qty)
            };
            check(&intent, None)?;
            whole(intent, None, true)
        }
        Message::Read | Message::Cancel { .. } | Message::CancelAll | Message::CloseAll { .. } => {
            Err(Refusal::because(Rule::CanonicalForm, "this is not an order"))
        }
    }
}

fn unchangeable(why: &str) -> Refusal {
    Refusal::because(Rule::ReplaceOrder, format!("the order cannot be changed so: {why}"))
}

/// A leg is an exit of an order that was judged whole: its prices may move, and its size may not.
fn leg(target: &Target, changes: &Changes) -> Result<Order, Refusal> {
    if changes.qty.is_some() || changes.trail.is_some() || changes.client_order_id.is_some() {
        return Err(unchangeable("of a leg only the prices and the time in force are changed"));
    }
    if [changes.limit, changes.stop].into_iter().flatten().any(|price| !price.is_positive()) {
        return Err(malformed("a price is above nothing"));
    }
    Ok(Order::Leg(target.number))
}

/// The order after a change.
fn changed(before: &OrderIntent, changes: &Changes) -> Result<OrderIntent, Refusal> {
    let mut after = before.clone();
    if let Some(qty) = changes.qty {
        after.size = match before.size {
            Size::Qty(_) => Size::Qty(qty),
            Size::Notional(_) => return Err(unchangeable("it is for an amount of dollars")),
        };
    }
    if let Some(time_in_force) = changes.time_in_force {
        after.time_in_force = time_in_force;
    }
    after.pricing = match before.pricing {
        Pricing::Market => Pricing::Market,
        Pricing::Limit { limit } => Pricing::Limit { limit: changes.limit.unwrap_or(limit) },
        Pricing::Stop { stop } => Pricing::Stop { stop: changes.stop.unwrap_or(stop) },
        Pricing::StopLimit { stop, limit } => {
            Pricing::StopLimit { stop: changes.stop.unwrap_or(stop), limit: changes.limit.unwrap_or(limit) }
        }
        Pricing::TrailingStop { trail } => Pricing::TrailingStop { trail: changes.trail.unwrap_or(trail) },
    };
    let order_type = before.pricing.order_type();
    let has_limit = before.pricing.limit().is_some();
    let has_stop = matches!(order_type, OrderType::Stop | OrderType::StopLimit);
    if (changes.limit.is_some() && !has_limit)
        || (changes.stop.is_some() && !has_stop)
        || (changes.trail.is_some() && order_type != OrderType::TrailingStop)
    {
        return Err(unchangeable(&format!("an order of type {order_type} has no such price")));
    }
    if let (Pricing::TrailingStop { trail: before }, Some(trail)) = (before.pricing, changes.trail)
        && std::mem::discriminant(&before) != std::mem::discriminant(&trail)
    {
        return Err(unchangeable("it trails in another measure"));
    }
    // The order that takes its place is called anew.
    after.client_order_id.clone_from(&changes.client_order_id);
    Ok(after)
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::because(Rule::CanonicalForm, message)
}

/// Rung 6: Amounts are above nothing, and what belongs together is together.
fn check(intent: &OrderIntent, given: Option<&crate::trade::ClientOrderId>) -> Result<(), Refusal> {
    let positive = match intent.size {
        Size::Qty(qty) => qty.is_positive(),
        Size::Notional(notional) => notional.is_positive(),
    };
    if !positive {
        return Err(malformed("an order is for more than nothing"));
    }
    let prices_of = |pricing: Pricing| match pricing {
        Pricing::Market => true,
        Pricing::Limit { limit } => limit.is_positive(),
        Pricing::Stop { stop } => stop.is_positive(),
        Pricing::StopLimit { stop, limit } => stop.is_positive() && limit.is_positive(),
        Pricing::TrailingStop { trail: Trail::Price(by) } => by.is_positive(),
        Pricing::TrailingStop { trail: Trail::Percent(by) } => by.is_positive() && Percent::whole(100) > Some(by),
    };
    let all = exits(&intent.structure).into_iter().chain(alternative(&intent.structure)).chain([intent.pricing]);
    if !all.into_iter().all(prices_of) {
        return Err(malformed("a price is above nothing"));
    }
    match &intent.structure {
        Structure::Oco { stop_loss: StopLoss { stop, .. } } => {
            let Pricing::Limit { limit } = intent.pricing else {
                return Err(malformed("an order of class oco is a limit and a stop"));
            };
            let apart = match intent.side {
                Side::Sell => limit > *stop,
                Side::Buy => limit < *stop,
            };
            if !apart {
                return Err(malformed("the limit and the stop of an order of class oco are on two sides of the price"));
            }
        }
        Structure::Bracket { take_profit, stop_loss } => {
            let apart = match intent.side {
                Side::Buy => *take_profit > stop_loss.stop,
                Side::Sell => *take_profit < stop_loss.stop,
            };
            if !apart {
                return Err(malformed("the exits of a bracket are on two sides of its entry"));
            }
        }
        // Each leg would have a worst case of its own, and a spread a better one than all of them.
        Structure::Mleg(_) => {
            return Err(Refusal::because(Rule::PermittedOrderClasses, "the gate cannot price orders of several legs"));
        }
        Structure::Simple | Structure::Oto(_) => {}
    }
    if intent.client_order_id.as_ref().or(given).is_some_and(crate::trade::ClientOrderId::is_of_the_gate) {
        return Err(malformed("client order ids that begin with `rf-` are the gate's"));
    }
    Ok(())
}

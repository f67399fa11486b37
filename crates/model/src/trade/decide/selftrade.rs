//! Trades with oneself: refused before the broker does it.
//!
//! Two simple orders on two sides of one symbol stand in each other's way when one of them has no limit, because nobody knows then at
//! what price it trades, or when their limits cross. Exits of brackets and the like stand in the way of what reaches their limit now:
//! brokers let those be where they would refuse simple orders.

use super::exposure::{alternative, exits};
use crate::trade::{OpenOrder, OrderIntent, Price, Pricing, Reference, Side, Structure};

/// The open order with which one would trade.
pub(super) fn crossed<'a>(
    intent: &OrderIntent,
    reference: &Reference,
    open: &'a [OpenOrder],
    replaces: Option<u64>,
) -> Option<&'a OpenOrder> {
    open.iter()
        .filter(|other| other.intent.symbol == intent.symbol && Some(other.number) != replaces)
        .find(|other| meets(intent, reference, other))
}

fn meets(intent: &OrderIntent, reference: &Reference, other: &OpenOrder) -> bool {
    let side = intent.side;
    if other.intent.side == side {
        // Its exits are on the other side, once its entry has traded.
        let held = exits(&other.intent.structure);
        return other.exits.is_positive() && held.iter().any(|exit| reaches(side, intent.pricing, reference, *exit));
    }
    if !other.remaining.is_positive() {
        return false;
    }
    let simple = |structure: &Structure| matches!(structure, Structure::Simple);
    if simple(&intent.structure) && simple(&other.intent.structure) {
        return match (intent.pricing, other.intent.pricing) {
            (Pricing::Limit { limit }, Pricing::Limit { limit: resting }) => at_or_beyond(side, limit, resting),
            _ => true,
        };
    }
    let parts = [other.intent.pricing].into_iter().chain(alternative(&other.intent.structure));
    parts.into_iter().any(|part| reaches(side, intent.pricing, reference, part))
}

/// Whether an order would reach the limit of one that rests, at once.
fn reaches(side: Side, pricing: Pricing, reference: &Reference, resting: Pricing) -> bool {
    let Pricing::Limit { limit: resting } = resting else { return false };
    let reach = match pricing {
        Pricing::Limit { limit } => Some(limit),
        Pricing::Market => match side {
            Side::Buy => reference.high(),
            Side::Sell => reference.low(),
        },
        Pricing::Stop { .. } | Pricing::StopLimit { .. } | Pricing::TrailingStop { .. } => None,
    };
    reach.is_some_and(|reach| at_or_beyond(side, reach, resting))
}

fn at_or_beyond(side: Side, price: Price, resting: Price) -> bool {
    match side {
        Side::Buy => price >= resting,
        Side::Sell => price <= resting,
    }
}

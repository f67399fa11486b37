//! What an order may cost at worst, and what it may become together with all that is open.

use crate::trade::{
    CanonicalSymbol, Counted, Exit, Facts, Limits, OrderIntent, Percent, Price, Pricing, Qty, Reference, Refusal,
    Reservation, Rule, Side, Size, StopLoss, Structure, Trail, Usd,
};

/// By how much a market order may be above its reference at worst, where no collar says it: 10 %.
const MARKET_PERCENT: Percent = Percent::from_units(1_000);

/// The share of its reference by which an order without a limit is thought to trade at worst. It is the account's collar, never the
/// sandbox's: a client that tightens its own would else make its orders count for less.
pub(super) fn market_percent(account: &Limits) -> Percent {
    account.price_collar_percent.unwrap_or(MARKET_PERCENT)
}

/// The worst price of a side at which something is counted; none without a reference where one is needed.
///
/// A buy with a limit costs that at most. One without costs its reference, or the stop that it waits for where that is higher, and the
/// collar on top. A sell brings its limit or more: it is counted at the highest price that is known of it. A sell that brings even
/// more only adds to turnover, which is no loss.
fn worst(side: Side, pricing: Pricing, reference: Option<&Reference>, market: Percent) -> Option<Price> {
    let high = reference.and_then(Reference::high);
    match (side, pricing) {
        (Side::Buy, Pricing::Limit { limit } | Pricing::StopLimit { limit, .. }) => Some(limit),
        (Side::Buy, Pricing::Market) => high?.above(market),
        // What the venue does with a stop without a reference it does by the stop.
        (Side::Buy, Pricing::Stop { stop }) => high.unwrap_or(stop).max(stop).above(market),
        // It follows the price down only, so that it is never higher than it is now.
        (Side::Buy, Pricing::TrailingStop { trail }) => trailed(high?, trail)?.above(market),
        (Side::Sell, Pricing::Market | Pricing::TrailingStop { .. }) => high,
        (Side::Sell, Pricing::Limit { limit }) => Some(high.map_or(limit, |high| high.max(limit))),
        (Side::Sell, Pricing::Stop { stop }) => Some(high.map_or(stop, |high| high.max(stop))),
        (Side::Sell, Pricing::StopLimit { stop, limit }) => {
            let named = stop.max(limit);
            Some(high.map_or(named, |high| high.max(named)))
        }
    }
}

/// Where the stop of a buy that trails stands now.
fn trailed(high: Price, trail: Trail) -> Option<Price> {
    match trail {
        Trail::Price(by) => high.plus(by),
        Trail::Percent(by) => high.above(by),
    }
}

/// The prices of an order's exits, each as an order of the other side.
pub(super) fn exits(structure: &Structure) -> Vec<Pricing> {
    let stop = |stop: &StopLoss| match stop.limit {
        None => Pricing::Stop { stop: stop.stop },
        Some(limit) => Pricing::StopLimit { stop: stop.stop, limit },
    };
    match structure {
        Structure::Simple | Structure::Mleg(_) | Structure::Oco { .. } => vec![],
        Structure::Bracket { take_profit, stop_loss } => vec![Pricing::Limit { limit: *take_profit }, stop(stop_loss)],
        Structure::Oto(Exit::TakeProfit(limit)) => vec![Pricing::Limit { limit: *limit }],
        Structure::Oto(Exit::StopLoss(stop_loss)) => vec![stop(stop_loss)],
    }
}

/// What else is on an order's own side, one of which cancels the other.
pub(super) fn alternative(structure: &Structure) -> Option<Pricing> {
    match structure {
        Structure::Oco { stop_loss: StopLoss { stop, limit: None } } => Some(Pricing::Stop { stop: *stop }),
        Structure::Oco { stop_loss: StopLoss { stop, limit: Some(limit) } } => {
            Some(Pricing::StopLimit { stop: *stop, limit: *limit })
        }
        Structure::Simple | Structure::Bracket { .. } | Structure::Oto(_) | Structure::Mleg(_) => None,
    }
}

/// What is set aside for an order.
///
/// # Errors
/// No price is known for it, or it is more than can be counted.
pub(super) fn reservation(
    intent: &OrderIntent,
    reference: Option<&Reference>,
    market: Percent,
) -> Result<Reservation, Refusal> {
    let unknown = || Refusal::because(Rule::MaxReferenceAge, format!("no price of {} is known", intent.symbol));
    let price = worst(intent.side, intent.pricing, reference, market).ok_or_else(unknown)?;
    let price = match alternative(&intent.structure) {
        None => price,
        Some(other) => worst(intent.side, other, reference, market).ok_or_else(unknown)?.max(price),
    };
    let other_side = intent.side.opposite();
    let mut exit_price: Option<Price> = None;
    for exit in exits(&intent.structure) {
        let worst = worst(other_side, exit, reference, market).ok_or_else(unknown)?;
        exit_price = Some(exit_price.map_or(worst, |price| price.max(worst)));
    }
    let multiplier = intent.asset_class.multiplier();
    let out = Refusal::out_of_range;
    let value = |price: Price, qty: Qty| qty.repeated(multiplier).and_then(|units| price.times(units)).ok_or_else(out);
    let (qty, entry, by_notional) = match intent.size {
        Size::Qty(qty) => (qty, value(price, qty)?, false),
        Size::Notional(notional) => {
            // As many as the dollars buy at the lowest price that may be: that is what a position may grow by.
            let low = reference.and_then(Reference::low).or(intent.pricing.limit()).ok_or_else(unknown)?;
            let low = intent.pricing.limit().map_or(low, |limit| limit.min(low)).below(market).ok_or_else(out)?;
            (notional.at(low).ok_or_else(unknown)?, notional, true)
        }
    };
    let exit = exit_price.map_or(Ok(Usd::ZERO), |price| value(price, qty))?;
    let reservation = Reservation {
        side: intent.side,
        qty,
        by_notional,
        multiplier,
        price,
        entry,
        exit_price,
        exit,
        orders: intent.structure.orders(),
    };
    reservation.turnover().ok_or_else(out)?;
    Ok(reservation)
}

/// A symbol of the account with everything that is open in it, in numbers of it and in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Book {
    /// The position; below zero it is short.
    pub(super) position: Qty,
    /// What the position is worth, without its sign.
    pub(super) value: Usd,
    /// What open orders may still buy.
    pub(super) buys: Qty,
    /// At what cost.
    pub(super) buys_value: Usd,
    /// What open orders may still sell: exits as far as their entries were filled.
    pub(super) sells: Qty,
    /// For how much.
    pub(super) sells_value: Usd,
}

impl Book {
    /// What is held and open in a symbol, without the order `except`.
    pub(super) fn of(symbol: &CanonicalSymbol, facts: &Facts, counted: &Counted, except: Option<u64>) -> Option<Self> {
        let mut book = Self::default();
        let reference = facts.reference(symbol).and_then(Reference::high);
        if let Some(position) = facts.position(symbol) {
            let price = reference.map_or(position.price, |price| price.max(position.price));
            let units = position.qty.magnitude().repeated(position.asset_class.multiplier())?;
            (book.position, book.value) = (position.qty, price.times(units)?);
        }
        for order in counted.open.iter().filter(|order| order.intent.symbol == *symbol && Some(order.number) != except)
        {
            book.add(order.reservation.side, order.remaining, order.pending)?;
            // What an entry has already traded its exits may undo.
            let price = order.reservation.exit_price.unwrap_or(order.reservation.price);
            let value = price.times(order.exits.repeated(order.reservation.multiplier)?)?;
            book.add(order.reservation.side.opposite(), order.exits, value)?;
        }
        Some(book)
    }

    fn add(&mut self, side: Side, qty: Qty, value: Usd) -> Option<()> {
        let (all, worth) = match side {
            Side::Buy => (&mut self.buys, &mut self.buys_value),
            Side::Sell => (&mut self.sells, &mut self.sells_value),
        };
        (*all, *worth) = (all.plus(qty)?, worth.plus(value)?);
        Some(())
    }

    /// With one more order, or the larger of it and the one in whose place it comes.
    pub(super) fn with(mut self, order: &Reservation, replaced: Option<(Side, Qty, Usd)>) -> Option<Self> {
        let (qty, value) = match replaced {
            Some((side, qty, value)) if side == order.side => (qty.max(order.qty), value.max(order.entry)),
            _ => (order.qty, order.entry),
        };
        self.add(order.side, qty, value)?;
        Some(self)
    }

    /// Whether an order for so many only makes the position smaller, whatever else that is open trades first.
    pub(super) fn reduces(&self, side: Side, qty: Qty) -> bool {
        let (has, open) = match side {
            Side::Sell => (self.position, self.sells),
            Side::Buy => (Qty::ZERO.less(self.position), self.buys),
        };
        has.is_positive() && open.plus(qty).is_some_and(|all| all <= has)
    }

    /// What might be sold of what is not there, if all sells traded first.
    pub(super) fn short(&self) -> Qty {
        let long = self.position.less(Qty::ZERO);
        let sold_beyond = self.sells.less(long);
        let short = Qty::ZERO.less(self.position);
        sold_beyond.plus(short).unwrap_or(Qty::MAX)
    }

    /// The larger of what it is worth if all buys trade, and if all sells do.
    pub(super) fn worst(&self) -> Option<Usd> {
        let long = if self.position.is_positive() { self.value } else { Usd::ZERO };
        let short = if self.position.is_positive() { Usd::ZERO } else { self.value };
        let bought = long.plus(self.buys_value)?;
        // Of sells only what goes beyond the position is a new risk.
        let beyond = self.sells.less(self.position.less(Qty::ZERO));
        let part = if beyond == self.sells { self.sells_value } else { share(self.sells_value, beyond, self.sells)? };
        Some(bought.max(short.plus(part)?))
    }
}

/// The part of an amount that `some` of `all` has in it, rounded up.
fn share(amount: Usd, some: Qty, all: Qty) -> Option<Usd> {
    if all <= Qty::ZERO {
        return Some(Usd::ZERO);
    }
    let product = i128::from(amount.units()).checked_mul(i128::from(some.units()))?;
    let part = product / i128::from(all.units()) + 1;
    Some(Usd::from_units(i64::try_from(part).ok()?).min(amount))
}

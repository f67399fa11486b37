//! How an order fills: at the quote, whole or in part, and what follows for its group.

use jiff::Timestamp;
use ringfence_market::{Quote, calendar, calendar::Session, new_york};
use rust_decimal::Decimal;

use super::{EventKind, Turn, submit::window};
use crate::{
    account::{Activity, ActivityKind, Change, FillOf, Position},
    exact::{self, Exact, TooLarge},
    order::{Order, OrderNo, Part, Side, Status, Tif},
    seed,
};

/// Decimals of a price that slippage made.
const SLIPPED_DECIMALS: u32 = 4;

impl Turn<'_> {
    /// The session of an instant's day. Most instants are of the same day as the one before.
    pub(super) fn session_of(&mut self, at: Timestamp) -> Option<Session> {
        if let Some(session) = self.session.filter(|s| s.pre_open <= at && at <= s.post_close) {
            return Some(session);
        }
        self.session = calendar::session(new_york::date(at));
        self.session
    }

    /// Fills an order as far as the quote allows, which is the one in force if none is given.
    pub(super) fn attempt(&mut self, no: OrderNo, at: Timestamp, quote: Option<&Quote>) {
        let Some(order) = self.account.orders.get(&no) else { return };
        let auction = matches!(order.tif, Tif::Opg | Tif::Cls);
        if !order.status.is_live() || order.waits_for_price() || auction || at < order.eligible_from {
            return;
        }
        let extended = order.extended_hours;
        let Some(session) = self.session_of(at) else { return };
        let (start, end) = window(&session, extended);
        if at < start || at > end {
            return;
        }
        let Some(order) = self.account.orders.get(&no) else { return };
        let in_force;
        let quote = match quote {
            Some(quote) => quote,
            None => {
                let Some(found) = self.tape.quote(&order.symbol, at) else { return };
                in_force = found;
                &in_force
            }
        };
        // At the open yesterday's last quote is still the one in force; nobody trades at it.
        if at >= session.open && quote.at < session.open {
            return;
        }
        let at_once = matches!(order.tif, Tif::Ioc | Tif::Fok);
        match self.offered(order, quote) {
            Ok(Some((price, qty))) => {
                self.edit(no, at, |order| {
                    order.draws += 1;
                    if order.qty.is_none() {
                        order.qty = Some(qty.whole);
                    }
                });
                self.fill(no, at, price, qty.now);
            }
            Ok(None) => {}
            Err(TooLarge) => self.finish(no, at, Status::Rejected, EventKind::Rejected),
        }
        if at_once {
            self.finish(no, at, Status::Canceled, EventKind::Canceled);
        }
    }

    /// At which price an order fills, and how much of it now. None when the quote is beyond its limit.
    fn offered(&self, order: &Order, quote: &Quote) -> Result<Option<(Decimal, Offered)>, TooLarge> {
        let profile = &self.account.opening.profile;
        let near = match order.side {
            Side::Buy => quote.ask,
            Side::Sell => quote.bid,
        };
        let bound = order.bound()?;
        let beyond = |price: Decimal| match (bound, order.side) {
            (Some(bound), Side::Buy) => price > bound,
            (Some(bound), Side::Sell) => price < bound,
            (None, _) => false,
        };
        if near <= Decimal::ZERO || beyond(near) {
            return Ok(None);
        }
        let mut price = near;
        if !profile.slippage_bp.is_zero() {
            let slip = near.times(profile.slippage_bp)?.over(Decimal::from(10_000))?;
            let worse = match order.side {
                Side::Buy => near.plus(slip)?,
                Side::Sell => near.minus(slip)?,
            };
            price = exact::round(worse, SLIPPED_DECIMALS);
            if beyond(price) {
                price = bound.unwrap_or(price);
            }
        }
        let whole = match (order.qty, order.notional) {
            (Some(qty), _) => qty,
            (None, Some(dollars)) => exact::floor(dollars.over(price)?, exact::QTY_DECIMALS),
            (None, None) => Decimal::ZERO,
        };
        let rest = whole.minus(order.filled_qty)?;
        if rest <= Decimal::ZERO {
            return Ok(None);
        }
        Ok(Some((price, Offered { whole, now: self.drawn(order, rest)? })))
    }

    /// How much of `rest` fills at once: all of it, or for one fill in ten a random part.
    fn drawn(&self, order: &Order, rest: Decimal) -> Result<Decimal, TooLarge> {
        if order.tif == Tif::Fok {
            return Ok(rest);
        }
        let seed = format!("{}/{}", self.account.seed(), order.no);
        if seed::draw("partial", &seed, order.draws) >= self.account.opening.profile.partial_fill_rate {
            return Ok(rest);
        }
        let decimals = if exact::is_whole(rest) { 0 } else { exact::QTY_DECIMALS };
        let part = exact::floor(rest.times(seed::draw("size", &seed, order.draws))?, decimals);
        let least = Decimal::new(1, decimals);
        // What cannot be divided any more fills as a whole.
        if rest <= least { Ok(rest) } else { Ok(part.clamp(least, rest.minus(least)?)) }
    }

    /// An order fills in an auction, at the auction's price or not at all.
    pub(super) fn auction(&mut self, no: OrderNo, at: Timestamp, price: Decimal) {
        let Some(order) = self.account.orders.get(&no) else { return };
        let within = match (order.limit_price, order.side) {
            (Some(limit), Side::Buy) => price <= limit,
            (Some(limit), Side::Sell) => price >= limit,
            (None, _) => true,
        };
        if let Some(rest) = order.remaining().filter(|rest| within && *rest > Decimal::ZERO) {
            self.fill(no, at, price, rest);
        }
        self.finish(no, at, Status::Canceled, EventKind::Canceled);
    }

    fn fill(&mut self, no: OrderNo, at: Timestamp, price: Decimal, qty: Decimal) {
        let Some(order) = self.account.orders.get(&no).cloned() else { return };
        let Ok(outcome) = self.outcome(&order, price, qty) else {
            return self.finish(no, at, Status::Rejected, EventKind::Rejected);
        };
        let Outcome { position, cash, fee, filled_qty, filled_cost, leaves } = outcome;
        let complete = leaves <= Decimal::ZERO;
        let short = order.side == Side::Sell && self.account.qty(&order.symbol) <= Decimal::ZERO;
        self.account.change(Change::Position(order.symbol.clone(), position));
        self.positions.insert(order.symbol.clone());
        let paid = cash.checked_sub(self.account.cash).unwrap_or_default();
        self.set_cash(cash);
        self.edit(no, at, |order| {
            order.filled_qty = filled_qty;
            order.filled_cost = filled_cost;
            order.status = if complete { Status::Filled } else { Status::PartiallyFilled };
            order.ended_at = complete.then_some(at);
        });
        let signed = if order.side == Side::Buy { qty } else { -qty };
        let fill_of = FillOf { order: no, side: order.side, short, cumulative: filled_qty, leaves };
        let number = self.next_activity();
        self.happened(Activity {
            no: number,
            at,
            kind: ActivityKind::Fill,
            symbol: order.symbol.clone(),
            qty: signed,
            price,
            cash: paid,
            fill: Some(fill_of),
        });
        if fee > Decimal::ZERO {
            let cash = self.account.cash.checked_sub(fee).unwrap_or(self.account.cash);
            self.set_cash(cash);
            let number = self.next_activity();
            self.happened(Activity {
                no: number,
                at,
                kind: ActivityKind::Fee,
                symbol: order.symbol.clone(),
                qty: Decimal::ZERO,
                price: Decimal::ZERO,
                cash: -fee,
                fill: None,
            });
        }
        let kind = if complete { EventKind::Fill } else { EventKind::PartialFill };
        self.tell(kind, no, at, Some((price, qty)));
        self.follow(&order, at, qty, complete);
    }

    pub(super) fn next_activity(&self) -> u64 {
        self.account.activities.last().map_or(1, |last| last.no + 1)
    }

    /// What a fill makes of account and order, before any of it is so.
    fn outcome(&self, order: &Order, price: Decimal, qty: Decimal) -> Result<Outcome, TooLarge> {
        let profile = &self.account.opening.profile;
        let amount = price.times(qty)?;
        let signed = if order.side == Side::Buy { qty } else { Decimal::ZERO.minus(qty)? };
        let position = moved(self.account.positions.get(&order.symbol).copied(), signed, price)?;
        let cash = match order.side {
            Side::Buy => self.account.cash.minus(amount)?,
            Side::Sell => self.account.cash.plus(amount)?,
        };
        let of_amount = amount.times(profile.fee_bp)?.over(Decimal::from(10_000))?;
        let fee = exact::round(qty.times(profile.fee_per_share)?.plus(of_amount)?, 4);
        cash.minus(fee)?;
        let filled_qty = order.filled_qty.plus(qty)?;
        Ok(Outcome {
            position,
            cash,
            fee,
            filled_qty,
            filled_cost: order.filled_cost.plus(amount)?,
            leaves: order.qty.unwrap_or(filled_qty).minus(filled_qty)?,
        })
    }

    /// What a fill means for the rest of a group.
    fn follow(&mut self, order: &Order, at: Timestamp, qty: Decimal, complete: bool) {
        match order.part {
            None => {}
            Some(Part::Entry) if complete => {
                for leg in &order.legs {
                    self.edit(*leg, at, |leg| {
                        leg.status = Status::New;
                        leg.eligible_from = leg.eligible_from.max(at);
                    });
                    self.tell(EventKind::New, *leg, at, None);
                }
            }
            Some(Part::Entry) => {}
            Some(Part::TakeProfit | Part::StopLoss) => {
                for other in self.account.group(order.no) {
                    let Some(exit) = self.account.orders.get(&other) else { continue };
                    if exit.part == Some(Part::Entry) || !exit.status.is_open() {
                        continue;
                    }
                    if complete {
                        self.finish(other, at, Status::Canceled, EventKind::Canceled);
                    } else {
                        let rest = exit.qty.and_then(|of_exit| of_exit.checked_sub(qty));
                        self.edit(other, at, |exit| exit.qty = rest);
                        self.tell(EventKind::Restated, other, at, None);
                    }
                }
            }
        }
    }
}

/// How much of an order a quote fills.
struct Offered {
    /// Shares of the whole order.
    whole: Decimal,
    /// Shares that fill now.
    now: Decimal,
}

struct Outcome {
    position: Option<Position>,
    cash: Decimal,
    fee: Decimal,
    filled_qty: Decimal,
    filled_cost: Decimal,
    leaves: Decimal,
}

/// A position after `signed` shares more at a price. What leaves it takes its share of the cost along.
pub(super) fn moved(position: Option<Position>, signed: Decimal, price: Decimal) -> Result<Option<Position>, TooLarge> {
    let Some(Position { qty, cost }) = position else {
        return Ok(Some(Position { qty: signed, cost: signed.times(price)? }).filter(|p| !p.qty.is_zero()));
    };
    let after = qty.plus(signed)?;
    if after.is_zero() {
        return Ok(None);
    }
    let cost = if qty.is_sign_positive() == signed.is_sign_positive() {
        cost.plus(signed.times(price)?)?
    } else if qty.is_sign_positive() == after.is_sign_positive() {
        exact::round(cost.times(after)?.over(qty)?, exact::QTY_DECIMALS)
    } else {
        after.times(price)?
    };
    Ok(Some(Position { qty: after, cost }))
}

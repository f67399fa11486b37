//! Orders are taken back, and others put in their place.

use rust_decimal::Decimal;

use super::{
    EventKind, Turn,
    check::check_stop_price,
    submit::{expiry, hours},
};
use crate::{
    account::value::cost,
    exact::{self, Exact},
    json::Json,
    order::{Class, Kind, Order, OrderNo, Status, Tif, Trail},
    refusal::Refusal,
    request::{Amount, Replacement, percent, price},
    seed::Uuid,
};

impl Turn<'_> {
    fn find(&self, id: Uuid) -> Result<&Order, Refusal> {
        self.account.order(id).ok_or_else(|| Refusal::not_found(format!("order not found for {id}")))
    }

    /// Takes an order back, and with it the others of its group.
    ///
    /// # Errors
    /// There is no such order, or nothing can become of it any more.
    pub fn cancel(&mut self, id: Uuid) -> Result<(), Refusal> {
        let order = self.find(id)?;
        if !order.status.is_open() {
            let state = order.status.word();
            return Err(Refusal::unprocessable(format!("order is already in \"{state}\" state")));
        }
        let no = order.no;
        self.finish(no, self.now, Status::Canceled, EventKind::Canceled);
        Ok(())
    }

    /// Puts another order in an order's place. Its shares are those that were asked for, without those that have filled.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub fn replace(&mut self, id: Uuid, change: &Replacement) -> Result<Json, Refusal> {
        let old = self.find(id)?.clone();
        let new = self.successor(&old, change)?;
        let (old_no, new_no, now) = (old.no, new.no, self.now);
        let (legs, parent) = (new.legs.clone(), new.parent);
        self.edit(old_no, now, |order| {
            order.status = Status::Replaced;
            order.ended_at = Some(now);
            order.replaced_by = Some(new.id);
            order.legs.clear();
        });
        self.put(new);
        for leg in legs {
            self.edit(leg, now, |leg| leg.parent = Some(new_no));
        }
        if let Some(parent) = parent {
            self.edit(parent, now, |parent| {
                for leg in parent.legs.iter_mut().filter(|leg| **leg == old_no) {
                    *leg = new_no;
                }
            });
        }
        self.tell(EventKind::Replaced, old_no, now, None);
        self.tell(EventKind::New, new_no, now, None);
        let taken = self.account.orders.get(&new_no).map_or(Json::Null, |order| self.account.show(order, true));
        self.attempt(new_no, now, None);
        Ok(taken)
    }

    fn successor(&self, old: &Order, change: &Replacement) -> Result<Order, Refusal> {
        let refuse = |why: String| Err(Refusal::unprocessable(format!("unable to replace order, {why}")));
        if !old.status.is_open() {
            return refuse(format!("order is already in \"{}\" state", old.status.word()));
        }
        if !old.status.is_live() {
            return refuse("order isn't sent to exchange yet".into());
        }
        if old.notional.is_some() {
            return refuse("notional orders cannot be replaced".into());
        }
        self.check_client_id(change.client_order_id.as_deref())?;
        self.check_room(1)?;
        let mut new = self.copied(old, change);
        if let Some(qty) = change.qty {
            if old.class != Class::Simple {
                return refuse("the qty of an order of a group is that of the group".into());
            }
            let rest = qty.minus(old.filled_qty)?;
            if rest <= Decimal::ZERO {
                return refuse(format!("qty must be greater than the filled qty {}", old.filled_qty.normalize()));
            }
            new.qty = Some(rest);
        } else {
            new.qty = old.remaining();
        }
        self.retimed(&mut new, change)?;
        repriced(&mut new, change)?;
        if new.waits_for_price()
            && change.stop_price.is_some()
            && let Some(market) = self.market().price(&new.symbol)
        {
            check_stop_price(new.side, new.stop_price, market)?;
        }
        if self.account.opens(&new.symbol, new.side) {
            // The larger of both is held back meanwhile.
            self.check_power(cost(&new, self.market())?, self.account.reserve(old, self.market())?)?;
        } else if change.qty.is_some() {
            let freed = old.remaining().unwrap_or_default();
            self.check_closing(&new.symbol, new.side, Amount::Qty(new.qty.unwrap_or_default()), freed)?;
        }
        Ok(new)
    }

    fn copied(&self, old: &Order, change: &Replacement) -> Order {
        let no: OrderNo = self.next_no();
        Order {
            no,
            id: Uuid::derived("order", &self.account.seed(), no),
            client_order_id: change.client_order_id.clone().unwrap_or_else(|| self.client_id(no)),
            created_at: self.now,
            updated_at: self.now,
            replaces: Some(old.id),
            filled_qty: Decimal::ZERO,
            filled_cost: Decimal::ZERO,
            status: Status::New,
            eligible_from: self.delayed(self.now),
            draws: 0,
            ..old.clone()
        }
    }

    fn retimed(&self, new: &mut Order, change: &Replacement) -> Result<(), Refusal> {
        if let Some(tif) = change.tif.filter(|tif| *tif != new.tif) {
            let standing = |tif: Tif| matches!(tif, Tif::Day | Tif::Gtc);
            if !standing(tif) || !standing(new.tif) || new.class != Class::Simple {
                return Err(Refusal::unprocessable("unable to replace order, time_in_force cannot become that"));
            }
            new.tif = tif;
            new.expires = expiry(tif, self.now, hours(self.now, new.extended_hours)?.session.date);
        }
        if new.tif != Tif::Day && !new.qty.is_some_and(exact::is_whole) {
            return Err(Refusal::unprocessable("fractional orders must be DAY orders"));
        }
        Ok(())
    }
}

fn repriced(new: &mut Order, change: &Replacement) -> Result<(), Refusal> {
    let has_none = |name: &str| {
        Err(Refusal::unprocessable(format!("unable to replace order, {} orders have no {name}", new.kind.word())))
    };
    let limited = matches!(new.kind, Kind::Limit | Kind::StopLimit);
    let stopped = matches!(new.kind, Kind::Stop | Kind::StopLimit) && !new.elected;
    if change.limit_price.is_some() && !limited {
        return has_none("limit_price");
    }
    if change.stop_price.is_some() && !stopped {
        return has_none("stop_price that is to come");
    }
    if change.trail.is_some() && (new.kind != Kind::TrailingStop || new.elected) {
        return has_none("trail that is to come");
    }
    new.limit_price = change.limit_price.or(new.limit_price);
    new.stop_price = change.stop_price.or(new.stop_price);
    if let Some(value) = change.trail {
        new.trail = Some(match new.trail {
            Some(Trail::Percent(_)) => Trail::Percent(percent(value)?),
            _ => Trail::Price(price("trail", value)?),
        });
    }
    Ok(())
}

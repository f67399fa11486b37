//! A new order: written down, and at once before the market.

use jiff::{SignedDuration, Timestamp, civil::Date};
use ringfence_market::{
    calendar::{self, Session},
    new_york,
};
use rust_decimal::Decimal;

use super::{EventKind, Turn};
use crate::{
    account::{OPEN_MAX, ORDERS_MAX},
    json::Json,
    order::{Class, Kind, Order, OrderNo, Part, Side, Status, Tif},
    refusal::Refusal,
    request::{Amount, NewOrder},
    seed::Uuid,
};

/// How long an order stands that is good until it is cancelled: Alpaca cancels it after 90 days.
const GTC_DAYS: i64 = 90;

/// When an order may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hours {
    /// The first session in which it may.
    pub(super) session: Session,
    /// Whether it may already.
    pub(super) open: bool,
}

/// From when until when an order may fill in a session.
pub(super) fn window(session: &Session, extended: bool) -> (Timestamp, Timestamp) {
    if extended { (session.pre_open, session.post_close) } else { (session.open, session.close) }
}

/// The session at `at` or after it in which an order may fill.
pub(super) fn hours(at: Timestamp, extended: bool) -> Result<Hours, Refusal> {
    let session = calendar::onwards(new_york::date(at)).find(|session| at < window(session, extended).1);
    let session =
        session.ok_or_else(|| Refusal::unprocessable("the calendar of this venue ends before the next session"))?;
    Ok(Hours { session, open: window(&session, extended).0 <= at })
}

/// The day at whose end an order expires.
pub(super) fn expiry(tif: Tif, at: Timestamp, first: Date) -> Date {
    if tif != Tif::Gtc {
        return first;
    }
    let day = new_york::date(at.checked_add(SignedDuration::from_hours(24 * GTC_DAYS)).unwrap_or(at));
    calendar::session(day).or_else(|| calendar::previous(day)).map_or(first, |session| session.date.max(first))
}

impl Turn<'_> {
    /// Takes a new order. The answer is the order as it was when it was taken: what it has filled at once is told by events and
    /// by asking again, as at Alpaca.
    ///
    /// # Errors
    /// Why it is not taken; then nothing has changed.
    pub fn submit(&mut self, new: &NewOrder) -> Result<Json, Refusal> {
        let hours = hours(self.now, new.extended_hours)?;
        let mut order = self.draft(new, &hours);
        self.check_new(new, &order)?;
        let exits = self.exits(&mut order, new);
        self.check_room(1 + exits.len())?;
        let at_once = hours.open && new.tif != Tif::Opg;
        order.status = if at_once { Status::PendingNew } else { Status::Accepted };
        let (no, status) = (order.no, order.status);
        self.put(order);
        for mut exit in exits {
            // Both exits of a group without an entry stand at once.
            exit.status = if new.class == Class::Oco { status } else { Status::Held };
            self.put(exit);
        }
        self.tell(if at_once { EventKind::PendingNew } else { EventKind::Accepted }, no, self.now, None);
        let taken = self.account.orders.get(&no).map_or(Json::Null, |order| self.account.show(order, true));
        if at_once {
            self.admit(no, self.now);
        }
        Ok(taken)
    }

    /// Whether the account may have so many orders more.
    pub(super) fn check_room(&self, more: usize) -> Result<(), Refusal> {
        if self.account.orders.len() + more > ORDERS_MAX {
            return Err(Refusal::forbidden(format!(
                "this account has had {ORDERS_MAX} orders, which are kept in memory; reset it"
            )));
        }
        if self.account.index.open.len() + more > OPEN_MAX {
            return Err(Refusal::forbidden(format!("at most {OPEN_MAX} orders may be open")));
        }
        Ok(())
    }

    pub(super) fn next_no(&self) -> OrderNo {
        self.account.orders.last_key_value().map_or(1, |(no, _)| no + 1)
    }

    fn draft(&self, new: &NewOrder, hours: &Hours) -> Order {
        let (no, now) = (self.next_no(), self.now);
        let (qty, notional) = match new.amount {
            Amount::Qty(qty) => (Some(qty), None),
            Amount::Notional(dollars) => (None, Some(dollars)),
        };
        let intent = match (new.side, self.account.opens(&new.symbol, new.side)) {
            (Side::Buy, true) => "buy_to_open",
            (Side::Buy, false) => "buy_to_close",
            (Side::Sell, true) => "sell_to_open",
            (Side::Sell, false) => "sell_to_close",
        };
        Order {
            no,
            id: Uuid::derived("order", &self.account.seed(), no),
            client_order_id: new.client_order_id.clone().unwrap_or_else(|| self.client_id(no)),
            created_at: now,
            updated_at: now,
            ended_at: None,
            replaced_by: None,
            replaces: None,
            symbol: new.symbol.clone(),
            qty,
            notional,
            filled_qty: Decimal::ZERO,
            filled_cost: Decimal::ZERO,
            class: new.class,
            part: match new.class {
                Class::Simple => None,
                Class::Oco => Some(Part::TakeProfit),
                Class::Bracket | Class::Oto => Some(Part::Entry),
            },
            kind: new.kind,
            side: new.side,
            tif: new.tif,
            limit_price: new.limit_price,
            stop_price: new.stop_price,
            trail: new.trail,
            hwm: self.market().price(&new.symbol).filter(|_| new.kind == Kind::TrailingStop),
            extended_hours: new.extended_hours,
            status: Status::PendingNew,
            legs: Vec::new(),
            parent: None,
            position_intent: new.position_intent.clone().or_else(|| Some(intent.to_owned())),
            elected: false,
            eligible_from: self.delayed(now),
            expires: expiry(new.tif, now, hours.session.date),
            draws: 0,
        }
    }

    /// When an order that is sent now can fill, after the profile's latency.
    pub(super) fn delayed(&self, at: Timestamp) -> Timestamp {
        let latency = SignedDuration::from_millis(i64::from(self.account.opening.profile.latency_ms));
        at.checked_add(latency).unwrap_or(at)
    }

    /// An id in the client's place.
    pub(super) fn client_id(&self, no: OrderNo) -> String {
        Uuid::derived("client", &self.account.seed(), no).to_string()
    }

    /// The exits of a group, whose numbers follow its first order's.
    fn exits(&self, first: &mut Order, new: &NewOrder) -> Vec<Order> {
        let side = if new.class == Class::Oco { new.side } else { new.side.other() };
        let intent = if side == Side::Sell { "sell_to_close" } else { "buy_to_close" };
        let mut exits: Vec<Order> = Vec::new();
        let mut exit = |part: Part, kind: Kind, limit: Option<Decimal>, stop: Option<Decimal>| {
            let no = first.no + 1 + u64::try_from(exits.len()).unwrap_or_default();
            exits.push(Order {
                no,
                id: Uuid::derived("order", &self.account.seed(), no),
                client_order_id: self.client_id(no),
                part: Some(part),
                kind,
                side,
                limit_price: limit,
                stop_price: stop,
                parent: Some(first.no),
                position_intent: Some(intent.to_owned()),
                ..first.clone()
            });
        };
        // Of two exits without an entry the one with the gain is the first order itself.
        if let Some(limit) = new.take_profit.filter(|_| new.class != Class::Oco) {
            exit(Part::TakeProfit, Kind::Limit, Some(limit), None);
        }
        if let Some(loss) = new.stop_loss {
            let kind = if loss.limit_price.is_some() { Kind::StopLimit } else { Kind::Stop };
            exit(Part::StopLoss, kind, loss.limit_price, Some(loss.stop_price));
        }
        first.legs = exits.iter().map(|exit| exit.no).collect();
        exits
    }

    /// An order comes before the market, and with the first of two exits the other.
    pub(super) fn admit(&mut self, no: OrderNo, at: Timestamp) {
        let mut all = vec![no];
        if let Some(order) = self.account.orders.get(&no).filter(|order| order.class == Class::Oco) {
            all.extend(order.legs.iter().copied());
        }
        for no in &all {
            let order = self.account.orders.get(no);
            if order.is_some_and(|order| matches!(order.status, Status::PendingNew | Status::Accepted)) {
                self.edit(*no, at, |order| order.status = Status::New);
                self.tell(EventKind::New, *no, at, None);
            }
        }
        for no in all {
            self.attempt(no, at, None);
        }
    }
}

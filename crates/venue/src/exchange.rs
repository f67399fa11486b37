//! The exchange: what becomes of an account when a client asks for something, and when time passes.
//!
//! Pure: the tape and the instant are handed in. One [`Turn`] is one request or one stretch of time; what it changed is
//! listed at its end, to be journalled before anybody is told.

use std::collections::BTreeSet;

use jiff::Timestamp;
use ringfence_market::{Symbol, Tape, calendar::Session};
use rust_decimal::Decimal;

use crate::{
    account::{Account, Activity, Change, value::Market},
    json::{Json, object},
    order::{Class, Order, OrderNo, Status, words},
    seed::Uuid,
};

mod actions;
mod advance;
mod check;
mod close;
mod fill;
mod replace;
mod submit;

#[cfg(test)]
mod tests;

pub use close::Portion;

words! {
    /// What the trade stream tells of.
    EventKind {
        /// The order is on its way.
        PendingNew = "pending_new",
        /// The order waits for the market.
        Accepted = "accepted",
        /// The order may fill.
        New = "new",
        /// The order has filled.
        Fill = "fill",
        /// The order has filled in part.
        PartialFill = "partial_fill",
        /// The order was taken back.
        Canceled = "canceled",
        /// The order's time is over.
        Expired = "expired",
        /// Another order stands in its place.
        Replaced = "replaced",
        /// The order could not be carried out.
        Rejected = "rejected",
        /// Something of the order is different.
        Restated = "restated",
    }
}

/// One thing to tell on the trade stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// The body: what a `trade_updates` message holds as `data`.
    pub data: Json,
}

/// One request of a client, or one stretch of time.
pub struct Turn<'a> {
    account: &'a mut Account,
    tape: &'a dyn Tape,
    symbols: &'a [Symbol],
    now: Timestamp,
    orders: BTreeSet<OrderNo>,
    positions: BTreeSet<Symbol>,
    cash: bool,
    ids: bool,
    others: Vec<Change>,
    events: Vec<Event>,
    session: Option<Session>,
    /// Counts changes of orders, so that a list of them is known to be old.
    edits: u64,
}

impl<'a> Turn<'a> {
    /// A turn at `now`, which is not before what has happened already. `symbols` are all of the tape's, ascending.
    pub fn new(account: &'a mut Account, tape: &'a dyn Tape, symbols: &'a [Symbol], now: Timestamp) -> Self {
        let now = now.max(account.until);
        Self {
            account,
            tape,
            symbols,
            now,
            orders: BTreeSet::new(),
            positions: BTreeSet::new(),
            cash: false,
            ids: false,
            others: Vec::new(),
            events: Vec::new(),
            session: None,
            edits: 0,
        }
    }

    /// The account as it is now.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.account
    }

    /// The market as it is now.
    #[must_use]
    pub fn market(&self) -> Market<'a> {
        Market { tape: self.tape, at: self.now }
    }

    /// Every symbol that there is.
    #[must_use]
    pub fn symbols(&self) -> &'a [Symbol] {
        self.symbols
    }

    /// When this turn is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What became different, and what to tell of it. Without a change there is nothing to write.
    #[must_use]
    pub fn end(self) -> (Vec<Change>, Vec<Event>) {
        let mut changes = Vec::new();
        if self.ids {
            changes.push(Change::Ids(self.account.ids));
        }
        let order = |no: &OrderNo| self.account.orders.get(no).map(|order| Change::Order(Box::new(order.clone())));
        changes.extend(self.orders.iter().filter_map(order));
        let position = |symbol: &Symbol| Change::Position(symbol.clone(), self.account.positions.get(symbol).copied());
        changes.extend(self.positions.iter().map(position));
        if self.cash {
            changes.push(Change::Cash(self.account.cash));
        }
        changes.extend(self.others);
        if !changes.is_empty() {
            changes.push(Change::Until(self.account.until));
        }
        (changes, self.events)
    }

    /// Makes a change that is none of an order, a position or cash.
    pub fn change(&mut self, change: Change) {
        self.account.change(change.clone());
        self.others.push(change);
    }

    /// The next id of a kind.
    pub fn id(&mut self, kind: &str) -> Uuid {
        self.account.ids += 1;
        self.ids = true;
        Uuid::derived(kind, &self.account.seed(), self.account.ids)
    }

    fn put(&mut self, order: Order) {
        self.orders.insert(order.no);
        self.edits += 1;
        self.account.change(Change::Order(Box::new(order)));
    }

    fn edit(&mut self, no: OrderNo, at: Timestamp, edit: impl FnOnce(&mut Order)) {
        let Some(order) = self.account.orders.get_mut(&no) else { return };
        edit(order);
        order.updated_at = at;
        let (open, no) = (order.status.is_open(), order.no);
        if open {
            self.account.index.open.insert(no);
        } else {
            self.account.index.open.remove(&no);
        }
        self.orders.insert(no);
        self.edits += 1;
    }

    fn set_cash(&mut self, cash: Decimal) {
        self.account.cash = cash;
        self.cash = true;
    }

    fn happened(&mut self, activity: Activity) {
        self.change(Change::Activity(activity));
    }

    /// Tells of an order as it is now.
    fn tell(&mut self, kind: EventKind, no: OrderNo, at: Timestamp, fill: Option<(Decimal, Decimal)>) {
        let Some(order) = self.account.orders.get(&no) else { return };
        // Nothing that depends on how time was cut: what is told of an order differs in one of these.
        let (qty, filled) = (order.qty.unwrap_or_default().normalize(), order.filled_qty.normalize());
        let what = format!("{}/{}/{at}/{}/{qty}/{filled}", self.account.seed(), order.id, kind.word());
        let execution = Uuid::derived("execution", &what, order.draws);
        let data = object! {
            "event" => kind.word(),
            "event_id" => Json::Null,
            "execution_id" => execution.to_string(),
            "order" => self.account.show(order, false),
            "timestamp" => at,
            "at" => at,
            "price" => fill.map(|(price, _)| price),
            "qty" => fill.map(|(_, qty)| qty),
            "position_qty" => fill.map(|_| self.account.qty(&order.symbol)),
        };
        self.events.push(Event { kind, at, data });
    }

    /// Ends an order that did not fill, and with it the others of its group.
    fn finish(&mut self, no: OrderNo, at: Timestamp, status: Status, kind: EventKind) {
        if !self.account.orders.get(&no).is_some_and(|order| order.status.is_open()) {
            return;
        }
        self.edit(no, at, |order| {
            order.status = status;
            order.ended_at = Some(at);
        });
        self.tell(kind, no, at, None);
        for other in self.account.group(no) {
            self.finish(other, at, status, kind);
        }
    }
}

impl Account {
    /// Every other order of a group: its parent and legs, or the parent's other legs.
    #[must_use]
    pub fn group(&self, no: OrderNo) -> Vec<OrderNo> {
        let Some(order) = self.orders.get(&no) else { return Vec::new() };
        let root = order.parent.unwrap_or(no);
        let legs = self.orders.get(&root).map(|root| root.legs.clone()).unwrap_or_default();
        std::iter::once(root).chain(legs).filter(|other| *other != no).collect()
    }

    /// An order as clients read it; with `nested` its legs are in it.
    #[must_use]
    pub fn show(&self, order: &Order, nested: bool) -> Json {
        let legs = if nested && !order.legs.is_empty() {
            Json::List(
                order.legs.iter().filter_map(|no| self.orders.get(no)).map(|leg| self.show(leg, false)).collect(),
            )
        } else {
            Json::Null
        };
        let root = order.parent.and_then(|no| self.orders.get(&no)).unwrap_or(order);
        let group = (order.class != Class::Simple).then(|| root.id.to_string());
        order.json(legs, group)
    }
}

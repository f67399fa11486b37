//! An account: everything that its journal has said. It changes through [`Change`]s alone, so that reading the journal
//! again gives the same account.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{Timestamp, civil::Date};
use ringfence_market::Symbol;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    clock::ReplayClock,
    order::{Order, OrderNo, Side, words},
    profile::Profile,
    seed::Uuid,
};

pub mod value;

/// Dollars that an account begins with, unless something else is said.
pub const CASH_DEFAULT: Decimal = Decimal::from_parts(100_000, 0, 0, false, 0);

/// Most orders of one account, ended ones included: their client ids are never used twice, so they are kept. About 1 KiB of
/// memory each.
pub const ORDERS_MAX: usize = 500_000;

/// Most orders of one account that may be open at a time.
pub const OPEN_MAX: usize = 5_000;

/// Most watchlists of one account (Alpaca's limit), and most symbols of each.
pub const WATCHLISTS_MAX: usize = 200;

/// See [`WATCHLISTS_MAX`].
pub const WATCHED_MAX: usize = 200;

/// Shares of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Shares; negative when they are owed. Never zero.
    pub qty: Decimal,
    /// Dollars paid for them; negative for shares owed.
    pub cost: Decimal,
}

words! {
    /// What happened to an account beside the states of orders.
    ActivityKind {
        /// An order filled.
        Fill = "FILL",
        /// A company split its shares.
        Split = "SPLIT",
        /// A cash dividend.
        Dividend = "DIV",
        /// A fee of the profile.
        Fee = "FEE",
    }
}

/// One entry of an account's activities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Its number within the account, from 1.
    pub no: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: ActivityKind,
    /// Of which shares.
    pub symbol: Symbol,
    /// Shares bought (positive) or sold (negative); those that a split added.
    pub qty: Decimal,
    /// Dollars a share; the ratio of a split.
    pub price: Decimal,
    /// What cash changed by.
    pub cash: Decimal,
    /// The order that filled, and what of it had filled by then.
    pub fill: Option<FillOf>,
}

/// The order's side of a fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillOf {
    /// The order.
    pub order: OrderNo,
    /// Which way.
    pub side: Side,
    /// Whether a sale opened a short position.
    pub short: bool,
    /// Shares of it that have filled with this.
    pub cumulative: Decimal,
    /// Shares of it that have not.
    pub leaves: Decimal,
}

/// What an account was worth at the close of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The session.
    pub date: Date,
    /// When.
    pub at: Timestamp,
    /// Dollars in all.
    pub equity: Decimal,
    /// Of those, in cash.
    pub cash: Decimal,
}

/// What a client has set for its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Alpaca's names")]
pub struct Configuration {
    pub dtbp_check: String,
    pub fractional_trading: bool,
    pub max_margin_multiplier: String,
    pub no_shorting: bool,
    pub pdt_check: String,
    pub suspend_trade: bool,
    pub trade_confirm_email: String,
    pub ptp_no_exception_entry: bool,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            dtbp_check: "entry".into(),
            fractional_trading: true,
            max_margin_multiplier: "4".into(),
            no_shorting: false,
            pdt_check: "entry".into(),
            suspend_trade: false,
            trade_confirm_email: "all".into(),
            ptp_no_exception_entry: false,
        }
    }
}

/// Symbols that a client keeps an eye on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchlist {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique in the account.
    pub name: String,
    /// Symbols, in the client's order.
    pub symbols: Vec<Symbol>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an account is begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Its name in the control API.
    pub name: String,
    /// Key id that chooses it.
    pub key_id: String,
    /// The key's secret.
    pub secret: String,
    /// Dollars.
    pub cash: Decimal,
    /// Where all that looks random comes from.
    pub seed: u64,
    /// How often it has been reset: it has another id each time.
    pub generation: u64,
    /// Its clock.
    pub clock: ReplayClock,
    /// When it begins, by that clock.
    pub start: Timestamp,
    /// How orders are treated.
    pub profile: Profile,
}

/// Something that becomes different in an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// An order is now this.
    Order(Box<Order>),
    /// A position is now this; none is none.
    Position(Symbol, Option<Position>),
    /// Cash is now this.
    Cash(Decimal),
    /// Something happened.
    Activity(Activity),
    /// A session closed.
    Mark(Mark),
    /// Everything up to there has happened.
    Until(Timestamp),
    /// The clock is now this.
    Clock(ReplayClock),
    /// What the client has set.
    Configuration(Configuration),
    /// A watchlist is now this.
    Watchlist(Watchlist),
    /// A watchlist is gone.
    Unwatched(Uuid),
    /// So many ids have been given.
    Ids(u64),
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What it was begun with.
    pub opening: Opening,
    /// Dollars in cash; negative when borrowed.
    pub cash: Decimal,
    /// What is owned and owed.
    pub positions: BTreeMap<Symbol, Position>,
    /// Every order, by number.
    pub orders: BTreeMap<OrderNo, Order>,
    /// What happened, oldest first.
    pub activities: Vec<Activity>,
    /// What it was worth, oldest first.
    pub marks: Vec<Mark>,
    /// Everything up to there has happened.
    pub until: Timestamp,
    /// Its clock.
    pub clock: ReplayClock,
    /// What the client has set.
    pub configuration: Configuration,
    /// Watchlists, by id.
    pub watchlists: BTreeMap<Uuid, Watchlist>,
    /// How many ids have been given.
    pub ids: u64,
    /// Indexes, which follow from the above.
    #[serde(skip)]
    pub index: Index,
}

/// What is found quickly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Orders that may still change.
    pub open: BTreeSet<OrderNo>,
    by_id: HashMap<Uuid, OrderNo>,
    by_client_id: HashMap<String, OrderNo>,
}

impl Account {
    /// An account that nothing has happened in.
    #[must_use]
    pub fn open(opening: Opening) -> Self {
        Self {
            cash: opening.cash,
            positions: BTreeMap::new(),
            orders: BTreeMap::new(),
            activities: Vec::new(),
            marks: Vec::new(),
            until: opening.start,
            clock: opening.clock,
            configuration: Configuration::default(),
            watchlists: BTreeMap::new(),
            ids: 0,
            index: Index::default(),
            opening,
        }
    }

    /// Makes a change. This is the only way in which an account becomes different.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Order(order) => {
                self.index.put(&order);
                self.orders.insert(order.no, *order);
            }
            Change::Position(symbol, Some(position)) => {
                self.positions.insert(symbol, position);
            }
            Change::Position(symbol, None) => {
                self.positions.remove(&symbol);
            }
            Change::Cash(cash) => self.cash = cash,
            Change::Activity(activity) => self.activities.push(activity),
            Change::Mark(mark) => self.marks.push(mark),
            Change::Until(until) => self.until = until,
            Change::Clock(clock) => self.clock = clock,
            Change::Configuration(configuration) => self.configuration = configuration,
            Change::Watchlist(watchlist) => {
                self.watchlists.insert(watchlist.id, watchlist);
            }
            Change::Unwatched(id) => {
                self.watchlists.remove(&id);
            }
            Change::Ids(ids) => self.ids = ids,
        }
    }

    /// Makes the indexes anew, for an account that was read.
    pub fn reindex(&mut self) {
        self.index = Index::default();
        for order in self.orders.values() {
            self.index.put(order);
        }
    }

    /// What the ids of orders and whatever looks random are derived from: the seed alone, so that an account that is begun again
    /// with it does the same to the digit.
    #[must_use]
    pub fn seed(&self) -> String {
        self.opening.seed.to_string()
    }

    /// The account's own id, another one after each reset.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let Opening { name, seed, generation, .. } = &self.opening;
        Uuid::derived("account", &format!("{name}/{seed}/{generation}"), 0)
    }

    /// The order with that id.
    #[must_use]
    pub fn order(&self, id: Uuid) -> Option<&Order> {
        self.orders.get(self.index.by_id.get(&id)?)
    }

    /// The order with that id of the client.
    #[must_use]
    pub fn order_of_client(&self, client_order_id: &str) -> Option<&Order> {
        self.orders.get(self.index.by_client_id.get(client_order_id)?)
    }

    /// Orders that may still change, oldest first.
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.index.open.iter().filter_map(|no| self.orders.get(no))
    }

    /// Shares of a symbol; negative when they are owed.
    #[must_use]
    pub fn qty(&self, symbol: &Symbol) -> Decimal {
        self.positions.get(symbol).map_or(Decimal::ZERO, |p| p.qty)
    }
}

impl Index {
    fn put(&mut self, order: &Order) {
        self.by_id.insert(order.id, order.no);
        // A replacement may take over the client's id: the newest order has it.
        let newest = self.by_client_id.entry(order.client_order_id.clone()).or_insert(order.no);
        *newest = order.no.max(*newest);
        if order.status.is_open() {
            self.open.insert(order.no);
        } else {
            self.open.remove(&order.no);
        }
    }
}

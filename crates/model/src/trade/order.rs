//! Orders as the gate has understood them, and the messages that carry them.

use serde::{Deserialize, Serialize};

use super::name::words;
use super::{AssetClass, CanonicalSymbol, ClientOrderId, Percent, Price, Qty, UpstreamId, Usd};

words!(
    /// Which way.
    Side, "a side" {
        /// It buys.
        Buy = "buy",
        /// It sells.
        Sell = "sell",
    }
);

impl Side {
    /// The other way.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

words!(
    /// The type of an order, as limits name it.
    OrderType, "an order type" {
        /// At any price.
        Market = "market",
        /// At a price or a better one.
        Limit = "limit",
        /// At any price, once the price was seen.
        Stop = "stop",
        /// At a limit, once another price was seen.
        StopLimit = "stop_limit",
        /// A stop that follows the price.
        TrailingStop = "trailing_stop",
    }
);

words!(
    /// How long an order is good.
    TimeInForce, "a time in force" {
        /// To the end of the day.
        Day = "day",
        /// Until it is cancelled.
        Gtc = "gtc",
        /// In the opening auction.
        Opg = "opg",
        /// In the closing auction.
        Cls = "cls",
        /// What can be had at once.
        Ioc = "ioc",
        /// All at once or nothing.
        Fok = "fok",
    }
);

words!(
    /// The class of an order, as limits name it.
    OrderClass, "an order class" {
        /// By itself.
        Simple = "simple",
        /// An entry with two exits, of which one cancels the other.
        Bracket = "bracket",
        /// Two exits, of which one cancels the other.
        Oco = "oco",
        /// An entry with one exit.
        Oto = "oto",
        /// Several options at once.
        Mleg = "mleg",
    }
);

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// So many.
    Qty(Qty),
    /// For so many dollars.
    Notional(Usd),
}

/// How far a trailing stop stays behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trail {
    /// By so many dollars.
    Price(Price),
    /// By so much of the price.
    Percent(Percent),
}

/// The type of an order with the prices that belong to it: a market order has none, and none is without its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the usual words")]
pub enum Pricing {
    Market,
    Limit { limit: Price },
    Stop { stop: Price },
    StopLimit { stop: Price, limit: Price },
    TrailingStop { trail: Trail },
}

impl Pricing {
    /// The type alone.
    #[must_use]
    pub fn order_type(self) -> OrderType {
        match self {
            Self::Market => OrderType::Market,
            Self::Limit { .. } => OrderType::Limit,
            Self::Stop { .. } => OrderType::Stop,
            Self::StopLimit { .. } => OrderType::StopLimit,
            Self::TrailingStop { .. } => OrderType::TrailingStop,
        }
    }

    /// The limit, where there is one.
    #[must_use]
    pub fn limit(self) -> Option<Price> {
        match self {
            Self::Limit { limit } | Self::StopLimit { limit, .. } => Some(limit),
            Self::Market | Self::Stop { .. } | Self::TrailingStop { .. } => None,
        }
    }
}

/// The stop of a bracket, with a limit or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopLoss {
    /// The price at which it becomes an order.
    pub stop: Price,
    /// Its limit then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Price>,
}

/// The exit of an order of class `oto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// A limit.
    TakeProfit(Price),
    /// A stop.
    StopLoss(StopLoss),
}

/// One of several options that are traded together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionLeg {
    /// Which.
    pub symbol: CanonicalSymbol,
    /// Which way.
    pub side: Side,
    /// How many of it for one of the order.
    pub ratio: u32,
}

/// The class of an order with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structure {
    /// By itself.
    Simple,
    /// An entry, and two exits of the same size on the other side.
    Bracket {
        /// The limit of one.
        take_profit: Price,
        /// The other.
        stop_loss: StopLoss,
    },
    /// Two exits on the order's own side: the order is the limit, and this the other one.
    Oco {
        /// The other one.
        stop_loss: StopLoss,
    },
    /// An entry, and one exit of the same size on the other side.
    Oto(Exit),
    /// Several options.
    Mleg(Vec<OptionLeg>),
}

impl Structure {
    /// The class alone.
    #[must_use]
    pub fn class(&self) -> OrderClass {
        match self {
            Self::Simple => OrderClass::Simple,
            Self::Bracket { .. } => OrderClass::Bracket,
            Self::Oco { .. } => OrderClass::Oco,
            Self::Oto(_) => OrderClass::Oto,
            Self::Mleg(_) => OrderClass::Mleg,
        }
    }

    /// How many orders the venue makes of it.
    #[must_use]
    pub fn orders(&self) -> u32 {
        match self {
            Self::Simple | Self::Mleg(_) => 1,
            Self::Oco { .. } | Self::Oto(_) => 2,
            Self::Bracket { .. } => 3,
        }
    }
}

/// An order as the gate has understood it. It is what is judged and what is written to the venue, in the gate's own bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderIntent {
    /// What. Of several options, what they are about.
    pub symbol: CanonicalSymbol,
    /// What kind of thing that is.
    pub asset_class: AssetClass,
    /// Which way.
    pub side: Side,
    /// How much.
    pub size: Size,
    /// At what price.
    pub pricing: Pricing,
    /// How long.
    pub time_in_force: TimeInForce,
    /// With which legs.
    pub structure: Structure,
    /// Also outside of regular hours.
    #[serde(default)]
    pub extended_hours: bool,
    /// It says how it is to be routed.
    #[serde(default)]
    pub advanced_instructions: bool,
    /// What the client calls it; the gate gives an id where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<ClientOrderId>,
}

impl OrderIntent {
    /// An order to trade so many at market today, with nothing else said.
    #[must_use]
    pub fn market(symbol: CanonicalSymbol, side: Side, qty: Qty) -> Self {
        Self {
            symbol,
            asset_class: AssetClass::UsEquity,
            side,
            size: Size::Qty(qty),
            pricing: Pricing::Market,
            time_in_force: TimeInForce::Day,
            structure: Structure::Simple,
            extended_hours: false,
            advanced_instructions: false,
            client_order_id: None,
        }
    }
}

/// What a replacement changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// How much there is of it in all.
    pub qty: Option<Qty>,
    /// How long it is good.
    pub time_in_force: Option<TimeInForce>,
    /// Its limit.
    pub limit: Option<Price>,
    /// Its stop.
    pub stop: Option<Price>,
    /// How far it trails, in the measure that it has already.
    pub trail: Option<Trail>,
    /// What the client calls the new order.
    pub client_order_id: Option<ClientOrderId>,
}

/// How an order is named by a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderRef {
    /// By the venue's id. Also that of a leg.
    Upstream(UpstreamId),
    /// By the client's.
    Client(ClientOrderId),
}

/// How much of a position is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseSize {
    /// All of it.
    All,
    /// So many.
    Qty(Qty),
    /// So much of it.
    Percentage(Percent),
}

/// What a request asks of a venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// It changes nothing.
    Read,
    /// A new order.
    Submit(OrderIntent),
    /// Another order in place of one.
    Replace {
        /// Of which.
        of: OrderRef,
        /// What is changed.
        changes: Changes,
    },
    /// An order is cancelled.
    Cancel {
        /// Which.
        of: OrderRef,
    },
    /// All orders are cancelled: of the sandbox that asks, whatever the venue would do.
    CancelAll,
    /// A position is closed by a market order.
    ClosePosition {
        /// Of what.
        symbol: CanonicalSymbol,
        /// How much of it.
        size: CloseSize,
    },
    /// All positions are closed. It becomes one [`Message::ClosePosition`] for each, every one judged by itself.
    CloseAll {
        /// The sandbox's orders are cancelled before.
        cancel_orders: bool,
    },
}

impl Message {
    /// Whether it makes an order.
    #[must_use]
    pub fn makes_an_order(&self) -> bool {
        matches!(self, Self::Submit(_) | Self::Replace { .. } | Self::ClosePosition { .. })
    }

    /// The word for it in records.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit(_) => "submit",
            Self::Replace { .. } => "replace",
            Self::Cancel { .. } => "cancel",
            Self::CancelAll => "cancel_all",
            Self::ClosePosition { .. } => "close_position",
            Self::CloseAll { .. } => "close_all",
        }
    }
}

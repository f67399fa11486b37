//! An order: what was asked for, and what has become of it.

use jiff::{Timestamp, civil::Date};
use ringfence_market::Symbol;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    exact::{Exact, TooLarge},
    seed::Uuid,
};

mod wire;

/// A word of Alpaca's wire for each variant of a type.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $type { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),* }

        impl $type {
            /// As it is called on the wire.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one with that name.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Buying or selling.
    Side {
        /// More shares, or fewer owed.
        Buy = "buy",
        /// Fewer shares, or more owed.
        Sell = "sell",
    }
}

words! {
    /// When it may fill.
    Kind {
        /// At whatever the quote is.
        Market = "market",
        /// At a price or a better one.
        Limit = "limit",
        /// At the market, once the price has been somewhere.
        Stop = "stop",
        /// At a limit, once the price has been somewhere.
        StopLimit = "stop_limit",
        /// At the market, once the price has come back from its best.
        TrailingStop = "trailing_stop",
    }
}

words! {
    /// How long it stands.
    Tif {
        /// Until the end of a session.
        Day = "day",
        /// Until it is cancelled, for 90 days at most.
        Gtc = "gtc",
        /// In a session's opening trade alone.
        Opg = "opg",
        /// In a session's closing trade alone.
        Cls = "cls",
        /// At once; what does not fill is cancelled.
        Ioc = "ioc",
        /// At once and as a whole, or not at all.
        Fok = "fok",
    }
}

words! {
    /// How orders belong together.
    Class {
        /// They do not.
        Simple = "",
        /// An entry with two exits.
        Bracket = "bracket",
        /// Two exits, of which one ends the other.
        Oco = "oco",
        /// An entry with one exit.
        Oto = "oto",
    }
}

words! {
    /// What has become of an order.
    Status {
        /// It waits for its market to open.
        Accepted = "accepted",
        /// It is on its way.
        PendingNew = "pending_new",
        /// It may fill.
        New = "new",
        /// It has filled in part, and may fill on.
        PartiallyFilled = "partially_filled",
        /// It has filled.
        Filled = "filled",
        /// It waits for another order.
        Held = "held",
        /// It was taken back.
        Canceled = "canceled",
        /// Its time is over.
        Expired = "expired",
        /// Another order stands in its place.
        Replaced = "replaced",
        /// It could not be carried out.
        Rejected = "rejected",
    }
}

impl Status {
    /// Whether something may still become of it.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Accepted | Self::PendingNew | Self::New | Self::PartiallyFilled | Self::Held => true,
            Self::Filled | Self::Canceled | Self::Expired | Self::Replaced | Self::Rejected => false,
        }
    }

    /// Whether it may fill.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::New | Self::PartiallyFilled)
    }
}

words! {
    /// An order's part in a group.
    Part {
        /// It opens the position.
        Entry = "entry",
        /// It closes it with a gain.
        TakeProfit = "take_profit",
        /// It closes it with a loss.
        StopLoss = "stop_loss",
    }
}

impl Side {
    /// The opposite.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// How far behind the best price a trailing stop follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trail {
    /// Dollars.
    Price(Decimal),
    /// Hundredths of the best price.
    Percent(Decimal),
}

/// Number of an order within its account, ascending by time of submission.
pub type OrderNo = u64;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub no: OrderNo,
    /// Its id on the wire.
    pub id: Uuid,
    /// The client's own id, unique in the account for ever.
    pub client_order_id: String,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When something last became of it.
    pub updated_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// The order that stands in its place.
    pub replaced_by: Option<Uuid>,
    /// The order in whose place it stands.
    pub replaces: Option<Uuid>,
    /// What.
    pub symbol: Symbol,
    /// Shares; none while an order in dollars has not filled.
    pub qty: Option<Decimal>,
    /// Dollars, in place of shares.
    pub notional: Option<Decimal>,
    /// Shares filled.
    pub filled_qty: Decimal,
    /// Dollars that those cost, without fees.
    pub filled_cost: Decimal,
    /// How it belongs with others.
    pub class: Class,
    /// Its part in that.
    pub part: Option<Part>,
    /// When it may fill.
    pub kind: Kind,
    /// Which way.
    pub side: Side,
    /// How long.
    pub tif: Tif,
    /// Highest price to buy, lowest to sell.
    pub limit_price: Option<Decimal>,
    /// Where a stop is elected.
    pub stop_price: Option<Decimal>,
    /// How a trailing stop follows.
    pub trail: Option<Trail>,
    /// The best price that a trailing stop has seen.
    pub hwm: Option<Decimal>,
    /// Whether it may fill before the open and after the close.
    pub extended_hours: bool,
    /// What has become of it.
    pub status: Status,
    /// The exits of an entry, and the other exit of one that comes first.
    pub legs: Vec<OrderNo>,
    /// The order that this is a leg of.
    pub parent: Option<OrderNo>,
    /// What the client said of its intent.
    pub position_intent: Option<String>,
    /// Whether a stop has been elected.
    pub elected: bool,
    /// From when it can fill at all.
    pub eligible_from: Timestamp,
    /// The session at whose end it expires.
    pub expires: Date,
    /// How often fate has been asked about it.
    pub draws: u64,
}

impl Order {
    /// Shares that have not filled; none for an order in dollars before its first fill.
    #[must_use]
    pub fn remaining(&self) -> Option<Decimal> {
        self.qty.and_then(|qty| qty.checked_sub(self.filled_qty))
    }

    /// Dollars a share, of what has filled.
    #[must_use]
    pub fn filled_avg_price(&self) -> Option<Decimal> {
        let average = self.filled_cost.checked_div(self.filled_qty)?;
        Some(crate::exact::round(average, crate::exact::QTY_DECIMALS))
    }

    /// The highest price that a buy may fill at, and the lowest of a sale; none is any.
    ///
    /// A buy stop becomes a limit order 4 % above its stop below 50 dollars, 2.5 % from there on (Alpaca, "Stop orders").
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn bound(&self) -> Result<Option<Decimal>, TooLarge> {
        match (self.kind, self.side, self.stop_price) {
            (Kind::Limit | Kind::StopLimit, ..) => Ok(self.limit_price),
            (Kind::Stop, Side::Buy, Some(stop)) => Ok(Some(crate::exact::round(collared(stop)?, 4))),
            _ => Ok(None),
        }
    }

    /// Whether it waits for a price before it may fill.
    #[must_use]
    pub fn waits_for_price(&self) -> bool {
        matches!(self.kind, Kind::Stop | Kind::StopLimit | Kind::TrailingStop) && !self.elected
    }

    /// What a trailing stop's stop price is, from its best price.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn trailed(&self) -> Result<Option<Decimal>, TooLarge> {
        let (Some(trail), Some(hwm)) = (self.trail, self.hwm) else { return Ok(None) };
        let distance = match trail {
            Trail::Price(dollars) => dollars,
            Trail::Percent(percent) => hwm.times(percent)?.over(Decimal::ONE_HUNDRED)?,
        };
        let stop = match self.side {
            Side::Sell => hwm.minus(distance)?,
            Side::Buy => hwm.plus(distance)?,
        };
        Ok(Some(crate::exact::round(stop, 4)))
    }
}

/// `price` with the collar of a buy: 4 % above below 50 dollars, 2.5 % from there on.
///
/// # Errors
/// [`TooLarge`]
pub fn collared(price: Decimal) -> Result<Decimal, TooLarge> {
    let collar = if price < Decimal::from(50) { Decimal::new(104, 2) } else { Decimal::new(1025, 3) };
    price.times(collar)
}

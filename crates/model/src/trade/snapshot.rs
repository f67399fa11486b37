//! What the rules look at: facts of the market and the account, and what the ledger has counted.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::words;
use super::{
    CanonicalSymbol, Environment, Limits, Message, Mode, OrderIntent, Price, Qty, Reservation, Side, TradingState, Usd,
};

words!(
    /// What part of a trading day it is.
    Session, "a part of the trading day" {
        /// Before the market opens, on a day on which it does.
        PreMarket = "pre_market",
        /// The market is open. On half days it ends earlier.
        Regular = "regular",
        /// After it has closed.
        AfterHours = "after_hours",
        /// Anything else.
        Closed = "closed",
    }
);

/// A day of New York's calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TradeDate(u32);

impl TradeDate {
    /// The day, if there may be one: 1970 to 9999, months to 12, days to 31.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let plausible = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        plausible.then(|| Self(u32::from(year) * 10_000 + u32::from(month) * 100 + u32::from(day)))
    }

    /// Reads `2026-11-26`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u16>().ok()).flatten();
        let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..])?);
        Self::new(year, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    }

    /// As a number of eight digits, in the order of the days.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Of such a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        Self::new(u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    }
}

impl fmt::Display for TradeDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}

impl TryFrom<String> for TradeDate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("`{}` is not a day: write it as in `2026-11-26`", super::excerpt(&text)))
    }
}

impl From<TradeDate> for String {
    fn from(date: TradeDate) -> Self {
        date.to_string()
    }
}

/// The account's own clock: of a replay, the replayed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountClock {
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The day in New York.
    pub date: TradeDate,
    /// The minute of that day in New York, from 0 to 1439.
    pub minute: u16,
    /// What part of the trading day it is, by the calendar of the market, half days included.
    pub session: Session,
}

/// What the market says about a symbol, as the gate itself has asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Of what.
    pub symbol: CanonicalSymbol,
    /// What is bid.
    pub bid: Option<Price>,
    /// What is asked.
    pub ask: Option<Price>,
    /// What was traded last.
    pub last: Option<Price>,
    /// When, by the account's clock, in milliseconds since the Unix epoch. Of several times, the oldest.
    pub at_ms: u64,
}

impl Reference {
    /// The price that a side is compared with: a buy with what is asked, a sell with what is bid, and with the last one where there
    /// is none. A price of nothing is none.
    #[must_use]
    pub fn of(&self, side: Side) -> Option<Price> {
        let near = match side {
            Side::Buy => self.ask,
            Side::Sell => self.bid,
        };
        near.filter(|price| price.is_positive()).or(self.last.filter(|price| price.is_positive()))
    }

    /// The highest of all.
    #[must_use]
    pub fn high(&self) -> Option<Price> {
        [self.bid, self.ask, self.last].into_iter().flatten().filter(|price| price.is_positive()).max()
    }

    /// The lowest of all.
    #[must_use]
    pub fn low(&self) -> Option<Price> {
        [self.bid, self.ask, self.last].into_iter().flatten().filter(|price| price.is_positive()).min()
    }
}

/// A position of the account, as the venue has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// In what.
    pub symbol: CanonicalSymbol,
    /// What kind of thing that is.
    pub asset_class: super::AssetClass,
    /// How many; below zero it is short.
    pub qty: Qty,
    /// The price at which the venue counts it.
    pub price: Price,
}

/// The account's equity, as the venue has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equity {
    /// Now.
    pub now: Usd,
    /// When the day began; where the venue does not say, the ledger takes the first one of the day.
    pub start_of_day: Option<Usd>,
}

/// What the gate knows of market and account when it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The account's clock.
    pub clock: AccountClock,
    /// The host's clock, in milliseconds since the Unix epoch: messages a second and the end of live are measured by it.
    pub host_ms: u64,
    /// Where the host of the request leads.
    pub environment: Environment,
    /// What the operator has set.
    pub mode: Mode,
    /// References of the symbols that the message is about.
    pub references: Vec<Reference>,
    /// All positions of the account.
    pub positions: Vec<Position>,
    /// The account's equity, where it is known.
    pub equity: Option<Equity>,
}

impl Facts {
    /// The reference of a symbol.
    #[must_use]
    pub fn reference(&self, symbol: &CanonicalSymbol) -> Option<&Reference> {
        self.references.iter().find(|reference| reference.symbol == *symbol)
    }

    /// The position in a symbol.
    #[must_use]
    pub fn position(&self, symbol: &CanonicalSymbol) -> Option<&Position> {
        self.positions.iter().find(|position| position.symbol == *symbol)
    }
}

/// One value for the sandbox that asks, and one for its account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scoped<T> {
    /// Of the account, over all sandboxes.
    pub account: T,
    /// Of the sandbox.
    pub sandbox: T,
}

words!(
    /// Whose counter or state it is.
    Scope, "a scope" {
        /// The account's.
        Account = "account",
        /// The sandbox's.
        Sandbox = "sandbox",
    }
);

impl<T> Scoped<T> {
    /// Both, the account's first.
    pub fn each(&self) -> [(Scope, &T); 2] {
        [(Scope::Account, &self.account), (Scope::Sandbox, &self.sandbox)]
    }
}

/// What was bought, traded and sent in a time; of a day or of 24 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// What was paid for what was bought.
    pub bought: Usd,
    /// What was paid and received.
    pub turnover: Usd,
    /// Orders sent.
    pub orders: u32,
}

/// Messages that may be sent now: a bucket of thousandths, filled by the host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Thousandths of a message that are in it.
    pub level: u64,
    /// When that was so, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What the ledger has counted of an account, or of a sandbox there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Whether it may trade.
    pub state: TradingState,
    /// Of the day.
    pub day: Spent,
    /// Of the last 24 hours.
    pub rolling: Spent,
    /// What open orders may still buy and trade.
    pub pending: Spent,
    /// Orders that are open, legs included.
    pub open_orders: u32,
    /// Messages that may be sent; none before the first.
    pub bucket: Option<Bucket>,
    /// Refusals since an order was last accepted.
    pub refusals: u32,
    /// Fills of the symbol and side within the window of repeated execution.
    pub repeated_fills: u32,
}

/// An open order of the account, as far as it can still trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOrder {
    /// Its number in the ledger.
    pub number: u64,
    /// It is the sandbox's that asks.
    pub own: bool,
    /// The order.
    pub intent: OrderIntent,
    /// What was reserved when it was admitted.
    pub reservation: Reservation,
    /// What of the entry is not filled.
    pub remaining: Qty,
    /// What of that it may still cost or bring, at most.
    pub pending: Usd,
    /// What its exits may still cost or bring, at most.
    pub exit_pending: Usd,
    /// How many orders of it are counted as open.
    pub orders: u32,
    /// What was bought by the entry and may be sold by the exits (or the other way round): never more than was filled.
    pub exits: Qty,
}

/// The order that a replacement or a cancel is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its number in the ledger.
    pub number: u64,
    /// It is a leg of that order, not the order itself.
    pub leg: bool,
    /// It may still trade.
    pub open: bool,
}

/// What the ledger knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Counters and states.
    pub counters: Scoped<Counters>,
    /// The highest equity that was seen.
    pub high_water: Option<Usd>,
    /// The equity with which the day began.
    pub start_of_day: Option<Usd>,
    /// All open orders of the account that went through the gate.
    pub open: Vec<OpenOrder>,
    /// The order that the message names, if it is the sandbox's own.
    pub target: Option<Target>,
    /// The account has an order of the client order id that the message gives.
    pub client_order_id_taken: bool,
    /// When the same body was last admitted of this sandbox, in milliseconds of the host's clock.
    pub same_at_ms: Option<u64>,
    /// A person has approved this very order.
    pub approved: bool,
}

/// All that is judged.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The limits in force: of a sandbox, those of its account tightened by its own.
    pub limits: &'a Scoped<Limits>,
    /// Market and account.
    pub facts: &'a Facts,
    /// The ledger.
    pub counted: &'a Counted,
    /// What is asked.
    pub message: &'a Message,
}

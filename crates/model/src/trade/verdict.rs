//! What was decided, and what follows from it.

use serde::{Deserialize, Serialize};

use super::{Bucket, CanonicalSymbol, OrderIntent, Price, Qty, Refusal, Scope, Scoped, Side, StateEvent, Usd};

/// What an order may cost at worst, kept aside while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Which way the entry goes; exits go the other way.
    pub side: Side,
    /// How many the entry is for at most.
    pub qty: Qty,
    /// It was sized in dollars; how many that is was reckoned.
    pub by_notional: bool,
    /// Units of the price that one is about.
    pub multiplier: u32,
    /// The worst price of the entry, by which what remains of it is counted.
    pub price: Price,
    /// What the entry may cost or bring at most.
    pub entry: Usd,
    /// The worst price of the exits; none without exits.
    pub exit_price: Option<Price>,
    /// What the exits may cost or bring at most. One of two trades.
    pub exit: Usd,
    /// How many orders the venue makes of it.
    pub orders: u32,
}

impl Reservation {
    /// What it may buy for.
    #[must_use]
    pub fn bought(&self) -> Usd {
        match self.side {
            Side::Buy => self.entry,
            Side::Sell => self.exit,
        }
    }

    /// What it may buy and sell for; none when that is too much.
    #[must_use]
    pub fn turnover(&self) -> Option<Usd> {
        self.entry.plus(self.exit)
    }
}

/// What the gate does with what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes on as it is.
    Forward,
    /// An order is sent: this one, with what is reserved for it.
    Send {
        /// The order in the gate's reading; of a replacement, as it is afterwards.
        intent: OrderIntent,
        /// What it may cost at worst.
        reservation: Reservation,
        /// The order that it takes the place of.
        replaces: Option<u64>,
        /// Nothing of it can make a position larger.
        reduce_only: bool,
    },
    /// The price of a leg is changed: an exit of this order, which stays as large as it is. No reservation moves.
    ReplaceLeg {
        /// The number of the order in the ledger.
        number: u64,
    },
    /// One order is cancelled.
    Cancel {
        /// Its number in the ledger.
        number: u64,
    },
    /// These are cancelled, one by one, in place of all of the account.
    CancelOwn {
        /// Their numbers in the ledger.
        numbers: Vec<u64>,
    },
    /// These positions are closed, each by a message of its own that is judged by itself.
    CloseEach {
        /// In what.
        symbols: Vec<CanonicalSymbol>,
        /// The sandbox's open orders, which are cancelled before; none where that was not asked for.
        cancel: Vec<u64>,
    },
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may happen.
    Allow(Box<Action>),
    /// It may not.
    Refuse(Refusal),
    /// It may once a person has approved it; until then it is refused so.
    Hold {
        /// What the order is worth at worst.
        notional: Usd,
        /// What the client is told.
        refusal: Refusal,
    },
}

/// A state that moves because of what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Whose.
    pub scope: Scope,
    /// How.
    pub event: StateEvent,
}

/// A verdict with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What was decided.
    pub verdict: Verdict,
    /// States that move.
    pub effects: Vec<Effect>,
    /// The buckets of messages afterwards; none where nothing was taken.
    pub buckets: Scoped<Option<Bucket>>,
    /// The refusals in a row of the sandbox afterwards.
    pub refusals: u32,
}

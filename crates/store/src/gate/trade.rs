//! The ledger of pre-trade controls: what orders may still cost, what they have cost, and whose they are.
//!
//! [`GateStore::trade_admit`] judges a message by the rules in `model::trade` and what is written here, reserves what an order may
//! cost at worst, counts, and appends the audit entry, in one transaction; what was allowed and is on disk has a [`Permit`]. After
//! that an order is sent once. What becomes of it moves its reservation: a fill turns a part of it into what was spent, the end
//! voids the rest. An order of which nobody knows whether it has arrived keeps all of it until the venue was asked.
//!
//! What is pending of an account or a sandbox is at any time the sum over its open orders, and never below nothing.

mod admit;
mod check;
mod control;
mod early;
mod fill;
mod hold;
mod list;
mod order;
mod scope;
mod settle;

use ringfence_model::SandboxId;
use ringfence_model::trade::{
    AccountId, CanonicalSymbol, Facts, Message, Refusal, Scope, TradingState, UpstreamId, Usd,
};

use super::{Decision, DecisionId, Permit};

pub use control::{LimitsRow, TradeStatus};
pub use fill::{Fill, FillOutcome};
pub use hold::{HoldRow, HoldState};
pub use list::{OrderFilter, Standing};
pub use order::{Answer, OrderRow, OrderState, Owned};
pub use settle::Acknowledged;

/// A message of a sandbox to a venue, to be judged.
#[derive(Debug, Clone)]
pub struct TradeAsk {
    /// The decision as the network knows it: who, when by the host's clock, to which host and path. Its verdict is made here.
    pub decision: Decision,
    /// The account that the request is for.
    pub account: AccountId,
    /// What the gate knows of market and account.
    pub facts: Facts,
    /// What is asked.
    pub message: Message,
    /// The SHA-256 of method, path, query and body as they came, by which the same request is known again.
    pub body: [u8; 32],
}

/// What became of it. It is on disk.
#[derive(Debug)]
#[must_use = "what was allowed takes its permit along"]
pub enum TradeRuling {
    /// It may happen.
    Allowed {
        /// What lets it out.
        permit: Permit,
        /// What goes out.
        action: Admitted,
    },
    /// It is the same as one whose answer was lost. Nothing is sent again: the venue is asked what became of the first.
    Duplicate {
        /// Lets the question out.
        permit: Permit,
        /// The first.
        order: Box<OrderRow>,
    },
    /// It may not.
    Refused {
        /// The decision.
        decision: DecisionId,
        /// What the program is told.
        refusal: Refusal,
        /// States that moved because of it.
        moved: Vec<Moved>,
    },
    /// It may once a person has approved it, and the program sends it again.
    Held {
        /// The decision.
        decision: DecisionId,
        /// The number by which it is approved.
        hold: u64,
        /// What the program is told.
        refusal: Refusal,
    },
}

/// What goes out with a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// The request as it is.
    Forward,
    /// This order, with its client order id, at most once. Also a position that is closed is one.
    Send {
        /// The order as the ledger has it.
        order: Box<OrderRow>,
        /// The order in whose place it comes, by its id at the venue.
        replaces: Option<UpstreamId>,
    },
    /// The price of a leg is changed: an exit of this order. The venue gives the leg another id, which is told by
    /// [`GateTx::trade_leg`](super::GateTx::trade_leg).
    ReplaceLeg {
        /// The order.
        order: Box<OrderRow>,
    },
    /// One order is cancelled: this one, or the leg that was named.
    Cancel {
        /// The order.
        order: Box<OrderRow>,
    },
    /// These are cancelled, one by one.
    CancelOwn {
        /// The sandbox's open orders.
        orders: Vec<OrderRow>,
    },
    /// The first are cancelled, and then each position is closed by a message of its own, which is asked for by itself.
    CloseEach {
        /// The sandbox's open orders, where they are to be cancelled.
        orders: Vec<OrderRow>,
        /// In what.
        symbols: Vec<CanonicalSymbol>,
    },
}

/// A state that has moved, and is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Of which account.
    pub account: AccountId,
    /// Of which sandbox there; none when it is the account's own.
    pub sandbox: Option<SandboxId>,
    /// What it is now.
    pub state: TradingState,
}

impl Moved {
    /// Whose state it is.
    #[must_use]
    pub fn scope(&self) -> Scope {
        if self.sandbox.is_some() { Scope::Sandbox } else { Scope::Account }
    }
}

/// What is reserved and spent, for answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// What open orders may still buy for.
    pub pending_bought: Usd,
    /// What open orders may still trade for.
    pub pending_turnover: Usd,
    /// What was bought for on the day asked for.
    pub bought: Usd,
    /// What was traded for on the day asked for.
    pub turnover: Usd,
    /// Orders sent on the day asked for.
    pub orders: u32,
    /// Orders that are open, legs included.
    pub open_orders: u32,
}

/// The key of rows about a whole account.
const ACCOUNT_ITSELF: &str = "";

fn key_of(sandbox: Option<&SandboxId>) -> &str {
    sandbox.map_or(ACCOUNT_ITSELF, SandboxId::as_str)
}

/// A text without control characters, cut to so many bytes.
fn one_line(text: &str, bytes_max: usize) -> String {
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += c.len_utf8();
        bytes <= bytes_max
    };
    text.chars().filter(|c| !c.is_control()).take_while(fits).collect()
}

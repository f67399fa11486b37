//! What the gateway can be asked about trading, and what it answers. The answers are those of the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    SandboxId,
    api::{
        TradeHoldAnswer, TradeHoldsAnswer, TradeLimitsAnswer, TradeModeAnswer, TradeModeRequest, TradeOrdersAnswer,
        TradePositionsAnswer, TradeStateAnswer, TradeStatusAnswer, TradingChoice, TradingChosen,
    },
    trade::{AccountId, By},
};

/// A question, and on whose behalf it is asked. The gate checks for itself who may ask what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TradeAsked {
    /// Who asks: a person, or a client with its token.
    pub by: By,
    /// What.
    pub op: TradeOp,
}

/// Whose limits or whose state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeScope {
    /// Of this account; of all that there are and will be without one.
    pub account: Option<AccountId>,
    /// Of this sandbox; of all without one.
    pub sandbox: Option<SandboxId>,
}

impl TradeScope {
    /// The account as the ledger has it.
    #[must_use]
    pub fn in_ledger(&self) -> AccountId {
        self.account.clone().unwrap_or_else(AccountId::venue)
    }
}

/// What the gateway can be asked about trading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeOp {
    /// How trading stands. Answer: [`TradeSaid::Status`].
    Status(TradeScope),
    /// The mode is set; the operator's right. Answer: [`TradeSaid::Mode`].
    SetMode(TradeModeRequest),
    /// Which limits are in force. Answer: [`TradeSaid::Limits`].
    Limits(TradeScope),
    /// Limits are set; the operator's right. Answer: [`TradeSaid::Limits`].
    SetLimits {
        /// Whose.
        scope: TradeScope,
        /// By their names.
        limits: BTreeMap<String, String>,
    },
    /// Limits of a sandbox are tightened; also a client's right. Answer: [`TradeSaid::Limits`].
    Tighten {
        /// Whose.
        sandbox: SandboxId,
        /// By their names.
        limits: BTreeMap<String, String>,
    },
    /// Nothing but cancels from now on; also a client's right, but for `flatten`. Answer: [`TradeSaid::State`].
    Halt {
        /// Whose.
        scope: TradeScope,
        /// Why, in a sentence.
        reason: String,
        /// Whether open orders are cancelled at the venue.
        cancel: bool,
        /// Whether positions are closed at the venue.
        flatten: bool,
    },
    /// Only what makes positions smaller; the operator's right. Answer: [`TradeSaid::State`].
    Reduce {
        /// Whose.
        scope: TradeScope,
        /// Why, in a sentence.
        reason: String,
    },
    /// Trading goes on; the operator's right. Answer: [`TradeSaid::State`].
    Resume {
        /// Whose.
        scope: TradeScope,
        /// Why, in a sentence.
        reason: String,
    },
    /// Orders, the newest first. Answer: [`TradeSaid::Orders`].
    Orders {
        /// Whose.
        scope: TradeScope,
        /// Only those that are open.
        open: bool,
        /// At most so many.
        limit: u32,
    },
    /// Positions, as the venue says them. Answer: [`TradeSaid::Positions`].
    Positions {
        /// Of this account; of all that the ledger knows without one.
        account: Option<AccountId>,
    },
    /// A sandbox gets a simulated account; also a client's right. Answer: [`TradeSaid::Chosen`].
    Choose {
        /// Which sandbox.
        sandbox: SandboxId,
        /// Which account, and its clock.
        choice: TradingChoice,
    },
    /// Orders that wait for a person. Answer: [`TradeSaid::Holds`].
    Holds,
    /// One of them is answered; the operator's right. Answer: [`TradeSaid::Hold`].
    Answer {
        /// Its number.
        number: u64,
        /// Whether it may be sent.
        approve: bool,
    },
}

/// What the gateway answers about trading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeSaid {
    /// How trading stands.
    Status(TradeStatusAnswer),
    /// The mode.
    Mode(TradeModeAnswer),
    /// Limits in force.
    Limits(TradeLimitsAnswer),
    /// A state, and what was done beside.
    State(TradeStateAnswer),
    /// Orders.
    Orders(TradeOrdersAnswer),
    /// Positions.
    Positions(TradePositionsAnswer),
    /// The account that a sandbox was given.
    Chosen(TradingChosen),
    /// Orders that wait.
    Holds(TradeHoldsAnswer),
    /// One of them.
    Hold(TradeHoldAnswer),
}

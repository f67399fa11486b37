//! Whether an account or a sandbox may trade.

use serde::{Deserialize, Serialize};

use super::Message;
use super::name::words;

words!(
    /// Who moved a state.
    By, "one who moves a state" {
        /// A person, from outside of every sandbox.
        Operator = "operator",
        /// A client with its own token. It may halt, and never the other way.
        Client = "client",
        /// A control.
        Control = "control",
    }
);

/// Who moved a state, why and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Who.
    pub by: By,
    /// Why, in a sentence.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch of the host's clock.
    pub since_ms: u64,
}

/// Whether it may trade.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TradingState {
    /// Within its limits.
    #[default]
    Active,
    /// Only what makes a position smaller, and cancels.
    Reducing(Cause),
    /// Only cancels.
    Halted(Cause),
}

/// What moves a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StateEvent {
    /// The loss of a day or the drawdown has reached its limit.
    LossReached(Cause),
    /// It has reached twice the limit.
    LossDoubled(Cause),
    /// Too many refusals in a row.
    RefusalStreak(Cause),
    /// The same was executed again and again.
    RepeatedExecution(Cause),
    /// What the venue says and what the gate knows are not the same.
    Drift(Cause),
    /// Somebody wants an end of it.
    KillSwitch(Cause),
    /// The operator wants positions to become smaller only.
    Reduce(Cause),
    /// The operator lets it trade again.
    Resume(Cause),
}

impl StateEvent {
    /// Who, why and when.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        match self {
            Self::LossReached(cause)
            | Self::LossDoubled(cause)
            | Self::RefusalStreak(cause)
            | Self::RepeatedExecution(cause)
            | Self::Drift(cause)
            | Self::KillSwitch(cause)
            | Self::Reduce(cause)
            | Self::Resume(cause) => cause,
        }
    }
}

impl TradingState {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reducing(_) => "reducing",
            Self::Halted(_) => "halted",
        }
    }

    /// Who moved it here; none while it is active.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Active => None,
            Self::Reducing(cause) | Self::Halted(cause) => Some(cause),
        }
    }

    /// The state after an event, and none where it stays. Every edge is here: a control only ever makes a state stricter, and
    /// nobody but the operator undoes it.
    #[must_use]
    pub fn after(&self, event: &StateEvent) -> Option<Self> {
        use StateEvent::{
            Drift, KillSwitch, LossDoubled, LossReached, Reduce, RefusalStreak, RepeatedExecution, Resume,
        };
        match (self, event) {
            (Self::Active, LossReached(cause)) => Some(Self::Reducing(cause.clone())),
            (Self::Active | Self::Reducing(_), Reduce(cause)) if cause.by == By::Operator => {
                Some(Self::Reducing(cause.clone()))
            }
            (
                Self::Active | Self::Reducing(_),
                LossDoubled(cause) | RefusalStreak(cause) | RepeatedExecution(cause) | Drift(cause) | KillSwitch(cause),
            ) => Some(Self::Halted(cause.clone())),
            (Self::Reducing(_) | Self::Halted(_), Resume(cause)) if cause.by == By::Operator => Some(Self::Active),
            // A halt keeps its first cause. Nothing else is an edge.
            (Self::Halted(_), _) | (Self::Active, _) | (Self::Reducing(_), _) => None,
        }
    }

    /// The stricter of two, where an account is in the one and the venue in the other; of two that are as strict, this one.
    #[must_use]
    pub fn or_stricter(self, other: Self) -> Self {
        let rank = |state: &Self| match state {
            Self::Active => 0,
            Self::Reducing(_) => 1,
            Self::Halted(_) => 2,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// Whether a message may pass at all in this state. That an order only reduces is judged when it is known.
    #[must_use]
    pub fn lets(&self, message: &Message) -> bool {
        match self {
            Self::Active | Self::Reducing(_) => true,
            Self::Halted(_) => matches!(message, Message::Read | Message::Cancel { .. } | Message::CancelAll),
        }
    }
}

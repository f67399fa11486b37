//! What the gateway has counted, for the page of figures that an operator's monitoring reads.

use serde::{Deserialize, Serialize};

use crate::trade::Environment;

/// Since this gateway began, but for what says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateFigures {
    /// Decisions that let something through. Each is an entry of the gateway's audit chain.
    pub decisions_allowed: u64,
    /// Decisions that refused something. Repetitions that are not recorded are not counted.
    pub decisions_refused: u64,
    /// Orders, by where they would go and what was decided.
    pub orders: Vec<OrderCount>,
    /// The state that all accounts share now: `active`, `reducing` or `halted`. It is what the kill switch sets.
    pub state: String,
    /// The mode of trading now: `simulated`, `paper` or `live`.
    pub mode: String,
    /// Whether the exchange of this installation answers now.
    pub exchange_answers: bool,
    /// Bytes of the gateway's database now, with its log.
    pub database_bytes: u64,
}

/// How many orders had that verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCount {
    /// Where they would go.
    pub environment: Environment,
    /// What was decided.
    pub verdict: OrderVerdict,
    /// How many.
    pub count: u64,
}

/// What the gate decided of an order: a new one, one in place of another, or one that closes a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderVerdict {
    /// It was sent.
    Allowed,
    /// It was a repetition of one that had been sent, and got that one's answer.
    Duplicate,
    /// A limit or a state refused it, or it was not in order.
    Refused,
    /// It waits for a person.
    Held,
}

impl OrderVerdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Allowed, Self::Duplicate, Self::Refused, Self::Held];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
            Self::Held => "held",
        }
    }
}

//! Orders, positions, and orders that wait for a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What `ringfence trade orders` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TradeOrdersRequest {
    /// Only of this sandbox: id or unique name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Only of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only those that are open (default false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    /// How many at most (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Orders of sandboxes, as the gate's ledger has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeOrdersAnswer {
    /// True.
    pub success: bool,
    /// Newest first.
    pub orders: Vec<TradeOrder>,
    /// Length of `orders`.
    pub count: u32,
}

/// One order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeOrder {
    /// Its number in the ledger.
    pub number: u64,
    /// The account that it is for.
    pub account: String,
    /// Whose.
    pub sandbox_id: String,
    /// `reserved`, `sent`, `ambiguous` (nobody knows whether the venue has it; it is looked up), `acknowledged`, `working` or `closed`.
    pub state: String,
    /// What it is called by the one who sends it.
    pub client_order_id: String,
    /// Its id at the venue, once it is known.
    pub venue_order_id: Option<String>,
    /// What is traded.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: String,
    /// `market`, `limit`, `stop`, `stop_limit` or `trailing_stop`.
    pub order_type: String,
    /// `simple`, `bracket`, `oco`, `oto` or `mleg`.
    pub order_class: String,
    /// `day`, `gtc`, `opg`, `cls`, `ioc` or `fok`.
    pub time_in_force: String,
    /// How many; none where it was sized in dollars.
    pub qty: Option<String>,
    /// For how many USD; none where it was sized in shares.
    pub notional: Option<String>,
    /// The limit.
    pub limit_price: Option<String>,
    /// The stop.
    pub stop_price: Option<String>,
    /// How far a trailing stop stays behind: USD, or percent with `%`.
    pub trail: Option<String>,
    /// How many of the entry were filled.
    pub filled: String,
    /// USD reserved for what of it may still trade.
    pub pending: String,
    /// The decision that admitted it: its number in `ringfence egress tail` and in the gateway's audit chain.
    pub decision: u64,
    /// RFC 3339, UTC, by the host's clock.
    pub admitted_at: String,
    /// The same.
    pub closed_at: Option<String>,
    /// Why it was closed: `filled`, `canceled`, `expired`, `replaced` or what the venue said.
    pub closed_because: Option<String>,
}

/// What `ringfence trade positions` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TradePositionsRequest {
    /// Of this account; of all that the ledger knows without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// Positions, as the venue says them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradePositionsAnswer {
    /// True.
    pub success: bool,
    /// By account.
    pub accounts: Vec<TradePositions>,
}

/// The positions of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradePositions {
    /// Which.
    pub account: String,
    /// What it holds.
    pub positions: Vec<TradePosition>,
    /// Why the venue did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One position. Amounts are the venue's own texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradePosition {
    /// Of what.
    pub symbol: String,
    /// How many; less than nothing for what was sold short.
    pub qty: String,
    /// What it cost on average.
    pub avg_entry_price: Option<String>,
    /// What one is worth now.
    pub current_price: Option<String>,
    /// What all are worth now.
    pub market_value: Option<String>,
    /// What would be won or lost by closing it now.
    pub unrealized_pl: Option<String>,
}

/// Orders that wait for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeHoldsAnswer {
    /// True.
    pub success: bool,
    /// Oldest first.
    pub holds: Vec<TradeHold>,
    /// Length of `holds`.
    pub count: u32,
}

/// One order that waits, or has waited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeHold {
    /// Its number.
    pub number: u64,
    /// The account that it is for.
    pub account: String,
    /// Whose.
    pub sandbox_id: String,
    /// What was asked, in a few words.
    pub what: String,
    /// USD that it is worth at worst.
    pub notional: String,
    /// RFC 3339, UTC.
    pub asked_at: String,
    /// `waiting`, `approved` (the same request is let through once, within an hour), `refused` or `used`.
    pub state: String,
}

/// What `ringfence trade approve` and `ringfence trade refuse` ask. Operators only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeHoldRequest {
    /// The number of the order that waits.
    pub number: u64,
    /// Whether it may be sent.
    pub approve: bool,
}

/// An order that was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeHoldAnswer {
    /// True.
    pub success: bool,
    /// Which.
    pub hold: TradeHold,
}

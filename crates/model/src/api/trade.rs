//! Trading: its mode, its limits, its states, orders, positions, and orders that wait for a person. Amounts are texts with exact
//! decimals.

mod choice;
mod limits;
mod orders;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    check::{Checked, invalid},
    null_is_default,
};
use crate::{ApiError, trade::AccountId};

pub use choice::*;
pub use limits::*;
pub use orders::*;

/// Bytes of a reason.
pub const REASON_BYTES_MAX: usize = 512;

/// The account that a request names, if it does.
///
/// # Errors
/// INVALID_ARGUMENT when it has not the shape of one.
pub fn trade_account(text: Option<&str>) -> Result<Option<AccountId>, ApiError> {
    let named = text.map(AccountId::parse).transpose().map_err(|error| invalid(format!("`account`: {error}")))?;
    match named {
        Some(account) if account.environment().is_none() => Err(invalid(format!(
            "`account`: `{account}` is none; an account begins with `sim:`, `paper:` or `live:`, as trading_status shows them"
        ))),
        named => Ok(named),
    }
}

/// A reason as it is kept: of `text`, or the usual words.
///
/// # Errors
/// INVALID_ARGUMENT when it is too long.
pub fn trade_reason(text: Option<&str>, usual: &str) -> Result<String, ApiError> {
    let reason = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(usual);
    if reason.len() > REASON_BYTES_MAX {
        return Err(invalid(format!("`reason` has more than {REASON_BYTES_MAX} bytes")));
    }
    Ok(reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// What `ringfence trade status` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TradeStatusRequest {
    /// Of this sandbox alone, with its limits: id or unique name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Of this account alone, as in `sim:…`, `paper:…` or `live:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// How trading stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeStatusAnswer {
    /// True.
    pub success: bool,
    /// What the operator has set: `simulated`, `paper` or `live`.
    pub mode: String,
    /// When live ends, RFC 3339, UTC; only in mode `live`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Where orders go now: `simulated`, `paper` or `live`; none after live has ended.
    pub environment: Option<String>,
    /// Whether the configuration of this installation allows live at all.
    pub live_allowed: bool,
    /// The state of all accounts together: `active`, `reducing` or `halted`.
    pub state: String,
    /// Who moved it there; none while it is active.
    pub cause: Option<TradeCause>,
    /// Accounts that sandboxes have traded in, or that have limits or a state of their own.
    pub accounts: Vec<TradeAccount>,
    /// The simulated exchange of this installation.
    pub exchange: TradeExchange,
    /// Orders that wait for a person.
    pub holds_waiting: u32,
}

/// Who moved a state, why and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeCause {
    /// `operator`, `client` or `control`.
    pub by: String,
    /// Why, in a sentence.
    pub reason: String,
    /// RFC 3339, UTC.
    pub since: String,
}

/// How an account stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeAccount {
    /// Its name in the ledger.
    pub account: String,
    /// `simulated`, `paper` or `live`.
    pub environment: String,
    /// `active`, `reducing` or `halted`, by itself.
    pub state: String,
    /// Who moved it there; none while it is active.
    pub cause: Option<TradeCause>,
    /// Limits in force, by name.
    pub limits: std::collections::BTreeMap<String, String>,
    /// What is spent and reserved.
    pub amounts: TradeAmounts,
    /// Orders of it that wait for a person.
    pub holds_waiting: u32,
    /// Sandboxes that have traded in it.
    pub sandboxes: Vec<TradeSandbox>,
}

/// What is spent on the account's day, and reserved for open orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeAmounts {
    /// The day, by the account's own clock; none before anything was asked of it.
    pub day: Option<String>,
    /// USD bought on that day.
    pub bought: String,
    /// USD that open orders may still buy for.
    pub bought_pending: String,
    /// USD bought and sold on that day.
    pub turnover: String,
    /// USD that open orders may still trade for.
    pub turnover_pending: String,
    /// Orders sent on that day.
    pub orders: u32,
    /// Orders that are open, legs included.
    pub open_orders: u32,
}

/// How a sandbox stands in an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeSandbox {
    /// Which.
    pub sandbox_id: String,
    /// `active`, `reducing` or `halted`, by itself.
    pub state: String,
    /// Who moved it there; none while it is active.
    pub cause: Option<TradeCause>,
    /// What is spent and reserved.
    pub amounts: TradeAmounts,
    /// Refusals since the last order that was taken.
    pub refusals_in_a_row: u32,
    /// Limits in force, by name; only where one sandbox was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<std::collections::BTreeMap<String, String>>,
}

/// The simulated exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeExchange {
    /// Whether it answers.
    pub answers: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The clock of the account that was asked for, or of the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<TradeClock>,
}

/// A replayed clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeClock {
    /// The time there.
    pub now: Option<String>,
    /// How it moves.
    pub mode: Option<String>,
    /// How fast.
    pub speed: Option<String>,
    /// Whether the market is open there.
    pub is_open: Option<bool>,
    /// When it opens next.
    pub next_open: Option<String>,
    /// When it closes next.
    pub next_close: Option<String>,
}

/// What `ringfence trade mode` sets. Operators only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeModeRequest {
    /// `simulated`, `paper` or `live`.
    pub mode: String,
    /// When live ends, RFC 3339; at least a minute and at most 24 hours from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The account whose limits are looked at before live is armed: `live:` and its id at the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The name of that account once more, as a person has typed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// The mode as it was set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeModeAnswer {
    /// True.
    pub success: bool,
    /// `simulated`, `paper` or `live`.
    pub mode: String,
    /// When live ends, RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it was before.
    pub before: String,
    /// What is left behind, in sentences.
    pub warnings: Vec<String>,
}

/// What `ringfence trade halt` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeHaltRequest {
    /// Only this sandbox, also one that has ended; every sandbox without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Only this account; every one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Why, in a sentence of at most 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether open orders are cancelled at the venue (default true).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub cancel: Option<bool>,
    /// Whether positions are closed at the venue too. Operators only, and not for one sandbox: positions are the account's.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub flatten: bool,
}

impl TradeHaltRequest {
    /// Judges it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        if self.flatten && self.sandbox_id.is_some() {
            return Err(invalid("`flatten` closes positions, which are an account's: leave out `sandbox_id`"));
        }
        if self.flatten && self.cancel == Some(false) {
            return Err(invalid("`flatten` cancels open orders first: leave out `cancel`"));
        }
        Ok(())
    }
}

/// What `ringfence trade reduce` and `ringfence trade resume` ask. Operators only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeStateRequest {
    /// Only this sandbox; every one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Only this account; every one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Why, in a sentence of at most 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A state, and what was done beside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeStateAnswer {
    /// True.
    pub success: bool,
    /// Of which account; none when it is that of all accounts.
    pub account: Option<String>,
    /// Of which sandbox; none when it is that of all sandboxes.
    pub sandbox_id: Option<String>,
    /// `active`, `reducing` or `halted`: the strictest of what holds for it, whatever was asked for.
    pub state: String,
    /// Whether this call moved it there.
    pub changed: bool,
    /// Who moved it there; none while it is active.
    pub cause: Option<TradeCause>,
    /// What was done in each account beside.
    pub accounts: Vec<TradeDone>,
}

/// What a halt did in an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeDone {
    /// Which.
    pub account: String,
    /// Open orders that the venue was told to cancel.
    pub cancelled: u32,
    /// Whether the venue was told to close positions.
    pub flattened: bool,
    /// What could not be done, in a sentence. Trading is halted all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

//! Which simulated account a sandbox trades in, and the clock of that account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TradeClock;
use crate::api::check::{Checked, invalid};

/// Characters of an account's name.
const NAME_CHARS_MAX: usize = 64;
/// Characters of a time.
const TIME_CHARS_MAX: usize = 64;

/// Which simulated account, and how its clock moves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradingChoice {
    /// The account's name, of a-z, A-Z, 0-9, `-`, `_` and `.`; one is opened when there is none of that name. Without it the sandbox
    /// gets one of its own. Sandboxes that name the same account share its money, positions and clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where its clock stands at first: RFC 3339, or a date, which begins at midnight in New York. The clock of an account that is
    /// there moves forward to it, and never back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// How many seconds pass there in one (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001))]
    #[schema(minimum = 0.001)]
    pub speed: Option<f64>,
}

/// The account that was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradingChosen {
    /// Its name.
    pub account: String,
    /// What `trading_status` calls it.
    pub account_id: String,
    /// Whether it was opened for this.
    pub opened: bool,
    /// Its clock.
    pub clock: Option<TradeClock>,
}

impl TradingChoice {
    /// Judges it. Whether a time can be replayed is the exchange's to say.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        if let Some(name) = &self.account {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) || name.starts_with('.') {
                return Err(invalid(format!(
                    "`trading.account` must have 1 to {NAME_CHARS_MAX} of a-z, A-Z, 0-9, `-`, `_` and `.`, and no `.` at first"
                )));
            }
        }
        if let Some(start) = &self.start
            && (start.is_empty() || start.len() > TIME_CHARS_MAX)
        {
            return Err(invalid("`trading.start` must be a time in RFC 3339, or a date"));
        }
        match self.speed {
            Some(speed) if !(speed > 0.0 && speed.is_finite()) => {
                Err(invalid("`trading.speed` must be a number above 0"))
            }
            _ => Ok(()),
        }
    }
}

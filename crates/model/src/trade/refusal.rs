//! Refusals, in the shape that the clients of a broker read as a permission that is missing.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Percent, Price, Qty, Usd};

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $control:literal;)+) => {
        /// What refused: the name of the limit, or of the control where it has no knob.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that clients read. It never changes.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The number of the control in the list of pre-trade controls.
            #[must_use]
            pub fn control(self) -> u8 {
                match self {
                    $(Self::$variant => $control,)+
                }
            }
        }
    };
}

rules! {
    /// The host belongs to an environment that is not the one in force.
    EnvironmentLock = "environment_lock", 1;
    /// A method and path that nobody allowed.
    EndpointAllowList = "endpoint_allow_list", 2;
    /// The symbol is not permitted.
    PermittedSymbols = "permitted_symbols", 3;
    /// The symbol is restricted.
    RestrictedSymbols = "restricted_symbols", 3;
    /// What kind of thing it is.
    PermittedAssetClasses = "permitted_asset_classes", 3;
    /// The type of the order.
    PermittedOrderTypes = "permitted_order_types", 4;
    /// How long it is good.
    PermittedTimeInForce = "permitted_time_in_force", 4;
    /// Its class.
    PermittedOrderClasses = "permitted_order_classes", 4;
    /// It says how it is to be routed.
    NoAdvancedInstructions = "no_advanced_instructions", 4;
    /// How many.
    MaxOrderQty = "max_order_qty", 5;
    /// For how much.
    MaxNotionalPerOrder = "max_notional_per_order", 5;
    /// Too far from the reference.
    PriceCollarPercent = "price_collar_percent", 6;
    /// The reference is too old, or there is none.
    MaxReferenceAge = "max_reference_age_s", 7;
    /// Too much of one symbol.
    MaxPositionNotional = "max_position_notional", 8;
    /// Too much of everything.
    MaxGrossNotional = "max_gross_notional", 8;
    /// It might sell what is not there.
    NoShorting = "no_shorting", 8;
    /// Too much of the equity in one symbol.
    MaxConcentrationPercent = "max_concentration_percent", 9;
    /// Too many orders are open.
    MaxOpenOrders = "max_open_orders", 9;
    /// Too much bought on one day.
    MaxDailyNotional = "max_daily_notional", 10;
    /// Too many orders on one day.
    MaxDailyOrders = "max_daily_orders", 10;
    /// Too much bought and sold on one day.
    MaxDailyTurnover = "max_daily_turnover", 10;
    /// Too much bought in 24 hours.
    MaxRollingNotional = "max_rolling_notional", 10;
    /// Too many orders in 24 hours.
    MaxRollingOrders = "max_rolling_orders", 10;
    /// Too much bought and sold in 24 hours.
    MaxRollingTurnover = "max_rolling_turnover", 10;
    /// Too many messages.
    MaxMessagesPerSecond = "max_messages_per_s", 11;
    /// The same again and again.
    MaxRepeatedFills = "max_repeated_fills", 12;
    /// It is the same order a second time.
    DuplicateOrder = "duplicate_order", 13;
    /// It would trade with an order of the same account.
    NoSelfTrade = "no_self_trade", 14;
    /// The day has lost too much.
    MaxDailyLossPercent = "max_daily_loss_percent", 15;
    /// Too far below the highest equity.
    MaxDrawdownPercent = "max_drawdown_percent", 15;
    /// Too many refusals in a row.
    MaxRefusalsInARow = "max_refusals_in_a_row", 16;
    /// Not at this hour.
    TradingHours = "trading_hours", 17;
    /// In a time in which nobody may trade.
    NoTradeWindows = "no_trade_windows", 17;
    /// Trading is halted, or may only reduce.
    TradingState = "trading_state", 18;
    /// The order is another's, or nobody's.
    OrderOwnership = "order_ownership", 20;
    /// There is no such position.
    ClosePosition = "close_position", 21;
    /// A change that the order cannot take.
    ReplaceOrder = "replace_order", 21;
    /// A secret where it may not be.
    CredentialBinding = "credential_binding", 22;
    /// The message has two readings, or is out of bounds.
    CanonicalForm = "canonical_form", 23;
    /// What the venue says and what the gate knows are not the same.
    Reconciliation = "reconciliation", 24;
    /// A person has to approve it.
    TwoStepAbove = "two_step_above", 26;
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A limit, or what was seen of what it limits. Amounts are texts in JSON, counts are numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    /// A count.
    Count(u64),
    /// Anything else, as people write it.
    Text(String),
}

macro_rules! figures {
    ($($type:ty),+) => {
        $(impl From<$type> for Figure {
            fn from(amount: $type) -> Self {
                Self::Text(amount.to_string())
            }
        })+
    };
}

figures!(Usd, Qty, Price, Percent);

impl From<u64> for Figure {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Figure {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<&str> for Figure {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Figure {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => std::fmt::Display::fmt(count, f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Why something may not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("firewall: {rule}: {message}")]
pub struct Refusal {
    /// What refused.
    pub rule: Rule,
    /// What is allowed.
    pub limit: Option<Figure>,
    /// What was asked, in the measure of the limit.
    pub observed: Option<Figure>,
    /// A sentence without the name of the rule.
    pub message: String,
}

impl Refusal {
    /// The HTTP status of every refusal. Never 429 or 504, which official clients send again.
    pub const STATUS: u16 = 403;
    /// The broker's code for what an account may not do.
    pub const CODE: u32 = 40_310_000;

    /// A refusal for a reason that has no figures.
    #[must_use]
    pub fn because(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, limit: None, observed: None, message: message.into() }
    }

    /// A refusal of something that is beyond a limit.
    #[must_use]
    pub fn beyond(
        rule: Rule,
        limit: impl Into<Figure>,
        observed: impl Into<Figure>,
        message: impl Into<String>,
    ) -> Self {
        Self { limit: Some(limit.into()), observed: Some(observed.into()), ..Self::because(rule, message) }
    }

    /// A number on the way left its range.
    #[must_use]
    pub fn out_of_range() -> Self {
        Self::because(Rule::CanonicalForm, "an amount is larger than the gate can count")
    }

    /// The body that answers the request, as an official client reads it.
    #[must_use]
    pub fn body(&self) -> Value {
        let message = self.to_string();
        json!({"code": Self::CODE, "message": message, "rule": self.rule, "limit": self.limit, "observed": self.observed})
    }
}

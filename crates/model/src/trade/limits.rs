//! The limits of an account or a sandbox: every knob, what it means, what it is out of the box, and which way is tighter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::knob::{Hours, Knob, Window, tighter};
use super::{AssetClass, CanonicalSymbol, OrderClass, OrderType, Percent, Qty, TimeInForce, Usd};

/// What a limit is about, for documents and the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnobInfo {
    /// Its name.
    pub name: &'static str,
    /// The number of the control.
    pub control: u8,
    /// The unit of its value.
    pub unit: &'static str,
    /// Whether live can only be armed once it is set.
    pub live: bool,
    /// Which way is tighter.
    pub tighter: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
}

/// A limit that would let more through than the one it is to tighten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {from}, and {to} would loosen it: only the operator may do that")]
pub struct LoosenedKnob {
    /// Which.
    pub name: &'static str,
    /// What it is.
    pub from: String,
    /// What it was to become.
    pub to: String,
}

/// Why a text is not a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    /// There is none of that name.
    #[error("there is no limit `{0}`")]
    Unknown(String),
    /// Its value is not one.
    #[error("`{name}`: {why}")]
    Value {
        /// Which.
        name: &'static str,
        /// What is wrong, and what to write.
        why: String,
    },
}

/// Limits that live needs and that are not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("live has no defaults; set these first: {}", .0.join(", "))]
pub struct MissingKnobs(pub Vec<&'static str>);

macro_rules! limits {
    ($($(#[doc = $about:literal])+ $name:ident: $type:ty, $control:literal, $unit:literal, $live:literal, $tighter:ident, $default:expr;)+) => {
        /// The limits of an account or of one sandbox. What is none is not limited.
        ///
        /// An order must pass those of its sandbox, with the sandbox's counters, and those of the account, with the account's.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $about])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
        }

        impl Limits {
            /// Every limit, in the order of the controls.
            pub const KNOBS: &'static [KnobInfo] = &[$(KnobInfo {
                name: stringify!($name), control: $control, unit: $unit, live: $live, tighter: stringify!($tighter),
                about: concat!($($about),+).trim_ascii(),
            }),+];

            /// Nothing is limited: where live begins, which has no defaults, and where a sandbox begins, which has its account's.
            #[must_use]
            pub const fn none() -> Self {
                Self { $($name: None),+ }
            }

            /// What is in force out of the box, simulated and on paper.
            #[must_use]
            pub fn out_of_the_box() -> Self {
                Self { $($name: $default),+ }
            }

            /// Names of what must be set before live can be armed, and is not.
            #[must_use]
            pub fn missing(&self) -> Vec<&'static str> {
                let mut missing = Vec::new();
                $(if $live && self.$name.is_none() {
                    missing.push(stringify!($name));
                })+
                missing
            }

            /// These limits with those of `other` in their place, where it sets them.
            ///
            /// # Errors
            /// [`LoosenedKnob`] for the first of them that would let more through.
            pub fn tightened_by(&self, other: &Self) -> Result<Self, LoosenedKnob> {
                let mut tightened = self.clone();
                $(match (&self.$name, &other.$name) {
                    (_, None) => {}
                    (Some(from), Some(to)) if !tighter::$tighter(to, from) => {
                        return Err(LoosenedKnob { name: stringify!($name), from: from.text(), to: to.text() });
                    }
                    (_, Some(to)) => tightened.$name = Some(to.clone()),
                })+
                Ok(tightened)
            }

            /// The tighter of each two limits; these where neither is.
            #[must_use]
            pub fn with(&self, other: &Self) -> Self {
                let mut both = self.clone();
                $(match (&self.$name, &other.$name) {
                    (_, None) => {}
                    (Some(one), Some(two)) if !tighter::$tighter(two, one) => {}
                    (_, Some(two)) => both.$name = Some(two.clone()),
                })+
                both
            }

            /// Sets one limit by its name; `none` takes it away.
            ///
            /// # Errors
            /// [`BadLimit`]: no such name, or no such value.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), BadLimit> {
                match name {
                    $(stringify!($name) => {
                        self.$name = if text == "none" {
                            None
                        } else {
                            let value = <$type as Knob>::read(text);
                            Some(value.map_err(|why| BadLimit::Value { name: stringify!($name), why })?)
                        };
                    })+
                    _ => return Err(BadLimit::Unknown(super::excerpt(name))),
                }
                Ok(())
            }

            /// One limit as text, by its name: `none` where it is not set.
            ///
            /// # Errors
            /// [`BadLimit::Unknown`].
            pub fn get(&self, name: &str) -> Result<String, BadLimit> {
                match name {
                    $(stringify!($name) => Ok(self.$name.as_ref().map_or_else(|| "none".to_owned(), Knob::text)),)+
                    _ => Err(BadLimit::Unknown(super::excerpt(name))),
                }
            }
        }
    };
}

fn set<T: Ord, const N: usize>(items: [T; N]) -> Option<BTreeSet<T>> {
    Some(BTreeSet::from(items))
}

limits! {
    /// Only these symbols.
    permitted_symbols: BTreeSet<CanonicalSymbol>, 3, "symbols", false, fewer, None;
    /// None of these symbols.
    restricted_symbols: BTreeSet<CanonicalSymbol>, 3, "symbols", false, more, None;
    /// Only these kinds of things.
    permitted_asset_classes: BTreeSet<AssetClass>, 3, "asset classes", true, fewer, set([AssetClass::UsEquity]);
    /// Only these types of orders.
    permitted_order_types: BTreeSet<OrderType>, 4, "order types", true, fewer,
        Some(OrderType::ALL.iter().copied().collect());
    /// Only these times in force.
    permitted_time_in_force: BTreeSet<TimeInForce>, 4, "times in force", true, fewer,
        set([TimeInForce::Day, TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok]);
    /// Only these classes of orders.
    permitted_order_classes: BTreeSet<OrderClass>, 4, "order classes", true, fewer,
        set([OrderClass::Simple, OrderClass::Bracket, OrderClass::Oco, OrderClass::Oto]);
    /// No order says how it is to be routed.
    no_advanced_instructions: bool, 4, "yes or no", true, larger, Some(true);
    /// An order, and each leg of it, is for at most so many.
    max_order_qty: Qty, 5, "shares, coins or contracts", true, smaller, None;
    /// An order, and each leg of it, is worth at most so much at the worst price that it may have.
    max_notional_per_order: Usd, 5, "USD", true, smaller, Usd::whole(10_000);
    /// A buy is at most so far above the reference, a sell at most so far below it.
    price_collar_percent: Percent, 6, "percent of the reference", true, smaller, Percent::whole(10);
    /// An order that opens needs a reference price that is at most so old, by the account's clock.
    max_reference_age_s: u32, 7, "seconds", true, smaller, Some(60);
    /// A position in one symbol, with all open orders that make it larger, is worth at most so much.
    max_position_notional: Usd, 8, "USD", true, smaller, Usd::whole(25_000);
    /// All positions together, with all open orders that make them larger, are worth at most so much.
    max_gross_notional: Usd, 8, "USD", true, smaller, None;
    /// Nothing is sold that is not there.
    no_shorting: bool, 8, "yes or no", true, larger, Some(true);
    /// A position in one symbol, with all open orders that make it larger, is at most so much of the equity.
    max_concentration_percent: Percent, 9, "percent of the equity", true, smaller, None;
    /// At most so many orders are open, legs included.
    max_open_orders: u32, 9, "orders", true, smaller, Some(50);
    /// At most so much is bought on a day of New York's calendar, open orders included.
    max_daily_notional: Usd, 10, "USD", true, smaller, Usd::whole(50_000);
    /// At most so many orders are sent on a day, replacements included.
    max_daily_orders: u32, 10, "orders", true, smaller, None;
    /// At most so much is bought and sold on a day, open orders included.
    max_daily_turnover: Usd, 10, "USD", true, smaller, None;
    /// At most so much is bought in any 24 hours, open orders included.
    max_rolling_notional: Usd, 10, "USD", true, smaller, None;
    /// At most so many orders are sent in any 24 hours, replacements included.
    max_rolling_orders: u32, 10, "orders", true, smaller, None;
    /// At most so much is bought and sold in any 24 hours, open orders included.
    max_rolling_turnover: Usd, 10, "USD", true, smaller, None;
    /// So many messages a second about orders, and so many at once: new ones, replacements and cancels.
    max_messages_per_s: u32, 11, "messages a second", true, smaller, Some(10);
    /// More than so many fills of one symbol and side within `repeated_window_s` halt trading until a person resets it.
    max_repeated_fills: u32, 12, "fills", true, smaller, None;
    /// The time within which repeated fills are counted, by the account's clock.
    repeated_window_s: u32, 12, "seconds", true, larger, None;
    /// The same order is not sent again within so long.
    duplicate_window_s: u32, 13, "seconds", true, larger, None;
    /// An order does not trade with another one of its account.
    no_self_trade: bool, 14, "yes or no", true, larger, Some(true);
    /// A day's loss of so much of the equity with which it began leaves only what reduces; of twice as much, nothing.
    max_daily_loss_percent: Percent, 15, "percent of the day's first equity", true, smaller, Percent::whole(2);
    /// A fall of so much below the highest equity leaves only what reduces; of twice as much, nothing.
    max_drawdown_percent: Percent, 15, "percent of the highest equity", true, smaller, None;
    /// So many refusals in a row halt trading.
    max_refusals_in_a_row: u32, 16, "refusals", true, smaller, Some(5);
    /// When orders may be sent, by the account's clock.
    trading_hours: Hours, 17, "regular, extended or any", true, smaller, Some(Hours::Regular);
    /// Times of the day, in New York's clock, in which no order is sent.
    no_trade_windows: BTreeSet<Window>, 17, "times of the day", false, longer, None;
    /// A sandbox that ends has its open orders cancelled.
    cancel_on_disconnect: bool, 19, "yes or no", true, larger, Some(true);
    /// A sandbox that was not heard of for so long has its open orders cancelled.
    heartbeat_timeout_s: u32, 19, "seconds", false, smaller, None;
    /// An order that is worth more waits for a person.
    two_step_above: Usd, 26, "USD", false, smaller, None;
}

impl Default for Limits {
    /// Nothing is limited. What is in force out of the box is [`Limits::out_of_the_box`].
    fn default() -> Self {
        Self::none()
    }
}

impl Limits {
    /// Where live begins: without a default.
    #[must_use]
    pub fn for_live() -> Self {
        Self::none()
    }

    /// Whether live can be armed with these.
    ///
    /// # Errors
    /// [`MissingKnobs`]: all that must be set first.
    pub fn complete(&self) -> Result<(), MissingKnobs> {
        let missing = self.missing();
        if missing.is_empty() { Ok(()) } else { Err(MissingKnobs(missing)) }
    }

    /// All that is set, by name, as texts.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<&'static str, String> {
        let all = Self::KNOBS.iter().filter_map(|knob| Some((knob.name, self.get(knob.name).ok()?)));
        all.filter(|(_, text)| text != "none").collect()
    }

    /// The limits of losses. A sandbox whose own are the account's has none of its own.
    #[must_use]
    pub fn losses(&self) -> (Option<Percent>, Option<Percent>) {
        (self.max_daily_loss_percent, self.max_drawdown_percent)
    }

    /// The limit of repeated execution, and its window. A sandbox whose own are the account's has none of its own.
    #[must_use]
    pub fn repetition(&self) -> (Option<u32>, Option<u32>) {
        (self.max_repeated_fills, self.repeated_window_s)
    }

    /// Whether somebody was silent for longer than is allowed. Times are in milliseconds of the host's clock.
    #[must_use]
    pub fn is_silent_too_long(&self, heard_at_ms: u64, now_ms: u64) -> bool {
        self.heartbeat_timeout_s.is_some_and(|limit| now_ms.saturating_sub(heard_at_ms) > u64::from(limit) * 1000)
    }
}

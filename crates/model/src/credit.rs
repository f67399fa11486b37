//! What sandboxes cost. Pure rules: amounts are whole milli-credits, so that sums are exact.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Thousandths of a credit. One credit is 0.01 USD. In JSON it is a number of credits with at most three decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MilliCredits(pub i64);

/// Most credits that one amount of the API or of the configuration may be. Up to it a number in JSON is exact.
pub const CREDITS_MAX: i64 = 1_000_000_000;

impl MilliCredits {
    /// Whole credits.
    #[must_use]
    pub const fn whole(credits: i64) -> Self {
        Self(credits.saturating_mul(1000))
    }

    /// As a number of credits: whole, or with three decimals.
    #[must_use]
    pub fn text(self) -> String {
        let (sign, amount) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        match amount % 1000 {
            0 => format!("{sign}{}", amount / 1000),
            rest => format!("{sign}{}.{rest:03}", amount / 1000),
        }
    }

    /// Reads a number of credits with at most three decimals, from 0 to [`CREDITS_MAX`].
    ///
    /// # Errors
    /// A sentence that says what an amount looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is no amount: 0 to {CREDITS_MAX} credits, with at most three decimals", shown(text));
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || whole.len() > 10 || rest.len() > 3 {
            return Err(wrong());
        }
        let (whole, rest): (i64, i64) =
            (whole.parse().map_err(|_| wrong())?, format!("{rest:0<3}").parse().map_err(|_| wrong())?);
        let amount = Self(whole * 1000 + rest);
        if amount > Self::whole(CREDITS_MAX) { Err(wrong()) } else { Ok(amount) }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect::<String>().escape_debug().to_string()
}

impl fmt::Display for MilliCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for MilliCredits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            return serializer.serialize_i64(self.0 / 1000);
        }
        // The nearest binary fraction is written with the fewest digits that lead back to it, which are these three.
        #[allow(clippy::cast_precision_loss, reason = "amounts are below 2^53")]
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for MilliCredits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = MilliCredits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of credits, -{CREDITS_MAX} to {CREDITS_MAX}, with at most three decimals")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<MilliCredits, E> {
                if value.unsigned_abs() <= CREDITS_MAX.unsigned_abs() {
                    return Ok(MilliCredits::whole(value));
                }
                Err(E::invalid_value(de::Unexpected::Signed(value), &self))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<MilliCredits, E> {
                let signed =
                    i64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
                self.visit_i64(signed)
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<MilliCredits, E> {
                // Through its text: what was written with three decimals is these decimals again.
                let amount = MilliCredits::parse(&value.abs().to_string());
                let amount = amount.map_err(|_| E::invalid_value(de::Unexpected::Float(value), &self))?;
                Ok(if value < 0.0 { MilliCredits(-amount.0) } else { amount })
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl JsonSchema for MilliCredits {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MilliCredits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number"})
    }
}

/// What is charged for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// For making a sandbox.
    pub create: MilliCredits,
    /// For each started minute in which it runs or is paused.
    pub minute: MilliCredits,
    /// For each started GB (2^30 bytes) above the first that its files have at most on a day.
    pub storage: MilliCredits,
}

impl Default for Prices {
    fn default() -> Self {
        Self { create: MilliCredits::whole(2), minute: MilliCredits::whole(1), storage: MilliCredits::whole(1) }
    }
}

/// What the operator has decided about credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditSettings {
    /// What is charged.
    pub prices: Prices,
    /// For how long sandboxes go on when nothing is left, in milliseconds.
    pub grace_ms: u64,
    /// What a project begins with of which the operator has said nothing; without it that is unlimited.
    pub budget: Option<MilliCredits>,
}

impl Default for CreditSettings {
    fn default() -> Self {
        Self { prices: Prices::default(), grace_ms: 5 * 60_000, budget: None }
    }
}

const MINUTE_MS: u64 = 60_000;
/// Milliseconds of a day of UTC.
pub const DAY_MS: u64 = 24 * 3600 * 1000;

/// Started minutes between two times. What has begun has begun its first minute; a clock that went back adds nothing.
#[must_use]
pub fn started_minutes(since_ms: u64, until_ms: u64) -> u64 {
    until_ms.saturating_sub(since_ms).div_ceil(MINUTE_MS).max(1)
}

/// Started GB above the first, which is free.
#[must_use]
pub fn paid_gb(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 30).saturating_sub(1)
}

/// What a project may still spend. A project of which the operator has said nothing may spend any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What it was given, since the operator set its budget.
    pub granted: MilliCredits,
    /// What is left of it. It is never negative.
    pub balance: MilliCredits,
    /// Since when nothing is left, in milliseconds since the Unix epoch.
    pub exhausted_at_ms: Option<u64>,
}

impl Budget {
    /// What was spent of it.
    #[must_use]
    pub fn spent(&self) -> MilliCredits {
        MilliCredits(self.granted.0.saturating_sub(self.balance.0))
    }

    /// The share that somebody is warned about, in percent: 100, 80 or 50, the highest one that was reached.
    #[must_use]
    pub fn warned_percent(&self) -> Option<u8> {
        if self.balance.0 <= 0 {
            return Some(100);
        }
        let (spent, granted) = (i128::from(self.spent().0), i128::from(self.granted.0));
        [80_u8, 50].into_iter().find(|percent| granted > 0 && spent * 100 >= granted * i128::from(*percent))
    }

    /// The warning in a sentence, for whoever works in that project.
    #[must_use]
    pub fn warning(&self, project: &str, grace_ms: u64) -> Option<String> {
        match self.warned_percent()? {
            100 => Some(format!(
                "no credits are left in the project `{project}`: its sandboxes are stopped, with their files kept, {} s after the \
                 last one was spent; save what matters, and ask the operator for more (`ringfence credits grant`)",
                grace_ms / 1000
            )),
            percent => Some(format!(
                "{percent} % of the credits of the project `{project}` are spent: {} of {} are left; at 0 its sandboxes are stopped",
                self.balance, self.granted
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_thirty_minutes_is_32_credits() {
        let Prices { create, minute, .. } = Prices::default();
        for (ms, credits) in [(0, 3), (1, 3), (60_000, 3), (60_001, 4), (1_800_000, 32), (1_800_001, 33)] {
            let minutes = i64::try_from(started_minutes(5, 5 + ms)).expect("few");
            assert_eq!(create.0 + minutes * minute.0, credits * 1000, "{ms}");
        }
        assert_eq!(started_minutes(100, 50), 1);
    }

    #[test]
    fn the_first_gb_is_free() {
        let gb = 1_u64 << 30;
        assert_eq!([0, 1, gb, gb + 1, 2 * gb, 3 * gb + 1].map(paid_gb), [0, 0, 0, 1, 1, 3]);
    }

    #[test]
    fn warnings_come_at_half_at_four_fifths_and_at_the_end() {
        let of = |granted, spent: i64| Budget {
            granted: MilliCredits(granted),
            balance: MilliCredits(granted - spent),
            exhausted_at_ms: None,
        };
        let at = |spent| of(1000, spent).warned_percent();
        assert_eq!(
            [at(0), at(499), at(500), at(799), at(800), at(999), at(1000)],
            [None, None, Some(50), Some(50), Some(80), Some(80), Some(100)]
        );
        assert_eq!(of(0, 0).warned_percent(), Some(100));
        assert!(of(1000, 10).warning("fund", 0).is_none());
        assert!(
            of(10_000, 8000).warning("fund", 0).is_some_and(|text| text.contains("80 %") && text.contains("2 of 10"))
        );
        assert!(of(10_000, 10_000).warning("fund", 300_000).is_some_and(|text| text.contains("300 s")));
    }

    #[test]
    fn amounts_are_numbers_that_lead_back_to_themselves() {
        for (amount, json) in
            [(0, "0"), (3000, "3"), (1, "0.001"), (100, "0.1"), (-1500, "-1.5"), (999_999_999_999, "999999999.999")]
        {
            let amount = MilliCredits(amount);
            assert_eq!(serde_json::to_string(&amount).expect("plain"), json);
            assert_eq!(serde_json::from_str::<MilliCredits>(json).expect(json), amount);
        }
        for wrong in ["1e300", "0.0001", "1000000001", "\"1\"", "null", "-1e10", "18446744073709551615"] {
            assert!(serde_json::from_str::<MilliCredits>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(MilliCredits::parse("12.5"), Ok(MilliCredits(12_500)));
        for wrong in ["", "-1", "1.2345", ".5", "1.", "1,5", "inf", "+1", "99999999999"] {
            assert!(MilliCredits::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!((MilliCredits(-1500).text(), MilliCredits(2000).text()), ("-1.500".into(), "2".into()));
    }
}

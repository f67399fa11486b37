//! How an account's orders are treated, beyond what Alpaca's paper trading does.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    exact,
    json::{Json, object},
    refusal::Refusal,
};

/// The knobs of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Share of eligible fills that are partial, 0 to 1.
    pub partial_fill_rate: Decimal,
    /// How much worse than the quote a fill is, in hundredths of a percent; a limit is never passed.
    pub slippage_bp: Decimal,
    /// Dollars that each share costs.
    pub fee_per_share: Decimal,
    /// Fee on the amount of a fill, in hundredths of a percent.
    pub fee_bp: Decimal,
    /// Milliseconds before an order can fill.
    pub latency_ms: u32,
    /// Whether cash dividends are paid.
    pub dividends: bool,
}

impl Default for Profile {
    /// What Alpaca's paper trading does.
    fn default() -> Self {
        Self {
            partial_fill_rate: Decimal::new(1, 1),
            slippage_bp: Decimal::ZERO,
            fee_per_share: Decimal::ZERO,
            fee_bp: Decimal::ZERO,
            latency_ms: 0,
            dividends: false,
        }
    }
}

/// Longest latency, in milliseconds.
const LATENCY_MS_MAX: u32 = 60_000;

impl Profile {
    /// This profile, with what an object of the control API says otherwise.
    ///
    /// # Errors
    /// A name that is none of a profile's, or a value out of bounds.
    pub fn with(mut self, changes: &Json) -> Result<Self, Refusal> {
        let Json::Object(fields) = changes else { return Err(Refusal::invalid("profile is not an object")) };
        let bad = |name: &str, bounds: &str| Refusal::invalid(format!("profile.{name} must be {bounds}"));
        for (name, value) in fields {
            let text = match value {
                Json::Number(text) | Json::Text(text) => text.as_str(),
                _ => "",
            };
            let within = |max: Decimal, bounds: &str| match exact::decimal(text) {
                Some(value) if value >= Decimal::ZERO && value <= max => Ok(value),
                _ => Err(bad(name, bounds)),
            };
            let truth = match value {
                Json::Bool(value) => Ok(*value),
                _ => Err(bad(name, "true or false")),
            };
            match name.as_str() {
                "partial_fill_rate" => self.partial_fill_rate = within(Decimal::ONE, "between 0 and 1")?,
                "slippage_bp" => self.slippage_bp = within(Decimal::ONE_THOUSAND, "between 0 and 1000")?,
                "fee_per_share" => self.fee_per_share = within(Decimal::TEN, "between 0 and 10")?,
                "fee_bp" => self.fee_bp = within(Decimal::ONE_THOUSAND, "between 0 and 1000")?,
                "latency_ms" => {
                    let value = text.parse().ok().filter(|ms| *ms <= LATENCY_MS_MAX);
                    self.latency_ms = value.ok_or_else(|| bad(name, "a whole number of at most 60000"))?;
                }
                "dividends" => self.dividends = truth?,
                // The rule is history; the knob is known so that a profile may say that it is off.
                "pdt" if !truth? => {}
                "pdt" => return Err(Refusal::invalid("profile.pdt: pattern day trading protection is not simulated")),
                _ => return Err(Refusal::invalid(format!("profile.{} is not known", short(name)))),
            }
        }
        Ok(self)
    }

    /// As the control API tells it.
    #[must_use]
    pub fn json(&self) -> Json {
        object! {
            "partial_fill_rate" => self.partial_fill_rate,
            "slippage_bp" => self.slippage_bp,
            "fee_per_share" => self.fee_per_share,
            "fee_bp" => self.fee_bp,
            "latency_ms" => u64::from(self.latency_ms),
            "pdt" => false,
            "dividends" => self.dividends,
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse::json;

    #[test]
    fn a_profile_says_what_it_does_not_know() {
        let with = |text: &str| Profile::default().with(&json(text.as_bytes()).expect("JSON"));
        let profile = with(r#"{"partial_fill_rate":0,"fee_bp":"1.5","latency_ms":20,"dividends":true,"pdt":false}"#);
        assert_eq!(profile.expect("good").fee_bp, Decimal::new(15, 1));
        for bad in [
            r#"{"partial_fill_rate":1.1}"#,
            r#"{"slippage_bp":-1}"#,
            r#"{"latency_ms":1.5}"#,
            r#"{"dividends":"yes"}"#,
            r#"{"pdt":true}"#,
            r#"{"speed":1}"#,
            "[]",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}

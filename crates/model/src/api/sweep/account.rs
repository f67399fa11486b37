//! What the account of a backtest may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{SweepFill, SweepRequest};
use crate::api::{
    check::{Checked, invalid},
    is_false,
};

/// The most leverage that an account may have.
pub const SWEEP_LEVERAGE_MAX: f64 = 100.0;

/// What the account may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepAccount {
    /// The most that positions may come to, without regard to sign, as a multiple of equity, from 1 to 100 (default 1: no credit). What
    /// is borrowed to buy costs nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leverage_max: Option<f64>,
    /// Whether more may be sold than is held (default true). If not, a run that wants to be short fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_allowed: Option<bool>,
    /// Only whole shares are traded, rounded towards none. Prices are adjusted, so a share of the past is one of the last day's kind.
    #[serde(default, skip_serializing_if = "is_false")]
    pub whole_shares: bool,
    /// The most of each bar's volume that is filled, above 0 and up to 1; the rest waits for the next bar (default: no limit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_share_max: Option<f64>,
    /// When a target is traded to (default `every_bar`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<SweepRebalance>,
}

/// When a target is traded to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepRebalance {
    /// At each bar that has one: shares are traded back to the weight.
    #[default]
    EveryBar,
    /// When it differs from the one before it; between, the weight drifts.
    OnChange,
}

impl SweepAccount {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether more may be sold than is held.
    #[must_use]
    pub fn may_short(&self) -> bool {
        self.short_allowed.unwrap_or(true)
    }
}

impl SweepRequest {
    /// Bounds of the account, and what of it contradicts the rest.
    pub(super) fn check_account(&self) -> Checked {
        let SweepAccount { leverage_max, whole_shares, volume_share_max, rebalance, .. } = self.account;
        if let Some(most) = leverage_max
            && !(1.0..=SWEEP_LEVERAGE_MAX).contains(&most)
        {
            return Err(invalid(format!(
                "`account.leverage_max` is {most}; it must be between 1 and {SWEEP_LEVERAGE_MAX}: a strategy that is to hold less asks \
                 for less"
            )));
        }
        if let Some(share) = volume_share_max
            && !(share > 0.0 && share <= 1.0)
        {
            return Err(invalid(format!(
                "`account.volume_share_max` is {share}; it must be above 0 and at most 1: leave it out for no limit"
            )));
        }
        if !self.account.may_short() && self.costs.borrow_bps.is_some_and(|bps| bps > 0.0) {
            return Err(invalid(
                "`costs.borrow_bps` is for what is sold short, and `account.short_allowed` is false: leave one of them out",
            ));
        }
        if self.fill.unwrap_or_default() == SweepFill::SignalClose {
            let unheeded = [
                ("whole_shares", whole_shares),
                ("volume_share_max", volume_share_max.is_some()),
                ("rebalance", rebalance.is_some()),
            ];
            if let Some((name, _)) = unheeded.into_iter().find(|(_, given)| *given) {
                return Err(invalid(format!(
                    "`account.{name}` has no meaning with `fill` `signal_close`, which holds weights exactly at each bar: leave it out, or \
                     choose `next_open`"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(more: Value) -> SweepRequest {
        let mut request = json!({"strategy": "sma_cross"});
        let (Some(all), Value::Object(more)) = (request.as_object_mut(), more) else { panic!("objects") };
        all.extend(more);
        serde_json::from_value(request).expect("a request")
    }

    #[track_caller]
    fn refused(more: Value, word: &str) {
        let error = request(more.clone()).check().expect_err("refused");
        assert!(error.message.contains(word), "{more}: {}", error.message);
    }

    #[test]
    fn bounds_are_said() {
        for (more, word) in [
            (json!({"account": {"leverage_max": 0.5}}), "`account.leverage_max` is 0.5; it must be between 1 and 100"),
            (json!({"account": {"leverage_max": 100.1}}), "between 1 and 100"),
            (json!({"account": {"leverage_max": -1}}), "between 1 and 100"),
            (json!({"account": {"volume_share_max": 0}}), "`account.volume_share_max` is 0; it must be above 0"),
            (json!({"account": {"volume_share_max": 1.5}}), "at most 1"),
            (json!({"costs": {"range_slippage": 1.5}}), "`costs.range_slippage` is 1.5; it must be between 0 and 1"),
            (json!({"costs": {"range_slippage": -0.1}}), "between 0 and 1"),
            (json!({"risk_free": 3}), "`risk_free` is 3; it must be between -0.5 and 1"),
            // The engine's bounds: what it would refuse in each run is refused before any.
            (json!({"costs": {"commission_bps": 5000.5}}), "between 0 and 5000"),
            (json!({"costs": {"slippage_bps": 5000.5}}), "between 0 and 5000"),
            (json!({"costs": {"borrow_bps": 100_001}}), "between 0 and 100000"),
        ] {
            refused(more, word);
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut all = [request(json!({})), request(json!({})), request(json!({})), request(json!({}))];
            all[0].account.leverage_max = Some(number);
            all[1].account.volume_share_max = Some(number);
            all[2].costs.range_slippage = Some(number);
            all[3].risk_free = Some(number);
            for request in all {
                let error = request.check().expect_err("no number");
                assert!(error.message.contains(&format!("is {number}")), "{}", error.message);
            }
        }
        for fine in [
            json!({"account": null}),
            json!({"account": {}}),
            json!({"account": {"leverage_max": 1, "short_allowed": true, "volume_share_max": 1, "rebalance": "on_change"}}),
            json!({"account": {"leverage_max": 100, "short_allowed": false, "whole_shares": true, "rebalance": "every_bar"}}),
            json!({"costs": {"range_slippage": 1}, "fill": "signal_close", "account": {"leverage_max": 2}}),
            json!({"costs": {"borrow_bps": 0}, "account": {"short_allowed": false}}),
        ] {
            request(fine.clone()).check().unwrap_or_else(|error| panic!("{fine}: {}", error.message));
        }
    }

    #[test]
    fn contradictions_are_said() {
        refused(
            json!({"account": {"short_allowed": false}, "costs": {"borrow_bps": 50}}),
            "`costs.borrow_bps` is for what is sold short",
        );
        for (name, value) in
            [("whole_shares", json!(true)), ("volume_share_max", json!(0.1)), ("rebalance", json!("on_change"))]
        {
            let account = json!({name: value});
            refused(json!({"account": account, "fill": "signal_close"}), &format!("`account.{name}` has no meaning"));
            request(json!({"account": account, "fill": "next_close"})).check().expect("it has one");
        }
        let unknown = serde_json::from_value::<SweepRequest>(json!({"strategy": "x", "account": {"margin": 2}}));
        assert!(unknown.expect_err("unknown").to_string().contains("margin"));
    }

    /// A sweep that is taken up again has the account that it began with, and one that was stored before there were any has the default.
    #[test]
    fn an_account_is_stored_with_the_request() {
        let account = json!({"leverage_max": 2.5, "short_allowed": false, "whole_shares": true, "volume_share_max": 0.05,
                             "rebalance": "on_change"});
        let asked = request(json!({"account": account, "costs": {"range_slippage": 0.25}}));
        let stored = serde_json::to_value(&asked).expect("JSON");
        assert_eq!((&stored["account"], &stored["costs"]), (&account, &json!({"range_slippage": 0.25})));
        assert_eq!(serde_json::from_value::<SweepRequest>(stored).expect("a request"), asked);
        let plain = serde_json::to_value(request(json!({}))).expect("JSON");
        assert_eq!(plain.get("account"), None);
    }
}

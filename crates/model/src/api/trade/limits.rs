//! Limits, as they are listed, set and tightened.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::{
    check::{Checked, invalid},
    null_is_default,
};
use crate::trade::Limits;

/// What `ringfence trade limits` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TradeLimitsRequest {
    /// Of this sandbox: id or unique name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Of this account; those of every account that has none of its own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// What `ringfence trade limits set` asks. Operators only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeLimitsSetRequest {
    /// Of this sandbox: id or unique name. It tightens what holds for its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Of this account; of every simulated and paper account that has none of its own without it. Live accounts have their own
    /// limits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Values by name, as texts: `500`, `2.5`, `yes`, a list with commas, `none` for no limit, `default` for what it is out of the
    /// box.
    #[serde(deserialize_with = "texts")]
    #[schema(nullable)]
    pub limits: BTreeMap<String, String>,
}

/// What an MCP client asks about limits: without `tighten` it reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeTightenRequest {
    /// Of this sandbox: id or unique name. Needed to tighten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Values by name, as texts, as in `{"max_notional_per_order": "500"}`. Each must let through at most what it let through
    /// before.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(nullable)]
    pub tighten: BTreeMap<String, String>,
}

impl TradeTightenRequest {
    /// Judges it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        if self.sandbox_id.is_none() && !self.tighten.is_empty() {
            return Err(invalid("`tighten` needs `sandbox_id`: a client tightens the limits of one sandbox"));
        }
        check_names(&self.tighten)
    }
}

impl TradeLimitsSetRequest {
    /// Judges it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        if self.limits.is_empty() {
            return Err(invalid("`limits` is empty: name one, as in `{\"max_notional_per_order\": \"500\"}`"));
        }
        check_names(&self.limits)
    }
}

fn check_names(limits: &BTreeMap<String, String>) -> Checked {
    let known = |name: &String| Limits::KNOBS.iter().any(|knob| knob.name == name);
    match limits.keys().find(|name| !known(name)) {
        Some(name) => {
            let shown: String = name.chars().take(80).collect();
            let names: Vec<&str> = Limits::KNOBS.iter().map(|knob| knob.name).collect();
            Err(invalid(format!("there is no limit `{}`: there are {}", shown.escape_debug(), names.join(", "))))
        }
        None => Ok(()),
    }
}

/// Values as texts. Clients write numbers, truth values and lists where the text would do.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    use serde_json::Value;
    let values: BTreeMap<String, Value> = null_is_default(deserializer)?;
    let text = |name: &str, value: Value| match value {
        Value::String(text) => Ok(text),
        // Some clients write whole numbers as `5.0`.
        Value::Number(number) => Ok(number.to_string().trim_end_matches(".0").to_owned()),
        Value::Bool(yes) => Ok(if yes { "yes" } else { "no" }.to_owned()),
        Value::Array(items) if items.is_empty() => Ok("[]".to_owned()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.map(|items| items.join(",")).ok_or_else(|| format!("`{name}`: a list has texts in it"))
        }
        Value::Null => Ok("none".to_owned()),
        Value::Object(_) => Err(format!("`{name}`: write the value as a text")),
    };
    let read = values.into_iter().map(|(name, value)| Ok((name.clone(), text(&name, value)?)));
    read.collect::<Result<_, String>>().map_err(serde::de::Error::custom)
}

/// Limits in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeLimitsAnswer {
    /// True.
    pub success: bool,
    /// Of which account; none when they are those of every account that has none of its own.
    pub account: Option<String>,
    /// Of which sandbox.
    pub sandbox_id: Option<String>,
    /// Every limit, in the order of the controls.
    pub limits: Vec<TradeLimit>,
}

/// One limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TradeLimit {
    /// Its name, which is also the `rule` of its refusals.
    pub name: String,
    /// What is in force; `none` where nothing is limited.
    pub value: String,
    /// Of what its value is a number, or which words it may be.
    pub unit: String,
    /// What it is out of the box; `none` for a live account, which has no defaults.
    pub default: String,
    /// Who set it: `default`, or `operator` or `client`, with whose it is: `all accounts`, `account` or `sandbox`.
    pub set_by: String,
    /// Which way lets less through: `smaller`, `larger`, `fewer`, `more` or `longer`.
    pub tighter: String,
    /// Whether live needs it.
    pub needed_live: bool,
    /// What it does.
    pub about: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_written_as_json_has_them() {
        let text = r#"{"sandbox_id": "a", "tighten": {"max_open_orders": 5.0, "no_shorting": true, "price_collar_percent": 2.5,
            "permitted_symbols": ["AAPL", "MSFT"], "restricted_symbols": []}}"#;
        let request: TradeTightenRequest = serde_json::from_str(text).expect("it is read");
        let values: Vec<&str> = request.tighten.values().map(String::as_str).collect();
        assert_eq!(values, ["5", "yes", "AAPL,MSFT", "2.5", "[]"]);
        assert!(request.check().is_ok());
        let mut all = Limits::none();
        request.tighten.iter().for_each(|(name, text)| all.set(name, text).expect("a value"));
        assert!(serde_json::from_str::<TradeTightenRequest>(r#"{"tighten": {"a": {}}}"#).is_err());
    }

    #[test]
    fn an_unknown_limit_is_refused_by_its_name() {
        let tighten = BTreeMap::from([("max_everything".to_owned(), "1".to_owned())]);
        let request = TradeTightenRequest { sandbox_id: Some("a".into()), tighten };
        let message = request.check().expect_err("refused").message;
        assert!(message.contains("max_everything") && message.contains("max_daily_notional"), "{message}");
        assert!(TradeTightenRequest { sandbox_id: None, ..request }.check().is_err());
        assert!(TradeLimitsSetRequest::default().check().is_err());
    }
}

//! The built-in strategies: Python files of the harness, in which names, defaults and bounds of parameters are written once. They
//! are read out of the same text here.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;
use serde_json::Value;

use super::Parameters;

macro_rules! files {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../guest/harness/usr/lib/python3.11/ringfence/strategies/", $name, ".py")))),*]
    };
}

const FILES: [(&str, &str); 7] =
    files!("momentum", "mean_reversion", "pairs_trading", "sma_cross", "breakout", "rsi", "buy_and_hold");

/// A built-in strategy.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub code: &'static str,
    /// What it does, in a sentence or two.
    pub text: String,
    /// How many symbols it takes.
    pub symbols: usize,
    /// Its parameters, in the order of names.
    pub parameters: BTreeMap<String, Parameter>,
}

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is when nobody says.
    pub default: Value,
    /// The least number.
    #[serde(default)]
    pub min: Option<f64>,
    /// The greatest number.
    #[serde(default)]
    pub max: Option<f64>,
    /// What it means.
    pub text: String,
}

/// Types of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A text.
    Text,
}

/// Every built-in strategy.
///
/// # Panics
/// Never: a test reads each file.
#[must_use]
pub fn built_ins() -> &'static [BuiltIn] {
    static ALL: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
        let one = |(name, code)| read(name, code).unwrap_or_else(|why| panic!("the strategy {name}: {why}"));
        FILES.into_iter().map(one).collect()
    });
    &ALL
}

/// Reads docstring, `SYMBOLS` and `PARAMETERS`, which is JSON but for Python's words for true and false.
fn read(name: &'static str, code: &'static str) -> Result<BuiltIn, String> {
    let text = code.strip_prefix("\"\"\"").and_then(|rest| rest.split("\"\"\"").next()).ok_or("it has no docstring")?;
    let after =
        |what: &str| code.split_once(&format!("\n{what} = ")).map(|(_, rest)| rest).ok_or(format!("it has no {what}"));
    let symbols = after("SYMBOLS")?.lines().next().unwrap_or_default();
    let symbols = symbols.parse().map_err(|_| format!("SYMBOLS = {symbols}"))?;
    let json = after("PARAMETERS")?.replace(": False", ": false").replace(": True", ": true");
    let parameters = serde_json::Deserializer::from_str(&json).into_iter().next();
    let parameters = parameters.ok_or("PARAMETERS is empty")?.map_err(|e| format!("PARAMETERS: {e}"))?;
    Ok(BuiltIn { name, code, text: text.split_whitespace().collect::<Vec<_>>().join(" "), symbols, parameters })
}

impl BuiltIn {
    /// The parameters with defaults; why not, in a sentence.
    pub(super) fn complete(&self, given: &Parameters, symbols: usize) -> Result<Parameters, String> {
        if symbols != self.symbols {
            let name = self.name;
            return Err(match self.symbols {
                1 => format!("{name} takes one symbol at a time, and was given {symbols}"),
                wanted => format!("{name} takes {wanted} symbols together, and was given {symbols}"),
            });
        }
        if let Some((stranger, _)) = given.iter().find(|(name, _)| !self.parameters.contains_key(*name)) {
            let names: Vec<_> = self.parameters.keys().map(String::as_str).collect();
            let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("{} has no parameter {stranger}; it has {has}", self.name));
        }
        let one = |(name, about): (&String, &Parameter)| {
            let value = about.fit(given.get(name).unwrap_or(&about.default));
            value.map(|v| (name.clone(), v)).map_err(|why| format!("{name} of {} {why}", self.name))
        };
        let all: Vec<_> = self.parameters.iter().map(one).collect::<Result<_, String>>()?;
        Parameters::new(all).map_err(|e| e.message)
    }
}

impl Parameter {
    /// The value as it is meant: 20.0 is a whole number wherever one is wanted.
    fn fit(&self, value: &Value) -> Result<Value, String> {
        #[allow(clippy::cast_possible_truncation, reason = "it is a whole number, and its bounds are checked below")]
        let fitted = match (self.kind, value) {
            (Kind::Integer, Value::Number(n)) if n.is_f64() => {
                n.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15).map(|n| Value::from(n as i64))
            }
            (Kind::Integer | Kind::Number, Value::Number(_)) => Some(value.clone()),
            (Kind::Boolean, Value::Bool(_)) | (Kind::Text, Value::String(_)) => Some(value.clone()),
            _ => None,
        };
        let word = match self.kind {
            Kind::Integer => "a whole number",
            Kind::Number => "a number",
            Kind::Boolean => "true or false",
            Kind::Text => "a text",
        };
        let fitted = fitted.ok_or_else(|| format!("must be {word}, not {value}"))?;
        let number = fitted.as_f64();
        if let Some((number, min)) = number.zip(self.min).filter(|(number, min)| number < min) {
            return Err(format!("must be at least {min}, not {number}"));
        }
        if let Some((number, max)) = number.zip(self.max).filter(|(number, max)| number > max) {
            return Err(format!("must be at most {max}, not {number}"));
        }
        Ok(fitted)
    }
}

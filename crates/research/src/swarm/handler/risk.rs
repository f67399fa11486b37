//! Risk of a portfolio: what it would have made of the past.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{parsed, plain};
use crate::swarm::bars::Bars;

pub(super) const PROGRAM: &str = include_str!("risk.py");

/// Symbols of one portfolio.
const SYMBOLS_MAX: usize = 20;
/// Days that are looked back over, at most.
const LOOKBACK_MAX: usize = 1260;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Shares of each symbol; below zero when short.
    positions: BTreeMap<String, f64>,
    /// Cash beside them.
    #[serde(default)]
    cash: f64,
    /// Days that are looked back over.
    #[serde(default = "year")]
    lookback: usize,
    /// The largest loss of a day at 95 %, as a fraction of the value, that is still in order.
    #[serde(default = "three_percent")]
    var_max: f64,
    /// The last day that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

fn year() -> usize {
    252
}

fn three_percent() -> f64 {
    0.03
}

pub(super) fn complete(input: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if !input.contains_key("positions") {
        return Err("`positions` is missing: shares by symbol, as in {\"AAPL\": 100, \"IBM\": -20}".to_owned());
    }
    let input: Input = parsed(input)?;
    if !(1..=SYMBOLS_MAX).contains(&input.positions.len()) {
        return Err(format!("`positions` has {} symbols; it must have 1 to {SYMBOLS_MAX}", input.positions.len()));
    }
    let is_number = |value: f64| value.is_finite() && value.abs() <= 1e12;
    if !input.positions.values().all(|shares| is_number(*shares)) || !is_number(input.cash) {
        return Err("`positions` and `cash` must be numbers up to 1e12".to_owned());
    }
    if !(20..=LOOKBACK_MAX).contains(&input.lookback) {
        return Err(format!("`lookback` is {}; it must be between 20 and {LOOKBACK_MAX} days", input.lookback));
    }
    if !(input.var_max > 0.0 && input.var_max <= 1.0) {
        return Err(format!("`var_max` is {}; it must be above 0 and at most 1", input.var_max));
    }
    Ok(plain(&input))
}

pub(super) fn stdin(input: &Map<String, Value>, bars: &Bars) -> Result<String, String> {
    let input: Input = parsed(input.clone())?;
    let symbols: Vec<String> = input.positions.keys().cloned().collect();
    let panel = bars.panel(&symbols, None, input.end.as_deref())?;
    let rows: Vec<usize> = (0..panel.len()).filter(|row| panel.columns().iter().all(|c| c.has(*row))).collect();
    let rows = &rows[rows.len().saturating_sub(input.lookback + 1)..];
    if rows.len() < 21 {
        return Err(format!("there are {} days on which all of them have a bar; 21 are needed", rows.len()));
    }
    let closes: Vec<Vec<f64>> =
        panel.columns().iter().map(|c| rows.iter().map(|row| c.close[*row]).collect()).collect();
    let shares: Vec<f64> = input.positions.values().copied().collect();
    Ok(json!({"symbols": symbols, "shares": shares, "cash": input.cash, "closes": closes, "var_max": input.var_max,
        "first": panel.label(rows[0]), "last": panel.label(rows[rows.len() - 1])})
    .to_string())
}

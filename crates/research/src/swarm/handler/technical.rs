//! Technical analysis: indicators over real daily bars become a signal.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{parsed, plain};
use crate::swarm::bars::{Bars, SAMPLE};

pub(super) const PROGRAM: &str = include_str!("technical.py");

/// Bars that the program is given: more than its slowest indicator needs.
const BARS: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Which symbol; by default each agent takes the sample's next.
    #[serde(default)]
    symbol: Option<String>,
    /// The last day that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

pub(super) fn complete(input: Map<String, Value>, place: usize) -> Result<Map<String, Value>, String> {
    let mut input: Input = parsed(input)?;
    input.symbol.get_or_insert_with(|| SAMPLE[place % SAMPLE.len()].to_owned());
    Ok(plain(&input))
}

pub(super) fn stdin(input: &Map<String, Value>, bars: &Bars) -> Result<String, String> {
    let input: Input = parsed(input.clone())?;
    let symbol = input.symbol.unwrap_or_default();
    let panel = bars.panel(std::slice::from_ref(&symbol), None, input.end.as_deref())?;
    let panel = panel.window(panel.len().saturating_sub(BARS)..panel.len());
    let columns = &panel.columns()[0];
    Ok(json!({"symbol": symbol, "last": panel.label(panel.len() - 1), "high": columns.high, "low": columns.low,
        "close": columns.close})
    .to_string())
}

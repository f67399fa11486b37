//! What the caller's own program says.

use ringfence_model::api::{Decision, ExecutionAnswer};
use serde_json::{Map, Value};

use super::{Finding, OUTPUT_BYTES_SHOWN, RESULT_BYTES_MAX, ended_well, last_line, tail};

/// Reads it. A last line that is a JSON object is the result; in it `decision` and `confidence` are the vote. Anything else is output
/// without a vote.
///
/// # Errors
/// It did not end well, or its result is not one: why.
pub(super) fn read(run: &ExecutionAnswer) -> Result<Finding, String> {
    ended_well(run)?;
    let line = last_line(&run.output);
    if !line.starts_with('{') {
        let output = Some(tail(&run.output, OUTPUT_BYTES_SHOWN).to_owned()).filter(|text| !text.is_empty());
        return Ok(Finding { output, ..Finding::default() });
    }
    if line.len() > RESULT_BYTES_MAX {
        return Err(format!("its result has {} bytes; at most {RESULT_BYTES_MAX} are taken", line.len()));
    }
    let result: Map<String, Value> = serde_json::from_str(line)
        .map_err(|error| format!("its last line begins like a JSON object and is none: {error}"))?;
    let vote = match result.get("decision") {
        None | Some(Value::Null) => None,
        Some(word) => Some(
            serde_json::from_value::<Decision>(word.clone())
                .map_err(|_| "its `decision` is not buy, sell or hold".to_owned())?,
        ),
    };
    let weight = match result.get("confidence") {
        None | Some(Value::Null) => 1.0,
        Some(value) => value
            .as_f64()
            .filter(|weight| (0.0..=1.0).contains(weight))
            .ok_or_else(|| "its `confidence` is not a number between 0 and 1".to_owned())?,
    };
    Ok(Finding { vote, weight: vote.map(|_| weight), result, ..Finding::default() })
}

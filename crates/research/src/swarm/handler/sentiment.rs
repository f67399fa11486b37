//! Sentiment of texts that the caller supplies: words are counted by a list.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{parsed, plain};

pub(super) const PROGRAM: &str = include_str!("sentiment.py");

/// Texts of one agent.
const TEXTS_MAX: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What is scored.
    texts: Vec<String>,
    /// What they are about; handed back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
}

pub(super) fn complete(input: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if !input.contains_key("texts") {
        return Err(
            "`texts` is missing: the texts to be scored, as a list; nothing is fetched from anywhere".to_owned()
        );
    }
    let input: Input = parsed(input)?;
    match input.texts.len() {
        1..=TEXTS_MAX => Ok(plain(&input)),
        n => Err(format!("`texts` has {n} texts; it must have 1 to {TEXTS_MAX}")),
    }
}

pub(super) fn stdin(input: &Map<String, Value>) -> String {
    Value::Object(input.clone()).to_string()
}

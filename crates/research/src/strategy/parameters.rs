//! Parameters of a strategy: names and plain values.

use std::collections::BTreeMap;

use ringfence_model::{ApiError, Code};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many a strategy may have.
pub const PARAMETERS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1024;

/// One parameter set: names to numbers, booleans or texts, in the order of names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Parameters(BTreeMap<String, Value>);

impl Parameters {
    /// Checks names (of Python, not a word of its own with `__`) and values.
    ///
    /// # Errors
    /// The first name or value that is none, or too many of them.
    pub fn new(values: impl IntoIterator<Item = (String, Value)>) -> Result<Self, ApiError> {
        let refused = |why: String| ApiError::new(Code::InvalidArgument, why);
        let mut found = BTreeMap::new();
        for (name, value) in values {
            let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
            let mut bytes = name.bytes();
            let good = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && name.len() <= NAME_CHARS_MAX;
            if !good {
                let rule = "letters, digits and _, a letter first";
                return Err(refused(format!("{shown:?} is no name of a parameter: {rule}, at most {NAME_CHARS_MAX}")));
            }
            match &value {
                Value::Number(_) | Value::Bool(_) => {}
                Value::String(text) if text.len() <= TEXT_BYTES_MAX => {}
                Value::String(_) => {
                    return Err(refused(format!("the parameter {shown} is longer than {TEXT_BYTES_MAX} bytes")));
                }
                _ => return Err(refused(format!("the parameter {shown} must be a number, true or false, or a text"))),
            }
            if found.insert(name, value).is_some() {
                return Err(refused(format!("the parameter {shown} is given twice")));
            }
            if found.len() > PARAMETERS_MAX {
                return Err(refused(format!("a strategy has at most {PARAMETERS_MAX} parameters")));
            }
        }
        Ok(Self(found))
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Names and values, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(BTreeMap::<String, Value>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// `fast=10 slow=20`.
impl std::fmt::Display for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (name, value)) in self.iter().enumerate() {
            let space = if number > 0 { " " } else { "" };
            match value {
                Value::String(text) => write!(f, "{space}{name}={text}")?,
                value => write!(f, "{space}{name}={value}")?,
            }
        }
        Ok(())
    }
}

//! JSON whose numbers keep their digits: a number is the text that was sent, so that `0.1` never passes through binary
//! floating point. What is written by this crate is built from the same tree, and becomes MessagePack from it too.

use std::fmt::{self, Write as _};

use rust_decimal::Decimal;

pub mod parse;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of its keys' appearance; no key is there twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value of a key of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A decimal as a JSON number.
    #[must_use]
    pub fn decimal(value: Decimal) -> Self {
        Self::Number(value.normalize().to_string())
    }

    /// The same value as MessagePack understands it. Numbers with a fraction become floating point there, as every sender of
    /// MessagePack does; this crate has none of them in its messages.
    #[must_use]
    pub fn to_msgpack(&self) -> rmpv::Value {
        match self {
            Self::Null => rmpv::Value::Nil,
            Self::Bool(value) => (*value).into(),
            Self::Number(text) => match (text.parse::<u64>(), text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(value), _, _) => value.into(),
                (_, Ok(value), _) => value.into(),
                (_, _, Ok(value)) => value.into(),
                _ => rmpv::Value::Nil,
            },
            Self::Text(text) => text.as_str().into(),
            Self::List(values) => rmpv::Value::Array(values.iter().map(Self::to_msgpack).collect()),
            Self::Object(fields) => rmpv::Value::Map(
                fields.iter().map(|(name, value)| (name.as_str().into(), value.to_msgpack())).collect(),
            ),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Decimals of this wire are texts.
impl From<Decimal> for Json {
    fn from(value: Decimal) -> Self {
        Self::Text(value.normalize().to_string())
    }
}

impl From<jiff::Timestamp> for Json {
    fn from(at: jiff::Timestamp) -> Self {
        Self::Text(at.to_string())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Number(value.to_string())
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Number(value.to_string())
    }
}

impl From<i32> for Json {
    fn from(value: i32) -> Self {
        Self::Number(value.to_string())
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::Number(value.to_string())
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => quoted(f, text),
            Self::List(values) => {
                f.write_char('[')?;
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        f.write_char(',')?;
                    }
                    write!(f, "{value}")?;
                }
                f.write_char(']')
            }
            Self::Object(fields) => {
                f.write_char('{')?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        f.write_char(',')?;
                    }
                    quoted(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c if u32::from(c) < 0x20 || c == '\u{7f}' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// An object: `object! { "name" => value, … }`, each value whatever becomes a [`Json`].
macro_rules! object {
    ($($name:literal => $value:expr),* $(,)?) => {
        $crate::json::Json::Object(vec![$(($name.to_owned(), $crate::json::Json::from($value))),*])
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let value = object! {
            "a" => "x\"\\\n\u{1}é", "b" => Json::Number("-1.50".into()), "c" => vec![true, false], "d" => Json::Null,
            "e" => Decimal::new(1500, 3),
        };
        let text = value.to_string();
        assert_eq!(text, r#"{"a":"x\"\\\n\u0001é","b":-1.50,"c":[true,false],"d":null,"e":"1.5"}"#);
        assert_eq!(parse::json(text.as_bytes()), Ok(value));
        let _: serde_json::Value = serde_json::from_str(&text).expect("another reader reads it too");
    }
}

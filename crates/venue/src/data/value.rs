//! What is written on the data wire: JSON whose numbers have the digits of the decimals that they come from.

use std::{borrow::Cow, fmt::Write as _};

use jiff::Timestamp;
use rust_decimal::Decimal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Text(Cow<'static, str>),
    Whole(u64),
    Number(Decimal),
    /// RFC 3339, in UTC, with as many digits as it needs.
    Time(Timestamp),
    List(Vec<Value>),
    Map(Vec<(Cow<'static, str>, Value)>),
}

impl Value {
    pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn map<const N: usize>(fields: [(&'static str, Value); N]) -> Self {
        Self::Map(fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
    }

    pub(super) fn list_of(texts: &[&'static str]) -> Self {
        Self::List(texts.iter().map(|text| Self::text(*text)).collect())
    }

    pub(super) fn to_json(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) {
        match self {
            Self::Null => to.push_str("null"),
            Self::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
            Self::Text(text) => string(text, to),
            Self::Whole(value) => write!(to, "{value}").expect("a String takes everything"),
            // A decimal is never written with an exponent, and always with a digit before the point.
            Self::Number(value) => write!(to, "{}", value.normalize()).expect("a String takes everything"),
            Self::Time(at) => write!(to, "\"{at}\"").expect("a String takes everything"),
            Self::List(values) => {
                to.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        to.push(',');
                    }
                    value.write(to);
                }
                to.push(']');
            }
            Self::Map(fields) => {
                to.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        to.push(',');
                    }
                    string(name, to);
                    to.push(':');
                    value.write(to);
                }
                to.push('}');
            }
        }
    }
}

fn string(text: &str, to: &mut String) {
    to.push_str(&serde_json::to_string(text).expect("text can be serialised"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_texts_are_escaped() {
        let number = |text: &str| Value::Number(text.parse().expect("a decimal"));
        let value = Value::map([
            ("a", number("132.0600")),
            ("b", number("0.1234567890123456789012345678")),
            ("c", Value::Time(Timestamp::new(1_325_601_000, 1_000_000).expect("an instant"))),
            ("d", Value::List(vec![Value::Null, Value::Bool(true), Value::text("\"\n"), Value::Whole(u64::MAX)])),
        ]);
        let expected = r#"{"a":132.06,"b":0.1234567890123456789012345678,"c":"2012-01-03T14:30:00.001Z","d":[null,true,"\"\n",18446744073709551615]}"#;
        assert_eq!(value.to_json(), expected);
    }
}

//! The fields of a message in one flat table, read so that nobody can read them in another way.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Objects within one another: an order has two.
const DEPTH_MAX: usize = 2;
/// Fields of one message.
const FIELDS_MAX: usize = 64;

/// Why a message has no one reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("the body is not a JSON object in one reading: {0}")]
    Json(String),
    #[error("the field `{0}` is there twice")]
    Twice(String),
    #[error("the text of a form is not as it should be")]
    Form,
}

/// A value: its text, as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text, or a number with all of its digits.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// There are several, which is nothing that a single order has.
    List,
}

/// Names, with a point between that of an object and those within, and values. What is `null` is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Reads a JSON object (RFC 8259). A name may be there once, and a number keeps its digits; exponents are refused by whoever
    /// reads the number.
    pub(crate) fn of_json(body: &[u8]) -> Result<Self, FieldError> {
        let mut fields = BTreeMap::new();
        let mut reader = serde_json::Deserializer::from_slice(body);
        let root = Object { fields: &mut fields, within: "", depth: 1 };
        root.deserialize(&mut reader)
            .and_then(|()| reader.end())
            .map_err(|error| FieldError::Json(error.to_string()))?;
        Ok(Self(fields))
    }

    /// Reads the pairs of a form or a query (application/x-www-form-urlencoded). A name may be there once.
    pub(crate) fn of_form(text: &str) -> Result<Self, FieldError> {
        let mut fields = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(FieldError::Form)?;
            let (name, value) = (decoded(name)?, decoded(value)?);
            if fields.len() == FIELDS_MAX {
                return Err(FieldError::Form);
            }
            if fields.insert(name.clone(), Value::Text(value)).is_some() {
                return Err(FieldError::Twice(name));
            }
        }
        Ok(Self(fields))
    }

    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// These and others, of which none may be there twice.
    pub(crate) fn and(mut self, others: Self) -> Result<Self, FieldError> {
        for (name, value) in others.0 {
            if self.0.insert(name.clone(), value).is_some() {
                return Err(FieldError::Twice(name));
            }
        }
        Ok(self)
    }

    /// Without those of these names.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// With a text under this name.
    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        self.0.insert(name.to_owned(), Value::Text(text.to_owned()));
        self
    }

    /// The text of a field.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// As a query (application/x-www-form-urlencoded), in the order of the names. What is no text is left out.
    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in &self.0 {
            if let Value::Text(text) = value {
                let between = if query.is_empty() { "" } else { "&" };
                let _ = write!(query, "{between}{}={}", escaped(name), escaped(text));
            }
        }
        query
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A text as it stands in a query (RFC 3986, unreserved characters as they are).
pub(super) fn escaped(text: &str) -> percent_encoding::PercentEncode<'_> {
    const PLAIN: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, &PLAIN)
}

fn decoded(text: &str) -> Result<String, FieldError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut out = Vec::with_capacity(bytes.len());
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).ok_or(FieldError::Form)?;
                let digits = std::str::from_utf8(digits).map_err(|_| FieldError::Form)?;
                out.push(u8::from_str_radix(digits, 16).map_err(|_| FieldError::Form)?);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| FieldError::Form)
}

/// One object, whose fields go into the table.
struct Object<'a> {
    fields: &'a mut BTreeMap<String, Value>,
    within: &'a str,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Of this object, also those whose value is nothing.
        let mut seen = std::collections::BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.contains('.') {
                return Err(A::Error::custom("a field's name has a point"));
            }
            let path = if self.within.is_empty() { name.clone() } else { format!("{}.{name}", self.within) };
            if !seen.insert(name) {
                return Err(A::Error::custom(format!("the field `{path}` is there twice")));
            }
            if seen.len() > FIELDS_MAX {
                return Err(A::Error::custom("there are too many fields"));
            }
            // The raw text of the value decides: a number keeps its digits.
            let raw: Box<serde_json::value::RawValue> = map.next_value()?;
            let raw = raw.get().trim();
            match raw.as_bytes().first() {
                Some(b'n') => {}
                Some(b't') => drop(self.fields.insert(path, Value::Bool(true))),
                Some(b'f') => drop(self.fields.insert(path, Value::Bool(false))),
                Some(b'"') => {
                    let text = serde_json::from_str(raw).map_err(A::Error::custom)?;
                    self.fields.insert(path, Value::Text(text));
                }
                Some(b'[') => drop(self.fields.insert(path, Value::List)),
                Some(b'{') if self.depth < DEPTH_MAX => {
                    let object = Object { fields: self.fields, within: &path, depth: self.depth + 1 };
                    let mut reader = serde_json::Deserializer::from_str(raw);
                    object.deserialize(&mut reader).map_err(A::Error::custom)?;
                }
                Some(b'{') => return Err(A::Error::custom("it is nested too deeply")),
                _ => drop(self.fields.insert(path, Value::Text(raw.to_owned()))),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("it is a list"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn numbers_keep_their_digits_and_objects_become_flat() {
        let body = br#" {"symbol":"AAPL","qty":1.10,"limit_price":"0.1","take_profit":{"limit_price":12e1,"x":null},
            "extended_hours":false,"notional":null,"legs":[{"a":1}]} "#;
        let fields = Fields::of_json(body).expect("it has one reading");
        assert_eq!(fields.get("qty"), Some(&text("1.10")));
        assert_eq!(fields.get("take_profit.limit_price"), Some(&text("12e1")));
        assert_eq!(fields.get("extended_hours"), Some(&Value::Bool(false)));
        assert_eq!(fields.get("legs"), Some(&Value::List));
        let names: Vec<_> = fields.names().collect();
        assert_eq!(
            names,
            ["extended_hours", "legs", "limit_price", "qty", "symbol", "take_profit.limit_price"],
            "what is null is not there"
        );
    }

    #[test]
    fn what_others_could_read_in_another_way_is_refused() {
        let deep = format!("{}{}", "{\"a\":".repeat(5000), "1".to_owned() + &"}".repeat(5000));
        for body in [
            r#"{"qty":1,"qty":2}"#,
            r#"{"qty":null,"qty":2}"#,
            r#"{"qty":1,"\u0071ty":2}"#,
            r#"{"take_profit":{"limit_price":1,"limit_price":2}}"#,
            r#"{"take_profit.limit_price":1}"#,
            r#"{"a":{"b":{"c":1}}}"#,
            r#"{"qty":NaN}"#,
            r#"{"qty":1}{"qty":2}"#,
            r#"[{"qty":1}]"#,
            r#"{"qty":1,}"#,
            "",
            "null",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(Fields::of_json(body.as_bytes()).is_err(), "{:.80}", body);
        }
        assert!(Fields::of_json(b"{\"a\":\"\xff\"}").is_err(), "broken UTF-8");
    }

    #[test]
    fn a_form_has_each_name_once() {
        let fields = Fields::of_form("symbol=BTCUSDT&side=BUY&note=a%20b+c&empty=").expect("a form");
        assert_eq!(fields.get("note"), Some(&text("a b c")));
        assert_eq!(fields.get("empty"), Some(&text("")));
        for form in ["a=1&a=2", "a=1&%61=2", "a", "a=%", "a=%zz", "a=%ff"] {
            assert!(Fields::of_form(form).is_err(), "{form}");
        }
    }
}

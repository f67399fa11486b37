//! The fields of a JSON object, each read as what it must be.

use rust_decimal::Decimal;

use super::price;
use crate::{exact, json::Json, refusal::Refusal};

/// An object of a request.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [(String, Json)]);

impl<'a> Fields<'a> {
    /// The fields of a body.
    ///
    /// # Errors
    /// It is no object.
    pub fn of(body: &'a Json) -> Result<Self, Refusal> {
        match body {
            Json::Object(fields) => Ok(Self(fields)),
            _ => Err(Refusal::malformed("request body format is invalid")),
        }
    }

    /// What is there; null is absent. Alpaca's own reader ignores the case of names, others do not: a name in another case is
    /// refused, so that nobody reads two things.
    fn get(&self, name: &str) -> Result<Option<&'a Json>, Refusal> {
        let mut found = None;
        for (key, value) in self.0 {
            if key == name {
                found = Some(value).filter(|value| **value != Json::Null);
            } else if key.eq_ignore_ascii_case(name) {
                return Err(Refusal::malformed(format!("{name} is written in another case")));
            }
        }
        Ok(found)
    }

    /// Whether something is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && *value != Json::Null)
    }

    /// A text.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name)? {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::malformed(format!("{name} must be a string"))),
        }
    }

    /// One of certain words.
    ///
    /// # Errors
    /// It is another, or no text.
    pub fn word<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| Refusal::invalid(format!("invalid {name}")))
    }

    /// A decimal, as a number or as text, without an exponent.
    ///
    /// # Errors
    /// It is something else.
    pub fn decimal(&self, name: &str) -> Result<Option<Decimal>, Refusal> {
        let text = match self.get(name)? {
            None => return Ok(None),
            Some(Json::Text(text) | Json::Number(text)) => text,
            Some(_) => return Err(Refusal::malformed(format!("{name} must be a number"))),
        };
        exact::decimal(text).map(Some).ok_or_else(|| Refusal::invalid(format!("{name} is not a decimal number")))
    }

    /// A price.
    ///
    /// # Errors
    /// It is none.
    pub fn price(&self, name: &str) -> Result<Option<Decimal>, Refusal> {
        self.decimal(name)?.map(|value| price(name, value)).transpose()
    }

    /// True or false.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name)? {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Refusal::malformed(format!("{name} must be a boolean"))),
        }
    }

    /// An object inside.
    ///
    /// # Errors
    /// It is something else.
    pub fn inner(&self, name: &str) -> Result<Option<Fields<'a>>, Refusal> {
        self.get(name)?.map(Fields::of).transpose()
    }

    /// Texts in an array.
    ///
    /// # Errors
    /// It is something else.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let not_texts = || Refusal::malformed(format!("{name} must be an array of strings"));
        let Json::List(values) = value else { return Err(not_texts()) };
        values.iter().map(|value| value.text().ok_or_else(not_texts)).collect::<Result<_, _>>().map(Some)
    }

    /// What is there, whatever it is.
    ///
    /// # Errors
    /// The name is written in another case.
    pub fn any(&self, name: &str) -> Result<Option<&'a Json>, Refusal> {
        self.get(name)
    }
}

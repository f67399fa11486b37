//! What the venue says no with, in Alpaca's codes and words.
//!
//! The codes are those that clients branch on; the sources of each are in the table of the wire contract.

use crate::json::{Json, object};

/// An answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Alpaca's code; its first three digits are the status.
    pub code: u32,
    /// A sentence.
    pub message: String,
    /// What else the body tells.
    pub extra: Vec<(String, Json)>,
}

impl Refusal {
    /// A refusal without anything else to tell.
    #[must_use]
    pub fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), extra: Vec::new() }
    }

    /// 422, 42210000: the request makes no sense, or not for this market.
    #[must_use]
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, 42_210_000, message)
    }

    /// 400, 40010000: the request is malformed.
    #[must_use]
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, 40_010_000, message)
    }

    /// 422, 40010001: a field of the request is malformed.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, 40_010_001, message)
    }

    /// 403, 40310000: the account may not.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, 40_310_000, message)
    }

    /// 404, 40410000.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, 40_410_000, message)
    }

    /// 401, 40110000.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, 40_110_000, "request is not authorized")
    }

    /// 500: nothing is known to have happened.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, 50_010_000, "internal server error occurred")
    }

    /// Tells one thing more.
    #[must_use]
    pub fn tell(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.extra.push((name.to_owned(), value.into()));
        self
    }

    /// The body.
    #[must_use]
    pub fn json(&self) -> Json {
        let mut body = object! { "code" => u64::from(self.code), "message" => self.message.as_str() };
        if let Json::Object(fields) = &mut body {
            fields.extend(self.extra.iter().cloned());
        }
        body
    }
}

impl From<crate::exact::TooLarge> for Refusal {
    fn from(error: crate::exact::TooLarge) -> Self {
        Self::unprocessable(error.to_string())
    }
}

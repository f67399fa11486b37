//! Who asks: the key of a request's headers.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{HeaderMap, header};

use crate::refusal::Refusal;

/// A key. It tells accounts apart; it protects nothing but them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) key_id: String,
    /// None where the scheme has none, as with a bearer token.
    pub(super) secret: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Longest key id or secret, in bytes.
const KEY_BYTES_MAX: usize = 256;

fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refusal::unauthorized()),
        (Some(_), Some(_)) => Err(Refusal::unauthorized()),
    }
}

impl Credentials {
    /// The key of a request; none when it has none.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let key_id = once(headers, "apca-api-key-id")?;
        let secret = once(headers, "apca-api-secret-key")?;
        let found = match (key_id, secret) {
            (Some(key_id), Some(secret)) => Some(Self::new(key_id, Some(secret))?),
            (None, None) => None,
            _ => return Err(Refusal::unauthorized()),
        };
        let Some(authorization) = once(headers, header::AUTHORIZATION.as_str())? else { return Ok(found) };
        if found.is_some() {
            return Ok(found);
        }
        match authorization.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Self::new(token.trim(), None).map(Some),
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => {
                let decoded = BASE64_STANDARD.decode(token.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let decoded = decoded.ok_or_else(Refusal::unauthorized)?;
                let (key_id, secret) = decoded.split_once(':').ok_or_else(Refusal::unauthorized)?;
                Self::new(key_id, Some(secret)).map(Some)
            }
            _ => Err(Refusal::unauthorized()),
        }
    }

    /// A key of a message or header.
    pub(super) fn new(key_id: &str, secret: Option<&str>) -> Result<Self, Refusal> {
        let fits = |text: &str| (1..=KEY_BYTES_MAX).contains(&text.len());
        if !fits(key_id) || !secret.is_none_or(fits) {
            return Err(Refusal::unauthorized());
        }
        Ok(Self { key_id: key_id.to_owned(), secret: secret.map(str::to_owned) })
    }
}

//! Signing a request.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use ring::{digest, hmac};
use ringfence_model::api::Exchange;
use ringfence_store::SecretValue;
use zeroize::Zeroizing;

use super::exchange::recipe;
use super::fields;
use super::jwt;
use super::key::{JwtKey, KeyError};
use super::recipe::{Encoding, Hash, KeyForm, Piece, Recipe, Slot, StampForm};
use super::stamp::UnixMicros;
use crate::secret::json;

/// Why a request is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A field or header that the gate sets stands there more than once.
    #[error("`{0}` stands in the request more than once")]
    Twice(String),
    /// A header that is to be a whole number within bounds is not.
    #[error("the header `{header}` must be a whole number up to {max}")]
    Number {
        /// The header.
        header: HeaderName,
        /// The most it may be.
        max: u64,
    },
    /// The body is neither a form nor a JSON object with the field.
    #[error("the body has no field `{0}` that could be set: it must be a form, or a JSON object with that field")]
    Body(String),
    /// The address could not be put together again.
    #[error("the address with its signature is longer than an address can be")]
    Address,
    /// A part of the request that the exchange's signature does not cover, and that others could read in its place.
    #[error("the request has a {0}, which a signature of this exchange does not cover")]
    Uncovered(&'static str),
    /// The key refused, or the kernel gave no randomness.
    #[error("the signature could not be made")]
    Key,
}

/// A key of an exchange, and how it signs. See the [module](super) for when it may be used.
#[derive(Debug)]
pub struct Signer(Kind);

#[derive(Debug)]
enum Kind {
    Hmac { recipe: Recipe, key_id: HeaderValue, key: Zeroizing<Vec<u8>> },
    Jwt { key: JwtKey, name: String },
}

impl Signer {
    /// Signs as the exchange wants it, with the key of this public name (of Coinbase: `organizations/…/apiKeys/…`, or a UUID).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(exchange: Exchange, key_id: &SecretValue, secret: &SecretValue) -> Result<Self, KeyError> {
        let Some(recipe) = recipe(exchange) else {
            let name = std::str::from_utf8(key_id.expose()).map_err(|_| KeyError::NotAHeader)?;
            return Ok(Self(Kind::Jwt { key: JwtKey::read(secret.expose())?, name: name.to_owned() }));
        };
        let key = read_key(&recipe, secret)?;
        let key_id = sensitive(HeaderValue::from_bytes(key_id.expose()).map_err(|_| KeyError::NotAHeader))?;
        Ok(Self(Kind::Hmac { recipe, key_id, key }))
    }

    /// Whether a secret can be the key of an exchange at all.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn check(exchange: Exchange, secret: &SecretValue) -> Result<(), KeyError> {
        match recipe(exchange) {
            Some(recipe) => read_key(&recipe, secret).map(drop),
            None => JwtKey::read(secret.expose()).map(drop),
        }
    }

    /// Whether the stamp is a number of the key's nonces.
    #[must_use]
    pub fn wants_nonce(&self) -> bool {
        matches!(&self.0, Kind::Hmac { recipe, .. } if recipe.stamp == StampForm::Nonce)
    }

    /// Takes away what the client made with its placeholder: signature, name of the key, time. `body` is the whole body,
    /// as a signature covers it.
    ///
    /// # Errors
    /// [`SignError::Address`].
    pub fn strip(&self, parts: &mut Parts, body: Bytes) -> Result<Stripped<'_>, SignError> {
        let Kind::Hmac { recipe, .. } = &self.0 else {
            parts.headers.remove(header::AUTHORIZATION);
            return Ok(Stripped { signer: self, body });
        };
        parts.headers.remove(&recipe.key_id);
        if let Slot::Header(name) = &recipe.stamp_slot {
            parts.headers.remove(name);
        }
        let mut body = body;
        match &recipe.signature {
            Slot::Header(name) => {
                parts.headers.remove(name);
            }
            Slot::Query(name) | Slot::Body(name) => {
                if let Some(query) = parts.uri.query()
                    && fields::count(query, name) > 0
                {
                    let query = fields::without(query, name);
                    set_query(parts, &query)?;
                }
                if let Some(form) = form(&parts.headers, &body)
                    && fields::count(form, name) > 0
                {
                    body = set_body(parts, fields::without(form, name));
                }
            }
        }
        Ok(Stripped { signer: self, body })
    }
}

/// A request without the client's own signature, ready for the real one.
#[derive(Debug)]
pub struct Stripped<'s> {
    signer: &'s Signer,
    body: Bytes,
}

impl Stripped<'_> {
    /// The body as it is now.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Signs the request that was stripped, as it is now, to `host` in canonical form. `nonce` is the next one of the key,
    /// where [`Signer::wants_nonce`]. A `Content-Length` is set anew where the body has changed.
    ///
    /// # Errors
    /// [`SignError`]. The request must not be sent then.
    pub fn sign(self, parts: &mut Parts, host: &str, now: UnixMicros, nonce: Option<u64>) -> Result<Signed, SignError> {
        let Kind::Hmac { recipe, key_id, key } = &self.signer.0 else {
            return self.sign_jwt(parts, host, now);
        };
        let mut body = self.body;
        let stamp = match recipe.stamp {
            StampForm::Milliseconds => now.milliseconds().to_string(),
            StampForm::Iso8601 => now.iso8601_milliseconds(),
            StampForm::Nonce => nonce.ok_or(SignError::Key)?.to_string(),
        };
        body = put_stamp(&recipe.stamp_slot, parts, body, &stamp)?;
        parts.headers.insert(&recipe.key_id, key_id.clone());
        covered(&recipe.message, parts, &body)?;
        let mut message = Vec::new();
        write(&recipe.message, parts, &body, &stamp, key_id, &mut message)?;
        let algorithm = match recipe.hash {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), &message);
        let signature = match recipe.encoding {
            Encoding::Hex => hex::encode(tag),
            Encoding::Base64 => STANDARD.encode(tag),
        };
        let body = put_signature(&recipe.signature, parts, body, &signature)?;
        Ok(Signed { body, signature })
    }

    fn sign_jwt(self, parts: &mut Parts, host: &str, now: UnixMicros) -> Result<Signed, SignError> {
        let Kind::Jwt { key, name } = &self.signer.0 else { return Err(SignError::Key) };
        let request = (parts.method.as_str(), host, parts.uri.path());
        let token = jwt::coinbase(key, name, request, now).map_err(|_| SignError::Key)?;
        let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SignError::Key)?;
        parts.headers.insert(header::AUTHORIZATION, sensitive(Ok::<_, SignError>(value))?);
        Ok(Signed { body: self.body, signature: token })
    }
}

/// A request that is signed.
#[derive(Debug)]
pub struct Signed {
    /// Its body, to be sent.
    pub body: Bytes,
    /// The signature, or the whole token. Not every exchange's signature covers the path: nobody is to see it beside whom it
    /// was made for.
    pub signature: String,
}

fn read_key(recipe: &Recipe, secret: &SecretValue) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match recipe.key {
        KeyForm::Text => Ok(Zeroizing::new(secret.expose().to_vec())),
        KeyForm::Base64 => {
            STANDARD.decode(secret.expose().trim_ascii()).map(Zeroizing::new).map_err(|_| KeyError::NotBase64)
        }
    }
}

/// Refuses a request with a part that is not signed: a query of a POST to an exchange that signs the body alone, say.
fn covered(message: &[Piece], parts: &Parts, body: &Bytes) -> Result<(), SignError> {
    fn any(pieces: &[Piece], is: &dyn Fn(&Piece) -> bool) -> bool {
        pieces.iter().any(|piece| is(piece) || matches!(piece, Piece::Sha256(inner) if any(inner, is)))
    }
    let by_query = signs_query(&parts.method);
    let query = |piece: &Piece| {
        matches!(piece, Piece::Query | Piece::Target) || (by_query && matches!(piece, Piece::QueryOrBody))
    };
    let whole = |piece: &Piece| matches!(piece, Piece::Body) || (!by_query && matches!(piece, Piece::QueryOrBody));
    if parts.uri.query().is_some_and(|query| !query.is_empty()) && !any(message, &query) {
        return Err(SignError::Uncovered("query"));
    }
    if !body.is_empty() && !any(message, &whole) {
        return Err(SignError::Uncovered("body"));
    }
    Ok(())
}

fn signs_query(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::DELETE)
}

fn sensitive<E>(value: Result<HeaderValue, E>) -> Result<HeaderValue, E> {
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

/// Puts time or nonce in its place, over what the client put there.
fn put_stamp(slot: &Slot, parts: &mut Parts, body: Bytes, stamp: &str) -> Result<Bytes, SignError> {
    match slot {
        Slot::Header(name) => {
            parts.headers.insert(name, HeaderValue::try_from(stamp).map_err(|_| SignError::Key)?);
            Ok(body)
        }
        Slot::Query(name) => {
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let form = form(&parts.headers, &body);
            match (fields::count(&query, name), form.map_or(0, |form| fields::count(form, name))) {
                (0 | 1, 0) => {
                    set_query(parts, &fields::set(&query, name, stamp))?;
                    Ok(body)
                }
                (0, 1) => {
                    let form = fields::set(form.unwrap_or_default(), name, stamp);
                    Ok(set_body(parts, form))
                }
                _ => Err(SignError::Twice(name.clone())),
            }
        }
        Slot::Body(name) => {
            if let Some(form) = form(&parts.headers, &body) {
                if fields::count(form, name) > 1 {
                    return Err(SignError::Twice(name.clone()));
                }
                let form = fields::set(form, name, stamp);
                return Ok(set_body(parts, form));
            }
            let missing = || SignError::Body(name.clone());
            let scalars = json::scalars(&body).ok_or_else(missing)?;
            let mut own = scalars.iter().filter(|scalar| scalar.depth == 1 && scalar.field.as_ref() == Some(name));
            let (Some(scalar), None) = (own.next(), own.next()) else { return Err(missing()) };
            let (Some(before), Some(literal), Some(after)) =
                (body.get(..scalar.span.start), body.get(scalar.span.clone()), body.get(scalar.span.end..))
            else {
                return Err(missing());
            };
            // A string stays a string, a number a number.
            let quote: &[u8] = if literal.starts_with(b"\"") { b"\"" } else { b"" };
            let new = [before, quote, stamp.as_bytes(), quote, after].concat();
            Ok(set_body(parts, new))
        }
    }
}

fn put_signature(slot: &Slot, parts: &mut Parts, body: Bytes, signature: &str) -> Result<Bytes, SignError> {
    match slot {
        Slot::Header(name) => {
            let value = HeaderValue::try_from(signature).map_err(|_| SignError::Key)?;
            parts.headers.insert(name, value);
            Ok(body)
        }
        // Base64 would have to be escaped here; hexadecimal does not.
        Slot::Query(name) => {
            let escaped = percent_encoding::utf8_percent_encode(signature, percent_encoding::NON_ALPHANUMERIC);
            let query = fields::set(parts.uri.query().unwrap_or_default(), name, &escaped.to_string());
            set_query(parts, &query)?;
            Ok(body)
        }
        Slot::Body(name) => {
            let form = form(&parts.headers, &body).ok_or_else(|| SignError::Body(name.clone()))?;
            let escaped = percent_encoding::utf8_percent_encode(signature, percent_encoding::NON_ALPHANUMERIC);
            let form = fields::set(form, name, &escaped.to_string());
            Ok(set_body(parts, form))
        }
    }
}

/// Writes what is signed.
fn write(
    pieces: &[Piece],
    parts: &mut Parts,
    body: &Bytes,
    stamp: &str,
    key_id: &HeaderValue,
    out: &mut Vec<u8>,
) -> Result<(), SignError> {
    for piece in pieces {
        match piece {
            Piece::Stamp => out.extend_from_slice(stamp.as_bytes()),
            Piece::KeyId => out.extend_from_slice(key_id.as_bytes()),
            Piece::Method => out.extend_from_slice(parts.method.as_str().to_ascii_uppercase().as_bytes()),
            Piece::Path => out.extend_from_slice(parts.uri.path().as_bytes()),
            Piece::Query => out.extend_from_slice(parts.uri.query().unwrap_or_default().as_bytes()),
            Piece::Target => {
                let target: Cow<'_, str> =
                    parts.uri.path_and_query().map_or("/".into(), |target| target.as_str().into());
                out.extend_from_slice(target.as_bytes());
            }
            Piece::Body => out.extend_from_slice(body),
            Piece::QueryOrBody if signs_query(&parts.method) => {
                out.extend_from_slice(parts.uri.query().unwrap_or_default().as_bytes());
            }
            Piece::QueryOrBody => out.extend_from_slice(body),
            Piece::Number { header, default, max } => {
                let number = number(&parts.headers, header, *default, *max)?;
                parts.headers.insert(header, HeaderValue::from(number));
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Sha256(pieces) => {
                let mut inner = Vec::new();
                write(pieces, parts, body, stamp, key_id, &mut inner)?;
                out.extend_from_slice(digest::digest(&digest::SHA256, &inner).as_ref());
            }
        }
    }
    Ok(())
}

fn number(headers: &HeaderMap, header: &HeaderName, default: u64, max: u64) -> Result<u64, SignError> {
    let mut values = headers.get_all(header).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(default),
        (Some(value), None) => value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|&number| number <= max)
            .ok_or_else(|| SignError::Number { header: header.clone(), max }),
        (Some(_), Some(_)) => Err(SignError::Twice(header.to_string())),
    }
}

/// Whether a client has signed a request itself, so that it is to be signed for it.
pub(super) fn is_signed(recipe: &Recipe, parts: &Parts, body: &Bytes) -> bool {
    match &recipe.signature {
        Slot::Header(name) => parts.headers.contains_key(name),
        Slot::Query(name) | Slot::Body(name) => {
            let query = parts.uri.query().unwrap_or_default();
            fields::count(query, name) > 0
                || form(&parts.headers, body).is_some_and(|form| fields::count(form, name) > 0)
        }
    }
}

/// The body as a form (application/x-www-form-urlencoded): when it says so, or says nothing and looks like one.
fn form<'b>(headers: &HeaderMap, body: &'b Bytes) -> Option<&'b str> {
    let says_so = headers.get(header::CONTENT_TYPE).map_or(!body.trim_ascii_start().starts_with(b"{"), |kind| {
        let kind = kind.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    if says_so { std::str::from_utf8(body).ok() } else { None }
}

fn set_body(parts: &mut Parts, body: impl Into<Bytes>) -> Bytes {
    let body = body.into();
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    body
}

fn set_query(parts: &mut Parts, query: &str) -> Result<(), SignError> {
    let path = parts.uri.path();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut whole = parts.uri.clone().into_parts();
    whole.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| SignError::Address)?);
    parts.uri = Uri::from_parts(whole).map_err(|_| SignError::Address)?;
    Ok(())
}

#[cfg(test)]
mod tests;

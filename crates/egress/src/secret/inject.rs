//! Putting secrets into the head of a request.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};
use ringfence_store::SecretValue;
use zeroize::Zeroizing;

use super::BoundSecret;
use super::binding::{BasicPart, Placement};
use super::mask::{Mask, Masks, mask_headers, masks};
use super::refusal::{Place, Refusal};
use super::scan::{Finder, Scanner, Search};

/// Secrets that one sandbox may have.
const SECRETS_MAX: usize = 64;
/// Fewest bytes of a value: anything shorter stands in ordinary answers by chance, and masking would spoil them.
const VALUE_BYTES_MIN: usize = 8;
/// Most bytes of a value: a private key in PEM is below 4 KiB.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// Base64 as servers take it: with or without padding, and whatever the last bits are.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Where a request goes, as the gate itself decided it: not what the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The host in canonical form: lower case, ASCII, no trailing dot.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Whether the connection is TLS, with a certificate that was verified for this host.
    pub secure: bool,
}

/// Where a program says a secret that the gate then says in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot<'a> {
    /// In this field of a websocket's message.
    Frame(&'a str),
    /// In this header.
    Header(&'a HeaderName),
}

/// What was done to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injected {
    /// Names of the secrets that it carries now.
    pub secrets: Vec<String>,
}

/// Why a set of secrets cannot be a sandbox's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SetError {
    /// Too many.
    #[error("a sandbox may have {SECRETS_MAX} secrets, not {0}")]
    TooMany(usize),
    /// Two secrets with one name or one placeholder.
    #[error("secret `{0}` stands there twice")]
    Twice(String),
    /// A value that is too short to be masked, or too long.
    #[error("the value of secret `{0}` must have {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX} bytes")]
    Length(String),
}

/// The secrets of one sandbox, ready to be put into its requests.
///
/// Immutable: when a secret is rotated, revoked or bound anew, make another one and use it from the next request on, also
/// of connections that are open.
#[derive(Debug)]
pub struct Injector {
    secrets: Vec<BoundSecret>,
    names: Arc<[String]>,
    finder: Arc<Finder>,
    masks: Arc<Masks>,
    compressed_bodies: bool,
}

impl Injector {
    /// Of the secrets of a sandbox. With none, everything passes as it is.
    ///
    /// # Errors
    /// [`SetError`].
    pub fn new(secrets: Vec<BoundSecret>) -> Result<Self, SetError> {
        if secrets.len() > SECRETS_MAX {
            return Err(SetError::TooMany(secrets.len()));
        }
        for (index, secret) in secrets.iter().enumerate() {
            let length = secret.value.as_ref().map_or(VALUE_BYTES_MIN, |value| value.expose().len());
            if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&length) {
                return Err(SetError::Length(secret.name.clone()));
            }
            let earlier = &secrets[..index];
            if earlier.iter().any(|other| other.name == secret.name || other.placeholder == secret.placeholder) {
                return Err(SetError::Twice(secret.name.clone()));
            }
        }
        let finder = Arc::new(Finder::new(secrets.iter().map(|secret| &secret.placeholder)));
        let masks = Arc::new(masks(&secrets));
        let names = secrets.iter().map(|secret| secret.name.clone()).collect();
        Ok(Self { secrets, names, finder, masks, compressed_bodies: false })
    }

    /// Lets requests through whose bodies are compressed, and which a [`Scanner`] therefore cannot search. Nothing secret
    /// leaves by that; a placeholder may leave unseen.
    #[must_use]
    pub fn with_compressed_bodies(mut self) -> Self {
        self.compressed_bodies = true;
        self
    }

    /// A search through the body of a request, and through all messages of a websocket but the first.
    #[must_use]
    pub fn scanner(&self) -> Scanner {
        Scanner::new(Arc::clone(&self.finder), Arc::clone(&self.names))
    }

    /// A mask for one body of a response, or one message of a websocket.
    #[must_use]
    pub fn mask(&self) -> Mask {
        Mask::new(Arc::clone(&self.masks))
    }

    /// Masks the values of the headers of a response, and trailers.
    pub fn mask_headers(&self, headers: &mut HeaderMap) {
        mask_headers(&self.masks, headers);
    }

    /// Puts secrets into a request that was admitted, in the places where their placeholders are bound to be. Towards a host
    /// that any secret is bound to, it also takes away what would make the answer unreadable: compression of answers, and of
    /// websocket messages, and the wish for a part of an answer.
    ///
    /// hyper's own copies of the values, in the headers and the address, are not wiped when they are dropped.
    ///
    /// # Errors
    /// The first placeholder found in a place that is not its own, or other [`Refusal`]. The request is then as it was.
    pub fn inject(&self, to: Destination<'_>, parts: &mut Parts) -> Result<Injected, Refusal> {
        if self.secrets.is_empty() {
            return Ok(Injected::default());
        }
        self.refuse(to.host.as_bytes(), Place::Host)?;
        self.refuse(parts.method.as_str().as_bytes(), Place::Method)?;
        if let Some(authority) = parts.uri.authority() {
            let place = if authority.as_str().contains('@') { Place::UserInfo } else { Place::Host };
            self.refuse(authority.as_str().as_bytes(), place)?;
        }
        self.refuse(parts.uri.path().as_bytes(), Place::Path)?;
        let mut used = Vec::new();
        let uri = self.query(to, &parts.uri, &mut used)?;
        let replaced = self.headers(to, &parts.headers, &mut used)?;
        if !self.compressed_bodies && !uncompressed(&parts.headers) {
            return Err(Refusal::EncodedBody);
        }
        if let Some((index, value)) = self.login(to, parts) {
            parts.headers.insert(header::AUTHORIZATION, value);
            used.push(index);
        }
        for (name, value) in replaced {
            parts.headers.insert(name, value);
        }
        if let Some(uri) = uri {
            parts.uri = uri;
        }
        if self.secrets.iter().any(|secret| secret.binding.covers(to.host, to.port)) {
            parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
            // A value that comes in parts, each in an answer of its own, could not be masked.
            parts.headers.remove(header::RANGE);
            parts.headers.remove(header::IF_RANGE);
        }
        used.sort_unstable();
        used.dedup();
        Ok(Injected { secrets: used.into_iter().map(|index| self.secrets[index].name.clone()).collect() })
    }

    /// What a request that reads there is sent with although nobody asked for it.
    fn login(&self, to: Destination<'_>, parts: &Parts) -> Option<(usize, HeaderValue)> {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        if !to.secure || !reads || parts.headers.contains_key(header::AUTHORIZATION) {
            return None;
        }
        let is_login = |secret: &BoundSecret| {
            secret.binding.placements.contains(&Placement::Login) && secret.binding.covers(to.host, to.port)
        };
        let index = self.secrets.iter().position(is_login)?;
        let value = self.secrets[index].value.as_ref()?;
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(value.expose())));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some((index, value))
    }

    /// Whether the secret of this name may go there still, which it did before.
    #[must_use]
    pub fn may_go(&self, name: &str, to: Destination<'_>) -> bool {
        let named = self.secrets.iter().find(|secret| secret.name == name);
        named.is_some_and(|secret| secret.value.is_some() && secret.binding.covers(to.host, to.port))
    }

    /// Refuses bytes that hold a placeholder.
    fn refuse(&self, bytes: &[u8], place: Place) -> Result<(), Refusal> {
        match self.finder.find(bytes) {
            Some(index) => Err(self.misplaced(index, place)),
            None => Ok(()),
        }
    }

    pub(super) fn misplaced(&self, index: usize, place: Place) -> Refusal {
        Refusal::Misplaced { secret: self.secrets[index].name.clone(), place }
    }

    /// All of them.
    pub(crate) fn secrets(&self) -> &[BoundSecret] {
        &self.secrets
    }

    pub(super) fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.finder.find(bytes)
    }

    pub(super) fn secret(&self, index: usize) -> &BoundSecret {
        &self.secrets[index]
    }

    /// The secret whose placeholder this is, exactly.
    pub(crate) fn exact(&self, text: &[u8]) -> Option<usize> {
        self.secrets.iter().position(|secret| secret.placeholder.as_str().as_bytes() == text)
    }

    /// The value of a secret, if it may go there. The place was found to be one of its own.
    pub(crate) fn admit(&self, index: usize, to: Destination<'_>, place: Place) -> Result<&SecretValue, Refusal> {
        let secret = &self.secrets[index];
        let name = || secret.name.clone();
        if !secret.binding.covers(to.host, to.port) {
            return Err(Refusal::Elsewhere { secret: name(), place, host: to.host.to_owned(), port: to.port });
        }
        if !to.secure {
            return Err(Refusal::Cleartext { secret: name() });
        }
        secret.value.as_deref().ok_or_else(|| Refusal::Revoked { secret: name() })
    }

    /// The secret whose placeholder a text is, by name, and its value, for a message that the gate writes by itself; none when the
    /// text is no placeholder.
    ///
    /// # Errors
    /// It is one that may not go there, or does not stand where it is bound to be.
    pub(crate) fn named(
        &self,
        to: Destination<'_>,
        spot: Spot<'_>,
        text: &str,
    ) -> Result<Option<(String, Arc<SecretValue>)>, Refusal> {
        let Some(index) = self.exact(text.as_bytes()) else { return Ok(None) };
        let secret = &self.secrets[index];
        let (is_bound, place) = match spot {
            Spot::Frame(field) => (secret.binding.in_frame(Some(field)), Place::Frame),
            Spot::Header(name) => {
                let is_there = |placement: &Placement| matches!(placement, Placement::Header(header) if header == name);
                (secret.binding.placements.iter().any(is_there), Place::Header(name.clone()))
            }
        };
        if !is_bound {
            return Err(self.misplaced(index, place));
        }
        self.admit(index, to, place)?;
        Ok(secret.value.clone().map(|value| (secret.name.clone(), value)))
    }

    /// The address with values put into its query; `None` when there is nothing to put.
    fn query(&self, to: Destination<'_>, uri: &Uri, used: &mut Vec<usize>) -> Result<Option<Uri>, Refusal> {
        let Some(query) = uri.query() else { return Ok(None) };
        let fields: Vec<(&str, Option<&str>)> = query
            .split('&')
            .map(|field| field.split_once('=').map_or((field, None), |(name, value)| (name, Some(value))))
            .collect();
        let mut out = Zeroizing::new(String::with_capacity(query.len() + VALUE_BYTES_MAX));
        let mut rest = String::with_capacity(query.len());
        let mut changed = None;
        for (position, &(name, value)) in fields.iter().enumerate() {
            if position > 0 {
                out.push('&');
                rest.push('&');
            }
            out.push_str(name);
            rest.push_str(name);
            let Some(value) = value else { continue };
            out.push('=');
            rest.push('=');
            let decoded = field_text(name);
            let bound = self.exact(&field_text(value)).filter(|&index| {
                self.secrets[index]
                    .binding
                    .placements
                    .iter()
                    .any(|placement| matches!(placement, Placement::Query(field) if field.as_bytes() == &*decoded))
            });
            let Some(index) = bound else {
                out.push_str(value);
                rest.push_str(value);
                continue;
            };
            if fields.iter().filter(|(other, _)| field_text(other) == decoded).count() > 1 {
                return Err(Refusal::Ambiguous { secret: self.secrets[index].name.clone(), place: Place::Query });
            }
            let value = self.admit(index, to, Place::Query)?;
            out.extend(percent_encode(value.expose(), NON_ALPHANUMERIC));
            changed = Some(index);
            used.push(index);
        }
        self.refuse(rest.as_bytes(), Place::Query)?;
        let Some(index) = changed else { return Ok(None) };
        let unusable = || Refusal::Unusable { secret: self.secrets[index].name.clone(), place: Place::Query };
        let target = Zeroizing::new(format!("{}?{}", uri.path(), *out));
        let mut whole = uri.clone().into_parts();
        whole.path_and_query = Some(PathAndQuery::try_from(target.as_str()).map_err(|_| unusable())?);
        Uri::from_parts(whole).map(Some).map_err(|_| unusable())
    }

    /// The headers to be replaced.
    fn headers(
        &self,
        to: Destination<'_>,
        headers: &HeaderMap,
        used: &mut Vec<usize>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        let mut replaced = Vec::new();
        // A value cut in pieces over several headers is found in what they say together.
        let mut together = Search::new(Arc::clone(&self.finder));
        for (name, value) in headers {
            self.refuse(name.as_str().as_bytes(), Place::HeaderName)?;
            let place = if name == header::COOKIE { Place::Cookie } else { Place::Header(name.clone()) };
            let before = used.len();
            let Some(value) = self.header(to, name, value.as_bytes(), &place, used)? else {
                self.refuse(value.as_bytes(), place)?;
                together.feed(value.as_bytes());
                continue;
            };
            let secret = || used.get(before).map_or_else(String::new, |&index| self.secrets[index].name.clone());
            if headers.get_all(name).iter().count() > 1 {
                return Err(Refusal::Ambiguous { secret: secret(), place });
            }
            if hop_by_hop(headers, name) {
                return Err(Refusal::HopByHop { secret: secret(), header: name.clone() });
            }
            let mut value =
                HeaderValue::from_bytes(&value).map_err(|_| Refusal::Unusable { secret: secret(), place })?;
            value.set_sensitive(true);
            replaced.push((name.clone(), value));
        }
        match together.found() {
            Some(index) => Err(self.misplaced(index, Place::Headers)),
            None => Ok(replaced),
        }
    }

    /// What is to stand in a header instead of `value`; `None` when no placeholder is bound to be there.
    fn header(
        &self,
        to: Destination<'_>,
        name: &HeaderName,
        value: &[u8],
        place: &Place,
        used: &mut Vec<usize>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
        let bound = |index: usize, wanted: &dyn Fn(&Placement) -> bool| {
            self.secrets[index].binding.placements.iter().any(wanted)
        };
        if let Some(index) = self.exact(value) {
            if !bound(index, &|placement| matches!(placement, Placement::Header(header) if header == name)) {
                return Ok(None);
            }
            used.push(index);
            return self.admit(index, to, place.clone()).map(|value| Some(Zeroizing::new(value.expose().to_vec())));
        }
        if name != header::AUTHORIZATION {
            return Ok(None);
        }
        let Some(space) = value.iter().position(|&byte| byte == b' ') else { return Ok(None) };
        let (scheme, credentials) = value.split_at(space);
        let credentials = credentials.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            let Some(index) = self.exact(credentials) else { return Ok(None) };
            if !bound(index, &|placement| *placement == Placement::Bearer) {
                return Ok(None);
            }
            used.push(index);
            let value = self.admit(index, to, place.clone())?;
            return Ok(Some(join(&[b"Bearer ", value.expose()])));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return Ok(None);
        }
        let Ok(decoded) = LENIENT.decode(credentials) else { return Ok(None) };
        let colon = decoded.iter().position(|&byte| byte == b':').unwrap_or(decoded.len());
        let (user, password) = decoded.split_at(colon);
        let password = password.get(1..);
        let mut value_of = |half: &[u8], part: BasicPart| -> Result<Option<&[u8]>, Refusal> {
            let Some(index) = self.exact(half) else { return Ok(None) };
            if !bound(index, &|placement| *placement == Placement::Basic(part)) {
                return Ok(None);
            }
            used.push(index);
            self.admit(index, to, place.clone()).map(|value| Some(value.expose()))
        };
        let new_user = value_of(user, BasicPart::User)?;
        let new_password = match password {
            Some(password) => value_of(password, BasicPart::Password)?,
            None => None,
        };
        if new_user.is_none() && new_password.is_none() {
            // Base64 is looked for in any case, but not what a lenient reader would make of odd base64.
            self.refuse(&decoded, place.clone())?;
            return Ok(None);
        }
        if new_user.is_none() {
            self.refuse(user, place.clone())?;
        }
        if let (None, Some(password)) = (new_password, password) {
            self.refuse(password, place.clone())?;
        }
        let mut pair = join(&[new_user.unwrap_or(user)]);
        if let Some(password) = new_password.or(password) {
            pair = join(&[&pair, b":", password]);
        }
        let encoded = Zeroizing::new(STANDARD.encode(&*pair));
        Ok(Some(join(&[b"Basic ", encoded.as_bytes()])))
    }
}

/// One vector with room for all, so that none grows and leaves a copy behind.
fn join(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A name or value of a query, decoded as forms are (`+` is a space).
pub(crate) fn field_text(raw: &str) -> Cow<'_, [u8]> {
    if raw.contains('+') {
        let spaced = raw.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(raw.as_bytes()).into()
}

/// Whether `Connection` names this header.
fn hop_by_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Whether the body is as it is.
fn uncompressed(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .all(|coding| matches!(coding.trim_ascii(), b"" | b"identity"))
}

#[cfg(test)]
mod tests;

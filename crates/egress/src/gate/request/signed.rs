//! Requests that the gate signs in place of a program: whether it does, with which key, and what it is sent as then.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use ring::digest;
use ringfence_model::api::Exchange;
use ringfence_model::net::DenialReason;
use ringfence_store::gate::NonceKey;
use tokio::time::timeout;

use crate::gate::desk::Key;
use crate::gate::room::Force;
use crate::secret::{BoundSecret, Destination, Injected, Placement, Refusal, Scanner, Signing};
use crate::sign::{self, Signed, Signer, UnixMicros};

/// Bytes of a body that is signed: the longest batch of orders that these exchanges take is a few KiB.
pub(super) const BODY_BYTES_MAX: usize = 256 << 10;
/// Longest time for such a body to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Why a request is not signed, and with that not sent.
#[derive(Debug)]
pub(super) struct Unsigned {
    pub(super) reason: DenialReason,
    pub(super) message: String,
}

impl Unsigned {
    pub(super) fn malformed(message: impl ToString) -> Self {
        Self { reason: DenialReason::Malformed, message: message.to_string() }
    }

    fn not_allowed(message: String) -> Self {
        Self { reason: DenialReason::SigningNotAllowed, message }
    }
}

impl From<Refusal> for Unsigned {
    fn from(refusal: Refusal) -> Self {
        Self { reason: DenialReason::PlaceholderMisplaced, message: refusal.to_string() }
    }
}

/// A key, and what a program names it by.
struct Named<'f> {
    secret: &'f BoundSecret,
    signing: &'f Signing,
    /// The index of the secret that is the key's name.
    key: usize,
}

/// The secrets that sign at this destination for the key that the request names.
fn named<'f>(force: &'f Force, to: Destination<'_>, parts: &Parts) -> Vec<Named<'f>> {
    let signing = force.injector.secrets().iter().filter_map(|secret| {
        let signing = secret.binding.sign.as_ref().filter(|_| secret.binding.covers(to.host, to.port))?;
        let key = force.injector.exact(&sign::key_in(signing.exchange, &parts.headers)?)?;
        let name = &force.injector.secrets().get(key)?.name;
        signing.key.as_ref().is_none_or(|wanted| wanted == name).then_some(Named { secret, signing, key })
    });
    signing.collect()
}

/// Whether a request may be one that is signed, so that its body has to be there as a whole before anything is decided.
pub(super) fn may_be(force: &Force, to: Destination<'_>, parts: &Parts) -> bool {
    !named(force, to, parts).is_empty()
}

/// Reads a body whole.
pub(super) async fn gather(body: Incoming) -> Result<Bytes, Unsigned> {
    match timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        // What is in trailers goes no further.
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unsigned {
            reason: DenialReason::LimitExceeded,
            message: format!(
                "an order, or a request that is to be signed, has a body of at most {BODY_BYTES_MAX} bytes"
            ),
        }),
        Ok(Err(_)) => Err(Unsigned::malformed("the body of the request ended too early")),
        Err(_) => Err(Unsigned {
            reason: DenialReason::LimitExceeded,
            message: format!("the body of a request that is to be signed has to come within {} s", BODY_TIME.as_secs()),
        }),
    }
}

/// That a request is signed, and how. It exists only for what a rule of the secret lets be signed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) exchange: Exchange,
    /// Names of the secrets that are used for it: the one that signs, and the name of the key.
    pub(super) secrets: [String; 2],
    signer: Signer,
    signing: Signing,
    nonce_key: NonceKey,
}

/// Whether a request is signed; `None` when its client did not sign it.
pub(super) fn plan(force: &Force, to: Destination<'_>, parts: &Parts, body: &Bytes) -> Result<Option<Plan>, Unsigned> {
    let mut named = named(force, to, parts);
    named.retain(|one| sign::is_signed(one.signing.exchange, parts, body));
    let Some(first) = named.first().map(|one| one.secret) else { return Ok(None) };
    let (method, target) = (parts.method.as_str(), parts.uri.path());
    named.retain(|one| one.signing.covers(method, target));
    // One that was revoked says so where there is no other.
    let live = named.iter().any(|one| one.secret.value.is_some());
    let mut covering = named.into_iter().filter(|one| !live || one.secret.value.is_some());
    let Some(Named { secret, signing, key }) = covering.next() else {
        let name = &first.name;
        return Err(Unsigned::not_allowed(format!(
            "secret `{name}` does not sign this method and path; the operator names what it signs with `ringfence secret set \
             {name} --rotate --sign … --path …`, and a path by which money leaves without `*`"
        )));
    };
    if let Some(other) = covering.next() {
        return Err(Unsigned::not_allowed(format!(
            "secrets `{}` and `{}` could both sign this request; say which key each is of, with `ringfence secret set … --key`",
            secret.name, other.secret.name
        )));
    }
    let placement = sign::key_header(signing.exchange).map_or(Placement::Jwt, Placement::Header);
    let key_secret = force.injector.secrets().get(key).filter(|key| key.binding.placements.contains(&placement));
    let Some(key_secret) = key_secret else {
        return Err(Unsigned {
            reason: DenialReason::PlaceholderMisplaced,
            message: "the request names its key by a secret that is not bound to be there".to_owned(),
        });
    };
    let place = crate::secret::Place::Headers;
    let key_value = force.injector.admit(key, to, place.clone())?;
    let index = force.injector.secrets().iter().position(|one| one.name == secret.name).unwrap_or(key);
    let value = force.injector.admit(index, to, place)?;
    let signer = Signer::new(signing.exchange, key_value, value)
        .map_err(|error| Unsigned::not_allowed(format!("secret `{}` cannot sign: {error}", secret.name)))?;
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [b"ringfence nonce 1", signing.exchange.as_str().as_bytes(), key_value.expose()] {
        hash.update(part);
        hash.update(&[0]);
    }
    let mut nonce_key = [0; 32];
    nonce_key.copy_from_slice(hash.finish().as_ref());
    Ok(Some(Plan {
        exchange: signing.exchange,
        secrets: [secret.name.clone(), key_secret.name.clone()],
        signer,
        signing: signing.clone(),
        nonce_key,
    }))
}

impl Plan {
    /// The key, for what the gate says in its own words in place of the request.
    pub(super) fn into_key(self) -> Key {
        let [secret, _] = self.secrets;
        Key::new(secret, self.signer, self.signing)
    }

    /// The key whose next nonce is drawn for it, and the time as those count; none when it wants no nonce.
    pub(super) fn nonce(&self) -> Option<(NonceKey, u64)> {
        self.signer.wants_nonce().then(|| (self.nonce_key, now().in_unit(self.signing.nonce)))
    }

    /// What is sent, with the client's signature taken away, other secrets put in, and signed: in this order, because a
    /// client's token holds the placeholder of its key, and what is put in is signed as well. `nonce` is one that is used up.
    pub(super) fn carry_out(
        &self,
        force: &Force,
        to: Destination<'_>,
        parts: &mut Parts,
        body: Bytes,
        nonce: Option<u64>,
    ) -> Result<(Injected, Signed), Unsigned> {
        let stripped = self.signer.strip(parts, body).map_err(Unsigned::malformed)?;
        let mut injected = force.injector.inject(to, parts)?;
        misplaced(force.injector.scanner(), stripped.body())?;
        let signed = stripped.sign(parts, to.host, now(), nonce).map_err(Unsigned::malformed)?;
        injected.secrets.extend(self.secrets.iter().cloned());
        injected.secrets.sort_unstable();
        injected.secrets.dedup();
        Ok((injected, signed))
    }
}

/// Refuses a body that holds a placeholder.
pub(super) fn misplaced(mut scanner: Scanner, body: &Bytes) -> Result<(), Unsigned> {
    match scanner.feed(body) {
        None => Ok(()),
        Some(secret) => Err(Unsigned { reason: DenialReason::PlaceholderMisplaced, message: in_body(secret) }),
    }
}

pub(super) fn in_body(secret: &str) -> String {
    format!("the placeholder of secret `{secret}` stands in the body, where it is not bound to be")
}

/// The time as signatures have it.
pub(in crate::gate) fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

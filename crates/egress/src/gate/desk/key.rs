//! A key with which the gate signs its own words to a venue.

use std::fmt;

use bytes::Bytes;
use hyper::http::Request;
use ringfence_model::api::Exchange;

use crate::gate::lead::PORT;
use crate::gate::request::signed::now;
use crate::gate::room::Force;
use crate::secret::{BoundSecret, Placement, Signing};
use crate::sign::{self, SignError, Signer};

/// A key of an exchange, with the rules of the secret that it is.
pub(in crate::gate) struct Key {
    secret: String,
    signer: Signer,
    signing: Signing,
}

/// Why the gate's own words are not signed.
#[derive(Debug, thiserror::Error)]
pub(in crate::gate) enum KeyRefusal {
    /// What the secret signs is the operator's to say, for the gate as for a program.
    #[error("secret `{secret}` does not sign `{method} {path}`, which the gate has to ask for")]
    NotCovered { secret: String, method: String, path: String },
    /// It could not be signed.
    #[error(transparent)]
    Unsigned(#[from] SignError),
}

impl Key {
    pub(in crate::gate) fn new(secret: String, signer: Signer, signing: Signing) -> Self {
        Self { secret, signer, signing }
    }

    /// One that a sandbox has for this host: a secret that signs there, and the one that is its name.
    pub(super) fn of_secrets(exchange: Exchange, host: &str, force: &Force) -> Option<Self> {
        let place = Placement::Header(sign::key_header(exchange)?);
        let there = || force.injector.secrets().iter().filter(|secret| secret.binding.covers(host, PORT));
        there().find_map(|secret| {
            let signing = secret.binding.sign.as_ref().filter(|signing| signing.exchange == exchange)?;
            let names = |other: &&BoundSecret| {
                other.binding.placements.contains(&place) && signing.key.as_ref().is_none_or(|key| *key == other.name)
            };
            let id = there().find(names)?.value.as_ref()?;
            let signer = Signer::new(exchange, id, secret.value.as_ref()?).ok()?;
            Some(Self::new(secret.name.clone(), signer, signing.clone()))
        })
    }

    /// The request signed, as it is, and its signature.
    pub(super) fn sign(&self, request: Request<Bytes>, host: &str) -> Result<(Request<Bytes>, String), KeyRefusal> {
        let (mut parts, body) = request.into_parts();
        let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
        if !self.signing.covers(&method, &path) {
            return Err(KeyRefusal::NotCovered { secret: self.secret.clone(), method, path });
        }
        let stripped = self.signer.strip(&mut parts, body)?;
        let signed = stripped.sign(&mut parts, host, now(), None)?;
        Ok((Request::from_parts(parts, signed.body), signed.signature))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("secret", &self.secret).finish_non_exhaustive()
    }
}

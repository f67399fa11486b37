//! Envelopes: what anyone can seal for the gateway, and only the gateway can open.
//!
//! ```text
//! envelope = sealed box of libsodium (X25519, XSalsa20-Poly1305) over:
//!            0x01 ‖ SHA-256("ringfence envelope 1\0" ‖ context) ‖ value
//! ```
//!
//! The sender is not known from it. The context (such as the sandbox and name that a value is for) is not in it either:
//! whoever opens says which one is expected, so that an envelope for one place is useless in another.

use std::fmt;
use std::path::Path;

use crypto_box::aead::OsRng;
use crypto_box::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::VALUE_BYTES_MAX;
use crate::key_file::{self, KEY_BYTES, KeyError};
use crate::seal::SecretValue;

/// Of the plaintext: the version of its form.
const FORM: u8 = 1;
const HASH_BYTES: usize = 32;
/// What an envelope adds to a value: the sender's passing key, the tag, and what stands before the value.
const OVERHEAD_BYTES: usize = 32 + 16 + 1 + HASH_BYTES;

/// Why an envelope could not be opened. None of it says what was inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It holds more than any secret has.
    #[error("the envelope has {bytes} bytes: at most {} are opened", VALUE_BYTES_MAX + OVERHEAD_BYTES)]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It was sealed for another key, or changed on its way.
    #[error("the envelope does not open: it was sealed for another gateway, or changed on its way")]
    NotForUs,
    /// It was sealed for another sandbox or name.
    #[error("the envelope was sealed for another place")]
    OtherContext,
    /// Its form is not known here.
    #[error("the envelope has a form that this ringfence does not know: update the gateway")]
    UnknownForm,
}

/// The gateway's key, which opens envelopes.
pub struct EnvelopeKey {
    // Boxed, so that moving the key about leaves no copies of it behind.
    key: Box<SecretKey>,
}

impl EnvelopeKey {
    /// Reads the key at `path`, or makes one there (32 random bytes, mode 0400) when there is none.
    ///
    /// # Errors
    /// The file can be read by others, is not a key, or cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let bytes = key_file::load_or_create(path)?;
        Ok(Self { key: Box::new(SecretKey::from_bytes(*bytes)) })
    }

    /// The key that others seal with.
    #[must_use]
    pub fn public(&self) -> EnvelopePublicKey {
        EnvelopePublicKey(self.key.public_key().to_bytes())
    }

    /// Opens what was sealed for this key and `context`.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<SecretValue, EnvelopeError> {
        if sealed.len() > VALUE_BYTES_MAX + OVERHEAD_BYTES {
            return Err(EnvelopeError::TooLong { bytes: sealed.len() });
        }
        let plain = Zeroizing::new(self.key.unseal(sealed).map_err(|_| EnvelopeError::NotForUs)?);
        let (form, rest) = plain.split_first().ok_or(EnvelopeError::UnknownForm)?;
        let (bound_to, value) = rest.split_first_chunk::<HASH_BYTES>().ok_or(EnvelopeError::UnknownForm)?;
        if *form != FORM {
            return Err(EnvelopeError::UnknownForm);
        }
        if *bound_to != hash(context) {
            return Err(EnvelopeError::OtherContext);
        }
        Ok(SecretValue::new(value))
    }
}

impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeKey(…)")
    }
}

impl Drop for EnvelopeKey {
    /// Its own drop wipes the scalar and leaves the bytes that it was made from.
    fn drop(&mut self) {
        *self.key = SecretKey::from_bytes([0; KEY_BYTES]);
        // Somebody might look: so the store above is not left out.
        std::hint::black_box(&self.key);
    }
}

/// The key that values are sealed with for the gateway. It is no secret, but it must be the gateway's: who can replace
/// it can read what is sealed with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnvelopePublicKey([u8; KEY_BYTES]);

impl EnvelopePublicKey {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The key as it is sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Seals a value for the owner of this key and for `context`, which must be the same when it is opened.
    #[must_use]
    pub fn seal(&self, value: &SecretValue, context: &[u8]) -> Vec<u8> {
        let value = value.expose();
        let mut plain = Zeroizing::new(Vec::with_capacity(1 + HASH_BYTES + value.len()));
        plain.push(FORM);
        plain.extend_from_slice(&hash(context));
        plain.extend_from_slice(value);
        PublicKey::from_bytes(self.0)
            .seal(&mut OsRng, &plain)
            .expect("the cipher takes messages of any length in memory")
    }
}

impl fmt::Display for EnvelopePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EnvelopePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopePublicKey({self})")
    }
}

fn hash(context: &[u8]) -> [u8; HASH_BYTES] {
    Sha256::new().chain_update(b"ringfence envelope 1\0").chain_update(context).finalize().into()
}

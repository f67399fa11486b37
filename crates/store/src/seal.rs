//! Sealing: XChaCha20-Poly1305 under a key from a file that only its owner can read.

use std::hint::black_box;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use rand::rngs::OsRng;
use ringfence_model::SandboxId;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::key_file::{self, KEY_BYTES, KeyError};

const NONCE_BYTES: usize = 24;
/// Hexadecimal digits of a fingerprint: 48 bits, so that two values of one name differ in practice.
const FINGERPRINT_DIGITS: usize = 12;

/// A value that must not be seen: wiped from memory when dropped, and never printed, copied or serialised.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes over a value.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// The value itself. Every use of this is a place where a secret leaves its wrapping.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// The key that the values of a database are sealed with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; KEY_BYTES]);

impl SealingKey {
    /// Reads the key at `path`, or makes one there (32 random bytes, mode 0400) when there is none.
    ///
    /// # Errors
    /// The file can be read by others, is not a key, or cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        key_file::load_or_create(path).map(|key| Self(*key))
    }
}

impl SealingKey {
    /// The key of the tokens of previews. One cannot be had from the other's use.
    #[must_use]
    pub fn preview_key(&self) -> PreviewKey {
        let mut hasher = Sha256::new();
        hasher.update(b"ringfence preview key 1\0");
        hasher.update(self.0);
        PreviewKey(hasher.finalize().into())
    }
}

/// What the tokens of previews are made with: they are written nowhere, outlive the daemon, and are known to nobody who
/// has not this key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PreviewKey([u8; KEY_BYTES]);

impl PreviewKey {
    /// The token of a sandbox, whether or not there is one: 128 bits in hexadecimal digits, and behind a hyphen how often it was
    /// replaced, if it was.
    #[must_use]
    pub fn token(&self, sandbox: &SandboxId, generation: u32) -> String {
        const DIGITS: usize = 32;
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        // Ids have one length, so that none continues another.
        hasher.update(sandbox.as_str());
        if generation > 0 {
            hasher.update(generation.to_be_bytes());
        }
        let mut token = hex::encode(hasher.finalize());
        token.truncate(DIGITS);
        if generation > 0 {
            token.push_str(&format!("-{generation}"));
        }
        token
    }

    /// Of which generation a token of this sandbox is; `None` for everything that is none. Takes as long for a wrong one as for
    /// a right one of the same length. Whether that generation is still valid is not known here.
    #[must_use]
    pub fn generation(&self, sandbox: &SandboxId, offered: &[u8]) -> Option<u32> {
        let said = offered.iter().position(|byte| *byte == b'-').and_then(|at| {
            let digits = std::str::from_utf8(&offered[at + 1..]).ok()?;
            digits.parse().ok()
        });
        let generation = said.unwrap_or_default();
        is_same(self.token(sandbox, generation).as_bytes(), offered).then_some(generation)
    }
}

/// Whether two secrets are the same. Takes as long for a wrong one as for the right one of the same length.
fn is_same(ours: &[u8], offered: &[u8]) -> bool {
    let differing = ours.iter().zip(offered).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    ours.len() == offered.len() && differing == 0
}

impl std::fmt::Debug for PreviewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PreviewKey(…)")
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

/// Seals and opens with one key.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    fingerprint_key: Zeroizing<[u8; 32]>,
}

impl Sealer {
    /// `salt` belongs to the installation, so that fingerprints of two installations cannot be compared.
    pub(crate) fn new(key: &SealingKey, salt: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"ringfence fingerprint key 1\0");
        hasher.update(key.0);
        hasher.update(salt);
        Self {
            cipher: XChaCha20Poly1305::new(&key.0.into()),
            fingerprint_key: Zeroizing::new(hasher.finalize().into()),
        }
    }

    /// Nonce and ciphertext of `value`, bound to `aad`.
    pub(crate) fn seal(&self, aad: &[u8], value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce);
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: value, aad })
            .expect("the cipher takes messages up to 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The value, if `sealed` was sealed with this key and this `aad`.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<SecretValue> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad }).ok().map(SecretValue)
    }

    /// A short fingerprint of a value, keyed: a short value cannot be found by trying all without the sealing key.
    pub(crate) fn fingerprint(&self, name: &str, value: &SecretValue) -> String {
        let mut hasher = Sha256::new();
        hasher.update(*self.fingerprint_key);
        hasher.update((name.len() as u64).to_be_bytes());
        hasher.update(name);
        hasher.update(value.expose());
        let mut digits = hex::encode(hasher.finalize());
        digits.truncate(FINGERPRINT_DIGITS);
        digits
    }
}

/// Fills with bytes from the kernel. A kernel that has none to give is not one to keep secrets on.
pub(crate) fn random(bytes: &mut [u8]) {
    OsRng.try_fill_bytes(bytes).expect("the kernel's random source works once the system is up");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone() {
        assert!(is_same(b"0123456789abcdef", b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdefg", b"0123456789abcdeF"] {
            assert!(!is_same(b"0123456789abcdef", other));
        }
    }

    #[test]
    fn a_token_says_its_generation_and_nobody_else_can() {
        let (key, other) = (PreviewKey([1; KEY_BYTES]), PreviewKey([2; KEY_BYTES]));
        let (id, neighbour) = (SandboxId::from_random([1; 20]), SandboxId::from_random([2; 20]));
        for generation in [0, 1, 2, 10, u32::MAX] {
            let token = key.token(&id, generation);
            assert_eq!(key.generation(&id, token.as_bytes()), Some(generation));
            assert_eq!(key.generation(&neighbour, token.as_bytes()), None);
            assert_eq!(other.generation(&id, token.as_bytes()), None);
            let digits = &token[..32];
            for forged in ["", "-0", "-1", "-01", "-+1", "-2", "-10", "-3", "-4294967296", "-", "--1", "-1-1"] {
                let forged = format!("{digits}{forged}");
                if forged != token {
                    assert_eq!(key.generation(&id, forged.as_bytes()), None, "{forged} from {token}");
                }
            }
        }
        for nothing in [&b""[..], b"-", b"-1", b"\xff-1", b"-\xff"] {
            assert_eq!(key.generation(&id, nothing), None);
        }
    }
}

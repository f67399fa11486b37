//! Signatures: whoever holds a signed head can prove later, to somebody who trusts the key, where the chain stood.
//!
//! ```text
//! head        Ed25519 over "ringfence audit head 1\0" ‖ text(chain) ‖ number(seq) ‖ hash ‖ number(at_ms)
//! checkpoint  Ed25519 over "ringfence audit checkpoint 1\0" ‖ text(chain) ‖ number(seq) ‖ hash ‖ number(entries)
//!                          ‖ number(first_at_ms) ‖ number(last_at_ms) ‖ export_sha256 ‖ number(at_ms)
//! ```
//!
//! `text` and `number` as in `encoding.rs`. A head as one line:
//! `ringfence-head 1 CHAIN SEQ HASH AT_MS PUBLIC_KEY SIGNATURE`, the last two and the hash in hexadecimal digits.
//!
//! Each chain has a key of its own, which only the role that writes the chain can read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AuditHash, AuditHead};
use crate::key_file::{self, KeyError};
use crate::kind::DatabaseKind;
use crate::lock;

const MAGIC: &str = "ringfence-head 1";
/// Bytes of a file with a public key that are read.
const PUBLIC_BYTES_MAX: u64 = 128;

/// The key that the heads of one chain are signed with.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    public: AuditPublicKey,
}

impl AuditKey {
    /// Reads the key at `path`, or makes one there (mode 0400) when there is none. Its public half is written beside it,
    /// as one line in a file that ends in `.pub`.
    ///
    /// # Errors
    /// The file can be read by others, is not a key, or cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let seed = key_file::load_or_create(path)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyError::NotAKey { path: path.into() })?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        let key = Self { pair, public: AuditPublicKey(public) };
        let beside = path.with_extension("pub");
        if AuditPublicKey::read(&beside) != Some(key.public) {
            let failed = |source| KeyError::File { operation: "write the public half of", path: path.into(), source };
            let temporary = lock::beside(&beside, ".new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .open(&temporary)
                .map_err(failed)?;
            writeln!(file, "{}", key.public).and_then(|()| file.sync_all()).map_err(failed)?;
            fs::rename(&temporary, &beside).map_err(failed)?;
        }
        Ok(key)
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> AuditPublicKey {
        self.public
    }

    /// Signs a head, as it was at `at_ms`.
    #[must_use]
    pub fn sign_head(&self, chain: DatabaseKind, head: AuditHead, at_ms: u64) -> SignedHead {
        let signature = self.sign(&head_message(chain, head, at_ms));
        SignedHead { chain, head, at_ms, key: self.public, signature }
    }

    /// Signs what a checkpoint says.
    pub(crate) fn sign_checkpoint(&self, cut: Cut, at_ms: u64) -> Checkpoint {
        let signature = self.sign(&cut_message(&cut, at_ms));
        Checkpoint { cut, at_ms, key: self.public, signature }
    }

    fn sign(&self, message: &[u8]) -> AuditSignature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        AuditSignature(bytes)
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(…)")
    }
}

/// The public half of an [`AuditKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditPublicKey(pub(crate) [u8; 32]);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditSignature(pub(crate) [u8; 64]);

impl AuditPublicKey {
    /// The key in the file that [`AuditKey::load_or_create`] writes beside the private one.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        // Whoever reads may be root, and the directory is a role's: no link is followed, no pipe waited for.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
        let mut text = String::new();
        file.take(PUBLIC_BYTES_MAX).read_to_string(&mut text).ok()?;
        Self::parse(text.trim())
    }

    fn verifies(&self, message: &[u8], signature: &AuditSignature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, &signature.0).is_ok()
    }
}

/// Hexadecimal digits, as text and in JSON.
macro_rules! hexadecimal {
    ($type:ident, $bytes:literal) => {
        impl $type {
            /// Reads hexadecimal digits.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(Self(bytes))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&hex::encode(self.0))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(concat!("expected ", $bytes, " bytes in hexadecimal digits"))
                })
            }
        }
    };
}

hexadecimal!(AuditPublicKey, 32);
hexadecimal!(AuditSignature, 64);

impl fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for AuditSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A head of a chain, signed by the role that writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// Whose chain.
    pub chain: DatabaseKind,
    /// The head.
    pub head: AuditHead,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// With which key.
    pub key: AuditPublicKey,
    /// The signature.
    pub signature: AuditSignature,
}

impl SignedHead {
    /// Whether the signature is one of its key over what it says.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        self.key.verifies(&head_message(self.chain, self.head, self.at_ms), &self.signature)
    }

    /// Reads a line as [`SignedHead`] prints it. The signature is not checked.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.trim().strip_prefix(MAGIC)?.split_ascii_whitespace();
        let found = Self {
            chain: DatabaseKind::parse(words.next()?)?,
            head: AuditHead { seq: words.next()?.parse().ok()?, hash: AuditHash::parse(words.next()?)? },
            at_ms: words.next()?.parse().ok()?,
            key: AuditPublicKey::parse(words.next()?)?,
            signature: AuditSignature::parse(words.next()?)?,
        };
        words.next().is_none().then_some(found)
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, head: AuditHead { seq, hash }, at_ms, key, signature } = self;
        write!(f, "{MAGIC} {chain} {seq} {hash} {at_ms} {key} {signature:?}")
    }
}

/// What is cut off the beginning of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Whose chain.
    pub chain: DatabaseKind,
    /// The last entry that goes.
    pub last: AuditHead,
    /// How many go with it.
    pub entries: u64,
    /// When the first of them was written, in milliseconds since the Unix epoch.
    pub first_at_ms: u64,
    /// When the last of them was written.
    pub last_at_ms: u64,
    /// SHA-256 of the export in which they are.
    pub export_sha256: AuditHash,
}

impl Cut {
    /// Longer ago than this must the youngest entry of a cut have been written: what was done a moment ago is not made to
    /// disappear by whoever reaches the operator's socket.
    pub const AGE_MIN_MS: u64 = 24 * 60 * 60 * 1000;
}

/// A signed [`Cut`]: what stands in place of the entries that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// What went.
    pub cut: Cut,
    /// When it went, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// With which key this is signed.
    pub key: AuditPublicKey,
    /// The signature.
    pub signature: AuditSignature,
}

impl Checkpoint {
    /// Whether the signature is one of its key over what it says.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        self.key.verifies(&cut_message(&self.cut, self.at_ms), &self.signature)
    }
}

fn head_message(chain: DatabaseKind, head: AuditHead, at_ms: u64) -> Vec<u8> {
    let mut message = b"ringfence audit head 1\0".to_vec();
    text(&mut message, chain.as_str());
    message.extend(head.seq.to_be_bytes());
    message.extend(head.hash.0);
    message.extend(at_ms.to_be_bytes());
    message
}

fn cut_message(cut: &Cut, at_ms: u64) -> Vec<u8> {
    let mut message = b"ringfence audit checkpoint 1\0".to_vec();
    text(&mut message, cut.chain.as_str());
    message.extend(cut.last.seq.to_be_bytes());
    message.extend(cut.last.hash.0);
    for number in [cut.entries, cut.first_at_ms, cut.last_at_ms] {
        message.extend(number.to_be_bytes());
    }
    message.extend(cut.export_sha256.0);
    message.extend(at_ms.to_be_bytes());
    message
}

fn text(message: &mut Vec<u8>, text: &str) {
    message.extend((text.len() as u64).to_be_bytes());
    message.extend(text.as_bytes());
}

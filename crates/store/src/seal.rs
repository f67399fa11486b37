//! Sealing: XChaCha20-Poly1305 under a key from a file that only the engine's user can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const KEY_BYTES: usize = 32;
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

/// Why a sealing key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others may read it.
    #[error(
        "the key file {path} may be read by others (mode {mode:04o}): take that away with `chmod 0400 {path}`, and consider what it protects as known"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key.
    #[error("{path} is not a key file of ringfence: it must be a plain file of 32 bytes")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read or made.
    #[error("could not {operation} the key file {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The key that environment values are sealed with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; KEY_BYTES]);

impl SealingKey {
    /// Reads the key at `path`, or makes one there (32 random bytes, mode 0400) when there is none.
    ///
    /// # Errors
    /// The file can be read by others, is not a key, or cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                // Read back what is there: another process may have made it first.
                Self::load(path)
            }
            other => other,
        }
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { operation: "read", path: path.into(), source };
        // O_NONBLOCK: opening a pipe that somebody put there must not wait for its other end.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut file =
            OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() != KEY_BYTES as u64 {
            return Err(KeyError::NotAKey { path: path.into() });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.into(), mode: metadata.mode() & 0o7777 });
        }
        let mut key = Self([0; KEY_BYTES]);
        file.read_exact(&mut key.0).map_err(failed)?;
        Ok(key)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

/// Makes a key file under its name at once and whole, so that a crash leaves no half of a key behind.
fn create(path: &Path) -> Result<(), KeyError> {
    let failed = |operation| move |source| KeyError::File { operation, path: path.into(), source };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    random(&mut *key);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o400))?;
        file.write_all(&*key)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces a key that is there.
        match fs::hard_link(&temporary, path) {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let removed = fs::remove_file(&temporary);
    written.map_err(failed("make"))?;
    removed.map_err(failed("finish"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("make durable"))
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

//! The authority of one installation, which its sandboxes trust and nobody else has reason to, and the certificates it makes.
//!
//! Its key never leaves the gateway: a file that only the gateway's user reads, and the memory of that process.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::time::ASN1Time;

use super::recent::Recent;

mod files;

/// How long the authority itself is good for.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a certificate that it makes is good for.
const LEAF_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// A cached certificate with less than this left is made anew.
const LEAF_RENEWED_BEFORE: Duration = Duration::from_secs(24 * 3600);
/// Certificates begin this long ago, for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Most certificates that are kept.
const LEAVES_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");
/// Longest common name (RFC 5280, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Others may read the key.
    #[error(
        "the authority's key {path} may be read by others (mode {mode:04o}): whoever read it can pose as any server to the sandboxes; remove it and {certificate}, and build the templates again"
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The certificate that belongs to it.
        certificate: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{path} is no {what} of ringfence's authority")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Which of the two it should be.
        what: &'static str,
    },
    /// The certificate is there and its key is not.
    #[error(
        "the authority's certificate {certificate} has lost its key {key}: remove it too, so that a new authority is made, and build the templates again"
    )]
    KeyMissing {
        /// The certificate.
        certificate: PathBuf,
        /// The key file that is missing.
        key: PathBuf,
    },
    /// Key and certificate do not belong together.
    #[error("{certificate} does not belong to the key {key}: remove both, and build the templates again")]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// It is too old.
    #[error("the authority {certificate} has expired: remove it and {key}, and build the templates again")]
    Expired {
        /// The certificate.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A file could not be read or made.
    #[error("could not {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Certificate or key could not be made.
    #[error("could not make the authority")]
    Make(#[source] rcgen::Error),
    /// The kernel's random source or the clock failed.
    #[error("could not make the authority: {0}")]
    Host(&'static str),
}

/// Why a certificate for a name could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// It is no DNS name.
    #[error("no certificate can be made for {0:?}: it is no DNS name")]
    BadName(String),
    /// The authority is, or the clock is, out of its time.
    #[error("no certificate can be made: the authority is not good at this time")]
    OutOfTime,
    /// Making it failed.
    #[error("could not make a certificate for {name}")]
    Make {
        /// The name.
        name: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The new key cannot be used.
    #[error("could not use the key made for {name}")]
    Key {
        /// The name.
        name: String,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The kernel's random source failed.
    #[error("the kernel gave no random bytes")]
    Random,
}

/// The authority, and the certificates that it made lately.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    expires_at: SystemTime,
    issuer: Issuer<'static, KeyPair>,
    leaves: Mutex<Recent<String, Leaf>>,
}

#[derive(Clone)]
struct Leaf {
    key: Arc<CertifiedKey>,
    expires_at: SystemTime,
}

impl Authority {
    /// Loads the authority from the two files in `directory`, or makes it there when neither is.
    ///
    /// `authority-key.pem` has mode 0400, `authority.pem` 0444; the directory must be the gateway's own.
    ///
    /// # Errors
    /// The key may be read by others, a file is not what it should be, the two do not belong together, the authority has
    /// expired, or a file cannot be read or made.
    pub fn load_or_create(directory: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        let files = files::Files::in_directory(directory);
        let key = match files.read_key()? {
            Some(key) => key,
            None if files.has_certificate()? => {
                return Err(AuthorityError::KeyMissing { certificate: files.certificate, key: files.key });
            }
            None => {
                let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Make)?;
                files.create_key(&made)?;
                // Read back what is there: another process may have made it first.
                files.read_key()?.ok_or(AuthorityError::Host("the key file that was just made is gone"))?
            }
        };
        if !files.has_certificate()? {
            // Also after a crash between the two files.
            files.create_certificate(&certificate(&key, now)?)?;
        }
        let certificate = files.read_certificate()?;
        let expires_at = files.check(&certificate, &key, now)?;
        let pem = files::to_pem(&certificate);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Make)?;
        Ok(Self { certificate, pem, expires_at, issuer, leaves: Mutex::new(Recent::new(LEAVES_MAX)) })
    }

    /// The public certificate, as templates get it.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The public certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for `name` with its key, from the cache as long as it is good for another day.
    ///
    /// # Errors
    /// `name` is no DNS name, or the certificate cannot be made.
    pub fn leaf(&self, name: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, LeafError> {
        let name = name.to_ascii_lowercase();
        let fresh = |leaf: &&Leaf| {
            // Made in the future as the clock stood then: not to be trusted now.
            let left = leaf.expires_at.duration_since(now).unwrap_or_default();
            left > LEAF_RENEWED_BEFORE && left <= LEAF_LIFE
        };
        if let Some(leaf) = self.leaves().get(&name).filter(fresh) {
            return Ok(leaf.key.clone());
        }
        // Two that ask for the same name at once both make one; that costs 0.1 ms, and no lock is held meanwhile.
        let leaf = self.make_leaf(&name, now)?;
        let key = leaf.key.clone();
        self.leaves().put(name, leaf);
        Ok(key)
    }

    fn leaves(&self) -> std::sync::MutexGuard<'_, Recent<String, Leaf>> {
        self.leaves.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn make_leaf(&self, name: &str, now: SystemTime) -> Result<Leaf, LeafError> {
        if name.ends_with('.') || DnsName::try_from(name).is_err() {
            return Err(LeafError::BadName(name.to_owned()));
        }
        let failed = |source| LeafError::Make { name: name.to_owned(), source };
        let expires_at = (now + LEAF_LIFE).min(self.expires_at);
        if expires_at <= now {
            return Err(LeafError::OutOfTime);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if name.len() <= COMMON_NAME_MAX {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(failed)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // OpenSSL's strict mode, which Python 3.13 has on, asks for it.
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial().ok_or(LeafError::Random)?);
        params.not_before = certificate_time(now - BACKDATED).ok_or(LeafError::OutOfTime)?.to_datetime();
        params.not_after = certificate_time(expires_at).ok_or(LeafError::OutOfTime)?.to_datetime();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&key)
            .map_err(|source| LeafError::Key { name: name.to_owned(), source })?;
        // Without the authority itself: who trusts it has it.
        let key = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing));
        Ok(Leaf { key, expires_at })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A new certificate of the authority for `key`.
fn certificate(key: &KeyPair, now: SystemTime) -> Result<rcgen::Certificate, AuthorityError> {
    let mut id = [0; 4];
    let random = || AuthorityError::Host("the kernel gave no random bytes");
    SystemRandom::new().fill(&mut id).map_err(|_| random())?;
    let clock = || AuthorityError::Host("the clock is far off");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("ringfence sandbox gate {}", hex::encode(id)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial().ok_or_else(random)?);
    params.not_before = certificate_time(now - BACKDATED).ok_or_else(clock)?.to_datetime();
    params.not_after = certificate_time(now + AUTHORITY_LIFE).ok_or_else(clock)?.to_datetime();
    params.self_signed(key).map_err(AuthorityError::Make)
}

/// 127 random bits that are a positive number without leading zeros (RFC 5280 4.1.2.2).
fn serial() -> Option<SerialNumber> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Some(SerialNumber::from_slice(&bytes))
}

/// A time with the precision that certificates have. `None` before 1970 and beyond the year 9999.
fn certificate_time(time: SystemTime) -> Option<ASN1Time> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    ASN1Time::from_timestamp(seconds.try_into().ok()?).ok()
}

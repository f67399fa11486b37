//! The authority's two files: the key that only the gateway reads, and the certificate for everybody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::AuthorityError;

/// Neither file is longer than this by far.
const FILE_BYTES_MAX: u64 = 16 * 1024;

pub(super) struct Files {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
}

impl Files {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self { key: directory.join("authority-key.pem"), certificate: directory.join("authority.pem") }
    }

    /// The key, or nothing if there is none.
    pub(super) fn read_key(&self) -> Result<Option<KeyPair>, AuthorityError> {
        let failed = |source| AuthorityError::File { operation: "read", path: self.key.clone(), source };
        let file = match open(&self.key) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(AuthorityError::Exposed {
                path: self.key.clone(),
                mode: metadata.mode() & 0o7777,
                certificate: self.certificate.clone(),
            });
        }
        let unreadable = || AuthorityError::Unreadable { path: self.key.clone(), what: "key" };
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(unreadable());
        }
        // One allocation of the right size: what grows leaves copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(&text, &PKCS_ECDSA_P256_SHA256).map_err(|_| unreadable())?;
        Ok(Some(key))
    }

    pub(super) fn create_key(&self, key: &KeyPair) -> Result<(), AuthorityError> {
        create(&self.key, Zeroizing::new(key.serialize_pem()).as_bytes(), 0o400)
    }

    pub(super) fn has_certificate(&self) -> Result<bool, AuthorityError> {
        self.certificate.try_exists().map_err(|source| AuthorityError::File {
            operation: "look for",
            path: self.certificate.clone(),
            source,
        })
    }

    pub(super) fn create_certificate(&self, certificate: &rcgen::Certificate) -> Result<(), AuthorityError> {
        create(&self.certificate, certificate.pem().as_bytes(), 0o444)
    }

    pub(super) fn read_certificate(&self) -> Result<CertificateDer<'static>, AuthorityError> {
        let failed = |source| AuthorityError::File { operation: "read", path: self.certificate.clone(), source };
        let file = open(&self.certificate).map_err(failed)?;
        let unreadable = || AuthorityError::Unreadable { path: self.certificate.clone(), what: "certificate" };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(unreadable());
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        CertificateDer::from_pem_slice(&text).map_err(|_| unreadable())
    }

    /// Whether the certificate is an authority's, of this key, and of this time. When it ends.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        key: &KeyPair,
        now: SystemTime,
    ) -> Result<SystemTime, AuthorityError> {
        let unreadable = || AuthorityError::Unreadable { path: self.certificate.clone(), what: "certificate" };
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| unreadable())?;
        if !parsed.is_ca() {
            return Err(unreadable());
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() });
        }
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| unreadable())?;
        let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        if expires_at <= now {
            return Err(AuthorityError::Expired { certificate: self.certificate.clone(), key: self.key.clone() });
        }
        Ok(expires_at)
    }
}

/// The certificate as text.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    // RFC 7468: 64 characters a line.
    for (index, character) in encoded.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

/// Follows no link, and does not wait for the other end of a pipe that somebody put there.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Makes a file under its name at once and whole, so that a crash leaves no half of one behind. One that is there stays.
fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let failed = |operation| move |source| AuthorityError::File { operation, path: path.into(), source };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // Whatever the umask took away.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    // One that a process of the same number left when it crashed must not be in the way for ever.
    let removed = fs::remove_file(&temporary);
    written.map_err(failed("make"))?;
    removed.map_err(failed("finish"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("make durable"))
}

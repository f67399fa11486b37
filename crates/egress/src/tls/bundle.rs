//! The certificates that programs in a sandbox trust: those that the operator's system trusts, and the gate's own.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
pub use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

use super::authority::Authority;

/// One file in PEM, as `/etc/ssl/certs/ca-certificates.crt` is: what this system trusts, `extra`, and `authority`. In a fixed
/// order, so that the same certificates give the same file. What of the system's store cannot be read is left out; the
/// gateway tells of it when it starts.
#[must_use]
pub fn trust_bundle(authority: &Authority, extra: &[CertificateDer<'_>]) -> String {
    let mut all: Vec<Vec<u8>> =
        rustls_native_certs::load_native_certs().certs.into_iter().map(|certificate| certificate.to_vec()).collect();
    all.extend(extra.iter().map(|certificate| certificate.to_vec()));
    all.sort_unstable();
    all.dedup();
    let mut text = String::new();
    for der in all {
        pem(&mut text, &der);
    }
    text.push_str(authority.certificate_pem().trim_end());
    text.push('\n');
    text
}

/// The certificates in a text of PEM.
///
/// # Errors
/// What is between the lines that begin and end one is none.
pub fn certificates_in(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

/// RFC 7468: base64 in lines of 64 characters.
fn pem(text: &mut String, der: &[u8]) {
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        let _ = writeln!(text, "{line}");
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_with_the_gates_own_at_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::load_or_create(directory.path(), SystemTime::now()).expect("an authority");
        let other = tempfile::tempdir().expect("a directory");
        let extra = Authority::load_or_create(other.path(), SystemTime::now()).expect("an authority");
        let extra = CertificateDer::from_pem_slice(extra.certificate_pem().as_bytes()).expect("a certificate");
        let text = trust_bundle(&authority, std::slice::from_ref(&extra));
        let read = certificates_in(text.as_bytes()).expect("certificates");
        let own = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).expect("a certificate");
        assert!(read.contains(&extra));
        assert_eq!(read.last(), Some(&own));
        assert_eq!(trust_bundle(&authority, std::slice::from_ref(&extra)), text);
    }
}

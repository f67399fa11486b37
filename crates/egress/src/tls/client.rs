//! The gate as a client: the upstream side, verified against the certificates that the operator's system trusts, always.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::server::{Alpn, VERSIONS};

/// Why no upstream can be verified.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// There is nothing to verify with.
    #[error(
        "the system trusts no certificate authority ({told}): install the package ca-certificates, or name a file in SSL_CERT_FILE"
    )]
    None {
        /// What was told while looking for them.
        told: String,
    },
    /// One given besides the system's is no certificate.
    #[error("an additional root certificate cannot be used")]
    Extra(#[source] rustls::Error),
    /// rustls does not take them.
    #[error("the gate could not set up its side of TLS")]
    Tls(#[source] rustls::Error),
}

/// Certificates to verify upstream servers with.
#[derive(Debug, Clone)]
pub struct Roots {
    store: RootCertStore,
    told: Vec<String>,
}

impl Roots {
    /// Those of the operator's system: where OpenSSL would look, or where `SSL_CERT_FILE` and `SSL_CERT_DIR` say.
    ///
    /// # Errors
    /// There is none.
    pub fn system() -> Result<Self, RootsError> {
        let loaded = rustls_native_certs::load_native_certs();
        let mut told: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        let mut store = RootCertStore::empty();
        let (_, unusable) = store.add_parsable_certificates(loaded.certs);
        if unusable > 0 {
            told.push(format!("{unusable} of the system's root certificates cannot be used"));
        }
        if store.is_empty() {
            let told = if told.is_empty() { "nothing was found".to_owned() } else { told.join("; ") };
            return Err(RootsError::None { told });
        }
        Ok(Self { store, told })
    }

    /// These and no others: for tests, and for operators with an authority of their own.
    ///
    /// # Errors
    /// One of them is no certificate, or there is none.
    pub fn only(certificates: &[CertificateDer<'_>]) -> Result<Self, RootsError> {
        if certificates.is_empty() {
            return Err(RootsError::None { told: "an empty list was given".to_owned() });
        }
        Self { store: RootCertStore::empty(), told: Vec::new() }.with(certificates)
    }

    /// The same and `certificates`.
    ///
    /// # Errors
    /// One of them is no certificate.
    pub fn with(mut self, certificates: &[CertificateDer<'_>]) -> Result<Self, RootsError> {
        for certificate in certificates {
            self.store.add(certificate.clone().into_owned()).map_err(RootsError::Extra)?;
        }
        Ok(self)
    }

    /// What the operator should know: files that could not be read, certificates that are none.
    #[must_use]
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none, which does not happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }
}

/// Why a connection upstream did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is no name.
    #[error("{name:?} is no name that a certificate could be for")]
    BadName {
        /// What was given.
        name: String,
        /// Why not.
        #[source]
        source: InvalidDnsNameError,
    },
    /// The server's certificate is not good for this name, now, or by these roots.
    #[error("the certificate of {name} was refused")]
    Certificate {
        /// The server's name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// TLS failed otherwise.
    #[error("the TLS handshake with {name} failed")]
    Tls {
        /// The server's name.
        name: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The connection failed.
    #[error("the connection to {name} broke during the TLS handshake")]
    Connection {
        /// The server's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Connects to upstream servers. Sessions are resumed, by server and offered protocols.
#[derive(Debug, Clone)]
pub struct Upstream {
    both: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Upstream {
    /// Verifies with `roots`.
    ///
    /// # Errors
    /// rustls does not take the configuration.
    pub fn new(roots: Roots) -> Result<Self, RootsError> {
        let roots = Arc::new(roots.store);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = |alpn: Alpn| {
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(VERSIONS)
                .map_err(RootsError::Tls)?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = alpn.protocols();
            Ok(Arc::new(config))
        };
        Ok(Self { both: config(Alpn::Both)?, http1: config(Alpn::Http1)?, http2: config(Alpn::Http2)? })
    }

    /// Takes the client's part of the handshake with the server `name` on `stream`, offering `alpn`.
    ///
    /// What was agreed on is in the stream: `stream.get_ref().1.alpn_protocol()`; a server without ALPN speaks HTTP/1.1.
    ///
    /// # Errors
    /// The certificate does not hold, or the handshake failed. Not bounded in time: the caller sees to that.
    pub async fn connect<S>(&self, name: &str, alpn: Alpn, stream: S) -> Result<TlsStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match alpn {
            Alpn::Both => &self.both,
            Alpn::Http1 => &self.http1,
            Alpn::Http2 => &self.http2,
        };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|source| ConnectError::BadName { name: name.to_owned(), source })?;
        TlsConnector::from(config.clone()).connect(server, stream).await.map_err(|error| failed(name, error))
    }
}

fn failed(name: &str, error: io::Error) -> ConnectError {
    let name = name.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned() {
        Some(source @ rustls::Error::InvalidCertificate(_)) => ConnectError::Certificate { name, source },
        Some(source) => ConnectError::Tls { name, source },
        None => ConnectError::Connection { name, source: error },
    }
}

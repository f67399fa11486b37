//! The gate as a server: the sandbox's side of an intercepted connection.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, LeafError};
use super::recent::Recent;

/// TLS 1.2 and later, on both sides.
pub(super) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// Most configurations that are kept.
const CONFIGS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// Which application protocols are offered, or taken, by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2 rather than HTTP/1.1, but either.
    Both,
    /// HTTP/2 alone.
    Http2,
    /// HTTP/1.1 alone.
    Http1,
}

impl Alpn {
    /// The protocols as ALPN writes them, the better one first.
    #[must_use]
    pub fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Both => &[b"h2", b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Http1 => &[b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// Why a configuration for a name could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No certificate.
    #[error("the gate has no certificate for this connection")]
    Leaf(#[from] LeafError),
    /// rustls does not take it.
    #[error("the gate could not set up its side of TLS")]
    Tls(#[from] rustls::Error),
}

/// Makes the server side of intercepted connections.
pub struct Interceptor {
    authority: Arc<Authority>,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    configs: Mutex<Recent<(String, Alpn), Config>>,
}

#[derive(Clone)]
struct Config {
    leaf: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
}

impl Interceptor {
    /// An interceptor whose certificates come from `authority`.
    ///
    /// # Errors
    /// The kernel gave no random bytes for the key of session tickets.
    pub fn new(authority: Arc<Authority>) -> Result<Self, ServerError> {
        Ok(Self {
            authority,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            // Keys of its own, changed every six hours. The tickets of one name are of no use with another: rustls compares.
            tickets: rustls::crypto::ring::Ticketer::new()?,
            configs: Mutex::new(Recent::new(CONFIGS_MAX)),
        })
    }

    /// The configuration for connections to `name`. A handshake that names another server fails.
    ///
    /// # Errors
    /// There can be no certificate for the name.
    pub fn config(&self, name: &str, alpn: Alpn, now: SystemTime) -> Result<Arc<ServerConfig>, ServerError> {
        let key = (name.to_ascii_lowercase(), alpn);
        let leaf = self.authority.leaf(&key.0, now)?;
        if let Some(cached) = self.configs().get(&key)
            && Arc::ptr_eq(&cached.leaf, &leaf)
        {
            return Ok(cached.config.clone());
        }
        let resolver = Arc::new(OneName { name: key.0.clone(), leaf: leaf.clone() });
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = alpn.protocols();
        config.ticketer = self.tickets.clone();
        // No early data: it can be sent twice by anybody on the way, and an order must not be.
        config.max_early_data_size = 0;
        let config = Arc::new(config);
        self.configs().put(key, Config { leaf, config: config.clone() });
        Ok(config)
    }

    /// Takes the server's part of the handshake on `stream`, which begins with the ClientHello.
    ///
    /// # Errors
    /// The handshake failed, as when the client does not trust the authority. Not bounded in time: the caller sees to that.
    pub async fn accept<S>(
        &self,
        config: Arc<ServerConfig>,
        stream: S,
    ) -> std::io::Result<tokio_rustls::server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(config).accept(stream).await
    }

    fn configs(&self) -> std::sync::MutexGuard<'_, Recent<(String, Alpn), Config>> {
        self.configs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interceptor").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Has a certificate for one name, and none for any other.
#[derive(Debug)]
struct OneName {
    name: String,
    leaf: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // What was decided was decided for this name: also of a second ClientHello, after a HelloRetryRequest.
        hello.server_name().filter(|name| name.eq_ignore_ascii_case(&self.name)).map(|_| self.leaf.clone())
    }
}

//! The server that everybody asks: TLS, HTTP/1.1, and an answer that says what was asked.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A server on a thread of its own, which ends with this process.
pub(in crate::bench) struct Server {
    pub(in crate::bench) port: u16,
    /// The authority that signed its certificate.
    pub(in crate::bench) authority: String,
}

impl Server {
    /// Starts it under these names.
    ///
    /// # Errors
    /// There is no port, or no thread.
    pub(in crate::bench) fn start(names: &[&str]) -> anyhow::Result<Self> {
        let (config, authority) = identity(names)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("opening a port for the server")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("bench-server".into())
            .spawn(move || runtime.block_on(serve(listener, TlsAcceptor::from(Arc::new(config)))))
            .context("starting the server")?;
        Ok(Self { port, authority })
    }

    pub(in crate::bench) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(stream).await {
                // Whoever hangs up has heard enough.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    Ok(Response::new(Full::new(Bytes::from(format!("{} {target}", request.method())))))
}

fn identity(names: &[&str]) -> anyhow::Result<(ServerConfig, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "the benchmark's server");
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok((config, authority))
}

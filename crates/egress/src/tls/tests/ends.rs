//! Whole handshakes, with rustls on the other side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::time::ASN1Time;

use crate::tls::alert::{self, Alert};
use crate::tls::authority::Authority;
use crate::tls::client::{ConnectError, Roots, RootsError, Upstream};
use crate::tls::server::{Alpn, Interceptor};
use crate::tls::sniff::{Kind, sniff};

struct Gate {
    authority: Arc<Authority>,
    interceptor: Arc<Interceptor>,
    _directory: tempfile::TempDir,
}

fn gate() -> Gate {
    let directory = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::load_or_create(directory.path(), SystemTime::now()).unwrap());
    let interceptor = Arc::new(Interceptor::new(authority.clone()).unwrap());
    Gate { authority, interceptor, _directory: directory }
}

fn client_config(root: &CertificateDer<'_>, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Both ends of a connection over loopback.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Writes one byte at a time, each a segment of its own.
struct Dribble(TcpStream);

impl AsyncRead for Dribble {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes.get(..1).unwrap_or_default())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Intercepts one connection for `name` and sends back what it reads, until the client closes.
async fn echo(interceptor: Arc<Interceptor>, name: &'static str, alpn: Alpn, stream: TcpStream) -> io::Result<()> {
    let sniffed = sniff(stream).await?;
    let Kind::Tls(hello) = sniffed.kind else { panic!("{:?}", sniffed.kind) };
    assert!(hello.server_name.is_some());
    let config = interceptor.config(name, alpn, SystemTime::now()).unwrap();
    let mut stream = interceptor.accept(config, sniffed.stream).await?;
    let mut line = [0; 5];
    stream.read_exact(&mut line).await?;
    stream.write_all(&line).await?;
    stream.shutdown().await
}

async fn say_hello<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    name: &'static str,
    stream: S,
) -> io::Result<(Option<Vec<u8>>, HandshakeKind)> {
    let mut stream = TlsConnector::from(config).connect(ServerName::try_from(name).unwrap(), stream).await?;
    stream.write_all(b"hello").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert_eq!(answer, b"hello");
    let session = stream.get_ref().1;
    Ok((session.alpn_protocol().map(<[u8]>::to_vec), session.handshake_kind().unwrap()))
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_intercepted_byte_by_byte() {
    let gate = gate();
    let (client, server) = connection().await;
    let served = tokio::spawn(echo(gate.interceptor.clone(), "api.example.com", Alpn::Both, server));
    let config = client_config(gate.authority.certificate(), &["h2", "http/1.1"]);
    let (alpn, _) = say_hello(config, "api.example.com", Dribble(client)).await.unwrap();
    assert_eq!(alpn.as_deref(), Some(&b"h2"[..]));
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn sessions_are_resumed_for_the_same_name() {
    let gate = gate();
    let config = client_config(gate.authority.certificate(), &["http/1.1"]);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (client, server) = connection().await;
        let served = tokio::spawn(echo(gate.interceptor.clone(), "api.example.com", Alpn::Http1, server));
        let (alpn, kind) = say_hello(config.clone(), "api.example.com", client).await.unwrap();
        assert_eq!((alpn.as_deref(), kind), (Some(&b"http/1.1"[..]), expected));
        served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_handshake_for_another_name_than_was_decided_on_fails() {
    let gate = gate();
    let (client, server) = connection().await;
    let served = tokio::spawn(echo(gate.interceptor.clone(), "api.example.com", Alpn::Both, server));
    let config = client_config(gate.authority.certificate(), &["h2"]);
    say_hello(config, "other.example.com", client).await.unwrap_err();
    served.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_is_not_served() {
    let (gate, other) = (gate(), gate());
    let (client, server) = connection().await;
    let served = tokio::spawn(echo(gate.interceptor.clone(), "api.example.com", Alpn::Both, server));
    let config = client_config(other.authority.certificate(), &["h2"]);
    say_hello(config, "api.example.com", client).await.unwrap_err();
    served.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_refused_client_reads_the_alert() {
    for (sent, read) in [
        (Alert::AccessDenied, AlertDescription::AccessDenied),
        (Alert::UnrecognizedName, AlertDescription::UnrecognisedName),
        (Alert::DecodeError, AlertDescription::DecodeError),
        (Alert::ProtocolVersion, AlertDescription::ProtocolVersion),
        (Alert::InternalError, AlertDescription::InternalError),
    ] {
        let gate = gate();
        let (client, server) = connection().await;
        let served = tokio::spawn(async move { alert::refuse(sniff(server).await.unwrap().stream, sent).await });
        let config = client_config(gate.authority.certificate(), &["h2"]);
        let error = say_hello(config, "api.example.com", client).await.unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap();
        assert_eq!(*error, rustls::Error::AlertReceived(read));
        served.await.unwrap().unwrap();
    }
}

/// What an upstream server shows.
struct Shown {
    name: &'static str,
    days: std::ops::Range<i64>,
    issuer: Option<Arc<Issuer<'static, KeyPair>>>,
}

fn authority(name: &str) -> (CertificateDer<'static>, Arc<Issuer<'static, KeyPair>>) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), Arc::new(Issuer::new(params, key)))
}

fn server_config(shown: &Shown) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new([shown.name.to_owned()]).unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let day = |days: i64| ASN1Time::from_timestamp(now + days * 24 * 3600).unwrap().to_datetime();
    (params.not_before, params.not_after) = (day(shown.days.start), day(shown.days.end));
    let key = KeyPair::generate().unwrap();
    let certificate = match &shown.issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap().der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

async fn connect(upstream: &Upstream, shown: &Shown, alpn: Alpn) -> Result<Option<Vec<u8>>, ConnectError> {
    let (client, server) = connection().await;
    let acceptor = TlsAcceptor::from(server_config(shown));
    let served = tokio::spawn(async move { acceptor.accept(server).await.map(drop) });
    let connected = upstream.connect("api.example.com", alpn, client).await;
    let _ = served.await.unwrap();
    connected.map(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn an_upstream_certificate_must_hold() {
    let (root, issuer) = authority("the system's");
    let (_, stranger) = authority("somebody's");
    let upstream = Upstream::new(Roots::only(&[root]).unwrap()).unwrap();
    let good = Shown { name: "api.example.com", days: -1..1, issuer: Some(issuer.clone()) };
    assert_eq!(connect(&upstream, &good, Alpn::Both).await.unwrap().as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(connect(&upstream, &good, Alpn::Http1).await.unwrap().as_deref(), Some(&b"http/1.1"[..]));
    assert!(matches!(connect(&upstream, &good, Alpn::Http2).await, Err(ConnectError::Tls { .. })));

    let refused = async |shown: Shown| match connect(&upstream, &shown, Alpn::Both).await {
        Err(ConnectError::Certificate { source: rustls::Error::InvalidCertificate(reason), .. }) => reason,
        other => panic!("{other:?}"),
    };
    let wrong = Shown { name: "api.example.org", days: -1..1, issuer: Some(issuer.clone()) };
    assert!(matches!(refused(wrong).await, CertificateError::NotValidForNameContext { .. }));
    let expired = Shown { name: "api.example.com", days: -9..-1, issuer: Some(issuer.clone()) };
    assert!(matches!(refused(expired).await, CertificateError::ExpiredContext { .. }));
    let early = Shown { name: "api.example.com", days: 1..9, issuer: Some(issuer) };
    assert!(matches!(refused(early).await, CertificateError::NotValidYetContext { .. }));
    let itself = Shown { name: "api.example.com", days: -1..1, issuer: None };
    assert_eq!(refused(itself).await, CertificateError::UnknownIssuer);
    let unknown = Shown { name: "api.example.com", days: -1..1, issuer: Some(stranger) };
    assert_eq!(refused(unknown).await, CertificateError::UnknownIssuer);
}

#[tokio::test]
async fn the_gates_own_authority_is_not_trusted_upstream() {
    let gate = gate();
    let (root, _) = authority("the system's");
    let upstream = Upstream::new(Roots::only(&[root]).unwrap()).unwrap();
    let (client, server) = connection().await;
    let served = tokio::spawn(echo(gate.interceptor.clone(), "api.example.com", Alpn::Both, server));
    let error = upstream.connect("api.example.com", Alpn::Both, client).await.unwrap_err();
    assert!(matches!(error, ConnectError::Certificate { .. }), "{error:?}");
    served.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_server_that_breaks_off_is_no_refused_certificate() {
    let (root, _) = authority("the system's");
    let upstream = Upstream::new(Roots::only(&[root]).unwrap()).unwrap();
    let (client, server) = connection().await;
    drop(server);
    let error = upstream.connect("api.example.com", Alpn::Both, client).await.unwrap_err();
    assert!(matches!(error, ConnectError::Connection { .. }), "{error:?}");
    let (client, _server) = connection().await;
    let error = upstream.connect("a b", Alpn::Both, client).await.unwrap_err();
    assert!(matches!(error, ConnectError::BadName { .. }), "{error:?}");
}

/// `Roots::system` in a process of its own, because it reads the environment.
#[test]
fn a_system_that_trusts_nobody_is_refused() {
    const INNER: &str = "RINGFENCE_TEST_SYSTEM_ROOTS";
    if std::env::var_os(INNER).is_some() {
        match Roots::system() {
            Err(error @ RootsError::None { .. }) => println!("refused: {error}"),
            other => panic!("{other:?}"),
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let check = |file: &str, content: Option<&str>, told: &str| {
        let path = directory.path().join(file);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tls::tests::ends::a_system_that_trusts_nobody_is_refused", "--nocapture"])
            .env(INNER, "1")
            .env("SSL_CERT_FILE", &path)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("refused: ") && text.contains(told), "{file}: {text}");
    };
    check("missing.pem", None, "missing.pem");
    check("empty.pem", Some(""), "trusts no certificate authority");
    assert!(matches!(Roots::only(&[]), Err(RootsError::None { .. })));
    assert!(matches!(Roots::only(&[CertificateDer::from(vec![1, 2, 3])]), Err(RootsError::Extra(_))));
}

#[tokio::test]
async fn the_alert_does_not_wait_for_a_client_that_stays() {
    let (client, server) = connection().await;
    let refused = tokio::time::timeout(Duration::from_secs(5), alert::refuse(server, Alert::AccessDenied)).await;
    refused.expect("within a second").unwrap();
    drop(client);
}

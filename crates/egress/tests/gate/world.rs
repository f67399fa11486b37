//! A gateway with one shell, servers to reach, and a program's view of both.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ringfence_egress::cache::CacheConfig;
use ringfence_egress::gate::{Config, Gateway};
use ringfence_egress::tls::client::Roots;
use ringfence_model::net::control::{DecisionView, FromGate, GateAnswer, GateOp, SecretBinding, stored_context};
use ringfence_model::net::{Denial, HostName, Rule};
use ringfence_model::{ApiError, Project, SandboxId};
use ringfence_store::SecretValue;
use ringfence_store::gate::EnvelopePublicKey;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SANDBOX: &str = "ifxkb9zwglaz0pk5dc3zb";

/// An authority that signs the certificates of servers.
pub(crate) struct Signer {
    pub(crate) root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Whether what it signs was over in 2001.
    pub(crate) late: bool,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::from_ca_cert_der(&root, key).unwrap(), root, late: false }
    }

    pub(crate) fn config(&self, name: &str, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if self.late {
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
        }
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// What a server saw of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// A server, and what it saw.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Serves HTTP, with TLS when there is a configuration for it. It answers with what the request's `authorization` and body
    /// were.
    pub(crate) async fn start(tls: Option<(&Signer, &str, &[&str])>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, connections) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<usize>>::default());
        let acceptor = tls.map(|(signer, name, alpn)| TlsAcceptor::from(signer.config(name, alpn)));
        let (noted, counted) = (seen.clone(), connections.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *counted.lock().unwrap() += 1;
                let (noted, acceptor) = (noted.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| echo(noted.clone(), request));
                    match acceptor {
                        None => {
                            let server = hyper::server::conn::http1::Builder::new();
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            let stream = TokioIo::new(stream);
                            if http2 {
                                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                                let _ = server.serve_connection(stream, service).await;
                            } else {
                                let server = hyper::server::conn::http1::Builder::new();
                                let _ = server.serve_connection(stream, service).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen, connections }
    }
}

async fn echo(seen: Arc<Mutex<Vec<Seen>>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::new(Full::default())) };
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let text = |value: &hyper::http::HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let headers: HashMap<_, _> = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    let mut answer = format!("authorization={authorization} body={body}");
    if parts.uri.path() == "/api/v3/echo-target" {
        answer = format!("target={} {headers:?} {answer}", parts.uri);
    }
    seen.lock().unwrap().push(Seen { method: parts.method.to_string(), target: parts.uri.to_string(), headers, body });
    let mut response = Response::new(Full::from(answer));
    if seen.lock().unwrap().last().is_some_and(|seen| seen.headers.contains_key("x-close")) {
        response.headers_mut().insert("connection", "close".parse().unwrap());
    }
    if let Ok(value) = authorization.parse() {
        response.headers_mut().insert("x-echo", value);
    }
    Ok(response)
}

/// The gateway and one sandbox in one shell.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) told: UnboundedReceiver<FromGate>,
    pub(crate) sandbox: SandboxId,
    pub(crate) home: tempfile::TempDir,
    door: SocketAddr,
    names: SocketAddr,
    destination: Arc<Mutex<SocketAddr>>,
}

pub(crate) fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

impl World {
    pub(crate) async fn new(roots: &[&Signer], pins: &[(&str, IpAddr)]) -> Self {
        Self::with(roots, pins, vec![], CacheConfig::default()).await
    }

    /// One with registries of the operator's, and a cache for them.
    pub(crate) async fn with(
        roots: &[&Signer],
        pins: &[(&str, IpAddr)],
        registries: Vec<Rule>,
        cache: CacheConfig,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let roots: Vec<_> = roots.iter().map(|signer| signer.root.clone()).collect();
        let fallback = [Signer::new().root];
        let roots = Roots::only(if roots.is_empty() { &fallback } else { &roots }).unwrap();
        let pins = pins.iter().map(|(name, address)| (host(name), vec![*address])).collect();
        let config = Config {
            home: home.path().into(),
            pins,
            stand_ins: Default::default(),
            roots,
            registries,
            logins: vec![],
            open_allowed: false,
            agent_hosts: None,
            live_allowed: false,
            pause_on_misuse: false,
            cache,
            exchange: home.path().join("exchange.sock"),
        };
        let (gateway, told) = Gateway::start(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let dns = std::net::UdpSocket::bind("[::]:0").unwrap();
        let names = SocketAddr::new(LOOPBACK, dns.local_addr().unwrap().port());
        let destination = Arc::new(Mutex::new(SocketAddr::new(LOOPBACK, 1)));
        let original = destination.clone();
        gateway.opened_with(7, listener, Some(dns.into()), move |_| *original.lock().unwrap());
        let sandbox = SandboxId::parse(SANDBOX).unwrap();
        gateway.call(GateOp::Attach { sandbox: sandbox.clone(), shell: 7 }).await.unwrap();
        Self { gateway, told, sandbox, home, door, names, destination }
    }

    pub(crate) async fn policy(&self, network: serde_json::Value) {
        let network = serde_json::from_value(network).unwrap();
        let set = GateOp::SetPolicy { sandbox: self.sandbox.clone(), network, by_agent: false };
        assert_eq!(self.gateway.call(set).await.unwrap(), GateAnswer::Done);
    }

    /// Allows everything of `name` on `port`.
    pub(crate) async fn allow(&self, name: &str, port: u16) {
        self.policy(serde_json::json!({"allow": [{"host": name, "ports": [port]}]})).await;
    }

    /// Asks for A records. The code of the answer, and the addresses.
    pub(crate) async fn resolve(&self, name: &str) -> (u8, Vec<IpAddr>) {
        resolve_at(self.names, name).await
    }

    pub(crate) async fn given(&self, name: &str) {
        assert_eq!(self.resolve(name).await, (0, vec![LOOPBACK]), "{name}");
    }

    /// A connection that a program makes to `port` of loopback.
    pub(crate) async fn connect(&self, port: u16) -> TcpStream {
        self.connect_to(SocketAddr::new(LOOPBACK, port)).await
    }

    pub(crate) async fn connect_to(&self, destination: SocketAddr) -> TcpStream {
        *self.destination.lock().unwrap() = destination;
        TcpStream::connect(self.door).await.unwrap()
    }

    /// A program's TLS connection for `name` that trusts `root`.
    pub(crate) async fn tls(
        &self,
        port: u16,
        name: &str,
        root: &CertificateDer<'static>,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_to(SocketAddr::new(LOOPBACK, port), name, root, alpn).await
    }

    /// The same to any address.
    pub(crate) async fn tls_to(
        &self,
        to: SocketAddr,
        name: &str,
        root: &CertificateDer<'static>,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        tls_over(self.connect_to(to).await, name, root, alpn).await
    }

    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.gateway.authority_pem().as_bytes()).unwrap()
    }

    /// An intercepted connection of HTTP/1.1.
    pub(crate) async fn http1(&self, port: u16, name: &str) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.tls(port, name, &self.authority(), &["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn http2(&self, port: u16, name: &str) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.tls(port, name, &self.authority(), &["h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// What was told, without waiting: a program that was refused finds its denial here already.
    pub(crate) fn denials(&mut self) -> Vec<Denial> {
        std::iter::from_fn(|| self.told.try_recv().ok())
            .map(|told| match told {
                FromGate::Denied { denial, .. } => denial,
                FromGate::Answer { .. } => panic!("an answer was told"),
            })
            .collect()
    }

    #[track_caller]
    pub(crate) fn denied(&mut self) -> (String, String) {
        let denials = self.denials();
        let [denial] = &denials[..] else { panic!("{denials:?}") };
        (denial.destination(), denial.reason.code().to_owned())
    }

    pub(crate) async fn decisions(&self) -> Vec<DecisionView> {
        let list = GateOp::Decisions { sandbox: Some(self.sandbox.clone()), after: Some(0), limit: 1000 };
        match self.gateway.call(list).await.unwrap() {
            GateAnswer::Decisions(decisions) => decisions,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn secret(&self, name: &str, value: &str, binding: Option<SecretBinding>, rotate: bool) {
        self.try_secret(name, value, binding, rotate).await.unwrap();
    }

    pub(crate) async fn try_secret(
        &self,
        name: &str,
        value: &str,
        binding: Option<SecretBinding>,
        rotate: bool,
    ) -> Result<GateAnswer, ApiError> {
        self.try_secret_of(&Project::default(), name, value, binding, rotate).await
    }

    pub(crate) async fn try_secret_of(
        &self,
        project: &Project,
        name: &str,
        value: &str,
        binding: Option<SecretBinding>,
        rotate: bool,
    ) -> Result<GateAnswer, ApiError> {
        let GateAnswer::Key(key) = self.gateway.call(GateOp::Key).await.unwrap() else { panic!("no key") };
        let context = stored_context(project, name);
        let sealed = EnvelopePublicKey::parse(&key).unwrap().seal(&SecretValue::new(value), &context);
        let sealed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sealed);
        let op = GateOp::SetSecret { project: project.clone(), name: name.to_owned(), sealed, binding, rotate };
        self.gateway.call(op).await
    }

    pub(crate) async fn placeholder(&self, name: &str) -> String {
        self.try_placeholder_of(&Project::default(), name).await.unwrap()
    }

    /// As if the sandbox were of that project.
    pub(crate) async fn try_placeholder_of(&self, project: &Project, name: &str) -> Result<String, ApiError> {
        let (sandbox, project) = (self.sandbox.clone(), project.clone());
        match self.gateway.call(GateOp::UseSecrets { sandbox, project, names: vec![name.to_owned()] }).await? {
            GateAnswer::Placeholders(mut texts) => Ok(texts.pop().unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

/// Asks for A records at `names`. The code of the answer, and the addresses.
pub(crate) async fn resolve_at(names: SocketAddr, name: &str) -> (u8, Vec<IpAddr>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send_to(&query, names).await.unwrap();
    let mut answer = [0; 1500];
    let read = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await.unwrap().unwrap();
    let message = hickory_proto::op::Message::from_vec(&answer[..read]).unwrap();
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        hickory_proto::rr::RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    });
    (answer[3] & 0x0f, addresses.collect())
}

/// A program's TLS connection for `name` that trusts `root`.
pub(crate) async fn tls_over(
    stream: TcpStream,
    name: &str,
    root: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    tokio::time::timeout(PATIENCE, connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream))
        .await
        .unwrap()
}

pub(crate) fn bound(name: &str, port: u16) -> SecretBinding {
    let ports = vec![ringfence_model::api::PortSpec::One(port)];
    SecretBinding {
        hosts: vec![host(name)],
        ports,
        placements: vec!["bearer".into(), "header:x-key".into()],
        sign: None,
    }
}

pub(crate) fn get(host: &str, path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", host).body(Full::default()).unwrap()
}

/// Status and body.
pub(crate) async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Whether the connection was ended by a reset, with nothing said before.
pub(crate) async fn is_reset(mut stream: TcpStream) -> bool {
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap();
    text.is_empty() && read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

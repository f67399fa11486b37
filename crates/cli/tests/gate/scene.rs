//! A daemon of its own with a configuration of its own, and servers outside that its names are pinned to.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateAnswer, CreateRequest, ExecuteRequest, ExecutionAnswer, Network};
use ringfence_server::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

use crate::{common, websocket};

/// Names that lead to the servers of this process.
pub(crate) const NAMES: [&str; 3] = ["api.ringfence.test", "plain.ringfence.test", "other.ringfence.test"];

pub(crate) struct Scene {
    pub(crate) home: PathBuf,
    pub(crate) api: Arc<Client>,
    authority: Issuer<'static, KeyPair>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || {
            let shared = common::shared();
            let name = shared.file_name().expect("a name").to_string_lossy();
            let home = shared.with_file_name(format!("{name}-gate-{number}"));
            common::prepare(shared, &home);
            let (authority, pem) = authority();
            let roots = home.join("servers.pem");
            fs::write(&roots, pem).expect("a file");
            let mut config = fs::File::create(home.join("config.toml")).expect("a file");
            write!(config, "[gate]\nextra_roots = [{:?}]\n{}", roots.display().to_string(), common::registries())
                .expect("written");
            for name in NAMES {
                writeln!(config, "\"{name}\" = [\"127.0.0.1\"]").expect("written");
            }
            common::start(&home, "none");
            Self { api: common::client_of(&home), home, authority }
        })
        .await
        .expect("a daemon")
    }

    /// A server that answers each request with the head that it received, over TLS under this name; its port.
    pub(crate) async fn serve(&self, name: &str) -> u16 {
        self.listen(name, |stream| Box::pin(echo(stream))).await
    }

    /// A server of [websockets](websocket::converse), over TLS under this name; its port. What clients say first comes out.
    pub(crate) async fn serve_websockets(&self, name: &str) -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (said, heard) = mpsc::unbounded_channel();
        let port = self.listen(name, move |stream| Box::pin(websocket::converse(stream, said.clone()))).await;
        (port, heard)
    }

    async fn listen(
        &self,
        name: &str,
        answer: impl Fn(TlsStream<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + 'static,
    ) -> u16 {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("they fit");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a TCP socket");
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream).await;
                    }
                });
            }
        });
        port
    }

    pub(crate) async fn create(&self, network: serde_json::Value, secrets: &[&str]) -> CreateAnswer {
        self.create_from("python", network, secrets).await
    }

    pub(crate) async fn create_from(
        &self,
        template: &str,
        network: serde_json::Value,
        secrets: &[&str],
    ) -> CreateAnswer {
        let network: Network = serde_json::from_value(network).expect("a policy");
        let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
        let request =
            CreateRequest { template: template.into(), network: Some(network), secrets, ..CreateRequest::default() };
        self.api.create(Actor::Agent, request, None).await.expect("a sandbox")
    }

    pub(crate) async fn python(&self, sandbox: &CreateAnswer, code: &str) -> ExecutionAnswer {
        let request = ExecuteRequest {
            sandbox_id: sandbox.sandbox_id.to_string(),
            code: code.to_owned(),
            language: Some("python".into()),
            ..ExecuteRequest::default()
        };
        self.run(request).await
    }

    /// In the language of the sandbox's template.
    pub(crate) async fn code(&self, sandbox: &CreateAnswer, code: &str) -> ExecutionAnswer {
        let sandbox_id = sandbox.sandbox_id.to_string();
        self.run(ExecuteRequest { sandbox_id, code: code.to_owned(), ..ExecuteRequest::default() }).await
    }

    async fn run(&self, request: ExecuteRequest) -> ExecutionAnswer {
        self.api.execute(Actor::Agent, request).await.expect("it is run")
    }

    /// The process of a role, as the host sees it.
    pub(crate) fn role(&self, name: &str) -> Option<i32> {
        let home = self.home.to_string_lossy().into_owned();
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            (words.next()? == name.as_bytes() && words.next()? == home.as_bytes()).then_some(pid)
        })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = common::ringfence(&self.home, &["stop"]);
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "servers of the tests");
    let pem = params.self_signed(&key).expect("signed").pem();
    (Issuer::new(params, key), pem)
}

/// Until the client hangs up: each request's head, as the body of the answer to it.
async fn echo(mut stream: TlsStream<TcpStream>) {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            match stream.read(&mut chunk).await {
                Ok(len) if len > 0 => read.extend_from_slice(&chunk[..len]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end + 4);
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        while read.len() < length {
            match stream.read(&mut chunk).await {
                Ok(len) if len > 0 => read.extend_from_slice(&chunk[..len]),
                _ => return,
            }
        }
        read.drain(..length);
        // As JSON, for clients that expect an account.
        let (kind, body) = match head.starts_with("GET /v2/account HTTP") {
            true => ("application/json", serde_json::json!({ "account_number": "PA42", "head": head }).to_string()),
            false => ("text/plain", head),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

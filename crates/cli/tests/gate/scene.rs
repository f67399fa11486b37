//! A daemon of its own with a configuration of its own, and servers outside that its names are pinned to.

use std::{
    fs,
    io::Write,
    path::PathBuf,
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
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::common;

/// Names that lead to the servers of this process.
pub(crate) const NAMES: [&str; 3] = ["api.ringfence.test", "plain.ringfence.test", "other.ringfence.test"];

/// What a server answers to a request with this head.
pub(crate) type Answering = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

pub(crate) struct Scene {
    pub(crate) home: PathBuf,
    pub(crate) api: Arc<Client>,
    authority: Issuer<'static, KeyPair>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::configured("").await
    }

    /// With these lines under `[gate]`.
    pub(crate) async fn configured(lines: &'static str) -> Self {
        Self::prepared(lines).await.start(&[]).await
    }

    /// Starts the daemon, with variables in its environment.
    pub(crate) async fn start(self, env: &[(&'static str, String)]) -> Self {
        let (home, env) = (self.home.clone(), env.to_vec());
        tokio::task::spawn_blocking(move || common::start_with(&home, "none", &env)).await.expect("a daemon");
        self
    }

    /// A scene whose daemon is still to be started.
    pub(crate) async fn prepared(lines: &'static str) -> Self {
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
            write!(
                config,
                "[gate]\n{lines}extra_roots = [{:?}]\n{}",
                roots.display().to_string(),
                common::registries()
            )
            .expect("written");
            for name in NAMES {
                writeln!(config, "\"{name}\" = [\"127.0.0.1\"]").expect("written");
            }
            Self { api: common::client_of(&home), home, authority }
        })
        .await
        .expect("a daemon")
    }

    /// A server that answers each request with the head that it received, over TLS under this name; its port.
    pub(crate) async fn serve(&self, name: &str) -> u16 {
        self.serve_by(name, Arc::new(|head: &str| head.as_bytes().to_vec())).await
    }

    /// A server that answers each request with what `answer` makes of its head.
    pub(crate) async fn serve_by(&self, name: &str, answer: Answering) -> u16 {
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
                        serve(stream, answer).await;
                    }
                });
            }
        });
        port
    }

    pub(crate) async fn create(&self, network: serde_json::Value, secrets: &[&str]) -> CreateAnswer {
        let network: Network = serde_json::from_value(network).expect("a policy");
        let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
        let request =
            CreateRequest { template: "python".into(), network: Some(network), secrets, ..CreateRequest::default() };
        self.api.create(Actor::Agent, request, None).await.expect("a sandbox")
    }

    pub(crate) async fn python(&self, sandbox: &CreateAnswer, code: &str) -> ExecutionAnswer {
        let request = ExecuteRequest {
            sandbox_id: sandbox.sandbox_id.to_string(),
            code: code.to_owned(),
            language: Some("python".into()),
            ..ExecuteRequest::default()
        };
        self.api.execute(Actor::Agent, request).await.expect("it is run")
    }

    /// The files of the daemon that hold these bytes.
    pub(crate) fn files_with(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for part in ["engine", "gate", "log", "run"] {
            let mut left = vec![self.home.join(part)];
            while let Some(path) = left.pop() {
                if path.is_dir() {
                    left.extend(fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()));
                } else if fs::read(&path).is_ok_and(|text| holds(&text, bytes)) {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }

    /// Whether the writable memory, the arguments or the environment of a role holds these bytes.
    pub(crate) fn memory_of(&self, role: &str, bytes: &[u8]) -> bool {
        let pid = self.role(role).expect("the role is played");
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).expect("root reads it");
        holds(&memory(pid), bytes) || holds(&read("cmdline"), bytes) || holds(&read("environ"), bytes)
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

pub(crate) fn holds(text: &[u8], bytes: &[u8]) -> bool {
    text.windows(bytes.len()).any(|part| part == bytes)
}

/// Everything that a process can write to and that is there: its heap, stacks, data.
fn memory(pid: i32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("root reads it");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("root opens it");
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let range = line.split(' ').next().expect("a range");
        let (from, to) = range.split_once('-').expect("two ends");
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).expect("hexadecimal"));
        // A page that is not there, such as a guard's, ends a piece.
        let mut page = [0; 4096];
        for at in (from..to).step_by(page.len()) {
            if memory.read_exact_at(&mut page, at).is_ok() && page != [0; 4096] {
                all.extend_from_slice(&page);
            }
        }
    }
    all
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "servers of the tests");
    let pem = params.self_signed(&key).expect("signed").pem();
    (Issuer::new(params, key), pem)
}

/// Until the client hangs up.
async fn serve(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>, answer: Answering) {
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
        let body = answer(&head);
        let kind = if body.starts_with(b"<!DOCTYPE html>") { "text/html" } else { "application/octet-stream" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}

//! A daemon of its own with a configuration of its own, and servers outside that its names are pinned to.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    SandboxId,
    api::{
        Actor, CreateAnswer, CreateRequest, ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExecutionStatus, Network,
    },
};
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

/// Longest wait for a program to say something.
const PATIENCE: Duration = Duration::from_secs(180);
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
    pub(crate) async fn configured(lines: &str) -> Self {
        let pins: String = NAMES.iter().map(|name| format!("\"{name}\" = [\"127.0.0.1\"]\n")).collect();
        Self::with(lines, &pins).await
    }

    /// With these templates.
    pub(crate) async fn of(templates: &'static [&'static str]) -> Self {
        Self::prepared(templates).await.start(&[]).await
    }

    /// [`Scene::of`], with a daemon that is still to be [started](Scene::start).
    pub(crate) async fn prepared(templates: &'static [&'static str]) -> Self {
        let pins: String = NAMES.iter().map(|name| format!("\"{name}\" = [\"127.0.0.1\"]\n")).collect();
        Self::laid_out("", &pins, templates).await
    }

    /// Starts the daemon, with variables in its environment.
    pub(crate) async fn start(self, env: &[(&'static str, String)]) -> Self {
        let (home, env) = (self.home.clone(), env.to_vec());
        tokio::task::spawn_blocking(move || common::start_with(&home, "none", &env)).await.expect("a daemon");
        self
    }

    /// With a daemon that logs all that it can.
    pub(crate) async fn tracing() -> Self {
        Self::prepared(&["python"]).await.start(&[("RINGFENCE_LOG", "trace".into())]).await
    }

    /// Whether it did.
    pub(crate) fn has_traced(&self) -> bool {
        let log = fs::read_to_string(self.home.join("log/daemon.log")).expect("a log");
        log.contains("DEBUG ringfence_egress")
    }

    /// With these lines under `[gate]`, and these under `[gate.pins]`.
    pub(crate) async fn with(settings: &str, pins: &str) -> Self {
        Self::laid_out(settings, pins, &["python"]).await.start(&[]).await
    }

    async fn laid_out(settings: &str, pins: &str, templates: &'static [&'static str]) -> Self {
        let (settings, pins) = (settings.to_owned(), pins.to_owned());
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || {
            let shared = common::shared();
            let home = common::beside(&format!("gate-{number}"));
            common::prepare_with(shared, &home, templates);
            let (authority, pem) = authority();
            let roots = home.join("servers.pem");
            fs::write(&roots, pem).expect("a file");
            let mut config = fs::File::create(home.join("config.toml")).expect("a file");
            let roots = roots.display().to_string();
            let registries = common::registry_pins();
            // What still runs when a scene ends shows nothing: the daemon does not wait for it as long as it would.
            let ours = format!("[daemon]\ndrain_seconds = 1\n{}", common::SMALL_SHELF);
            write!(config, "{ours}[gate]\nextra_roots = [{roots:?}]\n{settings}[gate.pins]\n{registries}{pins}")
                .expect("written");
            Self { api: common::client_of(&home), home, authority }
        })
        .await
        .expect("a daemon")
    }

    /// A certificate for these names, and its key.
    pub(crate) fn certificate(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
        (params.signed_by(&key, &self.authority).expect("signed"), key)
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

    /// A server that answers each request with what `answer` makes of its head.
    pub(crate) async fn serve_by(&self, name: &str, answer: Answering) -> u16 {
        self.listen(name, move |stream| Box::pin(serve(stream, answer.clone()))).await
    }

    async fn listen(
        &self,
        name: &str,
        answer: impl Fn(TlsStream<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + 'static,
    ) -> u16 {
        let (certificate, key) = self.certificate(&[name]);
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
        self.run(&sandbox.sandbox_id, code).await
    }

    pub(crate) async fn run(&self, sandbox: &SandboxId, code: &str) -> ExecutionAnswer {
        let request = ExecuteRequest {
            sandbox_id: sandbox.to_string(),
            code: code.to_owned(),
            language: Some("python".into()),
            ..ExecuteRequest::default()
        };
        self.execute(request).await
    }

    /// In the language of the sandbox's template.
    pub(crate) async fn code(&self, sandbox: &CreateAnswer, code: &str) -> ExecutionAnswer {
        let sandbox_id = sandbox.sandbox_id.to_string();
        self.execute(ExecuteRequest { sandbox_id, code: code.to_owned(), ..ExecuteRequest::default() }).await
    }

    async fn execute(&self, request: ExecuteRequest) -> ExecutionAnswer {
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

    /// Begins a program in the background.
    pub(crate) async fn begin(&self, sandbox: &SandboxId, code: &str) -> Running {
        let request = ExecuteRequest {
            sandbox_id: sandbox.to_string(),
            code: code.to_owned(),
            background: true,
            timeout: Some(600.0),
            ..ExecuteRequest::default()
        };
        let begun = self.api.execute(Actor::Agent, request).await.expect("it is begun");
        Running { api: self.api.clone(), execution: begun.execution_id.to_string() }
    }

    /// The process of a role, as the host sees it. What a role forks has its command line too, until it executes something.
    pub(crate) fn role(&self, name: &str) -> Option<i32> {
        let home = self.home.to_string_lossy().into_owned();
        let of_role = |entry: fs::DirEntry| -> Option<(i32, i32)> {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // proc(5): the name in parentheses, the state, the parent.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (words.next()? == name.as_bytes() && words.next()? == home.as_bytes()).then_some((pid, parent))
        };
        let named: Vec<(i32, i32)> = fs::read_dir("/proc").ok()?.flatten().filter_map(of_role).collect();
        named.iter().find(|(_, parent)| !named.iter().any(|(pid, _)| pid == parent)).map(|(pid, _)| *pid)
    }
}

/// A program that runs in the background.
pub(crate) struct Running {
    api: Arc<Client>,
    execution: String,
}

impl Running {
    pub(crate) async fn now(&self) -> ExecutionAnswer {
        let request = ExecutionRequest { execution_id: self.execution.clone(), wait: None };
        self.api.execution(Actor::Agent, request).await.expect("it is known")
    }

    /// Waits until its output has this, so many times.
    pub(crate) async fn says(&self, word: &str, times: usize) {
        self.until(word, |run| run.output.matches(word).count() >= times).await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ends(&self) -> ExecutionAnswer {
        loop {
            let run = self.now().await;
            if run.status != ExecutionStatus::Running {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until(&self, what: &str, is: impl Fn(&ExecutionAnswer) -> bool) -> ExecutionAnswer {
        let begun = Instant::now();
        loop {
            let run = self.now().await;
            if is(&run) {
                return run;
            }
            let waits = run.status == ExecutionStatus::Running && begun.elapsed() < PATIENCE;
            assert!(waits, "no {what} ({:?})\n{}\n{}", run.status, run.output, run.stderr);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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
    memchr::memmem::find(text, bytes).is_some()
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

/// Each request's head, as the body of the answer to it; as JSON for clients that expect an account.
async fn echo(stream: TlsStream<TcpStream>) {
    let answer = |head: &str| match head.starts_with("GET /v2/account HTTP") {
        true => serde_json::json!({ "account_number": "PA42", "head": head }).to_string().into_bytes(),
        false => head.as_bytes().to_vec(),
    };
    serve(stream, Arc::new(answer)).await;
}

/// Until the client hangs up.
async fn serve(mut stream: TlsStream<TcpStream>, answer: Answering) {
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
        let kind = match body.first() {
            Some(b'<') if body.starts_with(b"<!DOCTYPE html>") => "text/html",
            Some(b'{') => "application/json",
            _ if std::str::from_utf8(&body).is_ok() => "text/plain",
            _ => "application/octet-stream",
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}

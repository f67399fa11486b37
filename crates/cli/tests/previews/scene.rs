//! A sandbox with a server in it, and a visitor who writes every byte of what he asks.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, ExecuteRequest, PortView, PreviewAnswer, PreviewRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::common::{self, Sandbox};

/// Longer than anything here takes: a bound, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const SERVER: &str = include_str!("server.py");

/// The port of [`Place::new`]'s server.
pub(crate) const PORT: u16 = 8000;

/// A sandbox in which a server listens.
pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    pub(crate) token: String,
}

impl Place {
    /// With a server on 127.0.0.1.
    pub(crate) async fn new() -> Self {
        let place = Self::empty().await;
        place.serve("AF_INET", "127.0.0.1", PORT).await;
        place
    }

    /// With one, in a sandbox of that project.
    pub(crate) async fn of(project: &'static str) -> Self {
        let api = common::client().await;
        let made = tokio::task::spawn_blocking(move || {
            let args = ["sandbox", "create", "python", "--project", project, "--json"];
            common::ringfence(common::shared(), &args)
        });
        let made = made.await.expect("it is made");
        let answer: serde_json::Value = serde_json::from_slice(&made.stdout).expect("an answer");
        let id = answer["sandbox_id"].as_str().expect("an id").to_owned();
        let place = Self::at(Sandbox { api, id }).await;
        place.serve("AF_INET", "127.0.0.1", PORT).await;
        place
    }

    /// Without one.
    pub(crate) async fn empty() -> Self {
        let sandbox = Sandbox::with(CreateRequest { template: "python".into(), ..CreateRequest::default() }).await;
        Self::at(sandbox).await
    }

    async fn at(sandbox: Sandbox) -> Self {
        let place = Self { sandbox, token: String::new() };
        let url = place.preview(PORT, None).await.url.expect("the daemon listens on TCP");
        let token = url.split_once("?ringfence_token=").expect("the address has the token").1.to_owned();
        Self { token, ..place }
    }

    /// Starts a server and waits until its port is listed.
    pub(crate) async fn serve(&self, family: &str, address: &str, port: u16) {
        let quoted = serde_json::to_string(SERVER).expect("a text");
        let code = format!(
            "import subprocess, sys\n\
             subprocess.Popen([sys.executable, '-c', {quoted}, {family:?}, {address:?}, '{port}', '/tmp/heads'], \
             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open('/tmp/errors', 'a'), start_new_session=True)"
        );
        let started = self.sandbox.request(ExecuteRequest { code, ..ExecuteRequest::default() }).await;
        assert!(started.success, "{started:?}");
        let end = Instant::now() + PATIENCE;
        while !self.ports().await.iter().any(|listed| listed.port == port) {
            assert!(Instant::now() < end, "the server does not listen: {}", self.read("/tmp/errors").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn ports(&self) -> Vec<PortView> {
        self.sandbox.api.status(Actor::Operator, self.sandbox.named()).await.expect("its status").sandbox.ports
    }

    pub(crate) async fn preview(&self, port: u16, public: Option<bool>) -> PreviewAnswer {
        let request = PreviewRequest { sandbox_id: self.sandbox.id.clone(), port: port.into(), public, rotate: false };
        self.sandbox.api.preview(Actor::Operator, request).await.expect("the address of a port")
    }

    /// A file inside.
    pub(crate) async fn read(&self, path: &str) -> String {
        self.sandbox.bash(&format!("cat {path} 2>/dev/null || true")).await.output
    }

    /// Every head that the server has read.
    pub(crate) async fn heads(&self) -> String {
        self.read("/tmp/heads").await
    }

    /// Its name from outside.
    pub(crate) fn host(&self) -> String {
        format!("{PORT}-{}.localhost:{}", self.sandbox.id, port_of_daemon())
    }

    /// Below the daemon's path.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/preview/{}/{PORT}{rest}", self.sandbox.id)
    }

    /// The header that lets in.
    pub(crate) fn header(&self) -> String {
        format!("X-Ringfence-Preview-Token: {}", self.token)
    }

    /// Asks by name, with the token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        ask("GET", path, &self.host(), &[&self.header()]).await
    }
}

pub(crate) fn port_of_daemon() -> u16 {
    common::tcp().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an address with a port")
}

/// The token of the API.
pub(crate) fn api_token() -> String {
    let path: &Path = &common::home().join("run/token");
    std::fs::read_to_string(path).expect("the daemon has one").trim().to_owned()
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The connection ended in order: all of the body came.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Every value of a field.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }
}

/// A connection to the daemon, byte for byte.
pub(crate) struct Visitor {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Visitor {
    pub(crate) async fn send(bytes: &[u8]) -> Self {
        let mut stream = TcpStream::connect(common::tcp()).await.expect("the daemon listens");
        stream.write_all(bytes).await.expect("it reads");
        Self { stream, pending: Vec::new() }
    }

    pub(crate) async fn get(target: &str, host: &str, fields: &[&str]) -> Self {
        Self::send(head("GET", target, host, fields).as_bytes()).await
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether there was more.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 65536];
        match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("something comes, or the end") {
            Ok(0) | Err(_) => false,
            Ok(len) => {
                self.pending.extend_from_slice(&buffer[..len]);
                true
            }
        }
    }

    /// Reads until that text has come.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.pending.windows(text.len()).position(|window| window == text.as_bytes()) {
                let read: Vec<u8> = self.pending.drain(..at + text.len()).collect();
                return String::from_utf8_lossy(&read).into_owned();
            }
            assert!(self.more().await, "it ended before {text:?}: {}", String::from_utf8_lossy(&self.pending));
        }
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.pending)
    }

    /// Reads one answer to its end.
    pub(crate) async fn answer(mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: self.rest().await, whole: true };
        if let Some(length) = answer.fields("content-length").first() {
            answer.whole = answer.body.len() == length.parse::<usize>().expect("a length");
        } else if answer.fields("transfer-encoding") == ["chunked"] {
            (answer.body, answer.whole) = unchunked(&answer.body);
        }
        answer
    }
}

fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = bytes.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = std::str::from_utf8(&bytes[..at]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.expect("a size in hexadecimal digits");
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = bytes.get(at + 2..at + 2 + size) else { return (body, false) };
        body.extend_from_slice(chunk);
        bytes = bytes.get(at + 4 + size..).unwrap_or_default();
    }
}

pub(crate) fn head(method: &str, target: &str, host: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n")
}

pub(crate) async fn ask(method: &str, target: &str, host: &str, fields: &[&str]) -> Answer {
    Visitor::send(head(method, target, host, fields).as_bytes()).await.answer().await
}

/// Sends exactly these bytes and reads what comes.
pub(crate) async fn raw(bytes: String) -> Answer {
    Visitor::send(bytes.as_bytes()).await.answer().await
}

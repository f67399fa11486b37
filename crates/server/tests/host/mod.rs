//! A server over the fake, and a plain HTTP client that says exactly what it is told to.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use ringfence_server::{BUILD_HEADER, Config, Services, Started, Stop, Tcp, Token, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
};

use crate::fake::{Fake, node::FakeNode};

pub(crate) const TOKEN: &str = "0123456789abcdef";

pub(crate) struct Host {
    pub(crate) fake: Arc<Fake>,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) port: u16,
    pub(crate) stop: Stop,
    dir: TempDir,
    serving: JoinHandle<std::io::Result<()>>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) build: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::start_over(|services| services).await
    }

    pub(crate) async fn start_for(unix_uids: Vec<u32>) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), unix_uids, |services| services).await
    }

    /// Over what is made of the fake.
    pub(crate) async fn start_over(over: impl FnOnce(Services) -> Services) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let uid = std::fs::metadata(dir.path()).expect("it is there").uid();
        Self::start_in(dir, vec![uid], over).await
    }

    /// One whose start takes until the function is called.
    pub(crate) async fn unstarted() -> (Self, impl FnOnce()) {
        let dir = tempfile::tempdir().expect("a directory");
        let uid = std::fs::metadata(dir.path()).expect("it is there").uid();
        let (start, started) = tokio::sync::oneshot::channel();
        let started = async { started.await.expect("told") };
        let host = Self::start_once(dir, vec![uid], |services| services, started).await;
        (host, || start.send(()).expect("it waits"))
    }

    async fn start_in(dir: TempDir, unix_uids: Vec<u32>, over: impl FnOnce(Services) -> Services) -> Self {
        Self::start_once(dir, unix_uids, over, async {}).await
    }

    async fn start_once(
        dir: TempDir,
        unix_uids: Vec<u32>,
        over: impl FnOnce(Services) -> Services,
        started: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let node = Arc::new(FakeNode::default());
        let fake = Arc::new(Fake::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let stop = Stop::default();
        let config = Config {
            build: "test".into(),
            unix: UnixListener::bind(dir.path().join("api.sock")).expect("a socket"),
            unix_uids,
            tcp: Some(Tcp { listener, token: Token::new(TOKEN).expect("long enough") }),
            drain: Duration::from_secs(70),
        };
        let services = over(Services { sandboxes: fake.clone(), research: fake.clone() });
        let all = Started { services, previews: None, node: node.clone() };
        let started = async move {
            started.await;
            all
        };
        let serving = tokio::spawn(serve(config, started, stop.clone()));
        Self { fake, node, port, stop, dir, serving }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    pub(crate) async fn connect_unix(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.expect("it listens")
    }

    pub(crate) async fn connect_tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens")
    }

    pub(crate) async fn unix(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw_unix(method, path, &[], &body).await
    }

    pub(crate) async fn raw_unix(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let method = method.parse().expect("a method");
        self.send(self.connect_unix().await, method, path, headers, body.as_bytes().to_vec()).await
    }

    pub(crate) async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake is local");
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("well formed");
        let response = sender.send_request(request).await.expect("an answer");
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (status, build, session) = (response.status(), header(BUILD_HEADER), header("mcp-session-id"));
        let headers = response.headers().clone();
        let body = response.into_body();
        // Streams of events stay open; what comes first is enough.
        let body = match tokio::time::timeout(Duration::from_secs(5), body.collect()).await {
            Ok(body) => String::from_utf8_lossy(&body.expect("a body").to_bytes()).into_owned(),
            Err(_) => String::new(),
        };
        Answer { status, build, session, headers, body }
    }

    pub(crate) async fn ended(self) {
        let ended = tokio::time::timeout(Duration::from_secs(35), self.serving).await;
        ended.expect("within the drain").expect("no panic").expect("no error");
    }
}

//! A venue's stream that does what a test says, and programs of several sandboxes at it. As Alpaca, it takes one connection at a time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use futures::{SinkExt as _, StreamExt as _};
use ringfence_model::net::control::{DecisionView, GateAnswer, GateOp};
use ringfence_model::trade::Mode;
use ringfence_model::{Project, SandboxId};
use rmpv::Value;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::world::{LOOPBACK, PATIENCE, Signer, World, resolve_at, tls_over};

pub(crate) const STREAM: &str = "stream.data.alpaca.markets";
pub(crate) const TRADING: &str = "paper-api.alpaca.markets";
pub(crate) const KEY: &str = "PKREALREALREALREAL42";
pub(crate) const SECRET: &str = "the/real/secret/of/the/account/0123456789";
const LEAD: &str = "192.0.2.80:443";

/// What a test has the venue do.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// Send these messages in one frame.
    Say(Vec<Value>),
    /// End the connection without a word.
    Drop,
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Connections that came.
    pub(crate) connections: usize,
    /// Those that are there.
    pub(crate) open: usize,
    /// The heads of their handshakes.
    pub(crate) heads: Vec<String>,
    /// What was said, login excepted, as JSON would have it.
    pub(crate) requests: Vec<(String, BTreeSet<String>)>,
    /// The keys that came.
    pub(crate) keys: Vec<(String, String)>,
    /// What is subscribed at the connection that is there, as `channel:symbol`.
    pub(crate) subscribed: BTreeSet<String>,
    /// What a login is answered with in place of a welcome.
    pub(crate) refuse: Option<(u64, String)>,
    /// Symbols that are refused, and how.
    pub(crate) deny: Option<(String, u64)>,
    /// The secrets that are right.
    pub(crate) secrets: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Venue {
    pub(crate) notes: Arc<Mutex<Notes>>,
    turns: broadcast::Sender<Turn>,
}

pub(crate) fn object(fields: &[(&str, Value)]) -> Value {
    Value::Map(fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    field(value, name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(crate) fn field(value: &Value, name: &str) -> Option<Value> {
    value.as_map()?.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value.clone())
}

/// A bar; its number stands in `n`.
pub(crate) fn bar(symbol: &str, number: u64) -> Value {
    let at = [&0_u32.to_be_bytes()[..], &1_700_000_000_i64.to_be_bytes()].concat();
    object(&[
        ("T", "b".into()),
        ("S", symbol.into()),
        ("o", 189.33.into()),
        ("h", 190.5.into()),
        ("l", 189.0.into()),
        ("c", 190.0.into()),
        ("v", 1200.into()),
        ("n", number.into()),
        ("vw", 189.7.into()),
        ("t", Value::Ext(-1, at)),
    ])
}

pub(crate) fn trade(symbol: &str) -> Value {
    object(&[("T", "t".into()), ("S", symbol.into()), ("p", 10.25.into()), ("s", 3.into())])
}

fn packed(value: &Value) -> Message {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).unwrap();
    Message::binary(out)
}

/// The answer to the key of a handshake (RFC 6455, section 1.3).
pub(crate) fn accept_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn answer_head(stream: &mut (impl AsyncWrite + Unpin), head: &str) {
    let key = head.lines().find_map(|line| line.to_lowercase().starts_with("sec-websocket-key:").then(|| &line[18..]));
    let accept = accept_of(key.unwrap().trim());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

impl Venue {
    /// A gateway in mode `paper`, with one sandbox that does nothing, and the venue that it leads to.
    pub(crate) async fn scene() -> (World, Self) {
        let signer = Signer::new();
        let world = World::new(&[&signer], &[(STREAM, LOOPBACK)]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        world.gateway.lead_to(Mode::Paper, listener.local_addr().unwrap().port());
        world.secret("APCA_API_KEY_ID", KEY, None, false).await;
        world.secret("APCA_API_SECRET_KEY", SECRET, None, false).await;
        let notes = Notes { secrets: vec![SECRET.to_owned()], ..Notes::default() };
        let venue = Self { notes: Arc::new(Mutex::new(notes)), turns: broadcast::channel(1 << 16).0 };
        let acceptor = TlsAcceptor::from(signer.config(STREAM, &["http/1.1"]));
        let served = venue.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, acceptor) = (served.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    let head = read_head(&mut stream).await;
                    answer_head(&mut stream, &head).await;
                    let turns = served.turns.subscribe();
                    {
                        let mut notes = served.notes();
                        notes.connections += 1;
                        notes.open += 1;
                        notes.heads.push(head);
                    }
                    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
                    served.serve(&mut socket, turns).await;
                    let mut notes = served.notes();
                    notes.open -= 1;
                    notes.subscribed.clear();
                });
            }
        });
        (world, venue)
    }

    pub(crate) fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    pub(crate) fn turn(&self, turn: Turn) {
        self.turns.send(turn).unwrap();
    }

    pub(crate) fn say(&self, messages: Vec<Value>) {
        self.turn(Turn::Say(messages));
    }

    /// Waits until the venue has noted something.
    pub(crate) async fn until(&self, what: impl Fn(&Notes) -> bool) {
        for _ in 0..1500 {
            if what(&self.notes()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let notes = self.notes();
        panic!("it never came to be: {notes:?}");
    }

    async fn serve<S>(&self, socket: &mut WebSocketStream<S>, mut turns: broadcast::Receiver<Turn>)
    where
        S: tokio::io::AsyncRead + AsyncWrite + Unpin,
    {
        let success =
            |what: &str| packed(&Value::Array(vec![object(&[("T", "success".into()), ("msg", what.into())])]));
        let error = |code: u64, what: &str| {
            let error = object(&[("T", "error".into()), ("code", code.into()), ("msg", what.into())]);
            packed(&Value::Array(vec![error]))
        };
        if socket.send(success("connected")).await.is_err() {
            return;
        }
        let mut is_in = false;
        loop {
            tokio::select! {
                turn = turns.recv() => match turn.unwrap() {
                    Turn::Say(messages) if is_in => {
                        if socket.send(packed(&Value::Array(messages))).await.is_err() {
                            return;
                        }
                    }
                    Turn::Say(_) => {}
                    Turn::Drop => return,
                },
                message = socket.next() => {
                    let Some(Ok(message)) = message else { return };
                    let Message::Binary(bytes) = message else { continue };
                    let said = rmpv::decode::read_value(&mut &bytes[..]).unwrap();
                    let action = text(&said, "action");
                    if action == "auth" {
                        let (key, secret) = (text(&said, "key"), text(&said, "secret"));
                        let answer = {
                            let mut notes = self.notes();
                            notes.keys.push((key.clone(), secret.clone()));
                            match &notes.refuse {
                                Some((code, what)) => Err((*code, what.clone())),
                                None if notes.open > 1 => Err((406, "connection limit exceeded".to_owned())),
                                None if key != KEY || !notes.secrets.contains(&secret) => Err((402, "auth failed".to_owned())),
                                None => Ok(()),
                            }
                        };
                        if let Err((code, what)) = answer {
                            let _ = socket.send(error(code, &what)).await;
                            return;
                        }
                        is_in = true;
                        socket.send(success("authenticated")).await.unwrap();
                        continue;
                    }
                    let mut named = BTreeSet::new();
                    for (channel, symbols) in said.as_map().unwrap() {
                        let symbols = symbols.as_array().into_iter().flatten().filter_map(Value::as_str);
                        named.extend(symbols.map(|symbol| format!("{}:{symbol}", channel.as_str().unwrap())));
                    }
                    let answer = {
                        let mut notes = self.notes();
                        notes.requests.push((action.clone(), named.clone()));
                        match notes.deny.clone().filter(|(symbol, _)| named.iter().any(|name| name.ends_with(symbol))) {
                            Some((_, code)) => error(code, "insufficient subscription"),
                            None => {
                                match action.as_str() {
                                    "subscribe" => notes.subscribed.extend(named),
                                    _ => notes.subscribed.retain(|name| !named.contains(name)),
                                }
                                subscription(&notes.subscribed)
                            }
                        }
                    };
                    socket.send(answer).await.unwrap();
                }
            }
        }
    }
}

fn subscription(subscribed: &BTreeSet<String>) -> Message {
    let mut fields = vec![("T", Value::from("subscription"))];
    for channel in ["trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections"] {
        let symbols = subscribed.iter().filter_map(|name| name.strip_prefix(channel)?.strip_prefix(':'));
        fields.push((channel, Value::Array(symbols.map(Value::from).collect())));
    }
    packed(&Value::Array(vec![object(&fields)]))
}

/// One more sandbox, in a shell of its own.
pub(crate) struct Program {
    pub(crate) sandbox: SandboxId,
    door: SocketAddr,
    names: SocketAddr,
    /// The placeholders of key id and secret.
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Program {
    pub(crate) async fn new(world: &World, number: u8) -> Self {
        let mut bytes = [0; 20];
        (bytes[0], bytes[1]) = (number % 36, number / 36);
        let sandbox = SandboxId::from_random(bytes);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let dns = std::net::UdpSocket::bind("[::]:0").unwrap();
        let names = SocketAddr::new(LOOPBACK, dns.local_addr().unwrap().port());
        let shell = 1000 + u32::from(number);
        world.gateway.opened_with(shell, listener, Some(dns.into()), |_| LEAD.parse().unwrap());
        world.gateway.call(GateOp::Attach { sandbox: sandbox.clone(), shell }).await.unwrap();
        Self { sandbox, door, names, key: String::new(), secret: String::new() }
    }

    /// One that has placeholders of the account's key.
    pub(crate) async fn keyed(world: &World, number: u8) -> Self {
        let mut program = Self::new(world, number).await;
        let names = ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"].map(str::to_owned).to_vec();
        let used = GateOp::UseSecrets { sandbox: program.sandbox.clone(), project: Project::default(), names };
        let GateAnswer::Placeholders(texts) = world.gateway.call(used).await.unwrap() else { panic!("none") };
        let [key, secret] = <[String; 2]>::try_from(texts).unwrap();
        assert!(key != KEY && secret != SECRET);
        (program.key, program.secret) = (key, secret);
        program
    }

    pub(crate) async fn tls(&self, world: &World, host: &str) -> TlsStream<TcpStream> {
        assert_eq!(resolve_at(self.names, host).await.0, 0, "{host}");
        let stream = TcpStream::connect(self.door).await.unwrap();
        tls_over(stream, host, &world.authority(), &["http/1.1"]).await.unwrap()
    }

    /// A websocket, with these lines in its handshake.
    pub(crate) async fn open(&self, world: &World, host: &str, path: &str, lines: &str) -> Socket {
        let (mut stream, answer) = self.shake(world, host, path, lines).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(answer.contains(&accept_of("AAAAAAAAAAAAAAAAAAAAAA==")), "{answer}");
        stream.flush().await.unwrap();
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Socket { socket, seen: Vec::new() }
    }

    /// The answer to a handshake.
    pub(crate) async fn shake(
        &self,
        world: &World,
        host: &str,
        path: &str,
        lines: &str,
    ) -> (TlsStream<TcpStream>, String) {
        let mut stream = self.tls(world, host).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, read_head(&mut stream)).await.unwrap();
        (stream, answer)
    }

    /// A stream of the market, logged in.
    pub(crate) async fn market(&self, world: &World, lines: &str) -> Socket {
        let mut socket = self.open(world, STREAM, "/v2/iex", lines).await;
        assert_eq!(text(&socket.one().await, "msg"), "connected");
        socket.auth(&self.key, &self.secret).await;
        let said = socket.one().await;
        assert_eq!(text(&said, "msg"), "authenticated", "{said}");
        socket
    }

    pub(crate) async fn decisions(&self, world: &World) -> Vec<DecisionView> {
        let list = GateOp::Decisions { sandbox: Some(self.sandbox.clone()), after: Some(0), limit: 1000 };
        match world.gateway.call(list).await.unwrap() {
            GateAnswer::Decisions(decisions) => decisions,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) const MSGPACK: &str = "Content-Type: application/msgpack\r\n";

/// A program's websocket.
pub(crate) struct Socket {
    pub(crate) socket: WebSocketStream<TlsStream<TcpStream>>,
    /// Every byte that came.
    pub(crate) seen: Vec<u8>,
}

impl Socket {
    pub(crate) async fn send(&mut self, json: serde_json::Value) {
        self.socket.send(Message::text(json.to_string())).await.unwrap();
    }

    pub(crate) async fn auth(&mut self, key: &str, secret: &str) {
        self.send(serde_json::json!({"action": "auth", "key": key, "secret": secret})).await;
    }

    /// Asks, and gives the answer.
    pub(crate) async fn ask(&mut self, action: &str, channel: &str, symbols: &[&str]) -> Value {
        self.send(serde_json::json!({"action": action, channel: symbols})).await;
        self.one().await
    }

    /// The next frame; none when the socket was closed, with why.
    pub(crate) async fn next(&mut self) -> Result<Message, Option<CloseFrame>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something comes");
            match message {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(message)) => {
                    self.seen.extend(message.clone().into_data());
                    return Ok(message);
                }
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The messages of the next frame.
    pub(crate) async fn frame(&mut self) -> Vec<Value> {
        let message = self.next().await.unwrap_or_else(|close| panic!("it was closed: {close:?}"));
        let value = match &message {
            Message::Text(text) => json(text.as_bytes()),
            Message::Binary(bytes) => rmpv::decode::read_value(&mut &bytes[..]).unwrap(),
            other => panic!("{other:?}"),
        };
        value.as_array().unwrap_or_else(|| panic!("{value}")).clone()
    }

    /// The only message of the next frame.
    pub(crate) async fn one(&mut self) -> Value {
        let messages = self.frame().await;
        let [message] = &messages[..] else { panic!("{messages:?}") };
        message.clone()
    }

    /// How it is closed.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        match self.next().await {
            Err(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// That nothing is in what came.
    #[track_caller]
    pub(crate) fn never_saw(&self, secret: &str) {
        assert!(!String::from_utf8_lossy(&self.seen).contains(secret));
    }
}

fn json(bytes: &[u8]) -> Value {
    fn of(value: serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(is) => is.into(),
            serde_json::Value::Number(number) => match number.as_u64() {
                Some(number) => number.into(),
                None => number.as_f64().unwrap().into(),
            },
            serde_json::Value::String(text) => text.into(),
            serde_json::Value::Array(values) => Value::Array(values.into_iter().map(of).collect()),
            serde_json::Value::Object(fields) => {
                Value::Map(fields.into_iter().map(|(name, value)| (name.into(), of(value))).collect())
            }
        }
    }
    of(serde_json::from_slice(bytes).unwrap())
}

//! The trade stream: what becomes of an account's orders, as it happens and after it is on disk.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use tokio::{
    sync::broadcast,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    credentials::Credentials,
    respond,
    websocket::{self, PING_EVERY, SEND_PATIENCE, Socket},
};
use crate::{
    exchange::Event,
    json::{Json, object, parse},
    trading::Answer,
    venue::Venue,
};

/// How long a client may take to say who it is.
const AUTH_PATIENCE: Duration = Duration::from_secs(10);

/// The one stream that there is.
const TRADE_UPDATES: &str = "trade_updates";

/// Makes a connection a trade stream.
pub(super) fn trades(
    venue: Arc<Venue>,
    mut request: Request<Incoming>,
    credentials: Option<Credentials>,
) -> Response<Full<Bytes>> {
    let response = match websocket::accept(&request) {
        Ok(response) => response,
        Err(refusal) => return respond(Answer::from(refusal)),
    };
    let msgpack = websocket::is_msgpack(request.headers());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Some(socket) = websocket::open(upgrade).await {
            let mut stream =
                Stream { venue, socket, msgpack, credentials, events: None, listening: false, tried: false };
            stream.run().await;
            let _ = timeout(SEND_PATIENCE, stream.socket.close(None)).await;
        }
    });
    response
}

struct Stream {
    venue: Arc<Venue>,
    socket: Socket,
    msgpack: bool,
    /// Those of the handshake.
    credentials: Option<Credentials>,
    /// What becomes of the orders of whoever this is.
    events: Option<broadcast::Receiver<Arc<Event>>>,
    listening: bool,
    /// Whether it has tried to say who it is and failed.
    tried: bool,
}

/// The connection is over.
struct Over;

impl Stream {
    async fn run(&mut self) {
        let auth_by = Instant::now() + AUTH_PATIENCE;
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let done = tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message)) => self.message(message).await,
                        _ => Err(Over),
                    }
                }
                event = next(self.events.as_mut()) => match event {
                    // A reader that is too far behind, or an account that is over: it connects anew and asks what there is.
                    None => Err(Over),
                    Some(event) if self.listening => {
                        self.send(&object! { "stream" => TRADE_UPDATES, "data" => event.data.clone() }).await
                    }
                    Some(_) => Ok(()),
                },
                () = tokio::time::sleep_until(auth_by), if self.events.is_none() => Err(Over),
                _ = ping.tick() => {
                    if heard.elapsed() > PING_EVERY * 2 {
                        Err(Over)
                    } else {
                        self.put(Message::Ping(Bytes::new())).await
                    }
                }
            };
            if done.is_err() || self.tried {
                return;
            }
        }
    }

    async fn put(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over),
        }
    }

    /// Sends a binary frame, as Alpaca's paper endpoint does.
    async fn send(&mut self, value: &Json) -> Result<(), Over> {
        let bytes = if self.msgpack {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, &value.to_msgpack()).map_err(|_| Over)?;
            bytes
        } else {
            value.to_string().into_bytes()
        };
        self.put(Message::Binary(bytes.into())).await
    }

    async fn message(&mut self, message: Message) -> Result<(), Over> {
        let read = match message {
            Message::Text(text) => parse::json(text.as_bytes()).ok(),
            Message::Binary(bytes) if self.msgpack => from_msgpack(&bytes).or_else(|| parse::json(&bytes).ok()),
            Message::Binary(bytes) => parse::json(&bytes).ok(),
            Message::Close(_) => return Err(Over),
            // Pongs go out by themselves.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let Some(read) = read else { return self.error("invalid syntax").await };
        match read.get("action").and_then(Json::text) {
            Some("authenticate" | "auth") => self.authenticate(&read).await,
            Some("listen") => self.listen(&read).await,
            _ => self.error("unknown action").await,
        }
    }

    async fn error(&mut self, message: &str) -> Result<(), Over> {
        self.send(&object! { "stream" => "error", "data" => object! { "error" => message } }).await
    }

    async fn authenticate(&mut self, read: &Json) -> Result<(), Over> {
        let data = read.get("data").unwrap_or(read);
        let text = |names: [&str; 2]| names.into_iter().find_map(|name| data.get(name)).and_then(Json::text);
        let said = match (text(["key_id", "key"]), text(["secret_key", "secret"])) {
            (Some(key_id), secret) => Credentials::new(key_id, secret).ok(),
            _ => self.credentials.clone(),
        };
        let found = said.and_then(|said| self.venue.of_key(&said.key_id, said.secret.as_deref()).ok());
        let Some((_, desk)) = found else {
            self.tried = true;
            let data = object! {
                "status" => "unauthorized", "action" => "authenticate", "message" => "access key verification failed",
            };
            return self.send(&object! { "stream" => "authorization", "data" => data }).await;
        };
        self.events = Some(desk.events());
        let data = object! { "status" => "authorized", "action" => "authenticate" };
        self.send(&object! { "stream" => "authorization", "data" => data }).await
    }

    /// What is listened to from now on is what this says, and nothing of before.
    async fn listen(&mut self, read: &Json) -> Result<(), Over> {
        if self.events.is_none() {
            let data = object! { "status" => "unauthorized", "action" => "listen" };
            return self.send(&object! { "stream" => "authorization", "data" => data }).await;
        }
        let wanted = match read.get("data").and_then(|data| data.get("streams")) {
            Some(Json::List(streams)) => streams.iter().any(|stream| stream.text() == Some(TRADE_UPDATES)),
            _ => return self.error("streams must be a list").await,
        };
        self.listening = wanted;
        let streams: Vec<&str> = if wanted { vec![TRADE_UPDATES] } else { Vec::new() };
        self.send(&object! { "stream" => "listening", "data" => object! { "streams" => streams } }).await
    }
}

/// The next event; none when they are over. Whoever has not said who it is waits for ever.
async fn next(events: Option<&mut broadcast::Receiver<Arc<Event>>>) -> Option<Arc<Event>> {
    match events {
        Some(events) => events.recv().await.ok(),
        None => std::future::pending().await,
    }
}

/// A message of a client in MessagePack: texts, lists and objects, which is all that one says here.
fn from_msgpack(mut bytes: &[u8]) -> Option<Json> {
    /// Deepest nesting of a client's message.
    const DEPTH_MAX: usize = 8;
    let value = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_MAX).ok()?;
    if bytes.is_empty() { json_of(value) } else { None }
}

fn json_of(value: rmpv::Value) -> Option<Json> {
    Some(match value {
        rmpv::Value::Nil => Json::Null,
        rmpv::Value::Boolean(value) => Json::Bool(value),
        rmpv::Value::String(text) => Json::Text(text.into_str()?),
        rmpv::Value::Array(values) => Json::List(values.into_iter().map(json_of).collect::<Option<_>>()?),
        rmpv::Value::Map(fields) => Json::Object(
            fields
                .into_iter()
                .map(|(name, value)| Some((name.as_str()?.to_owned(), json_of(value)?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

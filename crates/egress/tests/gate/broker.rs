//! A broker that does what a test says: it answers late, wrongly or not at all, as the simulated exchange never does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::venue::accept_of;

/// What becomes of the next order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is taken and answered.
    Taken,
    /// It is taken, and the answer is this status.
    TakenButSays(u16),
    /// It is taken, and the connection ends.
    TakenInSilence,
    /// It is not taken, and the connection ends.
    Lost,
    /// It is refused.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Books {
    /// Orders by their ids.
    pub(crate) orders: BTreeMap<String, Value>,
    /// What the next orders meet; the last one stays.
    pub(crate) fates: Vec<Fate>,
    /// How many questions about orders are answered with 500 first.
    pub(crate) deaf: u32,
    /// Every request that came: method, target, body, and the key.
    pub(crate) seen: Vec<(String, String, String, String)>,
    /// What the market says, and when.
    pub(crate) quote: (f64, f64, &'static str),
    pub(crate) now: &'static str,
    pub(crate) positions: Vec<(String, String)>,
    /// What was said on its stream of orders.
    pub(crate) said: Vec<Value>,
    /// Streams that came.
    pub(crate) streams: usize,
    /// The legs of the next orders, as they are told.
    pub(crate) legs: Value,
    /// The account's id.
    pub(crate) account: &'static str,
}

/// What becomes of orders, as it is told to everybody.
#[derive(Debug, Clone)]
pub(crate) enum News {
    Say(Value),
    Drop,
}

#[derive(Debug, Clone)]
pub(crate) struct Broker(pub(crate) Arc<Mutex<Books>>, broadcast::Sender<News>);

impl Broker {
    fn new() -> Self {
        let books = Books {
            orders: BTreeMap::new(),
            fates: vec![Fate::Taken],
            deaf: 0,
            seen: vec![],
            quote: (99.99, 100.01, "2012-01-03T15:30:00Z"),
            now: "2012-01-03T10:30:05-05:00",
            positions: vec![],
            said: vec![],
            streams: 0,
            legs: Value::Null,
            account: "0a-1",
        };
        Self(Arc::new(Mutex::new(books)), broadcast::channel(1024).0)
    }

    /// Listens where the gate looks for the exchange.
    pub(crate) fn start(path: &Path) -> Self {
        let broker = Self::new();
        let listener = UnixListener::bind(path).unwrap();
        let served = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        broker
    }

    /// Listens as a broker outside does.
    pub(crate) fn start_outside(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        let broker = Self::new();
        let served = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, acceptor) = (served.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        served.serve(stream).await;
                    }
                });
            }
        });
        broker
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = service_fn(move |request| {
            let served = self.clone();
            async move { served.answer(request).await }
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }

    /// Tells it on every stream.
    pub(crate) fn news(&self, news: News) {
        self.1.send(news).unwrap();
    }

    /// Becomes a stream of orders. It tells of everybody's, as a broker does.
    fn stream(&self, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let key = request.headers()["sec-websocket-key"].to_str().unwrap();
        let accept = accept_of(key);
        let (broker, upgrade) = (self.clone(), hyper::upgrade::on(&mut request));
        tokio::spawn(async move {
            let mut news = broker.1.subscribe();
            broker.books().streams += 1;
            let upgraded = TokioIo::new(upgrade.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            loop {
                let answer = tokio::select! {
                    news = news.recv() => match news.unwrap() {
                        News::Say(value) => value,
                        News::Drop => return,
                    },
                    message = socket.next() => {
                        let Some(Ok(Message::Text(text))) = message else { return };
                        let said: Value = serde_json::from_str(&text).unwrap();
                        broker.books().said.push(said.clone());
                        match said["action"].as_str().unwrap() {
                            "authenticate" => json!({"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}),
                            _ => json!({"stream": "listening", "data": {"streams": said["data"]["streams"]}}),
                        }
                    }
                };
                if socket.send(Message::binary(answer.to_string())).await.is_err() {
                    return;
                }
            }
        });
        let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        answer.header("sec-websocket-accept", accept).body(Full::default()).unwrap()
    }

    pub(crate) fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    /// Requests that ask for a trade.
    pub(crate) fn trades(&self) -> Vec<(String, String, String)> {
        let books = self.books();
        let seen = books.seen.iter().filter(|seen| seen.0 != "GET");
        seen.map(|(method, target, body, _)| (method.clone(), target.clone(), body.clone())).collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Hangs> {
        if request.uri().path() == "/stream" {
            return Ok(self.stream(request));
        }
        // The gate's own question, whether anybody is there.
        if request.uri().path() == "/ringfence/v1/status" {
            return Ok(Response::new(Full::new(Bytes::from("{}"))));
        }
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let target = head.uri.path_and_query().unwrap().to_string();
        let key = head.headers.get("apca-api-key-id").map_or("", |key| key.to_str().unwrap()).to_owned();
        let (status, said) = {
            let mut books = self.books();
            books.seen.push((head.method.to_string(), target.clone(), body.clone(), key));
            match books.answer(&head.method, &target, &body) {
                Some(said) => said,
                None => return Err(Hangs),
            }
        };
        if status == 0 {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let body = if said.is_null() { Bytes::new() } else { said.to_string().into() };
        Ok(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Full::new(body)).unwrap())
    }
}

/// Ends the connection.
#[derive(Debug)]
pub(crate) struct Hangs;

impl std::fmt::Display for Hangs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it hangs up")
    }
}

impl std::error::Error for Hangs {}

impl From<Infallible> for Hangs {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Books {
    fn answer(&mut self, method: &Method, target: &str, body: &str) -> Option<(u16, Value)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let not_found = (404, json!({"code": 40410000, "message": "order not found"}));
        Some(match (method.as_str(), path) {
            ("GET", "/v2/account") => (
                200,
                json!({"id": self.account, "account_number": "1", "equity": "100000.00", "last_equity": "100000"}),
            ),
            ("GET", "/v2/clock") => (200, json!({"timestamp": self.now, "is_open": true})),
            ("GET", "/v2/calendar") => {
                let day = json!({"date": "2012-01-03", "open": "09:30", "close": "16:00", "session_open": "0400", "session_close": "2000"});
                (200, json!([day]))
            }
            ("GET", "/v2/positions") => {
                let all = self.positions.iter().map(|(symbol, qty)| {
                    json!({"symbol": symbol, "asset_class": "us_equity", "qty": qty, "current_price": "100"})
                });
                (200, all.collect())
            }
            ("GET", "/v2/stocks/quotes/latest") => {
                let symbol = query.trim_start_matches("symbols=");
                let (bid, ask, at) = self.quote;
                (200, json!({"quotes": {symbol: {"t": at, "bp": bid, "ap": ask, "bs": 1, "as": 1}}}))
            }
            ("GET", "/v2/stocks/trades/latest") => (200, json!({"trades": {}})),
            ("GET", "/ringfence/v1/facts") => {
                let mut ask = |target: &str| self.answer(&Method::GET, target, "").map(|(_, said)| said);
                let (quotes, trades) =
                    (format!("/v2/stocks/quotes/latest?{query}"), format!("/v2/stocks/trades/latest?{query}"));
                let said = json!({
                    "account": ask("/v2/account")?,
                    "clock": ask("/v2/clock")?,
                    "positions": ask("/v2/positions")?,
                    "quotes": ask(&quotes)?["quotes"],
                    "trades": ask(&trades)?["trades"],
                });
                (200, said)
            }
            ("GET", path) if path.starts_with("/v2/assets/") => {
                let symbol = match path.trim_start_matches("/v2/assets/") {
                    "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415" | "aapl" => "AAPL",
                    other => other,
                };
                (200, json!({"symbol": symbol, "class": "us_equity"}))
            }
            ("POST", "/v2/orders") => return self.order(body),
            ("GET", "/v2/orders") => {
                let open = self.orders.values().filter(|order| order["status"] == "new");
                (200, open.cloned().collect())
            }
            ("GET", "/v2/orders:by_client_order_id") => {
                if self.deaf > 0 {
                    self.deaf -= 1;
                    return Some((500, json!({"code": 50010000, "message": "internal server error"})));
                }
                let id = query.trim_start_matches("client_order_id=").replace("%2D", "-").replace("%5F", "_");
                let found = self.orders.values().find(|order| order["client_order_id"] == id.as_str());
                found.map_or(not_found, |order| (200, order.clone()))
            }
            ("GET" | "DELETE" | "PATCH", path) if path.starts_with("/v2/orders/") => {
                let id = path.trim_start_matches("/v2/orders/");
                match (method.as_str(), self.orders.get_mut(id)) {
                    (_, None) => not_found,
                    ("DELETE", Some(order)) if order["status"] != "new" => {
                        (422, json!({"code": 42210000, "message": "order is already in a state that ends it"}))
                    }
                    ("DELETE", Some(order)) => {
                        order["status"] = json!("canceled");
                        (204, Value::Null)
                    }
                    ("PATCH", Some(order)) => {
                        order["status"] = json!("replaced");
                        let mut new = order.clone();
                        let changes: Value = serde_json::from_str(body).unwrap();
                        changes.as_object().unwrap().iter().for_each(|(name, value)| new[name] = value.clone());
                        new["id"] = json!(format!("o-{}", self.orders.len() + 1));
                        new["status"] = json!("new");
                        self.orders.insert(new["id"].as_str().unwrap().to_owned(), new.clone());
                        (200, new)
                    }
                    (_, Some(order)) => (200, order.clone()),
                }
            }
            ("DELETE", "/v2/orders") => {
                self.orders.values_mut().for_each(|order| order["status"] = json!("canceled"));
                (207, json!([]))
            }
            _ => (404, json!({"code": 40410000, "message": "endpoint not found"})),
        })
    }

    fn order(&mut self, body: &str) -> Option<(u16, Value)> {
        let fate = if self.fates.len() > 1 { self.fates.remove(0) } else { self.fates[0] };
        let mut order: Value = serde_json::from_str(body).unwrap();
        let id = format!("o-{}", self.orders.len() + 1);
        order["id"] = json!(id);
        order["status"] = json!("new");
        order["filled_qty"] = json!("0");
        if !self.legs.is_null() {
            order["legs"] = self.legs.clone();
        }
        if !matches!(fate, Fate::Lost | Fate::Refused) {
            self.orders.insert(id, order.clone());
        }
        match fate {
            Fate::Taken => Some((200, order)),
            Fate::TakenButSays(status) => Some((status, json!({"message": "gateway timeout"}))),
            Fate::TakenInSilence | Fate::Lost => None,
            Fate::Refused => Some((403, json!({"code": 40310000, "message": "insufficient buying power"}))),
        }
    }
}

//! Binance's spot testnet as far as orders need it: over TLS, with one pair of keys, and a check of every signature. It does what a
//! test says with the next order, as [`Broker`](crate::broker::Broker) does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::broker::{Fate, Hangs};
use crate::world::Signer;

pub(crate) const HOST: &str = "testnet.binance.vision";
pub(crate) const ID: &str = "the-real-name-of-the-key-0123456789";
pub(crate) const KEY: &str = "the-real-key-with-which-is-signed-0123456789";
pub(crate) const UID: u64 = 354_937_868;

pub(crate) fn hex_hmac(key: &str, text: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes()))
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

#[derive(Debug)]
pub(crate) struct Books {
    /// Orders by their numbers.
    pub(crate) orders: BTreeMap<u64, Value>,
    /// What the next orders meet; the last one stays.
    pub(crate) fates: Vec<Fate>,
    /// How many questions about one order are answered with 503 first.
    pub(crate) deaf: u32,
    /// Every request that came: method, target, body, and whether it was signed well. One that was signed badly is refused.
    pub(crate) seen: Vec<(String, String, String, bool)>,
    /// Bid and ask of BTCUSDT.
    pub(crate) book: (&'static str, &'static str),
    pub(crate) balances: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Testnet {
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) port: u16,
}

impl Testnet {
    pub(crate) async fn start(signer: &Signer) -> Self {
        let books = Books {
            orders: BTreeMap::new(),
            fates: vec![Fate::Taken],
            deaf: 0,
            seen: vec![],
            book: ("49990.00000000", "50010.00000000"),
            balances: BTreeMap::from([("USDT", "100000.00000000"), ("BTC", "0.01000000"), ("LTC", "5.00000000")]),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let testnet = Self { books: Arc::new(Mutex::new(books)), port: listener.local_addr().unwrap().port() };
        let acceptor = TlsAcceptor::from(signer.config(HOST, &["http/1.1"]));
        let served = testnet.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, acceptor) = (served.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let served = served.clone();
                        async move { served.answer(request).await }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        testnet
    }

    pub(crate) fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Targets of requests that trade, with their methods.
    pub(crate) fn trades(&self) -> Vec<(String, String)> {
        let books = self.books();
        let seen = books.seen.iter().filter(|seen| seen.0 != "GET");
        seen.map(|(method, target, ..)| (method.clone(), target.clone())).collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Hangs> {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let target = head.uri.path_and_query().unwrap().to_string();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let key = head.headers.get("x-mbx-apikey").map_or("", |key| key.to_str().unwrap());
        let mut books = self.books();
        let public = ["time", "exchangeInfo", "ticker/price", "ticker/bookTicker", "ping"];
        let is_public = public.iter().any(|path| head.uri.path() == format!("/api/v3/{path}"));
        let signed = is_signed(&query, &body) && key == ID;
        books.seen.push((head.method.to_string(), target, body.clone(), signed));
        let (status, said) = if is_public && query.contains("signature=") {
            (400, json!({"code": -1101, "msg": "Too many parameters; expected '0' and received '2'."}))
        } else if !is_public && !signed {
            (401, json!({"code": -1022, "msg": "Signature for this request is not valid."}))
        } else {
            let fields = fields(&format!("{query}&{body}"));
            match books.answer(head.method.as_str(), head.uri.path(), &fields) {
                Some(said) => said,
                None => return Err(Hangs),
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(said.to_string())));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("x-mbx-used-weight-1m", "7".parse().unwrap());
        Ok(response)
    }
}

/// As Binance checks it: the last field of the query, over the query before it and the body, and not older than half a minute.
fn is_signed(query: &str, body: &str) -> bool {
    let whole = query.strip_prefix("signature=").map(|signature| ("", signature));
    let Some((signed, signature)) = query.rsplit_once("&signature=").or(whole) else { return false };
    let time = fields(&format!("{signed}&{body}")).get("timestamp").and_then(|time| time.parse::<u64>().ok());
    let time = time.unwrap_or_default();
    signature == hex_hmac(KEY, &format!("{signed}{body}"))
        && !signed.contains("signature=")
        && now_ms().abs_diff(time) < 30_000
}

fn fields(form: &str) -> BTreeMap<String, String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Books {
    fn answer(&mut self, method: &str, path: &str, fields: &BTreeMap<String, String>) -> Option<(u16, Value)> {
        let none = (400, json!({"code": -2013, "msg": "Order does not exist."}));
        let symbol = fields.get("symbol").map_or("", String::as_str);
        Some(match (method, path) {
            ("GET", "/api/v3/time") => (200, json!({"serverTime": now_ms()})),
            ("GET", "/api/v3/account") => {
                let list =
                    self.balances.iter().map(|(asset, free)| json!({"asset": asset, "free": free, "locked": "0.0"}));
                (200, json!({"uid": UID, "canTrade": true, "balances": list.collect::<Vec<_>>()}))
            }
            ("GET", "/api/v3/exchangeInfo") => match symbol {
                "BTCUSDT" => (200, market("BTCUSDT", "BTC", "USDT")),
                "LTCBTC" => (200, market("LTCBTC", "LTC", "BTC")),
                _ => (400, json!({"code": -1121, "msg": "Invalid symbol."})),
            },
            ("GET", "/api/v3/ticker/price") => (
                200,
                json!([
                    {"symbol": "BTCUSDT", "price": "50000.00000000"}, {"symbol": "LTCUSDT", "price": "100.00000000"},
                    {"symbol": "LTCBTC", "price": "0.00200000"},
                ]),
            ),
            ("GET", "/api/v3/ticker/bookTicker") => (
                200,
                json!({"symbol": symbol, "bidPrice": self.book.0, "bidQty": "1", "askPrice": self.book.1, "askQty": "1"}),
            ),
            ("DELETE", "/api/v3/openOrders") => {
                let open =
                    self.orders.values_mut().filter(|order| order["symbol"] == symbol && order["status"] == "NEW");
                (200, open.map(cancelled).collect())
            }
            ("POST", "/api/v3/order") => return self.order(fields),
            ("POST", "/api/v3/order/test") => (200, json!({})),
            ("GET" | "DELETE", "/api/v3/order") => {
                if method == "GET" && self.deaf > 0 {
                    self.deaf -= 1;
                    return Some((503, json!({"msg": "Service unavailable."})));
                }
                let found = self.orders.values_mut().find(|order| {
                    order["symbol"] == symbol
                        && (Some(&order["orderId"].to_string()) == fields.get("orderId")
                            || order["clientOrderId"].as_str() == fields.get("origClientOrderId").map(String::as_str))
                });
                match found {
                    None => none,
                    Some(order) if method == "DELETE" => (200, cancelled(order)),
                    Some(order) => (200, order.clone()),
                }
            }
            ("GET", "/api/v3/openOrders" | "/api/v3/allOrders") => {
                let open = path.ends_with("openOrders");
                let all = self.orders.values().filter(|order| {
                    (symbol.is_empty() || order["symbol"] == symbol) && !(open && order["status"] != "NEW")
                });
                (200, all.cloned().collect())
            }
            ("GET", "/api/v3/myTrades") => {
                let filled = self.orders.values().filter(|order| order["status"] == "FILLED");
                (
                    200,
                    filled
                        .map(|order| json!({"symbol": symbol, "id": 1, "orderId": order["orderId"], "qty": "1"}))
                        .collect(),
                )
            }
            _ => (404, json!({"code": -1, "msg": "there is no such path"})),
        })
    }

    fn order(&mut self, fields: &BTreeMap<String, String>) -> Option<(u16, Value)> {
        let fate = if self.fates.len() > 1 { self.fates.remove(0) } else { self.fates[0] };
        let number = 100 + self.orders.len() as u64;
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let at_once = field("type") == "MARKET";
        let qty = if field("quantity").is_empty() { "0.00100000".to_owned() } else { field("quantity") };
        let (status, filled, paid) =
            if at_once { ("FILLED", qty.as_str(), "50.01000000") } else { ("NEW", "0.0", "0.0") };
        let order = json!({
            "symbol": field("symbol"), "orderId": number, "orderListId": -1, "clientOrderId": field("newClientOrderId"),
            "transactTime": now_ms(), "updateTime": now_ms(), "price": field("price"), "origQty": qty,
            "executedQty": filled, "cummulativeQuoteQty": paid, "status": status, "type": field("type"), "side": field("side"),
            "timeInForce": "GTC", "fills": [],
        });
        if !matches!(fate, Fate::Lost | Fate::Refused) {
            self.orders.insert(number, order.clone());
        }
        match fate {
            Fate::Taken => Some((200, order)),
            Fate::TakenButSays(status) => {
                Some((status, json!({"code": -1007, "msg": "Timeout waiting for response from backend server."})))
            }
            Fate::TakenInSilence | Fate::Lost => None,
            Fate::Refused => {
                Some((400, json!({"code": -2010, "msg": "Account has insufficient balance for requested action."})))
            }
        }
    }
}

fn cancelled(order: &mut Value) -> Value {
    order["status"] = json!("CANCELED");
    let mut said = order.clone();
    said["origClientOrderId"] = order["clientOrderId"].clone();
    said["clientOrderId"] = json!("a-name-of-the-cancel");
    said
}

fn market(symbol: &str, base: &str, quote: &str) -> Value {
    json!({"timezone": "UTC", "symbols": [{"symbol": symbol, "status": "TRADING", "baseAsset": base, "quoteAsset": quote}]})
}

//! What becomes of orders, told to those whose orders they are.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ringfence_model::net::control::GateOp;
use ringfence_model::trade::Mode;
use ringfence_store::gate::OrderRow;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use crate::broker::{Broker, News};
use crate::venue::{KEY, MSGPACK, Program, SECRET, Socket, TRADING};
use crate::world::{LOOPBACK, Signer, World, read};

const ORDER: &str = r#"{"symbol":"AAPL","qty":"3","side":"buy","type":"market","time_in_force":"day"}"#;

async fn allow(world: &World, program: &Program) {
    let hosts = [TRADING, "data.alpaca.markets"].map(|host| json!({ "host": host }));
    let network = serde_json::from_value(json!({ "allow": hosts })).unwrap();
    world.gateway.call(GateOp::SetPolicy { sandbox: program.sandbox.clone(), network, by_agent: false }).await.unwrap();
}

/// An order of a program, as the broker has it.
async fn order(world: &World, program: &Program) -> Value {
    let stream = program.tls(world, TRADING).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v2/orders").header("host", TRADING).header("content-type", "application/json");
    let request = request.header("apca-api-key-id", "PKANYTHING").body(Full::new(Bytes::from(ORDER))).unwrap();
    let (status, body) = read(sender.send_request(request).await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn listen(world: &World, program: &Program, lines: &str, keys: (&str, &str)) -> Socket {
    let mut socket = program.open(world, TRADING, "/stream", lines).await;
    socket.send(json!({"action": "authenticate", "data": {"key_id": keys.0, "secret_key": keys.1}})).await;
    let said = next(&mut socket).await;
    assert_eq!(said["data"], json!({"status": "authorized", "action": "authenticate"}), "{said}");
    socket.send(json!({"action": "listen", "data": {"streams": ["trade_updates"]}})).await;
    let said = next(&mut socket).await;
    assert_eq!(said, json!({"stream": "listening", "data": {"streams": ["trade_updates"]}}));
    socket
}

/// The next message, in whichever form.
async fn next(socket: &mut Socket) -> Value {
    fn of(value: rmpv::Value) -> Value {
        match value {
            rmpv::Value::String(text) => text.as_str().unwrap().into(),
            rmpv::Value::Array(values) => values.into_iter().map(of).collect(),
            rmpv::Value::Map(pairs) => {
                pairs.into_iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), of(value))).collect()
            }
            rmpv::Value::Nil => Value::Null,
            other => panic!("{other}"),
        }
    }
    let Message::Binary(bytes) = socket.next().await.unwrap() else { panic!("a text frame") };
    serde_json::from_slice(&bytes).unwrap_or_else(|_| of(rmpv::decode::read_value(&mut &bytes[..]).unwrap()))
}

fn update(event: &str, order: &Value) -> News {
    let data = json!({"event": event, "execution_id": "e-1", "order": order, "timestamp": "2012-01-03T15:30:06Z"});
    News::Say(json!({"stream": "trade_updates", "data": data}))
}

fn filled(order: &Value, qty: &str, status: &str) -> Value {
    let mut order = order.clone();
    order["filled_qty"] = json!(qty);
    order["filled_avg_price"] = json!("100.01");
    order["filled_at"] = json!("2012-01-03T15:30:06.123456789Z");
    order["status"] = json!(status);
    order
}

async fn row(world: &World, program: &Program) -> OrderRow {
    world.gateway.store().trade_orders_of(program.sandbox.clone(), 1).await.unwrap().pop().expect("an order")
}

#[tokio::test]
async fn an_update_is_told_to_the_sandbox_whose_order_it_is_and_to_the_ledger_at_once() {
    let world = World::new(&[], &[]).await;
    let broker = Broker::start(&world.home.path().join("exchange.sock"));
    let (one, two) = (Program::new(&world, 1).await, Program::new(&world, 2).await);
    for program in [&one, &two] {
        allow(&world, program).await;
    }
    let keys = ("PKANYTHING", "whatever-it-is");
    let mut a = listen(&world, &one, "", keys).await;
    let mut b = listen(&world, &two, MSGPACK, keys).await;
    assert_eq!(broker.books().streams, 1, "one for the account");
    let (of_a, of_b) = (order(&world, &one).await, order(&world, &two).await);
    let foreign = json!({"id": "foreign", "client_order_id": "x", "status": "new", "symbol": "AAPL"});
    broker.news(update("new", &foreign));
    broker.news(update("partial_fill", &filled(&of_a, "1", "partially_filled")));
    broker.news(update("new", &of_b));
    broker.news(update("fill", &filled(&of_a, "3", "filled")));
    let said = next(&mut a).await;
    assert_eq!((&said["stream"], &said["data"]["event"]), (&json!("trade_updates"), &json!("partial_fill")));
    assert_eq!(said["data"]["order"]["id"], of_a["id"]);
    let said = next(&mut a).await;
    assert_eq!((&said["data"]["event"], &said["data"]["order"]["filled_qty"]), (&json!("fill"), &json!("3")));
    // The ledger had it before the program: the broker's own books say nothing of a fill.
    let noted = row(&world, &one).await;
    assert_eq!((noted.filled.to_string(), noted.closed_because.as_deref()), ("3".to_owned(), Some("filled")));
    let said = next(&mut b).await;
    assert_eq!((&said["data"]["event"], &said["data"]["order"]["id"]), (&json!("new"), &of_b["id"]));
    assert_eq!(row(&world, &two).await.filled.to_string(), "0");
    // The same fill, told once more, is one.
    broker.news(update("fill", &filled(&of_a, "3", "filled")));
    next(&mut a).await;
    assert_eq!(row(&world, &one).await.filled.to_string(), "3");
    // Listening is what was said last.
    a.send(json!({"action": "listen", "data": {"streams": []}})).await;
    assert_eq!(next(&mut a).await["data"], json!({"streams": []}));
    broker.news(update("canceled", &filled(&of_a, "3", "canceled")));
    a.send(json!({"action": "dance"})).await;
    assert_eq!(next(&mut a).await["stream"], "error", "and nothing before it");
}

#[tokio::test]
async fn a_stream_that_is_lost_is_made_anew_and_nobody_is_sent_away() {
    let world = World::new(&[], &[]).await;
    let broker = Broker::start(&world.home.path().join("exchange.sock"));
    let one = Program::new(&world, 1).await;
    allow(&world, &one).await;
    let mut socket = listen(&world, &one, "", ("PKANYTHING", "whatever-it-is")).await;
    let own = order(&world, &one).await;
    broker.news(News::Drop);
    for _ in 0..500 {
        if broker.books().streams == 2 && broker.books().said.len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    broker.news(update("fill", &filled(&own, "3", "filled")));
    assert_eq!(next(&mut socket).await["data"]["event"], "fill");
}

#[tokio::test]
async fn an_account_that_was_begun_anew_is_another_one_and_its_listeners_have_to_come_again() {
    let world = World::new(&[], &[]).await;
    let broker = Broker::start(&world.home.path().join("exchange.sock"));
    let one = Program::new(&world, 1).await;
    allow(&world, &one).await;
    let keys = ("PKANYTHING", "whatever-it-is");
    let mut socket = listen(&world, &one, "", keys).await;
    broker.books().account = "0b-2";
    broker.news(News::Drop);
    assert_eq!(next(&mut socket).await["stream"], "error");
    assert_eq!(socket.closed().await.0, 1000);
    let mut socket = listen(&world, &one, "", keys).await;
    let own = order(&world, &one).await;
    broker.news(update("new", &own));
    assert_eq!(next(&mut socket).await["data"]["order"]["id"], own["id"]);
}

#[tokio::test]
async fn outside_the_account_is_told_the_real_key_and_the_sandbox_never_sees_it() {
    let signer = Signer::new();
    let mut world = World::new(&[&signer], &[(TRADING, LOOPBACK)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.gateway.lead_to(Mode::Paper, listener.local_addr().unwrap().port());
    let broker = Broker::start_outside(listener, TlsAcceptor::from(signer.config(TRADING, &["http/1.1"])));
    world.secret("APCA_API_KEY_ID", KEY, None, false).await;
    world.secret("APCA_API_SECRET_KEY", SECRET, None, false).await;
    let one = Program::keyed(&world, 1).await;
    let mut socket = listen(&world, &one, "", (&one.key, &one.secret)).await;
    let login = json!({"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}});
    assert_eq!(broker.books().said[0], login);
    assert!(broker.books().seen.iter().any(|seen| seen.1 == "/v2/account" && seen.3 == KEY));
    let used = one.decisions(&world).await.into_iter().find(|row| row.protocol == "ws").unwrap();
    assert_eq!(used.secrets, ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"]);
    // An order of somebody else.
    let foreign = json!({"id": "foreign", "client_order_id": KEY, "status": "new", "symbol": "AAPL"});
    broker.news(update("new", &foreign));
    world.secret("APCA_API_SECRET_KEY", "another/secret/of/the/account/9876543210", None, true).await;
    assert_eq!(socket.closed().await.0, 1008);
    assert_eq!(world.denied().1, "policy_changed");
    socket.never_saw(KEY);
    socket.never_saw("foreign");
    // A key that is no placeholder.
    let mut socket = one.open(&world, TRADING, "/stream", "").await;
    socket.send(json!({"action": "auth", "key": KEY, "secret": SECRET})).await;
    let said = next(&mut socket).await;
    assert_eq!(said["data"]["status"], "unauthorized", "{said}");
    assert_eq!((socket.closed().await.0, world.denied().1), (1008, "trade_refused".to_owned()));
}

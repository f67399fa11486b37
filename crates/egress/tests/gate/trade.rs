//! Orders through the gate, at a broker that does what a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use ringfence_model::net::control::{GateOp, TradeAsked, TradeOp, TradeScope};
use ringfence_model::trade::By;
use serde_json::{Value, json};

use crate::broker::{Broker, Fate};
use crate::world::{World, read};

const HOST: &str = "paper-api.alpaca.markets";
const LEAD: &str = "192.0.2.80:443";

async fn scene() -> (World, Broker) {
    let world = World::new(&[], &[]).await;
    let broker = Broker::start(&world.home.path().join("exchange.sock"));
    let hosts = [HOST, "api.alpaca.markets", "data.alpaca.markets"].map(|host| json!({ "host": host }));
    world.policy(json!({ "allow": hosts })).await;
    assert_eq!(world.resolve(HOST).await, (0, vec!["192.0.2.80".parse().unwrap()]));
    (world, broker)
}

async fn ask(world: &World, host: &str, method: &str, target: &str, body: &str) -> (u16, Value) {
    ask_as(world, host, method, target, body, "application/json").await
}

async fn sender(world: &World, host: &str) -> http1::SendRequest<Full<Bytes>> {
    world.resolve(host).await;
    let to: SocketAddr = LEAD.parse().unwrap();
    let stream = world.tls_to(to, host, &world.authority(), &["http/1.1"]).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(host: &str, method: &str, target: &str, body: &str, kind: &str) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(target);
    let builder = builder.header("host", host).header("apca-api-key-id", "PKANYTHING");
    let builder = if body.is_empty() { builder } else { builder.header("content-type", kind) };
    builder.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

async fn ask_as(world: &World, host: &str, method: &str, target: &str, body: &str, kind: &str) -> (u16, Value) {
    let mut sender = sender(world, host).await;
    let response = sender.send_request(request(host, method, target, body, kind)).await.unwrap();
    let (status, body) = read(response).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

const ORDER: &str = r#"{"symbol":"AAPL","qty":1.0,"side":"buy","type":"market","time_in_force":"day"}"#;

#[track_caller]
fn is_refused(answer: &(u16, Value), rule: &str) {
    assert_eq!((answer.0, &answer.1["code"], &answer.1["rule"]), (403, &json!(40310000), &json!(rule)), "{}", answer.1);
    assert!(answer.1["message"].as_str().unwrap().starts_with("firewall: "), "{}", answer.1);
}

#[tokio::test]
async fn an_order_goes_out_in_the_gates_own_bytes_with_a_name_of_its_own() {
    let (world, broker) = scene().await;
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    assert_eq!(status, 200, "{order}");
    let name = order["client_order_id"].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("rf-{}-", world.sandbox)), "{name}");
    let trades = broker.trades();
    assert_eq!(trades.len(), 1);
    assert_eq!(
        serde_json::from_str::<Value>(&trades[0].2).unwrap(),
        json!({"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", "client_order_id": name})
    );
    let target = format!("/v2/orders:by_client_order_id?client_order_id={name}");
    assert_eq!(ask(&world, HOST, "GET", &target, "").await.1["id"], order["id"]);
    let chain = world.decisions().await;
    assert!(chain.iter().any(|one| one.request.as_deref() == Some("POST /v2/orders") && one.verdict == "allow"));
}

#[tokio::test]
async fn what_a_sandbox_was_answered_about_its_orders_stands_in_the_record() {
    let (world, _broker) = scene().await;
    let (_, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    let own = format!("/v2/orders/{}", order["id"].as_str().unwrap());
    ask(&world, HOST, "GET", &own, "").await;
    ask(&world, HOST, "GET", "/v2/orders", "").await;
    ask(&world, HOST, "GET", "/v2/orders/theirs", "").await;
    let wanted = [
        ("POST /v2/orders", 200),
        (&format!("GET {own}"), 200),
        ("GET /v2/orders", 200),
        ("GET /v2/orders/theirs", 404),
    ];
    for (request, status) in wanted {
        let found = async || {
            let chain = world.decisions().await;
            chain.into_iter().find(|row| row.request.as_deref() == Some(request)).unwrap()
        };
        // It is noted once the answer has gone.
        let mut row = found().await;
        for _ in 0..500 {
            if row.milliseconds.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            row = found().await;
        }
        assert_eq!(row.status, Some(status), "{request}");
        assert!(row.bytes_down >= Some(2), "{request}: {row:?}");
    }
}

#[tokio::test]
async fn an_account_that_began_anew_is_another_account_at_once() {
    let (world, broker) = scene().await;
    assert_eq!(ask(&world, HOST, "POST", "/v2/orders", ORDER).await.0, 200);
    let asked_before = broker.books().seen.len();
    assert_eq!(ask(&world, HOST, "POST", "/v2/orders", &ORDER.replace("1.0", "2")).await.0, 200);
    let seen: Vec<String> =
        broker.books().seen[asked_before..].iter().map(|(method, target, ..)| format!("{method} {target}")).collect();
    // What the first order left open is looked at, everything else is one question.
    let questions = seen.iter().filter(|line| !line.contains("/v2/orders")).count();
    assert_eq!(questions, 1, "{seen:?}");
    {
        // An exchange whose account was reset: nothing of the old one is there.
        let mut books = broker.books();
        books.account = "0a-2";
        books.orders.clear();
    }
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", &ORDER.replace("1.0", "3")).await;
    assert_eq!((status, &order["qty"]), (200, &json!("3")), "{order}");
    let (_, open) = ask(&world, HOST, "GET", "/v2/orders", "").await;
    let open: Vec<_> = open.as_array().expect("a list").iter().map(|order| order["qty"].clone()).collect();
    assert_eq!(open, [json!("3")], "the orders of the account as it is now");
}

#[tokio::test]
async fn an_answer_that_a_client_would_try_again_ends_in_one_order() {
    for fate in [Fate::TakenButSays(504), Fate::TakenButSays(500), Fate::TakenInSilence] {
        let (world, broker) = scene().await;
        broker.books().fates = vec![fate, Fate::Taken];
        let (status, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
        assert_eq!((status, &order["id"]), (200, &json!("o-1")), "{fate:?} {order}");
        assert_eq!(broker.books().orders.len(), 1);
    }
}

#[tokio::test]
async fn an_order_that_never_arrived_is_not_sent_again_by_the_gate() {
    let (world, broker) = scene().await;
    broker.books().fates = vec![Fate::Lost, Fate::Taken];
    for _ in 0..2 {
        // The venue does not know it yet, which may change: it is in doubt, and so is the same one that comes after it.
        let (status, said) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
        assert_eq!((status, &said["code"]), (502, &json!(50010000)), "{said}");
    }
    assert_eq!((broker.trades().len(), broker.books().orders.len()), (1, 0));
    // Another order is another matter.
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", &ORDER.replace("1.0", "2")).await;
    assert_eq!((status, &order["qty"]), (200, &json!("2")), "{order}");
}

#[tokio::test]
async fn a_refusal_of_the_venue_is_told_as_it_is_and_frees_what_was_reserved() {
    let (world, broker) = scene().await;
    broker.books().fates = vec![Fate::Refused, Fate::Refused, Fate::Refused, Fate::Refused, Fate::Taken];
    // 9,000 dollars, five times, where 25,000 may be in one symbol: none of the first four has bought anything.
    let big = ORDER.replace("1.0", "90");
    for _ in 0..4 {
        let (status, said) = ask(&world, HOST, "POST", "/v2/orders", &big).await;
        assert_eq!((status, &said["message"]), (403, &json!("insufficient buying power")), "{said}");
    }
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", &big).await;
    assert_eq!((status, &order["qty"]), (200, &json!("90")), "{order}");
}

#[tokio::test]
async fn while_nobody_knows_of_an_order_the_same_one_is_not_sent() {
    let (world, broker) = scene().await;
    broker.books().fates = vec![Fate::TakenButSays(504), Fate::Taken];
    broker.books().deaf = 6;
    let (status, said) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    assert_eq!(status, 502, "neither 504 nor 429: {said}");
    // Again, as an official client does after a 504: it is answered with the first.
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    assert_eq!((status, &order["id"]), (200, &json!("o-1")), "{order}");
    assert_eq!(broker.trades().len(), 1);
}

#[tokio::test]
async fn an_order_whose_client_hung_up_is_found_again() {
    let (world, broker) = scene().await;
    broker.books().fates = vec![Fate::TakenButSays(504), Fate::Taken];
    broker.books().deaf = 2;
    let mut first = sender(&world, HOST).await;
    let asked = first.send_request(request(HOST, "POST", "/v2/orders", ORDER, "application/json"));
    let _ = tokio::time::timeout(Duration::from_millis(300), asked).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    assert_eq!((status, &order["id"]), (200, &json!("o-1")), "{order}");
    assert_eq!(broker.books().orders.len(), 1);
}

#[tokio::test]
async fn what_has_two_readings_is_refused_and_reaches_nobody() {
    let (world, broker) = scene().await;
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!(r#"{{"symbol":"{}"}}"#, "A".repeat(1 << 20));
    for body in [
        r#"{"symbol":"AAPL","qty":1,"qty":100,"side":"buy","type":"market","time_in_force":"day"}"#,
        r#"{"symbol":"AAPL","qty":1,"notional":5,"side":"buy","type":"market","time_in_force":"day"}"#,
        r#"{"symbol":"AAPL","qty":NaN,"side":"buy","type":"market","time_in_force":"day"}"#,
        r#"{"symbol":"AAPL","qty":1e1,"side":"buy","type":"market","time_in_force":"day"}"#,
        r#"{"symbol":"AAPL","qty":-1,"side":"buy","type":"market","time_in_force":"day"}"#,
        r#"{"symbol":"AAPL","qty":1,"side":"buy","type":"market","time_in_force":"day"} x"#,
        &deep,
        &long,
        "null",
        "{",
    ] {
        let answer = ask(&world, HOST, "POST", "/v2/orders", body).await;
        is_refused(&answer, "canonical_form");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json, text/plain"] {
        is_refused(&ask_as(&world, HOST, "POST", "/v2/orders", ORDER, kind).await, "canonical_form");
    }
    is_refused(&ask(&world, HOST, "POST", "/v2/orders?symbol=MSFT", ORDER).await, "canonical_form");
    for (method, target) in [
        ("POST", "/v2/orders/"),
        ("POST", "/v2//orders"),
        ("POST", "/v2/%6frders"),
        ("POST", "/v2/x/..%2forders"),
        ("POST", "/v1/orders"),
        ("PATCH", "/v2/account/configurations"),
        ("POST", "/v2/positions/AAPL/exercise"),
        ("POST", "/v2/wallets/transfers"),
    ] {
        is_refused(&ask(&world, HOST, method, target, ORDER).await, "endpoint_allow_list");
    }
    assert_eq!(broker.trades(), vec![]);
}

#[tokio::test]
async fn the_live_name_leads_nowhere_and_no_policy_lets_a_venue_pass_unseen() {
    let (world, broker) = scene().await;
    is_refused(&ask(&world, "api.alpaca.markets", "POST", "/v2/orders", ORDER).await, "environment_lock");
    assert_eq!(broker.trades(), vec![]);
    // A rule without methods and paths lets the bytes of any other host pass as they are.
    world.policy(json!({ "allow": [{ "host": HOST }] })).await;
    let answer = ask(&world, HOST, "POST", "/v2/x", ORDER).await;
    is_refused(&answer, "endpoint_allow_list");
}

#[tokio::test]
async fn an_order_of_somebody_else_is_not_there() {
    let (world, broker) = scene().await;
    let (_, own) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    let other = json!({"id": "theirs", "client_order_id": "x", "status": "canceled", "symbol": "AAPL"});
    broker.books().orders.insert("theirs".to_owned(), other);
    let (status, listed) = ask(&world, HOST, "GET", "/v2/orders?status=all", "").await;
    assert_eq!((status, listed.as_array().unwrap().len(), &listed[0]["id"]), (200, 1, &own["id"]), "{listed}");
    assert_eq!(ask(&world, HOST, "GET", "/v2/orders/theirs", "").await.0, 404);
    assert_eq!(ask(&world, HOST, "GET", "/v2/orders:by_client_order_id?client_order_id=x", "").await.0, 404);
    is_refused(&ask(&world, HOST, "DELETE", "/v2/orders/theirs", "").await, "order_ownership");
    is_refused(&ask(&world, HOST, "PATCH", "/v2/orders/theirs", r#"{"qty":"2"}"#).await, "order_ownership");
    // All of them are its own alone.
    let (status, said) = ask(&world, HOST, "DELETE", "/v2/orders", "").await;
    assert_eq!((status, said.as_array().unwrap().len()), (207, 1), "{said}");
    assert!(!broker.trades().iter().any(|(method, target, _)| method == "DELETE" && target == "/v2/orders"));
}

#[tokio::test]
async fn a_sandbox_that_ends_has_its_orders_cancelled() {
    let (world, broker) = scene().await;
    let (_, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    world.gateway.call(GateOp::Detach { sandbox: world.sandbox.clone() }).await.unwrap();
    for _ in 0..200 {
        if broker.books().orders[order["id"].as_str().unwrap()]["status"] == "canceled" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is open: {:?}", broker.books().orders);
}

#[tokio::test]
async fn legs_of_an_order_that_has_traded_are_cancelled_with_its_sandbox() {
    for asked in [false, true] {
        let (world, broker) = scene().await;
        let leg = |id: &str| json!({"id": id, "client_order_id": id, "symbol": "AAPL", "side": "sell", "qty": "10", "status": "new"});
        broker.books().legs = json!([leg("leg-profit"), leg("leg-loss")]);
        let bracket = r#"{"symbol":"AAPL","qty":"10","side":"buy","type":"limit","limit_price":"100","time_in_force":"day",
            "order_class":"bracket","take_profit":{"limit_price":"105"},"stop_loss":{"stop_price":"95"}}"#;
        let (status, order) = ask(&world, HOST, "POST", "/v2/orders", bracket).await;
        assert_eq!(status, 200, "{order}");
        {
            let mut books = broker.books();
            let parent = books.orders.get_mut(order["id"].as_str().unwrap()).unwrap();
            (parent["status"], parent["filled_qty"], parent["filled_avg_price"]) =
                (json!("filled"), json!("10"), json!("100"));
            for id in ["leg-profit", "leg-loss"] {
                books.orders.insert(id.to_owned(), leg(id));
            }
        }
        if asked {
            // The program itself may ask for it, and is told of what was cancelled.
            let (status, said) = ask(&world, HOST, "DELETE", "/v2/orders", "").await;
            let told = json!([{"id": "leg-loss", "status": 204}, {"id": "leg-profit", "status": 204}]);
            assert_eq!((status, said), (207, told));
        } else {
            world.gateway.call(GateOp::Detach { sandbox: world.sandbox.clone() }).await.unwrap();
        }
        let open = |broker: &Broker| broker.books().orders.values().filter(|order| order["status"] == "new").count();
        for _ in 0..500 {
            if open(&broker) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(open(&broker), 0, "{:?}", broker.books().orders);
    }
}

#[tokio::test]
async fn a_new_gateway_cancels_what_an_end_that_it_never_heard_of_left_open() {
    let (world, broker) = scene().await;
    let (_, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    let id = order["id"].as_str().unwrap();
    world.gateway.call(GateOp::Settle { living: vec![world.sandbox.clone()] }).await.unwrap();
    // What lives keeps its orders: the ledger and the broker have been brought together since.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_ne!(broker.books().orders[id]["status"], "canceled");
    world.gateway.call(GateOp::Settle { living: vec![] }).await.unwrap();
    for _ in 0..500 {
        if broker.books().orders[id]["status"] == "canceled" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is open: {:?}", broker.books().orders);
}

#[tokio::test]
async fn an_asset_id_and_a_replacement_are_judged_as_what_they_are() {
    let (world, broker) = scene().await;
    // 10,000 dollars are the limit: 101 shares at 100.01 are more, whatever the share is called.
    let big = ORDER.replace("1.0", "101").replace("AAPL", "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415");
    is_refused(&ask(&world, HOST, "POST", "/v2/orders", &big).await, "max_notional_per_order");
    let limit = r#"{"symbol":"aapl","qty":"50","side":"buy","type":"limit","limit_price":"99","time_in_force":"day"}"#;
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", limit).await;
    assert_eq!((status, &order["symbol"]), (200, &json!("AAPL")), "{order}");
    let id = order["id"].as_str().unwrap();
    let target = format!("/v2/orders/{id}");
    is_refused(&ask(&world, HOST, "PATCH", &target, r#"{"qty":"102"}"#).await, "max_notional_per_order");
    let (status, new) = ask(&world, HOST, "PATCH", &target, r#"{"qty":"60"}"#).await;
    assert_eq!((status, &new["qty"]), (200, &json!("60")), "{new}");
    assert_eq!(broker.trades().len(), 2);
}

#[tokio::test]
async fn a_stale_reference_stops_what_opens() {
    let (world, broker) = scene().await;
    broker.books().quote = (99.99, 100.01, "2012-01-03T15:00:00Z");
    is_refused(&ask(&world, HOST, "POST", "/v2/orders", ORDER).await, "max_reference_age_s");
    assert_eq!(broker.trades(), vec![]);
}

#[tokio::test]
async fn a_loop_of_orders_ends_at_the_throttle() {
    let (world, broker) = scene().await;
    let mut rules = std::collections::BTreeSet::new();
    // One a second, and on one connection: a busy machine is slower than ten orders, or ten handshakes, a second.
    let scope = TradeScope { account: None, sandbox: Some(world.sandbox.clone()) };
    let limits = [("max_messages_per_s".to_owned(), "1".to_owned())].into();
    let set = TradeAsked { by: By::Operator, op: TradeOp::SetLimits { scope, limits } };
    world.gateway.call(GateOp::Trade(set)).await.unwrap();
    let mut sender = sender(&world, HOST).await;
    for _ in 0..60 {
        let order = request(HOST, "POST", "/v2/orders", ORDER, "application/json");
        let (status, body) = read(sender.send_request(order).await.unwrap()).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert!([200, 403].contains(&status), "{status} {answer}");
        rules.extend(answer["rule"].as_str().map(str::to_owned));
    }
    assert!(rules.contains("max_messages_per_s"), "{rules:?}");
    // Five refusals in a row halt: once the throttle would let one through again, it is refused for that.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    is_refused(&ask(&world, HOST, "POST", "/v2/orders", ORDER).await, "trading_state");
    assert!(broker.books().orders.len() < 30, "{}", broker.books().orders.len());
}

/// Messages that are refused before the rules are asked.
const NONSENSE: [(&str, &str, &str); 3] = [
    (
        "POST",
        "/v2/orders",
        r#"{"symbol":"AAPL","qty":"1","qty":"2","side":"buy","type":"market","time_in_force":"day"}"#,
    ),
    ("POST", "/v2/orders", "no order"),
    ("POST", "/v2/wallets/transfers", "{}"),
];

#[tokio::test]
async fn nonsense_in_a_row_halts_as_refused_orders_do() {
    // In which the throttle is full again: it is another control's business.
    const FULL: Duration = Duration::from_secs(1);
    let (world, broker) = scene().await;
    let nonsense = async |n: usize, rule: &str| {
        let (method, target, body) = NONSENSE[n];
        is_refused(&ask(&world, HOST, method, target, body).await, rule);
    };
    for round in 0..2 {
        tokio::time::sleep(FULL).await;
        for n in [0, 1, 1, 0] {
            nonsense(n, "canonical_form").await;
        }
        // One that the venue takes ends the row: the control, in which as much nonsense halts nothing.
        assert_eq!(ask(&world, HOST, "POST", "/v2/orders", ORDER).await.0, 200, "round {round}");
    }
    tokio::time::sleep(FULL).await;
    // What only reads counts as little as where it is let through.
    for _ in 0..6 {
        is_refused(&ask(&world, HOST, "GET", "/v2/wallets", "").await, "endpoint_allow_list");
    }
    assert_eq!(ask(&world, HOST, "POST", "/v2/orders", ORDER).await.0, 200);
    for (n, rule) in [(0, "canonical_form"), (2, "endpoint_allow_list"), (1, "canonical_form")] {
        nonsense(n, rule).await;
    }
    for _ in 0..2 {
        nonsense(2, "endpoint_allow_list").await;
    }
    is_refused(&ask(&world, HOST, "POST", "/v2/orders", ORDER).await, "trading_state");
    assert_eq!(broker.trades().len(), 3);
}

#[tokio::test]
async fn another_price_of_a_leg_is_held_to_the_collar() {
    let (world, broker) = scene().await;
    let bracket = r#"{"symbol":"AAPL","qty":"10","side":"buy","type":"limit","limit_price":"100","time_in_force":"day",
        "order_class":"bracket","take_profit":{"limit_price":"110"},"stop_loss":{"stop_price":"95"}}"#;
    let leg = |id: &str, name: &str| json!({"id": id, "client_order_id": name, "symbol": "AAPL", "status": "held", "filled_qty": "0"});
    let legs = [leg("leg-profit", "of-the-venue-1"), leg("leg-loss", "of-the-venue-2")];
    broker.books().legs = json!(legs);
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", bracket).await;
    assert_eq!((status, &order["legs"][0]["id"]), (200, &json!("leg-profit")), "{order}");
    for leg in legs {
        let id = leg["id"].as_str().unwrap().to_owned();
        broker.books().orders.insert(id, leg);
    }
    let before = broker.trades().len();
    // Sold far below the market: a slip of the hand, or worse.
    for body in [r#"{"limit_price":"50"}"#, r#"{"limit_price":"50","stop_price":"50"}"#] {
        is_refused(&ask(&world, HOST, "PATCH", "/v2/orders/leg-profit", body).await, "price_collar_percent");
    }
    assert_eq!(broker.trades().len(), before, "nothing of it has left");
    // The controls: a price on the safe side, and a stop, which protects wherever it stands.
    for (leg, body) in [("leg-profit", r#"{"limit_price":"120"}"#), ("leg-loss", r#"{"stop_price":"60"}"#)] {
        let answer = ask(&world, HOST, "PATCH", &format!("/v2/orders/{leg}"), body).await;
        assert_eq!(answer.0, 200, "{body}: {}", answer.1);
    }
    assert_eq!(broker.trades().len(), before + 2);
}

#[tokio::test]
async fn drift_is_seen_while_nothing_of_ours_is_open() {
    async fn until(what: &str, mut is: impl FnMut() -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while !is() {
            assert!(tokio::time::Instant::now() < end, "{what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let (world, broker) = scene().await;
    let asked = |from: usize, target: &str| {
        broker.books().seen[from..].iter().any(|seen| seen.0 == "GET" && seen.1.starts_with(target))
    };
    let (status, order) = ask(&world, HOST, "POST", "/v2/orders", ORDER).await;
    assert_eq!(status, 200, "control: as long as nothing strange is there, orders are let through: {order}");
    let id = order["id"].as_str().unwrap();
    let filled = |order: &mut Value| {
        for (name, value) in [("status", "filled"), ("filled_qty", "1"), ("filled_avg_price", "100")] {
            order[name] = json!(value);
        }
    };
    broker.books().orders.get_mut(id).map(filled).unwrap();
    let by_id = format!("/v2/orders/{id}");
    let before = broker.books().seen.len();
    until("the gate hears that it is filled", || asked(before, &by_id)).await;
    // Nothing of ours is open from here on, and nobody asks for anything; somebody trades by hand.
    let foreign =
        json!({"id": "o-by-hand", "client_order_id": "by-hand", "symbol": "MSFT", "status": "new", "filled_qty": "0"});
    broker.books().orders.insert("o-by-hand".to_owned(), foreign);
    let before = broker.books().seen.len();
    until("the gate looks by itself", || asked(before, "/v2/orders?")).await;
    // It has read the answer before it asks for anything else.
    let before = broker.books().seen.len();
    until("and once more", || asked(before, "/v2/orders?")).await;
    is_refused(&ask(&world, HOST, "POST", "/v2/orders", ORDER).await, "trading_state");
    assert_eq!(broker.trades().len(), 1);
}

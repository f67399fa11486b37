//! Orders to Binance through the gate, at a testnet that checks signatures.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ringfence_model::api::{Exchange, PortSpec, SecretSigning, TradeModeRequest};
use ringfence_model::net::control::{GateAnswer, GateOp, SecretBinding, TradeAsked, TradeOp, TradeSaid, TradeScope};
use ringfence_model::trade::{AccountId, By, Mode};
use serde_json::{Value, json};

use crate::broker::Fate;
use crate::testnet::{HOST, ID, KEY, Testnet, UID, hex_hmac};
use crate::world::{LOOPBACK, Signer, World, host, read};

const LEAD: &str = "192.0.2.80:443";
const MARKET: &str = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.00100000";
const LIMIT: &str = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.10&price=49000";

struct Scene {
    world: World,
    testnet: Testnet,
    id: String,
    key: String,
}

fn account() -> AccountId {
    AccountId::parse(&format!("paper:binance:{UID}")).unwrap()
}

fn bound(placements: &[&str], sign: Option<SecretSigning>) -> SecretBinding {
    let placements = placements.iter().map(|place| (*place).to_owned()).collect();
    SecretBinding { hosts: vec![host(HOST)], ports: vec![PortSpec::One(443)], placements, sign }
}

/// What the operator does.
async fn operate(world: &World, op: TradeOp) -> TradeSaid {
    match world.gateway.call(GateOp::Trade(TradeAsked { by: By::Operator, op })).await.unwrap() {
        GateAnswer::Trade(said) => *said,
        other => panic!("{other:?}"),
    }
}

/// A sandbox with keys, in mode paper, whose operator has permitted crypto.
async fn scene() -> Scene {
    scene_with(SecretSigning::of(Exchange::Binance)).await.permitted().await
}

async fn scene_with(sign: SecretSigning) -> Scene {
    let signer = Signer::new();
    let testnet = Testnet::start(&signer).await;
    let world = World::new(&[&signer], &[(HOST, LOOPBACK)]).await;
    world.gateway.lead_to(Mode::Simulated, testnet.port);
    let paper = TradeModeRequest { mode: "paper".to_owned(), ..TradeModeRequest::default() };
    operate(&world, TradeOp::SetMode(paper)).await;
    world.secret("ID", ID, Some(bound(&["header:x-mbx-apikey"], None)), false).await;
    world.secret("KEY", KEY, Some(bound(&[], Some(sign))), false).await;
    let (id, key) = (world.placeholder("ID").await, world.placeholder("KEY").await);
    assert_eq!(world.resolve(HOST).await, (0, vec!["192.0.2.80".parse().unwrap()]), "the same in every mode");
    Scene { world, testnet, id, key }
}

impl Scene {
    async fn permitted(self) -> Self {
        let scope = TradeScope { account: Some(account()), sandbox: None };
        let limits = [("permitted_asset_classes".to_owned(), "crypto".to_owned())].into();
        operate(&self.world, TradeOp::SetLimits { scope, limits }).await;
        self
    }

    async fn sender(&self, name: &str) -> SendRequest<Full<Bytes>> {
        self.world.resolve(name).await;
        let root = self.world.authority();
        let stream = self.world.tls_to(LEAD.parse().unwrap(), name, &root, &["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// As a client of Binance signs it, with what it takes for the key.
    fn signed(&self, method: &str, path: &str, query: &str) -> Request<Full<Bytes>> {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let query = if query.is_empty() { format!("timestamp={time}") } else { format!("{query}&timestamp={time}") };
        let signature = hex_hmac(&self.key, &query);
        let (target, body) = match method {
            "POST" => (path.to_owned(), format!("{query}&signature={signature}")),
            _ => (format!("{path}?{query}&signature={signature}"), String::new()),
        };
        self.request(method, &target, &body)
    }

    fn request(&self, method: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
        let request =
            Request::builder().method(method).uri(target).header("host", HOST).header("x-mbx-apikey", &self.id);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(Full::from(body.to_owned())).unwrap()
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (u16, Value) {
        let (status, body) = read(self.sender(HOST).await.send_request(request).await.unwrap()).await;
        for secret in [ID, KEY] {
            assert!(!body.contains(secret), "{body}");
        }
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    async fn ask(&self, method: &str, path: &str, query: &str) -> (u16, Value) {
        self.send(self.signed(method, path, query)).await
    }

    async fn order(&self, query: &str) -> (u16, Value) {
        self.ask("POST", "/api/v3/order", query).await
    }
}

#[track_caller]
fn is_refused(answer: &(u16, Value), rule: &str) {
    assert_eq!((answer.0, &answer.1["code"], &answer.1["rule"]), (403, &json!(-2010), &json!(rule)), "{}", answer.1);
    assert!(answer.1["msg"].as_str().unwrap().starts_with("firewall: "), "{}", answer.1);
}

#[tokio::test]
async fn an_order_goes_out_in_the_gates_own_bytes_under_the_gates_signature() {
    let scene = scene().await;
    let (status, order) = scene.order(&format!("{MARKET}&newClientOrderId=x-TKT5PX2F0123456789")).await;
    assert_eq!((status, &order["status"]), (200, &json!("FILLED")), "{order}");
    let name = order["clientOrderId"].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("rf-{}-", scene.world.sandbox)) && name.len() <= 36, "{name}");
    let trades = scene.testnet.trades();
    let [(method, target)] = &trades[..] else { panic!("{trades:?}") };
    let wanted = format!(
        "/api/v3/order?symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.001&newClientOrderId={name}&newOrderRespType=FULL\
         &recvWindow=5000&timestamp="
    );
    assert!(method == "POST" && target.starts_with(&wanted), "{target}");
    assert!(
        scene.testnet.books().seen.iter().all(|seen| seen.3 || !seen.1.contains("signature=")),
        "all are signed well"
    );
    let decision =
        scene.world.decisions().await.into_iter().find(|one| one.request.as_deref() == Some("POST /api/v3/order"));
    let decision = decision.expect("it is recorded");
    assert_eq!((decision.verdict.as_str(), &decision.secrets[..]), ("allow", &["ID".to_owned(), "KEY".to_owned()][..]));
    assert_eq!(decision.signed.as_deref(), Some("binance"));
    // What the rules look at was asked with the key as well, and that was written down first.
    let asked = scene.world.decisions().await.into_iter().find(|one| {
        one.request.as_deref() == Some("GET /api/v3/account") && one.verdict == "allow" && one.number < decision.number
    });
    assert_eq!(asked.expect("it is recorded").secrets, decision.secrets);
    // In the order's own words, and by what the market says of it.
    let (_, told) = scene.ask("GET", "/api/v3/order", &format!("symbol=BTCUSDT&origClientOrderId={name}")).await;
    assert_eq!(told["orderId"], order["orderId"]);
    let chosen = scene.order(&format!("{MARKET}&newClientOrderId=mine-1")).await.1;
    assert_eq!(chosen["clientOrderId"], "mine-1");
}

#[tokio::test]
async fn an_order_that_waits_is_found_and_cancelled() {
    let scene = scene().await;
    let (status, order) = scene.order(LIMIT).await;
    assert_eq!((status, &order["status"]), (200, &json!("NEW")), "{order}");
    let (status, maker) = scene.order("symbol=BTCUSDT&side=BUY&type=LIMIT_MAKER&quantity=0.1&price=48000").await;
    assert_eq!((status, &maker["type"]), (200, &json!("LIMIT_MAKER")), "it stays one that only waits: {maker}");
    let (_, listed) = scene.ask("GET", "/api/v3/openOrders", "symbol=BTCUSDT").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let by_id = format!("symbol=BTCUSDT&orderId={}", order["orderId"]);
    let (status, cancelled) = scene.ask("DELETE", "/api/v3/order", &by_id).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("CANCELED")), "{cancelled}");
    let (status, cancelled) = scene.ask("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT").await;
    assert_eq!((status, &cancelled[0]["orderId"]), (200, &maker["orderId"]), "{cancelled}");
    assert!(!scene.testnet.trades().iter().any(|(_, target)| target.starts_with("/api/v3/openOrders")), "one by one");
    for _ in 0..200 {
        let open = scene.world.gateway.store().trade_open(account(), None).await.unwrap();
        if open.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the ledger has them open");
}

#[tokio::test]
async fn a_storm_of_tries_ends_in_one_order() {
    for fate in [Fate::TakenButSays(400), Fate::TakenButSays(504), Fate::TakenInSilence] {
        let scene = scene().await;
        scene.testnet.books().fates = vec![fate, Fate::Taken];
        scene.testnet.books().deaf = 6;
        let (status, said) = scene.order(&format!("{LIMIT}&newClientOrderId=x-TKT5PX2F1")).await;
        assert_eq!((status, &said["code"]), (502, &json!(-1006)), "{fate:?}: nobody knows: {said}");
        // Another time, another signature, another name by the library: the same order.
        for number in 2..6 {
            let (status, order) = scene.order(&format!("{LIMIT}&newClientOrderId=x-TKT5PX2F{number}")).await;
            match status {
                200 => assert_eq!(order["orderId"], 100, "{order}"),
                _ => is_refused(&(status, order), "no_self_trade"),
            }
            assert_eq!(scene.testnet.books().orders.len(), 1, "{fate:?}");
            if status == 200 {
                break;
            }
        }
        assert_eq!(scene.testnet.trades().len(), 1);
    }
}

#[tokio::test]
async fn an_order_that_never_arrived_and_one_that_was_refused_are_told_as_that() {
    let scene = scene().await;
    scene.testnet.books().fates = vec![Fate::Refused, Fate::Lost, Fate::Taken];
    let (status, said) = scene.order(MARKET).await;
    assert_eq!(
        (status, &said["code"], &said["rule"]),
        (400, &json!(-2010), &Value::Null),
        "the venue's own words: {said}"
    );
    let (status, said) = scene.order(MARKET).await;
    assert_eq!((status, &said["code"]), (502, &json!(-1006)), "{said}");
    assert_eq!(scene.testnet.books().orders.len(), 0);
}

#[tokio::test]
async fn by_no_request_does_money_leave_or_an_order_pass_unseen() {
    let scene = scene().await;
    for (method, path) in [
        ("POST", "/sapi/v1/capital/withdraw/apply"),
        ("POST", "/sapi/v1/asset/transfer"),
        ("POST", "/sapi/v1/margin/order"),
        ("GET", "/sapi/v1/capital/withdraw/history"),
        ("POST", "/api/v3/order/cancelReplace"),
        ("PUT", "/api/v3/order/amend/keepPriority"),
        ("POST", "/api/v3/orderList/oco"),
        ("POST", "/api/v3/orderList/otoco"),
        ("POST", "/api/v3/order/oco"),
        ("POST", "/api/v3/sor/order"),
        ("POST", "/api/v3/userDataStream"),
        ("POST", "/api/v3/order/"),
        ("POST", "/api//v3/order"),
        ("POST", "/api/v3/%6frder"),
        ("POST", "/api/v1/order"),
    ] {
        let answer = scene.ask(method, path, &format!("{MARKET}&coin=BTC")).await;
        is_refused(&answer, "endpoint_allow_list");
    }
    let (_, said) = scene.ask("POST", "/api/v3/order/cancelReplace", MARKET).await;
    assert!(said["msg"].as_str().unwrap().contains("cancel it, and send a new one"), "{said}");
    assert_eq!(scene.testnet.books().seen, vec![]);
}

#[tokio::test]
async fn what_has_two_readings_is_refused_and_reaches_nobody() {
    let scene = scene().await;
    for (target, body) in [
        ("/api/v3/order?quantity=0.001", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.001"),
        ("/api/v3/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.001&quantity=9"),
        ("/api/v3/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.001&quan%74ity=9"),
        ("/api/v3/order?symbol=BTCUSDT&side=BUY&type=MARKET", "quantity=1e1"),
        ("/api/v3/order?symbol=btcusdt&side=BUY&type=MARKET", "quantity=1"),
        ("/api/v3/order?symbol=BTCUSDT&side=BUY&type=MARKET&icebergQty=1", "quantity=1"),
    ] {
        let signature =
            hex_hmac(&scene.key, &format!("{}{body}", target.split_once('?').map_or("", |(_, query)| query)));
        let request = scene.request("POST", target, &format!("{body}&timestamp=1&signature={signature}"));
        is_refused(&scene.send(request).await, "canonical_form");
    }
    let json = format!("timestamp=1&signature={}", "0".repeat(64));
    let mut request = scene.request("POST", &format!("/api/v3/order?{json}"), r#"{"symbol":"BTCUSDT"}"#);
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    is_refused(&scene.send(request).await, "canonical_form");
    assert_eq!(scene.testnet.trades(), vec![]);
}

#[tokio::test]
async fn limits_hold_by_the_book_and_by_what_the_account_has() {
    let scene = scene().await;
    // 0.2 at the 50,010 that is asked, and the tenth more that a market may move by.
    let answer = scene.order(&MARKET.replace("0.00100000", "0.2")).await;
    is_refused(&answer, "max_notional_per_order");
    assert_eq!((&answer.1["limit"], &answer.1["observed"]), (&json!("10000"), &json!("11002.2")));
    let refused = scene.world.decisions().await.pop().unwrap();
    assert_eq!((refused.verdict.as_str(), refused.signed), ("refuse", None), "nobody has signed it");
    is_refused(&scene.order(&LIMIT.replace("49000", "56000")).await, "price_collar_percent");
    // There is 0.01 of it.
    let sell = |qty: &str| MARKET.replace("BUY", "SELL").replace("0.00100000", qty);
    is_refused(&scene.order(&sell("0.011")).await, "no_shorting");
    assert_eq!(scene.order(&sell("0.01")).await.0, 200);
    // Nobody offers: there is no price.
    scene.testnet.books().book = ("0.00000000", "0.00000000");
    is_refused(&scene.order(MARKET).await, "max_reference_age_s");
    assert_eq!(scene.testnet.trades().len(), 1);
}

#[tokio::test]
async fn crypto_is_traded_once_the_operator_permits_it_and_what_is_paid_in_dollars_alone() {
    let scene = scene_with(SecretSigning::of(Exchange::Binance)).await;
    let answer = scene.order(MARKET).await;
    is_refused(&answer, "permitted_asset_classes");
    assert_eq!((&answer.1["limit"], &answer.1["observed"]), (&json!("us_equity"), &json!("crypto")));
    let scene = scene.permitted().await;
    assert_eq!(scene.order(MARKET).await.0, 200);
    let answer = scene.order(&MARKET.replace("BTCUSDT", "LTCBTC")).await;
    is_refused(&answer, "permitted_symbols");
    assert!(answer.1["msg"].as_str().unwrap().contains("paid in BTC"), "{}", answer.1);
    is_refused(&scene.order(&MARKET.replace("BTCUSDT", "XYZUSDT")).await, "permitted_symbols");
    assert_eq!(scene.testnet.trades().len(), 1);
}

#[tokio::test]
async fn what_its_client_did_not_sign_is_not_signed_for_it() {
    let scene = scene().await;
    let plain = scene.request("POST", "/api/v3/order", &format!("{MARKET}&timestamp=1"));
    is_refused(&scene.send(plain).await, "credential_binding");
    let mut other = scene.signed("POST", "/api/v3/order", MARKET);
    other.headers_mut().insert("x-mbx-apikey", "a-key-of-its-own".parse().unwrap());
    is_refused(&scene.send(other).await, "credential_binding");
    assert_eq!(scene.testnet.books().seen, vec![]);
    // The market is read by anybody, and an account by whoever signs.
    let time = scene.request("GET", "/api/v3/time", "");
    assert_eq!(scene.send(time).await.0, 200);
    assert_eq!(scene.ask("GET", "/api/v3/account", "").await.1["uid"], UID);
    assert_eq!(scene.ask("POST", "/api/v3/order/test", MARKET).await, (200, json!({})));
}

#[tokio::test]
async fn the_rules_of_the_secret_hold_for_the_gate_too() {
    let sign = SecretSigning { paths: vec!["/api/v3/order".into()], ..SecretSigning::of(Exchange::Binance) };
    let scene = scene_with(sign).await.permitted().await;
    let (status, said) = scene.order(MARKET).await;
    assert_eq!((status, &said["rule"]), (403, &json!("max_reference_age_s")), "{said}");
    assert!(said["msg"].as_str().unwrap().contains("`KEY` does not sign `GET /api/v3/account`"), "{said}");
    let (status, said) = scene.ask("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT").await;
    assert_eq!((status, &said["error"]["code"]), (403, &json!("signing_not_allowed")), "{said}");
    assert_eq!(scene.testnet.trades(), vec![]);
}

#[tokio::test]
async fn an_order_of_somebody_else_is_not_there() {
    let scene = scene().await;
    let (_, own) = scene.order(MARKET).await;
    let theirs = json!({"symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "theirs", "status": "FILLED", "executedQty": "1",
        "cummulativeQuoteQty": "1", "updateTime": 1});
    scene.testnet.books().orders.insert(7, theirs);
    for path in ["/api/v3/allOrders", "/api/v3/myTrades"] {
        let (status, listed) = scene.ask("GET", path, "symbol=BTCUSDT").await;
        assert_eq!(
            (status, listed.as_array().unwrap().len(), &listed[0]["orderId"]),
            (200, 1, &own["orderId"]),
            "{listed}"
        );
    }
    for name in ["orderId=7", "origClientOrderId=theirs"] {
        let (status, said) = scene.ask("GET", "/api/v3/order", &format!("symbol=BTCUSDT&{name}")).await;
        assert_eq!((status, &said["code"]), (400, &json!(-2013)), "as of one that is not there: {said}");
        is_refused(&scene.ask("DELETE", "/api/v3/order", &format!("symbol=BTCUSDT&{name}")).await, "order_ownership");
    }
    assert_eq!(scene.testnet.trades().len(), 1);
}

#[tokio::test]
async fn in_another_mode_its_names_lead_nowhere() {
    let scene = scene().await;
    let mut request = scene.signed("POST", "/api/v3/order", MARKET);
    request.headers_mut().insert("host", "api.binance.com".parse().unwrap());
    scene.world.policy(json!({ "allow": [{ "host": "api.binance.com" }] })).await;
    let (status, said) = read(scene.sender("api.binance.com").await.send_request(request).await.unwrap()).await;
    is_refused(&(status, serde_json::from_str(&said).unwrap()), "environment_lock");
    scene.world.gateway.lead_to(Mode::Simulated, scene.testnet.port);
    let answer = scene.order(MARKET).await;
    is_refused(&answer, "environment_lock");
    assert!(answer.1["msg"].as_str().unwrap().contains("no simulated exchange"), "{}", answer.1);
    let until_ms = u64::MAX;
    scene.world.gateway.lead_to(Mode::Live { until_ms }, scene.testnet.port);
    is_refused(&scene.order(MARKET).await, "environment_lock");
}

#[tokio::test]
async fn a_sandbox_that_ends_has_its_orders_cancelled() {
    let scene = scene().await;
    let (_, order) = scene.order(LIMIT).await;
    let number = order["orderId"].as_u64().unwrap();
    scene.world.gateway.call(GateOp::Detach { sandbox: scene.world.sandbox.clone() }).await.unwrap();
    for _ in 0..200 {
        if scene.testnet.books().orders[&number]["status"] == "CANCELED" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is open: {:?}", scene.testnet.books().orders);
}

#[tokio::test]
async fn an_order_that_no_control_has_seen_halts_the_account() {
    let scene = scene().await;
    assert_eq!(scene.order(LIMIT).await.0, 200);
    let theirs = json!({"symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "theirs", "status": "NEW", "executedQty": "0",
        "cummulativeQuoteQty": "0", "updateTime": 1});
    scene.testnet.books().orders.insert(7, theirs);
    is_refused(&scene.order(MARKET).await, "trading_state");
}

#[tokio::test]
async fn the_operator_sees_what_it_holds_and_ends_everything() {
    let scene = scene().await;
    let (_, order) = scene.order(LIMIT).await;
    let TradeSaid::Positions(held) = operate(&scene.world, TradeOp::Positions { account: Some(account()) }).await
    else {
        panic!("positions are told")
    };
    let list: Vec<_> = held.accounts[0].positions.iter().map(|one| (one.symbol.as_str(), one.qty.as_str())).collect();
    assert_eq!(list, [("BTC/USDT", "0.01"), ("LTC/USDT", "5")], "{held:?}");
    let theirs = json!({"symbol": "LTCUSDT", "orderId": 7, "clientOrderId": "theirs", "status": "NEW", "executedQty": "0",
        "cummulativeQuoteQty": "0", "updateTime": 1});
    scene.testnet.books().orders.insert(7, theirs);
    let halt =
        TradeOp::Halt { scope: TradeScope::default(), reason: "enough".to_owned(), cancel: true, flatten: false };
    let TradeSaid::State(state) = operate(&scene.world, halt).await else { panic!("a state is told") };
    assert_eq!((state.accounts.len(), state.accounts[0].cancelled), (1, 1), "{state:?}");
    let books = scene.testnet.books().orders.clone();
    let status = |number: u64| books[&number]["status"].as_str().unwrap().to_owned();
    assert_eq!((status(order["orderId"].as_u64().unwrap()), status(7)), ("CANCELED".to_owned(), "CANCELED".to_owned()));
    is_refused(&scene.order(MARKET).await, "trading_state");
}

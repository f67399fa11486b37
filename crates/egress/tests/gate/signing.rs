//! Requests that the gate signs: a server that recomputes the signature from what it received says whether it is right.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use ring::hmac;
use ringfence_model::Project;
use ringfence_model::api::{Exchange, PortSpec, SecretSigning};
use ringfence_model::net::control::{GateOp, SecretBinding};

use crate::world::{LOOPBACK, Seen, Server, Signer, World, host, read};

const ID: &str = "the-real-name-of-the-key-0123456789";
const KEY: &str = "the-real-key-with-which-is-signed-0123456789";
/// Base64 of [`KEY`], which is how Kraken hands keys out.
const KRAKEN_KEY: &str = "dGhlLXJlYWwta2V5LXdpdGgtd2hpY2gtaXMtc2lnbmVkLTAxMjM0NTY3ODk=";

/// A sandbox with a key of an exchange, and that exchange's server.
struct Scene {
    world: World,
    server: Server,
    id: String,
    key: String,
}

fn bound(port: u16, placements: &[&str], sign: Option<SecretSigning>) -> SecretBinding {
    let placements = placements.iter().map(|place| (*place).to_owned()).collect();
    SecretBinding { hosts: vec![host("api.test")], ports: vec![PortSpec::One(port)], placements, sign }
}

async fn scene(sign: SecretSigning, place: &str, key: &str) -> Scene {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
    let world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    world.secret("ID", ID, Some(bound(server.port, &[place], None)), false).await;
    world.secret("KEY", key, Some(bound(server.port, &[], Some(sign))), false).await;
    let (id, key) = (world.placeholder("ID").await, world.placeholder("KEY").await);
    world.given("api.test").await;
    Scene { world, server, id, key }
}

async fn binance(paths: &[&str]) -> Scene {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    scene(SecretSigning { paths, ..SecretSigning::of(Exchange::Binance) }, "header:x-mbx-apikey", KEY).await
}

fn hex_hmac(key: &str, text: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes()))
}

impl Scene {
    /// What a client of Binance sends: signed with what it takes for the key.
    fn order(&self, path: &str, query: &str, body: &str) -> Request<Full<Bytes>> {
        let signature = hex_hmac(&self.key, &format!("{query}{body}"));
        let signed =
            if query.is_empty() { format!("signature={signature}") } else { format!("{query}&signature={signature}") };
        self.request("POST", &format!("{path}?{signed}"), &[("x-mbx-apikey", &self.id)], body)
    }

    fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(target).header("host", "api.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::from(body.to_owned())).unwrap()
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (u16, String) {
        let mut sender = self.world.http1(self.server.port, "api.test").await;
        read(sender.send_request(request).await.unwrap()).await
    }

    /// Sends what must be refused, and says why it was.
    async fn refused(&mut self, request: Request<Full<Bytes>>) -> (String, String) {
        let before = self.server.seen().len();
        let (status, body) = self.send(request).await;
        assert_eq!(status, 403, "{body}");
        assert_eq!(self.server.seen().len(), before, "it was not sent");
        let mut denials = self.world.denials();
        let denial = denials.pop().expect("it was told");
        assert!(denials.is_empty());
        (denial.reason.code().to_owned(), denial.message)
    }
}

/// As Binance does it: over the query without the signature, which is the last field, and the body. The time is not older
/// than a minute.
fn binance_accepts(seen: &Seen) {
    let query = seen.target.split_once('?').map_or("", |(_, query)| query);
    let (signed, signature) =
        query.rsplit_once("&signature=").or(query.strip_prefix("signature=").map(|s| ("", s))).expect("a signature");
    assert_eq!(signature, hex_hmac(KEY, &format!("{signed}{}", seen.body)), "{query}");
    assert!(!signed.contains("signature="), "{query}");
    let fields = signed.split('&').chain(seen.body.split('&'));
    let times: Vec<u64> = fields.filter_map(|field| field.strip_prefix("timestamp=")?.parse().ok()).collect();
    let [time] = times[..] else { panic!("{query}: {times:?}") };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(now.abs_diff(time.into()) < 60_000, "{time}");
    assert_eq!(seen.headers["x-mbx-apikey"], ID);
}

#[tokio::test]
async fn the_exchange_accepts_what_the_sandbox_could_not_sign() {
    let mut scene = binance(&[]).await;
    let order = scene.order("/api/v3/order", "symbol=LTCBTC&side=BUY&timestamp=1", "");
    let (status, answer) = scene.send(order).await;
    assert_eq!(status, 200, "{answer}");
    binance_accepts(&scene.server.seen()[0]);
    // The same in the body, as ccxt sends it.
    let form = "timestamp=1&symbol=LTCBTC&quantity=1";
    let body = format!("{form}&signature={}", hex_hmac(&scene.key, form));
    let headers = [("x-mbx-apikey", &*scene.id), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(scene.send(scene.request("POST", "/api/v3/order", &headers, &body)).await.0, 200);
    binance_accepts(&scene.server.seen()[1]);
    assert!(scene.world.denials().is_empty());
    let decision = scene.world.decisions().await.pop().unwrap();
    assert_eq!(decision.secrets, ["ID", "KEY"]);
    assert_eq!((decision.signed.as_deref(), &*decision.verdict), (Some("binance"), "allow"));
}

/// The control run: without the gate's signature, the server that accepts the others does not accept this one.
#[tokio::test]
#[should_panic(expected = "a signature")]
async fn what_is_not_signed_is_not_accepted() {
    let scene = binance(&[]).await;
    let request = scene.request("POST", "/api/v3/order?symbol=LTCBTC&timestamp=1", &[("x-mbx-apikey", &scene.id)], "");
    assert_eq!(
        scene.send(request).await.0,
        200,
        "an unsigned request passes as it is, with the name of the key put in"
    );
    binance_accepts(&scene.server.seen()[0]);
}

#[tokio::test]
async fn a_path_that_no_rule_names_is_refused_and_not_signed() {
    let mut scene = binance(&[]).await;
    let withdraw = "/sapi/v1/capital/withdraw/apply";
    let (code, message) = scene.refused(scene.order(withdraw, "coin=BTC&address=mine&timestamp=1", "")).await;
    assert_eq!(code, "signing_not_allowed");
    assert!(message.contains("`KEY`") && message.contains("--path"), "{message}");
    // Whatever a sandbox's policy allows beside: only who sets the secret says what it signs.
    let rule = serde_json::json!({"host": "api.test", "ports": [scene.server.port], "paths": [withdraw, "/**"]});
    scene.world.policy(serde_json::json!({"allow": [rule]})).await;
    assert_eq!(scene.refused(scene.order(withdraw, "coin=BTC&timestamp=1", "")).await.0, "signing_not_allowed");
    for spelling in ["/sapi/v1/capital/%77ithdraw/apply", "/api/v3/%2e%2e/x"] {
        let (code, _) = scene.refused(scene.order(spelling, "coin=BTC&timestamp=1", "")).await;
        assert!(["signing_not_allowed", "path_ambiguous"].contains(&&*code), "{code}");
    }
}

/// The policy of a sandbox narrows it, as it does for other secrets.
#[tokio::test]
async fn what_a_policy_leaves_out_is_not_signed() {
    let mut scene = binance(&[]).await;
    let rule = serde_json::json!({"host": "api.test", "ports": [scene.server.port], "paths": ["/api/v3/account"]});
    scene.world.policy(serde_json::json!({"allow": [rule]})).await;
    assert_eq!(scene.refused(scene.order("/api/v3/order", "timestamp=1", "")).await.0, "path_not_allowed");
    assert_eq!(scene.send(scene.order("/api/v3/account", "timestamp=1", "")).await.0, 200);
    binance_accepts(&scene.server.seen()[0]);
}

#[tokio::test]
async fn a_wildcard_does_not_name_the_path_by_which_money_leaves() {
    let withdraw = "/sapi/v1/capital/withdraw/apply";
    let mut scene = binance(&["/**"]).await;
    assert_eq!(scene.refused(scene.order(withdraw, "timestamp=1", "")).await.0, "signing_not_allowed");
    let order = scene.order("/sapi/v1/margin/order", "timestamp=1", "");
    assert_eq!(scene.send(order).await.0, 200);
    binance_accepts(&scene.server.seen()[0]);
    // The control run: where it is named, it is signed.
    let scene = binance(&[withdraw]).await;
    assert_eq!(scene.send(scene.order(withdraw, "timestamp=1", "")).await.0, 200);
    binance_accepts(&scene.server.seen()[0]);
}

#[tokio::test]
async fn only_methods_that_the_rule_names_are_signed() {
    let sign = SecretSigning { methods: vec!["GET".into()], ..SecretSigning::of(Exchange::Binance) };
    let mut scene = scene(sign, "header:x-mbx-apikey", KEY).await;
    assert_eq!(scene.refused(scene.order("/api/v3/order", "timestamp=1", "")).await.0, "signing_not_allowed");
    let mut request = scene.order("/api/v3/order", "timestamp=1", "");
    *request.method_mut() = hyper::Method::GET;
    assert_eq!(scene.send(request).await.0, 200);
    binance_accepts(&scene.server.seen()[0]);
}

/// However a query is written, the signature is over what is sent, and stands there once.
#[tokio::test]
async fn a_query_that_is_written_oddly_is_signed_as_it_is_sent() {
    let mut scene = binance(&[]).await;
    for query in [
        "symbol=A&signature=x&symbol=B&%73ignature=y&timestamp=1",
        "signature=&signature=&timestamp=1&a",
        "symbol=LTC+BTC&sym%62ol=%26&&=&timestamp=1",
        "%74imestamp=5&x=%20signature%3D1",
    ] {
        let (status, answer) = scene.send(scene.order("/api/v3/order", query, "a=1&signature=z")).await;
        assert_eq!(status, 200, "{query}: {answer}");
        let seen = scene.server.seen().pop().unwrap();
        assert!(!seen.target.contains("=x") || query.contains("x="), "{}", seen.target);
        assert_eq!(seen.body, "a=1");
        binance_accepts(&seen);
    }
    for query in ["timestamp=1&timestamp=2", "timestamp=1&time%73tamp=2"] {
        let (code, message) = scene.refused(scene.order("/api/v3/order", query, "")).await;
        assert_eq!((&*code, message.contains("more than once")), ("malformed", true), "{query}");
    }
    let twice = scene.order("/api/v3/order", "timestamp=1", "timestamp=2");
    assert_eq!(scene.refused(twice).await.0, "malformed");
}

#[tokio::test]
async fn the_placeholder_of_a_key_goes_nowhere() {
    let mut scene = binance(&[]).await;
    let key = scene.key.clone();
    for request in [
        scene.request("GET", "/api/v3/x", &[("x-mbx-apikey", &key)], ""),
        scene.request("GET", &format!("/api/v3/x?signature={key}"), &[], ""),
        scene.order("/api/v3/order", &format!("timestamp=1&note={key}"), ""),
        scene.order("/api/v3/order", "timestamp=1", &format!("note={key}")),
        scene.request("POST", "/api/v3/order", &[("x-mbx-apikey", &scene.id)], &format!("note={key}")),
    ] {
        assert_eq!(scene.refused(request).await.0, "placeholder_misplaced");
    }
    // In the place of the signature it is taken away like any other.
    let request =
        scene.request("GET", &format!("/api/v3/x?timestamp=1&signature={key}"), &[("x-mbx-apikey", &scene.id)], "");
    assert_eq!(scene.send(request).await.0, 200);
    binance_accepts(&scene.server.seen()[0]);
    assert!(!format!("{:?}", scene.server.seen()).contains(&key));
}

/// A signature of Binance does not cover the path: one that comes back could be used for another.
#[tokio::test]
async fn neither_the_signature_nor_the_key_comes_back() {
    let scene = binance(&[]).await;
    let form = "timestamp=1&note=x";
    let body = format!("{form}&signature={}", hex_hmac(&scene.key, form));
    let echoed = [("x-mbx-apikey", &*scene.id), ("authorization", "nothing")];
    assert_eq!(scene.send(scene.request("POST", "/api/v3/order", &echoed, &body)).await.0, 200);
    let seen = scene.server.seen().pop().unwrap();
    let signature = seen.target.rsplit_once("signature=").unwrap().1.to_owned();
    // The server says what it was sent: in the next request, the last signature stands in the body, and comes back as it is.
    let control = scene.send(scene.request("POST", "/api/v3/order", &[], &format!("before={signature}"))).await.1;
    assert!(control.contains(&signature), "the control run: an old signature is nothing that is looked for");
    let echo = scene.request("POST", "/api/v3/echo-target", &echoed, &body);
    let (_, answer) = scene.send(echo).await;
    let seen = scene.server.seen().pop().unwrap();
    let signature = seen.target.rsplit_once("signature=").unwrap().1;
    assert!(answer.contains("target=") && !answer.contains(signature), "{answer}");
    assert!(!answer.contains(KEY) && !answer.contains(ID), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_long_to_be_signed_is_refused() {
    let mut scene = binance(&[]).await;
    let long = "a=".to_owned() + &"1".repeat(256 << 10);
    let (code, message) = scene.refused(scene.order("/api/v3/order", "timestamp=1", &long)).await;
    assert_eq!(code, "limit_exceeded");
    assert!(message.contains("262144"), "{message}");
    // The control run: it passes where nothing is signed.
    assert_eq!(scene.send(scene.request("POST", "/api/v3/order", &[], &long)).await.0, 200);
}

fn nonce(seen: &Seen) -> u64 {
    let nonce = seen.body.split('&').find_map(|field| field.strip_prefix("nonce=")).expect("a nonce");
    // As Kraken does it: HMAC-SHA512 over the path and the SHA-256 of nonce and body, under the decoded key.
    let inner = ring::digest::digest(&ring::digest::SHA256, format!("{nonce}{}", seen.body).as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA512, KEY.as_bytes());
    let tag = hmac::sign(&key, &[seen.target.as_bytes(), inner.as_ref()].concat());
    let tag = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    assert_eq!(seen.headers["api-sign"], tag);
    assert_eq!(seen.headers["api-key"], ID);
    nonce.parse().expect("a number")
}

/// Whatever a sandbox sends, also the same again: each request has a number that none had before.
#[tokio::test]
async fn nonces_are_the_gate_s_and_grow() {
    let mut scene = scene(SecretSigning::of(Exchange::Kraken), "header:api-key", KRAKEN_KEY).await;
    let mut last = 0;
    for sent in ["1", "1", "99999999999999999", "18446744073709551615", "0"] {
        let headers = [("api-key", &*scene.id), ("api-sign", "mine")];
        let request = scene.request("POST", "/0/private/Balance", &headers, &format!("nonce={sent}&asset=XBT"));
        assert_eq!(scene.send(request).await.0, 200);
        let given = nonce(&scene.server.seen().pop().unwrap());
        assert!(given > last && given < 99_999_999_999_999_999, "{given} after {last}");
        last = given;
    }
    // A second secret of the same key counts on.
    scene.world.gateway.call(GateOp::RemoveSecret { project: Project::default(), name: "KEY".into() }).await.unwrap();
    let headers = [("api-key", &*scene.id), ("api-sign", "mine")];
    let request = scene.request("POST", "/0/private/Balance", &headers, "nonce=1");
    let (code, message) = scene.refused(request).await;
    assert_eq!(code, "placeholder_misplaced");
    assert!(message.contains("revoked"), "{message}");
    let sign = SecretSigning { paths: vec!["/0/private/Balance".into()], ..SecretSigning::of(Exchange::Kraken) };
    scene.world.secret("READER", KRAKEN_KEY, Some(bound(scene.server.port, &[], Some(sign))), false).await;
    scene.world.placeholder("READER").await;
    for request in ["nonce=1&asset=ETH", "nonce=1"] {
        let headers = [("api-key", &*scene.id), ("api-sign", "mine")];
        assert_eq!(scene.send(scene.request("POST", "/0/private/Balance", &headers, request)).await.0, 200);
        let given = nonce(&scene.server.seen().pop().unwrap());
        assert!(given > last, "{given} after {last}");
        last = given;
    }
    let request = scene.request("POST", "/0/private/Withdraw", &[("api-key", &scene.id), ("api-sign", "x")], "nonce=1");
    assert_eq!(scene.refused(request).await.0, "signing_not_allowed");
}

/// What Bybit and OKX want, in the same way.
#[tokio::test]
async fn bybit_and_okx_accept_it_too() {
    let bybit = scene(SecretSigning::of(Exchange::Bybit), "header:x-bapi-api-key", KEY).await;
    let headers = [
        ("x-bapi-api-key", &*bybit.id),
        ("x-bapi-sign", "mine"),
        ("x-bapi-timestamp", "1"),
        ("x-bapi-recv-window", "20000"),
        ("content-type", "application/json"),
    ];
    let body = r#"{"category":"spot","qty":"1"}"#;
    assert_eq!(bybit.send(bybit.request("POST", "/v5/order/create", &headers, body)).await.0, 200);
    let seen = bybit.server.seen().pop().unwrap();
    let time = &seen.headers["x-bapi-timestamp"];
    assert_ne!(time, "1");
    assert_eq!(seen.headers["x-bapi-sign"], hex_hmac(KEY, &format!("{time}{ID}20000{body}")));

    let okx = scene(SecretSigning::of(Exchange::Okx), "header:ok-access-key", KEY).await;
    okx.world
        .secret(
            "PASS",
            "the-real-passphrase",
            Some(bound(okx.server.port, &["header:ok-access-passphrase"], None)),
            false,
        )
        .await;
    let pass = okx.world.placeholder("PASS").await;
    let headers = [
        ("ok-access-key", &*okx.id),
        ("ok-access-sign", "mine"),
        ("ok-access-timestamp", "1"),
        ("ok-access-passphrase", &pass),
    ];
    assert_eq!(okx.send(okx.request("GET", "/api/v5/account/balance?ccy=BTC", &headers, "")).await.0, 200);
    let seen = okx.server.seen().pop().unwrap();
    let text = format!("{}GET/api/v5/account/balance?ccy=BTC", seen.headers["ok-access-timestamp"]);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), text.as_bytes());
    let tag = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    assert_eq!(seen.headers["ok-access-sign"], tag);
    assert_eq!(seen.headers["ok-access-passphrase"], "the-real-passphrase");
    assert_eq!(okx.world.decisions().await.pop().unwrap().secrets, ["ID", "KEY", "PASS"]);
}

#[tokio::test]
async fn two_keys_of_one_exchange_are_told_apart() {
    let mut scene = binance(&[]).await;
    let sign = SecretSigning::of(Exchange::Binance);
    let other = "another-real-key-with-which-is-signed-012345";
    scene.world.secret("OTHER", other, Some(bound(scene.server.port, &[], Some(sign.clone()))), false).await;
    scene.world.placeholder("OTHER").await;
    let (code, message) = scene.refused(scene.order("/api/v3/order", "timestamp=1", "")).await;
    assert_eq!(code, "signing_not_allowed");
    assert!(message.contains("--key"), "{message}");
    for (name, value, key) in [("OTHER", other, "OTHER_ID"), ("KEY", KEY, "ID")] {
        let sign = SecretSigning { key: Some(key.into()), ..sign.clone() };
        scene.world.secret(name, value, Some(bound(scene.server.port, &[], Some(sign))), true).await;
    }
    assert_eq!(scene.send(scene.order("/api/v3/order", "timestamp=1", "")).await.0, 200);
    binance_accepts(&scene.server.seen()[0]);
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_when_it_is_set() {
    let scene = scene(SecretSigning::of(Exchange::Kraken), "header:api-key", KRAKEN_KEY).await;
    let set = |binding, rotate| scene.world.try_secret("KEY", "this is not base64", binding, rotate);
    let error = set(None, true).await.unwrap_err();
    assert!(error.message.contains("base64"), "{}", error.message);
    let sign = SecretSigning::of(Exchange::Coinbase);
    let error = set(Some(bound(1, &[], Some(sign))), true).await.unwrap_err();
    assert!(error.message.contains("private key"), "{}", error.message);
}

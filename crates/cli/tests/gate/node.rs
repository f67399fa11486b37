//! Clients of Node: told nothing of the gate, and given no key.

use std::time::Duration;

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ExecutionStatus, SecretSetRequest};
use serde_json::json;

use crate::{
    common,
    scene::{NAMES, Scene},
};

const API: &str = NAMES[0];
const STREAM: &str = NAMES[1];
const OTHER: &str = NAMES[2];

const KEY: &str = "PKCANARY4D6A1F0B8E2C";
const SECRET: &str = "canary5f8b2d7e1a9c4036secretofnode";

/// Stores a key and a secret that may go where Alpaca's clients put them, at these ports alone.
async fn store(scene: &Scene, ports: [u16; 2]) {
    for (name, value, header, field) in [
        ("BROKER_KEY", KEY, "header:APCA-API-KEY-ID", "frame:key"),
        ("BROKER_SECRET", SECRET, "header:APCA-API-SECRET-KEY", "frame:secret"),
    ] {
        let request: SecretSetRequest = serde_json::from_value(json!({
            "name": name, "value": value, "rotate": false,
            "hosts": [API, STREAM], "ports": ports, "placements": [header, field],
        }))
        .expect("a request");
        scene.api.secret_set(Actor::Operator, request).await.expect("it is stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_node_need_to_be_told_nothing_and_are_given_no_key() {
    common::template("node").await;
    let scene = Scene::of(&["node"]).await;
    let api = scene.serve(API).await;
    let (stream, mut said) = scene.serve_websockets(STREAM).await;
    store(&scene, [api, stream]).await;
    let sandbox = scene.create_from("node", json!("none"), &["BROKER_KEY", "BROKER_SECRET"]).await;
    let code = format!(
        r#"
const https = require("https");
const axios = require("axios");
const WebSocket = require("ws");
const Alpaca3 = require("@alpacahq/alpaca-trade-api");
const {{ Alpaca: Alpaca4, trading }} = require("@alpacahq/alpaca-trade-api-v4");
const {{ BROKER_KEY: key, BROKER_SECRET: secret }} = process.env;
if (Object.keys(process.env).some((name) => /proxy|CERT|EXTRA_CA/i.test(name))) throw new Error("it was told something");
const base = "https://{API}:{api}";
const headers = {{ "APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret }};
const why = (error) => error.cause?.code || error.code || error.message;
// What was sent comes back with the placeholders, the values being masked.
const mine = (head) => head.includes(key) && head.includes(secret);

const fetched = await fetch(base + "/v2/account", {{ headers }});
console.log("fetch", fetched.status, mine((await fetched.json()).head));
const asked = await new Promise((resolve, reject) => https.get(base + "/v2/clock", {{ headers }}, resolve).on("error", reject));
let head = "";
for await (const chunk of asked) head += chunk;
console.log("https", asked.statusCode, mine(head));
const got = await axios.get(base + "/v2/account", {{ headers }});
console.log("axios", got.status, mine(got.data.head));
const account3 = await new Alpaca3({{ keyId: key, secretKey: secret, baseUrl: base }}).getAccount();
console.log("alpaca 3", account3.account_number, mine(account3.head));
const alpaca4 = new Alpaca4({{ keyId: key, secret, retry: false }});
const accounts = new trading.AccountsApi(new trading.Configuration({{ keyId: key, secret, basePath: base }}));
console.log("alpaca 4", (await accounts.getAccount()).accountNumber);

const url = "wss://{STREAM}:{stream}/v2/iex";
const opened = new WebSocket(url);
opened.on("open", () => opened.send(JSON.stringify({{ action: "auth", key, secret }})));
await new Promise((resolve) => {{ let heard = 0; opened.on("message", () => {{ if (++heard === 2) resolve(); }}); opened.on("error", resolve); }});
console.log("ws", opened.readyState === WebSocket.OPEN);
opened.close();
const native = new globalThis.WebSocket(url);
await new Promise((resolve) => {{ native.onopen = resolve; native.onerror = resolve; }});
native.send(JSON.stringify({{ action: "auth", key, secret }}));
await new Promise((resolve) => {{ let heard = 0; native.onmessage = () => {{ if (++heard === 2) resolve(); }}; }});
console.log("WebSocket", native.readyState === 1);
native.close();
const stream3 = new Alpaca3({{ keyId: key, secretKey: secret, dataStreamUrl: "https://{STREAM}:{stream}" }}).data_stream_v2;
await new Promise((resolve) => {{ stream3.onConnect(resolve); stream3.onError(resolve); stream3.connect(); }});
console.log("alpaca 3 stream");
const stream4 = alpaca4.marketData.stockStream({{ feed: "iex", url }});
stream4.connect();
console.log("alpaca 4 stream", (await stream4.whenAuthenticated()).authenticated);

const refused = [fetch("https://{OTHER}:{api}/"), axios.get("https://{OTHER}:{api}/"), fetch("https://1.1.1.1/")];
for (const each of await Promise.allSettled(refused)) console.log("refused", each.status);
// A placeholder goes nowhere else.
console.log("body", (await fetch(base + "/v2/orders", {{ method: "POST", body: secret }})).status);
console.log("query", (await fetch(base + "/v2/orders?s=" + secret)).status);
process.exit(0); // the streams would connect again
"#
    );
    let run = scene.code(&sandbox, &code).await;
    let expected = "fetch 200 true\nhttps 200 true\naxios 200 true\nalpaca 3 PA42 true\nalpaca 4 PA42\nws true\nWebSocket true\n\
                    alpaca 3 stream\nalpaca 4 stream true\nrefused rejected\nrefused rejected\nrefused rejected\nbody 403\n\
                    query 403\n";
    assert_eq!((run.status, run.output.as_str()), (ExecutionStatus::Completed, expected), "{}", run.stderr);
    let denied: Vec<&str> = run.denials.iter().map(|denial| denial.destination.as_str()).collect();
    assert!(denied.iter().any(|name| name.starts_with(OTHER)), "{denied:?}");
    assert!(run.denials.iter().all(|denial| !denial.reason.is_empty()), "{:?}", run.denials);
    // The server had the values themselves, in JSON and in msgpack.
    for client in ["ws", "WebSocket", "alpaca 3", "alpaca 4"] {
        let first = tokio::time::timeout(Duration::from_secs(5), said.recv()).await.expect(client).expect(client);
        let has = |value: &str| first.windows(value.len()).any(|part| part == value.as_bytes());
        assert!(has(KEY) && has(SECRET), "{client}: {}", String::from_utf8_lossy(&first));
    }
    assert!(!run.output.contains(SECRET) && !run.stderr.contains(SECRET));
}

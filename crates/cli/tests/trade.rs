//! Trading as a program in a sandbox meets it: Alpaca's own clients, unmodified, at the simulated exchange. What has happened is
//! judged by the exchange's own record.

mod common;
#[path = "gate/scene.rs"]
mod scene;
#[path = "gate/websocket.rs"]
mod websocket;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    SandboxId,
    api::{Actor, CreateRequest, EnvVars, SandboxRequest},
};
use serde_json::Value;

use crate::scene::Scene;

/// What every program begins with: keys as a user has them, and no word of a proxy.
const BEGIN: &str = r#"
import os, time
assert not [name for name in os.environ if "proxy" in name.lower() or "BASE_URL" in name]
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import *
from alpaca.trading.enums import *
KEY, SECRET = os.environ["APCA_API_KEY_ID"], os.environ["APCA_API_SECRET_KEY"]
client = TradingClient(KEY, SECRET, paper=True)
def say(*words): print(*words, flush=True)
def market(symbol, qty, side=OrderSide.BUY, **more):
    return client.submit_order(MarketOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force=TimeInForce.DAY, **more))
def limit(symbol, qty, price, side=OrderSide.BUY, **more):
    more = {"time_in_force": TimeInForce.DAY, **more}
    return client.submit_order(LimitOrderRequest(symbol=symbol, qty=qty, side=side, limit_price=price, **more))
def until(order, *statuses):
    for _ in range(300):
        found = client.get_order_by_id(order.id)
        if found.status.value in statuses: return found
        time.sleep(0.1)
    raise SystemExit(f"the order is {found.status.value}")
"#;

/// A key that is nobody's.
fn keys() -> EnvVars {
    let pair = [
        ("APCA_API_KEY_ID", "PKANYKEYATALL0123456"),
        ("APCA_API_SECRET_KEY", "anySecretOf40LettersAndDigits0123456789a"),
    ];
    EnvVars::new(pair.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>())
}

async fn trader(scene: &Scene) -> SandboxId {
    let request = CreateRequest { template: "python".into(), env_vars: keys(), ..CreateRequest::default() };
    scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id
}

/// What the exchange itself says, asked past the gate, as root may.
fn venue(home: &Path, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(home.join("run/venue/api.sock")).expect("the exchange listens");
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: paper-api.alpaca.markets\r\nAPCA-API-KEY-ID: x\r\nAPCA-API-SECRET-KEY: y\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Every order that the exchange has, as it records them.
fn record(home: &Path) -> Vec<Value> {
    let (status, orders) = venue(home, "GET", "/v2/orders?status=all&limit=500&nested=true", "");
    assert_eq!(status, 200, "{orders}");
    orders.as_array().expect("a list").clone()
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come to be");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpaca_py_trades_at_the_simulated_exchange() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}
account, clock = client.get_account(), client.get_clock()
say(account.status.value, account.equity, clock.timestamp.date(), clock.is_open)
bought = until(market("AAPL", 10), "filled")
say(bought.filled_qty, 300 < float(bought.filled_avg_price) < 500, bought.client_order_id[:3])
position = client.get_open_position("AAPL")
say(position.qty, position.side.value)
low = limit("MSFT", 5, 25.00)
new = client.replace_order_by_id(low.id, ReplaceOrderRequest(qty=6))
say(new.qty, client.get_order_by_id(low.id).status.value, len(client.get_orders()))
client.cancel_order_by_id(new.id)
say(until(new, "canceled").status.value)
closed = client.close_position("AAPL")
say(until(closed, "filled").side.value, len(client.get_all_positions()))
try:
    market("AAPL", 1000)
except APIError as error:
    say(error.status_code, error.code, error.message.split(":")[1].strip())
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(
        run.output,
        "ACTIVE 100000 2012-01-03 True\n10 True rf-\n10 long\n6 replaced 1\ncanceled\nsell 0\n403 40310000 max_notional_per_order\n",
        "{}",
        run.stderr
    );
    let orders = record(&scene.home);
    assert_eq!(orders.len(), 4, "{orders:?}");
    assert!(orders.iter().all(|order| order["client_order_id"].as_str().is_some_and(|id| id.starts_with("rf-"))));
    // The key that was given is nowhere but with the gate.
    assert!(!scene.memory_of("ringfence-venue", b"anySecretOf40LettersAndDigits0123456789a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_is_deleted_leaves_no_open_order() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let code = format!("{BEGIN}\nfor n in range(5): limit('MSFT', 1, 20 + n)\nsay(len(client.get_orders()))");
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "5\n", "{}", run.stderr);
    let open = |home: &Path| {
        record(home).iter().filter(|order| order["status"] == "new" || order["status"] == "accepted").count()
    };
    assert_eq!(open(&scene.home), 5);
    let request = SandboxRequest { sandbox_id: sandbox.to_string() };
    scene.api.delete(Actor::Agent, request).await.expect("it is deleted");
    eventually("the end of its orders", || open(&scene.home) == 0).await;
    assert!(record(&scene.home).iter().all(|order| order["status"] == "canceled"));
}

//! What becomes of orders when a part of the installation ends under them: an exchange that cannot start again, and a `serve` that is
//! killed. Judged by the exchange's own record and the gate's own ledger.

mod common;
#[path = "gate/exchange.rs"]
mod exchange;
#[path = "recovery/patience.rs"]
mod patience;
#[path = "trade_ends/points.rs"]
mod points;
#[path = "gate/scene.rs"]
mod scene;
#[path = "recovery/tracer.rs"]
mod tracer;
#[path = "gate/websocket.rs"]
mod websocket;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use ringfence_engine::api::{Sandboxes, Trading};
use ringfence_model::{
    SandboxId,
    api::{Actor, CreateRequest, SandboxRequest, TradeStatusRequest},
};
use serde_json::{Value, json};

use crate::{exchange::venue, scene::Scene};

/// Requests as they are, without a client that tries again.
const RAW: &str = r#"
import json, os, time, requests
HEAD = {"APCA-API-KEY-ID": "any", "APCA-API-SECRET-KEY": "any", "Content-Type": "application/json"}
def raw(method, path, body=None, host="paper-api.alpaca.markets"):
    begun = time.monotonic()
    answer = requests.request(method, f"https://{host}{path}", headers=HEAD, data=body, timeout=120)
    return answer.status_code, answer.json() if answer.content else None, time.monotonic() - begun
def order(**fields):
    return json.dumps({"symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit", "limit_price": "5", "time_in_force": "day", **fields})
"#;

async fn trader(scene: &Scene) -> SandboxId {
    let hosts = ["paper-api.alpaca.markets", "data.alpaca.markets"].map(|host| json!({"host": host}));
    let network = serde_json::from_value(json!({"allow": hosts})).expect("a policy");
    let request = CreateRequest { template: "python".into(), network: Some(network), ..CreateRequest::default() };
    scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id
}

/// Every order that the exchange has, as it records them.
fn record(home: &Path) -> Vec<Value> {
    let (status, orders) = venue(home, "GET", "/v2/orders?status=all&limit=500", "");
    assert_eq!(status, 200, "{orders}");
    orders.as_array().expect("a list").clone()
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(90);
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come to be");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn kill(scene: &Scene, role: &str) -> i32 {
    let pid = scene.role(role).expect("it is played");
    let done = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(done.success());
    pid
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_cannot_start_is_said_at_once_and_in_alpacas_words() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let before = scene
        .run(&sandbox, &format!("{RAW}\nprint(raw('POST', '/v2/orders', order(client_order_id='first'))[0])"))
        .await;
    assert_eq!(before.output, "200\n", "{}", before.stderr);
    // Its journal becomes one that it does not read.
    let dir = scene.home.join("venue");
    let files = || std::fs::read_dir(&dir).expect("its directory").flatten().map(|entry| entry.path());
    let journal =
        files().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-")));
    let journal = journal.expect("a journal");
    let good = std::fs::read(&journal).expect("root reads it");
    let damaged: Vec<u8> = b"no record\n".iter().copied().chain(good.iter().copied()).collect();
    std::fs::write(&journal, damaged).expect("root writes it");
    kill(&scene, "ringfence-venue");
    let code = format!(
        r#"{RAW}
for method, path, body, host in [
    ("POST", "/v2/orders", order(client_order_id="second"), "paper-api.alpaca.markets"),
    ("GET", "/v2/account", None, "paper-api.alpaca.markets"),
    ("GET", "/v2/stocks/AAPL/bars?timeframe=1Day", None, "data.alpaca.markets"),
]:
    status, said, seconds = raw(method, path, body, host)
    print(status, sorted(said), said["message"], "quick" if seconds < 15 else seconds, flush=True)
"#
    );
    let run = scene.run(&sandbox, &code).await;
    let lines: Vec<&str> = run.output.lines().collect();
    assert_eq!(lines.len(), 3, "{}{}", run.output, run.stderr);
    for line in &lines {
        assert!(line.starts_with("502 ['code', 'message'] "), "{}", run.output);
        assert!(line.contains("the simulated exchange does not run") && line.ends_with(" quick"), "{}", run.output);
    }
    // What is right again is served again, and the order that was refused is nowhere.
    std::fs::write(&journal, good).expect("root writes it");
    let code = format!(
        r#"{RAW}
for n in range(60):
    status, said, _ = raw("POST", "/v2/orders", order(client_order_id="third"))
    if status == 200: break
    time.sleep(0.5)
print(status, said["status"])
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert!(run.output.starts_with("200 "), "{}{}", run.output, run.stderr);
    let names: Vec<Value> = record(&scene.home).iter().map(|order| order["client_order_id"].clone()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&json!("first")) && names.contains(&json!("third")), "{names:?}");
    let status = scene.api.trade_status(Actor::Operator, TradeStatusRequest::default()).await.expect("it is told");
    assert_eq!(status.accounts.iter().map(|account| account.amounts.orders).sum::<u32>(), 2, "{status:#?}");
}

/// Orders one after the other, each under a name of its own; what was taken is on disk before the next one.
const TRAFFIC: &str = r#"
log = open("taken.txt", "a")
for n in range(10000):
    name = f"traffic-{ROUND}-{n}"
    try:
        status, said, _ = raw("POST", "/v2/orders", order(client_order_id=name))
        if status == 200:
            log.write(name + "\n"); log.flush(); os.fsync(log.fileno())
            print("taken", name, flush=True)
            raw("DELETE", f"/v2/orders/{said['id']}")
        else:
            print("refused", name, status, said, flush=True)
    except Exception as error:
        print("not", name, type(error).__name__, flush=True)
    time.sleep(0.2)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_serve_loses_no_order_and_doubles_none() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let mut taken_so_far = 0;
    for round in 0..3 {
        let running = scene.begin(&sandbox, &format!("ROUND = {round}\n{RAW}{TRAFFIC}")).await;
        running.says("taken traffic-", 5).await;
        // At another moment of the traffic each time.
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        let old = kill(&scene, "ringfence-serve");
        let home = scene.home.clone();
        eventually("another one in its place", || {
            scene.role("ringfence-serve").is_some_and(|new| new != old) && common::answers(&home)
        })
        .await;
        let request = SandboxRequest { sandbox_id: sandbox.to_string() };
        scene.api.resume(Actor::Agent, request).await.expect("it goes on with its files");
        let read = scene.run(&sandbox, "print(open('taken.txt').read(), end='')").await;
        let taken: Vec<&str> = read.output.lines().collect();
        assert!(taken.len() >= taken_so_far + 5, "{}{}", read.output, read.stderr);
        taken_so_far = taken.len();
        let recorded: Vec<String> = record(&scene.home)
            .iter()
            .map(|order| order["client_order_id"].as_str().expect("a name").to_owned())
            .collect();
        for name in &taken {
            assert_eq!(recorded.iter().filter(|one| one == name).count(), 1, "{name}: {recorded:?}");
        }
        let different: BTreeSet<&String> = recorded.iter().collect();
        assert_eq!(different.len(), recorded.len(), "no order is there twice");
        // At most the one that was on its way when the program died is there unheard.
        assert!(recorded.len() <= taken.len() + 1 + round as usize, "{recorded:?} {taken:?}");
    }
    eventually("the end of what was left", || record(&scene.home).iter().all(|order| order["status"] == "canceled"))
        .await;
    the_ledger_is_the_record(&scene, 0).await;
}

/// The counters are those of the exchange's record, in which no order is open, and of so many that were admitted and never got there; nothing
/// is reserved any more, and every order is accounted for. It stops the daemon.
async fn the_ledger_is_the_record(scene: &Scene, lost: usize) {
    let recorded = u32::try_from(record(&scene.home).len() + lost).expect("few");
    let begun = Instant::now();
    loop {
        let status = scene.api.trade_status(Actor::Operator, TradeStatusRequest::default()).await.expect("it is told");
        let amounts = status
            .accounts
            .iter()
            .find(|account| account.environment == "simulated")
            .expect("it traded")
            .amounts
            .clone();
        if (amounts.orders, amounts.open_orders, amounts.bought_pending.as_str()) == (recorded, 0, "0") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{recorded} orders: {amounts:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let home = scene.home.clone();
    assert!(common::ringfence(&home, &["stop"]).status.success());
    let key = ringfence_store::SealingKey::load_or_create(&home.join("gate/gate.key")).expect("the key");
    let store = ringfence_store::gate::GateStore::open(&home.join("gate/gate.db"), key).expect("the ledger");
    assert_eq!(store.trade_check().await.expect("it is read"), Vec::<String>::new());
    let open = store.trade_unresolved().await.expect("it is read");
    assert!(open.is_empty(), "every order is accounted for: {open:?}");
}

/// What the exchange says to root.
fn asked(home: &Path, target: &str) -> Value {
    let mut stream = UnixStream::connect(home.join("run/venue/api.sock")).expect("the exchange listens");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: paper-api.alpaca.markets\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON")
}

/// Alpaca's own clients, with a key that is nobody's.
const SDK: &str = r#"
import threading, time
from datetime import datetime
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.stream import TradingStream
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.live import StockDataStream
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
client = TradingClient("any", "any", paper=True)
def say(*words): print(*words, flush=True)
def buy(qty):
    order = client.submit_order(MarketOrderRequest(symbol="AAPL", qty=qty, side="buy", time_in_force="day"))
    while order.status.value != "filled":
        time.sleep(0.1)
        order = client.get_order_by_id(order.id)
    return order
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_trades_in_the_account_and_at_the_time_that_were_chosen() {
    let scene = Scene::new().await;
    let create = |trading: Value| {
        let hosts = ["paper-api.alpaca.markets", "data.alpaca.markets", "stream.data.alpaca.markets"];
        let allow: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        let request = json!({"template": "python", "network": {"allow": allow}, "trading": trading});
        let request: CreateRequest = serde_json::from_value(request).expect("a request");
        let api = scene.api.clone();
        async move { api.create(Actor::Agent, request, None).await }
    };
    let choice = json!({"account": "alpha", "start": "2012-06-01T10:00:00-04:00", "speed": 2});
    let made = create(choice).await.expect("a sandbox");
    let chosen = made.trading.expect("it is told");
    assert!(chosen.opened && chosen.account == "alpha" && chosen.account_id.starts_with("sim:"), "{chosen:?}");
    let clock = chosen.clock.expect("a clock");
    assert!(clock.now.as_deref().is_some_and(|now| now.starts_with("2012-06-01T")), "{clock:?}");
    assert_eq!(clock.speed.as_deref(), Some("2"));
    let code = format!(
        r#"{SDK}
trading, data = TradingStream("any", "any", paper=True), StockDataStream("any", "any")
seen = threading.Event()
async def update(update): say("update", update.event.value if hasattr(update.event, "value") else update.event)
async def quote(quote):
    if not seen.is_set():
        say("quote", quote.timestamp.date())
        seen.set()
trading.subscribe_trade_updates(update)
data.subscribe_quotes(quote, "AAPL")
for stream in (trading, data): threading.Thread(target=stream.run, daemon=True).start()
time.sleep(3)
say("clock", client.get_clock().timestamp.date(), buy(2).filled_at.date())
bars = StockHistoricalDataClient("any", "any").get_stock_bars(StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day, start=datetime(2012, 5, 25)))
say("bars", max(bar.timestamp for bar in bars["AAPL"]).date())
assert seen.wait(60)
time.sleep(1)
"#
    );
    let run = scene.run(&made.sandbox_id, &code).await;
    for line in ["clock 2012-06-01 2012-06-01", "bars 2012-06-01", "quote 2012-06-01", "update fill"] {
        assert!(run.output.lines().any(|one| one == line), "{line}: {}{}", run.output, run.stderr);
    }
    assert_eq!(record(&scene.home), Vec::<Value>::new(), "the default account has nothing of it");
    assert_eq!(asked(&scene.home, "/ringfence/v1/accounts/alpha")["orders"], 1);
    // Another gateway knows it as well.
    let old = kill(&scene, "ringfence-gateway");
    eventually("another one in its place", || scene.role("ringfence-gateway").is_some_and(|new| new != old)).await;
    let again = format!("{SDK}\nsay(buy(1).filled_at.date(), client.get_open_position('AAPL').qty)");
    eventually("an answer", || common::answers(&scene.home)).await;
    let run = scene.run(&made.sandbox_id, &again).await;
    assert_eq!(run.output, "2012-06-01 3\n", "{}", run.stderr);
    // Who names the same account shares it; its clock moves forward and never back.
    let other = create(json!({"account": "alpha"})).await.expect("a sandbox");
    assert!(!other.trading.expect("it is told").opened);
    let run = scene.run(&other.sandbox_id, &format!("{SDK}\nsay(client.get_open_position('AAPL').qty)")).await;
    assert_eq!(run.output, "3\n", "{}", run.stderr);
    let before = scene.api.list(Actor::Agent, Default::default()).await.expect("a list").sandboxes;
    let refused = create(json!({"account": "alpha", "start": "2012-05-01"})).await.expect_err("it does not go back");
    assert!(refused.message.contains("`trading`") && refused.message.contains("refused"), "{refused}");
    let alive = |all: &[ringfence_model::api::SandboxSummary]| {
        all.iter().filter(|one| one.status == ringfence_model::api::SandboxStatus::Running).count()
    };
    let after = scene.api.list(Actor::Agent, Default::default()).await.expect("a list").sandboxes;
    assert_eq!(alive(&after), alive(&before), "it left no sandbox");
    for (wrong, word) in [
        (json!({"account": "../default"}), "`trading.account`"),
        (json!({"account": "a b"}), "`trading.account`"),
        (json!({"speed": -1}), "`trading.speed`"),
        (json!({"account": "beta", "speed": 1e30}), "`trading`"),
        (json!({"account": "beta", "start": "yesterday"}), "`trading`"),
    ] {
        let refused = create(wrong.clone()).await.expect_err("refused");
        assert!(refused.message.contains(word), "{wrong}: {refused}");
    }
    // Without a name, one of its own.
    let own = create(json!({"start": "2012-02-01T11:00:00-05:00"})).await.expect("a sandbox");
    assert_eq!(own.trading.expect("it is told").account, own.sandbox_id.to_string());
    let run = scene
        .run(&own.sandbox_id, &format!("{SDK}\nsay(client.get_clock().timestamp.date(), client.get_all_positions())"))
        .await;
    assert_eq!(run.output, "2012-02-01 []\n", "{}", run.stderr);
    let mode = ringfence_model::api::TradeModeRequest { mode: "paper".into(), ..Default::default() };
    scene.api.trade_mode_set(Actor::Operator, mode).await.expect("the operator may");
    let refused = create(json!({"account": "alpha"})).await.expect_err("not in this mode");
    assert!(refused.message.contains("the mode of trading is paper"), "{refused}");
}

/// A program of `clients/inside` in a sandbox with a package of PyPI, unmodified, and keys that are nobody's under the client's own names.
async fn client_in_a_sandbox(package: &str, keys: [&str; 2], program: &str) -> (Scene, String) {
    let scene = Scene::new().await;
    let values = ["PKANYKEYATALL0123456", "anySecretOf40LettersAndDigits0123456789a"];
    let env: serde_json::Map<String, Value> =
        keys.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let request = json!({"template": "python", "install_packages": [package], "env_vars": env});
    let request: CreateRequest = serde_json::from_value(request).expect("a request");
    let made = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox");
    let code = std::fs::read_to_string(common::clients().join("inside").join(program)).expect("beside the tests");
    let running = scene.begin(&made.sandbox_id, &code).await;
    let run = running.ends().await;
    assert_eq!(run.exit_code, Some(0), "{}{}", run.output, run.stderr);
    (scene, run.output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpacas_older_client_for_python_trades_in_a_sandbox() {
    if !common::is_long("Alpaca's older client") {
        return;
    }
    let keys = ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"];
    let (scene, output) = client_in_a_sandbox("alpaca-trade-api==3.2.0", keys, "legacy.py").await;
    assert_eq!(
        output,
        "ACTIVE 100000 True\n3 3\n1 21 1\ncanceled\nsell 0\n403 40310000\nTrue ['close', 'high'] 2012-01-03\nTrue True True\n\
         True ['canceled MSFT', 'fill AAPL', 'new AAPL', 'new MSFT', 'pending_new AAPL', 'pending_new MSFT', 'replaced MSFT']\n"
    );
    assert_eq!(record(&scene.home).len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpacas_mcp_server_trades_in_a_sandbox() {
    if !common::is_long("Alpaca's MCP server") {
        return;
    }
    let keys = ["ALPACA_API_KEY", "ALPACA_SECRET_KEY"];
    let (scene, output) = client_in_a_sandbox("alpaca-mcp-server==2.4.0", keys, "mcp_server.py").await;
    assert_eq!(output, "ACTIVE USD True\n2 AAPL long\n20\nsell\nTrue\nTrue\n");
    assert_eq!(record(&scene.home).len(), 3);
}

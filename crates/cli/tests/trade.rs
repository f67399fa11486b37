//! Trading as a program in a sandbox meets it: Alpaca's own clients, unmodified, at the simulated exchange. What has happened is
//! judged by the exchange's own record.

mod common;
#[path = "gate/exchange.rs"]
mod exchange;
#[path = "gate/scene.rs"]
mod scene;
#[path = "gate/websocket.rs"]
mod websocket;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use ringfence_engine::api::{Sandboxes, Trading};
use ringfence_model::{
    SandboxId,
    api::{Actor, CreateRequest, EnvVars, SandboxRequest, TradeStatusRequest},
};
use serde_json::Value;

use crate::{exchange::venue, scene::Scene};

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
    // The live host is allowed too: that it leads nowhere is not the network's doing.
    let network = serde_json::from_value(serde_json::json!({"allow": [{"host": "api.alpaca.markets"}]}));
    let network = Some(network.expect("a policy"));
    let request = CreateRequest { template: "python".into(), env_vars: keys(), network, ..CreateRequest::default() };
    scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id
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
        assert!(begun.elapsed() < Duration::from_secs(90), "{what} did not come to be");
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
    // The last one has traded, and its legs are what is open.
    let code = format!(
        r#"{BEGIN}
for n in range(5): limit("MSFT", 1, 20 + n)
bracket = client.submit_order(MarketOrderRequest(symbol="AAPL", qty=1, side="buy", time_in_force="day", order_class="bracket",
    take_profit=TakeProfitRequest(limit_price=440), stop_loss=StopLossRequest(stop_price=380)))
until(bracket, "filled")
say(len(client.get_orders()))
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "7\n", "{}", run.stderr);
    let open = |home: &Path| {
        let record = record(home);
        let legs = record.iter().filter_map(|order| order["legs"].as_array()).flatten();
        let all = record.iter().chain(legs);
        all.filter(|order| ["new", "accepted", "held"].iter().any(|state| order["status"] == *state)).count()
    };
    assert_eq!(open(&scene.home), 7);
    let request = SandboxRequest { sandbox_id: sandbox.to_string() };
    scene.api.delete(Actor::Agent, request).await.expect("it is deleted");
    eventually("the end of its orders", || open(&scene.home) == 0).await;
    let rest = record(&scene.home).into_iter().filter(|order| order["status"] != "canceled").count();
    assert_eq!(rest, 1, "the one that has traded");
}

/// Orders one after the other, each under a name of its own, and what was said of each.
const TRAFFIC: &str = r#"
for n in range(70):
    name = f"traffic-{n}"
    try:
        limit("MSFT", 1, 5, client_order_id=name)
        say("taken", name)
    except Exception as error:
        say("not", name, type(error).__name__, getattr(error, "message", "")[:60] if isinstance(error, APIError) else "")
    try:
        client.cancel_orders()
    except Exception:
        pass
    time.sleep(0.22)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_role_loses_no_order_and_doubles_none() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let running = scene.begin(&sandbox, &format!("{BEGIN}{TRAFFIC}")).await;
    running.says("taken traffic-", 3).await;
    for role in ["ringfence-gateway", "ringfence-venue", "ringfence-gateway", "ringfence-venue"] {
        let pid = scene.role(role).expect("it is played");
        let done = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
        assert!(done.success());
        eventually("another one in its place", || scene.role(role).is_some_and(|new| new != pid)).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let run = running.ends().await;
    let taken: Vec<&str> = run.output.lines().filter_map(|line| line.strip_prefix("taken ")).collect();
    assert!(taken.len() > 30, "{}{}", run.output, run.stderr);
    let names = |home: &Path| -> Vec<String> {
        let named = record(home).into_iter().map(|order| order["client_order_id"].as_str().expect("a name").to_owned());
        named.collect()
    };
    let recorded = names(&scene.home);
    for name in &taken {
        assert_eq!(recorded.iter().filter(|one| one == name).count(), 1, "{name}: {}", run.output);
    }
    let different: std::collections::BTreeSet<_> = recorded.iter().collect();
    assert_eq!(different.len(), recorded.len(), "no order is there twice");
    eventually("the end of what was left", || record(&scene.home).iter().all(|order| order["status"] == "canceled"))
        .await;
    // Of an order whose answer was lost it is found out within the minute whether the exchange has it.
    let begun = Instant::now();
    loop {
        let request = TradeStatusRequest::default();
        let status = scene.api.trade_status(Actor::Operator, request).await.expect("it is told");
        let account = status.accounts.iter().find(|account| account.environment == "simulated").expect("it traded");
        if (account.amounts.open_orders, account.amounts.bought_pending.as_str()) == (0, "0") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", account.amounts);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The ledger's own sums, once nobody writes to it.
    let home = scene.home.clone();
    assert!(common::ringfence(&home, &["stop"]).status.success());
    let key = ringfence_store::SealingKey::load_or_create(&home.join("gate/gate.key")).expect("the key");
    let store = ringfence_store::gate::GateStore::open(&home.join("gate/gate.db"), key).expect("the ledger");
    assert_eq!(store.trade_check().await.expect("it is read"), Vec::<String>::new());
    let open = store.trade_unresolved().await.expect("it is read");
    assert!(open.is_empty(), "every order is accounted for: {open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpaca_py_streams_fills_and_bars() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}
import threading
from alpaca.trading.stream import TradingStream
from alpaca.data.live import StockDataStream
trading, data = TradingStream(KEY, SECRET, paper=True), StockDataStream(KEY, SECRET)
seen, ready = [], threading.Event()
async def update(update):
    say("update", update.event.value if hasattr(update.event, "value") else update.event, update.order.symbol, update.qty)
async def quote(quote):
    if not ready.is_set():
        ready.set()
        say("quote", quote.symbol, quote.ask_price > quote.bid_price, quote.timestamp.year)
trading.subscribe_trade_updates(update)
data.subscribe_quotes(quote, "AAPL")
for stream in (trading, data):
    threading.Thread(target=stream.run, daemon=True).start()
time.sleep(3)
bought = until(market("AAPL", 3), "filled")
assert ready.wait(90)
time.sleep(1)
"#
    );
    let run = scene.run(&sandbox, &code).await;
    let lines: Vec<&str> = run.output.lines().collect();
    assert!(lines.contains(&"quote AAPL True 2012"), "{}{}", run.output, run.stderr);
    assert!(lines.iter().any(|line| line.starts_with("update new AAPL")), "{}{}", run.output, run.stderr);
    assert!(lines.iter().any(|line| line.starts_with("update fill AAPL 3")), "{}{}", run.output, run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_of_history_end_where_the_accounts_clock_is() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}
from datetime import datetime
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import *
from alpaca.data.timeframe import TimeFrame
data = StockHistoricalDataClient(KEY, SECRET)
bars = data.get_stock_bars(StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], timeframe=TimeFrame.Day, start=datetime(2011, 12, 1))).df
say(sorted(set(bars.index.get_level_values(0))), bars.index.get_level_values(1).max().date(), len(bars) > 40)
late = data.get_stock_bars(StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day, start=datetime(2012, 1, 4), end=datetime(2013, 1, 1)))
say(len(late.data.get("AAPL", [])))
quote = data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
say(quote.timestamp.date(), quote.ask_price > quote.bid_price > 0)
snapshot = data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="AAPL"))["AAPL"]
say(snapshot.latest_trade.price > 0, snapshot.daily_bar.timestamp.date())
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "['AAPL', 'MSFT'] 2012-01-03 True\n0\n2012-01-03 True\nTrue 2012-01-03\n", "{}", run.stderr);
}

/// Both of Alpaca's clients for Node, as their pages show them.
const NODE: &str = r#"
const Alpaca3 = require("@alpacahq/alpaca-trade-api");
const { Alpaca: Alpaca4 } = require("@alpacahq/alpaca-trade-api-v4");
const { APCA_API_KEY_ID: keyId, APCA_API_SECRET_KEY: secretKey } = process.env;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const until = async (ask, wanted) => {
  for (let round = 0; round < 200; round++) {
    const order = await ask();
    if (order.status === wanted) return order;
    await pause(100);
  }
  throw new Error(`not ${wanted}`);
};
const three = new Alpaca3({ keyId, secretKey, paper: true });
const account = await three.getAccount();
console.log("3", account.status, account.equity);
const bought = await three.createOrder({ symbol: "AAPL", qty: 2, side: "buy", type: "market", time_in_force: "day" });
console.log("3", (await until(() => three.getOrder(bought.id), "filled")).filled_qty, (await three.getPosition("AAPL")).qty);
const low = await three.createOrder({ symbol: "MSFT", qty: 1, side: "buy", type: "limit", limit_price: 20, time_in_force: "day" });
const higher = await three.replaceOrder(low.id, { limit_price: 21 });
await three.cancelOrder(higher.id);
console.log("3", (await until(() => three.getOrder(higher.id), "canceled")).limit_price, (await three.getClock()).is_open);
const four = new Alpaca4({ keyId, secret: secretKey, paper: true });
console.log("4", (await four.trading.account.getAccount()).status);
const sold = await four.trading.orders.market({ symbol: "AAPL", qty: 2, side: "sell" });
console.log("4", (await until(() => four.trading.orders.getOrderByOrderID({ orderId: sold.id }), "filled")).filledQty);
try {
  await three.createOrder({ symbol: "AAPL", qty: 5000, side: "buy", type: "market", time_in_force: "day" });
} catch (error) {
  console.log("3", error.response.status, error.response.data.rule);
}
process.exit(0);
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_clients_of_node_trade_at_the_simulated_exchange() {
    if !common::is_long("both clients of Node") {
        return;
    }
    common::template("node").await;
    let scene = Scene::of(&["node"]).await;
    let request = CreateRequest { template: "node".into(), env_vars: keys(), ..CreateRequest::default() };
    let sandbox = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox");
    let run = scene.code(&sandbox, NODE).await;
    assert_eq!(
        run.output, "3 ACTIVE 100000\n3 2 2\n3 21 true\n4 ACTIVE\n4 2\n3 403 max_notional_per_order\n",
        "{}",
        run.stderr
    );
    assert_eq!(record(&scene.home).len(), 4);
}

/// What a request got: status and rule.
const RAW: &str = r#"
import json, requests
HEAD = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET, "Content-Type": "application/json"}
# One connection: a loop that is as quick as a client can be.
session = requests.Session()
def raw(method, path, body=None, host="paper-api.alpaca.markets", **more):
    answer = session.request(method, f"https://{host}{path}", headers={**HEAD, **more}, data=body)
    try: said = answer.json()
    except ValueError: said = {}
    return answer.status_code, said.get("rule") if isinstance(said, dict) else None
def order(**fields):
    return json.dumps({"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", **fields})
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attacks_are_stopped_by_the_control_that_is_meant_for_them() {
    let scene = Scene::new().await;
    #[track_caller]
    fn check(output: &str, expected: &[&str]) {
        assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    }
    // Each group in a sandbox of its own: five refusals in a row halt one.
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}{RAW}
asset = client.get_asset("AAPL").id
say(*raw("POST", "/v2/orders", order(symbol=str(asset), qty="100")))
say(*raw("POST", "/v2/orders", '{{"symbol":"AAPL","qty":"1","qty":"20","side":"buy","type":"market","time_in_force":"day"}}'))
low = limit("AAPL", 1, 380)
say(*raw("PATCH", f"/v2/orders/{{low.id}}", json.dumps({{"qty": "100"}})))
say(*raw("POST", "/v2/orders", order(symbol="FB")))
say(*raw("POST", "/v2/orders", order(), host="api.alpaca.markets"))
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    check(
        &run.output,
        &[
            "403 max_notional_per_order",
            "403 canonical_form",
            "403 max_notional_per_order",
            "403 max_reference_age_s",
            "403 environment_lock",
        ],
    );
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}{RAW}
for n in range(3): until(market("AAPL", 18), "filled")
# What all positions together may be sold for is more than one order may be worth.
say(*raw("DELETE", "/v2/positions/AAPL"))
say(*raw("POST", "/v2/orders", order(side="sell", qty="55")))
say(*raw("POST", "/v2/orders", order(symbol="MSFT", type="limit", limit_price="40")))
say(*raw("DELETE", "/v2/orders/904837e3-3b76-47ec-b432-046db621571b"))
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    check(
        &run.output,
        &[
            "403 max_notional_per_order",
            "403 max_notional_per_order",
            "403 price_collar_percent",
            "403 order_ownership",
        ],
    );
    let before = record(&scene.home).len();
    assert_eq!(before, 4, "one that rests, three that were filled");
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}{RAW}
said = [raw("POST", "/v2/orders", order(symbol="IBM", type="limit", limit_price="100")) for n in range(1000)]
say(sum(status == 200 for status, _ in said), sorted({{rule for _, rule in said if rule}}), {{status for status, _ in said}} <= {{200, 403}})
"#
    );
    // Each refusal is on disk before it is said: on a busy machine that is more than a minute.
    let run = scene.begin(&sandbox, &code).await.ends().await;
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    let went = run.output.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a count");
    assert!(run.output.contains("'max_messages_per_s'") && run.output.contains("'trading_state'"), "{}", run.output);
    assert!(run.output.trim_end().ends_with("True") && went < 60, "{}", run.output);
    assert_eq!(record(&scene.home).len() - before, went, "the exchange has what was let through, and no more");
}

/// A door between the gate and the exchange that forwards every request, and answers the first so many orders with 504.
mod lossy {
    use std::{
        io::{Read, Write},
        os::unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{UnixListener, UnixStream},
        },
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicI32, Ordering},
        },
    };

    /// Takes the place of the exchange's socket.
    pub(super) fn stand_before(home: &Path, lost: i32) -> Arc<AtomicI32> {
        let (front, back) = (home.join("run/venue/api.sock"), home.join("run/venue/real.sock"));
        let owner = std::fs::metadata(&front).expect("the socket");
        std::fs::rename(&front, &back).expect("it is moved");
        let listener = UnixListener::bind(&front).expect("it is bound");
        chown(&front, Some(owner.uid()), Some(owner.gid())).expect("root may");
        std::fs::set_permissions(&front, std::fs::Permissions::from_mode(owner.mode())).expect("root may");
        let left = Arc::new(AtomicI32::new(lost));
        let counted = left.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (back, counted) = (back.clone(), counted.clone());
                std::thread::spawn(move || serve(stream, &back, &counted));
            }
        });
        left
    }

    /// The head and the body of one message.
    fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            (stream.read(&mut byte).ok()? == 1).then(|| bytes.push(byte[0]))?;
        }
        let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).ok()?;
        bytes.extend(body);
        Some(bytes)
    }

    fn serve(mut client: UnixStream, back: &Path, left: &AtomicI32) {
        let Ok(mut exchange) = UnixStream::connect(back) else { return };
        while let Some(request) = message(&mut client) {
            if exchange.write_all(&request).is_err() {
                return;
            }
            let Some(answer) = message(&mut exchange) else { return };
            let is_order = request.starts_with(b"POST /v2/orders ");
            let answer = match is_order && left.fetch_sub(1, Ordering::SeqCst) > 0 {
                true => b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
                false => answer,
            };
            if client.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_clients_retry_storm_ends_with_one_order() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    // The exchange takes each order and never says so: the answer is 504 every time.
    lossy::stand_before(&scene.home, 1000);
    let code = format!(
        r#"{BEGIN}
order = market("AAPL", 1)
say(order.client_order_id[:3], order.symbol)
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "rf- AAPL\n", "{}", run.stderr);
    let (_, orders) = {
        let home = scene.home.clone();
        std::fs::rename(home.join("run/venue/real.sock"), home.join("run/venue/api.sock")).expect("as it was");
        venue(&home, "GET", "/v2/orders?status=all&limit=500", "")
    };
    assert_eq!(orders.as_array().expect("a list").len(), 1, "{orders}");
    // The same client at a server of its own that answers so: the storm is real.
    let code = format!(
        r#"{BEGIN}
import http.server, threading
seen = []
class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(504)
        self.end_headers()
        self.wfile.write(b"{{}}")
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = TradingClient(KEY, SECRET, paper=True, url_override=f"http://127.0.0.1:{{server.server_port}}")
try: market("AAPL", 1)
except Exception: pass
say(len(seen))
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "4\n", "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_that_are_imported_are_traded_at_once() {
    let scene = Scene::new().await;
    assert_eq!(venue(&scene.home, "GET", "/v2/assets/ACME", "").0, 404);
    let file = scene.home.join("acme.csv");
    let days = ["2011-12-29", "2011-12-30", "2012-01-03", "2012-01-04"];
    let rows: String = days.iter().map(|day| format!("{day},50,52,49,51,1000000\n")).collect();
    std::fs::write(&file, format!("date,open,high,low,close,volume\n{rows}")).expect("written");
    let path = file.display().to_string();
    let done = common::ringfence(&scene.home, &["data", "import", &path, "--symbol", "ACME"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let sandbox = trader(&scene).await;
    let code = format!(
        "{BEGIN}\nbought = until(market('ACME', 4), 'filled')\nsay(bought.symbol, 49 <= float(bought.filled_avg_price) <= 52)"
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "ACME True\n", "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_ends_what_a_dead_sandbox_left_and_trading_stays_halted() {
    let scene = Scene::new().await;
    // The operator lets orders outlive their sandbox.
    let set = common::ringfence(&scene.home, &["trade", "limits", "set", "cancel_on_disconnect=no"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let sandbox = trader(&scene).await;
    let run = scene.run(&sandbox, &format!("{BEGIN}\nfor n in range(3): limit('MSFT', 1, 20 + n)\nsay('sent')")).await;
    assert_eq!(run.output, "sent\n", "{}", run.stderr);
    let request = SandboxRequest { sandbox_id: sandbox.to_string() };
    scene.api.delete(Actor::Agent, request).await.expect("it is deleted");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let open = |home: &Path| {
        record(home).iter().filter(|order| order["status"] == "new" || order["status"] == "accepted").count()
    };
    assert_eq!(open(&scene.home), 3, "they outlive it, as the operator said");
    let halted = common::ringfence(&scene.home, &["trade", "halt", "--reason", "enough"]);
    assert!(halted.status.success(), "{}", String::from_utf8_lossy(&halted.stderr));
    eventually("the end of every order", || open(&scene.home) == 0).await;
    let other = trader(&scene).await;
    let code = format!("{BEGIN}{RAW}\nsay(*raw('POST', '/v2/orders', order()))");
    assert_eq!(scene.run(&other, &code).await.output, "403 trading_state\n");
    let resumed = common::ringfence(&scene.home, &["trade", "resume"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert_eq!(scene.run(&other, &code).await.output, "200 None\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strategy_steps_the_clock_from_python() {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    let code = format!(
        r#"{BEGIN}
import ringfence
say(ringfence.clock.step(to="2012-01-05T10:00:00-05:00") is not None, client.get_clock().timestamp.date())
order = until(market("IBM", 1), "filled")
say(order.filled_at.date())
"#
    );
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "True 2012-01-05\n2012-01-05\n", "{}", run.stderr);
}

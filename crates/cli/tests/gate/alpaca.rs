//! alpaca-py and websockets as people use them: the hosts' own names, port 443, keys in the environment, nothing told of a gate.
//! Outside stands a server that knows one pair of keys.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    time::Duration,
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    SandboxId,
    api::{Actor, ConfigureRequest, ExecutionStatus},
};
use serde_json::Value;

use crate::{common, scene::Scene};

const HOSTS: [&str; 4] =
    ["paper-api.alpaca.markets", "data.alpaca.markets", "stream.data.alpaca.markets", "paper.ringfence.test"];
const ID: &str = "PKCANARY7F3A9D1C5E2B80";
const SECRET: &str = "canarySecretOf40LettersAndDigits0123456a";
const NEXT: &str = "anotherSecretOf40LettersAndDigits654321b";

/// Addresses of loopback that are one test's alone, so that its servers can have port 443.
fn addresses() -> [String; 4] {
    static TAKEN: AtomicU8 = AtomicU8::new(64);
    let [.., high, low] = std::process::id().to_be_bytes();
    [(); 4].map(|()| format!("127.{}.{high}.{low}", TAKEN.fetch_add(1, Ordering::Relaxed)))
}

/// Both sides of one test: the daemon, and Alpaca.
struct Desk {
    scene: Scene,
    server: Child,
    words: ChildStdin,
    told: mpsc::Receiver<Value>,
}

impl Desk {
    async fn new() -> Self {
        let addresses = addresses();
        let pins: String =
            HOSTS.iter().zip(&addresses).map(|(name, at)| format!("\"{name}\" = [\"{at}\"]\n")).collect();
        let scene = Scene::with("", &pins).await;
        let (certificate, key) = scene.certificate(&HOSTS);
        let pem = scene.home.join("alpaca.pem");
        std::fs::write(&pem, certificate.pem() + &key.serialize_pem()).expect("written");
        let python = tokio::task::spawn_blocking(|| common::venv("alpaca")).await.expect("a server");
        let mut server = Command::new(python)
            .arg("-B")
            .arg(common::clients().join("alpaca.py"))
            .arg("--certificate")
            .arg(pem)
            .args(addresses.iter().flat_map(|at| ["--address", at]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let (words, lines) = (server.stdin.take().expect("piped"), server.stdout.take().expect("piped"));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).expect("lines of JSON"));
            }
        });
        let mut desk = Self { scene, server, words, told };
        desk.hears("ready").await;
        let done = common::ringfence(&desk.scene.home, &["trade", "mode", "paper"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        desk.key(ID, SECRET).await;
        for (name, value) in [("APCA_API_KEY_ID", ID), ("APCA_API_SECRET_KEY", SECRET)] {
            desk.secret(&["set", name], value);
        }
        desk
    }

    fn secret(&self, args: &[&str], value: &str) {
        let done = common::ringfence_with(&self.scene.home, &[&["secret"], args].concat(), value);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A sandbox that has the keys, and nothing else.
    fn sandbox(&self) -> SandboxId {
        let args =
            ["--json", "sandbox", "create", "python", "--secret", "APCA_API_KEY_ID", "--secret", "APCA_API_SECRET_KEY"];
        let made = common::ringfence(&self.scene.home, &args);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        SandboxId::parse(made["sandbox_id"].as_str().expect("an id")).expect("an id")
    }

    async fn key(&mut self, id: &str, secret: &str) {
        self.word(&format!("key {id} {secret}")).await;
    }

    async fn word(&mut self, word: &str) {
        writeln!(self.words, "{word}").expect("the server listens");
        self.hears("done").await;
    }

    /// The next event of this kind; those before it are dropped.
    async fn hears(&self, event: &str) -> Value {
        for _ in 0..600 {
            while let Ok(told) = self.told.try_recv() {
                if told["event"] == event {
                    return told;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not tell of {event}");
    }

    /// Whatever was told.
    fn heard(&self) -> Vec<Value> {
        self.told.try_iter().collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What every program begins with: no word of a proxy or a certificate, and the keys as a user has them.
const BEGIN: &str = r#"
import os
assert not [name for name in os.environ if "proxy" in name.lower() or "CERT" in name or "CA_BUNDLE" in name]
KEY, SECRET = os.environ["APCA_API_KEY_ID"], os.environ["APCA_API_SECRET_KEY"]
def say(*words): print(*words, flush=True)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpaca_py_trades_and_reads_bars() {
    let desk = Desk::new().await;
    let sandbox = desk.sandbox();
    let code = format!(
        r#"{BEGIN}
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.enums import OrderSide, TimeInForce
client = TradingClient(KEY, SECRET, paper=True)
account = client.get_account()
# The server told the key in the answer, in parts of seven bytes and in base64: what is read is what was sent.
import base64
say(account.status.value, account.account_number == SECRET, account.currency == KEY + "-" + base64.b64encode(SECRET.encode()).decode())
asked = MarketOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
order = client.submit_order(asked)
say(order.symbol, order.status.value, len(client.get_orders()))
data = StockHistoricalDataClient(KEY, SECRET)
bars = data.get_stock_bars(StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], timeframe=TimeFrame.Day))
say(bars.df.shape[0])
import requests
answer = requests.get("https://paper-api.alpaca.markets/v2/account", headers={{"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}})
say(answer.headers["X-Echo"] == KEY + "/" + SECRET)
try:
    TradingClient("wrong", "wronger", paper=True).get_account()
except APIError as error:
    say(error.status_code)
"#
    );
    let run = desk.scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "ACTIVE True True\nAAPL accepted 1\n4\nTrue\n401\n", "{}", run.stderr);
    assert!(run.denials.is_empty(), "{:?}", run.denials);
    let rest: Vec<_> = desk.heard().into_iter().filter(|told| told["event"] == "rest").collect();
    let good: Vec<_> = rest.iter().map(|told| told["good"].as_bool().expect("a verdict")).collect();
    assert_eq!(good, [true, true, true, false], "{rest:?}");
    for value in [ID, SECRET] {
        assert_eq!(
            desk.scene.files_with(value.as_bytes()),
            Vec::<String>::new(),
            "the value is in no file of the daemon"
        );
    }
}

/// Both streams, each in a thread of its own, as a strategy has them.
const STREAMS: &str = r#"
import logging, threading
logging.basicConfig(level=logging.INFO, format="%(message)s")
from alpaca.trading.stream import TradingStream
from alpaca.data.live import StockDataStream
trading, data = TradingStream(KEY, SECRET, paper=True), StockDataStream(KEY, SECRET)
async def update(update):
    say("update", update.event, update.order.symbol)
seen = 0
async def bar(bar):
    global seen
    assert bar.close == seen % 4000 or seen % 4000 == 0, (bar.close, seen)
    seen = int(bar.close) + 1
    if seen % 4000 == 0:
        say("4000 bars")
# Of an order that is nobody's here it would hear nothing.
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.enums import OrderSide, TimeInForce
asked = MarketOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
TradingClient(KEY, SECRET, paper=True).submit_order(asked)
trading.subscribe_trade_updates(update)
# More than one fragment's worth of symbols.
data.subscribe_bars(bar, "AAPL", *[f"SYMBOL{n}" for n in range(4000)])
threads = [threading.Thread(target=stream.run, daemon=True) for stream in (trading, data)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpaca_py_streams_and_comes_back_with_whatever_key_is_in_force() {
    let mut desk = Desk::new().await;
    let sandbox = desk.sandbox();
    let running = desk.scene.begin(&sandbox, &format!("{BEGIN}{STREAMS}")).await;
    // Both have logged in, and asked for what they want to hear: what is said before that is nobody's.
    let login = async |desk: &Desk| {
        let (mut trading, mut data, mut listens, mut subscribed) = (None, None, false, false);
        while trading.is_none() || data.is_none() || !listens || !subscribed {
            for told in desk.heard() {
                match told["event"].as_str() {
                    Some("trading") => trading = Some(told),
                    Some("data") => data = Some(told),
                    Some("listening") => listens = told["asked"]["streams"] == serde_json::json!(["trade_updates"]),
                    Some("subscription") => {
                        subscribed |= told["bars"].as_array().is_some_and(|bars| bars.contains(&"AAPL".into()));
                    }
                    _ => {}
                }
            }
            assert_eq!(running.now().await.status, ExecutionStatus::Running);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        [trading, data].map(|told| told.expect("both").clone())
    };
    let [trading, data] = login(&desk).await;
    assert_eq!((&trading["good"], &data["good"]), (&true.into(), &true.into()), "{trading} {data}");
    assert_eq!(trading["extensions"], Value::Null, "no extension by which messages could not be read");
    // The program listens after it has logged in.
    tokio::time::sleep(Duration::from_millis(500)).await;
    desk.word("update").await;
    running.says("update new AAPL", 1).await;
    // No more than the gate keeps for a program that does not read yet: one that is slower than that is told so, and has to go.
    desk.word("bars 4000").await;
    running.says("4000 bars", 1).await;
    // A server that is started anew, then a cable that is cut.
    for (times, word) in [(2, "drop"), (3, "cut")] {
        desk.word(word).await;
        let [trading, data] = login(&desk).await;
        assert_eq!((&trading["good"], &data["good"]), (&true.into(), &true.into()), "after {word}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        desk.word("update").await;
        running.says("update new AAPL", times).await;
    }
    // With another value the connections end, and the next ones have it: the host has taken it already.
    desk.key(ID, NEXT).await;
    desk.heard();
    desk.secret(&["rotate", "APCA_API_SECRET_KEY"], NEXT);
    let [trading, data] = login(&desk).await;
    assert_eq!((&trading["good"], &data["good"]), (&true.into(), &true.into()), "with the new key");
    tokio::time::sleep(Duration::from_millis(500)).await;
    desk.word("update").await;
    running.says("update new AAPL", 4).await;
    // One that is revoked has no connection left that it opened, and opens none, though the policy allows the hosts.
    let id = sandbox.to_string();
    let policy = serde_json::json!({"allow": HOSTS.map(|host| serde_json::json!({"host": host}))});
    let network = Some(serde_json::from_value(policy).expect("a policy"));
    let request = ConfigureRequest { sandbox_id: id.clone(), network, ..ConfigureRequest::default() };
    desk.scene.api.configure(Actor::Operator, request).await.expect("it is changed");
    desk.heard();
    desk.secret(&["rm", "APCA_API_SECRET_KEY"], "");
    desk.hears("trading closed").await;
    desk.hears("data closed").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let logins =
        desk.heard().into_iter().filter(|told| ["trading", "data"].contains(&told["event"].as_str().unwrap_or("")));
    assert_eq!(logins.count(), 0, "no login reaches the host");
    let run = running.now().await;
    for value in [SECRET, NEXT] {
        assert!(!run.output.contains(value) && !run.stderr.contains(value));
        assert_eq!(
            desk.scene.files_with(value.as_bytes()),
            Vec::<String>::new(),
            "the value is in no file of the daemon"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_logs_in_and_is_told_placeholders() {
    let desk = Desk::new().await;
    // A host that is no venue's, where whatever a program says goes on as it is but for the key.
    for (name, value, field) in [("WS_KEY", ID, "key_id"), ("WS_SECRET", SECRET, "secret_key")] {
        let request = serde_json::from_value(serde_json::json!({
            "name": name, "value": value, "rotate": false, "hosts": [HOSTS[3]], "placements": [format!("frame:{field}")],
        }));
        desk.scene.api.secret_set(Actor::Operator, request.expect("a request")).await.expect("it is stored");
    }
    let sandbox = desk.scene.create(serde_json::json!("none"), &["WS_KEY", "WS_SECRET"]).await.sandbox_id;
    let begin = BEGIN.replace("APCA_API_KEY_ID", "WS_KEY").replace("APCA_API_SECRET_KEY", "WS_SECRET");
    let code = format!(
        r#"{begin}
import asyncio, json, websockets
from websockets.sync.client import connect
login = json.dumps({{"action": "authenticate", "data": {{"key_id": KEY, "secret_key": SECRET}}}})
def check(answer):
    answer = json.loads(answer)["data"]
    say(answer["status"], answer["echo"] == [KEY, SECRET])
with connect("wss://paper.ringfence.test/stream", compression="deflate") as ws:
    ws.send(login)
    check(ws.recv())
    say(ws.ping().wait(5), len(ws.protocol.extensions))
# The first message in three fragments that cut the key.
with connect("wss://paper.ringfence.test/stream") as ws:
    at = login.index(KEY) + 9
    ws.send([login[:at], login[at : at + 3], login[at + 3 :]])
    check(ws.recv())
    ws.close(1001, "going")
async def main():
    async with websockets.connect("wss://paper.ringfence.test/stream", max_size=None) as ws:
        await (await ws.ping())
        await ws.send(login)
        check(await ws.recv())
        # A message of a few megabytes, there and back.
        await ws.send(json.dumps({{"action": "listen", "data": "x" * 3_000_000}}))
        say(len(json.loads(await ws.recv())["data"]))
        # The key in a later message ends it.
        await ws.send(login)
        try:
            say(await ws.recv())
        except websockets.ConnectionClosed as closed:
            say(closed.rcvd and closed.rcvd.code, closed.rcvd and closed.rcvd.reason)
asyncio.run(main())
"#
    );
    let run = desk.scene.run(&sandbox, &code).await;
    let lines: Vec<&str> = run.output.lines().collect();
    assert!(lines.len() > 5, "{}{}", run.output, run.stderr);
    assert_eq!(
        lines[..5],
        ["authorized True", "True 0", "authorized True", "authorized True", "3000000"],
        "{}{}",
        run.output,
        run.stderr
    );
    assert!(lines[5].starts_with("1008 ") && lines[5].contains("WS_KEY"), "{}", run.output);
    assert_eq!(run.denials.len(), 1, "{:?}", run.denials);
    assert_eq!(run.denials[0].destination, "paper.ringfence.test:443");
}

//! The seed document's pipeline of three stages (node collects, Python analyses, Python trades) with real data handed on: as one MCP call,
//! and from a file.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use ringfence_engine::api::{Sandboxes, Trading};
use ringfence_model::api::{Actor, AuditLogRequest, PipelineAnswer, PipelineStatus, StageStatus, TradeModeRequest};
use serde_json::{Value, json};

use crate::{common, output, run, scene::Scene, stage};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/pipeline").join(name)
}

/// The example as JSON, as an MCP client sends it.
fn stages() -> Value {
    let code = |name: &str| std::fs::read_to_string(example(name)).expect("an example");
    json!([
        {"name": "collect", "template": "node", "code": code("collect.js"), "outputs": ["bars.json"]},
        {"name": "analyse", "template": "python", "code": code("analyse.py"),
            "inputs": [{"from": "collect", "path": "bars.json"}], "outputs": ["signal.json"]},
        {"name": "trade", "kind": "trade", "mode": "simulated", "template": "python", "code": code("trade.py"),
            "inputs": [{"from": "analyse", "path": "signal.json"}], "outputs": ["orders.json"], "timeout": 120},
    ])
}

/// Orders as the exchange itself has them, asked past the gate.
fn record(home: &Path) -> Vec<Value> {
    let mut stream = UnixStream::connect(home.join("run/venue/api.sock")).expect("the exchange listens");
    write!(
        stream,
        "GET /v2/orders?status=all&limit=500 HTTP/1.1\r\nHost: paper-api.alpaca.markets\r\nAPCA-API-KEY-ID: x\r\n\
         APCA-API-SECRET-KEY: y\r\nConnection: close\r\n\r\n"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("a list")
}

/// A client of `ringfence mcp`.
struct Mcp(Child, BufReader<std::process::ChildStdout>);

impl Mcp {
    fn connect(home: &Path) -> Self {
        let mut child = Command::new(common::BIN)
            .arg("--home")
            .arg(home)
            .arg("mcp")
            .env("RINGFENCE_NO_AUTOSTART", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let mut mcp = Self(child, out);
        let hello =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        mcp.ask(1, "initialize", hello);
        mcp.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        mcp
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.0.stdin.as_mut().expect("piped"), "{message}").expect("it reads");
    }

    fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let mut line = String::new();
            assert!(self.1.read_line(&mut line).expect("it answers") > 0, "it ended");
            let message: Value = serde_json::from_str(&line).expect("JSON");
            if message["id"] == id {
                return message["result"].clone();
            }
        }
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn check(scene: &Scene, answer: &PipelineAnswer) {
    assert_eq!((answer.status, answer.success), (PipelineStatus::Completed, true), "{answer:#?}");
    let api = &scene.api;
    let (collect, analyse, trade) = (stage(answer, "collect"), stage(answer, "analyse"), stage(answer, "trade"));
    assert_eq!(analyse.inputs[0].sha256, collect.outputs[0].sha256);
    assert_eq!(trade.inputs[0].sha256, analyse.outputs[0].sha256);
    let sandboxes = [collect, analyse, trade].map(|stage| stage.sandbox_id.clone().expect("one each"));
    assert!(sandboxes[0] != sandboxes[1] && sandboxes[1] != sandboxes[2] && sandboxes[0] != sandboxes[2]);
    // What was collected is what the sandboxes' sample has.
    let bars: Value = serde_json::from_str(&output(api, answer, "collect", "bars.json").await).expect("JSON");
    let closes = bars["AAPL"].as_array().expect("bars");
    assert_eq!((closes.len(), closes[249]["day"].as_str()), (250, Some("2011-12-30")));
    // What was found follows from it, calculated anew.
    let signal: Value = serde_json::from_str(&output(api, answer, "analyse", "signal.json").await).expect("JSON");
    let mut wanted = Vec::new();
    for symbol in ["AAPL", "IBM", "MSFT"] {
        let closes: Vec<f64> =
            bars[symbol].as_array().expect("bars").iter().map(|bar| bar["close"].as_f64().expect("a price")).collect();
        let mean = |days: usize| closes[closes.len() - days..].iter().sum::<f64>() / days as f64;
        let buy = closes[closes.len() - 1] > mean(20) && mean(20) > mean(50);
        assert_eq!(signal["symbols"][symbol]["buy"].as_bool(), Some(buy), "{symbol}");
        if buy {
            wanted.push(symbol);
        }
    }
    assert!(!wanted.is_empty(), "the example trades");
    let orders: Value = serde_json::from_str(&output(api, answer, "trade", "orders.json").await).expect("JSON");
    let traded: Vec<&str> =
        orders["orders"].as_array().expect("orders").iter().map(|o| o["symbol"].as_str().expect("one")).collect();
    assert_eq!(traded, wanted);
    let trading = trade.trading.as_ref().expect("it says where");
    assert_eq!(
        (trading.mode.as_str(), trading.orders as usize, trading.filled as usize),
        ("simulated", wanted.len(), wanted.len())
    );
    assert_eq!(trading.mode_at_end, None);
    // Every hash that was handed on is in the audit chain, before and after.
    let asked =
        AuditLogRequest { event: Some("pipeline.stage.start".into()), limit: Some(1000), ..AuditLogRequest::default() };
    let log = api.audit_log(Actor::Operator, asked).await.expect("a log");
    let text = serde_json::to_string(&log).expect("JSON");
    for hash in [&collect.outputs[0].sha256, &analyse.outputs[0].sha256] {
        assert!(text.contains(hash.as_str()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_three_stages_hand_real_data_on() {
    tokio::task::spawn_blocking(common::shared).await.expect("a daemon");
    common::template("node").await;
    let scene = Scene::of(&["python", "node"]).await;
    let home = scene.home.clone();
    // As one call of an agent.
    let called = tokio::task::spawn_blocking(move || {
        let mut mcp = Mcp::connect(&home);
        mcp.ask(2, "tools/call", json!({"name": "pipeline_run", "arguments": {"name": "seed", "stages": stages()}}))
    });
    let result = called.await.expect("it answers");
    assert_eq!(result["isError"], false, "{result}");
    let mut answer: PipelineAnswer = serde_json::from_value(result["structuredContent"].clone()).expect("an answer");
    if answer.status == PipelineStatus::Running {
        answer = crate::end(&scene.api, answer.pipeline_id.as_str()).await;
    }
    check(&scene, &answer).await;
    let first = record(&scene.home).len();
    assert_eq!(first as u32, stage(&answer, "trade").trading.as_ref().expect("it says where").orders);
    // From the file, as a person.
    let (home, file) = (scene.home.clone(), example("pipeline.toml"));
    let done = tokio::task::spawn_blocking(move || {
        common::ringfence(&home, &["pipeline", "run", &file.display().to_string(), "--json"])
    });
    let done = done.await.expect("it ends");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let again: PipelineAnswer = serde_json::from_slice(&done.stdout).expect("JSON");
    check(&scene, &again).await;
    // The same bars and the same finding, to the byte.
    for name in ["collect", "analyse"] {
        assert_eq!(stage(&again, name).outputs, stage(&answer, name).outputs);
    }
    assert!(record(&scene.home).iter().all(|order| order["status"] == "filled"));
    let home = scene.home.clone();
    let shown = tokio::task::spawn_blocking(move || {
        let list = common::ringfence(&home, &["pipeline", "list"]);
        let show = common::ringfence(&home, &["pipeline", "show", again.pipeline_id.as_str()]);
        let take =
            common::ringfence(&home, &["pipeline", "output", again.pipeline_id.as_str(), "analyse", "signal.json"]);
        [list, show, take].map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    let [list, show, take] = shown.await.expect("they end");
    assert!(list.contains("3 of 3") && list.contains("seed"), "{list}");
    assert!(show.contains("traded simulated: ") && show.contains("bars.json of collect"), "{show}");
    assert!(take.contains("\"buy\""), "{take}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_trades_is_not_begun_in_another_mode() {
    let scene = Scene::new().await;
    let trade = |mode: &str| {
        json!([{"name": "t", "kind": "trade", "mode": mode, "template": "python", "outputs": ["done"],
            "code": "from alpaca.trading.client import TradingClient\nfrom alpaca.trading.requests import MarketOrderRequest\n\
                     TradingClient('any', 'any', paper=True).submit_order(MarketOrderRequest(symbol='AAPL', qty=1, side='buy', \
                     time_in_force='day'))\nopen('done', 'w').write('x')"}])
    };
    for mode in ["paper", "live"] {
        let answer = run(&scene.api, trade(mode)).await;
        let stage = stage(&answer, "t");
        assert_eq!((answer.status, stage.status), (PipelineStatus::Failed, StageStatus::Failed), "{answer:#?}");
        let error = answer.error.as_deref().expect("a word");
        assert!(
            error.contains(&format!("for mode {mode}, and the mode of trading is simulated: it was not begun")),
            "{error}"
        );
        assert_eq!((stage.sandbox_id.clone(), stage.execution.clone()), (None, None));
    }
    assert_eq!(record(&scene.home), Vec::<Value>::new());
    // The controls hold for it as for everything.
    let done = tokio::task::spawn_blocking({
        let home = scene.home.clone();
        move || common::ringfence(&home, &["trade", "halt", "--reason", "enough"])
    });
    assert!(done.await.expect("it ends").status.success());
    let halted = run(&scene.api, trade("simulated")).await;
    assert_eq!(halted.status, PipelineStatus::Failed);
    assert!(halted.error.as_deref().expect("a word").contains("40310000"), "{halted:#?}");
    assert_eq!(record(&scene.home), Vec::<Value>::new());
    let mode = TradeModeRequest { mode: "paper".into(), ..TradeModeRequest::default() };
    scene.api.trade_mode_set(Actor::Operator, mode).await.expect("the operator may");
    let refused = run(&scene.api, trade("simulated")).await;
    assert!(refused.error.as_deref().expect("a word").contains("the mode of trading is paper"), "{refused:#?}");
}

//! Sweeps over a real daemon: the seed document's exercises as commands and over MCP, strategies that fail, peek or lie, and a sweep
//! that survives `kill -9` of every role with the same table to the bit. These tests need root.

mod common;
#[allow(dead_code)]
#[path = "recovery/daemon.rs"]
mod daemon;
#[allow(dead_code)]
#[path = "recovery/patience.rs"]
mod patience;
#[allow(dead_code)]
#[path = "recovery/process.rs"]
mod process;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{BIN, Sandbox, client, clients, is_long, ringfence, shared, succeeded, venv};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, SandboxStatus};
use serde_json::Value;

use crate::daemon::Victim;

const SYMBOLS: &str = "AAPL,FB,GOOG,IBM,MSFT";

/// `table_sha256` of the seed's exercise 2 over the shipped bars, on every machine and in every build.
const EXERCISE_2_SHA256: &str = "a5428ef648a63f5935231e435e2ea04a9874556c22cce01a8a7772461ff2c00c";
/// The same of [`native_code_gives_the_same_table_as_sandboxes`], natively and in sandboxes.
const NATIVE_SHA256: &str = "c532bc67b5aca3a1655ef41ec140d54654ceacdaf541a6e5062ec6408699b4cd";

/// Holds a sweep's table against one that was written down when it was made elsewhere.
#[track_caller]
fn pinned(found: &Value, expected: &str) {
    assert_eq!(
        found["table_sha256"].as_str(),
        Some(expected),
        "the figures are not those that other machines and builds have found over the shipped bars (data {}, {}): either something is \
         not deterministic, or a figure, a convention or the bars were changed. Only where that was meant, and CHANGELOG.md says so, does \
         the new hash belong here",
        found["data"]["sha256"],
        found["versions"]
    );
}

#[track_caller]
fn run_in(home: &Path, code: i32, words: &[&str]) -> String {
    let output = ringfence(home, words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn run(code: i32, words: &[&str]) -> String {
    run_in(shared(), code, words)
}

#[track_caller]
fn json(code: i32, words: &[&str]) -> Value {
    serde_json::from_str(&run(code, &[words, &["--json"]].concat())).expect("JSON")
}

/// A strategy in a file of its own.
fn file(dir: &tempfile::TempDir, code: &str) -> String {
    let path = dir.path().join("mine.py");
    fs::write(&path, code).expect("written");
    path.to_str().expect("plain").to_owned()
}

#[test]
fn the_exercises_hold_as_commands() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = json(0, &["sweep", "sma_cross", "--symbols", SYMBOLS]);
    assert_eq!((one["results"].as_array().map(Vec::len), &one["progress"]["failed"]), (Some(5), &0.into()), "{one}");
    assert_eq!(one["by_symbol"].as_array().map(Vec::len), Some(5));

    let [csv, parquet, html] =
        ["t.csv", "t.parquet", "t.html"].map(|name| dir.path().join(name).to_str().expect("plain").to_owned());
    let pairs = ["--set", "fast=10,slow=20", "--set", "fast=20,slow=50", "--set", "fast=50,slow=100"];
    let asked = [&["sweep", "sma_cross", "--symbols", SYMBOLS][..], &pairs].concat();
    let two = json(0, &[&asked[..], &["--csv", &csv, "--parquet", &parquet, "--report", &html]].concat());
    assert_eq!((two["results"].as_array().map(Vec::len), &two["status"]), (Some(15), &"completed".into()), "{two}");
    pinned(&two, EXERCISE_2_SHA256);
    println!("{}", two["summary"].as_str().expect("a sentence"));
    // FB has 196 bars, and all of them are bars of the others.
    let (pbo, over) = (two["overfitting"]["pbo"].as_f64(), two["conventions"]["overfitting"].as_str());
    assert!(pbo.is_some_and(|share| (0.0..=1.0).contains(&share)), "{two}");
    assert!(over.expect("over which").contains("over 196 bars, from 2012-05-18 to 2013-03-01"), "{two}");
    for name in ["ringfence", "build", "template", "numpy", "pandas"] {
        assert!(two["versions"][name].is_string(), "{name}: {}", two["versions"]);
    }
    for by in two["by_symbol"].as_array().expect("five") {
        println!(
            "{}: {} against {}",
            by["symbols"][0], by["metrics"]["total_return"], by["buy_and_hold"]["total_return"]
        );
    }
    let table = fs::read_to_string(&csv).expect("a table");
    assert_eq!(table.lines().count(), 16, "{table}");
    assert_eq!(&fs::read(&parquet).expect("a table")[..4], b"PAR1");
    let page = fs::read_to_string(&html).expect("a report");
    assert!(page.contains("sma_cross") && page.contains(two["data"]["sha256"].as_str().expect("a hash")));

    // Again, and in batches: the same table to the bit.
    let same = |more: &[&str]| {
        let other = json(0, &[&asked[..], more].concat());
        assert_eq!(other["table_sha256"], two["table_sha256"], "{more:?}");
    };
    same(&["--parallelism", "1", "--batch", "2"]);
    if is_long("the same table twice more") {
        same(&[]);
        same(&["--batch", "8"]);
    }

    let id = two["sweep_id"].as_str().expect("an id");
    let shown = run(0, &["sweep", "show", id]);
    assert!(shown.contains("RANK") && shown.contains("buying and holding"), "{shown}");
    assert_eq!(run(0, &["sweep", "show", id, "--all", "--json"]).lines().count(), 15);
    assert_eq!(run(0, &["sweep", "show", id, "--follow", "--json"]).lines().count(), 15);
    assert_eq!(run(0, &["sweep", "export", id, "--csv", "-"]), table);
    assert!(run(0, &["sweep", "list"]).contains(id));
    run(1, &["sweep", "show", "nothing-of-that-name"]);
    run(2, &["sweep", "sma_cross", "--param", "fast=1,1"]);
    assert!(run(0, &["audit", "verify"]).contains("holds") || json(0, &["audit", "verify"])["success"] == true);
}

/// The same as by the commands above.
#[test]
fn the_exercises_hold_over_mcp() {
    if !is_long("the exercises through the SDK of MCP") {
        return;
    }
    let python = venv("mcp-2");
    let home = shared().to_str().expect("plain");
    let mut command = Command::new(python);
    command.arg("-B").arg(clients().join("sweeps.py")).args(["--stdio", BIN, "mcp", "--home", home]);
    println!("{}", succeeded(&mut command, "the exercises do not hold"));
}

#[test]
fn three_strategies_of_the_distributed_example_differ_on_real_bars() {
    let asked = ["sweep", "momentum,mean_reversion,pairs_trading", "--symbols", "AAPL,MSFT"];
    let found = json(0, &asked);
    let results = found["results"].as_array().expect("results");
    // Two symbols each, and one pair.
    assert_eq!(results.len(), 5, "{found}");
    let mut returns: Vec<String> = results.iter().map(|row| row["metrics"]["total_return"].to_string()).collect();
    returns.sort();
    returns.dedup();
    assert_eq!(returns.len(), 5, "{returns:?}");
    assert_eq!(json(0, &asked)["table_sha256"], found["table_sha256"]);
}

#[test]
fn a_run_that_fails_is_a_row_and_the_sweep_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let code = r#"
import os, sys

def signals(bars, kind):
    if kind == "raises":
        raise ValueError("no such luck")
    if kind == "hangs":
        while True:
            pass
    if kind == "exits":
        os._exit(3)
    if kind == "floods":
        while True:
            os.write(1, b"x" * 65536)
    if kind == "lies":
        return [1.0] * 3
    if kind == "huge":
        return [1e308] * len(bars)
    return bars["close"] * 0 + 1
"#;
    let kinds = "kind=works,raises,hangs,exits,floods,lies,huge";
    let found = json(0, &["sweep", &file(&dir, code), "-s", "IBM", "-p", kinds, "--timeout", "2"]);
    let rows = found["results"].as_array().expect("rows");
    let of = |kind: &str| rows.iter().find(|row| row["parameters"]["kind"] == kind).expect("each is a row");
    assert_eq!((&of("works")["status"], &of("works")["rank"]), (&"completed".into(), &1.into()), "{found}");
    for kind in ["raises", "hangs", "exits", "floods", "lies", "huge"] {
        let row = of(kind);
        assert_eq!((&row["status"], row["rank"].as_u64()), (&"failed".into(), None), "{row}");
        println!("{kind}: {}", row["error"].as_str().expect("a reason"));
    }
    assert!(of("raises")["error"].as_str().expect("a reason").contains("no such luck"));
    assert_eq!((&found["progress"]["done"], &found["progress"]["failed"]), (&7.into(), &6.into()));
    // Nothing but failures is a failure.
    let none = json(1, &["sweep", &file(&dir, code), "-s", "IBM", "-p", "kind=raises"]);
    assert_eq!((&none["status"], &none["success"]), (&"failed".into(), &false.into()), "{none}");
}

#[test]
fn a_strategy_that_peeks_is_caught_and_not_ranked() {
    let dir = tempfile::tempdir().expect("a directory");
    let code = "def signals(bars, peek):\n    moves = bars['close'].pct_change()\n    moves = moves.shift(-1) if peek else moves\n    return (moves > 0).astype(float)\n";
    let found = json(0, &["sweep", &file(&dir, code), "-s", "IBM", "-p", "peek=true,false"]);
    let rows = found["results"].as_array().expect("rows");
    let of = |peek: bool| rows.iter().find(|row| row["parameters"]["peek"] == peek).expect("each is a row");
    assert_eq!((&of(true)["look_ahead"], of(true)["rank"].as_u64()), (&"looks ahead".into(), None), "{found}");
    assert_eq!((&of(false)["look_ahead"], &of(false)["rank"]), (&"honest".into(), &1.into()), "{found}");
    assert_eq!(found["best"]["parameters"]["peek"], false);
    assert!(found["summary"].as_str().expect("a sentence").contains("look ahead"), "{found}");
    let peeks = json(0, &["sweep", &file(&dir, code), "-s", "IBM", "-p", "peek=true", "--look-ahead-check", "all"]);
    assert_eq!((&peeks["best"], &peeks["look_ahead"]["verdict"]), (&Value::Null, &"looks ahead".into()), "{peeks}");
    // Whoever never trades has no figure to be ranked by, and then there is no best to check.
    let idle = "def signals(bars):\n    return bars['close'] * 0\n";
    let idles = json(0, &["sweep", &file(&dir, idle), "-s", "IBM"]);
    assert_eq!(idles["look_ahead"]["verdict"], "not checked", "{idles}");
    assert_eq!(idles["look_ahead"]["detail"], "no run came out as the best", "{idles}");
}

/// Knows tomorrow throughout, and uses it well for 1,000 bars and against itself after them: never the best, and chosen by the early windows.
#[test]
fn what_peeks_in_a_part_of_the_time_is_chosen_in_no_window() {
    let dir = tempfile::tempdir().expect("a directory");
    let code = "def signals(bars, peek):\n    moves = bars['close'].pct_change()\n    if not peek:\n        return (moves > 0).astype(float)\n    up = (moves.shift(-1) > 0).astype(float)\n    up.iloc[1000:] = 1 - up.iloc[1000:]\n    return up\n";
    let asked = ["-s", "IBM", "-p", "peek=true,false", "--walk-forward", "750:250"];
    let walk = json(0, &[&["sweep", &file(&dir, code)], &asked[..]].concat());
    let rows = walk["results"].as_array().expect("rows");
    let of = |peek: bool| rows.iter().find(|row| row["parameters"]["peek"] == peek).expect("each is a row");
    assert_eq!((&of(true)["look_ahead"], &walk["best"]["parameters"]["peek"]), (&"looks ahead".into(), &false.into()));
    assert_eq!(of(true)["beats_buy_and_hold"], Value::Null, "{walk}");
    let windows = walk["walk_forward"][0]["windows"].as_array().expect("windows");
    assert!(windows.iter().all(|window| window["parameters"]["peek"] == false), "{walk}");
    assert_eq!(walk["look_ahead"]["caught"], serde_json::json!([of(true)["run"]]), "{walk}");
    assert_eq!(walk["overfitting"]["trials"], 1, "what looks ahead is no trial: {walk}");
}

/// What cannot be cut into stretches says so, and is not judged as if it could.
#[test]
fn orders_and_reports_are_not_cut_into_stretches() {
    let dir = tempfile::tempdir().expect("a directory");
    let code = "def orders(bars):\n    return [(10, 5), (2000, -5)]\n";
    let path = file(&dir, code);
    for stretches in [["--train", "0.5"], ["--walk-forward", "750:250"]] {
        let found = json(1, &[&["sweep", &path, "-s", "IBM"], &stretches[..]].concat());
        let why = found["results"][0]["error"].as_str().expect("a reason");
        assert!(why.contains("orders are for the shares of one account"), "{found}");
    }
    let whole = json(0, &["sweep", &path, "-s", "IBM"]);
    assert_eq!(whole["results"][0]["metrics"]["trades"], 1, "{whole}");
}

#[test]
fn the_past_chooses_and_the_time_after_it_judges() {
    let grid = ["-s", "IBM", "-p", "fast=5,10,20", "-p", "slow=40,80"];
    let split = json(0, &[&["sweep", "sma_cross"], &grid[..], &["--train", "0.6"]].concat());
    for row in split["results"].as_array().expect("rows") {
        assert!(row["out_of_sample"]["total_return"].is_number(), "{row}");
    }
    let walk = json(0, &[&["sweep", "sma_cross"], &grid[..], &["--walk-forward", "750:250"]].concat());
    let windows = walk["walk_forward"][0]["windows"].as_array().expect("windows");
    assert_eq!(windows.len(), 11, "3270 bars: 750 and then ten of 250 and a rest of 20");
    assert!(windows.iter().all(|w| w["run"].is_number() && w["train"].is_number()), "{walk}");
    assert!(walk["walk_forward"][0]["metrics"]["sharpe"].is_number(), "{walk}");
    let halving = json(0, &[&["sweep", "sma_cross"], &grid[..], &["--search", "halving", "--budget", "6"]].concat());
    let (all, ranked) = (halving["progress"]["total"].as_u64(), halving["results"][0]["bars"].as_u64());
    assert_eq!((all, ranked), (Some(6 + 3 + 2), Some(3270)), "{halving}");
}

#[test]
fn imported_bars_are_swept_by_the_role_that_may_not_read_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("SWEPT.csv");
    let mut text = String::from("date,open,high,low,close,volume\n");
    let (mut day, mut price, mut state) = (jiff::civil::date(2015, 1, 5), 100.0_f64, 7_u64);
    for _ in 0..400 {
        // A fixed sequence of ups and downs.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let next = price * (1.0 + ((state >> 40) as f64 / (1_u64 << 24) as f64 - 0.49) * 0.03);
        let (low, high) = (price.min(next) * 0.999, price.max(next) * 1.001);
        text.push_str(&format!("{day},{price:.2},{high:.4},{low:.4},{next:.2},1000\n"));
        price = (next * 100.0).round() / 100.0;
        day = day.saturating_add(jiff::Span::new().days(if day.weekday() == jiff::civil::Weekday::Friday {
            3
        } else {
            1
        }));
    }
    fs::write(&file, text).expect("written");
    run(0, &["data", "import", file.to_str().expect("plain"), "--interval", "day"]);
    let found = json(0, &["sweep", "sma_cross", "-s", "SWEPT,IBM"]);
    assert_eq!(
        (&found["data"]["source"], &found["data"]["bars"]["SWEPT"]),
        (&"sample and imported".into(), &400.into()),
        "{found}"
    );
    assert_eq!(found["results"].as_array().map(Vec::len), Some(2));
    let only = json(0, &["sweep", "sma_cross", "--data", "imported", "-s", "SWEPT"]);
    assert_eq!(only["data"]["source"], "imported");
    run(1, &["sweep", "sma_cross", "--data", "imported", "-s", "IBM"]);
    run(0, &["data", "remove", "SWEPT"]);
    run(1, &["sweep", "sma_cross", "-s", "SWEPT"]);
}

#[test]
fn native_code_gives_the_same_table_as_sandboxes() {
    let grid = [
        "-s",
        "IBM,GOOG",
        "-p",
        "fast=5,10,20",
        "-p",
        "slow=40,80",
        "-p",
        "short=false,true",
        "--look-ahead-check",
        "none",
    ];
    let asked = [&["sweep", "sma_cross"][..], &grid].concat();
    let rows = |more: &[&str]| {
        let found = json(0, &[&asked[..], more].concat());
        let id = found["sweep_id"].as_str().expect("an id").to_owned();
        let engine = found["best"]["engine"].as_str().expect("a word").to_owned();
        pinned(&found, NATIVE_SHA256);
        (engine.clone(), run(0, &["sweep", "export", &id, "--csv", "-"]).replace(&engine, "ENGINE"))
    };
    let (sandbox, native) = (rows(&[]), rows(&["--native", "always"]));
    assert_eq!((sandbox.0.as_str(), native.0.as_str()), ("sandbox", "native"));
    assert_eq!(sandbox.1, native.1, "to the bit");
    run(1, &["sweep", "pairs_trading", "-s", "IBM,GOOG", "--native", "always"]);
}

#[test]
fn a_sweep_survives_the_death_of_every_role() {
    let place = daemon::Place::take();
    let daemon = daemon::Daemon::of(&place);
    daemon.recover();
    let home = daemon.home.clone();
    let json = |words: &[&str]| -> Value {
        serde_json::from_str(&run_in(&home, 0, &[words, &["--json"]].concat())).expect("JSON")
    };
    // Long enough to be killed seven times in: a second of work for each run would be too dear, so it sleeps a little.
    let dir = tempfile::tempdir().expect("a directory");
    let code = "import time\n\ndef signals(bars, n, m):\n    time.sleep(0.15)\n    mean = bars['close'].rolling(n).mean()\n    return (bars['close'] > mean * (1 + m / 100)).astype(float)\n";
    let strategy = file(&dir, code);
    let asked = ["sweep", &strategy, "-s", "IBM,AAPL", "-p", "n=5..24:1", "-p", "m=0,1,2", "--parallelism", "2"];
    let begun = json(&[&asked[..], &["--detach"]].concat());
    let id = begun["sweep_id"].as_str().expect("an id").to_owned();
    assert_eq!(begun["progress"]["total"], 120);
    let done = || {
        let status = ringfence(&home, &["sweep", "show", &id, "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        (status["progress"]["done"].as_u64().unwrap_or(0), status["status"].as_str().unwrap_or_default().to_owned())
    };
    let mut seen = 0;
    let role = |name| move |daemon: &daemon::Daemon| daemon.role(name);
    let victim = |victim| move |daemon: &daemon::Daemon| daemon.victim(victim);
    type Found = Box<dyn Fn(&daemon::Daemon) -> Option<process::Process>>;
    let roles: [(&str, Option<Found>); 8] = [
        ("serve", Some(Box::new(victim(Victim::Serve)))),
        ("the jailer", Some(Box::new(victim(Victim::Jailer)))),
        ("the gateway", Some(Box::new(role("ringfence-gateway")))),
        ("the exchange", Some(Box::new(role("ringfence-venue")))),
        ("the interpreter that others are forked from", Some(Box::new(victim(Victim::Zygote)))),
        ("the supervisor", Some(Box::new(victim(Victim::Supervisor)))),
        ("the outer process", Some(Box::new(victim(Victim::Outer)))),
        ("an end in order", None),
    ];
    for (role, found) in roles {
        patience::wait_for("more runs", || match done() {
            (count, _) if count >= seen + 5 => Ok(()),
            found => Err(format!("{found:?}")),
        });
        let (before, status) = done();
        assert_eq!(status, "running", "it must not be over at {role}");
        match found {
            Some(found) => patience::wait_for("the role", || found(&daemon).ok_or_else(|| role.to_owned())).kill(),
            None => daemon.stop(),
        }
        daemon.recover();
        patience::wait_for("the sweep after the death", || match done() {
            (count, _) if count >= before => {
                seen = count;
                Ok(())
            }
            found => Err(format!("{found:?}")),
        });
        println!("{role} at {before} of 120 runs, and the sweep went on");
    }
    let end = Instant::now() + Duration::from_secs(180);
    while done().1 == "running" || done().1 == "finishing" {
        assert!(Instant::now() < end, "{:?}: {}", done(), common::tail(&home));
        std::thread::sleep(Duration::from_millis(200));
    }
    let survived = json(&["sweep", "show", &id]);
    assert_eq!((&survived["status"], &survived["progress"]["failed"]), (&"completed".into(), &0.into()), "{survived}");
    let table = run_in(&home, 0, &["sweep", "export", &id, "--csv", "-"]);
    let whole = json(&asked);
    assert_eq!(survived["table_sha256"], whole["table_sha256"], "the same table to the bit");
    assert_eq!(run_in(&home, 0, &["sweep", "export", whole["sweep_id"].as_str().expect("an id"), "--csv", "-"]), table);
    let chain = json(&["audit", "verify"]);
    assert_eq!(chain["success"], true, "{chain}");
    daemon.stop();
}

#[test]
fn a_cancelled_sweep_keeps_what_was_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let code = "import time\n\ndef signals(bars, n):\n    time.sleep(0.3)\n    return bars['close'] * 0 + 1\n";
    let begun = json(0, &["sweep", &file(&dir, code), "-s", "IBM", "-p", "n=1..500:1", "--detach"]);
    let id = begun["sweep_id"].as_str().expect("an id");
    patience::wait_for("some runs", || {
        let done = json(0, &["sweep", "show", id])["progress"]["done"].as_u64().unwrap_or(0);
        if done >= 3 { Ok(()) } else { Err(done.to_string()) }
    });
    let cancelled = json(0, &["sweep", "cancel", id]);
    let done = cancelled["progress"]["done"].as_u64().expect("a count");
    assert!((&cancelled["status"] == "cancelled") && (3..500).contains(&done), "{cancelled}");
    assert_eq!(run(0, &["sweep", "show", id, "--all", "--json"]).lines().count() as u64, done);
    // Once more changes nothing.
    assert_eq!(json(0, &["sweep", "cancel", id])["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_heavy_sandboxes_at_once_are_watched() {
    const HEAVY: &str = "import numpy\nm = numpy.random.default_rng(1).standard_normal((400, 400))\nfor _ in range(60):\n    m = m @ m.T / 400\n    m /= numpy.abs(m).max()\nprint(f'{m.sum():.6e}')\n";
    let client = client().await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(tokio::spawn(async {
            let sandbox = Sandbox::new().await;
            let answer = sandbox.python(HEAVY).await;
            let status = sandbox.api.status(Actor::Operator, sandbox.named()).await.expect("a status");
            sandbox.delete().await;
            (answer, status)
        }));
    }
    // Meanwhile the daemon answers at once.
    let mut slowest = Duration::ZERO;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        let asked = Instant::now();
        let health = client.health(Actor::Operator).await.expect("an answer");
        assert!(health.success);
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut outputs = Vec::new();
    for task in tasks {
        let (answer, status) = task.await.expect("it ended");
        assert!(answer.success && answer.cpu_time > 0.0 && answer.memory_peak_bytes > 0, "{answer:?}");
        assert_eq!(status.status, SandboxStatus::Running);
        outputs.push(answer.output);
    }
    outputs.dedup();
    assert_eq!(outputs.len(), 1, "the same work gives the same result: {outputs:?}");
    println!("the slowest answer about the daemon's health took {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

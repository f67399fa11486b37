//! Modes, limits and switches of trading over a real daemon with its gateway: what holds, what is refused, and what outlasts a
//! restart. No exchange is needed, and a sandbox by one test alone. These tests need root.

mod common;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use common::{BIN, ringfence, start, stop};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError, Code, SandboxId,
    api::{
        Actor, CreateRequest, SandboxRequest, TradeHaltRequest, TradeLimitsSetRequest, TradeModeRequest,
        TradeOrdersRequest, TradeStateRequest, TradeStatusRequest, TradeTightenRequest,
    },
    trade::Limits,
};
use ringfence_server::Client;
use serde_json::Value;
use tempfile::TempDir;

/// A daemon with a state directory of its own.
struct Daemon {
    home: TempDir,
}

impl Daemon {
    fn start(config: &str) -> Self {
        let daemon = Self { home: tempfile::tempdir_in("/var/tmp").expect("a directory") };
        daemon.configure(config);
        start(daemon.home(), "none");
        daemon
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn configure(&self, config: &str) {
        fs::write(self.home().join("config.toml"), config).expect("the configuration can be written");
    }

    fn restart(&self) {
        stop(self.home());
        start(self.home(), "none");
    }

    fn client(&self) -> Arc<dyn Sandboxes> {
        Arc::new(Client::new(&self.home().join("run/api.sock"), "test"))
    }

    #[track_caller]
    fn run(&self, code: i32, words: &[&str]) -> String {
        check(code, words, &ringfence(self.home(), words))
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.run(0, &[words, &["--json"]].concat())).expect("JSON")
    }

    /// Runs a command at a terminal of its own, at which somebody types a line.
    #[track_caller]
    fn typed(&self, code: i32, words: &[&str], line: &str) -> String {
        let command = format!("{BIN} --home {} {}", self.home().display(), words.join(" "));
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("RINGFENCE_NO_AUTOSTART", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("script(1) is everywhere");
        let _ = child.stdin.as_mut().expect("piped").write_all(format!("{line}\n").as_bytes());
        check(code, words, &child.wait_with_output().expect("it ends"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if common::answers(self.home()) {
            stop(self.home());
        }
    }
}

#[track_caller]
fn check(code: i32, words: &[&str], output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    if code == 0 { text(&output.stdout) } else { said }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, ApiError>) -> String {
    let error = answer.expect_err("an agent may not");
    assert_eq!(error.code, Code::PermissionDenied, "{error:?}");
    error.message
}

fn limit<'a>(limits: &'a Value, name: &str) -> &'a Value {
    let all = limits["limits"].as_array().expect("a list");
    all.iter().find(|limit| limit["name"] == name).expect("it is listed")
}

#[tokio::test]
async fn an_agent_tightens_and_halts_and_the_operator_loosens_and_resumes() {
    const NAME: &str = "max_notional_per_order";
    let daemon = Daemon::start("");
    let status = daemon.json(&["trade", "status"]);
    assert_eq!((&status["mode"], &status["environment"]), (&"simulated".into(), &"simulated".into()));
    assert_eq!((&status["state"], &status["live_allowed"]), (&"active".into(), &false.into()));
    assert!(status["accounts"].is_array() && status["exchange"]["answers"].is_boolean(), "{status}");
    let set = daemon.run(0, &["trade", "limits", "set", &format!("{NAME}=500"), "permitted_symbols=AAPL,MSFT"]);
    assert!(set.contains("AAPL,MSFT") && set.contains("operator (all accounts)"), "{set}");
    let limits = daemon.json(&["trade", "limits"]);
    assert_eq!(limits["limits"].as_array().map(Vec::len), Some(Limits::KNOBS.len()));
    assert_eq!(limit(&limits, NAME)["value"], "500");
    assert_eq!(limit(&limits, "max_open_orders")["value"], "50");
    daemon.run(2, &["trade", "limits", "set", "max_everything=1"]);
    assert!(daemon.run(1, &["trade", "limits", "set", &format!("{NAME}=much")]).contains(NAME));

    // A sandbox that this node does not know: its limits and its state hold all the same. For an agent there is none.
    let (api, sandbox) = (daemon.client(), SandboxId::from_random([5; 20]).to_string());
    let tighten = |value: &str| TradeTightenRequest {
        sandbox_id: Some(sandbox.clone()),
        tighten: [(NAME.to_owned(), value.to_owned())].into(),
    };
    let unknown = api.trade_tighten(Actor::Agent, tighten("400")).await.expect_err("no sandbox of an agent's");
    assert_eq!(unknown.code, Code::SandboxNotFound, "{unknown:?}");
    let tightened = api.trade_tighten(Actor::Operator, tighten("400")).await.expect("tightened");
    let of_sandbox = tightened.limits.iter().find(|limit| limit.name == NAME).expect("listed");
    assert_eq!((of_sandbox.value.as_str(), of_sandbox.set_by.as_str()), ("400", "client (sandbox)"));
    let loosen = TradeLimitsSetRequest { limits: tighten("600").tighten, ..TradeLimitsSetRequest::default() };
    denied(api.trade_limits_set(Actor::Agent, loosen).await);
    denied(api.trade_mode_set(Actor::Agent, TradeModeRequest { mode: "paper".into(), ..Default::default() }).await);
    let halt = TradeHaltRequest { reason: Some("a test".into()), ..TradeHaltRequest::default() };
    denied(api.trade_halt(Actor::Agent, TradeHaltRequest { flatten: true, ..halt.clone() }).await);
    let halted = api.trade_halt(Actor::Agent, halt).await.expect("halted");
    assert_eq!((halted.state.as_str(), halted.changed), ("halted", true));
    denied(api.trade_resume(Actor::Agent, TradeStateRequest::default()).await);
    denied(api.trade_reduce(Actor::Agent, TradeStateRequest::default()).await);
    let orders = api.trade_orders(Actor::Agent, TradeOrdersRequest::default()).await.expect("listed");
    assert_eq!(orders.count, 0);

    daemon.run(0, &["trade", "mode", "paper"]);
    daemon.restart();
    let status = daemon.json(&["trade", "status"]);
    assert_eq!((&status["mode"], &status["state"]), (&"paper".into(), &"halted".into()));
    assert_eq!((&status["cause"]["by"], &status["cause"]["reason"]), (&"client".into(), &"a test".into()));
    assert_eq!(limit(&daemon.json(&["trade", "limits"]), NAME)["value"], "500");
    let of_sandbox = daemon.json(&["trade", "limits", "--sandbox", &sandbox]);
    assert_eq!(limit(&of_sandbox, NAME)["value"], "400");
    // One alone is not resumed while everything is halted.
    assert!(daemon.run(1, &["trade", "resume", "--sandbox", &sandbox]).contains("comes first"));
    assert!(daemon.run(0, &["trade", "resume"]).contains("trading is active"));
    daemon.run(0, &["trade", "limits", "--sandbox", &sandbox, "set", &format!("{NAME}=none")]);
    assert_eq!(limit(&daemon.json(&["trade", "limits", "--sandbox", &sandbox]), NAME)["value"], "500");
    assert_eq!(daemon.json(&["trade", "mode"])["mode"], "paper");
    for list in [["trade", "orders"], ["trade", "holds"]] {
        assert_eq!(daemon.json(&list)["count"], 0, "{list:?}");
    }
    assert_eq!(daemon.json(&["trade", "positions"])["accounts"], Value::Array(vec![]));
    daemon.run(1, &["trade", "approve", "1"]);
    let chain = daemon.json(&["audit", "verify"]);
    assert_eq!(chain["success"], true, "{chain}");
}

#[tokio::test]
async fn an_agent_tightens_what_holds_for_its_sandbox_and_loosens_nothing() {
    const NAME: &str = "max_notional_per_order";
    let home = common::shared();
    let api: Arc<dyn Sandboxes> = Arc::new(Client::new(&home.join("run/api.sock"), "test"));
    let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
    let sandbox = api.create(Actor::Agent, request, None).await.expect("made").sandbox_id.to_string();
    let tighten = |value: &str| TradeTightenRequest {
        sandbox_id: Some(sandbox.clone()),
        tighten: [(NAME.to_owned(), value.to_owned())].into(),
    };
    let tightened = api.trade_tighten(Actor::Agent, tighten("400")).await.expect("tightened");
    let of_sandbox = tightened.limits.iter().find(|limit| limit.name == NAME).expect("listed");
    assert_eq!((of_sandbox.value.as_str(), of_sandbox.set_by.as_str()), ("400", "client (sandbox)"));
    assert!(denied(api.trade_tighten(Actor::Agent, tighten("450")).await).contains(NAME));
    let loosen = TradeLimitsSetRequest { limits: tighten("600").tighten, ..TradeLimitsSetRequest::default() };
    denied(api.trade_limits_set(Actor::Agent, loosen).await);
    api.delete(Actor::Agent, SandboxRequest { sandbox_id: sandbox }).await.expect("deleted");
}

#[tokio::test]
async fn live_is_refused_while_one_opt_in_is_missing() {
    const ACCOUNT: &str = "live:0c5a";
    let daemon = Daemon::start("");
    let live = ["trade", "mode", "live", "--account", ACCOUNT, "--until", "2h"];
    // No terminal, then no name that is the account's, then no permission in the configuration.
    assert!(daemon.run(2, &live).contains("terminal"));
    assert!(daemon.typed(2, &live, "yes").contains("nothing was changed"));
    assert!(daemon.typed(1, &live, ACCOUNT).contains("live_allowed"));
    daemon.configure("[trade]\nlive_allowed = true\n");
    daemon.restart();
    let missing = daemon.typed(1, &live, ACCOUNT);
    assert!(missing.contains("max_daily_notional") && missing.contains("no_shorting"), "{missing}");
    let every: Vec<String> = Limits::KNOBS
        .iter()
        .filter(|knob| knob.live)
        .map(|knob| {
            let value = Limits::out_of_the_box().get(knob.name).expect("it is one");
            format!("{}={}", knob.name, if value == "none" { "1" } else { &value })
        })
        .collect();
    let mut set = vec!["trade", "limits", "--account", ACCOUNT, "set"];
    set.extend(every.iter().map(String::as_str));
    daemon.run(0, &set);
    // Over the socket as well nobody arms it without the name, or for longer than a day.
    let api = daemon.client();
    let until = |hours: i64| {
        let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(hours)).expect("soon");
        Some(at.to_string())
    };
    let whole = TradeModeRequest {
        mode: "live".into(),
        until: until(2),
        account: Some(ACCOUNT.into()),
        confirm: Some(ACCOUNT.into()),
    };
    for request in [
        TradeModeRequest { confirm: None, ..whole.clone() },
        TradeModeRequest { until: until(25), ..whole.clone() },
        TradeModeRequest { until: None, ..whole.clone() },
    ] {
        api.trade_mode_set(Actor::Operator, request).await.expect_err("one is missing");
    }
    denied(api.trade_mode_set(Actor::Agent, whole).await);
    assert_eq!(daemon.json(&["trade", "mode"])["mode"], "simulated");

    assert!(daemon.typed(0, &live, ACCOUNT).contains("trading is live until"));
    daemon.restart();
    // The daemon of before has hung up on the other client.
    let api = daemon.client();
    let status = api.trade_status(Actor::Agent, TradeStatusRequest::default()).await.expect("a status");
    assert_eq!((status.mode.as_str(), status.environment.as_deref()), ("live", Some("live")));
    daemon.configure("");
    daemon.restart();
    assert!(daemon.run(0, &["trade", "mode"]).contains("orders go nowhere"));
    daemon.run(0, &["trade", "mode", "simulated"]);
    assert_eq!(daemon.json(&["trade", "mode"])["environment"], "simulated");
}

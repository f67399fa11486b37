//! What whoever operates a daemon sees of it: probes, how it comes to its end, what it tells the service manager, its log and its
//! figures. Each test has a daemon of its own.

mod common;
#[path = "operations/daemon.rs"]
mod daemon;

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use daemon::{Daemon, ask, begin, create, signal_to, until};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus, SandboxRequest},
};
use rustix::process::Signal;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_in_time_ends_by_itself_and_nothing_new_is_begun() {
    let mut daemon = Daemon::start("[daemon]\ndrain_seconds = 60\n", &[], &[]);
    let api = daemon.client();
    let id = create(&api).await;
    let run = begin(&api, &id, "import time; time.sleep(4); print('done')").await;
    let stopped = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.wait_for_status("draining");
    daemon.wait_for_missing("waits for 1 execution");
    let refused = api.create(Actor::Operator, CreateRequest::default(), None).await.expect_err("no more");
    assert!(refused.code == Code::InsufficientResources && refused.message.contains("stopping"), "{refused:?}");
    let request = ExecuteRequest { sandbox_id: id, code: "print(1)".into(), ..ExecuteRequest::default() };
    let refused = api.execute(Actor::Operator, request).await.expect_err("no more");
    assert!(refused.code == Code::InsufficientResources && refused.message.contains("stopping"), "{refused:?}");
    let ready = daemon.get("/ready");
    assert_eq!(ready.status, 503, "{}", ready.body);
    let run = run.await.expect("no panic");
    assert_eq!((run.status, run.output.as_str()), (ExecutionStatus::Completed, "done\n"), "{run:?}");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(stopped.elapsed() < Duration::from_secs(40), "it ends when nothing runs any more, not after a minute");
    daemon.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_end_is_killed_and_stop_says_what_it_waits_for() {
    let mut daemon = Daemon::start("[daemon]\ndrain_seconds = 4\n", &[], &[]);
    let api = daemon.client();
    let id = create(&api).await;
    let run = begin(&api, &id, "import time; print('begun', flush=True); time.sleep(600)").await;
    let home = daemon.home.clone();
    let begun = Instant::now();
    let stop = tokio::task::spawn_blocking(move || common::ringfence(&home, &["stop"]));
    let run = run.await.expect("no panic");
    assert!(begun.elapsed() >= Duration::from_secs(4), "it had its time");
    assert_eq!((run.status, run.exit_code), (ExecutionStatus::Killed, Some(137)), "{run:?}");
    assert_eq!(run.output, "begun\n");
    assert!(run.warnings.iter().any(|warning| warning == "the daemon was stopped"), "{run:?}");
    let stop = stop.await.expect("no panic");
    let said = String::from_utf8_lossy(&stop.stderr).into_owned();
    assert!(stop.status.success(), "{said}");
    assert!(said.contains("it waits for 1 execution, at most "), "{said}");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    daemon.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_writes_down_what_it_ended() {
    for second in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start("[daemon]\ndrain_seconds = 600\n", &[], &[]);
        let api = daemon.client();
        let id = create(&api).await;
        let request = ExecuteRequest {
            sandbox_id: id.clone(),
            code: "import time; time.sleep(600)".into(),
            background: true,
            ..ExecuteRequest::default()
        };
        let execution = api.execute(Actor::Operator, request).await.expect("it runs").execution_id;
        daemon.signal(Signal::TERM);
        daemon.wait_for_status("draining");
        let hurried = Instant::now();
        daemon.signal(second);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        assert!(hurried.elapsed() < Duration::from_secs(10), "{:?}: {}", hurried.elapsed(), daemon.log());
        daemon.start_again();
        let api = daemon.client();
        let request = ExecutionRequest { execution_id: execution.to_string(), ..ExecutionRequest::default() };
        let ended = api.execution(Actor::Operator, request).await.expect("it is known");
        assert_eq!(ended.status, ExecutionStatus::Killed, "{ended:?}");
        let status = api.status(Actor::Operator, SandboxRequest { sandbox_id: id }).await.expect("it is known");
        assert_eq!(json!(status.status), "stopped");
        daemon.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_does_not_answer_is_named() {
    let daemon = Daemon::start("", &[], &[]);
    assert_eq!(daemon.get("/health").json(), json!({"status": "ok"}));
    for (role, words) in [
        ("ringfence-venue", "the exchange does not answer"),
        ("ringfence-gateway", "the gateway does not answer"),
        ("ringfence-jailer", "the jailer does not answer"),
    ] {
        let pid = daemon.role(role);
        signal_to(pid, Signal::STOP);
        let said = daemon.wait_for_status("not ready");
        signal_to(pid, Signal::CONT);
        assert!(said["missing"].as_array().expect("a list").contains(&json!(words)), "{role}: {said}");
        let health = daemon.get("/health");
        assert_eq!(health.status, 200, "the process answers all the same");
        daemon.wait_for_status("ready");
    }
    daemon.end();
}

/// Everything that came to the service manager so far.
fn heard(socket: &UnixDatagram, so_far: &mut Vec<String>) {
    let mut bytes = [0; 4096];
    while let Ok(length) = socket.recv(&mut bytes) {
        so_far.push(String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_how_it_stands_and_nobody_else_has_its_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let env = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "600000".to_owned())];
    let mut daemon = Daemon::start("[daemon]\ndrain_seconds = 60\n", &env, &[]);
    let mut said = Vec::new();
    let mut wait_for = |what: &str, count: usize| {
        until(what, || {
            heard(&socket, &mut said);
            let found = said.iter().filter(|line| line.starts_with(what)).count();
            if found >= count { Ok(said.clone()) } else { Err(format!("{said:?}")) }
        })
    };
    wait_for("READY=1", 1);
    wait_for("STATUS=ready", 1);
    let all = wait_for("WATCHDOG=1", 3);
    assert_eq!(all.iter().filter(|line| *line == "READY=1").count(), 1, "{all:?}");
    assert!(all.contains(&"STATUS=ready".to_owned()), "{all:?}");
    assert!(!all.contains(&"STOPPING=1".to_owned()), "{all:?}");

    // One that does not answer says nothing.
    let jailer = daemon.role("ringfence-jailer");
    signal_to(jailer, Signal::STOP);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = wait_for("WATCHDOG=1", 0).len();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let silent = wait_for("WATCHDOG=1", 0);
    assert!(silent[before..].iter().all(|line| line != "WATCHDOG=1"), "{silent:?}");
    signal_to(jailer, Signal::CONT);
    let count = silent.iter().filter(|line| *line == "WATCHDOG=1").count();
    wait_for("WATCHDOG=1", count + 2);

    // Neither a role nor a sandbox has it. The supervisor is a fork of whoever was started by the service manager.
    let api = daemon.client();
    let id = create(&api).await;
    let code = "import os; print(sorted(name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG'))))";
    let request = ExecuteRequest { sandbox_id: id.clone(), code: code.into(), ..ExecuteRequest::default() };
    assert_eq!(api.execute(Actor::Operator, request).await.expect("it runs").output, "[]\n");
    let mut roles = 0;
    for (pid, name) in daemon.tree() {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has_it = String::from_utf8_lossy(&environ).contains("NOTIFY_SOCKET");
        assert!(!has_it || !name.starts_with("ringfence-"), "{name} ({pid})");
        roles += usize::from(name.starts_with("ringfence-"));
    }
    assert!(roles >= 4, "jailer, serve, gateway and venue");

    let run = begin(&api, &id, "import time; time.sleep(3)").await;
    daemon.signal(Signal::TERM);
    let all = wait_for("STATUS=draining: the daemon is stopping; it waits for 1 execution", 1);
    assert!(all.contains(&"STOPPING=1".to_owned()), "{all:?}");
    run.await.expect("no panic");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    daemon.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_log_is_one_object_and_no_secret_is_in_it() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a port").port();
    let tcp = format!("127.0.0.1:{port}");
    let config = "[log]\nformat = \"text\"\nlevel = \"error\"\n[daemon]\ndrain_seconds = 1\n";
    // What is asked for on the command line comes before what the file says, and the variable before its level.
    let args = ["--tcp", tcp.as_str(), "--log-format", "json"];
    let daemon = Daemon::start(config, &[("RINGFENCE_LOG", "trace".to_owned())], &args);
    let own = fs::read_to_string(daemon.home.join("run/token")).expect("a token").trim().to_owned();
    let run = |args: &[&str], input: &str| {
        let output = common::ringfence_with(&daemon.home, args, input);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let made: Value =
        serde_json::from_str(&run(&["token", "create", "--role", "agent", "--name", "watcher", "--json"], ""))
            .expect("JSON");
    let token = made["secret"].as_str().expect("a secret").to_owned();
    const KEY: &str = "key-of-an-exchange-4711";
    const VARIABLE: &str = "value-of-a-variable-4712";
    const PRINTED: &str = "what-a-program-has-4713";
    run(&["secret", "set", "SOME_KEY", "--host", "example.com", "--bearer"], &format!("{KEY}\n"));
    run(&["sandbox", "create", "python", "--name", "logged", "--env", &format!("OWN={VARIABLE}")], "");
    run(&["sandbox", "exec", "logged", "-c", &format!("print('{PRINTED}')")], "");
    for token in [&own, &token, "rf_wrong0123456789abcdef0123456789"] {
        let stream = TcpStream::connect(&tcp).expect("it listens");
        let request = format!(
            "GET /v1/sandboxes HTTP/1.1\r\nhost: {tcp}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        let answer = ask(stream, &request).expect("an answer");
        assert_eq!(answer.status == 200, token != "rf_wrong0123456789abcdef0123456789", "{}", answer.head);
    }
    // The supervisor has something to say too.
    let gateway = daemon.role("ringfence-gateway");
    signal_to(gateway, Signal::KILL);
    until("another gateway", || {
        let now = daemon.role("ringfence-gateway");
        (now != gateway).then_some(()).ok_or_else(|| format!("{now} is the old one"))
    });
    daemon.wait_for_status("ready");
    let (home, tail) = (daemon.home.clone(), daemon.log());
    run(&["stop"], "");
    let log = fs::read_to_string(home.join("log/daemon.log")).unwrap_or(tail);
    let mut roles = BTreeSet::new();
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let keys: BTreeSet<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            keys.into_iter().collect::<Vec<_>>(),
            ["fields", "level", "message", "role", "target", "time"],
            "{line}"
        );
        assert!(object["time"].as_str().expect("a time").parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&object["level"].as_str().expect("a level")));
        assert!(object["fields"].is_object() && object["message"].is_string(), "{line}");
        roles.insert(object["role"].as_str().expect("a role").to_owned());
    }
    for role in ["ringfence", "serve", "gateway"] {
        assert!(roles.contains(role), "{roles:?}");
    }
    assert!(log.contains("the gateway ended"), "{log}");
    let tells = |line: &str| line.contains("\"level\":\"INFO\"") && line.contains("\"role\":\"serve\"");
    assert!(log.lines().any(tells), "the variable says so, and not the file: {log}");
    for secret in [own.as_str(), &token, "rf_wrong0123456789abcdef0123456789", KEY, VARIABLE, PRINTED] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in {line:?}");
    }
    daemon.end();
}

/// The value of a series.
#[track_caller]
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{page}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_count_what_has_happened() {
    let daemon = Daemon::start("", &[], &[]);
    let before = daemon.get("/metrics").body;
    for (series, count) in [
        ("ringfence_sandbox_creates_total{result=\"made\"}", 0.0),
        ("ringfence_executions_total{status=\"completed\"}", 0.0),
        ("ringfence_role_restarts_total{role=\"gateway\"}", 0.0),
        ("ringfence_role_up{role=\"venue\"}", 1.0),
        ("ringfence_gateway_up", 1.0),
        ("ringfence_exchange_up", 1.0),
        ("ringfence_trading_state{state=\"active\"}", 1.0),
        ("ringfence_trading_mode{mode=\"simulated\"}", 1.0),
        ("ringfence_orders_total{mode=\"simulated\",verdict=\"refused\"}", 0.0),
    ] {
        assert!((value(&before, series) - count).abs() < 0.1, "{series} in:\n{before}");
    }
    let api = daemon.client();
    let id = create(&api).await;
    for code in ["print(1)", "raise SystemExit(3)", "import urllib.request as r; r.urlopen('http://example.com')"] {
        let request = ExecuteRequest { sandbox_id: id.clone(), code: code.into(), ..ExecuteRequest::default() };
        api.execute(Actor::Operator, request).await.expect("it runs");
    }
    let halted = common::ringfence(&daemon.home, &["trade", "halt"]);
    assert!(halted.status.success(), "{}", String::from_utf8_lossy(&halted.stderr));
    let after = daemon.get("/metrics").body;
    for (series, at_least) in [
        ("ringfence_sandbox_creates_total{result=\"made\"}", 1.0),
        ("ringfence_sandbox_create_duration_seconds_count", 1.0),
        ("ringfence_executions_total{status=\"completed\"}", 1.0),
        ("ringfence_executions_total{status=\"failed\"}", 2.0),
        ("ringfence_execution_duration_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("ringfence_execution_duration_seconds_sum", 0.000_001),
        ("ringfence_gateway_decisions_total{verdict=\"refused\"}", 1.0),
        ("ringfence_trading_state{state=\"halted\"}", 1.0),
        ("ringfence_credits_spent", 3.0),
        ("ringfence_database_size_bytes{database=\"engine\"}", 4096.0),
        ("ringfence_database_size_bytes{database=\"gate\"}", 4096.0),
        ("ringfence_disk_free_bytes", 1e6),
    ] {
        assert!(value(&after, series) >= at_least, "{series} in:\n{after}");
    }
    assert!(!after.contains(&id), "no id of a sandbox is a label");
    let gateway = daemon.role("ringfence-gateway");
    signal_to(gateway, Signal::KILL);
    until("the gateway's restart", || {
        let page = daemon.get("/metrics").body;
        let restarts = value(&page, "ringfence_role_restarts_total{role=\"gateway\"}");
        if restarts > 0.5 { Ok(()) } else { Err(restarts.to_string()) }
    });
    daemon.end();
}

//! Credits through the real daemon: meters close once whatever ends a sandbox, also `kill -9` of the daemon; and a project that has
//! nothing left is warned, goes on for a while, and is stopped with its files kept.
//!
//! The daemon here is the tests' own, over a state directory beside the shared one.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ringfence_store::{DatabaseKind, SealingKey, Store, copy_database};
use serde_json::Value;

use common::{BIN, ringfence};

/// A daemon of this test's own.
struct Daemon {
    home: PathBuf,
    outer: Child,
}

fn serve(home: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log/daemon.log")).expect("a log");
    let mut serve = Command::new(BIN);
    serve.args(["serve", "--tcp", "none", "--home"]).arg(home);
    serve.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log).spawn().expect("it starts")
}

fn start(home: &Path) -> Child {
    let end = Instant::now() + Duration::from_secs(60);
    let mut outer = serve(home);
    while !common::answers(home) {
        // What was killed may hold the directory for another moment.
        if outer.try_wait().expect("it is our child").is_some() {
            outer = serve(home);
        }
        assert!(Instant::now() < end, "no daemon answers: {}", common::tail(home));
        std::thread::sleep(Duration::from_millis(100));
    }
    outer
}

impl Daemon {
    fn new(name: &str, config: &str) -> Self {
        let shared = common::shared();
        let home = common::beside(name);
        common::prepare(shared, &home);
        fs::write(home.join("config.toml"), format!("{}{config}", common::SMALL_SHELF))
            .expect("the configuration can be written");
        let outer = start(&home);
        Self { home, outer }
    }

    /// `kill -9`, and another one over what is left.
    fn killed(mut self) -> Self {
        self.outer.kill().expect("it runs");
        self.outer.wait().expect("it is our child");
        let outer = start(&self.home);
        Self { home: self.home, outer }
    }

    fn end(mut self) {
        common::stop(&self.home);
        self.outer.wait().expect("it is our child");
        let removed = fs::remove_dir_all(&self.home);
        assert!(removed.is_ok() || !self.home.join("engine/engine.db").exists(), "{removed:?}");
    }

    fn run(&self, args: &[&str]) -> Output {
        ringfence(&self.home, &[args, &["--json"]].concat())
    }

    #[track_caller]
    fn said(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }

    /// What a refused command says.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    fn create(&self, name: &str, more: &[&str]) -> Value {
        self.said(&[&["sandbox", "create", "python", "--name", name], more].concat())
    }

    fn wait_for_status(&self, name: &str, more: &[&str], wanted: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.said(&[&["sandbox", "status", name], more].concat());
            if status["status"] == wanted {
                return;
            }
            assert!(Instant::now() < end, "{name} is {status}, not {wanted}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The ledger sums to the balances, and a meter is open for what runs and for nothing else. Read from a copy, beside the daemon.
    fn adds_up(&self) {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let (engine, key) = (self.home.join("engine"), copy.path().join("sealing.key"));
        copy_database(DatabaseKind::Engine, &engine.join("engine.db"), &copy.path().join("engine.db")).expect("copied");
        fs::copy(engine.join("sealing.key"), &key).expect("copied");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let key = SealingKey::load_or_create(&key).expect("a key");
            let store = Store::open(&copy.path().join("engine.db"), key).expect("the copy opens");
            assert_eq!(store.read(|view| view.check_credits()).await.expect("readable"), Vec::<String>::new());
            store.close().await.expect("closed");
        });
    }
}

/// One daemon at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn meters_close_once_whatever_ends_a_sandbox() {
    let _alone = alone();
    let daemon = Daemon::new("meters", "");
    for name in ["deleted", "stopped", "running", "paused"] {
        daemon.create(name, &[]);
    }
    daemon.create("expired", &["--timeout", "6s"]);
    daemon.said(&["sandbox", "exec", "running", "-c", "sum(range(10_000_000))"]);
    let gone = daemon.said(&["sandbox", "rm", "deleted"]);
    assert!(gone.to_string().contains("\"total_cost\":3"), "{gone}");
    daemon.said(&["sandbox", "stop", "stopped"]);
    daemon.said(&["sandbox", "pause", "paused"]);
    daemon.wait_for_status("expired", &[], "expired");
    daemon.adds_up();
    let balance = daemon.said(&["credits", "balance"]);
    assert_eq!((balance["unlimited"].as_bool(), balance["metered"].as_u64()), (Some(true), Some(2)), "{balance}");
    assert_eq!(balance["spent_today"], 15, "five of 3 credits, all within their first minute: {balance}");

    let daemon = daemon.killed();
    for name in ["running", "paused", "stopped"] {
        daemon.wait_for_status(name, &[], "stopped");
        assert_eq!(daemon.said(&["sandbox", "status", name])["sandbox"]["cost_so_far"], 3);
    }
    daemon.adds_up();
    assert_eq!(daemon.said(&["credits", "balance"])["metered"], 0);
    // Another time of running is another meter, which begins with a minute of its own.
    daemon.said(&["sandbox", "resume", "running"]);
    assert_eq!(daemon.said(&["sandbox", "status", "running"])["sandbox"]["cost_so_far"], 4);
    let daemon = daemon.killed().killed();
    daemon.adds_up();
    for name in ["running", "paused", "stopped"] {
        daemon.said(&["sandbox", "rm", name]);
    }
    daemon.adds_up();
    let usage = daemon.said(&["usage"]);
    let costs: Vec<_> =
        usage["rows"].as_array().expect("rows").iter().map(|row| row["used"]["credits"].clone()).collect();
    assert_eq!(costs, [4, 3, 3, 3, 3], "{usage}");
    assert_eq!(usage["total"]["credits"], 16, "{usage}");
    let figure = |name: &str| usage["total"][name].as_f64().unwrap_or_else(|| panic!("{name}: {usage}"));
    assert!(figure("cpu_seconds") > 0.05 && figure("gb_seconds") > 0.1 && figure("running_seconds") > 6.0, "{usage}");
    for by in ["project", "day"] {
        let rows = daemon.said(&["usage", "--by", by]);
        assert_eq!(
            (rows["count"].as_u64(), rows["rows"][0]["used"]["credits"].as_u64()),
            (Some(1), Some(16)),
            "{rows}"
        );
    }
    daemon.end();
}

#[test]
fn without_credits_there_is_a_warning_a_grace_and_a_clean_stop() {
    let _alone = alone();
    let daemon = Daemon::new("budget", "[credits]\ngrace_seconds = 4\n");
    let fund = ["--project", "fund"];
    let of_fund = |args: &[&str]| daemon.said(&[args, &fund].concat());
    assert_eq!(of_fund(&["credits", "budget", "6"])["balance"], 6);
    let first = daemon.create("first", &fund);
    assert!(first["warnings"].to_string().contains("50 %"), "{first}");
    of_fund(&["sandbox", "exec", "first", "-c", "open('kept', 'w').write('42')"]);
    daemon.create("second", &fund);
    let refused = daemon.refused(&["sandbox", "create", "python", "--project", "fund"]);
    assert!(refused.contains("INSUFFICIENT_CREDITS") && refused.contains("ringfence credits grant"), "{refused}");
    let warned = of_fund(&["sandbox", "exec", "first", "-c", "print(open('kept').read())"]);
    assert!(warned["output"] == "42\n" && warned["warnings"].to_string().contains("no credits"), "{warned}");
    let left = of_fund(&["credits", "balance"]);
    assert!(left["balance"] == 0 && left["stops_at"].is_string(), "{left}");
    // Another project is none the poorer.
    daemon.create("other", &[]);

    for name in ["first", "second"] {
        daemon.wait_for_status(name, &fund, "stopped");
    }
    assert_eq!(daemon.said(&["sandbox", "status", "other"])["status"], "running");
    let refused = daemon.refused(&["sandbox", "resume", "first", "--project", "fund"]);
    assert!(refused.contains("INSUFFICIENT_CREDITS"), "{refused}");
    assert_eq!(of_fund(&["credits", "balance"])["balance"], 0, "and not less");
    daemon.adds_up();

    // An agent gives itself nothing.
    let secret = of_fund(&["token", "create", "--role", "agent", "--name", "claude"])["secret"].clone();
    let secret = secret.as_str().expect("a secret");
    let asked = |args: &[&str]| {
        let mut command = Command::new(BIN);
        command.arg("--home").arg(&daemon.home).args(args).args(["--json"]);
        let output =
            command.envs([("RINGFENCE_NO_AUTOSTART", "1"), ("RINGFENCE_TOKEN", secret)]).output().expect("it runs");
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    for args in [["credits", "grant", "5"], ["credits", "budget", "unlimited"]] {
        let (done, said) = asked(&args);
        assert!(!done && said.contains("PERMISSION_DENIED"), "{args:?}: {said}");
    }
    let (done, said) = asked(&["stop"]);
    assert!(!done && said.contains("PERMISSION_DENIED"), "{said}");
    assert!(!said.contains("is stopping"), "{said}");
    let (read, said) = asked(&["credits", "balance"]);
    assert!(read && said.contains("fund"), "{said}");

    // The control: the operator does, once for each key, and it goes on with its files.
    for _ in 0..2 {
        assert_eq!(of_fund(&["credits", "grant", "2.5", "--key", "invoice"])["balance"], 2.5);
    }
    of_fund(&["sandbox", "resume", "first"]);
    assert_eq!(of_fund(&["sandbox", "exec", "first", "-c", "print(open('kept').read())"])["output"], "42\n");
    assert_eq!(of_fund(&["credits", "balance"])["balance"], 1.5);
    let events: Vec<String> =
        daemon.said(&["audit", "tail", "-n", "200"]).to_string().split('"').map(str::to_owned).collect();
    for event in ["credit.budget", "credit.warn", "credit.exhausted", "credit.grant"] {
        assert!(events.iter().any(|word| word == event), "{event}: {events:?}");
    }
    daemon.adds_up();
    daemon.end();
}

/// Takes every layer away, so that no sandbox can be started, and puts them back.
fn without_layers<T>(home: &Path, then: impl FnOnce() -> T) -> T {
    let layers: Vec<PathBuf> =
        fs::read_dir(home.join("layers")).expect("layers").map(|entry| entry.expect("an entry").path()).collect();
    assert!(!layers.is_empty());
    let away = |layer: &Path| layer.with_extension("away");
    for layer in &layers {
        fs::rename(layer, away(layer)).expect("it can be moved");
    }
    let answer = then();
    for layer in &layers {
        fs::rename(away(layer), layer).expect("it can be moved back");
    }
    answer
}

#[test]
fn a_start_that_fails_is_given_back() {
    let _alone = alone();
    let daemon = Daemon::new("refund", "");
    let fund = ["--project", "fund"];
    let of_fund = |args: &[&str]| daemon.said(&[args, &fund].concat());
    of_fund(&["credits", "budget", "10"]);
    daemon.create("lab", &fund);
    of_fund(&["sandbox", "exec", "lab", "-c", "open('kept', 'w').write('42')"]);
    of_fund(&["sandbox", "stop", "lab"]);
    let left = || of_fund(&["credits", "balance"]);
    assert_eq!(left()["balance"], 7);
    let failed = without_layers(&daemon.home, || {
        let args = ["sandbox", "resume", "lab", "--project", "fund"];
        [daemon.refused(&args), daemon.refused(&args)]
    });
    for said in &failed {
        assert!(
            !said.contains("INSUFFICIENT_CREDITS") && !said.contains("NOT_FOUND"),
            "it failed in its start: {said}"
        );
    }
    let balance = left();
    assert_eq!((&balance["balance"], &balance["metered"]), (&7.into(), &0.into()), "both are given back: {balance}");
    assert_eq!(of_fund(&["sandbox", "status", "lab"])["sandbox"]["cost_so_far"], 3);
    assert_eq!(of_fund(&["sandbox", "status", "lab"])["status"], "stopped");
    daemon.adds_up();
    // The control: one that succeeds is paid, and it has its files.
    of_fund(&["sandbox", "resume", "lab"]);
    assert_eq!(left()["balance"], 6);
    assert_eq!(of_fund(&["sandbox", "exec", "lab", "-c", "print(open('kept').read())"])["output"], "42\n");
    // What was reserved and not given back would show in the chain's steps of the budget too.
    let steps = daemon.said(&["audit", "tail", "-n", "200"]).to_string();
    assert!(steps.contains("it could not be started") && !steps.contains("credit.exhausted"), "{steps}");
    daemon.adds_up();
    daemon.end();
}

#[test]
fn files_above_the_first_gb_are_billed_once_a_day_and_those_of_a_stopped_sandbox_too() {
    let _alone = alone();
    // A price that is no other one's.
    let daemon = Daemon::new("storage", "[credits]\nstorage = 7\n");
    for name in ["small", "large"] {
        daemon.create(name, &["--disk-mb", "4096"]);
    }
    let write = |daemon: &Daemon, name: &str, mib: u32| {
        let code = format!(
            "import os\nblock = os.urandom(1 << 20)\nwith open('big', 'ab') as f:\n  for _ in range({mib}): f.write(block)"
        );
        daemon.said(&["sandbox", "exec", name, "-c", &code, "--timeout", "5m"]);
    };
    write(&daemon, "small", 200);
    write(&daemon, "large", 2100);
    daemon.said(&["sandbox", "stop", "large"]);
    let cost = |daemon: &Daemon, name: &str| {
        daemon.said(&["sandbox", "status", name])["sandbox"]["cost_so_far"].as_u64().expect("whole credits")
    };
    let wait_for = |daemon: &Daemon, name: &str, wanted: u64| {
        let end = Instant::now() + Duration::from_secs(60);
        while cost(daemon, name) != wanted {
            assert!(Instant::now() < end, "{name} has cost {}, not {wanted}", cost(daemon, name));
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    // It is looked at when the daemon starts, and every ten minutes. Two GB begin above the first of the one, which is stopped.
    let large = cost(&daemon, "large") + 2 * 7;
    let daemon = daemon.killed();
    wait_for(&daemon, "large", large);
    let small = cost(&daemon, "small");
    assert!(small < 2 + 7, "nothing of one that has less is paid but its creation and minutes: {small}");
    // On the same day what is new is paid, and nothing twice.
    daemon.said(&["sandbox", "resume", "small"]);
    write(&daemon, "small", 1000);
    daemon.said(&["sandbox", "stop", "small"]);
    let small = cost(&daemon, "small") + 7;
    let daemon = daemon.killed();
    wait_for(&daemon, "small", small);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((cost(&daemon, "small"), cost(&daemon, "large")), (small, large));
    let usage = daemon.said(&["usage"]);
    let rows = usage["rows"].as_array().expect("rows");
    let of = |name: &str| rows.iter().find(|row| row["name"] == name).and_then(|row| row["used"]["credits"].as_u64());
    assert_eq!((of("small"), of("large")), (Some(small), Some(large)), "{usage}");
    daemon.adds_up();
    daemon.end();
}

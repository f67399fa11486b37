//! The command line of the network gate against a fake of the daemon: no root, no sandbox, no gateway.

#[path = "../../server/tests/fake/mod.rs"]
mod fake;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use fake::{Fake, node::FakeNode};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, SandboxRequest};
use ringfence_server::{Config, Services, Started, Stop, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixListener;

const BIN: &str = env!("CARGO_BIN_EXE_ringfence");

/// A daemon that is none, on a socket where commands look for one.
struct Daemon {
    home: TempDir,
    fake: Arc<Fake>,
    stop: Stop,
}

impl Daemon {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join("run")).expect("a directory");
        let uid = std::fs::metadata(home.path()).expect("it is there").uid();
        let (fake, stop) = (Arc::new(Fake::default()), Stop::default());
        let services = Services { sandboxes: fake.clone(), research: fake.clone() };
        let (ending, socket) = (stop.clone(), home.path().join("run/api.sock"));
        let (bound, is_bound) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let unix = UnixListener::bind(socket).expect("a socket");
                bound.send(()).expect("somebody waits");
                let drain = Duration::from_secs(1);
                let config = Config { build: "fake".into(), unix, unix_uids: vec![uid], tcp: None, drain };
                let started = Started { services, previews: None, node: Arc::new(FakeNode::default()) };
                serve(config, std::future::ready(started), ending).await.expect("it serves");
            });
        });
        is_bound.recv().expect("it is bound");
        Self { home, fake, stop }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.args(words).env("RINGFENCE_HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().expect("it starts"))
    }

    fn run_with(&self, words: &[&str], input: &[u8]) -> Said {
        fed(self.command(words), input)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn fed(mut command: Command, input: &[u8]) -> Said {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("it starts");
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().expect("piped").write_all(input);
    Said::of(child.wait_with_output().expect("it ends"))
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn check(&self, code: i32, out: &[&str], err: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in out {
            assert!(self.out.contains(word), "{word}: {self:?}");
        }
        for word in err {
            assert!(self.err.contains(word), "{word}: {self:?}");
        }
    }
}

#[tokio::test]
async fn the_command_that_a_refusal_prints_adds_to_what_is_allowed() {
    let daemon = Daemon::start();
    let request = CreateRequest { template: "python".into(), name: Some("lab".into()), ..CreateRequest::default() };
    let id = daemon.fake.create(Actor::Operator, request, None).await.expect("made").sandbox_id.to_string();
    let refused = daemon.run(&["sandbox", "exec", "lab", "-c", "fetch"]);
    let command = format!("ringfence sandbox configure {id} --allow api.example.com:8443");
    refused.check(0, &[], &["refused api.example.com:8443, 2 times", &command]);
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    daemon.run(&words).check(0, &["network api.example.com:8443\n"], &[]);
    daemon.run(&words).check(0, &["network api.example.com:8443\n"], &[]);
    let more = ["sandbox", "configure", "lab", "--allow", "*.example.org", "--allow", "api.example.com:443"];
    daemon.run(&more).check(0, &["network api.example.com:8443,443, *.example.org:443\n"], &[]);
    daemon.run(&["sandbox", "status", "lab"]).check(0, &["*.example.org:443"], &[]);
    let only = ["sandbox", "configure", "lab", "--network", "none", "--allow", "a.test:80", "--secret", "KEY"];
    daemon.run(&only).check(0, &["network a.test:80\n", "secrets KEY\n"], &[]);
    daemon.run(&["sandbox", "configure", "lab", "--network", "packages"]).check(0, &["network packages\n"], &[]);
    let more = ["sandbox", "configure", "lab", "--allow", "a.test"];
    daemon.run(&more).check(0, &["pypi.org:443", "a.test:443"], &["public registries"]);
    daemon.run(&["sandbox", "configure", "lab", "--env", "A=1"]).check(0, &["secrets KEY\n"], &[]);
    let status = daemon.fake.status(Actor::Operator, SandboxRequest { sandbox_id: id }).await.expect("there");
    assert!(status.sandbox.network.expect("known").policy.to_string().ends_with("a.test:443"));
    let nonsense = ["sandbox", "configure", "lab", "--network", "open", "--allow", "a.test"];
    daemon.run(&nonsense).check(2, &[], &["leave --allow out"]);
    daemon.run(&["sandbox", "create", "--allow", "10.0.0.1"]).check(2, &[], &["10.0.0.1"]);
}

#[test]
fn a_sandbox_that_is_gone_is_not_offered_to_be_configured() {
    let daemon = Daemon::start();
    let words = ["run", "-", "--language", "python", "--network", "none"];
    let said = daemon.run_with(&words, b"fetch");
    said.check(0, &["fetch"], &["run it again with: --allow api.example.com:8443"]);
    assert!(!said.err.contains("sandbox configure"), "{said:?}");
    let words = ["run", "-", "--language", "python", "--keep"];
    daemon.run_with(&words, b"fetch").check(0, &[], &["sandbox configure i", "--allow api.example.com:8443"]);
}

#[test]
fn a_secret_is_read_from_standard_input_and_shown_by_nothing() {
    let daemon = Daemon::start();
    let set = ["secret", "set", "KEY", "--host", "API.example.com", "--header", "X-Api-Key", "--bearer"];
    let said = daemon.run_with(&set, b"hunter2\n");
    // The fake's fingerprint is the length: the newline is not a part of the value.
    said.check(
        0,
        &["stored KEY version 1, fingerprint 000000000007", "api.example.com", "bearer, header:X-Api-Key"],
        &[],
    );
    let rotated = daemon.run_with(&["secret", "rotate", "KEY"], b"hunter2longer");
    rotated.check(0, &["version 2, fingerprint 00000000000d"], &[]);
    let listed = daemon.run(&["secret", "ls"]);
    listed.check(0, &["KEY", "00000000000d"], &[]);
    let json = daemon.run_with(&["secret", "set", "K2", "--json"], b"hunter2");
    assert_eq!(serde_json::from_str::<Value>(&json.out).expect("JSON")["secret"]["name"], "K2");
    let refused = daemon.run_with(&["secret", "set", "KEY", "hunter2"], b"");
    for said in [&said, &rotated, &listed, &json] {
        assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
    }
    assert_eq!(refused.code, Some(2), "a value is no argument");
    daemon.run(&["secret", "rm", "KEY", "K2"]).check(0, &["removed KEY\n", "removed K2\n"], &[]);
    daemon.run(&["secret", "rm", "KEY"]).check(1, &[], &["KEY"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_a_daemon_is_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("none");
    for (words, input, word) in [
        (&["secret", "set", "KEY"][..], &b"\n"[..], "empty"),
        (&["secret", "set", "KEY"], b"\xff\xfe", "UTF-8"),
        (&["secret", "set", "KEY", "--bearer"], b"v", "--host"),
        (&["secret", "set", "KEY", "--host", "a.test"], b"v", "--bearer"),
        (&["secret", "set", "KEY", "--port", "80"], b"v", "--host"),
        (&["secret", "set", "KEY", "--host", "*.a.test", "--bearer"], b"v", "*.a.test"),
        (&["secret", "set", "A B"], b"v", "A B"),
        (&["secret", "rotate", "KEY"], b"", "empty"),
        (&["egress", "tail", "-n", "0"], b"", "between 1"),
    ] {
        let mut command = Command::new(BIN);
        command.args(words).env("RINGFENCE_HOME", &home);
        fed(command, input).check(2, &[], &[word]);
        assert!(!Path::new(&home).exists(), "{words:?} started a daemon");
    }
}

#[test]
fn top_shows_one_frame_as_text_and_as_data() {
    let daemon = Daemon::start();
    daemon.run(&["sandbox", "create", "python", "--name", "lab"]).check(0, &[], &[]);
    let text = daemon.run(&["top", "--once"]);
    text.check(0, &["ringfence 0.1.0, ok, up 1.0 s", "machine ", " busy, load ", "trading   simulated, active;"], &[]);
    text.check(0, &["SANDBOX", "lab      running", "SYMBOL", "AAPL"], &[]);
    assert!(!text.out.contains('\u{1b}'), "a log has no colours: {text:?}");
    let frame: Value = serde_json::from_str(&daemon.run(&["top", "--json"]).out).expect("one object");
    assert_eq!((&frame["sandboxes"][0]["name"], &frame["sandboxes"][0]["status"]), (&"lab".into(), &"running".into()));
    assert!(frame["machine"]["memory_total_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{frame}");
    assert_eq!(frame["trading"]["open_orders"], frame["orders"].as_array().expect("a list").len());
    daemon.run(&["top"]).check(2, &[], &["--once"]);
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(BIN);
    command.args(["top", "--once"]).env("RINGFENCE_HOME", home.path());
    fed(command, b"").check(1, &[], &["no daemon runs"]);
}

/// Runs a command at a terminal of so many columns and 16 lines, lets it draw, ends it by a key, and prints what appeared there and the
/// modes of the terminal before and after.
const DRAWN: &str = "
import fcntl, os, pty, struct, sys, termios, time
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 16, int(sys.argv[2]), 0, 0))
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.close(master)
    os.login_tty(slave) if hasattr(os, 'login_tty') else (os.setsid(), fcntl.ioctl(slave, termios.TIOCSCTTY, 0), [os.dup2(slave, fd) for fd in range(3)])
    os.execv(sys.argv[3], sys.argv[3:])
seen = b''
while seen.count(b'\x1b[J') < 2:
    seen += os.read(master, 65536)
os.write(master, bytes.fromhex(sys.argv[1]))
end = time.time() + 10
os.set_blocking(master, False)
code = None
while code is None and time.time() < end:
    done, status = os.waitpid(pid, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status) if done else None
    try:
        seen += os.read(master, 65536)
    except BlockingIOError:
        time.sleep(0.02)
after = termios.tcgetattr(slave)
sys.stdout.buffer.write(seen)
print('\\nrestored' if before == after else '\\nchanged', code)
";

#[test]
fn top_gives_the_terminal_back_and_is_no_wider_than_it() {
    let daemon = Daemon::start();
    daemon.run(&["sandbox", "create", "python", "--name", "lab"]).check(0, &[], &[]);
    for (key, width) in [("71", "80"), ("03", "30")] {
        let mut command = Command::new("python3");
        command.args(["-c", DRAWN, key, width, BIN, "top"]).env("RINGFENCE_HOME", daemon.home.path());
        let said = Said::of(command.output().expect("python3 is there"));
        assert!(said.out.ends_with("\nrestored 0\n"), "{said:?}");
        let shown = said.out.split_once("\u{1b}[?1049h\u{1b}[?25l").expect("another screen").1;
        let (shown, _) = shown.split_once("\u{1b}[?25h\u{1b}[?1049l").expect("the screen of before");
        assert!(shown.contains("lab"), "{shown:?}");
        let mut text = shown.to_owned();
        // A frame begins at the top, without an end of the last line before it.
        text = text.replace("\u{1b}[H", "\n");
        for code in ["\u{1b}[2J", "\u{1b}[K", "\u{1b}[J", "\u{1b}[7m", "\u{1b}[0m"] {
            text = text.replace(code, "");
        }
        let widest = text.lines().map(|line| line.trim_end_matches('\r').chars().count()).max().expect("lines");
        assert!(widest <= width.parse().expect("a number"), "{widest}: {text:?}");
    }
}

/// Types keys at a terminal of its own, and prints what appeared there and the exit code.
const TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b''
while b'(not shown): ' not in seen:
    seen += os.read(terminal, 1024)
os.write(terminal, bytes.fromhex(sys.argv[1]))
try:
    while more := os.read(terminal, 1024):
        seen += more
except OSError:
    pass
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
fn what_is_typed_is_not_shown() {
    let daemon = Daemon::start();
    let typed = |keys: &[u8]| {
        let keys: String = keys.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL, &keys, BIN, "secret", "set", "KEY"]);
        Said::of(command.env("RINGFENCE_HOME", daemon.home.path()).output().expect("python3 is there"))
    };
    let said = typed(b"hunter22\x7f\r");
    said.check(0, &["value of KEY (not shown): ", "fingerprint 000000000007"], &[]);
    assert!(!said.out.contains("hunter"), "{said:?}");
    let said = typed(b"hunter2\x03");
    said.check(130, &["nothing was stored"], &[]);
    assert!(!said.out.contains("hunter"), "{said:?}");
}

#[test]
fn decisions_are_followed() {
    let daemon = Daemon::start();
    daemon.run(&["egress", "tail"]).check(
        0,
        &["NUMBER", "api.example.com:443", "GET /v2/account", "with KEY; 3 ms"],
        &[],
    );
    daemon.run(&["egress", "tail", "nobody"]).check(1, &[], &["SANDBOX_NOT_FOUND"]);
    let lines = daemon.run(&["egress", "tail", "--json", "-n", "5"]);
    lines.check(0, &[], &[]);
    assert_eq!(serde_json::from_str::<Value>(lines.out.trim_end()).expect("one object")["number"], 1);
    let mut following = daemon.command(&["egress", "tail", "-f"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let out = BufReader::new(following.stdout.take().expect("piped"));
    let numbers: Vec<String> = out
        .lines()
        .take(3)
        .map(|line| line.expect("text").split_whitespace().next().expect("a number").to_owned())
        .collect();
    following.kill().expect("it runs");
    following.wait().expect("it ends");
    assert_eq!(numbers, ["1", "2", "3"], "each once, in order");
}

#[test]
fn trading_is_shown_set_and_switched_at_the_command_line() {
    let daemon = Daemon::start();
    daemon.run(&["trade", "mode"]).check(0, &["simulated\n"], &[]);
    daemon.run(&["trade", "mode", "paper"]).check(0, &["trading is paper; it was simulated"], &[]);
    let set = ["trade", "limits", "set", "max_open_orders=5", "permitted_symbols=AAPL,MSFT"];
    daemon.run(&set).check(0, &["max_open_orders", "AAPL,MSFT", "operator (all accounts)"], &[]);
    daemon.run(&["trade", "limits", "set", "max_everything=5"]).check(2, &[], &["max_everything", "max_open_orders"]);
    let all = daemon.run(&["trade", "limits", "--all"]);
    all.check(0, &["duplicate_window_s", "At most so many orders are open"], &[]);
    let status = daemon.run(&["trade", "status"]);
    status.check(0, &["mode       paper", "state      active", "does not answer: it is a fake", "bought 1200"], &[]);
    daemon.run(&["trade", "halt", "--reason", "a loop"]).check(0, &["trading is halted: a loop (operator"], &[]);
    let status: Value = serde_json::from_str(&daemon.run(&["trade", "status", "--json"]).out).expect("JSON");
    assert_eq!((&status["state"], &status["cause"]["by"]), (&"halted".into(), &"operator".into()));
    assert_eq!(status["accounts"][0]["amounts"]["bought"], "1200", "amounts are texts");
    daemon.run(&["trade", "reduce", "--account", "sim:a"]).check(0, &["trading in sim:a is reducing"], &[]);
    daemon.run(&["trade", "resume"]).check(0, &["trading is active"], &[]);
    let orders = daemon.run(&["trade", "orders", "--open"]);
    orders.check(0, &["AAPL", "limit at 200.25", "working"], &[]);
    daemon.run(&["trade", "orders", "-n", "0"]).check(2, &[], &["between 1 and 1000"]);
    daemon.run(&["trade", "positions"]).check(0, &["AAPL"], &[]);
    daemon.run(&["trade", "holds"]).check(0, &["buy 3 AAPL market", "600.5", "waiting"], &[]);
    daemon.run(&["trade", "approve", "4"]).check(0, &["approved buy 3 AAPL market", "let through once"], &[]);
    daemon.run(&["trade", "refuse", "4"]).check(0, &["refused buy 3 AAPL market"], &[]);
    assert!(daemon.fake.actors().iter().all(|actor| *actor == Actor::Operator));
}

#[test]
fn live_is_not_armed_without_a_terminal() {
    let daemon = Daemon::start();
    let live = ["trade", "mode", "live", "--account", "live:a", "--until", "2h"];
    daemon.run_with(&live, b"live:a\n").check(2, &[], &["terminal"]);
    daemon.run(&["trade", "mode", "live", "--account", "live:a"]).check(2, &[], &["--until"]);
    daemon.run(&["trade", "mode", "live", "--until", "soon"]).check(2, &[], &["soon"]);
    daemon.run(&["trade", "mode", "live", "--until", "2h", "--account", "paper:a"]).check(2, &[], &["live:"]);
    daemon.run(&["trade", "mode", "paper", "--until", "2h"]).check(2, &[], &["live"]);
    assert!(daemon.fake.actors().is_empty(), "nothing was asked of the daemon");
}

//! Where attacks are run: in a sandbox, and as a control on the host.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExecutionStatus, LimitsRequest,
};

use crate::common::Sandbox;

/// What every program begins with.
const PREAMBLE: &str = include_str!("attack.py");

/// Exit codes of `attack.py`.
const BLOCKED: i32 = 10;
const SUCCEEDED: i32 = 20;

/// How long the daemon may take to answer everything that [`all_is_well`] asks: an outage, not a benchmark.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names by which a kernel says that it was built without something.
const NOT_BUILT: [&str; 4] = ["ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT"];

/// How an attack ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Blocked(String),
    Succeeded,
    /// It said nothing of the kind: its output.
    Neither(String),
}

impl Verdict {
    fn of(output: &str, stderr: &str, exit_code: Option<i32>) -> Self {
        let last = output.lines().next_back().unwrap_or("");
        match (last.split_once(' '), last, exit_code) {
            (Some(("BLOCKED", why)), _, Some(BLOCKED)) => Self::Blocked(why.to_owned()),
            (_, "SUCCEEDED", Some(SUCCEEDED)) => Self::Succeeded,
            _ => Self::Neither(format!("exit code {exit_code:?}, output {output:?}, errors {stderr:?}")),
        }
    }
}

/// The program of one attack. `header` is Python that names what differs from run to run.
pub(crate) fn program(header: &str, group: &str, name: &str) -> String {
    format!("{PREAMBLE}\n{header}\n{group}\nmain({name:?})\n")
}

/// What an execution of an attack ended with.
pub(crate) fn verdict(run: &ExecutionAnswer) -> Verdict {
    Verdict::of(&run.output, &run.stderr, run.exit_code)
}

/// Runs an attack inside.
pub(crate) async fn inside(sandbox: &Sandbox, program: &str) -> Verdict {
    verdict(&sandbox.python(program).await)
}

/// A sandbox so small that it is soon full.
pub(crate) async fn small() -> Sandbox {
    let limits = LimitsRequest { memory_mb: Some(256), processes: Some(64), cpu: None, disk_mb: Some(64) };
    Sandbox::with(CreateRequest { template: "python".into(), limits: Some(limits), ..CreateRequest::default() }).await
}

/// The control: the same program as root of the host. It runs in a directory of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    /// In namespaces of its own, so that what succeeds harms nobody: mount, pid, ipc, uts, net. Python that is run first.
    Private(&'static str),
    /// In a mount namespace only: it needs the host's processes or network. Python that is run first.
    Host(&'static str),
    /// As [`Self::Private`]. This kernel or host may be unable to do it, and then answers with that errno.
    Perhaps(&'static str),
}

/// Python that makes the control an unprivileged user.
pub(crate) const AS_NOBODY: &str = "import fcntl, mmap, resource, subprocess, tempfile, threading\n\
    os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)";

/// The host's Python: Debian's own, before a version manager's.
pub(crate) fn python() -> &'static str {
    const DEBIAN: &str = "/usr/bin/python3";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "python3" }
}

const PRIVATE: [&str; 8] = ["--mount", "--pid", "--fork", "--mount-proc", "--ipc", "--uts", "--net", "--kill-child"];

impl Control {
    /// Runs a program that [`program`] made.
    pub(crate) async fn run(self, header: &str, group: &str, name: &str) -> Verdict {
        let (options, before) = match self {
            Self::Private(before) => (&PRIVATE[..], before),
            Self::Host(before) => (&PRIVATE[..1], before),
            Self::Perhaps(_) => (&PRIVATE[..], ""),
        };
        // A tmpfs at the place of the programs' directory is a private one: the mount namespace ends with the program.
        let script = "mount -t tmpfs -o size=200m,mode=1777 none \"$0\" && cd \"$0\" && \
            mkdir -p /run/ringfence && mount -t tmpfs none /run/ringfence && ip link set lo up; exec timeout 30 \"$1\" -";
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut unshare = Command::new("unshare");
        unshare.args(options).args(["--", "sh", "-c", script]).arg(dir.path()).arg(python());
        let text = program(&format!("{header}\n{before}"), group, name);
        tokio::task::spawn_blocking(move || on_host(unshare, &text, dir.path())).await.expect("it does not panic")
    }
}

/// Runs Python of its standard input.
pub(crate) fn on_host(mut command: Command, program: &str, dir: &Path) -> Verdict {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(dir);
    let mut child = command.spawn().expect("util-linux is on every host");
    child.stdin.take().expect("piped").write_all(program.as_bytes()).expect("it reads its program");
    let output = child.wait_with_output().expect("it ends");
    Verdict::of(
        &String::from_utf8_lossy(&output.stdout),
        &String::from_utf8_lossy(&output.stderr),
        output.status.code(),
    )
}

/// One attack of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its function.
    pub(crate) name: &'static str,
    /// What stops it.
    pub(crate) reason: &'static str,
    pub(crate) control: Control,
}

/// Runs every attack of a table inside and as a control, and asks for the daemon's health in between and after.
pub(crate) async fn check(header: &str, group: &str, rows: &[Row]) {
    let (sandbox, neighbour) = (Sandbox::new().await, Sandbox::new().await);
    let (mut wrong, mut impossible) = (Vec::new(), Vec::new());
    for row in rows {
        let got = inside(&sandbox, &program(header, group, row.name)).await;
        if got != Verdict::Blocked(row.reason.into()) {
            wrong.push(format!("{}: {got:?} inside, not blocked by {}", row.name, row.reason));
        }
        let control = row.control.run(header, group, row.name).await;
        match (&control, row.control) {
            (Verdict::Succeeded, _) => {}
            (Verdict::Blocked(why), Control::Perhaps(because)) if why == because || NOT_BUILT.contains(&&**why) => {
                impossible.push(format!("{} ({why})", row.name));
            }
            _ => wrong.push(format!("{}: its control did not succeed: {control:?}", row.name)),
        }
    }
    all_is_well(&neighbour).await;
    if !impossible.is_empty() {
        // Past the capture of the test harness: nobody may take these for proved.
        let text = format!(
            "CONTROL NOT POSSIBLE ON THIS HOST, {} of {}: {}\n",
            impossible.len(),
            rows.len(),
            impossible.join(", ")
        );
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The daemon answers, makes a sandbox and runs a program in it, and the neighbour is as before.
pub(crate) async fn all_is_well(neighbour: &Sandbox) {
    let asked = async {
        let health = neighbour.api.health(Actor::Operator).await.expect("the daemon answers");
        assert!(health.success);
        let fresh = Sandbox::new().await;
        assert_eq!(fresh.python("print(1)").await.output, "1\n");
        fresh.delete().await;
        assert_eq!(neighbour.bash("echo as before").await.output, "as before\n");
        assert_eq!(neighbour.python("print(2)").await.output, "2\n");
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("the daemon answers as fast as before");
}

/// Runs Python with a deadline.
pub(crate) async fn with_deadline(sandbox: &Sandbox, code: &str, seconds: f64) -> ExecutionAnswer {
    sandbox.request(ExecuteRequest { code: code.into(), timeout: Some(seconds), ..ExecuteRequest::default() }).await
}

/// Begins a program in the background, and waits until it has said a word.
pub(crate) async fn begin(sandbox: &Sandbox, code: &str, word: &str) -> ExecutionAnswer {
    let request = ExecuteRequest { code: code.into(), background: true, ..ExecuteRequest::default() };
    let begun = sandbox.request(request).await;
    for _ in 0..400 {
        let asked = ExecutionRequest { execution_id: begun.execution_id.to_string(), wait: None };
        let now = sandbox.api.execution(Actor::Operator, asked).await.expect("it is known");
        if now.output.contains(word) {
            return now;
        }
        assert_eq!(now.status, ExecutionStatus::Running, "it ended without saying {word}: {now:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it did not say {word}")
}

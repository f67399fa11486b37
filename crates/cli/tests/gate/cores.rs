//! Core files: whoever has had a secret in its memory leaves none, whatever kills it and whatever the limits say.
//!
//! Where core files go (`kernel.core_pattern`) is the host's and is not changed here. Whether one was written is what the kernel
//! tells the parent (`WCOREDUMP`), wherever it went; where the pattern is a plain name it is looked for as well.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, SecretSetRequest};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, setrlimit, waitpid};
use serde_json::json;

use crate::{
    common,
    scene::{NAMES, Scene, holds},
};

const API: &str = NAMES[0];
const VALUE: &str = "canary-of-cores-3b1f6e9a27d4-value";
/// In what wait(2) answers: a core file was written.
const CORE_DUMPED: i32 = 0x80;
/// How long a process may take to die and its successor to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// From now on whatever this process starts may leave a core file of any size: nothing but a process itself prevents one.
fn let_everybody_dump() {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("up to what is allowed");
}

/// It is so of a process.
#[track_caller]
fn may_dump(pid: i32) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("unlimited"), "raise `ulimit -Hc` for this test: {core}");
}

/// Kills it as a fault of its own would. The runtime of Rust gives up its handler at the first signal, which it takes for a guard page.
#[track_caller]
fn crash(pid: i32) {
    let end = Instant::now() + PATIENCE;
    let lives = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while lives() {
        let _ = kill_process(Pid::from_raw(pid).expect("not 0"), Signal::SEGV);
        assert!(Instant::now() < end, "{pid} does not die");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What lies where a process would leave its core, looked at through its own eyes.
struct Place(fs::File);

impl Place {
    fn of(pid: i32) -> Self {
        Self(fs::File::open(format!("/proc/{pid}/cwd")).expect("root opens it"))
    }

    fn names(&self) -> BTreeSet<String> {
        use std::os::fd::AsRawFd;
        let dir = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let names = fs::read_dir(dir).expect("a directory").flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn cores(&self) -> BTreeSet<String> {
        self.names().into_iter().filter(|name| name.starts_with("core")).collect()
    }
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after = stat.rsplit_once(") ").expect("a name").1;
    after.split(' ').nth(1).and_then(|parent| parent.parse().ok()).expect("a parent")
}

/// A program that is nobody's secret, with the secret in its memory: where it dies, what it held is on the disk.
fn control() {
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let held = format!("held = '{VALUE}'; import sys, time; print(1, flush=True); time.sleep(60)");
    let mut child = Command::new("python3")
        .args(["-c", &held])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3(1)");
    let mut said = [0; 1];
    child.stdout.as_mut().expect("piped").read_exact(&mut said).expect("it has begun");
    let pid = i32::try_from(child.id()).expect("31 bits");
    may_dump(pid);
    crash(pid);
    let status = child.wait().expect("it is our child");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
    assert_eq!(status.signal(), Some(11), "{status}");
    assert!(status.core_dumped(), "without the defence a core is written on this host ({})", pattern.trim());
    if !pattern.starts_with(['|', '/', '@']) {
        let found = fs::read_dir(dir.path()).expect("a directory").flatten().map(|entry| entry.path());
        let cores: Vec<_> =
            found.filter(|path| fs::read(path).is_ok_and(|core| holds(&core, VALUE.as_bytes()))).collect();
        assert_eq!(cores.len(), 1, "its memory lies in {}", dir.path().display());
    }
}

/// Waits until every role of a daemon is played again.
fn recovered(scene: &Scene) {
    let end = Instant::now() + PATIENCE;
    let roles = ["ringfence-jailer", "ringfence-serve", "ringfence-gateway", "ringfence-venue"];
    while !(common::answers(&scene.home) && roles.iter().all(|role| scene.role(role).is_some())) {
        assert!(Instant::now() < end, "the daemon does not recover: {}", common::tail(&scene.home));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The first directory below `dir` that holds a core with the value in it.
fn core_with_value(dir: &Path) -> Option<String> {
    let cores = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let of_name = cores.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
    of_name
        .into_iter()
        .find(|path| fs::read(path).is_ok_and(|core| holds(&core, VALUE.as_bytes())))
        .map(|path| path.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_role_leaves_its_memory_on_a_disk() {
    let_everybody_dump();
    control();
    let scene = Scene::new().await;
    let port = scene.serve(API).await;
    let request: SecretSetRequest = serde_json::from_value(json!({
        "name": "BROKER_TOKEN", "value": VALUE, "rotate": false,
        "hosts": [API], "ports": [port], "placements": ["bearer"],
    }))
    .expect("a request");
    scene.api.secret_set(Actor::Operator, request).await.expect("it is stored");
    let sandbox = scene.create(json!("none"), &["BROKER_TOKEN"]).await;
    // A program with the placeholder dies as it would with a core, which is none: neither by its limit nor by its own word.
    let code = format!(
        r#"
import os, resource, signal, urllib.request
request = urllib.request.Request("https://{API}:{port}/", headers={{"Authorization": "Bearer " + os.environ["BROKER_TOKEN"]}})
print(urllib.request.urlopen(request, timeout=10).status)
def died(prepare):
    child = os.fork()
    if child == 0:
        try:
            prepare()
        except (OSError, ValueError):
            pass
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status), os.WCOREDUMP(status)
print(died(lambda: None))
print(died(lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)))
print([name for name in os.listdir(".") if name.startswith("core")])
"#
    );
    let run = scene.python(&sandbox, &code).await;
    assert_eq!(run.output, "200\n(11, False)\n(11, False)\n[]\n", "{}", run.stderr);
    assert!(scene.memory_of("ringfence-gateway", VALUE.as_bytes()), "there is something to be found in a core");

    for role in ["ringfence-gateway", "ringfence-venue", "ringfence-serve", "ringfence-jailer"] {
        recovered(&scene);
        let pid = scene.role(role).expect("the role is played");
        may_dump(pid);
        let place = Place::of(pid);
        let before = place.cores();
        let log = fs::read_to_string(scene.home.join("log/daemon.log")).expect("a log").len();
        crash(pid);
        recovered(&scene);
        let said = fs::read_to_string(scene.home.join("log/daemon.log")).expect("a log").split_off(log);
        assert!(said.contains("ended (signal 11)"), "{role} died of it: {said}");
        assert!(!said.contains("core dumped"), "{role}: {said}");
        assert_eq!(place.cores(), before, "{role} left a core where it was");
    }
    // The outer process, which has read the host's own settings, and the commands.
    let outer = parent(parent(scene.role("ringfence-serve").expect("it is played")));
    let mut command = Command::new(common::BIN);
    command.args(["secret", "set", "OTHER_TOKEN", "--host", API, "--bearer", "--home"]).arg(&scene.home);
    let mut command = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the command runs");
    let input = command.stdin.as_mut().expect("piped");
    input.write_all(VALUE.as_bytes()).expect("it reads");
    let end = Instant::now() + PATIENCE;
    while rustix::io::ioctl_fionread(&*input).expect("a pipe") != 0 {
        assert!(Instant::now() < end, "the command does not read the value");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = i32::try_from(command.id()).expect("31 bits");
    may_dump(pid);
    crash(pid);
    let status = command.wait().expect("it is our child");
    assert_eq!((status.signal(), status.core_dumped()), (Some(11), false), "a command that has read a secret");
    may_dump(outer);
    let place = Place::of(outer);
    let before = place.cores();
    crash(outer);
    // It is a child of this process (`common::start_with`), which has not asked for its end yet.
    let ended = waitpid(Pid::from_raw(outer), WaitOptions::empty()).expect("a child").expect("it has ended").1;
    assert_eq!((ended.terminating_signal(), ended.as_raw() & CORE_DUMPED), (Some(11), 0), "the outer process");
    assert_eq!(place.cores(), before, "the outer process left a core where it was");
    for dir in [scene.home.as_path(), Path::new(".")] {
        assert_eq!(core_with_value(dir), None);
    }
}

//! What a daemon has left is named, and removed when that is asked for; what is somebody else's stays.

mod common;
#[path = "evidence/place.rs"]
mod place;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use common::ringfence;
use place::{Place, said};

/// A tmpfs, which goes with the test in any case.
struct Mounted(PathBuf);

impl Mounted {
    fn new(point: PathBuf) -> Self {
        fs::create_dir_all(&point).expect("a directory");
        common::succeeded(Command::new("mount").args(["-t", "tmpfs", "left"]).arg(&point), "mount(8)");
        Self(point)
    }

    fn is_there(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        mounts.lines().any(|line| line.split(' ').nth(4) == self.0.to_str())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
}

/// A process that is ended with the test in any case.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The hierarchy in which the memory of groups is counted.
fn hierarchy() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let is_it = |line: &&str| {
        let v1 = line.contains(" - cgroup ")
            && line.rsplit(' ').next().is_some_and(|all| all.split(',').any(|o| o == "memory"));
        v1 || line.contains(" - cgroup2 ")
    };
    let line = mounts.lines().filter(is_it).min_by_key(|line| line.contains(" - cgroup2 ")).expect("a hierarchy");
    line.split(' ').nth(4).expect("a mount point").into()
}

/// What is named, and the exit code.
#[track_caller]
fn reconcile(home: &Path, args: &[&str]) -> (Value, Option<i32>) {
    let output = ringfence(home, &[&["reconcile", "--json"], args].concat());
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    (value, output.status.code())
}

fn names(found: &Value, kind: &str, what: &str) -> bool {
    let is_it = |left: &Value| left["kind"] == kind && left["what"].to_string().trim_matches('"') == what;
    found.as_array().expect("a list").iter().any(is_it)
}

#[test]
fn what_is_left_over_is_named_and_removed_and_nothing_else_is() {
    let place = Place::new("reconcile");
    common::start(&place.home, "none");
    place.well(&["sandbox", "create", "python", "--name", "kept"]);
    place.well(&["sandbox", "exec", "kept", "-c", "open('/home/user/a', 'w').write('kept')"]);
    common::stop(&place.home);
    let (before, _) = reconcile(&place.home, &["--yes"]);
    let (none, code) = reconcile(&place.home, &[]);
    assert!(code == Some(0) && none["found"] == serde_json::json!([]), "the control: {before} then {none}");

    let home = fs::canonicalize(&place.home).expect("it is there");
    let installation = fs::read_to_string(home.join("installation")).expect("an identity");
    let installation: Value = serde_json::from_str(&installation).expect("JSON");
    let group = hierarchy().join(format!("ringfence-{}", installation["id"].as_str().expect("an id"))).join("left");
    fs::create_dir_all(&group).expect("a cgroup");
    let mut sleeper = Sleeper(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep(1)"));
    fs::write(group.join("cgroup.procs"), sleeper.0.id().to_string()).expect("it moves");
    let ours = Mounted::new(home.join("run/mnt/left over"));
    let inner = Mounted::new(ours.0.join("inner"));
    let not_ours = Mounted::new(home.join("mine"));
    fs::create_dir_all(home.join("builds/x-left/rootfs")).expect("a tree");
    fs::create_dir_all(home.join("builds/kept")).expect("a tree");

    let (found, code) = reconcile(&place.home, &[]);
    assert_eq!(code, Some(1), "{found}");
    let found = &found["found"];
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    assert!(names(found, "cgroup", &path(&group)) && names(found, "process", &sleeper.0.id().to_string()), "{found}");
    assert!(names(found, "tree", &path(&home.join("builds/x-left"))), "{found}");
    assert!(!names(found, "tree", &path(&home.join("builds/kept"))), "{found}");
    // The blank in its name is octal where mounts are listed.
    let is_named = |point: &Path| names(found, "mount", &path(point));
    assert!(is_named(&ours.0) && is_named(&inner.0) && !is_named(&not_ours.0), "{found}");
    assert!(group.exists() && sleeper.0.try_wait().expect("our child").is_none(), "the control: nothing was changed");

    let (removed, code) = reconcile(&place.home, &["--yes"]);
    assert!(code == Some(0) && removed["left"] == serde_json::json!([]), "{removed}");
    assert!(!group.exists() && !home.join("builds/x-left").exists() && home.join("builds/kept").exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    assert!(!mounts.contains("run/mnt/left"), "{mounts}");
    assert!(not_ours.is_there(), "what the operator mounted stays");
    sleeper.0.wait().expect("it was killed");
    drop(not_ours);

    // Beside a daemon: a mount in the host's namespace is nobody's; all that is the daemon's stays.
    common::start(&place.home, "none");
    let beside = Mounted::new(home.join("run/mnt/beside"));
    let (found, code) = reconcile(&place.home, &[]);
    assert!(code == Some(1) && found["found"].as_array().map(Vec::len) == Some(1), "{found}");
    let (left, code) = reconcile(&place.home, &["--yes"]);
    assert!(code == Some(0) && left["left"] == serde_json::json!([]), "{left}");
    assert!(!beside.is_there());
    place.well(&["sandbox", "resume", "kept"]);
    let read = place.well(&["sandbox", "exec", "kept", "-c", "print(open('/home/user/a').read())"]);
    assert!(read.contains("kept"), "{read}");
    common::stop(&place.home);
}

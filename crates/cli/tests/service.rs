//! The daemon under what the unit of `ringfence install` takes from it. No systemd runs where tests do, so what systemd.exec(5) says
//! that it does for each of the unit's restricting settings is done here with mount(8), unshare(1) and setpriv(1): the unit is read, and a
//! setting that this test does not know fails it. Sandboxes are made, used, stopped, resumed and exported then.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{BIN, answers, prepare, ringfence, shared, stop, target};

const UNIT: &str = include_str!("../src/install/ringfence.service");

/// Settings that take something away, and that are done here.
const DONE: [&str; 8] = [
    "CapabilityBoundingSet",
    "LimitNOFILE",
    "NoNewPrivileges",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateTmp",
    "ProtectHome",
    "ProtectSystem",
];

/// Settings that take nothing from a process.
const HARMLESS: [&str; 15] = [
    "Delegate",
    "ExecStart",
    "KillMode",
    "NotifyAccess",
    "OOMPolicy",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "StateDirectory",
    "StateDirectoryMode",
    "TasksMax",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "WatchdogSec",
];

/// What the section `[Service]` says; of what is said more than once, all of it.
fn settings() -> BTreeMap<&'static str, String> {
    let section = UNIT.split("[Service]").nth(1).and_then(|rest| rest.split("[Install]").next()).expect("a section");
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    for line in section.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let all = found.entry(name).or_default();
        all.push_str(if all.is_empty() { "" } else { " " });
        all.push_str(value);
    }
    found
}

#[test]
fn the_unit_knows_the_exit_code_of_what_would_fail_again() {
    assert_eq!(settings()["RestartPreventExitStatus"], ringfence_jail::supervise::FOR_GOOD.to_string());
}

/// As systemd sets a service up: its state directory alone can be written to, below /dev, /proc and /sys what others see, and private
/// directories for temporary files. `$1` is the real state directory, `$2` the executable, `$3` what setpriv takes away.
const SET_UP: &str = r#"
set -euo pipefail
state=/var/lib/ringfence
# The state directory and the executable may themselves lie in /tmp: they are held before that is covered.
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir $state /var/lib/bin
mount --bind "$1" $state
cp "$2" /var/lib/bin/ringfence
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
findmnt -rno TARGET | while read -r point; do
    case "$point" in
        /dev|/dev/*|/proc|/proc/*|/sys|/sys/*|/tmp|/var/tmp|/tmp/*|/var/tmp/*|$state|$state/*) ;;
        *) mount -o remount,bind,ro "$point" 2>/dev/null || true ;;
    esac
done
for dir in / /usr /etc /home /root /run /var /var/lib; do
    if ! [ -d $dir ]; then continue; fi
    if touch $dir/written-by-a-test 2>/dev/null; then echo "$dir can be written to"; rm -f $dir/written-by-a-test; exit 3; fi
done
touch $state/written && rm $state/written
ulimit -n 524288 2>/dev/null || true
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    setpriv --no-new-privs --bounding-set "$3" /var/lib/bin/ringfence serve --tcp none
"#;

/// Numbers of capabilities that the host's kernel knows, by name.
fn capabilities() -> BTreeMap<String, u32> {
    let listed = Command::new("setpriv").arg("--list-caps").output().expect("setpriv(1) is on every Debian");
    let text = String::from_utf8(listed.stdout).expect("text");
    // In their order, which is that of their numbers.
    text.lines().zip(0..).map(|(name, number)| (name.trim().to_owned(), number)).collect()
}

fn status(pid: &str, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("the kernel tells").trim().to_owned()
}

#[track_caller]
fn works(home: &Path, words: &[&str], expected: &str) {
    let output = ringfence(home, words);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(expected), "{words:?}: {said}\n{}", common::tail(home));
}

#[test]
fn the_daemon_works_with_what_its_unit_leaves_it() {
    let settings = settings();
    for name in settings.keys() {
        assert!(DONE.contains(name) || HARMLESS.contains(name), "{name} is not tried by this test: do it in SET_UP");
    }
    for (name, value) in [
        ("NoNewPrivileges", "yes"),
        ("PrivateIPC", "yes"),
        ("PrivateMounts", "yes"),
        ("PrivateTmp", "yes"),
        ("ProtectHome", "read-only"),
        ("ProtectSystem", "strict"),
    ] {
        assert_eq!(settings.get(name).map(String::as_str), Some(value), "it is done as this in SET_UP");
    }
    let known = capabilities();
    let left: Vec<String> = settings["CapabilityBoundingSet"]
        .split_whitespace()
        .map(|name| name.strip_prefix("CAP_").expect("a capability").to_ascii_lowercase())
        .collect();
    assert!(left.iter().all(|name| known.contains_key(name)), "{left:?}");
    let dropped: Vec<String> =
        known.keys().filter(|name| !left.contains(name)).map(|name| format!("-{name}")).collect();

    let home = target().join("service-home");
    prepare(shared(), &home);
    let home = fs::canonicalize(&home).expect("it was just made");
    let log = fs::File::create(home.join("log/daemon.log")).expect("a log");
    let mut daemon = Command::new("unshare")
        .args(["--mount", "--ipc", "--propagation", "slave", "bash", "-c", SET_UP, "set-up"])
        .arg(&home)
        .args([BIN, &dropped.join(",")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("unshare(1) is on every Debian");
    let end = Instant::now() + Duration::from_secs(60);
    while !answers(&home) {
        let ended = daemon.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the daemon ended: {}", common::tail(&home));
        assert!(Instant::now() < end, "the daemon does not answer: {}", common::tail(&home));
        std::thread::sleep(Duration::from_millis(50));
    }
    // unshare(1), bash, env and setpriv execute each other: the first process is the daemon's.
    let pid = daemon.id().to_string();
    let set = u64::from_str_radix(&status(&pid, "CapBnd"), 16).expect("a number");
    let allowed: u64 = left.iter().map(|name| 1_u64 << known[name]).sum();
    assert!(set & !allowed == 0 && set.count_ones() > 10, "{set:x} is more than {allowed:x}");
    assert_eq!(status(&pid, "NoNewPrivs"), "1");

    let lab = ["sandbox", "create", "python", "--name", "lab"];
    works(&home, &lab, "i");
    works(&home, &["sandbox", "exec", "lab", "-c", "import pandas; print(pandas.Series([6, 36]).sum())"], "42");
    let bash = "id -u; ls /proc/self; echo kept > ~/kept; python3 -c 'print(6 * 7)'";
    let file = tempfile::Builder::new().suffix(".sh").tempfile().expect("a file");
    fs::write(file.path(), bash).expect("written");
    works(&home, &["sandbox", "exec", "lab", file.path().to_str().expect("text")], "42");
    // Nothing is allowed, and the gateway is who says so.
    let fetch = "import urllib.request as u\ntry:\n    u.urlopen('https://example.com', timeout=5)\nexcept Exception as e:\n    print('refused', e)";
    works(&home, &["sandbox", "exec", "lab", "-c", fetch], "refused");
    works(&home, &["egress", "tail"], "example.com");
    for verb in ["pause", "resume", "stop", "resume"] {
        works(&home, &["sandbox", verb, "lab"], "i");
    }
    works(&home, &["sandbox", "exec", "lab", "-c", "print(open('/home/user/kept').read())"], "kept");
    works(&home, &["sandbox", "create", "python", "--name", "small", "--memory-mb", "256", "--disk-mb", "128"], "i");
    works(&home, &["sandbox", "exec", "small", "-c", "print(6 * 7)"], "42");
    works(&home, &["sandbox", "export", "lab", "labs"], "labs");
    works(&home, &["sandbox", "status", "lab"], "seccomp allow-list");
    works(&home, &["top", "--once"], "lab ");
    works(&home, &["sandbox", "rm", "lab", "small"], "");
    stop(&home);
    assert!(daemon.wait().expect("it is our child").success(), "{}", common::tail(&home));
}

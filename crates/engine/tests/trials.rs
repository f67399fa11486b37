//! Trials, with the real supervisor and the real jailer: this test is the executable that they start, and its `serve` is an engine
//! without faces, for no face offers trials. Needs root, and the Python template that the integration tests of `ringfence` build.
//!
//! In the places of the gateway and of the venue are processes that do nothing: a trial has no network. No test harness: the
//! supervisor forks, and only a process with one thread may.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use ringfence_jail::{board::Board, boot, host::Uids, installation::Installation, notify::Relay, supervise, sys};
use ringfence_store::{SealingKey, Store};

#[path = "trials/attack.rs"]
mod attack;
#[path = "trials/ends.rs"]
mod ends;
#[path = "trials/inside.rs"]
mod inside;
#[path = "trials/talk.rs"]
mod talk;
#[path = "trials/whole.rs"]
mod whole;

/// Where `serve` finds what it tells the test through.
const REPORT_FD: i32 = 5;

/// How long one daemon may take for all that it is to do.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.first().map(String::as_str) {
        Some(supervise::JAILER_ROLE) => jailer(&args[1]),
        Some(supervise::SERVE_ROLE) => inside::serve(&args[1..]),
        Some(supervise::GATEWAY_ROLE) => do_nothing(true),
        Some(supervise::VENUE_ROLE) => do_nothing(false),
        _ => test(args.get(1).filter(|arg| !arg.starts_with('-')).cloned()),
    }
}

fn jailer(home: &str) {
    let control = sys::inherited_fd(supervise::CONTROL_FD).expect("the socket to serve");
    let door = sys::inherited_fd(supervise::DOOR_FD).expect("the door");
    if let Err(error) = boot::run(Path::new(home), control, Some(door))
        && !error.to_string().contains("closed its socket")
    {
        eprintln!("jailer: {error}: {:?}", error.source());
        std::process::exit(1);
    }
}

/// Until the supervisor, or the other end of its first socket, goes.
fn do_nothing(has_peer: bool) {
    if has_peer {
        drop(sys::inherited_fd(supervise::DOOR_FD).expect("the socket to serve"));
        let mut jailer = fs::File::from(sys::inherited_fd(supervise::CONTROL_FD).expect("the socket to the jailer"));
        let mut buffer = [0_u8; 4096];
        while matches!(jailer.read(&mut buffer), Ok(len) if len > 0) {}
        return;
    }
    loop {
        std::thread::park();
    }
}

fn test(only: Option<String>) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("trials: these tests need root: run them with sudo");
        std::process::exit(1);
    }
    let shared = std::env::var_os("RINGFENCE_TEST_HOME")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-home"), PathBuf::from);
    let skipped = || {
        println!(
            "trials: SKIPPED: no Python template in {}; run `cargo test --release -p ringfence` first",
            shared.display()
        );
        println!("\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
    };
    let Ok(parent) = shared.canonicalize().map(|home| home.parent().expect("it has a parent").to_owned()) else {
        return skipped();
    };
    // On the file system of the layers, for hard links.
    let keep = tempfile::tempdir_in(parent).expect("a temporary directory");
    fs::set_permissions(keep.path(), fs::Permissions::from_mode(0o711)).expect("roles may enter it");
    let home = keep.path().canonicalize().expect("it was just made");
    let Some(scene) = Scene::prepare(&shared, &home) else { return skipped() };
    let mut verdicts = Vec::new();
    for part in ["living", "stopped", "serve", "jailer", "supervisor"] {
        if only.as_ref().is_none_or(|only| only == part) {
            verdicts.extend(scene.daemon(part));
        }
    }
    for (name, passed) in &verdicts {
        println!("test {name} ... {}", if *passed { "ok" } else { "FAILED" });
    }
    let passed = verdicts.iter().filter(|(_, passed)| *passed).count();
    let failed = verdicts.len() - passed;
    let verdict = if failed == 0 && passed > 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    drop(keep);
    std::process::exit(i32::from(failed > 0 || passed == 0));
}

/// A state directory with the Python template, and who it belongs to.
struct Scene {
    home: PathBuf,
    installation: Installation,
    _claim: OwnedFd,
    data: String,
    trust: String,
}

/// A test and whether it passed.
type Verdict = (String, bool);

impl Scene {
    /// Links the layers of the shared directory, and takes its template over. `None` when there is none.
    fn prepare(shared: &Path, home: &Path) -> Option<Self> {
        for dir in ["run", "layers", "builds", "engine", "gate", "venue", "log"] {
            fs::create_dir_all(home.join(dir)).expect("a state directory");
        }
        for dir in ["", "run"] {
            fs::set_permissions(home.join(dir), fs::Permissions::from_mode(0o711)).expect("roles may enter it");
        }
        let with = |file: &str| -> Option<String> {
            let mut found = fs::read_dir(shared.join("layers")).ok()?.flatten();
            let entry = found.find(|entry| entry.path().join("rootfs").join(file).is_file())?;
            entry.file_name().into_string().ok()
        };
        let (data, trust) = (with("data/adjusted/AAPL.csv")?, with("etc/ssl/cert.pem")?);
        let copy = tempfile::tempdir_in(home).expect("a directory");
        for file in ["engine.db", "engine.db-wal", "sealing.key"] {
            let _ = fs::copy(shared.join("engine").join(file), copy.path().join(file));
        }
        let open = |dir: &Path| {
            let key = SealingKey::load_or_create(&dir.join("sealing.key")).expect("a key");
            Store::open(&dir.join("engine.db"), key).expect("it opens")
        };
        // In a child: the store has threads.
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let child = match sys::fork().expect("forked") {
            sys::Forked::Parent(pid) => pid,
            sys::Forked::Child => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let layers = runtime.block_on(async {
                    let theirs = open(copy.path());
                    let row = theirs.ready_template("python").await.expect("readable");
                    theirs.close().await.expect("closed");
                    let Some(row) = row else { return Vec::new() };
                    let layers: Vec<String> = row.layers.iter().map(ToString::to_string).collect();
                    let ours = open(&home.join("engine"));
                    ours.write(move |tx| tx.put_template(&row)).await.expect("written");
                    ours.close().await.expect("closed");
                    layers
                });
                fs::File::from(write).write_all(layers.join("\n").as_bytes()).expect("told");
                sys::exit_now(0)
            }
        };
        drop(write);
        let mut layers = String::new();
        fs::File::from(read).read_to_string(&mut layers).expect("told");
        sys::wait_for(child).expect("it ended");
        if layers.is_empty() {
            return None;
        }
        let all = layers.lines().chain([data.as_str(), trust.as_str()]);
        let from = all.map(|layer| shared.join("layers").join(layer));
        let linked = Command::new("cp").arg("-al").args(from).arg(home.join("layers")).status();
        assert!(linked.expect("cp(1)").success(), "linking the layers");
        let (installation, claim) = Installation::claim(home).expect("an installation");
        own(&home.join("engine"), Uids::of_block(installation.uid_block).serve());
        Some(Self { home: home.to_owned(), installation, _claim: claim, data, trust })
    }

    /// Runs a daemon whose `serve` does one part, and does to it what belongs to the part.
    fn daemon(&self, part: &str) -> Vec<Verdict> {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let supervisor = match sys::fork().expect("forked") {
            sys::Forked::Parent(pid) => pid,
            sys::Forked::Child => {
                drop(read);
                sys::exit_now(self.supervise(part, write))
            }
        };
        drop(write);
        let begin = Instant::now();
        let mut verdicts = Vec::new();
        let (mut ended, mut is_killed) = (false, false);
        for line in BufReader::new(fs::File::from(read)).lines() {
            let line = line.expect("readable");
            if begin.elapsed() > PATIENCE {
                let _ = sys::kill_child(supervisor, sys::SIGKILL);
                verdicts.push((format!("{part}_in_time"), false));
                break;
            }
            match line.split_once(' ') {
                Some(("ok", name)) => verdicts.push((name.to_owned(), true)),
                Some(("FAILED", name)) => verdicts.push((name.to_owned(), false)),
                Some(("do", "kill")) if part == "supervisor" => {
                    let _ = sys::kill_child(supervisor, sys::SIGKILL);
                    is_killed = true;
                }
                Some(("do", "kill")) => {
                    // Whoever looks for what is left must be able to see it. Who was told that they run is before the program itself.
                    let mut looks = 0..200;
                    while self.programs().is_empty() && looks.next().is_some() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    verdicts.push((format!("programs_run_before_{part}_is_killed"), !self.programs().is_empty()));
                    self.kill(part);
                }
                Some(("do", "zygote")) => {
                    // A child of one, which was seen before it went into its sandbox, may have ended meanwhile.
                    let killed = self.zygotes().into_iter().filter(|pid| signal_9(*pid)).count();
                    assert!(killed > 0, "there was a warm interpreter to kill");
                }
                Some(("do", "stop")) => {
                    let _ = sys::kill_child(supervisor, sys::SIGTERM);
                }
                Some(("do", "look")) => {
                    let left = self.programs();
                    println!("{part}: {} processes of programs are left", left.len());
                    verdicts.push((format!("no_program_outlives_a_killed_{part}"), left.is_empty()));
                }
                Some(("do", "end")) => ended = true,
                _ => println!("{line}"),
            }
        }
        let code = sys::wait_for(supervisor).expect("it ended").code;
        if is_killed {
            // With it went everything, and nobody has cleared up: the next daemon does.
            return self.daemon(part);
        }
        let left: Vec<PathBuf> = fs::read_dir("/sys/fs/cgroup")
            .expect("cgroups")
            .flatten()
            .map(|hierarchy| hierarchy.path().join(format!("ringfence-{}", self.installation.id)))
            .filter(|path| path.exists())
            .collect();
        if !left.is_empty() {
            println!("{part}: left: {left:?}");
        }
        verdicts.push((format!("a_daemon_{part}_ends_and_leaves_no_cgroup"), code == Some(0) && left.is_empty()));
        if part == "stopped" {
            verdicts.extend(self.rows_after_a_stop());
        }
        assert!(ended || part == "stopped", "serve did not come to its end");
        verdicts
    }

    fn supervise(&self, part: &str, report: OwnedFd) -> i32 {
        let nothing = fs::File::open("/dev/null").expect("a descriptor");
        let daemon = supervise::Daemon {
            home: self.home.clone(),
            installation: self.installation.clone(),
            serve_role: supervise::SERVE_ROLE,
            serve_args: vec![self.data.clone(), self.trust.clone(), part.to_owned()],
            serve_fds: vec![report],
            gateway_args: Vec::new(),
            venue_args: Vec::new(),
            venue_socket: nothing.into(),
            role_env: Vec::new(),
            board: Board::new().expect("a board"),
            relay: Relay::pair().expect("a pair").1,
            drain: Duration::ZERO,
        };
        supervise::run(&daemon).unwrap_or_else(|error| {
            eprintln!("trials: {error}");
            1
        })
    }

    /// Kills one of the roles.
    fn kill(&self, part: &str) {
        let role = if part == "jailer" { supervise::JAILER_ROLE } else { supervise::SERVE_ROLE };
        let home = self.home.to_string_lossy().into_owned();
        let is_it = |args: &[String]| args.first().is_some_and(|name| name == role) && args.get(1) == Some(&home);
        let pid = processes().into_iter().find(|(_, args)| is_it(args)).expect("the role runs").0;
        assert!(signal_9(pid), "{pid} is killed");
    }

    /// Warm interpreters of this installation, and not their children.
    fn zygotes(&self) -> Vec<i32> {
        let ours = |pid: i32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.contains(&format!("ringfence-{}/z-", self.installation.id))
        };
        processes().into_iter().map(|(pid, _)| pid).filter(|pid| ours(*pid)).collect()
    }

    /// Processes of this installation that run programs.
    fn programs(&self) -> Vec<i32> {
        let ours = |pid: i32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.contains(&format!("ringfence-{}/s-", self.installation.id))
        };
        let is_program = |args: &[String]| args.iter().any(|arg| arg.contains("/exec_"));
        processes().into_iter().filter(|(pid, args)| is_program(args) && ours(*pid)).map(|(pid, _)| pid).collect()
    }

    fn rows_after_a_stop(&self) -> Vec<Verdict> {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let child = match sys::fork().expect("forked") {
            sys::Forked::Parent(pid) => pid,
            sys::Forked::Child => {
                let found = ends::rows_after_a_stop(&self.home.join("engine"));
                let lines: String = found.into_iter().map(|(name, passed)| format!("{passed} {name}\n")).collect();
                fs::File::from(write).write_all(lines.as_bytes()).expect("told");
                sys::exit_now(0)
            }
        };
        drop(write);
        let mut lines = String::new();
        fs::File::from(read).read_to_string(&mut lines).expect("told");
        sys::wait_for(child).expect("it ended");
        own(&self.home.join("engine"), Uids::of_block(self.installation.uid_block).serve());
        let verdicts = lines.lines().filter_map(|line| line.split_once(' '));
        verdicts.map(|(passed, name)| (name.to_owned(), passed == "true")).collect()
    }
}

fn own(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).expect("given");
    for entry in fs::read_dir(path).expect("a directory").flatten() {
        if entry.path().is_dir() {
            own(&entry.path(), uid);
        } else {
            chown(entry.path(), Some(uid), Some(uid)).expect("given");
        }
    }
}

/// Whether it was still there to be killed.
fn signal_9(pid: i32) -> bool {
    Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill(1)").success()
}

/// Every process that this one sees, with its arguments.
fn processes() -> Vec<(i32, Vec<String>)> {
    let entries = fs::read_dir("/proc").expect("procfs").flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, line.split(|b| *b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()))
        })
        .collect()
}

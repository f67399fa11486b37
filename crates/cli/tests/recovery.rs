//! `kill -9` of any role at any point: the next start finds what is left and brings everything to a true state. Nothing
//! that an acknowledged call had written is lost, and no process, mount, cgroup, disk or loop device is left over.
//!
//! The daemon here is the tests' own, over a state directory beside the shared one: it has the same layers (as hard
//! links), the row of the same template, and nothing else of it.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::{BIN, client_of, ringfence, tail};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus, ListRequest, SandboxRequest, SandboxStatus,
};
use ringfence_server::Client;
use ringfence_store::{SealingKey, Store};
use rustix::process::{Pid, Signal, kill_process};

/// How long a daemon may take to answer again, and what it tidies up behind its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition; it says what is missing.
#[track_caller]
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process, and not another that got its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Process {
    pid: i32,
    started: u64,
}

/// What of proc_pid_stat(5) is needed.
struct Stat {
    parent: i32,
    state: char,
    started: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // Numbered from 3 in the manual.
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        stat(pid).filter(|s| s.state != 'Z').map(|s| Self { pid, started: s.started })
    }

    fn lives(self) -> bool {
        stat(self.pid).is_some_and(|s| s.started == self.started && s.state != 'Z')
    }

    fn kill(self) {
        if self.lives() {
            let _ = kill_process(Pid::from_raw(self.pid).expect("not 0"), Signal::KILL);
        }
    }

    fn command(self) -> String {
        fs::read(format!("/proc/{}/cmdline", self.pid))
            .map(|b| String::from_utf8_lossy(&b).replace('\0', " "))
            .unwrap_or_default()
    }

    /// In how many pid namespaces it has a number: 2 for the roles and zygotes, 3 in a sandbox.
    fn depth(self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().find_map(|l| l.strip_prefix("NSpid:")).map_or(0, |l| l.split_whitespace().count())
    }
}

fn numbers_in_proc() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("procfs");
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// A part of a daemon that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Serve,
    Jailer,
    Supervisor,
    Outer,
    Zygote,
    ParkedInterpreter,
}

/// The daemon under test and its state directory.
struct Daemon {
    home: PathBuf,
    outer: Mutex<Option<Child>>,
}

impl Daemon {
    /// Over a state directory that was prepared once for all tests of this file.
    fn prepared() -> Self {
        static HOME: OnceLock<PathBuf> = OnceLock::new();
        let home = HOME.get_or_init(|| {
            let shared = common::shared();
            let home =
                shared.with_file_name(format!("{}-recovery", shared.file_name().expect("a name").to_string_lossy()));
            prepare(shared, &home);
            home
        });
        let daemon = Self { home: home.clone(), outer: Mutex::new(None) };
        daemon.start();
        daemon
    }

    fn start(&self) {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.home.join("log/daemon.log")).expect("a log");
        let child = Command::new(BIN)
            .args(["serve", "--tcp", "none", "--home"])
            .arg(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("the daemon can be started");
        *self.outer.lock().expect("one test at a time") = Some(child);
        wait_for("a daemon that was just started", || {
            if common::answers(&self.home) { Ok(()) } else { Err(tail(&self.home)) }
        });
    }

    fn outer_pid(&self) -> Option<i32> {
        let outer = self.outer.lock().expect("one test at a time");
        outer.as_ref().map(|c| i32::try_from(c.id()).expect("31 bits"))
    }

    /// Whether the outer process has ended, and how; reaps it.
    fn ended(&self) -> Option<std::process::ExitStatus> {
        let mut outer = self.outer.lock().expect("one test at a time");
        let status = outer.as_mut()?.try_wait().expect("it is our child");
        if status.is_some() {
            *outer = None;
        }
        status
    }

    /// The daemon answers; one that ended is started again.
    fn recover(&self) {
        wait_for("the daemon's answer", || {
            if self.outer_pid().is_none() || self.ended().is_some() {
                self.start();
            }
            // Whoever answers must be of the new generation: serve and jailer die together, but not at one instant.
            if common::answers(&self.home) && self.role("ringfence-serve").is_some() {
                Ok(())
            } else {
                Err(tail(&self.home))
            }
        });
    }

    /// Every process of the daemon, as the host sees them.
    fn tree(&self) -> Vec<Process> {
        let Some(outer) = self.outer_pid() else { return Vec::new() };
        let parents: HashMap<i32, i32> =
            numbers_in_proc().into_iter().filter_map(|p| Some((p, stat(p)?.parent))).collect();
        let is_ours = |mut pid: i32| {
            for _ in 0..64 {
                if pid == outer {
                    return true;
                }
                let Some(parent) = parents.get(&pid) else { return false };
                pid = *parent;
            }
            false
        };
        parents.keys().copied().filter(|p| is_ours(*p)).filter_map(Process::of).collect()
    }

    /// The supervisor's child of that name: the jailer's own forks have its name too.
    fn role(&self, name: &str) -> Option<Process> {
        let supervisor = self.supervisor()?.pid;
        self.tree()
            .into_iter()
            .find(|p| stat(p.pid).is_some_and(|s| s.parent == supervisor) && p.command().starts_with(name))
    }

    fn supervisor(&self) -> Option<Process> {
        let outer = self.outer_pid()?;
        self.tree().into_iter().find(|p| stat(p.pid).is_some_and(|s| s.parent == outer))
    }

    fn victim(&self, victim: Victim) -> Option<Process> {
        let python = |depth| self.tree().into_iter().find(|p| p.depth() == depth && p.command().contains("zygote.py"));
        match victim {
            Victim::Serve => self.role("ringfence-serve"),
            Victim::Jailer => self.role("ringfence-jailer"),
            Victim::Supervisor => self.supervisor(),
            Victim::Outer => Process::of(self.outer_pid()?),
            Victim::Zygote => python(2),
            Victim::ParkedInterpreter => python(3),
        }
    }

    fn client(&self) -> Arc<Client> {
        client_of(&self.home)
    }

    fn installation(&self) -> String {
        let text = fs::read_to_string(self.home.join("installation")).expect("an installation");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["id"].as_str().expect("an id").to_owned()
    }

    /// Directories of this installation in every cgroup hierarchy, one level below its own.
    fn groups(&self) -> Vec<PathBuf> {
        let name = format!("ringfence-{}", self.installation());
        let mut roots = vec![PathBuf::from("/sys/fs/cgroup").join(&name)];
        for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            roots.push(hierarchy.path().join(&name));
        }
        roots.into_iter().filter(|root| root.is_dir()).collect()
    }

    /// Processes that this installation's cgroups hold.
    fn in_groups(&self) -> BTreeSet<i32> {
        fn walk(dir: &Path, found: &mut BTreeSet<i32>) {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = BTreeSet::new();
        for root in self.groups() {
            walk(&root, &mut found);
        }
        found
    }

    /// Disks as they are on the file system that only the daemon's mount namespace has.
    fn disks(&self) -> BTreeSet<String> {
        let jailer = self.role("ringfence-jailer").expect("a jailer");
        let dir = PathBuf::from(format!("/proc/{}/root", jailer.pid))
            .join(self.home.strip_prefix("/").expect("absolute"))
            .join("disks");
        let entries = fs::read_dir(dir).expect("the disks");
        entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n.starts_with("d-"))
            .collect()
    }

    /// Nothing but what the living daemon uses: no process of `old`, no cgroup without a shell, no disk without a sandbox.
    #[track_caller]
    fn nothing_is_left_of(&self, old: &[Process]) {
        wait_for("processes of an earlier generation", || {
            let left: Vec<_> = old.iter().filter(|p| p.lives()).map(|p| (p.pid, p.command())).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        self.no_mount_shows_on_the_host();
        wait_for("what there is and what there should be", || {
            let health = ringfence(&self.home, &["status", "--json"]);
            let health: serde_json::Value = serde_json::from_slice(&health.stdout).map_err(|e| e.to_string())?;
            let shelf: u64 =
                health["templates"].as_array().into_iter().flatten().filter_map(|t| t["shelf"].as_u64()).sum();
            let count = |what: &str| health["sandboxes"][what].as_u64().unwrap_or(0);
            let failed = self.listed("failed").len() as u64;
            let (running, all) =
                (count("running") + count("paused"), count("running") + count("paused") + count("stopped"));
            let shells: BTreeSet<String> = self
                .groups()
                .iter()
                .flat_map(fs::read_dir)
                .flatten()
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .filter(|n| n.starts_with("s-"))
                .collect();
            let disks = self.disks();
            let tree: BTreeSet<i32> = self.tree().iter().map(|p| p.pid).collect();
            let strangers: Vec<i32> =
                self.in_groups().difference(&tree).copied().filter(|p| Process::of(*p).is_some()).collect();
            let wrong = format!(
                "shelf {shelf}, running {running}, all {all}, failed {failed}; {} shells in cgroups, {} disks, strangers {strangers:?}",
                shells.len(),
                disks.len()
            );
            // A shelf that is full stands still; the kept disks of failed sandboxes are theirs until they are deleted.
            let (shells, disks) = (shells.len() as u64, disks.len() as u64);
            let right = shells == shelf + running
                && disks >= shelf + all
                && disks <= shelf + all + failed
                && strangers.is_empty();
            if right && self.loops() == 1 { Ok(()) } else { Err(wrong) }
        });
        let verified = ringfence(&self.home, &["audit", "verify"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }

    #[track_caller]
    fn no_mount_shows_on_the_host(&self) {
        let home = self.home.to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&*home)).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Loop devices over the disks' image.
    fn loops(&self) -> usize {
        let image = self.home.join("disks.btrfs");
        let devices = fs::read_dir("/sys/block").expect("sysfs").flatten();
        let backing = devices.filter_map(|d| fs::read_to_string(d.path().join("loop/backing_file")).ok());
        backing.filter(|file| Path::new(file.trim_end()) == image).count()
    }

    fn listed(&self, status: &str) -> Vec<String> {
        let list = ringfence(&self.home, &["sandbox", "ls", "--status", status, "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
        let rows = json["sandboxes"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| Some(row["sandbox_id"].as_str()?.to_owned())).collect()
    }

    /// Ends it in order: nothing at all is left.
    #[track_caller]
    fn stop(&self) {
        let tree = self.tree();
        let outer = self.outer_pid().expect("it runs");
        kill_process(Pid::from_raw(outer).expect("not 0"), Signal::TERM).expect("it is there");
        let status = wait_for("the end after SIGTERM", || self.ended().ok_or_else(|| tail(&self.home)));
        assert_eq!(status.code(), Some(0), "{}", tail(&self.home));
        wait_for("processes after the end", || {
            let left: Vec<_> = tree.iter().filter(|p| p.lives()).map(|p| (p.pid, p.command())).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        assert_eq!(self.groups(), Vec::<PathBuf>::new(), "cgroups after the end");
        wait_for("loop devices after the end", || {
            if self.loops() == 0 { Ok(()) } else { Err(format!("{}", self.loops())) }
        });
        self.no_mount_shows_on_the_host();
    }
}

impl Drop for Daemon {
    /// The daemon of a failed test goes with it.
    fn drop(&mut self) {
        if let Some(mut outer) = self.outer.lock().ok().and_then(|mut o| o.take()) {
            let _ = outer.kill();
            let _ = outer.wait();
        }
    }
}

/// A state directory with the layers and the Python template of the shared one.
fn prepare(shared: &Path, home: &Path) {
    if home.exists() {
        // Of a run that failed: its daemon died with it.
        fs::remove_dir_all(home).expect("the old state directory can be removed");
    }
    fs::create_dir_all(home.join("log")).expect("a state directory");
    let copied = Command::new("cp").args(["-al"]).arg(shared.join("layers")).arg(home).status().expect("cp(1)");
    assert!(copied.success(), "linking the layers");
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in ["engine.db", "engine.db-wal", "sealing.key"] {
        let from = shared.join("engine").join(file);
        if from.exists() {
            fs::copy(&from, copy.path().join(file)).expect("the database can be copied");
        }
    }
    fs::create_dir_all(home.join("engine")).expect("a directory");
    let key = |path: &Path| SealingKey::load_or_create(&path.join("sealing.key")).expect("a key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let theirs = Store::open(&copy.path().join("engine.db"), key(copy.path())).expect("the copy opens");
        let row =
            theirs.read(|view| view.ready_template("python")).await.expect("readable").expect("it was just built");
        theirs.close().await.expect("closed");
        let ours = Store::open(&home.join("engine/engine.db"), key(&home.join("engine"))).expect("a new database");
        ours.write(move |tx| tx.put_template(&row)).await.expect("written");
        ours.close().await.expect("closed");
    });
}

/// One at a time: they share the state directory.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn named(id: &str) -> SandboxRequest {
    SandboxRequest { sandbox_id: id.to_owned() }
}

fn bash(id: &str, code: &str) -> ExecuteRequest {
    ExecuteRequest {
        sandbox_id: id.to_owned(),
        code: code.to_owned(),
        language: Some("bash".into()),
        ..ExecuteRequest::default()
    }
}

async fn create(api: &Client) -> String {
    let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
    api.create(Actor::Operator, request, None).await.expect("a sandbox").sandbox_id.to_string()
}

/// Sandboxes in every state that a killed daemon can leave.
struct Scene {
    running: String,
    paused: String,
    stopped: String,
    /// Runs in `running` in the background.
    execution: String,
    /// What only that execution has in its command line.
    mark: String,
}

impl Scene {
    async fn set(api: &Client, mark: &str) -> Self {
        let (running, paused, stopped) = (create(api).await, create(api).await, create(api).await);
        for id in [&running, &paused, &stopped] {
            let wrote = api
                .execute(Actor::Operator, bash(id, &format!("echo {id} > kept; mkdir -p d; ln -s ../kept d/l")))
                .await;
            assert!(wrote.expect("run").success);
        }
        let request = ExecuteRequest {
            background: true,
            timeout: Some(3600.0),
            ..bash(&running, &format!("echo begun; sleep {mark}"))
        };
        let execution = api.execute(Actor::Operator, request).await.expect("begun").execution_id.to_string();
        api.pause(Actor::Operator, named(&paused)).await.expect("paused");
        api.stop(Actor::Operator, named(&stopped)).await.expect("stopped");
        Self { running, paused, stopped, execution, mark: mark.to_owned() }
    }

    fn all(&self) -> [&String; 3] {
        [&self.running, &self.paused, &self.stopped]
    }

    /// After the whole daemon went: stopped, killed, and all files there.
    async fn is_stopped_and_whole(&self, api: &Client) {
        for id in self.all() {
            let status = api.status(Actor::Operator, named(id)).await.expect("known");
            assert_eq!(status.status, SandboxStatus::Stopped, "{id}");
        }
        let request = ExecutionRequest { execution_id: self.execution.clone(), wait: None };
        let execution = api.execution(Actor::Operator, request).await.expect("known");
        assert_eq!((execution.status, execution.exit_code), (ExecutionStatus::Killed, Some(137)), "{execution:?}");
        for id in self.all() {
            api.resume(Actor::Operator, named(id)).await.expect("resumed");
            self.has_its_files(api, id).await;
        }
    }

    async fn has_its_files(&self, api: &Client, id: &str) {
        let read = api
            .execute(Actor::Operator, bash(id, "cat kept d/l; echo more >> kept2; pgrep -c sleep"))
            .await
            .expect("run");
        assert_eq!(read.output, format!("{id}\n{id}\n0\n"), "{read:?}");
    }

    /// After a part died whose death no sandbox should notice.
    async fn went_on(&self, api: &Client) {
        let states = [
            (&self.running, SandboxStatus::Running),
            (&self.paused, SandboxStatus::Paused),
            (&self.stopped, SandboxStatus::Stopped),
        ];
        for (id, state) in states {
            assert_eq!(api.status(Actor::Operator, named(id)).await.expect("known").status, state, "{id}");
        }
        let read = api
            .execute(Actor::Operator, bash(&self.running, &format!("cat kept; pgrep -fc 'sleep {}'", self.mark)))
            .await;
        assert!(read.expect("run").output.starts_with(&format!("{}\n", self.running)));
        let request = ExecutionRequest { execution_id: self.execution.clone(), wait: None };
        assert_eq!(api.execution(Actor::Operator, request).await.expect("known").status, ExecutionStatus::Running);
        let code = ExecuteRequest {
            sandbox_id: self.running.clone(),
            code: "print(6 * 7)".into(),
            ..ExecuteRequest::default()
        };
        assert_eq!(api.execute(Actor::Operator, code).await.expect("run").output, "42\n");
    }

    async fn clear(&self, api: &Client) {
        for id in self.all() {
            api.delete(Actor::Operator, named(id)).await.expect("deleted");
        }
    }
}

/// Kills a part of the daemon and looks at everything afterwards.
fn check(victim: Victim) {
    let _alone = alone();
    let daemon = Daemon::prepared();
    block_on(async {
        let api = daemon.client();
        let scene = Scene::set(&api, "4242.5").await;
        let old = daemon.tree();
        let killed = wait_for("somebody to kill", || daemon.victim(victim).ok_or_else(|| format!("no {victim:?}")));
        killed.kill();
        wait_for("its death", || if killed.lives() { Err(format!("{victim:?}")) } else { Ok(()) });
        let all_die = !matches!(victim, Victim::Zygote | Victim::ParkedInterpreter);
        if all_die {
            wait_for("the end of the old roles", || {
                let left: Vec<_> = old.iter().filter(|p| p.command().starts_with("ringfence-") && p.lives()).collect();
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            });
        }
        daemon.recover();
        let api = daemon.client();
        if all_die {
            scene.is_stopped_and_whole(&api).await;
            // The outer process and the supervisor live on when only the roles died.
            let gone: Vec<_> = old
                .iter()
                .copied()
                .filter(|p| {
                    !(matches!(victim, Victim::Serve | Victim::Jailer)
                        && (Some(p.pid) == daemon.outer_pid() || Some(*p) == daemon.supervisor()))
                })
                .collect();
            daemon.nothing_is_left_of(&gone);
        } else {
            scene.went_on(&api).await;
            daemon.nothing_is_left_of(&[killed]);
        }
        scene.clear(&api).await;
        daemon.nothing_is_left_of(&[killed]);
    });
    daemon.stop();
}

#[test]
fn serve_is_killed() {
    check(Victim::Serve);
}

#[test]
fn the_jailer_is_killed() {
    check(Victim::Jailer);
}

#[test]
fn the_supervisor_is_killed() {
    check(Victim::Supervisor);
}

#[test]
fn the_outer_process_is_killed() {
    check(Victim::Outer);
}

#[test]
fn a_zygote_is_killed() {
    check(Victim::Zygote);
}

#[test]
fn parked_interpreters_are_killed() {
    check(Victim::ParkedInterpreter);
}

#[test]
fn a_sandbox_whose_first_process_is_killed_has_failed_alone() {
    let _alone = alone();
    let daemon = Daemon::prepared();
    block_on(async {
        let api = daemon.client();
        let scene = Scene::set(&api, "4243.5").await;
        let sleeper = wait_for("the sleeper", || {
            daemon
                .tree()
                .into_iter()
                .find(|p| p.command().contains("4243.5") && p.depth() == 3)
                .ok_or_else(|| "not there".into())
        });
        // The only process whose parent is the jailer and which is pid 1 of the sleeper's namespace.
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", sleeper.pid)).expect("its namespace");
        let init = daemon.tree().into_iter().find(|p| {
            fs::read_link(format!("/proc/{}/ns/pid", p.pid)).is_ok_and(|n| n == namespace)
                && p.command().starts_with("init")
        });
        init.expect("an init").kill();
        wait_for("the failed state", || {
            let failed = daemon.listed("failed");
            if failed.contains(&scene.running) { Ok(()) } else { Err(format!("{failed:?}")) }
        });
        let request = ExecutionRequest { execution_id: scene.execution.clone(), wait: None };
        let execution = api.execution(Actor::Operator, request).await.expect("known");
        // `failed` when its own end, by SIGKILL, is seen before init's.
        assert!(matches!(execution.status, ExecutionStatus::Killed | ExecutionStatus::Failed), "{execution:?}");
        assert_eq!(execution.exit_code, Some(137));
        assert_eq!(
            api.status(Actor::Operator, named(&scene.paused)).await.expect("known").status,
            SandboxStatus::Paused
        );
        api.resume(Actor::Operator, named(&scene.paused)).await.expect("resumed");
        scene.has_its_files(&api, &scene.paused).await;
        daemon.nothing_is_left_of(&[sleeper]);
        scene.clear(&api).await;
        daemon.nothing_is_left_of(&[sleeper]);
    });
    daemon.stop();
}

#[test]
fn a_second_daemon_is_refused_with_the_pid_that_holds_the_directory() {
    let _alone = alone();
    let daemon = Daemon::prepared();
    let second = ringfence(&daemon.home, &["serve", "--tcp", "none"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains(&format!("pid {} ", daemon.outer_pid().expect("it runs"))), "{said}");
    assert!(common::answers(&daemon.home), "the first one is not disturbed");
    daemon.stop();
}

#[test]
fn sigterm_drains_and_the_next_start_has_everything() {
    let _alone = alone();
    let daemon = Daemon::prepared();
    let scene = block_on(async { Scene::set(&daemon.client(), "4244.5").await });
    daemon.stop();
    daemon.start();
    block_on(async {
        let api = daemon.client();
        scene.is_stopped_and_whole(&api).await;
        scene.clear(&api).await;
    });
    daemon.nothing_is_left_of(&[]);
    daemon.stop();
}

/// On a tmpfs of its own, in a mount namespace of its own: a copy of the state directory, and little room beside it.
#[test]
fn a_full_state_directory_is_said_and_loses_nothing() {
    const ROOM_MIB: u64 = 192;
    let _alone = alone();
    let source = Daemon::prepared();
    source.stop();
    let du = Command::new("du").args(["-sm", "layers"]).current_dir(&source.home).output().expect("du(1)");
    let used: u64 =
        String::from_utf8_lossy(&du.stdout).split_whitespace().next().expect("a number").parse().expect("MiB");
    let point = tempfile::tempdir().expect("a mount point");
    let script = "set -e; mount -t tmpfs -o size=\"$1m\" tmpfs \"$2\"; cp -a \"$3/layers\" \"$3/engine\" \"$2\"; \
        exec \"$4\" serve --tcp none --home \"$2\"";
    let log = fs::File::create(source.home.join("log/full.log")).expect("a log");
    let child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh", &(used + used / 8 + ROOM_MIB).to_string()])
        .args([point.path(), &source.home, Path::new(BIN)])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("unshare(1)");
    // Where this process sees it. It shares nothing with the prepared one but the way it is stopped.
    let home =
        PathBuf::from(format!("/proc/{}/root", child.id())).join(point.path().strip_prefix("/").expect("absolute"));
    let daemon = Daemon { home: home.clone(), outer: Mutex::new(Some(child)) };
    let said = || fs::read_to_string(source.home.join("log/full.log")).unwrap_or_default();
    wait_for("the daemon on the small file system", || if common::answers(&home) { Ok(()) } else { Err(said()) });
    block_on(async {
        let api = daemon.client();
        let id = create(&api).await;
        assert!(api.execute(Actor::Operator, bash(&id, "echo before > kept")).await.expect("run").success);
        let filler = home.join("filler");
        let mut file = fs::File::create(&filler).expect("a file");
        let block = vec![0_u8; 1 << 16];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        // A decision that cannot be written is not carried out, and the daemon says so instead of ending.
        let mut refused = 0;
        for _ in 0..20 {
            if let Err(error) = api.execute(Actor::Operator, bash(&id, "echo full >> attempts")).await {
                assert!(!error.message.is_empty(), "{error:?}");
                refused += 1;
            }
        }
        assert!(refused > 0, "nothing was refused: the file system was not full");
        assert!(common::answers(&home), "{}", said());
        drop(file);
        fs::remove_file(&filler).expect("removed");
        let read =
            api.execute(Actor::Operator, bash(&id, "cat kept; wc -l < attempts || echo none")).await.expect("run");
        assert!(read.output.starts_with("before\n"), "{read:?}");
        assert!(api.execute(Actor::Operator, bash(&create(&api).await, "true")).await.expect("run").success);
        let verified = ringfence(&home, &["audit", "verify"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    });
    let outer = daemon.outer_pid().expect("it runs");
    kill_process(Pid::from_raw(outer).expect("not 0"), Signal::TERM).expect("it is there");
    let status = wait_for("the end after SIGTERM", || daemon.ended().ok_or_else(said));
    assert_eq!(status.code(), Some(0), "{}", said());
}

/// xorshift64*: the same moments in every run of a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// What callers were told, which a crash must not make untrue.
#[derive(Debug, Default)]
struct Told {
    /// Sandboxes with the number of lines that are in their file.
    kept: BTreeMap<String, usize>,
    /// Deleted.
    gone: BTreeSet<String>,
}

/// Creates, writes, stops, resumes and deletes until it is told to end. Failed calls are what a killed daemon answers.
async fn load(daemon: Arc<Daemon>, seed: u64, told: Arc<Mutex<Told>>, over: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut random = Random(seed);
    let mut mine: Option<String> = None;
    while !over.load(Ordering::Relaxed) {
        let api = daemon.client();
        let Some(id) = mine.clone() else {
            let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
            match api.create(Actor::Operator, request, None).await {
                Ok(made) => {
                    let id = made.sandbox_id.to_string();
                    told.lock().expect("no panic").kept.insert(id.clone(), 0);
                    mine = Some(id);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        match random.below(10) {
            0..=5 => {
                let wrote = api.execute(Actor::Operator, bash(&id, "echo line >> kept")).await;
                match wrote {
                    Ok(run) if run.success => {
                        *told.lock().expect("no panic").kept.entry(id).or_default() += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    // It may be stopped: by a restart, or by itself.
                    _ => drop(api.resume(Actor::Operator, named(&id)).await),
                }
            }
            6 => drop(api.stop(Actor::Operator, named(&id)).await),
            7 => drop(api.pause(Actor::Operator, named(&id)).await),
            8 => drop(api.resume(Actor::Operator, named(&id)).await),
            _ => {
                mine = None; // what became of it is known only when the answer came
                let deleted = api.delete(Actor::Operator, named(&id)).await;
                let mut told = told.lock().expect("no panic");
                told.kept.remove(&id);
                if deleted.is_ok() {
                    told.gone.insert(id);
                }
            }
        }
    }
}

#[test]
fn killed_at_any_moment_under_load_nothing_that_was_answered_is_lost() {
    const KILLS: u64 = 20;
    let _alone = alone();
    let daemon = Arc::new(Daemon::prepared());
    let seed = std::env::var("RINGFENCE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    println!("RINGFENCE_SEED={seed}");
    let mut random = Random(seed);
    let (told, over, done) =
        (Arc::<Mutex<Told>>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    block_on(async {
        let loads: Vec<_> = (1..=3)
            .map(|n| {
                tokio::spawn(load(
                    Arc::clone(&daemon),
                    seed * 31 + n,
                    Arc::clone(&told),
                    Arc::clone(&over),
                    Arc::clone(&done),
                ))
            })
            .collect();
        let mut old = Vec::new();
        for kill in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(random.below(700))).await;
            let victims = [
                Victim::Serve,
                Victim::Jailer,
                Victim::Supervisor,
                Victim::Outer,
                Victim::Zygote,
                Victim::ParkedInterpreter,
            ];
            let victim = victims[usize::try_from(random.below(victims.len() as u64)).expect("small")];
            let Some(killed) = daemon.victim(victim) else { continue };
            let tree = daemon.tree();
            killed.kill();
            println!("kill {kill}: {victim:?} {}", killed.pid);
            wait_for("its death", || if killed.lives() { Err(format!("{victim:?}")) } else { Ok(()) });
            let (d, at_once) = (Arc::clone(&daemon), random.below(2) == 0);
            // Half of the time the next kill comes while the daemon is still on its way up.
            if at_once {
                if d.outer_pid().is_none() || d.ended().is_some() {
                    tokio::task::spawn_blocking(move || d.start()).await.expect("started");
                }
            } else {
                tokio::task::spawn_blocking(move || d.recover()).await.expect("recovered");
            }
            old.push((victim, killed));
            if matches!(victim, Victim::Supervisor | Victim::Outer) {
                old.extend(tree.into_iter().map(|p| (victim, p)));
            }
        }
        over.store(true, Ordering::Relaxed);
        for load in loads {
            load.await.expect("no load panics");
        }
        let d = Arc::clone(&daemon);
        tokio::task::spawn_blocking(move || d.recover()).await.expect("recovered");
        let api = daemon.client();
        let told = std::mem::take(&mut *told.lock().expect("no panic"));
        println!(
            "{} calls were answered; {} sandboxes kept, {} deleted",
            done.load(Ordering::Relaxed),
            told.kept.len(),
            told.gone.len()
        );
        let list = api
            .list(Actor::Operator, ListRequest { limit: Some(1000), ..ListRequest::default() })
            .await
            .expect("listed");
        for row in &list.sandboxes {
            let id = row.sandbox_id.to_string();
            assert!(
                !told.gone.contains(&id) || row.status == SandboxStatus::Deleted,
                "{id} was deleted, and is {:?}",
                row.status
            );
            assert_ne!(row.status, SandboxStatus::Creating, "{id}");
        }
        for (id, lines) in &told.kept {
            let status = api.status(Actor::Operator, named(id)).await.expect("what was created is known");
            if status.status != SandboxStatus::Running {
                api.resume(Actor::Operator, named(id))
                    .await
                    .unwrap_or_else(|e| panic!("{id} ({:?}) does not resume: {e:?}", status.status));
            }
            let read = api.execute(Actor::Operator, bash(id, "cat kept 2>/dev/null | wc -l")).await.expect("run");
            let found: usize = read.output.trim().parse().expect("a number");
            // One call more may have been carried out than was answered, for each kill.
            assert!(found >= *lines, "{id}: {found} lines, of {lines} that were answered");
        }
        daemon.nothing_is_left_of(&old.iter().map(|(_, p)| *p).collect::<Vec<_>>());
        for row in &list.sandboxes {
            let _ = api.delete(Actor::Operator, named(&row.sandbox_id.to_string())).await;
        }
        daemon.nothing_is_left_of(&[]);
    });
    daemon.stop();
}

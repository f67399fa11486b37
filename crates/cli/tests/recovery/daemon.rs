//! The daemon under test, and what it may leave on the host.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use ringfence_server::Client;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    patience::wait_for,
    process::{Process, numbers_in_proc, stat},
};
use crate::common::{self, BIN, client_of, ringfence, tail};

/// A part of a daemon that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Serve,
    Jailer,
    Supervisor,
    Outer,
    Zygote,
    ParkedInterpreter,
}

/// A state directory that nobody else has meanwhile. Whatever a daemon leaves on the host is of its installation, so that there may be
/// several; there are two, because a machine may have two cores.
pub(crate) struct Place(MutexGuard<'static, Option<PathBuf>>);

impl Place {
    /// Waits for one that is free. The first who has it has it prepared.
    pub(crate) fn take() -> Self {
        // No name is the beginning of the other: mounts are looked for by it.
        static PLACES: [(&str, Mutex<Option<PathBuf>>); 2] = [("one", Mutex::new(None)), ("two", Mutex::new(None))];
        let (name, mut home) = loop {
            let free = PLACES.iter().find_map(|(name, place)| match place.try_lock() {
                Ok(home) => Some((name, home)),
                // A test that failed has left it; its daemon is gone.
                Err(TryLockError::Poisoned(home)) => Some((name, PoisonError::into_inner(home))),
                Err(TryLockError::WouldBlock) => None,
            });
            match free {
                Some(free) => break free,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if home.is_none() {
            let shared = common::shared();
            let dir = common::beside(name);
            common::prepare(shared, &dir);
            *home = Some(dir);
        }
        Self(home)
    }
}

/// The daemon under test and its state directory.
pub(crate) struct Daemon {
    pub(crate) home: PathBuf,
    pub(crate) outer: Mutex<Option<Child>>,
}

impl Daemon {
    /// One that runs there.
    pub(crate) fn of(place: &Place) -> Self {
        let home = place.0.clone().expect("it is prepared");
        let daemon = Self { home, outer: Mutex::new(None) };
        daemon.start();
        daemon
    }

    pub(crate) fn start(&self) {
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
        *self.outer.lock().expect("no panic") = Some(child);
        wait_for("a daemon that was just started", || {
            if common::answers(&self.home) { Ok(()) } else { Err(tail(&self.home)) }
        });
    }

    pub(crate) fn outer_pid(&self) -> Option<i32> {
        let outer = self.outer.lock().expect("no panic");
        outer.as_ref().map(|c| i32::try_from(c.id()).expect("31 bits"))
    }

    /// Whether the outer process has ended, and how; reaps it.
    pub(crate) fn ended(&self) -> Option<std::process::ExitStatus> {
        let mut outer = self.outer.lock().expect("no panic");
        let status = outer.as_mut()?.try_wait().expect("it is our child");
        if status.is_some() {
            *outer = None;
        }
        status
    }

    /// The daemon answers; one that ended is started again.
    pub(crate) fn recover(&self) {
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
    pub(crate) fn tree(&self) -> Vec<Process> {
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
    pub(crate) fn role(&self, name: &str) -> Option<Process> {
        let supervisor = self.supervisor()?.pid;
        self.tree()
            .into_iter()
            .find(|p| stat(p.pid).is_some_and(|s| s.parent == supervisor) && p.command().starts_with(name))
    }

    pub(crate) fn supervisor(&self) -> Option<Process> {
        let outer = self.outer_pid()?;
        self.tree().into_iter().find(|p| stat(p.pid).is_some_and(|s| s.parent == outer))
    }

    pub(crate) fn victim(&self, victim: Victim) -> Option<Process> {
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

    pub(crate) fn client(&self) -> Arc<Client> {
        client_of(&self.home)
    }

    pub(crate) fn installation(&self) -> String {
        let text = fs::read_to_string(self.home.join("installation")).expect("an installation");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["id"].as_str().expect("an id").to_owned()
    }

    /// Directories of this installation in every cgroup hierarchy, one level below its own.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let name = format!("ringfence-{}", self.installation());
        let mut roots = vec![PathBuf::from("/sys/fs/cgroup").join(&name)];
        for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            roots.push(hierarchy.path().join(&name));
        }
        roots.into_iter().filter(|root| root.is_dir()).collect()
    }

    /// Processes that this installation's cgroups hold.
    pub(crate) fn in_groups(&self) -> BTreeSet<i32> {
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
    pub(crate) fn disks(&self) -> BTreeSet<String> {
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
    pub(crate) fn nothing_is_left_of(&self, old: &[Process]) {
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
    pub(crate) fn no_mount_shows_on_the_host(&self) {
        let home = self.home.to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&*home)).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Loop devices over the disks' image.
    pub(crate) fn loops(&self) -> usize {
        let image = self.home.join("disks.btrfs");
        let devices = fs::read_dir("/sys/block").expect("sysfs").flatten();
        let backing = devices.filter_map(|d| fs::read_to_string(d.path().join("loop/backing_file")).ok());
        backing.filter(|file| Path::new(file.trim_end()) == image).count()
    }

    pub(crate) fn listed(&self, status: &str) -> Vec<String> {
        let list = ringfence(&self.home, &["sandbox", "ls", "--status", status, "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
        let rows = json["sandboxes"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| Some(row["sandbox_id"].as_str()?.to_owned())).collect()
    }

    /// Ends it in order: nothing at all is left.
    #[track_caller]
    pub(crate) fn stop(&self) {
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

//! The daemon that is killed, and started again.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ringfence_engine::api::Sandboxes;
use ringfence_jail::supervise::{GATEWAY_ROLE, JAILER_ROLE, SERVE_ROLE, VENUE_ROLE};
use ringfence_model::api::Actor;
use ringfence_server::Client;
use rustix::process::{Pid, Signal, kill_process};

use super::procfs;
use crate::{bench::gate::home::lay_down, daemon, output, roles};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// A part that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The engine and its faces.
    Serve,
    /// What makes processes.
    Jailer,
    /// The gate.
    Gateway,
    /// The simulated exchange.
    Venue,
    /// Pid 1 of the daemon's namespace.
    Supervisor,
    /// What was started.
    Outer,
}

impl Role {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Serve, Self::Jailer, Self::Gateway, Self::Venue, Self::Supervisor, Self::Outer];

    /// The word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Jailer => "jailer",
            Self::Gateway => "gateway",
            Self::Venue => "venue",
            Self::Supervisor => "supervisor",
            Self::Outer => "outer",
        }
    }
}

/// A daemon of our own, whose processes we may kill.
pub(super) struct Owned {
    /// Its state directory.
    pub(super) home: PathBuf,
    outer: Mutex<Option<Child>>,
}

impl Owned {
    /// Makes a state directory beside `theirs`, with its template, and starts a daemon over it.
    ///
    /// # Errors
    /// Something of it cannot be made, or the template is not built.
    pub(super) async fn start(theirs: &Path, template: &str) -> anyhow::Result<Self> {
        let theirs = theirs.canonicalize().with_context(|| format!("looking for {}", theirs.display()))?;
        let name = theirs.file_name().unwrap_or_default().to_string_lossy();
        let home = theirs.with_file_name(format!("{name}-soak-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&home).with_context(|| format!("making {}", home.display()))?;
        let laid = lay_down(&theirs, &home, template).await;
        let owned = Self { home, outer: Mutex::new(None) };
        let started = match laid {
            Ok(()) => owned.recover().await,
            Err(error) => Err(error.context("build the template first: `ringfence template build python`")),
        };
        if let Err(error) = started {
            owned.remove();
            return Err(error);
        }
        Ok(owned)
    }

    /// A client of it.
    pub(super) fn api(&self) -> Arc<Client> {
        Arc::new(Client::new(&daemon::socket(&self.home), roles::build_id()))
    }

    fn spawn(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.home.join("log"))?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.home.join("log/daemon.log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--tcp", "none", "--home"])
            .arg(&self.home)
            .env_remove("RINGFENCE_HOME")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the daemon")?;
        *self.outer.lock().expect("nothing panics under this lock") = Some(child);
        Ok(())
    }

    /// Starts it again if it ended.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) async fn keep(&self) -> anyhow::Result<()> {
        let ended = match self.outer.lock().expect("nothing panics under this lock").as_mut() {
            Some(outer) => outer.try_wait()?.is_some(),
            None => true,
        };
        if ended { self.spawn() } else { Ok(()) }
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn recover(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.keep().await?;
            let api = self.api();
            let answer = tokio::time::timeout(Duration::from_secs(2), api.health(Actor::Operator)).await;
            if matches!(answer, Ok(Ok(_))) && self.pid(Role::Serve).is_some() {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                bail!(
                    "the daemon does not answer after {} s; its log is in {}",
                    PATIENCE.as_secs(),
                    self.home.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until as many sandboxes are made ahead as there will be.
    ///
    /// # Errors
    /// It does not answer, or goes on making.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        const STEADY: Duration = Duration::from_secs(3);
        let begin = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < STEADY || last == 0 {
            let health = self.api().health(Actor::Operator).await?;
            let shelf: u32 = health.templates.iter().map(|template| template.shelf).sum();
            let is_still = shelf == last && health.executions_running == 0 && health.trials.running == 0;
            if !is_still {
                (last, since) = (shelf, Instant::now());
            }
            ensure!(begin.elapsed() < PATIENCE, "the daemon does not come to rest: {health:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn outer_pid(&self) -> Option<i32> {
        let outer = self.outer.lock().expect("nothing panics under this lock");
        outer.as_ref().and_then(|outer| i32::try_from(outer.id()).ok())
    }

    /// The process that plays the role.
    pub(super) fn pid(&self, role: Role) -> Option<i32> {
        let outer = self.outer_pid()?;
        let supervisor = || children(outer).into_iter().next();
        let named = match role {
            Role::Outer => return Some(outer),
            Role::Supervisor => return supervisor(),
            Role::Serve => SERVE_ROLE,
            Role::Jailer => JAILER_ROLE,
            Role::Gateway => GATEWAY_ROLE,
            Role::Venue => VENUE_ROLE,
        };
        // The jailer's own forks have its name too, and another parent.
        children(supervisor()?).into_iter().find(|pid| {
            let command = procfs(*pid, "cmdline").unwrap_or_default();
            command.split(|byte| *byte == 0).next() == Some(named.as_bytes())
        })
    }

    /// Kills it; whether there was somebody.
    pub(super) fn kill(&self, role: Role) -> bool {
        let Some(pid) = self.pid(role).and_then(Pid::from_raw) else { return false };
        kill_process(pid, Signal::KILL).is_ok()
    }

    /// Memory in bytes and descriptors of a role.
    pub(super) fn weight(&self, role: Role) -> Option<(u64, usize)> {
        let pid = self.pid(role)?;
        let status = String::from_utf8(procfs(pid, "status").ok()?).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
        Some((kib << 10, fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()))
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub(super) async fn end(&self) -> anyhow::Result<()> {
        let Some(outer) = self.outer_pid().and_then(Pid::from_raw) else { return Ok(()) };
        kill_process(outer, Signal::TERM).context("asking the daemon to end")?;
        let begin = Instant::now();
        loop {
            if let Some(outer) = self.outer.lock().expect("nothing panics under this lock").as_mut()
                && let Some(status) = outer.try_wait()?
            {
                ensure!(status.code() == Some(0), "the daemon ended with {status}");
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "the daemon does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Removes its directory.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.home) {
            output::note(&format!("soak: {} could not be removed: {error}", self.home.display()));
        }
    }
}

impl Drop for Owned {
    /// The daemon of a soak that failed goes with it.
    fn drop(&mut self) {
        if let Some(mut outer) = self.outer.lock().ok().and_then(|mut outer| outer.take()) {
            let _ = outer.kill();
            let _ = outer.wait();
        }
    }
}

/// Children of a process that have not ended: proc(5), `/proc/<pid>/stat`, fields 3 and 4.
fn children(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|number| {
            let stat = procfs(*number, "stat").unwrap_or_default();
            let stat = String::from_utf8_lossy(&stat).into_owned();
            let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            let is_alive = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
            is_alive && fields.next().and_then(|parent| parent.parse().ok()) == Some(pid)
        })
        .collect()
}

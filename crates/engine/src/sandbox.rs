//! A living sandbox as the engine holds it. The row in the store is the truth; this is what cannot be a row: the shell,
//! the interpreter that waits in it, and the lock under which its state changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use ringfence_jail::proto::{DiskId, ExecNo};
use ringfence_model::{ExecutionId, Limits, Project, SandboxId};
use ringfence_store::SandboxStatus;

use crate::{
    machine::{Process, SharedShell},
    previews::Visits,
    registry::Template,
    start::Started,
};

/// A sandbox that has not ended.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Not unique.
    pub name: String,
    /// Whose it is.
    pub project: Project,
    /// What it was made from.
    pub template: Arc<Template>,
    /// What it may use.
    pub limits: Limits,
    /// Its writable layer.
    pub disk: DiskId,
    /// Bytes that its disk shares with the one that it was copied from: they count for its limit.
    pub inherited_bytes: u64,
    lifetime: Mutex<Lifetime>,
    /// Held to read while an execution begins, to write while the sandbox ends or is frozen: the chain then has no
    /// execution that begins after its sandbox's end.
    pub(crate) gate: tokio::sync::RwLock<()>,
    /// Under this lock its state changes; executions take it only to look and to get their interpreter.
    pub state: tokio::sync::Mutex<State>,
    next_execution: AtomicU64,
    /// Installations of packages under way.
    installing: AtomicU32,
    /// Environment: version, and values by name.
    pub environment: Mutex<Environment>,
    /// Executions that have ended but left processes: their cgroups are removed once those are gone.
    pub lingering: Mutex<Vec<Lingering>>,
    /// What its template has run in its background, since its last start.
    pub started: Mutex<Option<Started>>,
    /// Visits to its ports.
    pub(crate) visits: Visits,
    /// Its disk was full when it was looked at last.
    pub(crate) was_full: AtomicBool,
}

/// While it lives, packages are being installed in its sandbox.
#[derive(Debug)]
pub(crate) struct Installing(Arc<Sandbox>);

impl Installing {
    /// From now on.
    pub(crate) fn in_sandbox(sandbox: &Arc<Sandbox>) -> Self {
        sandbox.installing.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(sandbox))
    }
}

impl Drop for Installing {
    fn drop(&mut self) {
        self.0.installing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An ended execution of which processes live on.
#[derive(Debug, Clone)]
pub(crate) struct Lingering {
    /// Its number in the shell.
    pub(crate) exec: ExecNo,
    /// Its id.
    pub(crate) id: ExecutionId,
    /// The environment version that it began with.
    pub(crate) env_version: u64,
}

/// How long it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime {
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// The environment that its next execution begins with.
#[derive(Default)]
pub(crate) struct Environment {
    /// 0 before the first value.
    pub version: u64,
    /// Values; never shown.
    pub values: BTreeMap<String, String>,
    /// Names of those that are keys and visible all the same: they are masked in what programs print.
    pub exposed: BTreeSet<String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("version", &self.version).field("names", &self.values.keys()).finish()
    }
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    /// As in the row.
    pub status: SandboxStatus,
    /// While it runs or is paused.
    pub shell: Option<SharedShell>,
    /// The interpreter that waits, or is on its way.
    pub next: Next,
}

/// The interpreter of the next execution.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nobody has asked for one.
    None,
    /// It waits.
    Parked(Box<Process>),
    /// It is being made.
    Coming(tokio::task::JoinHandle<Option<Box<Process>>>),
}

impl Next {
    /// Takes it away.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::None)
    }
}

/// What a sandbox is made with.
#[derive(Debug)]
pub(crate) struct Made {
    /// See [`Sandbox`].
    pub id: SandboxId,
    /// See [`Sandbox`].
    pub name: String,
    /// See [`Sandbox`].
    pub project: Project,
    /// See [`Sandbox`].
    pub template: Arc<Template>,
    /// See [`Sandbox`].
    pub limits: Limits,
    /// See [`Sandbox`].
    pub disk: DiskId,
    /// See [`Sandbox`].
    pub inherited_bytes: u64,
    /// See [`Sandbox`].
    pub lifetime: Lifetime,
    /// See [`Sandbox`].
    pub state: State,
    /// Number of its last execution, 0 before the first.
    pub last_execution: u64,
    /// See [`Sandbox`].
    pub environment: Environment,
    /// Ports that need no token.
    pub public_ports: Vec<u16>,
    /// How often its preview token was replaced.
    pub preview_generation: u32,
}

impl Sandbox {
    /// A sandbox that lives from now on.
    #[must_use]
    pub(crate) fn new(made: Made) -> Self {
        Self {
            id: made.id,
            name: made.name,
            project: made.project,
            template: made.template,
            limits: made.limits,
            disk: made.disk,
            inherited_bytes: made.inherited_bytes,
            lifetime: Mutex::new(made.lifetime),
            gate: tokio::sync::RwLock::default(),
            state: tokio::sync::Mutex::new(made.state),
            next_execution: AtomicU64::new(made.last_execution + 1),
            installing: AtomicU32::new(0),
            environment: Mutex::new(made.environment),
            lingering: Mutex::default(),
            started: Mutex::default(),
            visits: Visits::new(made.public_ports, made.preview_generation),
            was_full: AtomicBool::new(false),
        }
    }

    /// How long it lives.
    #[must_use]
    pub(crate) fn lifetime(&self) -> Lifetime {
        *self.lifetime.lock().expect("nothing panics under this lock")
    }

    /// Sets how long it lives.
    pub(crate) fn set_lifetime(&self, lifetime: Lifetime) {
        *self.lifetime.lock().expect("nothing panics under this lock") = lifetime;
    }

    /// A number for its next execution.
    #[must_use]
    pub(crate) fn next_number(&self) -> u64 {
        self.next_execution.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether packages are being installed in it.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing.load(Ordering::SeqCst) > 0
    }

    /// Version and values of its environment.
    pub(crate) fn environment(&self) -> std::sync::MutexGuard<'_, Environment> {
        self.environment.lock().expect("nothing panics under this lock")
    }
}

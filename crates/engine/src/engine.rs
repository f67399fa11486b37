//! The engine: one node's sandboxes. This file holds what everything shares, and how it starts and ends.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ringfence_jail::{board::Board, proto::ShellId};
use ringfence_model::{ApiError, Code, ExecutionId, LayerDigest, SandboxId, credit::CreditSettings};
use ringfence_store::{Actor, AuditEntry, AuditKey, LogEntry, LogLevel, PreviewKey, SealingKey, SigningPace, Store};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::Failure,
    execution::Execution,
    jailer::{Death, Jailer},
    machine::Machine,
    registry::{Registry, Warm},
    sandbox::Sandbox,
    shelf::Shelf,
};

/// What the engine is started with.
#[derive(Debug)]
pub struct Config {
    /// State directory of the daemon.
    pub home: PathBuf,
    /// The layer with the sample bars.
    pub data: LayerDigest,
    /// The layer with the certificates that programs trust: the operator's, and the gate's own.
    pub trust: LayerDigest,
    /// Socket to the jailer.
    pub jailer: std::os::fd::OwnedFd,
    /// Through which the supervisor introduces each gateway that it starts.
    pub door: std::os::fd::OwnedFd,
    /// Where the daemon listens on TCP, for the addresses of previews.
    pub tcp: Option<std::net::SocketAddr>,
    /// Which build this is.
    pub build: String,
    /// Where the supervisor puts how often each role was started.
    pub board: Option<Board>,
    /// What the operator has decided about templates.
    pub templates: TemplateSettings,
    /// What the operator has decided about credits.
    pub credits: CreditSettings,
}

/// What the operator has decided about templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateSettings {
    /// Whether what a template's recipe says of the network holds for sandboxes of which nobody says it.
    pub network_defaults: bool,
    /// Whether recipes that begin with an image may download: the image's programs share the host's network then.
    pub image_downloads: bool,
    /// Memory for the sandboxes of one template that are made ahead, in MiB; otherwise a fiftieth of the host's.
    pub shelf_mib: Option<u64>,
    /// Layers that no template has, kept for builds that could use them again, in bytes.
    pub cache_bytes_max: u64,
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key of the environment values.
    #[error("the sealing key")]
    Key(#[from] ringfence_store::KeyError),
    /// The database.
    #[error("the database")]
    Open(#[from] ringfence_store::OpenError),
    /// A file or socket.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Something else.
    #[error("starting")]
    Failure(#[from] Failure),
}

/// One node's sandboxes. Clones share it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) home: PathBuf,
    pub(crate) store: Store,
    /// What heads and cuts of the audit chain are signed with.
    pub(crate) audit_key: Arc<AuditKey>,
    /// The way to the gateway.
    pub(crate) gate: crate::gate::GateClient,
    pub(crate) machine: Arc<Machine>,
    pub(crate) registry: Registry,
    pub(crate) shelves: Mutex<HashMap<String, Arc<Shelf>>>,
    pub(crate) live: RwLock<HashMap<SandboxId, Arc<Sandbox>>>,
    pub(crate) running: Mutex<HashMap<ExecutionId, Arc<Execution>>>,
    pub(crate) builds: crate::builds::Builds,
    pub(crate) builder: crate::builder::Builder,
    /// See [`Config`].
    pub(crate) templates: TemplateSettings,
    pub(crate) purse: crate::credit::Purse,
    pub(crate) exports: crate::export::Exports,
    pub(crate) images: crate::images::Images,
    pub(crate) trials: crate::trial::Ground,
    pub(crate) started: Instant,
    /// Held while things go with a clock that was set.
    pub(crate) clock: tokio::sync::Mutex<crate::clock::Look>,
    /// Audit chains are verified one after the other.
    pub(crate) verifying: tokio::sync::Mutex<()>,
    /// Which build this is.
    pub(crate) build: String,
    /// Where the daemon listens on TCP.
    pub(crate) tcp: Option<std::net::SocketAddr>,
    /// What the tokens of previews are made with.
    pub(crate) preview_key: PreviewKey,
    /// Requests under way, for which the shelf steps back.
    pub(crate) activity: Arc<crate::activity::Activity>,
    /// The first disk number that this run gave out: lower ones without an owner are left-overs.
    pub(crate) first_disk: std::sync::atomic::AtomicU64,
    /// No new work is taken.
    pub(crate) draining: std::sync::atomic::AtomicBool,
    /// Nothing is looked after any more.
    pub(crate) closing: std::sync::atomic::AtomicBool,
    /// What is counted.
    pub(crate) counts: crate::node::Counts,
    /// See [`Config`].
    pub(crate) board: Option<Board>,
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Memory of this host in MiB.
fn host_memory_mib() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
    kib.unwrap_or(0) / 1024
}

impl Engine {
    /// Opens the store, reconciles what an earlier run left, starts zygotes and shelves. The receiver fires when the jailer
    /// is gone: the process must end then, and is started anew.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<(Self, oneshot::Receiver<()>), StartError> {
        let own = config.home.join("engine");
        let io = |what| move |source| StartError::Io { what, source };
        for dir in [own.join("logs"), own.join("builds"), own.join("archives")] {
            std::fs::create_dir_all(dir).map_err(io("making a state directory"))?;
        }
        crate::export::clear(&own.join("archives"));
        crate::capture::count_logs(&own.join("logs"));
        let key = SealingKey::load_or_create(&own.join("sealing.key"))?;
        let preview_key = key.preview_key();
        let store = Store::open(&own.join("engine.db"), key)?;
        let audit_key = Arc::new(AuditKey::load_or_create(&own.join("audit.key"))?);
        let (deaths, died) = mpsc::unbounded_channel();
        let (jailer, gone) = Jailer::new(config.jailer, deaths).map_err(io("watching the jailer's socket"))?;
        let machine = Arc::new(Machine::new(jailer, config.data, config.trust).await.map_err(Failure::from)?);
        let builder = crate::builder::Builder::new(Arc::clone(&machine), store.clone());
        store.write(move |tx| tx.set_credit_settings(&config.credits)).await.map_err(Failure::from)?;
        // Numbers are never given twice, so one that is taken and thrown away marks where this run begins.
        let first_disk = store
            .write(|tx| {
                let number = tx.insert_disk(None, 0)?;
                tx.delete_disk(number).map(|_| number)
            })
            .await
            .map_err(Failure::from)?;
        let engine = Self {
            inner: Arc::new(Inner {
                home: config.home,
                store,
                audit_key: Arc::clone(&audit_key),
                machine,
                gate: crate::gate::GateClient::default(),
                registry: Registry::default(),
                shelves: Mutex::default(),
                live: RwLock::default(),
                running: Mutex::default(),
                builds: crate::builds::Builds::default(),
                builder,
                exports: crate::export::Exports::default(),
                images: crate::images::Images::default(),
                trials: crate::trial::Ground::default(),
                started: Instant::now(),
                clock: tokio::sync::Mutex::new(crate::clock::Look::now()),
                verifying: tokio::sync::Mutex::default(),
                build: config.build,
                templates: config.templates,
                purse: crate::credit::Purse::new(config.credits),
                tcp: config.tcp,
                preview_key,
                activity: Arc::default(),
                first_disk: std::sync::atomic::AtomicU64::new(first_disk),
                draining: std::sync::atomic::AtomicBool::new(false),
                closing: std::sync::atomic::AtomicBool::new(false),
                counts: crate::node::Counts::default(),
                board: config.board,
            }),
        };
        tokio::spawn(engine.clone().pause_misused(engine.inner.gate.misused()));
        engine.inner.gate.listen(config.door);
        engine.load_templates().await?;
        engine.reconcile_at_start().await?;
        // Those that were exported are looked at before they are used, when they are: see `Engine::ready`.
        for template in engine.inner.registry.all().into_iter().filter(|template| template.exported().is_none()) {
            engine.open_shelf(template);
        }
        tokio::spawn(engine.clone().bury(died));
        let sweeping = engine.clone();
        tokio::spawn(async move { sweeping.remove_leftovers().await });
        engine.sign_head(&audit_key, SigningPace::AT_START).await;
        tokio::spawn(engine.clone().tick(audit_key));
        tokio::spawn(engine.clone().keep_accounts());
        Ok((engine, gone))
    }

    /// Ends in order: no new work, sandboxes stopped with their files kept, the store closed.
    pub async fn close(&self) {
        self.inner.draining.store(true, std::sync::atomic::Ordering::SeqCst);
        self.inner.closing.store(true, std::sync::atomic::Ordering::SeqCst);
        self.stop_everything("the daemon was stopped").await;
        if let Err(error) = self.inner.store.clone().close().await {
            tracing::warn!(%error, "the store did not close in order");
        }
    }

    /// The database, for jobs that are run in sandboxes.
    #[must_use]
    pub fn store(&self) -> Store {
        self.inner.store.clone()
    }

    /// Where the logs of outputs are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.inner.home.join("engine/logs")
    }

    /// Where the logs of builds are.
    pub(crate) fn build_logs(&self) -> PathBuf {
        self.inner.home.join("engine/builds")
    }

    pub(crate) fn live(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        self.inner.live.read().expect("nothing panics under this lock").get(id).cloned()
    }

    pub(crate) fn all_live(&self) -> Vec<Arc<Sandbox>> {
        self.inner.live.read().expect("nothing panics under this lock").values().cloned().collect()
    }

    pub(crate) fn add_live(&self, sandbox: Arc<Sandbox>) {
        let mut live = self.inner.live.write().expect("nothing panics under this lock");
        live.insert(sandbox.id.clone(), sandbox);
        self.inner.activity.note_sandboxes(live.len());
    }

    pub(crate) fn remove_live(&self, id: &SandboxId) {
        let mut live = self.inner.live.write().expect("nothing panics under this lock");
        live.remove(id);
        self.inner.activity.note_sandboxes(live.len());
    }

    pub(crate) fn shelf(&self, template: &str) -> Option<Arc<Shelf>> {
        self.inner.shelves.lock().expect("nothing panics under this lock").get(template).cloned()
    }

    pub(crate) fn running(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Arc<Execution>>> {
        self.inner.running.lock().expect("nothing panics under this lock")
    }

    /// Whether the daemon ends: what is killed now is cut off, and has not failed.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.inner.draining.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Whether what runs is being stopped. Until then lifetimes end and minutes are billed, also while the daemon drains.
    pub(crate) fn is_closing(&self) -> bool {
        self.inner.closing.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Refuses new work while the daemon ends.
    pub(crate) fn admit(&self) -> Result<(), ApiError> {
        if self.is_ending() {
            let text = "the daemon is stopping and begins nothing new; try again when it runs again";
            return Err(ApiError::new(Code::InsufficientResources, text));
        }
        Ok(())
    }

    /// Starts a template's zygote and its shelf. The shelf fills once the zygote is warm.
    pub(crate) fn open_shelf(&self, template: Arc<crate::registry::Template>) {
        let budget_mib = self.inner.templates.shelf_mib.map(|mib| usize::try_from(mib).unwrap_or(usize::MAX));
        let budget_mib = budget_mib.unwrap_or_else(|| host_memory_mib() / crate::shelf::PART_OF_MEMORY);
        let target = crate::shelf::target(budget_mib, template.shelf.sandbox_mib as usize);
        let shelf = Arc::new(Shelf::new(Arc::clone(&template), target));
        let old = self
            .inner
            .shelves
            .lock()
            .expect("nothing panics under this lock")
            .insert(template.name.clone(), Arc::clone(&shelf));
        let engine = self.clone();
        tokio::spawn(async move {
            if let Some(old) = old {
                engine.clear_shelf(&old).await;
            }
            engine.clear_trials(&template.name).await;
            engine.start_zygote(&template).await;
            let (machine, store) = (Arc::clone(&engine.inner.machine), engine.inner.store.clone());
            let activity = Arc::clone(&engine.inner.activity);
            shelf.keep_full(machine, store, activity).await;
        });
    }

    pub(crate) async fn clear_shelf(&self, shelf: &Shelf) {
        for ready in shelf.close() {
            if let Err(error) = self.inner.machine.destroy(&ready.shell).await {
                tracing::error!(%error, "a shell could not be removed");
            }
            crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, ready.disk).await;
        }
    }

    /// Starts a zygote, again and again until it lives.
    async fn start_zygote(&self, template: &crate::registry::Template) {
        if !matches!(template.warm, Warm::Forked(_)) {
            return;
        }
        const MEMORY_MIB: u32 = 1024;
        let mut pause = Duration::from_millis(100);
        // Its template may be deleted or built anew meanwhile.
        let is_wanted =
            || self.inner.registry.get(&template.name).is_some_and(|current| current.zygote == template.zygote);
        while is_wanted() {
            let started = self.inner.machine.start_zygote(template, MEMORY_MIB).await;
            match started {
                Ok((ready_ms, rss_kib)) => {
                    tracing::info!(template = template.name, ready_ms, rss_kib, "a warm interpreter is ready");
                    if !is_wanted() {
                        let _ = self.inner.machine.stop_zygote(template.zygote).await;
                    }
                    return;
                }
                Err(error) => {
                    let error = Failure::from(error).chain();
                    tracing::warn!(template = template.name, error, "a warm interpreter could not be started");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
        }
    }

    /// Sees to what died unasked.
    async fn bury(self, mut died: mpsc::UnboundedReceiver<Death>) {
        while let Some(death) = died.recv().await {
            match death {
                Death::Zygote(zygote, reason) => {
                    tracing::warn!(zygote = zygote.0, reason, "a warm interpreter died");
                    if let Some(template) = self.inner.registry.of_zygote(zygote) {
                        let engine = self.clone();
                        tokio::spawn(async move { engine.start_zygote(&template).await });
                    }
                }
                Death::Shell(shell) => {
                    self.inner.machine.note_death(shell);
                    let engine = self.clone();
                    tokio::spawn(async move { engine.on_shell_death(shell).await });
                }
            }
        }
    }

    async fn on_shell_death(&self, shell: ShellId) {
        let shelves: Vec<_> =
            self.inner.shelves.lock().expect("nothing panics under this lock").values().cloned().collect();
        for shelf in shelves {
            if let Some(ready) = shelf.remove(shell) {
                let _ = self.inner.machine.destroy(&ready.shell).await;
                crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, ready.disk).await;
                return;
            }
        }
        if self.bury_trial(shell).await {
            return;
        }
        self.on_sandbox_death(shell).await;
    }

    /// Every half second: lifetimes. Every minute: what reconcile finds, and whether a head of the audit chain is to be signed.
    /// Every hour: layers that nothing refers to.
    async fn tick(self, audit_key: Arc<AuditKey>) {
        const TICK: Duration = Duration::from_millis(500);
        const RECONCILE_EVERY: u32 = 120;
        const COLLECT_EVERY: u32 = 60 * RECONCILE_EVERY;
        let mut ticks = 0_u32;
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if self.is_closing() {
                return;
            }
            self.expire(self.settled_now_ms().await).await;
            self.give_trials_back().await;
            ticks += 1;
            if ticks.is_multiple_of(COLLECT_EVERY) {
                // Beside: lifetimes do not wait for large layers.
                let engine = self.clone();
                tokio::spawn(async move { engine.keep_budget_when_idle().await });
            }
            if ticks.is_multiple_of(RECONCILE_EVERY) {
                self.expire_failed(now_ms()).await;
                self.reconcile_disks().await;
                self.forget_lingering().await;
                self.sign_head(&audit_key, SigningPace::RUNNING).await;
            }
        }
    }

    /// Signs the head of the audit chain when it is time. The line goes to the log, which others may keep.
    async fn sign_head(&self, key: &Arc<AuditKey>, pace: SigningPace) {
        match self.inner.store.sign_head(Arc::clone(key), pace, now_ms()).await {
            Ok(Some(head)) => tracing::info!(%head, "the head of the audit chain was signed"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the head of the audit chain could not be signed"),
        }
    }

    /// Writes a line into a sandbox's log; a failure is logged and not more.
    pub(crate) fn note(&self, sandbox: &SandboxId, level: LogLevel, source: &str, message: impl Into<String>) {
        let entry = LogEntry {
            sandbox: sandbox.clone(),
            at_ms: now_ms(),
            level,
            source: source.to_owned(),
            message: message.into(),
        };
        let store = self.inner.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.write(move |tx| tx.append_log(&entry)).await {
                tracing::warn!(%error, "a log line could not be written");
            }
        });
    }

    /// An audit entry of now.
    pub(crate) fn entry(actor: Actor, event: &str) -> AuditEntry {
        AuditEntry::new(now_ms(), actor, event)
    }
}

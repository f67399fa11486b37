//! A store in a directory of its own, and somebody who edits its file behind its back.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use ringfence_model::{ExecutionId, Limits, SandboxId};
use ringfence_store::gate::{Decision, GateStore, Protocol, SecretName};
use ringfence_store::{
    Actor, AuditEntry, Database, Kind, Options, SandboxRow, SandboxStatus, SealingKey, SecretValue, Store, Verification,
};
use rusqlite::Connection;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Some time, in milliseconds since the Unix epoch.
pub(crate) const NOW_MS: u64 = 1_757_371_623_056;
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory with a database, its key and its head file; removed at the end.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory for the test") }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("engine.db")
    }

    pub(crate) fn head_file(&self) -> PathBuf {
        self.dir.path().join("audit.head")
    }

    pub(crate) fn key(&self) -> SealingKey {
        SealingKey::load_or_create(&self.dir.path().join("sealing.key")).expect("a key")
    }

    #[track_caller]
    pub(crate) fn open(&self) -> Store {
        Store::open(&self.database(), self.key()).expect("the store opens")
    }

    #[track_caller]
    pub(crate) fn open_with(&self, options: &Options) -> Store {
        Store::open_with(&self.database(), self.key(), options).expect("the store opens")
    }

    pub(crate) fn gate_database(&self) -> PathBuf {
        self.dir.path().join("gate.db")
    }

    pub(crate) fn gate_key(&self) -> SealingKey {
        SealingKey::load_or_create(&self.dir.path().join("gate.key")).expect("a key")
    }

    #[track_caller]
    pub(crate) fn open_gate(&self) -> GateStore {
        GateStore::open(&self.gate_database(), self.gate_key()).expect("the gate's store opens")
    }

    /// The directory as a power cut leaves it now, apart from what SQLite makes anew (`-shm`).
    pub(crate) fn as_after_a_crash(&self) -> Self {
        let copy = Self::new();
        for entry in fs::read_dir(self.dir.path()).expect("the directory can be read") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            // `.new` is on its way to another name, and may be gone by now.
            if !name.to_string_lossy().ends_with("-shm") && !name.to_string_lossy().ends_with(".new") {
                fs::copy(entry.path(), copy.dir.path().join(name)).expect("a file can be copied");
            }
        }
        copy
    }

    /// The file as an attacker has it.
    #[track_caller]
    pub(crate) fn behind_its_back(&self) -> Connection {
        let conn = Connection::open(self.database()).expect("SQLite opens the file");
        conn.busy_timeout(PATIENCE).expect("a timeout can be set");
        conn
    }

    /// As [`Place::behind_its_back`], of the gateway.
    #[track_caller]
    pub(crate) fn behind_the_gate(&self) -> Connection {
        let conn = Connection::open(self.gate_database()).expect("SQLite opens the file");
        conn.busy_timeout(PATIENCE).expect("a timeout can be set");
        conn
    }

    /// As [`Place::behind_its_back`], the triggers that keep the chain append-only removed.
    #[track_caller]
    pub(crate) fn without_triggers(&self) -> Connection {
        let conn = self.behind_its_back();
        conn.execute_batch(
            "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened; DROP TRIGGER audit_is_not_replaced;",
        )
        .expect("the triggers are there");
        conn
    }

    /// The files of the directory, keys excepted, in which these bytes stand.
    pub(crate) fn files_with(&self, bytes: &[u8]) -> Vec<String> {
        self.files_with_any([bytes])
    }

    /// The files of the directory, keys excepted, in which one of these pieces stands. Each file is read once for all of them.
    pub(crate) fn files_with_any<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let pieces: Vec<_> = pieces.into_iter().map(Finder::new).collect();
        assert!(!pieces.is_empty(), "nothing is looked for");
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir.path()).expect("the directory can be read") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let content = match fs::read(entry.path()) {
                // The head file on its way to its name.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with(".new") => continue,
                read => read.expect("a file of the store can be read"),
            };
            if !name.ends_with(".key") && pieces.iter().any(|piece| piece.find(&content).is_some()) {
                found.push(name);
            }
        }
        found.sort();
        found
    }
}

pub(crate) fn sandbox_id(number: u8) -> SandboxId {
    SandboxId::from_random([number; 20])
}

pub(crate) fn execution_id(number: u8) -> ExecutionId {
    ExecutionId::from_parts(NOW_MS, [number; 6])
}

pub(crate) fn sandbox_row(number: u8, status: SandboxStatus) -> SandboxRow {
    SandboxRow {
        id: sandbox_id(number),
        name: format!("box-{number}"),
        template: "python".into(),
        layers: Vec::new(),
        status,
        disk: None,
        limits: Limits::default(),
        metadata: serde_json::Map::new(),
        created_at_ms: NOW_MS,
        started_at_ms: None,
        expires_at_ms: None,
        stopped_at_ms: None,
        deleted_at_ms: None,
        lifetime_s: 3600,
        env_version: 0,
        swarm_id: None,
        agent_id: None,
        failure: None,
        project: ringfence_model::Project::default(),
    }
}

pub(crate) async fn add_sandbox(store: &Store, number: u8) -> SandboxId {
    let row = sandbox_row(number, SandboxStatus::Running);
    let id = row.id.clone();
    store.write(move |tx| tx.insert_sandbox(&row)).await.expect("a sandbox can be added");
    id
}

pub(crate) fn entry(number: u64) -> AuditEntry {
    AuditEntry::new(NOW_MS + number, Actor::Agent, "sandbox.execute")
        .sandbox(&sandbox_id(1))
        .execution(&execution_id(1))
        .detail(json!({"n": number}))
}

pub(crate) async fn append(store: &Store, count: u64) {
    for number in 1..=count {
        let _ = store.append(entry(number)).await.expect("an entry can be appended");
    }
}

pub(crate) async fn whole_chain<K: Kind>(store: &Database<K>) -> Verification {
    store.verify(1, None).await.expect("the chain can be walked")
}

pub(crate) fn secret(name: &str, value: &[u8]) -> (String, SecretValue) {
    (name.to_owned(), SecretValue::new(value))
}

/// Runs a test's async part where the caller of a check is still known.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Waits until it holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn secret_name(name: &str) -> SecretName {
    SecretName::parse(name).expect("a name")
}

/// A request that uses a secret and is allowed.
pub(crate) fn allowed(sandbox: u8, at_ms: u64) -> Decision {
    Decision {
        host: Some("paper-api.alpaca.markets".into()),
        address: Some("192.0.2.7".parse().expect("an address")),
        method: Some("GET".into()),
        path: Some("/v2/account".into()),
        rule: Some("alpaca".into()),
        secrets: vec![secret_name("ALPACA_SECRET_KEY")],
        ..Decision::allow(at_ms, sandbox_id(sandbox), Protocol::Http, 443)
    }
}

pub(crate) fn refused(sandbox: u8, at_ms: u64) -> Decision {
    let reason = "169.254.169.254 is a link-local address";
    Decision {
        address: Some("169.254.169.254".parse().expect("an address")),
        ..Decision::refuse(at_ms, sandbox_id(sandbox), Protocol::Tcp, 80, reason)
    }
}

/// Keeps the writer busy until the sender is used or dropped.
pub(crate) async fn hold<K: Kind>(store: &Database<K>) -> (mpsc::Sender<()>, JoinHandle<ringfence_store::Result<()>>) {
    let (release, released) = mpsc::channel();
    let (begin, begun) = oneshot::channel();
    let store = store.clone();
    let holding = tokio::spawn(async move {
        store
            .write(move |_| {
                let _ = begin.send(());
                let _ = released.recv();
                Ok(())
            })
            .await
    });
    begun.await.expect("the writer begins");
    (release, holding)
}

pub(crate) async fn wait_until_queued<K: Kind>(store: &Database<K>, count: usize) {
    // Others run at each yield; one thread runs them all, so that who has a place has sent its change.
    for _ in 0..10_000 {
        if store.statistics().queued == count {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} of {count} changes were queued", store.statistics().queued);
}

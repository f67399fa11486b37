//! How quickly decisions reach the disk.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::future::try_join_all;
use ringfence_model::{ExecutionId, SandboxId};
use ringfence_store::{Actor, AuditEntry, ChainFile, DatabaseKind, SealingKey, Store, Verification};
use serde_json::json;

use super::result::{Outcome, Row};

/// Producers that append at once, each its next entry when the one before is acknowledged.
const PRODUCERS: u64 = 64;
/// How long they append.
const TOGETHER: Duration = Duration::from_secs(3);
/// How long one appends alone.
const ALONE: Duration = Duration::from_secs(1);
/// Entries that are written in one transaction of the long chain, which is not about how quickly that goes.
const AT_ONCE: u64 = 5000;
/// In how long a million entries must be verified.
const MILLION_S_MAX: f64 = 10.0;

/// Appends to a chain of its own on the daemon's file system, many at once and one at a time, and walks it afterwards.
/// Each figure is from the call until the entry is on disk.
///
/// # Errors
/// The scratch store cannot be made, or refuses an entry.
pub(super) async fn run(home: &Path, entries: u64) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let (rows, outcome) = measure(home, TOGETHER, ALONE).await?;
    Ok((rows, vec![outcome, long(home, entries).await?]))
}

/// A chain of that many entries, verified as the daemon does it and as root does it beside one.
async fn long(home: &Path, entries: u64) -> anyhow::Result<Outcome> {
    let scratch = Scratch::beside(home)?;
    let database = scratch.path.join("long.db");
    let key = SealingKey::load_or_create(&scratch.path.join("sealing.key"))?;
    let store = Store::open(&database, key)?;
    let result = verified(&store, &database, entries).await;
    let closed = store.close().await;
    let found = result?;
    closed?;
    Ok(found)
}

async fn verified(store: &Store, database: &Path, entries: u64) -> anyhow::Result<Outcome> {
    let begin = Instant::now();
    let mut written = 0;
    while written < entries {
        let next = AT_ONCE.min(entries - written);
        let from = written;
        store
            .write(move |tx| {
                for number in from..from + next {
                    let _receipt = tx.audit(&entry(number % PRODUCERS, number))?;
                }
                Ok(())
            })
            .await?;
        written += next;
    }
    let write_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let by_daemon = store.verify(1, None).await?;
    let daemon_s = begin.elapsed().as_secs_f64();
    let file = ChainFile::open(database, DatabaseKind::Engine)?;
    let begin = Instant::now();
    let by_root = tokio::task::spawn_blocking(move || file.verify()).await??;
    let root_s = begin.elapsed().as_secs_f64();
    let is_whole = |found: &Verification| matches!(found, Verification::Sound(found) if found.entries == entries);
    let seconds_max = MILLION_S_MAX * (entries as f64 / 1e6).max(0.1);
    let is_good = is_whole(&by_daemon) && is_whole(&by_root) && daemon_s.max(root_s) < seconds_max;
    Ok(Outcome {
        what: format!("verification of {entries} entries"),
        found: format!("{daemon_s:.2} s by the daemon, {root_s:.2} s beside it (made in {write_s:.1} s)"),
        data: json!({"entries": entries, "daemon_s": daemon_s, "beside_s": root_s, "write_s": write_s,
            "bytes": fs::metadata(database)?.len()}),
        is_good,
    })
}

async fn measure(home: &Path, together: Duration, alone: Duration) -> anyhow::Result<(Vec<Row>, Outcome)> {
    let scratch = Scratch::beside(home)?;
    let key = SealingKey::load_or_create(&scratch.path.join("sealing.key"))?;
    let store = Store::open(&scratch.path.join("audit.db"), key)?;
    let result = fill(&store, together, alone).await;
    // Closed before its directory goes, whatever came of it.
    let closed = store.close().await;
    let found = result?;
    closed?;
    Ok(found)
}

async fn fill(store: &Store, together: Duration, alone: Duration) -> anyhow::Result<(Vec<Row>, Outcome)> {
    let one = appended(store, 1, alone).await?;
    let many = appended(store, PRODUCERS, together).await?;
    let entries = (one.seconds.len() + many.seconds.len()) as u64;
    let begin = Instant::now();
    let verification = store.verify(1, None).await?;
    let walk_s = begin.elapsed().as_secs_f64();
    let (found, is_good) = match verification {
        Verification::Sound(found) => {
            (format!("{} entries hold, walked in {walk_s:.2} s", found.entries), found.entries == entries)
        }
        Verification::Broken(link) => (link.to_string(), false),
    };
    let data = json!({
        "entries": entries,
        "producers": PRODUCERS,
        "together_per_second": many.per_second(),
        "together_transactions": many.transactions,
        "alone_per_second": one.per_second(),
        "walk_s": walk_s,
    });
    let outcome = Outcome { what: format!("audit chain of {entries} entries"), found, data, is_good };
    let rows = vec![
        many.row(&format!("audit entry on disk, {PRODUCERS} at once"))?,
        one.row("audit entry on disk, one at a time")?,
    ];
    Ok((rows, outcome))
}

/// What some producers did.
struct Appended {
    /// Of each entry.
    seconds: Vec<f64>,
    /// Of all of it.
    wall_s: f64,
    transactions: u64,
}

impl Appended {
    fn per_second(&self) -> f64 {
        self.seconds.len() as f64 / self.wall_s
    }

    fn row(self, what: &str) -> anyhow::Result<Row> {
        let each = self.seconds.len() as f64 / self.transactions.max(1) as f64;
        let remark = format!("{:.0} entries a second, {each:.0} a transaction", self.per_second());
        let mut row = Row::of(what, "ringfence", self.seconds)?;
        row.remark = Some(remark);
        Ok(row)
    }
}

async fn appended(store: &Store, producers: u64, duration: Duration) -> anyhow::Result<Appended> {
    let transactions_before = store.statistics().transactions;
    let begin = Instant::now();
    let tasks = (0..producers).map(|producer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seconds = Vec::new();
            while begin.elapsed() < duration {
                let entry = entry(producer, seconds.len() as u64);
                let asked = Instant::now();
                let _receipt = store.append(entry).await?;
                seconds.push(asked.elapsed().as_secs_f64());
            }
            anyhow::Ok(seconds)
        })
    });
    let mut seconds = Vec::new();
    for of_one in try_join_all(tasks).await.context("a producer panicked")? {
        seconds.extend(of_one?);
    }
    let wall_s = begin.elapsed().as_secs_f64();
    let transactions = store.statistics().transactions - transactions_before;
    Ok(Appended { seconds, wall_s, transactions })
}

/// As large as what the engine writes before an execution.
fn entry(producer: u64, number: u64) -> AuditEntry {
    let at_ms = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let byte = producer.to_le_bytes()[0];
    AuditEntry::new(at_ms, Actor::Agent, "execution.start")
        .sandbox(&SandboxId::from_random([byte; 20]))
        .execution(&ExecutionId::from_parts(at_ms, [byte; 6]))
        .detail(json!({"language": "python", "code_sha256": "0".repeat(64), "timeout_ms": 30_000, "number": number}))
}

/// A directory that is removed at the end.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Beside the state directory, or in it when that is a file system of its own: the daemon's disk is measured.
    fn beside(home: &Path) -> anyhow::Result<Self> {
        let home = home.canonicalize().with_context(|| format!("looking for {}", home.display()))?;
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        let parent = match home.parent() {
            Some(parent) if device(parent)? == device(&home)? => parent,
            _ => &home,
        };
        let path = parent.join(format!(".ringfence-bench-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            crate::output::note(&format!("bench: {} could not be removed: {error}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_long_chain_is_made_and_verified_whole() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("home");
        fs::create_dir(&home)?;
        let outcome = long(&home, AT_ONCE + 7).await?;
        assert!(outcome.is_good, "{outcome:?}");
        assert_eq!(outcome.data["entries"], AT_ONCE + 7);
        assert_eq!(fs::read_dir(dir.path())?.count(), 1, "nothing is left");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_short_run_measures_a_whole_chain_and_leaves_nothing() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("home");
        fs::create_dir(&home)?;
        let (rows, outcome) = measure(&home, Duration::from_millis(200), Duration::from_millis(100)).await?;
        assert!(outcome.is_good, "{outcome:?}");
        let counted: usize = rows.iter().map(|row| row.count).sum();
        assert_eq!(outcome.data["entries"], counted);
        assert!(rows[0].count > rows[1].count, "{rows:?}");
        let left: Vec<_> = fs::read_dir(dir.path())?.collect::<Result<Vec<_>, _>>()?;
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(fs::read_dir(&home)?.count(), 0);
        Ok(())
    }
}

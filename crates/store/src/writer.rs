//! Writing: one thread owns the only writing connection, and commits together what arrived together.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::Write;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::audit::{self, AuditHead, ChainEnd, HeadFile};
use crate::error::{Result, StoreError, doing};
use crate::kind::Kind;
use crate::lock::Lock;
use crate::seal::Sealer;
use crate::tx::{Tx, View};

/// Changes that share one transaction at most.
const BATCH_MAX: usize = 256;
/// How often the head file is brought up to date.
const HEAD_INTERVAL: Duration = Duration::from_secs(1);
/// How long erasing a replaced secret from the log waits for readers; it is tried again after that.
const ERASE_WAIT: Duration = Duration::from_millis(100);

/// How long a change that may come later waits for others of its kind: together they are a few pages, and in nobody's way.
const LATER: Duration = Duration::from_millis(10);

/// Size that a log is given: 1,000 pages with their headers, and those of the transaction that goes beyond.
const LOG_BYTES: u64 = 68 * (64 << 10);

/// When a change is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// When it is on disk.
    Lasting,
    /// When the operating system has it.
    Noted,
    /// As above, after what cannot wait.
    Later,
}

/// What the writer's queue holds.
pub(crate) enum Message<K: Kind> {
    Change(Box<dyn Change<K>>),
    Close(oneshot::Sender<Result<()>>),
}

/// A change whose type of result the writer does not know.
pub(crate) trait Change<K>: Send {
    /// When it is settled.
    fn when(&self) -> When;
    /// Runs it, and says what is to become of its savepoint.
    fn run(&mut self, tx: &Tx<'_, K>) -> Ran;
    /// Tells the one who waits: after the commit, or what came instead of it.
    fn settle(self: Box<Self>, committed: Result<()>);
}

/// How a change went.
pub(crate) enum Ran {
    Keep,
    Undo,
    /// It met an error after which nothing must be written.
    Damaged(Arc<rusqlite::Error>),
}

/// A change with its closure, its result, and its place in the queue.
pub(crate) struct Pending<T, F> {
    pub(crate) op: Option<F>,
    pub(crate) when: When,
    pub(crate) result: Option<Result<T>>,
    pub(crate) reply: oneshot::Sender<Result<T>>,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl<K, T, F> Change<K> for Pending<T, F>
where
    F: FnOnce(&Tx<'_, K>) -> Result<T> + Send,
    T: Send,
{
    fn when(&self) -> When {
        self.when
    }

    fn run(&mut self, tx: &Tx<'_, K>) -> Ran {
        let op = self.op.take().expect("a change runs once");
        let result = catch_unwind(AssertUnwindSafe(|| op(tx)))
            .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(panic.as_ref()))));
        match self.result.insert(result) {
            Ok(_) => Ran::Keep,
            Err(StoreError::Sql { source, .. }) if fatal(source).is_some() => Ran::Damaged(Arc::clone(source)),
            Err(_) => Ran::Undo,
        }
    }

    fn settle(self: Box<Self>, committed: Result<()>) {
        let result = match (self.result, committed) {
            // Its own error says more than that of the transaction.
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => unreachable!("a committed change has run"),
        };
        // The one who waited may be gone. The change stays: it was asked for.
        let _ = self.reply.send(result);
    }
}

/// What the writer has committed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) transactions: AtomicU64,
    pub(crate) changes: AtomicU64,
}

/// The writer's thread.
pub(crate) struct Writer<K: Kind> {
    pub(crate) path: PathBuf,
    pub(crate) conn: Connection,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) chain: ChainEnd,
    /// None while the file contradicts the chain.
    pub(crate) head_file: Option<HeadFile>,
    pub(crate) head_noted: Option<AuditHead>,
    pub(crate) queue: Receiver<Message<K>>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) gone: Arc<OnceLock<Arc<str>>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) erase: bool,
    /// Whether the log was emptied and not yet given its size again.
    pub(crate) log_is_short: bool,
    /// Whether commits wait for the disk now. The log is synced as a whole: a commit that waits makes all before it last.
    pub(crate) waits: bool,
    pub(crate) _lock: Lock,
}

impl<K: Kind> Writer<K> {
    /// Works until the store is closed, dropped, or unable to go on.
    pub(crate) fn run(mut self) {
        let mut head_noted_at = Instant::now();
        let mut closer = None;
        let mut orderly = true;
        let mut later = Vec::new();
        let mut later_since = Instant::now();
        while closer.is_none() && orderly {
            let timeout = if !self.head_is_due() && !self.erase && !self.log_is_short {
                // Nothing is due: sleep until something comes. (A day, because there is no "for ever" here.)
                Duration::from_secs(86_400)
            } else {
                HEAD_INTERVAL.saturating_sub(head_noted_at.elapsed())
            };
            let timeout =
                if later.is_empty() { timeout } else { timeout.min(LATER.saturating_sub(later_since.elapsed())) };
            let mut batch = Vec::new();
            let mut message = match self.queue.recv_timeout(timeout) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(next) = message.take() {
                match next {
                    Message::Change(change) if change.when() == When::Later => {
                        if later.is_empty() {
                            later_since = Instant::now();
                        }
                        later.push(change);
                    }
                    Message::Change(change) => batch.push(change),
                    Message::Close(reply) => closer = Some(reply),
                }
                if closer.is_none() && batch.len().max(later.len()) < BATCH_MAX {
                    message = self.queue.try_recv().ok();
                }
            }
            if !batch.is_empty() {
                orderly = self.commit(batch);
            }
            let is_time = closer.is_some() || later.len() >= BATCH_MAX || later_since.elapsed() >= LATER;
            if orderly && is_time && !later.is_empty() {
                orderly = self.commit(std::mem::take(&mut later));
                // Now, and not when somebody waits for it. If it fails, it is tried again with the next change, and fails that one.
                let _ = self.set_waits(true);
            }
            if orderly && head_noted_at.elapsed() >= HEAD_INTERVAL {
                self.note_head();
                self.erase_log();
                if std::mem::take(&mut self.log_is_short) {
                    extend_log(&self.path);
                }
                head_noted_at = Instant::now();
            }
        }
        if orderly && !later.is_empty() {
            orderly = self.commit(later);
        }
        if orderly {
            self.set_gone("it was closed");
        }
        self.places.close();
        self.note_head();
        let closed = self.close();
        // The connection and then the lock: whoever hears that the store is closed may open it again.
        drop(self);
        if let Some(reply) = closer {
            let _ = reply.send(closed);
        }
    }

    /// Runs a batch in one transaction and settles it. Returns whether the writer may go on.
    fn commit(&mut self, mut batch: Vec<Box<dyn Change<K>>>) -> bool {
        let before = self.chain;
        let outcome = self.transact(&mut batch);
        if outcome.is_ok() {
            self.counters.transactions.fetch_add(1, Ordering::Relaxed);
            self.counters.changes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        } else {
            self.chain = before;
            if !self.conn.is_autocommit() {
                // When even this fails the next BEGIN will, and says so.
                let _ = self.conn.execute_batch("ROLLBACK");
            }
        }
        if self.erase && outcome.is_ok() {
            self.erase_log();
        }
        let fatal = outcome.as_ref().err().and_then(|error| fatal(error));
        if let Some(reason) = fatal {
            // Set before anybody hears of it, so that whoever was told does not find the store still willing.
            self.set_gone(reason);
            tracing::error!(reason, "the store stopped");
        }
        let outcome = outcome.map_err(|source| StoreError::Commit { source });
        for change in batch {
            change.settle(outcome.clone());
        }
        fatal.is_none()
    }

    /// Whether commits wait for the disk from now on. SQLite reads the statement anew each time, which takes as long as a
    /// small change.
    fn set_waits(&mut self, waits: bool) -> rusqlite::Result<()> {
        if waits != self.waits {
            let sql = if waits { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            step(&self.conn, sql)?;
            self.waits = waits;
        }
        Ok(())
    }

    fn transact(&mut self, batch: &mut [Box<dyn Change<K>>]) -> Result<(), Arc<rusqlite::Error>> {
        self.set_waits(batch.iter().any(|change| change.when() == When::Lasting))?;
        let conn = &self.conn;
        step(conn, "BEGIN IMMEDIATE")?;
        let chain = RefCell::new(self.chain);
        let erase = Cell::new(self.erase);
        // A change that is alone has the transaction for its savepoint.
        let is_alone = batch.len() == 1;
        for change in batch {
            let view = View { conn, sealer: &self.sealer, kind: PhantomData };
            let tx = Tx { view, chain: &chain, erase: &erase, lasting: change.when() == When::Lasting };
            let before = *chain.borrow();
            if !is_alone {
                step(conn, "SAVEPOINT change")?;
            }
            let ran = change.run(&tx);
            if let Ran::Damaged(source) = ran {
                return Err(source);
            }
            if conn.is_autocommit() {
                // On a full disk and a few other errors SQLite undoes the whole transaction by itself
                // (https://sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction").
                return Err(Arc::new(rusqlite::Error::SqliteFailure(
                    ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK),
                    Some("the database undid the transaction that this change shared".into()),
                )));
            }
            match (ran, is_alone) {
                (Ran::Undo, true) => return step(conn, "ROLLBACK").map_err(Arc::new),
                (Ran::Undo, false) => {
                    step(conn, "ROLLBACK TO change")?;
                    *chain.borrow_mut() = before;
                }
                _ => {}
            }
            if !is_alone {
                step(conn, "RELEASE change")?;
            }
        }
        let end = *chain.borrow();
        if end != self.chain {
            audit::store_head(conn, end.head)?;
        }
        step(conn, "COMMIT")?;
        self.chain = end;
        self.erase = erase.get();
        Ok(())
    }

    /// Empties the write-ahead log, in which a replaced secret still stands. Readers may be in the way: then later.
    fn erase_log(&mut self) {
        if !self.erase {
            return;
        }
        let emptied = self.conn.busy_timeout(ERASE_WAIT).and_then(|()| empty_log(&self.conn));
        let restored = self.conn.busy_timeout(crate::store::BUSY_TIMEOUT);
        match emptied.and_then(|emptied| restored.map(|()| emptied)) {
            Ok(emptied) => {
                self.erase = !emptied;
                self.log_is_short |= emptied;
            }
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied of a replaced secret yet"),
        }
    }

    fn head_is_due(&self) -> bool {
        self.head_file.is_some() && self.head_noted != Some(self.chain.head)
    }

    fn note_head(&mut self) {
        let Some(file) = self.head_file.as_ref().filter(|_| self.head_is_due()) else { return };
        match file.write(self.chain.head) {
            Ok(()) => self.head_noted = Some(self.chain.head),
            Err(error) => tracing::warn!(%error, "the head of the audit chain could not be noted beside the database"),
        }
    }

    /// Brings the log into the database. Readers in the way leave it to the next start.
    fn close(&mut self) -> Result<()> {
        empty_log(&self.conn).map(drop).map_err(doing("empty the write-ahead log"))
    }

    fn set_gone(&self, reason: &str) {
        let _ = self.gone.set(reason.into());
    }
}

fn step(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// Writes the log into the database and truncates it. Returns whether it is empty now.
pub(crate) fn empty_log(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

/// Whether nothing can be promised after this error. A failed fsync may have dropped what it should have written, and a
/// later one that succeeds says nothing about that (fsync(2), "EIO"); a corrupt database must not be written to.
fn fatal(error: &rusqlite::Error) -> Option<&'static str> {
    let rusqlite::Error::SqliteFailure(error, _) = error else { return None };
    match error.extended_code {
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => Some("the disk failed to keep what was written"),
        _ => match error.extended_code & 0xff {
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Some("the database is damaged"),
            _ => None,
        },
    }
}

/// Gives the log the size that it has between two checkpoints (SQLite's 1,000 pages): zeros behind its end, which SQLite reads
/// as the end. A log that grows with a commit costs this file system a commit of its own journal: 50 of 170 µs. A disk that
/// has no room for it is no reason to stop. Nobody else may write to the log meanwhile.
pub(crate) fn extend_log(path: &Path) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // What is there is left alone, whoever wrote it.
    let written = OpenOptions::new().append(true).open(&log).and_then(|mut log| {
        let mut missing = LOG_BYTES.saturating_sub(log.metadata()?.len());
        while missing > 0 {
            let piece = usize::try_from(missing).unwrap_or(usize::MAX).min(ZEROS.len());
            log.write_all(&ZEROS[..piece])?;
            missing -= piece as u64;
        }
        log.sync_all()
    });
    if let Err(error) = written {
        tracing::debug!(%error, "the write-ahead log could not be given its size ahead");
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no text)").to_owned()
}

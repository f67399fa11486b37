//! Opening, and the two doors: `write` and `read`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::{Semaphore, oneshot};

use crate::audit::{self, AuditEntry, AuditReceipt, ChainEnd, HeadFile, Verification};
use crate::error::{OpenError, Result, StoreError};
use crate::kind::{EngineKind, Kind};
use crate::lock::Lock;
use crate::migrate;
use crate::reader::{self, Query};
use crate::seal::{self, Sealer, SealingKey, SecretValue};
use crate::tx::{Tx, View};
use crate::writer::{self, Counters, Message, Pending, When, Writer};

/// How long SQLite waits for another connection. Ours do not stand in each other's way for longer than a checkpoint.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Changes, and apart from them reads, that wait or run; whoever comes after them waits to be let in.
const QUEUE_MAX: usize = 1024;
/// What the canary holds. It opens with the right key only.
const CANARY: &[u8] = b"ringfence";

/// Bounds of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes, and apart from them reads, that may wait or run at once.
    pub queue: usize,
    /// Bytes that the database may have; changes beyond are refused as on a full disk.
    pub bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { queue: QUEUE_MAX, bytes_max: 64 << 30 }
    }
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions committed, one or a few fsyncs each.
    pub transactions: u64,
    /// Changes in them; more than transactions where group commit helped.
    pub changes: u64,
    /// Changes that wait or run now.
    pub queued: usize,
}

/// The engine's database.
pub type Store = Database<EngineKind>;

/// A database of kind `K`. Clones share it; it closes with the last one, or with [`Database::close`].
pub struct Database<K: Kind> {
    inner: Arc<Inner<K>>,
}

struct Inner<K: Kind> {
    path: PathBuf,
    head_file: HeadFile,
    changes: Option<mpsc::Sender<Message<K>>>,
    change_places: Arc<Semaphore>,
    queries: Option<mpsc::Sender<Query<K>>>,
    query_places: Arc<Semaphore>,
    gone: Arc<OnceLock<Arc<str>>>,
    counters: Arc<Counters>,
    queue: usize,
    threads: Vec<JoinHandle<()>>,
}

impl<K: Kind> Database<K> {
    /// Opens the database at `path`, makes it when there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// See [`OpenError`]: it is in use, of a newer schema, not ours, sealed with another key, or the disk refuses.
    pub fn open(path: &Path, key: SealingKey) -> Result<Self, OpenError> {
        Self::open_with(path, key, &Options::default())
    }

    /// As [`Database::open`], with other bounds.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(path: &Path, key: SealingKey, options: &Options) -> Result<Self, OpenError> {
        let sql = |operation| move |source| OpenError::of_sql(operation, path, source);
        let lock = Lock::take(path)?;
        // Made here and not by SQLite, which would ask the umask: its other files take their mode from this one.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(OpenError::File { operation: "make", path: path.into(), source });
            }
            _ => {}
        }
        let mut conn = connect(path).map_err(sql("open the file"))?;
        migrate::migrate::<K>(&mut conn, path)?;
        configure(&conn, options).map_err(sql("set the properties"))?;
        let sealer = Arc::new(unseal(&conn, path, &key)?);
        drop(key);
        // A crash may have come between the commit that replaced a secret and the erasing of its old form.
        let emptied = writer::empty_log(&conn).map_err(sql("empty the write-ahead log"))?;
        let chain = ChainEnd::load(&conn).map_err(sql("read the audit chain"))?;
        let head_file = HeadFile::beside(path, K::HEAD_FILE);
        let agrees = audit::agrees(&conn, head_file.read()).map_err(sql("read the audit chain"))?;
        // A head that contradicts the chain is evidence, so it is left as it is, and every verification finds it.
        let writable_head = agrees.then(|| head_file.clone());
        let (changes, queue) = mpsc::channel();
        let change_places = Arc::new(Semaphore::new(options.queue));
        let gone = Arc::new(OnceLock::new());
        let counters = Arc::new(Counters::default());
        if emptied {
            writer::extend_log(path);
        }
        let writer = Writer {
            path: path.into(),
            conn,
            sealer: Arc::clone(&sealer),
            chain,
            head_noted: None,
            head_file: writable_head,
            queue,
            places: Arc::clone(&change_places),
            gone: Arc::clone(&gone),
            counters: Arc::clone(&counters),
            erase: !emptied,
            log_is_short: false,
            waits: true,
            _lock: lock,
        };
        let (queries, mut threads) = reader::start(path, &sealer)?;
        let thread = thread::Builder::new()
            .name("store-write".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::File { operation: "start the writer of", path: path.into(), source })?;
        threads.push(thread);
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.into(),
                head_file,
                changes: Some(changes),
                change_places,
                queries: Some(queries),
                query_places: Arc::new(Semaphore::new(options.queue)),
                gone,
                counters,
                queue: options.queue,
                threads,
            }),
        })
    }

    /// Where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Bytes on disk: the database, and its log of changes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let mut log = self.inner.path.clone().into_os_string();
        log.push("-wal");
        of(&self.inner.path) + of(Path::new(&log))
    }

    /// Makes a change that means nothing, for whoever wants to know whether changes can be made.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn try_write(&self) -> Result<()> {
        self.write(|tx| tx.touch()).await
    }

    /// What the writer has done since the store was opened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let inner = &self.inner;
        Statistics {
            transactions: inner.counters.transactions.load(Ordering::Relaxed),
            changes: inner.counters.changes.load(Ordering::Relaxed),
            queued: inner.queue.saturating_sub(inner.change_places.available_permits()),
        }
    }

    /// Makes a change, all of it or nothing, and returns when it is on disk. Waits its turn when the queue is full.
    ///
    /// The future may be dropped at any time: until the change has entered the queue nothing happens, after that all of
    /// it does.
    ///
    /// # Errors
    /// Those of `op`; [`StoreError::Commit`] when the disk did not take it; [`StoreError::Gone`].
    pub async fn write<T, F>(&self, op: F) -> Result<T>
    where
        F: FnOnce(&Tx<'_, K>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.change(op, When::Lasting).await
    }

    /// As [`Store::write`], but returns when the operating system has it: a crash of this program loses nothing of it, a
    /// crash of the machine the last of it. For what tells how something went that would not outlive the machine either.
    ///
    /// # Errors
    /// As [`Store::write`]. It cannot hold an audit entry ([`StoreError::NotLasting`]).
    pub async fn note<T, F>(&self, op: F) -> Result<T>
    where
        F: FnOnce(&Tx<'_, K>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.change(op, When::Noted).await
    }

    /// As [`Database::note`], and in nobody's way: it is made a hundredth of a second later, together with others of its kind that
    /// come meanwhile. A crash of this program loses those that wait.
    ///
    /// # Errors
    /// As [`Database::note`].
    pub async fn note_later<T, F>(&self, op: F) -> Result<T>
    where
        F: FnOnce(&Tx<'_, K>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.change(op, When::Later).await
    }

    async fn change<T, F>(&self, op: F, when: When) -> Result<T>
    where
        F: FnOnce(&Tx<'_, K>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let places = Arc::clone(&self.inner.change_places);
        let place = places.acquire_owned().await.map_err(|_| self.gone())?;
        let (reply, answer) = oneshot::channel();
        let change = Pending { op: Some(op), when, result: None, reply, _place: place };
        self.changes().send(Message::Change(Box::new(change))).map_err(|_| self.gone())?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Records a decision and makes its change in one transaction: neither is on disk without the other. The entry
    /// comes first, so that the change may refer to it.
    ///
    /// # Errors
    /// As [`Database::write`], and when the entry is out of bounds. Then nothing was recorded either.
    pub async fn write_with_audit<T, F>(&self, entry: AuditEntry, op: F) -> Result<(T, AuditReceipt)>
    where
        F: FnOnce(&Tx<'_, K>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.write(move |tx| {
            let receipt = tx.audit(&entry)?;
            Ok((op(tx)?, receipt))
        })
        .await
    }

    /// Appends an entry to the audit chain and returns when it is on disk.
    ///
    /// # Errors
    /// As [`Database::write`], and when the entry is out of bounds.
    pub async fn append(&self, entry: AuditEntry) -> Result<AuditReceipt> {
        self.write(move |tx| tx.audit(&entry)).await
    }

    /// Reads one consistent state of the database, beside the writer.
    ///
    /// # Errors
    /// Those of `query`, and [`StoreError::Gone`].
    pub async fn read<T, F>(&self, query: F) -> Result<T>
    where
        F: FnOnce(&View<'_, K>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let place = Arc::clone(&self.inner.query_places).acquire_owned().await.map_err(|_| self.gone())?;
        if self.inner.gone.get().is_some() {
            return Err(self.gone());
        }
        let (reply, answer) = oneshot::channel();
        let query = move |view: &View<'_, K>| {
            let _place = place;
            query(view)
        };
        let queries = self.inner.queries.as_ref().expect("the readers stay until the store is dropped");
        queries.send(reader::query(query, reply)).map_err(|_| self.gone())?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Walks the audit chain from entry `from` (1 is the first) to entry `to`, or to its end, and says whether it is
    /// whole or where it first breaks. The end is compared with both remembered heads.
    ///
    /// # Errors
    /// The database refuses; a break is not an error.
    pub async fn verify(&self, from: u64, to: Option<u64>) -> Result<Verification> {
        let head_file = self.inner.head_file.clone();
        self.read(move |view| {
            // Before the first SELECT, with which the view's snapshot begins: the writer notes a head after its commit, so
            // that a head read now is never ahead of what is seen then.
            let remembered = head_file.read().map_err(|_| StoreError::Unreadable {
                column: "content",
                row: format!("file {} beside the database", K::HEAD_FILE),
            })?;
            audit::verify(view.conn, K::KIND, from, to, remembered)
        })
        .await
    }

    /// Finishes what is queued, notes the head of the audit chain, empties the write-ahead log, and releases the file.
    /// Every call after this, on any clone, is [`StoreError::Gone`].
    ///
    /// # Errors
    /// The log could not be emptied (nothing is lost by that), or the store was gone before.
    pub async fn close(self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.changes().send(Message::Close(reply)).map_err(|_| self.gone())?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn changes(&self) -> &mpsc::Sender<Message<K>> {
        self.inner.changes.as_ref().expect("the sender stays until the store is dropped")
    }

    fn gone(&self) -> StoreError {
        StoreError::Gone(self.inner.gone.get().cloned().unwrap_or_else(|| "its writer ended".into()))
    }
}

impl<K: Kind> Clone for Database<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: Kind> std::fmt::Debug for Database<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("kind", &K::KIND).field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl<K: Kind> Drop for Inner<K> {
    /// Waits for the threads, so that the file is free for the next opener.
    fn drop(&mut self) {
        self.changes = None;
        self.queries = None;
        for thread in self.threads.drain(..) {
            // The last clone may have been inside a closure that one of these threads ran.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

fn configure(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    // FULL: fsync at each commit, without which WAL loses acknowledged commits at a power cut. secure_delete: what is
    // deleted is overwritten. trusted_schema: functions with side effects cannot hide in a schema that was tampered with.
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON; \
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; \
         PRAGMA journal_size_limit = 67108864;",
    )?;
    let page: u64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages = (options.bytes_max / page).clamp(1, u64::from(u32::MAX - 1));
    conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// Reads or makes the salt and the canary, and checks the key with it.
fn unseal(conn: &Connection, path: &Path, key: &SealingKey) -> Result<Sealer, OpenError> {
    const SALT: &str = "store.salt";
    const SEALED: &str = "store.canary";
    let sql = |operation| move |source| OpenError::of_sql(operation, path, source);
    let fact = |key: &str| {
        conn.query_row("SELECT value FROM meta WHERE key = ?1", params![key], |row| row.get::<_, String>(0))
            .optional()
            .map_err(sql("read the salt"))
    };
    let wrong = || OpenError::WrongKey { path: path.into() };
    match (fact(SALT)?, fact(SEALED)?) {
        (Some(salt), Some(sealed)) => {
            let sealer = Sealer::new(key, &hex::decode(salt).map_err(|_| wrong())?);
            let canary = hex::decode(sealed).ok().and_then(|sealed| sealer.open(SEALED.as_bytes(), &sealed));
            if canary.as_ref().map(SecretValue::expose) == Some(CANARY) { Ok(sealer) } else { Err(wrong()) }
        }
        (None, None) => {
            let mut salt = [0; 16];
            seal::random(&mut salt);
            let sealer = Sealer::new(key, &salt);
            let sealed = hex::encode(sealer.seal(SEALED.as_bytes(), CANARY));
            conn.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2), (?3, ?4)",
                params![SALT, hex::encode(salt), SEALED, sealed],
            )
            .map_err(sql("write the salt"))?;
            Ok(sealer)
        }
        _ => Err(wrong()),
    }
}

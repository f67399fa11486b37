//! Reading: a few threads, each with a read-only connection of its own.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::error::{OpenError, Result, StoreError, doing};
use crate::kind::Kind;
use crate::seal::Sealer;
use crate::tx::View;
use crate::writer::panic_text;

/// Connections of the pool. Reads are short, and this machine kind has two cores.
const READERS: usize = 3;
/// How long a read waits for the moments in which SQLite holds the file alone.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Query<K> = Box<dyn FnOnce(&View<'_, K>) + Send>;
/// Where queries are sent, and the threads that take them.
type Pool<K> = (mpsc::Sender<Query<K>>, Vec<JoinHandle<()>>);

/// Starts the readers. They end when the sender is dropped.
pub(crate) fn start<K: Kind>(path: &Path, sealer: &Arc<Sealer>) -> Result<Pool<K>, OpenError> {
    let (sender, queue) = mpsc::channel::<Query<K>>();
    let queue = Arc::new(Mutex::new(queue));
    let mut threads = Vec::with_capacity(READERS);
    for number in 0..READERS {
        let conn = open(path).map_err(|source| OpenError::of_sql("open a reader", path, source))?;
        let (queue, sealer) = (Arc::clone(&queue), Arc::clone(sealer));
        let thread = thread::Builder::new()
            .name(format!("store-read-{number}"))
            .spawn(move || {
                loop {
                    // The guard is a temporary of this statement: the queue is free again while the query runs.
                    let query = queue.lock().expect("no query runs under this lock").recv();
                    let Ok(query) = query else { break };
                    query(&View { conn: &conn, sealer: &sealer, kind: PhantomData });
                }
            })
            .map_err(|source| OpenError::File { operation: "start a reader of", path: path.into(), source })?;
        threads.push(thread);
    }
    Ok((sender, threads))
}

/// Wraps a query so that it sees one state of the database and answers in any case.
pub(crate) fn query<K, T, F>(run: F, reply: oneshot::Sender<Result<T>>) -> Query<K>
where
    K: Kind,
    F: FnOnce(&View<'_, K>) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    Box::new(move |view| {
        let result = in_transaction(view, run);
        // The one who asked may be gone; nobody else wants the answer.
        let _ = reply.send(result);
    })
}

fn in_transaction<K, T>(view: &View<'_, K>, run: impl FnOnce(&View<'_, K>) -> Result<T>) -> Result<T> {
    view.conn.execute_batch("BEGIN").map_err(doing("begin to read"))?;
    let result = catch_unwind(AssertUnwindSafe(|| run(view)))
        .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(panic.as_ref()))));
    let ended = view.conn.execute_batch("ROLLBACK").map_err(doing("end a read"));
    let value = result?;
    ended.map(|()| value)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(conn)
}

//! A consistent copy of a database that may be in use: SQLite's online backup, in one step under one read transaction.
//!
//! The writer goes on meanwhile. The copy is checked page by page, so that a damaged source is found here and not when the copy
//! is needed.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::audit::{AuditHash, AuditHead};
use crate::kind::DatabaseKind;
use crate::store::BUSY_TIMEOUT;

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Its schema.
    pub schema: u32,
    /// The end of its audit chain.
    pub head: AuditHead,
    /// How far the other database's chain had come by what this one notes of it; 0 when it notes nothing.
    pub anchored: u64,
}

/// Why a database was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Another file, or another kind of database.
    #[error("{path} is not the {wanted}'s database of ringfence")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose it should be.
        wanted: DatabaseKind,
    },
    /// Its pages contradict each other.
    #[error(
        "the database {path} is damaged ({found}): nothing was copied; restore the newest backup into an empty directory, and keep this one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found first.
        found: String,
    },
    /// It is locked for longer than patience.
    #[error("the database {path} is busy: try again")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The copy cannot be made.
    #[error("could not make {path}")]
    File {
        /// The copy.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("could not {operation} the database {path}")]
    Sql {
        /// What was tried.
        operation: &'static str,
        /// The database.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
}

/// Copies the database at `from`, which may be in use, to `to`, which must not exist. Its key is not needed: what is sealed
/// stays sealed.
///
/// # Errors
/// See [`CopyError`]. A part of the copy may be left then.
pub fn copy_database(kind: DatabaseKind, from: &Path, to: &Path) -> Result<Copied, CopyError> {
    let sql = |operation, path: &Path| {
        let path = path.to_owned();
        move |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => CopyError::Damaged { path, found: source.to_string() },
            Some(rusqlite::ErrorCode::NotADatabase) => CopyError::NotOurs { path, wanted: kind },
            _ => CopyError::Sql { operation, path, source },
        }
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(sql("open", from))?;
    source.busy_timeout(BUSY_TIMEOUT).map_err(sql("open", from))?;
    let application: i32 =
        source.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(sql("read", from))?;
    if DatabaseKind::of_application_id(application) != Some(kind) {
        return Err(CopyError::NotOurs { path: from.into(), wanted: kind });
    }
    // Made here, so that its mode does not depend on the umask.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|source| CopyError::File { path: to.into(), source })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags).map_err(sql("open", to))?;
    {
        let backup = Backup::new(&source, &mut copy).map_err(sql("copy", from))?;
        // All pages at once: nobody can write between two steps, for there is one.
        match backup.step(-1).map_err(sql("copy", from))? {
            StepResult::Done => {}
            _ => return Err(CopyError::Busy { path: from.into() }),
        }
    }
    let found: String =
        copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sql("check", from))?;
    if found != "ok" {
        return Err(CopyError::Damaged { path: from.into(), found });
    }
    let copied = ends(&copy).map_err(sql("read", from))?;
    // One file, without a log beside it: the next opener sets its own mode.
    let _: String = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).map_err(sql("close", to))?;
    copy.close().map_err(|(_, source)| CopyError::Sql { operation: "close", path: to.into(), source })?;
    Ok(copied)
}

fn ends(copy: &Connection) -> rusqlite::Result<Copied> {
    let schema = copy.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let head = copy
        .query_row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })
        .optional()?;
    let head = head
        .map_or(AuditHead { seq: 0, hash: AuditHash::ZERO }, |(seq, hash)| AuditHead { seq, hash: AuditHash(hash) });
    let anchored = copy.query_row(
        "SELECT coalesce(max(detail ->> 'seq'), 0) FROM audit WHERE event = ?1",
        params!["audit.anchor"],
        |row| row.get(0),
    )?;
    Ok(Copied { schema, head, anchored })
}

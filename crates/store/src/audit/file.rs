//! A chain as somebody reads it who is not the writer: beside a daemon, or when none runs.
//!
//! Entries are read in pieces, each with a snapshot of its own: nothing is ever changed in a chain, and a long snapshot
//! would keep the writer from emptying its log.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row, params};

use super::encoding::Fields;
use super::evidence::{cut_after, newest_checkpoint, newest_signed_head, signed_heads};
use super::sign::{Checkpoint, Cut, SignedHead};
use super::{AuditHash, AuditHead, HeadFile, Verification, chain, verify};
use crate::error::{OpenError, Result, StoreError, doing};
use crate::kind::{DatabaseKind, EngineKind, GateKind, sealed::Kind};
use crate::store::BUSY_TIMEOUT;

/// An entry as it is hashed, nothing of it interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// What.
    pub event: String,
    /// The sandbox that it is about.
    pub sandbox_id: Option<String>,
    /// The execution that it is about.
    pub execution_id: Option<String>,
    /// More about it, as canonical JSON.
    pub detail: String,
    /// The hash of the entry before.
    pub prev_hash: AuditHash,
    /// The hash that it is said to have.
    pub hash: AuditHash,
}

impl RawEntry {
    /// The hash of what it says.
    #[must_use]
    pub fn computed(&self) -> AuditHash {
        Fields {
            seq: self.seq,
            at_ms: self.at_ms,
            actor: &self.actor,
            event: &self.event,
            sandbox_id: self.sandbox_id.as_deref(),
            execution_id: self.execution_id.as_deref(),
            detail: &self.detail,
            prev_hash: self.prev_hash,
        }
        .hash()
    }
}

/// The chain in a database file, for reading alone.
#[derive(Debug)]
pub struct ChainFile {
    conn: Connection,
    kind: DatabaseKind,
    path: PathBuf,
}

impl ChainFile {
    /// Opens the database of that kind at `path`. Nothing is locked, migrated or written.
    ///
    /// # Errors
    /// There is no such file, or it is not one of this schema.
    pub fn open(path: &Path, kind: DatabaseKind) -> Result<Self, OpenError> {
        let sql = |source| OpenError::of_sql("open the file", path, source);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let conn = Connection::open_with_flags(path, flags).map_err(sql)?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
        // Whoever owns the file may have been taken over: its schema is not trusted.
        conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON;")
            .map_err(sql)?;
        let id: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(sql)?;
        match DatabaseKind::of_application_id(id) {
            Some(found) if found == kind => Ok(Self { conn, kind, path: path.into() }),
            Some(found) => Err(OpenError::OtherKind { path: path.into(), found, wanted: kind }),
            None => Err(OpenError::NotOurs { path: path.into() }),
        }
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Whose chain it is.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The next entries after number `after`, at most `limit`, in the order of the chain.
    ///
    /// # Errors
    /// The database refuses, or a row is not one that the store writes.
    pub fn entries(&self, after: u64, limit: u32) -> Result<Vec<RawEntry>> {
        const WHAT: &str = "read the audit chain";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT seq, at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash, hash FROM audit \
                 WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .map_err(doing(WHAT))?;
        let mut rows = statement.query(params![after, limit]).map_err(doing(WHAT))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().map_err(doing(WHAT))? {
            let read = raw(row).map_err(|_| {
                let seq = row.get::<_, i64>(0).unwrap_or(0);
                StoreError::Unreadable { column: "a column", row: format!("audit entry {seq}") }
            })?;
            entries.push(read);
        }
        Ok(entries)
    }

    /// The last entry that was written before `at_ms` with none before it that was written later: what a chain can be cut after.
    /// 0 when there is none.
    ///
    /// # Errors
    /// The database refuses.
    pub fn last_before(&self, at_ms: u64) -> Result<u64> {
        self.conn
            .query_row(
                "SELECT coalesce((SELECT min(seq) FROM audit WHERE at_ms >= ?1) - 1, (SELECT max(seq) FROM audit), 0)",
                params![at_ms],
                |row| row.get(0),
            )
            .map_err(doing("look for a time in the audit chain"))
    }

    /// Where the chain ends.
    ///
    /// # Errors
    /// The database refuses.
    pub fn head(&self) -> Result<AuditHead> {
        chain::load_head(&self.conn).map_err(doing("read the head of the audit chain"))
    }

    /// The newest signed head.
    ///
    /// # Errors
    /// The database refuses.
    pub fn signed_head(&self) -> Result<Option<SignedHead>> {
        newest_signed_head(&self.conn, self.kind).map_err(doing("read the newest signed head"))
    }

    /// The heads of the entries `from..=to` that were signed.
    ///
    /// # Errors
    /// The database refuses.
    pub fn signed_heads(&self, from: u64, to: u64) -> Result<Vec<SignedHead>> {
        signed_heads(&self.conn, self.kind, from, to).map_err(doing("read signed heads"))
    }

    /// What stands in place of the entries that were pruned.
    ///
    /// # Errors
    /// The database refuses.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        newest_checkpoint(&self.conn, self.kind).map_err(doing("read the checkpoint of the audit chain"))
    }

    /// What a cut after entry `seq` takes away, with the digest of the export that holds it; none where there is no such entry.
    ///
    /// # Errors
    /// The database refuses.
    pub fn cut_after(&self, seq: u64, export_sha256: AuditHash) -> Result<Option<Cut>> {
        cut_after(&self.conn, self.kind, seq, export_sha256).map_err(doing("look for the end of a cut"))
    }

    /// Walks the whole chain, as [`Database::verify`](crate::Database::verify) does, with the head file beside the database.
    ///
    /// # Errors
    /// The database refuses; a break is not an error.
    pub fn verify(&self) -> Result<Verification> {
        let name = match self.kind {
            DatabaseKind::Engine => EngineKind::HEAD_FILE,
            DatabaseKind::Gate => GateKind::HEAD_FILE,
        };
        let remembered = HeadFile::beside(&self.path, name).read().map_err(|_| StoreError::Unreadable {
            column: "content",
            row: format!("file {name} beside the database"),
        })?;
        // One snapshot for all questions.
        let snapshot = self.conn.unchecked_transaction().map_err(doing("begin to read"))?;
        verify(&snapshot, self.kind, 1, None, remembered)
    }

    /// Whether this head is an entry of the chain, or the end of what was pruned.
    ///
    /// # Errors
    /// The database refuses.
    pub fn has(&self, head: AuditHead) -> Result<bool> {
        if self.checkpoint()?.is_some_and(|checkpoint| checkpoint.cut.last == head) {
            return Ok(true);
        }
        Ok(self
            .entries(head.seq.saturating_sub(1), 1)?
            .first()
            .is_some_and(|e| e.seq == head.seq && e.hash == head.hash))
    }
}

fn raw(row: &Row<'_>) -> rusqlite::Result<RawEntry> {
    Ok(RawEntry {
        seq: row.get(0)?,
        at_ms: row.get(1)?,
        actor: row.get(2)?,
        event: row.get(3)?,
        sandbox_id: row.get(4)?,
        execution_id: row.get(5)?,
        detail: row.get(6)?,
        prev_hash: AuditHash(row.get(7)?),
        hash: AuditHash(row.get(8)?),
    })
}

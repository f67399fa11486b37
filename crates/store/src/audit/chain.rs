//! Appending: the only statement that writes an entry, and the head that moves with it.

use std::io;

use rusqlite::{Connection, OptionalExtension, params};

use super::encoding::Fields;
use super::{AuditEntry, AuditHash, AuditHead, AuditReceipt};
use crate::error::{Result, doing};

/// Where the next entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    /// The last entry that the store itself wrote.
    pub(crate) head: AuditHead,
    /// The number of the next entry. It is `head.seq + 1` unless somebody else added rows: those stay where they are,
    /// the next entry binds to our own last one, and [`verify`](super::verify()) names them.
    next_seq: u64,
}

impl ChainEnd {
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let head = load_head(conn)?;
        let last: u64 = conn.query_row("SELECT coalesce(max(seq), 0) FROM audit", [], |row| row.get(0))?;
        if last != head.seq {
            tracing::error!(
                head = head.seq,
                last,
                "the audit chain does not end where its head says; `ringfence audit verify` tells more"
            );
        }
        Ok(Self { head, next_seq: head.seq.max(last) + 1 })
    }

    /// The number of the next entry.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }
}

pub(super) fn load_head(conn: &Connection) -> rusqlite::Result<AuditHead> {
    conn.prepare_cached("SELECT seq, hash FROM audit_head")?
        .query_row([], |row| Ok(AuditHead { seq: row.get(0)?, hash: AuditHash(row.get(1)?) }))
}

/// Whether this head is an entry that is there.
pub(super) fn holds(conn: &Connection, head: AuditHead) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM audit WHERE seq = ?1 AND hash = ?2")?.exists(params![head.seq, head.hash.0])
}

/// Whether what the head file remembers is an entry of the chain. No file remembers nothing, and agrees.
pub(crate) fn agrees(conn: &Connection, remembered: io::Result<Option<AuditHead>>) -> rusqlite::Result<bool> {
    // What was pruned contradicts nothing: the file is a moment behind the chain.
    let pruned: Option<(u64, Vec<u8>)> = conn
        .query_row("SELECT seq, hash FROM audit_checkpoint ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let stored = match &remembered {
        Ok(None) => return Ok(true),
        Ok(Some(known)) if pruned.as_ref().is_some_and(|(seq, _)| known.seq < *seq) => return Ok(true),
        Ok(Some(known)) if pruned.as_ref().is_some_and(|(seq, _)| known.seq == *seq) => {
            pruned.and_then(|(_, hash)| hash.try_into().ok().map(AuditHash))
        }
        Ok(Some(known)) if known.seq == 0 => Some(AuditHash::ZERO),
        Ok(Some(known)) => conn
            // Not read as 32 bytes: a hash of another length is tampering to be named, not a reason not to open.
            .query_row("SELECT hash FROM audit WHERE seq = ?1", params![known.seq], |row| row.get::<_, Vec<u8>>(0))
            .optional()?
            .and_then(|hash| hash.try_into().ok().map(AuditHash)),
        Err(_) => None,
    };
    let agrees = remembered.is_ok_and(|known| known.map(|known| known.hash) == stored);
    if !agrees {
        tracing::error!(
            "the audit chain is not the one that the file beside the database remembers; `ringfence audit verify` tells more"
        );
    }
    Ok(agrees)
}

/// Writes the head. Once a transaction is enough, after its last entry.
pub(crate) fn store_head(conn: &Connection, head: AuditHead) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE audit_head SET seq = ?1, hash = ?2")?.execute(params![head.seq, head.hash.0]).map(drop)
}

/// Appends an entry and moves `end`. When the transaction or savepoint is undone, the caller puts `end` back.
pub(crate) fn append(conn: &Connection, end: &mut ChainEnd, entry: &AuditEntry) -> Result<AuditReceipt> {
    let detail = entry.check()?;
    let fields = Fields {
        seq: end.next_seq,
        at_ms: entry.at_ms,
        actor: entry.actor.as_str(),
        event: &entry.event,
        sandbox_id: entry.sandbox.as_ref().map(|id| id.as_str()),
        execution_id: entry.execution.as_ref().map(|id| id.as_str()),
        detail: &detail,
        prev_hash: end.head.hash,
    };
    let hash = fields.hash();
    conn.prepare_cached(
        "INSERT INTO audit (seq, at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            fields.seq,
            fields.at_ms,
            fields.actor,
            fields.event,
            fields.sandbox_id,
            fields.execution_id,
            fields.detail,
            fields.prev_hash.0,
            hash.0,
        ])
    })
    .map_err(doing("append to the audit chain"))?;
    end.head = AuditHead { seq: fields.seq, hash };
    end.next_seq += 1;
    Ok(AuditReceipt { seq: fields.seq, hash })
}

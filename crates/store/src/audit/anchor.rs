//! Anchors: each database notes in its own chain how far the other's chain had come. Whoever would rewrite one chain
//! must rewrite both, which belong to two users.

use rusqlite::{OptionalExtension, params};
use serde_json::json;

use super::{Actor, AuditEntry, AuditHash, AuditHead, AuditReceipt};
use crate::error::{Result, StoreError, doing};
use crate::kind::{DatabaseKind, Kind};
use crate::store::Database;
use crate::tx::{Tx, View};

const EVENT: &str = "audit.anchor";

/// A head of the other database's chain, as it was noted in this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The number of the entry that notes it.
    pub seq: u64,
    /// When it was noted, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whose chain it is a head of.
    pub of: DatabaseKind,
    /// The head.
    pub head: AuditHead,
}

impl<K: Kind> View<'_, K> {
    /// The newest `limit` anchors of that database's chain, newest first.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn anchors(&self, of: DatabaseKind, limit: u32) -> Result<Vec<Anchor>> {
        const WHAT: &str = "list anchors";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT seq, at_ms, detail ->> 'seq', detail ->> 'hash' FROM audit \
                 WHERE event = ?1 AND detail ->> 'database' = ?2 ORDER BY seq DESC LIMIT ?3",
            )
            .map_err(doing(WHAT))?;
        let rows = statement
            .query_map(params![EVENT, of.as_str(), limit], |row| {
                let (seq, at_ms): (u64, u64) = (row.get(0)?, row.get(1)?);
                Ok((seq, at_ms, row.get::<_, u64>(2)?, row.get::<_, String>(3)?))
            })
            .map_err(doing(WHAT))?;
        rows.map(|row| {
            let (seq, at_ms, head_seq, hash) = row.map_err(doing(WHAT))?;
            let hash = AuditHash::parse(&hash)
                .ok_or_else(|| StoreError::Unreadable { column: "detail", row: format!("audit entry {seq}") })?;
            Ok(Anchor { seq, at_ms, of, head: AuditHead { seq: head_seq, hash } })
        })
        .collect()
    }

    /// Whether `head` is an entry of this chain, as one who holds an anchor of it asks. The empty chain's head always is.
    ///
    /// # Errors
    /// The database refuses.
    pub fn has_audit_head(&self, head: &AuditHead) -> Result<bool> {
        if head.seq == 0 {
            return Ok(head.hash == AuditHash::ZERO);
        }
        self.conn
            .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")
            .and_then(|mut statement| statement.query_row(params![head.seq], |row| row.get::<_, Vec<u8>>(0)).optional())
            .map(|hash| hash.is_some_and(|hash| hash == head.hash.0))
            .map_err(doing("look for an audit entry"))
    }
}

impl<K: Kind> Tx<'_, K> {
    /// Notes a head of the other database's chain, as an entry `audit.anchor`.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for this database's own chain; or the database refuses.
    pub fn anchor(&self, at_ms: u64, of: DatabaseKind, head: &AuditHead) -> Result<AuditReceipt> {
        if of == K::KIND {
            return Err(StoreError::Refused(format!("the {of}'s chain cannot anchor itself")));
        }
        let detail = json!({"database": of.as_str(), "seq": head.seq, "hash": head.hash.to_string()});
        self.audit(&AuditEntry::new(at_ms, Actor::System, EVENT).detail(detail))
    }
}

impl<K: Kind> Database<K> {
    /// [`Tx::anchor`].
    ///
    /// # Errors
    /// As there.
    pub async fn anchor(&self, at_ms: u64, of: DatabaseKind, head: AuditHead) -> Result<AuditReceipt> {
        self.write(move |tx| tx.anchor(at_ms, of, &head)).await
    }

    /// [`View::anchors`].
    ///
    /// # Errors
    /// As there.
    pub async fn anchors(&self, of: DatabaseKind, limit: u32) -> Result<Vec<Anchor>> {
        self.read(move |view| view.anchors(of, limit)).await
    }

    /// [`View::has_audit_head`].
    ///
    /// # Errors
    /// As there.
    pub async fn has_audit_head(&self, head: AuditHead) -> Result<bool> {
        self.read(move |view| view.has_audit_head(&head)).await
    }
}

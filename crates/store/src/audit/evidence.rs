//! Signed heads and checkpoints as rows, and the one way in which the beginning of a chain goes.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::sign::{AuditKey, AuditPublicKey, AuditSignature, Checkpoint, Cut, SignedHead};
use super::{Actor, AuditEntry, AuditHash, AuditHead, chain};
use crate::error::{Result, StoreError, doing};
use crate::kind::{DatabaseKind, Kind};
use crate::store::Database;
use crate::tx::Tx;

/// When a head is signed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningPace {
    /// After so many milliseconds, if there is a new entry.
    pub every_ms: u64,
    /// After so many entries.
    pub every_entries: u64,
}

impl SigningPace {
    /// While a role runs: what was written longer ago than this is signed.
    pub const RUNNING: Self = Self { every_ms: 5 * 60_000, every_entries: 1000 };
    /// When a role starts: what it wrote before it ended is signed at once.
    pub const AT_START: Self = Self { every_ms: 0, every_entries: 1 };

    fn is_due(self, newest: Option<&SignedHead>, head: AuditHead, now_ms: u64) -> bool {
        match newest {
            _ if head.seq == 0 => false,
            None => true,
            Some(newest) => {
                let entries = head.seq.saturating_sub(newest.head.seq);
                entries >= self.every_entries || (entries > 0 && now_ms.saturating_sub(newest.at_ms) >= self.every_ms)
            }
        }
    }
}

pub(super) fn newest_signed_head(conn: &Connection, kind: DatabaseKind) -> rusqlite::Result<Option<SignedHead>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, hash, at_ms, public_key, signature FROM audit_signed_head ORDER BY seq DESC LIMIT 1",
    )?;
    statement.query_map([], |row| signed_head(row, kind))?.next().transpose()
}

pub(super) fn signed_heads(
    conn: &Connection,
    kind: DatabaseKind,
    from: u64,
    to: u64,
) -> rusqlite::Result<Vec<SignedHead>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, hash, at_ms, public_key, signature FROM audit_signed_head WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    )?;
    statement.query_map(params![from, to], |row| signed_head(row, kind))?.collect()
}

fn signed_head(row: &Row<'_>, chain: DatabaseKind) -> rusqlite::Result<SignedHead> {
    Ok(SignedHead {
        chain,
        head: AuditHead { seq: row.get(0)?, hash: AuditHash(row.get(1)?) },
        at_ms: row.get(2)?,
        key: AuditPublicKey(row.get(3)?),
        signature: AuditSignature(row.get(4)?),
    })
}

pub(super) fn newest_checkpoint(conn: &Connection, chain: DatabaseKind) -> rusqlite::Result<Option<Checkpoint>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, hash, entries, first_at_ms, last_at_ms, export_sha256, at_ms, public_key, signature \
         FROM audit_checkpoint ORDER BY seq DESC LIMIT 1",
    )?;
    let read = |row: &Row<'_>| {
        let cut = Cut {
            chain,
            last: AuditHead { seq: row.get(0)?, hash: AuditHash(row.get(1)?) },
            entries: row.get(2)?,
            first_at_ms: row.get(3)?,
            last_at_ms: row.get(4)?,
            export_sha256: AuditHash(row.get(5)?),
        };
        let (key, signature) = (AuditPublicKey(row.get(7)?), AuditSignature(row.get(8)?));
        Ok(Checkpoint { cut, at_ms: row.get(6)?, key, signature })
    };
    statement.query_map([], read)?.next().transpose()
}

/// What a cut after entry `seq` takes away; none where there is no such entry.
pub(super) fn cut_after(
    conn: &Connection,
    chain: DatabaseKind,
    seq: u64,
    export_sha256: AuditHash,
) -> rusqlite::Result<Option<Cut>> {
    let mut statement = conn.prepare_cached(
        "SELECT hash, at_ms, (SELECT count(*) FROM audit WHERE seq <= ?1), \
         (SELECT at_ms FROM audit ORDER BY seq LIMIT 1) FROM audit WHERE seq = ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Cut {
            chain,
            last: AuditHead { seq, hash: AuditHash(row.get(0)?) },
            entries: row.get(2)?,
            first_at_ms: row.get(3)?,
            last_at_ms: row.get(1)?,
            export_sha256,
        })
    };
    statement.query_map(params![seq], read)?.next().transpose()
}

impl<K: Kind> Database<K> {
    /// Signs the head of the chain and keeps it, when the pace says that it is time. What was signed.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn sign_head(&self, key: Arc<AuditKey>, pace: SigningPace, now_ms: u64) -> Result<Option<SignedHead>> {
        const WHAT: &str = "look for the newest signed head";
        let is_due = self
            .read(move |view| {
                let head = chain::load_head(view.conn).map_err(doing(WHAT))?;
                let newest = newest_signed_head(view.conn, K::KIND).map_err(doing(WHAT))?;
                Ok(pace.is_due(newest.as_ref(), head, now_ms))
            })
            .await?;
        if !is_due {
            return Ok(None);
        }
        self.write(move |tx| {
            let signed = key.sign_head(K::KIND, tx.chain.borrow().head, now_ms);
            tx.conn
                .prepare_cached(
                    "INSERT INTO audit_signed_head (seq, hash, at_ms, public_key, signature) VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        signed.head.seq,
                        signed.head.hash.0,
                        now_ms,
                        signed.key.0,
                        signed.signature.0
                    ])
                })
                .map_err(doing("keep a signed head"))?;
            Ok(Some(signed))
        })
        .await
    }

    /// What stands in place of the entries that were pruned.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn audit_checkpoint(&self) -> Result<Option<Checkpoint>> {
        self.read(|view| newest_checkpoint(view.conn, K::KIND).map_err(doing("read the checkpoint of the audit chain")))
            .await
    }

    /// Cuts entries off the beginning, in one transaction with the entry `audit.prune` that says so and the signed
    /// checkpoint that stands in their place. The caller has checked that they are in the export that `cut` names.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the cut is not exactly the beginning of this chain; or the database refuses.
    pub async fn prune_audit(&self, key: Arc<AuditKey>, cut: Cut, now_ms: u64) -> Result<Checkpoint> {
        self.write(move |tx| tx.prune_audit(&key, cut, now_ms)).await
    }
}

impl<K: Kind> Tx<'_, K> {
    fn prune_audit(&self, key: &AuditKey, cut: Cut, now_ms: u64) -> Result<Checkpoint> {
        const WHAT: &str = "prune the audit chain";
        let found = cut_after(self.conn, K::KIND, cut.last.seq, cut.export_sha256).map_err(doing(WHAT))?;
        if found != Some(cut) {
            return Err(StoreError::Refused(format!(
                "entries up to {} of the {}'s chain are not what the export says: export and verify it anew",
                cut.last.seq, cut.chain
            )));
        }
        let youngest: u64 = self
            .conn
            .query_row("SELECT max(at_ms) FROM audit WHERE seq <= ?1", params![cut.last.seq], |row| row.get(0))
            .map_err(doing(WHAT))?;
        if youngest.saturating_add(Cut::AGE_MIN_MS) > now_ms {
            return Err(StoreError::Refused(format!(
                "an entry up to {} of the {}'s chain is not a day old: only older ones are pruned",
                cut.last.seq, cut.chain
            )));
        }
        let detail = json!({"seq": cut.last.seq, "hash": cut.last.hash.to_string(), "entries": cut.entries,
            "export_sha256": cut.export_sha256.to_string()});
        let _receipt = self.audit(&AuditEntry::new(now_ms, Actor::Operator, "audit.prune").detail(detail))?;
        let checkpoint = key.sign_checkpoint(cut, now_ms);
        self.conn
            .execute(
                "INSERT INTO audit_checkpoint \
                 (seq, hash, entries, first_at_ms, last_at_ms, export_sha256, at_ms, public_key, signature) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    cut.last.seq,
                    cut.last.hash.0,
                    cut.entries,
                    cut.first_at_ms,
                    cut.last_at_ms,
                    cut.export_sha256.0,
                    now_ms,
                    checkpoint.key.0,
                    checkpoint.signature.0
                ],
            )
            .and_then(|_| self.conn.execute("DELETE FROM audit WHERE seq <= ?1", params![cut.last.seq]))
            .map_err(doing(WHAT))?;
        Ok(checkpoint)
    }
}

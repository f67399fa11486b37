//! Decisions as rows: made of their audit entries, settled, listed, counted and pruned.

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde_json::Value;

use super::{Decision, DecisionFilter, DecisionId, DecisionRow, Protocol, Retention, Settlement, Totals, Verdict};
use crate::audit::AuditReceipt;
use crate::error::{Result, StoreError, doing};
use crate::gate::{GateStore, GateTx, GateView};

/// Rows that one listing has at most.
const LISTED_MAX: u32 = 10_000;
/// Rows that one change prunes at most: other changes wait for it.
const PRUNED_MAX: u32 = 2_000;
/// Rows that one change makes at most of entries of the audit chain.
const LISTED_AT_ONCE: u32 = 2_000;
/// The fact that says up to which number decisions were pruned: those are not made anew.
const PRUNED: &str = "gate.decisions_pruned";

const COLUMNS: &str = "id, at_ms, sandbox_id, protocol, host, address, port, method, path, rule, secrets, reason, \
     status, bytes_up, bytes_down, duration_ms, signed, cached";

impl GateView<'_> {
    /// The decisions that the filter lets through and that have rows already: newest first, or with `after` in their order.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn decisions(&self, filter: &DecisionFilter) -> Result<Vec<DecisionRow>> {
        const WHAT: &str = "list decisions";
        let order = if filter.after.is_some() { "ASC" } else { "DESC" };
        let of = if filter.sandbox.is_some() { "sandbox_id = :sandbox" } else { ":sandbox IS NULL" };
        let sql = format!("SELECT {COLUMNS} FROM decision WHERE {of} AND id > :after ORDER BY id {order} LIMIT :limit");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement
            .query_map(
                named_params! {":sandbox": filter.sandbox.as_ref().map(SandboxId::as_str),
                ":after": filter.after.map_or(0, DecisionId::get),
                ":limit": filter.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX)},
                read,
            )
            .map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// The decision of this number, if it has its row already and was not pruned.
    ///
    /// # Errors
    /// As [`GateView::decisions`].
    pub fn decision(&self, id: DecisionId) -> Result<Option<DecisionRow>> {
        let sql = format!("SELECT {COLUMNS} FROM decision WHERE id = ?1");
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row(params![id.0], read).optional())
            .map_err(doing("read a decision"))?
            .transpose()
    }

    /// What a sandbox did in all, of what has rows or had them; nothing when it is not known.
    ///
    /// # Errors
    /// The database refuses.
    pub fn totals(&self, sandbox: &SandboxId) -> Result<Totals> {
        self.conn
            .prepare_cached("SELECT requests, refused, bytes_up, bytes_down FROM total WHERE sandbox_id = ?1")
            .and_then(|mut statement| {
                let totals = |row: &Row<'_>| {
                    let (requests, refused) = (row.get(0)?, row.get(1)?);
                    Ok(Totals { requests, refused, bytes_up: row.get(2)?, bytes_down: row.get(3)? })
                };
                statement.query_row(params![sandbox.as_str()], totals).optional()
            })
            .map(Option::unwrap_or_default)
            .map_err(doing("read totals"))
    }
}

impl GateTx<'_> {
    /// Records a decision: its audit entry, from which its row is made later ([`GateTx::list_decisions`]). It returns no
    /// permit, because nothing is on disk yet. `trade` is what the entry says of an order, which its row does not.
    pub(in crate::gate) fn record(&self, decision: &Decision, trade: Value) -> Result<AuditReceipt> {
        decision.check()?;
        self.audit(&decision.entry(trade))
    }

    /// The number of the decision that is recorded next in this change.
    pub(in crate::gate) fn next_decision(&self) -> DecisionId {
        DecisionId(self.chain.borrow().next_seq())
    }

    /// Makes the rows of decisions that the audit chain holds and the table does not yet, at most 2,000, and counts them in
    /// the totals of their sandboxes. Returns how many. The entry alone is what has to be on disk before something happens;
    /// a row holds nothing that its entry does not.
    ///
    /// # Errors
    /// The database refuses.
    pub fn list_decisions(&self) -> Result<u64> {
        const WHAT: &str = "list new decisions";
        let pruned = self.meta(PRUNED)?.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let first = self
            .conn
            .prepare_cached("SELECT coalesce(max(id), 0) FROM decision")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, u64>(0)))
            .map_err(doing(WHAT))?
            .max(pruned);
        let last: Option<u64> = self
            .conn
            .prepare_cached(
                "SELECT max(seq) FROM (SELECT seq FROM audit WHERE seq > ?1 AND event IN ('egress.allow', 'egress.refuse') \
                 ORDER BY seq LIMIT ?2)",
            )
            .and_then(|mut statement| statement.query_row(params![first, LISTED_AT_ONCE], |row| row.get(0)))
            .map_err(doing(WHAT))?;
        let Some(last) = last else { return Ok(0) };
        let listed = self
            .conn
            .prepare_cached(
                "INSERT INTO decision (id, at_ms, sandbox_id, protocol, host, address, port, method, path, rule, secrets, \
                 verdict, reason, signed, cached) \
                 SELECT seq, at_ms, sandbox_id, detail ->> 'protocol', detail ->> 'host', detail ->> 'address', \
                 detail ->> 'port', detail ->> 'method', detail ->> 'path', detail ->> 'rule', \
                 coalesce(detail -> 'secrets', '[]'), substr(event, 8), detail ->> 'reason', detail ->> 'signed', \
                 coalesce(detail ->> 'cached', 0) \
                 FROM audit WHERE seq > ?1 AND seq <= ?2 AND event IN ('egress.allow', 'egress.refuse')",
            )
            .and_then(|mut statement| statement.execute(params![first, last]))
            .map_err(doing(WHAT))?;
        self.conn
            .prepare_cached(
                "INSERT INTO total (sandbox_id, requests, refused, bytes_up, bytes_down) \
                 SELECT sandbox_id, count(*), count(reason), 0, 0 FROM decision WHERE id > ?1 AND id <= ?2 \
                 GROUP BY sandbox_id \
                 ON CONFLICT (sandbox_id) DO UPDATE SET requests = requests + excluded.requests, \
                 refused = refused + excluded.refused",
            )
            .and_then(|mut statement| statement.execute(params![first, last]))
            .map_err(doing(WHAT))?;
        Ok(listed as u64)
    }

    /// [`GateTx::list_decisions`] until none is left.
    fn list_all_decisions(&self) -> Result<()> {
        while self.list_decisions()? == u64::from(LISTED_AT_ONCE) {}
        Ok(())
    }

    /// Notes what became of a decision, once. Returns whether that was done: a decision may have been pruned meanwhile, or
    /// settled before.
    ///
    /// # Errors
    /// The database refuses.
    pub fn settle(&self, decision: DecisionId, settlement: &Settlement) -> Result<bool> {
        const WHAT: &str = "settle a decision";
        let Settlement { status, bytes_up, bytes_down, duration_ms } = *settlement;
        let settle = || -> Result<Option<String>> {
            self.conn
                .prepare_cached(
                    "UPDATE decision SET status = ?2, bytes_up = ?3, bytes_down = ?4, duration_ms = ?5 \
                     WHERE id = ?1 AND duration_ms IS NULL RETURNING sandbox_id",
                )
                .and_then(|mut statement| {
                    let params = params![decision.0, status, bytes_up, bytes_down, duration_ms];
                    statement.query_row(params, |row| row.get(0)).optional()
                })
                .map_err(doing(WHAT))
        };
        let mut sandbox = settle()?;
        if sandbox.is_none() {
            // The first of those that are settled together.
            self.list_all_decisions()?;
            sandbox = settle()?;
        }
        let Some(sandbox) = sandbox else { return Ok(false) };
        self.conn
            .prepare_cached(
                "UPDATE total SET bytes_up = bytes_up + ?2, bytes_down = bytes_down + ?3 WHERE sandbox_id = ?1",
            )
            .and_then(|mut statement| statement.execute(params![sandbox, bytes_up, bytes_down]))
            .map_err(doing(WHAT))?;
        Ok(true)
    }

    /// Removes the oldest decisions that `kept` does not keep, at most 2,000, and of sandboxes that were forgotten before
    /// `since_ms` the totals. Returns how many decisions went. Decisions go in the order of their numbers: one of a clock
    /// that stood ahead keeps those after it.
    ///
    /// # Errors
    /// The database refuses.
    pub fn prune_decisions(&self, kept: &Retention) -> Result<u64> {
        const WHAT: &str = "prune decisions";
        self.list_all_decisions()?;
        // Each bound is the first number that stays. Without a row that stays none does.
        let bound = |sql: &str, bound: u64| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_row(params![bound], |row| row.get::<_, u64>(0)).optional())
                .map_err(doing(WHAT))
        };
        let end = i64::MAX.cast_unsigned();
        let mut first_kept = 0;
        if let Some(since_ms) = kept.since_ms {
            let sql = "SELECT id FROM decision WHERE at_ms >= ?1 ORDER BY id LIMIT 1";
            first_kept = bound(sql, since_ms)?.unwrap_or(end);
            self.conn
                .prepare_cached("DELETE FROM total WHERE forgotten_at_ms < ?1")
                .and_then(|mut statement| statement.execute(params![since_ms]))
                .map_err(doing(WHAT))?;
        }
        if let Some(rows_max) = kept.rows_max {
            // The newest that goes; none when there are not so many.
            let sql = "SELECT id FROM decision ORDER BY id DESC LIMIT 1 OFFSET ?1";
            first_kept = first_kept.max(bound(sql, rows_max.min(end))?.map_or(0, |id| id + 1));
        }
        let last: Option<u64> = self
            .conn
            .prepare_cached("SELECT max(id) FROM (SELECT id FROM decision WHERE id < ?1 ORDER BY id LIMIT ?2)")
            .and_then(|mut statement| statement.query_row(params![first_kept, PRUNED_MAX], |row| row.get(0)))
            .map_err(doing(WHAT))?;
        let Some(last) = last else { return Ok(0) };
        let pruned = self
            .conn
            .prepare_cached("DELETE FROM decision WHERE id <= ?1")
            .and_then(|mut statement| statement.execute(params![last]))
            .map_err(doing(WHAT))?;
        self.set_meta(PRUNED, &last.to_string())?;
        Ok(pruned as u64)
    }

    pub(in crate::gate) fn close_totals(&self, at_ms: u64, sandbox: &SandboxId) -> Result<()> {
        self.list_all_decisions()?;
        self.conn
            .prepare_cached("UPDATE total SET forgotten_at_ms = ?2 WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str(), at_ms]))
            .map(drop)
            .map_err(doing("close totals"))
    }
}

impl GateStore {
    /// [`GateTx::settle`], after what cannot wait ([`note_later`](crate::Database::note_later)): no decision waits for the disk
    /// because of what became of an earlier one.
    ///
    /// # Errors
    /// As there.
    pub async fn settle(&self, decision: DecisionId, settlement: Settlement) -> Result<bool> {
        self.note_later(move |tx| tx.settle(decision, &settlement)).await
    }

    /// [`GateTx::prune_decisions`] until nothing is left to prune, a change each, so that others come in between.
    ///
    /// # Errors
    /// As there.
    pub async fn prune_decisions(&self, kept: Retention) -> Result<u64> {
        let mut all = 0;
        loop {
            let retention = kept.clone();
            let pruned = self.write(move |tx| tx.prune_decisions(&retention)).await?;
            all += pruned;
            if pruned < u64::from(PRUNED_MAX) {
                return Ok(all);
            }
        }
    }

    /// [`GateView::decisions`], with all that was decided before it was asked.
    ///
    /// # Errors
    /// As there.
    pub async fn decisions(&self, filter: DecisionFilter) -> Result<Vec<DecisionRow>> {
        self.list_new().await;
        self.read(move |view| view.decisions(&filter)).await
    }

    /// [`GateView::totals`], with all that was decided before it was asked.
    ///
    /// # Errors
    /// As there.
    pub async fn totals(&self, sandbox: &SandboxId) -> Result<Totals> {
        self.list_new().await;
        let sandbox = sandbox.clone();
        self.read(move |view| view.totals(&sandbox)).await
    }

    /// Makes the rows that are not there yet, a change for 2,000 each. What there is can be read also when the disk is full.
    async fn list_new(&self) {
        loop {
            match self.note(|tx| tx.list_decisions()).await {
                Ok(listed) if listed == u64::from(LISTED_AT_ONCE) => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "the newest decisions could not be listed"),
            }
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<DecisionRow>> {
    let id: u64 = row.get(0)?;
    let (sandbox, protocol): (String, String) = (row.get(2)?, row.get(3)?);
    let (address, secrets): (Option<String>, String) = (row.get(5)?, row.get(10)?);
    let reason: Option<String> = row.get(11)?;
    let (at_ms, host, port, method) = (row.get(1)?, row.get(4)?, row.get(6)?, row.get(7)?);
    let (path, rule, status) = (row.get(8)?, row.get(9)?, row.get(12)?);
    let (bytes_up, bytes_down): (Option<u64>, Option<u64>) = (row.get(13)?, row.get(14)?);
    let duration_ms: Option<u64> = row.get(15)?;
    let (signed, cached): (Option<String>, bool) = (row.get(16)?, row.get(17)?);
    let unreadable = |column| StoreError::Unreadable { column, row: format!("decision {id}") };
    Ok((|| {
        let decision = Decision {
            at_ms,
            sandbox: SandboxId::try_from(sandbox).map_err(|_| unreadable("sandbox_id"))?,
            protocol: Protocol::parse(&protocol).ok_or_else(|| unreadable("protocol"))?,
            host,
            address: address.map(|text| text.parse()).transpose().map_err(|_| unreadable("address"))?,
            port,
            method,
            path,
            rule,
            secrets: serde_json::from_str(&secrets).map_err(|_| unreadable("secrets"))?,
            signed,
            cached,
            verdict: reason.map_or(Verdict::Allow, |reason| Verdict::Refuse { reason }),
        };
        let settlement = duration_ms.map(|duration_ms| Settlement {
            status,
            bytes_up: bytes_up.unwrap_or_default(),
            bytes_down: bytes_down.unwrap_or_default(),
            duration_ms,
        });
        Ok(DecisionRow { id: DecisionId(id), decision, settlement })
    })())
}

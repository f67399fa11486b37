//! Decisions: what the gate let out and what it did not, recorded before anything happens.

use std::fmt;
use std::net::IpAddr;

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::secret::SecretName;
use super::{GateStore, GateTx, GateView, check_line};
use crate::audit::{Actor, AuditEntry, AuditReceipt};
use crate::error::{Result, StoreError, doing};

/// Bytes of a host name: a DNS name has 253, and an address in brackets fewer.
const HOST_BYTES_MAX: usize = 255;
const METHOD_BYTES_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 2048;
const RULE_BYTES_MAX: usize = 512;
const REASON_BYTES_MAX: usize = 1024;
/// Secrets that one request may use.
const SECRETS_MAX: usize = 16;
/// Rows that one listing has at most.
const LISTED_MAX: u32 = 10_000;
/// Rows that one change prunes at most: other changes wait for it.
const PRUNED_MAX: u32 = 2_000;

/// The number of a decision: that of its audit entry, so that later ones have higher numbers and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(u64);

impl DecisionId {
    /// The decision of this number, as one who follows them names the last that was seen.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What was asked of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the usual words")]
pub enum Protocol {
    Dns,
    Tcp,
    Tls,
    Http,
    Ws,
    Udp,
}

impl Protocol {
    const ALL: [Self; 6] = [Self::Dns, Self::Tcp, Self::Tls, Self::Http, Self::Ws, Self::Udp];

    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Ws => "ws",
            Self::Udp => "udp",
        }
    }

    /// The protocol of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }
}

/// Whether it may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Refuse {
        /// Why, in a sentence of at most 1 KiB.
        reason: String,
    },
}

impl Verdict {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse { .. } => "refuse",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Allow => None,
            Self::Refuse { reason } => Some(reason),
        }
    }
}

/// A decision about one name, connection or request. It holds names, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which sandbox asked.
    pub sandbox: SandboxId,
    /// What it spoke.
    pub protocol: Protocol,
    /// The host, as far as it was named: at most 255 bytes.
    pub host: Option<String>,
    /// The address that it went to, or would have.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Of HTTP, the method: at most 32 bytes.
    pub method: Option<String>,
    /// Of HTTP, the path without its query: at most 2 KiB.
    pub path: Option<String>,
    /// The rule that decided, if one did: at most 512 bytes.
    pub rule: Option<String>,
    /// The secrets that are used: at most 16.
    pub secrets: Vec<SecretName>,
    /// The decision.
    pub verdict: Verdict,
}

impl Decision {
    /// Allows it, with everything else unknown.
    #[must_use]
    pub fn allow(at_ms: u64, sandbox: SandboxId, protocol: Protocol, port: u16) -> Self {
        let (host, address, method, path, rule, secrets) = (None, None, None, None, None, Vec::new());
        Self { at_ms, sandbox, protocol, host, address, port, method, path, rule, secrets, verdict: Verdict::Allow }
    }

    /// Refuses it, with everything else unknown.
    #[must_use]
    pub fn refuse(at_ms: u64, sandbox: SandboxId, protocol: Protocol, port: u16, reason: impl Into<String>) -> Self {
        let verdict = Verdict::Refuse { reason: reason.into() };
        Self { verdict, ..Self::allow(at_ms, sandbox, protocol, port) }
    }

    fn check(&self) -> Result<()> {
        for (what, text, bytes_max) in [
            ("host", self.host.as_deref(), HOST_BYTES_MAX),
            ("method", self.method.as_deref(), METHOD_BYTES_MAX),
            ("path", self.path.as_deref(), PATH_BYTES_MAX),
            ("rule", self.rule.as_deref(), RULE_BYTES_MAX),
            ("reason", self.verdict.reason(), REASON_BYTES_MAX),
        ] {
            check_line(what, text.unwrap_or_default(), bytes_max)?;
        }
        if self.path.as_ref().is_some_and(|path| path.contains(['?', '#'])) {
            return Err(StoreError::Refused("the path has a query: values may stand there, which are not kept".into()));
        }
        if self.secrets.len() > SECRETS_MAX {
            let count = self.secrets.len();
            return Err(StoreError::Refused(format!("{count} secrets in one request: at most {SECRETS_MAX}")));
        }
        Ok(())
    }

    fn entry(&self) -> AuditEntry {
        let event = match self.verdict {
            Verdict::Allow => "egress.allow",
            Verdict::Refuse { .. } => "egress.refuse",
        };
        let mut detail = serde_json::Map::new();
        detail.insert("protocol".into(), json!(self.protocol));
        detail.insert("port".into(), json!(self.port));
        for (key, text) in [
            ("host", self.host.as_deref()),
            ("method", self.method.as_deref()),
            ("path", self.path.as_deref()),
            ("rule", self.rule.as_deref()),
            ("reason", self.verdict.reason()),
        ] {
            if let Some(text) = text {
                detail.insert(key.into(), json!(text));
            }
        }
        if let Some(address) = self.address {
            detail.insert("address".into(), json!(address));
        }
        if !self.secrets.is_empty() {
            detail.insert("secrets".into(), json!(self.secrets));
        }
        AuditEntry::new(self.at_ms, Actor::System, event).sandbox(&self.sandbox).detail(detail.into())
    }
}

/// Proof that something was allowed and that this is on disk. What goes out takes one, and only
/// [`GateStore::decide`] and [`GateStore::admit`] make one, after their commit.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was allowed takes its permit along"]
pub struct Permit {
    receipt: AuditReceipt,
}

impl Permit {
    /// The decision that allowed it.
    #[must_use]
    pub fn decision(&self) -> DecisionId {
        DecisionId(self.receipt.seq())
    }

    /// The audit entry that records it.
    pub fn receipt(&self) -> &AuditReceipt {
        &self.receipt
    }
}

/// A decision that is on disk.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was allowed takes its permit along"]
pub enum Ruling {
    /// It may happen.
    Allowed(Permit),
    /// It may not.
    Refused(DecisionId),
}

impl Ruling {
    /// The number of the decision.
    #[must_use]
    pub fn decision(&self) -> DecisionId {
        match self {
            Self::Allowed(permit) => permit.decision(),
            Self::Refused(decision) => *decision,
        }
    }
}

/// What became of it, known when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Of HTTP, the status that was answered.
    pub status: Option<u16>,
    /// Bytes that the sandbox sent.
    pub bytes_up: u64,
    /// Bytes that it was sent.
    pub bytes_down: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A decision as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Its number.
    pub id: DecisionId,
    /// What was decided.
    pub decision: Decision,
    /// What became of it; none while it goes on, and for ever when the gateway died meanwhile.
    pub settlement: Option<Settlement>,
}

/// Which decisions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Only of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Only after this one, as one who follows them asks.
    pub after: Option<DecisionId>,
    /// At most so many, and never more than 10,000: the newest, or with `after` the oldest.
    pub limit: Option<u32>,
}

/// What a sandbox did in all, pruned decisions included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Decisions, refused ones included.
    pub requests: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// Bytes that it sent, of what is over.
    pub bytes_up: u64,
    /// Bytes that it was sent, of what is over.
    pub bytes_down: u64,
}

/// Which decisions are kept. Audit entries always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Only those at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Only so many, the newest.
    pub rows_max: Option<u64>,
}

const COLUMNS: &str = "id, at_ms, sandbox_id, protocol, host, address, port, method, path, rule, secrets, reason, \
     status, bytes_up, bytes_down, duration_ms";

impl GateView<'_> {
    /// The decisions that the filter lets through: newest first, or with `after` in their order.
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

    /// The decision of this number, if it was not pruned.
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

    /// What a sandbox did in all; nothing when it is not known.
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
    /// Records a decision: the audit entry, the row, and the totals of its sandbox. It returns no permit, because
    /// nothing is on disk yet.
    fn record(&self, decision: &Decision) -> Result<AuditReceipt> {
        const WHAT: &str = "record a decision";
        decision.check()?;
        let receipt = self.audit(&decision.entry())?;
        self.conn
            .prepare_cached(
                "INSERT INTO decision (id, at_ms, sandbox_id, protocol, host, address, port, method, path, rule, \
                 secrets, verdict, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    receipt.seq(),
                    decision.at_ms,
                    decision.sandbox.as_str(),
                    decision.protocol.as_str(),
                    decision.host,
                    decision.address.map(|address| address.to_string()),
                    decision.port,
                    decision.method,
                    decision.path,
                    decision.rule,
                    json!(decision.secrets).to_string(),
                    decision.verdict.as_str(),
                    decision.verdict.reason(),
                ])
            })
            .map_err(doing(WHAT))?;
        self.conn
            .prepare_cached(
                "INSERT INTO total (sandbox_id, requests, refused, bytes_up, bytes_down) VALUES (?1, 1, ?2, 0, 0) \
                 ON CONFLICT (sandbox_id) DO UPDATE SET requests = requests + 1, refused = refused + ?2",
            )
            .and_then(|mut statement| {
                statement.execute(params![decision.sandbox.as_str(), decision.verdict != Verdict::Allow])
            })
            .map_err(doing(WHAT))?;
        Ok(receipt)
    }

    /// Notes what became of a decision, once. Returns whether that was done: a decision may have been pruned meanwhile, or
    /// settled before.
    ///
    /// # Errors
    /// The database refuses.
    pub fn settle(&self, decision: DecisionId, settlement: &Settlement) -> Result<bool> {
        const WHAT: &str = "settle a decision";
        let Settlement { status, bytes_up, bytes_down, duration_ms } = *settlement;
        let sandbox: Option<String> = self
            .conn
            .prepare_cached(
                "UPDATE decision SET status = ?2, bytes_up = ?3, bytes_down = ?4, duration_ms = ?5 \
                 WHERE id = ?1 AND duration_ms IS NULL RETURNING sandbox_id",
            )
            .and_then(|mut statement| {
                let params = params![decision.0, status, bytes_up, bytes_down, duration_ms];
                statement.query_row(params, |row| row.get(0)).optional()
            })
            .map_err(doing(WHAT))?;
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
        let pruned = self
            .conn
            .prepare_cached(
                "DELETE FROM decision WHERE id IN (SELECT id FROM decision WHERE id < ?1 ORDER BY id LIMIT ?2)",
            )
            .and_then(|mut statement| statement.execute(params![first_kept, PRUNED_MAX]))
            .map_err(doing(WHAT))?;
        Ok(pruned as u64)
    }

    pub(super) fn close_totals(&self, at_ms: u64, sandbox: &SandboxId) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE total SET forgotten_at_ms = ?2 WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str(), at_ms]))
            .map(drop)
            .map_err(doing("close totals"))
    }
}

impl GateStore {
    /// Records a decision and returns when it is on disk.
    ///
    /// # Errors
    /// As [`write`](crate::Database::write), and [`StoreError::Refused`] when something in it is out of bounds. Then
    /// nothing was recorded, and nothing may happen.
    pub async fn decide(&self, decision: Decision) -> Result<Ruling> {
        self.admit(move |_| Ok((decision, ()))).await.map(|(ruling, ())| ruling)
    }

    /// Lets `op` decide from what the database says and change it (a reservation), and records what it decided in the same
    /// transaction. What it changed stays when it refuses; an error undoes it.
    ///
    /// # Errors
    /// Those of `op`, and as [`GateStore::decide`].
    pub async fn admit<T, F>(&self, op: F) -> Result<(Ruling, T)>
    where
        F: FnOnce(&GateTx<'_>) -> Result<(Decision, T)> + Send + 'static,
        T: Send + 'static,
    {
        let change = self.write(move |tx| {
            let (decision, value) = op(tx)?;
            let receipt = tx.record(&decision)?;
            Ok((decision.verdict, receipt, value))
        });
        let (verdict, receipt, value) = change.await?;
        // This is the only place that makes a permit, and it is reached after the commit alone.
        let ruling = match verdict {
            Verdict::Allow => Ruling::Allowed(Permit { receipt }),
            Verdict::Refuse { .. } => Ruling::Refused(DecisionId(receipt.seq())),
        };
        Ok((ruling, value))
    }

    /// [`GateTx::settle`]. It shares a transaction with whatever else is written at the time.
    ///
    /// # Errors
    /// As there.
    pub async fn settle(&self, decision: DecisionId, settlement: Settlement) -> Result<bool> {
        self.write(move |tx| tx.settle(decision, &settlement)).await
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

    /// [`GateView::decisions`].
    ///
    /// # Errors
    /// As there.
    pub async fn decisions(&self, filter: DecisionFilter) -> Result<Vec<DecisionRow>> {
        self.read(move |view| view.decisions(&filter)).await
    }

    /// [`GateView::totals`].
    ///
    /// # Errors
    /// As there.
    pub async fn totals(&self, sandbox: &SandboxId) -> Result<Totals> {
        let sandbox = sandbox.clone();
        self.read(move |view| view.totals(&sandbox)).await
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

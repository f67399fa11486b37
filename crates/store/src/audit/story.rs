//! What is told of one sandbox: its entries in a chain, and the rows that say what became of what the entries decided.
//!
//! Only the entries are evidence. Rows are changed while things go on, no hash is over them, and whoever shows both says so.

use rusqlite::{Row, params, types::ValueRef};
use serde::Serialize;

use ringfence_model::{
    credit::MilliCredits,
    trade::{Price, Qty},
};

use super::AuditHash;
use super::file::{ChainFile, RawEntry};
use crate::error::{Result, doing};

/// Sandboxes of one name that are listed.
const NAMESAKES_MAX: u32 = 100;

/// An entry about a sandbox, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldEntry {
    /// What it says.
    pub entry: RawEntry,
    /// Whether its hash is the hash of that.
    pub is_genuine: bool,
}

/// A sandbox as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SandboxFacts {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The template that it was made from.
    pub template: String,
    /// The layers of that, as JSON.
    pub layers: String,
    /// How it stands.
    pub status: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was deleted.
    pub deleted_at_ms: Option<u64>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// An execution as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecutionFacts {
    /// Its id.
    pub id: String,
    /// The SHA-256 of its code, in hexadecimal digits.
    pub code_sha256: String,
    /// How it stands.
    pub status: String,
    /// What its first process ended with.
    pub exit_code: Option<i64>,
    /// When it was over, in milliseconds since the Unix epoch.
    pub finished_at_ms: Option<u64>,
    /// How long it took, in microseconds.
    pub execution_time_us: Option<u64>,
    /// CPU time, in microseconds.
    pub cpu_time_us: Option<u64>,
    /// The sandbox's peak of memory meanwhile, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Bytes that it wrote to standard output.
    pub stdout_bytes: u64,
    /// Bytes that it wrote to standard error.
    pub stderr_bytes: u64,
}

/// What became of a decision of the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettledFacts {
    /// The number of the decision, which is that of its entry.
    pub seq: u64,
    /// The status of HTTP that was answered.
    pub status: Option<u64>,
    /// Bytes that the sandbox sent.
    pub bytes_up: u64,
    /// Bytes that it was sent.
    pub bytes_down: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// An order as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderFacts {
    /// The number of the decision that admitted it, which is that of its entry.
    pub seq: u64,
    /// Its number in the ledger.
    pub number: u64,
    /// How it stands.
    pub state: String,
    /// Why it is over.
    pub closed_because: Option<String>,
    /// What was filled of it, and of its legs.
    pub fills: Vec<FillFacts>,
}

/// A fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FillFacts {
    /// `buy` or `sell`.
    pub side: String,
    /// Of what.
    pub symbol: String,
    /// How many, as a decimal.
    pub qty: String,
    /// At what price.
    pub price: String,
}

/// What a sandbox cost. Not a part of any chain: the ledger of credits has no hash over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CostFacts {
    /// Credits in all, refunds taken off.
    pub credits: MilliCredits,
    /// Of them for its making.
    pub create: MilliCredits,
    /// For started minutes of running.
    pub running: MilliCredits,
    /// For days of storage.
    pub storage: MilliCredits,
    /// Taken off again, as a negative number.
    pub refunds: MilliCredits,
    /// How long it has run, in milliseconds, as far as its meters were read.
    pub running_ms: u64,
}

/// What a sandbox did at the gate in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TrafficFacts {
    /// Decisions.
    pub requests: u64,
    /// How many of them were refusals.
    pub refused: u64,
    /// Bytes that it sent.
    pub bytes_up: u64,
    /// Bytes that it was sent.
    pub bytes_down: u64,
}

impl ChainFile {
    /// The next entries about a sandbox after number `after`, at most `limit`. One that cannot be read is there too, as far as
    /// it can, and is not genuine.
    ///
    /// # Errors
    /// The database refuses.
    pub fn entries_about(&self, sandbox: &str, after: u64, limit: u32) -> Result<Vec<ToldEntry>> {
        self.told(
            "read the entries about a sandbox",
            "SELECT seq, at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash, hash FROM audit \
             WHERE sandbox_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            params![sandbox, after, limit],
            |row| {
                let entry = RawEntry {
                    seq: number(row, 0)?,
                    at_ms: number(row, 1)?,
                    actor: text(row, 2)?,
                    event: text(row, 3)?,
                    sandbox_id: maybe(row, 4, text)?,
                    execution_id: maybe(row, 5, text)?,
                    detail: text(row, 6)?,
                    prev_hash: hash(row, 7)?,
                    hash: hash(row, 8)?,
                };
                let is_genuine = entry.computed() == entry.hash;
                Ok(ToldEntry { entry, is_genuine })
            },
        )
    }

    /// Of the engine's database: sandboxes with this id or name, the newest first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn sandboxes(&self, reference: &str) -> Result<Vec<SandboxFacts>> {
        self.told(
            "look for a sandbox",
            "SELECT id, name, template, layers, status, created_at_ms, deleted_at_ms, failure FROM sandbox \
             WHERE id = ?1 OR (name = ?1 AND is_trial = 0) ORDER BY created_at_ms DESC, id LIMIT ?2",
            params![reference, NAMESAKES_MAX],
            |row| {
                Ok(SandboxFacts {
                    id: text(row, 0)?,
                    name: text(row, 1)?,
                    template: text(row, 2)?,
                    layers: text(row, 3)?,
                    status: text(row, 4)?,
                    created_at_ms: number(row, 5)?,
                    deleted_at_ms: maybe(row, 6, number)?,
                    failure: maybe(row, 7, text)?,
                })
            },
        )
    }

    /// Of the engine's database: the executions of a sandbox, at most `limit`, the oldest first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn executions_of(&self, sandbox: &str, limit: u32) -> Result<Vec<ExecutionFacts>> {
        self.told(
            "list executions",
            "SELECT id, lower(hex(code_sha256)), status, exit_code, finished_at_ms, execution_time_us, cpu_time_us, \
             memory_peak_bytes, stdout_seen_bytes, stderr_seen_bytes FROM execution \
             WHERE sandbox_id = ?1 ORDER BY started_at_ms LIMIT ?2",
            params![sandbox, limit],
            |row| {
                Ok(ExecutionFacts {
                    id: text(row, 0)?,
                    code_sha256: text(row, 1)?,
                    status: text(row, 2)?,
                    exit_code: row.get(3)?,
                    finished_at_ms: maybe(row, 4, number)?,
                    execution_time_us: maybe(row, 5, number)?,
                    cpu_time_us: maybe(row, 6, number)?,
                    memory_peak_bytes: maybe(row, 7, number)?,
                    stdout_bytes: number(row, 8)?,
                    stderr_bytes: number(row, 9)?,
                })
            },
        )
    }

    /// Of the gateway's database: what became of the decisions about a sandbox, at most `limit`, the oldest first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn settled_of(&self, sandbox: &str, limit: u32) -> Result<Vec<SettledFacts>> {
        self.told(
            "list decisions",
            "SELECT id, status, bytes_up, bytes_down, duration_ms FROM decision \
             WHERE sandbox_id = ?1 AND duration_ms IS NOT NULL ORDER BY id LIMIT ?2",
            params![sandbox, limit],
            |row| {
                Ok(SettledFacts {
                    seq: number(row, 0)?,
                    status: maybe(row, 1, number)?,
                    bytes_up: number(row, 2)?,
                    bytes_down: number(row, 3)?,
                    duration_ms: number(row, 4)?,
                })
            },
        )
    }

    /// Of the gateway's database: the orders of a sandbox with their fills, at most `limit`, the oldest first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn orders_of(&self, sandbox: &str, limit: u32) -> Result<Vec<OrderFacts>> {
        const WHAT: &str = "list orders";
        let mut orders = self.told(
            WHAT,
            "SELECT decision, number, state, closed_because FROM trade_order WHERE sandbox_id = ?1 ORDER BY number LIMIT ?2",
            params![sandbox, limit],
            |row| {
                Ok(OrderFacts {
                    seq: number(row, 0)?,
                    number: number(row, 1)?,
                    state: text(row, 2)?,
                    closed_because: maybe(row, 3, text)?,
                    fills: Vec::new(),
                })
            },
        )?;
        let fills = self.told(
            WHAT,
            "SELECT number, side, symbol, qty, price FROM trade_fill \
             WHERE number IN (SELECT number FROM trade_order WHERE sandbox_id = ?1) ORDER BY number, at_ms LIMIT ?2",
            params![sandbox, limit.saturating_mul(4)],
            |row| {
                let fill = FillFacts {
                    side: text(row, 1)?,
                    symbol: text(row, 2)?,
                    qty: Qty::from_units(row.get(3)?).to_string(),
                    price: Price::from_units(row.get(4)?).to_string(),
                };
                Ok((number(row, 0)?, fill))
            },
        )?;
        for (of, fill) in fills {
            if let Ok(at) = orders.binary_search_by_key(&of, |order| order.number) {
                orders[at].fills.push(fill);
            }
        }
        Ok(orders)
    }

    /// Of the gateway's database: what a sandbox did in all, what is listed nowhere any more included.
    ///
    /// # Errors
    /// The database refuses.
    pub fn traffic_of(&self, sandbox: &str) -> Result<TrafficFacts> {
        let found = self.told(
            "read what a sandbox did in all",
            "SELECT requests, refused, bytes_up, bytes_down FROM total WHERE sandbox_id = ?1",
            params![sandbox],
            |row| {
                Ok(TrafficFacts {
                    requests: number(row, 0)?,
                    refused: number(row, 1)?,
                    bytes_up: number(row, 2)?,
                    bytes_down: number(row, 3)?,
                })
            },
        )?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Of the engine's database: what a sandbox cost so far.
    ///
    /// # Errors
    /// The database refuses.
    pub fn cost_of(&self, sandbox: &str) -> Result<CostFacts> {
        const WHAT: &str = "read what a sandbox cost";
        let mut cost = CostFacts::default();
        let charged = self.told(
            WHAT,
            "SELECT substr(key, 1, instr(key, ':') - 1), sum(amount_mc) FROM credit_transaction \
             JOIN credit_posting ON id = transaction_id WHERE sandbox_id = ?1 AND account = 'revenue' GROUP BY 1",
            params![sandbox],
            |row| Ok((text(row, 0)?, row.get::<_, i64>(1)?)),
        )?;
        for (kind, amount) in charged {
            cost.credits.0 = cost.credits.0.saturating_add(amount);
            match kind.as_str() {
                "create" => cost.create.0 = amount,
                "minute" => cost.running.0 = amount,
                "storage" => cost.storage.0 = amount,
                "refund" => cost.refunds.0 = amount,
                _ => {}
            }
        }
        let ran = self.told(
            WHAT,
            "SELECT sum(coalesce(closed_at_ms, seen_at_ms) - opened_at_ms) FROM meter WHERE sandbox_id = ?1",
            params![sandbox],
            |row| number(row, 0),
        )?;
        cost.running_ms = ran.into_iter().next().unwrap_or_default();
        Ok(cost)
    }

    fn told<T>(
        &self,
        what: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.conn().prepare_cached(sql).map_err(doing(what))?;
        let rows = statement.query_map(params, read).map_err(doing(what))?;
        rows.collect::<rusqlite::Result<_>>().map_err(doing(what))
    }
}

/// A text, whatever is there: the file may have been written by somebody else.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Null => String::new(),
    })
}

fn maybe<T>(
    row: &Row<'_>,
    column: usize,
    read: impl Fn(&Row<'_>, usize) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => read(row, column).map(Some),
    }
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => u64::try_from(number).unwrap_or(0),
        _ => 0,
    })
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<AuditHash> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) => bytes.try_into().map_or(AuditHash::ZERO, AuditHash),
        _ => AuditHash::ZERO,
    })
}

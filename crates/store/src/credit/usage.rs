//! What was used: by sandbox, project or day. Everything is summed from rows that are written anyway (the ledger, executions,
//! meters), and from what the gate has counted.

use ringfence_model::{
    Project, SandboxId,
    credit::{DAY_MS, MilliCredits},
};
use rusqlite::{Row, named_params, params};

use crate::error::{Result, StoreError, doing};
use crate::tx::{Tx, View};

const READ: &str = "read usage";

/// By what usage is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// Each sandbox; trials are in no row.
    Sandbox,
    /// Each project.
    Project,
    /// Each day of UTC.
    Day,
    /// Everything in one row.
    Nothing,
}

/// What usage is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageFilter {
    /// Only of this project.
    pub project: Option<Project>,
    /// Only of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// The first day, counted from 1970.
    pub since_day: u64,
    /// At most so many rows, the dearest or newest first.
    pub limit: u32,
}

/// What a row of usage stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageOf {
    /// A sandbox, with its name and project.
    Sandbox(SandboxId, String, Project),
    /// A project.
    Project(Project),
    /// A day, counted from 1970.
    Day(u64),
    /// Everything.
    Everything,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Of what.
    pub of: UsageOf,
    /// Credits, refunds taken off.
    pub credits: MilliCredits,
    /// For how long meters were open, in milliseconds.
    pub running_ms: u64,
    /// Memory limits times that, in MiB and milliseconds.
    pub memory_mib_ms: u64,
    /// Executions that began.
    pub executions: u64,
    /// Processor time of those that have ended, in microseconds.
    pub cpu_us: u64,
    /// What the gate let through.
    pub requests: u64,
    /// What it refused.
    pub refused: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

impl View<'_> {
    /// What all projects have spent since the beginning, refunds taken off.
    ///
    /// # Errors
    /// The database refuses.
    pub fn credits_spent(&self) -> Result<MilliCredits> {
        let sql = "SELECT coalesce(sum(amount_mc), 0) FROM credit_posting WHERE account = 'revenue'";
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map(MilliCredits)
            .map_err(doing(READ))
    }

    /// What was used from the beginning of a day until `now_ms`.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn usage(&self, by: UsageBy, filter: &UsageFilter, now_ms: u64) -> Result<Vec<Usage>> {
        let key = match by {
            UsageBy::Sandbox => "part.sandbox_id",
            UsageBy::Project => "s.project",
            UsageBy::Day => "part.day",
            UsageBy::Nothing => "1",
        };
        let order = if by == UsageBy::Day { "day DESC" } else { "credits DESC, day DESC, key" };
        // Sums over nothing are a row of nulls, which is left out by the last condition.
        let sql = format!(
            "WITH RECURSIVE days (day) AS (SELECT :since UNION ALL SELECT day + 1 FROM days WHERE day < :now / {DAY_MS}), \
             part (sandbox_id, day, credits, running, executions, cpu, requests, refused, up, down) AS ( \
               SELECT sandbox_id, at_ms / {DAY_MS}, amount_mc, 0, 0, 0, 0, 0, 0, 0 \
                 FROM credit_transaction JOIN credit_posting ON id = transaction_id \
                 WHERE at_ms >= :since * {DAY_MS} AND account = 'revenue' \
               UNION ALL SELECT sandbox_id, day, 0, \
                   min(coalesce(closed_at_ms, max(:now, seen_at_ms)), (day + 1) * {DAY_MS}) - max(opened_at_ms, day * {DAY_MS}), \
                   0, 0, 0, 0, 0, 0 \
                 FROM meter JOIN days ON day BETWEEN opened_at_ms / {DAY_MS} \
                   AND coalesce(closed_at_ms, max(:now, seen_at_ms)) / {DAY_MS} \
                 WHERE closed_at_ms IS NULL OR closed_at_ms >= :since * {DAY_MS} \
               UNION ALL SELECT sandbox_id, started_at_ms / {DAY_MS}, 0, 0, 1, coalesce(cpu_time_us, 0), 0, 0, 0, 0 \
                 FROM execution WHERE started_at_ms >= :since * {DAY_MS} \
               UNION ALL SELECT sandbox_id, day, 0, 0, 0, 0, requests, refused, bytes_up, bytes_down \
                 FROM traffic WHERE day >= :since) \
             SELECT {key} AS key, max(part.day) AS day, max(s.name), max(s.project), sum(credits) AS credits, sum(running), \
               sum(running * json_extract(s.limits, '$.memory_mib')), sum(executions), sum(cpu), sum(requests), sum(refused), \
               sum(up), sum(down) \
             FROM part JOIN sandbox s ON s.id = part.sandbox_id \
             WHERE (:project IS NULL OR s.project = :project) AND (:sandbox IS NULL OR s.id = :sandbox) \
               AND (NOT :of_sandboxes OR s.is_trial = 0) \
             GROUP BY 1 HAVING count(*) > 0 ORDER BY {order} LIMIT :limit"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(READ))?;
        let mut rows = statement
            .query(named_params! {
                ":since": filter.since_day, ":now": now_ms, ":limit": filter.limit, ":of_sandboxes": by == UsageBy::Sandbox,
                ":project": filter.project.as_ref().map(Project::as_str),
                ":sandbox": filter.sandbox.as_ref().map(SandboxId::as_str),
            })
            .map_err(doing(READ))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(doing(READ))? {
            found.push(read(row, by)?);
        }
        Ok(found)
    }
}

fn read(row: &Row<'_>, by: UsageBy) -> Result<Usage> {
    let unreadable = |column| StoreError::Unreadable { column, row: "usage".into() };
    let text = |index: usize| row.get::<_, String>(index).map_err(doing(READ));
    // Sums of what is never negative.
    let sum = |index: usize| row.get::<_, i64>(index).map(|sum| u64::try_from(sum).unwrap_or(0)).map_err(doing(READ));
    let project = |index: usize| Project::parse(&text(index)?).map_err(|_| unreadable("project"));
    let of = match by {
        UsageBy::Sandbox => {
            let id = SandboxId::parse(&text(0)?).map_err(|_| unreadable("sandbox_id"))?;
            UsageOf::Sandbox(id, text(2)?, project(3)?)
        }
        UsageBy::Project => UsageOf::Project(project(0)?),
        UsageBy::Day => UsageOf::Day(sum(0)?),
        UsageBy::Nothing => UsageOf::Everything,
    };
    Ok(Usage {
        of,
        credits: MilliCredits(row.get(4).map_err(doing(READ))?),
        running_ms: sum(5)?,
        memory_mib_ms: sum(6)?,
        executions: sum(7)?,
        cpu_us: sum(8)?,
        requests: sum(9)?,
        refused: sum(10)?,
        bytes_up: sum(11)?,
        bytes_down: sum(12)?,
    })
}

/// What the gate has counted for a sandbox in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficTotals {
    /// What it let through.
    pub requests: u64,
    /// What it refused.
    pub refused: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

impl Tx<'_> {
    /// Notes what has passed the gate for a sandbox until `now_ms`: what was not noted before is of this day. A gate that has
    /// forgotten, and counts from nothing, takes nothing away.
    ///
    /// # Errors
    /// The database refuses.
    pub fn note_traffic(&self, sandbox: &SandboxId, totals: TrafficTotals, now_ms: u64) -> Result<()> {
        const WHAT: &str = "note traffic";
        let sql = "INSERT INTO traffic (sandbox_id, day, requests, refused, bytes_up, bytes_down) \
                   SELECT ?1, ?2, max(0, ?3 - coalesce(sum(requests), 0)), max(0, ?4 - coalesce(sum(refused), 0)), \
                     max(0, ?5 - coalesce(sum(bytes_up), 0)), max(0, ?6 - coalesce(sum(bytes_down), 0)) \
                   FROM traffic WHERE sandbox_id = ?1 \
                   ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, refused = refused + excluded.refused, \
                     bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down";
        let TrafficTotals { requests, refused, bytes_up, bytes_down } = totals;
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.execute(params![sandbox.as_str(), now_ms / DAY_MS, requests, refused, bytes_up, bytes_down])
            })
            .map(drop)
            .map_err(doing(WHAT))
    }
}

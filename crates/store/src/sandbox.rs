//! Sandboxes as rows, and the edges between their states.

use std::fmt;

use ringfence_model::{JobId, LayerDigest, Limits, Project, SandboxId, credit::MilliCredits};
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError, doing};
use crate::store::Store;
use crate::tx::{Tx, View};

/// The state of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxStatus {
    /// Being made; not usable yet.
    Creating,
    /// Usable.
    Running,
    /// Frozen; its processes stand still.
    Paused,
    /// Files kept, no process.
    Stopped,
    /// Its lifetime ended.
    Expired,
    /// It could not be made or brought back.
    Failed,
    /// Gone, files too.
    Deleted,
}

impl SandboxStatus {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Creating, Self::Running, Self::Paused, Self::Stopped, Self::Expired, Self::Failed, Self::Deleted];

    /// The state as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a sandbox may go from `from` to `to`. This is the whole state machine.
    #[must_use]
    pub fn edge(from: Self, to: Self) -> bool {
        use SandboxStatus::{Creating, Deleted, Expired, Failed, Paused, Running, Stopped};
        match (from, to) {
            // Making it succeeds, fails, or is given up.
            (Creating, Running | Failed | Deleted) => true,
            (Running, Paused | Stopped) | (Paused, Running | Stopped) | (Stopped, Running) => true,
            // A lifetime, a fault or a delete ends any living sandbox.
            (Running | Paused | Stopped, Expired | Failed | Deleted) => true,
            // What has ended can only be cleared away: a failed one too when its lifetime is over.
            (Expired | Failed, Deleted) | (Failed, Expired) => true,
            _ => false,
        }
    }

    /// Whether the sandbox still has, or will have, something that can be used or resumed.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Creating | Self::Running | Self::Paused | Self::Stopped)
    }
}

impl fmt::Display for SandboxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A sandbox. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the API; what is not obvious has a sentence")]
pub struct SandboxRow {
    pub id: SandboxId,
    /// Not unique.
    pub name: String,
    /// Name of the template.
    pub template: String,
    /// Its read-only layers, lowest first.
    pub layers: Vec<LayerDigest>,
    pub status: SandboxStatus,
    /// Number of its writable disk, while it has one.
    pub disk: Option<u64>,
    pub limits: Limits,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub created_at_ms: u64,
    pub started_at_ms: Option<u64>,
    pub expires_at_ms: Option<u64>,
    pub stopped_at_ms: Option<u64>,
    pub deleted_at_ms: Option<u64>,
    /// Lifetime asked for, in seconds.
    pub lifetime_s: u64,
    /// Version of its environment; 0 before the first value. Written by `set_environment` alone.
    pub env_version: u64,
    pub swarm_id: Option<String>,
    pub agent_id: Option<String>,
    /// Why it failed, in a sentence fit for the client.
    pub failure: Option<String>,
    /// Whose it is.
    pub project: Project,
}

/// What changes together with a sandbox's state. `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in SandboxRow")]
pub struct SandboxChange {
    pub started_at_ms: Option<u64>,
    pub expires_at_ms: Option<u64>,
    pub stopped_at_ms: Option<u64>,
    pub deleted_at_ms: Option<u64>,
    pub failure: Option<String>,
    /// `Some(None)` takes the disk away.
    pub disk: Option<Option<u64>>,
    /// Nobody watched it end: its meter is closed at the time at which it was seen last.
    pub ended_unseen: bool,
    /// What of it is given back, when it could not be made or started.
    pub refund: Refund,
}

/// What is given back to whoever has paid for a sandbox that could not be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refund {
    /// Nothing.
    #[default]
    Nothing,
    /// What the meter has cost that closes now: a start that failed.
    Meter,
    /// All that it has paid: it could not be made.
    Everything,
}

/// Which sandboxes to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxFilter {
    /// Only in this state.
    pub status: Option<SandboxStatus>,
    /// Only of this template.
    pub template: Option<String>,
    /// Only of this name, in any state.
    pub name: Option<String>,
    /// Only of this project.
    pub project: Option<Project>,
    /// At most so many.
    pub limit: Option<u32>,
}

const COLUMNS: &str = "id, name, template, layers, status, disk, limits, metadata, created_at_ms, started_at_ms, \
     expires_at_ms, stopped_at_ms, deleted_at_ms, lifetime_s, env_version, swarm_id, agent_id, failure, project";

impl View<'_> {
    /// The sandbox of this id.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn sandbox(&self, id: &SandboxId) -> Result<Option<SandboxRow>> {
        const WHAT: &str = "read a sandbox";
        let sql = format!("SELECT {COLUMNS} FROM sandbox WHERE id = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let raw = statement.query_row(params![id.as_str()], RawSandbox::read).optional().map_err(doing(WHAT))?;
        raw.map(RawSandbox::check).transpose()
    }

    /// All live sandboxes of this name, newest first. More than one means that the name is ambiguous.
    ///
    /// # Errors
    /// As [`View::sandbox`].
    pub fn live_sandboxes_named(&self, name: &str) -> Result<Vec<SandboxRow>> {
        let mut rows = self.sandboxes(&SandboxFilter { name: Some(name.to_owned()), ..SandboxFilter::default() })?;
        rows.retain(|row| row.status.is_live());
        Ok(rows)
    }

    /// The sandboxes that the filter lets through, newest first. Trials are in no list.
    ///
    /// # Errors
    /// As [`View::sandbox`].
    pub fn sandboxes(&self, filter: &SandboxFilter) -> Result<Vec<SandboxRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sandbox WHERE is_trial = 0 AND (:status IS NULL OR status = :status) \
             AND (:template IS NULL OR template = :template) AND (:name IS NULL OR name = :name) \
             AND (:project IS NULL OR project = :project) ORDER BY created_at_ms DESC, rowid DESC LIMIT :limit"
        );
        let limit = filter.limit.map_or(-1, i64::from);
        self.sandbox_rows(
            &sql,
            named_params! {":status": filter.status.map(SandboxStatus::as_str), ":template": filter.template,
            ":name": filter.name, ":project": filter.project.as_ref().map(Project::as_str), ":limit": limit},
        )
    }

    /// All sandboxes in any of these states, oldest first.
    ///
    /// # Errors
    /// As [`View::sandbox`].
    pub fn sandboxes_in(&self, states: &[SandboxStatus]) -> Result<Vec<SandboxRow>> {
        let names: Vec<&str> = states.iter().map(|status| status.as_str()).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM sandbox WHERE status IN (SELECT value FROM json_each(:states)) AND is_trial = 0 \
             ORDER BY created_at_ms, rowid"
        );
        self.sandbox_rows(&sql, named_params! {":states": serde_json::json!(names).to_string()})
    }

    /// The live sandboxes whose lifetime ended at or before `now_ms`, the one overdue longest first.
    ///
    /// # Errors
    /// As [`View::sandbox`].
    pub fn sandboxes_expired(&self, now_ms: u64) -> Result<Vec<SandboxRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sandbox WHERE expires_at_ms <= :now AND is_trial = 0 \
             AND status IN ('creating', 'running', 'paused', 'stopped') ORDER BY expires_at_ms, rowid"
        );
        self.sandbox_rows(&sql, named_params! {":now": now_ms})
    }

    /// The sandboxes of a swarm that was made at `since_ms`, oldest first, ended ones too.
    ///
    /// # Errors
    /// As [`View::sandbox`].
    pub fn sandboxes_of_swarm(&self, swarm: &JobId, since_ms: u64) -> Result<Vec<SandboxRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sandbox WHERE created_at_ms >= :since AND swarm_id = :swarm ORDER BY created_at_ms, rowid"
        );
        self.sandbox_rows(&sql, named_params! {":since": since_ms, ":swarm": swarm.as_str()})
    }

    fn sandbox_rows(&self, sql: &str, params: &[(&str, &dyn rusqlite::ToSql)]) -> Result<Vec<SandboxRow>> {
        const WHAT: &str = "list sandboxes";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params, RawSandbox::read).map_err(doing(WHAT))?;
        rows.map(|raw| raw.map_err(doing(WHAT)).and_then(RawSandbox::check)).collect()
    }
}

impl Tx<'_> {
    /// Adds a sandbox. Its `env_version` must be 0.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::InsufficientCredits`], or the database refuses.
    pub fn insert_sandbox(&self, row: &SandboxRow) -> Result<()> {
        const WHAT: &str = "add a sandbox";
        if self.sandbox(&row.id)?.is_some() {
            return Err(StoreError::Exists { kind: "sandbox", id: row.id.to_string() });
        }
        assert_eq!(row.env_version, 0, "the environment is written by set_environment alone");
        let sql = format!(
            "INSERT INTO sandbox ({COLUMNS}) VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        statement
            .execute(params![
                row.id.as_str(),
                row.name,
                row.template,
                json(&row.layers),
                row.status.as_str(),
                row.disk,
                json(&row.limits),
                json(&row.metadata),
                row.created_at_ms,
                row.started_at_ms,
                row.expires_at_ms,
                row.stopped_at_ms,
                row.deleted_at_ms,
                row.lifetime_s,
                row.env_version,
                row.swarm_id,
                row.agent_id,
                row.failure,
                row.project.as_str(),
            ])
            .map_err(doing(WHAT))?;
        match row.status {
            SandboxStatus::Running | SandboxStatus::Paused => {
                let at_ms = row.started_at_ms.unwrap_or(row.created_at_ms);
                self.pay_creation(&row.id, at_ms, self.minute_price()?)?;
                self.open_meter(&row.id, at_ms)?;
            }
            SandboxStatus::Stopped => self.pay_creation(&row.id, row.created_at_ms, MilliCredits(0))?,
            _ => {}
        }
        Ok(())
    }

    /// Moves a sandbox to another state, if there is such an edge. Returns the state before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NoSuchEdge`], [`StoreError::InsufficientCredits`], or the database refuses.
    pub fn move_sandbox(&self, id: &SandboxId, to: SandboxStatus, change: &SandboxChange) -> Result<SandboxStatus> {
        const WHAT: &str = "move a sandbox to another state";
        let row = self.sandbox(id)?.ok_or_else(|| not_found(id))?;
        let from = row.status;
        if !SandboxStatus::edge(from, to) {
            return Err(StoreError::NoSuchEdge { id: id.to_string(), from, to });
        }
        let mut statement = self
            .conn
            .prepare_cached(
                "UPDATE sandbox SET status = :to, started_at_ms = coalesce(:started, started_at_ms), \
                 expires_at_ms = coalesce(:expires, expires_at_ms), stopped_at_ms = coalesce(:stopped, stopped_at_ms), \
                 deleted_at_ms = coalesce(:deleted, deleted_at_ms), failure = coalesce(:failure, failure), \
                 disk = CASE WHEN :set_disk THEN :disk ELSE disk END WHERE id = :id",
            )
            .map_err(doing(WHAT))?;
        statement
            .execute(named_params! {":to": to.as_str(), ":started": change.started_at_ms,
            ":expires": change.expires_at_ms, ":stopped": change.stopped_at_ms, ":deleted": change.deleted_at_ms,
            ":failure": change.failure, ":set_disk": change.disk.is_some(), ":disk": change.disk.flatten(),
            ":id": id.as_str()})
            .map_err(doing(WHAT))?;
        use SandboxStatus::{Creating, Paused, Running, Stopped};
        match (from, to) {
            (Creating | Stopped, Running) => {
                let at_ms = change.started_at_ms.or(row.stopped_at_ms).unwrap_or(row.created_at_ms);
                if from == Creating {
                    self.pay_creation(id, at_ms, self.minute_price()?)?;
                }
                self.open_meter(id, at_ms)?;
            }
            (Running, Paused) | (Paused, Running) => {}
            _ => {
                let at_ms = change.stopped_at_ms.or(change.deleted_at_ms);
                let closed = self.close_meter(id, at_ms.filter(|_| !change.ended_unseen))?;
                let refunded_at = at_ms.unwrap_or(row.created_at_ms);
                match (change.refund, closed) {
                    (Refund::Nothing, _) | (Refund::Meter, None) => {}
                    (Refund::Meter, Some(number)) => self.refund_meter(id, number, refunded_at)?,
                    (Refund::Everything, _) => self.refund(id, refunded_at)?,
                }
            }
        }
        Ok(from)
    }

    /// Sets the lifetime of a sandbox anew.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database refuses.
    pub fn set_sandbox_lifetime(&self, id: &SandboxId, lifetime_s: u64, expires_at_ms: u64) -> Result<()> {
        let sql = "UPDATE sandbox SET lifetime_s = ?2, expires_at_ms = ?3 WHERE id = ?1";
        let changed = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![id.as_str(), lifetime_s, expires_at_ms]))
            .map_err(doing("set a sandbox's lifetime"))?;
        if changed == 0 { Err(not_found(id)) } else { Ok(()) }
    }

    /// Gives a sandbox a disk, or takes it away, without a change of state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database refuses.
    pub fn set_sandbox_disk(&self, id: &SandboxId, disk: Option<u64>) -> Result<()> {
        let changed = self
            .conn
            .prepare_cached("UPDATE sandbox SET disk = ?2 WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![id.as_str(), disk]))
            .map_err(doing("set a sandbox's disk"))?;
        if changed == 0 { Err(not_found(id)) } else { Ok(()) }
    }
}

impl Store {
    /// [`View::sandbox`].
    ///
    /// # Errors
    /// As there.
    pub async fn sandbox(&self, id: &SandboxId) -> Result<Option<SandboxRow>> {
        let id = id.clone();
        self.read(move |view| view.sandbox(&id)).await
    }

    /// [`View::live_sandboxes_named`].
    ///
    /// # Errors
    /// As there.
    pub async fn live_sandboxes_named(&self, name: &str) -> Result<Vec<SandboxRow>> {
        let name = name.to_owned();
        self.read(move |view| view.live_sandboxes_named(&name)).await
    }

    /// [`View::sandboxes`].
    ///
    /// # Errors
    /// As there.
    pub async fn sandboxes(&self, filter: SandboxFilter) -> Result<Vec<SandboxRow>> {
        self.read(move |view| view.sandboxes(&filter)).await
    }

    /// [`View::sandboxes_in`].
    ///
    /// # Errors
    /// As there.
    pub async fn sandboxes_in(&self, states: &[SandboxStatus]) -> Result<Vec<SandboxRow>> {
        let states = states.to_vec();
        self.read(move |view| view.sandboxes_in(&states)).await
    }

    /// [`View::sandboxes_expired`].
    ///
    /// # Errors
    /// As there.
    pub async fn sandboxes_expired(&self, now_ms: u64) -> Result<Vec<SandboxRow>> {
        self.read(move |view| view.sandboxes_expired(now_ms)).await
    }
}

pub(crate) fn not_found(id: &SandboxId) -> StoreError {
    StoreError::NotFound { kind: "sandbox", id: id.to_string() }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("ids, limits and JSON objects are always JSON")
}

/// A row as SQLite has it: texts that [`RawSandbox::check`] has still to read.
struct RawSandbox {
    id: String,
    layers: String,
    status: String,
    limits: String,
    metadata: String,
    rest: Rest,
}

struct Rest {
    name: String,
    template: String,
    disk: Option<u64>,
    created_at_ms: u64,
    times: [Option<u64>; 4],
    lifetime_s: u64,
    env_version: u64,
    swarm_id: Option<String>,
    agent_id: Option<String>,
    failure: Option<String>,
    project: String,
}

impl RawSandbox {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            layers: row.get(3)?,
            status: row.get(4)?,
            limits: row.get(6)?,
            metadata: row.get(7)?,
            rest: Rest {
                name: row.get(1)?,
                template: row.get(2)?,
                disk: row.get(5)?,
                created_at_ms: row.get(8)?,
                times: [row.get(9)?, row.get(10)?, row.get(11)?, row.get(12)?],
                lifetime_s: row.get(13)?,
                env_version: row.get(14)?,
                swarm_id: row.get(15)?,
                agent_id: row.get(16)?,
                failure: row.get(17)?,
                project: row.get(18)?,
            },
        })
    }

    fn check(self) -> Result<SandboxRow> {
        let unreadable =
            |column| StoreError::Unreadable { column, row: format!("sandbox {}", self.id.escape_default()) };
        let Rest {
            name,
            template,
            disk,
            created_at_ms,
            times,
            lifetime_s,
            env_version,
            swarm_id,
            agent_id,
            failure,
            project,
        } = self.rest;
        let [started_at_ms, expires_at_ms, stopped_at_ms, deleted_at_ms] = times;
        Ok(SandboxRow {
            id: SandboxId::parse(&self.id).map_err(|_| unreadable("id"))?,
            name,
            template,
            layers: serde_json::from_str(&self.layers).map_err(|_| unreadable("layers"))?,
            status: SandboxStatus::parse(&self.status).ok_or_else(|| unreadable("status"))?,
            disk,
            limits: serde_json::from_str(&self.limits).map_err(|_| unreadable("limits"))?,
            metadata: serde_json::from_str(&self.metadata).map_err(|_| unreadable("metadata"))?,
            created_at_ms,
            started_at_ms,
            expires_at_ms,
            stopped_at_ms,
            deleted_at_ms,
            lifetime_s,
            env_version,
            swarm_id,
            agent_id,
            failure,
            project: Project::parse(&project).map_err(|_| unreadable("project"))?,
        })
    }
}

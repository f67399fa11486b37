//! Policies: what the gate enforces for each sandbox, kept for its restart.

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, Row, params};

use super::{GateStore, GateTx, GateView, check_json};
use crate::error::{Result, StoreError, doing};

/// Bytes that a policy may have.
const POLICY_BYTES_MAX: usize = 256 << 10;

/// The policy of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Of which sandbox.
    pub sandbox: SandboxId,
    /// The policy, as JSON that the gate understands.
    pub policy: String,
    /// 1, and one more with each change.
    pub version: u64,
    /// When it was set, in milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
}

impl GateView<'_> {
    /// The policy of a sandbox.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn policy(&self, sandbox: &SandboxId) -> Result<Option<PolicyRow>> {
        self.conn
            .prepare_cached("SELECT sandbox_id, policy, version, updated_at_ms FROM policy WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], read).optional())
            .map_err(doing("read a policy"))?
            .transpose()
    }

    /// The policies of all sandboxes, in the order of their ids.
    ///
    /// # Errors
    /// As [`GateView::policy`].
    pub fn policies(&self) -> Result<Vec<PolicyRow>> {
        self.conn
            .prepare_cached("SELECT sandbox_id, policy, version, updated_at_ms FROM policy ORDER BY sandbox_id")
            .and_then(|mut statement| statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>())
            .map_err(doing("list policies"))?
            .into_iter()
            .collect()
    }
}

impl GateTx<'_> {
    /// Sets the policy of a sandbox and returns its new version.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it is not JSON or has more than 256 KiB; or the database refuses.
    pub fn set_policy(&self, at_ms: u64, sandbox: &SandboxId, policy: &str) -> Result<u64> {
        check_json("policy", policy, POLICY_BYTES_MAX)?;
        self.conn
            .prepare_cached(
                "INSERT INTO policy (sandbox_id, policy, version, updated_at_ms) VALUES (?1, ?2, 1, ?3) \
                 ON CONFLICT (sandbox_id) DO UPDATE SET policy = ?2, version = version + 1, updated_at_ms = ?3 \
                 RETURNING version",
            )
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str(), policy, at_ms], |row| row.get(0)))
            .map_err(doing("set a policy"))
    }

    pub(super) fn remove_policy(&self, sandbox: &SandboxId) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM policy WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str()]))
            .map(drop)
            .map_err(doing("remove a policy"))
    }
}

impl GateStore {
    /// [`GateView::policies`].
    ///
    /// # Errors
    /// As there.
    pub async fn policies(&self) -> Result<Vec<PolicyRow>> {
        self.read(|view| view.policies()).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<PolicyRow>> {
    let (sandbox, policy, version, updated_at_ms): (String, _, _, _) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(SandboxId::parse(&sandbox).map(|sandbox| PolicyRow { sandbox, policy, version, updated_at_ms }).map_err(|_| {
        StoreError::Unreadable { column: "sandbox_id", row: format!("policy of `{}`", sandbox.escape_debug()) }
    }))
}

//! Trials: sandboxes that one program runs in and that are gone when it has ended. They are rows of sandboxes, for executions and
//! audit entries name them, but in no list.

use ringfence_model::{Limits, Project, SandboxId};
use rusqlite::params;

use crate::error::{Result, StoreError, doing};
use crate::tx::Tx;

/// A trial that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRow {
    /// Its id.
    pub id: SandboxId,
    /// Whose it is.
    pub project: Project,
    /// What it is for.
    pub purpose: String,
    /// Name of the template.
    pub template: String,
    /// What it may use.
    pub limits: Limits,
    /// When it begins, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

impl Tx<'_> {
    /// Adds a trial that runs from now on. Its files are in memory, so that it has no disk.
    ///
    /// # Errors
    /// [`StoreError::Exists`], or the database refuses.
    pub fn insert_trial(&self, row: &TrialRow) -> Result<()> {
        const WHAT: &str = "add a trial";
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO sandbox (id, name, template, layers, status, limits, metadata, created_at_ms, started_at_ms, \
                 lifetime_s, is_trial, project) VALUES (?1, ?2, ?3, '[]', 'running', ?4, '{}', ?5, ?5, 0, 1, ?6) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| {
                let limits = serde_json::json!(row.limits).to_string();
                let project = row.project.as_str();
                statement.execute(params![row.id.as_str(), row.purpose, row.template, limits, row.started_at_ms, project])
            })
            .map_err(doing(WHAT))?;
        if added == 0 { Err(StoreError::Exists { kind: "sandbox", id: row.id.to_string() }) } else { Ok(()) }
    }

    /// A trial is gone. One that has ended already stays as it is.
    ///
    /// # Errors
    /// The database refuses.
    pub fn end_trial(&self, id: &SandboxId, now_ms: u64) -> Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE sandbox SET status = 'deleted', stopped_at_ms = ?2, deleted_at_ms = ?2 \
                 WHERE id = ?1 AND is_trial = 1 AND status = 'running'",
            )
            .and_then(|mut statement| statement.execute(params![id.as_str(), now_ms]))
            .map(drop)
            .map_err(doing("end a trial"))
    }

    /// Ends every trial that an earlier run of the daemon began and did not end. How many they were.
    ///
    /// # Errors
    /// The database refuses.
    pub fn end_trials(&self, now_ms: u64) -> Result<usize> {
        self.conn
            .prepare_cached(
                "UPDATE sandbox SET status = 'deleted', stopped_at_ms = ?1, deleted_at_ms = ?1 \
                 WHERE status = 'running' AND is_trial = 1",
            )
            .and_then(|mut statement| statement.execute(params![now_ms]))
            .map_err(doing("end the trials that are left"))
    }
}

//! Jobs: work that takes longer than a request and survives a restart (sweeps, pipelines, swarms, tasks), and its parts. What
//! they hold is JSON of whoever runs them.

mod seal;

use std::collections::BTreeSet;

use ringfence_model::{JobId, Project};
use rusqlite::{Row, named_params, params};
use serde_json::Value;

use crate::audit::Actor;
use crate::error::{Result, StoreError, doing};
use crate::tx::{Tx, View};

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// What it is: `sweep`, `pipeline`, `swarm`, `task`.
    pub kind: String,
    /// A name of its owner's, if it has one.
    pub name: Option<String>,
    /// Who asked for it.
    pub actor: Actor,
    /// Whose it is.
    pub project: Project,
    /// How far it is, a word of whoever runs it.
    pub status: String,
    /// What was asked for. Never changed.
    pub request: Value,
    /// What is known of it beside its parts.
    pub state: Value,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was changed last.
    pub changed_at_ms: u64,
    /// When it ended; `None` while it goes on, which is what a restart looks for.
    pub ended_at_ms: Option<u64>,
}

/// A part of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPartRow {
    /// Its number within the job.
    pub number: u64,
    /// How far it is, a word of whoever runs it.
    pub status: String,
    /// What is known of it.
    pub body: Value,
    /// When it was changed last, in milliseconds since the Unix epoch.
    pub changed_at_ms: u64,
}

const COLUMNS: &str =
    "id, kind, name, actor, project, status, request, state, created_at_ms, changed_at_ms, ended_at_ms";
const WHAT: &str = "read jobs";

impl View<'_> {
    /// The job of that id.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn job(&self, id: &JobId) -> Result<Option<JobRow>> {
        let sql = format!("SELECT {COLUMNS} FROM job WHERE id = :id");
        Ok(self.job_rows(&sql, named_params! {":id": id.as_str()})?.pop())
    }

    /// Jobs of a kind, the newest first; those of one project, or all.
    ///
    /// # Errors
    /// As [`View::job`].
    pub fn jobs(&self, kind: &str, of: Option<&Project>, limit: u32) -> Result<Vec<JobRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM job WHERE kind = :kind AND (:project IS NULL OR project = :project) \
             ORDER BY created_at_ms DESC, rowid DESC LIMIT :limit"
        );
        self.job_rows(&sql, named_params! {":kind": kind, ":project": of.map(Project::as_str), ":limit": limit})
    }

    /// Ids of jobs of a kind, the newest first, without the first `skip` of them; those of one project, or all.
    ///
    /// # Errors
    /// As [`View::job`].
    pub fn job_ids(&self, kind: &str, of: Option<&Project>, skip: u32, limit: u32) -> Result<Vec<JobId>> {
        let sql = "SELECT id FROM job WHERE kind = ?1 AND (?4 IS NULL OR project = ?4) \
                   ORDER BY created_at_ms DESC, rowid DESC LIMIT ?2 OFFSET ?3";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement
            .query_map(params![kind, limit, skip, of.map(Project::as_str)], |row| row.get::<_, String>(0))
            .map_err(doing(WHAT))?;
        rows.map(|row| {
            let id = row.map_err(doing(WHAT))?;
            JobId::parse(&id)
                .map_err(|_| StoreError::Unreadable { column: "id", row: format!("job {}", id.escape_default()) })
        })
        .collect()
    }

    /// Jobs of a kind that have not ended, the oldest first; those of one project, or all.
    ///
    /// # Errors
    /// As [`View::job`].
    pub fn unended_jobs(&self, kind: &str, of: Option<&Project>) -> Result<Vec<JobRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM job WHERE kind = :kind AND (:project IS NULL OR project = :project) \
             AND ended_at_ms IS NULL ORDER BY created_at_ms, rowid"
        );
        self.job_rows(&sql, named_params! {":kind": kind, ":project": of.map(Project::as_str)})
    }

    /// Jobs of a kind that ended at that instant or before, the one that was begun first ahead; those of one project, or all.
    ///
    /// # Errors
    /// As [`View::job`].
    pub fn ended_jobs(&self, kind: &str, of: Option<&Project>, ended_ms: u64, limit: u32) -> Result<Vec<JobRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM job WHERE kind = :kind AND (:project IS NULL OR project = :project) \
             AND ended_at_ms <= :ended ORDER BY created_at_ms, rowid LIMIT :limit"
        );
        let ended = i64::try_from(ended_ms).unwrap_or(i64::MAX);
        let project = of.map(Project::as_str);
        self.job_rows(&sql, named_params! {":kind": kind, ":project": project, ":ended": ended, ":limit": limit})
    }

    /// Every text at a path of JSON within the parts of the jobs of a kind, each once.
    ///
    /// # Errors
    /// As [`View::job`].
    pub fn job_part_texts(&self, kind: &str, path: &str) -> Result<BTreeSet<String>> {
        let sql = "SELECT DISTINCT json_extract(job_part.body, ?2) FROM job_part JOIN job ON job.id = job_part.job \
                   WHERE job.kind = ?1 AND json_type(job_part.body, ?2) = 'text'";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params![kind, path], |row| row.get(0)).map_err(doing(WHAT))?;
        rows.map(|text| text.map_err(doing(WHAT))).collect()
    }

    /// The parts of a job from number `from` on, in order.
    ///
    /// # Errors
    /// As [`View::job`].
    pub fn job_parts(&self, id: &JobId, from: u64) -> Result<Vec<JobPartRow>> {
        let sql =
            "SELECT number, status, body, changed_at_ms FROM job_part WHERE job = ?1 AND number >= ?2 ORDER BY number";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![id.as_str(), from], |row| Ok(read_part(row))).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    fn job_rows(&self, sql: &str, params: &[(&str, &dyn rusqlite::ToSql)]) -> Result<Vec<JobRow>> {
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params, |row| Ok(read_job(row))).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }
}

impl Tx<'_> {
    /// Writes a job, in place of what was written of it before; its parts stay.
    ///
    /// # Errors
    /// The database refuses.
    pub fn put_job(&self, row: &JobRow) -> Result<()> {
        let sql = format!(
            "INSERT INTO job ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO UPDATE SET \
             name = excluded.name, status = excluded.status, state = excluded.state, \
             changed_at_ms = excluded.changed_at_ms, ended_at_ms = excluded.ended_at_ms"
        );
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.execute(params![
                    row.id.as_str(),
                    row.kind,
                    row.name,
                    row.actor.as_str(),
                    row.project.as_str(),
                    row.status,
                    row.request.to_string(),
                    row.state.to_string(),
                    row.created_at_ms,
                    row.changed_at_ms,
                    row.ended_at_ms,
                ])
            })
            .map(drop)
            .map_err(doing("write a job"))
    }

    /// Writes parts of a job, each in place of what was written of it before.
    ///
    /// # Errors
    /// The database refuses, as it does for a job that there is not.
    pub fn put_job_parts(&self, id: &JobId, rows: &[JobPartRow]) -> Result<()> {
        const WHAT: &str = "write parts of a job";
        let sql =
            "INSERT OR REPLACE INTO job_part (job, number, status, body, changed_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        for row in rows {
            statement
                .execute(params![id.as_str(), row.number, row.status, row.body.to_string(), row.changed_at_ms])
                .map_err(doing(WHAT))?;
        }
        Ok(())
    }

    /// Removes a job that has ended, and its parts. Whether there was one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn delete_ended_job(&self, id: &JobId) -> Result<bool> {
        self.conn
            .prepare_cached("DELETE FROM job WHERE id = ?1 AND ended_at_ms IS NOT NULL")
            .and_then(|mut statement| statement.execute(params![id.as_str()]))
            .map(|rows| rows > 0)
            .map_err(doing("remove a job that has ended"))
    }

    /// Removes a job and its parts. Whether there was one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn delete_job(&self, id: &JobId) -> Result<bool> {
        self.conn
            .prepare_cached("DELETE FROM job WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![id.as_str()]))
            .map(|rows| rows > 0)
            .map_err(doing("remove a job"))
    }
}

fn read_job(row: &Row<'_>) -> Result<JobRow> {
    let text = |name: &str| row.get::<_, String>(name).map_err(doing(WHAT));
    let number = |name: &str| row.get::<_, Option<u64>>(name).map_err(doing(WHAT));
    let id = text("id")?;
    let unreadable = |column| StoreError::Unreadable { column, row: format!("job {}", id.escape_default()) };
    let json = |column| serde_json::from_str::<Value>(&text(column)?).map_err(|_| unreadable(column));
    Ok(JobRow {
        id: JobId::parse(&id).map_err(|_| unreadable("id"))?,
        kind: text("kind")?,
        name: row.get("name").map_err(doing(WHAT))?,
        actor: Actor::parse(&text("actor")?).ok_or_else(|| unreadable("actor"))?,
        project: Project::parse(&text("project")?).map_err(|_| unreadable("project"))?,
        status: text("status")?,
        request: json("request")?,
        state: json("state")?,
        created_at_ms: number("created_at_ms")?.unwrap_or(0),
        changed_at_ms: number("changed_at_ms")?.unwrap_or(0),
        ended_at_ms: number("ended_at_ms")?,
    })
}

fn read_part(row: &Row<'_>) -> Result<JobPartRow> {
    let number = row.get("number").map_err(doing(WHAT))?;
    let body: String = row.get("body").map_err(doing(WHAT))?;
    Ok(JobPartRow {
        number,
        status: row.get("status").map_err(doing(WHAT))?,
        body: serde_json::from_str(&body)
            .map_err(|_| StoreError::Unreadable { column: "body", row: format!("part {number} of a job") })?,
        changed_at_ms: row.get("changed_at_ms").map_err(doing(WHAT))?,
    })
}

//! Access tokens. Of each only the SHA-256 is here: whoever reads the database cannot come in with what he finds.

use ringfence_model::{Project, Role};
use rusqlite::{OptionalExtension, Row, named_params, params};

use crate::error::{Result, StoreError, doing};
use crate::tx::{Tx, View};

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessTokenRow {
    /// Its id, which is no secret.
    pub id: String,
    /// What its owner calls it. Not unique.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Whose things there are for it; all projects' without one, which only an operator's token is.
    pub project: Option<Project>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it ends by itself.
    pub expires_at_ms: Option<u64>,
    /// When it was last used, to the minute.
    pub used_at_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
}

impl AccessTokenRow {
    /// Whether it lets anybody in at `now_ms`.
    #[must_use]
    pub fn is_valid(&self, now_ms: u64) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|end| now_ms < end)
    }
}

const COLUMNS: &str = "id, name, role, project, created_at_ms, expires_at_ms, used_at_ms, revoked_at_ms";
const WHAT: &str = "read access tokens";

impl View<'_> {
    /// The token whose secret has this SHA-256. The comparison may take longer the more leading bytes are right; that helps nobody,
    /// because nobody chooses the digest of what he offers.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn access_token(&self, sha256: &[u8; 32]) -> Result<Option<AccessTokenRow>> {
        let sql = format!("SELECT {COLUMNS} FROM access_token WHERE sha256 = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        statement
            .query_row(params![sha256.as_slice()], |row| Ok(read(row)))
            .optional()
            .map_err(doing(WHAT))?
            .transpose()
    }

    /// Every token that there ever was, oldest first.
    ///
    /// # Errors
    /// As [`View::access_token`].
    pub fn access_tokens(&self) -> Result<Vec<AccessTokenRow>> {
        let sql = format!("SELECT {COLUMNS} FROM access_token ORDER BY created_at_ms, rowid");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement.query_map([], |row| Ok(read(row))).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// Every project that has, or had, a sandbox or a token, by name, with how many sandboxes of it live.
    ///
    /// # Errors
    /// As [`View::access_token`].
    pub fn projects(&self) -> Result<Vec<(Project, u64)>> {
        const WHAT: &str = "list projects";
        let sql = "SELECT project, sum(live) FROM (SELECT project, \
                     status IN ('creating', 'running', 'paused', 'stopped') AND is_trial = 0 AS live FROM sandbox \
                   UNION ALL SELECT project, 0 FROM access_token WHERE project IS NOT NULL) GROUP BY project ORDER BY project";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).map_err(doing(WHAT))?;
        rows.map(|row| {
            let (name, live) = row.map_err(doing(WHAT))?;
            let project = Project::parse(&name)
                .map_err(|_| StoreError::Unreadable { column: "project", row: name.escape_default().to_string() })?;
            Ok((project, live))
        })
        .collect()
    }
}

impl Tx<'_> {
    /// Adds a token by the SHA-256 of its secret.
    ///
    /// # Errors
    /// The database refuses, as it does for an id or a secret that there is already.
    pub fn insert_access_token(&self, row: &AccessTokenRow, sha256: &[u8; 32]) -> Result<()> {
        let sql = format!(
            "INSERT INTO access_token (sha256, {COLUMNS}) VALUES (:sha256, :id, :name, :role, :project, :created, :expires, \
             :used, :revoked)"
        );
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.execute(named_params! {":sha256": sha256.as_slice(), ":id": row.id, ":name": row.name,
                ":role": row.role.as_str(), ":project": row.project.as_ref().map(Project::as_str),
                ":created": row.created_at_ms, ":expires": row.expires_at_ms, ":used": row.used_at_ms,
                ":revoked": row.revoked_at_ms})
            })
            .map(drop)
            .map_err(doing("add an access token"))
    }

    /// Revokes a token. Whether there was one that was not revoked.
    ///
    /// # Errors
    /// The database refuses.
    pub fn revoke_access_token(&self, id: &str, now_ms: u64) -> Result<bool> {
        self.conn
            .prepare_cached("UPDATE access_token SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL")
            .and_then(|mut statement| statement.execute(params![id, now_ms]))
            .map(|rows| rows > 0)
            .map_err(doing("revoke an access token"))
    }

    /// Notes that a token was used.
    ///
    /// # Errors
    /// The database refuses.
    pub fn touch_access_token(&self, id: &str, now_ms: u64) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE access_token SET used_at_ms = ?2 WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![id, now_ms]))
            .map(drop)
            .map_err(doing("note the use of an access token"))
    }
}

fn read(row: &Row<'_>) -> Result<AccessTokenRow> {
    let text = |name: &str| row.get::<_, String>(name).map_err(doing(WHAT));
    let number = |name: &str| row.get::<_, Option<u64>>(name).map_err(doing(WHAT));
    let id = text("id")?;
    let unreadable = |column| StoreError::Unreadable { column, row: format!("access token {}", id.escape_default()) };
    let project: Option<String> = row.get("project").map_err(doing(WHAT))?;
    Ok(AccessTokenRow {
        name: text("name")?,
        role: Role::parse(&text("role")?).ok_or_else(|| unreadable("role"))?,
        project: project.map(|name| Project::parse(&name)).transpose().map_err(|_| unreadable("project"))?,
        created_at_ms: number("created_at_ms")?.unwrap_or(0),
        expires_at_ms: number("expires_at_ms")?,
        used_at_ms: number("used_at_ms")?,
        revoked_at_ms: number("revoked_at_ms")?,
        id,
    })
}

//! Templates as rows: a recipe, and what became of it.

use ringfence_model::LayerDigest;
use rusqlite::{Row, named_params, params};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError, doing};
use crate::store::Store;
use crate::tx::{Tx, View};

/// How far a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateStatus {
    /// Being built.
    Building,
    /// Usable.
    Ready,
    /// The build failed; `error` says why.
    Failed,
}

impl TemplateStatus {
    /// The status as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Building, Self::Ready, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// One version of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateRow {
    /// Its name.
    pub name: String,
    /// Its version, which with the name is unique.
    pub version: u32,
    /// Its layers, lowest first; empty until it is ready.
    pub layers: Vec<LayerDigest>,
    /// The recipe that it is built from.
    pub recipe: serde_json::Value,
    /// `[{name, version}]`, once it is ready.
    pub packages: serde_json::Value,
    /// Size of its layers.
    pub size_bytes: u64,
    /// When the build began, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// How far it is.
    pub status: TemplateStatus,
    /// The build's log file on the host. Not for clients.
    pub build_log: Option<String>,
    /// Why the build failed, in a sentence fit for the client.
    pub error: Option<String>,
}

const COLUMNS: &str = "name, version, layers, recipe, packages, size_bytes, created_at_ms, status, build_log, error";

impl View<'_> {
    /// One version of a template.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn template_version(&self, name: &str, version: u32) -> Result<Option<TemplateRow>> {
        let sql = format!("SELECT {COLUMNS} FROM template WHERE name = :name AND version = :version");
        Ok(self.template_rows(&sql, named_params! {":name": name, ":version": version})?.pop())
    }

    /// The newest version of a template that is ready.
    ///
    /// # Errors
    /// As [`View::template_version`].
    pub fn ready_template(&self, name: &str) -> Result<Option<TemplateRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM template WHERE name = :name AND status = 'ready' ORDER BY version DESC LIMIT 1"
        );
        Ok(self.template_rows(&sql, named_params! {":name": name})?.pop())
    }

    /// All versions of all templates, by name and then newest first.
    ///
    /// # Errors
    /// As [`View::template_version`].
    pub fn templates(&self) -> Result<Vec<TemplateRow>> {
        self.template_rows(&format!("SELECT {COLUMNS} FROM template ORDER BY name, version DESC"), &[])
    }

    fn template_rows(&self, sql: &str, params: &[(&str, &dyn rusqlite::ToSql)]) -> Result<Vec<TemplateRow>> {
        const WHAT: &str = "read templates";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params, read).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }
}

impl Tx<'_> {
    /// Writes a version of a template: adds it, or replaces all of its columns while it is not ready. A ready version is
    /// immutable.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when that version is ready already, or the database refuses.
    pub fn put_template(&self, row: &TemplateRow) -> Result<()> {
        const WHAT: &str = "write a template";
        if self.template_version(&row.name, row.version)?.is_some_and(|old| old.status == TemplateStatus::Ready) {
            return Err(StoreError::Exists { kind: "template", id: format!("{}:{}", row.name, row.version) });
        }
        let sql =
            format!("INSERT OR REPLACE INTO template ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        statement
            .execute(params![
                row.name,
                row.version,
                serde_json::json!(row.layers).to_string(),
                row.recipe.to_string(),
                row.packages.to_string(),
                row.size_bytes,
                row.created_at_ms,
                row.status.as_str(),
                row.build_log,
                row.error,
            ])
            .map(drop)
            .map_err(doing(WHAT))
    }

    /// Removes a version of a template. Returns whether there was one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn delete_template(&self, name: &str, version: u32) -> Result<bool> {
        self.conn
            .prepare_cached("DELETE FROM template WHERE name = ?1 AND version = ?2")
            .and_then(|mut statement| statement.execute(params![name, version]))
            .map(|changed| changed > 0)
            .map_err(doing("delete a template"))
    }
}

impl Store {
    /// [`View::ready_template`].
    ///
    /// # Errors
    /// As there.
    pub async fn ready_template(&self, name: &str) -> Result<Option<TemplateRow>> {
        let name = name.to_owned();
        self.read(move |view| view.ready_template(&name)).await
    }

    /// [`View::templates`].
    ///
    /// # Errors
    /// As there.
    pub async fn templates(&self) -> Result<Vec<TemplateRow>> {
        self.read(|view| view.templates()).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<TemplateRow>> {
    let name: String = row.get(0)?;
    let version: u32 = row.get(1)?;
    let (layers, recipe, packages): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (size_bytes, created_at_ms, status): (u64, u64, String) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let (build_log, error) = (row.get(8)?, row.get(9)?);
    let unreadable = |column| StoreError::Unreadable { column, row: format!("template {name}:{version}") };
    Ok((|| {
        Ok(TemplateRow {
            layers: serde_json::from_str(&layers).map_err(|_| unreadable("layers"))?,
            recipe: serde_json::from_str(&recipe).map_err(|_| unreadable("recipe"))?,
            packages: serde_json::from_str(&packages).map_err(|_| unreadable("packages"))?,
            status: TemplateStatus::parse(&status).ok_or_else(|| unreadable("status"))?,
            size_bytes,
            created_at_ms,
            build_log,
            error,
            version,
            name: name.clone(),
        })
    })())
}

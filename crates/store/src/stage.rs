//! Stages of templates' builds as rows: which layer each has left, so that no build repeats it.

use ringfence_model::LayerDigest;
use rusqlite::{Row, named_params, params};

use crate::error::{Result, StoreError, doing};
use crate::store::Store;
use crate::tx::{Tx, View};

/// What a stage has left.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRow {
    /// Content address of the stage and of everything that it lies over.
    pub key: String,
    /// What it did, in a few words.
    pub title: String,
    /// Its layer; `None` when it changed nothing.
    pub layer: Option<LayerDigest>,
    /// Size of that layer.
    pub size_bytes: u64,
    /// `[{name, version}]`, where it listed packages.
    pub packages: serde_json::Value,
    /// When it was built, in milliseconds since the Unix epoch.
    pub built_at_ms: u64,
    /// When a build used it last.
    pub used_at_ms: u64,
}

const COLUMNS: &str = "key, title, layer, size_bytes, packages, built_at_ms, used_at_ms";

impl View<'_> {
    /// The stage of that key.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn stage(&self, key: &str) -> Result<Option<StageRow>> {
        Ok(self
            .stage_rows(&format!("SELECT {COLUMNS} FROM stage WHERE key = :key"), named_params! {":key": key})?
            .pop())
    }

    /// All of them, the one that was used longest ago first.
    ///
    /// # Errors
    /// As [`View::stage`].
    pub fn stages(&self) -> Result<Vec<StageRow>> {
        self.stage_rows(&format!("SELECT {COLUMNS} FROM stage ORDER BY used_at_ms, rowid"), &[])
    }

    fn stage_rows(&self, sql: &str, params: &[(&str, &dyn rusqlite::ToSql)]) -> Result<Vec<StageRow>> {
        const WHAT: &str = "read stages of builds";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params, read).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }
}

impl Tx<'_> {
    /// Writes what a stage has left, in place of what was written of it before.
    ///
    /// # Errors
    /// The database refuses.
    pub fn put_stage(&self, row: &StageRow) -> Result<()> {
        let sql = format!("INSERT OR REPLACE INTO stage ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.execute(params![
                    row.key,
                    row.title,
                    row.layer.as_ref().map(LayerDigest::as_str),
                    row.size_bytes,
                    row.packages.to_string(),
                    row.built_at_ms,
                    row.used_at_ms,
                ])
            })
            .map(drop)
            .map_err(doing("write a stage of a build"))
    }

    /// Notes that a build has used a stage.
    ///
    /// # Errors
    /// The database refuses.
    pub fn touch_stage(&self, key: &str, now_ms: u64) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE stage SET used_at_ms = ?2 WHERE key = ?1")
            .and_then(|mut statement| statement.execute(params![key, now_ms]))
            .map(drop)
            .map_err(doing("note the use of a stage"))
    }

    /// Forgets a stage. Its layer may go then, if nothing else holds it.
    ///
    /// # Errors
    /// The database refuses.
    pub fn delete_stage(&self, key: &str) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM stage WHERE key = ?1")
            .and_then(|mut statement| statement.execute(params![key]))
            .map(drop)
            .map_err(doing("forget a stage of a build"))
    }
}

impl Store {
    /// [`View::stage`].
    ///
    /// # Errors
    /// As there.
    pub async fn stage(&self, key: &str) -> Result<Option<StageRow>> {
        let key = key.to_owned();
        self.read(move |view| view.stage(&key)).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<StageRow>> {
    let (key, title): (String, String) = (row.get(0)?, row.get(1)?);
    let (layer, size_bytes, packages): (Option<String>, u64, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (built_at_ms, used_at_ms) = (row.get(5)?, row.get(6)?);
    let unreadable = |column| StoreError::Unreadable { column, row: format!("stage {}", key.escape_default()) };
    Ok((|| {
        Ok(StageRow {
            layer: layer.map(|text| LayerDigest::parse(&text).map_err(|_| unreadable("layer"))).transpose()?,
            packages: serde_json::from_str(&packages).map_err(|_| unreadable("packages"))?,
            key: key.clone(),
            title,
            size_bytes,
            built_at_ms,
            used_at_ms,
        })
    })())
}

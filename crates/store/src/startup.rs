//! The scripts that sandboxes were made with.

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, params};

use crate::error::{Result, doing};
use crate::tx::{Tx, View};

impl View<'_> {
    /// The script that a sandbox was made with, if there was one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn startup(&self, sandbox: &SandboxId) -> Result<Option<String>> {
        self.conn
            .prepare_cached("SELECT script FROM startup WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)).optional())
            .map_err(doing("read a startup script"))
    }
}

impl Tx<'_> {
    /// Keeps the script that a sandbox is made with.
    ///
    /// # Errors
    /// The database refuses.
    pub fn set_startup(&self, sandbox: &SandboxId, script: &str) -> Result<()> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO startup (sandbox_id, script) VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str(), script]))
            .map(drop)
            .map_err(doing("keep a startup script"))
    }
}

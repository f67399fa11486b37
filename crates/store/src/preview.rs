//! Ports that the operator has opened to everybody, and the token that every other visit of a sandbox's ports needs.

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, params};

use crate::error::{Result, doing};
use crate::tx::{Tx, View};

impl View<'_> {
    /// The ports of a sandbox that need no token, in order.
    ///
    /// # Errors
    /// The database refuses.
    pub fn public_ports(&self, sandbox: &SandboxId) -> Result<Vec<u16>> {
        const WHAT: &str = "list public ports";
        let sql = "SELECT port FROM public_port WHERE sandbox_id = ?1 ORDER BY port";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params![sandbox.as_str()], |row| row.get(0)).map_err(doing(WHAT))?;
        rows.map(|port| port.map_err(doing(WHAT))).collect()
    }

    /// How often the preview token of a sandbox was replaced: 0 for one of which it never was, and for one that there is not.
    ///
    /// # Errors
    /// The database refuses.
    pub fn preview_generation(&self, sandbox: &SandboxId) -> Result<u32> {
        self.conn
            .prepare_cached("SELECT generation FROM preview_token WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)).optional())
            .map(Option::unwrap_or_default)
            .map_err(doing("read how often a preview token was replaced"))
    }
}

impl Tx<'_> {
    /// Opens a port of a sandbox to everybody, or closes it.
    ///
    /// # Errors
    /// The database refuses, as it does for a sandbox that there is not.
    pub fn set_port_public(&self, sandbox: &SandboxId, port: u16, public: bool) -> Result<()> {
        let sql = if public {
            "INSERT INTO public_port (sandbox_id, port) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM public_port WHERE sandbox_id = ?1 AND port = ?2"
        };
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![sandbox.as_str(), port]))
            .map(drop)
            .map_err(doing("open or close a port"))
    }

    /// Replaces the preview token of a sandbox: which generation is valid from now on.
    ///
    /// # Errors
    /// The database refuses, as it does for a sandbox that there is not.
    pub fn rotate_preview(&self, sandbox: &SandboxId) -> Result<u32> {
        self.conn
            .prepare_cached(
                "INSERT INTO preview_token (sandbox_id, generation) VALUES (?1, 1) \
                 ON CONFLICT (sandbox_id) DO UPDATE SET generation = generation + 1 RETURNING generation",
            )
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)))
            .map_err(doing("replace a preview token"))
    }

    /// Closes every port of a sandbox.
    ///
    /// # Errors
    /// The database refuses.
    pub fn close_public_ports(&self, sandbox: &SandboxId) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM public_port WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str()]))
            .map(drop)
            .map_err(doing("close a sandbox's ports"))
    }
}

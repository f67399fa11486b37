//! Small facts by name, and counters.

use rusqlite::{OptionalExtension, params};

use crate::error::{Result, StoreError, doing};
use crate::kind::Kind;
use crate::store::Database;
use crate::tx::{Tx, View};

/// Names below this belong to the store itself.
pub(crate) const RESERVED: &str = "store.";

impl<K: Kind> View<'_, K> {
    /// The fact of this name.
    ///
    /// # Errors
    /// The database refuses.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        self.conn
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")
            .and_then(|mut statement| statement.query_row(params![key], |row| row.get(0)).optional())
            .map_err(doing("read a fact"))
    }
}

impl<K: Kind> Tx<'_, K> {
    /// Writes a row that nobody reads, a different one than was there, so that there is something to write.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn touch(&self) -> Result<()> {
        let sql = "INSERT INTO meta (key, value) VALUES ('store.touched', '1') \
                   ON CONFLICT (key) DO UPDATE SET value = CASE value WHEN '1' THEN '2' ELSE '1' END";
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(doing("try to write"))
    }

    /// Writes a fact.
    ///
    /// # Errors
    /// The name is reserved (`store.…`), or the database refuses.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        if key.starts_with(RESERVED) {
            return Err(StoreError::Refused(format!("the name `{key}` is reserved for the store")));
        }
        self.conn
            .prepare_cached("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2")
            .and_then(|mut statement| statement.execute(params![key, value]))
            .map(drop)
            .map_err(doing("write a fact"))
    }

    /// Takes the next number of a counter, beginning with 1. A number is never given twice.
    ///
    /// # Errors
    /// The database refuses.
    pub fn next_number(&self, counter: &str) -> Result<u64> {
        self.conn
            .prepare_cached(
                "INSERT INTO counter (name, last) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 \
                 RETURNING last",
            )
            .and_then(|mut statement| statement.query_row(params![counter], |row| row.get(0)))
            .map_err(doing("count"))
    }
}

impl<K: Kind> Database<K> {
    /// [`View::meta`].
    ///
    /// # Errors
    /// As there.
    pub async fn meta(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read(move |view| view.meta(&key)).await
    }
}

//! Migrations: numbered SQL, each applied once, in a transaction with its record.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::error::OpenError;

/// `RFst`: tells our files from those of other programs (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5246_7374;

/// Every migration in order; the first has number 1. An applied migration is never edited: add one.
const MIGRATIONS: &[(&str, &str)] = &[("first", include_str!("../migrations/0001_first.sql"))];

/// The newest schema that this program knows.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Brings the database to [`NEWEST`], or refuses one that is not ours or newer.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sql = |operation| move |source| OpenError::Sql { operation, path: path.into(), source };
    let application: i32 =
        conn.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(|source| {
            match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotOurs { path: path.into() },
                _ => sql("read the header")(source),
            }
        })?;
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sql("read the schema"))?;
    let tables: u32 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql("read the schema"))?;
    if application != APPLICATION_ID && (application != 0 || found != 0 || tables != 0) {
        return Err(OpenError::NotOurs { path: path.into() });
    }
    if found > NEWEST {
        return Err(OpenError::NewerSchema { path: path.into(), found, known: NEWEST });
    }
    for (number, (name, text)) in (1..).zip(MIGRATIONS) {
        if number <= found {
            check(conn, path, number, text)?;
        } else {
            apply(conn, number, name, text).map_err(sql("migrate the schema"))?;
        }
    }
    Ok(())
}

fn check(conn: &Connection, path: &Path, number: u32, text: &str) -> Result<(), OpenError> {
    let applied: Vec<u8> = conn
        .query_row("SELECT sha256 FROM migration WHERE number = ?1", params![number], |row| row.get(0))
        .map_err(|source| OpenError::Sql { operation: "read the migrations", path: path.into(), source })?;
    if applied == Sha256::digest(text).as_slice() {
        Ok(())
    } else {
        Err(OpenError::ForeignMigration { path: path.into(), number })
    }
}

fn apply(conn: &mut Connection, number: u32, name: &str, text: &str) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration \
         (number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 BLOB NOT NULL) STRICT",
    )?;
    tx.execute_batch(text)?;
    let sha256 = Sha256::digest(text);
    tx.execute(
        "INSERT INTO migration (number, name, sha256) VALUES (?1, ?2, ?3)",
        params![number, name, sha256.as_slice()],
    )?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", number)?;
    tx.commit()
}

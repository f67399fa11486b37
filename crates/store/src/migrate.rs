//! Migrations: numbered SQL, each applied once, in a transaction with its record.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::error::OpenError;
use crate::kind::{DatabaseKind, Kind};

/// Brings the database to the newest schema of its kind, or refuses one that is not ours, of another kind, or newer.
pub(crate) fn migrate<K: Kind>(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let newest = u32::try_from(K::MIGRATIONS.len()).expect("they were written by hand");
    let sql = |operation| move |source| OpenError::of_sql(operation, path, source);
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
    match DatabaseKind::of_application_id(application) {
        Some(kind) if kind == K::KIND => {}
        Some(found) => return Err(OpenError::OtherKind { path: path.into(), found, wanted: K::KIND }),
        None if application == 0 && found == 0 && tables == 0 => {}
        None => return Err(OpenError::NotOurs { path: path.into() }),
    }
    if found > newest {
        return Err(OpenError::NewerSchema { path: path.into(), found, known: newest });
    }
    for (number, (name, text)) in (1..).zip(K::MIGRATIONS) {
        if number <= found {
            check(conn, path, number, text)?;
        } else {
            apply(conn, K::KIND, number, name, text).map_err(sql("migrate the schema"))?;
        }
    }
    Ok(())
}

fn check(conn: &Connection, path: &Path, number: u32, text: &str) -> Result<(), OpenError> {
    let applied: Vec<u8> = conn
        .query_row("SELECT sha256 FROM migration WHERE number = ?1", params![number], |row| row.get(0))
        .map_err(|source| OpenError::of_sql("read the migrations", path, source))?;
    if applied == Sha256::digest(text).as_slice() {
        Ok(())
    } else {
        Err(OpenError::ForeignMigration { path: path.into(), number })
    }
}

fn apply(conn: &mut Connection, kind: DatabaseKind, number: u32, name: &str, text: &str) -> rusqlite::Result<()> {
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
    tx.pragma_update(None, "application_id", kind.application_id())?;
    tx.pragma_update(None, "user_version", number)?;
    tx.commit()
}

#[cfg(test)]
mod upgrade;

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use crate::kind::sealed::Kind;
    use crate::kind::{EngineKind, GateKind};

    /// Databases with these are out there: an edit would make them `ForeignMigration`.
    #[test]
    fn migrations_that_were_applied_somewhere_have_not_been_edited() {
        let hashes =
            |all: &[(&str, &str)]| all.iter().map(|(_, text)| hex::encode(Sha256::digest(text))).collect::<Vec<_>>();
        assert_eq!(
            hashes(EngineKind::MIGRATIONS),
            [
                "7d5b54cae80e55629eedaa48019777959139e608f36745e1b1433168ab6ca931",
                "9641a4163b1b47139708ddaeb14a8a8453ef1968ec5b9fca7679aa7fb6fbfbda",
                "2785dc803bad88bb4c5c530f3d7ca0c5814080749d22bd62070102e0c1262323",
                "7017b8f1dd66ec300e0202f09b8122c2c92afe8316a731a0bacfa8dbaa496ebb",
                "372919b5ae6a244e9872780cbc2302a2c0d961e369f8c38b4c24d57667b83166",
                "12bf64c485cc2fc4d74d905a328745444181bd90c46d058c771e47e1677f98f7",
                "521f1d0f028fc41fd7813a22ae7976a31c3e786fb1c3e8d83cb1f17be975c518",
                "8e3892261a0d93ce8f6df996b2c9b584d7a07127498bd31a82e91860a8c5ecd8",
                "8fde8c95bff159312a8fc1399eb7ef00c4bee177225aa96ea9ac2c4aa49cd70b",
                "ebf8b680cf21ef5eae4826705f69f759258c290608590ac2cda64d9382223749",
                "bcf3de83d7617b742890a5be126c94810845c7e9da9226e1be3c22c317ee646b",
                "74cd0a01f92781bcfd89b00c9d5a16e4aae56c1f6e924215ca33869830c04324"
            ]
        );
        assert_eq!(
            hashes(GateKind::MIGRATIONS),
            [
                "9a3b7874effaa7b3f433573215e66b76013789d03e4131018d81f93df05e7b04",
                "6b77df2145e44423ee005dffe8a7a37fae095cbb9215bcba2c3a9eab2f57a986",
                "770cd20f85f3e0a270933cd26f08859a144bc1712eb777bfae2912851ea744c9",
                "27a6199f4efb3396d553747284197d3ea37c401a2a01b31193e0b8da7a238d87",
                "ca28f97cff0574c2ed12e81f5529f696d32028d56cdca5bc0bf211d1c4327926",
                "8e3892261a0d93ce8f6df996b2c9b584d7a07127498bd31a82e91860a8c5ecd8"
            ]
        );
    }
}

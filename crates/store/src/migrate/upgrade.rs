//! Databases of every earlier schema, with rows, opened by this program.

use std::path::Path;

use ringfence_model::{Limits, SandboxId};
use rusqlite::{Connection, params};

use super::apply;
use crate::gate::GateStore;
use crate::kind::sealed::Kind;
use crate::kind::{EngineKind, GateKind};
use crate::store::{Database, Store};
use crate::{SandboxStatus, SealingKey, Verification};

const AT_MS: u64 = 1_757_371_623_056;

/// A database as the program of schema `schema` has made it.
fn of_schema<K: Kind>(path: &Path, schema: usize) -> Connection {
    let mut conn = Connection::open(path).expect("a database");
    for (number, (name, text)) in (1..).zip(&K::MIGRATIONS[..schema]) {
        apply(&mut conn, K::KIND, number, name, text).expect("it applied then");
    }
    conn
}

fn schema_of(path: &Path) -> u32 {
    let conn = Connection::open(path).expect("a database");
    conn.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number")
}

fn key(dir: &Path) -> SealingKey {
    SealingKey::load_or_create(&dir.join("sealing.key")).expect("a key")
}

/// It works: the chain goes on and holds.
async fn goes_on<K: crate::Kind>(store: &Database<K>) {
    let entry = crate::AuditEntry::new(AT_MS, crate::Actor::System, "test.upgraded");
    let _ = store.append(entry).await.expect("the chain goes on");
    let verified = store.verify(1, None).await.expect("it can be read");
    assert!(matches!(verified, Verification::Sound(_)), "{verified:?}");
}

#[tokio::test]
async fn an_engine_database_of_every_earlier_schema_is_opened_with_its_rows() {
    for schema in 1..EngineKind::MIGRATIONS.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("engine.db");
        let id = SandboxId::from_random([7; 20]);
        let conn = of_schema::<EngineKind>(&path, schema);
        conn.execute(
            "INSERT INTO sandbox (id, name, template, layers, status, disk, limits, metadata, created_at_ms, lifetime_s) \
             VALUES (?1, 'old', 'python', '[]', 'stopped', 3, ?2, '{}', ?3, 3600)",
            params![id.as_str(), serde_json::to_string(&Limits::default()).expect("JSON"), AT_MS],
        )
        .expect("a row of then");
        drop(conn);
        assert_eq!(schema_of(&path), u32::try_from(schema).expect("small"));
        let store = Store::open(&path, key(dir.path())).unwrap_or_else(|error| panic!("schema {schema}: {error:?}"));
        let row = store.sandbox(&id).await.expect("readable").expect("it is still there");
        assert_eq!((row.name.as_str(), row.status, row.disk), ("old", SandboxStatus::Stopped, Some(3)), "{schema}");
        goes_on(&store).await;
        store.close().await.expect("closed");
        assert_eq!(schema_of(&path) as usize, EngineKind::MIGRATIONS.len(), "from {schema}");
        // Once more, which migrates nothing.
        Store::open(&path, key(dir.path())).expect("it opens again").close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_gate_database_of_every_earlier_schema_is_opened_with_its_rows() {
    for schema in 1..GateKind::MIGRATIONS.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gate.db");
        let id = SandboxId::from_random([8; 20]);
        let conn = of_schema::<GateKind>(&path, schema);
        conn.execute(
            "INSERT INTO policy (sandbox_id, policy, version, updated_at_ms) VALUES (?1, '{}', 1, ?2)",
            params![id.as_str(), AT_MS],
        )
        .expect("a row of then");
        drop(conn);
        let store =
            GateStore::open(&path, key(dir.path())).unwrap_or_else(|error| panic!("schema {schema}: {error:?}"));
        goes_on(&store).await;
        store.close().await.expect("closed");
        assert_eq!(schema_of(&path) as usize, GateKind::MIGRATIONS.len(), "from {schema}");
        let conn = Connection::open(&path).expect("a database");
        let kept: u32 = conn
            .query_row("SELECT count(*) FROM policy WHERE sandbox_id = ?1", [id.as_str()], |row| row.get(0))
            .expect("a count");
        assert_eq!(kept, 1, "from {schema}");
    }
}

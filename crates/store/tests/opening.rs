//! Who may open the database, and what is refused.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ringfence_store::gate::GateStore;
use ringfence_store::{DatabaseKind, OpenError, SealingKey, Store, StoreError};
use support::{Place, add_sandbox, sandbox_id};

/// Opens what was made and then changed by `change`.
#[track_caller]
fn refusal(change: &str) -> OpenError {
    let place = Place::new();
    drop(place.open());
    place.behind_its_back().execute_batch(change).expect("SQLite does it");
    Store::open(&place.database(), place.key()).expect_err("it is refused")
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_harms_nothing() {
    let place = Place::new();
    let store = place.open();
    add_sandbox(&store, 1).await;
    store.close().await.expect("the store closes");
    let wrong = SealingKey::load_or_create(&place.dir.path().join("other.key")).expect("a key");
    let error = Store::open(&place.database(), wrong).expect_err("it is refused");
    assert!(matches!(error, OpenError::WrongKey { .. }), "{error}");
    let store = place.open();
    assert!(store.sandbox(&sandbox_id(1)).await.expect("it can be read").is_some());
}

#[tokio::test]
async fn a_second_opener_hears_who_was_first() {
    let place = Place::new();
    let store = place.open();
    let error = Store::open(&place.database(), place.key()).expect_err("it is in use");
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    add_sandbox(&store, 1).await;

    let clone = store.clone();
    store.close().await.expect("the store closes");
    let again = place.open();
    assert!(again.sandbox(&sandbox_id(1)).await.expect("it can be read").is_some());
    let late = clone.sandbox(&sandbox_id(1)).await;
    assert!(matches!(late, Err(StoreError::Gone(_))), "{late:?}");
    drop(again);
    drop(place.open());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let error = refusal("PRAGMA user_version = 99");
    assert!(matches!(error, OpenError::NewerSchema { found: 99, known, .. } if known < 99), "{error}");
}

#[test]
fn a_migration_of_another_text_is_refused() {
    let error = refusal("UPDATE migration SET sha256 = zeroblob(32) WHERE number = 1");
    assert!(matches!(error, OpenError::ForeignMigration { number: 1, .. }), "{error}");
}

#[test]
fn a_canary_that_was_removed_is_no_invitation_to_take_any_key() {
    let error = refusal("DELETE FROM meta WHERE key = 'store.canary'");
    assert!(matches!(error, OpenError::WrongKey { .. }), "{error}");
}

#[test]
fn a_file_of_another_program_is_refused_and_left_alone() {
    let place = Place::new();
    fs::write(place.database(), "Dear diary, ".repeat(100)).expect("a file");
    let error = Store::open(&place.database(), place.key()).expect_err("it is refused");
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    assert!(fs::read_to_string(place.database()).expect("it is there").starts_with("Dear diary"));

    let place = Place::new();
    place.behind_its_back().execute_batch("CREATE TABLE theirs (a)").expect("a database");
    let error = Store::open(&place.database(), place.key()).expect_err("it is refused");
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
}

#[tokio::test]
async fn only_the_owner_may_read_what_the_store_makes() {
    let place = Place::new();
    let store = place.open();
    support::append(&store, 1).await;
    support::wait_until("the head file is there", || place.head_file().exists());
    for entry in fs::read_dir(place.dir.path()).expect("the directory can be read") {
        let entry = entry.expect("an entry");
        // The head file is renamed into its place, so that its first name may be gone.
        let Ok(metadata) = entry.metadata() else { continue };
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", entry.path().display());
    }
}

#[tokio::test]
async fn a_database_of_the_other_kind_is_refused_and_left_alone() {
    let place = Place::new();
    add_sandbox(&place.open(), 1).await;
    let error = GateStore::open(&place.database(), place.key()).expect_err("it is the engine's");
    let OpenError::OtherKind { found, wanted, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*found, *wanted), (DatabaseKind::Engine, DatabaseKind::Gate));
    assert!(error.to_string().contains("engine.db is the engine's database"), "{error}");
    assert!(place.open().sandbox(&sandbox_id(1)).await.expect("it can be read").is_some());

    drop(place.open_gate());
    let error = Store::open(&place.gate_database(), place.gate_key()).expect_err("it is the gateway's");
    assert!(matches!(error, OpenError::OtherKind { found: DatabaseKind::Gate, .. }), "{error:?}");
    drop(place.open_gate());
}

#[tokio::test]
async fn both_kinds_live_in_one_directory_with_a_chain_each() {
    let place = Place::new();
    let (engine, gate) = (place.open(), place.open_gate());
    support::append(&engine, 3).await;
    let _ = gate.decide(support::refused(1, support::NOW_MS)).await.expect("it is recorded");
    engine.close().await.expect("the store closes");
    gate.close().await.expect("the store closes");
    let head = |name: &str| fs::read_to_string(place.dir.path().join(name)).expect("the head was noted");
    assert!(head("audit.head").starts_with("ringfence-audit-head 1 3 "), "{}", head("audit.head"));
    assert!(head("gate.head").starts_with("ringfence-audit-head 1 1 "), "{}", head("gate.head"));
}

/// Whether the store opens when everything from this byte on is something else.
#[track_caller]
fn damaged_from(byte: u64) -> Result<(), OpenError> {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    support::block_on(async {
        let store = place.open();
        support::append(&store, 200).await;
        store.close().await.expect("the store closes");
    });
    let length = fs::metadata(place.database()).expect("it is there").len();
    let file = fs::OpenOptions::new().write(true).open(place.database()).expect("its owner may");
    file.write_all_at(&vec![0xa5; usize::try_from(length - byte).expect("it is small")], byte).expect("written");
    drop(file);
    let before = fs::read(place.database()).expect("readable");
    let opened = Store::open(&place.database(), place.key()).map(drop);
    if opened.is_err() {
        assert!(fs::read(place.database()).expect("readable") == before, "what is damaged is left as it is");
    }
    opened
}

#[test]
fn a_damaged_database_is_refused_with_the_way_back() {
    let error = damaged_from(4096).expect_err("all pages but the first are gone");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("`ringfence restore`"), "{error}");
}

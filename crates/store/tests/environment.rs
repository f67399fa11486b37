//! Environment values at rest: sealed, erased when replaced, comparable by fingerprint alone.

mod support;

use ringfence_model::SandboxId;
use ringfence_store::{EnvMode, SecretValue, StoreError};
use rusqlite::params;
use support::{Place, add_sandbox, sandbox_id, secret};

const VALUE: &[u8] = b"a value that nobody may find 8c1f0a";
const OTHER: &[u8] = b"another that nobody may find 77d2e4";

/// A sealed value as it stands in the file.
fn sealed(place: &Place, id: &SandboxId, name: &str) -> Vec<u8> {
    place
        .behind_its_back()
        .query_row(
            "SELECT sealed FROM environment WHERE sandbox_id = ?1 AND name = ?2",
            params![id.as_str(), name],
            |row| row.get(0),
        )
        .expect("it is there")
}

/// Pieces of bytes that may lie on several pages. The first few of a sealed value are its nonce, which is unique.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(24).step_by(64).filter(|piece| piece.len() >= 16)
}

#[tokio::test]
async fn values_stand_nowhere_in_plain_text() {
    let place = Place::new();
    let store = place.open();
    let id = add_sandbox(&store, 1).await;
    let long = [VALUE, &[b'x'; 90_000]].concat();
    let values = vec![secret("TOKEN", VALUE), secret("LONG", &long)];
    store.set_environment(&id, values, EnvMode::Merge, Vec::new()).await.expect("it can be set");
    // What comes after it leaves the log filled.
    store.write(|tx| tx.set_meta("found", "what can be found")).await.expect("a fact can be written");

    assert_eq!(place.files_with(b"what can be found"), ["engine.db-wal"], "the search finds what is there");
    assert_eq!(place.files_with(VALUE), [""; 0]);
    assert_eq!(place.files_with(&[b'x'; 64]), [""; 0]);
    let opened = store.environment(&id).await.expect("it can be opened");
    let opened: Vec<_> = opened.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(opened, [("LONG", long.as_slice()), ("TOKEN", VALUE)]);
    assert_eq!(format!("{:?}", SecretValue::new(VALUE)), "SecretValue(…)");

    store.close().await.expect("the store closes");
    assert_eq!(place.files_with(b"what can be found"), ["engine.db"]);
    assert_eq!(place.files_with(VALUE), [""; 0], "after the store was closed");
}

#[tokio::test]
async fn a_value_that_was_replaced_or_removed_is_gone_from_disk_even_sealed() {
    for value in [VALUE.to_vec(), [VALUE, &[b'x'; 90_000]].concat()] {
        let place = Place::new();
        let store = place.open();
        let id = add_sandbox(&store, 1).await;
        let set = async |values, mode, unset: &[&str]| {
            let unset = unset.iter().map(|&name| name.to_owned()).collect();
            store.set_environment(&id, values, mode, unset).await.expect("it can be set")
        };
        let all = || vec![secret("A", &value), secret("B", &value), secret("C", &value), secret("D", &value)];
        set(all(), EnvMode::Merge, &[]).await;
        let old = ["A", "B", "C", "D"].map(|name| sealed(&place, &id, name));
        for old in &old {
            assert_eq!(place.files_with(&old[..24]), ["engine.db"], "emptied into the database");
        }
        let gone = |what: &str, number: usize| {
            assert_eq!(place.files_with_any(pieces(&old[number])), [""; 0], "{what} of {} bytes", value.len());
        };

        set(vec![secret("A", OTHER)], EnvMode::Merge, &[]).await;
        gone("replaced", 0);
        let change = set(Vec::new(), EnvMode::Merge, &["B"]).await;
        assert_eq!(change.removed, ["B"]);
        gone("unset", 1);
        let change = set(vec![secret("A", OTHER), secret("D", OTHER)], EnvMode::Replace, &[]).await;
        assert_eq!((change.removed, change.version), (vec!["C".to_owned()], 4));
        gone("replaced with all", 2);
        gone("replaced with all, set anew", 3);

        let last = sealed(&place, &id, "A");
        let erased = id.clone();
        store.write(move |tx| tx.erase_environment(&erased)).await.expect("it can be erased");
        assert_eq!(place.files_with(&last), [""; 0], "erased");
        assert!(store.environment(&id).await.expect("it can be read").is_empty());
    }
}

#[tokio::test]
async fn a_fingerprint_is_equal_for_equal_values_of_one_name_and_different_otherwise() {
    let place = Place::new();
    let store = place.open();
    let (one, two) = (add_sandbox(&store, 1).await, add_sandbox(&store, 2).await);
    let set = async |id: &SandboxId, values| {
        store.set_environment(id, values, EnvMode::Replace, Vec::new()).await.expect("it can be set").fingerprints
    };
    let first = set(&one, vec![secret("A", VALUE), secret("B", VALUE)]).await;
    assert_ne!(first["A"], first["B"], "of another name");
    assert_eq!(set(&two, vec![secret("A", VALUE)]).await["A"], first["A"], "in another sandbox");
    assert_ne!(set(&two, vec![secret("A", OTHER)]).await["A"], first["A"], "of another value");
    assert_ne!(set(&two, vec![secret("A", b"")]).await["A"], first["A"], "of an empty value");
    assert_eq!(set(&two, vec![secret("A", VALUE)]).await["A"], first["A"], "of the value put back");
    assert!(first.values().all(|print| print.len() == 12 && print.bytes().all(|b| b.is_ascii_hexdigit())), "{first:?}");

    store.close().await.expect("the store closes");
    let store = place.open();
    let read = one.clone();
    let again = store.read(move |view| view.environment_fingerprints(&read)).await.expect("they can be computed");
    assert_eq!(again, first, "after a restart");

    let elsewhere = Place::new();
    let store = elsewhere.open();
    let id = add_sandbox(&store, 1).await;
    let values = vec![secret("A", VALUE)];
    let other = store.set_environment(&id, values, EnvMode::Merge, Vec::new()).await.expect("it can be set");
    assert_ne!(other.fingerprints["A"], first["A"], "of another installation");
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_place_only() {
    for tamper in [
        "UPDATE environment SET sealed = (SELECT sealed FROM environment WHERE name = 'B') WHERE name = 'A'",
        "UPDATE environment SET name = 'C' WHERE name = 'A'",
        "UPDATE environment SET sealed = zeroblob(60) WHERE name = 'A'",
        "UPDATE environment SET sealed = x'00' WHERE name = 'A'",
    ] {
        let place = Place::new();
        let store = place.open();
        let id = add_sandbox(&store, 1).await;
        let values = vec![secret("A", VALUE), secret("B", OTHER)];
        store.set_environment(&id, values, EnvMode::Merge, Vec::new()).await.expect("it can be set");
        place.behind_its_back().execute_batch(tamper).expect("SQLite does it");
        let error = store.environment(&id).await.expect_err("it was tampered with");
        assert!(matches!(error, StoreError::Unsealable { .. }), "{tamper}: {error}");
    }
}

#[tokio::test]
async fn what_no_environment_can_hold_is_refused_without_its_value() {
    let place = Place::new();
    let store = place.open();
    let id = add_sandbox(&store, 1).await;
    let with_nul = [VALUE, b"\0"].concat();
    let too_long = [VALUE, &[b'x'; 96 << 10]].concat();
    for (name, value) in [("", VALUE), ("A=B", VALUE), ("A\0", VALUE), ("A", &with_nul), ("A", &too_long)] {
        let values = vec![secret("GOOD", OTHER), secret(name, value)];
        let error = store.set_environment(&id, values, EnvMode::Merge, Vec::new()).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("nobody may find"), "{error:?}");
    }
    let nobody = store.set_environment(&sandbox_id(9), Vec::new(), EnvMode::Merge, Vec::new()).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })), "{nobody:?}");
    assert!(store.environment(&id).await.expect("it can be read").is_empty(), "nothing of it was kept");
}

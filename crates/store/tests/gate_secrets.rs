//! Secrets, placeholders and policies of the gateway.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use ringfence_model::Project;
use ringfence_store::gate::{GateStore, PlaceholderRow, SecretId, SecretName, SecretOrigin, SecretRow};
use ringfence_store::{Result, SecretValue, StoreError, Verification};
use support::{NOW_MS, Place, block_on, sandbox_id, secret_name, wait_until};

const VALUE: &[u8] = b"a value that nobody may find 8c1f0a";
const OTHER: &[u8] = b"another that nobody may find 77d2e4";
/// Bytes of a sealed value that cannot stand somewhere by chance.
const PIECE: usize = 16;
const BINDING: &str = r#"{"hosts":["paper-api.alpaca.markets"]}"#;

fn of_operator(name: &str) -> SecretId {
    SecretId::of_operator(secret_name(name), &Project::default())
}

fn of_client(name: &str, sandbox: u8) -> SecretId {
    SecretId::of_client(secret_name(name), &sandbox_id(sandbox))
}

async fn add(store: &GateStore, id: &SecretId, value: &[u8]) -> Result<SecretRow> {
    let (id, value) = (id.clone(), SecretValue::new(value));
    store.write(move |tx| tx.add_secret(NOW_MS, &id, &value, BINDING)).await
}

async fn rotate(store: &GateStore, id: &SecretId, value: &[u8]) -> Result<SecretRow> {
    let (id, value) = (id.clone(), SecretValue::new(value));
    store.write(move |tx| tx.rotate_secret(NOW_MS + 1, &id, &value)).await
}

async fn revoke(store: &GateStore, id: &SecretId) -> Result<SecretRow> {
    let id = id.clone();
    store.write(move |tx| tx.revoke_secret(NOW_MS + 2, &id)).await
}

async fn opened(store: &GateStore, id: &SecretId) -> Option<Vec<u8>> {
    store.open_secret(id).await.expect("it can be opened").map(|(_, value)| value.expose().to_vec())
}

async fn add_placeholder(store: &GateStore, sandbox: u8, secret: &SecretId, text: &[u8]) -> Result<()> {
    let row = PlaceholderRow { sandbox: sandbox_id(sandbox), secret: secret.clone(), created_at_ms: NOW_MS };
    let text = SecretValue::new(text);
    store.write(move |tx| tx.add_placeholder(&row, &text)).await
}

/// Every sealed value as it stands in the file, by owner and name.
fn sealed(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let conn = place.behind_the_gate();
    let mut statement = conn
        .prepare("SELECT name || ifnull(sandbox_id, ''), sealed FROM secret WHERE sealed IS NOT NULL")
        .expect("the table is there");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read");
    rows.map(|row| row.expect("a row")).collect()
}

/// Pieces of a sealed value, which may lie on several pages. Each is unique: it is a nonce or ciphertext.
#[track_caller]
fn assert_gone(place: &Place, sealed: &[u8], what: &str) {
    let pieces = sealed.chunks(24).step_by(16).filter(|piece| piece.len() >= 16);
    assert_eq!(place.files_with_any(pieces), [""; 0], "{what} of {} bytes", sealed.len());
}

#[tokio::test]
async fn a_secret_lives_from_its_first_value_to_its_revocation_and_may_come_back() {
    let place = Place::new();
    let store = place.open_gate();
    let id = of_operator("ALPACA_SECRET_KEY");
    let first = add(&store, &id, VALUE).await.expect("it can be added");
    assert_eq!((first.version, first.rotated_at_ms, first.binding.as_str()), (1, None, BINDING));
    assert!(matches!(add(&store, &id, OTHER).await, Err(StoreError::Exists { .. })));
    assert_eq!(opened(&store, &id).await.as_deref(), Some(VALUE));

    let second = rotate(&store, &id, OTHER).await.expect("it can be rotated");
    assert_eq!((second.version, second.created_at_ms, second.rotated_at_ms), (2, NOW_MS, Some(NOW_MS + 1)));
    assert_ne!(second.fingerprint, first.fingerprint);
    let third = rotate(&store, &id, VALUE).await.expect("it can be rotated");
    assert_eq!((third.version, &third.fingerprint), (3, &first.fingerprint), "the same value again");
    store.close().await.expect("the store closes");

    let store = place.open_gate();
    assert_eq!(opened(&store, &id).await.as_deref(), Some(VALUE), "after a restart");
    let bound = id.clone();
    let change = store.write(move |tx| tx.bind_secret(&bound, r#"{"hosts":[]}"#)).await.expect("it can be bound");
    assert_eq!((change.version, change.binding.as_str()), (3, r#"{"hosts":[]}"#));
    assert_eq!(opened(&store, &id).await.as_deref(), Some(VALUE));

    let revoked = revoke(&store, &id).await.expect("it can be revoked");
    assert_eq!(revoked.revoked_at_ms, Some(NOW_MS + 2));
    assert_eq!(opened(&store, &id).await, None);
    assert!(matches!(revoke(&store, &id).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(rotate(&store, &id, OTHER).await, Err(StoreError::NotFound { .. })));
    let bound = id.clone();
    let change = store.write(move |tx| tx.bind_secret(&bound, "{}")).await;
    assert!(matches!(change, Err(StoreError::NotFound { .. })));
    assert_eq!(
        store.secrets(SecretOrigin::Operator(Project::default())).await.expect("they can be listed"),
        [revoked],
        "it is still seen"
    );

    let again = add(&store, &id, OTHER).await.expect("it can be added");
    assert_eq!((again.version, again.revoked_at_ms), (4, None), "versions go on");
    let removed = id.clone();
    assert!(store.write(move |tx| tx.remove_secret(&removed)).await.expect("it can be removed"));
    assert_eq!(store.secrets(SecretOrigin::Operator(Project::default())).await.expect("they can be listed"), []);
}

#[tokio::test]
async fn one_name_may_be_the_operators_and_a_sandboxs_and_neither_is_taken_for_the_other() {
    let place = Place::new();
    let store = place.open_gate();
    let (ours, theirs) = (of_operator("KEY"), of_client("KEY", 1));
    add(&store, &ours, VALUE).await.expect("it can be added");
    assert_eq!(opened(&store, &theirs).await, None);
    add(&store, &theirs, OTHER).await.expect("it can be added");
    assert_eq!(opened(&store, &ours).await.as_deref(), Some(VALUE));
    assert_eq!(opened(&store, &theirs).await.as_deref(), Some(OTHER));
    assert_eq!(opened(&store, &of_client("KEY", 2)).await, None);
    let listed = store.secrets(SecretOrigin::Client(sandbox_id(1))).await.expect("they can be listed");
    assert_eq!(listed.iter().map(|row| &row.id).collect::<Vec<_>>(), [&theirs]);

    store.forget_sandbox(NOW_MS, &sandbox_id(1)).await.expect("it can be forgotten");
    assert_eq!(opened(&store, &theirs).await, None);
    assert_eq!(opened(&store, &ours).await.as_deref(), Some(VALUE));
}

#[tokio::test]
async fn one_name_may_be_every_projects_and_a_row_opens_for_its_own_alone() {
    let place = Place::new();
    let store = place.open_gate();
    let [first, fund, fun] = ["default", "fund", "fun"].map(|name| Project::parse(name).expect("a name"));
    let of = |project: &Project| SecretId::of_operator(secret_name("KEY"), project);
    add(&store, &of(&first), VALUE).await.expect("it can be added");
    assert_eq!(opened(&store, &of(&fund)).await, None);
    add(&store, &of(&fund), OTHER).await.expect("it can be added");
    add(&store, &of_client("KEY", 1), b"of the sandbox alone").await.expect("it can be added");
    assert_eq!(opened(&store, &of(&first)).await.as_deref(), Some(VALUE));
    assert_eq!(opened(&store, &of(&fund)).await.as_deref(), Some(OTHER));
    assert_eq!(opened(&store, &of(&fun)).await, None, "a name that begins as another's does is no other's");
    let ids = async |project: &Project| {
        let listed = store.secrets(SecretOrigin::Operator(project.clone())).await.expect("they can be listed");
        listed.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!((ids(&first).await, ids(&fund).await, ids(&fun).await), (vec![of(&first)], vec![of(&fund)], vec![]));
    let all = store.read(|view| view.operators_secrets()).await.expect("they can be listed");
    assert_eq!(all.into_iter().map(|row| row.id).collect::<Vec<_>>(), [of(&first), of(&fund)]);
    // A row that was moved to another project does not open.
    place
        .behind_the_gate()
        .execute_batch("UPDATE secret SET name = 'fun/KEY' WHERE name = 'fund/KEY'")
        .expect("SQLite does it");
    let found = store.open_secret(&of(&fun)).await;
    assert!(matches!(found, Err(StoreError::Unsealable { .. })), "{found:?}");
    place
        .behind_the_gate()
        .execute_batch("UPDATE secret SET name = 'default/KEY' WHERE name = 'fun/KEY'")
        .expect("SQLite does it");
    let found = store.read(|view| view.operators_secrets()).await;
    assert!(matches!(found, Err(StoreError::Unreadable { .. })), "{found:?}");
}

#[tokio::test]
async fn values_stand_nowhere_in_plain_text() {
    let place = Place::new();
    let store = place.open_gate();
    let id = of_operator("KEY");
    add(&store, &id, VALUE).await.expect("it can be added");
    add_placeholder(&store, 1, &id, b"a placeholder that nobody may find").await.expect("it can be added");
    store.write(|tx| tx.set_meta("found", "what can be found")).await.expect("a fact can be written");
    assert_eq!(place.files_with(b"what can be found"), ["gate.db-wal"], "the search finds what is there");
    for hidden in [VALUE, b"a placeholder that nobody may find"] {
        assert_eq!(place.files_with(hidden), [""; 0]);
    }
    store.close().await.expect("the store closes");
    assert_eq!(place.files_with(b"what can be found"), ["gate.db"]);
    for hidden in [VALUE, b"a placeholder that nobody may find"] {
        assert_eq!(place.files_with(hidden), [""; 0], "after the store was closed");
    }
}

#[tokio::test]
async fn what_is_written_after_a_value_was_erased_stays() {
    // The log is emptied with the value, and given its size again about a second later: what came between lies in it.
    let place = Place::new();
    let store = place.open_gate();
    let id = of_operator("A");
    let _ = add(&store, &id, VALUE).await.expect("it can be added");
    let _ = rotate(&store, &id, OTHER).await.expect("it can be rotated");
    let end = std::time::Instant::now() + std::time::Duration::from_millis(2500);
    let mut entries = 0;
    while std::time::Instant::now() < end {
        let _ = store.decide(support::allowed(1, NOW_MS + entries)).await.expect("it is recorded");
        entries += 1;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert!(matches!(support::whole_chain(&store).await, Verification::Sound(found) if found.entries >= entries));
    let crashed = place.as_after_a_crash();
    let after = crashed.open_gate();
    assert!(matches!(support::whole_chain(&after).await, Verification::Sound(found) if found.entries >= entries));
}

#[tokio::test]
async fn a_value_that_was_rotated_revoked_or_removed_is_gone_from_disk_even_sealed() {
    for value in [VALUE.to_vec(), [VALUE, &[b'x'; 90_000]].concat()] {
        let place = Place::new();
        let store = place.open_gate();
        for name in ["A", "B", "C"] {
            add(&store, &of_operator(name), &value).await.expect("it can be added");
        }
        add(&store, &of_client("D", 1), &value).await.expect("it can be added");
        let old = sealed(&place);
        for sealed in old.values() {
            assert!(!place.files_with(&sealed[..24]).is_empty(), "the search finds what is there");
        }
        rotate(&store, &of_operator("A"), OTHER).await.expect("it can be rotated");
        assert_gone(&place, &old["A"], "rotated");
        revoke(&store, &of_operator("B")).await.expect("it can be revoked");
        assert_gone(&place, &old["B"], "revoked");
        store.write(|tx| tx.remove_secret(&of_operator("C"))).await.expect("it can be removed");
        assert_gone(&place, &old["C"], "removed");
        store.forget_sandbox(NOW_MS, &sandbox_id(1)).await.expect("it can be forgotten");
        assert_gone(&place, &old[&format!("D{}", sandbox_id(1))], "of a sandbox that was forgotten");
        assert_eq!(opened(&store, &of_operator("A")).await.as_deref(), Some(OTHER));
    }
}

#[tokio::test]
async fn of_many_values_that_share_pages_none_is_left_when_it_was_rotated() {
    const COUNT: usize = 400;
    let place = Place::new();
    let store = place.open_gate();
    let id = |number: usize| of_operator(&format!("KEY{number}"));
    // Pages fill, split and are joined: names come in no order, values have all lengths.
    let value = |number: usize, round: usize| [VALUE, &vec![b'x'; (number * 37 + round * 101) % 900]].concat();
    for number in (0..COUNT).map(|number| number * 171 % COUNT) {
        add(&store, &id(number), &value(number, 0)).await.expect("it can be added");
    }
    for round in 1..=2 {
        let old = sealed(&place);
        assert_eq!(old.len(), COUNT);
        // Every piece of every value, because a page that was written over may keep a part of one.
        let pieces: HashSet<&[u8]> = old.values().flat_map(|sealed| sealed.chunks_exact(PIECE)).collect();
        let left = |pieces: &HashSet<&[u8]>| -> usize {
            let files = fs::read_dir(place.dir.path()).expect("the directory can be read");
            files.map(|file| pieces_in(&file.expect("an entry").path(), pieces)).sum()
        };
        assert!(left(&pieces) > pieces.len() * 9 / 10, "the search finds what is there");
        for number in (0..COUNT).map(|number| number * 89 % COUNT) {
            rotate(&store, &id(number), &value(number, round)).await.expect("it can be rotated");
            if number % 16 == 0 {
                // At once, and not only when all that stood beside it was written over.
                let own = old[&format!("KEY{number}")].chunks_exact(PIECE).collect();
                assert_eq!(left(&own), 0, "round {round}, secret {number}");
            }
        }
        assert_eq!(left(&pieces), 0, "round {round}, of {}", pieces.len());
    }
}

#[tokio::test]
async fn what_a_crash_kept_from_being_erased_is_erased_at_the_next_start() {
    let place = Place::new();
    let store = place.open_gate();
    add(&store, &of_operator("A"), VALUE).await.expect("it can be added");
    let old = sealed(&place).remove("A").expect("it is there");
    // Somebody who reads keeps the log from being emptied.
    let reader = place.behind_the_gate();
    reader.execute_batch("BEGIN; SELECT count(*) FROM secret;").expect("SQLite does it");
    rotate(&store, &of_operator("A"), OTHER).await.expect("it can be rotated");
    let crashed = place.as_after_a_crash();
    assert!(!crashed.files_with(&old[..24]).is_empty(), "it could not be erased yet");
    let again = crashed.open_gate();
    assert_gone(&crashed, &old, "after a restart");
    assert_eq!(opened(&again, &of_operator("A")).await.as_deref(), Some(OTHER));

    reader.execute_batch("ROLLBACK").expect("SQLite does it");
    wait_until("it is erased when nobody reads any more", || place.files_with(&old[..24]).is_empty());
}

/// How often one of the pieces stands in a file. None stands in a file that is gone, as the head file's first name is.
fn pieces_in(path: &Path, pieces: &HashSet<&[u8]>) -> usize {
    fs::read(path).unwrap_or_default().windows(PIECE).filter(|window| pieces.contains(window)).count()
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_row_only() {
    for tamper in [
        "UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE name = 'B') WHERE name = 'A'",
        "UPDATE secret SET version = 2 WHERE name = 'A'",
        "UPDATE secret SET binding = '{\"hosts\":[\"evil.example\"]}' WHERE name = 'A'",
        "UPDATE secret SET name = 'C' WHERE name = 'B'; UPDATE secret SET name = 'B' WHERE name = 'A'; \
         UPDATE secret SET name = 'A' WHERE name = 'C'",
        "UPDATE secret SET sealed = zeroblob(60) WHERE name = 'A'",
        "UPDATE secret SET sealed = x'00' WHERE name = 'A'",
    ] {
        let place = Place::new();
        let store = place.open_gate();
        add(&store, &of_operator("A"), VALUE).await.expect("it can be added");
        add(&store, &of_operator("B"), OTHER).await.expect("it can be added");
        place.behind_the_gate().execute_batch(tamper).expect("SQLite does it");
        let error = store.open_secret(&of_operator("A")).await.expect_err("it was tampered with");
        assert!(matches!(error, StoreError::Unsealable { .. }), "{tamper}: {error}");
    }
    // Given to a sandbox that it is not of.
    let place = Place::new();
    let store = place.open_gate();
    add(&store, &of_operator("A"), VALUE).await.expect("it can be added");
    let sql = format!("UPDATE secret SET origin = 'client', sandbox_id = '{}'", sandbox_id(1));
    place.behind_the_gate().execute_batch(&sql).expect("SQLite does it");
    let error = store.open_secret(&of_client("A", 1)).await.expect_err("it was tampered with");
    assert!(matches!(error, StoreError::Unsealable { .. }), "{error}");
}

#[test]
fn what_no_secret_can_be_is_refused_without_its_value() {
    #[track_caller]
    fn check(value: &[u8], binding: &str, is_kept: bool) {
        let place = Place::new();
        let (value, binding) = (SecretValue::new(value), binding.to_owned());
        let (found, listed) = block_on(async {
            let store = place.open_gate();
            let found = store.write(move |tx| tx.add_secret(NOW_MS, &of_operator("A"), &value, &binding)).await;
            (found, store.secrets(SecretOrigin::Operator(Project::default())).await.expect("they can be listed"))
        });
        assert_eq!(listed.len(), usize::from(is_kept), "{found:?}");
        match found {
            Ok(_) => assert!(is_kept),
            Err(error) => {
                assert!(!is_kept && matches!(error, StoreError::Refused(_)), "{error:?}");
                assert!(!format!("{error} {error:?}").contains("nobody may find"), "{error:?}");
            }
        }
    }
    let long_json = |len: usize| format!("\"{}\"", "j".repeat(len - 2));
    check(VALUE, &long_json(16 << 10), true);
    check(VALUE, &long_json((16 << 10) + 1), false);
    for broken in ["", "{", "{}x", "nobody may find", "{\"a\":1,}", "\u{feff}{}", &"[".repeat(16 << 10)] {
        check(VALUE, broken, false);
    }
    check(b"", BINDING, false);
    check(&[VALUE, &vec![b'x'; (96 << 10) - VALUE.len()]].concat(), BINDING, true);
    check(&[VALUE, &vec![b'x'; 96 << 10]].concat(), BINDING, false);

    for name in ["A", "a.b-c_9", &"n".repeat(64)] {
        assert!(SecretName::parse(name).is_ok(), "{name}");
    }
    for name in ["", "a b", "a/b", "ü", "a\0", "a\n", &"n".repeat(65)] {
        assert!(matches!(SecretName::parse(name), Err(StoreError::Refused(_))), "{name:?}");
    }
}

#[tokio::test]
async fn secrets_and_placeholders_have_a_number_that_is_not_exceeded() {
    let place = Place::new();
    let store = place.open_gate();
    let full = store.write(|tx| {
        for number in 0..1024 {
            tx.add_secret(NOW_MS, &of_client(&format!("A{number}"), 1), &SecretValue::new(VALUE), "{}")?;
        }
        Ok(())
    });
    full.await.expect("so many are kept");
    assert!(matches!(add(&store, &of_client("B", 1), VALUE).await, Err(StoreError::Refused(_))));
    add(&store, &of_client("B", 2), VALUE).await.expect("another sandbox has its own number");
    revoke(&store, &of_client("A7", 1)).await.expect("it can be revoked");
    add(&store, &of_client("A7", 1), VALUE).await.expect("in the place of itself");
}

#[tokio::test]
async fn a_placeholder_is_known_by_its_exact_text_until_its_sandbox_goes() {
    const TEXT: &[u8] = b"PKrf8D1E0Q4ZPL7C2V9M";
    let place = Place::new();
    let store = place.open_gate();
    let (ours, theirs) = (of_operator("KEY"), of_client("KEY", 1));
    add(&store, &ours, VALUE).await.expect("it can be added");
    add(&store, &theirs, OTHER).await.expect("it can be added");
    add_placeholder(&store, 1, &ours, TEXT).await.expect("it can be added");
    add_placeholder(&store, 1, &theirs, b"another placeholder").await.expect("it can be added");
    add_placeholder(&store, 2, &ours, b"a third placeholder").await.expect("it can be added");

    let again = add_placeholder(&store, 1, &ours, b"a fourth placeholder").await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "of the same secret: {again:?}");
    let taken = add_placeholder(&store, 3, &ours, TEXT).await;
    assert!(matches!(taken, Err(StoreError::Exists { .. })), "of the same text: {taken:?}");
    let foreign = add_placeholder(&store, 2, &theirs, b"a fourth placeholder").await;
    assert!(matches!(foreign, Err(StoreError::Refused(_))), "of another sandbox's secret: {foreign:?}");
    let nothing = add_placeholder(&store, 1, &of_operator("NONE"), b"a fourth placeholder").await;
    assert!(matches!(nothing, Err(StoreError::NotFound { .. })), "of no secret: {nothing:?}");
    for len in [0, 15, 513] {
        let unfit = add_placeholder(&store, 3, &ours, &vec![b'p'; len]).await;
        assert!(matches!(unfit, Err(StoreError::Refused(_))), "of {len} bytes: {unfit:?}");
    }
    rotate(&store, &ours, OTHER).await.expect("it can be rotated");
    revoke(&store, &ours).await.expect("it can be revoked");
    store.close().await.expect("the store closes");

    let store = place.open_gate();
    let find = async |text: &[u8]| {
        let text = text.to_vec();
        store.read(move |view| view.placeholder(&text)).await.expect("it can be looked for")
    };
    let expected = PlaceholderRow { sandbox: sandbox_id(1), secret: ours.clone(), created_at_ms: NOW_MS };
    assert_eq!(find(TEXT).await, Some(expected), "after a restart, whatever became of the secret");
    assert_eq!(find(&TEXT[..19]).await, None);
    assert_eq!(find(&TEXT.to_ascii_lowercase()).await, None);
    assert_eq!(find(b"another placeholder").await.map(|row| row.secret), Some(theirs.clone()));
    let all = store.placeholders().await.expect("they can be listed");
    assert_eq!(all.len(), 3);
    let of_one = store.read(|view| view.placeholders(Some(&sandbox_id(1)))).await.expect("they can be listed");
    let texts: Vec<_> = of_one.iter().map(|(row, text)| (&row.secret, text.expose())).collect();
    assert_eq!(texts, [(&theirs, b"another placeholder".as_slice()), (&ours, TEXT)]);

    store.forget_sandbox(NOW_MS, &sandbox_id(1)).await.expect("it can be forgotten");
    assert_eq!(find(TEXT).await, None);
    assert_eq!(find(b"a third placeholder").await.map(|row| row.sandbox), Some(sandbox_id(2)));
}

#[tokio::test]
async fn a_placeholder_that_was_moved_is_not_taken_for_one() {
    for tamper in [
        format!("UPDATE placeholder SET sandbox_id = '{}'", sandbox_id(2)),
        "UPDATE placeholder SET secret = 'OTHER'".into(),
        "UPDATE placeholder SET secret_origin = 'client'".into(),
        "UPDATE placeholder SET sealed = x'00'".into(),
    ] {
        let place = Place::new();
        let store = place.open_gate();
        add(&store, &of_operator("KEY"), VALUE).await.expect("it can be added");
        add_placeholder(&store, 1, &of_operator("KEY"), b"a placeholder's text").await.expect("it can be added");
        place.behind_the_gate().execute_batch(&tamper).expect("SQLite does it");
        let found = store.read(|view| view.placeholder(b"a placeholder's text")).await;
        assert!(matches!(found, Err(StoreError::Unsealable { .. })), "{tamper}: {found:?}");
    }
    // A text that somebody else chose.
    let place = Place::new();
    let store = place.open_gate();
    add(&store, &of_operator("KEY"), VALUE).await.expect("it can be added");
    add_placeholder(&store, 1, &of_operator("KEY"), b"a placeholder's text").await.expect("it can be added");
    add_placeholder(&store, 2, &of_operator("KEY"), b"another's placeholder").await.expect("it can be added");
    let swap = format!(
        "CREATE TEMP TABLE other AS SELECT text_sha256 FROM placeholder WHERE sandbox_id = '{two}'; \
         DELETE FROM placeholder WHERE sandbox_id = '{two}'; \
         UPDATE placeholder SET text_sha256 = (SELECT text_sha256 FROM other)",
        two = sandbox_id(2)
    );
    place.behind_the_gate().execute_batch(&swap).expect("SQLite does it");
    let found = store.read(|view| view.placeholder(b"another's placeholder")).await;
    assert!(matches!(found, Err(StoreError::Unsealable { .. })), "{found:?}");
}

#[tokio::test]
async fn a_policy_is_what_was_set_last_until_its_sandbox_goes() {
    let place = Place::new();
    let store = place.open_gate();
    let set = async |sandbox: u8, at_ms: u64, policy: &str| {
        let policy = policy.to_owned();
        store.write(move |tx| tx.set_policy(at_ms, &sandbox_id(sandbox), &policy)).await
    };
    assert_eq!(set(1, NOW_MS, "{}").await.expect("it can be set"), 1);
    assert_eq!(set(2, NOW_MS, r#"{"allow":"open"}"#).await.expect("it can be set"), 1);
    assert_eq!(set(1, NOW_MS + 5, r#"{"allow":[]}"#).await.expect("it can be set"), 2);
    let largest = format!("\"{}\"", "p".repeat((256 << 10) - 2));
    assert_eq!(set(3, NOW_MS, &largest).await.expect("it can be set"), 1);
    for broken in ["", "{", "deny", &format!("{largest} "), &"[".repeat(100_000)] {
        let error = set(1, NOW_MS + 9, broken).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    }
    store.close().await.expect("the store closes");

    let store = place.open_gate();
    let row = store.read(|view| view.policy(&sandbox_id(1))).await.expect("it can be read").expect("it is there");
    assert_eq!((row.policy.as_str(), row.version, row.updated_at_ms), (r#"{"allow":[]}"#, 2, NOW_MS + 5));
    store.forget_sandbox(NOW_MS, &sandbox_id(1)).await.expect("it can be forgotten");
    let left = store.policies().await.expect("they can be read");
    let mut left: Vec<_> = left.into_iter().map(|row| row.sandbox).collect();
    left.sort();
    let mut expected = [sandbox_id(2), sandbox_id(3)];
    expected.sort();
    assert_eq!(left, expected);
}

//! The audit chain against somebody who edits the database file: what is found, and what can only be found by whoever
//! remembers a head.

mod support;

use std::fs;

use ringfence_store::{Actor, AuditEntry, AuditFilter, BrokenLink, Fault, StoreError, Verification};
use rusqlite::{Connection, params};
use serde_json::json;
use sha2::{Digest, Sha256};
use support::{NOW_MS, Place, append, block_on, entry, execution_id, sandbox_id, sandbox_row, wait_until, whole_chain};

/// Entries of a chain that is tampered with.
const LENGTH: u64 = 10;

/// The hash of a row as src/audit/encoding.rs documents it, written here a second time: what an attacker who has read
/// that page computes.
fn hash_of(conn: &Connection, seq: u64) -> Vec<u8> {
    let row = conn.query_row(
        "SELECT at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash FROM audit WHERE seq = ?1",
        params![seq],
        |row| {
            let text = |text: String| [&(text.len() as u64).to_be_bytes(), text.as_bytes()].concat();
            let maybe = |id: Option<String>| id.map_or_else(|| vec![0], |id| [vec![1], text(id)].concat());
            Ok([
                b"ringfence audit 1\0".to_vec(),
                seq.to_be_bytes().to_vec(),
                row.get::<_, i64>(0)?.to_be_bytes().to_vec(),
                text(row.get(1)?),
                text(row.get(2)?),
                maybe(row.get(3)?),
                maybe(row.get(4)?),
                text(row.get(5)?),
                row.get(6)?,
            ]
            .concat())
        },
    );
    Sha256::digest(row.expect("the row is there")).to_vec()
}

/// Gives an entry the hash of what it says now.
fn rehash(conn: &Connection, seq: u64) {
    let hash = hash_of(conn, seq);
    conn.execute("UPDATE audit SET hash = ?2 WHERE seq = ?1", params![seq, hash]).expect("without triggers it can");
}

/// Appends a valid entry after the last one.
fn forge(conn: &Connection) {
    conn.execute_batch(
        "INSERT INTO audit SELECT coalesce(max(seq), 0) + 1, 1, 'operator', 'forged', NULL, NULL, '{}', \
         coalesce((SELECT hash FROM audit ORDER BY seq DESC LIMIT 1), zeroblob(32)), zeroblob(32) FROM audit",
    )
    .expect("without triggers it can");
    rehash(conn, conn.query_row("SELECT max(seq) FROM audit", [], |row| row.get(0)).expect("it is there"));
}

/// A chain of so many valid entries in place of the real one.
fn replace_all(conn: &Connection, length: u64) {
    run(conn, "DELETE FROM audit");
    for _ in 0..length {
        forge(conn);
    }
    move_head(conn);
}

/// Makes the head in the database agree with the last row.
fn move_head(conn: &Connection) {
    run(
        conn,
        "UPDATE audit_head SET seq = coalesce((SELECT max(seq) FROM audit), 0), \
         hash = coalesce((SELECT hash FROM audit ORDER BY seq DESC LIMIT 1), zeroblob(32))",
    );
}

fn run(conn: &Connection, sql: &str) {
    conn.execute_batch(sql).expect("without triggers SQLite does it");
}

/// Makes a chain of [`LENGTH`] entries, closes the store, tampers, and opens it again.
#[track_caller]
fn check(what: &str, tamper: impl FnOnce(&Connection), seq: u64, fault: Fault) {
    let place = Place::new();
    let (found, after_more) = block_on(async {
        let store = place.open();
        append(&store, LENGTH).await;
        store.close().await.expect("the store closes");
        tamper(&place.without_triggers());
        let store = place.open();
        let found = whole_chain(&store).await;
        // Work goes on, and does not cover it up, with the head file noted or not.
        append(&store, 3).await;
        store.close().await.expect("the store closes");
        (found, whole_chain(&place.open()).await)
    });
    assert_eq!(found, Verification::Broken(BrokenLink { seq, fault }), "{what}");
    assert!(matches!(after_more, Verification::Broken(_)), "{what}: covered up by later entries");
}

#[test]
fn an_edited_entry_is_found() {
    for change in [
        "detail = '{\"n\":99}'",
        "detail = detail || ' '",
        "at_ms = at_ms + 1",
        "at_ms = -1",
        "actor = 'operator'",
        "event = 'sandbox.create'",
        "sandbox_id = NULL",
        "sandbox_id = execution_id, execution_id = sandbox_id",
        "execution_id = NULL",
        "prev_hash = zeroblob(32)",
        "hash = zeroblob(32)",
        "hash = zeroblob(31)",
    ] {
        for seq in [1, 5, LENGTH] {
            if seq == 1 && change == "prev_hash = zeroblob(32)" {
                continue; // That is what the first entry has.
            }
            let sql = format!("UPDATE audit SET {change} WHERE seq = {seq}");
            check(&sql, |conn| run(conn, &sql), seq, Fault::Edited);
        }
    }
}

#[test]
fn an_edited_entry_with_a_hash_that_fits_no_longer_fits_the_next() {
    let edit = |seq| {
        move |conn: &Connection| {
            conn.execute("UPDATE audit SET detail = '{}' WHERE seq = ?1", params![seq]).expect("it can");
            rehash(conn, seq);
        }
    };
    check("in the middle", edit(5), 6, Fault::NotLinked);
    check("the first", edit(1), 2, Fault::NotLinked);
    check("the last", edit(LENGTH), LENGTH, Fault::NotAsRemembered);
    let with_head = |conn: &Connection| {
        edit(LENGTH)(conn);
        move_head(conn);
    };
    check("the last, and the head", with_head, LENGTH, Fault::NotAsRemembered);
}

#[test]
fn a_deleted_entry_is_found() {
    check("in the middle", |conn| run(conn, "DELETE FROM audit WHERE seq = 5"), 5, Fault::Missing);
    check("several", |conn| run(conn, "DELETE FROM audit WHERE seq BETWEEN 4 AND 8"), 4, Fault::Missing);
    check("the first", |conn| run(conn, "DELETE FROM audit WHERE seq = 1"), 1, Fault::Missing);
    let renumbered = |conn: &Connection| {
        run(conn, "DELETE FROM audit WHERE seq = 5");
        for seq in 6..=LENGTH {
            run(conn, &format!("UPDATE audit SET seq = {} WHERE seq = {seq}", seq - 1));
        }
    };
    check("and the others moved up", renumbered, 5, Fault::Edited);
}

#[test]
fn swapped_entries_are_found() {
    const SWAP: &str = "UPDATE audit SET seq = 100 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 7; \
                        UPDATE audit SET seq = 7 WHERE seq = 100;";
    check("as they are", |conn| run(conn, SWAP), 4, Fault::Edited);
    let rehashed = |conn: &Connection| {
        run(conn, SWAP);
        rehash(conn, 4);
        rehash(conn, 7);
    };
    check("with hashes that fit", rehashed, 4, Fault::NotLinked);
}

#[test]
fn an_end_that_was_cut_off_is_found() {
    let cut = |from: u64| move |conn: &Connection| run(conn, &format!("DELETE FROM audit WHERE seq >= {from}"));
    let cut_with_head = |from: u64| {
        move |conn: &Connection| {
            cut(from)(conn);
            move_head(conn);
        }
    };
    let head = LENGTH;
    check("the last", cut(LENGTH), LENGTH - 1, Fault::CutOff { head });
    check("some", cut(8), 7, Fault::CutOff { head });
    check("all", cut(1), 0, Fault::CutOff { head });
    check("the last, and the head", cut_with_head(LENGTH), LENGTH - 1, Fault::CutOff { head });
    check("some, and the head", cut_with_head(8), 7, Fault::CutOff { head });
    check("all, and the head", cut_with_head(1), 0, Fault::CutOff { head });
}

#[test]
fn an_entry_of_somebody_else_is_found() {
    check("a valid one at the end", forge, LENGTH + 1, Fault::Added);
    let far = |conn: &Connection| {
        forge(conn);
        run(conn, "UPDATE audit SET seq = 20 WHERE seq = 11");
    };
    check("beyond a gap", far, LENGTH + 1, Fault::Missing);
    for seq in [0, -1] {
        let before = move |conn: &Connection| {
            forge(conn);
            run(conn, &format!("UPDATE audit SET seq = {seq} WHERE seq = 11"));
        };
        check("before the first", before, 0, Fault::Added);
    }
}

#[test]
fn a_head_that_was_moved_alone_is_found() {
    let hash = |conn: &Connection| run(conn, "UPDATE audit_head SET hash = zeroblob(32)");
    check("another hash", hash, LENGTH, Fault::NotAsRemembered);
    let forward = |conn: &Connection| run(conn, "UPDATE audit_head SET seq = 12");
    check("forward", forward, LENGTH, Fault::CutOff { head: 12 });
    let back = |conn: &Connection| {
        run(conn, "UPDATE audit_head SET seq = 8, hash = (SELECT hash FROM audit WHERE seq = 8)");
    };
    check("back", back, 9, Fault::Added);
}

#[test]
fn a_chain_written_anew_is_not_the_one_that_the_head_file_remembers() {
    check("as long", |conn| replace_all(conn, LENGTH), LENGTH, Fault::NotAsRemembered);
    check("longer", |conn| replace_all(conn, LENGTH + 5), LENGTH, Fault::NotAsRemembered);
    check("shorter", |conn| replace_all(conn, 5), 5, Fault::CutOff { head: LENGTH });
    check("empty", |conn| replace_all(conn, 0), 0, Fault::CutOff { head: LENGTH });
}

/// The documented limit of the chain: who may write both files can write everything anew, and only a head that is known
/// elsewhere tells.
#[tokio::test]
async fn a_chain_written_anew_with_its_head_file_is_known_by_a_receipt_alone() {
    let place = Place::new();
    let store = place.open();
    append(&store, LENGTH - 1).await;
    let receipt = store.append(entry(LENGTH)).await.expect("an entry can be appended");
    store.close().await.expect("the store closes");
    replace_all(&place.without_triggers(), LENGTH);
    fs::remove_file(place.head_file()).expect("the head file was there");

    let store = place.open();
    let Verification::Sound(verified) = whole_chain(&store).await else { panic!("a valid chain is sound in itself") };
    assert_eq!(verified.head.seq, receipt.seq());
    assert_ne!(verified.head.hash, receipt.hash(), "the receipt is not for this chain");
}

/// The other documented limit: hashes have no key, so that who may write the database can also add to its end.
#[tokio::test]
async fn a_forged_end_with_its_head_is_known_by_the_last_receipt_alone() {
    let place = Place::new();
    let store = place.open();
    append(&store, LENGTH).await;
    let last = store.audit_head().await.expect("there is a head");
    store.close().await.expect("the store closes");
    let conn = place.without_triggers();
    forge(&conn);
    move_head(&conn);
    drop(conn);

    let store = place.open();
    let Verification::Sound(verified) = whole_chain(&store).await else { panic!("a valid end is sound in itself") };
    assert_ne!(verified.head, last, "who remembers the last head sees an entry more");
}

#[tokio::test]
async fn tampering_with_a_running_store_is_found() {
    for (tamper, fault) in [
        ("UPDATE audit SET at_ms = 0 WHERE seq = 5", BrokenLink { seq: 5, fault: Fault::Edited }),
        ("DELETE FROM audit WHERE seq = 5", BrokenLink { seq: 5, fault: Fault::Missing }),
        (
            "DELETE FROM audit WHERE seq > 7; UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit WHERE seq = 7)",
            BrokenLink { seq: 7, fault: Fault::CutOff { head: LENGTH } },
        ),
    ] {
        let place = Place::new();
        let store = place.open();
        append(&store, LENGTH).await;
        let noted = format!("ringfence-audit-head 1 {LENGTH} ");
        wait_until("the head is noted beside the database", || {
            fs::read_to_string(place.head_file()).is_ok_and(|text| text.starts_with(&noted))
        });
        run(&place.without_triggers(), tamper);
        assert_eq!(whole_chain(&store).await, Verification::Broken(fault), "{tamper}");
        append(&store, 1).await;
        assert!(matches!(whole_chain(&store).await, Verification::Broken(_)), "{tamper}, covered up by an entry more");
    }
}

#[tokio::test]
async fn a_head_file_that_is_not_ours_is_said_and_left_as_it_is() {
    let place = Place::new();
    let store = place.open();
    append(&store, LENGTH).await;
    store.close().await.expect("the store closes");
    fs::write(place.head_file(), "nonsense").expect("the file can be written");
    let store = place.open();
    append(&store, 1).await;
    let error = store.verify(1, None).await.expect_err("it says nothing about the chain");
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    store.close().await.expect("the store closes");
    assert_eq!(fs::read_to_string(place.head_file()).expect("it is there"), "nonsense");
}

#[tokio::test]
async fn the_triggers_refuse_what_is_no_attack_but_a_mistake() {
    let place = Place::new();
    let store = place.open();
    append(&store, 3).await;
    store.close().await.expect("the store closes");
    let conn = place.behind_its_back();
    for sql in [
        "UPDATE audit SET detail = '{}' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 3",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 3",
    ] {
        let error = conn.execute_batch(sql).expect_err("the chain is append-only");
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn an_untouched_chain_of_thousands_is_sound() {
    const ENTRIES: u64 = 4000;
    let place = Place::new();
    let store = place.open();
    assert!(matches!(whole_chain(&store).await, Verification::Sound(found) if found.entries == 0));
    let writers = (0..64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (writer..ENTRIES).step_by(64) {
                let mut entry = AuditEntry::new(NOW_MS, [Actor::Operator, Actor::Agent, Actor::System][number as usize % 3], "a.b_1");
                if number % 2 == 0 {
                    entry = entry.sandbox(&sandbox_id(number as u8));
                }
                if number % 5 == 0 {
                    entry = entry.execution(&execution_id(number as u8));
                }
                let detail = json!({"z": 1.5e300, "ü🦀": "\"\\\n\u{0}\u{7f}", "a": [null, {"b": -1, "a": u64::MAX}], "n": number});
                let _ = store.append(entry.detail(detail)).await.expect("an entry can be appended");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no writer panics");
    }
    let head = store.audit_head().await.expect("there is a head");
    assert_eq!(head.seq, ENTRIES);
    let Verification::Sound(verified) = whole_chain(&store).await else { panic!("nobody touched it") };
    assert_eq!((verified.entries, verified.head), (ENTRIES, head));
    store.close().await.expect("the store closes");
    assert_eq!(whole_chain(&place.open()).await, Verification::Sound(verified), "after a restart");
}

#[test]
fn a_range_is_checked_and_nothing_outside_it() {
    // Entry 5 is edited; the entry before a range is its anchor, and is checked too.
    #[track_caller]
    fn check(from: u64, to: Option<u64>, expected: Result<(u64, u64), Option<u64>>) {
        let place = Place::new();
        let found = block_on(async {
            let store = place.open();
            append(&store, LENGTH).await;
            run(&place.without_triggers(), "UPDATE audit SET at_ms = 0 WHERE seq = 5");
            store.verify(from, to).await
        });
        let found = match found {
            Ok(Verification::Sound(verified)) => Ok((verified.entries, verified.head.seq)),
            Ok(Verification::Broken(link)) => Err(Some(link.seq)),
            Err(StoreError::Refused(_)) => Err(None),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{from}..={to:?}");
    }
    check(1, Some(4), Ok((4, 4)));
    check(0, Some(4), Ok((4, 4)));
    check(1, Some(1), Ok((1, 1)));
    check(3, Some(4), Ok((2, 4)));
    check(7, None, Ok((4, 10)));
    check(7, Some(8), Ok((2, 8)));
    check(10, Some(10), Ok((1, 10)));
    check(8, Some(50), Ok((3, 10)));
    check(1, None, Err(Some(5)));
    check(5, Some(5), Err(Some(5)));
    check(6, Some(7), Err(Some(5)));
    check(7, Some(6), Err(None));
    check(11, None, Err(None));
    check(u64::MAX, None, Err(None));
}

#[tokio::test]
async fn neither_decision_nor_change_is_kept_when_the_change_fails() {
    let place = Place::new();
    let store = place.open();
    append(&store, 1).await;
    let before = store.audit_head().await.expect("there is a head");
    let row = sandbox_row(1, ringfence_store::SandboxStatus::Creating);
    let (id, again) = (row.id.clone(), row.clone());

    let failing = store.write_with_audit(entry(2), move |tx| {
        tx.insert_sandbox(&row)?;
        tx.insert_sandbox(&row)
    });
    let panicking = store.write_with_audit(entry(3), move |tx| {
        tx.insert_sandbox(&again)?;
        panic!("a bug")
    });
    let unbounded = AuditEntry::new(NOW_MS, Actor::Agent, "Not An Event");
    let refused = store.write_with_audit(unbounded, |tx| tx.set_meta("kept", "yes"));
    let beside = store.write_with_audit(entry(4), |tx| tx.set_meta("beside", "yes"));
    let (failing, panicking, refused, beside): (_, ringfence_store::Result<((), _)>, _, _) =
        tokio::join!(failing, panicking, refused, beside);

    assert!(matches!(failing, Err(StoreError::Exists { .. })), "{failing:?}");
    assert!(matches!(panicking, Err(StoreError::Panicked(_))), "{panicking:?}");
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let ((), receipt) = beside.expect("one beside the failing ones is unharmed");
    assert_eq!(receipt.seq(), before.seq + 1, "the others took no number");
    assert_eq!(store.sandbox(&id).await.expect("it can be read"), None);
    assert_eq!(store.meta("kept").await.expect("it can be read"), None);
    assert_eq!(store.meta("beside").await.expect("it can be read").as_deref(), Some("yes"));
    assert_eq!(store.audit_records(AuditFilter::default()).await.expect("they can be read").len(), 2);
    assert!(matches!(whole_chain(&store).await, Verification::Sound(found) if found.entries == 2));
}

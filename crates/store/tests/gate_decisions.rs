//! Decisions: on disk before their permit, in the chain, listed, counted, and pruned.

mod support;

use ringfence_store::gate::{Decision, DecisionFilter, DecisionId, Protocol, Retention, Ruling, Settlement, Totals};
use ringfence_store::{AuditFilter, Fault, StoreError, Verification};
use serde_json::json;
use support::{
    NOW_MS, Place, allowed, block_on, hold, refused, sandbox_id, secret_name, wait_until_queued, whole_chain,
};
use tokio::task::JoinSet;

const OVER: Settlement = Settlement { status: Some(200), bytes_up: 100, bytes_down: 5000, duration_ms: 12 };

#[tokio::test]
async fn a_decision_stands_in_the_chain_and_as_a_row_of_the_same_number() {
    let place = Place::new();
    let store = place.open_gate();
    let Ruling::Allowed(permit) = store.decide(allowed(1, NOW_MS)).await.expect("it is recorded") else {
        panic!("it was allowed")
    };
    let Ruling::Refused(refusal) = store.decide(refused(1, NOW_MS + 1)).await.expect("it is recorded") else {
        panic!("it was refused")
    };
    assert_eq!((permit.decision().get(), permit.receipt().seq(), refusal.get()), (1, 1, 2));

    let records = store.audit_records(AuditFilter::default()).await.expect("they can be read");
    let said: Vec<_> = records.iter().map(|record| (record.event.as_str(), record.sandbox.clone())).collect();
    assert_eq!(said, [("egress.refuse", Some(sandbox_id(1))), ("egress.allow", Some(sandbox_id(1)))]);
    assert_eq!(records[1].hash, permit.receipt().hash());
    assert_eq!(
        records[1].detail,
        json!({"protocol": "http", "host": "paper-api.alpaca.markets", "address": "192.0.2.7", "port": 443,
            "method": "GET", "path": "/v2/account", "rule": "alpaca", "secrets": ["ALPACA_SECRET_KEY"]})
    );
    let reason = "169.254.169.254 is a link-local address";
    let detail = json!({"protocol": "tcp", "address": "169.254.169.254", "port": 80, "reason": reason});
    assert_eq!(records[0].detail, detail);

    assert!(store.settle(permit.decision(), OVER).await.expect("it is settled"));
    assert!(!store.settle(permit.decision(), OVER).await.expect("it can be asked"), "only once");
    assert!(!store.settle(DecisionId::new(99), OVER).await.expect("it can be asked"), "there is none");
    store.close().await.expect("the store closes");

    let store = place.open_gate();
    let rows = store.decisions(DecisionFilter::default()).await.expect("they can be read");
    let seen: Vec<_> = rows.iter().map(|row| (row.id.get(), &row.decision, row.settlement)).collect();
    assert_eq!(seen, [(2, &refused(1, NOW_MS + 1), None), (1, &allowed(1, NOW_MS), Some(OVER))], "after a restart");
    let Verification::Sound(found) = whole_chain(&store).await else { panic!("the chain is whole") };
    assert_eq!(found.entries, 2, "settling adds none");
}

#[tokio::test]
async fn no_permit_is_given_before_its_decision_survives_a_crash() {
    let place = Place::new();
    let store = place.open_gate();
    let (release, holding) = hold(&store).await;
    let asking = tokio::spawn({
        let store = store.clone();
        async move { store.decide(allowed(1, NOW_MS)).await }
    });
    wait_until_queued(&store, 2).await;
    assert!(!asking.is_finished(), "the writer has not committed");
    let crashed_before = place.as_after_a_crash();
    let before = crashed_before.open_gate();
    assert_eq!(before.decisions(DecisionFilter::default()).await.expect("they can be read"), []);

    release.send(()).expect("the writer waits");
    holding.await.expect("no panic").expect("it is committed");
    let Ruling::Allowed(permit) = asking.await.expect("no panic").expect("it is recorded") else {
        panic!("it was allowed")
    };
    // Taken while the store is open: nothing was tidied up for it.
    let crashed = place.as_after_a_crash();
    let after = crashed.open_gate();
    let rows = after.decisions(DecisionFilter::default()).await.expect("they can be read");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [permit.decision()]);
    let records = after.audit_records(AuditFilter::default()).await.expect("they can be read");
    assert_eq!((records[0].seq, records[0].hash), (permit.receipt().seq(), permit.receipt().hash()));
    assert!(matches!(whole_chain(&after).await, Verification::Sound(found) if found.entries == 1));
}

#[tokio::test]
async fn one_who_gives_up_before_the_commit_has_no_permit_and_the_decision_is_recorded_all_the_same() {
    let place = Place::new();
    let store = place.open_gate();
    let (release, holding) = hold(&store).await;
    let asking = tokio::spawn({
        let store = store.clone();
        async move { store.decide(allowed(1, NOW_MS)).await }
    });
    wait_until_queued(&store, 2).await;
    asking.abort();
    assert!(asking.await.expect_err("it was given up").is_cancelled());
    release.send(()).expect("the writer waits");
    holding.await.expect("no panic").expect("it is committed");
    // One that comes later is answered after it.
    let later = store.decide(refused(1, NOW_MS)).await.expect("it is recorded");
    assert_eq!(later.decision().get(), 2);
    assert_eq!(store.decisions(DecisionFilter::default()).await.expect("they can be read").len(), 2);
}

#[tokio::test]
async fn decisions_that_arrive_together_share_one_transaction() {
    const ASKING: u64 = 64;
    let place = Place::new();
    let store = place.open_gate();
    let (release, holding) = hold(&store).await;
    let mut asking = JoinSet::new();
    for number in 0..ASKING {
        let store = store.clone();
        asking.spawn(async move { store.decide(allowed(number as u8 % 4, NOW_MS + number)).await });
    }
    wait_until_queued(&store, ASKING as usize + 1).await;
    release.send(()).expect("the writer waits");
    holding.await.expect("no panic").expect("it is committed");
    let rulings = asking.join_all().await;
    let mut ids: Vec<u64> = rulings.into_iter().map(|ruling| ruling.expect("recorded").decision().get()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=ASKING).collect::<Vec<_>>());
    assert_eq!(store.statistics().transactions, 2, "one that held the writer up, and one for all the others");
    assert!(matches!(whole_chain(&store).await, Verification::Sound(found) if found.entries == ASKING));
}

#[tokio::test]
async fn what_admit_changes_and_what_it_decides_are_kept_together_or_not_at_all() {
    let place = Place::new();
    let store = place.open_gate();
    // The second finds what the first has reserved, and decides otherwise.
    let ask = async || {
        store
            .admit(|tx| {
                if tx.meta("reserved")?.is_some() {
                    return Ok((Decision { rule: None, ..refused(1, NOW_MS) }, "nothing left"));
                }
                tx.set_meta("reserved", "yes")?;
                Ok((allowed(1, NOW_MS), "reserved"))
            })
            .await
            .expect("it is recorded")
    };
    assert!(matches!(ask().await, (Ruling::Allowed(_), "reserved")));
    assert!(matches!(ask().await, (Ruling::Refused(_), "nothing left")));

    let failing = store
        .admit(|tx| {
            tx.set_meta("kept", "yes")?;
            Err::<(Decision, ()), _>(StoreError::Refused("as asked".into()))
        })
        .await;
    assert!(matches!(failing, Err(StoreError::Refused(_))), "{failing:?}");
    let unbounded = store
        .admit(|tx| {
            tx.set_meta("kept", "yes")?;
            Ok((Decision { host: Some("h".repeat(256)), ..allowed(1, NOW_MS) }, ()))
        })
        .await;
    assert!(matches!(unbounded, Err(StoreError::Refused(_))), "{unbounded:?}");
    assert_eq!(store.meta("kept").await.expect("it can be read"), None);
    let totals = store.totals(&sandbox_id(1)).await.expect("they can be read");
    assert_eq!((totals.requests, totals.refused), (2, 1));
    assert!(matches!(whole_chain(&store).await, Verification::Sound(found) if found.entries == 2));
}

#[test]
fn a_decision_within_its_bounds_is_kept_as_it_is_and_another_is_refused_whole() {
    #[track_caller]
    fn check(decision: Decision, is_kept: bool) {
        let place = Place::new();
        let (ruling, rows) = block_on(async {
            let store = place.open_gate();
            let ruling = store.decide(decision.clone()).await;
            (ruling, store.decisions(DecisionFilter::default()).await.expect("they can be read"))
        });
        if is_kept {
            assert!(ruling.is_ok(), "{ruling:?}");
            assert_eq!(rows.into_iter().map(|row| row.decision).collect::<Vec<_>>(), [decision]);
        } else {
            assert!(matches!(ruling, Err(StoreError::Refused(_))), "{ruling:?}");
            assert_eq!(rows, []);
        }
    }
    let base = || allowed(1, NOW_MS);
    for (len, is_kept) in [(255, true), (256, false)] {
        check(Decision { host: Some("h".repeat(len)), ..base() }, is_kept);
    }
    for (len, is_kept) in [(32, true), (33, false)] {
        check(Decision { method: Some("M".repeat(len)), ..base() }, is_kept);
    }
    for (path, is_kept) in [
        ("\"".repeat(2048), true),
        ("ü".repeat(1024), true),
        ("p".repeat(2049), false),
        ("/a?key=value".into(), false),
        ("/a#b".into(), false),
        ("/a\nb".into(), false),
        ("/a\0b".into(), false),
        ("/a\u{9b}31m".into(), false),
    ] {
        check(Decision { path: Some(path), ..base() }, is_kept);
    }
    for (len, is_kept) in [(512, true), (513, false)] {
        check(Decision { rule: Some("\\".repeat(len)), ..base() }, is_kept);
    }
    for (len, is_kept) in [(1024, true), (1025, false)] {
        check(Decision::refuse(NOW_MS, sandbox_id(1), Protocol::Udp, 443, "\"".repeat(len)), is_kept);
    }
    for (count, is_kept) in [(0, true), (16, true), (17, false)] {
        let secrets = (0..count).map(|n| secret_name(&format!("{}{n:02}", "S".repeat(62)))).collect();
        check(Decision { secrets, ..base() }, is_kept);
    }
    check(Decision { address: Some("2001:db8::1".parse().expect("an address")), port: 0, ..base() }, true);
    for protocol in [Protocol::Dns, Protocol::Tcp, Protocol::Tls, Protocol::Http, Protocol::Ws, Protocol::Udp] {
        check(Decision::allow(NOW_MS, sandbox_id(1), protocol, 65535), true);
    }
    // All at their largest at once.
    check(
        Decision {
            host: Some("\"".repeat(255)),
            method: Some("\\".repeat(32)),
            path: Some("\"".repeat(2048)),
            rule: Some("\\".repeat(512)),
            secrets: (0..16).map(|n| secret_name(&format!("{}{n:02}", "S".repeat(62)))).collect(),
            ..Decision::refuse(NOW_MS, sandbox_id(1), Protocol::Http, 443, "\"".repeat(1024))
        },
        true,
    );
}

#[tokio::test]
async fn they_are_listed_newest_first_or_followed_and_each_sandbox_has_its_own() {
    let place = Place::new();
    let store = place.open_gate();
    for number in 0..10 {
        let _ = store.decide(allowed(number % 2, NOW_MS)).await.expect("it is recorded");
    }
    let list = async |sandbox: Option<u8>, after: Option<u64>, limit: Option<u32>| -> Vec<u64> {
        let filter = DecisionFilter { sandbox: sandbox.map(sandbox_id), after: after.map(DecisionId::new), limit };
        store.decisions(filter).await.expect("they can be read").iter().map(|row| row.id.get()).collect()
    };
    assert_eq!(list(None, None, Some(3)).await, [10, 9, 8]);
    assert_eq!(list(None, Some(8), None).await, [9, 10]);
    assert_eq!(list(None, Some(0), Some(2)).await, [1, 2]);
    assert_eq!(list(Some(0), None, None).await, [9, 7, 5, 3, 1]);
    assert_eq!(list(Some(1), Some(3), Some(2)).await, [4, 6]);
    assert_eq!(list(None, Some(10), None).await, [0; 0]);
    assert_eq!(list(None, Some(0), Some(0)).await, [0; 0]);
    assert_eq!(list(Some(7), None, None).await, [0; 0]);
}

#[tokio::test]
async fn totals_outlive_what_is_pruned_and_end_with_their_sandbox() {
    let place = Place::new();
    let store = place.open_gate();
    for number in 0..20 {
        let decision = if number % 5 == 4 { refused(1, NOW_MS + number) } else { allowed(1, NOW_MS + number) };
        let id = store.decide(decision).await.expect("it is recorded").decision();
        if number < 10 {
            assert!(store.settle(id, OVER).await.expect("it is settled"));
        }
    }
    let _ = store.decide(allowed(2, NOW_MS + 20)).await.expect("it is recorded");
    let totals = Totals { requests: 20, refused: 4, bytes_up: 1000, bytes_down: 50_000 };
    assert_eq!(store.totals(&sandbox_id(1)).await.expect("they can be read"), totals);

    let prune = async |since_ms, rows_max| {
        store.prune_decisions(Retention { since_ms, rows_max }).await.expect("they can be pruned")
    };
    let left = async || -> Vec<u64> {
        let filter = DecisionFilter { after: Some(DecisionId::new(0)), ..DecisionFilter::default() };
        store.decisions(filter).await.expect("they can be read").iter().map(|row| row.id.get()).collect()
    };
    assert_eq!(prune(None, None).await, 0);
    assert_eq!(prune(Some(NOW_MS), Some(21)).await, 0);
    assert_eq!(prune(Some(NOW_MS + 5), None).await, 5);
    assert_eq!(left().await, (6..=21).collect::<Vec<_>>());
    assert_eq!(prune(Some(NOW_MS), Some(4)).await, 12);
    assert_eq!(left().await, [18, 19, 20, 21]);
    assert_eq!(store.totals(&sandbox_id(1)).await.expect("they can be read"), totals);

    store.forget_sandbox(NOW_MS + 30, &sandbox_id(1)).await.expect("it can be forgotten");
    assert_eq!(store.totals(&sandbox_id(1)).await.expect("they can be read"), totals, "for a while");
    assert_eq!(prune(Some(NOW_MS + 30), None).await, 4, "all of them are older");
    assert_eq!(store.totals(&sandbox_id(1)).await.expect("they can be read"), totals);
    assert_eq!(prune(Some(NOW_MS + 31), Some(0)).await, 0);
    assert_eq!(store.totals(&sandbox_id(1)).await.expect("they can be read"), Totals::default());
    assert_eq!(store.totals(&sandbox_id(2)).await.expect("they can be read").requests, 1, "nobody forgot it");

    assert_eq!(store.decide(allowed(2, NOW_MS)).await.expect("it is recorded").decision().get(), 22);
    assert_eq!(prune(None, Some(0)).await, 1);
    let Verification::Sound(found) = whole_chain(&store).await else { panic!("the chain is whole") };
    assert_eq!(found.entries, 22, "audit entries are not pruned");
}

#[tokio::test]
async fn rows_are_made_of_the_chain_also_after_a_crash_and_none_a_second_time() {
    let place = Place::new();
    let store = place.open_gate();
    for number in 0..2500 {
        let store = store.clone();
        let decision = if number % 2 == 0 { allowed(1, NOW_MS + number) } else { refused(2, NOW_MS + number) };
        let _ = store.decide(decision).await.expect("it is recorded");
    }
    // Nobody has asked: what a crash leaves is the chain alone.
    let crashed = place.as_after_a_crash();
    let rows: u64 = crashed
        .behind_the_gate()
        .query_row("SELECT count(*) FROM decision", [], |row| row.get(0))
        .expect("it is there");
    assert_eq!(rows, 0);
    let after = crashed.open_gate();
    let ids = async || -> Vec<u64> {
        let filter = DecisionFilter { after: Some(DecisionId::new(0)), ..DecisionFilter::default() };
        after.decisions(filter).await.expect("they can be read").iter().map(|row| row.id.get()).collect()
    };
    assert_eq!(ids().await, (1..=2500).collect::<Vec<_>>());
    let totals = after.totals(&sandbox_id(2)).await.expect("they can be read");
    assert_eq!((totals.requests, totals.refused), (1250, 1250));
    let pruned = after.prune_decisions(Retention { since_ms: None, rows_max: Some(0) }).await;
    assert_eq!(pruned.expect("they can be pruned"), 2500);
    assert_eq!(ids().await, [0; 0], "what was pruned does not come back");
    let last = after.decide(allowed(1, NOW_MS)).await.expect("it is recorded").decision().get();
    assert_eq!(ids().await, [last]);
    assert_eq!(after.totals(&sandbox_id(1)).await.expect("they can be read").requests, 1251);
}

#[tokio::test]
async fn more_is_pruned_than_one_change_takes() {
    let place = Place::new();
    let store = place.open_gate();
    let mut asking = JoinSet::new();
    for number in 0..4500 {
        let store = store.clone();
        asking.spawn(async move { store.decide(allowed(1, NOW_MS + number)).await.map(drop) });
    }
    assert!(asking.join_all().await.iter().all(Result::is_ok));
    let before = store.statistics().changes;
    let pruned = store.prune_decisions(Retention { since_ms: None, rows_max: Some(100) }).await;
    assert_eq!(pruned.expect("they can be pruned"), 4400);
    assert_eq!(store.statistics().changes - before, 3);
    assert_eq!(store.decisions(DecisionFilter::default()).await.expect("they can be read").len(), 100);
}

#[test]
fn a_chain_that_was_edited_is_found_out() {
    #[track_caller]
    fn check(sql: &str, seq: u64, fault: Fault) {
        let place = Place::new();
        let found = block_on(async {
            let store = place.open_gate();
            for number in 0..5 {
                let _ = store.decide(refused(1, NOW_MS + number)).await.expect("it is recorded");
            }
            let triggers = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened;";
            place.behind_the_gate().execute_batch(triggers).expect("they are there");
            place.behind_the_gate().execute_batch(sql).expect("SQLite does it");
            whole_chain(&store).await
        });
        let Verification::Broken(link) = found else { panic!("{sql}: {found:?}") };
        assert_eq!((link.seq, link.fault), (seq, fault), "{sql}");
    }
    check("UPDATE audit SET event = 'egress.allow' WHERE seq = 3", 3, Fault::Edited);
    check("DELETE FROM audit WHERE seq = 2", 2, Fault::Missing);
    check("DELETE FROM audit WHERE seq = 5", 4, Fault::CutOff { head: 5 });
}

#[tokio::test]
async fn a_row_that_the_store_does_not_write_is_unreadable_and_no_panic() {
    for (set, column) in [
        ("sandbox_id = 'x'", "sandbox_id"),
        ("address = 'somewhere'", "address"),
        ("secrets = '[1]'", "secrets"),
        ("secrets = '[\"../../etc\"]'", "secrets"),
    ] {
        let place = Place::new();
        let store = place.open_gate();
        let _ = store.decide(allowed(1, NOW_MS)).await.expect("it is recorded");
        assert_eq!(store.decisions(DecisionFilter::default()).await.expect("they can be read").len(), 1);
        place.behind_the_gate().execute_batch(&format!("UPDATE decision SET {set}")).expect("SQLite does it");
        let error = store.decisions(DecisionFilter::default()).await.expect_err("it was edited");
        assert!(matches!(error, StoreError::Unreadable { column: found, .. } if found == column), "{set}: {error:?}");
    }
    // Numbers that do not fit are SQLite's to say.
    let place = Place::new();
    let store = place.open_gate();
    let _ = store.decide(allowed(1, NOW_MS)).await.expect("it is recorded");
    assert_eq!(store.decisions(DecisionFilter::default()).await.expect("they can be read").len(), 1);
    place.behind_the_gate().execute_batch("UPDATE decision SET port = 70000").expect("SQLite does it");
    let error = store.decisions(DecisionFilter::default()).await.expect_err("it was edited");
    assert!(matches!(error, StoreError::Sql { .. }), "{error:?}");
}

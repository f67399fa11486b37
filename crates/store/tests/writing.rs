//! Group commit, and a disk that is full.

mod support;

use ringfence_store::{EnvMode, Options, Statistics, StoreError, Verification};
use support::{Place, add_sandbox, entry, hold, secret, wait_until_queued, whole_chain};
use tokio::task::JoinSet;

#[tokio::test]
async fn changes_that_arrive_together_share_one_transaction() {
    const WRITERS: usize = 64;
    let place = Place::new();
    let store = place.open();
    let (release, holding) = hold(&store).await;
    let mut writers = JoinSet::new();
    for number in 0..WRITERS as u64 {
        let store = store.clone();
        writers.spawn(async move { store.append(entry(number)).await });
    }
    wait_until_queued(&store, WRITERS + 1).await;
    assert_eq!(store.statistics().changes, 0, "nothing is acknowledged before its commit");
    release.send(()).expect("the writer waits");
    holding.await.expect("no panic").expect("it is committed");
    let mut numbers: Vec<u64> = writers.join_all().await.into_iter().map(|r| r.expect("an entry").seq()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=WRITERS as u64).collect::<Vec<_>>(), "each has a number of its own");
    let Statistics { transactions, changes, .. } = store.statistics();
    let expected = (2, WRITERS as u64 + 1);
    assert_eq!((transactions, changes), expected, "one that held the writer up, and one for all the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_need_fewer_transactions_than_changes() {
    let place = Place::new();
    let store = place.open();
    let mut writers = JoinSet::new();
    for number in 0..64 {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..20 {
                let _ = store.append(entry(number * 20 + round)).await.expect("an entry can be appended");
            }
        });
    }
    writers.join_all().await;
    let Statistics { transactions, changes, .. } = store.statistics();
    assert_eq!(changes, 64 * 20);
    assert!(transactions < changes / 2, "{transactions} transactions for {changes} changes");
    assert!(matches!(whole_chain(&store).await, Verification::Sound(found) if found.entries == changes));
}

#[tokio::test]
async fn a_change_that_fails_leaves_the_others_of_its_transaction_alone() {
    let place = Place::new();
    let store = place.open();
    let (release, holding) = hold(&store).await;
    let mut writers = JoinSet::new();
    for number in 0..30_u64 {
        let store = store.clone();
        writers.spawn(async move {
            let change = store.write_with_audit(entry(number), move |tx| {
                tx.set_meta(&format!("fact.{number}"), "kept")?;
                match number % 3 {
                    0 => Ok(()),
                    1 => Err(StoreError::Refused("as asked".into())),
                    _ => panic!("as asked"),
                }
            });
            (number, change.await.is_ok())
        });
    }
    wait_until_queued(&store, 31).await;
    release.send(()).expect("the writer waits");
    holding.await.expect("no panic").expect("it is committed");
    for (number, is_kept) in writers.join_all().await {
        assert_eq!(is_kept, number % 3 == 0, "change {number}");
        let fact = store.meta(&format!("fact.{number}")).await.expect("it can be read");
        assert_eq!(fact.is_some(), is_kept, "change {number}");
    }
    assert_eq!(store.statistics().transactions, 2);
    assert!(matches!(whole_chain(&store).await, Verification::Sound(found) if found.entries == 10));
}

#[tokio::test]
async fn a_full_database_refuses_and_goes_on() {
    let place = Place::new();
    let store = place.open_with(&Options { bytes_max: 1 << 20, ..Options::default() });
    let id = add_sandbox(&store, 1).await;
    let mut kept = 0;
    let error = loop {
        assert!(kept < 100, "it is never full");
        let (id, name) = (id.clone(), format!("V{kept}"));
        let change = store.write_with_audit(entry(kept), move |tx| {
            tx.set_environment(&id, &[secret(&name, &[b'x'; 90_000])], EnvMode::Merge, &[])
        });
        match change.await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    let (StoreError::Sql { source, .. } | StoreError::Commit { source }) = &error else { panic!("{error:?}") };
    assert_eq!(source.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull), "{error:?}");
    assert!(kept > 5, "{kept} values of 90 kB in 1 MiB");
    assert_eq!(store.environment(&id).await.expect("it can be read").len() as u64, kept);
    let is_sound = |found| matches!(found, Verification::Sound(found) if found.entries == kept);
    assert!(is_sound(whole_chain(&store).await), "the entry of the refused change is not kept");

    let erased = id.clone();
    store.write(move |tx| tx.erase_environment(&erased)).await.expect("what makes room is done");
    let values = vec![secret("V", &[b'y'; 90_000])];
    store.set_environment(&id, values, EnvMode::Merge, Vec::new()).await.expect("there is room again");
    let _ = store.append(entry(kept)).await.expect("there is room again");
    store.close().await.expect("the store closes");

    let store = place.open();
    let Verification::Sound(found) = whole_chain(&store).await else { panic!("the chain is whole") };
    assert_eq!(found.entries, kept + 1);
    let bytes = std::fs::metadata(place.database()).expect("it is there").len();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}

#[tokio::test]
async fn the_queue_is_bounded_and_lets_in_who_waits() {
    let place = Place::new();
    let store = place.open_with(&Options { queue: 4, ..Options::default() });
    let (release, holding) = hold(&store).await;
    let mut writers = JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        writers.spawn(async move { store.append(entry(number)).await });
    }
    wait_until_queued(&store, 4).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.statistics().queued, 4);
    release.send(()).expect("the writer waits");
    holding.await.expect("no panic").expect("it is committed");
    assert!(writers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(store.statistics().changes, 21);
}

#[tokio::test]
async fn what_is_only_noted_is_there_after_a_crash_of_the_program_and_holds_no_audit_entry() {
    let place = Place::new();
    let store = place.open();
    add_sandbox(&store, 1).await;
    let refused = store.note(|tx| tx.audit(&entry(1)).map(drop)).await;
    assert!(matches!(refused, Err(StoreError::NotLasting)), "{refused:?}");
    let environment = |name: &str| vec![secret(name, b"value")];
    let id = support::sandbox_id(1);
    let (of, values) = (id.clone(), environment("NOTED"));
    store.note(move |tx| tx.set_environment(&of, &values, EnvMode::Merge, &[])).await.expect("it is noted");
    let (of, values) = (id.clone(), environment("WRITTEN"));
    // One that waits for the disk, after one that did not: the log is the same, and both are in it.
    store.write(move |tx| tx.set_environment(&of, &values, EnvMode::Merge, &[])).await.expect("it is written");
    let crashed = place.as_after_a_crash();
    let names = crashed.open().read(move |view| view.environment_names(&id)).await.expect("it can be read");
    assert_eq!(names, ["NOTED", "WRITTEN"]);
}

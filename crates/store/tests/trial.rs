//! Trials are rows of sandboxes that no list shows.

mod support;

use ringfence_model::{Limits, Project};
use ringfence_store::{SandboxFilter, SandboxStatus, Store, StoreError, TrialRow};
use support::{NOW_MS, Place, add_sandbox, sandbox_id};

fn trial(number: u8) -> TrialRow {
    TrialRow {
        id: sandbox_id(number),
        project: Project::default(),
        purpose: format!("sweep {number}"),
        template: "python".into(),
        limits: Limits::default(),
        started_at_ms: NOW_MS + u64::from(number),
    }
}

async fn add(store: &Store, number: u8) -> Result<(), StoreError> {
    store.write(move |tx| tx.insert_trial(&trial(number))).await
}

#[tokio::test]
async fn a_trial_is_known_by_its_id_and_in_no_list() {
    let place = Place::new();
    let store = place.open();
    let kept = add_sandbox(&store, 1).await;
    add(&store, 2).await.expect("added");
    let row = store.sandbox(&sandbox_id(2)).await.expect("readable").expect("it is there");
    assert_eq!((row.status, row.name.as_str(), row.disk), (SandboxStatus::Running, "sweep 2", None));
    assert_eq!((row.started_at_ms, row.limits), (Some(NOW_MS + 2), Limits::default()));
    let all = store.sandboxes(SandboxFilter::default()).await.expect("readable");
    assert_eq!(all.iter().map(|row| &row.id).collect::<Vec<_>>(), [&kept]);
    let named = SandboxFilter { name: Some("sweep 2".into()), ..SandboxFilter::default() };
    assert!(store.sandboxes(named).await.expect("readable").is_empty());
    let running = store.sandboxes_in(&[SandboxStatus::Running]).await.expect("readable");
    assert_eq!(running.len(), 1, "a start must not adopt it: {running:?}");
    assert!(matches!(add(&store, 2).await, Err(StoreError::Exists { .. })));
    assert!(matches!(add(&store, 1).await, Err(StoreError::Exists { .. })), "an id is a sandbox's or a trial's");
}

#[tokio::test]
async fn what_an_earlier_run_left_is_ended_once() {
    let place = Place::new();
    let store = place.open();
    let kept = add_sandbox(&store, 1).await;
    for number in 2..5 {
        add(&store, number).await.expect("added");
    }
    store.note(|tx| tx.end_trial(&sandbox_id(2), NOW_MS + 50)).await.expect("ended");
    assert_eq!(store.write(|tx| tx.end_trials(NOW_MS + 90)).await.expect("ended"), 2);
    assert_eq!(store.write(|tx| tx.end_trials(NOW_MS + 95)).await.expect("ended"), 0);
    store.note(|tx| tx.end_trial(&sandbox_id(3), NOW_MS + 99)).await.expect("nothing is changed");
    for (number, at) in [(2, 50), (3, 90), (4, 90)] {
        let row = store.sandbox(&sandbox_id(number)).await.expect("readable").expect("it is there");
        assert_eq!((row.status, row.deleted_at_ms), (SandboxStatus::Deleted, Some(NOW_MS + at)), "{number}");
    }
    // A sandbox that is none is not touched.
    store.note(|tx| tx.end_trial(&sandbox_id(1), NOW_MS)).await.expect("nothing is changed");
    let row = store.sandbox(&kept).await.expect("readable").expect("it is there");
    assert_eq!(row.status, SandboxStatus::Running);
}

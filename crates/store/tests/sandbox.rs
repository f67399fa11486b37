//! The state machine of a sandbox, every pair of states.

mod support;

use ringfence_store::{SandboxChange, SandboxStatus, StoreError};
use support::{NOW_MS, Place, block_on, sandbox_row};

/// Rows: from; columns: to, in the order of the rows. This is the table a second time, by hand.
const EDGES: [(&str, &str); 7] = [
    //            creating running paused stopped expired failed deleted
    ("creating", ".x...xx"),
    ("running", "..xxxxx"),
    ("paused", ".x.xxxx"),
    ("stopped", ".x..xxx"),
    ("expired", "......x"),
    ("failed", "....x.x"),
    ("deleted", "......."),
];

#[track_caller]
fn check(from: SandboxStatus, to: SandboxStatus, allowed: bool) {
    assert_eq!(SandboxStatus::edge(from, to), allowed, "{from} to {to}");
    let place = Place::new();
    let (moved, row) = block_on(async {
        let store = place.open();
        let row = sandbox_row(1, from);
        let id = row.id.clone();
        store.write(move |tx| tx.insert_sandbox(&row)).await.expect("a sandbox can be added");
        let change = SandboxChange { stopped_at_ms: Some(NOW_MS + 1), ..SandboxChange::default() };
        let moving = id.clone();
        let moved = store.write(move |tx| tx.move_sandbox(&moving, to, &change)).await;
        (moved, store.sandbox(&id).await.expect("it can be read").expect("it is there"))
    });
    if allowed {
        assert_eq!(moved.expect("there is such an edge"), from, "{from} to {to} says where it came from");
        assert_eq!((row.status, row.stopped_at_ms), (to, Some(NOW_MS + 1)), "{from} to {to}");
    } else {
        let refusal = moved.expect_err("there is no such edge");
        assert!(matches!(refusal, StoreError::NoSuchEdge { from: f, to: t, .. } if (f, t) == (from, to)), "{refusal}");
        assert_eq!((row.status, row.stopped_at_ms), (from, None), "{from} to {to} was refused, and changed nothing");
    }
}

#[test]
fn a_sandbox_goes_along_the_edges_and_no_other_way() {
    let states = EDGES.map(|(name, _)| SandboxStatus::parse(name).expect("a state"));
    assert_eq!(states, SandboxStatus::ALL, "every state has its row");
    for (from, (_, marks)) in states.into_iter().zip(EDGES) {
        for (to, mark) in states.into_iter().zip(marks.chars()) {
            check(from, to, mark == 'x');
        }
    }
}

#[tokio::test]
async fn a_sandbox_that_is_not_there_cannot_move() {
    let place = Place::new();
    let id = support::sandbox_id(9);
    let moved =
        place.open().write(move |tx| tx.move_sandbox(&id, SandboxStatus::Running, &SandboxChange::default())).await;
    assert!(matches!(moved, Err(StoreError::NotFound { kind: "sandbox", .. })), "{moved:?}");
}

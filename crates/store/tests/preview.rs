//! Public ports, and the tokens of previews.

mod support;

use std::collections::BTreeSet;

use ringfence_store::{SandboxStatus, SealingKey};
use support::{Place, sandbox_id, sandbox_row};

#[tokio::test]
async fn ports_are_open_until_they_are_closed() {
    let place = Place::new();
    let store = place.open();
    let (row, other) = (sandbox_row(1, SandboxStatus::Running), sandbox_row(2, SandboxStatus::Running));
    let (id, others) = (row.id.clone(), other.id.clone());
    store.write(move |tx| tx.insert_sandbox(&row).and_then(|()| tx.insert_sandbox(&other))).await.expect("added");
    let ports = async || {
        let (id, others) = (id.clone(), others.clone());
        store.read(move |view| Ok((view.public_ports(&id)?, view.public_ports(&others)?))).await.expect("readable")
    };
    let set = async |port: u16, public: bool| {
        let id = id.clone();
        store.write(move |tx| tx.set_port_public(&id, port, public)).await.expect("written");
    };
    for port in [8000, 1, 65535, 8000] {
        set(port, true).await;
    }
    assert_eq!(ports().await, (vec![1, 8000, 65535], vec![]));
    set(8000, false).await;
    set(9000, false).await;
    assert_eq!(ports().await, (vec![1, 65535], vec![]));
    let all = id.clone();
    store.write(move |tx| tx.close_public_ports(&all)).await.expect("written");
    assert_eq!(ports().await, (vec![], vec![]));
    let unknown = sandbox_id(9);
    let refused = store.write(move |tx| tx.set_port_public(&unknown, 8000, true)).await;
    assert!(refused.is_err(), "a port of no sandbox");
}

#[test]
fn a_token_belongs_to_a_sandbox_and_an_installation() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = |name: &str| SealingKey::load_or_create(&dir.path().join(name)).expect("a key").preview_key();
    let (ours, theirs) = (key("ours"), key("theirs"));
    let tokens: BTreeSet<String> =
        [&ours, &theirs].into_iter().flat_map(|key| (1..=20).map(|n| key.token(&sandbox_id(n), 0))).collect();
    assert_eq!(tokens.len(), 40);
    assert!(tokens.iter().all(|token| token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit())));
    for generation in [0, 1] {
        let token = ours.token(&sandbox_id(1), generation);
        assert_eq!(key("ours").token(&sandbox_id(1), generation), token, "also after a restart");
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_stays_so() {
    let place = Place::new();
    let store = place.open();
    let (row, other) = (sandbox_row(1, SandboxStatus::Running), sandbox_row(2, SandboxStatus::Running));
    let (id, others) = (row.id.clone(), other.id.clone());
    store.write(move |tx| tx.insert_sandbox(&row).and_then(|()| tx.insert_sandbox(&other))).await.expect("added");
    for expected in [1, 2] {
        let id = id.clone();
        assert_eq!(store.write(move |tx| tx.rotate_preview(&id)).await.expect("written"), expected);
    }
    let unknown = sandbox_id(9);
    assert!(store.write(move |tx| tx.rotate_preview(&unknown)).await.is_err(), "the token of no sandbox");
    store.close().await.expect("closed");
    let store = place.open();
    let read = move |view: &ringfence_store::View<'_>| {
        Ok([view.preview_generation(&id)?, view.preview_generation(&others)?, view.preview_generation(&sandbox_id(9))?])
    };
    assert_eq!(store.read(read).await.expect("readable"), [2, 0, 0]);
}

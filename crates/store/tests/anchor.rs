//! Two chains that note each other's heads.

mod support;

use ringfence_store::{AuditHash, AuditHead, DatabaseKind, StoreError, Verification};
use support::{NOW_MS, Place, append, refused, whole_chain};

#[tokio::test]
async fn each_database_notes_the_others_head_and_knows_its_own_again() {
    let place = Place::new();
    let (engine, gate) = (place.open(), place.open_gate());
    append(&engine, 5).await;
    let first = engine.audit_head().await.expect("there is a head");
    let receipt = gate.anchor(NOW_MS, DatabaseKind::Engine, first).await.expect("it is noted");
    append(&engine, 5).await;
    let second = engine.audit_head().await.expect("there is a head");
    let _ = gate.decide(refused(1, NOW_MS)).await.expect("it is recorded");
    let _ = gate.anchor(NOW_MS + 1, DatabaseKind::Engine, second).await.expect("it is noted");
    let back = gate.audit_head().await.expect("there is a head");
    let _ = engine.anchor(NOW_MS + 2, DatabaseKind::Gate, back).await.expect("it is noted");

    let noted = gate.anchors(DatabaseKind::Engine, 10).await.expect("they can be read");
    assert_eq!(noted.iter().map(|anchor| anchor.head).collect::<Vec<_>>(), [second, first], "newest first");
    assert_eq!((noted[1].seq, noted[1].at_ms, noted[1].of), (receipt.seq(), NOW_MS, DatabaseKind::Engine));
    assert_eq!(gate.anchors(DatabaseKind::Engine, 1).await.expect("they can be read").len(), 1);
    let noted_back = engine.anchors(DatabaseKind::Gate, 10).await.expect("they can be read");
    assert_eq!(noted_back.iter().map(|anchor| anchor.head).collect::<Vec<_>>(), [back]);

    for anchor in &noted {
        assert!(engine.has_audit_head(anchor.head).await.expect("it can be asked"));
        assert!(!gate.has_audit_head(anchor.head).await.expect("it can be asked"), "it is the other's");
    }
    assert!(gate.has_audit_head(back).await.expect("it can be asked"));
    let empty = AuditHead { seq: 0, hash: AuditHash::ZERO };
    assert!(gate.has_audit_head(empty).await.expect("it can be asked"));
    for foreign in [AuditHead { seq: 0, ..first }, AuditHead { seq: 4, ..first }, AuditHead { seq: 99, ..first }] {
        assert!(!engine.has_audit_head(foreign).await.expect("it can be asked"), "{foreign:?}");
    }
    assert!(matches!(whole_chain(&engine).await, Verification::Sound(found) if found.entries == 11));
    assert!(matches!(whole_chain(&gate).await, Verification::Sound(found) if found.entries == 3));
}

#[tokio::test]
async fn a_chain_that_was_written_anew_is_not_the_one_that_was_anchored() {
    let place = Place::new();
    let (engine, gate) = (place.open(), place.open_gate());
    append(&engine, 5).await;
    let head = engine.audit_head().await.expect("there is a head");
    let _ = gate.anchor(NOW_MS, DatabaseKind::Engine, head).await.expect("it is noted");
    engine.close().await.expect("the store closes");

    // Whole in itself, with a head file that agrees: only the other database knows better.
    let forger = Place::new();
    let forged = forger.open();
    append(&forged, 4).await;
    append(&forged, 4).await;
    let Verification::Sound(_) = whole_chain(&forged).await else { panic!("the chain is whole") };
    let anchor = gate.anchors(DatabaseKind::Engine, 1).await.expect("they can be read")[0];
    assert!(!forged.has_audit_head(anchor.head).await.expect("it can be asked"));
}

#[tokio::test]
async fn a_chain_does_not_anchor_itself() {
    let place = Place::new();
    let (engine, gate) = (place.open(), place.open_gate());
    let head = AuditHead { seq: 0, hash: AuditHash::ZERO };
    let own = engine.anchor(NOW_MS, DatabaseKind::Engine, head).await;
    assert!(matches!(own, Err(StoreError::Refused(_))), "{own:?}");
    let own = gate.anchor(NOW_MS, DatabaseKind::Gate, head).await;
    assert!(matches!(own, Err(StoreError::Refused(_))), "{own:?}");
    assert_eq!(engine.audit_head().await.expect("there is a head"), head);
}

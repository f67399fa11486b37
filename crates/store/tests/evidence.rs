//! Exports, signed heads and pruning against somebody who edits them.

mod support;

use std::sync::Arc;

use ringfence_store::{
    AuditKey, ChainFile, Cut, DatabaseKind, ExportCheck, ExportRange, SignedHead, SigningPace, Verification, export,
};
use support::{NOW_MS, Place, append, block_on, whole_chain};

const CHAIN: DatabaseKind = DatabaseKind::Engine;
const PACE: SigningPace = SigningPace { every_ms: 1000, every_entries: 100 };

fn key(place: &Place) -> Arc<AuditKey> {
    Arc::new(AuditKey::load_or_create(&place.dir.path().join("audit.key")).expect("a key"))
}

fn exported(place: &Place) -> String {
    let chain = ChainFile::open(&place.database(), CHAIN).expect("the file opens");
    let mut out = Vec::new();
    export(&[(chain, None)], ExportRange::default(), NOW_MS, &mut out).expect("it is exported");
    String::from_utf8(out).expect("an export is text")
}

fn holds(texts: &[&str], remembered: &[SignedHead]) -> Result<u64, String> {
    let mut check = ExportCheck::new(remembered.to_vec(), Vec::new());
    for text in texts {
        check.read(text.as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(check.finish().map_err(|error| error.to_string())?[&CHAIN].entries)
}

/// A chain of ten entries, with a head that was signed after the tenth.
fn ten(place: &Place) -> SignedHead {
    block_on(async {
        let store = place.open();
        append(&store, 10).await;
        let signed = store.sign_head(key(place), PACE, NOW_MS).await.expect("it signs").expect("it is due");
        assert_eq!(store.sign_head(key(place), PACE, NOW_MS + 9999).await.expect("it answers"), None, "nothing is new");
        store.close().await.expect("the store closes");
        signed
    })
}

/// The export with the end that fits to its lines, as an attacker writes it.
fn with_end(lines: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let entries = lines.iter().filter(|line| line.contains("\"type\":\"entry\"")).count();
    let digest = hex::encode(Sha256::digest(&text));
    format!("{text}{{\"type\":\"end\",\"entries\":{entries},\"sha256\":\"{digest}\"}}\n")
}

#[test]
fn an_export_holds_and_no_change_of_a_line_does() {
    let place = Place::new();
    let signed = ten(&place);
    let text = exported(&place);
    let lines: Vec<&str> = text.lines().collect();
    let body = &lines[..lines.len() - 1];
    assert_eq!(with_end(body), text, "the control: an attacker can write the end");
    assert_eq!(holds(&[&text], &[signed]), Ok(10));
    for at in 2..7 {
        let without: Vec<&str> = body.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, line)| *line).collect();
        assert!(holds(&[&with_end(&without)], &[]).is_err(), "line {at} removed");
        let mut moved = body.to_vec();
        moved.swap(at, at + 1);
        assert!(holds(&[&with_end(&moved)], &[]).is_err(), "line {at} moved");
        let edited = body[at].replace("\"at_ms\":", "\"at_ms\":1");
        let mut changed = body.to_vec();
        changed[at] = &edited;
        assert!(holds(&[&with_end(&changed)], &[]).is_err(), "line {at} edited");
    }
    let cut = with_end(&body[..7]);
    assert_eq!(holds(&[&cut], &[]), Ok(5), "the control: a shorter chain is a chain");
    assert!(holds(&[&cut], &[signed]).is_err(), "a signed head that was kept elsewhere finds the cut");
    assert!(holds(&[text.rsplit_once("{\"type\":\"end\"").expect("an end").0], &[]).is_err(), "no end");
}

#[test]
fn a_chain_forged_as_a_whole_contradicts_a_signed_head() {
    let (place, other) = (Place::new(), Place::new());
    let signed = ten(&place);
    block_on(async {
        let store = other.open();
        append(&store, 12).await;
        store.close().await.expect("the store closes");
    });
    // The same entries have the same hashes: the forger changes the first.
    let forged = other.without_triggers();
    forged.execute_batch("DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = zeroblob(32)").expect("it can");
    drop(forged);
    std::fs::remove_file(other.head_file()).expect("it is there");
    block_on(async {
        let store = other.open();
        let entry = ringfence_store::AuditEntry::new(1, ringfence_store::Actor::System, "forged");
        for _ in 0..12 {
            let _receipt = store.append(entry.clone()).await.expect("it appends");
        }
        assert!(matches!(whole_chain(&store).await, Verification::Sound(_)), "the control: alone, it holds");
        store.close().await.expect("the store closes");
    });
    let chain = ChainFile::open(&other.database(), CHAIN).expect("the file opens");
    assert!(!chain.has(signed.head).expect("it answers"));
    assert_eq!(holds(&[&exported(&other)], &[]), Ok(12), "the control");
    assert!(holds(&[&exported(&other)], &[signed]).is_err());
}

#[test]
fn a_signed_line_is_read_back_and_any_other_is_not_genuine() {
    let place = Place::new();
    let signed = ten(&place);
    let line = signed.to_string();
    let read = SignedHead::parse(&line).expect("a line");
    assert!(read == signed && read.is_genuine());
    for (from, to) in [(" 10 ", " 9 "), ("engine", "gate")] {
        let other = SignedHead::parse(&line.replacen(from, to, 1)).expect("a line");
        assert!(!other.is_genuine(), "{from}");
    }
}

#[test]
fn what_is_pruned_and_what_is_left_verify_as_one() {
    let place = Place::new();
    let signed = ten(&place);
    let before = exported(&place);
    let mut check = ExportCheck::new(Vec::new(), Vec::new()).up_to(CHAIN, 6);
    let export_sha256 = check.read(before.as_bytes()).expect("it holds");
    let found = check.found(CHAIN).expect("entry 6 is there").clone();
    let cut = Cut {
        chain: CHAIN,
        last: found.last,
        entries: found.entries,
        first_at_ms: found.first_at_ms.expect("there are some"),
        last_at_ms: found.last_at_ms.expect("there are some"),
        export_sha256,
    };
    let conn = place.behind_its_back();
    assert!(conn.execute("DELETE FROM audit WHERE seq = 1", []).is_err(), "the control: nothing may go before");
    block_on(async {
        let store = place.open();
        let wrong = Cut { entries: 5, ..cut };
        assert!(store.prune_audit(key(&place), wrong, NOW_MS).await.is_err());
        let later = Cut { last_at_ms: cut.last_at_ms + 1, ..cut };
        let day = Cut::AGE_MIN_MS;
        assert!(store.prune_audit(key(&place), later, NOW_MS + day).await.is_err(), "what is signed is true");
        let young = store.prune_audit(key(&place), cut, cut.last_at_ms + day - 1).await.expect_err("it is too young");
        assert!(young.to_string().contains("not a day old"), "{young}");
        store.prune_audit(key(&place), cut, cut.last_at_ms + day).await.expect("it is pruned");
        let Verification::Sound(verified) = whole_chain(&store).await else { panic!("the rest holds") };
        assert_eq!((verified.entries, verified.head.seq), (5, 11));
        store.close().await.expect("the store closes");
    });
    assert!(conn.execute("DELETE FROM audit WHERE seq = 7", []).is_err(), "and nothing else may");
    assert!(conn.execute("DELETE FROM audit_checkpoint", []).is_err());
    assert!(conn.execute("UPDATE audit_checkpoint SET entries = 7", []).is_err());
    let after = exported(&place);
    assert_eq!(holds(&[&after], &[signed]), Ok(5));
    let lines: Vec<&str> = before.lines().collect();
    let removed = with_end(&lines[..8]);
    assert_eq!(holds(&[&removed, &after], &[signed]), Ok(11));
    assert!(holds(&[&with_end(&lines[..7]), &after], &[]).is_err(), "with a gap between them");
    conn.execute_batch("DROP TRIGGER audit_checkpoint_is_not_changed; UPDATE audit_checkpoint SET entries = 7")
        .expect("without the trigger it can");
    assert!(matches!(block_on(async { whole_chain(&place.open()).await }), Verification::Broken(_)));
}

#[test]
fn what_somebody_made_unreadable_is_told_and_is_not_genuine() {
    let place = Place::new();
    ten(&place);
    let chain = ChainFile::open(&place.database(), CHAIN).expect("the file opens");
    let sandbox = chain.entries(0, 10).expect("it is read").into_iter().find_map(|entry| entry.sandbox_id);
    let sandbox = sandbox.expect("one is about a sandbox");
    let told = chain.entries_about(&sandbox, 0, 10).expect("it is read");
    assert!(!told.is_empty() && told.iter().all(|told| told.is_genuine), "the control");
    let seq = told[0].entry.seq;
    let conn = place.without_triggers();
    for change in ["hash = x'00'", "detail = CAST(x'ff' AS TEXT)", "at_ms = -1"] {
        conn.execute_batch(&format!("SAVEPOINT tried; UPDATE audit SET {change} WHERE seq = {seq}; RELEASE tried"))
            .expect("whoever owns the file can");
        let told = chain.entries_about(&sandbox, 0, 10).expect("it is told all the same");
        assert!(!told[0].is_genuine && told[0].entry.seq == seq, "{change}: {told:?}");
    }
}

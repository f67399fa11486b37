//! Old entries of a real daemon's chains go with a signature and not without one; a file of another time or place is found.

mod common;
#[path = "evidence/place.rs"]
mod place;
#[path = "evidence/tamper.rs"]
mod tamper;

use std::{fs, path::Path, sync::Arc};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{AuditCut, AuditPruneRequest},
};
use ringfence_store::{
    Actor, AuditEntry, AuditHash, AuditKey, ChainFile, Database, DatabaseKind, Kind, SealingKey, Store, Verification,
    gate::GateStore,
};
use serde_json::{Value, json};

use common::ringfence;
use place::{Place, said};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Entries of each chain that are older than the daemon: more than go in two transactions.
const OLD: u64 = 20_010;

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).expect("after 1970")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Entries of forty days ago, in both chains.
fn age(home: &Path) {
    async fn append<K: Kind>(database: Database<K>) {
        let begin = now_ms() - 40 * DAY_MS;
        let write = database.write(move |tx| {
            for number in 0..OLD {
                let entry = AuditEntry::new(begin + number, Actor::System, "test.old");
                let _receipt = tx.audit(&entry.detail(json!({"number": number})))?;
            }
            Ok(())
        });
        write.await.expect("they are appended");
        database.close().await.expect("it closes");
    }
    let key = |name: &str| SealingKey::load_or_create(&home.join(name)).expect("a key");
    block_on(async {
        append(Store::open(&home.join("engine/engine.db"), key("engine/sealing.key")).expect("it opens")).await;
        fs::create_dir_all(home.join("gate")).expect("a directory");
        append(GateStore::open(&home.join("gate/gate.db"), key("gate/gate.key")).expect("it opens")).await;
    });
}

/// A program that the gate has something to decide about.
const REFUSED: &str = "
import socket
try:
    socket.getaddrinfo('refused.example.com', 80)
except OSError as error:
    print(error)
";

fn work(place: &Place, name: &str) {
    place.well(&["sandbox", "create", "python", "--name", name]);
    place.well(&["sandbox", "exec", name, "-c", REFUSED]);
    place.well(&["sandbox", "rm", name]);
}

/// A copy of the chains' files, which is put back with [`put_back`].
fn kept(home: &Path, to: &Path) {
    for kind in DatabaseKind::ALL {
        let dir = to.join(kind.as_str());
        fs::create_dir_all(&dir).expect("a directory");
        for entry in fs::read_dir(home.join(kind.as_str())).expect("a directory").flatten() {
            let name = entry.file_name();
            let is_of_chain = name.to_string_lossy().contains(".db") || name.to_string_lossy().ends_with(".head");
            if is_of_chain && entry.metadata().expect("it is there").is_file() {
                fs::copy(entry.path(), dir.join(name)).expect("it is copied");
            }
        }
    }
}

fn put_back(home: &Path, from: &Path) {
    for kind in DatabaseKind::ALL {
        for entry in fs::read_dir(home.join(kind.as_str())).expect("a directory").flatten() {
            if entry.file_name().to_string_lossy().contains(".db-") {
                fs::remove_file(entry.path()).expect("it goes");
            }
        }
        for entry in fs::read_dir(from.join(kind.as_str())).expect("a directory").flatten() {
            fs::copy(entry.path(), home.join(kind.as_str()).join(entry.file_name())).expect("it is copied");
        }
    }
}

/// What `audit verify` of the databases says with these arguments.
fn verdict(place: &Place, args: &[&str]) -> (bool, String) {
    let output = ringfence(&place.home, &[&["audit", "verify"], args].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", said(&output));
    (output.status.success(), said(&output))
}

fn keys(place: &Place) -> Vec<String> {
    let keys = place.json(&["audit", "key", "--json"]);
    ["engine", "gate"]
        .iter()
        .flat_map(|kind| ["--key".to_owned(), keys[kind].as_str().expect("a key").to_owned()])
        .collect()
}

/// The signed head of the engine's chain, as a line.
fn engine_head(place: &Place) -> String {
    let heads = place.json(&["audit", "head", "--json"]);
    let engine = heads["heads"].as_array().expect("heads").iter().find(|head| head["head"]["chain"] == "engine");
    engine.expect("the engine's")["line"].as_str().expect("a line").to_owned()
}

#[test]
fn old_entries_go_into_an_export_and_a_cut_that_nobody_signed_is_found() {
    let place = Place::new("retention");
    age(&place.home);
    common::start(&place.home, "none");
    work(&place, "lab");

    for args in [&["--keep-days", "30"][..], &["--no-export"], &["--keep-days", "30", "--no-export", "--export", "x"]] {
        let refused = ringfence(&place.home, &[&["audit", "prune"], args].concat());
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", said(&refused));
    }
    let file = place.file("old.jsonl");
    // Up to now: what is not a day old stays all the same.
    let pruned =
        place.json(&["audit", "prune", "--before", &jiff::Timestamp::now().to_string(), "--export", &file, "--json"]);
    let cuts = pruned["pruned"].as_array().expect("cuts");
    assert_eq!(cuts.len(), 2, "{pruned}");
    assert!(cuts.iter().all(|cut| cut["entries"] == OLD && cut["seq"] == OLD), "{pruned}");
    let digest = common::succeeded(std::process::Command::new("sha256sum").arg(&file), "sha256sum");
    assert_eq!(cuts[0]["export_sha256"], digest.split_whitespace().next().expect("a digest"));
    assert!(fs::read_to_string(&file).expect("text").contains("test.old"));
    let left: Vec<Value> = place
        .well(&["audit", "query", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(!left.iter().any(|entry| entry["event"] == "test.old"), "they are gone");
    assert_eq!(left.iter().filter(|entry| entry["event"] == "audit.prune").count(), 6, "and it is said that they are");
    assert!(left.iter().any(|entry| entry["event"] == "execution.start"), "the rest is there");
    let again = place.json(&["audit", "prune", "--keep-days", "1", "--no-export", "--json"]);
    assert_eq!(again["pruned"], json!([]), "nothing is left that may go");

    // Before and after hold as one, and what is left holds by itself.
    let after = place.file("after.jsonl");
    place.well(&["audit", "export", &after]);
    let keys = keys(&place);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let whole = ringfence(Path::new("/nonexistent"), &["audit", "verify", "--file", &file, "--file", &after, "--json"]);
    let whole: Value = serde_json::from_slice(&whole.stdout).expect("JSON");
    assert!(whole["valid"] == true && whole["chains"]["engine"]["after"]["seq"] == 0, "{whole}");
    let alone = place.well(&["audit", "verify", "--file", &after]);
    assert!(alone.contains(&format!("after entry {OLD}, up to which it was pruned and signed")), "{alone}");
    let (holds, what) = verdict(&place, &[]);
    assert!(holds, "the daemon: {what}");
    let (holds, what) = verdict(&place, &keys);
    assert!(holds, "beside it: {what}");

    agents_and_young_entries(&place);

    // Nor is anything wrong after a new start.
    common::stop(&place.home);
    common::start(&place.home, "none");
    let (holds, what) = verdict(&place, &[]);
    assert!(holds, "{what}");
    common::stop(&place.home);
    forged(&place, &keys);
}

/// Over the API: no agent may, and no operator what is too young.
fn agents_and_young_entries(place: &Place) {
    let chain = ChainFile::open(&place.home.join("engine/engine.db"), DatabaseKind::Engine).expect("it opens");
    let cut = chain.cut_after(OLD + 1, AuditHash::ZERO).expect("it is read").expect("an entry");
    let asked = |entries| AuditPruneRequest {
        cuts: vec![AuditCut {
            chain: "engine".into(),
            seq: cut.last.seq,
            hash: cut.last.hash.to_string(),
            entries,
            first_at_ms: cut.first_at_ms,
            last_at_ms: cut.last_at_ms,
            export_sha256: cut.export_sha256.to_string(),
        }],
    };
    block_on(async {
        let api = common::client_of(&place.home);
        let by = ringfence_model::api::Actor::Agent;
        let refused = api.audit_prune(by, asked(cut.entries)).await.expect_err("an agent may not");
        assert_eq!(refused.code, Code::PermissionDenied, "{refused:?}");
        let by = ringfence_model::api::Actor::Operator;
        let refused = api.audit_prune(by, asked(cut.entries)).await.expect_err("it is too young");
        assert!(refused.message.contains("not a day old"), "{refused:?}");
        let refused = api.audit_prune(by, asked(cut.entries + 1)).await.expect_err("it is not what is there");
        assert!(refused.message.contains("not what the export says"), "{refused:?}");
    });
    drop(chain);
}

/// Somebody who owns the files, with no daemon.
fn forged(place: &Place, keys: &[&str]) {
    let copy = place.files.path().join("kept");
    kept(&place.home, &copy);
    let database = place.home.join("engine/engine.db");
    let changed = |statements: &[(&str, Value)]| {
        put_back(&place.home, &copy);
        tamper::change(&database, statements);
        verdict(place, keys)
    };
    let (holds, what) = changed(&[("UPDATE audit_head SET seq = seq", json!([]))]);
    assert!(holds, "the control: a change that changes nothing: {what}");
    let shorten = ("DROP TRIGGER audit_is_not_shortened", json!([]));
    let (holds, what) = changed(&[shorten.clone(), ("DELETE FROM audit WHERE seq <= ?", json!([OLD + 2]))]);
    assert!(!holds && what.contains("is missing"), "a cut without a checkpoint: {what}");
    let change = ("DROP TRIGGER audit_checkpoint_is_not_changed", json!([]));
    let moved = "UPDATE audit_checkpoint SET seq = ?, hash = (SELECT hash FROM audit WHERE seq = ?), entries = entries + 2 \
        WHERE seq = ?";
    let moved = (moved, json!([OLD + 2, OLD + 2, OLD]));
    let (holds, what) = changed(&[change, moved, shorten, ("DELETE FROM audit WHERE seq <= ?", json!([OLD + 2]))]);
    assert!(!holds && what.contains("not one of its key"), "a checkpoint that says more than was signed: {what}");

    // With a key of his own, by our own means.
    put_back(&place.home, &copy);
    block_on(async {
        let sealing = SealingKey::load_or_create(&place.home.join("engine/sealing.key")).expect("root reads it");
        let store = Store::open(&database, sealing).expect("it opens");
        let chain = ChainFile::open(&database, DatabaseKind::Engine).expect("it opens");
        let cut = chain.cut_after(OLD + 2, AuditHash::ZERO).expect("it is read").expect("an entry");
        let theirs = AuditKey::load_or_create(&place.files.path().join("their.key")).expect("a key");
        store.prune_audit(Arc::new(theirs), cut, now_ms() + 2 * DAY_MS).await.expect("he can");
        store.close().await.expect("it closes");
        assert!(matches!(chain.verify().expect("it is read"), Verification::Sound(_)), "the control: alone, it holds");
    });
    let (holds, what) = verdict(place, keys);
    assert!(!holds && what.contains("which is no key that was named"), "{what}");
}

#[test]
fn a_database_of_another_time_or_place_is_found_by_a_head_that_was_kept() {
    let place = Place::new("replaced");
    let (old, new, strange) =
        (place.files.path().join("old"), place.files.path().join("new"), place.files.path().join("strange"));
    common::start(&place.home, "none");
    work(&place, "first");
    common::stop(&place.home);
    kept(&place.home, &old);
    common::start(&place.home, "none");
    work(&place, "second");
    common::stop(&place.home);
    common::start(&place.home, "none");
    // Kept where nobody who rules this host can change it.
    let head = engine_head(&place);
    let keys = keys(&place);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let demanding = [&["--head", head.as_str()], keys.as_slice()].concat();
    common::stop(&place.home);
    kept(&place.home, &new);
    let (holds, what) = verdict(&place, &demanding);
    assert!(holds, "the control: the right files hold: {what}");

    put_back(&place.home, &old);
    let (holds, what) = verdict(&place, &keys);
    assert!(holds, "the control: an older copy is a chain, and signed: {what}");
    let (holds, what) = verdict(&place, &demanding);
    assert!(!holds && what.contains("cut off or rewritten"), "{what}");
    // A daemon that goes on with it makes it no better.
    common::start(&place.home, "none");
    work(&place, "third");
    let (holds, what) = verdict(&place, &demanding);
    assert!(!holds && what.contains("cut off or rewritten"), "{what}");
    common::stop(&place.home);

    let other = Place::new("stranger");
    common::start(&other.home, "none");
    work(&other, "first");
    work(&other, "second");
    common::stop(&other.home);
    common::start(&other.home, "none");
    common::stop(&other.home);
    kept(&other.home, &strange);
    put_back(&place.home, &strange);
    let (holds, what) = verdict(&place, &["--head", &engine_head(&other)]);
    assert!(holds, "the control: it is the chain of another installation, and whole: {what}");
    let (holds, what) = verdict(&place, &keys);
    assert!(!holds && what.contains("no key that was named"), "{what}");
    let (holds, what) = verdict(&place, &["--head", &head]);
    assert!(!holds && what.contains("cut off or rewritten"), "{what}");
    put_back(&place.home, &new);
    let (holds, what) = verdict(&place, &demanding);
    assert!(holds, "the control: put back, they hold again: {what}");
}

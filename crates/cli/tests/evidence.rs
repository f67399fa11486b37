//! Exports, signed heads and searches of both chains of a real daemon, against somebody who edits them.

mod common;
#[path = "evidence/ocsf.rs"]
mod ocsf;
#[path = "evidence/place.rs"]
mod place;

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use ringfence_store::{AuditHead, AuditKey, DatabaseKind, SignedHead};
use serde_json::Value;

use common::ringfence;
use place::{Place, said};

/// A program that asks for a host that its sandbox may not reach: the gateway's chain says so.
const REFUSED: &str = "
import urllib.request
try:
    urllib.request.urlopen('http://refused.example.com/', timeout=5)
except OSError as error:
    print(error)
";

/// The lines with the end that fits to them, as an attacker writes it.
fn with_end(lines: &[&str]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let entries = lines.iter().filter(|line| line.starts_with("{\"type\":\"entry\"")).count();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &text).expect("it can be written");
    let digest = common::succeeded(Command::new("sha256sum").arg(file.path()), "sha256sum");
    let digest = digest.split_whitespace().next().expect("a digest");
    format!("{text}{{\"type\":\"end\",\"entries\":{entries},\"sha256\":\"{digest}\"}}\n")
}

#[test]
fn an_export_of_a_daemon_is_verified_elsewhere_and_changed_ones_are_found() {
    let place = Place::new("evidence");
    common::start(&place.home, "none");
    place.well(&["sandbox", "create", "python", "--name", "lab"]);
    place.well(&["sandbox", "exec", "lab", "-c", "print(6 * 7)"]);
    place.well(&["sandbox", "rm", "lab"]);
    common::stop(&place.home);

    // Beside no daemon; what is read is left as it was.
    let stopped = place.file("stopped.jsonl");
    place.well(&["audit", "export", &stopped]);
    let ours = |name: &str| fs::metadata(place.home.join(name)).expect("it is there").uid();
    for entry in fs::read_dir(place.home.join("engine")).expect("it is there").flatten() {
        assert_eq!(entry.metadata().expect("it is there").uid(), ours("engine"), "{:?} became root's", entry.path());
    }

    // A role that starts signs what it wrote before.
    common::start(&place.home, "none");
    let heads = place.json(&["audit", "head", "--json"]);
    let engine = heads["heads"].as_array().expect("heads").iter().find(|head| head["head"]["chain"] == "engine");
    let line = engine.expect("the engine's")["line"].as_str().expect("a line").to_owned();
    assert!(place.well(&["audit", "head"]).contains(&line));
    let signed = SignedHead::parse(&line).expect("a signed head");
    let keys = place.json(&["audit", "key", "--json"]);
    let (engine_key, gate_key) = (keys["engine"].as_str().expect("a key"), keys["gate"].as_str().expect("a key"));
    assert_ne!(engine_key, gate_key, "each role has its own");
    assert_eq!(signed.key.to_string(), engine_key);
    for role in ["engine", "gate"] {
        let key = fs::metadata(place.home.join(role).join("audit.key")).expect("a key");
        assert_eq!(key.mode() & 0o777, 0o400);
        assert!(key.uid() != 0 && key.uid() == ours(role), "the key of {role} is that role's");
    }
    assert_ne!(ours("engine"), ours("gate"), "no role reads the key of another");

    // Beside the daemon.
    let file = place.file("export.jsonl");
    place.well(&["audit", "export", &file, "--format", "jsonl"]);
    assert_eq!(fs::metadata(&file).expect("it is there").mode() & 0o777, 0o600);
    assert!(!ringfence(&place.home, &["audit", "export", &file]).status.success(), "nothing is overwritten");
    let text = fs::read_to_string(&file).expect("text");
    let trusted = ["--key", engine_key, "--key", gate_key];
    let demanding = [&["--head", line.as_str()], trusted.as_slice()].concat();
    let (holds, what) = place.verdict(&text, &demanding);
    assert!(holds && what.contains("is as it was signed"), "{what}");
    let checked = place.json(&["audit", "verify", "--file", &file, "--head", &line, "--json"]);
    assert!(checked["valid"] == true && checked["chains"]["engine"]["signed_heads"].as_u64() >= Some(1), "{checked}");

    let lines: Vec<&str> = text.lines().collect();
    let body = &lines[..lines.len() - 1];
    assert_eq!(with_end(body), text, "the control: an attacker can write the end");
    let about =
        |event: &str| body.iter().position(|line| line.contains(&format!("\"event\":\"{event}\""))).expect(event);
    let at = about("sandbox.create");
    // Edited: every column, and the end made to fit.
    for (from, to) in [
        ("\"at_ms\":1", "\"at_ms\":2"),
        ("\"actor\":\"", "\"actor\":\"x"),
        ("\"event\":\"sandbox.create", "\"event\":\"sandbox.delete"),
        ("\"sandbox_id\":\"", "\"sandbox_id\":\"x"),
        ("\"execution_id\":null", "\"execution_id\":\"x\""),
        ("\"detail\":{", "\"detail\":{\"x\":1,"),
    ] {
        let edited = body[at].replacen(from, to, 1);
        assert_ne!(edited, body[at], "{from}");
        let mut changed = body.to_vec();
        changed[at] = &edited;
        let (holds, what) = place.verdict(&with_end(&changed), &trusted);
        assert!(!holds && what.contains("the engine's chain is broken"), "{from}: {what}");
    }
    let without: Vec<&str> = [&body[..at], &body[at + 1..]].concat();
    assert!(!place.verdict(&with_end(&without), &[]).0, "removed in the middle");
    let (holds, what) = place.verdict(&body.join("\n"), &[]);
    assert!(!holds && what.contains("line"), "cut off in the file: {what}");

    // Cut short before what was signed, and made to fit: only the head finds it.
    let is_after = |line: &&str| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let of_entry = value["chain"] == "engine" && value["seq"].as_u64() >= Some(signed.head.seq);
        let head = value["head"].as_str().and_then(SignedHead::parse);
        of_entry || head.is_some_and(|head| head.chain == DatabaseKind::Engine && head.head.seq >= signed.head.seq)
    };
    let short: Vec<&str> = body.iter().filter(|line| !is_after(line)).copied().collect();
    let short = with_end(&short);
    let (holds, what) = place.verdict(&short, &trusted);
    assert!(holds, "the control: a chain that is cut short is a chain: {what}");
    let (holds, what) = place.verdict(&short, &demanding);
    assert!(!holds && what.contains("was signed and remembered, is not in what was read"), "{what}");

    // A head that somebody else signed counts for nothing once the key is named.
    let theirs = AuditKey::load_or_create(&place.files.path().join("their.key")).expect("a key");
    let mut last = body.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = last.rfind(|line| line["chain"] == "engine" && line["seq"].as_u64() == Some(signed.head.seq - 1));
    let last = last.expect("the entry before");
    let hash = ringfence_store::AuditHash::parse(last["hash"].as_str().expect("a hash")).expect("a hash");
    let forged = theirs.sign_head(DatabaseKind::Engine, AuditHead { seq: signed.head.seq - 1, hash }, signed.at_ms);
    let forged = forged.to_string();
    assert!(place.verdict(&short, &["--head", &forged]).0, "the control: without a key it is a head");
    let (holds, what) = place.verdict(&short, &[&["--head", forged.as_str()], trusted.as_slice()].concat());
    assert!(!holds && what.contains("no key that was named"), "{what}");
    let other = line.replace(&format!(" {} ", signed.head.seq), &format!(" {} ", signed.head.seq - 1));
    let (holds, what) = place.verdict(&text, &["--head", &other]);
    assert!(!holds && what.contains("is not one of its key"), "{what}");

    // The databases themselves, beside the daemon.
    place.well(&["audit", "verify", "--head", &line, "--key", engine_key, "--key", gate_key]);
    let gone = ringfence(&place.home, &["audit", "verify", "--head", &forged, "--key", engine_key]);
    assert_eq!(gone.status.code(), Some(1), "{}", said(&gone));
    let fresh = theirs.sign_head(DatabaseKind::Engine, AuditHead { seq: 1, ..signed.head }, signed.at_ms).to_string();
    let gone = ringfence(&place.home, &["audit", "verify", "--head", &fresh]);
    assert!(gone.status.code() == Some(1) && said(&gone).contains("cut off or rewritten"), "{}", said(&gone));
}

#[test]
fn both_chains_are_searched_as_one() {
    let place = Place::new("query");
    common::start(&place.home, "none");
    let lab =
        place.json(&["sandbox", "create", "python", "--name", "searched", "--allow", "api.example.com", "--json"]);
    let id = lab["sandbox_id"].as_str().or_else(|| lab["id"].as_str()).unwrap_or_else(|| panic!("no id: {lab}"));
    place.well(&["sandbox", "exec", "searched", "-c", REFUSED]);
    let found = |args: &[&str]| -> Vec<Value> {
        let text = place.well(&[&["audit", "query", "--json"], args].concat());
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let all = found(&[]);
    // As times: in text, `17.09Z` would come after `17.091Z`.
    let time =
        |entry: &Value| entry["timestamp"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    let times: Vec<_> = all.iter().map(time).collect();
    assert!(times.is_sorted(), "{times:?}");
    for chain in ["engine", "gate"] {
        let of_chain = found(&["--chain", chain]);
        assert!(!of_chain.is_empty() && of_chain.iter().all(|entry| entry["chain"] == chain), "{chain}");
        assert_eq!(of_chain.len(), all.iter().filter(|entry| entry["chain"] == chain).count());
    }
    let created = found(&["--sandbox", id, "--event", "sandbox.create"]);
    assert_eq!(created.len(), 1, "{created:?}");
    assert!(created[0]["sandbox_id"] == id && created[0]["event"] == "sandbox.create");
    assert!(found(&["--sandbox", id, "--event", "sandbox.creat"]).is_empty(), "a name is no prefix");
    assert!(!found(&["--sandbox", id, "--event", "execution"]).is_empty());
    assert!(!found(&["--text", "searched"]).is_empty() && found(&["--text", "nowhere to be found"]).is_empty());
    let at = created[0]["timestamp"].as_str().expect("a time");
    assert!(found(&["--until", at]).iter().all(|entry| entry["event"] != "sandbox.create"));
    assert!(found(&["--since", at]).contains(&created[0]));
    assert_eq!(found(&["-n", "2"]), all[..2]);
    assert!(place.well(&["audit", "query", "--event", "sandbox.create"]).contains(id));

    // The same entries, in words that other programs know.
    let exported = place.well(&["audit", "export", "-", "--format", "ocsf"]);
    let events: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(events.len() >= all.len(), "{} events of {} entries", events.len(), all.len());
    for event in &events {
        ocsf::check(event).unwrap_or_else(|why| panic!("{why}: {event:#}"));
    }
    let of = |class: u64| events.iter().filter(|event| event["class_uid"] == class).collect::<Vec<_>>();
    let is_about = |event: &&&Value| event["unmapped"]["sandbox_id"] == id;
    assert_eq!(of(1007).iter().filter(is_about).count(), 1, "one program");
    let refused = of(4003).into_iter().chain(of(4002)).chain(of(4001)).filter(|event| event["action_id"] == 2);
    assert!(refused.clone().count() > 0, "the refusal is an event");
    assert!(refused.into_iter().any(|event| event.to_string().contains("refused.example.com")));
    assert_eq!(of(6003).iter().filter(|event| event["metadata"]["event_code"] == "sandbox.create").count(), 1);
    // By the schema itself.
    let python = common::venv("ocsf");
    let validated = |text: &str| {
        let file = place.file("ocsf.jsonl");
        fs::write(&file, text).expect("it can be written");
        let output = Command::new(&python).arg(common::clients().join("ocsf.py")).arg(&file).output();
        let output = output.expect("Python runs");
        if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
    };
    assert_eq!(validated(&exported).as_deref().map(str::trim), Ok(events.len().to_string().as_str()));
    let unknown = exported.replacen("\"severity_id\":1", "\"severity_id\":1,\"of_no_schema\":1", 1);
    assert!(validated(&unknown).is_err_and(|why| why.contains("of_no_schema")), "the control");
    // The control: a checker that lets everything through would find no fault in these.
    for attribute in ["class_uid", "type_uid", "time", "metadata", "severity_id", "actor"] {
        let mut without = of(1007)[0].clone();
        without.as_object_mut().expect("an object").remove(attribute);
        assert!(ocsf::check(&without).is_err(), "without {attribute}");
    }
    let mut nowhere = of(6003)[0].clone();
    nowhere["src_endpoint"] = serde_json::json!({});
    assert!(ocsf::check(&nowhere).is_err(), "an endpoint without a name");
}

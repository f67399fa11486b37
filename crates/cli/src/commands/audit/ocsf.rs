//! Entries in the words of the Open Cybersecurity Schema Framework, for programs that collect events of many products. What becomes
//! what is in `docs/reference/ocsf.md`. Nothing is lost: the detail and the hashes of an entry are in `unmapped`.

use std::io::Write;

use anyhow::bail;
use ringfence_store::{AuditPublicKey, ChainFile, DatabaseKind, ExportRange, RawEntry, Verification};
use serde_json::{Map, Value, json};

/// The schema whose words these are.
const VERSION: &str = "1.5.0";
/// Entries that are read from a chain at once.
const PIECE: u32 = 1000;

/// Classes of the schema.
const PROCESS: u64 = 1007;
const NETWORK: u64 = 4001;
const HTTP: u64 = 4002;
const DNS: u64 = 4003;
const API: u64 = 6003;

/// Activities that several classes have in common.
const OTHER: u64 = 99;

/// Writes both chains as one event a line. How many there are.
///
/// # Errors
/// A chain does not hold or cannot be read, or the output refuses.
pub(super) fn write(
    chains: &[(ChainFile, Option<AuditPublicKey>)],
    range: ExportRange,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    let mut events = 0;
    for (chain, _) in chains {
        let head = match chain.verify()? {
            Verification::Sound(found) => found.head,
            Verification::Broken(link) => bail!("the {}'s chain is broken: {link}; nothing is exported", chain.kind()),
        };
        let to =
            range.until_ms.map(|until| chain.last_before(until)).transpose()?.map_or(head.seq, |to| to.min(head.seq));
        let mut last = range.since_ms.map(|since| chain.last_before(since)).transpose()?.unwrap_or(0);
        loop {
            let piece = chain.entries(last, PIECE)?;
            let Some(end) = piece.last().map(|entry| entry.seq) else { break };
            for entry in piece.iter().take_while(|entry| entry.seq <= to) {
                let mut line = serde_json::to_vec(&event(chain.kind(), entry))?;
                line.push(b'\n');
                out.write_all(&line)?;
                events += 1;
            }
            last = end;
            if last >= to {
                break;
            }
        }
    }
    out.flush()?;
    Ok(events)
}

/// One entry as an event.
pub(super) fn event(chain: DatabaseKind, entry: &RawEntry) -> Value {
    let detail: Value = serde_json::from_str(&entry.detail).unwrap_or(Value::Null);
    let is_refused = entry.event == "egress.refuse";
    let is_decision = is_refused || entry.event == "egress.allow";
    let (class, activity, name, special) = match entry.event.as_str() {
        "egress.allow" | "egress.refuse" => decision(entry, &detail, is_refused),
        "execution.start" | "trial.start" => (PROCESS, 1, "Launch", process(entry, &detail)),
        _ => api(entry),
    };
    let mut event = Map::new();
    let mut profiles = vec![];
    if is_decision {
        profiles.push("security_control");
        let (action, disposition) =
            if is_refused { ((2, "Denied"), (2, "Blocked")) } else { ((1, "Allowed"), (1, "Allowed")) };
        event.insert("action_id".into(), json!(action.0));
        event.insert("action".into(), json!(action.1));
        event.insert("disposition_id".into(), json!(disposition.0));
        event.insert("disposition".into(), json!(disposition.1));
        if let Some(rule) = detail["rule"].as_str() {
            event.insert("firewall_rule".into(), json!({"name": rule}));
        }
    }
    event.insert("class_uid".into(), json!(class));
    event.insert("category_uid".into(), json!(class / 1000));
    event.insert("activity_id".into(), json!(activity));
    event.insert("activity_name".into(), json!(name));
    event.insert("type_uid".into(), json!(class * 100 + activity));
    event.insert("time".into(), json!(entry.at_ms));
    event.insert("severity_id".into(), json!(if is_refused { 2 } else { 1 }));
    event.insert("status_id".into(), json!(if is_refused { 2 } else { 1 }));
    if let Some(reason) = detail["reason"].as_str().filter(|_| is_refused) {
        event.insert("status_detail".into(), json!(reason));
    }
    event.insert("message".into(), json!(entry.event));
    event.insert(
        "metadata".into(),
        json!({
            "version": VERSION,
            "product": {"name": "ringfence", "vendor_name": "ringfence", "version": env!("CARGO_PKG_VERSION")},
            "uid": format!("{chain}:{}", entry.seq),
            "sequence": entry.seq,
            "log_name": format!("{chain} audit chain"),
            "event_code": entry.event,
            "profiles": profiles,
        }),
    );
    event.insert(
        "unmapped".into(),
        json!({
            "chain": chain,
            "sandbox_id": entry.sandbox_id,
            "execution_id": entry.execution_id,
            "detail": detail,
            "hash": entry.hash,
            "prev_hash": entry.prev_hash,
        }),
    );
    event.extend(special);
    event.into()
}

type Mapped = (u64, u64, &'static str, Map<String, Value>);

/// Who did it, as a user.
fn actor(entry: &RawEntry) -> Value {
    json!({"user": {"name": entry.actor, "type_id": if entry.actor == "system" { 3 } else { 1 }}})
}

/// A sandbox as an end of a connection, or the daemon where it is about none.
fn source(entry: &RawEntry) -> Value {
    match &entry.sandbox_id {
        Some(id) => json!({"uid": id, "type_id": 6}),
        None => json!({"svc_name": "ringfence"}),
    }
}

fn process(entry: &RawEntry, detail: &Value) -> Map<String, Value> {
    let id = entry.execution_id.clone().unwrap_or_else(|| entry.seq.to_string());
    let mut process =
        json!({"uid": id, "name": detail["language"], "created_time": entry.at_ms, "sandbox": entry.sandbox_id});
    if let Some(digest) = detail["code_sha256"].as_str() {
        process["file"] = json!({"name": "program", "type_id": 1, "size": detail["code_bytes"],
            "hashes": [{"algorithm_id": 3, "algorithm": "SHA-256", "value": digest}]});
    }
    let device =
        json!({"type_id": 6, "type": "Virtual", "uid": entry.sandbox_id.clone().unwrap_or_else(|| "none".into())});
    Map::from_iter([("actor".into(), actor(entry)), ("device".into(), device), ("process".into(), process)])
}

/// A decision of the gate: a question about a name, a request, or a connection.
fn decision(entry: &RawEntry, detail: &Value, is_refused: bool) -> Mapped {
    let text = |key: &str| detail[key].as_str();
    let mut to = Map::new();
    for (key, value) in [("hostname", text("host")), ("ip", text("address"))] {
        if let Some(value) = value {
            to.insert(key.into(), json!(value));
        }
    }
    if to.is_empty() {
        // The schema wants a name for it, and the gate was told none.
        to.insert("name".into(), json!("unknown"));
    }
    let protocol = text("protocol").unwrap_or("tcp");
    if protocol != "dns" {
        to.insert("port".into(), detail["port"].clone());
    }
    let mut event = Map::new();
    event.insert("src_endpoint".into(), source(entry));
    let transport = if matches!(protocol, "udp" | "dns") { "udp" } else { "tcp" };
    event.insert("connection_info".into(), json!({"direction_id": 2, "protocol_name": transport}));
    let (class, activity, name) = match (protocol, text("method"), text("host")) {
        ("dns", _, Some(host)) => {
            event.insert("query".into(), json!({"hostname": host}));
            (DNS, 1, "Query")
        }
        ("http" | "ws", Some(method), _) => {
            let mut url = json!({"path": text("path").unwrap_or("/"), "port": detail["port"]});
            if let Some(host) = text("host") {
                url["hostname"] = json!(host);
            }
            event.insert("http_request".into(), json!({"http_method": method, "url": url}));
            let (activity, name) = match method {
                "CONNECT" => (1, "Connect"),
                "DELETE" => (2, "Delete"),
                "GET" => (3, "Get"),
                "HEAD" => (4, "Head"),
                "OPTIONS" => (5, "Options"),
                "POST" => (6, "Post"),
                "PUT" => (7, "Put"),
                "TRACE" => (8, "Trace"),
                _ => (OTHER, "Other"),
            };
            (HTTP, activity, name)
        }
        _ if is_refused => (NETWORK, 5, "Refuse"),
        _ => (NETWORK, 1, "Open"),
    };
    event.insert("dst_endpoint".into(), to.into());
    (class, activity, name, event)
}

/// What was asked of the daemon, or what it did by itself.
fn api(entry: &RawEntry) -> Mapped {
    let verb = entry.event.rsplit('.').next().unwrap_or_default();
    let (activity, name) = match verb {
        "create" | "clone" | "build" | "start" | "import" | "spawn" | "init" | "upload" => (1, "Create"),
        "download" | "visit" | "export" => (2, "Read"),
        "configure" | "network" | "secrets" | "install" | "lifetime" | "set" | "rotate" | "limits" | "mode"
        | "state" | "policy" | "pause" | "resume" | "stop" | "scale" => (3, "Update"),
        "delete" | "remove" | "drop" | "prune" | "destroy" | "expire" => (4, "Delete"),
        _ => (OTHER, "Other"),
    };
    let mut event = Map::new();
    event.insert("actor".into(), actor(entry));
    event.insert("api".into(), json!({"operation": entry.event, "service": {"name": "ringfence"}}));
    event.insert("src_endpoint".into(), json!({"svc_name": "ringfence"}));
    if let Some(id) = &entry.sandbox_id {
        event.insert("resources".into(), json!([{"uid": id, "type": "sandbox"}]));
    }
    (API, activity, name, event)
}

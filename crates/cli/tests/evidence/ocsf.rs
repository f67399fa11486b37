//! What the schema of OCSF 1.5.0 requires of the classes that entries become, written down apart from the code that maps them.

use serde_json::Value;

/// Classes, with what each requires beside the base event, and of which attributes one must be there.
const CLASSES: [(u64, &[&str], &[&str]); 5] = [
    (1007, &["actor", "device", "process"], &[]),
    (4001, &[], &["dst_endpoint", "src_endpoint"]),
    (4002, &["dst_endpoint"], &["http_request", "http_response"]),
    (4003, &["dst_endpoint"], &["query", "answers"]),
    (6003, &["actor", "api", "src_endpoint"], &[]),
];

/// Objects by the attribute that holds them: what they require, and of which attributes one must be there.
const OBJECTS: [(&str, &[&str], &[&str]); 14] = [
    ("/metadata", &["version", "product"], &[]),
    ("/metadata/product", &["name", "vendor_name"], &[]),
    ("/actor", &[], &["process", "user", "session", "app_name", "app_uid"]),
    ("/actor/user", &[], &["account", "name", "uid"]),
    ("/api", &["operation"], &[]),
    ("/device", &["type_id"], &["ip", "uid", "name", "hostname"]),
    ("/process", &[], &["pid", "uid"]),
    ("/process/file", &["name", "type_id"], &[]),
    ("/process/file/hashes/0", &["algorithm_id", "value"], &[]),
    ("/src_endpoint", &[], &["ip", "uid", "name", "hostname", "svc_name"]),
    ("/dst_endpoint", &[], &["ip", "uid", "name", "hostname", "svc_name"]),
    ("/http_request/url", &[], &["url_string", "path"]),
    ("/query", &["hostname"], &[]),
    ("/firewall_rule", &[], &["name", "uid"]),
];

/// Activities of each class beside 0 and 99.
fn activities(class: u64) -> std::ops::RangeInclusive<u64> {
    match class {
        1007 => 1..=5,
        4001 => 1..=7,
        4002 => 1..=9,
        4003 => 1..=6,
        _ => 1..=4,
    }
}

/// Whether it is an event of the schema.
pub(crate) fn check(event: &Value) -> Result<(), String> {
    let has = |at: &str, key: &str| event.pointer(&format!("{at}/{key}")).is_some_and(|value| !value.is_null());
    for key in ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"] {
        if !has("", key) {
            return Err(format!("no {key}"));
        }
    }
    let number = |key: &str| event[key].as_u64().ok_or(format!("{key} is no number"));
    let (class, activity) = (number("class_uid")?, number("activity_id")?);
    if number("category_uid")? != class / 1000 || number("type_uid")? != class * 100 + activity {
        return Err("class, category and type do not belong together".into());
    }
    if !activities(class).contains(&activity) && !matches!(activity, 0 | 99) {
        return Err(format!("class {class} has no activity {activity}"));
    }
    if !(0..=6).contains(&number("severity_id")?) || number("time")? < 1_600_000_000_000 {
        return Err("severity or time is out of range".into());
    }
    let known = CLASSES.iter().find(|(known, ..)| *known == class).ok_or(format!("class {class} is none of ours"))?;
    let objects = OBJECTS.iter().filter(|(at, ..)| event.pointer(at).is_some());
    for (at, required, one_of) in objects.copied().chain([("", known.1, known.2)]) {
        if let Some(key) = required.iter().find(|key| !has(at, key)) {
            return Err(format!("`{at}` has no {key}"));
        }
        if !one_of.is_empty() && !one_of.iter().any(|key| has(at, key)) {
            return Err(format!("`{at}` has none of {one_of:?}"));
        }
    }
    Ok(())
}

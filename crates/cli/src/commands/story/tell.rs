//! One event as a heading and a sentence. Nothing is escaped here: whoever writes a page does it, for its own format.

use ringfence_store::{ExecutionFacts, OrderFacts, SettledFacts};
use serde_json::{Map, Value};

use super::gather::Event;
use crate::numbers;

/// Characters of a value that a sentence shows.
const VALUE_MAX: usize = 600;

/// What kind of event it is, in a word, and what happened.
pub(super) fn told(event: &Event) -> (String, String) {
    let detail = &event.detail;
    let text = |key: &str| words(&detail[key]);
    let (what, mut sentence) = match event.event.as_str() {
        "sandbox.create" => ("created", created(detail)),
        "sandbox.configure" => {
            let unset = text("unset");
            let unset = if unset.is_empty() { String::new() } else { format!("; removed {unset}") };
            ("configured", format!("variables set: {}{unset}", or_none(text("set"))))
        }
        "sandbox.network" => ("configured", format!("network: {}", text("network"))),
        "sandbox.secrets" => ("configured", format!("may use the secrets {}", text("secrets"))),
        "sandbox.install" => ("configured", format!("packages: {}", text("packages"))),
        "sandbox.lifetime" => ("configured", format!("lives for {} s from now", text("lifetime_s"))),
        "egress.policy" => ("policy", format!("in force at the gate: {}", rest(detail, &[]))),
        "egress.seal" => ("secrets", format!("keys that were given stay with the gate: {}", text("secrets"))),
        "egress.secrets" => ("secrets", rest(detail, &[])),
        "execution.start" | "trial.start" => ("program", program(detail, event.execution.as_ref())),
        "egress.allow" | "egress.refuse" => {
            let is_allowed = event.event == "egress.allow";
            if detail["trade"].is_object() && detail["trade"]["kind"] != "read" {
                ("order", order(detail, is_allowed, event.order.as_ref()))
            } else {
                ("request", request(detail, is_allowed, event.settled.as_ref()))
            }
        }
        "sandbox.delete" | "sandbox.expire" | "sandbox.fail" => {
            let how = event.event.trim_start_matches("sandbox.");
            ("end", format!("{how}{}", because(detail)))
        }
        "sandbox.stop" | "sandbox.pause" | "sandbox.resume" | "sandbox.start" => {
            let how = event.event.trim_start_matches("sandbox.");
            ("state", format!("{how}{}", because(detail)))
        }
        "file.upload" => ("file", format!("in: {}", rest(detail, &[]))),
        "file.download" => ("file", format!("out: {}", text("path"))),
        "trade.refused_upstream" => ("order", format!("refused by the venue: {}", rest(detail, &[]))),
        name => ("", format!("{name} {}", rest(detail, &[]))),
    };
    if let Some(id) = &event.execution_id {
        sentence = format!("{sentence} ({id})");
    }
    let what = if what.is_empty() { "event" } else { what };
    (what.to_owned(), sentence.trim_end().to_owned())
}

fn created(detail: &Value) -> String {
    let text = |key: &str| words(&detail[key]);
    let mut sentence = match &detail["template"] {
        Value::Null => "made".to_owned(),
        template => format!("from template {} version {}", words(template), or_none(text("template_version"))),
    };
    sentence = format!("{sentence}, named {}, for {} s", text("name"), text("lifetime_s"));
    for (key, title) in [
        ("limits", "limits"),
        ("network", "network"),
        ("secrets", "secrets"),
        ("sealed", "keys that stay with the gate"),
        ("env_names", "variables"),
        ("swarm_id", "swarm"),
        ("agent_id", "agent"),
    ] {
        let value = text(key);
        if !value.is_empty() {
            sentence = format!("{sentence}; {title}: {value}");
        }
    }
    sentence
}

fn program(detail: &Value, end: Option<&ExecutionFacts>) -> String {
    let text = |key: &str| words(&detail[key]);
    let begun = format!("{} code sha256 {} ({} bytes)", text("language"), text("code_sha256"), text("code_bytes"));
    let Some(end) = end else { return format!("{begun}: its result is not recorded any more") };
    let exit = end.exit_code.map_or(String::new(), |code| format!(", exit code {code}"));
    let seconds = |us: Option<u64>| us.map_or("?".to_owned(), |us| numbers::seconds(us as f64 / 1e6));
    format!(
        "{begun}: {}{exit}, {} ({} CPU), peak {}, {} out, {} err",
        end.status,
        seconds(end.execution_time_us),
        seconds(end.cpu_time_us),
        end.memory_peak_bytes.map_or("?".to_owned(), numbers::bytes),
        numbers::bytes(end.stdout_bytes),
        numbers::bytes(end.stderr_bytes)
    )
}

fn request(detail: &Value, is_allowed: bool, settled: Option<&SettledFacts>) -> String {
    let text = |key: &str| words(&detail[key]);
    let host = match &detail["host"] {
        Value::Null => or_none(text("address")),
        host => words(host),
    };
    let request = [text("protocol"), text("method"), format!("{host}:{}{}", text("port"), text("path"))];
    let request: Vec<String> = request.into_iter().filter(|part| !part.is_empty()).collect();
    let answer = settled.map_or(String::new(), |settled| {
        let status = settled.status.map_or(String::new(), |status| format!("status {status}, "));
        format!(
            "; {status}{} up, {} down in {} ms",
            numbers::bytes(settled.bytes_up),
            numbers::bytes(settled.bytes_down),
            settled.duration_ms
        )
    });
    format!("{}: {}{answer}", request.join(" "), verdict(detail, is_allowed))
}

fn verdict(detail: &Value, is_allowed: bool) -> String {
    let text = |key: &str| words(&detail[key]);
    let mut verdict = if is_allowed { "allowed".to_owned() } else { format!("refused: {}", text("reason")) };
    for (key, title) in [("rule", "by rule"), ("secrets", "with the secrets"), ("signed", "signed as")] {
        let value = text(key);
        if !value.is_empty() {
            verdict = format!("{verdict}, {title} {value}");
        }
    }
    if detail["cached"] == true {
        verdict.push_str(", from the gate's cache");
    }
    verdict
}

fn order(detail: &Value, is_allowed: bool, became: Option<&OrderFacts>) -> String {
    let trade = &detail["trade"];
    let text = |key: &str| words(&trade[key]);
    let asked = match &trade["intent"] {
        Value::Null => or_none(text("message")),
        intent => ["side", "size", "symbol", "pricing", "time_in_force"]
            .map(|key| words(&intent[key]))
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    };
    let mut sentence = format!("{} {asked} at {} ({}): ", text("kind"), text("account"), or_none(text("mode")));
    sentence.push_str(&verdict(detail, is_allowed));
    if trade["rule"].is_string() {
        sentence = format!(
            "{sentence}, by the control {}: {} against a limit of {}",
            text("rule"),
            text("observed"),
            text("limit")
        );
    }
    if let Some(became) = became {
        let because = became.closed_because.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        sentence = format!("{sentence}; order {} is {}{because}", became.number, became.state);
        for fill in &became.fills {
            sentence = format!("{sentence}; filled: {} {} {} at {}", fill.side, fill.qty, fill.symbol, fill.price);
        }
    }
    sentence
}

fn because(detail: &Value) -> String {
    match words(&detail["reason"]) {
        reason if reason.is_empty() => String::new(),
        reason => format!(": {reason}"),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

/// All of an object but these keys.
fn rest(detail: &Value, without: &[&str]) -> String {
    match detail {
        Value::Object(all) => {
            let kept: Map<String, Value> = all
                .iter()
                .filter(|(key, _)| !without.contains(&key.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            words(&Value::Object(kept))
        }
        other => words(other),
    }
}

/// A value in words, of bounded length: `key value, key value`.
fn words(value: &Value) -> String {
    let mut text = spoken(value);
    if text.chars().count() > VALUE_MAX {
        text = text.chars().take(VALUE_MAX).chain(std::iter::once('…')).collect();
    }
    text
}

fn spoken(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(spoken).collect::<Vec<_>>().join(", "),
        Value::Object(all) => {
            let one = |(key, value): (&String, &Value)| match spoken(value) {
                text if text.is_empty() => None,
                text if value.is_object() => Some(format!("{key} ({text})")),
                text => Some(format!("{key} {text}")),
            };
            all.iter().filter_map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

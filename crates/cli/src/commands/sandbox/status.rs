//! `ringfence sandbox status`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, SandboxDetail, SandboxRequest};

use crate::{numbers, output};

/// Shows how a sandbox stands: what it uses, what it may, what separates it from the host
#[derive(Debug, Args)]
#[command(
    visible_alias = "inspect",
    after_help = "\
Examples:
  ringfence sandbox status lab
  ringfence sandbox status lab --json | jq .sandbox.isolation"
)]
pub(crate) struct StatusArgs {
    /// Id or unique name
    sandbox: String,
}

pub(super) async fn run(api: &dyn Sandboxes, args: StatusArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.status(Actor::Operator, SandboxRequest { sandbox_id: args.sandbox }).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        for (name, value) in rows(&answer.sandbox) {
            output::line(format!("{name:<12}{value}").trim_end())?;
        }
    }
    Ok(0)
}

fn rows(s: &SandboxDetail) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("sandbox", s.sandbox_id.to_string()),
        ("name", s.name.clone()),
        ("template", format!("{} version {}", s.template, s.template_version)),
        ("status", s.status.as_str().to_owned()),
        ("cost", format!("{} credits", s.cost_so_far)),
        ("created", s.created_at.clone()),
        ("expires", format!("{} (in {})", s.expires_at, numbers::seconds(s.expires_in as f64))),
    ];
    match &s.network {
        None => rows.push(("network", "not known: the gateway does not answer, and nothing passes".to_owned())),
        Some(network) => {
            rows.push(("network", network.policy.to_string()));
            let t = &network.traffic;
            if t.allowed + t.refused > 0 {
                let [up, down] = [t.bytes_up, t.bytes_down].map(numbers::bytes);
                rows.push(("", format!("{} allowed, {} refused, {up} sent, {down} received", t.allowed, t.refused)));
            }
            if !network.trading.is_empty() {
                rows.push(("trading", network.trading.clone()));
            }
            if !network.exposed.is_empty() {
                rows.push(("exposed", network.exposed.join(", ")));
            }
            if !network.secrets.is_empty() {
                rows.push(("secrets", network.secrets.join(", ")));
            }
        }
    }
    if let Some(start) = &s.start {
        let code = start.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
        rows.push(("start", format!("{}{code}: {}", start.status, start.command)));
        rows.extend(start.error.iter().map(|error| ("", error.clone())));
    }
    if let Some(reason) = &s.reason {
        rows.push(("reason", reason.clone()));
    }
    rows.extend(s.warnings.iter().map(|warning| ("warning", warning.clone())));
    if let Some(r) = &s.resources {
        rows.push(("cpu", format!("{} used, {} CPUs at most", numbers::seconds(r.cpu_time), s.limits.cpu)));
        let [now, peak] = [r.memory_bytes, r.memory_peak_bytes].map(numbers::bytes);
        rows.push(("memory", format!("{now} now, {peak} at most, {} MiB allowed", s.limits.memory_mb)));
        let [used, limit] = [r.disk_bytes, r.disk_limit_bytes].map(numbers::bytes);
        let shared = match r.disk_shared_bytes {
            0 => String::new(),
            bytes => format!(", {} of them shared with what it was cloned from", numbers::bytes(bytes)),
        };
        rows.push(("disk", format!("{used} of {limit}{shared}")));
        rows.push(("processes", format!("{} of {}", r.processes, s.limits.processes)));
    }
    let e = &s.executions;
    rows.push((
        "executions",
        format!(
            "{} completed, {} failed, {} timed out, {} killed, {} running",
            e.completed, e.failed, e.timeout, e.killed, e.running
        ),
    ));
    for process in &s.processes {
        rows.push(("left running", process.command.clone()));
    }
    for port in &s.ports {
        let public = if port.public { ", public" } else { "" };
        let url = port.url.as_deref().unwrap_or("not reached from outside");
        rows.push(("port", format!("{} on {}{public}: {url}", port.port, port.address)));
    }
    if !s.env_vars.is_empty() {
        rows.push(("environment", format!("{} (version {})", s.env_vars.join(", "), s.env_version)));
    }
    for (name, value) in &s.metadata {
        rows.push(("metadata", format!("{name} = {value}")));
    }
    if let Some(i) = &s.isolation {
        rows.push(("isolation", i.level.clone()));
        rows.push(("", format!("namespaces {}", i.namespaces.join(", "))));
        rows.push(("", format!("seccomp {}", i.seccomp)));
        rows.push(("", format!("limits by {}", i.cgroup)));
        rows.push(("", format!("host uids {}", i.uid_range)));
        rows.push(("", format!("next interpreter {}", i.interpreter.as_str())));
        rows.extend(i.missing.iter().map(|missing| ("missing", missing.clone())));
    }
    rows
}

//! `ringfence status`: how the daemon and its host are.

use clap::Args;
use ringfence_model::api::{Actor, HealthAnswer, TemplateStatus, TrialHealth};

use crate::{args::Global, daemon, failure, numbers, output};

/// Shows how the daemon is
#[derive(Debug, Args)]
#[command(
    visible_alias = "health",
    after_help = "\
Examples:
  ringfence status
  ringfence status --json | jq .templates

The exit code is 1 when no daemon runs, or when it reports problems."
)]
pub(crate) struct StatusArgs {}

pub(crate) async fn run(global: Global) -> anyhow::Result<i32> {
    let Some(daemon) = daemon::find(global.home.as_deref()).await? else {
        return Err(daemon::none_runs(global.home.as_deref()));
    };
    let health = daemon.api.health(Actor::Operator).await?;
    if global.json {
        output::json(&health)?;
    } else {
        show(&daemon.home.display().to_string(), &health)?;
    }
    Ok(if health.problems.is_empty() { 0 } else { failure::FAILED })
}

fn show(home: &str, health: &HealthAnswer) -> anyhow::Result<()> {
    let up = numbers::seconds(health.uptime);
    output::line(&format!(
        "{}, up {up}, version {} ({}), state in {home}",
        health.status, health.version, health.build
    ))?;
    let s = &health.sandboxes;
    output::line(&format!(
        "sandboxes: {} running, {} paused, {} stopped, {} being made; {} executions running; room for {}",
        s.running, s.paused, s.stopped, s.creating, health.executions_running, health.host.sandboxes_max
    ))?;
    let t = &health.trials;
    if *t != TrialHealth::default() {
        output::line(&format!("trials: {} running, {} waiting, {} made ahead", t.running, t.waiting, t.shelf))?;
    }
    let host = &health.host;
    output::line(&format!(
        "host: Linux {}, {} CPUs, cgroups {}, disks on {}",
        host.kernel, host.cpus, host.cgroups, host.disks
    ))?;
    for missing in &host.missing {
        output::line(&format!("missing: {missing}"))?;
    }
    for problem in &health.problems {
        output::line(&format!("problem: {problem}"))?;
    }
    let mut table = output::table(&["template", "status", "warm", "shelf"]);
    for template in &health.templates {
        let warm = if template.warm { "yes" } else { "no" };
        table.add_row([template.name.as_str(), word(template.status), warm, &template.shelf.to_string()]);
    }
    Ok(output::show(table)?)
}

/// A template's status as people read it.
pub(crate) fn word(status: TemplateStatus) -> &'static str {
    match status {
        TemplateStatus::NotBuilt => "not built",
        TemplateStatus::Building => "building",
        TemplateStatus::Ready => "ready",
        TemplateStatus::Failed => "failed",
    }
}

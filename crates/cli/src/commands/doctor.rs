//! `ringfence doctor`: what this host offers, what it lacks, and what to do about it.

use std::{path::Path, time::Instant};

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_jail::doctor::{Finding, Status, examine};
use ringfence_model::api::{Actor, CreateRequest, HealthAnswer, SandboxRequest, TemplateStatus};

use crate::{args::Global, commands, config::Config, daemon, failure, numbers, output};

/// Tells what this host offers, what it lacks, and what to do about it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence doctor
  ringfence doctor --json | jq '.findings[] | select(.status != \"ok\")'

Nothing is changed. As root it tries what only root can; where a daemon runs it builds a real sandbox and removes it. \
The exit code is 1 when something that is needed is missing.")]
pub(crate) struct DoctorArgs {}

/// Looks around before any thread is started, because it forks; then asks the daemon.
pub(crate) fn run(global: &Global, _: &DoctorArgs) -> anyhow::Result<i32> {
    let home = daemon::home(global.home.as_deref());
    let mut findings = examine(&home);
    findings.push(budgets(&home));
    let code = commands::waiting(async {
        findings.extend(ask_daemon(global).await);
        Ok(0)
    });
    code?;
    let is_missing = findings.iter().any(|finding| finding.status == Status::Missing);
    if global.json {
        output::json(&serde_json::json!({"success": !is_missing, "findings": findings}))?;
    } else {
        show(&findings)?;
    }
    Ok(if is_missing { failure::FAILED } else { 0 })
}

/// What is kept ready and for later, how much of it, and where that is decided.
fn budgets(home: &Path) -> Finding {
    const NAME: &str = "budgets";
    const NEEDED: &str = "what this host can spare for sandboxes made ahead and for caches";
    let config = match Config::load(home) {
        Ok(config) => config,
        Err(error) => {
            return Finding::new(NAME, Status::Warn, format!("{error:#}"), NEEDED)
                .fix("run `ringfence doctor` as root, or mend the file");
        }
    };
    let shelf_mib = config.templates.shelf_mib();
    let stages_mib = config.templates.settings(home).cache_bytes_max >> 20;
    let registries_mib = config.gate.cache.settings().bytes_max >> 20;
    let file = home.join("config.toml");
    let found = format!(
        "sandboxes made ahead {shelf_mib} MiB of memory for each template, layers for builds {stages_mib} MiB, packages {registries_mib} MiB \
         ({}: [templates] shelf_mib, cache_mib; [gate.cache] mib_max)",
        file.display()
    );
    Finding::new(NAME, Status::Ok, found, NEEDED)
}

fn show(findings: &[Finding]) -> anyhow::Result<()> {
    for finding in findings {
        let word = match finding.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Missing => "MISSING",
        };
        output::line(&format!("{word:<8} {:<22} {}", finding.name, finding.found))?;
        if let Some(fix) = &finding.fix {
            output::line(&format!("{:<31} needed: {}", "", finding.needed))?;
            output::line(&format!("{:<31} do:     {fix}", ""))?;
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let (missing, warned) = (count(Status::Missing), count(Status::Warn));
    Ok(output::line(&match (missing, warned) {
        (0, 0) => "\nThis host has everything.".to_owned(),
        (0, warned) => format!("\nThis host has what is needed; what could be better: {warned}."),
        (missing, _) => format!("\nMissing, and needed by the daemon or its templates: {missing}."),
    })?)
}

async fn ask_daemon(global: &Global) -> Vec<Finding> {
    const NEEDED: &str = "a daemon, for everything but this";
    let home = daemon::home(global.home.as_deref());
    let daemon = match daemon::find(Some(&home)).await {
        Ok(Some(daemon)) => daemon,
        Ok(None) => {
            let found = format!("none runs with its state in {}", home.display());
            let finding = Finding::new("daemon", Status::Warn, found, NEEDED).fix(daemon::start_line(&home));
            return vec![finding, not_tried("no daemon runs")];
        }
        Err(error) => {
            let finding =
                Finding::new("daemon", Status::Warn, format!("{error:#}"), NEEDED).fix("sudo ringfence doctor");
            return vec![finding, not_tried("the daemon was not reached")];
        }
    };
    match daemon.api.health(Actor::Operator).await {
        Ok(health) => vec![health_of(&health), shell(daemon.api.as_ref(), &health).await],
        Err(error) => {
            let fix = format!("look into {}", home.join("log/daemon.log").display());
            vec![
                Finding::new("daemon", Status::Missing, error.message, NEEDED).fix(fix),
                not_tried("the daemon does not answer"),
            ]
        }
    }
}

fn health_of(health: &HealthAnswer) -> Finding {
    let up = numbers::seconds(health.uptime);
    let found = format!("version {}, up {up}, {} sandboxes running", health.version, health.sandboxes.running);
    let troubles: Vec<&str> = health.problems.iter().chain(&health.host.missing).map(String::as_str).collect();
    if troubles.is_empty() {
        return Finding::new("daemon", Status::Ok, found, "a daemon without problems");
    }
    Finding::new("daemon", Status::Warn, format!("{found}: {}", troubles.join("; ")), "a daemon without problems")
        .fix("mend what is named, then `ringfence stop` and `ringfence serve`")
}

const SHELL: &str = "a real sandbox";
const SHELL_NEEDED: &str = "one that can be made and removed, with every layer of isolation in force";

fn not_tried(why: &str) -> Finding {
    Finding::new(SHELL, Status::Ok, format!("not tried: {why}"), SHELL_NEEDED)
}

/// Makes a sandbox through the API, reads what isolates it, and removes it.
async fn shell(api: &dyn Sandboxes, health: &HealthAnswer) -> Finding {
    let Some(template) = health.templates.iter().find(|t| t.status == TemplateStatus::Ready) else {
        return Finding::new(SHELL, Status::Warn, "not tried: no template is ready", SHELL_NEEDED)
            .fix("sudo ringfence template build python");
    };
    const LIFETIME_S: u64 = 60;
    let request =
        CreateRequest { template: template.name.clone(), timeout: Some(LIFETIME_S), ..CreateRequest::default() };
    let begin = Instant::now();
    let created = match api.create(Actor::Operator, request, None).await {
        Ok(created) => created,
        Err(error) => return broken(&error.message),
    };
    let made = begin.elapsed();
    let begin = Instant::now();
    let sandbox_id = created.sandbox_id.to_string();
    if let Err(error) = api.delete(Actor::Operator, SandboxRequest { sandbox_id }).await {
        return broken(&error.message);
    }
    let [made, removed] = [made, begin.elapsed()].map(|time| numbers::seconds(time.as_secs_f64()));
    let i = &created.isolation;
    let found = format!(
        "made in {made}, removed in {removed}; isolation {}: {}; seccomp {}; limits by {}",
        i.level,
        i.namespaces.join(", "),
        i.seccomp,
        i.cgroup
    );
    if i.missing.is_empty() {
        return Finding::new(SHELL, Status::Ok, found, SHELL_NEEDED);
    }
    Finding::new(SHELL, Status::Warn, format!("{found}; without {}", i.missing.join(", ")), SHELL_NEEDED)
        .fix("see the findings above")
}

fn broken(why: &str) -> Finding {
    Finding::new(SHELL, Status::Missing, why, SHELL_NEEDED).fix("see the findings above, and the daemon's log")
}

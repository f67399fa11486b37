//! `ringfence sandbox ls`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, LIST_MAX, ListAnswer, ListRequest, SandboxStatus};

use crate::{failure, numbers, output};

/// Lists sandboxes, the newest first
#[derive(Debug, Args)]
#[command(
    visible_alias = "list",
    after_help = "\
Examples:
  ringfence sandbox ls
  ringfence sandbox ls --all --template python
  ringfence sandbox rm $(ringfence sandbox ls --quiet --status stopped)"
)]
pub(crate) struct LsArgs {
    /// Those that have ended too
    #[arg(long, short, conflicts_with = "status")]
    all: bool,
    /// Only those: creating, running, paused, stopped, expired, failed, deleted
    #[arg(long)]
    status: Option<String>,
    /// Only those made from this template
    #[arg(long)]
    template: Option<String>,
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u32,
    /// Ids alone
    #[arg(long, short)]
    quiet: bool,
}

/// What is listed when nothing is asked for: what still is something.
const ALIVE: [SandboxStatus; 5] = [
    SandboxStatus::Creating,
    SandboxStatus::Running,
    SandboxStatus::Paused,
    SandboxStatus::Stopped,
    SandboxStatus::Failed,
];

pub(super) async fn run(api: &dyn Sandboxes, args: LsArgs, as_json: bool) -> anyhow::Result<i32> {
    if !(1..=LIST_MAX).contains(&args.limit) {
        return failure::usage(format!("--limit must be between 1 and {LIST_MAX}"));
    }
    let wanted: Vec<Option<String>> = match (&args.status, args.all) {
        (Some(status), _) => vec![Some(status.clone())],
        (None, true) => vec![None],
        (None, false) => ALIVE.map(|status| Some(status.as_str().to_owned())).to_vec(),
    };
    let mut sandboxes = Vec::new();
    for status in wanted {
        let request = ListRequest { status, template: args.template.clone(), limit: Some(args.limit), project: None };
        sandboxes.extend(api.list(Actor::Operator, request).await?.sandboxes);
    }
    // RFC 3339 in UTC sorts as text.
    sandboxes.sort_by(|a, b| b.created_at.cmp(&a.created_at));
    sandboxes.truncate(args.limit as usize);
    if as_json {
        let count = u32::try_from(sandboxes.len()).unwrap_or(u32::MAX);
        output::json(&ListAnswer { success: true, sandboxes, count })?;
        return Ok(0);
    }
    if args.quiet {
        for sandbox in &sandboxes {
            output::line(sandbox.sandbox_id.as_str())?;
        }
        return Ok(0);
    }
    let mut table = output::table(&["sandbox", "name", "template", "status", "disk", "created", "expires"]);
    for s in &sandboxes {
        let name = if s.name == s.sandbox_id.as_str() { "" } else { &s.name };
        let disk = s.disk_bytes.map_or_else(|| "-".to_owned(), numbers::bytes);
        let status = s.status.as_str();
        table.add_row([s.sandbox_id.as_str(), name, &s.template, status, &disk, &s.created_at, &s.expires_at]);
    }
    output::show(table)?;
    for s in &sandboxes {
        s.warnings.iter().for_each(|warning| output::note(&format!("{}: {warning}", s.name)));
    }
    Ok(0)
}

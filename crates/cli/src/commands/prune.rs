//! Removing what has ended: `prune` of sweeps, pipelines, swarms and tasks.

use clap::Args;
use ringfence_model::api::{Actor, JobKind, JobPruneAnswer, JobPruneRequest};
use ringfence_research::api::Research;

use crate::{numbers, output};

/// Removes those that ended long enough ago, and the files that nothing else needs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sweep prune --older-than 30 --dry-run     what would go
  ringfence pipeline prune --older-than 7
  ringfence task prune --older-than 0                 all that have ended

The audit chain keeps an entry of each. What has not ended stays.")]
pub(crate) struct PruneArgs {
    /// Days since they ended; 0 for all that have ended
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=i64::from(ringfence_model::api::PRUNE_DAYS_MAX)))]
    older_than: u32,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn prune(api: &dyn Research, kind: JobKind, args: PruneArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = JobPruneRequest { kind, older_than_days: args.older_than, dry_run: args.dry_run };
    print(&api.job_prune(Actor::Operator, request).await?, as_json)
}

/// Shows what has gone.
pub(crate) fn print(answer: &JobPruneAnswer, as_json: bool) -> anyhow::Result<i32> {
    if as_json {
        output::json(answer)?;
        return Ok(0);
    }
    for id in &answer.removed {
        output::line(id.as_str())?;
    }
    output::note(&match (answer.count, answer.dry_run) {
        (0, _) => "ringfence: nothing to remove".to_owned(),
        (count, true) => format!("ringfence: {count} would go"),
        (count, false) => format!("ringfence: {count} have gone, and {} of files", numbers::bytes(answer.bytes)),
    });
    Ok(0)
}

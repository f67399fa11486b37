//! Which sweeps there are, and ending one.

use clap::Args;
use ringfence_model::api::{Actor, SweepListRequest, SweepOneRequest};
use ringfence_research::api::Research;

use super::show;
use crate::{commands::prune, output};

/// Lists sweeps, newest first
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_help = "Examples:\n  ringfence sweep list\n  ringfence sweep list -n 5 --json")]
pub(super) struct ListArgs {
    /// How many at most, up to 1000
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    lines: u32,
}

/// Ends a sweep; what is done is ranked and kept
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence sweep cancel sweep_0123456789abcdef")]
pub(super) struct CancelArgs {
    /// Its id or name
    sweep: String,
}

/// Removes a sweep that has ended: its table, its report, and files that no other sweep needs
#[derive(Debug, Args)]
#[command(
    visible_alias = "delete",
    after_help = "\
Examples:
  ringfence sweep rm sweep_0123456789abcdef
  ringfence sweep prune --older-than 30         all that ended more than thirty days ago

One that runs is refused: `ringfence sweep cancel` ends it. The audit chain keeps an entry."
)]
pub(super) struct RmArgs {
    /// Its id or name
    sweep: String,
}

pub(super) async fn list(api: &dyn Research, args: ListArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.sweep_list(Actor::Operator, SweepListRequest { limit: Some(args.lines) }).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["sweep", "name", "status", "runs", "strategies", "symbols", "begun"]);
    for sweep in &answer.sweeps {
        let at = &sweep.progress;
        let runs = if at.done == at.total { at.total.to_string() } else { format!("{} of {}", at.done, at.total) };
        let symbols = match sweep.symbols.as_slice() {
            few if few.len() <= 4 => few.join(", "),
            many => format!("{} and {} more", many[..3].join(", "), many.len() - 3),
        };
        table.add_row([
            sweep.sweep_id.to_string(),
            sweep.name.clone().unwrap_or_default(),
            sweep.status.as_str().to_owned(),
            runs,
            sweep.strategies.join(", "),
            symbols,
            sweep.created_at.get(..19).unwrap_or(&sweep.created_at).to_owned(),
        ]);
    }
    output::show(table)?;
    Ok(0)
}

pub(super) async fn rm(api: &dyn Research, args: RmArgs, as_json: bool) -> anyhow::Result<i32> {
    prune::print(&api.sweep_delete(Actor::Operator, SweepOneRequest { sweep_id: args.sweep }).await?, as_json)
}

pub(super) async fn cancel(api: &dyn Research, args: CancelArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.sweep_cancel(Actor::Operator, SweepOneRequest { sweep_id: args.sweep }).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        show::print(&answer)?;
    }
    Ok(0)
}

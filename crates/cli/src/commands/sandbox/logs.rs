//! `ringfence sandbox logs`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, LogsRequest};

use crate::output;

/// Shows the newest lines of a sandbox's log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox logs lab
  ringfence sandbox logs lab -n 1000 --source stderr")]
pub(crate) struct LogsArgs {
    /// Id or unique name
    sandbox: String,
    /// How many lines
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    lines: u32,
    /// Only those of: system, stdout, stderr, audit
    #[arg(long)]
    source: Option<String>,
}

pub(super) async fn run(api: &dyn Sandboxes, args: LogsArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = LogsRequest { sandbox_id: args.sandbox, lines: Some(args.lines), source: args.source };
    let answer = api.logs(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    for line in &answer.logs {
        output::line(&format!("{}  {:<5} {:<6}  {}", line.timestamp, line.level, line.source, line.message))?;
    }
    Ok(0)
}

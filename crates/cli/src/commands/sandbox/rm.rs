//! `ringfence sandbox rm`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, SandboxRequest};

use crate::{failure, output};

/// Removes sandboxes and their files
#[derive(Debug, Args)]
#[command(
    visible_alias = "delete",
    after_help = "\
Examples:
  ringfence sandbox rm lab
  ringfence sandbox rm $(ringfence sandbox ls --quiet)

All are tried; the exit code is 1 when one could not be removed."
)]
pub(crate) struct RmArgs {
    /// Ids or unique names
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
}

pub(super) async fn run(api: &dyn Sandboxes, args: RmArgs, as_json: bool) -> anyhow::Result<i32> {
    let mut answers = Vec::new();
    let mut code = 0;
    for sandbox_id in args.sandboxes {
        match api.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox_id.clone() }).await {
            Ok(answer) => {
                if !as_json {
                    output::line(&format!(
                        "{}  {}; it cost {} credits",
                        answer.sandbox_id, answer.message, answer.total_cost
                    ))?;
                }
                answers.push(serde_json::to_value(answer)?);
            }
            Err(error) => {
                code = failure::FAILED;
                if as_json {
                    answers.push(serde_json::json!({"success": false, "sandbox_id": sandbox_id, "error": error}));
                } else {
                    output::note(&format!("ringfence: {sandbox_id}: {error} ({})", error.code.as_str()));
                }
            }
        }
    }
    if as_json {
        output::json(&answers)?;
    }
    Ok(code)
}

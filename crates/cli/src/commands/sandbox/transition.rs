//! `ringfence sandbox stop`, `pause` and `resume`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, SandboxRequest};

use crate::output;

/// Which sandboxes.
#[derive(Debug, Args)]
pub(crate) struct TransitionArgs {
    /// Ids or unique names
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
}

/// Which way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Stop,
    Pause,
    Resume,
}

pub(super) async fn run(api: &dyn Sandboxes, verb: Verb, args: TransitionArgs, as_json: bool) -> anyhow::Result<i32> {
    let mut answers = Vec::new();
    for sandbox_id in args.sandboxes {
        let request = SandboxRequest { sandbox_id };
        let answer = match verb {
            Verb::Stop => api.stop(Actor::Operator, request).await?,
            Verb::Pause => api.pause(Actor::Operator, request).await?,
            Verb::Resume => api.resume(Actor::Operator, request).await?,
        };
        if !as_json {
            output::line(&format!("{}  {}: {}", answer.sandbox_id, answer.status.as_str(), answer.message))?;
        }
        answers.push(answer);
    }
    if as_json {
        output::json(&answers)?;
    }
    Ok(0)
}

//! `ringfence sandbox export` and `clone`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CloneRequest, ExportRequest};

use crate::{args, numbers, output, progress};

/// Makes a template from a sandbox, running or stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox export ifxkb9zwglaz0pk5dc3zb alpaca-trading-v1
  ringfence sandbox export my-box alpaca-trading-v1 --new-version
  ringfence run --template alpaca-trading-v1 strategy.py

The template has what is installed in the sandbox, its user's files and its startup script. Values of environment variables, \
secrets and what stands for them, caches, histories and files in which keys are kept stay behind, and are listed. To move it to \
another machine, see `ringfence template export`.")]
pub(crate) struct ExportArgs {
    /// Id or unique name
    sandbox: String,
    /// How the template is called: a-z, 0-9, `-`, `_` and `.`
    #[arg(value_name = "TEMPLATE")]
    template_name: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// A word of your own, any number of times
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Add a version to a template that is there; its sandboxes live on
    #[arg(long)]
    new_version: bool,
}

/// Makes a sandbox that shares a stopped one's files and prints its id
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox stop my-box
  ringfence sandbox clone my-box --name my-box-2
  ringfence sandbox resume my-box-2
  id=$(ringfence sandbox clone my-box)        standard output has the id alone

The copy takes no time and no space; what is written to either from then on is its own. It has none of the environment variables, \
secrets and network rules of the other: give them with `ringfence sandbox configure`.")]
pub(crate) struct CloneArgs {
    /// Id or unique name of a stopped sandbox
    sandbox: String,
    /// A name of the copy
    #[arg(long, short)]
    name: Option<String>,
    /// Lifetime, after which it expires: 3600, 8h, 2d [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = args::whole_seconds)]
    timeout: Option<u64>,
}

pub(super) async fn export(api: &dyn Sandboxes, args: ExportArgs, as_json: bool) -> anyhow::Result<i32> {
    let (sender, shown) = progress::shown(&format!("template {}", args.template_name));
    let request = ExportRequest {
        sandbox_id: args.sandbox,
        template_name: args.template_name,
        description: args.description,
        tags: args.tags,
        new_version: args.new_version,
        ..ExportRequest::default()
    };
    let answer = api.export_template(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let answer = answer?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let size = numbers::bytes(answer.size_bytes);
    output::line(&format!(
        "template {} version {}: {} packages, {size} on top of {}",
        answer.template_name,
        answer.version,
        answer.packages.len(),
        answer.base_template
    ))?;
    if let Some(command) = &answer.start_command {
        output::line(&format!("starts with: {}", command.lines().next().unwrap_or_default()))?;
    }
    if !answer.env_vars_required.is_empty() {
        output::line(&format!("needs: {}", answer.env_vars_required.join(", ")))?;
    }
    for left in &answer.left_out {
        output::line(&format!("left out: {} ({})", left.path, left.reason))?;
    }
    for warning in &answer.warnings {
        output::note(warning);
    }
    Ok(0)
}

pub(super) async fn clone(api: &dyn Sandboxes, args: CloneArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = CloneRequest { sandbox_id: args.sandbox, name: args.name, timeout: args.timeout };
    let answer = api.clone_sandbox(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    output::line(&answer.sandbox_id.to_string())?;
    output::note(&format!("it is stopped, a copy of {}; `ringfence sandbox resume` starts it", answer.cloned_from));
    if !answer.env_vars_required.is_empty() {
        output::note(&format!("it has none of the other's variables: {}", answer.env_vars_required.join(", ")));
    }
    Ok(0)
}

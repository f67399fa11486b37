//! `ringfence template`: what sandboxes are made from.

use clap::{Args, Subcommand};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, BuildRequest, TemplateListRequest, TemplateRequest, TemplateStatus, TemplateView};

mod archive;

use crate::{args::Global, commands::status::word, daemon, numbers, output, progress};

/// Builds, shows and moves templates
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    Build(BuildArgs),
    Ls(LsArgs),
    Show(ShowArgs),
    Export(archive::ExportArgs),
    Import(archive::ImportArgs),
    Rm(archive::RmArgs),
}

/// Builds a template unless it is ready
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence template build                    the Python template
  ringfence template build python --rebuild   a new version, for security updates

The first build takes some minutes: it downloads Debian and Python packages. Sandboxes that exist keep the version that \
they were made from.")]
pub(crate) struct BuildArgs {
    /// Which
    #[arg(value_name = "NAME", default_value = "python")]
    name: String,
    /// Build a new version even when one is ready
    #[arg(long)]
    rebuild: bool,
}

/// Lists templates
#[derive(Debug, Args)]
#[command(visible_alias = "list", after_help = "Examples:\n  ringfence template ls\n  ringfence template ls --json")]
pub(crate) struct LsArgs {
    /// Only `shipped` or `exported` ones
    #[arg(long)]
    category: Option<String>,
}

/// Shows a template and what is in it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringfence template show python\n  ringfence template show python --json | jq .template.packages"
)]
pub(crate) struct ShowArgs {
    /// Which
    name: String,
}

pub(crate) async fn run(global: Global, command: TemplateCommand) -> anyhow::Result<i32> {
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.api.as_ref(), global.json);
    match command {
        TemplateCommand::Build(args) => build(api, args, as_json).await,
        TemplateCommand::Ls(args) => ls(api, args, as_json).await,
        TemplateCommand::Show(args) => show(api, args, as_json).await,
        TemplateCommand::Export(args) => archive::export(api, args, as_json).await,
        TemplateCommand::Import(args) => archive::import(api, args, as_json).await,
        TemplateCommand::Rm(args) => archive::rm(api, args, as_json).await,
    }
}

async fn build(api: &dyn Sandboxes, args: BuildArgs, as_json: bool) -> anyhow::Result<i32> {
    let (sender, shown) = progress::shown(&format!("template {}", args.name));
    let request = BuildRequest { template_name: args.name, rebuild: args.rebuild };
    let answer = api.build(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let answer = answer?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let t = &answer.template;
    let what = if answer.built { format!("built in {}", numbers::seconds(answer.seconds)) } else { "was ready".into() };
    let size = numbers::bytes(t.size_bytes);
    output::line(&format!("template {} version {} {what}: {} packages, {size}", t.name, t.version, t.packages.len()))?;
    Ok(0)
}

async fn ls(api: &dyn Sandboxes, args: LsArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.templates(Actor::Operator, TemplateListRequest { category: args.category, limit: None }).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["template", "version", "status", "language", "size", "description"]);
    for t in &answer.templates {
        let is_there = t.status == TemplateStatus::Ready;
        let size = if is_there { numbers::bytes(t.size_bytes) } else { "-".into() };
        let version = if t.version > 0 { t.version.to_string() } else { "-".into() };
        table.add_row([t.name.as_str(), &version, &state(t), &t.language, &size, &t.description]);
    }
    output::show(table)?;
    Ok(0)
}

fn state(t: &TemplateView) -> String {
    match (t.status, t.percent) {
        (TemplateStatus::Building, Some(percent)) => format!("building, {percent:.0} %"),
        (status, _) => word(status).to_owned(),
    }
}

async fn show(api: &dyn Sandboxes, args: ShowArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.template(Actor::Operator, TemplateRequest { template_name: args.name }).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let t = &answer.template;
    let mut rows = vec![
        ("template", t.name.clone()),
        ("", t.description.clone()),
        ("status", state(t)),
        ("version", t.version.to_string()),
        ("language", t.language.clone()),
        ("category", t.category.clone()),
    ];
    if !t.aliases.is_empty() {
        rows.push(("aliases", t.aliases.join(", ")));
    }
    if let Some(error) = &t.error {
        rows.push(("error", error.clone()));
    }
    if let Some(created_at) = &t.created_at {
        rows.push(("built", created_at.clone()));
        rows.push(("size", numbers::bytes(t.size_bytes)));
    }
    if let Some(digest) = &t.digest {
        rows.push(("digest", digest.clone()));
    }
    if let Some(exported) = &t.exported {
        rows.push(("base", exported.base_template.clone()));
        let lists = [("tags", &exported.tags), ("needs", &exported.env_vars_required)];
        rows.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name, list.join(", "))));
        if let Some(command) = &exported.start_command {
            rows.push(("starts", command.lines().next().unwrap_or_default().to_owned()));
        }
    }
    for (name, value) in rows {
        output::line(&format!("{name:<10}{value}"))?;
    }
    for package in &t.packages {
        output::line(&format!("  {} {}", package.name, package.version))?;
    }
    Ok(0)
}

//! `ringfence template`: what sandboxes are made from.

use std::path::Path;

use clap::{Args, Subcommand};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, BuildRequest, ImageRequest, PruneRequest, TemplateListRequest, TemplateRequest, TemplateStatus, TemplateView,
};

mod archive;

use crate::{
    args::Global,
    commands::status::word,
    daemon, numbers, output, progress,
    recipe_dir::{self, Directory},
};

/// Builds, shows and moves templates
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    Build(BuildArgs),
    Ls(LsArgs),
    Prune(PruneArgs),
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
  ringfence template build ./my-template      a recipe of your own: a directory with a template.toml

The first build takes some minutes: it downloads Debian and Python packages. Sandboxes that exist keep the version that \
they were made from.

A recipe of your own says what is installed and what its sandboxes begin with:

  name = \"web\"
  description = \"Our web app\"
  language = \"javascript\"
  debian = \"bookworm\"
  packages = [\"ca-certificates\", \"curl\"]
  working_dir = \"/srv/app\"
  start = \"npm start\"           # runs in the background of every sandbox
  network = \"packages\"          # what they reach when nobody says it: none or packages
  limits = { memory_mb = 2048 }

  [[files]]                      # a file or a directory beside template.toml
  from = \"app\"
  to = \"/srv/app\"

  [[build]]                      # runs once, without network, as the user of the sandboxes
  run = \"npm run build\"

It can begin with an image instead of Debian: an archive of OCI or Docker beside template.toml (`docker save`, \
`podman save`, `skopeo copy … oci-archive:image.tar`), or a directory with an image layout of OCI:

  oci = \"image.tar\"              # in place of debian and packages
  oci_start = true               # what the image starts runs in the background of every sandbox

The templates that are shipped are written in the same way.")]
pub(crate) struct BuildArgs {
    /// Which: a name, or the directory of a recipe
    #[arg(value_name = "NAME|DIRECTORY", default_value = "python")]
    name: String,
    /// Build every stage anew, even when the template is ready
    #[arg(long, visible_alias = "no-cache")]
    rebuild: bool,
}

/// Lists templates
#[derive(Debug, Args)]
#[command(visible_alias = "list", after_help = "Examples:\n  ringfence template ls\n  ringfence template ls --json")]
pub(crate) struct LsArgs {
    /// Only `shipped`, `custom` or `exported` ones
    #[arg(long)]
    category: Option<String>,
}

/// Removes what nobody needs any more: layers, old versions, failed builds, what builds could use again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence template prune --dry-run   what would go, and how much it takes
  ringfence template prune

What the newest version of a template has, or a sandbox that exists, stays. The next build of what has gone takes longer.")]
pub(crate) struct PruneArgs {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
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
        TemplateCommand::Prune(args) => prune(api, args, as_json).await,
        TemplateCommand::Show(args) => show(api, args, as_json).await,
        TemplateCommand::Export(args) => archive::export(api, args, as_json).await,
        TemplateCommand::Import(args) => archive::import(api, args, as_json).await,
        TemplateCommand::Rm(args) => archive::rm(api, args, as_json).await,
    }
}

async fn build(api: &dyn Sandboxes, args: BuildArgs, as_json: bool) -> anyhow::Result<i32> {
    let is_directory = args.name.contains('/') || args.name == "." || args.name == "..";
    let (template_name, recipe, image) = match is_directory {
        true => {
            let Directory { name, source, image } = recipe_dir::read(Path::new(&args.name))?;
            (name, Some(source), image)
        }
        false => (args.name, None, None),
    };
    let image = match image {
        Some(image) => {
            let request = ImageRequest { tag: image.tag.clone() };
            Some(api.template_image(Actor::Operator, request, image.chunks()).await?.image)
        }
        None => None,
    };
    let (sender, shown) = progress::shown(&format!("template {template_name}"));
    let request = BuildRequest { template_name, rebuild: args.rebuild, recipe, image };
    let answer = api.build(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let answer = answer?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    for stage in &answer.stages {
        let how = if stage.reused { "built before, used again".to_owned() } else { numbers::seconds(stage.seconds) };
        let layer = stage.layer.as_ref().map_or_else(|| "nothing changed".to_owned(), |layer| layer[..12].to_owned());
        output::line(&format!("  {:<32} {:>10}  {layer:<16} {how}", stage.title, numbers::bytes(stage.size_bytes)))?;
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

async fn prune(api: &dyn Sandboxes, args: PruneArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.prune(Actor::Operator, PruneRequest { dry_run: args.dry_run }).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    for item in &answer.removed {
        let bytes = item.bytes.map_or_else(|| "-".to_owned(), numbers::bytes);
        output::line(&format!("{:<14}{bytes:>10}  {}", item.kind, item.name))?;
    }
    let verb = if answer.dry_run { "would go" } else { "gone" };
    output::line(&match answer.removed.len() {
        0 => "nothing to remove".to_owned(),
        count => format!("{verb}: {count}, together {}", numbers::bytes(answer.bytes)),
    })?;
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
    if let Some(origin) = &t.origin {
        rows.push(("image", origin.clone()));
    }
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

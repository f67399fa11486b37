//! `ringfence token` and `ringfence project`: who may come in beside the operator, and whose things there are.

use clap::{Args, Subcommand};
use ringfence_model::{
    Project, Role,
    api::{Actor, TokenCreateRequest, TokenRequest},
};

use crate::{
    args::{Global, whole_seconds},
    daemon, output,
};

/// Makes, lists and revokes tokens of the API
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    Create(CreateArgs),
    /// Lists the tokens that are valid or were
    Ls,
    Revoke(RevokeArgs),
}

/// Makes a token, and prints its secret this once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence token create --role agent --project fund --name claude
  ringfence token create --role auditor --project fund --name compliance --expires 30d
  RINGFENCE_TOKEN=$(ringfence token create --role agent --name ci) ringfence sandbox ls

An agent works with the sandboxes of its project, an auditor only looks, an operator does everything. Nobody sees what belongs \
to another project. The secret is on standard output and nowhere else; programs send it as `Authorization: Bearer …`.")]
pub(crate) struct CreateArgs {
    /// operator, agent or auditor
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// A name by which it is listed and audited
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Time after which it ends by itself: 90s, 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    expires: Option<u64>,
}

/// Ends a token
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence token revoke claude
  ringfence token revoke tok_0123456789abcdef

The next request with it is refused.")]
pub(crate) struct RevokeArgs {
    /// Id, or the name of one that is valid
    #[arg(value_name = "TOKEN")]
    token: String,
}

/// Lists projects
#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Lists projects that have, or had, a sandbox or a token
    Ls,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("`{text}` is no role: write operator, agent or auditor"))
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

pub(crate) async fn run(global: Global, command: TokenCommand) -> anyhow::Result<i32> {
    let daemon = daemon::connect(global.home.as_deref()).await?;
    match command {
        TokenCommand::Create(CreateArgs { role, name, expires }) => {
            let request = TokenCreateRequest { name, role, project: global.project, expires_in: expires };
            let answer = daemon.api.token_create(Actor::Operator, request).await?;
            if global.json {
                output::json(&answer)?;
                return Ok(0);
            }
            output::line(&answer.secret)?;
            let project = answer.token.project.as_ref().map_or("all projects", Project::as_str);
            output::note(&format!(
                "ringfence: {} is an {} of {project}; its secret is shown this once",
                answer.token.id,
                answer.token.role.as_str()
            ));
        }
        TokenCommand::Ls => {
            let answer = daemon.api.token_list(Actor::Operator).await?;
            if global.json {
                output::json(&answer)?;
                return Ok(0);
            }
            let mut table = output::table(&["id", "name", "role", "project", "valid", "used", "expires"]);
            for token in &answer.tokens {
                table.add_row([
                    token.id.clone(),
                    token.name.clone(),
                    token.role.as_str().to_owned(),
                    or_dash(token.project.as_ref().map(Project::as_str)),
                    if token.valid { "yes" } else { "no" }.to_owned(),
                    or_dash(token.used_at.as_deref()),
                    or_dash(token.expires_at.as_deref()),
                ]);
            }
            output::show(table)?;
        }
        TokenCommand::Revoke(RevokeArgs { token }) => {
            let answer = daemon.api.token_revoke(Actor::Operator, TokenRequest { token }).await?;
            if global.json {
                output::json(&answer)?;
                return Ok(0);
            }
            let words = if answer.already_revoked { "was revoked before" } else { "is revoked" };
            output::line(&format!("{} {words}", answer.id))?;
        }
    }
    Ok(0)
}

pub(crate) async fn projects(global: Global, ProjectCommand::Ls: ProjectCommand) -> anyhow::Result<i32> {
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let answer = daemon.api.project_list(Actor::Operator).await?;
    if global.json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["project", "sandboxes", "tokens"]);
    for project in &answer.projects {
        table.add_row([project.name.to_string(), project.sandboxes.to_string(), project.tokens.to_string()]);
    }
    output::show(table)?;
    Ok(0)
}

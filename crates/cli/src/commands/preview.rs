//! `ringfence preview`: where a server that runs in a sandbox can be visited.

use clap::{Args, Subcommand};
use ringfence_model::api::{Actor, PreviewRequest};

use crate::{args::Global, daemon, output};

/// Shows where a port of a sandbox can be visited
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  ringfence preview lab 8000                    its address, with the token that it needs
  ringfence preview public lab 8000             whoever reaches the daemon may visit it
  ringfence preview public lab 8000 --off       the token is needed again
  ringfence preview rotate lab 8000             another token; the one of before lets nobody in any more

The first address is an origin of its own, which is what a browser wants. Where names below localhost are not found, use the \
second one (--json has both): its pages have no origin, so they keep no cookies and load nothing that needs the token. \
Programs may send the token in the header X-Ringfence-Preview-Token instead. A server inside must listen on 127.0.0.1, ::1 \
or all addresses."
)]
pub(crate) struct PreviewArgs {
    #[command(subcommand)]
    command: Option<PreviewCommand>,
    #[command(flatten)]
    of: Option<PortArgs>,
}

#[derive(Debug, Subcommand)]
enum PreviewCommand {
    Public(PublicArgs),
    Rotate(RotateArgs),
}

/// Lets whoever reaches the daemon visit a port, without a token
#[derive(Debug, Args)]
struct PublicArgs {
    #[command(flatten)]
    of: PortArgs,
    /// Ask for the token again; what is open without one ends
    #[arg(long)]
    off: bool,
}

/// Replaces the token of a sandbox's previews, at all of its ports; what was opened with the one of before ends
#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    of: PortArgs,
}

#[derive(Debug, Args)]
struct PortArgs {
    /// Id or unique name
    #[arg(value_name = "SANDBOX")]
    sandbox: String,
    /// The port on which the server listens inside
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

pub(crate) async fn run(global: Global, args: PreviewArgs) -> anyhow::Result<i32> {
    let (of, public, rotate) = match (args.command, args.of) {
        (Some(PreviewCommand::Public(PublicArgs { of, off })), _) => (of, Some(!off), false),
        (Some(PreviewCommand::Rotate(RotateArgs { of })), _) => (of, None, true),
        (None, Some(of)) => (of, None, false),
        (None, None) => unreachable!("the command line demands one of them"),
    };
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let request = PreviewRequest { sandbox_id: of.sandbox, port: of.port.into(), public, rotate };
    let answer = daemon.api.preview(Actor::Operator, request).await?;
    if global.json {
        output::json(&answer)?;
        return Ok(0);
    }
    match &answer.url {
        Some(url) => output::line(url)?,
        None => output::note(
            "ringfence: the daemon listens on no TCP port: start it with `ringfence serve --tcp 127.0.0.1:7433`",
        ),
    }
    match public {
        Some(true) => {
            output::note("ringfence: whoever reaches the daemon may visit it, pages in this machine's browsers too")
        }
        Some(false) => output::note("ringfence: the token is needed again"),
        None => {}
    }
    if rotate {
        output::note(
            "ringfence: this address has the new token; the one of before is refused at every port of the sandbox",
        );
    }
    if !answer.listening {
        output::note(&format!("ringfence: nothing listens on port {} in {} yet", answer.port, answer.sandbox_id));
    }
    Ok(0)
}

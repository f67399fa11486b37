//! `ringfence sandbox`: sandboxes that stay until they are removed or expire.

mod configure;
mod cp;
mod create;
mod exec;
mod export;
mod logs;
mod ls;
mod rm;
mod status;
mod transition;

use clap::Subcommand;

use crate::{args::Global, daemon};

/// Makes, uses and removes sandboxes
#[derive(Debug, Subcommand)]
#[command(visible_alias = "sb")]
pub(crate) enum SandboxCommand {
    Create(create::CreateArgs),
    Exec(exec::ExecArgs),
    Ls(ls::LsArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Cp(cp::CpArgs),
    /// Ends the processes of sandboxes and keeps their files; `resume` starts them again
    Stop(transition::TransitionArgs),
    /// Freezes running sandboxes
    Pause(transition::TransitionArgs),
    /// Starts stopped or paused sandboxes
    Resume(transition::TransitionArgs),
    Rm(rm::RmArgs),
    Configure(configure::ConfigureArgs),
    Export(export::ExportArgs),
    Clone(export::CloneArgs),
}

pub(crate) async fn run(global: Global, command: SandboxCommand) -> anyhow::Result<i32> {
    // What makes no sense is refused before a daemon is started for it.
    if let SandboxCommand::Cp(args) = &command {
        args.check()?;
    }
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.api.as_ref(), global.json);
    match command {
        SandboxCommand::Create(args) => create::run(api, args, as_json).await,
        SandboxCommand::Exec(args) => exec::run(api, args, as_json).await,
        SandboxCommand::Ls(args) => ls::run(api, args, as_json).await,
        SandboxCommand::Status(args) => status::run(api, args, as_json).await,
        SandboxCommand::Logs(args) => logs::run(api, args, as_json).await,
        SandboxCommand::Cp(args) => cp::run(api, args, as_json).await,
        SandboxCommand::Stop(args) => transition::run(api, transition::Verb::Stop, args, as_json).await,
        SandboxCommand::Pause(args) => transition::run(api, transition::Verb::Pause, args, as_json).await,
        SandboxCommand::Resume(args) => transition::run(api, transition::Verb::Resume, args, as_json).await,
        SandboxCommand::Rm(args) => rm::run(api, args, as_json).await,
        SandboxCommand::Configure(args) => configure::run(api, args, as_json).await,
        SandboxCommand::Export(args) => export::export(api, args, as_json).await,
        SandboxCommand::Clone(args) => export::clone(api, args, as_json).await,
    }
}

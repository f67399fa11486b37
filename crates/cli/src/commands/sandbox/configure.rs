//! `ringfence sandbox configure`.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ConfigureRequest, EnvMode, EnvVars};

use crate::{args, failure, network::NetworkArgs, output};

/// Changes a sandbox's environment, network and lifetime, and runs commands in it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox configure lab --env MODE=paper --unset OLD_KEY
  ringfence sandbox configure lab --replace-env --env KEY=new    remove all others
  ringfence sandbox configure lab --timeout 8h --run 'mkdir -p out' --run 'date > out/begin'
  ringfence sandbox configure lab --allow api.example.com:443    beside what it may reach now
  ringfence sandbox configure lab --network none                 nothing, from now on

Variables reach the next execution; what the network allows changes at once, for open connections too. The exit code is 1 when a command failed; those after it are not run.")]
pub(crate) struct ConfigureArgs {
    /// Id or unique name
    sandbox: String,
    /// An environment variable of the next executions; may be repeated
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = args::key_value)]
    env: Vec<(String, String)>,
    /// Let programs see variables whose names are those of keys and whose hosts are unknown; they are masked in output
    #[arg(long)]
    expose: bool,
    /// Remove this variable; may be repeated
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// The given variables are all that remains
    #[arg(long)]
    replace_env: bool,
    /// A bash command; may be repeated
    #[arg(long, value_name = "COMMAND")]
    run: Vec<String>,
    /// New lifetime, from now: 3600, 8h, 2d
    #[arg(long, value_name = "DURATION", value_parser = args::whole_seconds)]
    timeout: Option<u64>,
    /// A Python package to install, with a version where it matters (`numpy==2.3.1`); may be repeated
    #[arg(long = "install", value_name = "PACKAGE")]
    packages: Vec<String>,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(super) async fn run(api: &dyn Sandboxes, args: ConfigureArgs, as_json: bool) -> anyhow::Result<i32> {
    let changes_network = args.network.is_given();
    let (network, secrets) = args.network.for_change(api, &args.sandbox).await?;
    let request = ConfigureRequest {
        sandbox_id: args.sandbox,
        env_vars: EnvVars::new(args.env.into_iter().collect()),
        env_mode: args.replace_env.then_some(EnvMode::Replace),
        unset_env: args.unset,
        run_commands: args.run,
        timeout: args.timeout,
        network,
        secrets,
        install_packages: args.packages,
        expose: args.expose,
    };
    let answer = api.configure(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        for package in &answer.packages_installed {
            output::line(&format!("installed {} {}", package.name, package.version))?;
        }
        for command in &answer.commands_executed {
            output::line(&format!("$ {}", command.command))?;
            output::raw(command.output.as_bytes())?;
            if command.exit_code != 0 {
                output::note(&format!("ringfence: it ended with {}", command.exit_code));
            }
        }
        output::line(&format!("environment version {}, expires {}", answer.env_version, answer.expires_at))?;
        for name in &answer.env_vars_updated {
            let fingerprint = answer.env_fingerprints.get(name).map_or("removed", String::as_str);
            output::line(&format!("  {name}  {fingerprint}"))?;
        }
        if changes_network {
            output::line(&format!("network {}", answer.network))?;
        }
        if !answer.secrets.is_empty() {
            output::line(&format!("secrets {}", answer.secrets.join(", ")))?;
        }
        if !answer.exposed.is_empty() {
            output::line(&format!("exposed {}", answer.exposed.join(", ")))?;
        }
        for warning in &answer.warnings {
            output::note(&format!("ringfence: {warning}"));
        }
        for process in &answer.running_processes_with_old_env {
            output::note(&format!("ringfence: still runs with the old environment: {}", process.command));
        }
    }
    Ok(if answer.success { 0 } else { failure::FAILED })
}

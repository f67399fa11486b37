//! `ringfence sandbox create`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, EnvVars, LimitsRequest, TradingChoice};
use serde_json::Value;

use crate::{args, failure, network::NetworkArgs, output, progress};

/// Makes a sandbox and prints its id
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox create                    from the template `python`
  ringfence sandbox create node --name web --timeout 8h
  ringfence sandbox create python --memory-mb 512 --cpu 0.5 --env MODE=paper
  ringfence sandbox create python --install yfinance --install scikit-learn
  ringfence sandbox create python --allow api.example.com --secret EXAMPLE_KEY
  ringfence sandbox create python --trade-account lab --trade-start 2012-06-01 --trade-speed 60
  id=$(ringfence sandbox create python)       standard output has the id alone

A name that is unique can be used wherever an id can. A template that is not built yet is built first.")]
pub(crate) struct CreateArgs {
    /// What it is made from: python, node, react, nextjs, base, or a template of your own
    #[arg(default_value = "python", value_name = "TEMPLATE")]
    template: String,
    /// A name of your own
    #[arg(long, short)]
    name: Option<String>,
    /// Lifetime, after which it expires: 3600, 8h, 2d [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = args::whole_seconds)]
    timeout: Option<u64>,
    /// An environment variable of every execution; the value of a key (`ALPACA_API_KEY`) stays outside; may be repeated
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = args::key_value)]
    env: Vec<(String, String)>,
    /// Let programs see variables whose names are those of keys and whose hosts are unknown; they are masked in output
    #[arg(long)]
    expose: bool,
    /// Something to read again in its status; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = args::key_value)]
    metadata: Vec<(String, String)>,
    /// A bash script that is run once
    #[arg(long, value_name = "FILE")]
    startup_script: Option<PathBuf>,
    /// CPUs [default: 1]
    #[arg(long)]
    cpu: Option<f64>,
    /// Memory in MiB [default: 1024]
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<u32>,
    /// Disk in MiB [default: 1024]
    #[arg(long, value_name = "MIB")]
    disk_mb: Option<u32>,
    /// Processes and threads [default: 256]
    #[arg(long, value_name = "COUNT")]
    processes: Option<u32>,
    /// A Python package to install, with a version where it matters (`numpy==2.3.1`); may be repeated
    #[arg(long = "install", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// The simulated account that it trades in, whatever key its programs use; opened when there is none of that name
    #[arg(long, value_name = "NAME", help_heading = "Simulated trading")]
    trade_account: Option<String>,
    /// Where the clock of that account stands at first: RFC 3339, or a date
    #[arg(long, value_name = "TIME", help_heading = "Simulated trading")]
    trade_start: Option<String>,
    /// How many seconds pass there in one [default: 1]
    #[arg(long, value_name = "SPEED", help_heading = "Simulated trading")]
    trade_speed: Option<f64>,
    #[command(flatten)]
    network: NetworkArgs,
}

impl CreateArgs {
    /// The account that is asked for; one of its own where only the clock is.
    fn trading(&mut self) -> Option<TradingChoice> {
        let choice = TradingChoice {
            account: self.trade_account.take(),
            start: self.trade_start.take(),
            speed: self.trade_speed.take(),
        };
        (choice != TradingChoice::default()).then_some(choice)
    }
}

pub(super) async fn run(api: &dyn Sandboxes, mut args: CreateArgs, as_json: bool) -> anyhow::Result<i32> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let startup_script = args.startup_script.as_ref().map(read).transpose()?;
    let limits =
        LimitsRequest { cpu: args.cpu, memory_mb: args.memory_mb, disk_mb: args.disk_mb, processes: args.processes };
    let trading = args.trading();
    let (network, secrets) = args.network.for_new()?;
    let (sender, shown) = progress::shown(&format!("template {}", args.template));
    let request = CreateRequest {
        template: args.template,
        name: args.name,
        timeout: args.timeout,
        env_vars: EnvVars::new(args.env.into_iter().collect()),
        metadata: args.metadata.into_iter().map(|(name, value)| (name, Value::String(value))).collect(),
        startup_script,
        network,
        secrets,
        install_packages: args.packages,
        trading,
        expose: args.expose,
        limits: (limits != LimitsRequest::default()).then_some(limits),
        ..CreateRequest::default()
    };
    let created = api.create(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let created = created?;
    if as_json {
        output::json(&created)?;
    } else {
        output::line(created.sandbox_id.as_str())?;
        for warning in &created.warnings {
            output::note(&format!("ringfence: {warning}"));
        }
        for missing in &created.isolation.missing {
            output::note(&format!("ringfence: this host could not give it: {missing}"));
        }
    }
    // The sandbox is there all the same, and can be looked into.
    match &created.startup {
        Some(startup) if startup.exit_code != 0 => {
            output::note(&format!("ringfence: the startup script ended with {}:", startup.exit_code));
            output::note(startup.output.trim_end());
            Ok(failure::FAILED)
        }
        _ => Ok(0),
    }
}

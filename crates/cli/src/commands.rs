//! The commands, one a file, and what they share: the choice among them, and the connection to the daemon.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod credits;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod egress;
pub(crate) mod install;
pub(crate) mod mcp;
pub(crate) mod pages;
pub(crate) mod pipeline;
pub(crate) mod preview;
pub(crate) mod prune;
pub(crate) mod reconcile;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod soak;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod story;
pub(crate) mod swarm;
pub(crate) mod sweep;
pub(crate) mod task;
pub(crate) mod template;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod trade;
pub(crate) mod venue;

use std::future::Future;

use crate::{
    args::{Cli, Command},
    daemon, failure,
};

/// Runs the command and returns the exit code.
pub(crate) fn run(cli: Cli) -> i32 {
    let Cli { global, command } = cli;
    let as_json = global.json;
    daemon::identify(global.project.clone(), std::env::var("RINGFENCE_TOKEN").ok());
    let done = match command {
        // These two need a process without threads.
        Command::Serve(args) => serve::run(&global, &args),
        Command::Doctor(args) => doctor::run(&global, &args),
        // This one has a runtime of its own.
        Command::Venue(args) => venue::run(&global, &args),
        Command::Data(command) => data::run(&global, command),
        Command::Backup(args) => backup::backup(&global, &args),
        Command::Restore(args) => backup::restore(&global, &args),
        Command::Reconcile(args) => reconcile::run(&global, &args),
        Command::Story(args) => story::run(&global, &args),
        Command::Config(command) => config::run(&global, command),
        Command::Completions(args) => pages::completions(&global, &args),
        Command::Man(args) => pages::man(&global, &args),
        Command::Install(args) => install::install(&global, &args),
        Command::Uninstall(args) => install::uninstall(&global, &args),
        Command::Run(args) => waiting(run::run(global, args)),
        Command::Sandbox(command) => waiting(sandbox::run(global, command)),
        Command::Template(command) => waiting(template::run(global, command)),
        Command::Secret(command) => waiting(secret::run(global, command)),
        Command::Egress(command) => waiting(egress::run(global, command)),
        Command::Trade(command) => waiting(trade::run(global, command)),
        Command::Sweep(args) => waiting(sweep::run(global, *args)),
        Command::Swarm(command) => waiting(swarm::run(global, command)),
        Command::Task(command) => waiting(task::run(global, command)),
        Command::Preview(args) => waiting(preview::run(global, args)),
        Command::Pipeline(command) => waiting(pipeline::run(global, command)),
        Command::Audit(command) => waiting(audit::run(global, command)),
        Command::Token(command) => waiting(token::run(global, command)),
        Command::Project(command) => waiting(token::projects(global, command)),
        Command::Credits(command) => waiting(credits::run(global, command)),
        Command::Usage(args) => waiting(credits::usage(global, args)),
        Command::Mcp(args) => waiting(mcp::run(global, args)),
        Command::Stop(_) => waiting(stop::run(global)),
        Command::Top(args) => waiting(top::run(global, args)),
        Command::Status(_) => waiting(status::run(global)),
        Command::Demo(args) => waiting(demo::run(global, args)),
        Command::Bench(args) => waiting(bench::run(global, args)),
        Command::Soak(args) => several(soak::run(global, args)),
    };
    done.unwrap_or_else(|error| failure::report(&error, as_json))
}

/// Waits for a command that does many things at once.
fn several(command: impl Future<Output = anyhow::Result<i32>>) -> anyhow::Result<i32> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

/// Waits for a command that talks to the daemon. One thread is enough for what is mostly waiting, and the quickest.
pub(crate) fn waiting(command: impl Future<Output = anyhow::Result<i32>>) -> anyhow::Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    // A thread that waits for standard input cannot be waited for.
    runtime.shutdown_background();
    done
}

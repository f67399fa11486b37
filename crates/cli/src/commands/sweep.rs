//! `ringfence sweep`: backtests in sandboxes, many at once.

mod list;
mod run;
mod show;
mod trading;
mod values;

use std::{io::Write, path::Path};

use anyhow::Context;
use clap::{Args, Subcommand};
use futures::StreamExt;
use ringfence_engine::api::Chunks;
use ringfence_model::api::{Actor, JobKind, SweepFormat, SweepOneRequest, SweepTableRequest};
use ringfence_research::api::Sweeps;

use crate::{
    args::Global,
    commands::prune::{self, PruneArgs},
    daemon, output,
};

/// Backtests strategies over symbols and parameters, each run in a sandbox, and ranks them
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  ringfence sweep sma_cross --symbols AAPL,MSFT,IBM,GOOG,FB
  ringfence sweep sma_cross --symbols AAPL --set fast=10,slow=20 --set fast=20,slow=50 --set fast=50,slow=100
  ringfence sweep sma_cross --symbols AAPL --param fast=5..50:5 --param slow=60,100,200 --report aapl.html
  ringfence sweep mine.py --symbols AAPL --param window=10,20 --train 0.7
  ringfence sweep momentum,mean_reversion --walk-forward 500:60 --csv table.csv
  ringfence sweep show                          the newest one
  ringfence sweep list

Strategies: sma_cross, momentum, mean_reversion, pairs_trading, breakout, rsi, buy_and_hold, or a Python file that defines \
signals(bars, **parameters). Fills are at the next open, a fill costs 10 bp, and every result stands beside buying and holding. \
Ctrl-C detaches: the sweep goes on in the daemon, also after a crash of it; `ringfence sweep cancel` ends it."
)]
pub(crate) struct SweepArgs {
    #[command(subcommand)]
    command: Option<SweepCommand>,
    #[command(flatten)]
    run: Option<run::RunArgs>,
    // Not in `run`: of arguments with others flattened into them clap does not see whether there are any.
    #[command(flatten)]
    trading: trading::Trading,
}

#[derive(Debug, Subcommand)]
enum SweepCommand {
    /// Runs backtests and waits for their end, as `ringfence sweep` does without a subcommand
    Run(Box<Asked>),
    Show(show::ShowArgs),
    List(list::ListArgs),
    Cancel(list::CancelArgs),
    Rm(list::RmArgs),
    Prune(PruneArgs),
    Export(show::ExportArgs),
    Report(show::ReportArgs),
}

// No documentation comment: clap would take it for that of the subcommand.
#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    run: run::RunArgs,
    #[command(flatten)]
    trading: trading::Trading,
}

impl SweepArgs {
    /// What is to be done, if anything was said.
    fn command(self) -> Option<SweepCommand> {
        let Self { command, run, trading } = self;
        command.or_else(|| run.map(|run| SweepCommand::Run(Box::new(Asked { run, trading }))))
    }
}

pub(crate) async fn run(global: Global, args: SweepArgs) -> anyhow::Result<i32> {
    let Some(command) = args.command() else {
        return crate::failure::usage("name a strategy, such as `ringfence sweep sma_cross`, or see --help");
    };
    // What makes no sense is refused before a daemon is started for it.
    let request = match &command {
        SweepCommand::Run(asked) => Some(asked.run.request(&asked.trading)?),
        _ => None,
    };
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.research.as_ref(), global.json);
    match (command, request) {
        (SweepCommand::Run(asked), Some(request)) => run::run(api, asked.run, request, as_json).await,
        (SweepCommand::Run(_), None) => unreachable!("it was made above"),
        (SweepCommand::Show(args), _) => show::show(api, args, as_json).await,
        (SweepCommand::List(args), _) => list::list(api, args, as_json).await,
        (SweepCommand::Cancel(args), _) => list::cancel(api, args, as_json).await,
        (SweepCommand::Rm(args), _) => list::rm(api, args, as_json).await,
        (SweepCommand::Prune(args), _) => prune::prune(api, JobKind::Sweep, args, as_json).await,
        (SweepCommand::Export(args), _) => show::export(api, args, as_json).await,
        (SweepCommand::Report(args), _) => show::report(api, args, as_json).await,
    }
}

/// Writes what comes into a file, or onto standard output for `-`. The bytes.
async fn save(mut chunks: Chunks, file: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    if file == Path::new("-") {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            bytes += chunk.len() as u64;
            output::raw(&chunk)?;
        }
        return Ok(bytes);
    }
    // Whole or not at all: what was there before stays when the daemon hangs up in the middle.
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let what = || format!("writing {}", file.display());
    let mut beside = tempfile::NamedTempFile::new_in(dir).with_context(what)?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        beside.write_all(&chunk).with_context(what)?;
    }
    let file_mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(beside.path(), file_mode).with_context(what)?;
    beside.persist(file).with_context(what)?;
    Ok(bytes)
}

async fn save_table(api: &(impl Sweeps + ?Sized), id: &str, format: SweepFormat, file: &Path) -> anyhow::Result<u64> {
    let request = SweepTableRequest { sweep_id: id.to_owned(), format: Some(format), follow: false };
    save(api.sweep_table(Actor::Operator, request).await?, file).await
}

async fn save_report(api: &(impl Sweeps + ?Sized), id: &str, file: &Path) -> anyhow::Result<u64> {
    save(api.sweep_report(Actor::Operator, SweepOneRequest { sweep_id: id.to_owned() }).await?, file).await
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sweep: SweepArgs,
    }

    #[test]
    fn a_strategy_is_run_with_and_without_the_word() {
        for line in ["x rsi --no-short --capital 5", "x run rsi --no-short --capital 5"] {
            let parsed = Line::try_parse_from(line.split(' ')).expect("it is a command");
            let Some(SweepCommand::Run(asked)) = parsed.sweep.command() else { panic!("{line} runs nothing") };
            let request = asked.run.request(&asked.trading).expect("a request");
            assert_eq!((request.strategies, request.capital), (vec!["rsi".to_owned()], Some(5.0)), "{line}");
            assert_eq!(request.account.short_allowed, Some(false), "{line}");
        }
        let alone = Line::try_parse_from(["x", "sma_cross"]).expect("it is a command");
        assert!(matches!(alone.sweep.command(), Some(SweepCommand::Run(_))));
        assert!(Line::try_parse_from(["x"]).is_err(), "nothing is asked");
    }
}

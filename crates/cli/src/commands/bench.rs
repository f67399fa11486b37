//! `ringfence bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{args::Global, bench};

/// Measures the promises of SPECIFICATION.md on this host
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence bench                        some minutes
  sudo ringfence bench --only create --rounds 1000
  sudo ringfence bench --only alive --alive 1000
  sudo ringfence bench --only cycles --cycles 10000
  sudo ringfence bench --only gate --rounds 1000
  sudo ringfence bench --only audit --entries 1000000

Beside bare python3, bubblewrap and crun on the same root file system, where they are installed, in turns. Every output \
is checked. Stop other daemons and programs first: what they do is measured too.")]
pub(crate) struct BenchArgs {
    /// Measure only this; may be repeated
    #[arg(long, value_enum)]
    pub(crate) only: Vec<Part>,
    /// Rounds of `print`; the pandas backtest has a tenth
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) rounds: u32,
    /// How many sandboxes to keep alive at once
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) alive: u32,
    /// How many create-run-delete cycles
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cycles: u32,
    /// How many backtests of each kind that research would run
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) trials: u32,
    /// How many entries of the audit chain are verified
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(crate) entries: u64,
    /// Where the results are written
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub(crate) out: PathBuf,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// A new sandbox and the output of `print(N)`
    Create,
    /// A new sandbox and the seed document's pandas backtest
    Pandas,
    /// An execution in a sandbox that is there
    Execute,
    /// An execution for which an interpreter is forked
    Join,
    /// A new sandbox when none is prepared
    Empty,
    /// A hundred sandboxes at once
    Burst,
    /// Memory of many
    Alive,
    /// Many in a row, and what they leave
    Cycles,
    /// Entries of the audit chain
    Audit,
    /// What the gate adds to a request, beside a direct connection and mitmproxy
    Gate,
    /// The seed document's lists of packages, installed a second time
    Packages,
    /// A template with the seed document's packages: its export, and a hundred sandboxes of it
    Export,
    /// A sandbox of every template with a first program, and programs of Node beside Node itself
    Templates,
    /// Orders through the gate beside the exchange alone, bars to a hundred sandboxes, and how quickly a market is replayed
    Trade,
    /// A thousand backtests, each in a sandbox of its own, beside a pool of processes without sandboxes
    Trials,
    /// A sweep of a thousand backtests beside a pool of processes without sandboxes, and one of ten thousand
    Sweep,
    /// Backtests by native code over a grid, beside vectorbt and backtesting.py (they are installed below --out)
    Kernel,
    /// 200 sandboxes that ask ten times a second each, beside the same
    Polling,
}

pub(crate) async fn run(global: Global, args: BenchArgs) -> anyhow::Result<i32> {
    bench::run(&global, &args).await
}

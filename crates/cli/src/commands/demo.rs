//! `ringfence demo`.

use clap::Args;

use crate::{args::Global, demo};

/// Shows everything once, through the real MCP server: real backtests on real bars, and what they took
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence demo
  sudo ringfence demo --json > demo.json      all that was measured

It builds the Python template when that is missing (some minutes), removes the sandboxes that it makes, and leaves the \
daemon running. Every output is checked: the exit code is 1 when one is not as it must be.")]
pub(crate) struct DemoArgs {}

pub(crate) async fn run(global: Global, _: DemoArgs) -> anyhow::Result<i32> {
    demo::run(&global).await?;
    Ok(0)
}

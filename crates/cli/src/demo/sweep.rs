//! The seed document's exercises 1 and 2 in one call: five symbols, three pairs of averages, and how likely the best is to be luck.

use anyhow::{Context, ensure};
use ringfence_model::api::{SweepAnswer, SweepStatus};
use serde_json::json;

use super::{client::McpClient, sma::Backtest};
use crate::{numbers, output};

/// The pairs of the seed document, in days.
const PAIRS: [(u32, u32); 3] = [(10, 20), (20, 50), (50, 100)];

/// How far equity may be from that of the program in the section before, as a part of it. The same bars, rules and costs; but the
/// program keeps the fee of 10 bp back from what it buys, and a weight of 1 is bought whole with the fee on top: 10 bp of 10 bp a purchase.
const AGREES: f64 = 1e-4;

/// Runs it, and compares what it can with the backtests of the section before.
///
/// # Errors
/// It did not end, or disagrees.
pub(super) async fn run(mcp: &McpClient, backtests: &[Backtest]) -> anyhow::Result<SweepAnswer> {
    let symbols: Vec<&str> = backtests.iter().map(Backtest::symbol).collect();
    let combinations: Vec<_> = PAIRS.iter().map(|(fast, slow)| json!({"fast": fast, "slow": slow})).collect();
    let request = json!({"strategy": "sma_cross", "symbols": symbols, "combinations": combinations, "wait": 50});
    let call = mcp.call("backtest_sweep", request).await?;
    let answer: SweepAnswer = serde_json::from_value(call.answer).context("reading what the sweep answered")?;
    ensure!(answer.status == SweepStatus::Completed, "the sweep is {}: {}", answer.status.as_str(), answer.summary);
    ensure!(answer.progress.failed == 0, "{} runs of the sweep failed", answer.progress.failed);
    for backtest in backtests {
        let of = |run: &&ringfence_model::api::SweepResult| {
            run.symbols == [backtest.symbol()] && run.parameters.get("fast") == Some(&json!(20))
        };
        let run = answer.results.iter().find(of);
        let swept = run.and_then(|run| run.metrics.as_ref()?.total_return).context("a run of the sweep is missing")?;
        let own = backtest.total_return();
        ensure!(
            (swept - own).abs() <= AGREES * (1.0 + own),
            "the sweep says {swept} where the program above said {own} of {}",
            backtest.symbol()
        );
    }
    Ok(answer)
}

/// Each symbol's best beside buying and holding it.
pub(super) fn table(answer: &SweepAnswer) -> String {
    let mut table = output::table(&["symbol", "fast", "slow", "Sharpe", "total return", "buy and hold", "trades"]);
    let none = || "n/a".to_owned();
    let mut runs: Vec<_> = answer.results.iter().collect();
    runs.sort_by_key(|run| run.run);
    for run in runs {
        let parameter = |name: &str| run.parameters.get(name).map_or_else(none, ToString::to_string);
        let figures = run.metrics.as_ref();
        table.add_row([
            run.symbols.join(" "),
            parameter("fast"),
            parameter("slow"),
            figures.and_then(|f| f.sharpe).map_or_else(none, |sharpe| format!("{sharpe:.2}")),
            figures.and_then(|f| f.total_return).map_or_else(none, numbers::percent),
            run.buy_and_hold_return.map_or_else(none, numbers::percent),
            figures.map_or_else(none, |f| f.trades.to_string()),
        ]);
    }
    output::text(table)
}

//! What a sweep answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{SweepMetric, SweepParameters};
use crate::JobId;

/// How a sweep stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepAnswer {
    /// Whether the sweep goes on or has ended with at least one result.
    pub success: bool,
    /// The sweep.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sweep_id: JobId,
    /// The name that was given to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How far it is.
    pub status: SweepStatus,
    /// What was found, in a sentence or two: what was not beaten first.
    pub summary: String,
    /// How much is done.
    pub progress: SweepProgress,
    /// What results are ranked by.
    pub metric: SweepMetric,
    /// The best so far, ranked; `ringfence sweep export` and `GET /v1/sweeps/{id}/results` have them all.
    pub results: Vec<SweepResult>,
    /// The best of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<SweepResult>,
    /// The best of each symbol or portfolio beside buying and holding it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_symbol: Vec<SweepSymbol>,
    /// How likely the best is to be luck. Once the sweep has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overfitting: Option<SweepLuck>,
    /// Whether the best looks ahead. Once the sweep has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_ahead: Option<SweepLookAhead>,
    /// What choosing on the past and trading after it would have given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub walk_forward: Vec<SweepWalk>,
    /// Where the report is, below the address of the API; `ringfence sweep report` writes it to a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The main chart, when it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<SweepChart>,
    /// How fills, costs and figures were computed, one convention each.
    pub conventions: BTreeMap<String, String>,
    /// The bars.
    pub data: SweepDataView,
    /// What computed it.
    pub versions: BTreeMap<String, String>,
    /// Seed of everything that was drawn.
    pub seed: u64,
    /// SHA-256 of the code of each strategy, by its name.
    pub strategies: BTreeMap<String, String>,
    /// What to know about the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When it began.
    pub created_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// SHA-256 of the ranked table: two sweeps of equal hash have the same results to the bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_sha256: Option<String>,
}

/// How far a sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepStatus {
    /// Runs are under way.
    Running,
    /// All runs are done; the best is being checked and the report written.
    Finishing,
    /// It has ended.
    Completed,
    /// It ended without a result.
    Failed,
    /// Somebody ended it; what was done by then is kept.
    Cancelled,
}

impl SweepStatus {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Finishing, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// Whether nothing happens any more.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How much of a sweep is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepProgress {
    /// Runs that are done, failed ones among them.
    pub done: u64,
    /// Of those, runs that failed.
    pub failed: u64,
    /// All runs.
    pub total: u64,
    /// Runs a second, since this daemon took the sweep up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Estimated time left, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepResult {
    /// Its place, from 1. Absent for a run that failed or has no figure to be ranked by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// Its number within the sweep.
    pub run: u64,
    /// The strategy: a built-in name, or `code`.
    pub strategy: String,
    /// What it traded.
    pub symbols: Vec<String>,
    /// With which parameters.
    #[schema(value_type = Object)]
    pub parameters: SweepParameters,
    /// `completed` or `failed`.
    pub status: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What ran the strategy: `sandbox` or `native`.
    pub engine: String,
    /// The program reported its own equity or trades, which nobody checked.
    #[serde(default, skip_serializing_if = "super::super::is_false")]
    pub self_reported: bool,
    /// The figures that rank it: of the whole time, or of the share `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SweepFigures>,
    /// The figures of the rest, which did not rank it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_sample: Option<SweepFigures>,
    /// Total return of buying and holding the same in the same time, after the same costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buy_and_hold_return: Option<f64>,
    /// Whether it returned more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beats_buy_and_hold: Option<bool>,
    /// Bars that were run; fewer than all for what a halving search gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bars: Option<u64>,
    /// What the look-ahead check of this run said, where it was made: `honest`, `looks ahead`, `not deterministic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_ahead: Option<String>,
    /// Last lines that the strategy logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// Figures of one backtest. `null` where a figure has no meaning, as the win rate of no trades.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepFigures {
    /// Growth over the whole time: 0.5 is 50 %.
    pub total_return: Option<f64>,
    /// Growth a year.
    pub cagr: Option<f64>,
    /// Deviation of returns, a year.
    pub volatility: Option<f64>,
    /// Mean return by its deviation, a year.
    pub sharpe: Option<f64>,
    /// The same with deviation below zero alone.
    pub sortino: Option<f64>,
    /// Growth a year by the largest drawdown.
    pub calmar: Option<f64>,
    /// The largest fall from a peak: -0.3 is 30 %.
    pub max_drawdown: Option<f64>,
    /// Its peak, `YYYY-MM-DD`.
    pub drawdown_peak: Option<String>,
    /// Its lowest day.
    pub drawdown_trough: Option<String>,
    /// When the peak was reached again.
    pub drawdown_recovery: Option<String>,
    /// Days of the calendar from its peak until it was reached again, or to the last bar.
    pub max_drawdown_days: u64,
    /// The same of the drawdown that took longest.
    pub longest_drawdown_days: u64,
    /// Root of the mean squared drawdown.
    pub ulcer_index: Option<f64>,
    /// Skewness of returns.
    pub skew: Option<f64>,
    /// Excess kurtosis of returns.
    pub kurtosis: Option<f64>,
    /// The return of a bar that one in twenty falls below.
    pub value_at_risk: Option<f64>,
    /// The mean of those below it.
    pub expected_shortfall: Option<f64>,
    /// Share of the time with a position.
    pub exposure: Option<f64>,
    /// What was traded by mean equity, a year.
    pub turnover: Option<f64>,
    /// Commission and slippage, in the account's currency.
    pub costs: Option<f64>,
    /// Round trips.
    pub trades: u64,
    /// Those of them that are open at the end.
    pub open_trades: u64,
    /// Share of them that won.
    pub win_rate: Option<f64>,
    /// Their gains by their losses.
    pub profit_factor: Option<f64>,
    /// Mean profit of a trade.
    pub expectancy: Option<f64>,
    /// Mean gain by mean loss.
    pub payoff: Option<f64>,
    /// System quality number.
    pub sqn: Option<f64>,
    /// Return a year that buying and holding does not explain.
    pub alpha: Option<f64>,
    /// How much of the buy and hold's movement it shares.
    pub beta: Option<f64>,
    /// Mean return of a bar above buying and holding, by the deviation of the difference.
    pub information_ratio: Option<f64>,
    /// Best return of a day.
    pub best_day: Option<f64>,
    /// Worst return of a day.
    pub worst_day: Option<f64>,
    /// Equity at the end.
    pub final_equity: Option<f64>,
}

impl SweepFigures {
    /// The figure that a metric names.
    #[must_use]
    pub fn of(&self, metric: SweepMetric) -> Option<f64> {
        match metric {
            SweepMetric::Sharpe => self.sharpe,
            SweepMetric::Sortino => self.sortino,
            SweepMetric::Calmar => self.calmar,
            SweepMetric::Cagr => self.cagr,
            SweepMetric::TotalReturn => self.total_return,
            SweepMetric::MaxDrawdown => self.max_drawdown,
            SweepMetric::ProfitFactor => self.profit_factor,
            SweepMetric::Sqn => self.sqn,
        }
    }
}

/// A symbol, or symbols that were traded together, with its best result and buying and holding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepSymbol {
    /// Which.
    pub symbols: Vec<String>,
    /// Number of the best run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_run: Option<u64>,
    /// Its strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<SweepParameters>,
    /// Its figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SweepFigures>,
    /// The figures of buying and holding, after costs.
    pub buy_and_hold: SweepFigures,
    /// How many runs returned more than buying and holding.
    pub beat_buy_and_hold: u64,
    /// Runs that completed.
    pub runs: u64,
}

/// How likely the best result is to be luck.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepLuck {
    /// What that means, in a sentence.
    pub verdict: String,
    /// Probability that the best is luck: 1 less its deflated Sharpe ratio.
    pub probability_of_luck: Option<f64>,
    /// Runs among which the best was chosen.
    pub trials: u64,
    /// Runs beside those that never did anything.
    pub still: u64,
    /// How many independent ones they are worth.
    pub effective_trials: Option<f64>,
    /// The best Sharpe ratio to be expected among so many trials without any skill, a year.
    pub expected_max_sharpe: Option<f64>,
    /// Probability that the true Sharpe ratio is above zero, as if it were the only trial.
    pub probabilistic_sharpe: Option<f64>,
    /// The same against the expected best of so many trials.
    pub deflated_sharpe: Option<f64>,
    /// Probability of backtest overfitting: how often the best of one half of the time is below the median in the other.
    pub pbo: Option<f64>,
    /// Over which bars combinations were compared for it; nothing where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<SweepCompared>,
    /// Between which the Sharpe ratio lies with a probability of 95 % (stationary bootstrap).
    pub sharpe_interval: Option<[f64; 2]>,
    /// The same of growth a year.
    pub cagr_interval: Option<[f64; 2]>,
    /// The same of the largest drawdown.
    pub drawdown_interval: Option<[f64; 2]>,
    /// Years that are needed to tell the Sharpe ratio from zero with a confidence of 95 %.
    pub min_track_record_years: Option<f64>,
    /// How the best compares with its neighbours in the grid: `plateau`, `slope` or `spike`; nothing where the grid is too small.
    pub neighbourhood: Option<String>,
    /// How much of the lead of the best over what is usual in the grid its neighbours keep.
    pub neighbour_ratio: Option<f64>,
}

/// The bars over which combinations were compared one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepCompared {
    /// The first one.
    pub from: String,
    /// The last one.
    pub to: String,
    /// How many there are.
    pub bars: u64,
    /// Combinations that did nothing over them, and were not compared.
    pub still: u64,
    /// Whether some combination was ranked on other bars as well.
    pub joined: bool,
}

/// What the look-ahead check found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepLookAhead {
    /// `honest`, `looks ahead`, `not deterministic`, or `not checked`.
    pub verdict: String,
    /// What was done and found, in a sentence; and, where it is honest, what the check cannot see.
    pub detail: String,
    /// Runs that were checked.
    pub checked: u64,
    /// Numbers of those that look ahead, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caught: Vec<u64>,
}

/// Walk-forward of one symbol or portfolio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepWalk {
    /// Which.
    pub symbols: Vec<String>,
    /// The windows, at most 200.
    pub windows: Vec<SweepWindow>,
    /// Figures of the test stretches joined to one curve: nothing in it was chosen with knowledge of it. `null` where equity was not
    /// kept, as of very large sweeps.
    pub metrics: Option<SweepFigures>,
    /// Total return of buying and holding over the same bars.
    pub buy_and_hold_return: Option<f64>,
    /// The metric out of sample by the mean of the chosen ones in sample. `null` by `total_return`, which grows with the length of a
    /// stretch, and where that mean is not above 0.
    pub efficiency: Option<f64>,
}

/// A window of a walk-forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepWindow {
    /// First day on which parameters were chosen.
    pub train_from: String,
    /// First day on which they were judged.
    pub test_from: String,
    /// Last day of that.
    pub test_to: String,
    /// Number of the run that was chosen.
    pub run: Option<u64>,
    /// Its parameters.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<SweepParameters>,
    /// The metric where it was chosen.
    pub train: Option<f64>,
    /// The metric where it was judged.
    pub test: Option<f64>,
}

/// The bars of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepDataView {
    /// SHA-256 of them.
    pub sha256: String,
    /// `sample`, `imported`, or both.
    pub source: String,
    /// Whether prices were adjusted for a split or a dividend within them: then their past levels know it.
    #[serde(default)]
    pub adjusted: bool,
    /// `day` or `minute`.
    pub interval: String,
    /// First day.
    pub first: String,
    /// Last day.
    pub last: String,
    /// Bars by symbol.
    pub bars: BTreeMap<String, u64>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepChart {
    /// Its name.
    pub name: String,
    /// `image/png`.
    pub mime: String,
    /// Its bytes, unless they come as an image block of MCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

/// Sweeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepListAnswer {
    /// True.
    pub success: bool,
    /// The sweeps, newest first.
    pub sweeps: Vec<SweepListed>,
    /// How many those are.
    pub count: u64,
}

/// A sweep in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SweepListed {
    /// The sweep.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sweep_id: JobId,
    /// The name that was given to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How far it is.
    pub status: SweepStatus,
    /// How much is done.
    pub progress: SweepProgress,
    /// Strategies.
    pub strategies: Vec<String>,
    /// Symbols.
    pub symbols: Vec<String>,
    /// When it began.
    pub created_at: String,
    /// What was found.
    pub summary: String,
}

//! Sweeps: backtests of strategies over symbols and parameters, each in a sandbox, ranked by honest figures.

mod account;
mod answer;
mod check;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{is_false, null_is_default};

pub use account::*;
pub use answer::*;

/// Symbols of one sweep.
pub const SWEEP_SYMBOLS_MAX: usize = 500;
/// Strategies of one sweep.
pub const SWEEP_STRATEGIES_MAX: usize = 32;
/// Parameters of a strategy.
pub const SWEEP_PARAMETERS_MAX: usize = 32;
/// Combinations of strategy, symbols and parameters that one sweep runs.
pub const SWEEP_RUNS_MAX: u64 = 200_000;
/// Ranked results of one answer unless the request says otherwise.
pub const SWEEP_TOP_DEFAULT: u32 = 20;
/// Ranked results of one answer; the table of a sweep holds them all.
pub const SWEEP_TOP_MAX: u32 = 500;
/// Time for one run unless the request says otherwise, in seconds.
pub const SWEEP_RUN_S_DEFAULT: f64 = 60.0;
/// Parameter sets that share a sandbox at most.
pub const SWEEP_BATCH_MAX: u32 = 256;
/// What a backtest begins with unless the request says otherwise, in the currency of the prices.
pub const SWEEP_CAPITAL_DEFAULT: f64 = 100_000.0;
/// Commission of each fill unless the request says otherwise, in hundredths of a percent of its value.
pub const SWEEP_COMMISSION_BPS_DEFAULT: f64 = 10.0;

/// One set of parameters: name → number, text or boolean.
pub type SweepParameters = BTreeMap<String, Value>;

/// Values to try by parameter. By itself the type says "anything", which clients that check schemas strictly refuse.
fn values_schema(_: &mut SchemaGenerator) -> Schema {
    let value = ["number", "string", "boolean"].map(|kind| json!({"type": kind}));
    json_schema!({"type": "object", "additionalProperties": {"type": "array", "items": {"anyOf": value}}})
}

/// Arguments of `backtest_sweep`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepRequest {
    /// A name of your own, for lists and the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of a built-in strategy: `sma_cross`, `momentum`, `mean_reversion`, `pairs_trading`, `breakout`, `rsi`, `buy_and_hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Several built-in strategies, each over all symbols and parameters.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub strategies: Vec<String>,
    /// A strategy of your own in Python, instead of `strategy`: it defines `signals(bars, **parameters)`, which returns the
    /// target position for each bar as a fraction of equity (1 all in, 0 flat, -1 short).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Symbols, such as `AAPL` (default: all of the sample). Each is a backtest of its own unless `together` is set.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub symbols: Vec<String>,
    /// One backtest of all symbols as a portfolio. A strategy that needs two symbols gets each pair without this.
    #[serde(default, skip_serializing_if = "is_false")]
    pub together: bool,
    /// Values to try by parameter, as in `{"fast": [10, 20], "slow": [50, 100]}`: every combination is run.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "values_schema")]
    #[schema(value_type = Object, nullable)]
    pub parameters: BTreeMap<String, Vec<Value>>,
    /// Parameter sets to try as they are, beside or instead of `parameters`, as in `[{"fast": 10, "slow": 20}]`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>, nullable)]
    pub combinations: Vec<SweepParameters>,
    /// First day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Last day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// `sample` (the bars that every sandbox finds at /data), `imported` (`ringfence data import`), or `auto` (default): what
    /// was imported of a symbol, else the sample. Prices are adjusted for splits and dividends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<SweepData>,
    /// What trading costs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "SweepCosts::is_default")]
    #[schema(nullable)]
    pub costs: SweepCosts,
    /// What the account may do.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "SweepAccount::is_default")]
    #[schema(nullable)]
    pub account: SweepAccount,
    /// When targets become trades (default `next_open`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<SweepFill>,
    /// What each backtest begins with (default 100000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capital: Option<f64>,
    /// What results are ranked by (default `sharpe`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<SweepMetric>,
    /// What money earns without a risk, as a fraction a year such as 0.03, for Sharpe, Sortino and alpha (default 0). The account's own
    /// cash earns nothing whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_free: Option<f64>,
    /// Sandboxes at once, at most (default: one for each processor).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    #[schema(minimum = 1)]
    pub parallelism: Option<u32>,
    /// Parameters are chosen on a stretch of the past and judged on what came after it, again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk_forward: Option<SweepWalkForward>,
    /// Share of the bars, above 0 and below 1, on which results are ranked; the rest only judges them. Not with `walk_forward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<f64>,
    /// How combinations are searched (default `grid`: all of them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SweepSearch>,
    /// Combinations per strategy and symbol that a `random` or `halving` search begins with (default: a quarter of them, at least 8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    #[schema(minimum = 1)]
    pub budget: Option<u64>,
    /// Seed of everything that is drawn: the random search, the look-ahead check, bootstrap intervals (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    #[schema(minimum = 0)]
    pub seed: Option<u64>,
    /// Parameter sets that share one sandbox (default 1: each run has its own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    #[schema(minimum = 1)]
    pub batch: Option<u32>,
    /// The strategy sees one bar after the other, so that the future is not in its sandbox at all. Slower.
    #[serde(default, skip_serializing_if = "is_false")]
    pub point_in_time: bool,
    /// Whose signals are checked for looking ahead (default `best`: the best result's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_ahead_check: Option<SweepCheck>,
    /// Seconds after which one run is ended (default 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Whether a built-in strategy may run as native code instead of in a sandbox (default `never`). Each result says which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<SweepNative>,
    /// Seconds to wait for the end, at most 50 (default 50); a sweep that takes longer goes on and is read with
    /// `backtest_status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 50))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
    /// How many ranked results are answered, at most 500 (default 20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    #[schema(minimum = 0)]
    pub top: Option<u32>,
}

/// Where bars come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepData {
    /// What was imported of a symbol, else the sample.
    #[default]
    Auto,
    /// The bars that ringfence has built in.
    Sample,
    /// What the operator imported.
    Imported,
}

/// What trading costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepCosts {
    /// Commission of each fill, in hundredths of a percent of its value (default 10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commission_bps: Option<f64>,
    /// By how much each fill is worse than the bar's price, in hundredths of a percent (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slippage_bps: Option<f64>,
    /// By how much each fill is worse on top of that, as a part of the bar's high less its low, from 0 to 1 (default 0). It never
    /// leads out of the bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_slippage: Option<f64>,
    /// Commission per share (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_share: Option<f64>,
    /// Least commission of a fill (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Interest a year on what is sold short, in hundredths of a percent (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borrow_bps: Option<f64>,
}

impl SweepCosts {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When targets become trades.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepFill {
    /// At the open of the next bar.
    #[default]
    NextOpen,
    /// At the close of the next bar.
    NextClose,
    /// At the close that gave the signal, held from the next bar. Nobody can trade so; it is what many libraries do.
    SignalClose,
}

/// What results are ranked by: the larger, the better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepMetric {
    /// Mean return by its deviation, a year.
    #[default]
    Sharpe,
    /// The same with deviation below zero alone.
    Sortino,
    /// Growth a year by the largest drawdown.
    Calmar,
    /// Growth a year.
    Cagr,
    /// Growth over the whole time.
    TotalReturn,
    /// The largest drawdown, which is negative: the nearest to zero is best.
    MaxDrawdown,
    /// Gains by losses of trades.
    ProfitFactor,
    /// System quality number of trades.
    Sqn,
}

impl SweepMetric {
    /// The word as clients write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sharpe => "sharpe",
            Self::Sortino => "sortino",
            Self::Calmar => "calmar",
            Self::Cagr => "cagr",
            Self::TotalReturn => "total_return",
            Self::MaxDrawdown => "max_drawdown",
            Self::ProfitFactor => "profit_factor",
            Self::Sqn => "sqn",
        }
    }
}

/// How combinations are searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepSearch {
    /// All of them.
    #[default]
    Grid,
    /// `budget` of them, drawn by `seed` without repetition.
    Random,
    /// `budget` of them, drawn in the same way, on a short stretch of the data; the better half on twice as much, and so on.
    Halving,
}

/// Whose signals are checked for looking ahead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepCheck {
    /// The best result's.
    #[default]
    Best,
    /// Every result's.
    All,
    /// Nobody's.
    None,
}

/// Whether a built-in strategy may run as native code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepNative {
    /// Always in a sandbox.
    #[default]
    Never,
    /// Native where there is native code, else in a sandbox.
    Auto,
    /// Native, or refused.
    Always,
}

/// Windows that walk through the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepWalkForward {
    /// Bars on which parameters are chosen.
    #[schemars(range(min = 2))]
    #[schema(minimum = 2)]
    pub train: u32,
    /// Bars after them, on which the choice is judged.
    #[schemars(range(min = 1))]
    #[schema(minimum = 1)]
    pub test: u32,
    /// Whether each choice is made on everything before it, instead of on `train` bars.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anchored: bool,
}

/// Arguments of `backtest_status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SweepStatusRequest {
    /// As `backtest_sweep` answered it, or a name that you gave.
    #[param(ignore)]
    pub sweep_id: String,
    /// Seconds to wait for the end, at most 50 (default 0); more means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
    /// How many ranked results are answered, at most 500 (default 20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    #[schema(minimum = 0)]
    pub top: Option<u32>,
    /// Whether the main chart comes as a PNG image.
    #[serde(default, skip_serializing_if = "is_false")]
    pub chart: bool,
}

/// Names one sweep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepOneRequest {
    /// Its id, or a name that was given to it.
    pub sweep_id: String,
}

/// Which sweeps to list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SweepListRequest {
    /// How many of the newest, at most 1000 (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// In which form to have the whole table of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SweepTableRequest {
    /// The sweep.
    #[param(ignore)]
    pub sweep_id: String,
    /// `ndjson` (default), `csv` or `parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SweepFormat>,
    /// With `ndjson`: unranked results as they come, until the sweep has ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub follow: bool,
}

/// A form of tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepFormat {
    /// A line of JSON for each result.
    #[default]
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

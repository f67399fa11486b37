//! Starting a sweep and watching it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use ringfence_model::api::{
    Actor, SweepAnswer, SweepCheck, SweepData, SweepFill, SweepFormat, SweepMetric, SweepNative, SweepRebalance,
    SweepRequest, SweepSearch, SweepStatusRequest, SweepWalkForward, WAIT_S_MAX,
};
use ringfence_research::api::Research;
use serde_json::Value;

use super::{save_report, save_table, show, trading::Trading, values};
use crate::{
    args,
    commands::run::{INTERRUPTED, interrupted, read_code},
    failure, output, progress,
};

// No documentation comment: clap would take it for that of `ringfence sweep`, which these arguments are part of.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Built-in strategies (with commas between them), or a Python file; `-` reads one from standard input
    #[arg(value_name = "STRATEGY|FILE")]
    strategy: String,
    /// Symbols, with commas between them [default: all of the sample]
    #[arg(long, short = 's', value_name = "SYMBOLS", value_delimiter = ',')]
    symbols: Vec<String>,
    /// One backtest of all symbols as a portfolio
    #[arg(long)]
    together: bool,
    /// Values of a parameter to try, every combination of them: fast=10,20 or fast=5..50:5; may be repeated
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUES", value_parser = values::values)]
    parameters: Vec<(String, Vec<Value>)>,
    /// A parameter set to try as it is: fast=10,slow=20; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE,…", value_parser = values::set)]
    sets: Vec<std::collections::BTreeMap<String, Value>>,
    /// A name for lists and the report
    #[arg(long)]
    name: Option<String>,
    /// First day, YYYY-MM-DD
    #[arg(long, value_name = "DAY", help_heading = "Data")]
    start: Option<String>,
    /// Last day, YYYY-MM-DD
    #[arg(long, value_name = "DAY", help_heading = "Data")]
    end: Option<String>,
    /// `sample`, `imported`, or `auto`: what was imported of a symbol, else the sample
    #[arg(long, value_enum, value_name = "SOURCE", help_heading = "Data")]
    data: Option<Word<SweepData>>,
    /// What results are ranked by: sharpe, sortino, calmar, cagr, total_return, max_drawdown, profit_factor, sqn [default: sharpe]
    #[arg(long, value_enum, value_name = "FIGURE", help_heading = "Search")]
    metric: Option<Word<SweepMetric>>,
    /// What money earns without a risk, a year, for Sharpe, Sortino and alpha: 0.03 [default: 0]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Search")]
    risk_free: Option<f64>,
    /// `grid`, `random` or `halving` [default: grid]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Search")]
    search: Option<Word<SweepSearch>>,
    /// Combinations that a random or halving search begins with
    #[arg(long, value_name = "COUNT", help_heading = "Search")]
    budget: Option<u64>,
    /// Seed of everything that is drawn [default: 0]
    #[arg(long, help_heading = "Search")]
    seed: Option<u64>,
    /// Rank on this share of the bars, judge on the rest: 0.7
    #[arg(long, value_name = "SHARE", help_heading = "Search")]
    train: Option<f64>,
    /// Choose on TRAIN bars, judge on the next TEST, again and again: 500:60
    #[arg(long, value_name = "TRAIN:TEST", value_parser = values::windows, help_heading = "Search")]
    walk_forward: Option<(u32, u32)>,
    /// Choose on everything before, instead of on TRAIN bars
    #[arg(long, requires = "walk_forward", help_heading = "Search")]
    anchored: bool,
    /// Whose signals are checked for looking ahead: `best`, `all` or `none` [default: best]
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = "Running")]
    look_ahead_check: Option<Word<SweepCheck>>,
    /// Give the strategy one bar after the other
    #[arg(long, help_heading = "Running")]
    point_in_time: bool,
    /// Sandboxes at once, at most
    #[arg(long, value_name = "COUNT", help_heading = "Running")]
    parallelism: Option<u32>,
    /// Parameter sets that share a sandbox [default: 1]
    #[arg(long, value_name = "COUNT", help_heading = "Running")]
    batch: Option<u32>,
    /// When to end one run: 90, 15m [default: 60]
    #[arg(long, value_name = "DURATION", value_parser = args::seconds, help_heading = "Running")]
    timeout: Option<f64>,
    /// Whether built-in strategies run as native code: `never`, `auto` or `always` [default: never]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Running")]
    native: Option<Word<SweepNative>>,
    /// Start it and do not wait
    #[arg(long, help_heading = "Running")]
    detach: bool,
    /// Ranked results to show
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, help_heading = "Output")]
    lines: u32,
    /// Write the whole table as CSV; `-` is standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// Write the whole table as Parquet
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    parquet: Option<PathBuf>,
    /// Write the report, a web page that needs nothing else
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    report: Option<PathBuf>,
}

/// A word of the API on the command line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<T>(pub(super) T);

macro_rules! words {
    ($($kind:ty: $($variant:path = $word:literal),+;)+) => {$(
        impl ValueEnum for Word<$kind> {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Word($variant)),+]
            }

            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                Some(clap::builder::PossibleValue::new(match self.0 { $($variant => $word),+ }))
            }
        }
    )+};
}

words! {
    SweepData: SweepData::Auto = "auto", SweepData::Sample = "sample", SweepData::Imported = "imported";
    SweepFill: SweepFill::NextOpen = "next_open", SweepFill::NextClose = "next_close", SweepFill::SignalClose = "signal_close";
    SweepRebalance: SweepRebalance::EveryBar = "every_bar", SweepRebalance::OnChange = "on_change";
    SweepMetric: SweepMetric::Sharpe = "sharpe", SweepMetric::Sortino = "sortino", SweepMetric::Calmar = "calmar",
        SweepMetric::Cagr = "cagr", SweepMetric::TotalReturn = "total_return", SweepMetric::MaxDrawdown = "max_drawdown",
        SweepMetric::ProfitFactor = "profit_factor", SweepMetric::Sqn = "sqn";
    SweepSearch: SweepSearch::Grid = "grid", SweepSearch::Random = "random", SweepSearch::Halving = "halving";
    SweepCheck: SweepCheck::Best = "best", SweepCheck::All = "all", SweepCheck::None = "none";
    SweepNative: SweepNative::Never = "never", SweepNative::Auto = "auto", SweepNative::Always = "always";
}

impl RunArgs {
    /// What the daemon is asked.
    ///
    /// # Errors
    /// A command line that makes no sense, or a file that cannot be read.
    pub(super) fn request(&self, trading: &Trading) -> anyhow::Result<SweepRequest> {
        let file = Path::new(&self.strategy);
        let is_file =
            self.strategy == "-" || self.strategy.contains('/') || file.extension().is_some_and(|e| e == "py");
        let code = if is_file { Some(read_code(file)?) } else { None };
        let strategies = match is_file {
            true => Vec::new(),
            false => self.strategy.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        let mut parameters = std::collections::BTreeMap::new();
        for (name, values) in &self.parameters {
            if parameters.insert(name.clone(), values.clone()).is_some() {
                return failure::usage(format!("--param names {name} twice: put its values into one"));
            }
        }
        let request = SweepRequest {
            name: self.name.clone(),
            strategies,
            code,
            symbols: self.symbols.clone(),
            together: self.together,
            parameters,
            combinations: self.sets.clone(),
            start: self.start.clone(),
            end: self.end.clone(),
            data: self.data.map(|word| word.0),
            costs: trading.costs(),
            account: trading.account(),
            fill: trading.fill(),
            capital: trading.capital(),
            metric: self.metric.map(|word| word.0),
            risk_free: self.risk_free,
            parallelism: self.parallelism,
            walk_forward: self.walk_forward.map(|(train, test)| SweepWalkForward {
                train,
                test,
                anchored: self.anchored,
            }),
            train: self.train,
            search: self.search.map(|word| word.0),
            budget: self.budget,
            seed: self.seed,
            batch: self.batch,
            point_in_time: self.point_in_time,
            look_ahead_check: self.look_ahead_check.map(|word| word.0),
            timeout: self.timeout,
            native: self.native.map(|word| word.0),
            // This program waits by itself, so that it can be interrupted.
            wait: Some(0.0),
            top: Some(self.lines),
            ..SweepRequest::default()
        };
        match request.check() {
            Ok(()) => Ok(request),
            Err(error) => failure::usage(error.message),
        }
    }
}

pub(super) async fn run(
    api: &dyn Research,
    args: RunArgs,
    request: SweepRequest,
    as_json: bool,
) -> anyhow::Result<i32> {
    let started = api.sweep(Actor::Operator, request, None).await?;
    let id = started.sweep_id.to_string();
    if args.detach {
        return end(&started, as_json);
    }
    let (sender, shown) = progress::shown("sweep");
    let watched = async {
        loop {
            let request = SweepStatusRequest {
                sweep_id: id.clone(),
                wait: Some(WAIT_S_MAX),
                top: Some(args.lines),
                ..SweepStatusRequest::default()
            };
            let answer = api.sweep_status(Actor::Operator, request, Some(sender.clone())).await?;
            if answer.status.has_ended() {
                return Ok::<_, ringfence_model::ApiError>(answer);
            }
        }
    };
    let done = tokio::select! {
        done = watched => Some(done),
        () = interrupted() => None,
    };
    drop(sender);
    shown.end().await;
    let Some(answer) = done else {
        output::note(&format!(
            "ringfence: detached; the sweep goes on: `ringfence sweep show {id}` shows it, `ringfence sweep cancel {id}` ends it"
        ));
        return Ok(INTERRUPTED);
    };
    let answer = answer?;
    if let Some(file) = &args.csv {
        save_table(api, &id, SweepFormat::Csv, file).await.context("the table as CSV")?;
    }
    if let Some(file) = &args.parquet {
        save_table(api, &id, SweepFormat::Parquet, file).await.context("the table as Parquet")?;
    }
    if let Some(file) = &args.report {
        save_report(api, &id, file).await.context("the report")?;
    }
    // Standard output belongs to the table when that goes there.
    if args.csv.as_deref() == Some(Path::new("-")) {
        return Ok(code(&answer));
    }
    end(&answer, as_json)
}

fn end(answer: &SweepAnswer, as_json: bool) -> anyhow::Result<i32> {
    if as_json {
        output::json(answer)?;
    } else {
        show::print(answer)?;
    }
    Ok(code(answer))
}

fn code(answer: &SweepAnswer) -> i32 {
    if answer.success { 0 } else { failure::FAILED }
}

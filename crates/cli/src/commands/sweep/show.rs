//! What a sweep has found, on a terminal and in files.

use std::path::PathBuf;

use clap::Args;
use futures::StreamExt;
use ringfence_model::api::{
    Actor, SweepAnswer, SweepFormat, SweepListRequest, SweepMetric, SweepResult, SweepStatusRequest, SweepTableRequest,
};
use ringfence_research::api::Research;

use super::{save_report, save_table};
use crate::{failure, numbers, output};

/// Shows how a sweep stands, and its ranking
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sweep show                   the newest one
  ringfence sweep show sweep_0123456789abcdef -n 100
  ringfence sweep show mine --all        every run
  ringfence sweep show mine --all --json a line of JSON for each run
  ringfence sweep show mine --follow --json   results as they come")]
pub(super) struct ShowArgs {
    /// Its id or name [default: the newest]
    sweep: Option<String>,
    /// Ranked results to show
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    lines: u32,
    /// Show every run
    #[arg(long, conflicts_with = "follow")]
    all: bool,
    /// Show results as they come, until it has ended
    #[arg(long, short)]
    follow: bool,
}

/// Writes the whole table of a sweep to a file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sweep export mine --csv table.csv
  ringfence sweep export --parquet table.parquet
  ringfence sweep export mine --csv - | head")]
pub(super) struct ExportArgs {
    /// Its id or name [default: the newest]
    sweep: Option<String>,
    /// As CSV; `-` is standard output
    #[arg(long, value_name = "FILE", required_unless_present = "parquet")]
    csv: Option<PathBuf>,
    /// As Parquet; `-` is standard output
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
}

/// Writes the report of a sweep, a web page that needs nothing else
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sweep report mine report.html
  ringfence sweep report > report.html")]
pub(super) struct ReportArgs {
    /// Its id or name [default: the newest]
    sweep: Option<String>,
    /// Where; `-` is standard output
    #[arg(value_name = "FILE.html", default_value = "-")]
    file: PathBuf,
}

/// The sweep that was named, or the newest.
pub(super) async fn named(api: &dyn Research, named: Option<String>) -> anyhow::Result<String> {
    if let Some(named) = named {
        return Ok(named);
    }
    let newest = api.sweep_list(Actor::Operator, SweepListRequest { limit: Some(1) }).await?.sweeps.into_iter().next();
    match newest {
        Some(sweep) => Ok(sweep.sweep_id.to_string()),
        None => failure::usage("there is no sweep yet: `ringfence sweep sma_cross` runs one"),
    }
}

pub(super) async fn show(api: &dyn Research, args: ShowArgs, as_json: bool) -> anyhow::Result<i32> {
    let sweep_id = named(api, args.sweep).await?;
    let request = SweepStatusRequest { sweep_id: sweep_id.clone(), top: Some(args.lines), ..Default::default() };
    if args.all || args.follow {
        let metric = api.sweep_status(Actor::Operator, request, None).await?.metric;
        return lines(api, sweep_id, args.follow, metric, as_json).await;
    }
    let answer = api.sweep_status(Actor::Operator, request, None).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        print(&answer)?;
    }
    Ok(0)
}

/// Every run, or runs as they come.
async fn lines(
    api: &dyn Research,
    sweep_id: String,
    follow: bool,
    metric: SweepMetric,
    as_json: bool,
) -> anyhow::Result<i32> {
    let request = SweepTableRequest { sweep_id, format: Some(SweepFormat::Ndjson), follow };
    let mut chunks = api.sweep_table(Actor::Operator, request).await?;
    let (mut pending, mut all) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        pending.extend_from_slice(&chunk?);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if as_json {
                output::raw(&line)?;
                continue;
            }
            let result: SweepResult = serde_json::from_slice(&line)?;
            if follow {
                output::line(&short(&result, metric))?;
            } else {
                all.push(result);
            }
        }
    }
    if !as_json && !follow {
        output::show(table(&all, metric))?;
    }
    Ok(0)
}

pub(super) async fn export(api: &dyn Research, args: ExportArgs, as_json: bool) -> anyhow::Result<i32> {
    let id = named(api, args.sweep).await?;
    for (format, file) in [(SweepFormat::Csv, &args.csv), (SweepFormat::Parquet, &args.parquet)] {
        let Some(file) = file else { continue };
        let bytes = save_table(api, &id, format, file).await?;
        written(&id, file, bytes, as_json)?;
    }
    Ok(0)
}

pub(super) async fn report(api: &dyn Research, args: ReportArgs, as_json: bool) -> anyhow::Result<i32> {
    // One argument that looks like a page is the file.
    let (sweep, file) = match args.sweep {
        Some(sweep) if args.file.as_os_str() == "-" && sweep.ends_with(".html") => (None, PathBuf::from(sweep)),
        sweep => (sweep, args.file),
    };
    let id = named(api, sweep).await?;
    let bytes = save_report(api, &id, &file).await?;
    written(&id, &file, bytes, as_json)?;
    Ok(0)
}

fn written(id: &str, file: &std::path::Path, bytes: u64, as_json: bool) -> anyhow::Result<()> {
    if file.as_os_str() == "-" {
        return Ok(());
    }
    if as_json {
        return output::json(&serde_json::json!({"success": true, "sweep_id": id, "file": file, "bytes": bytes}));
    }
    Ok(output::line(&format!("{}: {}", file.display(), numbers::bytes(bytes)))?)
}

/// A sweep as people read it: what was found, then the ranking.
pub(super) fn print(answer: &SweepAnswer) -> anyhow::Result<()> {
    if !answer.results.is_empty() {
        output::show(table(&answer.results, answer.metric))?;
        let more = answer.progress.done.saturating_sub(answer.results.len() as u64);
        if more > 0 {
            output::line(&format!("… and {more} more: `ringfence sweep show {} --all`", answer.sweep_id))?;
        }
        output::line("")?;
    }
    if answer.by_symbol.len() > 1 {
        output::show(by_symbol(answer))?;
        output::line("")?;
    }
    for walk in &answer.walk_forward {
        let metrics = walk.metrics.as_ref();
        output::line(&format!(
            "walk-forward {}: {} windows, {} {} out of sample, total return {} against {} of buying and holding",
            walk.symbols.join(", "),
            walk.windows.len(),
            answer.metric.as_str().replace('_', " "),
            figure(answer.metric, metrics.and_then(|m| m.of(answer.metric))),
            percent(metrics.and_then(|m| m.total_return)),
            percent(walk.buy_and_hold_return),
        ))?;
    }
    output::line(&answer.summary)?;
    if let Some(found) = &answer.look_ahead {
        output::line(&format!("Look-ahead check: {}; {}.", found.verdict, found.detail))?;
    }
    for warning in &answer.warnings {
        output::line(&format!("Note: {warning}."))?;
    }
    let rate = answer.progress.per_second.map(|rate| format!(", {rate:.1} a second")).unwrap_or_default();
    let left =
        answer.progress.seconds_left.map(|s| format!(", about {} left", numbers::seconds(s))).unwrap_or_default();
    let name = answer.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let at = &answer.progress;
    output::line(&format!(
        "{}{name}: {}, {} of {} runs{rate}{left}; data {} to {}, SHA-256 {}…",
        answer.sweep_id,
        answer.status.as_str(),
        at.done,
        at.total,
        answer.data.first,
        answer.data.last,
        answer.data.sha256.get(..12).unwrap_or_default(),
    ))?;
    if answer.report.is_some() {
        output::line(&format!("`ringfence sweep report {} FILE.html` writes its report", answer.sweep_id))?;
    }
    Ok(())
}

fn percent(fraction: Option<f64>) -> String {
    fraction.map_or_else(|| "n/a".to_owned(), |f| format!("{:.1} %", f * 100.0))
}

fn figure(metric: SweepMetric, value: Option<f64>) -> String {
    match (metric, value) {
        (_, None) => "n/a".to_owned(),
        (SweepMetric::Cagr | SweepMetric::TotalReturn | SweepMetric::MaxDrawdown, value) => percent(value),
        (_, Some(value)) => format!("{value:.3}"),
    }
}

fn parameters(result: &SweepResult) -> String {
    let word = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let all: Vec<String> = result.parameters.iter().map(|(name, value)| format!("{name}={}", word(value))).collect();
    all.join(" ")
}

fn short(result: &SweepResult, metric: SweepMetric) -> String {
    let metrics = result.metrics.as_ref();
    let found = match &result.error {
        Some(error) => error.lines().last().unwrap_or_default().to_owned(),
        None => format!("{} {}", metric.as_str(), figure(metric, metrics.and_then(|m| m.of(metric)))),
    };
    format!("{:>6}  {} {} {}  {found}", result.run, result.strategy, result.symbols.join("+"), parameters(result))
}

fn table(results: &[SweepResult], metric: SweepMetric) -> comfy_table::Table {
    let judged = results.iter().any(|result| result.out_of_sample.is_some());
    let ranked_by = metric.as_str().replace('_', " ");
    let mut header = vec!["rank", "strategy", "symbols", "parameters"];
    if metric != SweepMetric::TotalReturn {
        header.push(&ranked_by);
    }
    header.extend(if judged { ["train return", "test return"].as_slice() } else { ["return"].as_slice() });
    header.extend(["hold", "drawdown", "trades", "engine"]);
    let mut table = output::table(&header);
    for result in results {
        let metrics = result.metrics.as_ref();
        let mut row = vec![
            result.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string()),
            result.strategy.clone(),
            result.symbols.join("+"),
            parameters(result),
        ];
        if metric != SweepMetric::TotalReturn {
            row.push(figure(metric, metrics.and_then(|m| m.of(metric))));
        }
        row.push(percent(metrics.and_then(|m| m.total_return)));
        if judged {
            row.push(percent(result.out_of_sample.as_ref().and_then(|m| m.total_return)));
        }
        let engine = if result.self_reported { "self-reported".to_owned() } else { result.engine.clone() };
        let engine = match result.look_ahead.as_deref() {
            Some("looks ahead") => format!("{engine}, looks ahead"),
            _ => engine,
        };
        let engine = match &result.error {
            Some(error) => {
                format!("failed: {}", error.lines().last().unwrap_or_default().chars().take(90).collect::<String>())
            }
            None => engine,
        };
        row.extend([
            percent(result.buy_and_hold_return),
            percent(metrics.and_then(|m| m.max_drawdown)),
            metrics.map_or_else(|| "n/a".to_owned(), |m| m.trades.to_string()),
            engine,
        ]);
        table.add_row(row);
    }
    table
}

fn by_symbol(answer: &SweepAnswer) -> comfy_table::Table {
    let mut table = output::table(&["symbols", "best", "return", "buy and hold", "runs that beat it"]);
    for by in &answer.by_symbol {
        let set: Vec<String> = by.parameters.iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
        let best = by.strategy.as_ref().map_or_else(|| "n/a".to_owned(), |s| format!("{s} {}", set.join(" ")));
        table.add_row([
            by.symbols.join("+"),
            best.trim_end().to_owned(),
            percent(by.metrics.as_ref().and_then(|m| m.total_return)),
            percent(by.buy_and_hold.total_return),
            format!("{} of {}", by.beat_buy_and_hold, by.runs),
        ]);
    }
    table
}

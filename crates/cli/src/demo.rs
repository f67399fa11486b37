//! The demonstration: what a person would do with an MCP client in the first five minutes, done and checked.

mod client;
mod sma;
mod sweep;
mod timings;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use ringfence_model::api::{Actor, BuildRequest, SweepAnswer};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{args::Global, daemon, daemon::Daemon, mcp_config::McpConfig, numbers, output, progress};
use client::{Call, McpClient};
use timings::Timings;

/// The seed document's two programs, to the letter, and a backtest on real bars.
const SEED_JSON: &str = include_str!("../demo/seed_json.py");
pub(crate) const SEED_BACKTEST: &str = include_str!("../demo/seed_backtest.py");
const SMA: &str = include_str!("../demo/sma.py");

/// What the seed document says that its first program prints.
const SEED_JSON_OUTPUT: &str =
    "{\n  \"symbol\": \"AAPL\",\n  \"analysis\": \"Testing sandbox execution\",\n  \"price\": 150.5\n}\n";

const SYMBOLS: [&str; 5] = ["AAPL", "FB", "GOOG", "IBM", "MSFT"];
const TEMPLATE: &str = "python";
/// Lifetime of the demonstration's sandboxes: the seed document's hour.
const LIFETIME_S: u64 = 3600;

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    success: bool,
    template_build_seconds: Option<f64>,
    mcp: client::Handshake,
    timings: Timings,
    backtests: Vec<sma::Backtest>,
    five_at_once_seconds: f64,
    sweep: SweepAnswer,
    connect: Value,
}

/// Runs it.
///
/// # Errors
/// The first thing that was not as it must be.
pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let say = Say { to_stderr: global.json };
    let daemon = daemon::connect(global.home.as_deref()).await?;
    say.heading("The template")?;
    let template_build_seconds = build_template(&daemon, &say).await?;
    let config = McpConfig::of(global.home.as_deref())?;
    say.heading("An MCP client connects")?;
    let mcp = McpClient::connect(&config).await?;
    say.line(&format!("$ {} {}", config.program.display(), config.arguments().join(" ")))?;
    let handshake = mcp.handshake().await?;
    say.line(&format!(
        "{} {}, protocol {}, {} tools, connected in {}",
        handshake.server,
        handshake.version,
        handshake.protocol,
        handshake.tools,
        numbers::seconds(handshake.seconds)
    ))?;
    let mut made = Vec::new();
    let shown = show(&mcp, &mut made, &say).await;
    let removed = remove(&mcp, &made).await;
    let (timings, backtests, five_at_once_seconds, sweep) = shown?;
    removed?;
    mcp.close().await?;
    say.line("\nEvery output was checked, and the sandboxes were removed. The daemon goes on running; `ringfence stop` ends it.")?;
    say.line("Connect a client with the command that was just used:")?;
    say.line(&format!("  {}", config.claude_line()))?;
    if global.json {
        let connect = config.to_json();
        let report = Report {
            success: true,
            template_build_seconds,
            mcp: handshake,
            timings,
            backtests,
            five_at_once_seconds,
            sweep,
            connect,
        };
        output::json(&report)?;
    }
    Ok(())
}

/// Where the story goes: beside the data, when that is JSON.
struct Say {
    to_stderr: bool,
}

impl Say {
    fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.to_stderr {
            output::note(text);
            return Ok(());
        }
        Ok(output::line(text)?)
    }

    fn heading(&self, text: &str) -> anyhow::Result<()> {
        self.line(&format!("\n== {text}"))
    }
}

async fn build_template(daemon: &Daemon, say: &Say) -> anyhow::Result<Option<f64>> {
    let (sender, shown) = progress::shown(&format!("template {TEMPLATE}"));
    let request = BuildRequest { template_name: TEMPLATE.to_owned(), rebuild: false, recipe: None, image: None };
    let built = daemon.api.build(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let built = built.context("building the template")?;
    let (size, packages) = (numbers::bytes(built.template.size_bytes), built.template.packages.len());
    let how = if built.built { format!("built in {}", numbers::seconds(built.seconds)) } else { "was ready".into() };
    say.line(&format!("{TEMPLATE} version {} {how}: {packages} packages, {size}", built.template.version))?;
    wait_until_warm(daemon).await?;
    Ok(built.built.then_some(built.seconds))
}

/// A daemon that has just started fills its shelf for a moment; what is measured here is one that runs. The shelf is full
/// once it no longer grows.
async fn wait_until_warm(daemon: &Daemon) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const STEADY: Duration = Duration::from_secs(1);
    let begin = Instant::now();
    let (mut level, mut since) = (0, Instant::now());
    loop {
        let health = daemon.api.health(Actor::Operator).await?;
        let Some(template) = health.templates.iter().find(|t| t.name == TEMPLATE) else {
            bail!("the daemon does not know the template `{TEMPLATE}`");
        };
        if template.shelf != level {
            (level, since) = (template.shelf, Instant::now());
        }
        if template.warm && level > 0 && since.elapsed() > STEADY {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            bail!(
                "the template's warm interpreter is not ready after {} s; see `ringfence status`",
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

type Shown = (Timings, Vec<sma::Backtest>, f64, SweepAnswer);

async fn show(mcp: &McpClient, made: &mut Vec<String>, say: &Say) -> anyhow::Result<Shown> {
    say.heading("A sandbox, and the seed document's two programs in it")?;
    let name = |what: &str| format!("{what}-{}", std::process::id());
    let create = create(mcp, &name("trading-backtest")).await?;
    let sandbox = id_of(&create)?;
    made.push(sandbox.clone());
    say.line(&format!("sandbox_create    {sandbox} in {}", numbers::seconds(create.seconds)))?;

    let first = execute(mcp, &sandbox, SEED_JSON, None).await?;
    ensure!(
        output_of(&first)? == SEED_JSON_OUTPUT,
        "the first program printed something else: {:?}",
        first.answer["output"]
    );
    say.line(&format!("sandbox_execute   the AAPL analysis in {}:", numbers::seconds(first.seconds)))?;
    say.line(SEED_JSON_OUTPUT.trim_end())?;

    let backtest = execute(mcp, &sandbox, SEED_BACKTEST, None).await?;
    check_seed_backtest(output_of(&backtest)?)?;
    say.line(&format!("sandbox_execute   the 100-day backtest in {}:", numbers::seconds(backtest.seconds)))?;
    say.line(output_of(&backtest)?.trim_end())?;

    say.heading("The same backtest in three new sandboxes at once")?;
    let names: Vec<String> = (1..=3).map(|n| name(&format!("parallel-{n}"))).collect();
    let begin = Instant::now();
    let three = try_join_all(names.iter().map(|name| create_and_execute(mcp, name, SEED_BACKTEST, None))).await;
    let three_seconds = begin.elapsed().as_secs_f64();
    for (sandbox, run) in three? {
        made.push(sandbox);
        check_seed_backtest(output_of(&run)?)?;
    }
    say.line(&format!("created, run and checked in {}", numbers::seconds(three_seconds)))?;

    say.heading("Moving averages of 20 and 50 days on real daily bars, five sandboxes at once")?;
    let names = SYMBOLS.map(|symbol| (symbol, name(&format!("sma-{}", symbol.to_lowercase()))));
    let begin = Instant::now();
    let five = try_join_all(names.iter().map(|(symbol, name)| create_and_execute(mcp, name, SMA, Some(symbol)))).await;
    let five_seconds = begin.elapsed().as_secs_f64();
    let mut backtests = Vec::new();
    for (sandbox, run) in five? {
        made.push(sandbox);
        let backtest: sma::Backtest = serde_json::from_str(output_of(&run)?).context("reading a backtest's result")?;
        sma::check(&backtest)?;
        backtests.push(backtest);
    }
    say.line(&format!("created, run and checked in {}\n", numbers::seconds(five_seconds)))?;
    say.line(&sma::table(&backtests))?;
    say.line(sma::CONVENTIONS)?;

    say.heading(
        "The seed document's exercises: five symbols, three pairs of averages, and how likely the best is to be luck",
    )?;
    let sweep = sweep::run(mcp, &backtests).await?;
    say.line(&sweep::table(&sweep))?;
    say.line(&sweep.summary)?;
    say.line(&format!(
        "`ringfence sweep report {} report.html` writes charts, trades and every figure\n",
        sweep.sweep_id
    ))?;

    say.heading("What it took, measured in the client, beside the seed document's figures")?;
    let timings = Timings::of(&create, &first, &backtest, three_seconds)?;
    say.line(&timings.table())?;
    Ok((timings, backtests, five_seconds, sweep))
}

async fn create(mcp: &McpClient, name: &str) -> anyhow::Result<Call> {
    mcp.call("sandbox_create", json!({"template": TEMPLATE, "name": name, "timeout": LIFETIME_S})).await
}

async fn execute(mcp: &McpClient, sandbox: &str, code: &str, symbol: Option<&str>) -> anyhow::Result<Call> {
    let mut arguments = json!({"sandbox_id": sandbox, "code": code, "language": "python"});
    if let Some(symbol) = symbol {
        arguments["env_vars"] = json!({"SYMBOL": symbol});
    }
    let run = mcp.call("sandbox_execute", arguments).await?;
    let is_complete = run.answer["status"] == "completed" && run.answer["exit_code"] == 0;
    ensure!(is_complete, "a program did not succeed: {}", run.answer);
    Ok(run)
}

async fn create_and_execute(
    mcp: &McpClient,
    name: &str,
    code: &str,
    symbol: Option<&str>,
) -> anyhow::Result<(String, Call)> {
    let sandbox = id_of(&create(mcp, name).await?)?;
    let run = execute(mcp, &sandbox, code, symbol).await?;
    Ok((sandbox, run))
}

fn id_of(create: &Call) -> anyhow::Result<String> {
    ensure!(create.answer["status"] == "running", "the sandbox does not run: {}", create.answer);
    Ok(create.answer["sandbox_id"].as_str().context("the answer has no sandbox_id")?.to_owned())
}

fn output_of(run: &Call) -> anyhow::Result<&str> {
    run.answer["output"].as_str().context("the answer has no output")
}

/// Three lines with numbers in them; which numbers is chance, because the program draws its prices.
pub(crate) fn check_seed_backtest(output: &str) -> anyhow::Result<()> {
    let mut lines = output.lines();
    for (label, unit) in [("Total Return: ", "%"), ("Win Rate: ", "%"), ("Total Trades: ", "")] {
        let value = lines.next().and_then(|line| line.strip_prefix(label)?.strip_suffix(unit)?.parse::<f64>().ok());
        ensure!(value.is_some(), "the backtest printed something else: {output:?}");
    }
    ensure!(lines.next().is_none(), "the backtest printed more: {output:?}");
    Ok(())
}

/// Removes what was made, whatever happened. Those of a failed step expire by themselves.
async fn remove(mcp: &McpClient, made: &[String]) -> anyhow::Result<()> {
    for sandbox in made {
        mcp.call("sandbox_delete", json!({"sandbox_id": sandbox})).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_documents_backtest_prints_three_lines() {
        assert!(check_seed_backtest("Total Return: -3.20%\nWin Rate: 50.00%\nTotal Trades: 2\n").is_ok());
        assert!(check_seed_backtest("Total Return: 0.00%\nWin Rate: 0.00%\nTotal Trades: 0\n").is_ok());
        for wrong in [
            "",
            "Total Return: nothing%\nWin Rate: 0.00%\nTotal Trades: 0\n",
            "Total Return: 0.00%\nWin Rate: 0.00%\nTotal Trades: 0\nmore\n",
        ] {
            assert!(check_seed_backtest(wrong).is_err(), "{wrong:?}");
        }
    }
}

//! `ringfence task`: what the agents of a swarm work on, and what they decide.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use ringfence_model::api::{
    Actor, AgentResult, JobKind, TaskAnswer, TaskCancelRequest, TaskRequest, TaskState, TaskStatusRequest, WAIT_S_MAX,
};
use ringfence_research::api::Swarms;
use serde_json::{Map, Value, from_value, json};

use crate::{
    args,
    args::Global,
    commands::{
        prune::{self, PruneArgs},
        run::read_code,
    },
    daemon, failure, language, output, progress,
};

/// Runs tasks in the sandboxes of a swarm's agents
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringfence task run 'Run distributed backtest'
  ringfence task run 'Sentiment analysis' --input texts.json
  ringfence task run --code vote.py --consensus two_thirds
  ringfence task status task_…")]
pub(crate) enum TaskCommand {
    Run(RunArgs),
    Status(StatusArgs),
    Cancel(CancelArgs),
    Prune(PruneArgs),
}

/// Runs a task in a swarm and shows what it decides
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence task run                            Run distributed backtest: each agent a strategy on real bars
  ringfence task run 'Technical analysis' --strategy adaptive
  ringfence task run 'Risk calculation' --input '{\"positions\": {\"AAPL\": 100}}'
  ringfence task run --code vote.py --timeout 2m

An input is one JSON object, or a list of them, one for each agent: the text itself or a file that holds it. A program of your own \
reads one JSON object from standard input, and votes by a last line such as {\"decision\": \"buy\", \"confidence\": 0.8}. An agent \
that fails counts as absent. Ctrl-C leaves the task running.")]
pub(crate) struct RunArgs {
    /// What is to be done: the name of a handler, unless --handler or --code says it
    #[arg(default_value = "Run distributed backtest")]
    task: String,
    /// Id or name of the swarm [default: the newest active one]
    #[arg(long)]
    swarm: Option<String>,
    /// backtest, technical_analysis, sentiment or risk
    #[arg(long, value_name = "NAME", conflicts_with = "code")]
    handler: Option<String>,
    /// A program of your own, run in each agent's sandbox
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// What the agents are asked: JSON, or a file with it
    #[arg(long, value_name = "JSON|FILE")]
    input: Option<String>,
    /// In which order the agents are asked [default: parallel]
    #[arg(long, value_parser = ["parallel", "sequential", "adaptive"])]
    strategy: Option<String>,
    /// How many of those asked must have voted for what the topology proposes, else hold
    #[arg(long, default_value = "majority", value_parser = ["majority", "60%", "two_thirds", "unanimous"])]
    consensus: String,
    /// Whose programs get the next free place where many wait
    #[arg(long, default_value = "medium", value_parser = ["low", "medium", "high", "critical"])]
    priority: String,
    /// When to end each program: 90, 15m
    #[arg(long, value_name = "DURATION", default_value = "60", value_parser = args::seconds)]
    timeout: f64,
    /// Programs that run at once
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    parallelism: u32,
    /// With --code in a mesh: 2 asks once more, when all have heard all
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    rounds: u32,
    /// Print the task's id and do not wait for its end
    #[arg(long)]
    detach: bool,
}

/// Shows how a task stands
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence task status task_… --wait 30")]
pub(crate) struct StatusArgs {
    /// Its id
    task: String,
    /// Wait for its end at most so long
    #[arg(long, value_name = "DURATION", value_parser = args::seconds)]
    wait: Option<f64>,
}

/// Ends a task and the programs that run for it; the sandboxes stay
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence task cancel task_…")]
pub(crate) struct CancelArgs {
    /// Its id
    task: String,
}

pub(crate) async fn run(global: Global, command: TaskCommand) -> anyhow::Result<i32> {
    let as_json = global.json;
    match command {
        TaskCommand::Run(args) => {
            let detach = args.detach;
            let request = request(args)?;
            let daemon = daemon::connect(global.home.as_deref()).await?;
            orchestrate(daemon.research.as_ref(), request, detach, as_json).await
        }
        TaskCommand::Prune(args) => {
            let daemon = daemon::connect(global.home.as_deref()).await?;
            prune::prune(daemon.research.as_ref(), JobKind::Task, args, as_json).await
        }
        TaskCommand::Status(args) => {
            let daemon = daemon::connect(global.home.as_deref()).await?;
            let request = TaskStatusRequest { task_id: args.task, wait: args.wait };
            show(&daemon.research.task_status(Actor::Operator, request).await?, as_json)
        }
        TaskCommand::Cancel(args) => {
            let daemon = daemon::connect(global.home.as_deref()).await?;
            let answer = daemon.research.task_cancel(Actor::Operator, TaskCancelRequest { task_id: args.task }).await?;
            if as_json {
                output::json(&answer)?;
            } else {
                output::line(&format!("{} is {}", answer.task_id, answer.status.as_str()))?;
            }
            Ok(0)
        }
    }
}

/// An input, or one for each agent.
fn inputs(given: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let text = match given.trim_start().starts_with(['{', '[']) {
        true => given.to_owned(),
        false => std::fs::read_to_string(given).with_context(|| format!("reading {given}"))?,
    };
    match serde_json::from_str(&text).context("the input is not JSON")? {
        Value::Object(input) => Ok(vec![input]),
        list => from_value(list).context("the input is neither a JSON object nor a list of them"),
    }
}

fn request(args: RunArgs) -> anyhow::Result<TaskRequest> {
    let code = args.code.as_deref().map(read_code).transpose()?;
    let language = args.code.as_deref().zip(code.as_deref()).and_then(|(file, code)| language::of_file(file, code));
    Ok(TaskRequest {
        task: args.task,
        strategy: args.strategy.map(|word| from_value(json!(word))).transpose()?,
        priority: Some(from_value(json!(args.priority))?),
        swarm_id: args.swarm,
        language: language.map(|language| language.name.to_owned()),
        code,
        handler: args.handler,
        inputs: args.input.as_deref().map(inputs).transpose()?.unwrap_or_default(),
        timeout: Some(args.timeout),
        consensus: Some(from_value(json!(args.consensus))?),
        parallelism: Some(args.parallelism),
        rounds: Some(args.rounds),
        wait: Some(if args.detach { 0.0 } else { WAIT_S_MAX }),
    })
}

async fn orchestrate(api: &dyn Swarms, request: TaskRequest, detach: bool, as_json: bool) -> anyhow::Result<i32> {
    let (sender, shown) = progress::shown("task");
    let answer = api.task_orchestrate(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let mut answer = answer?;
    if detach {
        if as_json {
            output::json(&answer)?;
        } else {
            output::line(answer.task_id.as_str())?;
        }
        return Ok(0);
    }
    while answer.status == TaskState::Running {
        let request = TaskStatusRequest { task_id: answer.task_id.to_string(), wait: Some(WAIT_S_MAX) };
        answer = api.task_status(Actor::Operator, request).await?;
    }
    show(&answer, as_json)
}

/// What a result says in a few words.
fn words(result: &AgentResult) -> String {
    if let Some(reason) = &result.reason {
        return reason.clone();
    }
    let number = |name: &str| result.result.get(name).and_then(Value::as_f64);
    match result.handler.as_str() {
        "backtest" => format!(
            "{} return {:.2} %, Sharpe {}",
            result.result.get("strategy").and_then(Value::as_str).unwrap_or(""),
            100.0 * number("total_return").unwrap_or(0.0),
            number("sharpe").map_or("n/a".to_owned(), |sharpe| format!("{sharpe:.3}"))
        ),
        "risk" => format!("VaR 95 % {:.2} %", 100.0 * number("var_95").unwrap_or(0.0)),
        "technical_analysis" | "sentiment" => format!("score {:.2}", number("score").unwrap_or(0.0)),
        _ => result.output.as_deref().unwrap_or("").trim_end().lines().last().unwrap_or("").chars().take(60).collect(),
    }
}

fn show(answer: &TaskAnswer, as_json: bool) -> anyhow::Result<i32> {
    let code = if answer.success { 0 } else { failure::FAILED };
    if as_json {
        output::json(answer)?;
        return Ok(code);
    }
    output::line(&format!("{}: {}", answer.task_id, answer.status.as_str()))?;
    let mut table = output::table(&["agent", "step", "handler", "status", "vote", "weight", "result"]);
    for result in &answer.results {
        let vote = result.vote.map_or("", |vote| vote.as_str());
        let weight = result.weight.map_or_else(String::new, |weight| format!("{weight:.2}"));
        let says = words(result);
        let status = result.status.as_str();
        table.add_row([result.agent.as_str(), &result.step, &result.handler, status, vote, &weight, &says]);
    }
    output::show(table)?;
    if let Some(aggregate) = &answer.aggregate {
        output::line(&format!("decision: {} ({})", aggregate.decision.as_str(), aggregate.reason))?;
        let number = |name: &str| aggregate.combined.get(name).and_then(Value::as_f64);
        if let (Some(total), Some(depth)) = (number("total_return"), number("max_drawdown")) {
            output::line(&format!(
                "together: return {:.2} %, Sharpe {}, largest drawdown {:.2} %",
                100.0 * total,
                number("sharpe").map_or("n/a".to_owned(), |sharpe| format!("{sharpe:.3}")),
                100.0 * depth
            ))?;
        }
    }
    answer.warnings.iter().for_each(|warning| output::note(&format!("ringfence: {warning}")));
    Ok(code)
}

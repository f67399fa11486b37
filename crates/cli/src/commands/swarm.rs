//! `ringfence swarm`: agents, each with a sandbox, that work on tasks and vote.

use clap::{Args, Subcommand};
use ringfence_model::api::{
    Actor, AgentSpawnRequest, JobKind, SwarmAnswer, SwarmInitRequest, SwarmListRequest, SwarmRequest, SwarmScaleRequest,
};
use ringfence_research::api::Swarms;
use serde_json::{from_value, json};

use crate::{
    args::Global,
    commands::prune::{self, PruneArgs},
    daemon, failure, output,
};

/// Makes, shows and ends swarms of agents
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringfence swarm init mesh --agents 3
  ringfence task run 'Run distributed backtest'
  ringfence swarm status
  ringfence swarm destroy newest

An agent gets a sandbox when a task needs one, or when one is made whose name is agent-AGENT_ID-sandbox. docs/concepts/swarms.md \
says what the topologies mean.")]
pub(crate) enum SwarmCommand {
    Init(InitArgs),
    Spawn(SpawnArgs),
    Status(StatusArgs),
    #[command(alias = "list")]
    Ls(LsArgs),
    Scale(ScaleArgs),
    #[command(alias = "rm")]
    Destroy(DestroyArgs),
    Prune(PruneArgs),
}

/// Makes a swarm and prints its id
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence swarm init mesh --agents 3          one agent, one vote
  ringfence swarm init star                     the first agent weighs what the others say
  ringfence swarm init ring --name chain        each hears the one before it
  ringfence swarm init hierarchical --agents 7  a tree of votes")]
pub(crate) struct InitArgs {
    /// Who hears whom
    #[arg(value_parser = ["mesh", "star", "ring", "hierarchical"])]
    topology: String,
    /// Agents that it begins with
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    agents: u32,
    /// How work is dealt to them
    #[arg(long, default_value = "balanced", value_parser = ["balanced", "specialized", "adaptive"])]
    strategy: String,
    /// A name of your own
    #[arg(long)]
    name: Option<String>,
}

/// Adds an agent to a swarm
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence swarm spawn\n  ringfence swarm spawn desk --type risk --name cautious")]
pub(crate) struct SpawnArgs {
    /// Id or name [default: the newest active one]
    swarm: Option<String>,
    /// What the agent is for; in a specialized swarm the name of a handler
    #[arg(long = "type", value_name = "WORD")]
    kind: Option<String>,
    /// A name that no other agent of the swarm has
    #[arg(long)]
    name: Option<String>,
}

/// Shows a swarm's agents and their sandboxes
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringfence swarm status\n  ringfence swarm status desk --json | jq -r '.agents[].id'"
)]
pub(crate) struct StatusArgs {
    /// Id or name [default: the newest active one]
    swarm: Option<String>,
}

/// Lists swarms, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence swarm ls\n  ringfence swarm ls --all")]
pub(crate) struct LsArgs {
    /// Those that were destroyed too
    #[arg(long)]
    all: bool,
}

/// Gives a swarm more agents, or fewer
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ringfence swarm scale 3 --swarm desk

The newest agents go first, and their sandboxes end with them.")]
pub(crate) struct ScaleArgs {
    /// How many it is to have
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    agents: u32,
    /// Id or name [default: the newest active one]
    #[arg(long, value_name = "SWARM")]
    swarm: Option<String>,
}

/// Ends a swarm, its tasks and its sandboxes, and says what they cost
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence swarm destroy desk\n  ringfence swarm destroy newest")]
pub(crate) struct DestroyArgs {
    /// Id, name, or `newest`
    swarm: String,
}

pub(crate) async fn run(global: Global, command: SwarmCommand) -> anyhow::Result<i32> {
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.research.as_ref() as &dyn Swarms, global.json);
    match command {
        SwarmCommand::Init(args) => init(api, args, as_json).await,
        SwarmCommand::Spawn(args) => spawn(api, args, as_json).await,
        SwarmCommand::Status(args) => {
            let answer = api.swarm_status(Actor::Operator, SwarmRequest { swarm_id: args.swarm }).await?;
            show(&answer, as_json)
        }
        SwarmCommand::Ls(args) => ls(api, args, as_json).await,
        SwarmCommand::Scale(args) => {
            let request = SwarmScaleRequest { swarm_id: args.swarm, max_agents: args.agents };
            let answer = api.swarm_scale(Actor::Operator, request).await?;
            output::note(&format!("ringfence: {}", answer.message));
            show(&answer, as_json)
        }
        SwarmCommand::Destroy(args) => destroy(api, args, as_json).await,
        SwarmCommand::Prune(args) => prune::prune(daemon.research.as_ref(), JobKind::Swarm, args, as_json).await,
    }
}

async fn init(api: &dyn Swarms, args: InitArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = SwarmInitRequest {
        topology: from_value(json!(args.topology))?,
        max_agents: Some(args.agents),
        strategy: Some(from_value(json!(args.strategy))?),
        name: args.name,
    };
    let answer = api.swarm_init(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        output::line(answer.swarm_id.as_str())?;
    }
    Ok(0)
}

async fn spawn(api: &dyn Swarms, args: SpawnArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = AgentSpawnRequest { swarm_id: args.swarm, kind: args.kind, name: args.name };
    let answer = api.agent_spawn(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        output::line(answer.agent_id.as_str())?;
    }
    Ok(0)
}

fn show(answer: &SwarmAnswer, as_json: bool) -> anyhow::Result<i32> {
    if as_json {
        output::json(answer)?;
        return Ok(0);
    }
    output::line(&format!(
        "{} ({}), {} {}, {} agents, {} tasks running, {} credits so far",
        answer.name,
        answer.swarm_id,
        answer.status.as_str(),
        answer.topology.as_str(),
        answer.agents.len(),
        answer.tasks_running,
        answer.cost_so_far
    ))?;
    let mut table = output::table(&["agent", "id", "type", "role", "status", "sandbox", "state"]);
    for agent in &answer.agents {
        let sandbox = agent.sandbox_id.as_ref().map_or("none yet", |id| id.as_str());
        let state = agent.sandbox_status.map_or("", |status| status.as_str());
        table.add_row([&agent.name, agent.id.as_str(), &agent.kind, &agent.role, &agent.status, sandbox, state]);
    }
    output::show(table)?;
    Ok(0)
}

async fn ls(api: &dyn Swarms, args: LsArgs, as_json: bool) -> anyhow::Result<i32> {
    let status = if args.all { "all" } else { "active" };
    let request = SwarmListRequest { status: Some(status.to_owned()), limit: None };
    let answer = api.swarm_list(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["name", "id", "topology", "agents", "status", "created"]);
    for swarm in &answer.swarms {
        let agents = swarm.agents.to_string();
        table.add_row([
            swarm.name.as_str(),
            swarm.swarm_id.as_str(),
            swarm.topology.as_str(),
            &agents,
            swarm.status.as_str(),
            &swarm.created_at,
        ]);
    }
    output::show(table)?;
    Ok(0)
}

async fn destroy(api: &dyn Swarms, args: DestroyArgs, as_json: bool) -> anyhow::Result<i32> {
    let swarm_id = Some(args.swarm).filter(|swarm| swarm != "newest");
    let answer = api.swarm_destroy(Actor::Operator, SwarmRequest { swarm_id }).await?;
    let code = if answer.success { 0 } else { failure::FAILED };
    if as_json {
        output::json(&answer)?;
        return Ok(code);
    }
    output::line(&answer.message)?;
    let mut table = output::table(&["sandbox", "agent", "minutes", "credits", "problem"]);
    for cost in &answer.sandboxes {
        let (minutes, credits) = (cost.minutes.to_string(), cost.credits.to_string());
        let (agent, problem) = (cost.agent_id.as_deref().unwrap_or(""), cost.problem.as_deref().unwrap_or(""));
        table.add_row([cost.sandbox_id.as_str(), agent, &minutes, &credits, problem]);
    }
    output::show(table)?;
    Ok(code)
}

//! `ringfence trade`: where orders go, what limits them, and the switches.

mod limits;
mod live;
mod show;
mod switch;

use clap::{Args, Subcommand};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, TradeHoldRequest, TradeModeRequest, TradeStatusRequest};

use crate::{args::Global, daemon, output};

/// Says where orders go and what limits them; halts and resumes trading
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringfence trade status                        mode, states, limits, what is spent today
  ringfence trade mode paper                    orders go to the broker's paper account
  ringfence trade limits set max_notional_per_order=500 permitted_symbols=AAPL,MSFT
  ringfence trade halt --reason 'wrong prices'  the kill switch: nothing but cancels, open orders cancelled
  ringfence trade resume

A program in a sandbox trades at paper-api.alpaca.markets, with alpaca-py or any other client, whatever the mode is. Every order \
is judged by the gate before it leaves: docs/reference/trading.md lists limits, states and refusals.")]
pub(crate) enum TradeCommand {
    Mode(ModeArgs),
    Limits(limits::LimitsArgs),
    Status(show::StatusArgs),
    Halt(switch::HaltArgs),
    Reduce(switch::ReduceArgs),
    Resume(switch::ResumeArgs),
    Orders(show::OrdersArgs),
    Positions(show::PositionsArgs),
    Holds(HoldsArgs),
    Approve(ApproveArgs),
    Refuse(RefuseArgs),
}

/// Shows or sets where orders go: to the simulated exchange, a paper account, or a live one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade mode
  ringfence trade mode simulated
  ringfence trade mode paper
  ringfence trade mode live --account live:0c5a… --until 2h
  ringfence trade mode live --account live:0c5a… --until 2026-11-27T21:00:00Z

One mode holds for all sandboxes. Open connections that lead elsewhere end when it changes; orders that are open elsewhere stay \
open there, and `trade halt` cancels them.

Live trades with money. It takes `live_allowed = true` under `[trade]` in config.toml and a new start; every limit of the account \
set by hand, for there are no defaults; an end, at most 24 hours away; and the account's name, typed at a terminal. No option stands \
in for that. When it ends, orders go nowhere until a mode is set.")]
pub(crate) struct ModeArgs {
    /// `simulated`, `paper` or `live`; without it the mode is shown
    #[arg(value_parser = ["simulated", "paper", "live"])]
    mode: Option<String>,
    /// When live ends: RFC 3339, or from now, as in `30m` or `2h`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The live account: `live:` and its id at the broker
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

/// Lists orders that wait for a person
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade holds
  ringfence trade approve 3

An order that is worth more than the limit `two_step_above` is refused until a person has approved it; the program then sends it \
again.")]
pub(crate) struct HoldsArgs {}

/// Approves an order that waits: the same request is let through once, within an hour
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence trade approve 3")]
pub(crate) struct ApproveArgs {
    /// Its number, as `trade holds` shows it
    #[arg(value_name = "NUMBER")]
    number: u64,
}

/// Refuses an order that waits
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence trade refuse 3")]
pub(crate) struct RefuseArgs {
    /// Its number, as `trade holds` shows it
    #[arg(value_name = "NUMBER")]
    number: u64,
}

pub(crate) async fn run(global: Global, command: TradeCommand) -> anyhow::Result<i32> {
    // What makes no sense is refused before a daemon is started for it.
    match &command {
        TradeCommand::Mode(args) => live::check(args)?,
        TradeCommand::Limits(args) => args.check()?,
        TradeCommand::Orders(args) => args.check()?,
        _ => {}
    }
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.api.as_ref(), global.json);
    match command {
        TradeCommand::Mode(args) => mode(api, args, as_json).await,
        TradeCommand::Limits(args) => limits::run(api, args, as_json).await,
        TradeCommand::Status(args) => show::status(api, args, as_json).await,
        TradeCommand::Halt(args) => switch::halt(api, args, as_json).await,
        TradeCommand::Reduce(args) => switch::reduce(api, args, as_json).await,
        TradeCommand::Resume(args) => switch::resume(api, args, as_json).await,
        TradeCommand::Orders(args) => show::orders(api, args, as_json).await,
        TradeCommand::Positions(args) => show::positions(api, args, as_json).await,
        TradeCommand::Holds(_) => show::holds(api, as_json).await,
        TradeCommand::Approve(args) => answer(api, args.number, true, as_json).await,
        TradeCommand::Refuse(args) => answer(api, args.number, false, as_json).await,
    }
}

async fn mode(api: &dyn Sandboxes, args: ModeArgs, as_json: bool) -> anyhow::Result<i32> {
    let Some(mode) = args.mode.clone() else {
        let status = api.trade_status(Actor::Operator, TradeStatusRequest::default()).await?;
        if as_json {
            output::json(&serde_json::json!({
                "success": true, "mode": status.mode, "until": status.until, "environment": status.environment,
                "live_allowed": status.live_allowed,
            }))?;
        } else {
            output::line(&show::mode_line(&status))?;
        }
        return Ok(0);
    };
    let request = match mode.as_str() {
        "live" => live::request(api, &args).await?,
        _ => TradeModeRequest { mode, ..TradeModeRequest::default() },
    };
    let answer = api.trade_mode_set(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let until = answer.until.map(|until| format!(" until {until}")).unwrap_or_default();
    output::line(&format!("trading is {}{until}; it was {}", answer.mode, answer.before))?;
    answer.warnings.iter().for_each(|warning| output::note(&format!("ringfence: {warning}")));
    Ok(0)
}

async fn answer(api: &dyn Sandboxes, number: u64, approve: bool, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.trade_hold_answer(Actor::Operator, TradeHoldRequest { number, approve }).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let hold = &answer.hold;
    let then = if approve { ": let through once, when it is sent again within an hour" } else { "" };
    output::line(&format!("{} {} of {} ({} USD){then}", hold.state, hold.what, hold.sandbox_id, hold.notional))?;
    Ok(0)
}

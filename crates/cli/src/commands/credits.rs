//! `ringfence credits` and `ringfence usage`: what a project may spend, and what was used.

use clap::{Args, Subcommand, ValueEnum};
use ringfence_model::{
    api::{
        Actor, BalanceAnswer, BalanceRequest, CreditBudgetRequest, CreditGrantRequest, UsageBy, UsageFigures,
        UsageRequest,
    },
    credit::MilliCredits,
};

use crate::{args::Global, daemon, output};

/// Reads and sets what projects may spend
#[derive(Debug, Subcommand)]
pub(crate) enum CreditsCommand {
    /// Prints what a project has left
    Balance,
    Grant(GrantArgs),
    Budget(BudgetArgs),
}

/// Gives a project more credits; with the first ones its budget is limited
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence credits grant 500 --project fund
  ringfence credits grant 500 --project fund --key invoice-2026-07

Without --project it is the project `default`. A grant with a key that was used before changes nothing.")]
pub(crate) struct GrantArgs {
    /// How many, with at most three decimals
    #[arg(value_name = "CREDITS", value_parser = MilliCredits::parse)]
    credits: MilliCredits,
    /// A key of your own, so that the same grant is not made twice
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// Sets what a project may spend from now on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence credits budget 1000 --project fund
  ringfence credits budget unlimited

Without --project it is the project `default`. At 0 nothing is created any more; what runs is stopped after the grace, with its files \
kept.")]
pub(crate) struct BudgetArgs {
    /// How many credits, or `unlimited`
    #[arg(value_name = "CREDITS", value_parser = limit)]
    credits: Limit,
}

#[derive(Debug, Clone, Copy)]
struct Limit(Option<MilliCredits>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "unlimited" => Ok(Limit(None)),
        text => {
            MilliCredits::parse(text).map(|credits| Limit(Some(credits))).map_err(|e| format!("{e}, or `unlimited`"))
        }
    }
}

/// Prints what was used: credits, time, CPU, memory, network
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence usage
  ringfence usage --by day --days 7
  ringfence usage --by project --json
  ringfence usage --sandbox lab

Days are those of UTC. CPU seconds are those of executions that have ended; GB-seconds are memory limits times the time for which \
they were held; requests and bytes are the gate's, to the last minute.")]
pub(crate) struct UsageArgs {
    /// What a row stands for
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = By::Sandbox)]
    by: By,
    /// Only this sandbox, by id or name
    #[arg(long, value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Days that are looked at, today among them
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=366))]
    days: Option<u32>,
    /// Rows at most: the dearest, or the newest days
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Sandbox,
    Project,
    Day,
}

pub(crate) async fn run(global: Global, command: CreditsCommand) -> anyhow::Result<i32> {
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let project = global.project.clone();
    let answer = match command {
        CreditsCommand::Balance => daemon.api.check_balance(Actor::Operator, BalanceRequest { project }).await?,
        CreditsCommand::Grant(GrantArgs { credits, key }) => {
            daemon.api.credit_grant(Actor::Operator, CreditGrantRequest { project, credits, key }).await?
        }
        CreditsCommand::Budget(BudgetArgs { credits: Limit(credits) }) => {
            let request = CreditBudgetRequest { project, credits, unlimited: credits.is_none() };
            daemon.api.credit_budget(Actor::Operator, request).await?
        }
    };
    if global.json {
        output::json(&answer)?;
        return Ok(0);
    }
    output::line(&sentence(&answer))?;
    if let Some(warning) = &answer.warning {
        output::note(&format!("ringfence: {warning}"));
    }
    Ok(0)
}

fn sentence(answer: &BalanceAnswer) -> String {
    let left = match (answer.balance, answer.budget) {
        (Some(balance), Some(budget)) => format!("{balance} of {budget} credits are left"),
        _ => "any amount may be spent".to_owned(),
    };
    let lasts = answer.minutes_left.map(|minutes| format!(", for {minutes} min at this rate")).unwrap_or_default();
    format!(
        "{}: {left}{lasts}; {} spent today, {} sandboxes metered at {} a minute",
        answer.project, answer.spent_today, answer.metered, answer.credits_per_minute
    )
}

pub(crate) async fn usage(global: Global, args: UsageArgs) -> anyhow::Result<i32> {
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (by, of) = match args.by {
        By::Sandbox => (UsageBy::Sandbox, "sandbox"),
        By::Project => (UsageBy::Project, "project"),
        By::Day => (UsageBy::Day, "day"),
    };
    let request = UsageRequest {
        by: Some(by),
        sandbox_id: args.sandbox,
        days: args.days,
        limit: args.limit,
        project: global.project.clone(),
    };
    let answer = daemon.api.usage(Actor::Operator, request).await?;
    if global.json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&[
        of,
        "name",
        "project",
        "credits",
        "running",
        "executions",
        "CPU s",
        "GB s",
        "requests",
        "refused",
        "bytes up",
        "bytes down",
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in &answer.rows {
        let project = row.project.as_ref().map(ToString::to_string);
        let key = match by {
            UsageBy::Sandbox => row.sandbox_id.as_ref().map(ToString::to_string),
            UsageBy::Project => project.clone(),
            UsageBy::Day => row.day.clone(),
        };
        table.add_row(cells([or_dash(key), or_dash(row.name.clone()), or_dash(project)], &row.used));
    }
    table.add_row(cells(["all".to_owned(), String::new(), String::new()], &answer.total));
    output::show(table)?;
    Ok(0)
}

fn cells(of: [String; 3], used: &UsageFigures) -> Vec<String> {
    let figures = [
        used.credits.text(),
        format!("{:.0} s", used.running_seconds),
        used.executions.to_string(),
        format!("{:.2}", used.cpu_seconds),
        format!("{:.1}", used.gb_seconds),
        used.requests.to_string(),
        used.refused.to_string(),
        used.bytes_up.to_string(),
        used.bytes_down.to_string(),
    ];
    of.into_iter().chain(figures).collect()
}

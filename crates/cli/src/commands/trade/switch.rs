//! Halt, reduce, resume.

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, TradeHaltRequest, TradeStateAnswer, TradeStateRequest};

use crate::{failure, output};

/// Whose trading.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Only of this sandbox, also one that has ended: id or unique name
    #[arg(long, value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Only of this account: `sim:…`, `paper:…` or `live:…`
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Why, for the audit chain and for who is refused
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// The kill switch: nothing but cancels from now on, and open orders are cancelled
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade halt                           every sandbox, every account
  ringfence trade halt --sandbox lab --reason 'it buys in a loop'
  ringfence trade halt --flatten                 positions are closed at the venue too
  ringfence trade halt --no-cancel               open orders stay

It works when the sandbox is dead, and outlasts a restart. Trading is halted first; then the venue is told. When the venue could not \
be told the exit code is 1, and trading is halted all the same. `ringfence trade resume` is the only way back.")]
pub(crate) struct HaltArgs {
    #[command(flatten)]
    whose: Whose,
    /// Close positions at the venue too
    #[arg(long, conflicts_with_all = ["sandbox", "no_cancel"])]
    flatten: bool,
    /// Leave open orders as they are
    #[arg(long)]
    no_cancel: bool,
}

/// Lets only what makes positions smaller pass, and cancels
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade reduce
  ringfence trade reduce --sandbox lab")]
pub(crate) struct ReduceArgs {
    #[command(flatten)]
    whose: Whose,
}

/// Lets trading go on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade resume                         all accounts, also those that a control has halted
  ringfence trade resume --sandbox lab           a sandbox that was halted by itself

What halted is not looked at again: a loss that is there still halts again with the next order. A sandbox that was halted by itself \
is resumed by itself.")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    whose: Whose,
}

impl Whose {
    fn request(self) -> TradeStateRequest {
        TradeStateRequest { sandbox_id: self.sandbox, account: self.account, reason: self.reason }
    }
}

pub(super) async fn halt(api: &dyn Sandboxes, args: HaltArgs, as_json: bool) -> anyhow::Result<i32> {
    let TradeStateRequest { sandbox_id, account, reason } = args.whose.request();
    let cancel = Some(!args.no_cancel);
    let request = TradeHaltRequest { sandbox_id, account, reason, cancel, flatten: args.flatten };
    tell(&api.trade_halt(Actor::Operator, request).await?, as_json)
}

pub(super) async fn reduce(api: &dyn Sandboxes, args: ReduceArgs, as_json: bool) -> anyhow::Result<i32> {
    tell(&api.trade_reduce(Actor::Operator, args.whose.request()).await?, as_json)
}

pub(super) async fn resume(api: &dyn Sandboxes, args: ResumeArgs, as_json: bool) -> anyhow::Result<i32> {
    tell(&api.trade_resume(Actor::Operator, args.whose.request()).await?, as_json)
}

/// Who it is about, in words.
fn whose(answer: &TradeStateAnswer) -> String {
    let of = match &answer.sandbox_id {
        Some(sandbox) => format!("trading of {sandbox}"),
        None => "trading".to_owned(),
    };
    match &answer.account {
        Some(account) => format!("{of} in {account}"),
        None => of,
    }
}

fn tell(answer: &TradeStateAnswer, as_json: bool) -> anyhow::Result<i32> {
    let failed = answer.accounts.iter().any(|account| account.problem.is_some());
    let code = if failed { failure::FAILED } else { 0 };
    if as_json {
        output::json(answer)?;
        return Ok(code);
    }
    let before = if answer.changed { "" } else { " already" };
    let cause = answer.cause.as_ref();
    let cause = cause.map(|cause| format!(": {} ({}, since {})", cause.reason, cause.by, cause.since));
    output::line(&format!("{} is {}{before}{}", whose(answer), answer.state, cause.unwrap_or_default()))?;
    for done in &answer.accounts {
        if done.cancelled > 0 {
            output::line(&format!("  {}: {} orders cancelled", done.account, done.cancelled))?;
        }
        if done.flattened {
            output::line(&format!("  {}: positions are being closed", done.account))?;
        }
        if let Some(problem) = &done.problem {
            output::note(&format!("ringfence: {}: {problem}", done.account));
        }
    }
    Ok(code)
}

//! Limits: what is in force, and setting them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, TradeLimitsAnswer, TradeLimitsRequest, TradeLimitsSetRequest, trade_account};

use crate::{args, failure, output};

/// Shows the limits in force, or sets some
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade limits                                       of every account that has none of its own
  ringfence trade limits set max_notional_per_order=500 max_daily_notional=5000
  ringfence trade limits --sandbox lab set permitted_symbols=AAPL,MSFT max_open_orders=3
  ringfence trade limits --account paper:0c5a… set no_shorting=no
  ringfence trade limits set max_daily_orders=none             no limit
  ringfence trade limits set max_open_orders=default           as it is out of the box
  ringfence trade limits --all                                 with those that are not set, and what each does

An order must pass the limits of its account, with the account's counters, and those of its sandbox, with the sandbox's. Limits of a \
sandbox only ever tighten what its account has. An account with limits of its own has all of them for itself; a live account has \
no others. Lists are written with commas, and `[]` is the empty one.")]
pub(crate) struct LimitsArgs {
    /// Of this sandbox: id or unique name
    #[arg(long, value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Of this account: `sim:…`, `paper:…` or `live:…`
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Show those that are not set too, and what each does
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<LimitsCommand>,
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    /// Sets limits, also looser ones
    Set {
        /// `NAME=VALUE`
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = args::key_value)]
        limits: Vec<(String, String)>,
    },
}

impl LimitsArgs {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        trade_account(self.account.as_deref()).map_err(|error| failure::Usage(error.message))?;
        if let Some(request) = self.set() {
            request.check().map_err(|error| failure::Usage(error.message))?;
        }
        Ok(())
    }

    fn set(&self) -> Option<TradeLimitsSetRequest> {
        let LimitsCommand::Set { limits } = self.command.as_ref()?;
        let limits: BTreeMap<String, String> = limits.iter().cloned().collect();
        Some(TradeLimitsSetRequest { sandbox_id: self.sandbox.clone(), account: self.account.clone(), limits })
    }
}

pub(super) async fn run(api: &dyn Sandboxes, args: LimitsArgs, as_json: bool) -> anyhow::Result<i32> {
    let set = args.set();
    let named: Vec<String> = set.iter().flat_map(|request| request.limits.keys().cloned()).collect();
    let answer = match set {
        Some(request) => api.trade_limits_set(Actor::Operator, request).await?,
        None => {
            let request = TradeLimitsRequest { sandbox_id: args.sandbox, account: args.account };
            api.trade_limits(Actor::Operator, request).await?
        }
    };
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    show(&answer, args.all, &named)?;
    Ok(0)
}

fn show(answer: &TradeLimitsAnswer, all: bool, named: &[String]) -> anyhow::Result<()> {
    let mut header = vec!["limit", "value", "unit", "default", "set by"];
    if all {
        header.push("what");
    }
    let mut table = output::table(&header);
    for limit in &answer.limits {
        let is_named = named.contains(&limit.name);
        let is_shown = if named.is_empty() { all || limit.value != "none" } else { all || is_named };
        if !is_shown {
            continue;
        }
        let unit = if limit.value == "none" { "" } else { &limit.unit };
        let mut cells = vec![limit.name.as_str(), &limit.value, unit, &limit.default, &limit.set_by];
        if all {
            cells.push(&limit.about);
        }
        table.add_row(cells);
    }
    output::show(table)?;
    Ok(())
}

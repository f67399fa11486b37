//! How trading stands, orders, positions, and orders that wait.

use std::time::Duration;

use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, LIST_MAX, TradeAmounts, TradeCause, TradeExchange, TradeOrder, TradeOrdersRequest, TradePositionsRequest,
    TradeStatusAnswer, TradeStatusRequest,
};

use crate::{failure, output};

/// Shows mode, states, limits, what is spent and reserved today, and the simulated exchange
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade status
  ringfence trade status --sandbox lab
  ringfence trade status --follow
  ringfence trade status --json | jq -r .state

Amounts are of the account's day by its own clock, which in mode simulated is a replayed one.")]
pub(crate) struct StatusArgs {
    /// Of this sandbox alone, with its limits: id or unique name
    #[arg(long, value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Of this account alone: `sim:…`, `paper:…` or `live:…`
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Show it again whenever it changes
    #[arg(short, long)]
    follow: bool,
}

/// Lists orders of sandboxes as the gate's ledger has them, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence trade orders
  ringfence trade orders --open
  ringfence trade orders --sandbox lab -n 1000 --json

`ambiguous` means that nobody knows yet whether the venue has it; it is looked up there and never sent again. The number in column \
DECISION is that of `ringfence egress tail`.")]
pub(crate) struct OrdersArgs {
    /// Only of this sandbox: id or unique name
    #[arg(long, value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Only of this account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only those that are open
    #[arg(long)]
    open: bool,
    /// How many at most, up to 1000
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    lines: u32,
}

/// Lists positions, as the venue says them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence trade positions\n  ringfence trade positions --account paper:0c5a…")]
pub(crate) struct PositionsArgs {
    /// Of this account alone
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

impl OrdersArgs {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !(1..=LIST_MAX).contains(&self.lines) {
            return failure::usage(format!("-n must be between 1 and {LIST_MAX}"));
        }
        Ok(())
    }
}

/// The mode in a line.
pub(super) fn mode_line(status: &TradeStatusAnswer) -> String {
    let mode = &status.mode;
    match (&status.environment, &status.until) {
        (Some(_), Some(until)) => format!("{mode} until {until}"),
        (Some(_), None) => mode.clone(),
        (None, until) => {
            let since = until.as_ref().map(|until| format!(" on {until}")).unwrap_or_default();
            format!("{mode}, which ended{since}: orders go nowhere until a mode is set")
        }
    }
}

fn state_line(state: &str, cause: Option<&TradeCause>) -> String {
    match cause {
        Some(cause) => format!("{state}: {} ({}, since {})", cause.reason, cause.by, cause.since),
        None => state.to_owned(),
    }
}

fn exchange_line(exchange: &TradeExchange) -> String {
    let Some(clock) = exchange.clock.as_ref().filter(|_| exchange.answers) else {
        return match &exchange.problem {
            Some(problem) => format!("does not answer: {problem}"),
            None if exchange.answers => "answers".to_owned(),
            None => "does not answer".to_owned(),
        };
    };
    let mut line = clock.now.clone().unwrap_or_else(|| "answers".to_owned());
    if let Some(mode) = &clock.mode {
        let speed = clock.speed.as_ref().map(|speed| format!(" at {speed}x")).unwrap_or_default();
        line = format!("{line}, {mode}{speed}");
    }
    match clock.is_open {
        Some(true) => format!("{line}, market open"),
        Some(false) => format!("{line}, market closed"),
        None => line,
    }
}

fn amounts_line(amounts: &TradeAmounts) -> String {
    let day = amounts.day.as_deref().unwrap_or("nothing asked yet");
    format!(
        "{day}: bought {} and {} reserved, turnover {} and {} reserved (USD); {} orders, {} open",
        amounts.bought,
        amounts.bought_pending,
        amounts.turnover,
        amounts.turnover_pending,
        amounts.orders,
        amounts.open_orders
    )
}

/// The status in lines of two columns.
fn rows(status: &TradeStatusAnswer) -> Vec<(String, String)> {
    let mut rows = vec![
        ("mode".to_owned(), mode_line(status)),
        ("state".to_owned(), state_line(&status.state, status.cause.as_ref())),
        ("exchange".to_owned(), exchange_line(&status.exchange)),
    ];
    if status.holds_waiting > 0 {
        rows.push((
            "waiting".to_owned(),
            format!("{} orders for a person: `ringfence trade holds`", status.holds_waiting),
        ));
    }
    for account in &status.accounts {
        rows.push((account.account.clone(), state_line(&account.state, account.cause.as_ref())));
        rows.push((String::new(), amounts_line(&account.amounts)));
        let limits: Vec<String> = account.limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !limits.is_empty() {
            rows.push((String::new(), limits.join(" ")));
        }
        for sandbox in &account.sandboxes {
            let state = state_line(&sandbox.state, sandbox.cause.as_ref());
            let refusals = match sandbox.refusals_in_a_row {
                0 => String::new(),
                refusals => format!(", {refusals} refusals in a row"),
            };
            rows.push((String::new(), format!("{} {state}{refusals}", sandbox.sandbox_id)));
            rows.push((String::new(), format!("  {}", amounts_line(&sandbox.amounts))));
            if let Some(limits) = &sandbox.limits {
                let limits: Vec<String> = limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
                rows.push((String::new(), format!("  {}", limits.join(" "))));
            }
        }
    }
    rows
}

pub(super) async fn status(api: &dyn Sandboxes, args: StatusArgs, as_json: bool) -> anyhow::Result<i32> {
    const EVERY: Duration = Duration::from_secs(1);
    let mut shown = None;
    loop {
        let request = TradeStatusRequest { sandbox_id: args.sandbox.clone(), account: args.account.clone() };
        let status = api.trade_status(Actor::Operator, request).await?;
        if shown.as_ref() != Some(&status) {
            match (as_json, args.follow) {
                (true, false) => output::json(&status)?,
                // One a line, because such a list has no end.
                (true, true) => output::line(&serde_json::to_string(&status)?)?,
                (false, _) => {
                    if shown.is_some() {
                        output::line("")?;
                    }
                    rows(&status)
                        .iter()
                        .try_for_each(|(name, value)| output::line(format!("{name:<10} {value}").trim_end()))?;
                }
            }
        }
        if !args.follow {
            return Ok(0);
        }
        shown = Some(status);
        tokio::time::sleep(EVERY).await;
    }
}

/// The price in the words of its type.
fn price(order: &TradeOrder) -> String {
    let mut words = vec![order.order_type.clone()];
    words.extend(order.limit_price.iter().map(|limit| format!("at {limit}")));
    words.extend(order.stop_price.iter().map(|stop| format!("from {stop}")));
    words.extend(order.trail.iter().map(|trail| format!("behind {trail}")));
    words.join(" ")
}

pub(super) async fn orders(api: &dyn Sandboxes, args: OrdersArgs, as_json: bool) -> anyhow::Result<i32> {
    let OrdersArgs { sandbox, account, open, lines } = args;
    let request = TradeOrdersRequest { sandbox_id: sandbox, account, open: Some(open), limit: Some(lines) };
    let answer = api.trade_orders(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&[
        "number", "admitted", "sandbox", "account", "side", "symbol", "size", "price", "filled", "state", "decision",
    ]);
    for order in &answer.orders {
        let size = match (&order.qty, &order.notional) {
            (Some(qty), _) => qty.clone(),
            (None, Some(notional)) => format!("{notional} USD"),
            (None, None) => String::new(),
        };
        let because = order.closed_because.as_ref().map(|because| format!(", {because}")).unwrap_or_default();
        table.add_row([
            order.number.to_string(),
            order.admitted_at.clone(),
            order.sandbox_id.clone(),
            order.account.clone(),
            order.side.clone(),
            order.symbol.clone(),
            size,
            price(order),
            order.filled.clone(),
            format!("{}{because}", order.state),
            order.decision.to_string(),
        ]);
    }
    output::show(table)?;
    Ok(0)
}

pub(super) async fn positions(api: &dyn Sandboxes, args: PositionsArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = TradePositionsRequest { account: args.account };
    let answer = api.trade_positions(Actor::Operator, request).await?;
    let failed = answer.accounts.iter().any(|account| account.problem.is_some());
    let code = if failed { failure::FAILED } else { 0 };
    if as_json {
        output::json(&answer)?;
        return Ok(code);
    }
    let mut table = output::table(&["account", "symbol", "qty", "entry", "now", "value", "gain"]);
    for account in &answer.accounts {
        for position in &account.positions {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            table.add_row([
                account.account.clone(),
                position.symbol.clone(),
                position.qty.clone(),
                text(&position.avg_entry_price),
                text(&position.current_price),
                text(&position.market_value),
                text(&position.unrealized_pl),
            ]);
        }
        if let Some(problem) = &account.problem {
            output::note(&format!("ringfence: {}: {problem}", account.account));
        }
    }
    output::show(table)?;
    Ok(code)
}

pub(super) async fn holds(api: &dyn Sandboxes, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.trade_holds(Actor::Operator).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["number", "asked", "sandbox", "account", "order", "usd at worst", "state"]);
    for hold in &answer.holds {
        let number = hold.number.to_string();
        table.add_row([
            &number,
            &hold.asked_at,
            &hold.sandbox_id,
            &hold.account,
            &hold.what,
            &hold.notional,
            &hold.state,
        ]);
    }
    output::show(table)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use ringfence_model::api::TradeClock;

    use super::*;

    #[test]
    fn live_that_has_ended_is_not_shown_as_live() {
        let until = Some("2026-01-02T03:04:05Z".to_owned());
        let live = |environment: Option<&str>| TradeStatusAnswer {
            mode: "live".into(),
            until: until.clone(),
            environment: environment.map(str::to_owned),
            ..TradeStatusAnswer::default()
        };
        assert_eq!(mode_line(&live(Some("live"))), "live until 2026-01-02T03:04:05Z");
        assert!(mode_line(&live(None)).contains("nowhere"));
    }

    #[test]
    fn what_a_clock_does_not_say_is_left_out() {
        let clock = TradeClock { now: Some("noon".into()), is_open: Some(false), ..TradeClock::default() };
        let exchange = TradeExchange { answers: true, problem: None, clock: Some(clock) };
        assert_eq!(exchange_line(&exchange), "noon, market closed");
        let silent = TradeExchange { problem: Some("no socket".into()), ..TradeExchange::default() };
        assert_eq!(exchange_line(&silent), "does not answer: no socket");
    }
}

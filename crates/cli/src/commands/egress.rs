//! `ringfence egress`: what sandboxes asked of the world, and what the gate answered.

use std::{collections::BTreeSet, time::Duration};

use clap::{Args, Subcommand};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, EgressDecision, EgressRequest, LIST_MAX};

use crate::{args::Global, daemon, failure, numbers, output};

/// Shows what sandboxes asked of the world
#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    Tail(TailArgs),
}

/// Shows the newest decisions of the gate
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence egress tail
  ringfence egress tail lab --follow
  ringfence egress tail --json -n 1000 | jq 'select(.verdict == \"refuse\")'

Each question for a name, connection and request is one line, written down before anything leaves. Status, bytes and time \
are there once it is over; with --follow, in a second line of the same number. With --json each line is an object.")]
pub(crate) struct TailArgs {
    /// Only of this sandbox: id or unique name
    #[arg(value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// How many decisions, at most 1000
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    lines: u32,
    /// Go on with what is added
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(global: Global, command: EgressCommand) -> anyhow::Result<i32> {
    let EgressCommand::Tail(args) = command;
    if !(1..=LIST_MAX).contains(&args.lines) {
        return failure::usage(format!("-n must be between 1 and {LIST_MAX}"));
    }
    let daemon = daemon::connect(global.home.as_deref()).await?;
    tail(daemon.api.as_ref(), args, global.json).await
}

async fn tail(api: &dyn Sandboxes, args: TailArgs, as_json: bool) -> anyhow::Result<i32> {
    let ask =
        |after: Option<u64>, limit: u32| EgressRequest { sandbox_id: args.sandbox.clone(), after, limit: Some(limit) };
    let answer = api.egress_list(Actor::Operator, ask(None, args.lines)).await?;
    if !as_json && !args.follow {
        let mut table = output::table(&HEADER);
        for decision in &answer.decisions {
            table.add_row(cells(decision));
        }
        output::show(table)?;
        return Ok(0);
    }
    let mut shown = Shown::default();
    for decision in &answer.decisions {
        print(decision, as_json)?;
        shown.is_news(decision);
    }
    if !args.follow {
        return Ok(0);
    }
    const EVERY: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(EVERY).await;
        let ended = match shown.open.first() {
            Some(first) => api.egress_list(Actor::Operator, ask(Some(first - 1), LIST_MAX)).await?.decisions,
            None => Vec::new(),
        };
        let new = api.egress_list(Actor::Operator, ask(Some(shown.last), LIST_MAX)).await?.decisions;
        for decision in ended.iter().filter(|decision| decision.number <= shown.last).chain(&new).collect::<Vec<_>>() {
            if shown.is_news(decision) {
                print(decision, as_json)?;
            }
        }
    }
}

/// What was shown already.
#[derive(Debug, Default)]
struct Shown {
    last: u64,
    /// Of these the end was not.
    open: BTreeSet<u64>,
}

impl Shown {
    /// Whether a decision is new, or is over since it was shown. One that goes on while a thousand others come is not waited for.
    fn is_news(&mut self, decision: &EgressDecision) -> bool {
        let number = decision.number;
        let is_over = decision.verdict != "allow" || decision.milliseconds.is_some();
        let is_new = number > self.last;
        self.last = self.last.max(number);
        if is_new && !is_over {
            self.open.insert(number);
            self.open = self.open.split_off(&self.last.saturating_sub(u64::from(LIST_MAX)));
        }
        is_new || is_over && self.open.remove(&number)
    }
}

const HEADER: [&str; 10] =
    ["number", "time", "sandbox", "verdict", "spoken", "destination", "request", "status", "bytes", "remark"];

fn cells(d: &EgressDecision) -> [String; 10] {
    let bytes = match (d.bytes_up, d.bytes_down) {
        (None, None) => String::new(),
        (up, down) => format!("{} up, {} down", numbers::bytes(up.unwrap_or(0)), numbers::bytes(down.unwrap_or(0))),
    };
    let mut remarks: Vec<String> = d.reason.iter().cloned().collect();
    if !d.secrets.is_empty() {
        remarks.push(format!("with {}", d.secrets.join(", ")));
    }
    remarks.extend(d.signed.iter().map(|exchange| format!("signed as {exchange}")));
    if d.cached {
        remarks.push("from the cache".to_owned());
    }
    remarks.extend(d.milliseconds.map(|ms| format!("{ms} ms")));
    [
        d.number.to_string(),
        d.timestamp.clone(),
        d.sandbox_id.clone(),
        d.verdict.clone(),
        d.protocol.clone(),
        d.destination.clone(),
        d.request.clone().unwrap_or_default(),
        d.status.map(|status| status.to_string()).unwrap_or_default(),
        bytes,
        remarks.join("; "),
    ]
}

/// One decision a line, because such a list has no end.
fn print(decision: &EgressDecision, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(output::line(&serde_json::to_string(decision)?)?);
    }
    let [number, time, sandbox, verdict, protocol, destination, request, status, bytes, remark] = cells(decision);
    let mut line = format!("{number:>6}  {time}  {sandbox}  {verdict:<7} {protocol:<4}  {destination}");
    for more in [request, status, bytes, remark] {
        if !more.is_empty() {
            line = format!("{line}  {more}");
        }
    }
    Ok(output::line(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(number: u64) -> EgressDecision {
        EgressDecision {
            number,
            timestamp: "2026-01-02T03:04:05Z".into(),
            sandbox_id: "ihhhhhhhhhhhhhhhhhhhh".into(),
            protocol: "http".into(),
            destination: "api.example.com:443".into(),
            request: Some("GET /v2/account".into()),
            secrets: vec!["KEY".into()],
            signed: None,
            cached: false,
            verdict: "allow".into(),
            reason: None,
            status: None,
            bytes_up: None,
            bytes_down: None,
            milliseconds: None,
        }
    }

    #[test]
    fn what_was_shown_is_shown_again_when_it_is_over() {
        let mut shown = Shown::default();
        let over = |number| EgressDecision { milliseconds: Some(3), ..decision(number) };
        assert!(shown.is_news(&decision(1)) && shown.is_news(&over(2)));
        assert!(!shown.is_news(&decision(1)), "it goes on");
        assert!(shown.is_news(&over(1)) && !shown.is_news(&over(1)) && !shown.is_news(&over(2)));
        assert!(shown.is_news(&decision(3)) && shown.is_news(&decision(3 + u64::from(LIST_MAX) + 1)));
        assert_eq!(shown.open.len(), 1, "the oldest is not waited for");
    }

    #[test]
    fn what_is_not_known_yet_is_left_out() {
        let mut decision = decision(7);
        assert_eq!(cells(&decision)[7..], ["", "", "with KEY"]);
        decision.status = Some(200);
        decision.bytes_up = Some(10);
        decision.milliseconds = Some(12);
        decision.signed = Some("okx".into());
        assert_eq!(cells(&decision)[9], "with KEY; signed as okx; 12 ms");
        assert_eq!(cells(&decision)[7], "200");
        assert!(cells(&decision)[8].contains("up"));
    }
}

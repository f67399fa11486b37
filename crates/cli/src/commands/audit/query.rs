//! `ringfence audit query`: entries of both chains in the order of their times, as far as they fit to what is asked.

use std::{collections::VecDeque, io::Write};

use clap::Args;
use ringfence_store::{ChainFile, DatabaseKind, RawEntry};
use serde_json::{Value, json};

use super::evidence::{chains, shown, time};
use crate::args::Global;

/// Entries that are read from a chain at once.
const PIECE: u32 = 1000;

/// Searches both chains, merged by time
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence audit query --sandbox i0123456789abcdefghij
  sudo ringfence audit query --text api.example.com --since 2026-01-31T09:00:00Z
  sudo ringfence audit query --chain gate --actor operator --json | jq -r .event

All filters must fit. With --json, each entry is a line. It reads beside the daemon, or while none runs.")]
pub(crate) struct QueryArgs {
    /// Only about the sandbox with this id
    #[arg(long, value_name = "ID")]
    sandbox: Option<String>,
    /// Only about the execution with this id
    #[arg(long, value_name = "ID")]
    execution: Option<String>,
    /// Only events of this name, or below it: `sandbox`, `sandbox.create`
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Only by this actor
    #[arg(long, value_name = "ACTOR", value_parser = ["operator", "agent", "system"])]
    actor: Option<String>,
    /// Only with this text in the detail
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only at or after this time, such as 2026-01-31T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// Only of this chain
    #[arg(long, value_name = "CHAIN", value_parser = ["engine", "gate"])]
    chain: Option<String>,
    /// At most so many, the first ones
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl QueryArgs {
    fn fits(&self, entry: &RawEntry) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        is(&self.sandbox, &entry.sandbox_id)
            && is(&self.execution, &entry.execution_id)
            && self.event.as_ref().is_none_or(|event| is_below(&entry.event, event))
            && self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.text.as_ref().is_none_or(|text| entry.detail.contains(text.as_str()))
            && self.since.is_none_or(|since| entry.at_ms >= since)
            && self.until.is_none_or(|until| entry.at_ms < until)
    }
}

/// Whether `name` is `wanted`, or goes on after it with a dot.
fn is_below(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || wanted.ends_with('.'))
}

/// A chain that is read from its beginning.
struct Walk {
    chain: ChainFile,
    last: u64,
    read: VecDeque<RawEntry>,
}

impl Walk {
    /// The next entry that fits, which stays there.
    fn next(&mut self, args: &QueryArgs) -> anyhow::Result<Option<&RawEntry>> {
        while self.read.is_empty() {
            let piece = self.chain.entries(self.last, PIECE)?;
            let Some(end) = piece.last() else { return Ok(None) };
            self.last = end.seq;
            self.read.extend(piece.into_iter().filter(|entry| args.fits(entry)));
        }
        Ok(self.read.front())
    }
}

/// `ringfence audit query`
pub(super) fn run(global: &Global, args: &QueryArgs) -> anyhow::Result<i32> {
    let mut walks = Vec::new();
    for (chain, _) in chains(global)? {
        if args.chain.as_ref().is_none_or(|wanted| wanted == chain.kind().as_str()) {
            // The first entry of that time and all before it: a clock may have gone back.
            let last = args.since.map(|since| chain.last_before(since)).transpose()?.unwrap_or(0);
            walks.push(Walk { chain, last, read: VecDeque::new() });
        }
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0 {
        let mut earliest: Option<(u64, usize)> = None;
        for (at, walk) in walks.iter_mut().enumerate() {
            if let Some(entry) = walk.next(args)?
                && earliest.is_none_or(|(at_ms, _)| entry.at_ms < at_ms)
            {
                earliest = Some((entry.at_ms, at));
            }
        }
        let Some((_, at)) = earliest else { break };
        let kind = walks[at].chain.kind();
        if let Some(entry) = walks[at].read.pop_front() {
            writeln!(out, "{}", if global.json { line(kind, &entry)?.to_string() } else { text(kind, &entry) })?;
        }
        left -= 1;
    }
    out.flush()?;
    Ok(0)
}

fn line(kind: DatabaseKind, entry: &RawEntry) -> anyhow::Result<Value> {
    let detail: Value = serde_json::from_str(&entry.detail)?;
    Ok(
        json!({"chain": kind, "seq": entry.seq, "timestamp": shown(entry.at_ms), "actor": entry.actor, "event": entry.event,
        "sandbox_id": entry.sandbox_id, "execution_id": entry.execution_id, "detail": detail, "hash": entry.hash}),
    )
}

/// The detail is canonical JSON, in which no control character is as it is: a terminal cannot be driven by it.
fn text(kind: DatabaseKind, entry: &RawEntry) -> String {
    let RawEntry { seq, actor, event, detail, .. } = entry;
    let mut line = format!("{kind:<6} {seq:>6}  {}  {actor:<8}  {event:<22}", shown(entry.at_ms));
    for id in [&entry.sandbox_id, &entry.execution_id].into_iter().flatten() {
        line = format!("{line}  {id}");
    }
    if detail != "{}" {
        line = format!("{line}  {detail}");
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    line.trim_end().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_name_is_below_another_where_a_dot_follows() {
        assert!(is_below("sandbox.create", "sandbox.create") && is_below("sandbox.create", "sandbox"));
        assert!(is_below("sandbox.create", "sandbox."));
        assert!(!is_below("sandbox.created", "sandbox.create") && !is_below("sandbox", "sandbox.create"));
    }
}

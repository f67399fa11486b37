//! Reading a story: both chains about one sandbox, merged by time, with what the tables say of each entry.

use std::collections::{BTreeMap, VecDeque};

use anyhow::bail;
use ringfence_store::{
    ChainFile, Checkpoint, CostFacts, DatabaseKind, ExecutionFacts, OrderFacts, RawEntry, SandboxFacts, SettledFacts,
    SignedHead, ToldEntry, TrafficFacts, Verification,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{args::Global, commands::audit::evidence};

/// Entries that are read from a chain at once.
const PIECE: u32 = 1000;
/// Requests that one page holds, and apart from them all other entries: a program that asks for a million hosts does not push its
/// orders, or its end, off the page.
const EVENTS_MAX: usize = 10_000;
/// Rows of each table that are read.
const ROWS_MAX: u32 = 100_000;

/// The story of a sandbox.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    /// Its id.
    pub(super) sandbox: String,
    /// Its row, which the engine keeps after it was deleted.
    pub(super) row: Option<SandboxFacts>,
    /// Others of the same name.
    pub(super) namesakes: Vec<String>,
    /// Whether each chain holds.
    pub(super) chains: Vec<Chain>,
    /// What happened, in the order of time.
    pub(super) events: Vec<Event>,
    /// Requests that are not in it.
    pub(super) requests_left_out: u64,
    /// Other events after the last that are not in it.
    pub(super) has_more: bool,
    /// What it used.
    pub(super) usage: Usage,
    /// Where a chain and a table contradict each other.
    pub(super) contradictions: Vec<String>,
}

impl Story {
    /// Whether both chains hold and no table contradicts them.
    pub(super) fn holds(&self) -> bool {
        self.chains.iter().all(|chain| chain.fault.is_none())
            && self.contradictions.is_empty()
            && self.events.iter().all(|event| event.is_genuine)
    }
}

/// How one chain stands.
#[derive(Debug, Serialize)]
pub(super) struct Chain {
    pub(super) chain: DatabaseKind,
    /// How many entries were checked.
    pub(super) entries: u64,
    /// Why it does not hold.
    pub(super) fault: Option<String>,
    /// The newest head that was signed, as a line.
    pub(super) signed: Option<String>,
    /// The number of the entry that it is about.
    pub(super) signed_seq: Option<u64>,
    /// What was cut off the beginning, with a signature.
    pub(super) pruned: Option<Checkpoint>,
}

/// An entry, with what the tables say of it.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub(super) chain: DatabaseKind,
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) timestamp: String,
    pub(super) actor: String,
    pub(super) event: String,
    pub(super) execution_id: Option<String>,
    pub(super) detail: Value,
    /// Whether its hash is that of what it says.
    pub(super) is_genuine: bool,
    /// Of a program, its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) execution: Option<ExecutionFacts>,
    /// Of a request, its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settled: Option<SettledFacts>,
    /// Of an order, what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) order: Option<OrderFacts>,
}

/// What a sandbox used, by the tables.
#[derive(Debug, Default, Serialize)]
pub(super) struct Usage {
    pub(super) executions: u64,
    pub(super) cpu_time_us: u64,
    pub(super) execution_time_us: u64,
    pub(super) memory_peak_bytes: u64,
    pub(super) traffic: TrafficFacts,
    pub(super) orders: u64,
    pub(super) fills: u64,
    pub(super) cost: CostFacts,
}

/// Reads the story of the sandbox with this id or name.
///
/// # Errors
/// Not root, no state directory, nobody of that name, or a database refuses.
pub(super) fn story(global: &Global, reference: &str) -> anyhow::Result<Story> {
    let chains: Vec<ChainFile> = evidence::chains(global)?.into_iter().map(|(chain, _)| chain).collect();
    let engine = chains.iter().find(|chain| chain.kind() == DatabaseKind::Engine);
    let rows = engine.map(|engine| engine.sandboxes(reference)).transpose()?.unwrap_or_default();
    // One that lives goes before one that was deleted, then the newest; an id is nobody's name.
    let chosen = rows
        .iter()
        .find(|row| row.id == reference)
        .or_else(|| rows.iter().find(|row| row.deleted_at_ms.is_none()))
        .or(rows.first())
        .cloned();
    let id = chosen.as_ref().map_or(reference, |row| row.id.as_str()).to_owned();
    let namesakes = rows.into_iter().map(|row| row.id).filter(|other| *other != id).collect();
    let mut story = Story {
        sandbox: id.clone(),
        row: chosen,
        namesakes,
        chains: Vec::new(),
        events: Vec::new(),
        requests_left_out: 0,
        has_more: false,
        usage: Usage::default(),
        contradictions: Vec::new(),
    };
    for chain in &chains {
        story.chains.push(stands(chain)?);
    }
    // Before the entries: whatever has a row by then has its entry too, also while a daemon writes.
    let tables = Tables::read(&chains, &id, &mut story.usage)?;
    merged(&chains, &mut story)?;
    if story.row.is_none() && story.events.is_empty() {
        bail!("no sandbox has the id or name `{}`, and no entry is about it", reference.escape_debug());
    }
    tables.join(&mut story);
    Ok(story)
}

fn stands(chain: &ChainFile) -> anyhow::Result<Chain> {
    let (entries, fault) = match chain.verify() {
        Ok(Verification::Sound(found)) => (found.entries, None),
        Ok(Verification::Broken(link)) => (0, Some(link.to_string())),
        // What cannot even be read is no evidence, and the rest of the story is told all the same.
        Err(error) => (0, Some(format!("it cannot be read: {error}"))),
    };
    let signed = chain.signed_head().ok().flatten().filter(SignedHead::is_genuine);
    Ok(Chain {
        chain: chain.kind(),
        entries,
        fault,
        signed: signed.map(|head| head.to_string()),
        signed_seq: signed.map(|head| head.head.seq),
        pruned: chain.checkpoint().ok().flatten().filter(Checkpoint::is_genuine),
    })
}

/// The entries about a sandbox, each chain in its own order, the earlier of two first.
fn merged(chains: &[ChainFile], story: &mut Story) -> anyhow::Result<()> {
    let sandbox = story.sandbox.clone();
    let mut walks: Vec<(&ChainFile, u64, VecDeque<ToldEntry>)> =
        chains.iter().map(|chain| (chain, 0, VecDeque::new())).collect();
    let (mut requests, mut others) = (0, 0);
    loop {
        let mut earliest: Option<(u64, usize)> = None;
        for (at, (chain, last, read)) in walks.iter_mut().enumerate() {
            if read.is_empty() && *last != u64::MAX {
                read.extend(chain.entries_about(&sandbox, *last, PIECE)?);
                *last = read.back().map_or(u64::MAX, |told| told.entry.seq);
            }
            if let Some(told) = read.front()
                && earliest.is_none_or(|(at_ms, _)| told.entry.at_ms < at_ms)
            {
                earliest = Some((told.entry.at_ms, at));
            }
        }
        let Some((_, at)) = earliest else { return Ok(()) };
        let (chain, _, read) = &mut walks[at];
        if let Some(ToldEntry { entry, is_genuine }) = read.pop_front() {
            let is_request = is_request(&entry);
            let counted = if is_request { &mut requests } else { &mut others };
            if *counted == EVENTS_MAX {
                story.requests_left_out += u64::from(is_request);
                story.has_more |= !is_request;
                continue;
            }
            *counted += 1;
            story.events.push(Event {
                chain: chain.kind(),
                seq: entry.seq,
                at_ms: entry.at_ms,
                timestamp: evidence::shown(entry.at_ms),
                actor: entry.actor,
                event: entry.event,
                execution_id: entry.execution_id,
                detail: serde_json::from_str(&entry.detail).unwrap_or_else(|_| json!({"unreadable": entry.detail})),
                is_genuine,
                execution: None,
                settled: None,
                order: None,
            });
        }
    }
}

/// Whether it is a decision about a request that is no order. The detail is canonical JSON, in which whatever a sandbox wrote has its
/// quotation marks escaped.
fn is_request(entry: &RawEntry) -> bool {
    let is_order = entry.detail.contains("\"trade\":{") && !entry.detail.contains("\"kind\":\"read\"");
    entry.event.starts_with("egress.") && entry.event != "egress.policy" && !is_order
}

/// What the tables say of a sandbox.
#[derive(Default)]
struct Tables {
    executions: BTreeMap<String, ExecutionFacts>,
    settled: BTreeMap<u64, SettledFacts>,
    orders: BTreeMap<u64, OrderFacts>,
}

impl Tables {
    fn read(chains: &[ChainFile], id: &str, usage: &mut Usage) -> anyhow::Result<Self> {
        let mut tables = Self::default();
        for chain in chains {
            match chain.kind() {
                DatabaseKind::Engine => {
                    usage.cost = chain.cost_of(id)?;
                    for found in chain.executions_of(id, ROWS_MAX)? {
                        usage.executions += 1;
                        usage.cpu_time_us = usage.cpu_time_us.saturating_add(found.cpu_time_us.unwrap_or(0));
                        usage.execution_time_us =
                            usage.execution_time_us.saturating_add(found.execution_time_us.unwrap_or(0));
                        usage.memory_peak_bytes = usage.memory_peak_bytes.max(found.memory_peak_bytes.unwrap_or(0));
                        tables.executions.insert(found.id.clone(), found);
                    }
                }
                DatabaseKind::Gate => {
                    tables.settled =
                        chain.settled_of(id, ROWS_MAX)?.into_iter().map(|found| (found.seq, found)).collect();
                    for found in chain.orders_of(id, ROWS_MAX)? {
                        usage.orders += 1;
                        usage.fills += found.fills.len() as u64;
                        tables.orders.insert(found.seq, found);
                    }
                    usage.traffic = chain.traffic_of(id)?;
                }
            }
        }
        Ok(tables)
    }

    /// Puts each row beside the entry that it is about, and notes where they contradict each other.
    fn join(mut self, story: &mut Story) {
        for event in &mut story.events {
            match (event.chain, &event.execution_id) {
                (DatabaseKind::Engine, Some(id)) if event.event.ends_with(".start") => {
                    event.execution = self.executions.remove(id);
                    if let Some(execution) = &event.execution
                        && event.detail["code_sha256"] != execution.code_sha256.as_str()
                    {
                        story.contradictions.push(format!(
                            "entry {} of the engine's chain has another code hash than the row of execution {}",
                            event.seq, execution.id
                        ));
                    }
                }
                (DatabaseKind::Engine, _) => {}
                (DatabaseKind::Gate, _) => {
                    event.settled = self.settled.remove(&event.seq);
                    event.order = self.orders.remove(&event.seq);
                }
            }
        }
        // What has a row and no entry was put in from elsewhere, unless its entry was pruned or is not on the page.
        if !story.has_more && story.chains.iter().all(|chain| chain.pruned.is_none()) {
            let of = |what: &str, id: String| format!("{what} {id} has a row and no entry in the audit chain");
            story.contradictions.extend(self.executions.into_keys().map(|id| of("execution", id)));
            story.contradictions.extend(self.orders.into_values().map(|order| of("order", order.number.to_string())));
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_store::AuditHash;

    use super::*;

    #[track_caller]
    fn check(event: &str, detail: Value, expected: bool) {
        let entry = RawEntry {
            seq: 1,
            at_ms: 0,
            actor: "system".into(),
            event: event.into(),
            sandbox_id: None,
            execution_id: None,
            detail: detail.to_string(),
            prev_hash: AuditHash::ZERO,
            hash: AuditHash::ZERO,
        };
        assert_eq!(is_request(&entry), expected, "{event} {detail}");
    }

    #[test]
    fn no_request_passes_for_an_order_and_no_order_for_a_request() {
        check("egress.allow", json!({"host": "a.test", "path": "/"}), true);
        check("egress.refuse", json!({"host": "a.test", "reason": "no"}), true);
        check("egress.allow", json!({"trade": {"kind": "read"}}), true);
        check("egress.allow", json!({"trade": {"kind": "submit"}}), false);
        check("egress.refuse", json!({"trade": {"kind": "submit"}, "path": "/\"kind\":\"read\""}), false);
        check("egress.allow", json!({"path": "/\"trade\":{"}), true);
        check("egress.policy", json!({"policy": {}}), false);
        check("execution.start", json!({}), false);
    }
}

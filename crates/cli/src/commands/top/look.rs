//! One look at the daemon and at the machine: what a frame is made of.

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use futures::{StreamExt, TryFutureExt, stream};
use jiff::Timestamp;
use ringfence_model::{
    SandboxId,
    api::{
        Actor, HealthAnswer, LIST_MAX, ListRequest, SandboxDetail, SandboxRequest, SandboxStatus, SandboxSummary,
        TradeOrder, TradeOrdersRequest, TradeStatusAnswer, TradeStatusRequest,
    },
};

use crate::daemon::Daemon;

/// Sandboxes whose figures are asked for: each is a question to the jailer and to the gateway.
const DETAILS_MAX: usize = 64;

/// Questions at once.
const AT_ONCE: usize = 8;

/// Open orders that are asked for.
const ORDERS_MAX: u32 = 1000;

/// States that are shown, in their order; what has ended is in `sandbox ls --all`.
pub(super) const SHOWN: [SandboxStatus; 5] = [
    SandboxStatus::Running,
    SandboxStatus::Creating,
    SandboxStatus::Paused,
    SandboxStatus::Stopped,
    SandboxStatus::Failed,
];

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) now: Timestamp,
    pub(super) health: HealthAnswer,
    /// By state, then the newest first.
    pub(super) sandboxes: Vec<SandboxSummary>,
    /// Of the first of them; one that has ended meanwhile is not among them.
    pub(super) details: BTreeMap<SandboxId, SandboxDetail>,
    pub(super) trading: Result<(TradeStatusAnswer, Vec<TradeOrder>), String>,
    pub(super) machine: Machine,
}

/// The host, as its kernel tells.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Machine {
    /// Of 1, 5 and 15 minutes.
    pub(super) load: [f64; 3],
    /// Ticks of all processors that were spent, and that were spent idly.
    pub(super) ticks: (u64, u64),
    pub(super) memory_total_bytes: u64,
    pub(super) memory_available_bytes: u64,
    pub(super) disk_total_bytes: u64,
    pub(super) disk_free_bytes: u64,
}

/// Looks.
///
/// # Errors
/// The daemon does not answer. That the gateway does not is no error, but told.
pub(super) async fn look(daemon: &Daemon) -> anyhow::Result<Look> {
    let api = daemon.api.as_ref();
    let health = api.health(Actor::Operator).await?;
    let mut sandboxes = Vec::new();
    for status in SHOWN {
        let request =
            ListRequest { status: Some(status.as_str().to_owned()), limit: Some(LIST_MAX), ..ListRequest::default() };
        sandboxes.extend(api.list(Actor::Operator, request).await?.sandboxes);
    }
    // One that changes its state between two questions is in both answers, or in none.
    let mut seen = std::collections::BTreeSet::new();
    sandboxes.retain(|sandbox| seen.insert(sandbox.sandbox_id.clone()));
    let at = Instant::now();
    let running = sandboxes.iter().filter(|s| matches!(s.status, SandboxStatus::Running | SandboxStatus::Paused));
    let ids: Vec<SandboxId> = running.take(DETAILS_MAX).map(|sandbox| sandbox.sandbox_id.clone()).collect();
    let asked = ids.into_iter().map(|id| async move {
        let request = SandboxRequest { sandbox_id: id.to_string() };
        api.status(Actor::Operator, request).await.ok().map(|answer| (id, answer.sandbox))
    });
    let details = stream::iter(asked).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let open = TradeOrdersRequest { open: Some(true), limit: Some(ORDERS_MAX), ..TradeOrdersRequest::default() };
    let trading = api
        .trade_status(Actor::Operator, TradeStatusRequest::default())
        .and_then(|status| async move { Ok((status, api.trade_orders(Actor::Operator, open).await?.orders)) })
        .await
        .map_err(|error| error.message);
    let machine = machine(&daemon.home);
    Ok(Look { at, now: Timestamp::now(), health, sandboxes, details, trading, machine })
}

/// proc(5). What cannot be read is 0, and is left out of the frame.
fn machine(home: &Path) -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let disk = rustix::fs::statvfs(home).ok();
    let disk = |blocks: fn(&rustix::fs::StatVfs) -> u64| {
        disk.as_ref().map_or(0, |disk| blocks(disk).saturating_mul(disk.f_frsize))
    };
    let (memory_total_bytes, memory_available_bytes) = memory(&read("/proc/meminfo"));
    Machine {
        load: load(&read("/proc/loadavg")),
        ticks: ticks(&read("/proc/stat")),
        memory_total_bytes,
        memory_available_bytes,
        disk_total_bytes: disk(|disk| disk.f_blocks),
        disk_free_bytes: disk(|disk| disk.f_bavail),
    }
}

fn load(text: &str) -> [f64; 3] {
    let mut words = text.split_whitespace();
    [(); 3].map(|()| words.next().and_then(|word| word.parse().ok()).unwrap_or(0.0))
}

fn memory(text: &str) -> (u64, u64) {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (bytes("MemTotal:"), bytes("MemAvailable:"))
}

/// The line `cpu`: user, nice, system, idle, iowait, irq, softirq, steal. What follows is counted in the first two already.
fn ticks(text: &str) -> (u64, u64) {
    const COUNTED: usize = 8;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let all: Vec<u64> = line.split_whitespace().take(COUNTED).filter_map(|word| word.parse().ok()).collect();
    (all.iter().sum(), all.iter().skip(3).take(2).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(load("0.41 0.30 0.22 2/345 6789\n"), [0.41, 0.30, 0.22]);
        assert_eq!(load(""), [0.0; 3]);
        assert_eq!(memory("MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n"), (2 << 20, 1 << 20));
        assert_eq!(ticks("cpu  10 0 5 80 4 1 0 0 7 7\ncpu0 1 2 3\n"), (100, 84));
        assert_eq!(ticks(""), (0, 0));
    }
}

//! Memory of sandboxes that are alive.

use std::time::Instant;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use ringfence_model::api::{Actor, SandboxRequest};
use serde_json::json;

use super::{
    contender::Program,
    result::{Outcome, memory_available},
    subject::Subject,
};
use crate::numbers;

/// Requests under way at once.
const AT_ONCE: usize = 32;
/// Below this many, what the daemon itself takes weighs too much to judge by.
const JUDGED_MIN: u32 = 500;
/// What SPECIFICATION.md grants one sandbox: 4 GiB for a thousand.
const BYTES_EACH_MAX: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0 / 1000.0;

/// Makes so many, idle and then after a pandas run, and reckons the memory of each.
///
/// # Errors
/// A request was refused, or an output was wrong.
pub(super) async fn run(subject: &Subject, count: u32) -> anyhow::Result<Vec<Outcome>> {
    subject.settle().await?;
    let before = memory_available()?;
    let begin = Instant::now();
    let create = |_| async { anyhow::Ok(subject.create().await?.sandbox_id.to_string()) };
    let sandboxes: Vec<String> = stream::iter(0..count).map(create).buffer_unordered(AT_ONCE).try_collect().await?;
    let seconds = begin.elapsed().as_secs_f64();
    let idle = weigh(subject, &sandboxes, before).await.map(|(each, charged)| {
        let found = format!(
            "{count} made in {}; each {} by MemAvailable, {} by its cgroup",
            numbers::seconds(seconds),
            numbers::bytes(each as u64),
            numbers::bytes(charged as u64)
        );
        let data = json!({"count": count, "seconds": seconds, "bytes_each": each, "cgroup_bytes_each": charged});
        Outcome { what: "alive, idle".into(), found, data, is_good: count < JUDGED_MIN || each <= BYTES_EACH_MAX }
    });
    let run = |(n, sandbox): (usize, &String)| {
        let (sandbox, program) = (sandbox.clone(), Program::backtest(n as u64));
        async move { subject.execute(&sandbox, &program).await }
    };
    let runs: anyhow::Result<Vec<_>> =
        stream::iter(sandboxes.iter().enumerate()).map(run).buffer_unordered(AT_ONCE).try_collect().await;
    let after = weigh(subject, &sandboxes, before).await.map(|(each, charged)| {
        let found = format!(
            "each {} by MemAvailable, {} by its cgroup",
            numbers::bytes(each as u64),
            numbers::bytes(charged as u64)
        );
        let data = json!({"count": count, "bytes_each": each, "cgroup_bytes_each": charged});
        Outcome { what: "alive, after a pandas run".into(), found, data, is_good: true }
    });
    // Removed before anything is judged.
    let delete = |sandbox: String| async move { subject.delete(&sandbox).await };
    stream::iter(sandboxes).map(delete).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    runs?;
    Ok(vec![idle?, after?])
}

/// Bytes of each by what the host lost, the shelf as full as before; and by what the cgroups say.
async fn weigh(subject: &Subject, sandboxes: &[String], before: u64) -> anyhow::Result<(f64, f64)> {
    subject.settle().await?;
    let lost = before.saturating_sub(memory_available()?) as f64;
    let charged = |sandbox: String| async move {
        let status = subject.api.status(Actor::Operator, SandboxRequest { sandbox_id: sandbox }).await?;
        let resources = status.sandbox.resources.context("a sandbox does not run any more")?;
        anyhow::Ok(resources.memory_bytes as f64)
    };
    let all: Vec<f64> =
        stream::iter(sandboxes.iter().cloned()).map(charged).buffer_unordered(AT_ONCE).try_collect().await?;
    let count = sandboxes.len() as f64;
    Ok((lost / count, all.iter().sum::<f64>() / count))
}

//! A sweep of ten thousand backtests, in batches and natively: how long it and its parts take, what memory the daemon and the sandboxes
//! have at most, and how large the report is. Both must find the same table.
//!
//! How long a browser takes to open a report of so many runs is measured where there is one, by
//! `ten_thousand_runs_open_quickly` of `ringfence-backtest`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::StreamExt;
use ringfence_engine::api::PROGRESS_QUEUE;
use ringfence_jail::installation::Installation;
use ringfence_model::api::{Actor, Progress, SweepOneRequest};
use ringfence_research::api::Research;
use serde_json::json;
use tokio::sync::mpsc;

use super::{How, Swept, request, sweep};
use crate::{
    bench::{leftovers::cgroups, result::Outcome},
    numbers, output,
};

/// Runs of it.
const RUNS: usize = 10_000;
/// How often it is said how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often the memory of the sandboxes is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Measures each of `hows`, which must agree.
///
/// # Errors
/// A run failed, is missing, or has another result than the same run before; the report is none.
pub(super) async fn run(api: &dyn Research, home: &Path, hows: &[&How]) -> anyhow::Result<Vec<Outcome>> {
    let (mut outcomes, mut before) = (Vec::new(), None::<(&str, Swept)>);
    for how in hows {
        output::note(&format!("bench: a sweep of {RUNS} runs, {}", how.what));
        let (found, outcome) = one(api, home, how).await?;
        if let Some((what, other)) = &before {
            let differs = |(a, b): (&f64, &f64)| a.to_bits() != b.to_bits();
            let at = found.returns.iter().zip(&other.returns).position(differs);
            ensure!(at.is_none(), "run {at:?} returned something else {} than {what}", how.what);
            ensure!(
                found.table.is_some() && found.table == other.table,
                "the table is another {} than {what}",
                how.what
            );
        }
        before = Some((how.what, found));
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn one(api: &dyn Research, home: &Path, how: &How) -> anyhow::Result<(Swept, Outcome)> {
    let serve = serve(home).context("serve's process is not found")?;
    // Else the peak would be that of everything before.
    let is_reset = fs::write(serve.join("clear_refs"), "5").is_ok();
    let before = status(&serve, "VmRSS:");
    let own = format!("ringfence-{}", Installation::load(home).context("reading the installation")?.id);
    let idle = charged(&own);
    let peak = Peak::watch(own);
    let (sender, heard) = mpsc::channel(PROGRESS_QUEUE);
    let told = tokio::spawn(tell(heard, Instant::now()));
    let found = sweep(api, request(RUNS, how), Some(sender)).await;
    let in_sandboxes = peak.end().await;
    let serve_peak = status(&serve, "VmHWM:");
    let ran = told.await?;
    let mut found = found?;
    found.ran = ran.map_or(found.ran, |ran| ran.as_secs_f64());
    ensure!(found.returns.len() == RUNS, "{}: {} results of {RUNS}", how.what, found.returns.len());
    let report = report(api, &found.id).await?;
    let rate = RUNS as f64 / found.wall;
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), numbers::bytes);
    let outcome = Outcome {
        what: format!("a sweep of {RUNS} runs, {}", how.what),
        found: format!(
            "{:.1} s, {rate:.0} runs a second, of it {:.1} s for statistics and report; most memory of the daemon {} (before it {}), of \
             the sandboxes {} (before it {}); the report has {}",
            found.wall,
            found.wall - found.ran,
            bytes(serve_peak),
            bytes(before),
            bytes(in_sandboxes),
            bytes(idle),
            numbers::bytes(report),
        ),
        data: json!({
            "wall_s": found.wall, "ran_s": found.ran, "runs": RUNS, "runs_per_second": rate, "batch": how.batch,
            "peak_bytes": serve_peak, "peak_before_bytes": before, "peak_is_of_this_sweep": is_reset,
            "sandboxes_peak_bytes": in_sandboxes, "sandboxes_before_bytes": idle,
            "report_bytes": report, "table_sha256": found.table,
        }),
        is_good: true,
    };
    Ok((found, outcome))
}

/// Says now and then how far it is, until nobody tells any more. After how long the last run was done.
async fn tell(mut heard: mpsc::Receiver<Progress>, begun: Instant) -> Option<Duration> {
    let (mut told, mut ran) = (begun, None);
    while let Some(Progress { message, percent, .. }) = heard.recv().await {
        if percent.is_some_and(|percent| percent >= 100.0) {
            ran.get_or_insert_with(|| begun.elapsed());
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            output::note(&format!("bench: {message}"));
        }
    }
    ran
}

/// Bytes of the report, which must be a whole page.
async fn report(api: &dyn Research, sweep: &str) -> anyhow::Result<u64> {
    let mut chunks = api.sweep_report(Actor::Operator, SweepOneRequest { sweep_id: sweep.to_owned() }).await?;
    let mut page = Vec::new();
    while let Some(chunk) = chunks.next().await {
        page.extend_from_slice(&chunk?);
    }
    let text = str::from_utf8(&page).context("the report is no text")?;
    let is_whole = text.trim_end().ends_with("</html>") && text.contains("sma_cross");
    ensure!(is_whole, "the report of {} bytes is no whole page", page.len());
    Ok(page.len() as u64)
}

/// The procfs directory of `serve`.
fn serve(home: &Path) -> Option<PathBuf> {
    let home = home.to_string_lossy().into_owned();
    let is_ours = |dir: &PathBuf| {
        let line = fs::read(dir.join("cmdline")).unwrap_or_default();
        line.starts_with(b"ringfence-serve") && String::from_utf8_lossy(&line).contains(&home)
    };
    fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path()).find(is_ours)
}

/// A size of a process, in bytes.
fn status(process: &Path, key: &str) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Bytes that are charged to the installation's cgroups, those of sandboxes that wait included. `None` where no hierarchy counts memory.
fn charged(own: &str) -> Option<u64> {
    let bytes = |dir: &Path| {
        let read = |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
        read("memory.current").or_else(|| read("memory.usage_in_bytes"))
    };
    let counted: Vec<(PathBuf, u64)> =
        cgroups(own).into_iter().filter_map(|dir| bytes(&dir).map(|bytes| (dir, bytes))).collect();
    // What is below counts in what is above in one version and not in the other: only the lowest that count are added up.
    let is_lowest = |dir: &Path| !counted.iter().any(|(other, _)| other != dir && other.starts_with(dir));
    let lowest = counted.iter().filter(|(dir, _)| is_lowest(dir));
    (!counted.is_empty()).then(|| lowest.map(|(_, bytes)| bytes).sum())
}

/// The most that was seen of it.
struct Peak {
    most: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Peak {
    fn watch(own: String) -> Self {
        let (most, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (found, ended) = (most.clone(), is_over.clone());
        let task = tokio::task::spawn_blocking(move || {
            while !ended.load(Ordering::Relaxed) {
                found.fetch_max(charged(&own).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { most, is_over, task }
    }

    async fn end(self) -> Option<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.task.await;
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_process_are_read_from_procfs() {
        let this = Path::new("/proc/self");
        let (now, most) = (status(this, "VmRSS:").expect("a size"), status(this, "VmHWM:").expect("a size"));
        assert!(now > 0 && most >= now / 2, "{now} {most}");
        assert_eq!(status(this, "VmNothing:"), None);
        assert_eq!(charged("ringfence-that-nobody-has"), None);
    }
}

//! Sweeps: a thousand backtests, each in a sandbox of its own, in batches, and natively, beside a pool of processes without sandboxes
//! that does the same; then [ten thousand](large). The total return of every run is compared with the pool's.

mod large;

use std::{fs, path::Path, process::Stdio, time::Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use ringfence_engine::api::ProgressSender;
use ringfence_jail::sys;
use ringfence_model::api::{
    Actor, SweepCheck, SweepFill, SweepNative, SweepRequest, SweepResult, SweepStatusRequest, SweepTableRequest,
    WAIT_S_MAX,
};
use ringfence_research::api::Research;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{
    contender,
    result::{Outcome, Row},
};
use crate::output;

const POOL: &str = include_str!("sweep/pool.py");
/// The built-in strategy, and what it is made of.
const STRATEGY: &str = include_str!("../../../guest/harness/usr/lib/python3.11/ringfence/strategies/sma_cross.py");
const INDICATORS: &str = include_str!("../../../guest/harness/usr/lib/python3.11/ringfence/indicators.py");
/// Symbol of the bars.
const SYMBOL: &str = "AAPL";
/// Turns, in each of which everybody is measured once. The best of each counts: what else the host does only adds.
const TURNS: usize = 3;
/// What the sandboxes may cost beside the pool.
const PROMISE: f64 = 1.1;

/// What the pool answered.
#[derive(Debug, Deserialize)]
struct Found {
    wall: f64,
    cpu: f64,
    returns: Vec<f64>,
}

/// How a sweep is run.
struct How {
    what: &'static str,
    batch: u32,
    native: SweepNative,
}

const HOWS: [How; 4] = [
    How { what: "a sandbox each", batch: 1, native: SweepNative::Never },
    How { what: "8 a sandbox", batch: 8, native: SweepNative::Never },
    How { what: "50 a sandbox", batch: 50, native: SweepNative::Never },
    How { what: "native", batch: 1, native: SweepNative::Always },
];

/// Lengths of both averages: so many pairs.
fn lengths(count: usize) -> (Vec<u64>, Vec<u64>) {
    let fast = 40.min(count);
    let slow = count.div_ceil(fast);
    ((5..5 + fast as u64).collect(), (50..50 + slow as u64).collect())
}

fn request(count: usize, how: &How) -> SweepRequest {
    let (fast, slow) = lengths(count);
    let values = |list: Vec<u64>| list.into_iter().map(Value::from).collect();
    SweepRequest {
        strategy: Some("sma_cross".into()),
        symbols: vec![SYMBOL.into()],
        parameters: [("fast".to_owned(), values(fast)), ("slow".to_owned(), values(slow))].into(),
        fill: Some(SweepFill::SignalClose),
        look_ahead_check: Some(SweepCheck::None),
        batch: Some(how.batch),
        native: Some(how.native),
        wait: Some(WAIT_S_MAX),
        top: Some(0),
        ..SweepRequest::default()
    }
}

/// What a sweep was found to be.
struct Swept {
    id: String,
    /// Until its last run was done, in seconds.
    ran: f64,
    /// All of it.
    wall: f64,
    /// Total return of each run, in the order of the plan.
    returns: Vec<f64>,
    /// Hash of its table.
    table: Option<String>,
}

/// A sweep to its end.
async fn sweep(api: &dyn Research, request: SweepRequest, progress: Option<ProgressSender>) -> anyhow::Result<Swept> {
    let begun = Instant::now();
    let engine = if request.native == Some(SweepNative::Always) { "native" } else { "sandbox" };
    let mut answer = api.sweep(Actor::Operator, request, progress.clone()).await?;
    let id = answer.sweep_id.to_string();
    let mut ran = None;
    while !answer.status.has_ended() {
        if answer.progress.done == answer.progress.total {
            ran.get_or_insert_with(|| begun.elapsed());
        }
        let request = SweepStatusRequest { sweep_id: id.clone(), wait: Some(WAIT_S_MAX), top: Some(0), chart: false };
        answer = api.sweep_status(Actor::Operator, request, progress.clone()).await?;
    }
    let wall = begun.elapsed();
    ensure!(answer.success && answer.progress.failed == 0, "the sweep failed: {}", answer.summary);
    let table = SweepTableRequest { sweep_id: id.clone(), ..SweepTableRequest::default() };
    let mut chunks = api.sweep_table(Actor::Operator, table).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    let mut rows: Vec<SweepResult> =
        serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>()?;
    rows.sort_by_key(|row| row.run);
    let other = rows.iter().find(|row| row.engine != engine);
    ensure!(other.is_none(), "run {:?} was not run by {engine}", other.map(|row| row.run));
    let returns =
        rows.iter().map(|row| row.metrics.as_ref().and_then(|m| m.total_return).context("a run without a return"));
    Ok(Swept {
        id,
        ran: ran.unwrap_or(wall).as_secs_f64(),
        wall: wall.as_secs_f64(),
        returns: returns.collect::<anyhow::Result<_>>()?,
        table: answer.table_sha256,
    })
}

async fn pool(rootfs: &Path, bars: &str, pairs: &[[u64; 2]]) -> anyhow::Result<Found> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let asked =
        json!({"bars": bars, "pairs": pairs, "workers": workers, "indicators": INDICATORS, "strategy": STRATEGY});
    let asked = asked.to_string();
    let mut command = tokio::process::Command::new("chroot");
    command.arg(rootfs).args(["/usr/bin/python3", "-c", POOL]).env_clear();
    command.env("PATH", "/usr/bin:/bin:/usr/sbin").env("OPENBLAS_NUM_THREADS", "1").env("LANG", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("running chroot")?;
    let mut stdin = child.stdin.take().context("piped")?;
    let (_, done) = tokio::join!(
        async move {
            let _ = stdin.write_all(asked.as_bytes()).await;
        },
        child.wait_with_output()
    );
    let done = done?;
    ensure!(
        done.status.success(),
        "the pool ended with {}: {:.2000}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Measures so many backtests of each kind.
///
/// # Errors
/// Something cannot be started, a run failed, or a result was wrong.
pub(super) async fn run(api: &dyn Research, home: &Path, count: u32) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let rootfs = contender::rootfs(home).context("the template has no interpreter")?;
    for (from, to) in [("/dev", "dev"), ("/proc", "proc")] {
        // multiprocessing needs semaphores in /dev/shm.
        sys::mount(from, &rootfs.join(to).display().to_string(), "", sys::MS_BIND | sys::MS_REC, "")
            .with_context(|| format!("binding {from} for the pool"))?;
    }
    let name = format!("rootfs/data/adjusted/{SYMBOL}.csv");
    let layers = fs::read_dir(home.join("layers"))?.flatten();
    let file = layers.map(|layer| layer.path().join(&name)).find(|path| path.is_file()).context("no sample bars")?;
    let bars = fs::read_to_string(file)?;
    let count = count as usize;
    let (fast, slow) = lengths(count);
    let pairs: Vec<[u64; 2]> = fast.iter().flat_map(|f| slow.iter().map(|s| [*f, *s])).collect();
    let (mut rows, mut outcomes) = (Vec::new(), Vec::new());
    let (mut of_pool, mut ours) = (Vec::new(), vec![Vec::new(); HOWS.len()]);
    for turn in 0..TURNS {
        output::note(&format!("bench: sweeps of {} runs, turn {} of {TURNS}", pairs.len(), turn + 1));
        let found = pool(&rootfs, &bars, &pairs).await?;
        for (how, walls) in HOWS.iter().zip(&mut ours) {
            let Swept { ran, wall, returns, .. } = sweep(api, request(count, how), None).await?;
            let off = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-9 * a.abs().max(1.0);
            ensure!(returns.len() == found.returns.len(), "{}: {} results", how.what, returns.len());
            if let Some(at) = returns.iter().zip(&found.returns).position(off) {
                anyhow::bail!("{}: run {at} returned {}, the pool says {}", how.what, returns[at], found.returns[at]);
            }
            walls.push((ran, wall));
        }
        of_pool.push(found);
    }
    let best = of_pool.iter().map(|found| found.wall).fold(f64::INFINITY, f64::min);
    let each = |wall: f64| vec![wall / pairs.len() as f64];
    let mut row = Row::of("sweep: a backtest", "multiprocessing.Pool", each(best))?;
    row.remark = Some(format!(
        "{:.0} a second, {:.2} ms of processor each",
        pairs.len() as f64 / best,
        of_pool[0].cpu / pairs.len() as f64 * 1e3
    ));
    rows.push(row);
    for (how, walls) in HOWS.iter().zip(&ours) {
        let least = |of: fn(&(f64, f64)) -> f64| walls.iter().map(of).fold(f64::INFINITY, f64::min);
        let (ran, wall) = (least(|w| w.0), least(|w| w.1));
        let mut row = Row::of(&format!("sweep: a backtest, {}", how.what), "ringfence", each(wall))?;
        row.remark = Some(format!("{:.0} a second; statistics and report included", pairs.len() as f64 / wall));
        rows.push(row);
        outcomes.push(Outcome {
            what: format!("{} backtests, {}, beside a pool without sandboxes", pairs.len(), how.what),
            found: format!("{wall:.2} s with its statistics and report, the pool {best:.2} s: {:.2} times as long", wall / best),
            data: json!({"wall_s": walls, "ran_s": ran, "pool_wall_s": of_pool.iter().map(|f| f.wall).collect::<Vec<_>>(),
                "ratio": wall / best, "batch": how.batch}),
            is_good: how.batch > 1 || how.native != SweepNative::Never || wall / best <= PROMISE,
        });
    }
    outcomes.extend(large::run(api, home, &[&HOWS[1], &HOWS[3]]).await?);
    Ok((rows, outcomes))
}

//! Backtests by native code over a grid, beside the two libraries that traders use for this, with the same rule on the same bars.
//!
//! Long while the fast average of closes lies above the slow one, filled at the next open, 10 basis points a side, everything
//! invested. Each contender has one thread and begins with bars in memory; compiling (vectorbt's code is compiled when it first
//! runs) is done before. Total returns and numbers of trades are compared, combination by combination.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use ringfence_backtest::{
    Declared, Kernel, Panel, Settings, kernel::Brief, panel::Columns, simulate, simulate::Commission,
};
use ringfence_market::Symbol;
use serde::Deserialize;
use serde_json::json;

use super::result::{Outcome, Row};
use crate::output;

/// Averages of 2 to 101 and of 102 to 201 bars: 10,000 combinations.
const FAST: std::ops::RangeInclusive<usize> = 2..=101;
const SLOW: std::ops::RangeInclusive<usize> = 102..=201;
/// How often our grid is run.
const ROUNDS: usize = 5;
/// Of how many combinations whole results are made, with trades and curves.
const WHOLE: usize = 500;
/// Which combinations backtesting.py runs: each of this many.
const EACH: usize = 500;
const COST_BPS: f64 = 10.0;
const RIVALS: &str = include_str!("kernel/rivals.py");
/// What is installed for the comparison.
const REQUIREMENTS: [&str; 4] = ["vectorbt==1.2.0", "backtesting==0.6.6", "numpy==2.4.6", "pandas==3.1.1"];
/// By how much total returns may differ, as a fraction of final equity. backtesting.py trades whole shares and leaves a ten-millionth
/// of its cash.
const TOLERANCE: [(&str, f64); 2] = [("vectorbt", 1e-9), ("backtesting.py", 1e-5)];

/// What `rivals.py` answers of one library.
#[derive(Debug, Deserialize)]
struct Rival {
    version: String,
    /// Of a combination, once for each round.
    seconds: Vec<f64>,
    /// Index of a combination, its total return, its trades.
    results: Vec<(usize, f64, u32)>,
}

/// Measures the grid.
///
/// # Errors
/// Something cannot be simulated. That a library cannot be installed is only noted.
pub(super) async fn run(out: &Path) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    output::note("bench: backtests by native code");
    let out = out.to_owned();
    tokio::task::spawn_blocking(move || measured(&out)).await.context("the measurement ended")?
}

fn measured(out: &Path) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let panel = Panel::sample(&[Symbol::parse("AAPL")?])?;
    let grid = || FAST.flat_map(|fast| SLOW.map(move |slow| Declared::SmaCross { fast, slow, short: false }));
    let count = grid().count();
    let commission = Commission { bps: COST_BPS, ..Commission::default() };
    let settings = Settings { commission, ..Settings::default() };
    let what = format!("a backtest of two averages over {} bars", panel.len());

    let mut seconds = Vec::new();
    let mut briefs: Vec<Brief> = Vec::with_capacity(count);
    for _ in 0..ROUNDS {
        briefs.clear();
        let begin = Instant::now();
        let mut kernel = Kernel::new(&panel)?;
        for declared in grid() {
            briefs.push(kernel.brief(&declared, &settings)?);
        }
        seconds.push(begin.elapsed().as_secs_f64() / per(count));
    }
    let ours = Row::of(&what, "ringfence, native", seconds)?;

    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut kernel = Kernel::new(&panel)?;
        for declared in grid().step_by(count / WHOLE) {
            let run = simulate(&panel, &kernel.targets(&declared), &settings)?;
            ensure!(run.curve.equity.len() == panel.len(), "a curve is cut short");
        }
        seconds.push(begin.elapsed().as_secs_f64() / per(WHOLE));
    }
    let mut rows = vec![ours.clone(), Row::of(&what, "the same, with curves and trades", seconds)?];
    let rate = 1.0 / ours.p50;
    let mut outcomes = vec![Outcome {
        what: format!("native backtests, {count} combinations"),
        found: format!("{rate:.0} a second on one core"),
        data: json!({ "combinations": count, "bars": panel.len(), "per_second": rate }),
        is_good: true,
    }];
    match rivals(out, &panel, count) {
        Ok(rivals) => {
            for (name, rival) in rivals {
                let mut row = Row::of(&what, &format!("{name} {}", rival.version), rival.seconds.clone())?;
                row.ours_is_quicker_by = Some(row.p50 / ours.p50);
                row.remark = Some(format!("{} combinations", rival.results.len()));
                rows.push(row);
                outcomes.push(compared(&name, &rival, &briefs));
            }
        }
        Err(error) => output::note(&format!("bench: without vectorbt and backtesting.py: {error:#}")),
    }
    Ok((rows, outcomes))
}

/// Whether a library found the same.
fn compared(name: &str, rival: &Rival, briefs: &[Brief]) -> Outcome {
    let tolerance = TOLERANCE.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, tolerance)| *tolerance);
    let (mut worst, mut other) = (0.0_f64, 0_usize);
    for (index, total, trades) in &rival.results {
        let Some(ours) = briefs.get(*index) else {
            other += 1;
            continue;
        };
        let apart = (total - ours.total_return).abs() / (1.0 + ours.total_return);
        worst = worst.max(apart);
        other += usize::from(apart.is_nan() || apart > tolerance || *trades != ours.trades);
    }
    Outcome {
        what: format!("the same total returns and trades as {name}"),
        found: format!("{other} of {} differ; returns by at most {worst:.1e} of equity", rival.results.len()),
        data: json!({ "compared": rival.results.len(), "differ": other, "worst": worst, "tolerance": tolerance }),
        is_good: other == 0 && !rival.results.is_empty(),
    }
}

/// Runs both libraries, which are installed below `out` when they are not there.
fn rivals(out: &Path, panel: &Panel, count: usize) -> anyhow::Result<BTreeMap<String, Rival>> {
    let python = venv(&out.join("venv-kernel"))?;
    let dir = tempfile::tempdir().context("making a directory")?;
    let Columns { open, high, low, close, .. } = &panel.columns()[0];
    let input = json!({
        "open": open, "high": high, "low": low, "close": close,
        "dates": panel.dates().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "fast": FAST.collect::<Vec<_>>(), "slow": SLOW.collect::<Vec<_>>(),
        "fees": COST_BPS / 10_000.0, "each": EACH, "count": count, "rounds": ROUNDS,
    });
    let (program, given) = (dir.path().join("rivals.py"), dir.path().join("given.json"));
    fs::write(&program, RIVALS).context("writing the program")?;
    fs::write(&given, input.to_string()).context("writing the bars")?;
    let mut command = Command::new(python);
    command.arg(program).arg(given).stdin(Stdio::null());
    for threads in ["NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
        command.env(threads, "1");
    }
    let ended = command.output().context("starting Python")?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "the libraries failed: {}", said.lines().last().unwrap_or_default());
    let last = String::from_utf8_lossy(&ended.stdout).lines().last().unwrap_or_default().to_owned();
    serde_json::from_str(&last).context("reading what the libraries found")
}

/// The Python of a virtual environment with both libraries.
fn venv(dir: &Path) -> anyhow::Result<PathBuf> {
    let (python, made) = (dir.join("bin/python"), dir.join("made-of.txt"));
    let wanted = REQUIREMENTS.join("\n");
    if fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    output::note("bench: installing vectorbt and backtesting.py, some minutes");
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let ended = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "{command:?} failed: {}", said.lines().last().unwrap_or_default());
        Ok(())
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(install).args(REQUIREMENTS))?;
    fs::write(&made, wanted).with_context(|| format!("writing {}", made.display()))?;
    Ok(python)
}

#[allow(clippy::cast_precision_loss, reason = "some thousands")]
fn per(count: usize) -> f64 {
    count as f64
}

//! The references of DESIGN.md, on the prices of skfolio's data set, which are loaded when this runs and are no part of ringfence.
//!
//! They were made by a vectorised backtest: long or flat by two moving averages, the signal at a close held from the next bar, 10 basis
//! points a side; buying and holding without costs. That is [`Fill::SignalClose`]. The same is computed in pandas beside it.

#[path = "python/mod.rs"]
mod python;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use jiff::civil::Date;
use ringfence_backtest::{
    Declared, Kernel, Panel, Run, Settings, Targets,
    panel::History,
    simulate,
    simulate::{Commission, Fill},
};
use ringfence_market::{Symbol, import::Interval};
use serde::Deserialize;

/// Total returns in percent: averages of 10 and 20 bars, 20 and 50, 50 and 100; buying and holding.
const TOTALS: [(&str, [f64; 4]); 5] = [
    ("AAPL", [869.8, 533.0, 733.7, 1834.6]),
    ("JPM", [3.1, 190.8, 155.8, 330.9]),
    ("MSFT", [168.5, 153.2, 391.8, 890.3]),
    ("WMT", [59.2, 41.2, 82.8, 250.3]),
    ("XOM", [76.1, 33.5, 122.9, 158.1]),
];
const PAIRS: [(usize, usize); 3] = [(10, 20), (20, 50), (50, 100)];

/// What `prices.py` answers.
#[derive(Deserialize)]
struct Prices {
    dates: Vec<Date>,
    symbols: BTreeMap<String, OfSymbol>,
}

#[derive(Deserialize)]
struct OfSymbol {
    close: Vec<f64>,
    /// By pandas, from bar to bar: the three pairs, and holding.
    totals: Vec<Vec<f64>>,
}

/// skfolio's wheel, downloaded when it is not there.
fn wheel(python: &Path) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = here.join("../../target/venv-research/wheels");
    let path = dir.join("skfolio-1.12.2-py3-none-any.whl");
    if !path.exists() {
        fs::create_dir_all(&dir).expect("cargo's own directory can be written");
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        pip.arg("--dest").arg(&dir).arg("--requirement").arg(here.join("tests/python/requirements-skfolio.txt"));
        assert!(pip.status().expect("pip starts").success(), "skfolio could not be loaded: PyPI must be reachable");
    }
    path
}

fn prices() -> Prices {
    let python = python::venv("strategies");
    let path = wheel(&python);
    let answer = python::run(&python, "prices.py", path.to_str().expect("a path").as_bytes());
    serde_json::from_slice(&answer).expect("prices.py answers with JSON")
}

/// Adjusted closes alone: that is all that the data set has.
fn panel(name: &str, prices: &Prices) -> Panel {
    let close = &prices.symbols[name].close;
    let history = History {
        symbol: Symbol::parse(name).expect("a symbol"),
        dates: prices.dates.clone(),
        times: Vec::new(),
        open: close.clone(),
        high: close.clone(),
        low: close.clone(),
        close: close.clone(),
        volume: vec![0.0; close.len()],
    };
    Panel::new(Interval::Day, vec![history]).expect("sound bars")
}

/// The three pairs, and holding.
fn runs(panel: &Panel) -> Vec<Run> {
    let commission = Commission { bps: 10.0, ..Commission::default() };
    let settings = Settings { fill: Fill::SignalClose, commission, ..Settings::default() };
    let free = Settings { commission: Commission::default(), ..settings };
    let mut kernel = Kernel::new(panel).expect("one symbol without gaps");
    let run = |targets: &Targets, settings| simulate(panel, targets, settings).expect("it can be simulated");
    let mut runs: Vec<Run> = PAIRS
        .iter()
        .map(|(fast, slow)| {
            run(&kernel.targets(&Declared::SmaCross { fast: *fast, slow: *slow, short: false }), &settings)
        })
        .collect();
    runs.push(run(&Targets::buy_and_hold(panel), &free));
    runs
}

#[test]
fn total_returns_are_those_of_the_references_and_of_pandas_at_every_bar() {
    let prices = prices();
    assert_eq!(prices.dates.len(), 3270);
    for (name, expected) in TOTALS {
        for ((run, expected), by_pandas) in
            runs(&panel(name, &prices)).iter().zip(expected).zip(&prices.symbols[name].totals)
        {
            let totals: Vec<f64> = run.curve.equity.iter().map(|e| e / run.curve.capital - 1.0).collect();
            let percent = totals[totals.len() - 1] * 100.0;
            println!("{name}: {percent:.6} %");
            assert_eq!(format!("{percent:.1}"), format!("{expected:.1}"), "{name}");
            assert_eq!(totals.len(), by_pandas.len());
            for (row, (found, expected)) in totals.iter().zip(by_pandas).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-9 * (1.0 + expected),
                    "{name}, row {row}: {found} is not {expected}"
                );
            }
        }
    }
}

/// Written out here, apart from the crate's own `metrics`, which has tests of its own.
#[test]
fn figures_of_aapl_are_those_of_the_references() {
    const YEAR: f64 = 252.0;
    let run = &runs(&panel("AAPL", &prices()))[0];
    let (mut returns, mut before) = (Vec::new(), run.curve.capital);
    let (mut peak, mut deepest) = (before, 0.0_f64);
    for equity in &run.curve.equity {
        returns.push(equity / before - 1.0);
        before = *equity;
        peak = peak.max(*equity);
        deepest = deepest.min(equity / peak - 1.0);
    }
    let count = f64::from(u32::try_from(returns.len()).expect("few"));
    let mean = returns.iter().sum::<f64>() / count;
    let variance = returns.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / (count - 1.0);
    let below = returns.iter().map(|r| r.min(0.0) * r.min(0.0)).sum::<f64>() / count;
    let growth = libm::pow(before / run.curve.capital, YEAR / count) - 1.0;
    for (name, found, expected) in [
        ("Sharpe ratio", mean / variance.sqrt() * YEAR.sqrt(), "0.990116"),
        ("Sortino ratio", mean / below.sqrt() * YEAR.sqrt(), "1.489631"),
        ("maximum drawdown", deepest, "-0.288462"),
        ("CAGR", growth, "0.191342"),
        ("Calmar ratio", growth / -deepest, "0.663318"),
        ("volatility", variance.sqrt() * YEAR.sqrt(), "0.196309"),
    ] {
        assert_eq!(format!("{found:.6}"), expected, "{name}");
    }
}

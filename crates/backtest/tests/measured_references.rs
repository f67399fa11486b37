//! The references of DESIGN.md by this crate from end to end: the kernel's moving averages, the simulation, and the figures.
//!
//! `references.rs` has the totals of all symbols; here are the figures that pin the conventions, of AAPL 10/20 from 2010 to 2022.

#[path = "python/mod.rs"]
mod python;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use jiff::civil::Date;
use ringfence_backtest::metrics::{Activity, Input, Metrics, conventions, measure};
use ringfence_backtest::panel::History;
use ringfence_backtest::simulate::{Commission, Fill};
use ringfence_backtest::{Declared, Kernel, Panel, Settings, Targets, simulate};
use ringfence_market::{Symbol, import::Interval};
use serde::Deserialize;

#[derive(Deserialize)]
struct Prices {
    dates: Vec<Date>,
    symbols: BTreeMap<String, OfSymbol>,
}

#[derive(Deserialize)]
struct OfSymbol {
    close: Vec<f64>,
}

/// skfolio's prices, loaded when this runs; they are no part of ringfence.
fn prices() -> Prices {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = python::venv("metrics");
    let dir = here.join("../../target/venv-research/wheels");
    let wheel = dir.join("skfolio-1.12.2-py3-none-any.whl");
    if !wheel.exists() {
        fs::create_dir_all(&dir).expect("cargo's own directory can be written");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        pip.arg("--dest").arg(&dir).arg("--requirement").arg(here.join("tests/python/requirements-skfolio.txt"));
        assert!(pip.status().expect("pip starts").success(), "skfolio could not be loaded: PyPI must be reachable");
    }
    let answer = python::run(&python, "prices.py", wheel.to_str().expect("a path").as_bytes());
    serde_json::from_slice(&answer).expect("prices.py answers with JSON")
}

fn measured() -> Metrics {
    let prices = prices();
    let close = &prices.symbols["AAPL"].close;
    let history = History {
        symbol: Symbol::parse("AAPL").expect("a symbol"),
        dates: prices.dates.clone(),
        times: Vec::new(),
        open: close.clone(),
        high: close.clone(),
        low: close.clone(),
        close: close.clone(),
        volume: vec![0.0; close.len()],
    };
    let panel = Panel::new(Interval::Day, vec![history]).expect("sound bars");
    let free = Settings { fill: Fill::SignalClose, commission: Commission::default(), ..Settings::default() };
    let paid = Settings { commission: Commission { bps: 10.0, ..Commission::default() }, ..free };
    let crossing = Declared::SmaCross { fast: 10, slow: 20, short: false };
    let targets = Kernel::new(&panel).expect("one symbol without gaps").targets(&crossing);
    let run = simulate(&panel, &targets, &paid).expect("it can be simulated");
    let hold = simulate(&panel, &Targets::buy_and_hold(&panel), &free).expect("it can be simulated");
    #[allow(clippy::cast_precision_loss, reason = "some thousand bars")]
    let held = run.exposure.iter().filter(|held| **held > 0.0).count() as f64 / run.exposure.len() as f64;
    let input = Input {
        trades: &run.trades,
        activity: Activity { exposure: Some(held), turnover: run.turnover, costs: Some(run.costs.total()) },
        benchmark: Some(&hold.curve),
        ..Input::new(&run.curve)
    };
    measure(&input).expect("it can be measured")
}

#[test]
fn figures_of_aapl_are_those_of_the_references() {
    let found = measured();
    for (convention, _, text) in found.rows() {
        println!("{:<26} {text}", convention.title);
    }
    for (name, expected) in [
        ("sharpe", "0.990116"),
        ("sortino", "1.489631"),
        ("max_drawdown", "-0.288462"),
        ("cagr", "0.191342"),
        ("calmar", "0.663318"),
        ("volatility", "0.196309"),
    ] {
        assert_eq!(format!("{:.6}", found.get(name).expect("there is one")), expected, "{name}");
    }
    assert_eq!(found.bars, 3270);
    assert!(found.benchmark.is_some_and(|hold| format!("{:.1}", hold.total_return * 100.0) == "1834.6"));
    assert!(found.excess_return.is_some_and(|excess| excess < 0.0), "it earned less than holding");
    // On real bars every figure has a meaning.
    let without: Vec<&str> = conventions().iter().map(|c| c.name).filter(|name| found.get(name).is_none()).collect();
    assert!(without.is_empty(), "{without:?}");
}

//! Inputs of reports, made by the real simulation from the sample bars.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};

use jiff::civil::date;
use ringfence_backtest::{
    Panel, Run, Settings, Targets,
    luck::{self, Cell, Search, Trials, Verdict, judge, surroundings},
    metrics::{Activity, Convention, Input as Measure, Metrics, conventions, measure, returns},
    report::{
        Backtest, Fact, Figure, Input, Interval, Luck, Parts, Prices, Row, Source, Statement, Stretches, Sweep, Value,
        Versus,
    },
    simulate,
    simulate::{Commission, Slippage},
    types::Curve,
};
use ringfence_market::Symbol;

/// Where pages and pictures are put to be looked at.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/report")
}

fn symbol(name: &str) -> Symbol {
    Symbol::parse(name).expect("a symbol")
}

pub(crate) fn panel(names: &[&str]) -> Panel {
    Panel::sample(&names.iter().map(|name| symbol(name)).collect::<Vec<_>>()).expect("the sample")
}

fn settings() -> Settings {
    Settings {
        commission: Commission { bps: 5.0, ..Commission::default() },
        slippage: Slippage { bps: 5.0, ..Slippage::default() },
        ..Settings::default()
    }
}

/// All in while the mean of `fast` closes is above that of `slow`; equal parts of the symbols.
pub(crate) fn crossing(panel: &Panel, fast: usize, slow: usize) -> Run {
    let part = 1.0 / panel.columns().len() as f64;
    let mean = |close: &[f64], upto: usize, length: usize| -> Option<f64> {
        let from = (upto + 1).checked_sub(length)?;
        let mean = close[from..=upto].iter().sum::<f64>() / length as f64;
        mean.is_finite().then_some(mean)
    };
    let weights = (0..panel.len())
        .flat_map(|row| {
            panel.columns().iter().map(move |columns| {
                match (mean(&columns.close, row, fast), mean(&columns.close, row, slow)) {
                    (Some(a), Some(b)) if a > b => part,
                    _ => 0.0,
                }
            })
        })
        .collect();
    let targets = Targets::new(panel, weights).expect("targets");
    simulate(panel, &targets, &settings()).expect("a run")
}

pub(crate) fn held(panel: &Panel) -> Curve {
    simulate(panel, &Targets::buy_and_hold(panel), &settings()).expect("a run").curve
}

pub(crate) fn metrics(run: &Run, hold: &Curve) -> (Metrics, Metrics) {
    let activity = Activity {
        exposure: Some(run.exposure.iter().filter(|e| **e > 0.0).count() as f64 / run.exposure.len() as f64),
        turnover: run.turnover,
        costs: Some(run.costs.total()),
    };
    let own = Measure { trades: &run.trades, activity, benchmark: Some(hold), ..Measure::new(&run.curve) };
    (measure(&own).expect("figures"), measure(&Measure::new(hold)).expect("figures"))
}

/// One backtest of two symbols.
pub(crate) fn single() -> Input {
    let panel = panel(&["AAPL", "MSFT"]);
    let (run, hold) = (crossing(&panel, 20, 50), held(&panel));
    let (own, other) = metrics(&run, &hold);
    let backtest = Backtest {
        strategy: "sma_cross".into(),
        symbols: vec!["AAPL".into(), "MSFT".into()],
        parameters: vec![("fast".into(), "20".into()), ("slow".into(), "50".into())],
        source: Source::Sandbox,
        curve: run.curve,
        benchmark: Some(hold),
        trades: run.trades,
        prices: Prices::of(&panel),
        log: vec!["warming up for 50 bars".into(), "2004-08-19: crossed".into()],
        ..Backtest::default()
    };
    Input {
        title: "sma_cross on AAPL and MSFT".into(),
        ended: Some("2026-11-26T21:30:00Z".parse().expect("an instant")),
        run: backtest.measured(&own, Some(&other)),
        facts: facts(&panel),
        ..Input::default()
    }
}

fn facts(panel: &Panel) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    vec![
        fact("Data, SHA-256", panel.hash()),
        fact("Data", "sample bars of 2000-03-01 to 2013-03-01, adjusted for splits and dividends".into()),
        fact("Fills", "at the open of the next bar".into()),
        fact("Costs", "commission 5 bp, slippage 5 bp".into()),
        fact("Seed", "7".into()),
    ]
}

fn row(strategy: &str, symbols: &str, parameters: Vec<(String, String)>, own: &Metrics, hold: &Metrics) -> Row {
    let value = |name: &str| Value::of(convention(name).expect("a figure").unit, own.get(name));
    Row {
        strategy: strategy.into(),
        symbols: symbols.into(),
        parameters,
        score: Versus { own: own.sharpe, hold: hold.sharpe },
        total_return: Versus { own: Some(own.total_return), hold: Some(hold.total_return) },
        values: COLUMNS.iter().map(|name| value(name)).collect(),
        ..Row::default()
    }
}

const COLUMNS: [&str; 6] = ["sharpe", "total_return", "cagr", "max_drawdown", "calmar", "trades"];

/// A sweep of a grid over three symbols.
pub(crate) fn sweep() -> Input {
    let mut rows = Vec::new();
    let mut best: Option<(f64, Input)> = None;
    for name in ["AAPL", "IBM", "MSFT"] {
        let panel = panel(&[name]);
        let hold = held(&panel);
        for fast in [5, 10, 15, 20, 30, 40] {
            for slow in [20, 50, 75, 100, 150, 200] {
                if fast >= slow {
                    continue;
                }
                let run = crossing(&panel, fast, slow);
                let (own, other) = metrics(&run, &hold);
                let parameters = vec![("fast".to_owned(), fast.to_string()), ("slow".to_owned(), slow.to_string())];
                rows.push(row("sma_cross", name, parameters.clone(), &own, &other));
                let sharpe = own.sharpe.unwrap_or(f64::MIN);
                if best.as_ref().is_none_or(|(high, _)| sharpe > *high) {
                    let backtest = Backtest {
                        strategy: "sma_cross".into(),
                        symbols: vec![name.into()],
                        parameters,
                        curve: run.curve,
                        benchmark: Some(hold.clone()),
                        trades: run.trades,
                        prices: Prices::of(&panel),
                        ..Backtest::default()
                    };
                    let run = backtest.measured(&own, Some(&other));
                    best = Some((sharpe, Input { run, facts: facts(&panel), ..Input::default() }));
                }
            }
        }
    }
    rows.sort_by(|a, b| b.score.own.unwrap_or(f64::MIN).total_cmp(&a.score.own.unwrap_or(f64::MIN)));
    rows.push(Row {
        strategy: "sma_cross".into(),
        symbols: "MSFT".into(),
        parameters: vec![("fast".into(), "40".into()), ("slow".into(), "20".into())],
        failure: Some("fast must be below slow".into()),
        values: vec![Value::None; COLUMNS.len()],
        ..Row::default()
    });
    let titles = COLUMNS.iter().map(|name| convention(name).expect("a figure").title.to_owned()).collect();
    let (_, mut input) = best.expect("a best run");
    input.title = "Sweep of sma_cross over AAPL, IBM and MSFT".into();
    input.sweep = Some(Sweep { metric: "Sharpe".into(), columns: titles, rows });
    input.luck = Some(Luck::of(&verdict(&panel(&["AAPL"]))));
    input
}

/// Of the grid on one symbol.
fn verdict(panel: &Panel) -> Verdict {
    let mut trials = Trials::new(panel.len(), luck::BLOCKS).expect("trials");
    let mut best: Option<(f64, Vec<f64>)> = None;
    let mut cells = Vec::new();
    for (x, fast) in (0..).zip([5, 10, 15, 20, 30, 40]) {
        for (y, slow) in (0..).zip([20, 50, 75, 100, 150, 200]) {
            if fast >= slow {
                continue;
            }
            let curve = crossing(panel, fast, slow).curve;
            let own = returns(&curve).expect("returns").values;
            let score = measure(&Measure::new(&curve)).expect("figures").sharpe;
            trials.add(&own).expect("a trial");
            if best.as_ref().is_none_or(|(high, _)| score.unwrap_or(f64::MIN) > *high) {
                best = Some((score.unwrap_or(f64::MIN), own));
            }
            cells.push(Cell { place: vec![x, y], score });
        }
    }
    let (high, best) = best.expect("a best run");
    let at = cells.iter().position(|cell| cell.score == Some(high)).expect("its cell");
    judge(&Search {
        trials: &trials,
        shared: None,
        best: &best,
        riskless: 0.0,
        periods_per_year: 252.0,
        surroundings: surroundings(&cells, at, &[]),
        excess_return: Some(1.0),
        seed: 7,
    })
}

/// 10,000 runs, and a run of 8,000 bars, from a seeded walk.
pub(crate) fn large() -> Input {
    let mut state = 7_u64;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5) * 0.04
    };
    let mut input = sweep();
    let first = jiff::civil::date(1990, 1, 2);
    let dates: Vec<_> = (0..8_000).map(|at| first.saturating_add(jiff::Span::new().days(at))).collect();
    let mut walk = |begin: f64| {
        let mut value = begin;
        (0..8_000)
            .map(|_| {
                value *= 1.0 + step() + 0.0002;
                value
            })
            .collect::<Vec<f64>>()
    };
    let close = walk(30.0);
    input.run.curve = Curve { dates: dates.clone(), equity: walk(100_000.0), capital: 100_000.0 };
    input.run.benchmark = Some(Curve { dates: dates.clone(), equity: walk(100_000.0), capital: 100_000.0 });
    let other = measure(&Measure::new(input.run.benchmark.as_ref().expect("it was just set"))).expect("figures");
    let own = measure(&Measure { benchmark: input.run.benchmark.as_ref(), ..Measure::new(&input.run.curve) });
    input.run = input.run.clone().measured(&own.expect("figures"), Some(&other));
    let grown = |factor: f64| close.iter().map(|price| price * factor).collect::<Vec<f64>>();
    input.run.prices = vec![Prices {
        symbol: "AAPL".into(),
        dates,
        open: grown(0.997),
        high: grown(1.01),
        low: grown(0.99),
        close: close.clone(),
    }];
    let sweep = input.sweep.as_mut().expect("a sweep");
    let some = sweep.rows.clone();
    sweep.rows = (0..10_000)
        .map(|at| {
            let mut row = some[at % some.len()].clone();
            row.parameters = vec![("fast".into(), (at / 100).to_string()), ("slow".into(), (at % 100).to_string())];
            row.symbols = "AAPL".into();
            row.score.own = row.score.own.map(|own| own + (at as f64 / 900.0).sin());
            row
        })
        .collect();
    input.title = "Sweep of 10,000 runs".into();
    input
}

fn convention(name: &str) -> Option<&'static Convention> {
    conventions().iter().find(|convention| convention.name == name)
}

/// What a hostile strategy may call itself.
pub(crate) const HOSTILE: &str = "</script></style></title><img src=x onerror=\"alert(1)\">'\"><svg onload=alert(2)><!--&lt;${alert(3)}\u{202e}\u{2028}\0";

pub(crate) fn hostile() -> Input {
    all_of(HOSTILE)
}

/// A report in which every text is `text`.
pub(crate) fn all_of(text: &str) -> Input {
    let say = || text.to_owned();
    let days = [date(2020, 1, 2), date(2020, 1, 3), date(2020, 1, 6)];
    let curve = Curve { dates: days.to_vec(), equity: vec![100.0, 110.0, 99.0], capital: 100.0 };
    let row = |value: f64, other: &str| Row {
        strategy: say(),
        symbols: say(),
        parameters: vec![(say(), format!("{text}{value}")), (format!("{text}2"), other.to_owned())],
        score: Versus { own: Some(value), hold: Some(1.0) },
        total_return: Versus { own: Some(value), hold: Some(1.0) },
        values: vec![Value::Text(say())],
        failure: Some(say()),
        ..Row::default()
    };
    Input {
        title: say(),
        run: Backtest {
            strategy: say(),
            symbols: vec![say(), say()],
            parameters: vec![(say(), say())],
            source: Source::SelfReported,
            benchmark: Some(curve.clone()),
            curve,
            prices: vec![Prices {
                symbol: say(),
                dates: days.to_vec(),
                open: vec![1.0; 3],
                high: vec![1.0; 3],
                low: vec![1.0; 3],
                close: vec![1.0; 3],
            }],
            figures: vec![Figure { name: say(), value: Value::Text(say()), ..Figure::default() }],
            log: vec![say(), say()],
            ..Backtest::default()
        },
        sweep: Some(Sweep {
            metric: say(),
            columns: vec![say()],
            rows: vec![row(2.0, "a"), row(1.0, "a"), row(0.5, text)],
        }),
        luck: Some(Luck {
            verdict: say(),
            doubtful: true,
            statements: vec![Statement { name: say(), value: Value::Text(say()), meaning: say() }],
            intervals: vec![Interval { name: say(), level: 0.95, low: Value::Text(say()), high: Value::None }],
        }),
        facts: vec![Fact { name: say(), value: say() }],
        notes: vec![say()],
        parts: Some(Parts { ranked: say(), judged: say() }),
        stretches: vec![Stretches {
            heading: say(),
            note: say(),
            columns: vec![say(), say()],
            rows: vec![vec![Value::Text(say()), Value::Fraction(0.5)]],
        }],
        ..Input::default()
    }
}

//! Our figures beside those of empyrical-reloaded, quantstats and ffn, on random curves and at the edges.
//!
//! The libraries are installed once, into `target/venv-research`. The seed is printed; `RINGFENCE_SEED` gives another. `make suites`
//! also compares a search of as many blocks as the product's, over which ffn takes longer than over all else.

#[path = "python/mod.rs"]
mod python;

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date, civil::Weekday, civil::date};
use ringfence_backtest::luck::random::Random;
use ringfence_backtest::luck::{self, Search, Trials, normal};
use ringfence_backtest::metrics::{self, Input, Metrics, measure};
use ringfence_backtest::{Curve, Side, Trade};
use ringfence_market::Symbol;
use serde::Deserialize;
use serde_json::json;

/// Six digits are promised. What is computed in another order differs by much less than this.
const TOLERANCE: f64 = 1e-9;

/// A curve with what belongs to it.
struct Case {
    name: String,
    curve: Curve,
    benchmark: Option<Curve>,
    profits: Vec<f64>,
    risk_free: f64,
}

impl Case {
    fn of(name: &str, capital: f64, equity: &[f64]) -> Self {
        Self {
            name: name.to_owned(),
            curve: Curve { dates: days(equity.len(), None), equity: equity.to_vec(), capital },
            benchmark: None,
            profits: Vec::new(),
            risk_free: 0.0,
        }
    }

    fn trades(&self) -> Vec<Trade> {
        let day = self.curve.dates[0];
        let trade = |&profit: &f64| Trade {
            symbol: Symbol::parse("AAPL").expect("a symbol"),
            side: Side::Long,
            entry: day,
            exit: day,
            bars: 1,
            quantity: 1.0,
            entry_price: 100.0,
            exit_price: 100.0 + profit,
            profit,
            return_on_entry: profit / 100.0,
            costs: 0.0,
            open: false,
        };
        self.profits.iter().map(trade).collect()
    }

    #[track_caller]
    fn measured(&self) -> Metrics {
        let trades = self.trades();
        let input = Input {
            trades: &trades,
            benchmark: self.benchmark.as_ref(),
            risk_free: self.risk_free,
            ..Input::new(&self.curve)
        };
        measure(&input).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

/// Weekdays, some of them left out where a generator is given.
fn days(count: usize, mut gaps: Option<&mut Random>) -> Vec<Date> {
    let mut day = date(2019, 11, 27);
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let left_out = gaps.as_mut().is_some_and(|random| random.below(12) == 0);
        if !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) && !left_out {
            found.push(day);
        }
        day += 1.day();
    }
    found
}

/// A return with fat tails: about normal, and once in a while five times as large.
fn earned(random: &mut Random) -> f64 {
    let normal = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
    0.0004 + 0.012 * normal * if random.below(40) == 0 { 5.0 } else { 1.0 }
}

fn random_case(number: usize, random: &mut Random) -> Case {
    let bars = 2 + usize::try_from(random.below(900)).expect("below 900");
    let dates = days(bars, Some(random));
    let (capital, idle) = (1_000.0 + 1e6 * random.unit(), random.below(3) == 0);
    let (mut equity, mut other) = (vec![capital * (1.0 - 0.001 * random.unit())], vec![capital]);
    for at in 1..bars {
        let market = earned(random);
        // A strategy that is in the market for a part of the time only has returns of exactly 0.
        let own = if idle && at % 50 < 25 { 0.0 } else { 0.6 * market + 0.5 * earned(random) };
        equity.push(equity[at - 1] * (1.0 + own));
        other.push(other[at - 1] * (1.0 + market));
    }
    let trades = random.below(40);
    Case {
        name: format!("random {number}"),
        benchmark: Some(Curve { dates: dates.clone(), equity: other, capital }),
        curve: Curve { dates, equity, capital },
        profits: (0..trades).map(|_| 1_000.0 * earned(random)).collect(),
        risk_free: if random.below(2) == 0 { 0.0 } else { 0.05 * random.unit() },
    }
}

fn edge_cases() -> Vec<Case> {
    let growing: Vec<f64> = (0..300).map(|at| 100.0 * libm::pow(1.001, f64::from(at))).collect();
    let mut split = Case::of("a split", 100.0, &split_adjusted());
    split.benchmark = Some(Curve { equity: vec![100.0; split.curve.equity.len()], ..split.curve.clone() });
    let mut one_trade = Case::of("one trade", 100.0, &[100.0, 101.0, 99.5, 103.0, 103.0]);
    one_trade.profits = vec![3.0];
    let mut lost = Case::of("one trade that lost", 100.0, &[99.9, 98.0, 97.0, 97.5]);
    lost.profits = vec![-2.5];
    let mut gap = Case::of("a gap of two months", 100.0, &[101.0, 103.0, 99.0, 104.0, 102.0, 108.0]);
    for day in &mut gap.curve.dates[3..] {
        *day += 2.months();
    }
    vec![
        split,
        one_trade,
        lost,
        gap,
        Case::of("no trades", 100.0, &[100.0; 40]),
        Case::of("one bar", 100.0, &[99.0]),
        Case::of("two bars", 100.0, &[99.0, 101.0]),
        Case::of("only rising", 100.0, &[101.0, 103.0, 103.5, 107.0, 111.0]),
        Case::of("only falling", 100.0, &[99.0, 97.5, 93.0, 92.9, 90.0]),
        Case::of("the same growth each day", 100.0 / 1.001, &growing),
        Case::of("a loss of nearly everything", 100.0, &[100.0, 0.01, 0.02, 0.5, 1.0]),
        Case::of("a high that is reached again to the cent", 100.0, &[110.0, 99.0, 110.0, 104.5, 110.0, 121.0]),
    ]
}

/// Equity of holding a share that is split two for one on the fourth day, from raw prices by `market::adjust`.
fn split_adjusted() -> Vec<f64> {
    let symbol = Symbol::parse("AAPL").expect("a symbol");
    let rows = "date,open,high,low,close,volume\n\
        2020-01-02,100,104,98,102,1000\n2020-01-03,102,106,99,104,2100\n2020-01-06,104,107,101,106,2200\n\
        2020-01-07,53,55,50,54,4200\n2020-01-08,54,55,52,53,4300\n2020-01-09,53,57,52,56,4400\n";
    let raw = ringfence_market::read::bars("x.csv", symbol, rows).expect("good bars");
    let actions = "symbol,ex_date,kind,value,source\nAAPL,2020-01-07,split,2,test\n";
    let actions = ringfence_market::action::actions("a.csv", actions).expect("good actions");
    let adjusted = ringfence_market::adjust::adjust(&raw, &actions).expect("the action fits");
    let closes: Vec<f64> = adjusted.bars().iter().map(|bar| bar.close.to_string().parse().expect("a number")).collect();
    // The reader's own factor, from the raw prices: half of everything before the split.
    let by_hand = [51.0, 52.0, 53.0, 54.0, 53.0, 56.0];
    assert_eq!(closes, by_hand, "the split is no loss");
    closes.iter().map(|close| 100.0 * close / closes[0]).collect()
}

/// A search: trials over the same bars, of which one is chosen.
struct Tried {
    trials: Vec<Vec<f64>>,
    best: usize,
    blocks: usize,
}

fn random_search(random: &mut Random, blocks: usize) -> Tried {
    let (bars, count) = (random.below(400) + 120, random.below(12) + 2);
    let shared: Vec<f64> = (0..bars).map(|_| earned(random)).collect();
    let share = random.unit();
    let trials: Vec<Vec<f64>> = (0..count)
        .map(|_| shared.iter().map(|market| share * market + (1.0 - share) * earned(random)).collect())
        .collect();
    Tried { best: highest(&trials), trials, blocks }
}

fn highest(trials: &[Vec<f64>]) -> usize {
    let sharpe =
        |at: usize| metrics::ratios::sharpe_per_bar(&metrics::Moments::of(&trials[at])).unwrap_or(f64::NEG_INFINITY);
    (0..trials.len()).max_by(|a, b| sharpe(*a).total_cmp(&sharpe(*b))).expect("there are trials")
}

#[derive(Deserialize)]
struct Answer {
    metrics: Vec<Measured>,
    searches: Vec<BTreeMap<String, Option<f64>>>,
    cumulative: Vec<f64>,
    quantile: Vec<f64>,
}

#[derive(Deserialize)]
struct Measured {
    drawdown: Option<Days>,
    months: BTreeMap<String, Vec<f64>>,
    #[serde(flatten)]
    libraries: BTreeMap<String, BTreeMap<String, Option<f64>>>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Days {
    peak: Date,
    trough: Date,
    recovery: Option<Date>,
}

#[test]
fn every_figure_agrees_with_the_library_that_it_follows() {
    let seed = std::env::var("RINGFENCE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_126);
    println!("RINGFENCE_SEED={seed}");
    let random = &mut Random::new(seed);
    let mut cases = edge_cases();
    cases.extend((0..60).map(|number| random_case(number, random)));
    let mut searches: Vec<Tried> = (0..10).map(|at| random_search(random, [2, 4, 6, 8][at % 4])).collect();
    if std::env::var_os("RINGFENCE_LONG").is_some() {
        searches.push(random_search(random, luck::BLOCKS));
    } else {
        println!("SKIPPED: a search of {} blocks is a part of the long suites; `make suites` runs it", luck::BLOCKS);
    }
    let numbers: Vec<f64> = (-380..=90).map(|step| f64::from(step) / 10.0).collect();
    let probabilities: Vec<f64> =
        (1..2_000).map(|step| f64::from(step) / 2_000.0).chain((1..300).map(|e| libm::exp10(-f64::from(e)))).collect();

    let asked = json!({
        "metrics": cases.iter().map(|case| json!({
            "curve": case.curve, "benchmark": case.benchmark, "profits": case.profits, "risk_free": case.risk_free,
        })).collect::<Vec<_>>(),
        "searches": searches.iter().map(|s| json!({"trials": s.trials, "best": s.best, "blocks": s.blocks})).collect::<Vec<_>>(),
        "numbers": numbers,
        "probabilities": probabilities,
    });
    let python = python::venv("metrics");
    let said = python::run(&python, "agreement.py", asked.to_string().as_bytes());
    let answer: Answer = serde_json::from_slice(&said).expect("what the program writes");

    let mut compared = BTreeMap::new();
    for (case, found) in cases.iter().zip(&answer.metrics) {
        compare(case, found, &mut compared);
    }
    for (tried, found) in searches.iter().zip(&answer.searches) {
        compare_search(tried, found);
    }
    for (x, theirs) in numbers.iter().zip(&answer.cumulative) {
        near(&format!("cumulative({x})"), Some(normal::cumulative(*x)), Some(*theirs), 1e-12);
        // Relative, in the far tail too; what is left of a number below the normal ones has fewer digits.
        if *theirs > 1e-300 {
            assert!((normal::cumulative(*x) - theirs).abs() <= 1e-12 * theirs.abs(), "cumulative({x})");
        }
    }
    for (p, theirs) in probabilities.iter().zip(&answer.quantile) {
        near(&format!("quantile({p})"), Some(normal::quantile(*p)), Some(*theirs), 1e-12);
    }
    println!("compared, by library and figure: {compared:?}");
    // Nothing agrees because nothing was compared.
    for (figure, times) in &compared {
        assert!(*times >= 20, "{figure:?} was compared {times} times only");
    }
    // Of empyrical, quantstats, ffn and pandas.
    assert_eq!(compared.len(), 12 + 19 + 5 + 2, "{:?}", compared.keys());
}

/// Compares a case with each library, but for what the reference lists as different.
#[track_caller]
fn compare(case: &Case, found: &Measured, compared: &mut BTreeMap<(String, String), u32>) {
    let own = case.measured();
    let still = metrics::sum::constant(&metrics::returns(&case.curve).expect("it was measured").values);
    for (library, figures) in &found.libraries {
        for (figure, theirs) in figures {
            if differs(case, &own, library, figure, still) {
                continue;
            }
            #[allow(clippy::cast_precision_loss, reason = "some hundred bars")]
            let bars = own.bars as f64;
            let ours = own.get(figure).map(|ours| match (library.as_str(), figure.as_str()) {
                // By bars less one instead of bars.
                ("quantstats", "ulcer_index") => ours * (bars / (bars - 1.0)).sqrt(),
                // With the capital as a bar of its own.
                ("ffn", "ulcer_index") => ours * (bars / (bars + 1.0)).sqrt(),
                _ => ours,
            });
            near(&format!("{}: {library} {figure}", case.name), ours, *theirs, TOLERANCE);
            if ours.is_some() {
                *compared.entry((library.clone(), figure.clone())).or_default() += 1;
            }
        }
    }
    let drawdown = own.drawdown.map(|d| Days { peak: d.peak, trough: d.trough, recovery: d.recovery });
    // quantstats sees one that begins with the first bar only when another one follows.
    let unseen = found.drawdown.is_none() && case.curve.equity[0] < case.curve.capital;
    if !unseen {
        assert_eq!(drawdown, found.drawdown, "{}", case.name);
    }
    for year in &own.calendar {
        let theirs = &found.months[&year.year.to_string()];
        for (month, theirs) in year.months.iter().zip(theirs) {
            // quantstats has 0 where there is no bar.
            near(&format!("{} {}", case.name, year.year), Some(month.unwrap_or(0.0)), Some(*theirs), TOLERANCE);
        }
        near(&format!("{} {}", case.name, year.year), Some(year.total), theirs.last().copied(), TOLERANCE);
    }
    *compared.entry(("quantstats".into(), "monthly_returns".into())).or_default() += 1;
}

/// What `docs/reference/metrics.md` says that a library has otherwise.
fn differs(case: &Case, own: &Metrics, library: &str, figure: &str, still: bool) -> bool {
    match (library, figure) {
        // Of returns that do not differ but by rounding, a number that is rounding or 0.
        (_, "sharpe" | "sortino" | "information_ratio") if still => true,
        ("quantstats", "skew" | "kurtosis") if still => true,
        // An average over one bar, a quotient of nothing, or 0 for what is not there.
        (_, _) if own.bars == 1 => figure != "total_return" && figure != "max_drawdown",
        ("quantstats", "beta") if own.beta.is_none() => true,
        (_, "information_ratio") if own.information_ratio.is_none() => true,
        // Returns that are equal to the value at risk all count; they are the zeros of an idle strategy.
        ("quantstats", "expected_shortfall") => own.value_at_risk == Some(0.0),
        // A drawdown that nobody had is no divisor.
        ("quantstats", "calmar") if own.max_drawdown == 0.0 => true,
        ("quantstats", "profit_factor" | "win_rate") => case.profits.iter().all(|profit| *profit >= 0.0),
        _ => false,
    }
}

#[track_caller]
fn compare_search(tried: &Tried, found: &BTreeMap<String, Option<f64>>) {
    let mut trials = Trials::new(tried.trials[0].len(), tried.blocks).expect("good blocks");
    for trial in &tried.trials {
        trials.add(trial).expect("a trial of the same bars");
    }
    let verdict = luck::judge(&Search {
        trials: &trials,
        shared: None,
        best: &tried.trials[tried.best],
        riskless: 0.0,
        periods_per_year: metrics::DAYS_A_YEAR,
        surroundings: None,
        excess_return: None,
        seed: 1,
    });
    for (figure, theirs) in found {
        let ours =
            if figure == "mean_rank" { verdict.halves.as_ref().map(|h| h.mean_rank) } else { verdict.get(figure) };
        near(&format!("{} blocks, {figure}", tried.blocks), ours, *theirs, TOLERANCE);
    }
    assert_eq!(found.len(), 6, "{found:?}");
}

#[track_caller]
fn near(what: &str, ours: Option<f64>, theirs: Option<f64>, tolerance: f64) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            let apart = (ours - theirs).abs();
            assert!(apart <= tolerance * theirs.abs().max(1.0), "{what}: {ours} and not {theirs}");
        }
        (ours, theirs) => assert_eq!(ours, theirs, "{what}"),
    }
}

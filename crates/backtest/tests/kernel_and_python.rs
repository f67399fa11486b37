//! The native kernel beside the Python files that sandboxes have: over a random grid both want the same, to the bit.
//!
//! The seed is printed; `RINGFENCE_SEED` gives another, and `RINGFENCE_CASES` more of them. `make suites` draws four times as many.

#[path = "python/mod.rs"]
mod python;

use std::{collections::BTreeMap, path::Path};

use ringfence_backtest::{
    Declared, Kernel, Panel, Settings, Targets,
    kernel::indicators,
    panel::History,
    simulate,
    simulate::{Commission, Fill},
};
use ringfence_market::{Symbol, import::Interval};
use serde::Deserialize;
use serde_json::{Value, json};

const CASES: usize = 400;
const CASES_LONG: usize = 1500;

/// SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.bits() >> 32).expect("32 bits")) / 4_294_967_296.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(end).expect("small")).expect("small")
    }
}

fn env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a whole number"))
}

/// A random walk. On a coarse grid of prices averages are often equal but for rounding, and there the order of additions decides.
fn walk(dice: &mut Dice, grid: Option<f64>) -> Panel {
    let rows = 1 + dice.below(700);
    let snap = |price: f64| grid.map_or(price, |grid| (price / grid).round().max(1.0) * grid);
    let still = dice.below(4) == 0;
    let mut price = 5.0 + 100.0 * dice.unit();
    let mut columns: [Vec<f64>; 4] = Default::default();
    for _ in 0..rows {
        let open = price;
        if !(still && dice.below(3) > 0) {
            price *= 1.0 + 0.05 * (dice.unit() - 0.49);
        }
        let (high, low) = (open.max(price) * (1.0 + 0.01 * dice.unit()), open.min(price) * (1.0 - 0.01 * dice.unit()));
        for (column, value) in columns.iter_mut().zip([open, high, low, price]) {
            column.push(snap(value));
        }
    }
    of_columns(columns)
}

fn of_columns([open, high, low, close]: [Vec<f64>; 4]) -> Panel {
    let rows = close.len();
    let first: jiff::civil::Date = "2001-01-01".parse().expect("a date");
    let dates = (0..rows).map(|i| first.saturating_add(jiff::Span::new().days(i64::try_from(i).expect("few"))));
    let history = History {
        symbol: Symbol::parse("X").expect("a symbol"),
        dates: dates.collect(),
        times: Vec::new(),
        volume: vec![1.0; rows],
        open,
        high,
        low,
        close,
    };
    Panel::new(Interval::Day, vec![history]).expect("sound bars")
}

/// Prices that go to and fro between a few levels: averages of many windows are equal but for rounding, closes lie on bands, and the
/// order of additions decides what is wanted.
fn to_and_fro(dice: &mut Dice) -> Panel {
    let levels: Vec<f64> = (0..2 + dice.below(2)).map(|_| (100.0 + 900.0 * dice.unit()).round() / 10.0).collect();
    let close: Vec<f64> = (0..200 + dice.below(300)).map(|i| levels[i % levels.len()]).collect();
    of_columns([close.clone(), close.clone(), close.clone(), close])
}

/// Parameters at random, of which some are refused and some windows are longer than the bars.
fn drawn(dice: &mut Dice) -> (&'static str, Value) {
    let name = Declared::NAMES[dice.below(Declared::NAMES.len())];
    let short = dice.below(2) == 0;
    let small = |dice: &mut Dice| 1 + dice.below(40);
    let parameters = match name {
        "sma_cross" => json!({"fast": small(dice), "slow": small(dice) + dice.below(250), "short": short}),
        "breakout" => json!({"entry": 2 + small(dice), "exit": small(dice), "short": short}),
        "rsi" => {
            let low = (100.0 * dice.unit()).round();
            json!({"window": small(dice), "low": low, "high": low + 40.0 * dice.unit() - 2.0, "short": short})
        }
        "momentum" => {
            let threshold = [0.0, 0.05 * dice.unit()][dice.below(2)];
            json!({"lookback": small(dice) + dice.below(2) * dice.below(700), "threshold": threshold, "short": short})
        }
        "mean_reversion" => {
            let entry = [1.0, 2.0, 2.0 * dice.unit()][dice.below(3)];
            let exit = [0.0, 0.5, dice.unit()][dice.below(3)];
            json!({"lookback": 1 + small(dice), "entry": entry, "exit": exit, "short": short})
        }
        _ => json!({}),
    };
    (name, parameters)
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Refused(String),
    Events(Vec<(usize, f64)>),
}

fn of_panel(panel: &Panel) -> Value {
    let columns = &panel.columns()[0];
    json!({"open": columns.open, "high": columns.high, "low": columns.low, "close": columns.close, "volume": columns.volume})
}

/// An indicator of a column: name, panel, column, window.
type Asked = (&'static str, usize, &'static str, usize);

#[derive(Deserialize)]
struct Answers {
    /// The bits of each of an indicator's columns.
    indicators: Vec<Vec<Vec<u64>>>,
    cases: Vec<Answer>,
}

fn ask(panels: &[Panel], indicators: &[Asked], cases: &[(usize, &'static str, Value)]) -> Answers {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/harness/usr/lib/python3.11");
    let input = json!({
        "module": module,
        "panels": panels.iter().map(of_panel).collect::<Vec<_>>(),
        "indicators": indicators.iter().map(|(name, panel, column, window)| {
            json!({"name": name, "panel": panel, "column": column, "window": window})
        }).collect::<Vec<_>>(),
        "cases": cases.iter().map(|(panel, strategy, parameters)| {
            json!({"panel": panel, "strategy": strategy, "parameters": parameters})
        }).collect::<Vec<_>>(),
    });
    let answer = python::run(&python::venv("strategies"), "strategies.py", input.to_string().as_bytes());
    serde_json::from_slice(&answer).expect("strategies.py answers with JSON")
}

#[test]
fn indicators_are_the_same_to_the_bit() {
    let seed = env("RINGFENCE_SEED", 20_261_126);
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let panels: Vec<Panel> =
        (0..30).map(|i| if i % 3 == 0 { to_and_fro(&mut dice) } else { walk(&mut dice, None) }).collect();
    let names = ["sma", "mean_and_deviation", "highest", "lowest", "rsi"];
    let asked: Vec<Asked> = (0..400)
        .map(|_| {
            let column = ["close", "high", "low"][dice.below(3)];
            (
                names[dice.below(5)],
                dice.below(panels.len()),
                column,
                1 + dice.below(80) + dice.below(2) * dice.below(700),
            )
        })
        .collect();
    let mut compared = 0;
    for ((name, panel, column, window), theirs) in asked.iter().zip(ask(&panels, &asked, &[]).indicators) {
        let columns = &panels[*panel].columns()[0];
        let values = match *column {
            "close" => &columns.close,
            "high" => &columns.high,
            _ => &columns.low,
        };
        let ours = match *name {
            "sma" => vec![indicators::sma(values, *window)],
            "highest" => vec![indicators::highest(values, *window)],
            "lowest" => vec![indicators::lowest(values, *window)],
            "rsi" => vec![indicators::rsi(values, *window)],
            _ => {
                let (mean, deviation) = indicators::mean_and_deviation(values, *window);
                vec![mean, deviation]
            }
        };
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.len(), theirs.len());
            for (row, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let theirs = f64::from_bits(*theirs);
                let same = ours.to_bits() == theirs.to_bits();
                assert!(
                    same,
                    "panel {panel}, {name} of {column}, {window} bars, row {row}: native {ours:e}, Python {theirs:e}"
                );
                compared += usize::from(!theirs.is_nan());
            }
        }
    }
    assert!(compared > 50_000, "{compared} numbers were compared");
}

#[test]
fn a_random_grid_wants_the_same_and_earns_the_same_to_the_bit() {
    let seed = env("RINGFENCE_SEED", 20_261_126);
    let usual = if std::env::var_os("RINGFENCE_LONG").is_some() { CASES_LONG } else { CASES };
    let count = usize::try_from(env("RINGFENCE_CASES", usual as u64)).expect("few");
    println!("seed {seed}, {count} cases");
    let mut dice = Dice(seed);
    let grids = [None, None, Some(0.01), Some(0.25), Some(0.1), Some(1.0)];
    let mut panels: Vec<Panel> = (0..30).map(|i| walk(&mut dice, grids[i % grids.len()])).collect();
    panels.extend((0..12).map(|_| to_and_fro(&mut dice)));
    panels.push(Panel::sample(&[Symbol::parse("AAPL").expect("a symbol")]).expect("the sample"));
    let cases: Vec<_> = (0..count)
        .map(|_| {
            let (name, parameters) = drawn(&mut dice);
            (dice.below(panels.len()), name, parameters)
        })
        .collect();
    let answers = ask(&panels, &[], &cases).cases;
    assert_eq!(answers.len(), cases.len());

    let commission = Commission { bps: 10.0, ..Commission::default() };
    let (mut refused, mut changes) = (0, BTreeMap::new());
    for ((at, name, parameters), answer) in cases.iter().zip(answers) {
        let panel = &panels[*at];
        let what = format!("panel {at} ({} bars), {name} {parameters}", panel.len());
        let given: BTreeMap<String, Value> = serde_json::from_value(parameters.clone()).expect("an object");
        let (rule, events) = match (Declared::new(name, &given), answer) {
            (Ok(rule), Answer::Events(events)) => (rule, events),
            (Err(ours), Answer::Refused(theirs)) => {
                assert!(ours.to_string().split('(').next() == theirs.split('(').next(), "{what}: {ours}; {theirs}");
                refused += 1;
                continue;
            }
            (ours, theirs) => panic!("{what}: native {ours:?}, Python {theirs:?}"),
        };
        let mut kernel = Kernel::new(panel).expect("one symbol without gaps");
        assert_eq!(kernel.events(&rule), events, "{what}");
        *changes.entry(*name).or_insert(0) += events.len();

        // The weights of the sandbox go the way that every sandbox's weights go.
        let mut weights = vec![f64::NAN; panel.len()];
        events.iter().for_each(|(row, weight)| weights[*row] = *weight);
        let targets = Targets::new(panel, weights).expect("weights");
        for fill in [Fill::NextOpen, Fill::NextClose, Fill::SignalClose] {
            let settings = Settings { fill, commission, ..Settings::default() };
            let run = simulate(panel, &targets, &settings).expect("it can be simulated");
            kernel.brief(&rule, &settings).expect("it can be simulated");
            let same = kernel.equity().iter().zip(&run.curve.equity).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && kernel.equity().len() == panel.len(), "{what}: {fill:?}");
        }
    }
    println!("{refused} refused by both; changes of position: {changes:?}");
    assert!(refused > 0 && changes.len() == Declared::NAMES.len() && changes.values().all(|n| *n > 10), "{changes:?}");
}

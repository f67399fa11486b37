use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{
    made::{self, Dice},
    simulate::{Commission, Fill, Rebalance, Slippage, simulate},
};

fn declared(name: &str, parameters: Value) -> Result<Declared, DeclaredError> {
    let parameters: BTreeMap<String, Value> = serde_json::from_value(parameters).expect("an object");
    Declared::new(name, &parameters)
}

#[track_caller]
fn refused(name: &str, parameters: Value, expected: &str) {
    assert_eq!(declared(name, parameters).expect_err("it is refused").to_string(), expected);
}

#[test]
fn parameters_are_checked_by_name() {
    let good = declared("sma_cross", json!({"fast": 10, "slow": 20.0, "short": false})).expect("it is sound");
    assert_eq!((good, good.name()), (Declared::SmaCross { fast: 10, slow: 20, short: false }, "sma_cross"));
    refused(
        "pairs_trading",
        json!({}),
        "there is no native code of `pairs_trading`; there is of sma_cross, breakout, rsi, momentum, mean_reversion, buy_and_hold",
    );
    refused("sma_cross", json!({"fast": 10, "short": true}), "sma_cross needs a value of `slow`");
    refused("buy_and_hold", json!({"x": 1}), "buy_and_hold has no parameter `x`");
    for wrong in [json!(0), json!(-1), json!(1.5), json!(1e7), json!("10"), json!(true), json!(null)] {
        let expected = format!("`fast` of sma_cross is {wrong}; it must be a whole number from 1 to 5000");
        refused("sma_cross", json!({"fast": wrong, "slow": 20, "short": false}), &expected);
    }
    refused(
        "sma_cross",
        json!({"fast": 20, "slow": 20, "short": false}),
        "the fast average (20 bars) must be shorter than the slow one (20 bars)",
    );
    refused("rsi", json!({"window": 14, "low": 70, "high": 30, "short": false}), "low (70) must lie below high (30)");
}

#[test]
fn bars_with_gaps_and_several_symbols_are_refused() {
    let panel = made::walks(3, 2, 40, true);
    assert_eq!(Kernel::new(&panel).expect_err("it is refused"), KernelError::Symbols(2));
    let one = panel.only(&[made::symbol("S0")]).expect("it is there");
    assert!(matches!(Kernel::new(&one), Err(KernelError::Gap { .. })));
}

/// A strategy drawn at random, also with windows that are longer than the bars.
fn drawn(dice: &mut Dice) -> Declared {
    let mut window = |most: usize| 1 + dice.below(most);
    let (a, b, c) = (window(60), window(60), window(260));
    let short = dice.below(2) == 0;
    match dice.below(6) {
        0 => Declared::SmaCross { fast: a, slow: a + c, short },
        1 => Declared::Breakout { entry: a + b, exit: b, short },
        2 => Declared::Rsi { window: a, low: 50.0 * dice.unit(), high: 50.0 + 50.0 * dice.unit(), short },
        3 => Declared::Momentum { lookback: c, threshold: 0.1 * dice.unit(), short },
        4 => {
            Declared::MeanReversion { lookback: 1 + a, entry: 0.5 + 2.0 * dice.unit(), exit: 0.5 * dice.unit(), short }
        }
        _ => Declared::BuyAndHold,
    }
}

/// Settings drawn at random.
fn conventions(dice: &mut Dice) -> Settings {
    let fill = [Fill::NextOpen, Fill::NextClose, Fill::SignalClose][dice.below(3)];
    let shares = fill != Fill::SignalClose;
    Settings {
        fill,
        rebalance: [Rebalance::EveryBar, Rebalance::OnChange][dice.below(2)],
        commission: Commission {
            bps: 20.0 * dice.unit(),
            per_share: 0.01 * dice.unit(),
            minimum: if dice.below(3) == 0 { 2.0 } else { 0.0 },
        },
        slippage: Slippage {
            bps: 10.0 * dice.unit(),
            range: 0.2 * dice.unit(),
            volume_share_max: if shares && dice.below(5) == 0 { 0.3 } else { 0.0 },
        },
        borrow_rate: if dice.below(3) == 0 { 0.05 } else { 0.0 },
        whole_shares: shares && dice.below(3) == 0,
        leverage_max: if dice.below(3) == 0 { 1.5 } else { 1.0 },
        ..Settings::default()
    }
}

#[test]
fn from_event_to_event_equity_is_the_same_to_the_bit() {
    const SEED: u64 = 77;
    println!("seed {SEED}");
    let mut dice = Dice(SEED);
    let mut traded = 0;
    for case in 0..400 {
        let panel = made::walks(SEED + case, 1, 250, false);
        let (rule, settings) = (drawn(&mut dice), conventions(&mut dice));
        let mut kernel = Kernel::new(&panel).expect("one symbol without gaps");
        let run = simulate(&panel, &kernel.targets(&rule), &settings).expect("it can be simulated");
        let brief = kernel.brief(&rule, &settings).expect("it can be simulated");
        let same = kernel.equity().iter().zip(&run.curve.equity).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && kernel.equity().len() == panel.len(), "case {case}: {rule:?} {settings:?}");
        assert_eq!(usize::try_from(brief.trades), Ok(run.trades.len()), "case {case}: {rule:?} {settings:?}");
        assert!((brief.costs - run.costs.total()).abs() < 1e-6, "case {case}");
        let total = run.curve.equity[panel.len() - 1] / settings.capital - 1.0;
        assert_eq!(brief.total_return.to_bits(), total.to_bits());
        let (mut peak, mut deepest) = (settings.capital, 0.0_f64);
        for equity in &run.curve.equity {
            peak = peak.max(*equity);
            deepest = deepest.min(equity / peak - 1.0);
        }
        assert_eq!(brief.max_drawdown.to_bits(), deepest.to_bits(), "case {case}");
        traded += run.trades.len();
    }
    assert!(traded > 1000, "the grid trades: {traded}");
}

#[test]
fn all_that_is_refused_row_by_row_is_refused_here() {
    let panel = made::walks(5, 1, 100, false);
    let mut kernel = Kernel::new(&panel).expect("one symbol");
    let rule = Declared::Momentum { lookback: 5, threshold: 0.0, short: true };
    for settings in [
        Settings { leverage_max: 0.5, ..Settings::default() },
        Settings { short_allowed: false, ..Settings::default() },
        Settings { capital: f64::NAN, ..Settings::default() },
    ] {
        let whole = simulate(&panel, &kernel.targets(&rule), &settings).expect_err("it is refused");
        let brief = kernel.brief(&rule, &settings).expect_err("it is refused");
        assert_eq!(format!("{whole:?}"), format!("{brief:?}"));
    }
}

#[test]
fn an_account_that_loses_everything_falls_back_to_row_by_row() {
    let mut prices = vec![10.0; 30];
    prices.extend([11.0, 12.0, 13.0, 4.0, 3.0, 2.0, 30.0, 2.0]);
    let panel = made::flat(&prices);
    let mut kernel = Kernel::new(&panel).expect("one symbol");
    let rule = Declared::Momentum { lookback: 1, threshold: 0.0, short: true };
    let settings = Settings::default();
    let run = simulate(&panel, &kernel.targets(&rule), &settings).expect("it can be simulated");
    assert!(run.ruin.is_some(), "short where the price rises ten times");
    kernel.brief(&rule, &settings).expect("it can be simulated");
    assert_eq!(kernel.equity(), run.curve.equity);
}

#[test]
fn the_sharpe_ratio_is_that_of_the_textbook() {
    let panel = made::walks(9, 1, 500, false);
    let mut kernel = Kernel::new(&panel).expect("one symbol");
    let settings = Settings::default();
    let brief =
        kernel.brief(&Declared::SmaCross { fast: 3, slow: 9, short: false }, &settings).expect("it is simulated");
    let mut before = settings.capital;
    let mut returns = Vec::new();
    for equity in kernel.equity() {
        returns.push(equity / before - 1.0);
        before = *equity;
    }
    let mean = returns.iter().sum::<f64>() / 500.0;
    let deviation = (returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 499.0).sqrt();
    let expected = mean / deviation * 252.0_f64.sqrt();
    let found = brief.sharpe.expect("it trades");
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    let idle =
        kernel.brief(&Declared::SmaCross { fast: 3, slow: 900, short: false }, &settings).expect("it is simulated");
    assert_eq!((idle.sharpe, idle.trades, idle.max_drawdown), (None, 0, 0.0));
}

//! What holds for every backtest.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const FILLS: [Fill; 3] = [Fill::NextOpen, Fill::NextClose, Fill::SignalClose];

fn costs(bps: f64) -> Settings {
    Settings {
        commission: Commission { bps, ..Commission::default() },
        slippage: Slippage { bps: bps / 2.0, range: 0.0, volume_share_max: 0.0 },
        ..Settings::default()
    }
}

/// The settings of one case, all of which can be heeded.
fn settings(fill: Fill, choice: u8) -> Settings {
    let shares = fill != Fill::SignalClose;
    Settings {
        fill,
        rebalance: if choice & 1 == 0 { Rebalance::EveryBar } else { Rebalance::OnChange },
        commission: Commission { bps: 10.0, per_share: 0.005, minimum: if choice & 2 == 0 { 0.0 } else { 1.0 } },
        slippage: Slippage {
            bps: 5.0,
            range: if choice & 4 == 0 { 0.0 } else { 0.1 },
            volume_share_max: if shares && choice & 8 != 0 { 0.2 } else { 0.0 },
        },
        borrow_rate: if choice & 16 == 0 { 0.0 } else { 0.03 },
        whole_shares: shares && choice & 32 != 0,
        ..Settings::default()
    }
}

/// The account, computed anew from its fills alone: cash and positions at each close.
fn from_fills(panel: &Panel, run: &Run) -> Vec<(f64, f64)> {
    let mut cash = run.curve.capital;
    let mut shares = vec![0.0; panel.columns().len()];
    let mut marks = vec![f64::NAN; panel.columns().len()];
    let mut fills = run.fills.iter().peekable();
    (0..panel.len())
        .map(|row| {
            while let Some(fill) = fills.next_if(|fill| fill.row == row) {
                cash -= fill.shares * fill.price + fill.commission;
                shares[fill.symbol] += fill.shares;
            }
            let mut value = 0.0;
            for (symbol, columns) in panel.columns().iter().enumerate() {
                if columns.has(row) {
                    marks[symbol] = columns.close[row];
                }
                if shares[symbol] != 0.0 {
                    value += shares[symbol] * marks[symbol];
                }
            }
            (cash, value)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn cash_and_positions_are_equity(seed: u64, fill in 0..3_usize, choice: u8, symbols in 1..4_usize) {
        let panel = made::walks(seed, symbols, 80, true);
        let settings = settings(FILLS[fill], choice & !16);
        let run = simulate(&panel, &made::wishes(seed, &panel, true), &settings).expect("it can be simulated");
        let of_fills = from_fills(&panel, &run);
        for (row, (cash, value)) in of_fills.into_iter().enumerate() {
            let equity = run.curve.equity[row];
            let positions = run.net[row] * equity;
            prop_assert!((run.cash[row] + positions - equity).abs() <= 1e-9 * 1e5, "row {row}");
            if settings.fill != Fill::SignalClose {
                prop_assert!((cash - run.cash[row]).abs() <= 1e-6, "row {row}: cash {cash} is not {}", run.cash[row]);
                prop_assert!((cash + value - equity).abs() <= 1e-6, "row {row}: {} is not {equity}", cash + value);
            }
        }
    }

    #[test]
    fn profits_of_trades_add_up_to_what_was_earned(seed: u64, fill in 0..3_usize, choice: u8, symbols in 1..4_usize) {
        let panel = made::walks(seed, symbols, 80, true);
        let settings = settings(FILLS[fill], choice);
        let run = simulate(&panel, &made::wishes(seed, &panel, true), &settings).expect("it can be simulated");
        let profits = run.trades.iter().fold(0.0, |sum, t| sum + t.profit);
        let costs = run.trades.iter().fold(0.0, |sum, t| sum + t.costs);
        let earned = run.curve.equity[panel.len() - 1] - run.curve.capital;
        prop_assert!((profits - earned).abs() <= 1e-6, "{profits} is not {earned}");
        prop_assert!((costs - run.costs.total()).abs() <= 1e-6, "{costs} is not {}", run.costs.total());
        prop_assert!(run.trades.iter().all(|t| t.quantity > 0.0 && t.entry_price > 0.0 && t.exit_price > 0.0 && t.entry <= t.exit));
    }

    #[test]
    fn who_wants_nothing_keeps_what_he_has(seed: u64, fill in 0..3_usize, choice: u8) {
        let panel = made::walks(seed, 2, 30, true);
        let settings = settings(FILLS[fill], choice);
        for targets in [Targets::none(&panel), Targets::new(&panel, vec![0.0; 2 * panel.len()]).expect("weights")] {
            let run = simulate(&panel, &targets, &settings).expect("it can be simulated");
            prop_assert!(run.curve.equity.iter().all(|e| *e == settings.capital));
            prop_assert!(run.fills.is_empty() && run.trades.is_empty() && run.refused.is_empty());
        }
    }

    #[test]
    fn costs_only_ever_lower_equity(seed: u64, fill in 0..3_usize, bps in 0.0..200.0_f64) {
        let panel = made::walks(seed, 1, 80, false);
        let targets = made::wishes(seed, &panel, true);
        let fill = FILLS[fill];
        let free = simulate(&panel, &targets, &Settings { fill, ..costs(0.0) }).expect("it can be simulated");
        let paid = simulate(&panel, &targets, &Settings { fill, ..costs(bps) }).expect("it can be simulated");
        for (row, (free, paid)) in free.curve.equity.iter().zip(&paid.curve.equity).enumerate() {
            prop_assert!(*paid <= free * (1.0 + 1e-6), "row {row}: {paid} with costs, {free} without");
        }
    }

    #[test]
    fn four_times_the_capital_is_four_times_the_curve_to_the_bit(seed: u64, fill in 0..3_usize, symbols in 1..4_usize) {
        let panel = made::walks(seed, symbols, 80, true);
        let targets = made::wishes(seed, &panel, true);
        let one = Settings { fill: FILLS[fill], ..costs(10.0) };
        let four = Settings { capital: 4.0 * one.capital, ..one };
        let one = simulate(&panel, &targets, &one).expect("it can be simulated");
        let four = simulate(&panel, &targets, &four).expect("it can be simulated");
        prop_assert!(one.curve.equity.iter().zip(&four.curve.equity).all(|(a, b)| (a * 4.0).to_bits() == b.to_bits()));
    }

    /// The engine itself does not look ahead: what was known at a close does not depend on what came after it.
    #[test]
    fn the_past_is_the_same_whatever_follows(seed: u64, fill in 0..3_usize, choice: u8, cut in 1..80_usize) {
        let panel = made::walks(seed, 2, 80, true);
        let cut = cut.min(panel.len());
        let targets = made::wishes(seed, &panel, true);
        let part = panel.truncated(cut);
        let begin = Targets::new(&part, targets.weights()[..cut * 2].to_vec()).expect("weights");
        let settings = settings(FILLS[fill], choice);
        let whole = simulate(&panel, &targets, &settings).expect("it can be simulated");
        let part = simulate(&part, &begin, &settings).expect("it can be simulated");
        prop_assert_eq!(&whole.curve.equity[..cut], &part.curve.equity[..]);
    }

    #[test]
    fn positions_stay_within_the_leverage_where_they_are_traded(seed: u64, choice: u8, leverage in 1.0..3.0_f64) {
        let panel = made::walks(seed, 3, 80, false);
        let weights = made::wishes(seed, &panel, true).weights().iter().map(|w| w * leverage).collect();
        let targets = Targets::new(&panel, weights).expect("weights");
        let settings = Settings { leverage_max: leverage, ..settings(Fill::NextClose, choice) };
        let run = simulate(&panel, &targets, &settings).expect("it can be simulated");
        let mut held = vec![0.0_f64; 3];
        for (row, fills) in run.fills.chunk_by(|a, b| a.row == b.row).map(|fills| (fills[0].row, fills)) {
            // What was made larger; a position that only fell may leave more than is allowed.
            let before = held.clone();
            fills.iter().for_each(|f| held[f.symbol] += f.shares);
            if fills.iter().any(|f| held[f.symbol].abs() > before[f.symbol].abs() + 1e-9) {
                prop_assert!(run.exposure[row] <= leverage * (1.0 + 1e-6), "row {row}: {}", run.exposure[row]);
            }
        }
    }
}

/// The bits of a grid of backtests, as they were when this was written: on every machine and in every version the same.
#[test]
fn a_grid_of_backtests_has_these_bits() {
    const SEED: u64 = 20_261_126;
    println!("seed {SEED}");
    let mut hash = Sha256::new();
    for case in 0..96_u64 {
        let symbols = 1 + usize::try_from(case % 3).expect("small");
        let panel = made::walks(SEED + case, symbols, 250, case % 2 == 0);
        let choice = u8::try_from(case % 64).expect("small");
        let settings = settings(FILLS[usize::try_from(case / 32).expect("small")], choice);
        let run = simulate(&panel, &made::wishes(SEED + case, &panel, true), &settings).expect("it can be simulated");
        for value in
            run.curve.equity.iter().chain(&run.cash).chain(&run.exposure).chain(run.trades.iter().map(|t| &t.profit))
        {
            hash.update(value.to_bits().to_le_bytes());
        }
    }
    assert_eq!(hex::encode(hash.finalize()), "094abd8a04d40db37b68c050c480ac481da5f10dd3cff0572c2d12db84838365");
}

use serde_json::json;

use super::{
    super::{
        evaluate::{Evaluated, noise},
        row::Engine,
    },
    *,
};

const PERIODS: f64 = 252.0;

fn judged(counted: &Counted, best: &Evaluated, bars: usize) -> luck::Verdict {
    let own = returns_of(&best.curves.whole[..bars], 100_000.0);
    luck::judge(&luck::Search {
        trials: &counted.trials,
        best: &own,
        periods_per_year: PERIODS,
        surroundings: None,
        excess_return: None,
        seed: 1,
    })
}

/// Sixty strategies without merit over these bars, with the best of them.
fn sixty(panel: &ringfence_backtest::Panel, asked: serde_json::Value) -> (Vec<Evaluated>, usize) {
    let whole = noise::panel(3, 1500);
    let ground = noise::ground(panel, asked);
    let one = |seed| {
        // The same tosses, however many bars are there.
        let super::super::walk::Wanted::Targets(all) = noise::tosses(seed, &whole) else { unreachable!() };
        let weights = all.weights()[..panel.len()].to_vec();
        let targets = ringfence_backtest::targets::Targets::new(panel, weights).expect("weights");
        ground.evaluate(Engine::Sandbox, &super::super::walk::Wanted::Targets(targets))
    };
    let all: Vec<Evaluated> = (0..60).map(one).collect();
    let sharpe = |at: &usize| all[*at].row.metrics.as_ref().and_then(|m| m.sharpe).expect("it moves");
    let best = (0..60).max_by(|a, b| sharpe(a).total_cmp(&sharpe(b))).expect("sixty");
    (all, best)
}

fn count(all: &[Evaluated], bars: &[usize], kept: bool) -> Counted {
    let trials: Vec<Trial<'_>> = all.iter().map(|one| Trial { row: &one.row, bars }).collect();
    let equity = |row: &Row| {
        let one = all.iter().find(|one| std::ptr::eq(&one.row, row)).filter(|_| kept)?;
        Some(one.curves.whole.clone())
    };
    counted(&trials, equity, 100_000.0, PERIODS).expect("trials")
}

#[test]
fn what_is_not_ranked_makes_no_luck_smaller() {
    let whole = noise::panel(3, 1500);
    let (all, best) = sixty(&whole, json!({"strategy": "x", "train": 0.5}));
    let half = whole.truncated(750);
    let (alone, same) = sixty(&half, json!({"strategy": "x"}));
    assert_eq!(best, same, "the past chooses as if nothing came after it");
    let bars: Vec<usize> = (0..750).collect();
    let (split, half) = (count(&all, &bars, true), count(&alone, &bars, true));
    assert_eq!((split.apart, split.trials.count()), (None, 60));
    let (split, half) = (judged(&split, &all[best], 750), judged(&half, &alone[best], 750));
    assert_eq!(split, half, "nor is it judged otherwise");
    // Of sixty without merit the best is expected to be what it is: a hurdle that shrank with the share of bars would call it able.
    assert!(split.luck.expect("it moves") > 0.2, "{:?}", split.luck);
}

#[test]
fn without_equity_luck_is_told_all_the_same_and_no_overfitting_is_made_up() {
    let whole = noise::panel(3, 1500);
    let (all, best) = sixty(&whole, json!({"strategy": "x"}));
    let bars: Vec<usize> = (0..1500).collect();
    let (kept, dropped) = (count(&all, &bars, true), count(&all, &bars, false));
    assert_eq!((kept.apart, dropped.apart), (None, Some("the equity of the runs was not kept")));
    let (one, other) = (judged(&kept, &all[best], 1500), judged(&dropped, &all[best], 1500));
    let near = |a: Option<f64>, b: Option<f64>| (a.expect("told") - b.expect("told")).abs() < 1e-12;
    assert!(near(one.luck, other.luck) && near(one.sharpe_deviation, other.sharpe_deviation), "{one:?} {other:?}");
    assert!(one.overfitting.is_some() && one.effective_trials.is_some());
    assert_eq!((other.overfitting, other.effective_trials, other.trials), (None, None, one.trials));
}

#[test]
fn trials_over_different_bars_are_not_compared_bar_by_bar() {
    let whole = noise::panel(3, 1500);
    let (long, best) = sixty(&whole, json!({"strategy": "x"}));
    let (short, _) = sixty(&whole.truncated(375), json!({"strategy": "x"}));
    let bars: Vec<usize> = (0..1500).collect();
    let all: Vec<Trial<'_>> = (long.iter().map(|one| Trial { row: &one.row, bars: &bars }))
        .chain(short.iter().map(|one| Trial { row: &one.row, bars: &bars[..375] }))
        .collect();
    let counted = counted(&all, |_| panic!("no equity is needed"), 100_000.0, PERIODS).expect("trials");
    assert_eq!(counted.apart, Some("combinations were tried on different bars"));
    let verdict = judged(&counted, &long[best], 1500);
    assert_eq!((verdict.trials, verdict.overfitting), (120, None));
    // Each by its own bars: those that saw a quarter of them scatter twice as far.
    let spread =
        |all: &[Evaluated]| count(all, &bars[..all[0].row.bars as usize], true).trials.deviation().expect("many");
    let (own, few) = (spread(&long), spread(&short));
    let mean = ((own * own + few * few) / 2.0).sqrt();
    let found = counted.trials.deviation().expect("many");
    assert!(few > 1.5 * own && (found / mean - 1.0).abs() < 0.1, "{own} {few} {found}");
}

#[test]
fn returns_begin_with_the_capital_and_end_with_the_money() {
    assert_eq!(returns_of(&[110.0, 55.0, 0.0, 0.0], 100.0), [0.10000000000000009, -0.5, -1.0, 0.0]);
    assert_eq!(returns_of(&[50.0, -5.0, 20.0, 40.0], 100.0), [-0.5, -1.0, 0.0, 0.0], "who has lost all has lost it");
}

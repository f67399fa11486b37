use serde_json::json;

use super::{
    super::{evaluate::noise, row::Finding},
    *,
};

fn asked() -> serde_json::Value {
    json!({"strategy": "x", "metric": "sharpe", "walk_forward": {"train": 300, "test": 100}})
}

/// Eight strategies without merit, and one (the last) that knows tomorrow.
fn nine(ground: &Ground) -> Vec<(Row, Vec<Vec<f64>>)> {
    let close = &ground.panel.columns()[0].close;
    let knows = |row: usize| if close.get(row + 2).is_some_and(|later| *later > close[row + 1]) { 1.0 } else { 0.0 };
    let weights = (0..close.len()).map(knows).collect();
    let targets = ringfence_backtest::targets::Targets::new(&ground.panel, weights).expect("weights");
    let tosses = (0..8).map(|seed| noise::tosses(seed, &ground.panel));
    let wanted = tosses.chain([super::super::walk::Wanted::Targets(targets)]);
    let evaluate = |wanted| {
        let done = ground.evaluate(Engine::Sandbox, &wanted);
        (done.row, done.curves.tests)
    };
    wanted.map(evaluate).collect()
}

#[test]
fn what_looks_ahead_is_chosen_in_no_window() {
    let ground = noise::ground(&noise::panel(5, 900), asked());
    let mut all = nine(&ground);
    let chosen = |all: &[(Row, Vec<Vec<f64>>)]| {
        winners(ground.windows.len(), all.iter().enumerate().map(|(at, (row, _))| (at as u64, row)))
    };
    assert_eq!(ground.windows.len(), 6);
    let peeks = chosen(&all);
    assert!(peeks.iter().all(|winner| winner.is_some_and(|(run, _)| run == 8)), "tomorrow is worth more: {peeks:?}");
    all[8].0.look_ahead = Some(Finding { verdict: Verdict::LooksAhead, detail: "x".into() });
    let honest = chosen(&all);
    assert!(honest.iter().all(|winner| winner.is_some_and(|(run, _)| run < 8)), "{honest:?}");
    let tests = |run: u64, window: usize| all[run as usize].1.get(window).cloned();
    let walk = walked(&ground, SweepMetric::Sharpe, &honest, tests).expect("windows");
    let metrics = walk.metrics.expect("every stretch is there");
    let grown = honest.iter().enumerate().fold(1.0, |grown, (window, winner)| {
        let (run, _) = winner.expect("somebody is chosen");
        grown * all[run as usize].1[window].last().expect("bars")
    });
    assert!((metrics.total_return.expect("a return") + 1.0 - grown).abs() < 1e-9);
    assert!(metrics.total_return < Some(0.5), "no merit, no riches: {metrics:?}");
}

#[test]
fn growth_of_different_lengths_has_no_efficiency() {
    let ground = noise::ground(&noise::panel(5, 900), asked());
    let all = nine(&ground);
    let winners = winners(ground.windows.len(), all.iter().enumerate().map(|(at, (row, _))| (at as u64, row)));
    let walk = |metric| {
        let tests = |run: u64, window: usize| all[run as usize].1.get(window).cloned();
        walked(&ground, metric, &winners, tests).expect("windows")
    };
    let sharpe = walk(SweepMetric::Sharpe).efficiency.expect("a ratio of two of a year");
    assert!((0.5..2.0).contains(&sharpe), "tomorrow is known in and out of sample: {sharpe}");
    assert_eq!(walk(SweepMetric::TotalReturn).efficiency, None);
}

#[test]
fn without_equity_nothing_is_put_in_its_place() {
    let ground = noise::ground(&noise::panel(5, 900), asked());
    let all = nine(&ground);
    let winners = winners(ground.windows.len(), all.iter().enumerate().map(|(at, (row, _))| (at as u64, row)));
    // One stretch of six is missing.
    let tests = |run: u64, window: usize| all[run as usize].1.get(window).filter(|_| window != 3).cloned();
    let walk = walked(&ground, SweepMetric::Sharpe, &winners, tests).expect("windows");
    assert_eq!((walk.metrics, walk.efficiency), (None, None));
    assert!(walk.windows.iter().all(|window| window.run == Some(8) && window.test.is_none()), "{:?}", walk.windows);
    assert!(walk.buy_and_hold_return.is_some(), "holding needs nobody's equity");
    // Nobody is chosen: the money lies, and that is a figure.
    let nobody = walked(&ground, SweepMetric::Sharpe, &[None; 6], |_, _| None).expect("windows");
    assert_eq!(nobody.metrics.and_then(|metrics| metrics.total_return), Some(0.0));
}

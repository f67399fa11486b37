use ringfence_backtest::{Settings, simulate};
use ringfence_research::strategy::{Options, Parameters, Strategy, built_ins};
use serde_json::json;

use crate::scene::{Scene, apple, bits, built_in, code, failure, panel, set, targets};

pub(crate) async fn each_wants_something_and_the_same_twice(scene: &Scene<'_>) {
    for strategy in built_ins() {
        let panel = if strategy.symbols == 1 { panel(&["AAPL"]) } else { panel(&["AAPL", "MSFT"]) };
        let first = scene.targets(&built_in(strategy.name), &panel).await;
        let second = scene.targets(&built_in(strategy.name), &panel).await;
        assert_eq!(bits(&first), bits(&second), "{}", strategy.name);
        let held = first.weights().iter().filter(|w| **w > 0.0).count();
        assert!(held > 0, "{} never buys", strategy.name);
        // Positions are said where they change, and each change is another position.
        let said: Vec<f64> = first.weights().chunks(first.symbols()).map(|w| w[0]).filter(|w| !w.is_nan()).collect();
        assert!(said.windows(2).all(|pair| pair[0] != pair[1]), "{}: {said:?}", strategy.name);
    }
}

pub(crate) async fn the_three_of_the_seed_earn_three_different_things(scene: &Scene<'_>) {
    let settings = Settings { short_allowed: true, ..Settings::default() };
    let mut ends = Vec::new();
    for (name, symbols) in
        [("momentum", &["AAPL"][..]), ("mean_reversion", &["AAPL"]), ("pairs_trading", &["AAPL", "MSFT"])]
    {
        let panel = panel(symbols);
        let targets = scene.targets(&built_in(name), &panel).await;
        let run = simulate(&panel, &targets, &settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        let end = *run.curve.equity.last().expect("bars");
        println!("{name}: {} trades, from {} to {end:.2}", run.trades.len(), run.curve.capital);
        assert!(run.trades.len() > 10, "{name}: {} trades", run.trades.len());
        ends.push(end);
    }
    assert!(ends[0] != ends[1] && ends[1] != ends[2] && ends[0] != ends[2], "{ends:?}");
}

pub(crate) async fn a_batch_gives_what_single_runs_give(scene: &Scene<'_>) {
    let panel = apple(1500);
    for (name, sets) in [
        (
            "sma_cross",
            json!([{"fast": 10, "slow": 20}, {"fast": 20, "slow": 50, "short": true}, {"fast": 50.0, "slow": 100}]),
        ),
        ("mean_reversion", json!([{}, {"lookback": 50, "entry": 1.5, "exit": 0.5}, {"short": true}])),
        ("rsi", json!([{}, {"window": 2, "low": 10}, {"short": true}])),
    ] {
        let sets: Vec<Parameters> = serde_json::from_value(sets).expect("sets");
        let strategy = built_in(name);
        let batch = scene.sets(&strategy, &panel, &sets, &Options::default()).await;
        for (set, outcome) in sets.iter().zip(batch) {
            assert_eq!(outcome.spent.as_ref().expect("it ran").sets, sets.len());
            let single = scene.sets(&strategy, &panel, std::slice::from_ref(set), &Options::default()).await.remove(0);
            assert_eq!(bits(&targets(outcome)), bits(&targets(single)), "{name} {set}");
        }
    }
}

pub(crate) async fn point_in_time_gives_what_the_whole_gives(scene: &Scene<'_>) {
    for strategy in built_ins() {
        let panel = if strategy.symbols == 1 { panel(&["AAPL"]) } else { panel(&["AAPL", "GOOG"]) };
        // Those of a pair begin where both have bars.
        let panel = panel.window(1100..1500);
        let begin = std::time::Instant::now();
        let stepwise = targets(scene.stepwise(&built_in(strategy.name), &panel, &Parameters::default()).await);
        let took = begin.elapsed();
        println!("{}: {} bars one by one in {took:?}", strategy.name, panel.len());
        assert_eq!(bits(&stepwise), bits(&scene.targets(&built_in(strategy.name), &panel).await), "{}", strategy.name);
    }
}

pub(crate) async fn parameters_are_held_to_their_bounds_in_both_languages(scene: &Scene<'_>) {
    let panel = apple(50);
    // A copy of a built-in file is a strategy of the caller's, which only Python checks.
    for (name, bad) in [
        ("sma_cross", json!({"fast": 0})),
        ("sma_cross", json!({"fast": "ten"})),
        ("sma_cross", json!({"quick": 10})),
        ("sma_cross", json!({"fast": 10.5})),
        ("sma_cross", json!({"short": 1})),
        ("sma_cross", json!({"fast": true})),
        ("momentum", json!({"threshold": 11})),
        ("buy_and_hold", json!({"fast": 1})),
    ] {
        let strategy = built_in(name);
        let ours = strategy.complete(&set(bad.clone()), 1).expect_err("it is out of bounds");
        let copy = code(strategy.source());
        let theirs = scene.sets(&copy, &panel, &[set(bad.clone())], &Options::default()).await.remove(0);
        let theirs = failure(theirs, name);
        println!("{bad}: {} | {}", ours.message, theirs.message);
        assert!(theirs.traceback.is_empty(), "{theirs:?}");
    }
    let whole = built_in("sma_cross").complete(&set(json!({"fast": 10.0})), 1).expect("a whole number");
    assert_eq!(whole.to_string(), "fast=10 short=false slow=50");
    assert!(Strategy::built_in("sma_crosses").expect_err("there is none").message.contains("sma_cross, breakout"));
    assert!(
        built_in("pairs_trading").complete(&Parameters::default(), 1).expect_err("one").message.contains("2 symbols")
    );
}

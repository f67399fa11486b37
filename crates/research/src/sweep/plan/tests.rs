//! The plan is the same every time, and holds what was asked for once.

use serde_json::json;

use super::*;

fn request(value: Value) -> SweepRequest {
    serde_json::from_value(value).expect("a request")
}

fn known(name: &str, symbols: Option<usize>, parameters: &[&str]) -> Known {
    Known { name: name.into(), symbols, parameters: Some(parameters.iter().map(|p| (*p).to_owned()).collect()) }
}

fn symbols(names: &[&str]) -> Vec<Symbol> {
    names.iter().map(|name| Symbol::parse(name).expect("a symbol")).collect()
}

fn plan(value: Value, strategies: &[Known], names: &[&str]) -> Result<Plan, ApiError> {
    Plan::new(&request(value), strategies.to_vec(), &symbols(names), |_| 1000)
}

fn sma() -> Known {
    known("sma_cross", Some(1), &["fast", "slow"])
}

#[test]
fn a_grid_is_run_symbol_by_symbol_with_the_last_parameter_fastest() {
    let asked = json!({"strategy": "sma_cross", "parameters": {"slow": [30, 40], "fast": [10, 20]}});
    let plan = plan(asked, &[sma()], &["AAPL", "IBM"]).expect("a plan");
    let found: Vec<String> = plan
        .first()
        .iter()
        .map(|run| format!("{} {} {}", run.number, plan.symbols(run)[0], json!(plan.parameters(run))))
        .collect();
    assert_eq!(
        found,
        [
            r#"0 AAPL {"fast":10,"slow":30}"#,
            r#"1 AAPL {"fast":10,"slow":40}"#,
            r#"2 AAPL {"fast":20,"slow":30}"#,
            r#"3 AAPL {"fast":20,"slow":40}"#,
            r#"4 IBM {"fast":10,"slow":30}"#,
            r#"5 IBM {"fast":10,"slow":40}"#,
            r#"6 IBM {"fast":20,"slow":30}"#,
            r#"7 IBM {"fast":20,"slow":40}"#,
        ]
    );
    assert_eq!(plan.total(), 8);
}

#[test]
fn combinations_are_run_as_they_are_and_crossed_with_the_grid() {
    let asked = json!({"combinations": [{"fast": 10, "slow": 20}, {"fast": 20, "slow": 50}], "parameters": {"short": [false, true]}});
    let own = known("code", None, &["fast", "slow", "short"]);
    let plan = plan(asked, &[own], &["AAPL"]).expect("a plan");
    let found: Vec<Value> = plan.first().iter().map(|run| json!(plan.parameters(run))).collect();
    assert_eq!(
        found,
        [
            json!({"fast": 10, "slow": 20, "short": false}),
            json!({"fast": 10, "slow": 20, "short": true}),
            json!({"fast": 20, "slow": 50, "short": false}),
            json!({"fast": 20, "slow": 50, "short": true}),
        ]
    );
}

#[test]
fn each_strategy_gets_the_parameters_that_it_knows() {
    let other = known("momentum", Some(1), &["lookback"]);
    let asked = json!({"parameters": {"fast": [1, 2], "lookback": [5, 6, 7]}});
    let both = plan(asked.clone(), &[sma(), other], &["AAPL"]).expect("a plan");
    assert_eq!(both.total(), 2 + 3);
    let error = plan(asked, &[sma()], &["AAPL"]).expect_err("nobody knows `lookback`");
    assert!(error.message.contains("`lookback`") && error.message.contains("fast, slow"), "{}", error.message);
}

#[test]
fn symbols_are_grouped_as_the_strategy_takes_them() {
    let pairs = known("pairs_trading", Some(2), &[]);
    let found = plan(json!({}), std::slice::from_ref(&pairs), &["A", "B", "C"]).expect("a plan").groups;
    assert_eq!(found, [symbols(&["A", "B"]), symbols(&["A", "C"]), symbols(&["B", "C"])]);
    plan(json!({}), &[pairs], &["A"]).expect_err("one is no pair");
    plan(json!({"together": true}), &[sma()], &["A", "B"]).expect_err("it takes one");
    let any = Known { name: "code".into(), symbols: None, parameters: None };
    assert_eq!(
        plan(json!({"together": true}), std::slice::from_ref(&any), &["A", "B"]).expect("a plan").groups.len(),
        1
    );
    assert_eq!(plan(json!({}), &[any], &["A", "B"]).expect("a plan").groups.len(), 2);
}

#[test]
fn a_random_search_draws_by_its_seed_alone() {
    let values: Vec<u32> = (0..1000).collect();
    let asked = |seed: u32| {
        let asked =
            json!({"search": "random", "budget": 50, "seed": seed, "parameters": {"fast": values, "slow": values}});
        plan(asked, &[sma()], &["AAPL", "IBM"]).expect("a plan")
    };
    assert_eq!((asked(1).total(), asked(1)), (100, asked(1)));
    assert_ne!(asked(1), asked(2));
    // Each symbol is searched with the same sets, so that they can be compared.
    let plan = asked(1);
    let sets = |lane| plan.first().iter().filter(|run| run.lane == lane).map(|run| run.set).collect::<Vec<_>>();
    assert_eq!(sets(0), sets(1));
}

#[test]
fn halving_keeps_the_better_half_on_twice_the_bars() {
    let values: Vec<u32> = (0..10).collect();
    let asked = json!({"search": "halving", "budget": 10, "parameters": {"fast": values}});
    let plan = plan(asked, &[sma()], &["AAPL", "IBM"]).expect("a plan");
    // 10, 5, 3 and 2: the last two have seen all bars.
    assert_eq!((plan.rungs, plan.bars(0, 1000), plan.bars(3, 1000)), (4, 125, 1000));
    assert_eq!(plan.total(), 2 * (10 + 5 + 3 + 2));
    let first = plan.first();
    // Odd sets are good, and one of them failed.
    let score = |run: &Run| (run.set != 3).then_some((run.set % 2) as f64);
    let second = plan.next(&first, score);
    let found: Vec<(u64, usize, u64)> = second.iter().map(|run| (run.number, run.lane, run.set)).collect();
    assert_eq!(found[..5].iter().map(|f| f.2).collect::<Vec<_>>(), [0, 1, 5, 7, 9]);
    assert_eq!((found[0].0, found[9].0, found[5].1), (20, 29, 1));
    let mut runs = second;
    for count in [6, 4, 0] {
        runs = plan.next(&runs, score);
        assert_eq!(runs.len(), count);
    }
}

#[test]
fn more_runs_than_a_sweep_may_have_are_refused() {
    let values: Vec<u32> = (0..400).collect();
    let error = plan(json!({"parameters": {"fast": values, "slow": values}}), &[sma()], &["A", "B"]).expect_err("many");
    assert!(error.message.contains("320000 runs"), "{}", error.message);
}

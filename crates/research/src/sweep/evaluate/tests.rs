use ringfence_backtest::targets::{Order, Orders};
use serde_json::json;

use super::*;

fn stretches() -> [serde_json::Value; 2] {
    [json!({"strategy": "x", "train": 0.5}), json!({"strategy": "x", "walk_forward": {"train": 100, "test": 50}})]
}

fn orders() -> Wanted {
    // Bought on one side of every stretch's beginning, sold on the other.
    let order = |row, shares| Order { row, symbol: 0, shares };
    Wanted::Orders(Orders(vec![order(10, 100.0), order(160, -100.0)]))
}

#[test]
fn orders_open_no_short_position_in_a_stretch() {
    let panel = noise::panel(1, 200);
    for asked in stretches() {
        let done = noise::ground(&panel, asked).evaluate(Engine::Sandbox, &orders());
        let why = done.row.error.expect("a sale of what an earlier stretch bought would be a short one");
        assert!(why.contains("orders are for the shares of one account") && why.contains("target weights"), "{why}");
        assert!(done.row.metrics.is_none() && done.curves == Curves::default());
    }
    let whole = noise::ground(&panel, json!({"strategy": "x"}));
    let run = whole.whole(&orders()).expect("over the whole time they are what they were").run;
    assert!(run.net.iter().all(|net| *net >= 0.0) && run.trades.len() == 1, "{:?}", run.trades);
}

#[test]
fn reported_equity_counts_from_its_own_beginning() {
    let panel = noise::panel(1, 200);
    let ground = noise::ground(&panel, json!({"strategy": "x", "capital": 100_000.0}));
    let equity: Vec<f64> = (0..200).map(|bar| 1.0 + 0.001 * f64::from(bar)).collect();
    let curve = Curve { dates: panel.dates().to_vec(), capital: equity[0], equity };
    let done = ground.reported(Engine::Sandbox, &curve, &[]);
    assert!(!done.row.own_dates && done.row.error.is_none(), "{:?}", done.row);
    let whole = &done.curves.whole;
    assert!((whole[0] - 100_000.0).abs() < 1e-6, "from 1.0 to 1.0 nothing was lost: {}", whole[0]);
    assert!((whole[199] / whole[0] - curve.equity[199]).abs() < 1e-12);
    let other = Curve { dates: curve.dates[1..].to_vec(), equity: curve.equity[1..].to_vec(), capital: 1.0 };
    assert!(ground.reported(Engine::Sandbox, &other, &[]).row.own_dates);
}

#[test]
fn reported_equity_is_not_ranked_with_knowledge_of_what_judges_it() {
    let panel = noise::panel(1, 200);
    let curve = Curve { dates: panel.dates().to_vec(), capital: 1.0, equity: vec![1.0; 200] };
    for asked in stretches() {
        let done = noise::ground(&panel, asked).reported(Engine::Sandbox, &curve, &[]);
        let why = done.row.error.expect("refused");
        assert!(done.row.self_reported && why.contains("equity of the whole time") && why.contains("train"), "{why}");
    }
}

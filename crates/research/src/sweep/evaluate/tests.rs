use ringfence_backtest::{
    kernel::{Declared, Kernel},
    targets::{Order, Orders},
};
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

fn request(asked: serde_json::Value) -> SweepRequest {
    let request: SweepRequest = serde_json::from_value(asked).expect("a request");
    request.check().expect("within bounds");
    request
}

#[test]
fn every_option_of_the_engine_is_asked_for_by_name() {
    let asked = json!({
        "strategy": "x", "capital": 5000, "fill": "next_close",
        "costs": {"commission_bps": 1, "slippage_bps": 2, "range_slippage": 0.25, "per_share": 3, "minimum": 4, "borrow_bps": 50},
        "account": {"leverage_max": 2, "whole_shares": true, "volume_share_max": 0.1, "rebalance": "on_change"},
    });
    // Written out in full: an option that is added to the engine is missed here.
    let expected = Settings {
        capital: 5000.0,
        fill: Fill::NextClose,
        rebalance: Rebalance::OnChange,
        commission: Commission { bps: 1.0, per_share: 3.0, minimum: 4.0 },
        slippage: Slippage { bps: 2.0, range: 0.25, volume_share_max: 0.1 },
        borrow_rate: 0.005,
        leverage_max: 2.0,
        short_allowed: true,
        whole_shares: true,
    };
    assert_eq!(settings(&request(asked)), expected);
    let long = settings(&request(json!({"strategy": "x", "account": {"short_allowed": false}})));
    let commission = Commission { bps: 10.0, ..Commission::default() };
    assert_eq!(long, Settings { short_allowed: false, commission, ..Settings::default() });
    assert_eq!(settings(&request(json!({"strategy": "x"}))), Settings { commission, ..Settings::default() });
}

/// What a request may say, the engine takes: nothing is refused in each of a thousand runs that could have been refused before.
#[test]
fn the_bounds_of_requests_are_within_those_of_the_engine() {
    let low = json!({"commission_bps": 0, "slippage_bps": 0, "range_slippage": 0, "per_share": 0, "minimum": 0, "borrow_bps": 0});
    let high = json!({"commission_bps": 5000, "slippage_bps": 5000, "range_slippage": 1, "per_share": 1e6, "minimum": 1e6,
                      "borrow_bps": 100_000});
    for (costs, capital, account) in [
        (low.clone(), 1.0, json!({"leverage_max": 1, "volume_share_max": 1e-300})),
        (high.clone(), 1e12, json!({"leverage_max": 100, "volume_share_max": 1, "whole_shares": true})),
    ] {
        let asked = json!({"strategy": "x", "costs": costs, "capital": capital, "account": account});
        settings(&request(asked)).check().expect("taken");
    }
    for costs in [low, high] {
        let asked = json!({"strategy": "x", "costs": costs, "fill": "signal_close", "account": {"leverage_max": 100}});
        settings(&request(asked)).check().expect("taken");
    }
}

/// Native code says what a strategy wants, and no more: whatever the account, a native run and one in a sandbox that wants the same are
/// filled by the same code. That it matters what the account is, is seen beside.
#[test]
fn an_account_is_the_same_for_native_code() {
    let panel = noise::panel(3, 300);
    let values = [("fast", json!(5)), ("slow", json!(20)), ("short", json!(false))];
    let values = values.map(|(name, value)| (name.to_owned(), value)).into();
    let declared = Declared::new("sma_cross", &values).expect("declared");
    let native = || Wanted::Targets(Kernel::new(&panel).expect("a kernel").targets(&declared));
    let Wanted::Targets(targets) = native() else { unreachable!("weights") };
    let by_hand = || Wanted::Targets(Targets::new(&panel, targets.weights().to_vec()).expect("weights"));
    // Little enough money that a whole share matters.
    let plain = json!({"strategy": "x", "capital": 10_000});
    let plain = noise::ground(&panel, plain).evaluate(Engine::Sandbox, &by_hand());
    let plain = plain.row.metrics.expect("figures");
    for (account, costs) in [
        (json!({"whole_shares": true}), json!({})),
        (json!({"volume_share_max": 0.01}), json!({})),
        (json!({}), json!({"slippage_bps": 5})),
        (json!({}), json!({"per_share": 0.01, "minimum": 1})),
    ] {
        let asked = json!({"strategy": "x", "account": account, "costs": costs, "capital": 10_000});
        let ground = noise::ground(&panel, asked.clone());
        let (one, other) = (ground.evaluate(Engine::Native, &native()), ground.evaluate(Engine::Sandbox, &by_hand()));
        assert_eq!((&one.row.metrics, &one.curves), (&other.row.metrics, &other.curves), "{asked}");
        assert!(one.row.error.is_none(), "{:?}", one.row);
        let figures = one.row.metrics.expect("figures");
        assert!(figures.total_return != plain.total_return, "{asked} changes nothing");
    }
}

#[test]
fn what_an_account_may_not_do_is_the_reason_of_the_run() {
    let panel = noise::panel(2, 100);
    let hold = |weight: f64| Wanted::Targets(Targets::new(&panel, vec![weight; 100]).expect("weights"));
    let why = |asked: serde_json::Value, weight| {
        noise::ground(&panel, asked).evaluate(Engine::Sandbox, &hold(weight)).row.error
    };
    let long = json!({"strategy": "x", "account": {"short_allowed": false}});
    assert!(why(long.clone(), -0.5).is_some_and(|why| why.contains("short selling is not allowed")));
    assert_eq!((why(long, 0.5), why(json!({"strategy": "x"}), -0.5)), (None, None));
    assert!(why(json!({"strategy": "x"}), 1.5).is_some_and(|why| why.contains("at most 1 is allowed")));
    assert_eq!(why(json!({"strategy": "x", "account": {"leverage_max": 1.5}}), 1.5), None);
}

#[test]
fn a_weight_drifts_where_only_changes_are_traded() {
    let panel = noise::panel(4, 100);
    let half = Wanted::Targets(Targets::new(&panel, vec![0.5; 100]).expect("weights"));
    let fills = |asked: serde_json::Value| noise::ground(&panel, asked).whole(&half).expect("fine").run.fills.len();
    assert!(fills(json!({"strategy": "x"})) > 90);
    assert_eq!(fills(json!({"strategy": "x", "account": {"rebalance": "on_change"}})), 1);
}

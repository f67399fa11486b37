use serde_json::{Value, json};

use super::*;

fn said(asked: Value, name: &str) -> String {
    let request: SweepRequest = serde_json::from_value(asked).expect("a request");
    conventions(&request, None).remove(name).unwrap_or_default()
}

#[test]
fn every_option_is_among_the_conventions() {
    let plain = json!({"strategy": "x"});
    assert_eq!(said(plain.clone(), "costs"), "10 bp commission and 0 bp slippage a fill");
    assert_eq!(
        said(plain, "account"),
        "no credit; short selling; fractions of shares; traded back to the target at each bar that has one"
    );
    let costs = json!({"strategy": "x", "costs": {"range_slippage": 0.1, "borrow_bps": 50, "minimum": 1}});
    assert_eq!(
        said(costs, "costs"),
        "10 bp commission and 0 bp slippage a fill, 0 a share, at least 1, 0.1 of the bar's high less low on top as slippage, 0.5 % a \
         year on what is short"
    );
    let account = json!({"leverage_max": 2, "short_allowed": false, "whole_shares": true, "volume_share_max": 0.05,
                         "rebalance": "on_change"});
    assert_eq!(
        said(json!({"strategy": "x", "account": account}), "account"),
        "positions up to 2 times equity, and what is borrowed to buy costs nothing, which flatters; no short selling; whole shares of \
         the last day's kind; traded when the target changes; at most 5.0 % of a bar's volume, the rest at the next"
    );
    let exact = json!({"strategy": "x", "fill": "signal_close"});
    assert_eq!(said(exact, "account"), "no credit; short selling; weights held exactly at each bar");
}

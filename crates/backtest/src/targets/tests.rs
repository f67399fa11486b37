use super::*;
use crate::made;

fn refused(weights: &[f64], leverage: f64, short: bool) -> String {
    let panel = made::walks(1, 2, 2, false);
    match Targets::new(&panel, weights.to_vec()).and_then(|t| t.check(&panel, leverage, short)) {
        Ok(()) => "taken".to_owned(),
        Err(error) => error.to_string(),
    }
}

const NO: f64 = f64::NAN;

#[test]
fn what_a_strategy_may_not_want_is_refused_with_its_row() {
    assert_eq!(refused(&[0.5, 0.5, NO, NO], 1.0, true), "taken");
    assert_eq!(refused(&[0.5, NO, NO, -0.5], 1.0, true), "taken");
    assert_eq!(refused(&[0.1; 5], 1.0, true), "there are 5 weights; 2 bars of 2 symbol(s) need 4");
    assert_eq!(
        refused(&[0.0, 0.0, 0.0, f64::INFINITY], 1.0, true),
        "row 1 (2020-01-02): the weight of S1 is inf; it must be a finite number, or NaN for no change"
    );
    assert_eq!(
        refused(&[0.75, NO, NO, -0.5], 1.0, true),
        "row 1 (2020-01-02): the weights add up to 1.25 of equity without regard to sign; at most 1 is allowed"
    );
    assert_eq!(refused(&[0.75, NO, NO, -0.5], 1.25, true), "taken");
    assert_eq!(refused(&[0.75, NO, 0.25, -0.5], 1.0, true), "taken", "the first gives way at the same row");
    assert_eq!(
        refused(&[0.75, -0.1, NO, NO], 1.0, false),
        "row 0 (2020-01-01): the weight of S1 is -0.1, and short selling is not allowed"
    );
    assert!(refused(&[1e308, 1e308, NO, NO], 1.0, true).contains("add up to inf"));
    assert_eq!(refused(&[0.1, 0.2, 0.7, 0.3], 1.0, true), "taken", "sums of rounded fractions");
}

#[test]
fn targets_of_another_panel_are_refused() {
    let targets = Targets::none(&made::walks(1, 2, 3, false));
    let other = made::walks(1, 2, 4, false);
    assert_eq!(
        targets.check(&other, 1.0, true).expect_err("it is refused").to_string(),
        "there are 6 weights; 4 bars of 2 symbol(s) need 8"
    );
}

#[test]
fn buying_and_holding_begins_where_a_symbol_does() {
    let panel = Panel::new(
        ringfence_market::import::Interval::Day,
        vec![made::history("A", &[0, 1, 2], &[[1.0; 4]; 3]), made::history("B", &[1, 2], &[[1.0; 4]; 2])],
    )
    .expect("sound bars");
    let shown: Vec<String> = Targets::buy_and_hold(&panel).weights().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["0.5", "NaN", "NaN", "0.5", "NaN", "NaN"]);
}

#[test]
fn orders_that_cannot_be_are_refused_with_their_row() {
    let panel = made::walks(1, 2, 3, false);
    let check = |orders: &[(usize, usize, f64)]| {
        let orders = orders.iter().map(|(row, symbol, shares)| Order { row: *row, symbol: *symbol, shares: *shares });
        match Orders(orders.collect()).check(&panel) {
            Ok(()) => "taken".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(check(&[(0, 0, 1.0), (0, 1, -2.0), (2, 0, 0.5)]), "taken");
    assert_eq!(check(&[(3, 0, 1.0)]), "order 0 is for row 3; the bars have 3");
    assert_eq!(check(&[(0, 2, 1.0)]), "order 0 (row 0) is for symbol 2; there are 2");
    assert_eq!(
        check(&[(1, 0, 1.0), (0, 0, 1.0)]),
        "order 1 (row 0) comes after an order of a later row; give them in order of time"
    );
    for wrong in [0.0, f64::NAN, f64::INFINITY] {
        let expected = format!("order 0 (row 1) is for {wrong} shares; it must be a finite number other than 0");
        assert_eq!(check(&[(1, 1, wrong)]), expected);
    }
    let many = Orders(vec![Order { row: 0, symbol: 0, shares: 1.0 }; ORDERS_MAX + 1]);
    assert_eq!(many.check(&panel), Err(TargetError::TooMany { found: ORDERS_MAX + 1 }));
}

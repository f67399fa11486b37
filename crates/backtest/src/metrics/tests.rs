use jiff::civil::{Date, date};

use super::*;
use crate::types::Side;

fn curve(capital: f64, equity: &[f64]) -> Curve {
    let dates = (0..equity.len()).map(|at| date(2024, 1, 1).saturating_add(jiff::Span::new().days(at as i64)));
    Curve { dates: dates.collect(), equity: equity.to_vec(), capital }
}

fn of(equity: &[f64]) -> Metrics {
    measure(&Input::new(&curve(100.0, equity))).expect("it can be measured")
}

fn trade(profit: f64) -> Trade {
    Trade {
        symbol: ringfence_market::Symbol::parse("AAPL").expect("a symbol"),
        side: Side::Long,
        entry: Date::constant(2024, 1, 2),
        exit: Date::constant(2024, 1, 3),
        bars: 3,
        quantity: 1.0,
        entry_price: 10.0,
        exit_price: 10.0 + profit,
        profit,
        return_on_entry: profit / 10.0,
        costs: 0.0,
        open: false,
    }
}

#[track_caller]
fn refused(curve: &Curve, sentence: &str) {
    let found = measure(&Input::new(curve)).expect_err("it is refused").to_string();
    assert_eq!(found, sentence);
}

#[test]
fn what_is_not_a_number_is_refused_with_its_row() {
    refused(
        &curve(100.0, &[100.0, 101.0, f64::NAN, 102.0]),
        "row 3 (2024-01-03): the equity is NaN, which is not a number; what is not known must be left out",
    );
    refused(
        &curve(100.0, &[f64::INFINITY]),
        "row 1 (2024-01-01): the equity is inf, which is not a number; what is not known must be left out",
    );
    refused(&curve(f64::NAN, &[1.0]), "the capital is NaN: it must be a number above 0");
    refused(&curve(0.0, &[1.0]), "the capital is 0: it must be a number above 0");
    refused(&curve(100.0, &[]), "the curve has no bar: at least one is needed");
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut backwards = curve(100.0, &[100.0, 101.0, 102.0]);
    backwards.dates[2] = date(2023, 12, 31);
    refused(&backwards, "row 3: 2023-12-31 comes after 2024-01-02; rows must be in the order of time");
    backwards.dates.pop();
    refused(&backwards, "the curve has 2 days and 3 values of equity: each bar needs both");
}

#[test]
fn a_benchmark_is_of_the_same_bars() {
    let own = curve(100.0, &[100.0, 101.0, 102.0]);
    let shorter = curve(100.0, &[100.0, 101.0]);
    let found = measure(&Input { benchmark: Some(&shorter), ..Input::new(&own) });
    assert_eq!(found, Err(Unmeasurable::OtherBars { row: 3 }));
    let broken = curve(100.0, &[100.0, f64::NAN, 1.0]);
    let found = measure(&Input { benchmark: Some(&broken), ..Input::new(&own) });
    assert!(matches!(found, Err(Unmeasurable::Benchmark(_))));
}

#[test]
fn a_trade_without_a_profit_or_a_loss_is_refused() {
    let own = curve(100.0, &[100.0, 101.0]);
    let trades = [trade(1.0), trade(f64::NAN)];
    let found = measure(&Input { trades: &trades, ..Input::new(&own) }).expect_err("it is refused");
    assert_eq!(found.to_string(), "trade 2: the profit is NaN, which is not a number");
}

#[test]
fn prices_that_never_move_have_no_ratio() {
    let found = of(&[100.0; 50]);
    assert_eq!(
        (found.total_return, found.cagr, found.volatility, found.max_drawdown),
        (0.0, Some(0.0), Some(0.0), 0.0)
    );
    for name in
        ["sharpe", "sortino", "calmar", "skew", "kurtosis", "win_rate", "profit_factor", "expectancy", "payoff", "sqn"]
    {
        assert_eq!(found.get(name), None, "{name}");
        assert!(found.rows().any(|(convention, _, text)| convention.name == name && text == "n/a"), "{name}");
    }
    assert_eq!(found.drawdown, None);
    let riskless = measure(&Input { risk_free: 0.05, ..Input::new(&curve(100.0, &[100.0; 50])) }).expect("a curve");
    assert_eq!((riskless.sharpe, riskless.sortino), (None, None), "nothing was risked");
}

#[test]
fn one_bar_has_a_return_and_nothing_that_needs_two() {
    let found = of(&[99.0]);
    assert_eq!((found.bars, found.total_return, found.max_drawdown), (1, 99.0 / 100.0 - 1.0, 99.0 / 100.0 - 1.0));
    let without =
        ["cagr", "volatility", "sharpe", "value_at_risk", "expected_shortfall", "best_day", "worst_day", "calmar"];
    assert!(without.iter().all(|name| found.get(name).is_none()));
}

#[test]
fn an_account_without_money_is_closed() {
    let found = of(&[120.0, 60.0, -5.0, 40.0, 500.0]);
    assert_eq!(found.ruined, Some(date(2024, 1, 3)));
    assert_eq!((found.total_return, found.cagr, found.max_drawdown), (-1.0, Some(-1.0), -1.0));
    assert_eq!(found.worst_day, Some(-1.0));
    assert_eq!(
        found.drawdown.map(|d| (d.peak, d.trough, d.recovery)),
        Some((date(2024, 1, 1), date(2024, 1, 3), None))
    );
    assert_eq!(found.calendar[0].total, -1.0);
}

#[test]
fn trades_that_are_open_count_as_they_are_marked() {
    let own = curve(100.0, &[100.0, 101.0, 103.0]);
    let trades = [trade(4.0), trade(-1.0), trade(0.0), Trade { open: true, ..trade(2.0) }];
    let found = measure(&Input { trades: &trades, ..Input::new(&own) }).expect("a curve");
    assert_eq!((found.trades, found.open_trades), (4, 1));
    assert_eq!((found.win_rate, found.profit_factor), (Some(0.5), Some(6.0)));
    assert_eq!((found.expectancy, found.payoff, found.mean_bars), (Some(1.25), Some(3.0), Some(3.0)));
    let one = measure(&Input { trades: &trades[..1], ..Input::new(&own) }).expect("a curve");
    assert_eq!((one.win_rate, one.profit_factor, one.payoff, one.sqn), (Some(1.0), None, None, None));
}

#[test]
fn a_benchmark_is_told_beside_it() {
    let (own, other) = (curve(100.0, &[100.0, 110.0, 105.0]), curve(50.0, &[50.0, 60.0, 54.0]));
    let found = measure(&Input { benchmark: Some(&other), ..Input::new(&own) }).expect("a curve");
    let beside = found.benchmark.expect("it was given");
    assert_eq!((beside.total_return, beside.max_drawdown), (54.0 / 50.0 - 1.0, 54.0 / 60.0 - 1.0));
    assert_eq!(found.excess_return, Some(found.total_return - beside.total_return));
    let alone = measure(&Input::new(&other)).expect("a curve");
    assert_eq!((beside.sharpe, beside.cagr, beside.volatility), (alone.sharpe, alone.cagr, alone.volatility));
    let itself = measure(&Input { benchmark: Some(&own), ..Input::new(&own) }).expect("a curve");
    assert_eq!((itself.beta, itself.information_ratio, itself.excess_return), (Some(1.0), None, Some(0.0)));
    assert!(itself.alpha.expect("it moves").abs() < 1e-12);
}

#[test]
fn every_figure_has_its_convention_and_json_has_its_name() {
    let found = of(&[101.0, 99.0, 104.0, 103.0, 107.0]);
    let json = serde_json::to_value(&found).expect("JSON");
    for convention in conventions() {
        assert!(json.get(convention.name).is_some(), "{}", convention.name);
        assert_eq!(json[convention.name].as_f64(), found.get(convention.name), "{}", convention.name);
        assert!(convention.definition.ends_with('.') && !convention.source.is_empty(), "{}", convention.name);
        assert_eq!(Convention::of(convention.name), Some(convention));
    }
    assert_eq!(serde_json::from_value::<Metrics>(json).expect("it is read again"), found);
    assert_eq!(found.get("no_such_figure"), None);
}

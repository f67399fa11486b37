mod properties;

use ringfence_market::import::Interval;

use super::*;
use crate::{
    made::{self, history, symbol},
    targets::Order,
};

const NO: f64 = f64::NAN;

fn targets(panel: &Panel, weights: &[f64]) -> Targets {
    Targets::new(panel, weights.to_vec()).expect("a weight for each bar")
}

#[track_caller]
fn run(panel: &Panel, weights: &[f64], settings: Settings) -> Run {
    simulate(panel, &targets(panel, weights), &settings).expect("it can be simulated")
}

#[track_caller]
fn close_to(found: &[f64], expected: &[f64]) {
    let near = |(f, e): (&f64, &f64)| (f - e).abs() <= 1e-9 * e.abs().max(1.0);
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?} is not {expected:?}");
}

fn with(fill: Fill) -> Settings {
    Settings { fill, capital: 1000.0, ..Settings::default() }
}

/// Open and close differ, so that the price of each fill shows.
fn steps() -> Panel {
    made::panel(&[
        [10.0, 12.0, 9.0, 11.0],
        [12.0, 16.0, 12.0, 15.0],
        [20.0, 31.0, 20.0, 30.0],
        [40.0, 61.0, 40.0, 60.0],
    ])
}

#[test]
fn each_convention_fills_where_it_says() {
    // Wanted at the first close. Next open: 12, and then the closes.
    let found = run(&steps(), &[1.0, NO, NO, NO], with(Fill::NextOpen));
    close_to(&found.curve.equity, &[1000.0, 1250.0, 2500.0, 5000.0]);
    assert_eq!((found.fills[0].row, found.fills[0].price), (1, 12.0));
    // Next close: 15.
    let found = run(&steps(), &[1.0, NO, NO, NO], with(Fill::NextClose));
    close_to(&found.curve.equity, &[1000.0, 1000.0, 2000.0, 4000.0]);
    // Held from the next bar as if bought at the close of 11 that gave the signal.
    let found = run(&steps(), &[1.0, NO, NO, NO], with(Fill::SignalClose));
    close_to(&found.curve.equity, &[1000.0, 15_000.0 / 11.0, 30_000.0 / 11.0, 60_000.0 / 11.0]);
    assert_eq!(found.settings.fill, Fill::SignalClose);
}

#[test]
fn what_is_wanted_at_the_last_close_is_not_filled_and_is_said() {
    for fill in [Fill::NextOpen, Fill::NextClose] {
        let found = run(&steps(), &[NO, NO, NO, 1.0], with(fill));
        assert_eq!(found.curve.equity, [1000.0; 4]);
        assert_eq!((found.refused[0].reason, found.refused[0].row), (Reason::Ended, 3));
        assert!((found.refused[0].shares - 1000.0 / 60.0).abs() < 1e-12);
    }
}

#[test]
fn costs_are_taken_so_that_cash_is_not_overdrawn() {
    // 1 % of commission: 1000 buys 990.099 worth at 10.
    let settings = Settings { commission: Commission { bps: 100.0, ..Commission::default() }, ..with(Fill::NextOpen) };
    let found = run(&made::flat(&[10.0; 4]), &[1.0, NO, 0.0, NO], settings);
    let bought = 1000.0 / 1.01;
    close_to(&found.curve.equity, &[1000.0, bought, bought, bought * 0.99]);
    close_to(&found.cash, &[1000.0, 0.0, 0.0, bought * 0.99]);
    close_to(&[found.costs.commission, found.costs.slippage], &[bought * 0.01 * 2.0, 0.0]);
    close_to(&[found.traded], &[2.0 * bought]);
    assert!(found.refused.is_empty(), "a cut for costs alone is no refusal");
}

#[test]
fn a_minimum_commission_is_paid_once_a_fill() {
    let settings =
        Settings { commission: Commission { bps: 1.0, per_share: 0.01, minimum: 5.0 }, ..with(Fill::NextOpen) };
    // 50 shares at 10: 0.05 + 0.5, so the minimum.
    let found = run(&made::flat(&[10.0; 3]), &[0.5, NO, NO], settings);
    assert_eq!(found.costs.commission, 5.0);
    close_to(&found.curve.equity, &[1000.0, 995.0, 995.0]);
    // All in: the minimum must be paid too.
    let found = run(&made::flat(&[10.0; 3]), &[1.0, NO, NO], settings);
    close_to(&found.cash[1..2], &[0.0]);
    close_to(&found.curve.equity, &[1000.0, 995.0, 995.0]);
    // More than the minimum.
    let many = Settings { capital: 1e6, ..settings };
    let found = run(&made::flat(&[10.0; 3]), &[0.5, NO, NO], many);
    close_to(&[found.costs.commission], &[500_000.0 * 1e-4 + 50_000.0 * 0.01]);
}

#[test]
fn slippage_is_against_the_trader_and_stays_within_the_bar() {
    let slippage = Slippage { bps: 100.0, range: 0.25, volume_share_max: 0.0 };
    let settings = Settings { slippage, ..with(Fill::NextOpen) };
    let bars = [[10.0, 12.0, 8.0, 10.0]; 4];
    let found = run(&made::panel(&bars), &[0.5, NO, 0.0, NO], settings);
    // 10 × 1.01 + 0.25 × 4, and 10 × 0.99 − 1.
    close_to(&[found.fills[0].price, found.fills[1].price], &[11.1, 8.9]);
    close_to(&[found.costs.slippage], &[50.0 * 1.1 + 50.0 * 1.1]);
    let wide = Slippage { bps: 0.0, range: 1.0, volume_share_max: 0.0 };
    let found = run(&made::panel(&bars), &[0.5, NO, 0.0, NO], Settings { slippage: wide, ..with(Fill::NextOpen) });
    close_to(&[found.fills[0].price, found.fills[1].price], &[12.0, 8.0]);
}

#[test]
fn no_more_of_a_bar_is_filled_than_its_share_of_the_volume() {
    // 1000 shares a bar, a tenth of which may be ours; 500 are wanted.
    let slippage = Slippage { volume_share_max: 0.1, ..Slippage::default() };
    let settings = Settings { slippage, capital: 5000.0, ..with(Fill::NextOpen) };
    let found = run(&made::flat(&[10.0; 9]), &[1.0, NO, NO, NO, NO, NO, NO, NO, NO], settings);
    close_to(&found.fills.iter().map(|f| f.shares).collect::<Vec<_>>(), &[100.0; 5]);
    assert!(found.refused.is_empty());
    let short = run(&made::flat(&[10.0; 3]), &[1.0, NO, NO], settings);
    assert_eq!((short.refused[0].reason, short.refused[0].shares), (Reason::Ended, 300.0));
    let panel = made::flat(&[10.0; 4]);
    let orders = Orders(vec![Order { row: 0, symbol: 0, shares: 250.0 }]);
    let found = simulate_orders(&panel, &orders, &settings).expect("it can be simulated");
    close_to(&found.fills.iter().map(|f| f.shares).collect::<Vec<_>>(), &[100.0, 100.0, 50.0]);
}

#[test]
fn a_short_position_earns_what_falls_and_pays_for_its_shares() {
    let settings = Settings { borrow_rate: 0.365, ..with(Fill::NextClose) };
    let found = run(&made::flat(&[10.0, 10.0, 8.0, 12.0]), &[-0.5, NO, NO, NO], settings);
    // 50 shares short from 10; a thousandth of yesterday's value a day.
    close_to(&found.curve.equity, &[1000.0, 1000.0, 1000.0 + 100.0 - 0.5, 1000.0 - 100.0 - 0.5 - 0.4]);
    close_to(&found.cash, &[1000.0, 1500.0, 1499.5, 1499.1]);
    close_to(&[found.costs.borrow], &[0.9]);
    let trade = &found.trades[0];
    assert_eq!((trade.side, trade.open, trade.bars), (Side::Short, true, 2));
    close_to(&[trade.profit, trade.exit_price, trade.costs], &[-100.9, 12.0, 0.9]);
}

#[test]
fn what_would_exceed_the_leverage_is_cut_and_said() {
    // Half is short when the price doubles: the short alone is then twice what equity is, and the other may not be bought.
    let panel = Panel::new(
        Interval::Day,
        vec![
            history("A", &[0, 1, 2, 3], &[[10.0; 4], [10.0; 4], [20.0; 4], [20.0; 4]]),
            history("B", &[0, 1, 2, 3], &[[10.0; 4]; 4]),
        ],
    )
    .expect("sound bars");
    let found = run(&panel, &[-0.5, NO, NO, 0.5, NO, NO, NO, NO], with(Fill::NextOpen));
    close_to(&found.curve.equity, &[1000.0, 1000.0, 500.0, 500.0]);
    assert_eq!(found.fills.len(), 1);
    assert_eq!((found.refused[0].reason, found.refused[0].symbol, found.refused[0].row), (Reason::Margin, 1, 2));
    close_to(&[found.refused[0].shares], &[25.0]);
    // With room for some of it, that much.
    let wide = Settings { leverage_max: 2.5, ..with(Fill::NextOpen) };
    let found = run(&panel, &[-0.5, NO, NO, 1.0, NO, NO, NO, NO], wide);
    close_to(&[found.fills[1].shares, found.refused[0].shares], &[25.0, 25.0]);
    close_to(&found.exposure[2..], &[2.5, 2.5]);
}

#[test]
fn an_order_that_exceeds_the_account_is_refused_whole() {
    let panel = made::flat(&[10.0; 4]);
    let orders = |shares: &[f64]| {
        Orders(shares.iter().enumerate().map(|(row, s)| Order { row, symbol: 0, shares: *s }).collect())
    };
    let settings = with(Fill::NextOpen);
    let found = simulate_orders(&panel, &orders(&[60.0, 50.0, -150.0]), &settings).expect("it can be simulated");
    assert_eq!(found.fills.iter().map(|f| f.shares).collect::<Vec<_>>(), [60.0, -150.0]);
    assert_eq!((found.refused.len(), found.refused[0].reason, found.refused[0].shares), (1, Reason::Margin, 50.0));
    assert_eq!(found.trades.len(), 2, "the last crossed zero");
    let long_only = Settings { short_allowed: false, ..settings };
    let found = simulate_orders(&panel, &orders(&[60.0, -61.0, -60.0]), &long_only).expect("it can be simulated");
    assert_eq!(found.fills.iter().map(|f| f.shares).collect::<Vec<_>>(), [60.0, -60.0]);
    assert_eq!(found.refused[0].reason, Reason::Short);
    assert_eq!(simulate_orders(&panel, &orders(&[1.0]), &with(Fill::SignalClose)), Err(SimulateError::OrdersAtSignal));
}

#[test]
fn orders_of_one_bar_share_its_volume_and_wait_in_order() {
    let slippage = Slippage { volume_share_max: 0.1, ..Slippage::default() };
    let settings = Settings { slippage, capital: 1e6, whole_shares: true, ..with(Fill::NextOpen) };
    let panel = made::flat(&[10.0; 5]);
    let orders = [(0, 60.0), (0, 70.5), (0, 0.5), (1, -30.0)];
    let orders = Orders(orders.into_iter().map(|(row, shares)| Order { row, symbol: 0, shares }).collect());
    let found = simulate_orders(&panel, &orders, &settings).expect("it can be simulated");
    let fills: Vec<_> = found.fills.iter().map(|f| (f.row, f.shares)).collect();
    assert_eq!(fills, [(1, 60.0), (1, 40.0), (2, 30.0), (2, -30.0)]);
    assert_eq!((found.refused.len(), found.refused[0].reason), (1, Reason::Fraction));
}

#[test]
fn a_million_orders_that_wait_cost_what_is_filled() {
    let slippage = Slippage { volume_share_max: 1e-6, ..Slippage::default() };
    let settings = Settings { slippage, ..with(Fill::NextOpen) };
    let panel = made::flat(&[10.0; 20_000]);
    let orders = Orders(vec![Order { row: 0, symbol: 0, shares: 0.01 }; crate::targets::ORDERS_MAX]);
    let found = simulate_orders(&panel, &orders, &settings).expect("it can be simulated");
    assert!(found.fills.len() <= 40_000, "{} fills", found.fills.len());
    // Each order that is left is named once. At a thousandth of a share a bar, ten bars fill one.
    assert!(found.refused.len() > crate::targets::ORDERS_MAX - 2_100, "{} refused", found.refused.len());
    // Too dear for the account, and so refused whole at their first bar instead of tried at each.
    let dear = Orders(vec![Order { row: 0, symbol: 0, shares: 1e9 }; 100_000]);
    let poor = Settings { capital: 0.01, ..settings };
    let found = simulate_orders(&panel, &dear, &poor).expect("it can be simulated");
    assert!(found.refused.len() <= 100_000);
}

#[test]
fn orders_beyond_all_measure_change_nothing() {
    let panel = made::flat(&[10.0; 4]);
    for settings in
        [with(Fill::NextOpen), Settings { whole_shares: true, leverage_max: 100.0, ..with(Fill::NextClose) }]
    {
        let commission = Commission { bps: 10.0, per_share: 0.01, minimum: 1.0 };
        for settings in [settings, Settings { commission, ..settings }] {
            let orders = [1e308, -1e308, f64::MAX, -f64::MAX].map(|shares| Order { row: 0, symbol: 0, shares });
            let found = simulate_orders(&panel, &Orders(orders.to_vec()), &settings).expect("it can be simulated");
            assert_eq!(found.curve.equity, [1000.0; 4]);
            assert_eq!(found.refused.iter().filter(|r| r.reason == Reason::Margin).count(), 4);
        }
    }
}

#[test]
fn a_fill_waits_for_the_next_bar_that_the_symbol_has() {
    let panel = Panel::new(
        Interval::Day,
        vec![
            history("A", &[0, 3, 4], &[[10.0; 4], [20.0; 4], [40.0; 4]]),
            history("B", &[0, 1, 2, 3, 4], &[[1.0; 4]; 5]),
        ],
    )
    .expect("sound bars");
    for (fill, expected) in [
        (Fill::NextOpen, [1000.0, 1000.0, 1000.0, 1000.0, 2000.0]),
        // Signalled in a gap: the close of the next bar is the first at which anybody could trade.
        (Fill::SignalClose, [1000.0, 1000.0, 1000.0, 1000.0, 2000.0]),
    ] {
        let found = run(&panel, &[NO, NO, 1.0, NO, NO, NO, NO, NO, NO, NO], with(fill));
        close_to(&found.curve.equity, &expected);
    }
    // Held over a gap: valued at the last close.
    let found = run(&panel, &[1.0, NO, NO, NO, NO, NO, NO, NO, NO, NO], with(Fill::SignalClose));
    close_to(&found.curve.equity, &[1000.0, 1000.0, 1000.0, 2000.0, 4000.0]);
}

#[test]
fn a_symbol_whose_bars_end_is_held_at_its_last_close_and_named() {
    let panel = Panel::new(
        Interval::Day,
        vec![
            history("A", &[0, 1, 2], &[[10.0; 4], [10.0; 4], [5.0; 4]]),
            history("B", &[0, 1, 2, 3, 4], &[[1.0; 4]; 5]),
        ],
    )
    .expect("sound bars");
    let found = run(&panel, &[1.0, NO, NO, NO, NO, NO, 0.0, NO, NO, NO], with(Fill::NextOpen));
    close_to(&found.curve.equity, &[1000.0, 1000.0, 500.0, 500.0, 500.0]);
    assert_eq!(found.stale, [symbol("A")]);
    assert_eq!(found.refused[0].reason, Reason::Ended);
    assert!(found.trades[0].open);
}

#[test]
fn whole_shares_are_whole_and_stay_as_they_are() {
    let settings = Settings { whole_shares: true, ..with(Fill::NextOpen) };
    let found = run(&made::flat(&[30.0; 5]), &[1.0, 1.0, 1.0, 1.0, 0.0], settings);
    assert_eq!(found.fills.iter().map(|f| f.shares).collect::<Vec<_>>(), [33.0]);
    let exact = run(&made::flat(&[0.1; 40]), &[1.0; 40], settings);
    assert_eq!(exact.fills.iter().map(|f| f.shares).collect::<Vec<_>>(), [10_000.0], "rounding sells no share");
}

#[test]
fn a_weight_at_each_bar_is_traded_back_to_and_no_number_lets_it_drift() {
    let prices = made::flat(&[10.0, 10.0, 20.0, 20.0, 20.0]);
    let drift = run(&prices, &[0.5, NO, NO, NO, NO], with(Fill::NextOpen));
    close_to(&drift.exposure, &[0.0, 0.5, 1000.0 / 1500.0, 1000.0 / 1500.0, 1000.0 / 1500.0]);
    let each = run(&prices, &[0.5; 5], with(Fill::NextOpen));
    close_to(&each.exposure, &[0.0, 0.5, 0.5, 0.5, 0.5]);
    assert_eq!(each.fills.len(), 2, "no trade where nothing moved");
    let changes = Settings { rebalance: Rebalance::OnChange, ..with(Fill::NextOpen) };
    close_to(&run(&prices, &[0.5; 5], changes).exposure, &drift.exposure);
}

#[test]
fn an_account_that_lost_everything_stays_at_nothing() {
    let settings = Settings { leverage_max: 2.0, ..with(Fill::NextOpen) };
    for fill in [Fill::NextOpen, Fill::SignalClose] {
        let found = run(&made::flat(&[10.0, 10.0, 4.0, 8.0]), &[2.0, NO, 1.0, NO], Settings { fill, ..settings });
        close_to(&found.curve.equity, &[1000.0, 1000.0, 0.0, 0.0]);
        let ruin = found.ruin.expect("it is ruined");
        assert_eq!(ruin.row, 2);
        close_to(&[ruin.owed, found.trades[0].profit], &[200.0, -1200.0]);
        assert_eq!((found.trades.len(), found.cash[3], found.exposure[3]), (1, 0.0, 0.0));
    }
}

#[test]
fn trades_are_round_trips_across_zero_and_across_additions() {
    let panel = made::flat(&[10.0, 10.0, 20.0, 20.0, 10.0, 10.0]);
    let orders = [(0, 10.0), (1, 10.0), (2, -30.0), (4, 10.0)];
    let orders = Orders(orders.into_iter().map(|(row, shares)| Order { row, symbol: 0, shares }).collect());
    let found = simulate_orders(&panel, &orders, &with(Fill::NextOpen)).expect("it can be simulated");
    let [long, short] = found.trades.as_slice() else { panic!("two round trips: {:?}", found.trades) };
    close_to(&[long.quantity, long.entry_price, long.exit_price, long.profit], &[20.0, 15.0, 20.0, 100.0]);
    close_to(&[short.quantity, short.entry_price, short.exit_price, short.profit], &[10.0, 20.0, 10.0, 100.0]);
    assert_eq!((short.side, short.bars, short.open), (Side::Short, 2, false));
    close_to(&[long.return_on_entry], &[100.0 / 300.0]);
}

#[test]
fn settings_out_of_bounds_are_refused_by_name() {
    let panel = made::flat(&[10.0; 3]);
    let refused = |settings: Settings| {
        let error = simulate(&panel, &Targets::none(&panel), &settings).expect_err("it is refused");
        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
    };
    let base = Settings::default();
    assert_eq!(refused(Settings { capital: 0.0, ..base }), "capital is 0; it must be between 0.01 and 1e15");
    assert_eq!(refused(Settings { capital: NO, ..base }), "capital is NaN; it must be between 0.01 and 1e15");
    let commission = Commission { bps: -1.0, ..Commission::default() };
    assert_eq!(refused(Settings { commission, ..base }), "commission.bps is -1; it must be between 0 and 5000");
    assert_eq!(
        refused(Settings { whole_shares: true, fill: Fill::SignalClose, ..base }),
        "whole_shares has no meaning with fill `signal_close`, which holds weights exactly: leave it out, or choose `next_open`"
    );
}

#[test]
fn buying_and_holding_is_the_ratio_of_prices_less_costs() {
    let panel = made::walks(11, 1, 300, false);
    let closes = &panel.columns()[0].close;
    let (bps, rate) = (10.0, 0.001);
    let commission = Commission { bps, ..Commission::default() };
    let found = simulate(&panel, &Targets::buy_and_hold(&panel), &Settings { commission, ..Settings::default() });
    let found = found.expect("it can be simulated");
    let last = closes[299] / panel.columns()[0].open[1] / (1.0 + rate);
    close_to(&[found.curve.equity[299] / 100_000.0], &[last]);
    let at_signal = Settings { commission, fill: Fill::SignalClose, ..Settings::default() };
    let found = simulate(&panel, &Targets::buy_and_hold(&panel), &at_signal).expect("it can be simulated");
    close_to(&[found.curve.equity[299] / 100_000.0], &[(closes[1] / closes[0] - rate) * closes[299] / closes[1]]);
}

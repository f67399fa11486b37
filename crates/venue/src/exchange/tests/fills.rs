use super::*;

/// A day of March: the price goes from 100 down to 95 and up to 110.
const DAY: &str = "
    03-12 09:30:00 trade 100
    03-12 09:30:01 quote 99.98 100.02
    03-12 10:30:00 quote 94.98 95.02
    03-12 10:30:01 trade 95
    03-12 12:00:00 quote 109.98 110.02
    03-12 12:00:01 trade 110
    03-12 15:59:59 quote 104.98 105.02
    03-12 16:00:00 trade 105
    03-13 09:30:00 trade 106
    03-13 09:30:01 quote 105.98 106.02
    03-13 16:00:00 trade 106";

fn scene(start: &str) -> Scene {
    Scene::new(Script::new("A", DAY), start)
}

const BUY: &str = "symbol:A,side:buy,qty:10,client_order_id:x,";

#[test]
fn a_market_order_fills_at_the_far_side_of_the_quote_at_once() {
    let mut s = scene("03-12 10:00");
    let id = s.order(&format!("{BUY}type:market,time_in_force:day"));
    s.tells(&["pending_new x", "new x", "fill x 10@100.02"]);
    assert_eq!(s.status(id), "filled");
    s.has("A", "10", "98999.8");
}

#[test]
fn a_limit_order_fills_when_it_is_marketable_and_no_worse_than_the_quote() {
    for (limit, expected) in [
        // At once and better than its limit.
        ("101", Some("fill x 10@100.02")),
        ("100.02", Some("fill x 10@100.02")),
        // Later, at the quote of then.
        ("100.01", Some("fill x 10@95.02")),
        ("95.02", Some("fill x 10@95.02")),
        ("95.01", None),
    ] {
        let mut s = scene("03-12 10:00");
        s.order(&format!("{BUY}type:limit,time_in_force:day,limit_price:{limit}"));
        s.advance("03-12 15:00");
        assert_eq!(s.told.iter().find(|told| told.starts_with("fill")).map(String::as_str), expected, "{limit}");
    }
}

#[test]
fn a_stop_waits_for_a_trade_and_a_bought_one_has_a_collar() {
    for (order, expected) in [
        ("side:sell,qty:10,type:stop,stop_price:95", Some("fill x 10@94.98")),
        ("side:sell,qty:10,type:stop,stop_price:94.99", None),
        ("side:buy,qty:1,type:stop,stop_price:110", Some("fill x 1@110.02")),
        ("side:buy,qty:1,type:stop,stop_price:110.01", None),
        // Its limit is 102.50: the quote of its election is beyond.
        ("side:buy,qty:1,type:stop,stop_price:100", None),
        ("side:sell,qty:10,type:stop_limit,stop_price:95,limit_price:95", Some("fill x 10@109.98")),
        ("side:sell,qty:10,type:stop_limit,stop_price:95,limit_price:94.5", Some("fill x 10@94.98")),
    ] {
        let mut s = scene("03-12 09:45");
        s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
        let stop_of_the_market = order.contains("stop_price:100");
        if stop_of_the_market {
            s.advance("03-12 10:45");
        }
        s.told.clear();
        s.order(&format!("symbol:A,{order},client_order_id:x,time_in_force:day"));
        s.advance("03-12 15:00");
        assert_eq!(s.told.iter().find(|told| told.starts_with("fill")).map(String::as_str), expected, "{order}");
    }
}

#[test]
fn a_trailing_stop_follows_the_best_price_and_not_back() {
    for (trail, expected) in [
        // From 110 down to 105.
        ("trail_price:5", Some("fill x 10@104.98")),
        ("trail_percent:4", Some("fill x 10@104.98")),
        // From 100 down to 95.
        ("trail_price:4.5", Some("fill x 10@94.98")),
        ("trail_price:5.01", None),
    ] {
        let mut s = scene("03-12 09:45");
        s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
        if trail == "trail_price:5" || trail == "trail_percent:4" {
            s.advance("03-12 11:00");
        }
        let id = s.order(&format!(
            "symbol:A,side:sell,qty:10,type:trailing_stop,{trail},client_order_id:x,time_in_force:gtc"
        ));
        s.advance("03-12 16:30");
        assert_eq!(
            s.told.iter().find(|told| told.ends_with("104.98") || told.ends_with("94.98")).map(String::as_str),
            expected,
            "{trail}"
        );
        if expected.is_none() {
            assert_eq!(s.account.order(id).expect("an order").hwm, Some(Decimal::from(110)));
        }
    }
}

#[test]
fn an_order_for_a_closed_market_waits_for_the_open_and_not_for_yesterdays_quote() {
    let mut s = scene("03-12 16:30");
    let id = s.order(&format!("{BUY}type:market,time_in_force:day"));
    assert_eq!(s.status(id), "accepted");
    s.tells(&["accepted x"]);
    s.advance("03-13 09:30");
    s.tells(&["new x"]);
    s.advance("03-13 09:31");
    s.tells(&["fill x 10@106.02"]);
}

#[test]
fn a_day_order_expires_after_the_close_and_another_stands() {
    let mut s = scene("03-12 10:00");
    let day = s.order("symbol:A,side:buy,qty:1,client_order_id:day,type:limit,limit_price:50,time_in_force:day");
    let gtc = s.order("symbol:A,side:buy,qty:1,client_order_id:gtc,type:limit,limit_price:50,time_in_force:gtc");
    s.advance("03-12 15:59:59");
    assert_eq!((s.status(day), s.status(gtc)), ("new", "new"));
    s.told.clear();
    s.advance("03-12 16:00");
    s.tells(&["expired day"]);
    assert_eq!((s.status(day), s.status(gtc)), ("expired", "new"));
    // Ninety days later it is a Monday in June.
    s.advance("06-09 12:00");
    assert_eq!(s.status(gtc), "new");
    s.advance("06-10 16:00");
    assert_eq!(s.status(gtc), "expired");
}

#[test]
fn auctions_take_the_opening_and_the_closing_trade() {
    let mut s = scene("03-12 19:30");
    let opg = s.order("symbol:A,side:buy,qty:1,client_order_id:opg,type:market,time_in_force:opg");
    let low = s.order("symbol:A,side:buy,qty:1,client_order_id:low,type:limit,limit_price:105.99,time_in_force:opg");
    let cls = s.order("symbol:A,side:buy,qty:2,client_order_id:cls,type:market,time_in_force:cls");
    s.advance("03-13 16:00");
    assert_eq!((s.status(opg), s.status(low), s.status(cls)), ("filled", "canceled", "filled"));
    let fills: Vec<_> = s.told.iter().filter(|told| told.starts_with("fill")).cloned().collect();
    assert_eq!(fills, ["fill opg 1@106", "fill cls 2@106"]);
}

#[test]
fn what_must_fill_at_once_does_or_is_canceled() {
    for (tif, limit, expected) in [
        ("ioc", "100.02", "filled"),
        ("ioc", "100.01", "canceled"),
        ("fok", "100.02", "filled"),
        ("fok", "100.01", "canceled"),
    ] {
        let mut s = scene("03-12 10:00");
        let id = s.order(&format!("{BUY}type:limit,limit_price:{limit},time_in_force:{tif}"));
        assert_eq!(s.status(id), expected, "{tif} {limit}");
    }
    // All partial: one that is immediate keeps its part, one that is whole or nothing is whole.
    let profile = Profile { partial_fill_rate: Decimal::ONE, ..Profile::default() };
    for (tif, expected) in [("ioc", "canceled"), ("fok", "filled")] {
        let mut s = Scene::with(Script::new("A", DAY), "03-12 10:00", profile.clone());
        let id = s.order(&format!("{BUY}type:market,time_in_force:{tif}"));
        assert_eq!(s.status(id), expected);
        let filled = s.account.order(id).expect("an order").filled_qty;
        assert!(filled >= Decimal::ONE && (tif == "fok") == (filled == Decimal::TEN), "{filled}");
    }
}

#[test]
fn extended_hours_are_for_orders_that_ask_for_them() {
    let mut s = scene("03-12 16:30");
    let id = s.order(&format!("{BUY}type:limit,limit_price:105.02,time_in_force:day,extended_hours:true"));
    assert_eq!(s.status(id), "filled");
    let id = s.order("symbol:A,side:buy,qty:1,type:limit,limit_price:1,time_in_force:day,extended_hours:true");
    s.advance("03-12 19:59");
    assert_eq!(s.status(id), "new");
    s.advance("03-12 20:00");
    assert_eq!(s.status(id), "expired");
    let id = s.order("symbol:A,side:buy,qty:1,type:limit,limit_price:1,time_in_force:day,extended_hours:true");
    assert_eq!(s.status(id), "accepted");
    s.advance("03-13 04:00");
    assert_eq!(s.status(id), "new");
}

#[test]
fn dollars_buy_parts_of_shares_to_nine_decimals() {
    let mut s = scene("03-12 10:00");
    let id = s.order("symbol:A,side:buy,notional:1000,type:market,time_in_force:day");
    assert_eq!(s.status(id), "filled");
    s.has("A", "9.998000399", "99000.00000009202");
}

#[test]
fn partial_fills_are_one_in_ten_and_always_the_same() {
    let profile = Profile::default();
    let mut partial = 0;
    for n in 0..300 {
        let run = |n: u64| {
            let mut s = Scene::with(Script::new("A", DAY), "03-12 10:00", profile.clone());
            s.account.opening.seed = n;
            s.order(&format!("{BUY}type:market,time_in_force:day"));
            s.advance("03-12 15:00");
            s.told
        };
        let told = run(n);
        assert_eq!(told, run(n));
        partial += usize::from(told[2].starts_with("partial"));
        if told[2].starts_with("partial") {
            assert!(told[3].starts_with("fill") || told[3].starts_with("partial"), "{told:?}");
        }
    }
    assert!((15..45).contains(&partial), "{partial} of 300");
}

#[test]
fn a_profile_makes_fills_worse_later_and_dearer() {
    let profile = Profile {
        partial_fill_rate: Decimal::ZERO,
        slippage_bp: Decimal::from(100),
        fee_per_share: Decimal::new(1, 2),
        fee_bp: Decimal::ONE,
        latency_ms: 2000,
        dividends: false,
    };
    let mut s = Scene::with(Script::new("A", DAY), "03-12 10:29:59", profile);
    let id = s.order(&format!("{BUY}type:market,time_in_force:day"));
    assert_eq!(s.status(id), "new");
    s.advance("03-12 10:30:01");
    // One percent above 95.02; a cent a share, and a hundredth of a percent of 959.702.
    s.tells(&["pending_new x", "new x", "fill x 10@95.9702"]);
    s.has("A", "10", "99040.102");
    s.order("symbol:A,side:sell,qty:10,client_order_id:y,type:limit,limit_price:109.9,time_in_force:day");
    s.advance("03-12 15:00");
    // A limit is never passed.
    assert_eq!(s.told.last().map(String::as_str), Some("fill y 10@109.9"));
}

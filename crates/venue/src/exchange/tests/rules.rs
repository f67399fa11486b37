use ringfence_market::Kind as ActionKind;

use super::*;
use crate::order::Side;

const DAY: &str = "
    03-12 09:30:00 trade 100
    03-12 09:30:01 quote 99.98 100.02
    03-12 10:30:00 quote 94.98 95.02
    03-12 10:30:01 trade 95
    03-12 16:00:00 trade 95
    03-13 09:30:00 trade 95
    03-13 09:30:01 quote 94.98 95.02";

fn scene(start: &str) -> Scene {
    Scene::new(Script::new("A", DAY), start)
}

const POWER: u32 = 40_310_000;
const SENSE: u32 = 42_210_000;

#[test]
fn buying_power_is_twice_the_equity_less_what_is_open() {
    let mut s = scene("03-12 10:00");
    let big = "symbol:A,side:buy,qty:2000,type:market,time_in_force:day";
    s.refuses(big, POWER, "insufficient buying power");
    s.order("symbol:A,side:buy,qty:1500,type:limit,limit_price:99,time_in_force:day");
    let value = s.turn(|turn| turn.account().value(turn.market())).expect("a value");
    assert_eq!((value.buying_power, value.reserved), (Decimal::from(51_500), Decimal::from(148_500)));
    s.refuses(
        "symbol:A,side:buy,qty:521,type:limit,limit_price:99,time_in_force:day",
        POWER,
        "insufficient buying power",
    );
    s.order("symbol:A,side:buy,qty:520,type:limit,limit_price:99,time_in_force:day");
}

#[test]
fn a_cash_account_borrows_nothing() {
    let mut s = scene("03-12 10:00");
    s.account.configuration.max_margin_multiplier = "1".into();
    s.refuses("symbol:A,side:buy,qty:1000,type:market,time_in_force:day", POWER, "insufficient buying power");
    s.refuses("symbol:A,side:sell,qty:1,type:market,time_in_force:day", POWER, "account is not allowed to short");
    s.order("symbol:A,side:buy,qty:999,type:market,time_in_force:day");
}

#[test]
fn nobody_sells_what_is_not_there_or_promised() {
    let mut s = scene("03-12 10:00");
    s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
    let missing = "insufficient qty available for order (requested: 11, available: 10)";
    s.refuses("symbol:A,side:sell,qty:11,type:market,time_in_force:day", POWER, missing);
    s.order("symbol:A,side:sell,qty:4,type:limit,limit_price:120,time_in_force:day");
    let promised = "insufficient qty available for order (requested: 7, available: 6)";
    s.refuses("symbol:A,side:sell,qty:7,type:limit,limit_price:120,time_in_force:day", POWER, promised);
    s.order("symbol:A,side:sell,qty:6,type:limit,limit_price:120,time_in_force:day");
}

#[test]
fn shares_are_owed_whole_and_bought_back_before_others() {
    let mut s = scene("03-12 10:00");
    s.refuses(
        "symbol:A,side:sell,qty:1.5,type:market,time_in_force:day",
        SENSE,
        "fractional orders cannot be sold short",
    );
    s.refuses(
        "symbol:A,side:sell,notional:10,type:market,time_in_force:day",
        SENSE,
        "fractional orders cannot be sold short",
    );
    s.order("symbol:A,side:sell,qty:10,client_order_id:short,type:market,time_in_force:day");
    s.has("A", "-10", "100999.8");
    assert!(s.account.activities[0].fill.as_ref().expect("a fill").short);
    let crossing = "insufficient qty available for order (requested: 11, available: 10)";
    s.refuses("symbol:A,side:buy,qty:11,type:market,time_in_force:day", POWER, crossing);
    s.advance("03-12 11:00");
    s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
    s.has("A", "0", "100049.6");
}

#[test]
fn an_account_does_not_trade_with_itself() {
    let wash = "potential wash trade detected. use complex orders";
    for (standing, coming, refused) in [
        ("side:sell,qty:5,type:stop,stop_price:90", "side:buy,qty:1,type:market", true),
        ("side:sell,qty:5,type:stop,stop_price:90", "side:buy,qty:1,type:limit,limit_price:80", true),
        ("side:sell,qty:5,type:limit,limit_price:120", "side:buy,qty:1,type:limit,limit_price:120", true),
        ("side:sell,qty:5,type:limit,limit_price:120", "side:buy,qty:1,type:limit,limit_price:119.99", false),
        ("side:sell,qty:5,type:limit,limit_price:120", "side:buy,qty:1,type:market", true),
        ("side:buy,qty:5,type:limit,limit_price:80", "side:sell,qty:1,type:limit,limit_price:80", true),
        ("side:buy,qty:5,type:limit,limit_price:80", "side:sell,qty:1,type:limit,limit_price:80.01", false),
    ] {
        let mut s = scene("03-12 10:00");
        s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
        s.order(&format!("symbol:A,{standing},time_in_force:gtc"));
        let coming = format!("symbol:A,{coming},time_in_force:day");
        if refused {
            s.refuses(&coming, POWER, wash);
        } else {
            s.order(&coming);
        }
    }
}

#[test]
fn a_client_id_is_unique_for_ever() {
    let mut s = scene("03-12 10:00");
    let order = "symbol:A,side:buy,qty:1,client_order_id:x,type:market,time_in_force:day";
    s.order(order);
    s.refuses(order, 40_010_001, "client_order_id must be unique");
}

#[test]
fn auctions_and_stops_have_their_time_and_side() {
    for (now, tif, refused) in [
        ("03-12 09:27", "opg", false),
        ("03-12 09:28", "opg", true),
        ("03-12 18:59", "opg", true),
        ("03-12 19:00", "opg", false),
        ("03-12 15:49", "cls", false),
        ("03-12 15:50", "cls", true),
        ("07-03 12:49", "cls", false),
        ("07-03 12:50", "cls", true),
    ] {
        let mut s = scene("03-12 09:20");
        s.account.until = at("03-12 09:20");
        s.tape = Arc::new(Script::new("A", &format!("03-12 09:00 trade 100\n{DAY}")));
        s.advance(now);
        let order = format!("symbol:A,side:buy,qty:1,type:market,time_in_force:{tif}");
        assert_eq!(s.submit(&order).is_err(), refused, "{now} {tif}");
    }
    let mut s = scene("03-12 10:00");
    let stop =
        |side: &str, price: &str| format!("symbol:A,side:{side},qty:1,type:stop,stop_price:{price},time_in_force:day");
    s.refuses(&stop("sell", "100"), SENSE, "stop price must be less than current price");
    s.refuses(&stop("buy", "100"), SENSE, "stop price must be greater than current price");
    s.order(&stop("buy", "100.01"));
}

#[test]
fn a_replacement_is_another_order_with_what_has_not_filled() {
    let mut s = scene("03-12 10:00");
    let id = s.order("symbol:A,side:buy,qty:10,client_order_id:a,type:limit,limit_price:90,time_in_force:day");
    let new = s.replace(id, "qty:5,limit_price:96,client_order_id:b").expect("it stands");
    let (old, new) = (s.account.order(id).expect("one").clone(), s.account.order(new).expect("one").clone());
    assert_eq!((old.status.word(), old.replaced_by, new.replaces), ("replaced", Some(new.id), Some(old.id)));
    assert_eq!((new.qty, new.limit_price), (Some(Decimal::from(5)), Some(Decimal::from(96))));
    s.told.clear();
    s.advance("03-12 11:00");
    s.tells(&["fill b 5@95.02"]);
    let message = |result: Result<Uuid, Refusal>| result.expect_err("refused").message;
    assert_eq!(message(s.replace(new.id, "qty:1")), "unable to replace order, order is already in \"filled\" state");
    let market = s.order("symbol:A,side:buy,qty:1,type:limit,limit_price:90,time_in_force:day");
    assert_eq!(
        message(s.replace(market, "stop_price:80")),
        "unable to replace order, limit orders have no stop_price that is to come"
    );
    assert_eq!(message(s.replace(market, "client_order_id:a")), "client_order_id must be unique");
    assert_eq!(message(s.replace(market, "qty:100000")), "insufficient buying power");
    s.advance("03-12 17:00");
    let later = s.order("symbol:A,side:buy,qty:1,type:limit,limit_price:90,time_in_force:day");
    assert_eq!(
        message(s.replace(later, "limit_price:91")),
        "unable to replace order, order isn't sent to exchange yet"
    );
    assert_eq!(
        s.turn(|turn| turn.cancel(market)).expect_err("it is over").message,
        "order is already in \"expired\" state"
    );
}

#[test]
fn a_split_makes_more_shares_of_positions_and_orders() {
    let mut script = Script::new("A", DAY);
    script.actions.push(Action {
        symbol: symbol("A"),
        ex_date: jiff::civil::date(2024, 3, 13),
        kind: ActionKind::Split(Decimal::from(4)),
    });
    script.actions.push(Action {
        symbol: symbol("A"),
        ex_date: jiff::civil::date(2024, 3, 13),
        kind: ActionKind::Dividend(Decimal::ONE),
    });
    let mut s = Scene::new(script, "03-12 10:00");
    s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
    let id = s.order("symbol:A,side:sell,qty:10,client_order_id:x,type:limit,limit_price:120.02,time_in_force:gtc");
    s.advance("03-13 00:00");
    s.has("A", "40", "98999.8");
    assert_eq!(s.account.positions[&symbol("A")].cost, "1000.2".parse().expect("a number"));
    let order = s.account.order(id).expect("an order");
    assert_eq!((order.qty, order.limit_price), (Some(Decimal::from(40)), Some("30".parse().expect("a price"))));
    assert_eq!(s.told.last().map(String::as_str), Some("restated x"));
    assert_eq!(s.account.held(&symbol("A"), Side::Sell), Decimal::from(40));
}

#[test]
fn a_position_is_closed_in_parts_and_as_a_whole() {
    let mut s = scene("03-12 10:00");
    let a = symbol("A");
    let close = |s: &mut Scene, portion: Portion| s.turn(|turn| turn.close_position(&symbol("A"), portion));
    assert_eq!(close(&mut s, Portion::All).expect_err("there is none").code, 40_410_000);
    s.order("symbol:A,side:buy,qty:8,type:market,time_in_force:day");
    close(&mut s, Portion::Percentage(Decimal::from(25))).expect("two of eight");
    assert_eq!(s.account.qty(&a), Decimal::from(6));
    close(&mut s, Portion::Qty(Decimal::ONE)).expect("one of six");
    assert_eq!(close(&mut s, Portion::Qty(Decimal::TEN)).expect_err("too many").code, POWER);
    close(&mut s, Portion::All).expect("all");
    assert_eq!(s.account.qty(&a), Decimal::ZERO);
}

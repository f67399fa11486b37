use super::*;

const DAY: &str = "
    03-12 09:30:00 trade 100
    03-12 09:30:01 quote 99.98 100.02
    03-12 10:30:00 quote 94.98 95.02
    03-12 10:30:01 trade 95
    03-12 12:00:00 quote 109.98 110.02
    03-12 12:00:01 trade 110
    03-12 16:00:00 trade 110";

fn scene(start: &str) -> Scene {
    Scene::new(Script::new("A", DAY), start)
}

const BRACKET: &str = "symbol:A,side:buy,qty:10,client_order_id:entry,type:limit,limit_price:99,time_in_force:gtc,\
    order_class:bracket,take_profit:{limit_price:108},stop_loss:{stop_price:90}";

#[test]
fn exits_wait_for_their_entry_and_the_first_ends_the_other() {
    let mut s = scene("03-12 10:00");
    let id = s.order(BRACKET);
    s.tells(&["pending_new entry", "new entry"]);
    let legs = |s: &Scene| -> Vec<&str> {
        let entry = s.account.order(id).expect("an order");
        entry.legs.iter().map(|no| s.account.orders[no].status.word()).collect()
    };
    assert_eq!(legs(&s), ["held", "held"]);
    assert_eq!(s.account.held(&symbol("A"), crate::order::Side::Sell), Decimal::ZERO);
    s.advance("03-12 11:00");
    s.tells(&["fill entry 10@95.02", "new limit", "new stop"]);
    assert_eq!(legs(&s), ["new", "new"]);
    assert_eq!(s.account.held(&symbol("A"), crate::order::Side::Sell), Decimal::TEN);
    s.advance("03-12 13:00");
    s.tells(&["fill limit 10@109.98", "canceled stop"]);
    assert_eq!(legs(&s), ["filled", "canceled"]);
    s.has("A", "0", "100149.6");
}

#[test]
fn to_cancel_one_of_a_group_cancels_the_rest() {
    for which in 0..3 {
        let mut s = scene("03-12 10:00");
        let entry = s.order(BRACKET);
        let order = s.account.order(entry).expect("an order").clone();
        let ids = [vec![order.no], order.legs].concat();
        let id = s.account.orders[&ids[which]].id;
        s.turn(|turn| turn.cancel(id)).expect("it is open");
        assert!(ids.iter().all(|no| s.account.orders[no].status.word() == "canceled"), "{which}");
    }
}

#[test]
fn a_part_of_one_exit_is_taken_from_the_other() {
    let mut s = Scene::with(
        Script::new("A", DAY),
        "03-12 10:00",
        Profile { partial_fill_rate: Decimal::ZERO, ..Profile::default() },
    );
    s.order("symbol:A,side:buy,qty:10,type:market,time_in_force:day");
    let oco = s.order(
        "symbol:A,side:sell,qty:10,type:limit,time_in_force:gtc,client_order_id:oco,order_class:oco,\
         take_profit:{limit_price:108},stop_loss:{stop_price:90,limit_price:89}",
    );
    assert_eq!(s.account.held(&symbol("A"), crate::order::Side::Sell), Decimal::TEN);
    s.account.opening.profile.partial_fill_rate = Decimal::ONE;
    s.advance("03-12 13:00");
    let gain = s.account.order(oco).expect("an order").clone();
    let loss = &s.account.orders[&gain.legs[0]];
    assert_eq!(gain.status.word(), "partially_filled");
    assert_eq!(loss.qty, gain.remaining());
    assert_eq!(s.account.held(&symbol("A"), crate::order::Side::Sell), gain.remaining().expect("shares"));
    assert_eq!(s.told.last().map(String::as_str), Some("restated stop_limit"));
}

#[test]
fn an_oto_has_one_exit() {
    let mut s = scene("03-12 10:00");
    s.order(
        "symbol:A,side:buy,qty:10,client_order_id:entry,type:market,time_in_force:day,order_class:oto,\
         stop_loss:{stop_price:95}",
    );
    s.tells(&["pending_new entry", "new entry", "fill entry 10@100.02", "new stop"]);
    s.advance("03-12 11:00");
    s.tells(&["fill stop 10@94.98"]);
}

#[test]
fn exits_are_beyond_the_price_of_the_entry() {
    let mut s = scene("03-12 10:00");
    let base = 42_210_000;
    let with = |gain: &str, loss: &str| {
        BRACKET
            .replace("limit_price:108", &format!("limit_price:{gain}"))
            .replace("stop_price:90", &format!("stop_price:{loss}"))
    };
    s.refuses(&with("99", "90"), base, "take_profit.limit_price must be >= base_price + 0.01");
    s.refuses(&with("108", "99"), base, "stop_loss.stop_price must be <= base_price - 0.01");
    s.order(&with("99.01", "98.99"));
    let oco = "symbol:A,side:sell,qty:10,type:limit,time_in_force:gtc,order_class:oco,\
         take_profit:{limit_price:108},stop_loss:{stop_price:90}";
    s.refuses(oco, base, "oco orders must be exit orders");
}

#[test]
fn a_leg_can_be_replaced_and_stays_in_its_group() {
    let mut s = scene("03-12 10:00");
    let entry = s.order(&BRACKET.replace("limit_price:99,", "limit_price:101,"));
    let legs = s.account.order(entry).expect("an order").legs.clone();
    let gain = s.account.orders[&legs[0]].id;
    s.told.clear();
    let new = s.replace(gain, "limit_price:109").expect("it stands");
    s.tells(&["replaced limit", "new limit"]);
    s.advance("03-12 13:00");
    s.tells(&["fill limit 10@109.98", "canceled stop"]);
    assert_eq!((s.status(gain), s.status(new)), ("replaced", "filled"));
    let refusal = s.replace(gain, "limit_price:109").expect_err("it is over");
    assert_eq!(refusal.message, "unable to replace order, order is already in \"replaced\" state");
}

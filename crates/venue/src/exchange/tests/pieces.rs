//! Time may pass in any pieces.

use proptest::prelude::*;

use super::*;

/// Three symbols over two days, from a seed.
fn market(seed: u64) -> Script {
    let mut script = Script { ticks: Vec::new(), actions: Vec::new() };
    for (n, name) in ["A", "B", "C"].into_iter().enumerate() {
        let mut lines = String::new();
        for day in ["03-12", "03-13", "03-14"] {
            for minute in (0..390).step_by(3) {
                let (hour, left) = ((570 + minute) / 60, (570 + minute) % 60);
                let number = (minute + n) as u64;
                let draw = crate::seed::draw("market", &format!("{seed}{name}{day}"), number);
                let price = Decimal::from(90) + (draw * Decimal::from(20)).round_dp(2);
                let cent = Decimal::new(1, 2);
                lines += &format!("{day} {hour:02}:{left:02}:{:02} quote {} {}\n", n * 3, price - cent, price + cent);
                lines += &format!("{day} {hour:02}:{left:02}:{:02} trade {price}\n", n * 3 + 1);
            }
        }
        script.add(name, &lines);
    }
    script.actions.push(Action {
        symbol: symbol("B"),
        ex_date: jiff::civil::date(2024, 3, 14),
        kind: ringfence_market::Kind::Split(Decimal::TWO),
    });
    script
}

const ORDERS: [&str; 10] = [
    "side:buy,qty:10,type:market,time_in_force:day",
    "side:buy,qty:25,type:limit,limit_price:95,time_in_force:gtc",
    "side:sell,qty:5,type:limit,limit_price:105,time_in_force:day",
    "side:buy,qty:4,type:stop,stop_price:109,time_in_force:gtc",
    "side:sell,qty:4,type:stop,stop_price:91,time_in_force:day",
    "side:sell,qty:3,type:trailing_stop,trail_percent:5,time_in_force:gtc",
    "side:buy,qty:6,type:limit,limit_price:96,time_in_force:gtc,order_class:bracket,take_profit:{limit_price:106},stop_loss:{stop_price:93}",
    "side:buy,notional:500,type:market,time_in_force:day",
    "side:buy,qty:7,type:market,time_in_force:cls",
    "side:sell,qty:9,type:limit,limit_price:100,time_in_force:ioc",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fills_are_the_same_however_time_is_cut(
        seed in 0_u64..1000,
        latency in prop_oneof![Just(0_u32), Just(1500)],
        orders in proptest::collection::vec((0_usize..10, 0_usize..3, 0_i64..400), 1..12),
        cuts in proptest::collection::vec(0_i64..4000, 0..40),
    ) {
        let profile = Profile { latency_ms: latency, partial_fill_rate: Decimal::new(4, 1), ..Profile::default() };
        let start = at("03-12 09:00");
        let end = at("03-15 12:00");
        let mut instants: Vec<(i64, Option<(usize, usize)>)> = Vec::new();
        let mut minute = 0;
        for (kind, name, wait) in &orders {
            minute += wait;
            instants.push((minute, Some((*kind, *name))));
        }
        let run = |cuts: &[i64]| {
            let mut all = instants.clone();
            all.extend(cuts.iter().map(|cut| (*cut, None)));
            // A cut at an order's instant comes before it.
            all.sort_by_key(|(minute, order)| (*minute, order.is_some()));
            let mut scene = Scene::with(market(seed), "03-12 09:00", profile.clone());
            let mut refused = Vec::new();
            for (minute, order) in all {
                let to = start + jiff::SignedDuration::from_secs(minute * 61);
                scene.advance_to(to);
                if let Some((kind, name)) = order {
                    let text = format!("symbol:{},{}", ["A", "B", "C"][name], ORDERS[kind]);
                    refused.push(scene.submit(&text).map_err(|refusal| refusal.message));
                }
            }
            scene.advance_to(end);
            (scene.account, scene.sent, refused)
        };
        prop_assert_eq!(run(&[]), run(&cuts));
    }
}

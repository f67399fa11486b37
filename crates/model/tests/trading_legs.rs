//! Prices of an order's legs, which change one by one.

mod trading;

use ringfence_model::trade::*;
use trading::*;

#[test]
fn c06_another_price_of_a_leg_is_held_to_the_collar() {
    let bracket = |stop, of: Option<&str>| OrderIntent {
        structure: Structure::Bracket {
            take_profit: price("110"),
            stop_loss: StopLoss { stop: price(stop), limit: of.map(price) },
        },
        ..limit(Side::Buy, "10", "100")
    };
    let day = |intent: OrderIntent| {
        let target = Target { number: 1, leg: true, open: true, replacing: false };
        Day::new().open(intent).change(|day| day.counted.target = Some(target))
    };
    let change = |to: Option<&str>, stop: Option<&str>| {
        replace(1, Changes { limit: to.map(price), stop: stop.map(price), ..Changes::default() })
    };
    let leg = |day: &Day, message: &Message| match day.decide(message).verdict {
        Verdict::Allow(action) => assert_eq!(*action, Action::ReplaceLeg { number: 1 }),
        other => panic!("{message:?}: {other:?}"),
    };
    // The reference is 100, and the exit of a purchase is a sale: far below it is refused, above it is not.
    let of_stop = day(bracket("95", None));
    for (to, stop) in [(Some("120"), None), (Some("91"), None), (None, Some("1")), (None, Some("99"))] {
        leg(&of_stop, &change(to, stop));
    }
    of_stop.refuses(Rule::PriceCollarPercent, &change(Some("89"), None));
    // A stop that no exit with a limit has gives no price to be near to.
    of_stop.refuses(Rule::PriceCollarPercent, &change(Some("50"), Some("50")));
    let of_limit = day(bracket("95", Some("94")));
    leg(&of_limit, &change(Some("79"), Some("80")));
    of_limit.refuses(Rule::PriceCollarPercent, &change(Some("70"), Some("80")));
    of_limit.refuses(Rule::PriceCollarPercent, &change(Some("50"), None));
    // The control: without a collar any price is let.
    leg(&of_limit.limit("price_collar_percent", "none"), &change(Some("50"), None));
}

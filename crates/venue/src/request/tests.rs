use super::*;
use crate::json::parse::json;

fn read(fields: &str) -> Result<NewOrder, Refusal> {
    let known = [Symbol::parse("AAPL").expect("a symbol")];
    NewOrder::read(&json(format!("{{{fields}}}").as_bytes()).expect("JSON"), &known)
}

#[track_caller]
fn refused(fields: &str, status: u16, code: u32, message: &str) {
    let refusal = read(fields).expect_err(fields);
    assert_eq!((refusal.status, refusal.code, refusal.message.as_str()), (status, code, message), "{fields}");
}

const MARKET: &str = r#""symbol":"AAPL","side":"buy","type":"market","time_in_force":"day""#;

#[test]
fn numbers_and_texts_are_the_same_order() {
    let numbers = read(&format!(r#"{MARKET},"qty":1.0,"limit_price":null,"extended_hours":false"#)).expect("an order");
    assert_eq!(numbers, read(&format!(r#"{MARKET},"qty":"1","order_class":"simple""#)).expect("an order"));
    let id = asset_id("AAPL");
    let by_id = read(&format!(r#"{MARKET},"qty":1"#).replace("AAPL", &id.to_string())).expect("an order");
    assert_eq!(numbers, by_id);
    let exact = read(&format!(r#"{MARKET},"qty":0.123456789"#)).expect("an order");
    assert_eq!(exact.amount, Amount::Qty(Decimal::new(123_456_789, 9)));
}

#[test]
fn amounts_have_bounds() {
    for (fields, status, code, message) in [
        ("", 422, 40_010_001, "qty or notional is required"),
        (r#","qty":1,"notional":1"#, 422, 40_010_001, "only one of qty or notional is accepted"),
        (r#","qty":0"#, 422, 40_010_001, "qty must be > 0"),
        (r#","qty":-1"#, 422, 40_010_001, "qty must be > 0"),
        (r#","qty":"1e3""#, 422, 40_010_001, "qty is not a decimal number"),
        (r#","qty":1e3"#, 422, 40_010_001, "qty is not a decimal number"),
        (r#","qty":"NaN""#, 422, 40_010_001, "qty is not a decimal number"),
        (r#","qty":"0x10""#, 422, 40_010_001, "qty is not a decimal number"),
        (r#","qty":true"#, 400, 40_010_000, "qty must be a number"),
        (r#","qty":[1]"#, 400, 40_010_000, "qty must be a number"),
        (r#","qty":1000000001"#, 422, 40_010_001, "qty must be <= 1000000000"),
        (r#","qty":0.1234567891"#, 422, 40_010_001, "qty must be limited to 9 decimal places"),
        (r#","Qty":1"#, 400, 40_010_000, "qty is written in another case"),
        (r#","notional":0.5"#, 403, 40_310_000, "cost basis must be >= minimal amount of order 1"),
        (r#","notional":10.001"#, 422, 40_010_001, "notional value must be limited to 2 decimal places"),
    ] {
        refused(&format!("{MARKET}{fields}"), status, code, message);
    }
}

#[test]
fn kinds_have_their_prices() {
    let invalid = |kind: &str, fields: &str, message: &str| {
        let order = MARKET.replace("market", kind);
        refused(&format!(r#"{order},"qty":1{fields}"#), 422, 40_010_001, message);
    };
    invalid("market", r#","limit_price":1"#, "market orders require no stop or limit price");
    invalid("limit", "", "limit orders require a limit price");
    invalid("limit", r#","limit_price":1,"stop_price":1"#, "limit orders require no stop price");
    invalid("limit", r#","limit_price":0"#, "limit_price must be > 0");
    invalid("stop", "", "stop orders require a stop price");
    invalid("stop", r#","stop_price":1,"limit_price":1"#, "stop orders require no limit price");
    invalid("stop_limit", r#","stop_price":1"#, "stop limit orders require both stop and limit price");
    let one = "trailing stop orders must specify one of trail_price or trail_percent";
    invalid("trailing_stop", "", one);
    invalid("trailing_stop", r#","trail_price":1,"trail_percent":1"#, one);
    invalid("trailing_stop", r#","trail_percent":100"#, "trail_percent must be > 0 and < 100");
    invalid(
        "limit",
        r#","limit_price":1,"trail_price":1"#,
        "trail_price and trail_percent are for trailing stop orders",
    );
    invalid("moon", "", "invalid type");
}

#[test]
fn prices_are_whole_ticks() {
    let limit = MARKET.replace("market", "limit");
    for (price, ok) in [("290.12", true), ("290.123", false), ("0.1234", true), ("0.12345", false), ("1.00", true)] {
        let read = read(&format!(r#"{limit},"qty":1,"limit_price":{price}"#));
        match read {
            Ok(_) => assert!(ok, "{price}"),
            Err(refusal) => {
                let message = format!(
                    "invalid limit_price {price}. sub-penny increment does not fulfill minimum pricing criteria"
                );
                assert!(!ok && refusal.code == 42_210_000 && refusal.message == message, "{refusal:?}");
            }
        }
    }
}

#[test]
fn fractions_and_extended_hours_are_for_some_orders() {
    let unprocessable = |fields: &str, message: &str| {
        refused(&format!(r#""symbol":"AAPL","side":"buy",{fields}"#), 422, 42_210_000, message);
    };
    let extended = "extended hours order must be DAY or GTC limit orders";
    unprocessable(r#""type":"market","time_in_force":"day","qty":1,"extended_hours":true"#, extended);
    unprocessable(r#""type":"limit","time_in_force":"ioc","qty":1,"limit_price":1,"extended_hours":true"#, extended);
    let day = "fractional orders must be DAY orders";
    unprocessable(r#""type":"market","time_in_force":"gtc","qty":1.5"#, day);
    unprocessable(r#""type":"market","time_in_force":"gtc","notional":10"#, day);
    unprocessable(
        r#""type":"stop","time_in_force":"ioc","qty":1,"stop_price":1"#,
        "invalid time_in_force for stop orders",
    );
}

#[test]
fn groups_have_their_exits() {
    let group = |class: &str, rest: &str| {
        format!(r#""symbol":"AAPL","qty":1,"time_in_force":"day","order_class":"{class}",{rest}"#)
    };
    let market = r#""side":"buy","type":"market""#;
    let both = r#""take_profit":{"limit_price":110},"stop_loss":{"stop_price":"90"}"#;
    read(&group("bracket", &format!("{market},{both}"))).expect("a bracket");
    read(&group("oto", &format!(r#"{market},"stop_loss":{{"stop_price":90,"limit_price":89.5}}"#))).expect("an oto");
    let oco = read(&group("oco", &format!(r#""side":"sell","type":"limit",{both}"#))).expect("an oco");
    assert_eq!(oco.limit_price, Some(Decimal::from(110)));
    for (class, rest, message) in [
        ("bracket", market.to_owned(), "bracket orders require take_profit.limit_price"),
        (
            "bracket",
            format!(r#"{market},"take_profit":{{"limit_price":1}}"#),
            "bracket orders require stop_loss.stop_price",
        ),
        (
            "bracket",
            format!(r#"{market},"take_profit":{{"limit_price":90}},"stop_loss":{{"stop_price":110}}"#),
            "take_profit.limit_price must be > stop_loss.stop_price",
        ),
        (
            "bracket",
            format!(r#""side":"sell","type":"market",{both}"#),
            "take_profit.limit_price must be < stop_loss.stop_price",
        ),
        (
            "oto",
            format!("{market},{both}"),
            "oto orders require either take_profit.limit_price or stop_loss.stop_price",
        ),
        ("oco", format!("{market},{both}"), "oco orders must be of type limit"),
        (
            "simple",
            format!("{market},{both}"),
            "take_profit and stop_loss require an order_class of bracket, oco or oto",
        ),
        ("mleg", market.to_owned(), "order_class mleg is not supported: there are no options"),
    ] {
        refused(&group(class, &rest), 422, 42_210_000, message);
    }
}

#[test]
fn a_client_id_is_short() {
    let with = |id: &str| read(&format!(r#"{MARKET},"qty":1,"client_order_id":"{id}""#));
    with(&"x".repeat(128)).expect("an order");
    with(&"x".repeat(129)).expect_err("too long");
    with("a\\u0000b").expect_err("a control character");
}

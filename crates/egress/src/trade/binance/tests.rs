use ringfence_model::trade::{AssetClass, ClientOrderId, OrderRef, Rule};

use super::*;
use crate::trade::fields::Fields;
use crate::trade::{Codec, Reading, Venues};

fn read(query: &str, body: &str) -> Result<(OrderIntent, bool), Refusal> {
    let venues = Venues::built_in();
    let (fields, post_only) = read_order(&asked(query, body.as_bytes())?)?;
    let draft = Reading::of(venues.named("binance").expect("it is there")).submit(&fields)?;
    assert_eq!(draft.symbol, "BTCUSDT");
    let symbol = CanonicalSymbol::parse("BTC/USDT").expect("a symbol");
    Ok((draft.about(symbol, AssetClass::Crypto), post_only))
}

#[test]
fn what_is_written_reads_as_the_same() {
    for rest in [
        "type=MARKET&quantity=0.00100000",
        "type=MARKET&quoteOrderQty=25.50",
        "type=LIMIT&timeInForce=GTC&quantity=1&price=50000.10",
        "type=LIMIT&timeInForce=IOC&quantity=1&price=0.00001234&newClientOrderId=mine-1",
        "type=LIMIT&timeInForce=FOK&quantity=1&price=5&newOrderRespType=ACK",
        "type=LIMIT_MAKER&quantity=1&price=5",
        "type=STOP_LOSS&quantity=1&stopPrice=5",
        "type=STOP_LOSS_LIMIT&timeInForce=GTC&quantity=1&stopPrice=5&price=4.5",
    ] {
        let order = format!("symbol=BTCUSDT&side=SELL&{rest}");
        let (intent, post_only) = read(&order, "").expect(rest);
        assert_eq!(read("recvWindow=1", &format!("{order}&timestamp=1&signature=00")), Ok((intent.clone(), post_only)));
        let written = submit(&intent, post_only);
        assert!(written.body.is_empty());
        let (path, query) = written.target.split_once('?').expect("a query");
        assert_eq!(path, "/api/v3/order");
        assert!(query.ends_with("&newOrderRespType=FULL&recvWindow=5000"), "{query}");
        assert_eq!(read(query, ""), Ok((intent, post_only)), "its own bytes");
    }
    assert!(
        submit(&read("symbol=BTCUSDT&side=BUY&type=LIMIT_MAKER&quantity=1&price=5", "").expect("an order").0, true)
            .target
            .contains("type=LIMIT_MAKER&quantity=1&price=5&")
    );
}

#[test]
fn what_is_no_order_is_refused_with_what_is_wrong() {
    #[track_caller]
    fn check(query: &str, body: &str, words: &str) {
        let refusal = read(&format!("symbol=BTCUSDT&{query}"), body).expect_err(query);
        assert_eq!(refusal.rule, Rule::CanonicalForm, "{refusal}");
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
    let market = "side=BUY&type=MARKET";
    check(&format!("{market}&quantity=1"), "quantity=1", "`quantity` is there twice");
    check(&format!("{market}&quantity=1&%71uantity=1"), "", "`quantity` is there twice");
    check(&format!("{market}&quantity=1"), "signature=1&signature=2", "`signature` is there twice");
    check(&format!("{market}&quantity=1&quoteOrderQty=5"), "", "both");
    check(&format!("{market}&quantity=1e3"), "", "digits");
    check(&format!("{market}&quantity=+1"), "", "digits");
    check(&format!("{market}&quantity=-1"), "", "digits");
    check(&format!("{market}&quantity=0"), "", "nothing");
    check(&format!("{market}&quantity=1&icebergQty=0.1"), "", "`icebergQty` is no field");
    check(&format!("{market}&quantity=1&trailingDelta=10"), "", "`trailingDelta` is no field");
    check(&format!("{market}&quantity=1&timeInForce=GTC"), "", "no `timeInForce`");
    check(&format!("{market}&quantity=1&price=5"), "", "prices");
    check(&format!("{market}&quantity=1&newClientOrderId=a%20b"), "", "1 to 36");
    check(&format!("{market}&quantity=1&newClientOrderId={}", "a".repeat(37)), "", "1 to 36");
    check("side=buy&type=MARKET&quantity=1", "", "`buy` is no `side`");
    check("side=BUY&type=market&quantity=1", "", "`market` is no `type`");
    check("side=BUY&type=TAKE_PROFIT&quantity=1&stopPrice=1", "", "`TAKE_PROFIT` is no `type`");
    check("side=BUY&type=LIMIT&quantity=1&price=5", "", "no `time_in_force`");
    check("side=BUY&type=LIMIT&timeInForce=DAY&quantity=1&price=5", "", "`DAY` is no `timeInForce`");
    check("side=BUY&type=LIMIT&timeInForce=GTC&quoteOrderQty=1&price=5", "", "MARKET");
    check(&format!("{market}&quantity=1"), "{\"symbol\":1}", "form");
}

#[test]
fn a_name_that_a_library_made_up_is_the_gates_to_give() {
    let order = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1";
    let tries = ["x-TKT5PX2F0123", "x-TKT5PX2F4567"].map(|id| asked(&format!("{order}&newClientOrderId={id}"), b""));
    assert_eq!(tries[0], tries[1]);
    assert_eq!(tries[0], asked(order, b"timestamp=1&signature=2"));
    assert_ne!(tries[0], asked(&format!("{order}&newClientOrderId=mine"), b""));
}

/// `^[a-zA-Z0-9-_]{1,36}$`, for a hundred thousand million orders.
#[test]
fn the_gates_own_names_are_names_there() {
    let sandbox = ringfence_model::SandboxId::parse("ifxkb9zwglaz0pk5dc3zb").expect("an id");
    let longest = ClientOrderId::of_order(&sandbox, 99_999_999_999);
    assert_eq!(longest.as_str().len(), 36);
    assert!(longest.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}

#[test]
fn orders_are_named_by_symbol_and_number() {
    let fields = |text: &str| Fields::of_form(text).expect("a form");
    let upstream = |text: &str| OrderRef::Upstream(UpstreamId::parse(text).expect("an id"));
    assert_eq!(named(&fields("symbol=BTCUSDT&orderId=0042")), Ok(upstream("BTCUSDT-42")));
    let mine = ClientOrderId::parse("mine").expect("an id");
    assert_eq!(named(&fields("symbol=BTCUSDT&origClientOrderId=mine")), Ok(OrderRef::Client(mine.clone())));
    for other in [
        "orderId=42",
        "symbol=BTCUSDT",
        "symbol=BTC-1&orderId=42",
        "symbol=BTCUSDT&orderId=",
        "symbol=BTCUSDT&orderId=1-2",
        "symbol=BTCUSDT&orderId=18446744073709551616",
        "symbol=BTCUSDT&orderId=1&origClientOrderId=mine",
        "symbol=BTCUSDT&orderId=1&cancelRestrictions=ONLY_NEW",
    ] {
        assert_eq!(named(&fields(other)).map_err(|refusal| refusal.rule), Err(Rule::CanonicalForm), "{other}");
    }
    let symbol = CanonicalSymbol::parse("BTC/USDT").expect("a symbol");
    let id = UpstreamId::parse("BTCUSDT-42").expect("an id");
    let by_id = "/api/v3/order?symbol=BTCUSDT&orderId=42&recvWindow=5000";
    let by_name = "/api/v3/order?symbol=BTCUSDT&origClientOrderId=mine&recvWindow=5000";
    assert_eq!(super::cancel(Placed { symbol: &symbol, id: Some(&id), client: &mine }), by_id);
    assert_eq!(super::cancel(Placed { symbol: &symbol, id: None, client: &mine }), by_name);
    assert_eq!(open_orders(&[&symbol]), ["/api/v3/openOrders?symbol=BTCUSDT&recvWindow=5000"]);
    assert_eq!(open_orders(&[&symbol; 13]), ["/api/v3/openOrders?recvWindow=5000"]);
}

#[test]
fn answers_are_read_in_the_words_of_the_ledger() {
    let filled =
        br#"{"symbol":"BTCUSDT","orderId":28,"orderListId":-1,"clientOrderId":"rf-x","transactTime":1507725176595,
        "price":"0.00000000","origQty":"10.00000000","executedQty":"3.00000000","origQuoteOrderQty":"0.000000",
        "cummulativeQuoteQty":"100.00000000","status":"EXPIRED","fills":[{"price":"33.3","qty":"3"}]}"#;
    let said = order(filled).expect("an order");
    assert_eq!((said.id.as_str(), said.client_order_id.as_str(), said.is_over()), ("BTCUSDT-28", "rf-x", true));
    assert_eq!(said.filled().map(|qty| qty.to_string()).as_deref(), Some("3"));
    assert_eq!(said.average().map(|price| price.to_string()).as_deref(), Some("33.333333333"));
    assert_eq!(said.at().map(|at| at.as_millisecond()), Some(1_507_725_176_595));
    let cancelled =
        br#"{"symbol":"BTCUSDT","orderId":4,"origClientOrderId":"mine","clientOrderId":"cancel-1","status":"CANCELED",
        "executedQty":"0.00000000","cummulativeQuoteQty":"0.00000000","transactTime":1}"#;
    let said = order(cancelled).expect("an order");
    assert_eq!((said.client_order_id.as_str(), said.is_over(), said.average()), ("mine", true, None));
    let untold = br#"{"symbol":"A","orderId":1,"status":"FILLED","executedQty":"1","cummulativeQuoteQty":"-1"}"#;
    assert_eq!(order(untold).expect("an order").average(), None);
    assert!(!order(br#"{"symbol":"A","orderId":1,"status":"PARTIALLY_FILLED"}"#).expect("an order").is_over());
    assert!(order(br#"{"code":-2013,"msg":"Order does not exist."}"#).is_none());
    let trade = listed(r#"{"symbol":"BTCUSDT","id":9,"orderId":28,"price":"1"}"#);
    assert_eq!(trade.as_ref().map(UpstreamId::as_str), Some("BTCUSDT-28"));
}

#[test]
fn what_nobody_knows_is_no_refusal() {
    #[track_caller]
    fn check(status: u16, body: &str, wanted: Heard) {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(Codec::Binance.heard(status, body.as_bytes()), wanted, "{status} {body}");
    }
    check(200, "{}", Heard::Taken);
    check(400, r#"{"code":-2010,"msg":"Account has insufficient balance for requested action."}"#, Heard::Refused);
    check(400, r#"{"code":-1007,"msg":"Timeout waiting for response from backend server."}"#, Heard::InDoubt);
    check(408, r#"{"code":-1,"msg":"x"}"#, Heard::InDoubt);
    check(429, r#"{"code":-1003,"msg":"Too many requests"}"#, Heard::Refused);
    check(503, "unavailable", Heard::InDoubt);
    assert!(Codec::Binance.is_not_found(StatusCode::BAD_REQUEST, br#"{"code":-2013,"msg":"Order does not exist."}"#));
    assert!(!Codec::Binance.is_not_found(StatusCode::NOT_FOUND, b"<html>"), "that is no word of Binance's");
}

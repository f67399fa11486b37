//! What a request asks for: its parameters, which may stand in the query and in the body.

use ringfence_model::trade::{ClientOrderId, OrderRef, Refusal, Rule, UpstreamId};

use crate::trade::fields::Fields;

/// What says who asks, and is made anew by the gate.
const AUTHENTICATION: [&str; 3] = ["signature", "timestamp", "recvWindow"];
/// What names begin with that ccxt gives to orders for which its user gave none: at every try another one.
const LIBRARY: &str = "x-TKT5PX2F";
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 36;

fn form(why: impl Into<String>) -> Refusal {
    Refusal::because(Rule::CanonicalForm, why)
}

/// What a request asks for, without what says who asks, and without a name that a library has made up: the same order that is tried
/// again reads as the same.
pub(crate) fn asked(query: &str, body: &[u8]) -> Result<Fields, Refusal> {
    let body = std::str::from_utf8(body).map_err(|_| form("the body is no form"))?;
    let fields = Fields::of_form(query)?.and(Fields::of_form(body)?)?.without(&AUTHENTICATION);
    let made_up = fields.text("newClientOrderId").is_some_and(|name| name.starts_with(LIBRARY));
    Ok(if made_up { fields.without(&["newClientOrderId"]) } else { fields })
}

/// The parameters of a new order as the venue's file names them, and whether it only ever waits for others.
pub(crate) fn order(fields: &Fields) -> Result<(Fields, bool), Refusal> {
    // It is asked for all in any case.
    let fields = fields.clone().without(&["newOrderRespType"]);
    let kind = fields.text("type").unwrap_or_default().to_owned();
    if fields.text("quoteOrderQty").is_some() && kind != "MARKET" {
        return Err(form("`quoteOrderQty` is of orders of type MARKET"));
    }
    if let Some(name) = fields.text("newClientOrderId") {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(form("`newClientOrderId` has 1 to 36 of the characters a-z, A-Z, 0-9, - and _"));
        }
    }
    let post_only = kind == "LIMIT_MAKER";
    if matches!(kind.as_str(), "MARKET" | "LIMIT_MAKER" | "STOP_LOSS") {
        if fields.get("timeInForce").is_some() {
            return Err(form(format!("an order of type {kind} has no `timeInForce`")));
        }
        return Ok((fields.with("timeInForce", "GTC"), post_only));
    }
    Ok((fields, post_only))
}

/// The order that a request to cancel or to tell of one names, and nothing beside.
pub(crate) fn named(fields: &Fields) -> Result<OrderRef, Refusal> {
    only(fields, &["symbol", "orderId", "origClientOrderId"])?;
    let symbol = symbol_in(fields)?;
    match (fields.text("orderId"), fields.text("origClientOrderId")) {
        (Some(number), None) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number: u64 = number.parse().map_err(|_| form("`orderId` is a number"))?;
            let id = UpstreamId::parse(&format!("{symbol}-{number}"));
            id.map(OrderRef::Upstream).map_err(|error| form(error.to_string()))
        }
        (None, Some(name)) => {
            let id = ClientOrderId::parse(name);
            id.map(OrderRef::Client).map_err(|error| form(error.to_string()))
        }
        _ => Err(form("it names its order either by `orderId`, a number, or by `origClientOrderId`")),
    }
}

/// The symbol that a request names, in Binance's spelling.
pub(crate) fn symbol_in(fields: &Fields) -> Result<&str, Refusal> {
    let plain = |text: &&str| {
        (1..=24).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    fields.text("symbol").filter(plain).ok_or_else(|| form("it names no `symbol`, as in BTCUSDT"))
}

/// Refuses what the request does not have.
pub(crate) fn only(fields: &Fields, names: &[&str]) -> Result<(), Refusal> {
    match fields.names().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(form(format!("`{name:.40}` is nothing that this request has"))),
    }
}

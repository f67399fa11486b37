//! Binance spot (developers.binance.com, "Spot REST API"): orders as parameters in query or body, signed. An order's id is one of its
//! symbol alone, so that the ledger knows it as `BTCUSDT-42`.

pub(crate) mod account;
mod read;

use hyper::http::{HeaderName, StatusCode};
use ringfence_model::trade::{
    CanonicalSymbol, OrderIntent, Pricing, Refusal, Side, Size, Structure, TimeInForce, UpstreamId,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::codec::{Heard, Placed};
use super::fields::escaped;
use super::order::Written;
use super::said::OrderSaid;

pub(crate) use read::{asked, named, only, order as read_order, symbol_in};

/// What counts requests, which clients slow down by.
pub(super) static HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("x-mbx-used-weight"),
    HeaderName::from_static("x-mbx-used-weight-1m"),
    HeaderName::from_static("x-mbx-order-count-10s"),
    HeaderName::from_static("x-mbx-order-count-1d"),
];
/// How long after its time a request may arrive, in milliseconds. A second later it would be refused, not traded late.
const RECEIVE_MS: &str = "5000";
/// Symbols whose open orders are asked for one by one: asking for those of all symbols costs as much as for thirteen of them
/// (weights 6 and 80).
const SYMBOLS_MAX: usize = 12;

/// What is asked of the market, which anybody may.
pub(super) fn is_public(path: &str) -> bool {
    ["/api/v3/time", "/api/v3/exchangeInfo", "/api/v3/ticker/price", "/api/v3/ticker/bookTicker"].contains(&path)
}

/// A refusal as one of an order, with what Binance does not say beside.
pub(super) fn refusal(refusal: &Refusal) -> Value {
    json!({
        "code": -2010, "msg": refusal.to_string(),
        "rule": refusal.rule, "limit": refusal.limit, "observed": refusal.observed,
    })
}

/// That the execution status is unknown, which clients do not try again by themselves.
pub(super) fn trouble(message: &str) -> Value {
    json!({"code": -1006, "msg": message})
}

/// As it is said of an order that is not there.
pub(super) fn not_found() -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({"code": -2013, "msg": "Order does not exist."}))
}

/// In place of an answer that asks for fewer requests and has no words.
pub(super) fn slower() -> Value {
    json!({"code": -1003, "msg": "the venue asks for fewer requests"})
}

fn code(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
    }
    serde_json::from_slice::<Error>(body).ok().map(|error| error.code)
}

/// What an answer to an order means. Of its errors, four say that nobody knows, whatever the status.
pub(super) fn heard(status: StatusCode, body: &[u8]) -> Heard {
    const UNKNOWN: [i64; 4] = [-1000, -1001, -1006, -1007];
    match status {
        status if status.is_success() => Heard::Taken,
        _ if code(body).is_some_and(|code| UNKNOWN.contains(&code)) => Heard::InDoubt,
        status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => Heard::Refused,
        _ => Heard::InDoubt,
    }
}

/// Whether there is no such order.
pub(super) fn is_not_found(status: StatusCode, body: &[u8]) -> bool {
    status.is_client_error() && code(body) == Some(-2013)
}

/// An order as Binance tells it: in answers to new orders, to questions and to cancels.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    symbol: String,
    order_id: u64,
    #[serde(default)]
    client_order_id: String,
    /// In the answer to a cancel, where the other one is the cancel's.
    orig_client_order_id: Option<String>,
    status: String,
    executed_qty: Option<String>,
    cummulative_quote_qty: Option<String>,
    update_time: Option<i64>,
    transact_time: Option<i64>,
}

impl From<Order> for OrderSaid {
    fn from(order: Order) -> Self {
        let status = match order.status.as_str() {
            "NEW" | "PENDING_NEW" => "new".to_owned(),
            "EXPIRED" | "EXPIRED_IN_MATCH" => "expired".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let decimal = |text: &Option<String>| Decimal::from_str_exact(text.as_deref()?).ok();
        // What was paid in all is told, and the average is what it comes to.
        let average =
            decimal(&order.executed_qty).zip(decimal(&order.cummulative_quote_qty)).and_then(|(qty, paid)| {
                let is_told = qty > Decimal::ZERO && paid >= Decimal::ZERO;
                is_told.then(|| paid.checked_div(qty)).flatten()
            });
        let at = order.update_time.or(order.transact_time);
        let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        Self {
            id: format!("{}-{}", order.symbol, order.order_id),
            client_order_id: order.orig_client_order_id.unwrap_or(order.client_order_id),
            status,
            filled_qty: order.executed_qty,
            filled_avg_price: average.map(|average| average.to_string()),
            filled_at: None,
            updated_at: at.map(|at| at.to_string()),
            legs: None,
        }
    }
}

/// An order in an answer.
pub(super) fn order(body: &[u8]) -> Option<OrderSaid> {
    serde_json::from_slice::<Order>(body).ok().map(OrderSaid::from)
}

/// A list of orders.
pub(super) fn orders(body: &[u8]) -> Option<Vec<OrderSaid>> {
    let orders: Vec<Order> = serde_json::from_slice(body).ok()?;
    Some(orders.into_iter().map(OrderSaid::from).collect())
}

/// The order that an element of a list is, or of which it is a trade.
pub(super) fn listed(element: &str) -> Option<UpstreamId> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Element {
        symbol: String,
        order_id: u64,
    }
    let Element { symbol, order_id } = serde_json::from_str(element).ok()?;
    UpstreamId::parse(&format!("{symbol}-{order_id}")).ok()
}

/// `BTC/USDT` as it is written there.
pub(crate) fn symbol(symbol: &CanonicalSymbol) -> String {
    symbol.as_str().replace('/', "")
}

/// Path and query of a request that will be signed.
pub(crate) fn target(path: &str, query: &str) -> String {
    let between = if query.is_empty() { "" } else { "&" };
    format!("{path}?{query}{between}recvWindow={RECEIVE_MS}")
}

fn query(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    fields.join("&")
}

/// A new order. It is answered with all that became of it, whatever its client would have been content with.
pub(super) fn submit(intent: &OrderIntent, post_only: bool) -> Written {
    let mut fields = vec![("symbol", symbol(&intent.symbol))];
    fields.push(("side", if intent.side == Side::Buy { "BUY" } else { "SELL" }.to_owned()));
    let (kind, limit, stop) = match intent.pricing {
        _ if intent.structure != Structure::Simple => ("LIST", None, None),
        Pricing::Market => ("MARKET", None, None),
        Pricing::Limit { limit } if post_only => ("LIMIT_MAKER", Some(limit), None),
        Pricing::Limit { limit } => ("LIMIT", Some(limit), None),
        Pricing::Stop { stop } => ("STOP_LOSS", None, Some(stop)),
        Pricing::StopLimit { stop, limit } => ("STOP_LOSS_LIMIT", Some(limit), Some(stop)),
        // Neither this nor a list is read from a request; Binance knows no such types, and refuses them.
        Pricing::TrailingStop { .. } => ("TRAILING", None, None),
    };
    fields.push(("type", kind.to_owned()));
    if matches!(kind, "LIMIT" | "STOP_LOSS_LIMIT") {
        let word = match intent.time_in_force {
            TimeInForce::Ioc => "IOC",
            TimeInForce::Fok => "FOK",
            TimeInForce::Gtc | TimeInForce::Day | TimeInForce::Opg | TimeInForce::Cls => "GTC",
        };
        fields.push(("timeInForce", word.to_owned()));
    }
    fields.push(match intent.size {
        Size::Qty(qty) => ("quantity", qty.to_string()),
        Size::Notional(dollars) => ("quoteOrderQty", dollars.to_string()),
    });
    fields.extend(limit.map(|limit| ("price", limit.to_string())));
    fields.extend(stop.map(|stop| ("stopPrice", stop.to_string())));
    fields.extend(intent.client_order_id.as_ref().map(|id| ("newClientOrderId", id.to_string())));
    fields.push(("newOrderRespType", "FULL".to_owned()));
    Written::plain(target("/api/v3/order", &query(&fields)))
}

/// An order by the name that it was sent with.
pub(super) fn by_client_id(order: Placed<'_>) -> String {
    let fields = [("symbol", symbol(order.symbol)), ("origClientOrderId", order.client.to_string())];
    target("/api/v3/order", &query(&fields))
}

/// An order by its id.
pub(super) fn by_id(id: &UpstreamId) -> String {
    let (symbol, number) = id.as_str().rsplit_once('-').unwrap_or(("", id.as_str()));
    target("/api/v3/order", &query(&[("symbol", symbol.to_owned()), ("orderId", number.to_owned())]))
}

/// Where an order is cancelled: by its id, and one whose id nobody has told yet by its name.
pub(super) fn cancel(order: Placed<'_>) -> String {
    order.id.map_or_else(|| by_client_id(order), by_id)
}

/// The open orders of the account in these symbols, and in all where they are many.
pub(super) fn open_orders(symbols: &[&CanonicalSymbol]) -> Vec<String> {
    const PATH: &str = "/api/v3/openOrders";
    if symbols.len() > SYMBOLS_MAX || symbols.is_empty() {
        return vec![target(PATH, "")];
    }
    symbols.iter().map(|one| target(PATH, &query(&[("symbol", symbol(one))]))).collect()
}

/// Where everything is cancelled that these open orders are: it is one request for each symbol.
pub(super) fn cancel_all(open: &[OrderSaid]) -> Vec<String> {
    let symbols: std::collections::BTreeSet<&str> =
        open.iter().filter_map(|order| order.id.rsplit_once('-').map(|(symbol, _)| symbol)).collect();
    symbols.into_iter().map(|symbol| target("/api/v3/openOrders", &query(&[("symbol", symbol.to_owned())]))).collect()
}

#[cfg(test)]
mod tests;

//! Alpaca (docs.alpaca.markets, Trading API v2): orders in JSON, each named by its id in the path.

use hyper::http::StatusCode;
use ringfence_model::trade::{
    Changes, ClientOrderId, Exit, OrderIntent, Pricing, Refusal, Size, StopLoss, Structure, Trail, UpstreamId,
};
use serde_json::{Map, Value, json};

use super::codec::Heard;
use super::order::Written;

/// Orders that one answer lists.
const LISTED_MAX: usize = 500;

/// A refusal, which official clients read as a permission that is missing.
pub(super) fn refusal(refusal: &Refusal) -> Value {
    refusal.body()
}

/// An error that no client takes for one to try again.
pub(super) fn trouble(message: &str) -> Value {
    json!({"code": 50_010_000, "message": message})
}

/// What is said of an order that is not there.
pub(super) fn not_found() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({"code": 40_410_000, "message": "order not found"}))
}

/// What is said in place of an answer without a body that asks for fewer requests.
pub(super) fn slower() -> Value {
    json!({"code": 42_910_000, "message": "the venue asks for fewer requests"})
}

/// What an answer to an order means. Below 500 it was read and refused, but for the one that says that nobody looked at it in time.
pub(super) fn heard(status: StatusCode) -> Heard {
    match status {
        status if status.is_success() => Heard::Taken,
        status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => Heard::Refused,
        _ => Heard::InDoubt,
    }
}

/// Where an order is asked for by the name that it was sent with.
pub(super) fn by_client_id(id: &ClientOrderId) -> String {
    let id = percent_encoding::utf8_percent_encode(id.as_str(), percent_encoding::NON_ALPHANUMERIC);
    format!("/v2/orders:by_client_order_id?client_order_id={id}")
}

/// Where an order is asked for by its id.
pub(super) fn by_id(id: &UpstreamId) -> String {
    format!("/v2/orders/{id}?nested=true")
}

/// Where the open orders of the account are.
pub(super) fn open_orders() -> String {
    format!("/v2/orders?status=open&nested=true&limit={LISTED_MAX}")
}

/// Where an order is cancelled.
pub(super) fn cancel(id: &str) -> String {
    format!("/v2/orders/{id}")
}

/// An order in Alpaca's words: every amount a text.
pub(super) fn submit(intent: &OrderIntent) -> Written {
    let mut body = Map::new();
    let mut put = |name: &str, value: serde_json::Value| drop(body.insert(name.to_owned(), value));
    put("symbol", json!(intent.symbol));
    match intent.size {
        Size::Qty(qty) => put("qty", json!(qty)),
        Size::Notional(notional) => put("notional", json!(notional)),
    }
    put("side", json!(intent.side));
    put("type", json!(intent.pricing.order_type()));
    put("time_in_force", json!(intent.time_in_force));
    match intent.pricing {
        Pricing::Market => {}
        Pricing::Limit { .. } if matches!(intent.structure, Structure::Oco { .. }) => {}
        Pricing::Limit { limit } => put("limit_price", json!(limit)),
        Pricing::Stop { stop } => put("stop_price", json!(stop)),
        Pricing::StopLimit { stop, limit } => {
            put("stop_price", json!(stop));
            put("limit_price", json!(limit));
        }
        Pricing::TrailingStop { trail: Trail::Price(price) } => put("trail_price", json!(price)),
        Pricing::TrailingStop { trail: Trail::Percent(percent) } => put("trail_percent", json!(percent)),
    }
    let loss = |stop: &StopLoss| match stop.limit {
        Some(limit) => json!({"stop_price": stop.stop, "limit_price": limit}),
        None => json!({"stop_price": stop.stop}),
    };
    if !matches!(intent.structure, Structure::Simple) {
        put("order_class", json!(intent.structure.class()));
    }
    match &intent.structure {
        Structure::Simple | Structure::Mleg(_) => {}
        Structure::Bracket { take_profit, stop_loss } => {
            put("take_profit", json!({ "limit_price": take_profit }));
            put("stop_loss", loss(stop_loss));
        }
        Structure::Oco { stop_loss } => {
            put("take_profit", json!({ "limit_price": intent.pricing.limit() }));
            put("stop_loss", loss(stop_loss));
        }
        Structure::Oto(Exit::TakeProfit(price)) => put("take_profit", json!({ "limit_price": price })),
        Structure::Oto(Exit::StopLoss(stop)) => put("stop_loss", loss(stop)),
    }
    if intent.extended_hours {
        put("extended_hours", json!(true));
    }
    if let Some(id) = &intent.client_order_id {
        put("client_order_id", json!(id));
    }
    Written { target: "/v2/orders".to_owned(), body: serde_json::Value::Object(body).to_string().into_bytes() }
}

/// Another order in place of the one with this id at the venue.
pub(super) fn replace(id: &str, changes: &Changes) -> Written {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("qty", changes.qty.map(|qty| json!(qty)));
    put("time_in_force", changes.time_in_force.map(|word| json!(word)));
    put("limit_price", changes.limit.map(|price| json!(price)));
    put("stop_price", changes.stop.map(|price| json!(price)));
    put(
        "trail",
        changes.trail.map(|trail| match trail {
            Trail::Price(price) => json!(price),
            Trail::Percent(percent) => json!(percent),
        }),
    );
    put("client_order_id", changes.client_order_id.as_ref().map(|id| json!(id)));
    Written { target: format!("/v2/orders/{id}"), body: serde_json::Value::Object(body).to_string().into_bytes() }
}

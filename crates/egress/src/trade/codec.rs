//! How a venue writes and reads: one file for each, and this is all that the rest of the gate asks of it.

use hyper::http::{HeaderName, StatusCode};
use ringfence_model::api::Exchange;
use ringfence_model::trade::{CanonicalSymbol, Changes, ClientOrderId, OrderIntent, Refusal, UpstreamId};
use serde::Deserialize;
use serde_json::Value;

use super::order::Written;
use super::said::OrderSaid;
use super::{alpaca, binance};

/// How a venue writes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Codec {
    /// JSON, keys in headers.
    Alpaca,
    /// Parameters, signed.
    Binance,
}

/// What an answer to an order means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The venue has it.
    Taken,
    /// The venue refused it.
    Refused,
    /// Nobody knows.
    InDoubt,
}

/// An order that the gate knows, as far as a venue has to be told which it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'o> {
    /// What it trades.
    pub(crate) symbol: &'o CanonicalSymbol,
    /// Its id at the venue.
    pub(crate) id: Option<&'o UpstreamId>,
    /// What it was called by the one who sent it.
    pub(crate) client: &'o ClientOrderId,
}

impl Codec {
    /// How its requests are signed; none where keys go out as they are.
    pub(crate) fn signed_as(self) -> Option<Exchange> {
        match self {
            Self::Alpaca => None,
            Self::Binance => Some(Exchange::Binance),
        }
    }

    /// Whether a question is answered to anybody, and not signed.
    pub(crate) fn is_public(self, path: &str) -> bool {
        match self {
            Self::Alpaca => false,
            Self::Binance => binance::is_public(path),
        }
    }

    /// What the ids of its accounts begin with, after the environment.
    pub(crate) fn account_prefix(self) -> &'static str {
        match self {
            Self::Alpaca => "",
            Self::Binance => "binance:",
        }
    }

    /// The venue of an account, by what stands after its environment.
    pub(crate) fn of_account(id: &str) -> Self {
        let id = id.split_once(':').map_or(id, |(_, id)| id);
        if id.starts_with(Self::Binance.account_prefix()) { Self::Binance } else { Self::Alpaca }
    }

    /// Headers of its answers that clients read, beside those of all.
    pub(crate) fn headers(self) -> &'static [HeaderName] {
        match self {
            Self::Alpaca => &[],
            Self::Binance => &binance::HEADERS,
        }
    }

    /// A refusal in its words.
    pub(crate) fn refusal(self, refusal: &Refusal) -> Value {
        match self {
            Self::Alpaca => alpaca::refusal(refusal),
            Self::Binance => binance::refusal(refusal),
        }
    }

    /// An error in its words that no client takes for one to try again.
    pub(crate) fn trouble(self, message: &str) -> Value {
        match self {
            Self::Alpaca => alpaca::trouble(message),
            Self::Binance => binance::trouble(message),
        }
    }

    /// What it says of an order that is not there.
    pub(crate) fn not_found(self) -> (StatusCode, Value) {
        match self {
            Self::Alpaca => alpaca::not_found(),
            Self::Binance => binance::not_found(),
        }
    }

    /// What stands in place of an answer that asks for fewer requests and has no words.
    pub(crate) fn slower(self) -> Value {
        match self {
            Self::Alpaca => alpaca::slower(),
            Self::Binance => binance::slower(),
        }
    }

    /// What an answer to an order means.
    pub(crate) fn heard(self, status: StatusCode, body: &[u8]) -> Heard {
        match self {
            Self::Alpaca => alpaca::heard(status),
            Self::Binance => binance::heard(status, body),
        }
    }

    /// Whether an answer says that there is no such order.
    pub(crate) fn is_not_found(self, status: StatusCode, body: &[u8]) -> bool {
        match self {
            Self::Alpaca => status == StatusCode::NOT_FOUND,
            Self::Binance => binance::is_not_found(status, body),
        }
    }

    /// An order in an answer.
    pub(crate) fn order(self, body: &[u8]) -> Option<OrderSaid> {
        match self {
            Self::Alpaca => serde_json::from_slice(body).ok(),
            Self::Binance => binance::order(body),
        }
    }

    /// A list of orders in an answer.
    pub(crate) fn orders(self, body: &[u8]) -> Option<Vec<OrderSaid>> {
        match self {
            Self::Alpaca => serde_json::from_slice(body).ok(),
            Self::Binance => binance::orders(body),
        }
    }

    /// The order that an element of a list is, or is about.
    pub(crate) fn listed(self, element: &str) -> Option<UpstreamId> {
        match self {
            Self::Alpaca => serde_json::from_str::<OrderSaid>(element).ok()?.upstream(),
            Self::Binance => binance::listed(element),
        }
    }

    /// A new order. `post_only`: it only ever waits for others.
    pub(crate) fn submit(self, intent: &OrderIntent, post_only: bool) -> Written {
        match self {
            Self::Alpaca => alpaca::submit(intent),
            Self::Binance => binance::submit(intent, post_only),
        }
    }

    /// Another order in place of the one with this id; none where there is no such request.
    pub(crate) fn replace(self, id: &str, changes: &Changes) -> Option<Written> {
        match self {
            Self::Alpaca => Some(alpaca::replace(id, changes)),
            Self::Binance => None,
        }
    }

    /// Where an order is asked for by the name that it was sent with.
    pub(crate) fn by_client_id(self, order: Placed<'_>) -> String {
        match self {
            Self::Alpaca => alpaca::by_client_id(order.client),
            Self::Binance => binance::by_client_id(order),
        }
    }

    /// Where an order is asked for by its id.
    pub(crate) fn by_id(self, id: &UpstreamId) -> String {
        match self {
            Self::Alpaca => alpaca::by_id(id),
            Self::Binance => binance::by_id(id),
        }
    }

    /// Where an order is cancelled. `named`: the id that its client gave, which may be that of a leg.
    pub(crate) fn cancel(self, order: Placed<'_>, named: Option<&str>) -> String {
        match self {
            Self::Alpaca => alpaca::cancel(named.or(order.id.map(UpstreamId::as_str)).unwrap_or_default()),
            Self::Binance => binance::cancel(order),
        }
    }

    /// Whether an order can be cancelled whose id nobody has told yet.
    pub(crate) fn cancels_by_name(self) -> bool {
        self == Self::Binance
    }

    /// Where the open orders are of an account of which orders in these symbols are known.
    pub(crate) fn open_orders(self, symbols: &[&CanonicalSymbol]) -> Vec<String> {
        match self {
            Self::Alpaca => vec![alpaca::open_orders()],
            Self::Binance => binance::open_orders(symbols),
        }
    }

    /// Where everything is cancelled that these open orders are.
    pub(crate) fn cancel_all(self, open: &[OrderSaid]) -> Vec<String> {
        match self {
            Self::Alpaca => vec!["/v2/orders".to_owned()],
            Self::Binance => binance::cancel_all(open),
        }
    }

    /// Where all positions are closed; none where there is no such request.
    pub(crate) fn close_all(self) -> Option<&'static str> {
        match self {
            Self::Alpaca => Some("/v2/positions?cancel_orders=true"),
            Self::Binance => None,
        }
    }

    /// Whether what is open has to be known before everything can be cancelled.
    pub(crate) fn cancels_by_symbol(self) -> bool {
        self == Self::Binance
    }
}

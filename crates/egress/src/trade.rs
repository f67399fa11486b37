//! Orders on their way out: which names belong to a venue and where they lead, what a request to one asks for, and the one reading
//! of an order that is judged and sent.
//!
//! A venue is a file in `venues/` and a way of writing and reading ([`Codec`]); nothing else here knows one. The rules themselves are
//! pure and stand in `ringfence_model::trade`, the ledger in `ringfence_store::gate`.

mod alpaca;
pub(crate) mod binance;
mod codec;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod order;
mod said;
mod venue;

pub(crate) use codec::{Codec, Heard, Placed};
pub(crate) use fields::{Fields, Value};
pub(crate) use order::{Reading, Written};
pub(crate) use said::OrderSaid;
pub(crate) use venue::{Asks, Part, Route, Venue, Venues};

//! The simulated exchange: accounts, orders, fills and market data over a replayed past, in the words of Alpaca's wire.
//!
//! It reads bars through [`ringfence_market::Tape`], never past its own clock, and keeps every price and amount an exact
//! decimal. It shares no parsing of orders with the gate, so that one finds the other's mistakes. It never opens a
//! connection to anybody: others connect to it.

pub mod account;
pub mod clock;
pub mod control;
pub mod data;
pub mod exact;
pub mod exchange;
pub mod journal;
pub mod json;
pub mod listen;
pub mod order;
pub mod profile;
pub mod refusal;
pub mod request;
pub mod seed;
pub mod trading;
pub mod venue;

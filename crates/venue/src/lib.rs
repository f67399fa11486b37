//! The simulated exchange: accounts, orders, fills and market data over a replayed past, in the words of Alpaca's wire.
//!
//! It reads bars through [`ringfence_market::Tape`], never past its own clock, and keeps every price and amount an exact
//! decimal. It shares no parsing of orders with the gate, so that one finds the other's mistakes. It never opens a
//! connection to anybody: others connect to it.

pub mod clock;
pub mod data;

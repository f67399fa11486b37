//! The gate: everything that a sandbox says to the world passes here, and is written down before it is said.

pub mod cache;
pub mod dns;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod gate;
pub mod secret;
pub mod sign;
pub mod tls;
mod trade;

//! TLS on both sides of the gate: what a client's first bytes say, the authority that the sandboxes trust, the two ends of an
//! intercepted connection, and how a client is told that it may not.
//!
//! Nothing here can switch off the verification of an upstream certificate.

pub mod alert;
pub mod authority;
pub mod bundle;
pub mod client;
pub mod hello;
pub mod prefixed;
mod recent;
pub mod server;
pub mod sniff;

#[cfg(test)]
mod tests;

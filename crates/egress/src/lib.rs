//! The gate: everything that a sandbox says to the world passes here, and is written down before it is said.

pub mod secret;
pub mod sign;

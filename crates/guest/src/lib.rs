//! What host and sandbox say to each other: the frames of guest init, and the request that a parked interpreter takes.
//!
//! No host types, and no I/O: this crate is compiled into the static binary that is pid 1 of every sandbox.

pub mod frames;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod node;
pub mod park;

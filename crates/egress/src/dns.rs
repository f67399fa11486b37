//! Names for a sandbox: its questions, read within bounds; whether they may be asked; and which addresses it was given.
//!
//! No packet of a sandbox goes to a name server. A question is read, judged, and asked anew of the host's own resolver.

pub mod answer;
pub mod given;
mod hosts;
pub mod message;
pub mod resolve;
pub mod serve;
pub mod throttle;

#[cfg(test)]
mod tests;

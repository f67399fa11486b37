//! Research: sweeps of backtests, pipelines, and swarms of agents, each run in sandboxes, each a job in the database that goes on
//! after a restart.

pub mod api;
mod desk;
mod pipeline;
mod prune;
pub mod strategy;
mod swarm;
mod sweep;

pub use desk::{Desk, Settings};

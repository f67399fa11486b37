//! Backtests as pure functions: what a strategy wants, bar by bar, becomes fills, equity, trades and figures about them.
//!
//! Nothing here does I/O, reads a clock or draws a random number that is not seeded. The same inputs give the same bits on every
//! machine: sums are taken in one order, and whatever is not `+ − × ÷ √` is computed by `libm`.

pub mod kernel;
pub mod luck;
#[cfg(test)]
mod made;
pub mod metrics;
pub mod panel;
pub mod report;
pub mod simulate;
pub mod targets;
pub mod types;

pub use kernel::{Declared, Kernel};
pub use panel::Panel;
pub use simulate::{Run, Settings, simulate, simulate_orders};
pub use targets::{Order, Orders, Targets};
pub use types::{Curve, Side, Trade};

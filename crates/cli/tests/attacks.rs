//! Hostile code, run for real. Each attack is a program in `attacks/*.py` that is run twice: in a sandbox, where it must be
//! stopped for a reason that is named here, and on the host without the defence (the *control*), where it must succeed, so
//! that a test cannot pass because the attack is broken. After each, the same daemon must answer as before.
//!
//! A control that this host's kernel cannot do is named on standard error and counted, never skipped silently.

mod common;

#[path = "attacks/evasion.rs"]
mod evasion;
#[path = "attacks/exhaustion.rs"]
mod exhaustion;
#[path = "attacks/mischief.rs"]
mod mischief;
#[path = "attacks/random_calls.rs"]
mod random_calls;
#[path = "attacks/stage.rs"]
mod stage;
#[path = "attacks/surface.rs"]
mod surface;

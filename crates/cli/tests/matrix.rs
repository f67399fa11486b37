//! Roles, operations and projects through the real daemon: the table of `crates/server/tests/matrix`, the time that ids take, and all
//! that an agent may try with the arguments of its tools to be allowed more than it was given.
//!
//! Trading is halted here, and the daemon is therefore the tests' own, over a state directory beside the shared one.

mod common;

#[path = "matrix/cells.rs"]
mod cells;
#[path = "matrix/scene.rs"]
mod scene;
#[path = "../../server/tests/matrix/table.rs"]
mod table;
#[path = "matrix/timing.rs"]
mod timing;
#[path = "matrix/widening.rs"]
mod widening;

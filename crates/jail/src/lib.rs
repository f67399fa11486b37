//! What is done to a process before untrusted code runs in it, and the jailer that does it.
//!
//! Synchronous and single-threaded: only such a process may safely fork and unshare. It receives plans (pure data),
//! checks them against its own bounds, executes them without choices, and never parses anything that a sandbox wrote
//! beyond fixed-size handshakes.

pub mod proto;
pub mod sys;
pub mod seccomp;
pub mod cgroup;
pub mod wire;
pub mod check;
pub mod disk;
pub mod host;
pub mod shell;
pub mod synth;
pub mod posture;
pub mod spawn;
pub mod zygote;

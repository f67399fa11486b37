//! What is done to a process before untrusted code runs in it, and the jailer that does it.
//!
//! Synchronous and single-threaded: only such a process may safely fork and unshare. It receives plans (pure data),
//! checks them against its own bounds, executes them without choices, and never parses anything that a sandbox wrote
//! beyond fixed-size handshakes.

pub mod backup;
pub mod board;
pub mod boot;
pub mod build;
pub mod capture;
pub mod cgroup;
pub mod check;
pub mod disk;
pub mod doctor;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod gateway;
pub mod host;
pub mod installation;
pub mod jailer;
pub mod layer;
pub mod notify;
pub mod numbers;
pub mod posture;
pub mod proto;
pub mod reconcile;
pub mod say;
pub mod seccomp;
pub mod shell;
pub mod spawn;
pub mod supervise;
pub mod synth;
pub mod sys;
pub mod wire;
pub mod zygote;

//! Nouns and pure rules of ringfence: ids, states, limits, and the requests and answers of its API.
//!
//! Nothing here does I/O, reads a clock, or is asynchronous.

pub mod access;
pub mod api;
pub mod credit;
pub mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod ids;
pub mod limits;
pub mod mask;
pub mod net;
pub mod trade;

pub use access::{Caller, Needs, Operation, Project, Role, TOKEN_PREFIX, is_like_a_token};
pub use error::{ApiError, Code};
pub use ids::{AgentId, ExecutionId, JobId, LayerDigest, SandboxId};
pub use limits::Limits;

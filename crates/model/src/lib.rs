//! Nouns and pure rules of ringfence: ids, states, limits, and the requests and answers of its API.
//!
//! Nothing here does I/O, reads a clock, or is asynchronous.

pub mod api;
pub mod error;
pub mod ids;
pub mod limits;
pub mod mask;
pub mod net;

pub use error::{ApiError, Code};
pub use ids::{ExecutionId, LayerDigest, SandboxId};
pub use limits::Limits;

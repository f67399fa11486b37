//! The faces of ringfence: REST, and MCP over stdio and Streamable HTTP. All of them speak to one trait,
//! [`Sandboxes`](ringfence_engine::api::Sandboxes), which the engine implements and which [`Client`] implements a second
//! time, over the daemon's socket; and to [`Research`](ringfence_research::api::Research), of which the same is true.
//!
//! Beside them stand previews, the way from a browser to what a program serves in its sandbox.
//!
//! There is no SQL here, no system call, no secret but the access token, and no decision about a sandbox.

mod client;
mod guard;
mod mcp;
mod openapi;
mod parse;
mod preview;
mod probe;
mod rest;
mod scoped;
mod serve;
mod services;
mod trace;

pub use client::Client;
pub use guard::Token;
pub use mcp::{serve_handler, serve_stdio};
pub use openapi::openapi_json;
pub use serve::{Config, Started, Stop, Tcp, serve};
pub use services::Services;
pub use trace::TARGET as TRACE_TARGET;

/// Header of every answer: version and hash of the daemon's build, so that a client of another build can say so.
pub const BUILD_HEADER: &str = "x-ringfence-build";
/// Header of a request over the Unix socket whose sender is not the operator: `agent`.
pub const ACTOR_HEADER: &str = "x-ringfence-actor";
/// Header of a request whose sender wants to see one project alone.
pub const PROJECT_HEADER: &str = "x-ringfence-project";
/// Bytes of one request's body. A file of 32 MiB fits in base64, and as text unless most of it must be escaped.
pub const BODY_BYTES_MAX: usize = 48 << 20;

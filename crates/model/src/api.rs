//! Requests and answers of the API, in the shapes of `contracts/mcp-tools.md`. REST and MCP share them.
//!
//! A request is parsed strictly (an unknown argument is refused by name) and judged leniently: its bounds and the
//! arguments that are not built yet are judged by its `check`, which the engine calls once it has found the sandbox,
//! because an unknown sandbox is the first thing that a client must hear of. Answers hold no secret and no host path.

mod access;
mod audit;
mod check;
mod credit;
mod denial;
mod egress;
mod env;
mod execution;
mod export;
mod file;
mod health;
mod job;
mod network;
mod pipeline;
mod preview;
mod progress;
mod sandbox;
mod secret;
mod signing;
mod status;
mod swarm;
mod sweep;
mod template;
mod trade;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

pub use access::*;
pub use audit::*;
pub use check::{is_debian_package, is_npm_package, is_requirement, list_limit};
pub use credit::*;
pub use denial::*;
pub use egress::*;
pub use env::*;
pub use execution::*;
pub use export::*;
pub use file::*;
pub use health::*;
pub use job::*;
pub use network::*;
pub use pipeline::*;
pub use preview::*;
pub use progress::*;
pub use sandbox::*;
pub use secret::*;
pub use signing::*;
pub use status::*;
pub use swarm::*;
pub use sweep::*;
pub use template::*;
pub use trade::*;

/// Bytes that a program may have.
pub const CODE_BYTES_MAX: usize = 1 << 20;
/// Bytes that the standard input of an execution may have.
pub const STDIN_BYTES_MAX: usize = 1 << 20;
/// Bytes of one uploaded or downloaded file, decoded.
pub const TRANSFER_BYTES_MAX: usize = 32 << 20;
/// Environment variables of one request.
pub const ENV_NAMES_MAX: usize = 256;
/// Bytes of all names and values of one request's environment, together.
pub const ENV_BYTES_MAX: usize = 128 << 10;
/// Characters of a sandbox's name.
pub const NAME_CHARS_MAX: usize = 128;
/// Bytes of a sandbox's metadata as JSON.
pub const METADATA_BYTES_MAX: usize = 16 << 10;
/// Bytes of a path inside a sandbox.
pub const PATH_BYTES_MAX: usize = 4096;
/// Commands of one configure request.
pub const COMMANDS_MAX: usize = 64;
/// Packages of one request.
pub const PACKAGES_MAX: usize = 256;
/// Longest wait of one call, in seconds; also the default of `sandbox_execute`. Clients give up after 60.
pub const WAIT_S_MAX: f64 = 50.0;
/// Lifetime of a sandbox unless the request says otherwise, in seconds.
pub const LIFETIME_S_DEFAULT: u64 = 3600;
/// Longest lifetime of a sandbox, in seconds: seven days.
pub const LIFETIME_S_MAX: u64 = 7 * 24 * 3600;
/// Deadline of an execution unless the request says otherwise, in seconds.
pub const EXECUTION_S_DEFAULT: f64 = 60.0;
/// Latest deadline of an execution, in seconds: one day.
pub const EXECUTION_S_MAX: f64 = 24.0 * 3600.0;
/// Log lines answered unless the request says otherwise.
pub const LOG_LINES_DEFAULT: u32 = 100;
/// Log lines of one answer.
pub const LOG_LINES_MAX: u32 = 10_000;
/// Elements of a list answered unless the request says otherwise.
pub const LIST_DEFAULT: u32 = 100;
/// Elements of one list.
pub const LIST_MAX: u32 = 1000;

/// On whose behalf a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A person, at the command line or over the Unix socket.
    Operator,
    /// An MCP client, or anybody over TCP.
    Agent,
}

impl Actor {
    /// The word as it is sent and audited.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
        }
    }
}

/// For `skip_serializing_if`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Clients write `null` for what they leave out.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;

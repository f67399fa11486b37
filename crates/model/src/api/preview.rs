//! Ports of a sandbox, and the addresses at which they can be visited from outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check::invalid;
use crate::{ApiError, SandboxId};

/// Public ports of one sandbox.
pub const PUBLIC_PORTS_MAX: usize = 64;

/// Ports that one answer lists.
pub const PORTS_LISTED_MAX: usize = 256;

/// A port on which a program of the sandbox listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PortView {
    /// Its number.
    pub port: u16,
    /// The address that it listens on inside, such as `0.0.0.0` or `::1`.
    pub address: String,
    /// Where it can be visited. Unless it is public, that holds the sandbox's preview token: treat it as a secret. Null when
    /// the daemon listens on no TCP port, and for an address inside that previews do not reach.
    pub url: Option<String>,
    /// The same below a path, for programs and for browsers that do not find names below `localhost`.
    pub path_url: Option<String>,
    /// The operator has opened it to whoever reaches the daemon, without a token.
    pub public: bool,
}

/// What `ringfence preview` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// Id or unique name.
    pub sandbox_id: String,
    /// A port inside, whether or not somebody listens on it yet.
    #[schemars(range(min = 1, max = 65_535))]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: u32,
    /// Opens it to whoever reaches the daemon (true), or asks for the token again (false). Operators only. Left out, nothing
    /// changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Replaces the sandbox's preview token: the one of before lets nobody in any more, at any port, and what it has opened ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate: bool,
}

impl PreviewRequest {
    /// The port, if it is one.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for 0 and what is above 65535.
    pub fn port(&self) -> Result<u16, ApiError> {
        match u16::try_from(self.port) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(invalid("`port` must be between 1 and 65535")),
        }
    }
}

/// Where a port can be visited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PreviewAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The port inside.
    pub port: u16,
    /// Whether no token is needed.
    pub public: bool,
    /// Whether a program listens on it now.
    pub listening: bool,
    /// As in `sandbox_status`: unless the port is public it holds the sandbox's preview token. Null when the daemon listens on
    /// no TCP port.
    pub url: Option<String>,
    /// The same below a path.
    pub path_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ports() {
        let request = |port| PreviewRequest { port, ..PreviewRequest::default() };
        assert_eq!(request(8000).port(), Ok(8000));
        for port in [0, 65_536, u32::MAX] {
            assert!(request(port).port().is_err(), "{port}");
        }
    }
}

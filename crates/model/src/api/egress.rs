//! What the gate decided, one decision after the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What `ringfence egress tail` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EgressRequest {
    /// Only of this sandbox: id or unique name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Only decisions with a greater number, from the smallest on; without it the newest are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many at most (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Decisions of the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct EgressAnswer {
    /// True.
    pub success: bool,
    /// Oldest first.
    pub decisions: Vec<EgressDecision>,
    /// Length of `decisions`.
    pub count: u32,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct EgressDecision {
    /// Its number, which is that of its entry in the gateway's audit chain.
    pub number: u64,
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// Whose.
    pub sandbox_id: String,
    /// `dns`, `tcp`, `tls`, `http`, `ws` or `udp`.
    pub protocol: String,
    /// Host, or address where there is no name; with the port.
    pub destination: String,
    /// Method and path of a request, without its query.
    pub request: Option<String>,
    /// Names of the secrets that were put in.
    pub secrets: Vec<String>,
    /// The exchange in whose way it was signed by the gate, instead of by the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// It was answered from the gate's cache of package registries; nothing went out.
    #[serde(default)]
    pub cached: bool,
    /// `allow` or `refuse`.
    pub verdict: String,
    /// Why it was refused.
    pub reason: Option<String>,
    /// What came back: an HTTP status.
    pub status: Option<u16>,
    /// Bytes sent, when it is over.
    pub bytes_up: Option<u64>,
    /// Bytes received, when it is over.
    pub bytes_down: Option<u64>,
    /// How long it took, when it is over.
    pub milliseconds: Option<u64>,
}

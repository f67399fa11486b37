//! What was decided, and whether the record of it is whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Arguments of `audit_log`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditLogRequest {
    /// Only about this sandbox: id or unique name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Only events of this name, such as `sandbox.create`, or those that begin with it and a dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Only from this time on. RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How many of the newest (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Result of `audit_log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AuditLogAnswer {
    /// True.
    pub success: bool,
    /// Oldest first.
    pub entries: Vec<AuditEntryView>,
    /// Length of `entries`.
    pub count: u32,
}

/// One entry of the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AuditEntryView {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// `operator`, `agent` or `system`.
    pub actor: String,
    /// What was decided, such as `sandbox.create`.
    pub event: String,
    /// The sandbox that it is about.
    pub sandbox_id: Option<String>,
    /// The execution that it is about.
    pub execution_id: Option<String>,
    /// More about it: names and hashes, never values.
    #[schema(value_type = Object)]
    pub detail: Map<String, Value>,
    /// SHA-256 over the entry and the hash before, 64 hexadecimal digits.
    pub hash: String,
}

/// The end of a chain, as somebody may keep it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditHeadView {
    /// Number of the last entry; 0 for an empty chain.
    pub seq: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
}

/// What `ringfence audit verify` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditVerifyRequest {
    /// First entry (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Last entry (default: the end).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// A head that was noted elsewhere before: the chain must still contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<AuditHeadView>,
}

/// Whether the chain holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AuditVerifyAnswer {
    /// True: the chain was checked.
    pub success: bool,
    /// Whether every link holds.
    pub valid: bool,
    /// How many entries were checked.
    pub entries: u64,
    /// The end of the chain, worth keeping elsewhere; null when it does not hold.
    pub head: Option<AuditHeadView>,
    /// The first entry that does not hold.
    pub broken_at: Option<u64>,
    /// What is wrong with it, in a sentence.
    pub fault: Option<String>,
    /// The gateway's own chain, whole: its decisions, policies and secrets. Null when the gateway could not be asked.
    #[serde(default)]
    pub gate: Option<GateChain>,
}

/// What was found of the gateway's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct GateChain {
    /// Whether every link holds.
    pub valid: bool,
    /// How many entries were checked.
    pub entries: u64,
    /// The end of the chain; null when it does not hold.
    pub head: Option<AuditHeadView>,
    /// The first entry that does not hold.
    pub broken_at: Option<u64>,
    /// What is wrong with it, in a sentence.
    pub fault: Option<String>,
}

/// What is cut off the beginning of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditCut {
    /// Whose chain: `engine` or `gate`.
    pub chain: String,
    /// The number of the last entry that goes.
    pub seq: u64,
    /// Its hash, in 64 hexadecimal digits.
    pub hash: String,
    /// How many entries go.
    pub entries: u64,
    /// When the first of them was written, in milliseconds since the Unix epoch.
    pub first_at_ms: u64,
    /// When the last of them was written.
    pub last_at_ms: u64,
    /// SHA-256 of the export in which they are; zeros when there is none.
    pub export_sha256: String,
}

/// What `ringfence audit prune` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditPruneRequest {
    /// One for each chain at most.
    pub cuts: Vec<AuditCut>,
}

/// What was pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AuditPruneAnswer {
    /// True.
    pub success: bool,
    /// Each cut; a signed checkpoint stands in place of the entries.
    pub pruned: Vec<AuditCut>,
}

//! What a sandbox may reach. Only `none` is built.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `"none"`, `"packages"`, `"open"`, or `{"allow": [rule, …]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(untagged, expecting = "expected \"none\", \"packages\", \"open\" or {\"allow\": [{\"host\": …}]}")]
pub enum Network {
    /// One of the named policies.
    Named(NamedNetwork),
    /// What the rules allow, and nothing else.
    Rules(NetworkRules),
}

impl Default for Network {
    fn default() -> Self {
        Self::Named(NamedNetwork::None)
    }
}

/// A policy with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NamedNetwork {
    /// Nothing.
    None,
    /// Package registries.
    Packages,
    /// Everything; operators only.
    Open,
}

/// A list of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRules {
    /// What is allowed.
    pub allow: Vec<NetworkRule>,
}

/// One thing that is allowed. Empty lists allow any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRule {
    /// Host name.
    pub host: String,
    /// Ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// HTTP methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths, `*` for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

//! What a sandbox may reach. Only `none` is built.
//!
//! These are the shapes on the wire; their bounds are judged when a [`crate::net::Policy`] is made of them.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::null_is_default;

/// `"none"`, `"packages"`, `"open"`, or `{"allow": [rule, …]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, ToSchema)]
#[serde(untagged)]
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

/// By hand, because an error in one rule must say what is wrong with it, and not only that nothing fits.
impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Network;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""none", "packages", "open" or {"allow": [{"host": …}]}"#)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Network, E> {
                NamedNetwork::deserialize(StrDeserializer::new(text)).map(Network::Named)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Network, A::Error> {
                NetworkRules::deserialize(MapAccessDeserializer::new(map)).map(Network::Rules)
            }
        }
        deserializer.deserialize_any(Either)
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

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRule {
    /// Host name, or `*.example.com` for every name below `example.com`.
    pub host: String,
    /// Ports; 443 when there are none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortSpec>,
    /// HTTP methods; any when there are none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths; any when there are none. `*` stands for any characters within a segment, `**` at the end for the rest.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// A port, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(untagged, expecting = "expected a port from 1 to 65535, or a range such as \"8000-8010\"")]
pub enum PortSpec {
    /// One port.
    One(u16),
    /// `8000-8010`, both ends included.
    Range(String),
}

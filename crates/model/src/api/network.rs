//! What a sandbox may reach.
//!
//! These are the shapes on the wire; their bounds are judged when a [`crate::net::Policy`] is made of them.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Actor, null_is_default};
use crate::{ApiError, Code, net::Policy};

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

impl Network {
    /// Checks all bounds, as [`Policy`] has them.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with what is wrong, and with which rule.
    pub fn check(&self) -> Result<(), ApiError> {
        match Policy::try_from(self.clone()) {
            Ok(_) => Ok(()),
            Err(fault) => Err(ApiError::new(Code::InvalidArgument, format!("`network`: {fault}"))),
        }
    }

    /// Whether `actor` may ask for it: `open` is for operators.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn check_actor(&self, actor: Actor) -> Result<(), ApiError> {
        match (self, actor) {
            (Self::Named(NamedNetwork::Open), Actor::Agent) => Err(ApiError::new(
                Code::PermissionDenied,
                "`network`: `open` is for operators; name the hosts as {\"allow\": [{\"host\": …}]}, or ask the operator for \
                 `ringfence sandbox configure SANDBOX --network open`",
            )),
            _ => Ok(()),
        }
    }
}

/// As it is asked for at the command line, or the hosts that are allowed.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = match self {
            Self::Named(name) => return f.write_str(name.as_str()),
            Self::Rules(rules) if rules.allow.is_empty() => return f.write_str("none"),
            Self::Rules(rules) => &rules.allow,
        };
        for (index, rule) in rules.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(&rule.host)?;
            for (index, port) in rule.ports.iter().enumerate() {
                write!(f, "{}{port}", if index == 0 { ':' } else { ',' })?;
            }
            if !rule.methods.is_empty() || !rule.paths.is_empty() {
                let words: Vec<&str> = rule.methods.iter().chain(&rule.paths).map(String::as_str).collect();
                write!(f, " ({})", words.join(" "))?;
            }
        }
        Ok(())
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

impl NamedNetwork {
    /// The word as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Packages => "packages",
            Self::Open => "open",
        }
    }
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
    #[schema(nullable)]
    pub ports: Vec<PortSpec>,
    /// HTTP methods; any when there are none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub methods: Vec<String>,
    /// Paths; any when there are none. `*` stands for any characters within a segment, `**` at the end for the rest.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
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

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(port) => write!(f, "{port}"),
            Self::Range(text) => f.write_str(text),
        }
    }
}

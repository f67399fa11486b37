//! Keys of exchanges, with which the gate signs in the place of programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    check::{Checked, invalid},
    check_secret_name, null_is_default,
};
use crate::net::{METHODS_MAX, Method, PATHS_MAX, PathPattern};

/// An exchange whose way of signing requests is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names of exchanges")]
pub enum Exchange {
    Binance,
    Bybit,
    Okx,
    Kraken,
    Coinbase,
}

impl Exchange {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Binance, Self::Bybit, Self::Okx, Self::Kraken, Self::Coinbase];

    /// The word as it is written and recorded.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Bybit => "bybit",
            Self::Okx => "okx",
            Self::Kraken => "kraken",
            Self::Coinbase => "coinbase",
        }
    }

    /// The exchange of this name.
    ///
    /// # Errors
    /// A sentence with the names that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|exchange| exchange.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|exchange| exchange.as_str()).collect();
            format!("no such exchange; known are {}", known.join(", "))
        })
    }
}

/// What the nonces of a key count. An exchange remembers the highest one of a key: one that was used with microseconds before
/// takes milliseconds no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NonceUnit {
    /// Milliseconds since 1970, as most clients do.
    #[default]
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
}

impl NonceUnit {
    /// The unit of this name.
    ///
    /// # Errors
    /// A sentence with the names that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "milliseconds" => Ok(Self::Milliseconds),
            "microseconds" => Ok(Self::Microseconds),
            "nanoseconds" => Ok(Self::Nanoseconds),
            _ => Err("write milliseconds, microseconds or nanoseconds".to_owned()),
        }
    }
}

/// A secret that is never sent, but signs: where a program has signed a request with its placeholder, the gate takes that
/// signature away and puts the right one in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSigning {
    /// How.
    pub exchange: Exchange,
    /// The secret that holds the public name of the key, when one sandbox has several keys of the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Methods that are signed; any when there are none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub methods: Vec<String>,
    /// Paths that are signed, as in a network rule; those for trading and reading when there are none. A path by which money
    /// leaves or keys are made is signed only where it is named without `*`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub paths: Vec<String>,
    /// What nonces count, where the exchange wants them.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub nonce: NonceUnit,
}

impl SecretSigning {
    /// Signs as this exchange wants it, with nothing else said.
    #[must_use]
    pub fn of(exchange: Exchange) -> Self {
        Self { exchange, key: None, methods: vec![], paths: vec![], nonce: NonceUnit::default() }
    }

    pub(super) fn check(&self) -> Checked {
        if let Some(key) = &self.key {
            check_secret_name(key).map_err(|error| invalid(format!("`sign.key`: {}", error.message)))?;
        }
        for (what, count, max) in [("methods", self.methods.len(), METHODS_MAX), ("paths", self.paths.len(), PATHS_MAX)]
        {
            if count > max {
                return Err(invalid(format!("`sign.{what}` has {count} elements; at most {max} are accepted")));
            }
        }
        for method in &self.methods {
            Method::parse(method).map_err(|fault| invalid(format!("`sign.methods`: {fault}")))?;
        }
        for path in &self.paths {
            PathPattern::parse(path).map_err(|fault| invalid(format!("`sign.paths`: {fault}")))?;
        }
        Ok(())
    }
}

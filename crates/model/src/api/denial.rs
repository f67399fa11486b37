//! What the network refused a program, as its caller reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::net::{self, DenialReason, Protocol};

/// Different refusals that one execution lists.
pub const DENIALS_MAX: usize = 100;

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Denial {
    /// Host or address, with the port where there is one.
    pub destination: String,
    /// What was spoken.
    pub protocol: Protocol,
    /// Why, as a stable code.
    pub code: DenialReason,
    /// Why, in a sentence.
    pub reason: String,
    /// The method of a request, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path of a request, without its query, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The command by which the operator would allow it; empty when none would.
    pub allow_with: String,
    /// How often.
    pub count: u32,
}

impl From<&net::Denial> for Denial {
    fn from(denial: &net::Denial) -> Self {
        Self {
            destination: denial.destination(),
            protocol: denial.protocol,
            code: denial.reason,
            reason: denial.message.clone(),
            method: denial.method.clone(),
            path: denial.path.clone(),
            allow_with: denial.allow.clone(),
            count: 1,
        }
    }
}

impl Denial {
    /// What was refused, in the order in which it was first: refusals that differ in nothing but their time are one, with
    /// their number. The first [`DENIALS_MAX`] different ones are kept; a program that tries every port has said enough.
    #[must_use]
    pub fn merge(denials: &[net::Denial]) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for denial in denials {
            let new = Self::from(denial);
            if let Some(known) = merged.iter_mut().find(|known| known.is_like(&new)) {
                known.count = known.count.saturating_add(1);
            } else if merged.len() < DENIALS_MAX {
                merged.push(new);
            }
        }
        merged
    }

    /// Equal but for the count.
    fn is_like(&self, other: &Self) -> bool {
        Self { count: self.count, ..other.clone() } == *self
    }
}

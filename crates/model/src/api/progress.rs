//! What a long request says while it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ApiError;

/// A step forward. Nobody depends on one being seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Progress {
    /// What is being done, in a few words.
    pub message: String,
    /// How much of the whole is done, 0 to 100, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Estimated time left, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
}

impl Progress {
    /// A step that cannot tell how far it is.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), percent: None, seconds_left: None }
    }
}

/// One line of an `application/x-ndjson` answer. The last line is a result or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Event<T> {
    /// It goes on.
    Progress(Progress),
    /// It ended well.
    Result(T),
    /// It was refused or failed.
    Error(ApiError),
}

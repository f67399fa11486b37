//! Files and logs of a sandbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::SandboxId;

/// Arguments of `sandbox_upload`. Exactly one of `content` and `content_base64` is given; either may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// Id or unique name.
    pub sandbox_id: String,
    /// Where it goes; relative to `/home/user` unless absolute. Directories are made.
    pub file_path: String,
    /// The file as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The file in base64, for what is not UTF-8. At most 32 MiB decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

/// Result of `sandbox_upload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct UploadAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The absolute path inside.
    pub file_path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub checksum: String,
}

/// Arguments of `sandbox_download`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadRequest {
    /// Id or unique name.
    pub sandbox_id: String,
    /// Which file; relative to `/home/user` unless absolute.
    pub file_path: String,
}

/// Result of `sandbox_download`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct DownloadAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The absolute path inside.
    pub file_path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub checksum: String,
    /// The content, when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The content, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

/// Arguments of `sandbox_logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsRequest {
    /// Id or unique name.
    pub sandbox_id: String,
    /// How many of the newest lines (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 10000)]
    pub lines: Option<u32>,
    /// Only those of `system`, `stdout`, `stderr`, `start` or `audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Result of `sandbox_logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct LogsAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Oldest first.
    pub logs: Vec<LogLine>,
    /// Length of `logs`.
    pub count: u32,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct LogLine {
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `system`, `stdout`, `stderr`, `start` or `audit`.
    pub source: String,
    /// The line, cut after 4 KiB.
    pub message: String,
}

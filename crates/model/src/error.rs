//! The one error that every face of the product speaks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Stable code of a refused request (`contracts/mcp-tools.md`, ground rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are the documentation; their sentences come with each error")]
pub enum Code {
    SandboxNotFound,
    SandboxNotRunning,
    SandboxExpired,
    SandboxNameAmbiguous,
    ExecutionNotFound,
    ExecutionTimeout,
    FileNotFound,
    TemplateNotFound,
    TemplateExists,
    TemplateInUse,
    TemplateBuilding,
    SweepNotFound,
    PipelineNotFound,
    SwarmNotFound,
    TaskNotFound,
    InsufficientResources,
    InsufficientCredits,
    QuotaExceeded,
    TooLarge,
    PermissionDenied,
    InvalidArgument,
    PackageInstallFailed,
    LanguageNotAvailable,
    NotSupported,
    Internal,
}

impl Code {
    /// The code as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SandboxNotFound => "SANDBOX_NOT_FOUND",
            Self::SandboxNotRunning => "SANDBOX_NOT_RUNNING",
            Self::SandboxExpired => "SANDBOX_EXPIRED",
            Self::SandboxNameAmbiguous => "SANDBOX_NAME_AMBIGUOUS",
            Self::ExecutionNotFound => "EXECUTION_NOT_FOUND",
            Self::ExecutionTimeout => "EXECUTION_TIMEOUT",
            Self::FileNotFound => "FILE_NOT_FOUND",
            Self::TemplateNotFound => "TEMPLATE_NOT_FOUND",
            Self::TemplateExists => "TEMPLATE_EXISTS",
            Self::TemplateInUse => "TEMPLATE_IN_USE",
            Self::TemplateBuilding => "TEMPLATE_BUILDING",
            Self::SweepNotFound => "SWEEP_NOT_FOUND",
            Self::PipelineNotFound => "PIPELINE_NOT_FOUND",
            Self::SwarmNotFound => "SWARM_NOT_FOUND",
            Self::TaskNotFound => "TASK_NOT_FOUND",
            Self::InsufficientResources => "INSUFFICIENT_RESOURCES",
            Self::InsufficientCredits => "INSUFFICIENT_CREDITS",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::TooLarge => "TOO_LARGE",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::PackageInstallFailed => "PACKAGE_INSTALL_FAILED",
            Self::LanguageNotAvailable => "LANGUAGE_NOT_AVAILABLE",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status that carries this code over REST.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::SandboxNotFound | Self::ExecutionNotFound | Self::FileNotFound | Self::TemplateNotFound => 404,
            Self::SweepNotFound | Self::PipelineNotFound | Self::SwarmNotFound | Self::TaskNotFound => 404,
            Self::SandboxNotRunning | Self::SandboxExpired | Self::SandboxNameAmbiguous | Self::TemplateExists => 409,
            Self::TemplateInUse | Self::TemplateBuilding => 409,
            Self::ExecutionTimeout => 408,
            Self::InsufficientResources => 503,
            Self::InsufficientCredits => 402,
            Self::QuotaExceeded => 429,
            Self::TooLarge => 413,
            Self::PermissionDenied => 403,
            Self::InvalidArgument | Self::LanguageNotAvailable | Self::PackageInstallFailed => 400,
            Self::NotSupported => 501,
            Self::Internal => 500,
        }
    }
}

/// A refused request: a stable code, and a sentence that says what to do. Nothing secret and no host path is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Stable code.
    pub code: Code,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl ApiError {
    /// An error with a public sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A fault of this program. The details belong in the log, not in `message`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
}

//! Running code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Denial, EnvVars, Interpreter, is_false, null_is_default};
use crate::{ExecutionId, SandboxId};

/// Arguments of `sandbox_execute`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRequest {
    /// Id or unique name.
    pub sandbox_id: String,
    /// The program, at most 1 MiB. One of comments only succeeds with empty output.
    pub code: String,
    /// `python`, `javascript` or `bash`; the template's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Environment variables of this execution alone. Keys are given to the sandbox with `sandbox_configure`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "EnvVars::is_empty")]
    #[schema(nullable)]
    pub env_vars: EnvVars,
    /// Lets the program see values in `env_vars` whose names are those of keys, which are refused otherwise. They are masked in
    /// what it prints.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    #[schema(nullable)]
    pub expose: bool,
    /// Where it starts (default `/home/user`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Seconds after which it is ended (default 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 86_400), extend("default" = 60))]
    #[schema(minimum = 0.001, maximum = 86400)]
    pub timeout: Option<f64>,
    /// Seconds that this call waits for the end, at most 50 (default 50); more means 50. A program still running then
    /// is answered as `running`, goes on, and is read with `execution_status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 50))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
    /// Standard input, at most 1 MiB; empty by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Answer at once, and read the result with `execution_status`.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub background: bool,
}

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ExecutionStatus {
    /// It ended with exit code 0.
    Completed,
    /// It ended with another exit code.
    Failed,
    /// Its deadline ended it.
    Timeout,
    /// It was ended from outside: stop, delete, expiry, want of memory, a crash of the host.
    Killed,
    /// It has not ended.
    Running,
}

impl ExecutionStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::Timeout, Self::Killed, Self::Running];

    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Killed => "killed",
            Self::Running => "running",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The `success` of a record with this status: nothing went wrong so far.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::Running)
    }
}

/// Result of `sandbox_execute` and `execution_status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ExecutionAnswer {
    /// Whether the program succeeded; true while it runs.
    pub success: bool,
    /// The execution.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub execution_id: ExecutionId,
    /// The sandbox that it runs in.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Standard output, the first 1 MiB; so far, while it runs.
    pub output: String,
    /// Null, or what it printed on standard error when it did not succeed.
    pub error: Option<String>,
    /// Standard error, the first 1 MiB.
    pub stderr: String,
    /// The exit code: 124 for a timeout, 128 + n for signal n, null while it runs.
    pub exit_code: Option<i32>,
    /// How it stands.
    pub status: ExecutionStatus,
    /// Wall-clock time in seconds; so far, while it runs.
    pub execution_time: f64,
    /// Processor time of all its processes, in seconds.
    pub cpu_time: f64,
    /// Largest memory of the sandbox meanwhile.
    pub memory_peak_bytes: u64,
    /// Whether output was cut.
    pub truncated: bool,
    /// All bytes that it wrote to both streams, kept or not.
    pub output_bytes: u64,
    /// The language that it was run as.
    pub language: String,
    /// Where its interpreter came from.
    pub interpreter: Interpreter,
    /// Files that it put in `/home/user/artifacts`, and its matplotlib figures as PNG.
    pub artifacts: Vec<Artifact>,
    /// What the network refused it, equal refusals once; the first 100 different ones.
    pub denials: Vec<Denial>,
    /// Things worth knowing.
    pub warnings: Vec<String>,
}

/// A file that a program made for its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Artifact {
    /// File name.
    pub name: String,
    /// Path inside the sandbox, for `sandbox_download`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Media type, such as `image/png`.
    pub mime: String,
    /// The content, of small figures only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

/// Arguments of `execution_status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionRequest {
    /// As `sandbox_execute` answered it.
    pub execution_id: String,
    /// Seconds to wait for the end, at most 50 (default 0); more means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
}

/// The query of `GET /v1/executions/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// Seconds to wait for the end, at most 50 (default 0); more means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub wait: Option<f64>,
}

//! How sandboxes stand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{Network, PortView};
use crate::{ExecutionId, Project, SandboxId, credit::MilliCredits, net::control::Traffic};

/// The state of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SandboxStatus {
    /// Being made.
    Creating,
    /// Usable.
    Running,
    /// Frozen.
    Paused,
    /// Files kept, no process.
    Stopped,
    /// Its lifetime ended.
    Expired,
    /// It could not be made or brought back.
    Failed,
    /// Gone, files too.
    Deleted,
}

impl SandboxStatus {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Creating, Self::Running, Self::Paused, Self::Stopped, Self::Expired, Self::Failed, Self::Deleted];

    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Where an interpreter came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Interpreter {
    /// It waited in the sandbox, warm.
    Parked,
    /// It was forked from the template's warm interpreter on demand.
    Forked,
    /// It was executed anew.
    Fresh,
}

impl Interpreter {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Forked => "forked",
            Self::Fresh => "fresh",
        }
    }

    /// The interpreter of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Parked, Self::Forked, Self::Fresh].into_iter().find(|interpreter| interpreter.as_str() == text)
    }
}

/// What separates the sandbox from its host, as read from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Isolation {
    /// `full` when nothing is missing, else `reduced`.
    pub level: String,
    /// Namespaces of its own.
    pub namespaces: Vec<String>,
    /// The system call filter, such as `allow-list (2 filters)`.
    pub seccomp: String,
    /// Controllers that hold its limits, such as `memory (v1), pids (v2)`.
    pub cgroup: String,
    /// Host uids of its users, such as `1000000-1065535`.
    pub uid_range: String,
    /// Where the interpreter of its next execution comes from.
    pub interpreter: Interpreter,
    /// What this host could not give.
    pub missing: Vec<String>,
}

/// Result of `sandbox_status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct StatusAnswer {
    /// True.
    pub success: bool,
    /// The state, as in `sandbox`.
    pub status: SandboxStatus,
    /// Everything else.
    pub sandbox: SandboxDetail,
}

/// A sandbox in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SandboxDetail {
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Its name.
    pub name: String,
    /// The template that it was made from.
    pub template: String,
    /// The version of that template.
    pub template_version: u32,
    /// The state.
    pub status: SandboxStatus,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub expires_at: String,
    /// Seconds until it expires; 0 when it has ended.
    pub expires_in: u64,
    /// Lifetime in seconds, as asked for last.
    pub timeout: u64,
    /// As given.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// What it may reach, and what has passed; null while the gateway does not answer, and then nothing passes.
    pub network: Option<NetworkStatus>,
    /// Names of its environment variables.
    pub env_vars: Vec<String>,
    /// Version of its environment.
    pub env_version: u64,
    /// What it uses; null when it does not run.
    pub resources: Option<Resources>,
    /// Credits that it has cost so far; 1 credit is 0.01 USD.
    #[serde(default)]
    #[schema(value_type = f64)]
    pub cost_so_far: MilliCredits,
    /// Its limits.
    pub limits: LimitsView,
    /// Its executions so far.
    pub executions: ExecutionCounts,
    /// What earlier executions left running.
    pub processes: Vec<RunningProcess>,
    /// The ports on which its programs listen, with the addresses at which they can be visited.
    #[serde(default)]
    pub ports: Vec<PortView>,
    /// What is really in force; null when it does not run.
    pub isolation: Option<Isolation>,
    /// What its template has run in its background; null when it has nothing.
    #[serde(default)]
    pub start: Option<StartStatus>,
    /// Why it failed or ended, in a sentence.
    pub reason: Option<String>,
    /// What its owner should see to, such as a disk that is full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How the command stands that a template runs in the background of its sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct StartStatus {
    /// The command, a line of bash.
    pub command: String,
    /// `running`, `ended`, `failed` (it could not be started) or `stopped` (the sandbox is).
    pub status: String,
    /// The execution that it is; its output is in `sandbox_logs` with the source `start`.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i32>,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A sandbox's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct NetworkStatus {
    /// What it may reach.
    pub policy: Network,
    /// Names of the secrets that it may use.
    pub secrets: Vec<String>,
    /// Names of the variables whose values are exposed to it, though they are those of keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// What has passed the gate.
    pub traffic: TrafficView,
    /// Where its orders go: `simulated`, `paper` or `live`. The same for all sandboxes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trading: String,
}

/// What has passed the gate for a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TrafficView {
    /// Connections, questions about names and requests that were let through.
    pub allowed: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Bytes that it sent.
    pub bytes_up: u64,
    /// Bytes that it received.
    pub bytes_down: u64,
}

impl From<Traffic> for TrafficView {
    fn from(Traffic { allowed, refused, bytes_up, bytes_down }: Traffic) -> Self {
        Self { allowed, refused, bytes_up, bytes_down }
    }
}

/// What a sandbox uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Resources {
    /// Processor time of all processes since the last start, in seconds.
    pub cpu_time: f64,
    /// Memory now.
    pub memory_bytes: u64,
    /// Largest memory since the last execution began.
    pub memory_peak_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Those of them that it shares with the sandbox that it was cloned from. They count for its limit.
    #[serde(default)]
    pub disk_shared_bytes: u64,
    /// Bytes that it may have on disk.
    pub disk_limit_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes received from the network.
    pub bytes_in: u64,
    /// Bytes sent to the network.
    pub bytes_out: u64,
}

/// The limits of a sandbox, in the units of the request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct LimitsView {
    /// CPUs.
    pub cpu: f64,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in MiB.
    pub disk_mb: u32,
    /// Processes and threads.
    pub processes: u32,
}

/// Executions by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[allow(missing_docs, reason = "the words of `status` in sandbox_execute")]
pub struct ExecutionCounts {
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub timeout: u64,
    pub killed: u64,
}

/// A process that an execution left running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct RunningProcess {
    /// The execution that started it.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// Its command line, cut.
    pub command: String,
}

/// Arguments of `sandbox_list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// `all` (default), or one of creating, running, paused, stopped, expired, failed, deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "all"))]
    pub status: Option<String>,
    /// Only those made from this template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How many at most, newest first (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Only those of this project: said by the daemon, of its caller.
    #[serde(skip)]
    #[param(ignore)]
    pub project: Option<Project>,
}

/// Result of `sandbox_list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ListAnswer {
    /// True.
    pub success: bool,
    /// Newest first.
    pub sandboxes: Vec<SandboxSummary>,
    /// Length of `sandboxes`.
    pub count: u32,
}

/// A sandbox in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SandboxSummary {
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Its name.
    pub name: String,
    /// The template that it was made from.
    pub template: String,
    /// The state.
    pub status: SandboxStatus,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub expires_at: String,
    /// Bytes that it has on disk; null when it has none any more.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// What its owner should see to, such as a disk that is full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// As given.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

//! How the daemon and its host are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TemplateStatus;

/// Arguments of `system_health`: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthRequest {}

/// Result of `system_health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct HealthAnswer {
    /// True.
    pub success: bool,
    /// `ok`, or `degraded` when `problems` is not empty.
    pub status: String,
    /// Version of the daemon.
    pub version: String,
    /// Its build.
    pub build: String,
    /// Seconds since it started.
    pub uptime: f64,
    /// Sandboxes by state.
    pub sandboxes: SandboxCounts,
    /// Executions that run now.
    pub executions_running: u32,
    /// The templates and their shelves.
    pub templates: Vec<TemplateHealth>,
    /// Trials: the sandboxes in which research runs one program each. They are in no list.
    #[serde(default)]
    pub trials: TrialHealth,
    /// How long making takes.
    pub making: MakingHealth,
    /// The host.
    pub host: HostHealth,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// Sandboxes by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[allow(missing_docs, reason = "the words of `status` in sandbox_status")]
pub struct SandboxCounts {
    pub creating: u64,
    pub running: u64,
    pub paused: u64,
    pub stopped: u64,
}

/// A template, as far as health goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TemplateHealth {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub status: TemplateStatus,
    /// Whether its warm interpreter is ready.
    pub warm: bool,
    /// Sandboxes prepared ahead.
    pub shelf: u32,
}

/// Trials now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TrialHealth {
    /// Those that have begun and are not wholly gone.
    pub running: u32,
    /// Those that wait for their turn.
    pub waiting: u32,
    /// Sandboxes prepared ahead for the next ones; they are given back when none comes for some seconds.
    pub shelf: u32,
}

/// How long the parts of a sandbox took to make of late, in milliseconds: medians of the last 128, since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct MakingHealth {
    /// An empty sandbox: namespaces, mounts, guest init.
    pub shell_ms: Option<f64>,
    /// A warm interpreter's fork into it, until it has been checked.
    pub join_ms: Option<f64>,
}

/// The host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct HostHealth {
    /// Kernel release.
    pub kernel: String,
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
    /// What holds the disks' limits, such as `btrfs`.
    pub disks: String,
    /// CPUs.
    pub cpus: u32,
    /// Sandboxes that can exist at once.
    pub sandboxes_max: u32,
    /// What it could not give, in plain words.
    pub missing: Vec<String>,
}

/// The answer of `POST /v1/stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct StopAnswer {
    /// True: the daemon is ending.
    pub success: bool,
    /// Executions that run now, which it waits for.
    #[serde(default)]
    pub executions_running: u32,
    /// For how many seconds at most.
    #[serde(default)]
    pub drain_seconds: u64,
}

/// The answer of `GET /health`: whoever reads it knows that the process answers, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AliveAnswer {
    /// `ok`.
    pub status: String,
}

/// The answer of `GET /ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ReadyAnswer {
    /// Whether work is taken.
    pub ready: bool,
    /// `ready`, `starting`, `draining` or `not ready`.
    pub status: String,
    /// What is missing, in sentences.
    pub missing: Vec<String>,
}

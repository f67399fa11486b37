//! Making, configuring and ending sandboxes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    EnvVars, Hidden, Isolation, Network, RunningProcess, SandboxStatus, TradingChoice, TradingChosen, is_false,
    null_is_default,
};
use crate::{ExecutionId, Project, SandboxId, credit::MilliCredits};

/// Arguments of `sandbox_create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// What the sandbox is made from: `python`, `node`, `react`, `nextjs`, `base`, or the name of an exported template.
    /// `vanilla` is `base`, `nodejs` is `node`.
    pub template: String,
    /// A name of your own; a unique one is accepted wherever `sandbox_id` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,
    /// Lifetime in seconds, after which the sandbox expires (default 3600).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800), extend("default" = 3600))]
    #[schema(minimum = 1, maximum = 604800)]
    pub timeout: Option<u64>,
    /// Environment variables of every execution. A value whose name is that of a key (`ALPACA_API_KEY`, `ANTHROPIC_API_KEY`, one
    /// in `secrets`) never enters the sandbox: programs see a placeholder, and its hosts are opened.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "EnvVars::is_empty")]
    #[schema(nullable)]
    pub env_vars: EnvVars,
    /// Names of secrets that the operator has stored. The sandbox sees a placeholder in a variable of that name; the value
    /// is put in outside of it, for the hosts that the secret is bound to, which this opens.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub secrets: Vec<String>,
    /// Lets programs see values whose names are those of keys and whose hosts nobody knows (`env_vars`), which are refused
    /// otherwise. They are masked in what programs print, and listed as exposed in `sandbox_status` and the audit log.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    #[schema(nullable)]
    pub expose: bool,
    /// Python packages to install, with versions where they matter: `numpy==2.3.1`. All of them or none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub install_packages: Vec<String>,
    /// A bash script, run once before the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_script: Option<String>,
    /// Anything that you want to read again in `sandbox_status`, at most 16 KiB.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object, nullable)]
    pub metadata: Map<String, Value>,
    /// What it may reach: `none` (default), `packages` (package registries), `{"allow": [{"host": …}]}`, or `open`, which
    /// only operators may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Upper bounds on what it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsRequest>,
    /// Swarm that it belongs to: it ends with the swarm. Without `agent_id` its first agent that has no sandbox gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
    /// Agent whose sandbox it is. A `name` of the form `agent-<agent id>-sandbox` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// A key for the Anthropic API, as `ANTHROPIC_API_KEY` in `env_vars`: programs see a placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic_key: Option<Hidden>,
    /// The simulated account that it trades in, and that account's replayed clock; whatever key its programs use. The default
    /// account without it. Only while trading is simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trading: Option<TradingChoice>,
    /// Whose it becomes: said by the daemon, of its caller, and never by a request.
    #[serde(skip)]
    pub project: Project,
}

/// Upper bounds on what one sandbox uses; what is left out keeps its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// CPUs, in steps of a thousandth (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 64.0))]
    #[schema(minimum = 0.01, maximum = 64.0)]
    pub cpu: Option<f64>,
    /// Memory in MiB (default 1024).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 32, max = 65_536))]
    #[schema(minimum = 32, maximum = 65536)]
    pub memory_mb: Option<u32>,
    /// Disk in MiB (default 1024).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    #[schema(minimum = 1, maximum = 65536)]
    pub disk_mb: Option<u32>,
    /// Processes and threads (default 256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 16_384))]
    #[schema(minimum = 8, maximum = 16384)]
    pub processes: Option<u32>,
}

/// Result of `sandbox_create`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct CreateAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The same id, under the name that older clients read.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub e2b_sandbox_id: SandboxId,
    /// Its name; the id when none was given.
    pub name: String,
    /// The template that it was made from.
    pub template: String,
    /// `running`.
    pub status: SandboxStatus,
    /// Number of environment variables set.
    pub env_vars_configured: u32,
    /// Whether a key for the Anthropic API was stored.
    pub anthropic_key_configured: bool,
    /// Packages that are being installed.
    pub packages_to_install: Vec<String>,
    /// Lifetime in seconds.
    pub timeout: u64,
    /// As given.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub expires_at: String,
    /// What it may reach.
    pub network: Network,
    /// Names of the secrets that it may use.
    pub secrets: Vec<String>,
    /// Names of the variables whose values are exposed to it, though they are those of keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// Swarm that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
    /// Agent whose sandbox it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// What is really in force, as read from the kernel.
    pub isolation: Isolation,
    /// What `startup_script` printed, and how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<CommandResult>,
    /// The simulated account that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trading: Option<TradingChosen>,
    /// Things worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How the variables of a request relate to those that the sandbox has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvMode {
    /// They are added; the same name is replaced.
    #[default]
    Merge,
    /// They are all that remains.
    Replace,
}

/// Arguments of `sandbox_configure`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigureRequest {
    /// Id or unique name.
    pub sandbox_id: String,
    /// Environment variables for the next executions. Keys are kept outside, as in `sandbox_create`; a new value for one that
    /// is there takes effect at once, for programs that run as well.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "EnvVars::is_empty")]
    #[schema(nullable)]
    pub env_vars: EnvVars,
    /// `merge` (default) adds to what is set, `replace` removes the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_mode: Option<EnvMode>,
    /// Names to remove.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub unset_env: Vec<String>,
    /// Names of secrets that the operator has stored, to be used beside those that it has. The sandbox sees a placeholder
    /// in a variable of that name; the value is put in outside of it, for the hosts that the secret is bound to.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub secrets: Vec<String>,
    /// Lets programs see values whose names are those of keys and whose hosts nobody knows (`env_vars`), which are refused
    /// otherwise. They are masked in what programs print, and listed as exposed in `sandbox_status` and the audit log.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    #[schema(nullable)]
    pub expose: bool,
    /// Python packages to install, with versions where they matter: `numpy==2.3.1`. All of them or none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub install_packages: Vec<String>,
    /// Bash commands, run one after the other until one fails.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub run_commands: Vec<String>,
    /// What it may reach from now on, in place of what it might so far; open connections are judged again. As in
    /// `sandbox_create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// New lifetime, in seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    #[schema(minimum = 1, maximum = 604800)]
    pub timeout: Option<u64>,
}

/// Result of `sandbox_configure`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ConfigureAnswer {
    /// True when every command succeeded.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Names set or removed.
    pub env_vars_updated: Vec<String>,
    /// Grows with every change of the environment.
    pub env_version: u64,
    /// A short salted fingerprint of every variable now set: it changes when the value does, and tells nothing else.
    pub env_fingerprints: BTreeMap<String, String>,
    /// What it may reach now.
    pub network: Network,
    /// Names of the secrets that it may use now.
    pub secrets: Vec<String>,
    /// Names of the variables whose values are exposed to it, though they are those of keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// Packages installed.
    pub packages_installed: Vec<Package>,
    /// The commands, in order; those after a failed one were not run and are not listed.
    pub commands_executed: Vec<CommandResult>,
    /// Programs that were started before and still have the environment of then.
    pub running_processes_with_old_env: Vec<RunningProcess>,
    /// RFC 3339, UTC.
    pub expires_at: String,
    /// Things worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A package of a template or a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Package {
    /// Its name in its registry.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A command that was run while setting up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct CommandResult {
    /// As given.
    pub command: String,
    /// Its exit code; 124 when its time ran out.
    pub exit_code: i32,
    /// What it printed on both streams.
    pub output: String,
    /// The execution that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
}

/// Arguments of `sandbox_status`, `sandbox_stop`, `sandbox_pause`, `sandbox_resume` and `sandbox_delete`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRequest {
    /// Id or unique name.
    pub sandbox_id: String,
}

/// Result of `sandbox_stop`, `sandbox_pause` and `sandbox_resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TransitionAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Its name.
    pub name: String,
    /// Its state before.
    pub previous_status: SandboxStatus,
    /// Its state now.
    pub status: SandboxStatus,
    /// What happened, in a sentence.
    pub message: String,
    /// RFC 3339, UTC.
    pub expires_at: String,
}

/// Result of `sandbox_delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct DeleteAnswer {
    /// True.
    pub success: bool,
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Its name.
    pub name: String,
    /// What happened, in a sentence.
    pub message: String,
    /// When it was deleted. RFC 3339, UTC.
    pub deleted_at: String,
    /// Credits that it has cost in all; 1 credit is 0.01 USD.
    #[serde(default)]
    #[schema(value_type = f64)]
    pub total_cost: MilliCredits,
    /// Whether it was deleted before this request.
    pub already_deleted: bool,
}

//! Swarms of agents, each with a sandbox, and tasks that run in them.

mod task;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::SandboxStatus;
use crate::{AgentId, JobId, SandboxId, credit::MilliCredits};

pub use task::*;

/// Agents that one swarm may have.
pub const AGENTS_MAX: u32 = 100;
/// Agents of a swarm unless the request says otherwise.
pub const AGENTS_DEFAULT: u32 = 8;
/// Characters of an agent's name or type.
pub const AGENT_WORD_CHARS_MAX: usize = 40;

/// Who hears whom in a swarm, and who decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Topology {
    /// Every agent sees all results; one agent, one vote; a quorum decides.
    #[default]
    Mesh,
    /// The first agent is the hub: it gathers all results, weighs them and decides.
    Star,
    /// The output of one agent is the input of the next; the last one's is the decision.
    Ring,
    /// A binary tree: each agent reduces its own result and those of its children to one vote, which it passes up.
    Hierarchical,
}

impl Topology {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Star => "star",
            Self::Ring => "ring",
            Self::Hierarchical => "hierarchical",
        }
    }
}

/// How work is dealt to the agents of a swarm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SwarmStrategy {
    /// In the order of the agents, whatever their types.
    #[default]
    Balanced,
    /// An agent whose type is the name of a handler is asked by that handler.
    Specialized,
    /// As balanced, and tasks are adaptive unless they say otherwise.
    Adaptive,
}

impl SwarmStrategy {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Specialized => "specialized",
            Self::Adaptive => "adaptive",
        }
    }
}

/// Arguments of `swarm_init`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwarmInitRequest {
    /// `mesh`, `star`, `ring` or `hierarchical`.
    pub topology: Topology,
    /// Agents that it begins with (default 8).
    #[serde(default, rename = "maxAgents", alias = "max_agents", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("default" = 8))]
    #[schema(minimum = 1, maximum = 100)]
    pub max_agents: Option<u32>,
    /// How work is dealt: `balanced` (default), `specialized` or `adaptive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<SwarmStrategy>,
    /// A name of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,
}

/// Arguments of `agent_spawn`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpawnRequest {
    /// The swarm; the newest active one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
    /// What it is for, a word of your own (default `worker`). In a `specialized` swarm the name of a handler, such as
    /// `technical_analysis`, has it asked by that handler.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub kind: Option<String>,
    /// A name that no other agent of the swarm has (default `agent-1`, `agent-2`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub name: Option<String>,
}

/// Arguments of `swarm_status` and `swarm_destroy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwarmRequest {
    /// The swarm; the newest active one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
}

/// Arguments of `swarm_list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SwarmListRequest {
    /// `active` (default), `destroyed` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// At most so many, up to 1000 (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Arguments of `swarm_scale`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwarmScaleRequest {
    /// The swarm; the newest active one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
    /// Agents that it is to have. The newest go first, and their sandboxes end with them.
    #[serde(rename = "maxAgents", alias = "max_agents", alias = "target_agents")]
    #[schemars(range(min = 1, max = 100))]
    #[schema(minimum = 1, maximum = 100)]
    pub max_agents: u32,
}

/// How a swarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SwarmState {
    /// It can be given tasks.
    Active,
    /// It has ended, and its sandboxes with it.
    Destroyed,
}

impl SwarmState {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Destroyed => "destroyed",
        }
    }
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AgentView {
    /// Its id, unique among all swarms.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub id: AgentId,
    /// Its name, unique within the swarm.
    pub name: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the topology makes of it: `peer`; `hub` or `spoke`; `stage`; `root`, `branch` or `leaf`.
    pub role: String,
    /// `idle`, or `busy` while a program of a task runs in its sandbox.
    pub status: String,
    /// Its sandbox, null until one is linked or needed.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub sandbox_id: Option<SandboxId>,
    /// The state of that sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_status: Option<SandboxStatus>,
}

/// A swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SwarmAnswer {
    /// True.
    pub success: bool,
    /// The swarm.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub swarm_id: JobId,
    /// Its name; the id when none was given.
    pub name: String,
    /// Who hears whom.
    pub topology: Topology,
    /// How work is dealt.
    pub strategy: SwarmStrategy,
    /// `active` or `destroyed`.
    pub status: SwarmState,
    /// Its agents, in order.
    pub agents: Vec<AgentView>,
    /// Tasks of it that have not ended.
    pub tasks_running: u32,
    /// Credits that its sandboxes have cost so far; 1 credit is 0.01 USD.
    #[schema(value_type = f64)]
    pub cost_so_far: MilliCredits,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// What was done, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Result of `agent_spawn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AgentAnswer {
    /// True.
    pub success: bool,
    /// Its swarm.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub swarm_id: JobId,
    /// The agent's id, as in `agent`.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub agent_id: AgentId,
    /// The agent.
    pub agent: AgentView,
}

/// Result of `swarm_list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SwarmListAnswer {
    /// True.
    pub success: bool,
    /// Newest first.
    pub swarms: Vec<SwarmSummary>,
    /// How many there are in `swarms`.
    pub count: u32,
}

/// A swarm in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SwarmSummary {
    /// The swarm.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub swarm_id: JobId,
    /// Its name.
    pub name: String,
    /// Who hears whom.
    pub topology: Topology,
    /// `active` or `destroyed`.
    pub status: SwarmState,
    /// How many agents it has.
    pub agents: u32,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// What one sandbox of a swarm has cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SandboxCost {
    /// The sandbox.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The agent that it belonged to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Started minutes of running.
    pub minutes: u64,
    /// Credits: for its creation, for each of these minutes, and for large files.
    #[schema(value_type = f64)]
    pub credits: MilliCredits,
    /// Why it still lives, where it could not be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Result of `swarm_destroy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SwarmDestroyAnswer {
    /// Whether every sandbox of it has ended.
    pub success: bool,
    /// The swarm.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub swarm_id: JobId,
    /// `destroyed`.
    pub status: SwarmState,
    /// What happened, in a sentence.
    pub message: String,
    /// Tasks that were ended with it.
    pub tasks_cancelled: u32,
    /// Every sandbox that it has had, with what that cost.
    pub sandboxes: Vec<SandboxCost>,
    /// Credits of all of them; 1 credit is 0.01 USD.
    #[schema(value_type = f64)]
    pub total_cost: MilliCredits,
    /// When it was destroyed. RFC 3339, UTC.
    pub destroyed_at: String,
    /// Whether it was destroyed before this request.
    pub already_destroyed: bool,
}

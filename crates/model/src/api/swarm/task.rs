//! Tasks of swarms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Topology;
use crate::{
    AgentId, ApiError, Code, ExecutionId, JobId, SandboxId,
    api::{CODE_BYTES_MAX, WAIT_S_MAX, null_is_default},
};

/// Programs of one task that may run at once, at most.
pub const TASK_PARALLELISM_MAX: u32 = 32;
/// Programs of one task that run at once unless the request says otherwise.
pub const TASK_PARALLELISM_DEFAULT: u32 = 8;
/// Seconds that each program of a task may take unless the request says otherwise.
pub const TASK_TIMEOUT_S_DEFAULT: f64 = 60.0;
/// Most seconds that each program of a task may be given.
pub const TASK_TIMEOUT_S_MAX: f64 = 3600.0;
/// Characters of a task's description.
pub const TASK_CHARS_MAX: usize = 4000;
/// Bytes of one agent's input as JSON.
pub const TASK_INPUT_BYTES_MAX: usize = 64 << 10;
/// Bytes of all inputs of a task, as JSON.
pub const TASK_INPUTS_BYTES_MAX: usize = 1 << 20;

/// In which order the agents of a task are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TaskStrategy {
    /// All that the topology lets go at once, within the parallelism.
    Parallel,
    /// One after the other; in a mesh each sees the results before its own.
    Sequential,
    /// As many at once as there are processors; one that fails is asked once more; a mesh asks no more once nobody can change the
    /// decision.
    Adaptive,
}

impl TaskStrategy {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Sequential => "sequential",
            Self::Adaptive => "adaptive",
        }
    }
}

/// Whose programs get the next free place where many wait.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// How many of those who were asked must agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schemars(inline)]
pub enum Consensus {
    /// More than half.
    #[default]
    #[serde(rename = "majority")]
    Majority,
    /// At least 60 %.
    #[serde(rename = "60%")]
    SixtyPercent,
    /// At least two thirds.
    #[serde(rename = "two_thirds")]
    TwoThirds,
    /// All of them.
    #[serde(rename = "unanimous")]
    Unanimous,
}

impl Consensus {
    /// How many of `asked` must agree; at least 1.
    #[must_use]
    pub fn needed(self, asked: u32) -> u32 {
        let asked = u64::from(asked.max(1));
        let needed = match self {
            Self::Majority => asked / 2 + 1,
            Self::SixtyPercent => (asked * 60).div_ceil(100),
            Self::TwoThirds => (asked * 2).div_ceil(3),
            Self::Unanimous => asked,
        };
        u32::try_from(needed).unwrap_or(u32::MAX)
    }
}

/// What an agent votes for, and what a swarm decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Decision {
    Buy,
    Sell,
    Hold,
}

impl Decision {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Hold => "hold",
        }
    }
}

/// Arguments of `task_orchestrate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// What is to be done. Without `handler` and `code` it must be the name of a handler: `Run distributed backtest`, `Technical
    /// analysis`, `Sentiment analysis`, `Risk calculation`.
    #[schemars(length(max = 4000))]
    pub task: String,
    /// `parallel` (default), `sequential` or `adaptive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<TaskStrategy>,
    /// `low`, `medium` (default), `high` or `critical`: whose programs get the next free place where many wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The swarm; the newest active one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
    /// A program of your own, run in each agent's sandbox. It reads one JSON object from standard input: `agent`, `input`,
    /// `received` (what the topology hands it) and `round`. If the last line that it prints is a JSON object, that is its
    /// result, in which `decision` (buy, sell, hold) and `confidence` (0 to 1) are its vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Language of `code` (default: the template's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// `backtest`, `technical_analysis`, `sentiment`, `risk`. An input may name another one for its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// One object for each agent, in their order; a single one is for all of them; none leaves it to the handler. What it may
    /// hold depends on the handler: `symbol`, `strategy`, `parameters`, `texts`, `positions`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>, nullable)]
    pub inputs: Vec<Map<String, Value>>,
    /// Seconds that each program may take (default 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.1, max = 3600), extend("default" = 60))]
    #[schema(minimum = 0.1, maximum = 3600)]
    pub timeout: Option<f64>,
    /// How many of the agents asked must have voted for what the topology proposes, else the decision is `hold`: `majority`
    /// (default), `60%`, `two_thirds` or `unanimous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus: Option<Consensus>,
    /// Programs that run at once (default 8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32), extend("default" = 8))]
    #[schema(minimum = 1, maximum = 32)]
    pub parallelism: Option<u32>,
    /// With `code` in a mesh: 2 runs it once more in each sandbox, with every agent's first result in `received`; that vote
    /// counts (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2), extend("default" = 1))]
    #[schema(minimum = 1, maximum = 2)]
    pub rounds: Option<u32>,
    /// Seconds that this call waits for the end, at most 50 (default 50); `task_status` answers the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 50))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

fn too_large(what: &str, bytes: usize, max: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("{what} has {bytes} bytes; at most {max} are accepted"))
}

fn wait(wait: Option<f64>, default: f64) -> Result<f64, ApiError> {
    match wait.unwrap_or(default) {
        wait if wait >= 0.0 && wait.is_finite() => Ok(wait.min(WAIT_S_MAX)),
        _ => Err(invalid("`wait` must be 0 or more seconds")),
    }
}

impl TaskRequest {
    /// Checks everything but the swarm, the handler and what it makes of the inputs.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or TOO_LARGE.
    pub fn check(&self) -> Result<(), ApiError> {
        let chars = self.task.chars().count();
        if !(1..=TASK_CHARS_MAX).contains(&chars) {
            return Err(invalid(format!("`task` has {chars} characters; it must have 1 to {TASK_CHARS_MAX}")));
        }
        match &self.code {
            Some(code) if code.len() > CODE_BYTES_MAX => return Err(too_large("`code`", code.len(), CODE_BYTES_MAX)),
            Some(_) if self.handler.is_some() => return Err(invalid("give `code` or `handler`, not both")),
            None if self.language.is_some() => return Err(invalid("`language` is that of `code`, which is not given")),
            _ => {}
        }
        let sizes = self.inputs.iter().map(|input| serde_json::to_vec(input).map_or(0, |json| json.len()));
        let mut all = 0;
        for (number, size) in sizes.enumerate() {
            if size > TASK_INPUT_BYTES_MAX {
                return Err(too_large(&format!("`inputs[{number}]`"), size, TASK_INPUT_BYTES_MAX));
            }
            all += size;
        }
        if all > TASK_INPUTS_BYTES_MAX {
            return Err(too_large("`inputs`", all, TASK_INPUTS_BYTES_MAX));
        }
        let timeout = self.timeout_s();
        if !(0.1..=TASK_TIMEOUT_S_MAX).contains(&timeout) {
            return Err(invalid(format!(
                "`timeout` is {timeout}; it must be between 0.1 and {TASK_TIMEOUT_S_MAX} seconds"
            )));
        }
        let parallelism = self.parallelism();
        if !(1..=TASK_PARALLELISM_MAX).contains(&parallelism) {
            return Err(invalid(format!(
                "`parallelism` is {parallelism}; it must be between 1 and {TASK_PARALLELISM_MAX}"
            )));
        }
        if !(1..=2).contains(&self.rounds()) {
            return Err(invalid(format!("`rounds` is {}; it must be 1 or 2", self.rounds())));
        }
        self.wait_s().map(drop)
    }

    /// Seconds that each program may take.
    #[must_use]
    pub fn timeout_s(&self) -> f64 {
        self.timeout.unwrap_or(TASK_TIMEOUT_S_DEFAULT)
    }

    /// Programs that run at once.
    #[must_use]
    pub fn parallelism(&self) -> u32 {
        self.parallelism.unwrap_or(TASK_PARALLELISM_DEFAULT)
    }

    /// How often a mesh is asked.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(1)
    }

    /// Seconds that the call waits, at most [`WAIT_S_MAX`].
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no time.
    pub fn wait_s(&self) -> Result<f64, ApiError> {
        wait(self.wait, WAIT_S_MAX)
    }
}

impl TaskStatusRequest {
    /// Seconds that the call waits, at most [`WAIT_S_MAX`].
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no time.
    pub fn wait_s(&self) -> Result<f64, ApiError> {
        wait(self.wait, 0.0)
    }
}

/// Arguments of `task_status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TaskStatusRequest {
    /// As `task_orchestrate` answered it.
    #[param(ignore)]
    pub task_id: String,
    /// Seconds to wait for the end, at most 50 (default 0); more means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
}

/// Arguments of `task_cancel`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskCancelRequest {
    /// As `task_orchestrate` answered it.
    pub task_id: String,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TaskState {
    /// It has not ended.
    Running,
    /// At least one agent has answered, and the rest have answered or failed.
    Completed,
    /// No agent has answered.
    Failed,
    /// It was ended from outside.
    Cancelled,
}

impl TaskState {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How one program of a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StepState {
    /// It waits for its turn.
    Pending,
    /// It runs.
    Running,
    /// It has a result.
    Completed,
    /// It has none; `reason` says why. Its agent counts as absent.
    Failed,
    /// Nobody could change the decision any more.
    Skipped,
    /// The task was ended before.
    Cancelled,
}

impl StepState {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What became of one program of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct AgentResult {
    /// Whose.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent: String,
    /// What the topology makes of it.
    pub role: String,
    /// `work`; `second round` of a mesh; `gather` of a star's hub.
    pub step: String,
    /// What it was asked by: a handler, or `code`.
    pub handler: String,
    /// How it stands.
    pub status: StepState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its vote; none when it printed no decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Decision>,
    /// How sure it is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Names of the agents whose results it was handed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub received_from: Vec<String>,
    /// Figures of the handler, or the object that the program printed.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub result: Map<String, Value>,
    /// The last 2 KiB of what the program printed, where its result is no object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub sandbox_id: Option<SandboxId>,
    /// The execution that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// Wall-clock time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_time: Option<f64>,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TaskProgress {
    /// Programs that it consists of.
    pub total: u32,
    /// That have a result.
    pub completed: u32,
    /// That have none, and will not.
    pub failed: u32,
    /// That run now.
    pub running: u32,
}

/// Who was asked and who answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Quorum {
    /// Agents that were asked.
    pub asked: u32,
    /// That have answered.
    pub answered: u32,
    /// That have failed.
    pub absent: u32,
    /// How many must agree, of those asked.
    pub needed: u32,
}

/// Votes by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[allow(missing_docs, reason = "the words say it")]
pub struct Votes {
    pub buy: u32,
    pub sell: u32,
    pub hold: u32,
}

/// Weights of votes by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[allow(missing_docs, reason = "the words say it")]
pub struct Weights {
    pub buy: f64,
    pub sell: f64,
    pub hold: f64,
}

/// One step of a decision that is reached in several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Reduction {
    /// The agent at which it happens.
    pub agent: String,
    /// Whose votes come in, beside its own.
    pub from: Vec<String>,
    /// What goes out; none when there was nothing to reduce.
    pub vote: Option<Decision>,
    /// With which weight.
    pub weight: f64,
}

/// What the swarm decides, and from what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Aggregate {
    /// What the swarm decides: `hold` when there is no consensus.
    pub decision: Decision,
    /// What the topology came to before it was counted who agrees: the decision of most votes, of the hub, of the ring's last, of the
    /// root. Null when it came to none. Without enough agents that voted for it, the decision is `hold`.
    #[serde(default)]
    pub proposal: Option<Decision>,
    /// Why, in a sentence, with the count.
    pub reason: String,
    /// Symbols that the votes are about; of a pair or a portfolio, the first. Empty where nobody said one.
    pub about: Vec<String>,
    /// `quorum`, or the name of the agent that proposes: the hub, the last of the ring, the root.
    pub decided_by: String,
    /// How many must agree.
    pub rule: Consensus,
    /// Who was asked and who answered.
    pub quorum: Quorum,
    /// Votes, one for each agent.
    pub votes: Votes,
    /// The same, weighed.
    pub weights: Weights,
    /// How a ring or a tree came to its decision, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reductions: Vec<Reduction>,
    /// Of backtests: the figures of all of them held together, in equal parts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub combined: Map<String, Value>,
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TaskAnswer {
    /// Whether nothing went wrong so far; an agent that fails is no failure of the task.
    pub success: bool,
    /// The task.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub task_id: JobId,
    /// Its swarm.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub swarm_id: JobId,
    /// As asked.
    pub task: String,
    /// How it stands.
    pub status: TaskState,
    /// The handler, or `code`.
    pub handler: String,
    /// Who hears whom.
    pub topology: Topology,
    /// In which order the agents are asked.
    pub strategy: TaskStrategy,
    /// Whose programs come first.
    pub priority: Priority,
    /// How far it is.
    pub progress: TaskProgress,
    /// What became of each program, those that wait or run too.
    pub results: Vec<AgentResult>,
    /// What the swarm decides; null until the task has ended.
    pub aggregate: Option<Aggregate>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Things worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: Consensus, needed: &[(u32, u32)]) {
        for (asked, expected) in needed {
            assert_eq!(rule.needed(*asked), *expected, "{rule:?} of {asked}");
        }
    }

    #[test]
    fn rules_count_those_who_were_asked() {
        check(Consensus::Majority, &[(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (100, 51)]);
        check(Consensus::SixtyPercent, &[(1, 1), (3, 2), (4, 3), (5, 3), (10, 6), (100, 60)]);
        check(Consensus::TwoThirds, &[(1, 1), (2, 2), (3, 2), (4, 3), (6, 4), (100, 67)]);
        check(Consensus::Unanimous, &[(1, 1), (3, 3), (100, 100)]);
        assert_eq!(Consensus::Majority.needed(0), 1, "nobody is no majority");
    }
}

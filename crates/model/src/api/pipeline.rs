//! Pipelines: stages, each in a sandbox of its own, that hand files on.

mod answer;
mod check;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{EnvVars, LimitsRequest, Network, TradingChoice, is_false, null_is_default};

pub use answer::*;

/// Stages of one pipeline.
pub const STAGES_MAX: usize = 32;
/// Files that one stage takes over, and files that it hands on.
pub const HANDED_MAX: usize = 32;
/// Characters of a stage's name.
pub const STAGE_NAME_MAX: usize = 40;
/// Bytes of the path of a file that is handed on.
pub const HANDED_PATH_MAX: usize = 256;
/// Times that a stage may be run again after it failed.
pub const RETRIES_MAX: u32 = 10;

/// Arguments of `pipeline_run`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineRequest {
    /// A name of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,
    /// The stages, 1 to 32. One begins once those have ended well that it has inputs from or needs; the others run side by side.
    #[schemars(length(min = 1, max = 32))]
    pub stages: Vec<PipelineStage>,
    /// Seconds that this call waits for the end, at most 50 (default 50); more means 50. A pipeline that runs longer is
    /// answered as `running`, goes on, and is read with `pipeline_status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 50))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
}

/// One stage: a program in a sandbox of its own, which is deleted once the stage has ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineStage {
    /// Its name, of a-z, A-Z, 0-9, `_` and `-`.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// `code` (default), or `trade` for one that sends orders: it is run once, never again by itself, and only in `mode`.
    #[serde(default, skip_serializing_if = "StageKind::is_code")]
    pub kind: StageKind,
    /// Where the orders of a `trade` stage are to go: `simulated`, `paper` or `live`. It is not begun when trading is in another
    /// mode, which the operator sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The simulated account of a `trade` stage, and its clock, as in `sandbox_create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trading: Option<TradingChoice>,
    /// What its sandbox is made from, as in `sandbox_create`.
    pub template: String,
    /// The program, at most 1 MiB. It starts in `/home/user`.
    pub code: String,
    /// `python`, `javascript` or `bash`; the template's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Stages that must have ended well before, beside those that `inputs` names.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub needs: Vec<String>,
    /// Files that other stages hand on, put in before the program starts; at most 32.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub inputs: Vec<PipelineInput>,
    /// Files that the program makes, relative to `/home/user` unless absolute; at most 32, each of 1 byte to 32 MiB. A stage
    /// without one of them has failed, whatever its exit code.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub outputs: Vec<String>,
    /// Environment variables, as in `sandbox_create`: the values of keys never enter the sandbox.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "EnvVars::is_empty")]
    #[schema(nullable)]
    pub env_vars: EnvVars,
    /// Names of secrets that the operator has stored, as in `sandbox_create`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub secrets: Vec<String>,
    /// Lets the program see values in `env_vars` whose names are those of keys, as in `sandbox_create`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    #[schema(nullable)]
    pub expose: bool,
    /// Packages to install before, as in `sandbox_create`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub install_packages: Vec<String>,
    /// What it may reach, as in `sandbox_create`. A `trade` stage that does not say it reaches Alpaca's names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Upper bounds on what its sandbox uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsRequest>,
    /// Seconds after which the program is ended (default 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 86_400), extend("default" = 60))]
    #[schema(minimum = 0.001, maximum = 86400)]
    pub timeout: Option<f64>,
    /// How often a `code` stage that failed is run again, in a new sandbox, after 1, 2, 4 … at most 60 seconds (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10), extend("default" = 0))]
    #[schema(maximum = 10)]
    pub retries: Option<u32>,
}

/// A file that a stage takes over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineInput {
    /// The stage that makes it.
    pub from: String,
    /// Which of that stage's `outputs`, as it is written there.
    pub path: String,
    /// Where it is put, relative to `/home/user` unless absolute (default: `path`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What a stage is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StageKind {
    /// It computes.
    #[default]
    Code,
    /// It sends orders.
    Trade,
}

impl StageKind {
    /// For `skip_serializing_if`.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
    fn is_code(&self) -> bool {
        *self == Self::Code
    }
}

/// Arguments of `pipeline_status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineStatusRequest {
    /// As `pipeline_run` answered it.
    pub pipeline_id: String,
    /// Seconds to wait for the end, at most 50 (default 0); more means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
}

/// Arguments of `pipeline_resume`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineResumeRequest {
    /// As `pipeline_run` answered it.
    pub pipeline_id: String,
    /// The stage to begin with: it and all that depend on it are run again, with the inputs that are stored. Without it, what has not
    /// ended well is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Seconds that this call waits for the end, at most 50 (default 50); more means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 50))]
    #[schema(minimum = 0)]
    pub wait: Option<f64>,
}

/// Arguments of `pipeline_cancel`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineCancelRequest {
    /// As `pipeline_run` answered it.
    pub pipeline_id: String,
}

/// Arguments of `pipeline_output`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineOutputRequest {
    /// As `pipeline_run` answered it.
    pub pipeline_id: String,
    /// The stage that made it.
    pub stage: String,
    /// Which of its `outputs`, as it is written there.
    pub path: String,
}

/// What `ringfence pipeline list` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PipelineListRequest {
    /// How many at most (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

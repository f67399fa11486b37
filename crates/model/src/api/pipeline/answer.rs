//! What is said of pipelines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::StageKind;
use crate::{ExecutionId, JobId, SandboxId};

/// How a pipeline stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineAnswer {
    /// Whether nothing went wrong so far.
    pub success: bool,
    /// The pipeline.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub pipeline_id: JobId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How it stands.
    pub status: PipelineStatus,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub ended_at: Option<String>,
    /// The stages, in the order in which they were given.
    pub stages: Vec<PipelineStageView>,
}

/// How a pipeline stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PipelineStatus {
    /// It has not ended.
    Running,
    /// Every stage ended well.
    Completed,
    /// A stage failed, and what depends on it was not begun.
    Failed,
    /// It was ended from outside.
    Cancelled,
}

impl PipelineStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

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

    /// The status of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The `success` of a record with this status: nothing went wrong so far.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Running | Self::Completed)
    }
}

/// How a stage stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StageStatus {
    /// It waits for others, or for its next attempt.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It ended well, and its outputs are stored.
    Completed,
    /// It failed.
    Failed,
    /// It was not begun, because another one failed or the pipeline was ended.
    Skipped,
    /// It was ended from outside.
    Cancelled,
}

impl StageStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Running, Self::Completed, Self::Failed, Self::Skipped, Self::Cancelled];

    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A stage and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineStageView {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: StageKind,
    /// What its sandbox is made from.
    pub template: String,
    /// How it stands.
    pub status: StageStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// How many of those the end of the daemon cut off.
    pub cut_off: u32,
    /// What went wrong at last, in a sentence, with the last lines that the program wrote to standard error.
    pub error: Option<String>,
    /// When it was begun last. RFC 3339, UTC.
    pub started_at: Option<String>,
    /// RFC 3339, UTC.
    pub ended_at: Option<String>,
    /// What was put in.
    pub inputs: Vec<PipelineHanded>,
    /// What was taken out and stored.
    pub outputs: Vec<PipelineArtefact>,
    /// The sandbox of its last attempt; gone once the stage has ended.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub sandbox_id: Option<SandboxId>,
    /// The program's run.
    pub execution: Option<PipelineExecution>,
    /// Where its orders went; of a `trade` stage only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trading: Option<PipelineTrading>,
}

/// A file as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineArtefact {
    /// Its path, as the stage's `outputs` have it.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub sha256: String,
}

/// A file that was handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineHanded {
    /// The stage that made it.
    pub from: String,
    /// Its path there.
    pub path: String,
    /// Where it was put.
    pub to: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub sha256: String,
}

/// The run of a stage's program. The whole of its output is read with `execution_status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineExecution {
    /// The execution.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub execution_id: ExecutionId,
    /// How it stands: `running`, `completed`, `failed`, `timeout` or `killed`.
    pub status: String,
    /// The exit code, null while it runs.
    pub exit_code: Option<i32>,
    /// Wall-clock time in seconds.
    pub execution_time: f64,
    /// Processor time of all its processes, in seconds.
    pub cpu_time: f64,
    /// Largest memory of the sandbox meanwhile.
    pub memory_peak_bytes: u64,
    /// The end of its standard output, at most 4 KiB.
    pub output_tail: String,
    /// The end of its standard error, at most 4 KiB.
    pub stderr_tail: String,
}

/// Where the orders of a stage went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineTrading {
    /// `simulated`, `paper` or `live`, as it was when the stage began.
    pub mode: String,
    /// The same when it had ended, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_at_end: Option<String>,
    /// Orders that its sandbox had let through, at most 1000 of them counted.
    pub orders: u32,
    /// Those of them of which something was filled.
    pub filled: u32,
    /// Why the orders could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A file that a stage made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineOutputAnswer {
    /// True.
    pub success: bool,
    /// The pipeline.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub pipeline_id: JobId,
    /// The stage that made it.
    pub stage: String,
    /// Its path, as the stage's `outputs` have it.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub sha256: String,
    /// The content, when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The content, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

/// Pipelines, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineListAnswer {
    /// True.
    pub success: bool,
    /// Newest first.
    pub pipelines: Vec<PipelineSummary>,
    /// Length of `pipelines`.
    pub count: u32,
}

/// One pipeline of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PipelineSummary {
    /// The pipeline.
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub pipeline_id: JobId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How it stands.
    pub status: PipelineStatus,
    /// Its stages.
    pub stages: u32,
    /// Those of them that ended well.
    pub completed: u32,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub ended_at: Option<String>,
}

//! Removing what has ended: sweeps, pipelines, swarms and tasks are jobs, which stay until somebody removes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{check::invalid, is_false};
use crate::{ApiError, JobId};

/// Days that `older_than_days` may say: a century.
pub const PRUNE_DAYS_MAX: u32 = 36_500;

/// What a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Backtests, ranked.
    Sweep,
    /// Stages that hand files on.
    Pipeline,
    /// Agents with sandboxes; it ends when it is destroyed.
    Swarm,
    /// What agents of a swarm have worked on.
    Task,
}

impl JobKind {
    /// As it stands in requests and in ids.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Pipeline => "pipeline",
            Self::Swarm => "swarm",
            Self::Task => "task",
        }
    }
}

/// What `ringfence sweep prune` and its like ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobPruneRequest {
    /// What is to go.
    pub kind: JobKind,
    /// Those that ended so many days ago, or earlier; 0 for all that have ended.
    pub older_than_days: u32,
    /// Only say what would go.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

impl JobPruneRequest {
    /// The instant before which a job must have ended, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for more than a century.
    pub fn ended_before_ms(&self, now_ms: u64) -> Result<u64, ApiError> {
        const DAY_MS: u64 = 86_400_000;
        if self.older_than_days > PRUNE_DAYS_MAX {
            return Err(invalid(format!("`older_than_days` must be between 0 and {PRUNE_DAYS_MAX}")));
        }
        Ok(now_ms.saturating_sub(u64::from(self.older_than_days) * DAY_MS))
    }
}

/// What has gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct JobPruneAnswer {
    /// True.
    pub success: bool,
    /// Nothing has gone: this is what would.
    pub dry_run: bool,
    /// Their ids, the one that was begun first ahead.
    #[schemars(with = "Vec<String>")]
    #[schema(value_type = Vec<String>)]
    pub removed: Vec<JobId>,
    /// How many.
    pub count: u64,
    /// Bytes of files that nothing else needed; 0 for what would go.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_back_from_now() {
        let ended = |older_than_days, now_ms| {
            JobPruneRequest { kind: JobKind::Sweep, older_than_days, dry_run: false }.ended_before_ms(now_ms)
        };
        assert_eq!(ended(0, 5), Ok(5));
        assert_eq!(ended(2, 172_800_007), Ok(7));
        assert_eq!(ended(PRUNE_DAYS_MAX, 7), Ok(0), "before there was time");
        assert!(ended(PRUNE_DAYS_MAX + 1, 7).is_err());
    }
}

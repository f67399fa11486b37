//! Credits: what is left, what was used, and what the operator gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{LIST_MAX, is_false, list_limit};
use crate::{ApiError, Code, Project, SandboxId, credit::MilliCredits};

/// Days of usage that are answered unless the request says otherwise.
pub const USAGE_DAYS_DEFAULT: u32 = 30;
/// Most days of usage.
pub const USAGE_DAYS_MAX: u32 = 366;
/// Characters of the key of a grant.
pub const CREDIT_KEY_CHARS_MAX: usize = 80;

/// Arguments of `check_balance`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BalanceRequest {
    /// Whose (default: your own, or `default`). Only operators see another project's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub project: Option<Project>,
}

/// Result of `check_balance`. 1 credit is 0.01 USD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct BalanceAnswer {
    /// True.
    pub success: bool,
    /// Whose credits.
    #[schema(value_type = String)]
    pub project: Project,
    /// Whether it may spend any amount: the operator has set no budget. What it uses is counted all the same.
    pub unlimited: bool,
    /// Credits that are left; null when unlimited. Never negative.
    #[schema(value_type = Option<f64>)]
    pub balance: Option<MilliCredits>,
    /// Credits that it was given, of which `balance` is left; null when unlimited.
    #[schema(value_type = Option<f64>)]
    pub budget: Option<MilliCredits>,
    /// Credits spent of `budget`; null when unlimited.
    #[schema(value_type = Option<f64>)]
    pub spent: Option<MilliCredits>,
    /// Credits spent today, a day of UTC. What ran in the grace, with nothing left, is not spent.
    #[schema(value_type = f64)]
    pub spent_today: MilliCredits,
    /// Its sandboxes that run or are paused: their meters are open.
    pub metered: u32,
    /// What they cost together for each started minute.
    #[schema(value_type = f64)]
    pub credits_per_minute: MilliCredits,
    /// Minutes for which `balance` lasts at that rate; null when unlimited or nothing runs.
    pub minutes_left: Option<u64>,
    /// What is charged for what.
    pub prices: PricesView,
    /// When nothing was left, RFC 3339, UTC; null while something is.
    pub exhausted_at: Option<String>,
    /// When sandboxes are stopped because of that, with their files kept.
    pub stops_at: Option<String>,
    /// At 50, 80 and 100 % of the budget: what is about to happen, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What is charged, in credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PricesView {
    /// For making a sandbox.
    #[schema(value_type = f64)]
    pub create: MilliCredits,
    /// For each started minute in which one runs or is paused.
    #[schema(value_type = f64)]
    pub minute: MilliCredits,
    /// For each started GB of its files above the first, and day.
    #[schema(value_type = f64)]
    pub storage_gb_day: MilliCredits,
}

/// By what usage is added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UsageBy {
    /// A row for each sandbox.
    #[default]
    Sandbox,
    /// A row for each project.
    Project,
    /// A row for each day of UTC.
    Day,
}

/// Arguments of `usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UsageRequest {
    /// `sandbox` (default), `project` or `day`: what a row stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "sandbox"))]
    pub by: Option<UsageBy>,
    /// Only of this sandbox, by id or unique name; one that has ended too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Days of UTC that are looked at, today among them (default 30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 366), extend("default" = 30))]
    #[schema(minimum = 1, maximum = 366)]
    #[param(minimum = 1, maximum = 366)]
    pub days: Option<u32>,
    /// How many rows at most (default 100): the dearest, or the newest days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Only of this project. Only operators see another one's than their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub project: Option<Project>,
}

impl UsageRequest {
    /// Days and rows that are wanted.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Result<(u32, u32), ApiError> {
        let days = self.days.unwrap_or(USAGE_DAYS_DEFAULT);
        if !(1..=USAGE_DAYS_MAX).contains(&days) {
            return Err(ApiError::new(Code::InvalidArgument, format!("`days` must be 1 to {USAGE_DAYS_MAX}")));
        }
        Ok((days, list_limit(self.limit)?.min(LIST_MAX)))
    }
}

/// Result of `usage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct UsageAnswer {
    /// True.
    pub success: bool,
    /// What a row stands for.
    pub by: UsageBy,
    /// The first moment that is looked at, RFC 3339, UTC.
    pub since: String,
    /// The rows: the dearest first, or the newest day.
    pub rows: Vec<UsageRow>,
    /// Length of `rows`.
    pub count: u32,
    /// Everything together, also what is in no row.
    pub total: UsageFigures,
}

/// What one sandbox, project or day has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct UsageRow {
    /// The sandbox, where a row stands for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub sandbox_id: Option<SandboxId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The project, where a row stands for one or for a sandbox of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<Project>,
    /// The day, such as 2026-01-31, where a row stands for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// What was used.
    pub used: UsageFigures,
}

/// What was used. All figures come from the host: its cgroups, its clock, its gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct UsageFigures {
    /// Credits, refunds taken off.
    #[schema(value_type = f64)]
    pub credits: MilliCredits,
    /// Seconds that sandboxes ran or were paused.
    pub running_seconds: f64,
    /// Executions that began.
    pub executions: u64,
    /// Processor time of executions that have ended, in seconds.
    pub cpu_seconds: f64,
    /// Memory limits, in GB (2^30 bytes), times the seconds for which they were held.
    pub gb_seconds: f64,
    /// Connections, questions about names and requests that the gate let through; to the last minute.
    pub requests: u64,
    /// Those that it refused.
    pub refused: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

/// What `POST /v1/credits/grant` takes. Operators only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditGrantRequest {
    /// Whose budget grows (default `default`). With the first grant it is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<Project>,
    /// How many credits, at least 0.001.
    #[schema(value_type = f64)]
    pub credits: MilliCredits,
    /// A key of your own: a second grant of the same project with it changes nothing. Send one, so that a repeated request does not
    /// give twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl CreditGrantRequest {
    /// Whether all is within bounds.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Result<(), ApiError> {
        let refused = |text: String| Err(ApiError::new(Code::InvalidArgument, text));
        if self.credits.0 < 1 {
            return refused("`credits` must be at least 0.001".into());
        }
        let is_key = |key: &String| {
            let chars = key.chars().count();
            (1..=CREDIT_KEY_CHARS_MAX).contains(&chars) && !key.chars().any(char::is_control)
        };
        if !self.key.as_ref().is_none_or(is_key) {
            return refused(format!(
                "`key` must have 1 to {CREDIT_KEY_CHARS_MAX} characters, none a control character"
            ));
        }
        Ok(())
    }
}

/// What `PUT /v1/credits/budget` takes. Operators only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditBudgetRequest {
    /// Whose budget (default `default`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<Project>,
    /// Credits that it may spend from now on; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub credits: Option<MilliCredits>,
    /// True instead of `credits`: it may spend any amount.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unlimited: bool,
}

impl CreditBudgetRequest {
    /// Whether all is within bounds.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Result<(), ApiError> {
        let refused = |text: &str| Err(ApiError::new(Code::InvalidArgument, text));
        match (self.credits, self.unlimited) {
            (Some(credits), false) if credits.0 < 0 => refused("`credits` must not be negative"),
            (Some(_), false) | (None, true) => Ok(()),
            _ => refused("say either `credits` or `unlimited`: true"),
        }
    }
}

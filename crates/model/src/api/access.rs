//! Access tokens and projects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::is_false;
use crate::{
    ApiError, Code,
    access::{Project, Role},
};

/// Characters of a token's name.
pub const TOKEN_NAME_CHARS_MAX: usize = 64;
/// Longest life of a token, in seconds: ten years.
pub const TOKEN_S_MAX: u64 = 10 * 366 * 24 * 3600;

/// What `POST /v1/tokens` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreateRequest {
    /// A name of your own, by which it is listed and audited.
    pub name: String,
    /// `operator`, `agent` or `auditor`.
    pub role: Role,
    /// The project whose things there are for it (default `default`); an operator's token without one is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// Seconds after which it ends by itself; never without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

impl TokenCreateRequest {
    /// Whether all is within bounds.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Result<(), ApiError> {
        let refused = |text: String| Err(ApiError::new(Code::InvalidArgument, text));
        let chars = self.name.chars().count();
        if chars == 0 || chars > TOKEN_NAME_CHARS_MAX || self.name.chars().any(char::is_control) {
            return refused(format!(
                "`name` must have 1 to {TOKEN_NAME_CHARS_MAX} characters, none a control character"
            ));
        }
        match self.expires_in {
            Some(0) => refused("`expires_in` must be at least 1 second".into()),
            Some(s) if s > TOKEN_S_MAX => refused(format!("`expires_in` must be at most {TOKEN_S_MAX} seconds")),
            _ => Ok(()),
        }
    }
}

/// Result of making a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TokenCreateAnswer {
    /// True.
    pub success: bool,
    /// What to send as `Authorization: Bearer …`. It is shown this once.
    pub secret: String,
    /// The token.
    pub token: TokenSummary,
}

impl std::fmt::Debug for TokenCreateAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreateAnswer").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TokenSummary {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Whose things there are for it; of all projects without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// When it was made.
    pub created_at: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    /// Whether it still lets anybody in.
    pub valid: bool,
}

/// Result of listing tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TokenListAnswer {
    /// True.
    pub success: bool,
    /// How many.
    pub count: u32,
    /// The tokens, oldest first.
    pub tokens: Vec<TokenSummary>,
}

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its id, or its name when no other valid token has that.
    pub token: String,
}

/// Result of revoking a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TokenRevokeAnswer {
    /// True.
    pub success: bool,
    /// The token.
    pub id: String,
    /// Whether it let nobody in before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub already_revoked: bool,
}

/// Result of listing projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ProjectListAnswer {
    /// True.
    pub success: bool,
    /// How many.
    pub count: u32,
    /// The projects, by name.
    pub projects: Vec<ProjectSummary>,
}

/// A project that has, or had, a sandbox or a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ProjectSummary {
    /// Its name.
    pub name: Project,
    /// Its sandboxes that have not ended.
    pub sandboxes: u64,
    /// Its tokens that let somebody in.
    pub tokens: u64,
}

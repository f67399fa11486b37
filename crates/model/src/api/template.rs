//! Templates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Exported, Package, null_is_default};

/// How far a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TemplateStatus {
    /// Shipped, but not built here yet: the first sandbox starts the build.
    NotBuilt,
    /// Being built.
    Building,
    /// Usable.
    Ready,
    /// The build failed; `error` says why.
    Failed,
}

/// Arguments of `template_list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TemplateListRequest {
    /// Only those of this category: `shipped` or `exported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How many at most (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Result of `template_list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TemplateListAnswer {
    /// True.
    pub success: bool,
    /// By name.
    pub templates: Vec<TemplateView>,
    /// Length of `templates`.
    pub count: u32,
}

/// Arguments of `template_get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateRequest {
    /// Its name, or another name of it (`vanilla`, `nodejs`).
    pub template_name: String,
}

/// Result of `template_get`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TemplateAnswer {
    /// True.
    pub success: bool,
    /// The template.
    pub template: TemplateView,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TemplateView {
    /// Its name, as `sandbox_create` takes it.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// `shipped` or `exported`.
    pub category: String,
    /// What it is for.
    pub description: String,
    /// The newest version that is ready, else the one being built; 0 when there is none.
    pub version: u32,
    /// How far it is.
    pub status: TemplateStatus,
    /// The language of its sandboxes unless a request says otherwise: `python`, `javascript`, `bash`.
    pub language: String,
    /// What is in it, once it is ready.
    pub packages: Vec<Package>,
    /// Size on disk.
    pub size_bytes: u64,
    /// SHA-256 of its uppermost layer; null until it is ready.
    pub digest: Option<String>,
    /// RFC 3339, UTC; null until it is built.
    pub created_at: Option<String>,
    /// What is known of one that was exported from a sandbox.
    pub exported: Option<Exported>,
    /// How much of the build is done, while it is being built: 0 to 100.
    pub percent: Option<f64>,
    /// Why the build failed.
    pub error: Option<String>,
}

/// What `ringfence template build` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// Its name.
    pub template_name: String,
    /// Build a new version even when one is ready.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rebuild: bool,
}

/// The end of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct BuildAnswer {
    /// True.
    pub success: bool,
    /// Whether anything was built: false when it was ready.
    pub built: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The template.
    pub template: TemplateView,
}

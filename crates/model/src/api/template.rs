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
    /// Only those of this category: `shipped`, `custom` (built from a recipe of the operator's) or `exported`.
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
    /// `shipped`, `custom` (built from a recipe of the operator's) or `exported`.
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
    /// SHA-256 of each of its layers, lowest first; empty until it is ready.
    pub layers: Vec<String>,
    /// RFC 3339, UTC; null until it is built.
    pub created_at: Option<String>,
    /// Digest of the OCI image that its recipe begins with, `sha256:…`; null for one that begins with Debian.
    pub origin: Option<String>,
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
    #[schema(nullable)]
    pub rebuild: bool,
    /// A recipe of the operator's own, of that name. Without one, the template is one that is shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<RecipeSource>,
    /// The image with which that recipe begins, as it was named when it was sent (`POST /v1/template-images`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Which image of an archive is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImageRequest {
    /// Its tag, where the archive holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// An image that waits for the build of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageAnswer {
    /// True.
    pub success: bool,
    /// What `BuildRequest` calls it, once, within a quarter of an hour.
    pub image: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Such as `linux/amd64`.
    pub platform: String,
    /// How many layers it has.
    pub layers: u32,
}

/// A recipe, and the files beside it that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeSource {
    /// `template.toml`.
    pub text: String,
    /// The files.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub files: Vec<RecipeFile>,
}

/// A file beside a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// Where, below the recipe's directory.
    pub path: String,
    /// Whether it may be executed.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub executable: bool,
    /// What is in it, in base64.
    pub content_base64: String,
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
    /// What was built, stage by stage; empty when nothing was.
    #[serde(default)]
    pub stages: Vec<BuildStage>,
    /// The template.
    pub template: TemplateView,
}

/// What `ringfence template prune` asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Only say what would go.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub dry_run: bool,
}

/// What has gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct PruneAnswer {
    /// True.
    pub success: bool,
    /// Nothing has gone: this is what would.
    pub dry_run: bool,
    /// Each thing.
    pub removed: Vec<Pruned>,
    /// Bytes of all of it, as far as they are known.
    pub bytes: u64,
}

/// A thing that nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Pruned {
    /// `version` of a template, `failed build`, `layer` or `log`.
    pub kind: String,
    /// Which.
    pub name: String,
    /// How much it took; null where that is not known, and for a version, whose layers are listed by themselves.
    pub bytes: Option<u64>,
}

/// A stage of a build: steps that leave one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct BuildStage {
    /// What it does.
    pub title: String,
    /// Content address of the stage: of what it lies over, its steps and their inputs.
    pub key: String,
    /// It was built before, and used again.
    pub reused: bool,
    /// SHA-256 of its layer; null when it changed nothing.
    pub layer: Option<String>,
    /// Size of that layer.
    pub size_bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

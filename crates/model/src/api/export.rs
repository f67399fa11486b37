//! Templates that are made from sandboxes, and copies of sandboxes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Package, SandboxStatus, TemplateView, check::invalid, is_false, null_is_default};
use crate::{ApiError, Project, SandboxId};

/// Characters of a template's name.
const TEMPLATE_NAME_CHARS_MAX: usize = 64;

/// Arguments of `export_template`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The sandbox, running or stopped.
    pub sandbox_id: String,
    /// How `sandbox_create` is to know it: 1 to 64 of a-z, 0-9, `-`, `_` and `.`. That of a project other than `default` is called
    /// `PROJECT/NAME`.
    #[schemars(length(min = 1, max = 64))]
    pub template_name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub description: Option<String>,
    /// Words of your own, at most 20.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub tags: Vec<String>,
    /// Add a version to a template of this name. Sandboxes of older versions live on.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    #[schema(nullable)]
    pub new_version: bool,
    /// Whose it becomes: said by the daemon, of its caller, and never by a request.
    #[serde(skip)]
    pub project: Project,
}

/// Something that was left out of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct LeftOut {
    /// Path from the home; from the root where it begins with a slash.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Result of `export_template`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ExportAnswer {
    /// True.
    pub success: bool,
    /// Name and version: `alpaca-trading-v1:1`.
    pub template_id: String,
    /// Its name.
    pub template_name: String,
    /// Its version, from 1.
    pub version: u32,
    /// The template that the sandbox was made from.
    pub base_template: String,
    /// What is installed in it, with exact versions.
    pub packages: Vec<Package>,
    /// Size of what it adds to its base.
    pub size_bytes: u64,
    /// SHA-256 of the layer that it adds.
    pub digest: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Names of the environment variables that the sandbox had; no value is in the template.
    pub env_vars_required: Vec<String>,
    /// What is run in each of its sandboxes before they are handed out.
    pub start_command: Option<String>,
    /// The first 100 files and directories that were left out.
    pub left_out: Vec<LeftOut>,
    /// How many were left out.
    pub left_out_count: u64,
    /// What else there is to know.
    pub warnings: Vec<String>,
}

/// What is known of a template that was exported from a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Exported {
    /// The template that the sandbox was made from.
    pub base_template: String,
    /// Words of whoever exported it.
    pub tags: Vec<String>,
    /// Names of the environment variables that the sandbox had.
    pub env_vars_required: Vec<String>,
    /// What is run in each of its sandboxes before they are handed out.
    pub start_command: Option<String>,
}

/// Result of `template_delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TemplateDeleteAnswer {
    /// True.
    pub success: bool,
    /// Its name.
    pub template_name: String,
    /// How many versions it had.
    pub versions: u32,
    /// What happened.
    pub message: String,
}

/// How an archive is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// A name here; the one in the archive when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_name: Option<String>,
    /// Add a version to a template of this name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub new_version: bool,
}

/// A template that was read from an archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportAnswer {
    /// True.
    pub success: bool,
    /// The template.
    pub template: TemplateView,
}

/// How a sandbox is copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneRequest {
    /// The sandbox, which is stopped.
    pub sandbox_id: String,
    /// A name of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Lifetime in seconds (default 3600).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604800)]
    pub timeout: Option<u64>,
}

/// A copy of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloneAnswer {
    /// True.
    pub success: bool,
    /// The copy.
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// Its name; the id when none was given.
    pub name: String,
    /// What it is a copy of.
    #[schema(value_type = String)]
    pub cloned_from: SandboxId,
    /// `stopped`: `sandbox_resume` starts it.
    pub status: SandboxStatus,
    /// Names of the environment variables that the other has; the copy has none of them.
    pub env_vars_required: Vec<String>,
    /// RFC 3339, UTC.
    pub expires_at: String,
}

/// The name of a template without the project that it is of.
#[must_use]
pub fn plain_template_name(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}

/// Whether a template may have this name, without the project that it is of.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn check_template_name(name: &str) -> Result<(), ApiError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=TEMPLATE_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || b"-_.".contains(&byte))
        && name.bytes().next().is_some_and(plain);
    if fits {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(invalid(format!(
        "`template_name` is `{}`; it must be 1 to {TEMPLATE_NAME_CHARS_MAX} of a-z, 0-9, `-`, `_` and `.`, and begin with a letter or a digit",
        shown.escape_debug()
    )))
}

impl ExportRequest {
    /// Checks everything but the sandbox.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is out of bounds.
    pub fn check(&self) -> Result<(), ApiError> {
        let own = self.project.has_template(&self.template_name);
        check_template_name(if own { plain_template_name(&self.template_name) } else { &self.template_name })?;
        check_text("description", self.description.as_deref().unwrap_or_default(), 500)?;
        if self.tags.len() > 20 {
            return Err(invalid("`tags` has more than 20 words"));
        }
        self.tags.iter().try_for_each(|tag| check_text("tags", tag, 64))
    }
}

fn check_text(argument: &str, text: &str, most: usize) -> Result<(), ApiError> {
    if text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(invalid(format!("`{argument}` has more than {most} characters, or control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_templates_are_plain() {
        for name in ["alpaca-trading-v1", "a", "0_x.y", &"a".repeat(64)] {
            assert_eq!(check_template_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", ".a", "A", "a/b", "a b", "ä", "../a", &"a".repeat(65)] {
            assert!(check_template_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_projects_templates_are_called_after_it() {
        let [first, fund, rival] = ["default", "fund", "rival"].map(|name| Project::parse(name).expect("a name"));
        assert_eq!((first.template_named("a"), fund.template_named("a")), ("a".to_owned(), "fund/a".to_owned()));
        assert_eq!(fund.template_named("fund/a"), "fund/a", "it was called so already");
        // Each has its own alone.
        for (name, owner) in [("a", &first), ("fund/a", &fund), ("rival/a", &rival)] {
            assert_eq!(
                [&first, &fund, &rival].map(|project| project.has_template(name)),
                [&first, &fund, &rival].map(|p| p == owner),
                "{name}"
            );
        }
        assert!(!first.has_template("default/a"), "there is one name for each");
        let check = |project: &Project, name: &str| {
            let (project, template_name) = (project.clone(), name.to_owned());
            ExportRequest { project, template_name, ..ExportRequest::default() }.check().is_ok()
        };
        assert!(check(&first, "a") && check(&fund, "a") && check(&fund, "fund/a"));
        assert!(!check(&first, "fund/a") && !check(&fund, "rival/a") && !check(&first, "default/a"));
        assert!(!check(&fund, "fund/") && !check(&fund, "fund/a/b") && !check(&fund, "fund/fund/a"));
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let request = |description: &str, tags: &[&str]| ExportRequest {
            template_name: "a".into(),
            description: Some(description.into()),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..ExportRequest::default()
        };
        assert_eq!(request("what it is for", &["momentum"]).check(), Ok(()));
        assert!(request("a\u{1b}[2J", &[]).check().is_err());
        assert!(request(&"a".repeat(501), &[]).check().is_err());
        assert!(request("", &["a"; 21]).check().is_err());
    }
}

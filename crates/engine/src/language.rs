//! The languages that programs are written in.

use ringfence_guest::{node, park};
use ringfence_model::{ApiError, Code};

use crate::{registry::Template, template::Recipe};

/// What code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// CPython of the template.
    Python,
    /// Node of the template: CommonJS or a module, as the code itself says.
    JavaScript,
    /// The same, with types that Node strips.
    TypeScript,
    /// bash of the template.
    Bash,
}

impl Language {
    /// The word as clients read it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Bash => "bash",
        }
    }

    /// What a word means.
    #[must_use]
    pub(crate) fn named(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "python" | "python3" | "py" => Some(Self::Python),
            "javascript" | "js" | "node" | "nodejs" => Some(Self::JavaScript),
            "typescript" | "ts" => Some(Self::TypeScript),
            "bash" | "sh" | "shell" => Some(Self::Bash),
            _ => None,
        }
    }

    /// What the sandboxes of a recipe can run.
    #[must_use]
    pub(crate) fn of_recipe(recipe: &Recipe) -> Vec<Self> {
        let mut all = vec![Self::Bash];
        let found = recipe.image.as_ref().map(|image| &image.found);
        if recipe.packages.iter().any(|p| p == "python3") || found.is_some_and(|found| found.python.is_some()) {
            all.push(Self::Python);
        }
        if recipe.node.is_some() {
            all.extend([Self::JavaScript, Self::TypeScript]);
        } else if found.is_some_and(|found| found.node) {
            // An image's own Node may be one that knows no types.
            all.push(Self::JavaScript);
        }
        all
    }

    /// What a client means by a word, or by none, in a sandbox of that template.
    ///
    /// # Errors
    /// The template does not have that language, or it is none.
    pub(crate) fn choose(word: Option<&str>, template: &Template) -> Result<Self, ApiError> {
        let Some(word) = word else { return Ok(template.language) };
        let named = Self::named(word);
        let has = |language: &Self| template.languages.as_ref().is_none_or(|all| all.contains(language));
        if let Some(language) = named.filter(has) {
            return Ok(language);
        }
        let known = template.languages.clone().unwrap_or_default();
        let known: Vec<String> = known.iter().map(|language| format!("`{}`", language.as_str())).collect();
        let known = known.join(", ");
        let text = match named {
            Some(language) => {
                format!("the template `{}` has no `{}`; it runs {known}", template.name, language.as_str())
            }
            None => {
                let shown: String = word.chars().take(40).collect();
                format!("`{}` is no language that ringfence knows; this template runs {known}", shown.escape_debug())
            }
        };
        Err(ApiError::new(Code::LanguageNotAvailable, text))
    }

    /// Where the program of an execution is written, inside.
    #[must_use]
    pub(crate) fn program_path(self, execution: &str) -> String {
        let extension = match self {
            Self::Python => return park::program_path(execution),
            Self::JavaScript => "js",
            Self::TypeScript => "ts",
            Self::Bash => "sh",
        };
        format!("{}/{execution}.{extension}", park::RUN_DIR)
    }

    /// argv of a program that is executed anew and lies at its path.
    #[must_use]
    pub(crate) fn argv(self, path: &str) -> Vec<String> {
        match self {
            Self::Python => park::fresh_argv(path, &[]),
            Self::JavaScript | Self::TypeScript => node::argv(path),
            Self::Bash => vec!["/bin/bash".to_owned(), path.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template;

    #[test]
    fn languages_have_the_names_that_agents_use() {
        assert_eq!(Language::named("Python"), Some(Language::Python));
        assert_eq!(Language::named("sh"), Some(Language::Bash));
        assert_eq!(Language::named("nodejs"), Some(Language::JavaScript));
        assert_eq!(Language::named("TS"), Some(Language::TypeScript));
        for word in ["cobol", ""] {
            assert_eq!(Language::named(word), None);
        }
    }

    #[test]
    fn a_template_runs_what_it_has() {
        let mut template = Template::without_recipe("node", Vec::new());
        let recipe = template::shipped_named("node").expect("it is shipped");
        (template.language, template.languages) = (Language::JavaScript, Some(Language::of_recipe(&recipe)));
        assert_eq!(Language::choose(None, &template), Ok(Language::JavaScript));
        assert_eq!(Language::choose(Some("ts"), &template), Ok(Language::TypeScript));
        for word in ["python", "cobol"] {
            let refused = Language::choose(Some(word), &template).expect_err("it has none");
            assert_eq!(refused.code, Code::LanguageNotAvailable);
            assert!(refused.message.contains("`bash`, `javascript`, `typescript`"), "{}", refused.message);
        }
    }
}

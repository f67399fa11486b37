//! The languages that programs are written in.

use ringfence_model::{ApiError, Code};

/// What code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// CPython of the template.
    Python,
    /// bash of the template.
    Bash,
}

impl Language {
    /// The word as clients read it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Bash => "bash",
        }
    }

    /// What a client means by a word.
    ///
    /// # Errors
    /// No template of this version has that language, or it is none.
    pub(crate) fn parse(word: &str) -> Result<Self, ApiError> {
        match word.to_ascii_lowercase().as_str() {
            "python" | "python3" | "py" => Ok(Self::Python),
            "bash" | "sh" | "shell" => Ok(Self::Bash),
            "javascript" | "js" | "node" | "nodejs" | "typescript" | "ts" => Err(ApiError::new(
                Code::LanguageNotAvailable,
                "this sandbox's template has no JavaScript; it runs `python` and `bash`",
            )),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(ApiError::new(
                    Code::LanguageNotAvailable,
                    format!("`{}` is no language of this template; it runs `python` and `bash`", shown.escape_debug()),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_the_names_that_agents_use() {
        assert_eq!(Language::parse("Python"), Ok(Language::Python));
        assert_eq!(Language::parse("sh"), Ok(Language::Bash));
        for word in ["javascript", "cobol", ""] {
            assert_eq!(Language::parse(word).expect_err("not here").code, Code::LanguageNotAvailable);
        }
    }
}

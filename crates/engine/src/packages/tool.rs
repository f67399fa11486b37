//! What installs packages in a sandbox: pip or npm, by the template's language.

use ringfence_model::{ApiError, Code, api};

use crate::{language::Language, registry::Template};

/// An installer: a program that is run in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tool {
    /// As people know it.
    pub(super) name: &'static str,
    /// The program, and what it is written in. It reads the packages as JSON, and says as JSON what came of it.
    pub(super) program: &'static str,
    pub(super) language: Language,
}

const PIP: Tool = Tool { name: "pip", program: include_str!("install.py"), language: Language::Python };
const NPM: Tool = Tool { name: "npm", program: include_str!("install.cjs"), language: Language::JavaScript };

/// The installer of a template, for packages that it knows how to name.
///
/// # Errors
/// The template has none, or a package is not named as it names them.
pub(super) fn of(template: &Template, packages: &[String]) -> Result<Tool, ApiError> {
    let tool = match template.language {
        Language::Python => PIP,
        Language::JavaScript | Language::TypeScript => NPM,
        Language::Bash => {
            let text =
                format!("packages can be installed in Python and Node templates; `{}` is neither", template.name);
            return Err(ApiError::new(Code::NotSupported, text));
        }
    };
    let (is_named, example) = if tool == PIP {
        (api::is_requirement as fn(&str) -> bool, "numpy==2.3.1")
    } else {
        (api::is_npm_package as fn(&str) -> bool, "ws@8.18.0")
    };
    match packages.iter().find(|package| !is_named(package)) {
        None => Ok(tool),
        Some(wrong) => {
            let text = format!(
                "`{}` is no package of {}, which installs them in this template: write one as in `{example}`",
                wrong.chars().take(80).collect::<String>(),
                tool.name
            );
            Err(ApiError::new(Code::InvalidArgument, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_installs_what_its_own_tool_names() {
        let mut template = Template::without_recipe("node", Vec::new());
        let ask = |template: &Template, name: &str| of(template, &[name.to_owned()]).map(|tool| tool.name);
        assert_eq!(ask(&template, "ws").expect_err("bash has no packages").code, Code::NotSupported);
        template.language = Language::JavaScript;
        assert_eq!(ask(&template, "@alpacahq/alpaca-trade-api@^3"), Ok("npm"));
        assert_eq!(ask(&template, "numpy==2.3.1").expect_err("of pip").code, Code::InvalidArgument);
        template.language = Language::Python;
        assert_eq!(ask(&template, "numpy==2.3.1"), Ok("pip"));
        assert_eq!(ask(&template, "@a/b").expect_err("of npm").code, Code::InvalidArgument);
    }
}

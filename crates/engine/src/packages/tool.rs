//! What installs packages in a sandbox: pip, npm or apt, by the template's language.

use ringfence_jail::proto::Rights;
use ringfence_model::{ApiError, Code, api};

use crate::{language::Language, registry::Template, template::HostSettings};

/// An installer: a program that is run in the sandbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    /// As people know it.
    pub(super) name: &'static str,
    /// The program, and what it is written in. It reads the packages as JSON, or has them in its environment, and says as JSON what
    /// came of it.
    pub(super) program: &'static str,
    pub(super) language: Language,
    pub(super) rights: Rights,
    /// How a package is named, and an example.
    is_named: fn(&str) -> bool,
    example: &'static str,
}

const PIP: Tool = Tool {
    name: "pip",
    program: include_str!("install.py"),
    language: Language::Python,
    rights: Rights::Program,
    is_named: api::is_requirement,
    example: "numpy==2.3.1",
};
const NPM: Tool = Tool {
    name: "npm",
    program: include_str!("install.cjs"),
    language: Language::JavaScript,
    rights: Rights::Program,
    is_named: api::is_npm_package,
    example: "ws@8.18.0",
};
const APT: Tool = Tool {
    name: "apt",
    program: include_str!("install.sh"),
    language: Language::Bash,
    rights: Rights::Installer,
    is_named: api::is_debian_package,
    example: "apt:jq",
};

impl Tool {
    /// What its program begins with on top of, or for an installer with root's rights in place of, the sandbox's variables.
    pub(super) fn env(&self, packages: &[String]) -> Vec<(String, String)> {
        if self.rights == Rights::Program {
            return Vec::new();
        }
        let names: Vec<&str> = packages.iter().map(|name| name.trim_start_matches("apt:")).collect();
        let mirror = HostSettings::of_host().mirror.unwrap_or_default();
        [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("TMPDIR", "/root"),
            ("PACKAGES", &names.join(" ")),
            ("MIRROR", &mirror),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// The installer of a template, for packages that it knows how to name.
///
/// # Errors
/// A package is not named as the template's installer names them.
pub(super) fn of(template: &Template, packages: &[String]) -> Result<Tool, ApiError> {
    let tool = match template.language {
        Language::Python => PIP,
        Language::JavaScript | Language::TypeScript => NPM,
        Language::Bash => APT,
    };
    let Some(wrong) = packages.iter().find(|package| !(tool.is_named)(package)) else { return Ok(tool) };
    let shown: String = wrong.chars().take(80).collect();
    let text = if api::is_debian_package(wrong) {
        let template = &template.name;
        format!(
            "`{shown}` is a package of Debian, which only templates of bash install, such as `base`; `{template}` has {}",
            tool.name
        )
    } else {
        let (name, example) = (tool.name, tool.example);
        format!("`{shown}` is no package of {name}, which installs them in this template: write one as in `{example}`")
    };
    Err(ApiError::new(Code::InvalidArgument, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_installs_what_its_own_tool_names() {
        let mut template = Template::without_recipe("node", Vec::new());
        let ask = |template: &Template, name: &str| of(template, &[name.to_owned()]).map(|tool| tool.name);
        assert_eq!(ask(&template, "apt:jq=1.6-2.1+deb12u1"), Ok("apt"));
        assert_eq!(ask(&template, "ws").expect_err("not of Debian").code, Code::InvalidArgument);
        template.language = Language::JavaScript;
        assert_eq!(ask(&template, "@alpacahq/alpaca-trade-api@^3"), Ok("npm"));
        assert_eq!(ask(&template, "numpy==2.3.1").expect_err("of pip").code, Code::InvalidArgument);
        template.language = Language::Python;
        assert_eq!(ask(&template, "numpy==2.3.1"), Ok("pip"));
        assert_eq!(ask(&template, "@a/b").expect_err("of npm").code, Code::InvalidArgument);
        assert!(ask(&template, "apt:jq").expect_err("of Debian").message.contains("`base`"));
    }
}

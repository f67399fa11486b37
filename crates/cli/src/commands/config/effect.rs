//! What is in effect: each key with its value and where that comes from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;
use toml::Value;

use crate::{
    config::{
        Config, Registry,
        keys::{KEYS, Key},
        read,
    },
    daemon, roles,
};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    /// Nobody says it.
    Default,
    /// The file.
    File,
    /// A variable, or a setting of this host for another program.
    Environment,
    /// The command line.
    Flag,
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// One key in effect.
pub(super) struct Effect {
    pub(super) key: &'static Key,
    /// What the daemon goes by; none where no value stands for it.
    pub(super) value: Option<Value>,
    /// What the file itself says, or would.
    pub(super) of_file: Option<Value>,
    /// What holds where nobody says anything.
    pub(super) default: Option<Value>,
    /// Most have one.
    pub(super) sources: Vec<Source>,
    /// Where in the file it is set.
    pub(super) line: Option<usize>,
}

/// A setting that is not the file's.
pub(super) struct Outside {
    pub(super) name: &'static str,
    pub(super) flag: Option<&'static str>,
    pub(super) variable: &'static str,
    pub(super) means: &'static str,
    pub(super) value: Option<String>,
    pub(super) source: Source,
}

/// The whole.
pub(super) struct Effects {
    pub(super) file: PathBuf,
    pub(super) exists: bool,
    pub(super) keys: Vec<Effect>,
    pub(super) outside: Vec<Outside>,
}

/// Looks at the file and the environment of this process.
///
/// # Errors
/// The file cannot be read or is not understood.
pub(super) fn look(named: Option<&Path>) -> anyhow::Result<Effects> {
    let home = daemon::home(named);
    let file = home.join("config.toml");
    let text = match fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).with_context(|| format!("reading {}", file.display())),
    };
    let keys = effects(&file, text.as_deref().unwrap_or_default(), &home, roles::registries_of_host())?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(Effects { file, exists: text.is_some(), keys, outside: outside(named, variable) })
}

fn effects(file: &Path, text: &str, home: &Path, of_host: Vec<Registry>) -> anyhow::Result<Vec<Effect>> {
    let in_file = read::parse(&file.display().to_string(), text)?;
    let set = read::set_keys(text);
    let mut config = in_file.clone();
    // Those that the file has too are there once.
    let added: Vec<Registry> = of_host.into_iter().filter(|host| !config.gate.registries.contains(host)).collect();
    let adds = !added.is_empty();
    config.gate.registries.extend(added);
    let unset = Config::default();
    let effect = |key: &'static Key| {
        let line = set.iter().find(|(other, _)| other.path == key.path).map(|(_, line)| *line);
        let mut sources: Vec<Source> = line.map(|_| Source::File).into_iter().collect();
        if key.path == "gate.registries" && adds {
            sources.push(Source::Environment);
        }
        if sources.is_empty() {
            sources.push(Source::Default);
        }
        let of = |config: &Config| (key.value)(config, home);
        Effect { key, value: of(&config), of_file: of(&in_file), default: of(&unset), sources, line }
    };
    Ok(KEYS.iter().map(effect).collect())
}

/// What flags and variables say. Of two that say the same, the flag counts.
fn outside(named: Option<&Path>, variable: impl Fn(&str) -> Option<String>) -> Vec<Outside> {
    let of_variable = |name, shown: fn(String) -> String, default: Option<&str>| match variable(name) {
        Some(value) => (Some(shown(value)), Source::Environment),
        None => (default.map(str::to_owned), Source::Default),
    };
    let home = daemon::home(named).display().to_string();
    let of_home = match (named, variable("RINGFENCE_HOME")) {
        (None, _) => Source::Default,
        (Some(_), Some(value)) if value == home => Source::Environment,
        (Some(_), _) => Source::Flag,
    };
    let mut found = vec![Outside {
        name: "home",
        flag: Some("--home"),
        variable: "RINGFENCE_HOME",
        means: "State directory of the daemon.",
        value: Some(home),
        source: of_home,
    }];
    let mut add = |name, variable, means, (value, source)| {
        found.push(Outside { name, flag: None, variable, means, value, source });
    };
    let as_it_is = |value| value;
    let means = "What the daemon prints of itself: a level, or levels by part, such as `info,ringfence_egress=debug`.";
    add("log", "RINGFENCE_LOG", means, of_variable("RINGFENCE_LOG", as_it_is, Some("info")));
    let means = "A mirror of Debian for `apt:` packages and builds, which the policy `packages` opens too.";
    let mirror = of_variable("RINGFENCE_DEBIAN_MIRROR", without_login, None);
    add("debian mirror", "RINGFENCE_DEBIAN_MIRROR", means, mirror);
    let means = "As whom commands come to the daemon; without one they are the operator's.";
    add("token", "RINGFENCE_TOKEN", means, of_variable("RINGFENCE_TOKEN", |_| "set; it is not shown".to_owned(), None));
    found
}

/// An address without who may read there.
fn without_login(address: String) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(effects: &[Effect], path: &str) -> (Option<String>, Vec<Source>, Option<usize>) {
        let effect = effects.iter().find(|effect| effect.key.path == path).expect("a key");
        (effect.value.as_ref().map(ToString::to_string), effect.sources.clone(), effect.line)
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let text = "[gate]\nregistries = [\"a.lan\"]\n\n[credits]\nminute = 0.5\n";
        let host = ["a.lan", "b.lan:8443"].map(|host| Registry::try_from(host.to_owned()).expect("a host"));
        let effects = effects(Path::new("c.toml"), text, Path::new("/"), host.to_vec()).expect("it is right");
        let both = vec![Source::File, Source::Environment];
        assert_eq!(of(&effects, "gate.registries"), (Some("[\"a.lan\", \"b.lan:8443\"]".into()), both, Some(2)));
        assert_eq!(of(&effects, "credits.minute"), (Some("0.5".into()), vec![Source::File], Some(5)));
        assert_eq!(of(&effects, "credits.create"), (Some("2".into()), vec![Source::Default], None));
        assert_eq!(of(&effects, "credits.budget"), (None, vec![Source::Default], None));
    }

    #[test]
    fn flags_and_variables_are_told_apart_and_no_login_is_shown() {
        let none = |_: &str| None;
        assert_eq!(outside(None, none)[0].source, Source::Default);
        assert_eq!(outside(Some(Path::new("/srv/x")), none)[0].source, Source::Flag);
        let all = |name: &str| {
            Some(match name {
                "RINGFENCE_HOME" => "/srv/x".to_owned(),
                "RINGFENCE_DEBIAN_MIRROR" => "http://me:hunter2@deb.lan/debian".to_owned(),
                _ => "hunter2-token".to_owned(),
            })
        };
        let found = outside(Some(Path::new("/srv/x")), all);
        assert!(found.iter().all(|setting| setting.source == Source::Environment));
        let shown = |name| found.iter().find(|setting| setting.name == name).and_then(|setting| setting.value.clone());
        assert_eq!(shown("debian mirror").as_deref(), Some("http://…@deb.lan/debian"));
        assert_eq!(shown("token").as_deref(), Some("set; it is not shown"));
    }
}

//! The operator's settings for pip, as sandboxes get them: where packages come from, and nothing that is secret or of this host.

use std::{collections::BTreeMap, fs};

use percent_encoding::percent_decode_str;
use ringfence_model::net::HostName;
use serde::{Deserialize, Serialize};

use crate::config::Registry;

/// What is handed on, by the names that pip.conf has. Certificates, proxies and paths of this host mean nothing inside: the
/// gate goes to an index, by its own ways, and trusts what the host does.
const KEYS: [&str; 6] = ["index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "retries"];
const URLS: [&str; 3] = ["index-url", "extra-index-url", "find-links"];

/// `user:password` for an index, as the gate is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) host: HostName,
    pub(super) port: u16,
    pub(super) login: String,
}

/// Settings that sandboxes get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PipSettings {
    values: BTreeMap<&'static str, Vec<String>>,
    /// What addresses of indexes had of a user and a password in them, which stay outside.
    pub(super) logins: Vec<Login>,
}

impl PipSettings {
    /// From this process's environment and the host's `/etc/pip.conf`; the environment counts, as it does for pip.
    pub(super) fn of_host() -> Self {
        let conf = fs::read_to_string("/etc/pip.conf").unwrap_or_default();
        Self::read(&conf, |name| std::env::var(name).ok())
    }

    fn read(conf: &str, env: impl Fn(&str) -> Option<String>) -> Self {
        let from_file = sections(conf);
        let mut settings = Self::default();
        for key in KEYS {
            // `default-timeout` is the option that PIP_DEFAULT_TIMEOUT stands for; both set the same.
            let name = if key == "timeout" { "PIP_DEFAULT_TIMEOUT".to_owned() } else { variable(key) };
            let words = env(&name).or_else(|| from_file.get(key).cloned()).unwrap_or_default();
            let words = words.split_whitespace();
            let values: Vec<String> = match URLS.contains(&key) {
                false => words.map(str::to_owned).collect(),
                true => words.filter_map(|word| settings.address(word)).collect(),
            };
            if !values.is_empty() {
                settings.values.insert(key, values);
            }
        }
        settings
    }

    /// Without who may read there; none for what is no address.
    fn address(&mut self, text: &str) -> Option<String> {
        let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let address = format!("{scheme}://{host}{path}");
        if let (Some(user), Some(Registry { host, port: Some(port) })) = (user, registry(&address)) {
            // As pip reads it: each half is percent-encoded, and a token is a user without a password.
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let login = format!("{}:{}", decoded(user), decoded(password));
            if !self.logins.iter().any(|other| (&other.host, other.port) == (&host, port)) {
                self.logins.push(Login { host, port, login });
            }
        }
        Some(address)
    }

    /// The hosts of the indexes, which the policy `packages` opens beside the public ones.
    pub(super) fn registries(&self) -> Vec<Registry> {
        let addresses = URLS.iter().filter_map(|key| self.values.get(key)).flatten();
        addresses.filter_map(|address| registry(address)).collect()
    }

    /// The file that pip reads inside.
    pub(super) fn conf(&self) -> String {
        // What newer versions there are is of no use to a sandbox, and asking costs a request.
        let mut text = "[global]\ndisable-pip-version-check = true\n".to_owned();
        for (key, values) in &self.values {
            text.push_str(&format!(
                "{key} ={}\n",
                values.iter().map(|value| format!("\n    {value}")).collect::<String>()
            ));
        }
        text
    }
}

/// The host that an address names, and its port.
fn registry(address: &str) -> Option<Registry> {
    let (scheme, rest) = address.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    Some(Registry { host: HostName::parse(host).ok()?, port: Some(port) })
}

/// What a daemon that is started in this environment adds to the registries of its configuration.
pub(crate) fn registries_of_host() -> Vec<Registry> {
    let mirror = std::env::var("RINGFENCE_DEBIAN_MIRROR").ok();
    PipSettings::of_host().registries().into_iter().chain(debian_mirror(mirror.as_deref())).collect()
}

/// The operator's mirror of Debian, which the policy `packages` opens beside Debian's own hosts.
pub(super) fn debian_mirror(address: Option<&str>) -> Option<Registry> {
    registry(address?)
}

fn variable(key: &str) -> String {
    format!("PIP_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// What counts for `pip install`: the section of that name before the one for all commands. A value goes on over lines that are
/// indented (Python's configparser).
fn sections(conf: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<(bool, String), String> = BTreeMap::new();
    let (mut section, mut key) = (String::new(), None::<(bool, String)>);
    for line in conf.lines() {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (section, key) = (name.trim().to_owned(), None);
        } else if line.starts_with([' ', '\t']) && !text.is_empty() {
            if let Some(value) = key.as_ref().and_then(|key| found.get_mut(key)) {
                value.push(' ');
                value.push_str(text);
            }
        } else if let Some((name, value)) = text.split_once(['=', ':']) {
            let known = matches!(section.as_str(), "global" | "install");
            key = known.then(|| (section == "install", name.trim().to_ascii_lowercase().replace('_', "-")));
            if let Some(key) = &key {
                found.insert(key.clone(), value.trim().to_owned());
            }
        }
    }
    // Those of `install` come last, and replace.
    found.into_iter().map(|((_, name), value)| (name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_packages_come_from_is_handed_on_and_who_may_read_there_is_not() {
        let conf = "[global]\nindex-url = https://me:s3cr%40t@pypi.lan:8443/simple\ncert = /etc/my.pem\ntimeout = 20\n\
                    find-links = /opt/wheels\n    https://wheels.lan/x/\n[list]\nindex-url = https://no.lan/\n\
                    [install]\nextra_index_url =\n    https://token@extra.lan/simple\n";
        let settings = PipSettings::read(conf, |_| None);
        let expected = "[global]\ndisable-pip-version-check = true\nextra-index-url =\n    https://extra.lan/simple\n\
                        find-links =\n    https://wheels.lan/x/\nindex-url =\n    https://pypi.lan:8443/simple\n\
                        timeout =\n    20\n";
        assert_eq!(settings.conf(), expected);
        let logins: Vec<_> = settings.logins.iter().map(|of| (of.host.as_str(), of.port, of.login.as_str())).collect();
        assert_eq!(logins, [("pypi.lan", 8443, "me:s3cr@t"), ("extra.lan", 443, "token:")]);
        let hosts: Vec<_> = settings.registries().into_iter().map(String::from).collect();
        assert_eq!(hosts, ["pypi.lan:8443", "extra.lan:443", "wheels.lan:443"]);
        let env = |name: &str| (name == "PIP_INDEX_URL").then(|| "https://other.lan/simple".to_owned());
        assert!(PipSettings::read(conf, env).conf().contains("https://other.lan/simple"));
        let none = PipSettings::read("", |_| None);
        assert_eq!((none.conf().lines().count(), none.registries()), (2, vec![]));
    }
}

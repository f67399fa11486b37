//! What this host offers, in plain words: what is there, what is missing, and the line that mends it.
//!
//! Nothing is changed. As root some things are tried (a user namespace, an idmapped mount) because only that tells; an
//! unprivileged reader is told what was not tried.

mod cgroups;
mod disks;
mod kernel;
mod room;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, with less than it could.
    Warn,
    /// The daemon cannot work, or cannot build its templates, without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// What there is.
    pub found: String,
    /// What is needed, and what for.
    pub needed: String,
    /// The command or the setting that mends it; null when nothing has to be done.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding without a fix.
    #[must_use]
    pub fn new(name: &str, status: Status, found: impl Into<String>, needed: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status, found: found.into(), needed: needed.into(), fix: None }
    }

    /// Adds what to do, where something is to be done.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        if self.status != Status::Ok {
            self.fix = Some(fix.into());
        }
        self
    }
}

/// Sandboxes that a host should have room for: what SPECIFICATION.md promises.
const SANDBOXES_WANTED: u64 = 1_000;

/// Looks at the host for a daemon whose state is below `home`. As root it forks a short-lived child, so call it before
/// any thread is started; with more threads than one it does not try, and says so.
#[must_use]
pub fn examine(home: &Path) -> Vec<Finding> {
    let may_try = is_root() && crate::sys::threads().is_ok_and(|threads| threads == 1);
    let mut findings = vec![user()];
    findings.extend(kernel::findings(may_try));
    findings.extend(cgroups::findings());
    findings.extend(disks::findings(home, may_try));
    findings.extend(room::findings(home));
    findings
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn user() -> Finding {
    let uid = rustix::process::geteuid().as_raw();
    let status = if is_root() { Status::Ok } else { Status::Warn };
    let found = if is_root() { "root".to_owned() } else { format!("uid {uid}: what only root can try was not tried") };
    Finding::new("user", status, found, "root, for the daemon alone; its clients need no privilege")
        .fix("sudo ringfence serve   (a daemon without root is a later goal)")
}

/// A number in a file of procfs.
fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Makes a setting last: what to type for a sysctl.
fn sysctl(name: &str, value: u64) -> String {
    format!("echo '{name} = {value}' | sudo tee -a /etc/sysctl.d/90-ringfence.conf && sudo sysctl -w {name}={value}")
}

/// Where a program is: on PATH, or where administrators' programs are.
fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into));
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_it_should_be_has_no_fix() {
        assert_eq!(Finding::new("x", Status::Ok, "", "").fix("do it").fix, None);
        assert_eq!(Finding::new("x", Status::Warn, "", "").fix("do it").fix.as_deref(), Some("do it"));
    }

    #[test]
    fn every_finding_has_a_name_of_its_own_and_says_what_is_needed() {
        let findings = examine(Path::new("/nonexistent/ringfence"));
        for finding in &findings {
            assert!(!finding.found.is_empty() && !finding.needed.is_empty(), "{finding:?}");
            assert_eq!(findings.iter().filter(|other| other.name == finding.name).count(), 1, "{finding:?}");
            assert_eq!(finding.fix.is_some(), finding.status != Status::Ok, "{finding:?}");
        }
    }
}

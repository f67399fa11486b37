//! What a daemon has on its host, counted from outside.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use ringfence_jail::{
    installation::Installation,
    supervise::{JAILER_ROLE, SERVE_ROLE},
};
use serde::Serialize;

/// Counts of everything that a sandbox consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Leftovers {
    /// Processes in the installation's cgroups.
    processes: usize,
    /// Mounts in the jailer's mount namespace.
    mounts: usize,
    /// Directories below the installation's in every cgroup hierarchy.
    cgroups: usize,
    /// Disks.
    disks: usize,
    /// Descriptors of the jailer.
    jailer_descriptors: usize,
    /// Descriptors of `serve`.
    serve_descriptors: usize,
}

impl Leftovers {
    /// Counts what the daemon with that state directory has now.
    ///
    /// # Errors
    /// Its processes are not found.
    pub(super) fn count(home: &Path) -> anyhow::Result<Self> {
        let home = fs::canonicalize(home).context("finding the state directory")?;
        let installation = Installation::load(&home).context("reading the installation")?;
        let jailer = role(JAILER_ROLE, &home).context("the jailer's process is not found")?;
        let serve = role(SERVE_ROLE, &home).context("serve's process is not found")?;
        let groups = cgroups(&format!("ringfence-{}", installation.id));
        let mountinfo = fs::read_to_string(jailer.join("mountinfo")).context("reading the jailer's mounts")?;
        // The disks are mounted where only the jailer sees them.
        let disks = jailer.join("root").join(home.strip_prefix("/").unwrap_or(&home)).join("disks");
        Ok(Self {
            processes: processes(&groups),
            mounts: mountinfo.lines().count(),
            cgroups: groups.len(),
            disks: entries(&disks).filter(|path| name_of(path).starts_with("d-")).count(),
            jailer_descriptors: entries(&jailer.join("fd")).count(),
            serve_descriptors: entries(&serve.join("fd")).count(),
        })
    }

    /// What there is more of than in `before`, in words.
    pub(super) fn more_than(&self, before: &Self) -> Vec<String> {
        // A connection or two, and SQLite's files, come and go.
        const SLACK: usize = 4;
        let all = [
            ("processes", self.processes, before.processes, 0),
            ("mounts", self.mounts, before.mounts, 0),
            ("cgroups", self.cgroups, before.cgroups, 0),
            ("disks", self.disks, before.disks, 0),
            ("descriptors of the jailer", self.jailer_descriptors, before.jailer_descriptors, SLACK),
            ("descriptors of serve", self.serve_descriptors, before.serve_descriptors, SLACK),
        ];
        let more = all.into_iter().filter(|(_, now, before, slack)| *now > before + slack);
        more.map(|(what, now, before, _)| format!("{} {what}", now - before)).collect()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes, {} mounts, {} cgroups, {} disks, {} + {} descriptors",
            self.processes, self.mounts, self.cgroups, self.disks, self.jailer_descriptors, self.serve_descriptors
        )
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The procfs directory of a role: its name and state directory are its first arguments.
fn role(name: &str, home: &Path) -> Option<PathBuf> {
    entries(Path::new("/proc")).filter(|path| name_of(path).bytes().all(|b| b.is_ascii_digit())).find(|path| {
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        words.next() == Some(name.as_bytes()) && words.next() == Some(home.as_os_str().as_encoded_bytes())
    })
}

/// Every directory below the installation's own, in every hierarchy.
pub(super) fn cgroups(own: &str) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_cgroup = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let points = mountinfo.lines().filter(is_cgroup).filter_map(|line| line.split(' ').nth(4));
    let mut left: Vec<PathBuf> = points.map(|point| Path::new(point).join(own)).filter(|dir| dir.is_dir()).collect();
    let mut all = Vec::new();
    while let Some(dir) = left.pop() {
        left.extend(entries(&dir).filter(|path| path.is_dir()));
        all.push(dir);
    }
    all
}

/// Processes in those groups, each once.
fn processes(groups: &[PathBuf]) -> usize {
    let read = |dir: &PathBuf| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = groups
        .iter()
        .flat_map(|dir| read(dir).lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_before_is_named() {
        let before = Leftovers {
            processes: 10,
            mounts: 40,
            cgroups: 20,
            disks: 5,
            jailer_descriptors: 100,
            serve_descriptors: 50,
        };
        let after = Leftovers { mounts: 42, jailer_descriptors: 103, serve_descriptors: 60, ..before.clone() };
        assert_eq!(after.more_than(&before), ["2 mounts", "10 descriptors of serve"]);
        assert!(before.more_than(&before).is_empty());
        assert!(Leftovers { disks: 4, ..before.clone() }.more_than(&before).is_empty());
    }
}

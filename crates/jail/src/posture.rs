//! Reads from the kernel what is really in force for a process, and refuses one that is not as planned.
//!
//! The plan is what we meant; this is what is. Everything comes from the host's view in `/proc/<pid>`; the process itself
//! is not asked.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    build::step::CAPABILITIES,
    host::{INIT_UID, PROGRAM_UID, UIDS_PER_SLOT},
    proto::Posture,
    sys,
};

/// The namespaces that every sandbox has of its own, in the order in which they are joined: the user namespace first,
/// for it gives the right to join the others.
pub const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Inode numbers that identify the namespaces of a process, in the order of [`NAMESPACES`].
pub type NamespaceIds = [u64; 7];

/// What a process is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Guest init: its own user, three capabilities, one filter.
    Init,
    /// A program about to run, parked or fresh: no capability; the number of filters.
    Program {
        /// Filters in force: 2 for a zygote's child, 1 for a fresh process.
        filters: u32,
        /// Inode of the one socket that it may hold, which is the jailer's: in the queue of another, descriptors could
        /// wait unseen.
        control: u64,
    },
    /// A package manager about to run: root of its sandbox with the five capabilities of a build step.
    Installer {
        /// As above.
        control: u64,
    },
}

/// Identity of a shell that its processes must share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShellIdentity {
    /// Its namespaces.
    pub namespaces: NamespaceIds,
    /// Device and inode of its root directory.
    pub root: (u64, u64),
    /// First host uid of its range.
    pub base: u32,
}

impl ShellIdentity {
    /// Inode of its network namespace.
    #[must_use]
    pub fn network(&self) -> u64 {
        let at = NAMESPACES.iter().position(|name| *name == "net").expect("it is one of them");
        self.namespaces[at]
    }
}

/// Ids of the namespaces of a process, or of this one with `self`.
///
/// # Errors
/// The process is gone.
pub fn namespaces_of(pid: &str) -> Result<NamespaceIds, String> {
    let mut ids = [0; 7];
    for (id, name) in ids.iter_mut().zip(NAMESPACES) {
        *id = fs::metadata(format!("/proc/{pid}/ns/{name}")).map_err(|e| format!("{name} namespace: {e}"))?.ino();
    }
    Ok(ids)
}

/// The identity of the shell whose init is `pid`.
///
/// # Errors
/// The process is gone, or one of its namespaces is the jailer's own.
pub fn identify(pid: i32, base: u32) -> Result<ShellIdentity, String> {
    let namespaces = namespaces_of(&pid.to_string())?;
    let ours = namespaces_of("self")?;
    for (i, name) in NAMESPACES.iter().enumerate() {
        if namespaces[i] == ours[i] {
            return Err(format!("its {name} namespace is the host's"));
        }
    }
    let root = fs::metadata(format!("/proc/{pid}/root")).map_err(|e| format!("root: {e}"))?;
    Ok(ShellIdentity { namespaces, root: (root.dev(), root.ino()), base })
}

/// Checks one process against what it should be.
///
/// # Errors
/// The first difference, in words.
pub fn check(pid: i32, shell: &ShellIdentity, expect: Expect, controllers: Vec<String>) -> Result<Posture, String> {
    let namespaces = namespaces_of(&pid.to_string())?;
    for (i, name) in NAMESPACES.iter().enumerate() {
        if namespaces[i] != shell.namespaces[i] {
            return Err(format!("it is not in its sandbox's {name} namespace"));
        }
    }
    let root = fs::metadata(format!("/proc/{pid}/root")).map_err(|e| format!("root: {e}"))?;
    if (root.dev(), root.ino()) != shell.root {
        return Err("its root directory is not its sandbox's".into());
    }
    check_map(pid, "uid_map", shell.base)?;
    check_map(pid, "gid_map", shell.base)?;
    let (uid, caps, filters) = match expect {
        Expect::Init => (INIT_UID, sys::cap_mask(&[sys::cap::KILL, sys::cap::SETGID, sys::cap::SETUID]), 1),
        Expect::Program { filters, .. } => (PROGRAM_UID, 0, filters),
        Expect::Installer { .. } => (0, sys::cap_mask(&CAPABILITIES), 1),
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| format!("threads: {e}"))?;
    let mut seen = 0;
    for thread in threads {
        let thread = thread.map_err(|e| format!("threads: {e}"))?.path();
        let status = fs::read_to_string(thread.join("status")).map_err(|e| format!("thread: {e}"))?;
        check_status(&status, shell.base + uid, caps, filters, expect)?;
        seen += 1;
    }
    if seen != 1 {
        return Err(format!("it has {seen} threads, not one"));
    }
    check_descriptors(pid, expect)?;
    Ok(Posture {
        namespaces: NAMESPACES.iter().map(|n| (*n).to_owned()).collect(),
        seccomp_filters: filters,
        uid_range: (shell.base, UIDS_PER_SLOT),
        capabilities: caps,
        no_new_privs: true,
        controllers,
    })
}

fn check_map(pid: i32, file: &str, base: u32) -> Result<(), String> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|e| format!("{file}: {e}"))?;
    let map: Vec<&str> = text.split_whitespace().collect();
    if map == ["0", &base.to_string(), &UIDS_PER_SLOT.to_string()] {
        Ok(())
    } else {
        Err(format!("its {file} is {map:?}"))
    }
}

fn field<'a>(status: &'a str, name: &str) -> Result<&'a str, String> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim).ok_or_else(|| format!("the kernel does not report {name}"))
}

fn check_status(status: &str, uid: u32, caps: u64, filters: u32, expect: Expect) -> Result<(), String> {
    let wanted_id = [uid; 4].map(|u| u.to_string()).join("\t");
    for name in ["Uid", "Gid"] {
        let ids = field(status, name)?;
        if ids != wanted_id {
            return Err(format!("its {name} is {ids}, not {uid}"));
        }
    }
    if !field(status, "Groups")?.is_empty() {
        return Err("it has supplementary groups".into());
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let text = field(status, name)?;
        let set = u64::from_str_radix(text, 16).map_err(|_| format!("{name} is {text}"))?;
        // Init clears its inheritable and ambient sets as soon as it runs: both moments are right.
        let allowed = match (expect, name) {
            (Expect::Init, "CapPrm" | "CapEff") => set == caps,
            (Expect::Installer { .. }, "CapPrm" | "CapEff" | "CapBnd") => set == caps,
            (Expect::Init, "CapInh" | "CapAmb") => set == caps || set == 0,
            _ => set == 0,
        };
        if !allowed {
            return Err(format!("its {name} is {text}"));
        }
    }
    if field(status, "NoNewPrivs")? != "1" {
        return Err("no_new_privs is not set".into());
    }
    if field(status, "Seccomp")? != "2" {
        return Err("no seccomp filter is in force".into());
    }
    // Since Linux 5.9; without it the mode above is all that the kernel tells.
    if let Ok(count) = field(status, "Seccomp_filters")
        && count != filters.to_string()
    {
        return Err(format!("{count} seccomp filters are in force, not {filters}"));
    }
    Ok(())
}

/// Standard descriptors and the jailer's socket: nothing else may be open, least of all a namespace.
fn check_descriptors(pid: i32, expect: Expect) -> Result<(), String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|e| format!("descriptors: {e}"))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("descriptors: {e}"))?.path();
        let number = path.file_name().and_then(|n| n.to_str()).unwrap_or("?").to_owned();
        let Ok(target) = fs::read_link(&path) else { continue };
        let target = target.to_string_lossy();
        let right = match (number.as_str(), expect) {
            ("0" | "1" | "2", Expect::Program { .. } | Expect::Installer { .. }) => target.starts_with("pipe:"),
            ("0" | "1" | "2", Expect::Init) => target.starts_with("/dev/null"),
            ("3", Expect::Program { control, .. } | Expect::Installer { control }) => {
                target == format!("socket:[{control}]")
            }
            ("3", Expect::Init) => target.starts_with("socket:"),
            // Init's own machinery, made after its exec. Its runtime reads its own map once, to find its stack.
            (_, Expect::Init) => target.starts_with("anon_inode:") || target == "/proc/1/maps",
            _ => false,
        };
        if !right {
            return Err(format!("descriptor {number} is {target}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Name:\tpython3\nUid:\t5\t5\t5\t5\nGid:\t5\t5\t5\t5\nGroups:\t \nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";

    fn verdict(status: &str) -> Result<(), String> {
        check_status(status, 5, 0, 2, Expect::Program { filters: 2, control: 7 })
    }

    #[test]
    fn the_planned_status_passes() {
        assert_eq!(verdict(GOOD), Ok(()));
    }

    #[test]
    fn taking_away_any_one_defence_is_refused() {
        for (from, to) in [
            ("Uid:\t5\t5\t5\t5", "Uid:\t5\t5\t5\t0"),
            ("Gid:\t5\t5\t5\t5", "Gid:\t0\t5\t5\t5"),
            ("Groups:\t ", "Groups:\t27 "),
            ("CapInh:\t0000000000000000", "CapInh:\t0000000000000001"),
            ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000200000"),
            ("CapEff:\t0000000000000000", "CapEff:\t0000000000200000"),
            ("CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff"),
            ("CapAmb:\t0000000000000000", "CapAmb:\t0000000000000080"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
            ("Seccomp_filters:\t2", "Seccomp_filters:\t1"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert!(verdict(&GOOD.replace(from, to)).is_err(), "{to}");
        }
    }
}

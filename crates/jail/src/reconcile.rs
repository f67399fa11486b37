//! What an installation has left on its host while no daemon of it runs, and its removal.
//!
//! A daemon's mounts, network namespaces and processes live in namespaces of its own and go with it; what can be left is what has a
//! name outside of them. `serve` and jailer remove it at their next start. This is the same for an operator who wants to see it first,
//! or who starts no daemon there again.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::{
    boot::unfinished_trees,
    build,
    cgroup::{self, Cgroups},
    installation::Installation,
    supervise::HomeLock,
    sys,
};

/// How long dying processes are waited for.
const PATIENCE_MS: u64 = 10_000;

/// What is left over, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "what", rename_all = "snake_case")]
pub enum Leftover {
    /// A process in one of the installation's cgroups.
    Process(u32),
    /// A cgroup.
    Cgroup(PathBuf),
    /// A mount below the state directory, in this mount namespace.
    Mount(PathBuf),
    /// A loop device over the image of the disks.
    LoopDevice(PathBuf),
    /// A tree that was being made when the daemon ended.
    Tree(PathBuf),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = match self {
            Self::Process(pid) => return write!(f, "process {pid}"),
            Self::Cgroup(path) => ("cgroup", path),
            Self::Mount(path) => ("mount", path),
            Self::LoopDevice(path) => ("loop device", path),
            Self::Tree(path) => ("unfinished tree", path),
        };
        write!(f, "{kind} {}", path_shown(what))
    }
}

/// On one line, whatever its name is.
fn path_shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// Everything that is left of the installation at `home`. `daemon_runs` says that its processes, cgroups, trees and loop devices are in
/// use: only mounts are looked for then, for a daemon has its own in another namespace.
///
/// # Errors
/// There is no installation, or procfs cannot be read.
pub fn find(home: &Path, daemon_runs: bool) -> io::Result<Vec<Leftover>> {
    let installation = Installation::load(home)?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<Leftover> = mounts_below(&mountinfo, home).into_iter().map(Leftover::Mount).collect();
    if daemon_runs {
        return Ok(found);
    }
    for dir in cgroups(&mountinfo, &installation.id) {
        let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found.extend(pids.lines().filter_map(|pid| pid.parse().ok()).map(Leftover::Process));
        found.push(Leftover::Cgroup(dir));
    }
    found.extend(loops_over(&home.join("disks.btrfs")).into_iter().map(Leftover::LoopDevice));
    found.extend(unfinished_trees(&home.join("builds")).into_iter().map(Leftover::Tree));
    found.sort();
    found.dedup();
    Ok(found)
}

/// Detaches what is mounted below the state directory in this mount namespace, the innermost first. A running daemon has its own mounts
/// elsewhere, and loses nothing.
///
/// # Errors
/// procfs cannot be read, or the kernel refuses.
pub fn unmount(home: &Path) -> io::Result<()> {
    let mut mounts = mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, home);
    mounts.reverse();
    for mount in mounts {
        let point = mount.to_str().ok_or_else(|| io::Error::other("a mount point is not text"))?;
        sys::umount(point, sys::MNT_DETACH)?;
    }
    Ok(())
}

/// Removes everything that [`find`] names, by the code that a daemon's start uses. The lock keeps a daemon from starting meanwhile. What
/// is still there is answered.
///
/// # Errors
/// The kernel refuses a step.
pub fn remove(home: &Path, _no_daemon: &HomeLock) -> io::Result<Vec<Leftover>> {
    let installation = Installation::load(home)?;
    let found = find(home, false)?;
    for left in &found {
        // Also one that is in a group of one hierarchy alone, as none of ours is.
        if let Leftover::Process(pid) = left
            && let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    if found.iter().any(|left| matches!(left, Leftover::Cgroup(_))) {
        let groups = Cgroups::set_up(&installation.id).map_err(io::Error::other)?;
        // Those that are still in use are in the answer.
        let _ = groups.remove_everything(PATIENCE_MS);
    }
    unmount(home)?;
    for tree in unfinished_trees(&home.join("builds")) {
        build::remove::tree(&tree)?;
    }
    find(home, false)
}

/// Mount points that only this installation has made, in the order in which they were mounted: below `run`, `disks` and `builds`. The
/// state directory itself may be one of the operator's.
fn mounts_below(mountinfo: &str, home: &Path) -> Vec<PathBuf> {
    let ours = ["run", "disks", "builds"].map(|dir| home.join(dir));
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescaped(point)))
        .filter(|point| ours.iter().any(|dir| point.starts_with(dir)))
        .collect()
}

/// Blanks and the like are octal there: proc_pid_mountinfo(5).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut left = text.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        let code = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                left = &rest[3..];
            }
            None => {
                bytes.push(*first);
                left = rest;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The installation's directory in every hierarchy, and all below it.
fn cgroups(mountinfo: &str, installation: &str) -> Vec<PathBuf> {
    let name = format!("ringfence-{installation}");
    let mut left: Vec<PathBuf> = cgroup::hierarchies(mountinfo)
        .into_iter()
        .map(|(point, ..)| point.join(&name))
        .filter(|dir| dir.is_dir())
        .collect();
    let mut all = Vec::new();
    while let Some(dir) = left.pop() {
        let below = fs::read_dir(&dir).into_iter().flatten().flatten();
        left.extend(below.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()));
        all.push(dir);
    }
    all
}

/// Loop devices whose file this is: loop(4), `/sys/block/loopN/loop/backing_file`.
fn loops_over(image: &Path) -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter(|device| {
            let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            Path::new(file.trim_end()) == image
        })
        .map(|device| Path::new("/dev").join(device.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_others_are_not_ours() {
        let text = "30 23 0:26 / /srv/rf rw - ext4 /dev/sdb rw\n\
                    31 23 0:27 / /srv/rf/run/mnt/a\\040b rw - tmpfs tmpfs rw\n\
                    32 23 0:28 / /srv/rf/runner rw - tmpfs tmpfs rw\n\
                    33 23 0:29 / /srv/rf/layers rw - tmpfs tmpfs rw\n\
                    34 23 0:30 / /srv/rf/disks rw - btrfs /dev/loop0 rw\n";
        let found = mounts_below(text, Path::new("/srv/rf"));
        assert_eq!(found, [PathBuf::from("/srv/rf/run/mnt/a b"), PathBuf::from("/srv/rf/disks")]);
        assert!(mounts_below(text, Path::new("/srv/r")).is_empty());
    }

    #[test]
    fn escapes_are_read_and_what_is_none_stays() {
        assert_eq!(unescaped("/a\\040b\\134"), "/a b\\");
        assert_eq!(unescaped("/a\\0"), "/a\\0");
        assert_eq!(unescaped("\\999"), "\\999");
    }
}

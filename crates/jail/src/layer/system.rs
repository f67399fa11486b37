//! What an installer with root's rights changed beside the home: then everything but the homes is copied, as a whole root that takes
//! the place of the base's. It is what `apt` and the scripts of its packages left, so that it is as good as they are. What is not root's
//! is judged as in a home.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstat, openat};

use super::{HomeReport, home::Copier, rules};
use crate::build::listing::names;

/// Directories that are there and empty: of the sandbox's user, of its kernel, of one run.
const EMPTY: [&[u8]; 11] = [
    b"tmp",
    b"var/tmp",
    b"run",
    b"dev",
    b"proc",
    b"sys",
    b"data",
    b"home/user",
    b"root",
    b"var/cache/apt/archives",
    b"var/lib/apt/lists",
];

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether a disk has changes where the user cannot make any.
#[must_use]
pub fn is_changed(changes: &OwnedFd) -> bool {
    const OF_THE_USER: [&[u8]; 7] = [b"home", b"tmp", b"run", b"dev", b"proc", b"sys", b"data"];
    const MOST: u64 = 1000;
    let others = |dir: &OwnedFd, known: &[&[u8]]| match names(dir, MOST) {
        Ok(names) => names.iter().any(|name| !known.contains(&name.to_bytes())),
        Err(_) => true,
    };
    // Of `var` the user has `tmp`.
    let var = openat(changes, c"var", DIRECTORY, Mode::empty());
    others(changes, &[&OF_THE_USER[..], &[b"var"]].concat()) || var.is_ok_and(|var| others(&var, &[b"tmp"]))
}

/// Made by the scripts of packages, for one machine: whoever has two of the same can pretend to be the other.
const OF_ONE_MACHINE: [&[u8]; 4] =
    [b"etc/machine-id", b"var/lib/dbus/machine-id", b"var/lib/systemd/random-seed", b"var/cache/debconf/passwords.dat"];

/// Begins the names of the keys of an SSH server.
const SSH_HOST: &[u8] = b"etc/ssh/ssh_host_";

/// Whether a private key may stand in a file that is root's: in `/etc` keys are made, elsewhere packages ship examples.
#[must_use]
pub(super) fn may_hold_a_key(path: &[u8]) -> bool {
    path.starts_with(b"etc/")
}

/// What is not copied at this path. The names that root gave are packages'.
#[must_use]
pub(super) fn left_out(path: &[u8], is_roots: bool) -> Option<&'static str> {
    if OF_ONE_MACHINE.contains(&path) || path.starts_with(SSH_HOST) {
        return Some("made for one machine");
    }
    let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..at]);
    // A home of somebody else.
    if parent == b"home" && path != b"home/user" {
        return Some("somebody else's home");
    }
    if EMPTY.contains(&parent) {
        return Some("of one run");
    }
    if is_roots { None } else { rules::anywhere(path).map(rules::Reason::as_str) }
}

/// Copies everything but what lies in homes.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn copy(seen: &OwnedFd, tree: &OwnedFd, bytes_max: u64, hidden: &[Vec<u8>]) -> Result<HomeReport, String> {
    let mut copier = Copier::new(bytes_max, hidden, true);
    copier.directory(seen, None, tree, &mut Vec::new(), 0)?;
    let stat = fstat(seen).map_err(|e| format!("the root: {e}"))?;
    copier.finish(tree, 0o700, &stat).map_err(|e| format!("the root: {e}"))?;
    Ok(copier.report)
}

//! What an installer with root's rights changed beside the home: then everything but the homes is copied, as a whole root that takes
//! the place of the base's. It is what `apt` and the scripts of its packages left, so that it is as good as they are.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstat, openat};

use super::{HomeReport, home::Copier};
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

/// What is not copied at this path.
#[must_use]
pub(super) fn left_out(path: &[u8]) -> Option<&'static str> {
    let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..at]);
    // A home of somebody else.
    if parent == b"home" && path != b"home/user" {
        return Some("somebody else's home");
    }
    EMPTY.contains(&parent).then_some("of one run")
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

//! What programs have changed outside of the home, where nothing is copied: the directory of an application that a recipe gave to the
//! user (`/srv/app`). Whoever exports such a sandbox is told what its template lacks.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};

use super::{DEPTH_MAX, HomeReport, home::Copier};

/// Homes, and what ends with a run.
const NOT_ASKED_FOR: [&[u8]; 8] = [b"home", b"tmp", b"var/tmp", b"run", b"dev", b"proc", b"sys", b"data"];

const WHY: &str = "changed outside of the home, where nothing is copied";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The changes of a disk outside of the home, as what is left out: files, and directories that the template does not have, as one.
///
/// `changes` is the upper directory of the overlay, `seen` what programs see, `template` what they would see without changes.
///
/// # Errors
/// What is wrong with them, in a sentence.
pub fn look(changes: &OwnedFd, seen: &OwnedFd, template: &OwnedFd, hidden: &[Vec<u8>]) -> Result<HomeReport, String> {
    let mut copier = Copier::new(0, hidden, true);
    directory(&mut copier, [changes, seen, template], &mut Vec::new(), 0)?;
    Ok(copier.report)
}

fn directory(
    copier: &mut Copier,
    [changes, seen, template]: [&OwnedFd; 3],
    path: &mut Vec<u8>,
    depth: usize,
) -> Result<(), String> {
    for name in copier.names(changes, path)? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        if !NOT_ASKED_FOR.contains(&&path[..]) {
            let below = |dir: &OwnedFd| openat(dir, &*name, DIRECTORY, Mode::empty()).ok();
            // A name that is a link or a whiteout is a change itself.
            let is_directory = statat(changes, &*name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            match (is_directory, below(changes), below(seen), below(template)) {
                // It is there because something below it was changed.
                (true, Some(changes), Some(seen), Some(template))
                    if depth < DEPTH_MAX && is_the_same(copier, [&changes, &seen, &template], path)? =>
                {
                    directory(copier, [&changes, &seen, &template], path, depth + 1)?;
                }
                _ => copier.leave_out(path, WHY),
            }
        }
        path.truncate(length);
    }
    Ok(())
}

/// Whether a directory is still the template's: neither given other rights nor replaced by one that hides what was in it. (That the kernel
/// keeps in an attribute, which nobody in a user namespace reads.)
fn is_the_same(copier: &mut Copier, [changes, seen, template]: [&OwnedFd; 3], path: &[u8]) -> Result<bool, String> {
    let rights = |dir: &OwnedFd| fstat(dir).map(|stat| (stat.st_mode, stat.st_uid, stat.st_gid));
    if rights(changes).ok() != rights(template).ok() {
        return Ok(false);
    }
    let (changed, now) = (copier.names(changes, path)?, copier.names(seen, path)?);
    let is_there: std::collections::HashSet<_> = changed.iter().chain(&now).collect();
    Ok(copier.names(template, path)?.iter().all(|name| is_there.contains(name)))
}

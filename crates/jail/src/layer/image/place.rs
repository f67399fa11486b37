//! Finding places in a tree as programs of the image would: links lead within the tree, whatever they say. Each directory is opened
//! below another, and no path is ever looked up as a whole.

use std::{collections::VecDeque, ffi::CString, os::fd::OwnedFd};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, mkdirat, openat, readlinkat, statat, unlinkat,
    },
    io::Errno,
};

use super::tar::clean;
use crate::{
    build::listing::names,
    layer::{
        DEPTH_MAX,
        entry::{BadEntry, shown},
    },
};

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Links that are followed on the way to one place, as the kernel does (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// A directory of the tree, and its path without links.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: OwnedFd,
    pub(super) path: Vec<u8>,
}

impl Place {
    /// The path of a name in it.
    pub(super) fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() }
    }
}

pub(super) fn io(error: Errno) -> BadEntry {
    BadEntry::Io(error.into())
}

pub(super) fn c(name: &[u8]) -> Result<CString, BadEntry> {
    CString::new(name).map_err(|_| BadEntry::Refused("a name holds NUL".into()))
}

/// The directory at a path, links followed. What is missing is made, and told to `made`, or is `None`.
///
/// # Errors
/// It leads through what is no directory, in circles, or too deep.
pub(super) fn directory(
    root: &OwnedFd,
    parts: &[Vec<u8>],
    mut made: Option<&mut dyn FnMut(Vec<u8>)>,
) -> Result<Option<Place>, BadEntry> {
    let mut open: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
    let mut left: VecDeque<Vec<u8>> = parts.iter().cloned().collect();
    let mut links = 0;
    let path_of = |open: &[(Vec<u8>, OwnedFd)]| open.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>().join(&b'/');
    while let Some(name) = left.pop_front() {
        if name == b".." {
            open.pop();
            continue;
        }
        if open.len() >= DEPTH_MAX {
            return Err(BadEntry::Refused(format!("a path leads deeper than {DEPTH_MAX} directories")));
        }
        let here = open.last().map_or(root, |(_, dir)| dir);
        let text = c(&name)?;
        match openat(here, &*text, DIRECTORY, Mode::empty()) {
            Ok(dir) => open.push((name, dir)),
            Err(Errno::NOENT) => {
                let Some(made) = made.as_mut() else { return Ok(None) };
                mkdirat(here, &*text, Mode::RWXU).map_err(io)?;
                let dir = openat(here, &*text, DIRECTORY, Mode::empty()).map_err(io)?;
                give(&dir, (0, 0), 0o755)?;
                open.push((name, dir));
                made(path_of(&open));
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let Ok(target) = readlinkat(here, &*text, Vec::new()) else {
                    let mut path = path_of(&open);
                    path.push(b'/');
                    path.extend_from_slice(&name);
                    return Err(BadEntry::Refused(format!("{} is no directory", shown(&path))));
                };
                links += 1;
                if links > LINKS_MAX {
                    return Err(BadEntry::Refused("links lead in circles".into()));
                }
                let target = target.into_bytes();
                if target.first() == Some(&b'/') {
                    open.clear();
                }
                let parts = target.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
                for part in parts.rev().map(<[u8]>::to_vec) {
                    left.push_front(part);
                }
            }
            Err(e) => return Err(io(e)),
        }
    }
    let path = path_of(&open);
    let dir = match open.pop() {
        Some((_, dir)) => dir,
        None => root.try_clone()?,
    };
    Ok(Some(Place { dir, path }))
}

/// What a path leads to in the end, links followed: its directory, its name there, and what it is. `None` when there is nothing.
///
/// # Errors
/// As [`directory`].
pub(super) fn found(root: &OwnedFd, path: &[u8]) -> Result<Option<(Place, Vec<u8>, Stat)>, BadEntry> {
    let mut parts = clean(path, DEPTH_MAX)?;
    for _ in 0..LINKS_MAX {
        let Some(name) = parts.pop() else { return Ok(None) };
        let Some(place) = directory(root, &parts, None)? else { return Ok(None) };
        if name == b".." {
            return Ok(None);
        }
        let text = c(&name)?;
        let Some(stat) = look(&place.dir, &text)? else { return Ok(None) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Some((place, name, stat)));
        }
        let target = readlinkat(&place.dir, &*text, Vec::new()).map_err(io)?.into_bytes();
        let from = if target.first() == Some(&b'/') { &b""[..] } else { &place.path[..] };
        parts = [from, &target[..]]
            .iter()
            .flat_map(|text| text.split(|byte| *byte == b'/'))
            .filter(|part| !matches!(*part, b"" | b"."))
            .map(<[u8]>::to_vec)
            .collect();
    }
    Err(BadEntry::Refused(format!("links lead in circles: {}", shown(path))))
}

/// What a name is, without following it.
pub(super) fn look(dir: &OwnedFd, name: &std::ffi::CStr) -> Result<Option<Stat>, BadEntry> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io(e)),
    }
}

/// Owner, then mode: set-id bits go with the owner.
pub(super) fn give(made: &OwnedFd, (uid, gid): (u32, u32), mode: u32) -> Result<(), BadEntry> {
    fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(io)?;
    fchmod(made, Mode::from_raw_mode(mode)).map_err(io)
}

/// Removes a name and everything below it, but what is `kept`. Whether nothing of it is left.
pub(super) fn remove(
    dir: &OwnedFd,
    name: &[u8],
    path: &[u8],
    kept: &dyn Fn(&[u8]) -> bool,
    depth: usize,
) -> Result<bool, BadEntry> {
    let text = c(name)?;
    let Some(stat) = look(dir, &text)? else { return Ok(true) };
    let is_kept = kept(path);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        if !is_kept {
            unlinkat(dir, &*text, AtFlags::empty()).map_err(io)?;
        }
        return Ok(!is_kept);
    }
    if depth > 2 * DEPTH_MAX {
        return Err(BadEntry::Refused(format!("{} lies too deep", shown(path))));
    }
    let below = openat(dir, &*text, DIRECTORY, Mode::empty()).map_err(io)?;
    let mut is_empty = true;
    for name in names(&below, u64::MAX)? {
        let path = [path, b"/", name.to_bytes()].concat();
        is_empty &= remove(&below, name.to_bytes(), &path, kept, depth + 1)?;
    }
    if is_empty && !is_kept {
        unlinkat(dir, &*text, AtFlags::REMOVEDIR).map_err(io)?;
        return Ok(true);
    }
    Ok(false)
}

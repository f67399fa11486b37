//! Taking away a tree that somebody hostile filled: links are not followed, and depth does not matter.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, unlinkat},
    io::Errno,
};

use super::listing::names;

/// Removes the directory `path` and everything in it. One that does not exist is no error.
///
/// A directory that lies too deep to descend into is moved up to the top, so that however deep the tree is, a few
/// descriptors suffice and no path grows long. An interrupted removal is completed by the next.
///
/// # Errors
/// errno of what could not be removed.
pub fn tree(path: &Path) -> io::Result<()> {
    const HEAP: &CStr = c".removing";
    let top = match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    match mkdirat(&top, HEAP, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let heap = openat(&top, HEAP, DIRECTORY, Mode::empty())?;
    let mut pile = Pile { heap, moved: 0 };
    pile.empty(&top, Some(HEAP), 0)?;
    loop {
        // A copy, so that it can be read while it is added to.
        let heap = openat(&pile.heap, c".", DIRECTORY, Mode::empty())?;
        if names(&heap, u64::MAX)?.is_empty() {
            break;
        }
        pile.empty(&heap, None, 0)?;
    }
    unlinkat(&top, HEAP, AtFlags::REMOVEDIR)?;
    fs::remove_dir(path)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How deep is descended, with a descriptor open for each level. Real trees are shallower: nothing in them is moved.
const DEPTH_MAX: usize = 64;

struct Pile {
    heap: OwnedFd,
    moved: u64,
}

impl Pile {
    /// Removes what is in `dir`; what is too deep goes to the heap.
    fn empty(&mut self, dir: &OwnedFd, except: Option<&CStr>, depth: usize) -> io::Result<()> {
        for name in names(dir, u64::MAX)? {
            if except == Some(name.as_c_str()) {
                continue;
            }
            match unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(e) => return Err(e.into()),
            }
            match unlinkat(dir, &name, AtFlags::REMOVEDIR) {
                Ok(()) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            if depth == DEPTH_MAX {
                self.take(dir, &name)?;
                continue;
            }
            let below = openat(dir, &name, DIRECTORY, Mode::empty())?;
            self.empty(&below, None, depth + 1)?;
            unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    fn take(&mut self, dir: &OwnedFd, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            match renameat(dir.as_fd(), name, self.heap.as_fd(), format!("{}", self.moved)) {
                // An earlier, interrupted removal left this number.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                moved => return Ok(moved?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere() {
        let outside = tempfile::tempdir().expect("a temporary directory");
        fs::write(outside.path().join("kept"), "").expect("file");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("t");
        fs::create_dir_all(victim.join("a/b")).expect("directories");
        symlink(outside.path(), victim.join("a/b/link")).expect("link");
        symlink(outside.path(), victim.join("link")).expect("link");
        tree(&victim).expect("removed");
        assert!(!victim.exists() && outside.path().join("kept").exists());
        tree(&victim).expect("a missing tree is no error");
    }

    #[test]
    fn depth_does_not_matter() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("t");
        fs::create_dir(&victim).expect("directory");
        // Far beyond what one path can name (PATH_MAX is 4096).
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut below = rustix::fs::open(&victim, flags, Mode::empty()).expect("opened");
        for _ in 0..600 {
            mkdirat(&below, c"directory", Mode::RWXU).expect("directory");
            below = openat(&below, c"directory", flags, Mode::empty()).expect("opened");
        }
        drop(below);
        tree(&victim).expect("removed");
        assert!(!victim.exists());
    }

    #[test]
    fn an_interrupted_removal_is_completed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("t");
        fs::create_dir_all(victim.join(".removing/1/x/y")).expect("directories");
        fs::write(victim.join(".removing/2"), "").expect("file");
        fs::create_dir_all(victim.join("a/b/c")).expect("directories");
        tree(&victim).expect("removed");
        assert!(!victim.exists());
    }
}

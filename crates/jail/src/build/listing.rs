//! What a tree holds, as one digest: the name of a layer.
//!
//! The digest is the SHA-256 of one record for each entry, the root included. A directory comes before what is in it,
//! and the entries of a directory in the order of their names as bytes. A record is, integers little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 1 | `d` directory, `o` directory that hides those of layers below it (opaque, as overlayfs calls it), `f` file, `l` symbolic link, `p` FIFO, `s` socket, `w` name that is hidden in layers below (whiteout) |
//! | 4 + n | length of the path from the root (empty for the root itself), and the path |
//! | 4, 4, 4 | permission bits, uid, gid as they are on disk |
//! | 8 | length of the content of a file or the target of a link, else 0 |
//! | 32 | SHA-256 of that content or target; absent for the other types |
//!
//! Times, extended attributes and which names are hard links of one file are not part of it.

use std::{
    collections::HashSet,
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

/// Directories below one another in a layer. A descriptor is open for each while listing.
pub(crate) const DEPTH_MAX: usize = 128;

/// What a tree holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// 64 hexadecimal digits.
    pub digest: String,
    /// Sum of the sizes of its files, hard links once.
    pub bytes: u64,
    /// Number of entries that are no directories.
    pub files: u64,
}

/// Why a tree cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ListError {
    /// What was being done, with the path inside the tree.
    pub what: String,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Lists the tree below `root`. Nobody may change it meanwhile.
///
/// # Errors
/// An entry cannot be read, is a device, or lies too deep.
pub fn list(root: &OwnedFd) -> Result<Listing, ListError> {
    let mut lister = Lister { records: Records::default(), bytes: 0, files: 0, seen: HashSet::new() };
    let stat = fstat(root).map_err(|e| failed("looking at", b"", e.into()))?;
    lister.directory(root, &mut Vec::new(), &stat, 0)?;
    Ok(Listing { digest: lister.records.digest(), bytes: lister.bytes, files: lister.files })
}

fn failed(what: &str, path: &[u8], source: io::Error) -> ListError {
    ListError { what: format!("{what} /{}", String::from_utf8_lossy(path).escape_debug()), source }
}

/// The records of a tree, as they come.
#[derive(Debug, Default)]
pub(crate) struct Records(Sha256);

impl Records {
    /// Adds an entry: its type, its path from the root, permission bits, ids, and of a file or a link length and SHA-256.
    pub(crate) fn add(&mut self, kind: u8, path: &[u8], mode: u32, ids: (u32, u32), content: Option<(u64, [u8; 32])>) {
        self.0.update([kind]);
        self.0.update(u32::try_from(path.len()).expect("names and depth are bounded").to_le_bytes());
        self.0.update(path);
        self.0.update((mode & 0o7777).to_le_bytes());
        self.0.update(ids.0.to_le_bytes());
        self.0.update(ids.1.to_le_bytes());
        self.0.update(content.map_or(0, |(length, _)| length).to_le_bytes());
        if let Some((_, digest)) = content {
            self.0.update(digest);
        }
    }

    /// 64 hexadecimal digits.
    pub(crate) fn digest(self) -> String {
        self.0.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Whether overlayfs shows nothing of the layers below in this directory. Only host root can say so of one.
pub(crate) fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0_u8; 1];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value).is_ok_and(|length| length == 1) && value == *b"y"
}

/// Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

struct Lister {
    records: Records,
    bytes: u64,
    files: u64,
    /// Inodes of files with several names that were counted.
    seen: HashSet<u64>,
}

impl Lister {
    fn directory(&mut self, dir: &OwnedFd, path: &mut Vec<u8>, stat: &Stat, depth: usize) -> Result<(), ListError> {
        if depth > DEPTH_MAX {
            return Err(failed("listing", path, io::Error::other(format!("deeper than {DEPTH_MAX} directories"))));
        }
        self.record(if is_opaque(dir) { b'o' } else { b'd' }, path, stat, None);
        for name in names(dir, u64::MAX).map_err(|e| failed("listing", path, e))? {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            self.entry(dir, &name, path, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, name: &CStr, path: &mut Vec<u8>, depth: usize) -> Result<(), ListError> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("looking at", path, e.into()))?;
        let open = |flags: OFlags| openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| failed("opening", path, e.into()))?;
                return self.directory(&below, path, &stat, depth + 1);
            }
            FileType::RegularFile => {
                let file = open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|e| failed("opening", path, e.into()))?;
                let content = hash_file(File::from(file)).map_err(|e| failed("reading", path, e))?;
                self.record(b'f', path, &stat, Some(content));
                if stat.st_nlink == 1 || self.seen.insert(stat.st_ino) {
                    self.bytes += content.0;
                }
            }
            FileType::Symlink => {
                let target =
                    readlinkat(dir, name, Vec::new()).map_err(|e| failed("reading the link", path, e.into()))?;
                let target = target.as_bytes();
                self.record(b'l', path, &stat, Some((target.len() as u64, Sha256::digest(target).into())));
            }
            FileType::Fifo => self.record(b'p', path, &stat, None),
            FileType::Socket => self.record(b's', path, &stat, None),
            // Overlayfs makes one where a name is removed; a program's own is refused by it, and would hide nothing more.
            FileType::CharacterDevice if stat.st_rdev == 0 => self.record(b'w', path, &stat, None),
            // Build steps cannot make one (no CAP_MKNOD), so that this tree is not of their making.
            _ => return Err(failed("listing", path, io::Error::other("it is a device"))),
        }
        self.files += 1;
        Ok(())
    }

    fn record(&mut self, kind: u8, path: &[u8], stat: &Stat, content: Option<(u64, [u8; 32])>) {
        self.records.add(kind, path, stat.st_mode, (stat.st_uid, stat.st_gid), content);
    }
}

/// Names in a directory, sorted as bytes.
///
/// # Errors
/// errno of getdents(2), or there are more than `most`.
pub(crate) fn names(dir: &OwnedFd, most: u64) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    // A descriptor of its own, so that the position of `dir` does not matter.
    for entry in Dir::read_from(dir.as_fd())? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            if names.len() as u64 >= most {
                return Err(io::Error::other(format!("more than {most} entries in one directory")));
            }
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn hash_file(mut file: File) -> io::Result<(u64, [u8; 32])> {
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0_u64, vec![0_u8; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((length, hash.finalize().into())),
            n => {
                hash.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
    };

    use super::*;

    fn listed(root: &Path) -> Result<Listing, ListError> {
        list(&OwnedFd::from(File::open(root).expect("the test made it")))
    }

    /// A file, a directory, a link and a FIFO.
    fn sample(names_reversed: bool) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("mode");
        let mut makers: Vec<fn(&Path)> = vec![
            |r| fs::write(r.join("a"), "one").expect("file"),
            |r| fs::create_dir(r.join("b")).expect("directory"),
            |r| symlink("../a", r.join("c")).expect("link"),
            |r| fs::write(r.join("a.txt"), "").expect("file"),
        ];
        if names_reversed {
            makers.reverse();
        }
        makers.iter().for_each(|make| make(root));
        fs::write(root.join("b/a"), "three").expect("file");
        dir
    }

    #[test]
    fn the_order_of_making_and_the_time_do_not_matter() {
        let (one, two) = (sample(false), sample(true));
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(two.path().join("a")).and_then(|f| f.set_modified(old)).expect("time");
        let (one, two) = (listed(one.path()).expect("listed"), listed(two.path()).expect("listed"));
        assert_eq!(one, two);
        assert_eq!((one.bytes, one.files), (8, 4));
    }

    #[track_caller]
    fn changes(what: impl FnOnce(&Path)) {
        let (same, changed) = (sample(false), sample(false));
        what(changed.path());
        assert_ne!(listed(same.path()).expect("listed").digest, listed(changed.path()).expect("listed").digest);
    }

    #[test]
    fn content_names_modes_and_targets_matter() {
        changes(|r| fs::write(r.join("a"), "two").expect("file"));
        changes(|r| fs::rename(r.join("a"), r.join("z")).expect("rename"));
        changes(|r| fs::set_permissions(r.join("a"), fs::Permissions::from_mode(0o4755)).expect("mode"));
        changes(|r| {
            fs::remove_file(r.join("c")).expect("remove");
            symlink("../b", r.join("c")).expect("link");
        });
        changes(|r| fs::create_dir(r.join("empty")).expect("directory"));
        changes(|r| fs::rename(r.join("b/a"), r.join("d")).expect("rename"));
    }

    #[test]
    fn a_known_tree_has_a_known_digest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mut hash = Sha256::new();
        let mode: u32 = 0o755;
        for part in [&b"d"[..], &0_u32.to_le_bytes(), &mode.to_le_bytes(), &uid.to_le_bytes(), &gid.to_le_bytes()] {
            hash.update(part);
        }
        hash.update(0_u64.to_le_bytes());
        let expected: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(listed(dir.path()).expect("listed"), Listing { digest: expected, bytes: 0, files: 0 });
    }

    #[test]
    fn links_are_not_followed_and_hard_links_count_once() {
        let dir = sample(false);
        symlink("/", dir.path().join("out")).expect("link");
        fs::hard_link(dir.path().join("a"), dir.path().join("a2")).expect("link");
        let listing = listed(dir.path()).expect("listed");
        assert_eq!((listing.bytes, listing.files), (8, 6));
    }

    #[test]
    fn what_lies_too_deep_is_refused() {
        let dir = sample(false);
        let deep = (0..=DEPTH_MAX).fold(dir.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(deep).expect("directories");
        assert!(listed(dir.path()).is_err());
    }
}

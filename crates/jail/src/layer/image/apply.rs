//! Puts a layer's entries into a tree that lies over the layers below it: what comes is written, what a whiteout names is removed. What
//! overlayfs makes of both is its affair, and becomes a layer of ours.
//!
//! Whiteouts: the OCI image specification 1.1, `layer.md`. They speak of the layers below, wherever in the layer they stand.

use std::{collections::BTreeSet, io, io::Read, os::fd::OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, linkat, mkdirat, openat, symlinkat};

use super::{
    place::{self, DIRECTORY, Place, c, give, io as failed},
    tar::{Header, Kind, Source, Tar, clean},
};
use crate::{
    build::listing::names,
    host::UIDS_PER_SLOT,
    layer::{
        DEPTH_MAX, ENTRIES_MAX,
        entry::{BadEntry, shown},
        home,
    },
};

/// Entries of all layers that become one.
const ALL_ENTRIES_MAX: u64 = 4 * ENTRIES_MAX;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What the file system `aufs` kept for itself.
const OF_AUFS: &[u8] = b".wh..wh.";

/// Whose is what belongs to somebody whom a sandbox does not have.
const NOBODY: u32 = 65_534;

/// What was done with layers, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Entries.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Devices and named pipes, which were left out.
    pub devices: u64,
    /// Files and directories that lost a set-user-id or set-group-id bit.
    pub set_ids: u64,
    /// Entries that belong to nobody now.
    pub foreign: u64,
}

/// Puts layers into a tree, one after the other.
#[derive(Debug)]
pub struct Target<'a> {
    root: &'a OwnedFd,
    bytes_max: u64,
    /// What was done so far.
    pub done: Done,
    /// What the present layer has made or changed: paths without links.
    made: BTreeSet<Vec<u8>>,
    /// The directory of the last entry, by the path that was written.
    last: Option<(Vec<Vec<u8>>, Place)>,
}

fn refused<T>(why: &str, path: &[u8]) -> Result<T, BadEntry> {
    Err(BadEntry::Refused(format!("{why}: {}", shown(path))))
}

impl<'a> Target<'a> {
    /// A tree, and how many bytes all files may have.
    #[must_use]
    pub fn new(root: &'a OwnedFd, bytes_max: u64) -> Self {
        Self { root, bytes_max, done: Done::default(), made: BTreeSet::new(), last: None }
    }

    /// Puts a layer on top of what is there.
    ///
    /// # Errors
    /// What is wrong with it. The tree is not to be used then.
    pub fn layer(&mut self, from: impl Source) -> Result<(), BadEntry> {
        let mut tar = Tar::new(from);
        self.made.clear();
        self.last = None;
        while let Some(header) = tar.entry()? {
            self.done.entries += 1;
            if self.done.entries > ALL_ENTRIES_MAX {
                return Err(BadEntry::Refused(format!("it has more than {ALL_ENTRIES_MAX} entries")));
            }
            self.entry(&header, &mut tar)?;
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header, content: &mut impl Read) -> Result<(), BadEntry> {
        let mut parts = clean(&header.path, DEPTH_MAX)?;
        let Some(name) = parts.pop() else {
            if header.kind != Kind::Directory {
                return refused("the root is no directory", &header.path);
            }
            let (ids, mode) = self.rights(header);
            return give(self.root, ids, mode);
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&parts, &name);
        }
        self.enter(&parts)?;
        let Some((_, place)) = self.last.take() else { return refused("its directory is missing", &header.path) };
        let path = place.join(&name);
        let changed = self.put(header, content, &place, &name, &path)?;
        self.made.insert(path);
        if changed == Changed::Content {
            self.last = Some((parts, place));
        }
        Ok(())
    }

    /// Has the directory of an entry open, made if it is missing.
    fn enter(&mut self, parts: &[Vec<u8>]) -> Result<(), BadEntry> {
        if self.last.as_ref().is_some_and(|(last, _)| last == parts) {
            return Ok(());
        }
        let made = &mut self.made;
        let mut note = |path| {
            made.insert(path);
        };
        self.last = place::directory(self.root, parts, Some(&mut note))?.map(|place| (parts.to_vec(), place));
        Ok(())
    }

    fn put(
        &mut self,
        header: &Header,
        content: &mut impl Read,
        place: &Place,
        name: &[u8],
        path: &[u8],
    ) -> Result<Changed, BadEntry> {
        let (dir, text) = (&place.dir, c(name)?);
        let was = place::look(dir, &text)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if header.kind == Kind::Directory && was == Some(FileType::Directory) {
            let (ids, mode) = self.rights(header);
            let kept = openat(dir, &*text, DIRECTORY, Mode::empty()).map_err(failed)?;
            give(&kept, ids, mode)?;
            return Ok(Changed::Content);
        }
        let target = match &header.kind {
            Kind::HardLink(target) => Some(self.target(target, header)?),
            _ => None,
        };
        if let Some((from, last)) = &target
            && from.join(last) == path
        {
            return Ok(Changed::Content);
        }
        let mut changed = Changed::Content;
        if let Some(was) = was {
            place::remove(dir, name, path, &|_| false, 0)?;
            if was != FileType::RegularFile {
                self.forget(path);
                changed = Changed::Place;
            }
        }
        match &header.kind {
            Kind::Directory => {
                mkdirat(dir, &*text, Mode::RWXU).map_err(failed)?;
                let made = openat(dir, &*text, DIRECTORY, Mode::empty()).map_err(failed)?;
                let (ids, mode) = self.rights(header);
                give(&made, ids, mode)?;
            }
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(dir, &*text, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                self.content(header.size, content, &made)?;
                let (ids, mode) = self.rights(header);
                give(&made, ids, mode)?;
                home::set_time(&made, i64::try_from(header.time).unwrap_or(0))?;
            }
            Kind::Link(target) => {
                if target.is_empty() {
                    return refused("a link leads nowhere", path);
                }
                symlinkat(&*c(target)?, dir, &*text).map_err(failed)?;
                let ((uid, gid), _) = self.rights(header);
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(dir, &*text, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                // What was found before may be found through it now.
                changed = Changed::Place;
            }
            Kind::HardLink(_) => {
                let Some((from, last)) = target else { return refused("a hard link leads nowhere", path) };
                linkat(&from.dir, &*c(&last)?, dir, &*text, AtFlags::empty()).map_err(failed)?;
            }
            Kind::Device | Kind::Fifo => self.done.devices += 1,
        }
        Ok(changed)
    }

    /// What a hard link leads to: a file or a link of the tree.
    fn target(&self, target: &[u8], header: &Header) -> Result<(Place, Vec<u8>), BadEntry> {
        let mut parts = clean(target, DEPTH_MAX)?;
        let missing = || refused("a hard link leads to what is not there", &header.path);
        let Some(name) = parts.pop() else { return missing() };
        let Some(place) = place::directory(self.root, &parts, None)? else { return missing() };
        match place::look(&place.dir, &c(&name)?)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::RegularFile | FileType::Symlink) => Ok((place, name)),
            Some(_) => refused("a hard link leads to what is no file", &header.path),
            None => missing(),
        }
    }

    fn whiteout(&mut self, parts: &[Vec<u8>], name: &[u8]) -> Result<(), BadEntry> {
        if name.starts_with(OF_AUFS) && name != OPAQUE {
            return Ok(());
        }
        let hidden = name.strip_prefix(WHITEOUT).unwrap_or_default();
        if name != OPAQUE && matches!(hidden, b"" | b"." | b"..") {
            return refused("a whiteout names what is no name", name);
        }
        self.last = None;
        let Some(place) = place::directory(self.root, parts, None)? else { return Ok(()) };
        let made = &self.made;
        let kept = |path: &[u8]| made.contains(path);
        if name == OPAQUE {
            for name in names(&place.dir, u64::MAX)? {
                place::remove(&place.dir, name.to_bytes(), &place.join(name.to_bytes()), &kept, 0)?;
            }
        } else {
            place::remove(&place.dir, hidden, &place.join(hidden), &kept, 0)?;
        }
        Ok(())
    }

    /// What lay at a path, and below it, was not made by the layer any more.
    fn forget(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let gone: Vec<_> = self.made.range(below.clone()..).take_while(|p| p.starts_with(&below)).cloned().collect();
        for path in gone {
            self.made.remove(&path);
        }
    }

    fn content(&mut self, size: u64, from: &mut impl Read, to: &OwnedFd) -> Result<(), BadEntry> {
        if size > self.bytes_max.saturating_sub(self.done.bytes) {
            return Err(BadEntry::Refused(format!("its files have more than {} bytes", self.bytes_max)));
        }
        self.done.bytes += size;
        let (mut buffer, mut at) = (vec![0_u8; 256 << 10], 0);
        while at < size {
            let want = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
            from.read_exact(&mut buffer[..want])?;
            // Blocks of zeros become holes.
            if buffer[..want].iter().any(|byte| *byte != 0) {
                home::write_at(to, &buffer[..want], at)?;
            }
            at += want as u64;
        }
        rustix::fs::ftruncate(to, size).map_err(io::Error::from)?;
        Ok(())
    }

    /// Whose an entry is, and what they may do with it. Set-id bits would have no effect: every mount of a sandbox is `nosuid`.
    fn rights(&mut self, header: &Header) -> ((u32, u32), u32) {
        let known = |id: u64| u32::try_from(id).ok().filter(|id| *id < UIDS_PER_SLOT);
        let ids = (known(header.ids.0), known(header.ids.1));
        self.done.foreign += u64::from(ids.0.is_none() || ids.1.is_none());
        self.done.set_ids += u64::from(header.mode & 0o6000 != 0);
        let mode = u32::try_from(header.mode & 0o1777).expect("ten bits");
        ((ids.0.unwrap_or(NOBODY), ids.1.unwrap_or(NOBODY)), mode)
    }
}

/// What an entry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// What is in its directory.
    Content,
    /// Where paths lead.
    Place,
}

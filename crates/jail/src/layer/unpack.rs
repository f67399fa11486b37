//! Reads an archive: somebody else's bytes become trees. Only what [`super::archive`] writes is taken; each entry is made below a
//! directory that is held open, so that no path of the archive is ever looked up.

use std::{
    ffi::CString,
    io::{self, Read},
    os::fd::OwnedFd,
};

use ringfence_model::LayerDigest;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, mkdirat, openat, symlinkat};
use sha2::{Digest, Sha256};

use super::{
    DEPTH_MAX, ENTRIES_MAX,
    archive::{MANIFEST, MANIFEST_BYTES_MAX, root_path},
    entry::{self, BadEntry, Entry, Kind, shown},
    home, room,
};
use crate::{
    build::listing::Records,
    host::{PROGRAM_UID, UIDS_PER_SLOT},
};

/// A whole template has more entries than a home.
const BASE_ENTRIES_MAX: u64 = 4 * ENTRIES_MAX;

/// How far zstd looks back: what level 3 needs, and more. Memory of the one who reads.
const WINDOW_LOG_MAX: u32 = 27;

/// So many times as many bytes may come out as went in, beyond [`RATIO_FREE`].
const RATIO_MAX: u64 = 60;

/// Before the ratio counts.
const RATIO_FREE: u64 = 64 << 20;

/// A layer of an archive: its digest, whether it is a home, and the root of the tree that it comes into; `None` when nobody wants it.
pub type Wanted = (LayerDigest, bool, Option<OwnedFd>);

/// In the jail: the manifest of the archive at standard input, to standard output.
pub(super) fn run_manifest() -> Result<(), String> {
    let mut from = decoder(io::stdin())?;
    let manifest = manifest(&mut from).map_err(|e| e.to_string())?;
    super::say(&manifest)
}

/// In the jail: the archive at standard input, into the trees.
pub(super) fn run(layers: &[(LayerDigest, bool, Option<String>)], bytes_max: u64) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut trees = 0;
    let mut wanted = Vec::new();
    for (layer, is_home, tree) in layers {
        let root = match tree {
            Some(_) => {
                trees += 1;
                let root = rustix::fs::open(room::tree(trees - 1), flags, Mode::empty());
                Some(root.map_err(|e| format!("the tree: {e}"))?)
            }
            None => None,
        };
        wanted.push((layer.clone(), *is_home, root));
    }
    let mut from = decoder(io::stdin())?;
    unpack(&mut from, wanted, bytes_max).map_err(|e| e.to_string())
}

/// An archive's tar. It gives an error rather than sixty times what it takes.
///
/// # Errors
/// zstd cannot be set up.
pub fn decoder(from: impl Read) -> Result<impl Read, String> {
    let failed = |e: io::Error| format!("it is no archive of ringfence: {e}");
    let counted = Counted { from, count: std::rc::Rc::default() };
    let taken = std::rc::Rc::clone(&counted.count);
    let mut from = zstd::stream::Decoder::new(counted).map_err(failed)?;
    from.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
    Ok(Bounded { from, taken, given: 0 })
}

/// Counts what is taken from it.
struct Counted<R> {
    from: R,
    count: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// Gives no more than what was taken may hold.
struct Bounded<R> {
    from: R,
    taken: std::rc::Rc<std::cell::Cell<u64>>,
    given: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.given += count as u64;
        if self.given > RATIO_FREE + self.taken.get().saturating_mul(RATIO_MAX) {
            return Err(io::Error::other(format!("it grows to more than {RATIO_MAX} times its size")));
        }
        Ok(count)
    }
}

/// The manifest of an archive that is not compressed any more.
///
/// # Errors
/// It does not begin with one.
pub fn manifest(from: &mut impl Read) -> Result<Vec<u8>, BadEntry> {
    let size = match entry::read(from)? {
        Some(Entry { path, kind: Kind::File(size), mode: 0o644, ids: (0, 0), time: 0 })
            if path == MANIFEST && size <= MANIFEST_BYTES_MAX =>
        {
            size
        }
        _ => return Err(BadEntry::Refused("it does not begin with a manifest".into())),
    };
    let mut bytes = vec![0; usize::try_from(size).expect("a few MiB")];
    from.read_exact(&mut bytes)?;
    skip_padding(from, size)?;
    Ok(bytes)
}

fn skip_padding(from: &mut impl Read, size: u64) -> Result<(), BadEntry> {
    let mut block = [0; entry::BLOCK];
    let padding = &mut block[..entry::padding(size)];
    from.read_exact(padding)?;
    if padding.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(BadEntry::Refused("something stands between two entries".into()))
}

/// Reads the layers of an archive that is not compressed any more: all of `layers`, in this order, and nothing else. A layer whose
/// listing does not have its digest is refused.
///
/// # Errors
/// What is wrong with it. The trees are not to be used then.
pub fn unpack(from: &mut impl Read, layers: Vec<Wanted>, bytes_max: u64) -> Result<(), BadEntry> {
    manifest(from)?;
    let mut next = entry::read(from)?;
    let mut bytes_left = bytes_max;
    for (digest, is_home, root) in layers {
        let mut layer = Layer {
            prefix: root_path(&digest),
            is_home,
            open: Vec::new(),
            last: None,
            records: Records::default(),
            entries: 0,
        };
        let mut root = root;
        while let Some(entry) = next.take_if(|entry| layer.owns(&entry.path)) {
            layer.take(entry, &mut root, from, &mut bytes_left)?;
            next = entry::read(from)?;
        }
        layer.close(0)?;
        let found = layer.records.digest();
        if found != digest.as_str() {
            return Err(BadEntry::Refused(format!("layer {digest} was changed: what it holds is {found}")));
        }
    }
    match next {
        None => {
            let mut more = [0];
            if from.read(&mut more)? == 0 {
                return Ok(());
            }
            Err(BadEntry::Refused("something follows its end".into()))
        }
        Some(entry) => {
            Err(BadEntry::Refused(format!("it holds what its manifest does not name: {}", shown(&entry.path))))
        }
    }
}

/// A layer while it is read.
struct Layer {
    prefix: Vec<u8>,
    is_home: bool,
    /// The directories down to the last one, each with the length of its path.
    open: Vec<Open>,
    last: Option<Vec<u8>>,
    records: Records,
    entries: u64,
}

struct Open {
    path: Vec<u8>,
    /// None where nothing is wanted.
    dir: Option<OwnedFd>,
    entry: Entry,
}

fn refused<T>(why: impl std::fmt::Display, path: &[u8]) -> Result<T, BadEntry> {
    Err(BadEntry::Refused(format!("{why}: {}", shown(path))))
}

impl Layer {
    fn owns(&self, path: &[u8]) -> bool {
        path == self.prefix || path.strip_prefix(&self.prefix[..]).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    fn take(
        &mut self,
        entry: Entry,
        root: &mut Option<OwnedFd>,
        from: &mut impl Read,
        bytes_left: &mut u64,
    ) -> Result<(), BadEntry> {
        self.entries += 1;
        if self.entries > if self.is_home { ENTRIES_MAX } else { BASE_ENTRIES_MAX } {
            return Err(BadEntry::Refused("it has too many entries".into()));
        }
        let path = entry.path[self.prefix.len()..].strip_prefix(b"/").unwrap_or_default().to_vec();
        self.judge(&entry, &path)?;
        let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        if self.last.as_ref().is_some_and(|last| parts(last) >= parts(&path) || path.is_empty()) {
            return refused("it is not in order, or twice there", &path);
        }
        self.last = Some(path.clone());
        if path.is_empty() {
            if entry.kind != Kind::Directory {
                return refused("its root is no directory", &entry.path);
            }
            self.records.add(b'd', b"", entry.mode, entry.ids, None);
            self.open.push(Open { path, dir: root.take(), entry });
            return Ok(());
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], &path[..]),
        };
        while self.open.last().is_some_and(|open| open.path != parent) {
            self.close(self.open.len() - 1)?;
        }
        let Some(open) = self.open.last() else { return refused("its directory is missing", &path) };
        if self.open.len() > DEPTH_MAX + 2 {
            return refused("it lies too deep", &path);
        }
        let name = CString::new(name).map_err(|_| BadEntry::Refused("a name holds NUL".into()))?;
        let io = |e: rustix::io::Errno| BadEntry::Io(e.into());
        match &entry.kind {
            Kind::Directory => {
                let dir = match &open.dir {
                    Some(dir) => {
                        mkdirat(dir, &*name, Mode::RWXU).map_err(io)?;
                        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        Some(openat(dir, &*name, flags, Mode::empty()).map_err(io)?)
                    }
                    None => None,
                };
                let kind = if self.is_home && path == b"home/user" { b'o' } else { b'd' };
                self.records.add(kind, &path, entry.mode, entry.ids, None);
                self.open.push(Open { path, dir, entry });
            }
            Kind::File(size) => {
                let size = *size;
                if size > *bytes_left {
                    return Err(BadEntry::Refused("its files have more bytes than are allowed".into()));
                }
                *bytes_left -= size;
                let file = match &open.dir {
                    Some(dir) => {
                        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        Some(openat(dir, &*name, flags, Mode::RUSR | Mode::WUSR).map_err(io)?)
                    }
                    None => None,
                };
                let digest = content(from, size, file.as_ref())?;
                self.records.add(b'f', &path, entry.mode, entry.ids, Some((size, digest)));
                if let Some(file) = file {
                    finish(&file, &entry)?;
                }
            }
            Kind::Link(target) => {
                if entry.time != 0 {
                    return refused("a link has a time", &path);
                }
                if let Some(dir) = &open.dir {
                    let target = CString::new(&target[..]).map_err(|_| BadEntry::Refused("a link holds NUL".into()))?;
                    symlinkat(&*target, dir, &*name).map_err(io)?;
                    let ids = (Uid::from_raw(entry.ids.0), Gid::from_raw(entry.ids.1));
                    chownat(dir, &*name, Some(ids.0), Some(ids.1), AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
                }
                let length = target.len() as u64;
                self.records.add(b'l', &path, entry.mode, entry.ids, Some((length, Sha256::digest(target).into())));
            }
        }
        Ok(())
    }

    /// What a layer of its kind may hold.
    fn judge(&self, entry: &Entry, path: &[u8]) -> Result<(), BadEntry> {
        if entry.ids.0 >= UIDS_PER_SLOT || entry.ids.1 >= UIDS_PER_SLOT {
            return refused("it belongs to nobody", path);
        }
        if !self.is_home {
            return Ok(());
        }
        if entry.mode & 0o7000 != 0 {
            return refused("it has a set-id or sticky bit", path);
        }
        let is_above = matches!(path, b"" | b"home");
        let is_inside = path == b"home/user" || path.starts_with(b"home/user/");
        let owner = if is_above { (0, 0) } else { (PROGRAM_UID, PROGRAM_UID) };
        if !(is_above || is_inside) || (path.len() <= b"home/user".len() && entry.kind != Kind::Directory) {
            return refused("it is not in the home", path);
        }
        if entry.ids != owner {
            return refused("it belongs to somebody else", path);
        }
        Ok(())
    }

    /// Finishes directories until so many are open: their time changes with each entry that is made in them.
    fn close(&mut self, left: usize) -> Result<(), BadEntry> {
        while self.open.len() > left {
            if let Some(Open { dir: Some(dir), entry, .. }) = self.open.pop() {
                finish(&dir, &entry)?;
            }
        }
        Ok(())
    }
}

fn content(from: &mut impl Read, size: u64, to: Option<&OwnedFd>) -> Result<[u8; 32], BadEntry> {
    let (mut hash, mut buffer, mut at) = (Sha256::new(), vec![0_u8; 256 << 10], 0_u64);
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let block = &mut buffer[..want];
        from.read_exact(block)?;
        hash.update(&*block);
        if let Some(to) = to
            && block.iter().any(|byte| *byte != 0)
        {
            home::write_at(to, block, at)?;
        }
        at += want as u64;
    }
    if let Some(to) = to {
        rustix::fs::ftruncate(to, size).map_err(io::Error::from)?;
    }
    skip_padding(from, size)?;
    Ok(hash.finalize().into())
}

/// Owner before mode: set-id bits go with the owner.
fn finish(made: &OwnedFd, entry: &Entry) -> Result<(), BadEntry> {
    let done = || -> io::Result<()> {
        fchown(made, Some(Uid::from_raw(entry.ids.0)), Some(Gid::from_raw(entry.ids.1)))?;
        fchmod(made, Mode::from_raw_mode(entry.mode))?;
        home::set_time(made, i64::try_from(entry.time).unwrap_or(0))
    };
    Ok(done()?)
}

//! Writing a backup.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

use super::{
    BackupError, CONFIG, DIGESTS, DISKS, DISKS_IMAGE, LAYERS, LEVEL, MANIFEST, Manifest, OPAQUE, PIECE_BYTES, ROLES,
    Summary, WHITEOUT, as_it_was, io_error,
};
use crate::{
    build::listing::{self, DEPTH_MAX, names},
    layer::entry::{self, END, Entry, Kind},
};

/// What is written.
#[derive(Debug)]
pub struct Source<'a> {
    /// The state directory.
    pub home: &'a Path,
    /// Files that stand in the archive in place of what the state directory has of that path: copies of the databases and their
    /// heads. Sorted by path.
    pub copies: &'a [(String, PathBuf)],
    /// What the first entry says. The image of the disks is written if it has a size.
    pub manifest: Manifest,
}

/// Files of the roles' directories that are made anew, or that a copy stands in for.
fn is_left_out(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let of_databases = ["engine/engine.db", "gate/gate.db"].iter().any(|database| path.starts_with(database));
    of_databases
        || matches!(path, "engine/audit.head" | "gate/gate.head" | "gate/cache" | "engine/builds" | "engine/archives")
        || name == "lock"
        || name.ends_with(".new")
        || name.contains(".new-")
}

/// Writes the backup.
///
/// # Errors
/// Something cannot be read or written, or changed while it was read: what was written so far is no backup.
pub fn write(out: impl Write, source: &Source<'_>) -> Result<Summary, BackupError> {
    let compressed = zstd::stream::Encoder::new(out, LEVEL).map_err(io_error("starting to compress", "the backup"))?;
    let summary = Summary { manifest: source.manifest.clone(), files: 0, bytes: 0, layers: 0 };
    let mut writer = Writer { out: compressed, digests: Vec::new(), summary, buffer: vec![0; 256 << 10] };
    writer.out.include_checksum(true).map_err(io_error("starting to compress", "the backup"))?;
    let manifest = serde_json::to_vec_pretty(&source.manifest).map_err(|e| BackupError::Cannot(e.to_string()))?;
    writer.bytes(MANIFEST, &manifest)?;
    let config = source.home.join(CONFIG);
    match File::open(&config) {
        Ok(file) => writer.plain(CONFIG, file, 0o644)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error("opening", config)(e)),
    }
    for role in ROLES {
        writer.role(source, role)?;
    }
    writer.layers(&source.home.join(LAYERS))?;
    if let Some(bytes) = source.manifest.disks_bytes {
        writer.disks(&source.home.join(DISKS_IMAGE), bytes)?;
    }
    writer.finish()
}

struct Writer<W: Write> {
    out: zstd::stream::Encoder<'static, W>,
    digests: Vec<u8>,
    summary: Summary,
    buffer: Vec<u8>,
}

fn open_dir(path: &Path) -> Result<OwnedFd, BackupError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| io_error("opening", path)(e.into()))
}

impl<W: Write> Writer<W> {
    fn head(&mut self, entry: &Entry) -> Result<(), BackupError> {
        let bytes = entry::encode(entry).map_err(|e| BackupError::Cannot(e.to_string()))?;
        self.out.write_all(&bytes).map_err(io_error("writing", "the backup"))
    }

    /// A file's content behind its head, and its digest.
    fn content(&mut self, path: &[u8], mut from: impl Read, size: u64) -> Result<(), BackupError> {
        let mut hash = Sha256::new();
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = from.read(&mut self.buffer[..want]).map_err(io_error("reading", entry::shown(path)))?;
            if read == 0 {
                let shown = entry::shown(path);
                return Err(BackupError::Cannot(format!("{shown} became shorter while it was copied: try again")));
            }
            hash.update(&self.buffer[..read]);
            self.out.write_all(&self.buffer[..read]).map_err(io_error("writing", "the backup"))?;
            left -= read as u64;
        }
        self.out.write_all(&END[..entry::padding(size)]).map_err(io_error("writing", "the backup"))?;
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.digests.extend_from_slice(hex.as_bytes());
        self.digests.extend_from_slice(b"  ");
        // A name may hold a line's end: not ours, but one in a layer.
        self.digests.extend_from_slice(path.escape_ascii().to_string().as_bytes());
        self.digests.push(b'\n');
        self.summary.files += 1;
        self.summary.bytes += size;
        Ok(())
    }

    fn bytes(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), BackupError> {
        let size = bytes.len() as u64;
        self.head(&Entry { path: path.to_vec(), kind: Kind::File(size), mode: 0o600, ids: (0, 0), time: 0 })?;
        self.content(path, bytes, size)
    }

    /// A file of the installation's own: who owns it is decided where it is restored.
    fn plain(&mut self, path: &str, file: File, mode: u32) -> Result<(), BackupError> {
        let (content, size) = as_it_was(file).map_err(io_error("looking at", path))?;
        let path = path.as_bytes();
        self.head(&Entry { path: path.to_vec(), kind: Kind::File(size), mode, ids: (0, 0), time: 0 })?;
        self.content(path, content, size)
    }

    fn role(&mut self, source: &Source<'_>, role: &str) -> Result<(), BackupError> {
        let dir = match open_dir(&source.home.join(role)) {
            Err(BackupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        self.role_dir(&dir, role, source.copies, 0)
    }

    fn role_dir(
        &mut self,
        dir: &OwnedFd,
        path: &str,
        copies: &[(String, PathBuf)],
        depth: usize,
    ) -> Result<(), BackupError> {
        if depth > DEPTH_MAX {
            return Err(BackupError::Cannot(format!("{path} lies too deep")));
        }
        self.head(&Entry { path: path.into(), kind: Kind::Directory, mode: 0o700, ids: (0, 0), time: 0 })?;
        for (to, copy) in copies {
            if to.rsplit_once('/').is_some_and(|(parent, _)| parent == path) {
                let file = File::open(copy).map_err(io_error("opening", copy))?;
                self.plain(to, file, 0o600)?;
            }
        }
        for name in names(dir, u64::MAX).map_err(io_error("listing", path))? {
            let Ok(text) = name.to_str() else {
                return Err(BackupError::Cannot(format!("{path} holds a name that is not UTF-8")));
            };
            let below = format!("{path}/{text}");
            if is_left_out(&below) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let opened = match openat(dir, name.as_c_str(), flags, Mode::empty()) {
                // Removed meanwhile, as logs are.
                Err(rustix::io::Errno::NOENT) => continue,
                opened => opened.map_err(|e| io_error("opening", &below)(e.into()))?,
            };
            let stat = fstat(&opened).map_err(|e| io_error("looking at", &below)(e.into()))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.role_dir(&opened, &below, copies, depth + 1)?,
                FileType::RegularFile => self.plain(&below, File::from(opened), stat.st_mode & 0o755)?,
                _ => return Err(BackupError::Cannot(format!("{below} is neither a file nor a directory"))),
            }
        }
        Ok(())
    }

    fn layers(&mut self, dir: &Path) -> Result<(), BackupError> {
        let layers = open_dir(dir)?;
        for name in names(&layers, u64::MAX).map_err(io_error("listing", dir))? {
            // What is no layer is on its way to become one.
            let Ok(digest) = ringfence_model::LayerDigest::parse(&name.to_string_lossy()) else { continue };
            let below = format!("{digest}/rootfs");
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let root = match openat(&layers, below.as_str(), flags, Mode::empty()) {
                // Pruned meanwhile.
                Err(rustix::io::Errno::NOENT) => continue,
                opened => opened.map_err(|e| io_error("opening", dir.join(&below))(e.into()))?,
            };
            if is_harness(&root, &digest)? {
                continue;
            }
            self.layer_dir(&root, &mut below.into_bytes(), 0)?;
            self.summary.layers += 1;
        }
        Ok(())
    }

    /// `path` begins below `layers/`.
    fn layer_dir(&mut self, dir: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), BackupError> {
        if depth > DEPTH_MAX {
            return Err(BackupError::Cannot(format!("{} lies too deep", entry::shown(path))));
        }
        let stat = fstat(dir).map_err(|e| io_error("looking at", entry::shown(path))(e.into()))?;
        self.layer_head(LAYERS, path, Kind::Directory, &stat)?;
        if listing::is_opaque(dir) {
            self.layer_mark(OPAQUE, path, &stat)?;
        }
        for name in names(dir, u64::MAX).map_err(io_error("listing", entry::shown(path)))? {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name.to_bytes());
            self.layer_entry(dir, &name, path, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn layer_entry(&mut self, dir: &OwnedFd, name: &CStr, path: &mut Vec<u8>, depth: usize) -> Result<(), BackupError> {
        let failed =
            |what: &'static str, path: &[u8], e: rustix::io::Errno| io_error(what, entry::shown(path))(e.into());
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("looking at", path, e))?;
        let open =
            |flags| openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags, Mode::empty());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = open(OFlags::DIRECTORY).map_err(|e| failed("opening", path, e))?;
                self.layer_dir(&below, path, depth + 1)
            }
            FileType::RegularFile => {
                let file = File::from(open(OFlags::NONBLOCK).map_err(|e| failed("opening", path, e))?);
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.layer_head(LAYERS, path, Kind::File(size), &stat)?;
                let full = in_layers(LAYERS, path);
                self.content(&full, file, size)
            }
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).map_err(|e| failed("reading", path, e))?;
                self.layer_head(LAYERS, path, Kind::Link(target.into_bytes()), &stat)
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => self.layer_mark(WHITEOUT, path, &stat),
            _ => Err(BackupError::Cannot(format!(
                "layers/{} is a FIFO, a socket or a device, which backups do not hold: delete the template that has it",
                entry::shown(path)
            ))),
        }
    }

    fn layer_mark(&mut self, below: &str, path: &[u8], stat: &Stat) -> Result<(), BackupError> {
        self.layer_head(below, path, Kind::File(0), stat)?;
        self.content(&in_layers(below, path), io::empty(), 0)
    }

    fn layer_head(&mut self, below: &str, path: &[u8], kind: Kind, stat: &Stat) -> Result<(), BackupError> {
        let time = if matches!(kind, Kind::Link(_)) { 0 } else { u64::try_from(stat.st_mtime).unwrap_or(0) };
        let (mode, ids) = (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid));
        self.head(&Entry { path: in_layers(below, path), kind, mode, ids, time })
    }

    /// The image's stretches with content: lseek(2), SEEK_DATA.
    fn disks(&mut self, image: &Path, bytes: u64) -> Result<(), BackupError> {
        let file = File::open(image).map_err(io_error("opening", image))?;
        let mut at = 0;
        while at < bytes {
            let begin = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                Ok(begin) => begin,
                Err(rustix::io::Errno::NXIO) => break,
                Err(e) => return Err(io_error("reading", image)(e.into())),
            };
            let end =
                rustix::fs::seek(&file, SeekFrom::Hole(begin)).map_err(|e| io_error("reading", image)(e.into()))?;
            let mut from = begin;
            while from < end {
                let size = (end - from).min(PIECE_BYTES);
                let path = format!("{DISKS}/{from:016x}").into_bytes();
                self.head(&Entry { path: path.clone(), kind: Kind::File(size), mode: 0o600, ids: (0, 0), time: 0 })?;
                self.content(&path, At { file: &file, at: from }, size)?;
                from += size;
            }
            at = end;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Summary, BackupError> {
        let digests = std::mem::take(&mut self.digests);
        let size = digests.len() as u64;
        self.head(&Entry { path: DIGESTS.to_vec(), kind: Kind::File(size), mode: 0o600, ids: (0, 0), time: 0 })?;
        let writing = || io_error("writing", "the backup");
        let Self { mut out, summary, .. } = self;
        for part in [&digests[..], &END[..entry::padding(size)], &END] {
            out.write_all(part).map_err(writing())?;
        }
        out.finish().and_then(|mut out| out.flush()).map_err(writing())?;
        Ok(summary)
    }
}

/// Whether this is the layer that the jailer lays down at its start, named after the files of which it is made instead of its listing. The
/// next start lays it down again.
fn is_harness(root: &OwnedFd, digest: &ringfence_model::LayerDigest) -> Result<bool, BackupError> {
    match statat(root, "usr/lib/ringfence/join.so", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(false),
        Err(e) => return Err(io_error("looking at", format!("{LAYERS}/{digest}"))(e.into())),
    }
    let found = listing::list(root).map_err(|e| BackupError::Cannot(format!("{LAYERS}/{digest}: {e}")))?;
    Ok(found.digest != digest.as_str())
}

fn in_layers(below: &str, path: &[u8]) -> Vec<u8> {
    let mut full = below.as_bytes().to_vec();
    full.push(b'/');
    full.extend_from_slice(path);
    full
}

/// A file from a place on, whatever its own position is.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

//! Restoring a backup.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileExt},
    },
    path::{Path, PathBuf},
};

use ringfence_model::LayerDigest;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, mkdirat, mknodat, openat, openat2, symlinkat,
};
use sha2::{Digest, Sha256};

use super::{
    BackupError, CONFIG, DIGESTS, DISKS, DISKS_IMAGE, FORMAT, LAYERS, MANIFEST, MANIFEST_BYTES_MAX, Manifest, OPAQUE,
    ROLES, Summary, WHITEOUT, io_error, refused,
};
use crate::{
    build::{listing, remove},
    layer::entry::{self, Entry, Kind},
};

/// Bytes of the digests of all files.
const DIGESTS_BYTES_MAX: u64 = 1 << 30;
/// Largest image of disks that is believed.
const DISKS_BYTES_MAX: u64 = 1 << 50;

/// Restores a backup as the state directory `home`, which must not exist or be empty.
///
/// # Errors
/// `home` holds something, the archive is refused, or something cannot be written. `home` is as it was then.
pub fn restore(from: impl Read, home: &Path) -> Result<Summary, BackupError> {
    match fs::read_dir(home) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let why = "is not empty: name a directory that does not exist, or stop its daemon and move it away";
                return Err(BackupError::Cannot(format!("{} {why}", home.display())));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error("looking at", home)(e)),
    }
    let mut unfinished = home.as_os_str().to_owned();
    unfinished.push(format!(".restoring-{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    fs::DirBuilder::new().mode(0o700).create(&unfinished).map_err(io_error("making", &unfinished))?;
    let restored = into(from, &unfinished).and_then(|summary| {
        // An empty directory is replaced by a rename; one that was filled meanwhile is not.
        fs::rename(&unfinished, home).map_err(io_error("naming", home))?;
        Ok(summary)
    });
    if restored.is_err() {
        let _ = remove::tree(&unfinished);
    }
    restored
}

fn into(from: impl Read, dir: &Path) -> Result<Summary, BackupError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| io_error("opening", dir)(e.into()))?;
    let mut from = zstd::stream::Decoder::new(from).map_err(|e| BackupError::Refused(e.to_string()))?;
    let Some(first) = entry::read(&mut from)? else { return refused("it is empty") };
    let mut digests = Vec::new();
    let manifest = match (&first.path[..], &first.kind) {
        (MANIFEST, Kind::File(size)) if *size <= MANIFEST_BYTES_MAX => {
            let mut bytes = Vec::new();
            take(&mut from, &first.path, *size, &mut digests, |part, _| {
                bytes.extend_from_slice(part);
                Ok(())
            })?;
            read_manifest(&bytes)?
        }
        _ => return refused("it does not begin with the manifest of a backup"),
    };
    let room = rustix::fs::fstatvfs(&root).map_err(|e| io_error("looking at", dir)(e.into()))?;
    let disks = match manifest.disks_bytes {
        Some(bytes) if bytes > DISKS_BYTES_MAX => return refused("its disks are larger than any"),
        Some(bytes) => {
            let path = dir.join(DISKS_IMAGE);
            let file = fs::OpenOptions::new().write(true).create_new(true).open(&path);
            let file = file.map_err(io_error("making", &path))?;
            file.set_len(bytes).map_err(io_error("sizing", &path))?;
            Some((file, bytes))
        }
        None => None,
    };
    let mut reader = Reader {
        root,
        digests,
        disks,
        left: room.f_bavail.saturating_mul(room.f_frsize),
        layers: BTreeSet::new(),
        summary: Summary { manifest, files: 1, bytes: 0, layers: 0 },
    };
    loop {
        let Some(entry) = entry::read(&mut from)? else { return refused("it ends before its digests") };
        if entry.path == DIGESTS {
            reader.compare(&mut from, &entry)?;
            break;
        }
        reader.entry(&mut from, &entry)?;
    }
    if entry::read(&mut from)?.is_some() {
        return refused("something follows its digests");
    }
    reader.finish(dir)
}

fn read_manifest(bytes: &[u8]) -> Result<Manifest, BackupError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_slice::<Format>(bytes) {
        Ok(Format { format }) if format == FORMAT => {}
        Ok(Format { format }) => {
            return refused(format!(
                "its format is {format}, and this ringfence knows {FORMAT}: use the one that wrote it"
            ));
        }
        Err(_) => return refused("its manifest is not readable"),
    }
    serde_json::from_slice(bytes).or_else(|e| refused(format!("its manifest is not readable: {e}")))
}

/// Reads a file's content and what fills it up, and notes its digest.
fn take(
    from: &mut impl Read,
    path: &[u8],
    size: u64,
    digests: &mut Vec<u8>,
    mut part: impl FnMut(&[u8], u64) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut buffer = vec![0; 256 << 10];
    let (mut hash, mut at) = (Sha256::new(), 0);
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = from.read(&mut buffer[..want]).map_err(|e| BackupError::Refused(e.to_string()))?;
        if read == 0 {
            return refused("it ends in the middle of a file");
        }
        hash.update(&buffer[..read]);
        part(&buffer[..read], at)?;
        at += read as u64;
    }
    let mut rest = [0; entry::BLOCK];
    let padding = entry::padding(size);
    from.read_exact(&mut rest[..padding]).map_err(|e| BackupError::Refused(e.to_string()))?;
    if rest != [0; entry::BLOCK] {
        return refused("something is hidden behind a file");
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digests.extend_from_slice(format!("{hex}  {}\n", path.escape_ascii()).as_bytes());
    Ok(())
}

struct Reader {
    root: OwnedFd,
    digests: Vec<u8>,
    disks: Option<(File, u64)>,
    /// Bytes that files may still have.
    left: u64,
    layers: BTreeSet<LayerDigest>,
    summary: Summary,
}

/// Where an entry of an archive goes.
enum Place<'a> {
    /// A file or a directory of the installation's own.
    Own,
    /// Something of a layer.
    Layer,
    /// A mark on what stands at that path.
    Mark { whiteout: bool, path: &'a [u8] },
    /// A piece of the disks, and where it begins.
    Disks(u64),
}

fn place(path: &[u8]) -> Result<Place<'_>, BackupError> {
    let (first, rest) = match path.iter().position(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &[][..]),
    };
    let first = std::str::from_utf8(first).unwrap_or_default();
    match first {
        CONFIG if rest.is_empty() => Ok(Place::Own),
        _ if ROLES.contains(&first) => Ok(Place::Own),
        LAYERS | OPAQUE | WHITEOUT => {
            let digest = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            let inside = rest.get(digest.len()..).unwrap_or_default();
            let is_in_layer = inside == b"/rootfs" || inside.starts_with(b"/rootfs/");
            let is_layer = std::str::from_utf8(digest).is_ok_and(|digest| LayerDigest::parse(digest).is_ok());
            match first {
                _ if !(is_layer && is_in_layer) => refused(format!("it holds {}", entry::shown(path))),
                LAYERS => Ok(Place::Layer),
                _ => Ok(Place::Mark { whiteout: first == WHITEOUT, path: rest }),
            }
        }
        DISKS => match std::str::from_utf8(rest).ok().filter(|rest| rest.len() == 16) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) => {
                u64::from_str_radix(digits, 16).map(Place::Disks).or_else(|_| refused("a piece of disks has no place"))
            }
            _ => refused(format!("it holds {}", entry::shown(path))),
        },
        _ => refused(format!("it holds {}", entry::shown(path))),
    }
}

fn failed(what: &'static str, path: &[u8]) -> impl FnOnce(rustix::io::Errno) -> BackupError + use<> {
    let shown = entry::shown(path);
    move |e| io_error(what, shown)(e.into())
}

fn ids(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.ids.0)), Some(Gid::from_raw(entry.ids.1)))
}

impl Reader {
    fn entry(&mut self, from: &mut impl Read, entry: &Entry) -> Result<(), BackupError> {
        if let Kind::File(size) = entry.kind {
            let Some(left) = self.left.checked_sub(size) else {
                return Err(BackupError::Cannot("there is not enough room on this disk for the backup".into()));
            };
            self.left = left;
            self.summary.files += 1;
            self.summary.bytes += size;
        }
        match (place(&entry.path)?, &entry.kind) {
            (Place::Own, Kind::Directory) => self.directory(entry, Mode::RWXU).map(drop),
            (Place::Own, Kind::File(size)) if entry.mode & 0o7022 == 0 => {
                let file = self.file(from, entry, *size)?;
                fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(failed("closing", &entry.path))
            }
            (Place::Layer, Kind::Directory) => self.layer_directory(entry),
            (Place::Layer, Kind::File(size)) => {
                let file = self.file(from, entry, *size)?;
                self.dress(&file, entry)
            }
            (Place::Layer, Kind::Link(target)) => {
                let (parent, name) = self.parent(&entry.path)?;
                symlinkat(&target[..], &parent, &name[..]).map_err(failed("linking", &entry.path))?;
                let (uid, gid) = ids(entry);
                chownat(&parent, &name[..], uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("giving away", &entry.path))
            }
            (Place::Mark { whiteout, path }, Kind::File(0)) => {
                take(from, &entry.path, 0, &mut self.digests, |_, _| Ok(()))?;
                self.mark(entry, whiteout, path)
            }
            (Place::Disks(at), Kind::File(size)) => self.piece(from, entry, at, *size),
            _ => refused(format!("{} is not what backups hold there", entry::shown(&entry.path))),
        }
    }

    /// The directory that a path is in, reached without a link, and the name in it.
    fn parent(&self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), BackupError> {
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = at.map_or((&b"."[..], path), |at| (&path[..at], &path[at + 1..]));
        Ok((self.open(parent, OFlags::DIRECTORY)?, name.to_vec()))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, BackupError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path, flags, Mode::empty(), resolve).map_err(failed("reaching", path))
    }

    fn directory(&self, entry: &Entry, mode: Mode) -> Result<OwnedFd, BackupError> {
        let (parent, name) = self.parent(&entry.path)?;
        mkdirat(&parent, &name[..], mode).map_err(failed("making", &entry.path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&parent, &name[..], flags, Mode::empty()).map_err(failed("opening", &entry.path))
    }

    /// A directory of a layer. That of all layers, and the one that a layer's root is in, have no entry.
    fn layer_directory(&mut self, entry: &Entry) -> Result<(), BackupError> {
        let mut parts = entry.path.splitn(4, |byte| *byte == b'/');
        let (digest, rest) = (parts.nth(1).unwrap_or_default(), parts.nth(1));
        if rest.is_none() {
            let digest = std::str::from_utf8(digest).unwrap_or_default();
            let digest = LayerDigest::parse(digest).or_else(|_| refused("a layer has no digest"))?;
            if self.layers.is_empty() {
                mkdirat(&self.root, LAYERS, Mode::RWXU).map_err(failed("making", &entry.path))?;
            }
            let dir = format!("{LAYERS}/{digest}");
            if !self.layers.insert(digest) {
                return refused(format!("it holds {dir} twice"));
            }
            mkdirat(&self.root, dir.as_str(), Mode::RWXU).map_err(failed("making", &entry.path))?;
        }
        let made = self.directory(entry, Mode::RWXU)?;
        self.dress(&made, entry)
    }

    fn file(&mut self, from: &mut impl Read, entry: &Entry, size: u64) -> Result<File, BackupError> {
        let (parent, name) = self.parent(&entry.path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&parent, &name[..], flags, Mode::RUSR | Mode::WUSR).map_err(failed("making", &entry.path))?;
        let mut file = File::from(file);
        let shown = entry::shown(&entry.path);
        take(from, &entry.path, size, &mut self.digests, |part, _| {
            file.write_all(part).map_err(io_error("writing", &shown))
        })?;
        Ok(file)
    }

    /// Owner, mode and time as in the layer. The owner first: it takes set-id bits away.
    fn dress(&self, made: &impl AsFd, entry: &Entry) -> Result<(), BackupError> {
        let (uid, gid) = ids(entry);
        fchown(made, uid, gid).map_err(failed("giving away", &entry.path))?;
        fchmod(made, Mode::from_raw_mode(entry.mode)).map_err(failed("setting the mode of", &entry.path))?;
        let time = Timespec { tv_sec: i64::try_from(entry.time).unwrap_or(0), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        futimens(made, &times).map_err(failed("setting the time of", &entry.path))
    }

    fn mark(&self, entry: &Entry, whiteout: bool, path: &[u8]) -> Result<(), BackupError> {
        let mut full = LAYERS.as_bytes().to_vec();
        full.push(b'/');
        full.extend_from_slice(path);
        if !whiteout {
            let dir = self.open(&full, OFlags::DIRECTORY)?;
            return fsetxattr(&dir, listing::OPAQUE, b"y", XattrFlags::empty()).map_err(failed("marking", &entry.path));
        }
        let (parent, name) = self.parent(&full)?;
        mknodat(&parent, &name[..], FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(failed("marking", &entry.path))?;
        let (uid, gid) = ids(entry);
        chownat(&parent, &name[..], uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("giving away", &entry.path))?;
        rustix::fs::chmodat(&parent, &name[..], Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(failed("setting the mode of", &entry.path))
    }

    fn piece(&mut self, from: &mut impl Read, entry: &Entry, at: u64, size: u64) -> Result<(), BackupError> {
        let Some((file, bytes)) = &self.disks else { return refused("it holds disks that it does not announce") };
        if at.checked_add(size).is_none_or(|end| end > *bytes) {
            return refused("a piece of its disks lies behind their end");
        }
        take(from, &entry.path, size, &mut self.digests, |part, offset| {
            file.write_all_at(part, at + offset).map_err(io_error("writing", DISKS_IMAGE))
        })
    }

    /// The digests of all files are those that the last entry has.
    fn compare(&mut self, from: &mut impl Read, entry: &Entry) -> Result<(), BackupError> {
        let Kind::File(size) = entry.kind else { return refused("its digests are no file") };
        if size > DIGESTS_BYTES_MAX || size != self.digests.len() as u64 {
            return refused("it has other files than its digests");
        }
        let (mut said, mut ignored) = (Vec::new(), Vec::new());
        take(from, DIGESTS, size, &mut ignored, |part, _| {
            said.extend_from_slice(part);
            Ok(())
        })?;
        if said == self.digests { Ok(()) } else { refused("a file is not the one of which it has the digest") }
    }

    /// Every layer is the one that it is called, and all is on the disk.
    fn finish(mut self, dir: &Path) -> Result<Summary, BackupError> {
        for layer in &self.layers {
            let path = format!("{LAYERS}/{layer}/rootfs");
            let root = self.open(path.as_bytes(), OFlags::DIRECTORY)?;
            let found = listing::list(&root).or_else(|e| refused(e.to_string()))?;
            if found.digest != layer.as_str() {
                return refused(format!("the layer {layer} is another"));
            }
        }
        self.summary.layers = self.layers.len() as u64;
        rustix::fs::syncfs(&self.root).map_err(|e| io_error("writing", dir)(e.into()))?;
        Ok(self.summary)
    }
}

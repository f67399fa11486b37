//! Writes layers as one file: a tar of the manifest and then each layer's entries in the order of its listing, compressed with
//! zstd. The same layers and manifest are the same bytes, as long as zstd is the same.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use ringfence_model::LayerDigest;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};

use super::{
    ENTRIES_MAX,
    entry::{self, END, Entry, Kind},
    room,
};
use crate::build::listing::{self, DEPTH_MAX, names};

/// Name of the first entry.
pub const MANIFEST: &[u8] = b"template.json";

/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Fast, and within a tenth of what more would save.
const LEVEL: i32 = 3;

/// The path of a layer's root in an archive.
#[must_use]
pub fn root_path(layer: &LayerDigest) -> Vec<u8> {
    format!("layers/{layer}/rootfs").into_bytes()
}

fn open(path: &str) -> Result<OwnedFd, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| format!("a layer: {e}"))
}

/// In the jail: the digest of what is seen, to standard output.
pub(super) fn run_list() -> Result<(), String> {
    let listing = listing::list(&open(room::SEEN)?).map_err(|e| format!("{}: {}", e.what, e.source))?;
    super::say(listing.digest.as_bytes())
}

/// In the jail: the manifest from standard input, the archive to standard output.
pub(super) fn run(digest: &LayerDigest, home: &LayerDigest) -> Result<(), String> {
    let mut manifest = Vec::new();
    io::stdin()
        .take(MANIFEST_BYTES_MAX + 1)
        .read_to_end(&mut manifest)
        .map_err(|e| format!("reading the manifest: {e}"))?;
    let out = io::BufWriter::with_capacity(1 << 20, io::stdout());
    let mut out = zstd::stream::Encoder::new(out, LEVEL).map_err(|e| format!("zstd: {e}"))?;
    out.include_checksum(true).map_err(|e| format!("zstd: {e}"))?;
    let roots =
        [(digest.clone(), open(room::SEEN)?), (home.clone(), open(&format!("{}/{home}/rootfs", room::LAYERS))?)];
    write(&mut out, &manifest, &roots)?;
    out.finish().and_then(|mut out| out.flush()).map_err(|e| format!("writing: {e}"))
}

/// Writes an archive, uncompressed.
///
/// # Errors
/// A layer cannot be read, or holds what archives do not hold.
pub fn write(out: &mut impl Write, manifest: &[u8], layers: &[(LayerDigest, OwnedFd)]) -> Result<(), String> {
    let failed = |e: io::Error| format!("writing: {e}");
    if manifest.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(format!("the manifest has more than {MANIFEST_BYTES_MAX} bytes"));
    }
    let size = manifest.len() as u64;
    let first = Entry { path: MANIFEST.to_vec(), kind: Kind::File(size), mode: 0o644, ids: (0, 0), time: 0 };
    out.write_all(&entry::encode(&first).map_err(|e| e.to_string())?).map_err(failed)?;
    out.write_all(manifest).map_err(failed)?;
    out.write_all(&END[..entry::padding(size)]).map_err(failed)?;
    for (layer, root) in layers {
        let mut writer = Writer { out, buffer: vec![0; 256 << 10] };
        writer.directory(root, &mut root_path(layer), 0)?;
    }
    out.write_all(&END).map_err(failed)
}

struct Writer<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    fn directory(&mut self, dir: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        let failed = |what: &str, path: &[u8], e: io::Error| format!("{what} {}: {e}", entry::shown(path));
        if depth > DEPTH_MAX {
            return Err(format!("{} lies too deep", entry::shown(path)));
        }
        let stat = fstat(dir).map_err(|e| failed("looking at", path, e.into()))?;
        self.head(path, Kind::Directory, &stat)?;
        for name in names(dir, ENTRIES_MAX).map_err(|e| failed("listing", path, e))? {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name.to_bytes());
            self.entry(dir, &name, path, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, name: &CStr, path: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        let failed = |what: &str, path: &[u8], e: io::Error| format!("{what} {}: {e}", entry::shown(path));
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("looking at", path, e.into()))?;
        let open =
            |flags| openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags, Mode::empty());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = open(OFlags::DIRECTORY).map_err(|e| failed("opening", path, e.into()))?;
                self.directory(&below, path, depth + 1)
            }
            FileType::RegularFile => {
                let file = open(OFlags::NONBLOCK).map_err(|e| failed("opening", path, e.into()))?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.head(path, Kind::File(size), &stat)?;
                self.content(File::from(file), size).map_err(|e| failed("reading", path, e))
            }
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).map_err(|e| failed("reading", path, e.into()))?;
                self.head(path, Kind::Link(target.into_bytes()), &stat)
            }
            _ => Err(format!("{} is neither a file, a directory nor a link", entry::shown(path))),
        }
    }

    fn head(&mut self, path: &[u8], kind: Kind, stat: &rustix::fs::Stat) -> Result<(), String> {
        let entry = Entry {
            path: path.to_vec(),
            mode: stat.st_mode & 0o7777,
            ids: (stat.st_uid, stat.st_gid),
            // Nobody looks at a link's own time, and it would be the one thing that is another wherever a layer is unpacked.
            time: if matches!(kind, Kind::Link(_)) { 0 } else { u64::try_from(stat.st_mtime).unwrap_or(0) },
            kind,
        };
        let bytes = entry::encode(&entry).map_err(|e| format!("{}: {e}", entry::shown(path)))?;
        self.out.write_all(&bytes).map_err(|e| format!("writing: {e}"))
    }

    fn content(&mut self, mut file: File, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            file.read_exact(&mut self.buffer[..want])?;
            self.out.write_all(&self.buffer[..want])?;
            left -= want as u64;
        }
        self.out.write_all(&END[..entry::padding(size)])
    }
}

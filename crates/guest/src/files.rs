//! What a file worker does: one request, as the program's user, without any capability.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
};

use ringfence_guest::frames::{ENTRIES_MAX, Entry, EntryKind, FILE_BYTES_MAX, Frame, PAYLOAD_BYTES_MAX};

use crate::sys;

/// A worker ends itself after that many seconds.
pub(crate) const WORKER_SECONDS: u32 = 20;

/// Becomes the user, carries the request out, and says what became of it on `answer`. Returns the exit code.
pub(crate) fn work(request: &Frame, content: File, mut answer: File) -> i32 {
    let done = sys::become_file_worker([&content, &answer], WORKER_SECONDS)
        .and_then(|()| carry_out(request, content, &mut answer));
    let last = done.unwrap_or_else(|e| error(&e));
    i32::from(answer.write_all(&last.encode(0)).is_err())
}

/// An error as the host is told of it.
pub(crate) fn error(e: &io::Error) -> Frame {
    let errno = e.raw_os_error().unwrap_or(libc::EIO).cast_unsigned();
    Frame::Error { errno, text: e.to_string() }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

fn carry_out(request: &Frame, content: File, answer: &mut File) -> io::Result<Frame> {
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let mut say = |frame: Frame| answer.write_all(&frame.encode(0));
    match request {
        Frame::Write { mode, size, path: p } => write(path(p), *mode, *size, content)?,
        Frame::Read { max, path: p } => read(path(p), (*max).min(FILE_BYTES_MAX), &mut say)?,
        Frame::Stat { path: p } => say(Frame::Entry(entry(&fs::metadata(path(p))?, Vec::new())))?,
        Frame::List { max, path: p } => {
            let complete = list(path(p), (*max).min(ENTRIES_MAX), &mut say)?;
            return Ok(Frame::End { complete });
        }
        Frame::Remove { path: p } => remove(path(p))?,
        _ => return Err(errno(libc::EPROTO)),
    }
    Ok(Frame::End { complete: true })
}

/// Writes beside the target and renames, so that a program sees the old file or the new one. A symbolic link at the
/// target is replaced, not followed.
fn write(path: &Path, mode: u32, size: u64, content: File) -> io::Result<()> {
    let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else { return Err(errno(libc::EINVAL)) };
    fs::create_dir_all(parent)?;
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos());
    let beside = parent.join(format!(".ringfence-{}-{nanos}", std::process::id()));
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&beside)?;
    let written = (|| {
        let mut file = file;
        if io::copy(&mut content.take(size), &mut file)? != size {
            return Err(errno(libc::EPIPE));
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn read(path: &Path, max: u64, say: &mut impl FnMut(Frame) -> io::Result<()>) -> io::Result<()> {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    match metadata.file_type() {
        kind if kind.is_dir() => return Err(errno(libc::EISDIR)),
        kind if !kind.is_file() => return Err(errno(libc::EINVAL)),
        _ if metadata.len() > max => return Err(errno(libc::EFBIG)),
        _ => {}
    }
    // It may grow while it is read.
    let mut file = file.take(max + 1);
    let mut total = 0;
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    loop {
        let len = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        total += len as u64;
        if total > max {
            return Err(errno(libc::EFBIG));
        }
        say(Frame::Data(buffer[..len].to_vec()))?;
    }
}

/// True when everything was listed.
fn list(path: &Path, max: u32, say: &mut impl FnMut(Frame) -> io::Result<()>) -> io::Result<bool> {
    let mut left = max;
    for found in fs::read_dir(path)? {
        let found = found?;
        // Gone since: as if it had never been there.
        let Ok(metadata) = found.metadata() else { continue };
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        say(Frame::Entry(entry(&metadata, found.file_name().into_vec())))?;
    }
    Ok(true)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn entry(metadata: &Metadata, name: Vec<u8>) -> Entry {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Directory,
        kind if kind.is_symlink() => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let modified_ms = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Entry { kind, mode: metadata.mode() & 0o7777, size: metadata.len(), modified_ms, name }
}

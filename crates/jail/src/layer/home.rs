//! Copies a home, as programs of the sandbox see it, into a tree.
//!
//! The tree holds `home/user` and nothing else, so that a template that was exported cannot change what belongs to root. What programs
//! have changed elsewhere is said (see [`super::outside`]), or is copied as a whole (see [`super::system`]). Everything in it is the
//! user's, without set-id bits and attributes.
//! A file is left out when one of the hidden values stands in it, in any of the forms in which the gate looks for it, or a
//! private key that is no package's.

use std::{ffi::CStr, io, os::fd::OwnedFd, sync::Arc};

use ringfence_model::mask::{Masks, Search};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod, fchown, fstat, futimens,
    mkdirat, openat, readlinkat, statat, symlinkat, unlinkat,
};

use super::{DEPTH_MAX, ENTRIES_MAX, HomeReport, LEFT_OUT_MAX, room, rules};
use crate::{build::listing::names as listing_names, host::PROGRAM_UID};

/// Where the home is, inside.
const HOME: [&CStr; 2] = [c"home", c"user"];

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Begins the last line of a private key's head.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// Read and written at once.
const BLOCK: usize = 256 << 10;

/// In the jail: from [`room::SEEN`] into the first tree.
pub(super) fn run(with_system: bool, bytes_max: u64, hidden: &[Vec<u8>]) -> Result<(), String> {
    let open = |path: &str| rustix::fs::open(path, DIRECTORY, Mode::empty());
    let seen = open(room::SEEN).map_err(|e| format!("the sandbox's files: {e}"))?;
    let template = open(room::TEMPLATE).map_err(|e| format!("the template's files: {e}"))?;
    let tree = open(&room::tree(0)).map_err(|e| format!("the tree: {e}"))?;
    let mut report = copy(&seen, &template, &tree, bytes_max, hidden)?;
    if with_system {
        let changes = open(room::CHANGES).map_err(|e| format!("the sandbox's changes: {e}"))?;
        if super::system::is_changed(&changes) {
            let tree = open(&room::tree(1)).map_err(|e| format!("the second tree: {e}"))?;
            let left = bytes_max.saturating_sub(report.bytes);
            let of_system = super::system::copy(&seen, &tree, left, hidden)?;
            report.has_system = true;
            report.entries += of_system.entries;
            report.bytes += of_system.bytes;
            report.leave_out_also(of_system);
        }
    } else {
        let changes = open(room::CHANGES).map_err(|e| format!("the sandbox's changes: {e}"))?;
        let of_system = super::outside::look(&changes, &seen, &template, hidden)?;
        report.outside = of_system.left_out_count;
        report.leave_out_also(of_system);
    }
    let json = serde_json::to_vec(&report).map_err(|e| e.to_string())?;
    super::say(&json)
}

/// Copies `home/user` of `seen`, the parts that are left out from `template` if it has them.
///
/// # Errors
/// What is wrong with the home, in a sentence.
pub fn copy(
    seen: &OwnedFd,
    template: &OwnedFd,
    tree: &OwnedFd,
    bytes_max: u64,
    hidden: &[Vec<u8>],
) -> Result<HomeReport, String> {
    let mut copier = Copier::new(bytes_max, hidden, false);
    let mut to = tree.try_clone().map_err(|e| e.to_string())?;
    for name in HOME {
        mkdirat(&to, name, Mode::from_raw_mode(0o755)).map_err(|e| format!("making the home: {e}"))?;
        to = openat(&to, name, DIRECTORY, Mode::empty()).map_err(|e| format!("opening the home: {e}"))?;
        fchmod(&to, Mode::from_raw_mode(0o755)).map_err(|e| format!("opening the home to all: {e}"))?;
    }
    let home = |root: &OwnedFd| {
        HOME.into_iter().try_fold(root.try_clone()?, |dir, name| {
            openat(&dir, name, DIRECTORY, Mode::empty()).map_err(io::Error::from)
        })
    };
    let from = home(seen).map_err(|e| format!("the sandbox has no home: {e}"))?;
    let base = home(template).ok();
    copier.directory(&from, base.as_ref(), &to, &mut Vec::new(), 0)?;
    let times = fstat(&from).map_err(|e| e.to_string())?;
    finish(&to, user(), Mode::from_raw_mode(0o755), &times).map_err(|e| format!("the home: {e}"))?;
    Ok(copier.report)
}

pub(super) struct Copier {
    masks: Option<Arc<Masks>>,
    bytes_max: u64,
    pub(super) report: HomeReport,
    /// What is copied is everything but the homes, with the owners that it has.
    is_system: bool,
    /// What is copied is the template's: its names are not judged again.
    from_template: bool,
}

impl Copier {
    pub(super) fn new(bytes_max: u64, hidden: &[Vec<u8>], is_system: bool) -> Self {
        let shown: &[u8] = b"#";
        Self {
            masks: (!hidden.is_empty()).then(|| Arc::new(Masks::new(hidden.iter().map(|value| (&value[..], shown))))),
            bytes_max,
            report: HomeReport::default(),
            is_system,
            from_template: false,
        }
    }

    /// What is left out at this path by its name.
    fn left_out(&self, from: &OwnedFd, name: &CStr, path: &[u8]) -> Option<&'static str> {
        match (self.is_system, self.from_template) {
            (true, _) => {
                let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW);
                super::system::left_out(path, stat.is_ok_and(|stat| stat.st_uid == 0))
            }
            (false, true) => None,
            (false, false) => rules::left_out(path).map(rules::Reason::as_str),
        }
    }

    pub(super) fn directory(
        &mut self,
        from: &OwnedFd,
        base: Option<&OwnedFd>,
        to: &OwnedFd,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("{} lies deeper than {DEPTH_MAX} directories", text(path)));
        }
        let mut all = self.names(from, path)?;
        let from_here = all.len();
        // What is left out is taken from the template, whether or not it is still there.
        if let (Some(base), false) = (base, self.from_template) {
            all.extend(self.names(base, path)?);
        }
        for (number, name) in all.iter().enumerate() {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let reason = self.left_out(from, name, path);
            match (reason, number < from_here) {
                (None, true) => {
                    let below = base.and_then(|base| openat(base, &**name, DIRECTORY, Mode::empty()).ok());
                    self.entry(from, below.as_ref(), to, name, path, depth)?;
                }
                // The home has a layer of its own.
                (Some(_), true) if self.is_system && path.starts_with(b"home/user/") => {}
                (Some(reason), true) => self.leave_out(path, reason),
                (Some(_), false) => {
                    if let Some(base) = base {
                        self.from_template = true;
                        let copied = self.entry(base, None, to, name, path, depth);
                        self.from_template = false;
                        copied?;
                    }
                }
                (None, false) => {}
            }
            path.truncate(length);
        }
        Ok(())
    }

    pub(super) fn names(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<Vec<std::ffi::CString>, String> {
        let names = listing_names(dir, ENTRIES_MAX).map_err(|e| format!("listing {}: {e}", text(path)))?;
        self.report.entries += names.len() as u64;
        if self.report.entries > ENTRIES_MAX {
            return Err(format!("there are more than {ENTRIES_MAX} files"));
        }
        Ok(names)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        base: Option<&OwnedFd>,
        to: &OwnedFd,
        name: &CStr,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), String> {
        let failed = |what: &str, path: &[u8], e: rustix::io::Errno| format!("{what} {}: {e}", text(path));
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("looking at", path, e))?;
        if self.is_hidden(name.to_bytes()) {
            self.leave_out(path, SECRET);
            return Ok(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = openat(from, name, DIRECTORY, Mode::empty()).map_err(|e| failed("opening", path, e))?;
                mkdirat(to, name, Mode::RWXU).map_err(|e| failed("making", path, e))?;
                let made = openat(to, name, DIRECTORY, Mode::empty()).map_err(|e| failed("opening", path, e))?;
                self.directory(&below, base, &made, path, depth + 1)?;
                // Whoever lists one of the user's needs to enter it: its owner has no capability.
                self.finish(&made, 0o700, &stat).map_err(|e| format!("finishing {}: {e}", text(path)))
            }
            FileType::RegularFile => self.file(from, to, name, path),
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new()).map_err(|e| failed("reading", path, e))?;
                if self.is_hidden(target.as_bytes()) {
                    self.leave_out(path, SECRET);
                    return Ok(());
                }
                symlinkat(&*target, to, name).map_err(|e| failed("making", path, e))?;
                let (uid, gid) = self.owner(&stat);
                chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| failed("giving away", path, e))
            }
            _ => {
                self.leave_out(path, "neither a file nor a link");
                Ok(())
            }
        }
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, path: &[u8]) -> Result<(), String> {
        let failed = |what: &str, e: io::Error| format!("{what} {}: {e}", text(path));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(from, name, flags, Mode::empty()).map_err(|e| failed("opening", e.into()))?;
        let stat = fstat(&source).map_err(|e| failed("looking at", e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed("opening", io::Error::other("it changed its type")));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed("making", e.into()))?;
        let is_packages =
            rules::is_in_package(path) || (self.is_system && stat.st_uid == 0 && !super::system::may_hold_a_key(path));
        let found = self.content(&source, &made, is_packages).map_err(|e| match e {
            Content::Full => format!(
                "its files have more than {} bytes, which is more than the sandbox's disk may hold: one of them is sparse, or \
                 shares its bytes with another (`cp --reflink`), or the sandbox is a clone of before clones counted what \
                 they share; `du --apparent-size` finds the large ones",
                self.bytes_max
            ),
            Content::Io(e) => failed("copying", e),
        })?;
        if let Some(why) = found {
            drop(made);
            unlinkat(to, name, AtFlags::empty()).map_err(|e| failed("leaving out", e.into()))?;
            self.leave_out(path, why);
            return Ok(());
        }
        self.finish(&made, 0o600, &stat).map_err(|e| failed("finishing", e))
    }

    /// Copies bytes; why the file is to be left out, if it is. Blocks of zeros become holes.
    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, is_package: bool) -> Result<Option<&'static str>, Content> {
        let mut search = self.masks.clone().map(Search::new);
        let mut buffer = vec![0_u8; BLOCK];
        let mut at = 0_u64;
        let mut tail: Vec<u8> = Vec::new();
        loop {
            let count = rustix::io::read(from, &mut buffer)?;
            if count == 0 {
                break;
            }
            let block = &buffer[..count];
            self.report.bytes += count as u64;
            if self.report.bytes > self.bytes_max {
                return Err(Content::Full);
            }
            let is_zero = block.iter().all(|byte| *byte == 0);
            if search.as_mut().is_some_and(|search| search.feed(block)) {
                return Ok(Some(SECRET));
            }
            if !is_package && !is_zero {
                tail.extend_from_slice(block);
                if tail.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY) {
                    return Ok(Some("a private key stands in it"));
                }
                tail.drain(..tail.len().saturating_sub(PRIVATE_KEY.len()));
            }
            if !is_zero {
                write_at(to, block, at)?;
            }
            at += count as u64;
        }
        rustix::fs::ftruncate(to, at)?;
        Ok(None)
    }

    /// As it was for root's; the user's is the user's, may be used by the user, and has no set-id bits.
    pub(super) fn finish(&self, made: &OwnedFd, at_least: u32, stat: &Stat) -> io::Result<()> {
        let mode = if self.is_system { stat.st_mode & 0o7777 } else { stat.st_mode & 0o777 | at_least };
        finish(made, self.owner(stat), Mode::from_raw_mode(mode), stat)
    }

    fn owner(&self, stat: &Stat) -> (Uid, Gid) {
        if self.is_system { (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)) } else { user() }
    }

    fn is_hidden(&self, bytes: &[u8]) -> bool {
        self.masks.as_ref().is_some_and(|masks| Search::new(Arc::clone(masks)).feed(bytes))
    }

    pub(super) fn leave_out(&mut self, path: &[u8], why: &str) {
        self.report.left_out_count += 1;
        if self.report.left_out.len() < LEFT_OUT_MAX {
            // A name may hold a secret itself.
            let shown = match (self.is_hidden(path), self.is_system) {
                (true, _) => "(a name with a secret in it)".to_owned(),
                (false, true) => format!("/{}", text(path)),
                (false, false) => text(path),
            };
            self.report.left_out.push((shown, why.to_owned()));
        }
    }
}

const SECRET: &str = "a secret of the sandbox, or what stands for one, is in it";

enum Content {
    Full,
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for Content {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn user() -> (Uid, Gid) {
    (Uid::from_raw(PROGRAM_UID), Gid::from_raw(PROGRAM_UID))
}

pub(super) fn write_at(to: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::pwrite(to, bytes, at)?;
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

/// Owner, mode, and the time in whole seconds, by which Python knows its bytecode again.
fn finish(made: &OwnedFd, (uid, gid): (Uid, Gid), mode: Mode, stat: &Stat) -> io::Result<()> {
    fchown(made, Some(uid), Some(gid))?;
    fchmod(made, mode)?;
    set_time(made, stat.st_mtime)
}

pub(super) fn set_time(made: &OwnedFd, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(futimens(made, &Timestamps { last_access: time, last_modification: time })?)
}

fn text(path: &[u8]) -> String {
    let shown = if path.is_empty() { "the home" } else { &String::from_utf8_lossy(path) };
    shown.chars().take(200).collect::<String>().escape_debug().to_string()
}

//! Makes an image's file system one for sandboxes: looks for the programs that are needed, and makes what every sandbox has.

use std::{io::Read, os::fd::OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, symlinkat, unlinkat};
use serde::{Deserialize, Serialize};

use super::place::{self, DIRECTORY, c, found, give, io as failed};
use crate::{
    build::listing::names,
    host::{INIT_UID, PROGRAM_UID},
    layer::{
        DEPTH_MAX,
        entry::{BadEntry, shown},
    },
};

/// Where programs are looked for when the image says nothing.
const PATH: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"];

/// The interpreter that the harness starts.
const PYTHON: &str = "/usr/bin/python3";

/// The Python whose warm interpreter can be forked: as the harness's `sitecustomize` and its library are made for it.
const FORKED: &[u8] = b"usr/bin/python3.11";

/// Dynamic linkers of glibc, by architecture.
const GLIBC: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Node where the engine starts it.
const NODE: &str = "/usr/local/bin/node";

/// Bytes of `/etc/passwd` and the like.
const TABLE_BYTES_MAX: u64 = 1 << 20;

/// What an image is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Login name of user 1000.
    pub login: String,
    /// Where executions start; made when it is missing.
    pub working_dir: String,
    /// Directories in which the image looks for programs.
    pub path: Vec<String>,
    /// Programs that must be there, by absolute path or by name, and what for.
    pub needs: Vec<(String, String)>,
}

/// What the engine can use of a file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Version of the interpreter, such as `3.11`, by the name of its file.
    pub python: Option<String>,
    /// That it can be forked: it is the Python that the harness is made for.
    pub forks: bool,
    /// There is a Node.
    pub node: bool,
}

/// Looks at a file system, of which nothing is run.
///
/// # Errors
/// Its links lead in circles.
pub fn look(root: &OwnedFd) -> Result<Found, BadEntry> {
    let python = program(root, PYTHON)?;
    let version = |path: &Vec<u8>| {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let text = std::str::from_utf8(name).ok()?.strip_prefix("python")?;
        let is_version = text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        (is_version && !text.is_empty()).then(|| text.to_owned())
    };
    let mut glibc = false;
    for linker in GLIBC {
        glibc |= program(root, linker)?.is_some();
    }
    Ok(Found {
        forks: glibc && python.as_deref() == Some(FORKED),
        python: python.as_ref().map(|path| version(path).unwrap_or_else(|| "3".into())),
        node: program(root, NODE)?.is_some(),
    })
}

/// Where a program lies, without links; `None` when there is none.
fn program(root: &OwnedFd, path: &str) -> Result<Option<Vec<u8>>, BadEntry> {
    let is_program = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile && mode & 0o111 != 0;
    let at = found(root, path.as_bytes());
    // What leads in circles, or through a file, is no program.
    let at = match at {
        Err(BadEntry::Refused(_)) => None,
        at => at?,
    };
    Ok(at.filter(|(.., stat)| is_program(stat.st_mode)).map(|(place, name, _)| place.join(&name)))
}

/// As [`program`], for a name, in the directories of the image's `PATH`: the path, with its links.
fn in_path(root: &OwnedFd, setting: &Setting, name: &str) -> Result<Option<String>, BadEntry> {
    for dir in setting.path.iter().map(String::as_str).chain(PATH) {
        let at = format!("{}/{name}", dir.trim_end_matches('/'));
        if dir.starts_with('/') && !dir.contains("..") && program(root, &at)?.is_some() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Makes it one for sandboxes.
///
/// # Errors
/// What it lacks, all of it, and what for; nothing was changed then.
pub fn prepare(root: &OwnedFd, setting: &Setting) -> Result<(), BadEntry> {
    check(root, setting)?;
    // Programs are no root, and have to get past it.
    give(root, (0, 0), 0o755)?;
    for dir in ["etc/ssl/certs", "home/user", "data", "dev", "proc", "sys", "run", "tmp", "var/tmp", "usr/lib"] {
        make(root, dir, (0, 0), if dir.ends_with("tmp") { 0o1777 } else { 0o755 })?;
    }
    for file in ["etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/machine-id", "etc/ssl/certs/ca-certificates.crt"]
    {
        point(root, file)?;
    }
    let home = make(root, "home/user", (PROGRAM_UID, PROGRAM_UID), 0o755)?;
    give(&home, (PROGRAM_UID, PROGRAM_UID), 0o755)?;
    make(root, setting.working_dir.trim_start_matches('/'), (PROGRAM_UID, PROGRAM_UID), 0o755)?;
    let (login, user, init) = (&setting.login, PROGRAM_UID, INIT_UID);
    accounts(
        root,
        "etc/passwd",
        login,
        &[
            format!("init:x:{init}:{init}::/nonexistent:/usr/sbin/nologin"),
            format!("{login}:x:{user}:{user}::/home/user:/bin/bash"),
        ],
    )?;
    accounts(root, "etc/group", login, &[format!("init:x:{init}:"), format!("{login}:x:{user}:")])?;
    if found(root, b"etc/shadow")?.is_some() {
        accounts(root, "etc/shadow", login, &["init:!:19000::::::".into(), format!("{login}:!:19000::::::")])?;
    }
    python(root, setting)?;
    if program(root, NODE)?.is_none()
        && let Some(at) = in_path(root, setting, "node")?
    {
        make(root, "usr/local/bin", (0, 0), 0o755)?;
        link(root, NODE, &at)?;
    }
    Ok(())
}

fn check(root: &OwnedFd, setting: &Setting) -> Result<(), BadEntry> {
    let mut lacks = Vec::new();
    // What lies over an image has these as directories, and would hide what a link leads to.
    for dir in ["etc", "home", "usr", "usr/lib", "var"] {
        let parts: Vec<Vec<u8>> = dir.split('/').map(|part| part.as_bytes().to_vec()).collect();
        match place::directory(root, &parts, None)? {
            Some(place) if place.path != dir.as_bytes() => {
                lacks.push(format!("/{dir} as a directory, which is a link"))
            }
            _ => {}
        }
    }
    for (name, why) in &setting.needs {
        let is_there = if name.starts_with('/') {
            program(root, name)?.is_some()
        } else {
            in_path(root, setting, name)?.is_some()
        };
        if !is_there {
            lacks.push(format!("{name} ({why})"));
        }
    }
    if lacks.is_empty() {
        return Ok(());
    }
    Err(BadEntry::Refused(format!("the image lacks {}", lacks.join(", "))))
}

/// The directory at a path, made with that owner and mode if it is missing.
fn make(root: &OwnedFd, path: &str, ids: (u32, u32), mode: u32) -> Result<OwnedFd, BadEntry> {
    let mut parts: Vec<Vec<u8>> = path.split('/').map(|part| part.as_bytes().to_vec()).collect();
    let Some(name) = parts.pop() else { return Ok(root.try_clone()?) };
    let Some(place) = place::directory(root, &parts, Some(&mut |_| {}))? else {
        return Err(BadEntry::Refused(format!("{path} cannot be made")));
    };
    let text = c(&name)?;
    match place::look(&place.dir, &text)? {
        None => {
            mkdirat(&place.dir, &*text, Mode::RWXU).map_err(failed)?;
            let made = openat(&place.dir, &*text, DIRECTORY, Mode::empty()).map_err(failed)?;
            give(&made, ids, mode)?;
            Ok(made)
        }
        Some(_) => {
            parts.push(name);
            match place::directory(root, &parts, None)? {
                Some(place) => Ok(place.dir),
                None => Err(BadEntry::Refused(format!("/{path} is a link that leads nowhere"))),
            }
        }
    }
}

/// An empty file where something is mounted later, if there is none. What is a link becomes a file: images of systems have their
/// resolver's elsewhere.
fn point(root: &OwnedFd, path: &str) -> Result<(), BadEntry> {
    let (dir, name) = path.rsplit_once('/').expect("they lie in directories");
    let dir = make(root, dir, (0, 0), 0o755)?;
    let text = c(name.as_bytes())?;
    let was = place::look(&dir, &text)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
    if was == Some(FileType::RegularFile) {
        return Ok(());
    }
    // A link to certificates leads to them; the file is mounted over where the link would not be.
    if was == Some(FileType::Symlink) && found(root, path.as_bytes())?.is_some() && name.ends_with(".crt") {
        return Ok(());
    }
    if was.is_some() {
        place::remove(&dir, name.as_bytes(), path.as_bytes(), &|_| false, 0)?;
    }
    write(&dir, name.as_bytes(), b"", 0o644)
}

fn write(dir: &OwnedFd, name: &[u8], content: &[u8], mode: u32) -> Result<(), BadEntry> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(dir, &*c(name)?, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    crate::layer::home::write_at(&made, content, 0)?;
    give(&made, (0, 0), mode)
}

/// Replaces what a table of accounts says of our two: whoever had the name or the number of the user before is the user now.
fn accounts(root: &OwnedFd, path: &str, login: &str, ours: &[String]) -> Result<(), BadEntry> {
    let (mut old, mut mode) = (Vec::new(), 0o644);
    if let Some((place, name, stat)) = found(root, path.as_bytes())? {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(BadEntry::Refused(format!("/{path} is no file")));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&place.dir, &*c(&name)?, flags, Mode::empty()).map_err(failed)?;
        std::fs::File::from(file).take(TABLE_BYTES_MAX + 1).read_to_end(&mut old)?;
        if old.len() as u64 > TABLE_BYTES_MAX {
            return Err(BadEntry::Refused(format!("/{path} has more than {TABLE_BYTES_MAX} bytes")));
        }
        mode = stat.st_mode & 0o777;
    }
    let has_numbers = !path.ends_with("shadow");
    let user = PROGRAM_UID.to_string();
    let mut text = Vec::new();
    for line in old.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        if name == login.as_bytes() || name == b"init" || (has_numbers && number == user.as_bytes()) {
            continue;
        }
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    for line in ours {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    let (dir, name) = path.rsplit_once('/').expect("they lie in directories");
    let dir = make(root, dir, (0, 0), 0o755)?;
    place::remove(&dir, name.as_bytes(), path.as_bytes(), &|_| false, 0)?;
    write(&dir, name.as_bytes(), &text, mode)
}

/// `/usr/bin/python3` is the Python that the image itself starts by that name. The user may install packages into it.
fn python(root: &OwnedFd, setting: &Setting) -> Result<(), BadEntry> {
    let Some(at) = in_path(root, setting, "python3")? else { return Ok(()) };
    if program(root, &at)? != program(root, PYTHON)? {
        link(root, PYTHON, &at)?;
    }
    for lib in ["usr/lib", "usr/local/lib"] {
        let parts: Vec<Vec<u8>> = lib.split('/').map(|part| part.as_bytes().to_vec()).collect();
        let Some(place) = place::directory(root, &parts, None)? else { continue };
        for name in names(&place.dir, u64::MAX)?.iter().filter(|name| name.to_bytes().starts_with(b"python3")) {
            if let Ok(dir) = openat(&place.dir, &**name, DIRECTORY, Mode::empty()) {
                let _ = unlinkat(&dir, c"EXTERNALLY-MANAGED", AtFlags::empty());
            }
        }
    }
    Ok(())
}

fn link(root: &OwnedFd, path: &str, to: &str) -> Result<(), BadEntry> {
    let parts = super::tar::clean(path.as_bytes(), DEPTH_MAX)?;
    let Some((name, above)) = parts.split_last() else { return Ok(()) };
    let Some(place) = place::directory(root, above, Some(&mut |_| {}))? else {
        return Err(BadEntry::Refused(format!("{} cannot be made", shown(path.as_bytes()))));
    };
    place::remove(&place.dir, name, &place.join(name), &|_| false, 0)?;
    symlinkat(to, &place.dir, &*c(name)?).map_err(failed)
}

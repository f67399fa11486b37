//! What is installed: each file with its place and content.

use std::{
    fs,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::{Place, UNIT};
use crate::pages::{self, Completed};

/// The unit, in which `@BIN@` stands for the executable.
const UNIT_TEXT: &str = include_str!("ringfence.service");

/// One file.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Where it will be on the installed system.
    pub(crate) path: PathBuf,
    /// Permissions.
    pub(crate) mode: u32,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// This program's own file, which is large.
    Executable,
    Bytes(Vec<u8>),
}

/// Who runs: also when the file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";

impl Planned {
    fn of_bytes(path: PathBuf, bytes: Vec<u8>) -> Self {
        let sha256 = hex(Sha256::digest(&bytes).as_slice());
        Self { path, mode: 0o644, bytes: bytes.len() as u64, sha256, content: Content::Bytes(bytes) }
    }

    /// Its content from the beginning.
    ///
    /// # Errors
    /// The executable cannot be opened.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.content {
            Content::Executable => Box::new(fs::File::open(OURSELVES)?),
            Content::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        })
    }
}

/// Every file, the executable first.
///
/// # Errors
/// The executable cannot be read.
pub(crate) fn files(place: &Place) -> anyhow::Result<Vec<Planned>> {
    let bin = place.prefix.join("bin/ringfence");
    let (sha256, bytes) = digest(Path::new(OURSELVES)).context("reading this program's own file")?;
    let mut files = vec![
        Planned { path: bin.clone(), mode: 0o755, bytes, sha256, content: Content::Executable },
        Planned::of_bytes(Path::new("/etc/systemd/system").join(UNIT), unit(&bin).into_bytes()),
    ];
    for shell in Completed::ALL {
        files.push(Planned::of_bytes(place.prefix.join(shell.file()), pages::completions(shell)));
    }
    for (name, page) in pages::all()? {
        files.push(Planned::of_bytes(place.prefix.join("share/man/man1").join(name), page));
    }
    Ok(files)
}

/// The unit for an executable at that place.
pub(crate) fn unit(bin: &Path) -> String {
    UNIT_TEXT.replace("@BIN@", &bin.to_string_lossy())
}

/// SHA-256 and length of a file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok((hex(hash.finalize().as_slice()), bytes)),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of the unit, without its comments.
    fn settings(text: &str) -> Vec<(&str, &str)> {
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
    }

    #[test]
    fn the_unit_starts_the_executable_that_was_installed() {
        let text = unit(Path::new("/opt/ringfence/bin/ringfence"));
        assert!(settings(&text).contains(&("ExecStart", "/opt/ringfence/bin/ringfence serve")), "{text}");
        assert!(!text.contains('@'), "{text}");
    }

    /// The posture of each sandbox is read from the kernel and compared with the number of *our* filters. These settings of
    /// systemd.exec(5) add filters, which children inherit: no sandbox could be made.
    #[test]
    fn the_unit_adds_no_filter_of_system_calls() {
        const FILTERS: [&str; 15] = [
            "SystemCallFilter",
            "SystemCallArchitectures",
            "SystemCallLog",
            "RestrictAddressFamilies",
            "RestrictNamespaces",
            "RestrictRealtime",
            "RestrictSUIDSGID",
            "MemoryDenyWriteExecute",
            "LockPersonality",
            "ProtectClock",
            "ProtectKernelTunables",
            "ProtectKernelModules",
            "ProtectKernelLogs",
            "ProtectHostname",
            "PrivateDevices",
        ];
        let text = unit(Path::new("/x"));
        for (name, value) in settings(&text) {
            assert!(!FILTERS.contains(&name), "{name}={value}");
        }
        // And each is named with the reason why it is not there.
        for name in FILTERS {
            assert!(text.lines().any(|line| line.starts_with('#') && line.contains(name)), "{name}");
        }
    }

    #[test]
    fn files_are_where_their_readers_look() {
        let place = Place::new(None, Path::new("/usr/local")).expect("right");
        let files = files(&place).expect("a plan");
        let of = |path: &str| files.iter().find(|file| file.path == Path::new(path)).expect(path);
        assert_eq!(of("/usr/local/bin/ringfence").mode, 0o755);
        for path in [
            "/etc/systemd/system/ringfence.service",
            "/usr/local/share/bash-completion/completions/ringfence",
            "/usr/local/share/zsh/site-functions/_ringfence",
            "/usr/local/share/fish/vendor_completions.d/ringfence.fish",
            "/usr/local/share/man/man1/ringfence.1",
            "/usr/local/share/man/man1/ringfence-sandbox-create.1",
        ] {
            let file = of(path);
            let mut content = Vec::new();
            file.open().expect("readable").read_to_end(&mut content).expect("readable");
            assert_eq!((file.mode, file.bytes), (0o644, content.len() as u64), "{path}");
        }
    }
}

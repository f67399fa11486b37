//! A file beside the database (`audit.head` of the engine's, `gate.head` of the gateway's) that remembers an end of the chain.
//!
//! One line: `ringfence-audit-head 1 SEQ HASH`. It is at most a second behind while the store is idle and says nothing
//! about entries after SEQ. It is written whole and renamed, so that a reader never sees half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{AuditHash, AuditHead};
use crate::lock;

const MAGIC: &str = "ringfence-audit-head 1";

/// The file that remembers the head.
#[derive(Debug, Clone)]
pub(crate) struct HeadFile {
    path: PathBuf,
}

impl HeadFile {
    pub(crate) fn beside(database: &Path, name: &str) -> Self {
        Self { path: database.with_file_name(name) }
    }

    /// What the file remembers; none when there is no file. A file that is not ours is an error.
    pub(crate) fn read(&self) -> io::Result<Option<AuditHead>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        parse(&text).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an audit head"))
    }

    pub(crate) fn write(&self, head: AuditHead) -> io::Result<()> {
        let temporary = lock::beside(&self.path, ".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{MAGIC} {} {}", head.seq, head.hash)?;
        file.sync_data()?;
        fs::rename(&temporary, &self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn parse(text: &str) -> Option<AuditHead> {
    let (seq, hash) = text.trim_end().strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    Some(AuditHead { seq: seq.parse().ok()?, hash: AuditHash::parse(hash)? })
}

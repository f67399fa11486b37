//! A state directory as one file, and back: a tar in the one way of `layer/entry.rs`, compressed with zstd. The same state is the same
//! bytes, as long as zstd is the same.
//!
//! The first entry is the manifest, the last one the SHA-256 of every file before it. What tar has no word for in that way stands
//! in an entry of its own behind it: a directory that hides those below (`layers-opaque/`), a name that is hidden
//! (`layers-whiteout/`). Disks are not a file of 30 GB but its pieces with content (`disks/<offset>`).
//!
//! It is done by root for the operator, with what the installation itself wrote. What is read is judged all the same: each path
//! is made below the directory without following a link, each layer must have the digest that it is named after, and a
//! directory is given its name when everything in it is as the archive says.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::layer::entry::BadEntry;

mod read;
mod write;

pub use read::restore;
pub use write::{Source, write};

/// Name of the first entry.
const MANIFEST: &[u8] = b"backup.json";
/// Name of the last entry.
const DIGESTS: &[u8] = b"digests";
/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;
/// Bytes of a manifest.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a piece of the disks.
const PIECE_BYTES: u64 = 16 << 20;
/// Fast, and within a tenth of what more would save.
const LEVEL: i32 = 3;

/// The image of the disks, in the state directory.
const DISKS_IMAGE: &str = "disks.btrfs";
/// Pieces of it in an archive: its offset in sixteen hexadecimal digits.
const DISKS: &str = "disks";
/// Layers in an archive.
const LAYERS: &str = "layers";
/// Directories of layers that hide those below them.
const OPAQUE: &str = "layers-opaque";
/// Names that layers hide in those below them.
const WHITEOUT: &str = "layers-whiteout";
/// Directories of the roles, which hold files and directories.
const ROLES: [&str; 4] = ["engine", "gate", "market", "venue"];
/// What an operator has written.
const CONFIG: &str = "config.toml";

/// The end of an audit chain when the backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of the last entry.
    pub seq: u64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
    /// Schema of the database.
    pub schema: u32,
}

/// What the first entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// The engine's audit chain.
    pub engine: Head,
    /// The gateway's; none where it never ran.
    pub gate: Option<Head>,
    /// Bytes of the image of the disks; none when the files of sandboxes are not in it.
    pub disks_bytes: Option<u64>,
}

/// What was written, or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What the first entry says.
    pub manifest: Manifest,
    /// Files, whole layers included.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Layers.
    pub layers: u64,
}

/// Why a backup was not written or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or a directory.
    #[error("{what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The archive is not one of ours, or not whole.
    #[error("the backup was refused: {0}; nothing was restored")]
    Refused(String),
    /// Something that backups do not hold.
    #[error("{0}")]
    Cannot(String),
}

fn io_error(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.into();
    move |source| BackupError::Io { what, path, source }
}

fn refused<T>(why: impl Into<String>) -> Result<T, BackupError> {
    Err(BackupError::Refused(why.into()))
}

impl From<BadEntry> for BackupError {
    fn from(bad: BadEntry) -> Self {
        Self::Refused(bad.to_string())
    }
}

/// Reads a file to its end while nobody may make it longer than it was when it was opened.
fn as_it_was(file: File) -> io::Result<(impl Read, u64)> {
    let length = file.metadata()?.len();
    Ok((file.take(length), length))
}

#[cfg(test)]
mod tests;

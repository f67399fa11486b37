//! Key files: 32 random bytes that only their owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::seal::random;

pub(crate) const KEY_BYTES: usize = 32;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others may read it.
    #[error(
        "the key file {path} may be read by others (mode {mode:04o}): take that away with `chmod 0400 {path}`, and consider what it protects as known"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key.
    #[error("{path} is not a key file of ringfence: it must be a plain file of 32 bytes")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read or made.
    #[error("could not {operation} the key file {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Reads the key at `path`, or makes one there (mode 0400) when there is none.
pub(crate) fn load_or_create(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    match load(path) {
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            // Read back what is there: another process may have made it first.
            load(path)
        }
        other => other,
    }
}

fn load(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let failed = |source| KeyError::File { operation: "read", path: path.into(), source };
    // O_NONBLOCK: opening a pipe that somebody put there must not wait for its other end.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() != KEY_BYTES as u64 {
        return Err(KeyError::NotAKey { path: path.into() });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode: metadata.mode() & 0o7777 });
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    file.read_exact(&mut *key).map_err(failed)?;
    Ok(key)
}

/// Makes a key file under its name at once and whole, so that a crash leaves no half of a key behind.
fn create(path: &Path) -> Result<(), KeyError> {
    let failed = |operation| move |source| KeyError::File { operation, path: path.into(), source };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    random(&mut *key);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o400))?;
        file.write_all(&*key)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces a key that is there.
        match fs::hard_link(&temporary, path) {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let removed = fs::remove_file(&temporary);
    written.map_err(failed("make"))?;
    removed.map_err(failed("finish"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("make durable"))
}

//! The list of what an installation has written: what is in it, and as it was written, may be replaced and removed.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Format of the file.
const FORMAT: u32 = 1;

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// 1.
    format: u32,
    /// Version of the program that wrote it.
    pub(crate) version: String,
    /// Files, by their paths on the installed system.
    pub(crate) files: Vec<Written>,
    /// Directories that were made for them, outer before inner.
    pub(crate) dirs: Vec<PathBuf>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// Where.
    pub(crate) path: PathBuf,
    /// What it may hold, as SHA-256: one digest, and two while it is being replaced.
    pub(crate) sha256: Vec<String>,
}

impl Manifest {
    /// An empty one of this program.
    pub(crate) fn new() -> Self {
        Self { format: FORMAT, version: env!("CARGO_PKG_VERSION").into(), files: Vec::new(), dirs: Vec::new() }
    }

    /// Reads it; none where nothing is installed.
    ///
    /// # Errors
    /// It cannot be read, or is no such list.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        let manifest: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no list of what was installed", path.display()))?;
        if manifest.format != FORMAT {
            bail!("{} has the format {}, which this version does not know", path.display(), manifest.format);
        }
        let paths = manifest.files.iter().map(|file| &file.path).chain(&manifest.dirs);
        let is_plain = |path: &PathBuf| path.is_absolute() && path.components().all(|c| c.as_os_str() != "..");
        if let Some(wrong) = paths.into_iter().find(|path| !is_plain(path)) {
            bail!("{} names {}, which no installation writes", path.display(), wrong.display());
        }
        Ok(Some(manifest))
    }

    /// Writes it as a whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_whole(path, 0o644, &mut text.as_slice()).with_context(|| format!("writing {}", path.display()))
    }

    /// What it knows of a file.
    pub(crate) fn get(&self, path: &Path) -> Option<&Written> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Adds a digest that a file may have.
    pub(crate) fn allow(&mut self, path: &Path, sha256: &str) {
        match self.files.iter_mut().find(|file| file.path == path) {
            Some(file) if file.sha256.iter().any(|known| known == sha256) => {}
            Some(file) => file.sha256.push(sha256.to_owned()),
            None => self.files.push(Written { path: path.to_owned(), sha256: vec![sha256.to_owned()] }),
        }
    }
}

/// Puts a file into its place at once: whoever has the old one open keeps it, as an executable that runs must.
///
/// # Errors
/// It cannot be written; nothing is left beside it then.
pub(crate) fn write_whole(path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".ringfence-{}", std::process::id()));
    let unfinished = path.with_file_name(name);
    let mut write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        io::copy(content, &mut file)?;
        file.flush()?;
        // Not by the umask of whoever runs this.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

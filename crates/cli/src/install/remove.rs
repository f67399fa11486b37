//! Taking away what was installed, and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{Place, apply::regular, manifest::Manifest};

/// What became of an installation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Files that have gone, or would.
    pub(crate) files: Vec<PathBuf>,
    /// Files that somebody has changed since they were written, and that stay.
    pub(crate) left: Vec<PathBuf>,
}

/// Removes what the manifest lists and nobody has changed, then the directories that were made for it, where they are empty.
///
/// # Errors
/// Nothing is installed there, or a file cannot be removed; another run goes on.
pub(crate) fn remove(place: &Place, dry_run: bool) -> anyhow::Result<Removed> {
    let list = place.real(&place.manifest());
    place.check_way(&place.manifest())?;
    let Some(mut manifest) = Manifest::load(&list)? else {
        bail!(
            "nothing is installed under {}: there is no {}; with which --prefix was it?",
            place.prefix.display(),
            list.display()
        );
    };
    let mut removed = Removed::default();
    for file in &manifest.files {
        place.check_way(&file.path)?;
        let real = place.real(&file.path);
        match regular(&real)? {
            Some((digest, _)) if file.sha256.contains(&digest) => {
                if !dry_run {
                    fs::remove_file(&real).with_context(|| format!("removing {}", real.display()))?;
                }
                removed.files.push(file.path.clone());
            }
            None if is_gone(&real) => {}
            _ => removed.left.push(file.path.clone()),
        }
    }
    if dry_run {
        return Ok(removed);
    }
    manifest.files.retain(|file| removed.left.contains(&file.path));
    if manifest.files.is_empty() {
        fs::remove_file(&list).with_context(|| format!("removing {}", list.display()))?;
    } else {
        manifest.save(&list)?;
    }
    for dir in manifest.dirs.iter().rev() {
        let real = place.real(dir);
        match fs::remove_dir(&real) {
            // Others have put something there, or have removed it.
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {}
            Err(e) => return Err(e).with_context(|| format!("removing {}", real.display())),
            Ok(()) => {}
        }
    }
    Ok(removed)
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

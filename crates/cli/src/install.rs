//! Putting ringfence on a host: its executable, a unit of systemd, completions and manual pages; and taking exactly that away again.
//!
//! What was written is listed in a manifest, with digests. A file that is not in it, or that somebody has changed since, is neither
//! replaced nor removed. The state directory is never touched.

pub(crate) mod apply;
pub(crate) mod manifest;
pub(crate) mod plan;
pub(crate) mod remove;

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};

/// Name of the unit.
pub(crate) const UNIT: &str = "ringfence.service";

/// Where it is installed.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Directory that stands for `/`: that itself, or the tree that a packager fills.
    pub(crate) root: PathBuf,
    /// Such as `/usr/local`.
    pub(crate) prefix: PathBuf,
}

impl Place {
    /// Checks both.
    ///
    /// # Errors
    /// The prefix is not one that can stand in a unit as it is; the other root is missing.
    pub(crate) fn new(root: Option<&Path>, prefix: &Path) -> anyhow::Result<Self> {
        let text = prefix.to_str().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
        let ordinary = prefix.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !prefix.is_absolute() || !ordinary || !text.chars().all(plain) || prefix == Path::new("/") {
            bail!(
                "--prefix {} must be an absolute path of letters, digits and ._+- such as /usr/local or /opt/ringfence",
                prefix.display()
            );
        }
        // Without doubled slashes and a last one.
        let prefix = prefix.components().collect();
        let root = match root {
            None => PathBuf::from("/"),
            Some(root) => fs::canonicalize(root).with_context(|| format!("finding --root {}", root.display()))?,
        };
        Ok(Self { root, prefix })
    }

    /// Whether this is the host itself.
    pub(crate) fn is_host(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the installed system lies now.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The list of what was written.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.prefix.join("share/ringfence/installed.json")
    }

    /// Refuses a way below another root that leads out of it: a link in the tree would be followed on this host.
    ///
    /// # Errors
    /// It names the link.
    pub(crate) fn check_way(&self, path: &Path) -> anyhow::Result<()> {
        if self.is_host() {
            return Ok(());
        }
        let mut at = self.root.clone();
        for part in path.parent().unwrap_or(path).strip_prefix("/").unwrap_or(path).components() {
            at.push(part);
            if fs::symlink_metadata(&at).is_ok_and(|found| found.is_symlink()) {
                bail!("{} is a link, which would be followed on this host; make it a directory", at.display());
            }
        }
        Ok(())
    }
}

/// Refuses who may not write to the host.
///
/// # Errors
/// It says what to do.
pub(crate) fn must_be_root(place: &Place, verb: &str) -> anyhow::Result<()> {
    if place.is_host() && !rustix::process::geteuid().is_root() {
        bail!(
            "`{verb}` writes to this host and needs root: run `sudo ringfence {verb}`, or give it a --root of your own"
        );
    }
    Ok(())
}

/// Whether systemd runs here: sd_booted(3).
pub(crate) fn is_systemd_up() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_can_stand_in_a_unit() {
        for prefix in ["/usr/local", "/opt/ringfence-0.1", "/usr//local/"] {
            assert!(Place::new(None, Path::new(prefix)).is_ok(), "{prefix}");
        }
        for prefix in ["", "/", "usr/local", "/usr/../etc", "/opt/my tools", "/opt/%n", "/opt/a\nb", "/opt/\"x"] {
            assert!(Place::new(None, Path::new(prefix)).is_err(), "{prefix}");
        }
        assert_eq!(Place::new(None, Path::new("/usr//local/")).expect("right").prefix, Path::new("/usr/local"));
    }

    #[test]
    fn a_link_below_another_root_is_not_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(root.path()), Path::new("/usr/local")).expect("right");
        assert!(place.check_way(Path::new("/usr/local/bin/ringfence")).is_ok());
        fs::create_dir(root.path().join("usr")).expect("a directory");
        std::os::unix::fs::symlink("/tmp", root.path().join("usr/local")).expect("a link");
        assert!(place.check_way(Path::new("/usr/local/bin/ringfence")).is_err());
    }
}

//! Building templates: steps in the *build* posture, and the trees that they leave.
//!
//! A step is root inside a user namespace of its own, with five capabilities there and nothing on the host, so that
//! maintainer scripts and package installers never run as host root. The tree that steps work on lies below
//! `builds/<tree>/rootfs` with canonical ids (0 is root inside) and becomes a layer when it is sealed.
//!
//! * [`step`]: the process, and what it gives up before third-party code runs in it;
//! * [`root`]: what it sees;
//! * [`listing`]: what a tree holds, as one digest;
//! * [`remove`]: taking away a tree that somebody hostile filled.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use ringfence_model::LayerDigest;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

use crate::{
    host::Host,
    shell::{Step, StepError},
};

pub mod listing;
pub mod remove;
pub mod root;
pub mod step;

pub use listing::Listing;

/// Directory inside where the files of a step's plan are.
pub const FILES_DIR: &str = "/build";

/// Bytes that a step may be given as its standard input.
pub const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Beside a tree's root, for overlayfs, while a step runs.
pub(crate) const WORK_DIR: &str = "wk";

/// Where a build tree is.
#[must_use]
pub fn tree_dir(host: &Host, tree: &str) -> PathBuf {
    host.home.join("builds").join(tree)
}

/// Makes a tree a layer under its digest. When that layer exists already, the tree is removed instead.
///
/// # Errors
/// The step that failed. The tree is left as it was, unless it was being removed.
pub fn seal(host: &Host, tree: &str) -> Result<(LayerDigest, Listing), StepError> {
    seal_dir(&tree_dir(host, tree), &host.layers())
}

/// As [`seal`], for a tree that holds a home and nothing else: it hides the homes of the layers below.
///
/// # Errors
/// As [`seal`], and when the tree holds something else.
pub fn seal_home(host: &Host, tree: &str) -> Result<(LayerDigest, Listing), StepError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = open_root(host, tree).step("opening the tree")?;
    for name in ["home", "user"] {
        let names = listing::names(&dir, 2).step("listing the tree")?;
        if !matches!(&names[..], [only] if only.to_bytes() == name.as_bytes()) {
            let source = io::Error::other("it holds something else than a home");
            return Err(StepError { step: "looking at the tree".into(), source });
        }
        dir = openat(&dir, name, flags, Mode::empty()).step("opening the home")?;
    }
    let set = rustix::fs::fsetxattr(&dir, listing::OPAQUE, b"y", rustix::fs::XattrFlags::empty());
    set.step("hiding the homes below")?;
    seal(host, tree)
}

/// What a layer holds now; its digest is the layer's name unless somebody has changed it.
///
/// # Errors
/// It cannot be read.
pub fn look(host: &Host, layer: &LayerDigest) -> Result<Listing, StepError> {
    let root = open_root_of(&host.layers().join(layer.as_str())).step("opening the layer")?;
    listing::list(&root).map_err(|e| StepError { step: e.what, source: e.source })
}

/// As [`seal`], for a tree that lies anywhere on the layers' file system: what this program makes itself, such as the
/// sample bars.
///
/// # Errors
/// As [`seal`].
pub fn seal_dir(dir: &Path, layers: &Path) -> Result<(LayerDigest, Listing), StepError> {
    remove::tree(&dir.join(WORK_DIR)).step("removing overlay's working directory")?;
    let root = open_root_of(dir).step("opening the tree")?;
    let listing = listing::list(&root).map_err(|e| StepError { step: e.what, source: e.source })?;
    let digest = LayerDigest::parse(&listing.digest).expect("a SHA-256 in hexadecimal");
    let layer = layers.join(digest.as_str());
    if layer.is_dir() {
        remove::tree(dir).step("removing a tree that is a layer already")?;
        return Ok((digest, listing));
    }
    // What the name promises must be on disk before the name is: after a crash nobody lists the content again.
    rustix::fs::syncfs(&root).step("writing the tree to disk")?;
    match fs::rename(dir, &layer) {
        // Another one of the same content was sealed meanwhile.
        Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            remove::tree(dir).step("removing a tree that is a layer already")?;
            return Ok((digest, listing));
        }
        renamed => renamed.step("naming the layer")?,
    }
    fs::File::open(layers).and_then(|layers| layers.sync_all()).step("writing the layer's name to disk")?;
    Ok((digest, listing))
}

/// Removes the mount point of [`FILES_DIR`] from a tree. One that is missing, or holds something, is left.
pub(crate) fn remove_mount_point(host: &Host, tree: &str) {
    if let Ok(root) = open_root(host, tree) {
        // rmdir does not follow a link in the last place, and the descriptor is the tree's root itself.
        let _ = unlinkat(&root, FILES_DIR.trim_start_matches('/'), AtFlags::REMOVEDIR);
    }
}

/// The root of a tree. `builds/<tree>` is ours alone; steps see only what is below its `rootfs`.
fn open_root(host: &Host, tree: &str) -> io::Result<OwnedFd> {
    open_root_of(&tree_dir(host, tree))
}

fn open_root_of(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    Ok(openat(&dir, "rootfs", flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[test]
    fn trees_of_one_content_that_are_sealed_at_once_are_one_layer() {
        const AT_ONCE: usize = 8;
        for round in 0..20 {
            let home = tempfile::tempdir().expect("a directory");
            let layers = home.path().join("layers");
            fs::create_dir(&layers).expect("a directory");
            let ready = Barrier::new(AT_ONCE);
            let seal = |number: usize| {
                let tree = home.path().join(format!("tree-{number}"));
                fs::create_dir_all(tree.join("rootfs/d")).expect("a directory");
                fs::write(tree.join("rootfs/d/f"), format!("round {round}")).expect("a file");
                ready.wait();
                seal_dir(&tree, &layers).map(|(digest, _)| digest).expect("it is sealed, or was")
            };
            let digests: Vec<_> = thread::scope(|scope| {
                let all: Vec<_> = (0..AT_ONCE)
                    .map(|number| {
                        let seal = &seal;
                        scope.spawn(move || seal(number))
                    })
                    .collect();
                all.into_iter().map(|one| one.join().expect("no panic")).collect()
            });
            assert!(digests.iter().all(|digest| *digest == digests[0]));
            let left = fs::read_dir(home.path()).expect("listed").count();
            assert_eq!((left, fs::read_dir(&layers).expect("listed").count()), (1, 1), "the layers alone, and one");
        }
    }
}

//! What work on layers sees: its sources, read-only and with mapped ids, and the trees that it fills. Nothing of the host.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use ringfence_model::LayerDigest;

use crate::{
    build::root::{mount_dev, stack, take_devices, take_layers, take_tree},
    host::Host,
    proto::LayerWork,
    shell::{Step, StepError},
    sys,
};

/// The root as programs of the sandbox see it, or what is seen of layers together.
pub(super) const SEEN: &str = "/seen";

/// The sandbox's own changes, as they are on its disk.
pub(super) const CHANGES: &str = "/d/up";

/// The same without the sandbox's own changes.
pub(super) const TEMPLATE: &str = "/template";

/// All layers.
pub(super) const LAYERS: &str = "/l";

/// Where the tree of that number is.
#[must_use]
pub(super) fn tree(number: usize) -> String {
    format!("/t{number}")
}

/// Builds the root and enters it. The caller is host root in a mount namespace of its own, with private propagation.
///
/// # Errors
/// The step that failed.
pub(super) fn enter(host: &Host, work: &LayerWork, base: u32, userns: BorrowedFd<'_>) -> Result<(), StepError> {
    let below = work.below();
    let is_over = !below.is_empty();
    let mut trees: Vec<OwnedFd> =
        work.trees().into_iter().map(|tree| take_tree(host, tree, is_over, userns)).collect::<Result<_, _>>()?;
    let taken = take_layers(host, below, userns)?;
    let layers = read_only(&host.layers(), userns).step("taking the layers")?;
    let disk = match work {
        LayerWork::CopyHome { disk, .. } => Some(read_only(&host.disk(*disk), userns).step("taking the disk")?),
        _ => None,
    };
    let devices = take_devices()?;
    let scratch = host.scratch();
    let options = format!("size=256k,nr_inodes=256,mode=755,uid={base},gid={base}");
    sys::mount("tmpfs", &scratch.to_string_lossy(), "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, &options)
        .step("mounting the scratch tmpfs")?;
    std::env::set_current_dir(&scratch).step("entering the scratch tmpfs")?;
    sys::set_fs_id(base, base);
    if let (Some(taken), [tree]) = (&taken, &mut trees[..]) {
        *tree = stack(below, taken, tree)?;
    }
    for dir in ["dev", "proc", "l", "d", "seen", "template"] {
        fs::create_dir(dir).step("making a mount point")?;
    }
    let looks =
        matches!(work, LayerWork::CopyHome { .. } | LayerWork::List(_) | LayerWork::Write { .. } | LayerWork::Find(_));
    if looks {
        sys::attach_mount(layers.as_fd(), "l").step("attaching the layers")?;
    }
    if let (LayerWork::CopyHome { layers, .. }, Some(disk)) = (work, disk) {
        sys::attach_mount(disk.as_fd(), "d").step("attaching the disk")?;
        merge("seen", std::iter::once("d/up".to_owned()).chain(layers.iter().map(rootfs)))?;
        // Overlayfs wants two layers; an empty directory is one.
        fs::create_dir("empty").step("making an empty directory")?;
        merge("template", layers.iter().map(rootfs).chain(["empty".to_owned()]))?;
    }
    if let LayerWork::List(base) | LayerWork::Write { base, .. } | LayerWork::Find(base) = work {
        fs::create_dir("empty").step("making an empty directory")?;
        merge("seen", base.iter().map(rootfs).chain(["empty".to_owned()]))?;
    }
    for (number, tree) in trees.iter().enumerate() {
        let at = format!("t{number}");
        fs::create_dir(&at).step("making a mount point")?;
        sys::attach_mount(tree.as_fd(), &at).step("attaching a tree")?;
    }
    sys::pivot_to_cwd().step("pivoting")?;
    mount_dev(&devices, base)
}

fn rootfs(layer: &LayerDigest) -> String {
    format!("l/{layer}/rootfs")
}

/// The kernel resolves whiteouts, hidden and moved directories. There is no upper layer, so that nothing can be written.
fn merge(at: &str, layers: impl Iterator<Item = String>) -> Result<(), StepError> {
    let lower = layers.collect::<Vec<_>>().join(":");
    let flags = sys::MS_RDONLY | sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC;
    sys::mount("overlay", at, "overlay", flags, &format!("lowerdir={lower},redirect_dir=follow"))
        .step("mounting what programs see")
}

fn read_only(path: &Path, userns: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let tree = sys::open_tree_clone(&path.to_string_lossy())?;
    let attrs = sys::attr::IDMAP | sys::attr::RDONLY | sys::attr::NOSUID | sys::attr::NODEV;
    sys::mount_setattr(tree.as_fd(), attrs, Some(userns))?;
    Ok(tree)
}

//! What a build step sees: the host's programs, read-only, with the tree beside them; or the tree alone.
//!
//! Everything that comes from the host is taken as a detached mount first. Then the new root is entered, and only inside
//! it are mount points looked up and made: the tree's links may point anywhere, and by then there is no host to reach.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use ringfence_model::LayerDigest;

use super::{FILES_DIR, WORK_DIR, remove, tree_dir};
use crate::{
    host::Host,
    proto::{BuildPlan, BuildRoot},
    shell::{Step, StepError, private_dir},
    sys,
};

/// Where the tree is when the host's file system is the root.
const TREE_DIR: &str = "/tree";

/// The host's directories that a [`BuildRoot::Host`] step sees. Ids are not mapped: what belongs to host root shows as
/// nobody's, so that only what the host lets everybody read can be read. State, people's homes and mail lie elsewhere.
const HOST_DIRS: [&str; 8] = ["usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Where distributions keep the bundle of all certificates that the host trusts.
const TRUST_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Where Debian looks for it, inside.
const TRUST_BUNDLE_INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";

const SEALED: u64 = sys::attr::RDONLY | sys::attr::NOSUID | sys::attr::NODEV;

/// A detached mount, and where it belongs.
struct Part {
    at: PathBuf,
    mount: OwnedFd,
    /// Make a missing mount point: on file systems that are ours, never for a file in the tree, where it would stay.
    make: bool,
}

/// Builds the root and enters it. The caller is host root in a mount namespace of its own, with private propagation.
///
/// # Errors
/// The step that failed.
pub fn enter(host: &Host, plan: &BuildPlan, base: u32, userns: BorrowedFd<'_>) -> Result<(), StepError> {
    let tree = take_tree(host, &plan.tree, !plan.layers.is_empty(), userns)?;
    let layers = take_layers(host, &plan.layers, userns)?;
    let devices = take_devices()?;
    let mut parts = Vec::new();
    let mut links = Vec::new();
    if plan.root == BuildRoot::Host {
        take_host_dirs(&mut parts, &mut links)?;
    }
    if plan.network {
        take_network_files(plan.root, &mut parts)?;
    }

    let home = fs::canonicalize(&host.home).step("finding the state directory")?;
    let scratch = host.scratch();
    let options = format!("size=256k,nr_inodes=256,mode=755,uid={base},gid={base}");
    sys::mount("tmpfs", &scratch.to_string_lossy(), "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, &options)
        .step("mounting the scratch tmpfs")?;
    std::env::set_current_dir(&scratch).step("entering the scratch tmpfs")?;
    // Mount points in the tree are made with ids that its map knows (mount_setattr(2), "ID-mapped mounts").
    sys::set_fs_id(base, base);
    let tree = match layers {
        Some(layers) => stack(&plan.layers, &layers, &tree)?,
        None => tree,
    };
    match plan.root {
        BuildRoot::Host => parts.push(Part { at: TREE_DIR.into(), mount: tree, make: true }),
        BuildRoot::Tree => {
            fs::create_dir("root").step("making a mount point")?;
            sys::attach_mount(tree.as_fd(), "root").step("attaching the tree")?;
            std::env::set_current_dir("root").step("entering the tree")?;
        }
    }
    sys::pivot_to_cwd().step("pivoting")?;

    for (name, target) in links {
        symlink(target, Path::new("/").join(name)).step("linking a directory of the host")?;
    }
    for dir in ["dev", "proc", "tmp", "run", "var/tmp", FILES_DIR.trim_start_matches('/')] {
        fs::create_dir_all(Path::new("/").join(dir)).step("making a mount point")?;
    }
    for part in &parts {
        attach(part)?;
    }
    if plan.root == BuildRoot::Host {
        cover_home(&home)?;
        writable_tmpfs("/var/tmp", base)?;
    }
    writable_tmpfs("/tmp", base)?;
    mount_dev(&devices, base)?;
    place_files(&plan.files, base)
}

/// A tree, made when it does not exist, with its ids mapped; for one that lies over layers, the directory around it.
pub(crate) fn take_tree(host: &Host, tree: &str, is_over: bool, userns: BorrowedFd<'_>) -> Result<OwnedFd, StepError> {
    let dir = tree_dir(host, tree);
    private_dir(&dir).step("making the tree's directory")?;
    let root = dir.join("rootfs");
    match fs::create_dir(&root) {
        Ok(()) => {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).step("opening the tree")?;
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).step("making the tree"),
    }
    // An overlay takes the directory around it, in which it works beside the tree.
    let taken = if !is_over {
        root
    } else {
        // Left by a step before: `volatile` leaves a mark that forbids a second mount.
        remove::tree(&dir.join(WORK_DIR)).step("clearing overlay's working directory")?;
        fs::create_dir(dir.join(WORK_DIR)).step("making overlay's working directory")?;
        dir
    };
    let tree = sys::open_tree_clone(&taken.to_string_lossy()).step("taking the tree")?;
    let attrs = sys::attr::IDMAP | sys::attr::NOSUID | sys::attr::NODEV;
    sys::mount_setattr(tree.as_fd(), attrs, Some(userns)).step("mapping the tree's ids")?;
    Ok(tree)
}

/// The layers that the tree lies over; `None` when it is whole.
pub(crate) fn take_layers(
    host: &Host,
    layers: &[LayerDigest],
    userns: BorrowedFd<'_>,
) -> Result<Option<OwnedFd>, StepError> {
    if layers.is_empty() {
        return Ok(None);
    }
    let layers = sys::open_tree_clone(&host.layers().to_string_lossy()).step("taking the layers")?;
    let attrs = sys::attr::IDMAP | sys::attr::NOSUID | sys::attr::NODEV | sys::attr::RDONLY;
    sys::mount_setattr(layers.as_fd(), attrs, Some(userns)).step("mapping the layers' ids")?;
    Ok(Some(layers))
}

/// The tree over its layers, detached. Whatever is renamed, removed or changed in them is in the tree as overlayfs writes it, and
/// nothing refers to a layer by where it lies: `redirect_dir` and `metacopy` would.
pub(crate) fn stack(below: &[LayerDigest], layers: &OwnedFd, tree: &OwnedFd) -> Result<OwnedFd, StepError> {
    for dir in [".l", ".d", ".o"] {
        fs::create_dir(dir).step("making a mount point")?;
    }
    sys::attach_mount(layers.as_fd(), ".l").step("attaching the layers")?;
    sys::attach_mount(tree.as_fd(), ".d").step("attaching the tree")?;
    let lower = below.iter().map(|layer| format!(".l/{layer}/rootfs")).collect::<Vec<_>>().join(":");
    let options = format!(
        "lowerdir={lower},upperdir=.d/rootfs,workdir=.d/{WORK_DIR},redirect_dir=off,index=off,metacopy=off,volatile"
    );
    sys::mount("overlay", ".o", "overlay", sys::MS_NOSUID | sys::MS_NODEV, &options)
        .step("mounting the tree over its layers")?;
    let stacked = sys::open_tree_clone(".o").step("taking the overlay")?;
    // It holds what it is made of; no step is to see it elsewhere.
    for dir in [".o", ".d", ".l"] {
        sys::umount(dir, libc::MNT_DETACH).step("detaching what the tree is made of")?;
        fs::remove_dir(dir).step("removing a mount point")?;
    }
    Ok(stacked)
}

fn take_sealed(path: &Path) -> io::Result<OwnedFd> {
    let mount = sys::open_tree_clone(&path.to_string_lossy())?;
    sys::mount_setattr(mount.as_fd(), SEALED, None)?;
    Ok(mount)
}

/// Directories are bound, without what is mounted below them; links such as /bin → usr/bin are made anew.
fn take_host_dirs(parts: &mut Vec<Part>, links: &mut Vec<(&'static str, PathBuf)>) -> Result<(), StepError> {
    for name in HOST_DIRS {
        let path = Path::new("/").join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_symlink() {
            links.push((name, fs::read_link(&path).step("reading a link of the host")?));
        } else {
            let mount = take_sealed(&path).step("taking a directory of the host")?;
            parts.push(Part { at: path, mount, make: true });
        }
    }
    Ok(())
}

/// The host's resolver files and trust store, so that the operator's mirror, proxy and private authority work.
fn take_network_files(root: BuildRoot, parts: &mut Vec<Part>) -> Result<(), StepError> {
    // On the host's own root they are there already, unless the link leads out of what is bound (systemd-resolved).
    let wanted: &[&str] = match root {
        BuildRoot::Host => &["/etc/resolv.conf"],
        BuildRoot::Tree => &["/etc/resolv.conf", "/etc/hosts"],
    };
    for path in wanted {
        let Ok(real) = fs::canonicalize(path) else { continue };
        let at = match root {
            BuildRoot::Tree => PathBuf::from(path),
            BuildRoot::Host if is_bound(&real) => continue,
            BuildRoot::Host => real.clone(),
        };
        let mount = take_sealed(&real).step("taking the host's resolver files")?;
        parts.push(Part { at, mount, make: root == BuildRoot::Host });
    }
    if root == BuildRoot::Tree
        && let Some(bundle) = TRUST_BUNDLES.iter().find_map(|path| fs::canonicalize(path).ok())
    {
        let mount = take_sealed(&bundle).step("taking the host's trust store")?;
        parts.push(Part { at: TRUST_BUNDLE_INSIDE.into(), mount, make: false });
    }
    Ok(())
}

fn is_bound(path: &Path) -> bool {
    HOST_DIRS.iter().any(|dir| path.starts_with(Path::new("/").join(dir)))
}

fn attach(part: &Part) -> Result<(), StepError> {
    if part.make && !part.at.exists() {
        let is_dir = rustix::fs::fstat(&part.mount).step("looking at a mount")?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let dir = if is_dir { Some(part.at.as_path()) } else { part.at.parent() };
        dir.map_or(Ok(()), fs::create_dir_all).step("making a mount point")?;
        if !is_dir {
            fs::write(&part.at, "").step("making a mount point")?;
        }
    }
    sys::attach_mount(part.mount.as_fd(), &part.at.to_string_lossy()).step(&format!("covering {}", part.at.display()))
}

/// The state directory may lie below a directory that is bound, such as /usr/local.
fn cover_home(home: &Path) -> Result<(), StepError> {
    if !is_bound(home) {
        return Ok(());
    }
    let flags = sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC | sys::MS_RDONLY;
    sys::mount("tmpfs", &home.to_string_lossy(), "tmpfs", flags, "size=4k,nr_inodes=2,mode=0")
        .step("covering the state directory")
}

fn writable_tmpfs(at: &str, base: u32) -> Result<(), StepError> {
    let options = format!("size=2g,mode=1777,uid={base},gid={base}");
    sys::mount("tmpfs", at, "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, &options).step(&format!("mounting {at}"))
}

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The devices of [`mount_dev`], detached.
pub(crate) fn take_devices() -> Result<Vec<(&'static str, OwnedFd)>, StepError> {
    let take = |name: &'static str| {
        let mount = sys::open_tree_clone(&format!("/dev/{name}"))?;
        sys::mount_setattr(mount.as_fd(), sys::attr::NOSUID | sys::attr::NOEXEC, None)?;
        Ok((name, mount))
    };
    DEVICES.into_iter().map(take).collect::<io::Result<_>>().step("taking a device")
}

/// A minimal /dev, as in shells.
pub(crate) fn mount_dev(devices: &[(&str, OwnedFd)], base: u32) -> Result<(), StepError> {
    let options = format!("size=64k,nr_inodes=64,mode=755,uid={base},gid={base}");
    sys::mount("tmpfs", "/dev", "tmpfs", sys::MS_NOSUID | sys::MS_NOEXEC, &options).step("mounting /dev")?;
    for (name, mount) in devices {
        let target = format!("/dev/{name}");
        fs::write(&target, "").step("making a device's mount point")?;
        sys::attach_mount(mount.as_fd(), &target).step("attaching a device")?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (link, target) in links {
        symlink(target, format!("/dev/{link}")).step("linking in /dev")?;
    }
    fs::create_dir("/dev/shm").step("making /dev/shm")?;
    writable_tmpfs("/dev/shm", base)
}

/// The plan's files, in a small file system of their own that is closed for writing afterwards.
fn place_files(files: &[(String, Vec<u8>)], base: u32) -> Result<(), StepError> {
    let flags = sys::MS_NOSUID | sys::MS_NODEV;
    let options = format!("size=1m,nr_inodes=256,mode=755,uid={base},gid={base}");
    sys::mount("tmpfs", FILES_DIR, "tmpfs", flags, &options).step("mounting the step's files")?;
    for (name, content) in files {
        fs::write(Path::new(FILES_DIR).join(name), content).step("writing a file of the step")?;
    }
    sys::mount("none", FILES_DIR, "", flags | sys::MS_REMOUNT | sys::MS_BIND | sys::MS_RDONLY, "")
        .step("sealing the step's files")
}

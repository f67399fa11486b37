//! How the jailer starts: everything that plans are carried out with is made or found here, before the first request.

use std::{
    fs, io,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use ringfence_model::LayerDigest;
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest, Sha256};

use crate::{
    capture::{self, Gate},
    cgroup::Cgroups,
    disk::Disks,
    host::{Host, SLOTS, Uids},
    installation::Installation,
    jailer::Jailer,
    proto::HostFacts,
    say::say,
    seccomp, shell, sys,
};

static GUEST_INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ringfence-init"));
static JOIN_LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/join.so"));
static LEAVE_ADDON: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/leave.node"));
static HARNESS: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/harness.rs"));

/// Directories that the harness layer provides as mount points, whatever a template lacks.
const MOUNT_POINTS: [&str; 8] = ["dev", "proc", "sys", "tmp", "run/ringfence", "etc", "data", "home/user"];

/// Files that are covered in every shell.
const COVERED_FILES: [&str; 4] = ["etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf"];

/// Why the jailer could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A step that needs no further words than these.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More than one thread runs: forking would be unsound.
    #[error("the jailer has {0} threads; it must start before any other")]
    Threads(usize),
}

fn step<E: Into<Box<dyn std::error::Error + Send + Sync>>>(name: &str) -> impl FnOnce(E) -> BootError + '_ {
    move |source| BootError::Step { step: name.to_owned(), source: source.into() }
}

/// Starts the jailer and serves `control` until its other end closes. Through `door` the supervisor introduces each
/// gateway that it starts (see [`crate::gateway::introduce`]); without one, sandboxes' connections are all refused.
///
/// # Errors
/// It could not start, or its loop ended.
pub fn run(
    home: &Path,
    control: OwnedFd,
    door: Option<OwnedFd>,
) -> Result<std::convert::Infallible, Box<dyn std::error::Error>> {
    let threads = sys::threads().map_err(step("counting threads"))?;
    if threads != 1 {
        return Err(BootError::Threads(threads).into());
    }
    sys::die_with_parent().map_err(step("tying the jailer to the supervisor"))?;
    sys::become_subreaper().map_err(step("becoming a subreaper"))?;
    sys::raise_descriptor_limit().map_err(step("raising the descriptor limit"))?;
    sys::new_session_keyring().map_err(step("making a session keyring"))?;
    shell::make_room_for_inotify();
    let installation = Installation::load(home).map_err(step("reading the installation"))?;
    let cgroups = reconcile_cgroups(&installation.id)?;
    for dir in ["layers", "builds", "run/mnt", "run/proc"] {
        shell::private_dir(&home.join(dir)).map_err(step("making a state directory"))?;
    }
    clear_trees(&home.join("builds"));
    let proc = home.join("run/proc");
    // What a jailer before this one mounted, under the same supervisor.
    while is_mount_point(&proc) {
        sys::umount(&proc.to_string_lossy(), sys::MNT_DETACH).map_err(step("detaching the synthetic procfs files"))?;
    }
    let options = "size=8m,mode=700";
    sys::mount("tmpfs", &proc.to_string_lossy(), "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, options)
        .map_err(step("mounting the synthetic procfs files"))?;
    let disks_root = home.join("disks");
    let disks = match is_mount_point(&disks_root).then(|| Disks::mounted(&disks_root)) {
        Some(disks) if !disks.take_nothing() => disks,
        lost => {
            lost.map_or(Ok(()), Disks::unmount).map_err(step("unmounting disks that take nothing"))?;
            Disks::mount(&home.join("disks.btrfs"), &disks_root).map_err(step("mounting the disks"))?
        }
    };
    let last_filter = seccomp::compile(seccomp::Kind::Last);
    let harness = write_harness(home)?;
    let host = Host {
        home: home.to_owned(),
        installation: installation.id.clone(),
        uids: Uids::of_block(installation.uid_block),
        guest_init: sealed("ringfence-init", GUEST_INIT).map_err(step("making guest init's memfd"))?,
        last_filter_fd: sealed("ringfence-filter", &seccomp::to_bytes(&last_filter))
            .map_err(step("making the filter's memfd"))?,
        last_filter,
        zygote_filter: seccomp::compile(seccomp::Kind::Zygote),
        cgroups,
        harness: harness.clone(),
        gate: Gate::new().map_err(step("making the gate"))?,
    };
    let mut missing = Vec::new();
    if !capture::try_out(&host.gate).map_err(step("trying the gate out"))? {
        missing.push("IPv6: it is switched off on this host, and so in sandboxes".to_owned());
    }
    let facts = HostFacts {
        installation: installation.id,
        slots: SLOTS,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cgroups: host.cgroups.layout().to_owned(),
        disks: "btrfs".into(),
        harness: harness.to_string(),
        missing,
    };
    let never = Jailer::new(host, facts, disks, control, door)?.run()?;
    match never {}
}

/// Trees that an earlier run was making of homes and archives have names that no other run uses. Those of recipes are looked after by
/// their next build.
fn clear_trees(builds: &Path) {
    for tree in unfinished_trees(builds) {
        if let Err(e) = crate::build::remove::tree(&tree) {
            say("jailer", &format!("a tree of an earlier run could not be removed: {e}"));
        }
    }
}

/// See [`clear_trees`].
pub(crate) fn unfinished_trees(builds: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(builds).into_iter().flatten().flatten();
    let is_ours = |name: &str| ["x-", "i-", "gone-"].into_iter().any(|prefix| name.starts_with(prefix));
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)).map(|entry| entry.path()).collect()
}

/// Ends and removes what an earlier run of this installation left, then starts anew.
fn reconcile_cgroups(installation: &str) -> Result<Cgroups, BootError> {
    const PATIENCE_MS: u64 = 10_000;
    let old = Cgroups::set_up(installation).map_err(step("setting up cgroups"))?;
    let left = old.remove_everything(PATIENCE_MS);
    if !left.is_empty() {
        return Err(step("removing cgroups of an earlier run")(format!("still in use: {left:?}")));
    }
    Cgroups::set_up(installation).map_err(step("setting up cgroups"))
}

fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |p: &Path| fs::metadata(p).map(|m| m.dev()).ok();
    path.parent().is_some_and(|parent| device(path).is_some() && device(path) != device(parent))
}

/// Content that nobody can change, executable through its descriptor.
pub fn sealed(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fs::File::from(fd.try_clone()?).write_all(content)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&fd, all)?;
    Ok(fd)
}

/// Lays the harness down as a layer under the digest of its content, unless it is there.
fn write_harness(home: &Path) -> Result<LayerDigest, BootError> {
    let mut files: Vec<(String, &[u8])> = HARNESS.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
    files.push(("usr/lib/ringfence/join.so".into(), JOIN_LIBRARY));
    files.push(("usr/lib/ringfence/leave.node".into(), LEAVE_ADDON));
    files.extend(COVERED_FILES.map(|name| (name.to_owned(), &b""[..])));
    files.sort();
    let mut hash = Sha256::new();
    for (name, bytes) in &files {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let digest = LayerDigest::parse(&hex).expect("a SHA-256 in hexadecimal");
    let layer = home.join("layers").join(digest.as_str());
    if !layer.is_dir() {
        let unfinished = home.join("builds").join("harness");
        lay_down(&unfinished, &files).map_err(step("writing the harness layer"))?;
        fs::rename(&unfinished, &layer).map_err(step("naming the harness layer"))?;
    }
    Ok(digest)
}

fn lay_down(layer: &Path, files: &[(String, &[u8])]) -> io::Result<()> {
    match fs::remove_dir_all(layer) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let root = layer.join("rootfs");
    for dir in MOUNT_POINTS {
        fs::create_dir_all(root.join(dir))?;
    }
    for (name, bytes) in files {
        let path: PathBuf = root.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    use std::os::unix::fs::{PermissionsExt, chown};
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let user = Some(crate::host::PROGRAM_UID);
    chown(root.join("home/user"), user, user)
}

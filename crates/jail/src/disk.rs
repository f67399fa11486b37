//! Disks: one btrfs subvolume each, with a size that the kernel enforces (simple quotas, Linux 6.7; plain qgroups
//! before). All of them live in one sparse image that is mounted in the jailer's private mount namespace.
//!
//! Structures and numbers: `linux/btrfs.h`.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::fs::StatVfsMountFlags;

use crate::{proto::DiskId, sys};

const IOC_SUBVOL_CREATE: u64 = ioc(1, 14, 4096);
const IOC_SNAP_CREATE_V2: u64 = ioc(1, 23, 4096);
const IOC_SNAP_DESTROY: u64 = ioc(1, 15, 4096);
const IOC_QUOTA_CTL: u64 = ioc(3, 40, 16);
const IOC_QGROUP_LIMIT: u64 = ioc(2, 43, 48);
const QUOTA_CTL_ENABLE: u64 = 1;
const QUOTA_CTL_ENABLE_SIMPLE: u64 = 4;
const QGROUP_LIMIT_MAX_RFER: u64 = 1;

/// `_IOC` of `asm-generic/ioctl.h` for btrfs's magic number.
const fn ioc(direction: u64, number: u64, size: u64) -> u64 {
    direction << 30 | size << 16 | 0x94 << 8 | number
}

/// Why a disk operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A command or syscall.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A host program failed; its last words.
    #[error("{what}: {said}")]
    Program {
        /// What was being done.
        what: &'static str,
        /// Its standard error.
        said: String,
    },
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> DiskError {
    let what = what.into();
    move |source| DiskError::Io { what, source }
}

/// The mounted image.
#[derive(Debug)]
pub struct Disks {
    root: PathBuf,
}

/// Smallest image that btrfs makes sense on.
const IMAGE_MIB_MIN: u64 = 1024;

impl Disks {
    /// Makes the image when there is none (sparse, nine tenths of what is free beside it), and mounts it at `root`.
    ///
    /// # Errors
    /// The step that failed, with what the host's program said.
    pub fn mount(image: &Path, root: &Path) -> Result<Self, DiskError> {
        let fresh = !image.exists();
        if fresh {
            let dir = image.parent().unwrap_or(Path::new("/"));
            let free = rustix::fs::statvfs(dir).map_err(|e| doing("statvfs")(e.into()))?;
            let mib = ((free.f_bavail.saturating_mul(free.f_frsize) / 10 * 9) >> 20).max(IMAGE_MIB_MIN);
            let unfinished = image.with_extension("new");
            let file = fs::File::create(&unfinished).map_err(doing("making the disk image"))?;
            file.set_len(mib << 20).map_err(doing("sizing the disk image"))?;
            run(
                "mkfs.btrfs",
                Command::new("mkfs.btrfs").args(["--quiet", "--force", "--metadata", "single"]).arg(&unfinished),
            )?;
            fs::rename(&unfinished, image).map_err(doing("naming the disk image"))?;
        }
        fs::create_dir_all(root).map_err(doing("making the disks directory"))?;
        run(
            "mount",
            Command::new("mount")
                .args(["-t", "btrfs", "-o", "loop,noatime,discard=async,nosuid,nodev"])
                .arg(image)
                .arg(root),
        )?;
        let disks = Self { root: root.to_owned() };
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(doing("closing the disks directory"))?;
        // At every start: a first one that was killed between the image and this would leave disks without limits. It
        // changes nothing where they are enabled.
        disks.enable_quotas()?;
        Ok(disks)
    }

    /// The image is mounted already: an earlier jailer of the same supervisor did it.
    #[must_use]
    pub fn mounted(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where they are mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The kernel lets nothing be written any more: a page of btrfs's own trees could not be, as when the host's file system had no
    /// room for it.
    #[must_use]
    pub fn take_nothing(&self) -> bool {
        rustix::fs::statvfs(&self.root).is_ok_and(|disks| disks.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    /// Unmounts them. Whoever uses them is waited for.
    ///
    /// # Errors
    /// errno of umount(2): they are still in use after some seconds.
    pub fn unmount(self) -> Result<(), DiskError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        const POLL: Duration = Duration::from_millis(20);
        let end = Instant::now() + PATIENCE;
        loop {
            // Not detached: a mount that lives on somewhere would be found by the next one, as it is.
            match sys::umount(&self.root.to_string_lossy(), 0) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => std::thread::sleep(POLL),
                result => return result.map_err(doing("unmounting the disks")),
            }
        }
    }

    fn enable_quotas(&self) -> Result<(), DiskError> {
        let dir = self.open(&self.root)?;
        let mut control = [QUOTA_CTL_ENABLE_SIMPLE, 0].map(u64::to_ne_bytes).concat();
        if sys::ioctl_bytes(dir.as_fd(), IOC_QUOTA_CTL, &mut control).is_ok() {
            return Ok(());
        }
        let mut control = [QUOTA_CTL_ENABLE, 0].map(u64::to_ne_bytes).concat();
        sys::ioctl_bytes(dir.as_fd(), IOC_QUOTA_CTL, &mut control).map_err(doing("enabling btrfs quotas"))
    }

    fn open(&self, path: &Path) -> Result<fs::File, DiskError> {
        fs::File::open(path).map_err(doing(format!("opening {}", path.display())))
    }

    fn name(disk: DiskId) -> String {
        format!("d-{}", disk.0)
    }

    /// Makes an empty disk with its overlay directories (ids on disk are canonical: 0 is root inside).
    ///
    /// # Errors
    /// The step that failed; nothing is left then.
    pub fn create(&self, disk: DiskId, size_mib: u32) -> Result<(), DiskError> {
        let name = Self::name(disk);
        let dir = self.open(&self.root)?;
        sys::ioctl_bytes(dir.as_fd(), IOC_SUBVOL_CREATE, &mut volume_args(&name))
            .map_err(doing(format!("creating disk {name}")))?;
        let made = self.finish(&name, size_mib);
        if made.is_err() {
            let _ = self.delete(disk);
        }
        made
    }

    /// Makes a disk that shares what another holds now, with a limit on what is accounted to it. Answers how many of the bytes
    /// that it shares are not: simple quotas account an extent to the disk on which it was written.
    ///
    /// # Errors
    /// The step that failed; nothing is left then.
    pub fn copy(&self, from: DiskId, to: DiskId, size_mib: u32) -> Result<u64, DiskError> {
        let name = Self::name(to);
        let source = self.open(&self.root.join(Self::name(from)))?;
        let dir = self.open(&self.root)?;
        let mut args = snapshot_args(source.as_raw_fd(), &name);
        sys::ioctl_bytes(dir.as_fd(), IOC_SNAP_CREATE_V2, &mut args).map_err(doing(format!("copying disk {name}")))?;
        // After the snapshot, which has written down what the page cache held.
        let shared = self
            .limit(to, u64::from(size_mib) << 20)
            .and_then(|()| Ok(self.usage(from)?.0.saturating_sub(self.usage(to)?.0)));
        if shared.is_err() {
            let _ = self.delete(to);
        }
        shared
    }

    /// Limits what is accounted to a disk.
    ///
    /// # Errors
    /// errno of the ioctl.
    pub fn limit(&self, disk: DiskId, bytes: u64) -> Result<(), DiskError> {
        self.limit_at(&self.root.join(Self::name(disk)), bytes)
    }

    fn finish(&self, name: &str, size_mib: u32) -> Result<(), DiskError> {
        let path = self.root.join(name);
        for sub in ["up", "wk"] {
            fs::create_dir(path.join(sub)).map_err(doing(format!("making {sub} on disk {name}")))?;
        }
        self.limit_at(&path, u64::from(size_mib) << 20)
    }

    /// struct btrfs_ioctl_qgroup_limit_args: qgroup id 0 (the subvolume's own), then flags, max_rfer, max_excl, two reserves.
    fn limit_at(&self, path: &Path, bytes: u64) -> Result<(), DiskError> {
        let mut args = [0, QGROUP_LIMIT_MAX_RFER, bytes, 0, 0, 0].map(u64::to_ne_bytes).concat();
        let subvolume = self.open(path)?;
        sys::ioctl_bytes(subvolume.as_fd(), IOC_QGROUP_LIMIT, &mut args).map_err(doing("limiting the disk"))
    }

    /// Makes a disk ready to be mounted again: overlay's `volatile` leaves a mark that forbids a second mount. What the
    /// page cache held has been written or is still there, for btrfs orders data before the metadata that names it.
    ///
    /// # Errors
    /// The mark cannot be removed.
    pub fn ready_again(&self, disk: DiskId) -> Result<(), DiskError> {
        let mark = self.root.join(Self::name(disk)).join("wk/work/incompat/volatile");
        match fs::remove_dir_all(&mark) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(doing("clearing overlay's volatile mark")(e)),
            _ => Ok(()),
        }
    }

    /// Gives a disk's bytes back. A disk that does not exist is no error.
    ///
    /// # Errors
    /// errno of the ioctl.
    pub fn delete(&self, disk: DiskId) -> Result<(), DiskError> {
        let name = Self::name(disk);
        let dir = self.open(&self.root)?;
        match sys::ioctl_bytes(dir.as_fd(), IOC_SNAP_DESTROY, &mut volume_args(&name)) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(doing(format!("deleting disk {name}"))(e)),
            _ => Ok(()),
        }
    }

    /// Whether a disk exists.
    #[must_use]
    pub fn exists(&self, disk: DiskId) -> bool {
        self.root.join(Self::name(disk)).is_dir()
    }

    /// Every disk.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<DiskId>, DiskError> {
        let entries = fs::read_dir(&self.root).map_err(doing("listing disks"))?;
        Ok(entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.strip_prefix("d-")?.parse().ok().map(DiskId))
            .collect())
    }

    /// Bytes that a disk holds, and its limit. Statfs of a subvolume tells both when quotas are on... it does not on
    /// btrfs, so the qgroup's sysfs files are read.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn usage(&self, disk: DiskId) -> Result<(u64, u64), DiskError> {
        let path = self.root.join(Self::name(disk));
        let id = self.subvolume_id(&path)?;
        let uuid = self.file_system_id()?;
        let qgroup = PathBuf::from(format!("/sys/fs/btrfs/{uuid}/qgroups/0_{id}"));
        let number = |file: &str| -> Result<u64, DiskError> {
            let text = fs::read_to_string(qgroup.join(file)).map_err(doing(format!("reading {file}")))?;
            text.trim().parse().map_err(|_| doing(file)(io::ErrorKind::InvalidData.into()))
        };
        Ok((number("referenced")?, number("max_referenced")?))
    }

    /// BTRFS_IOC_GET_SUBVOL_INFO would do; the inode lookup ioctl gives the tree id in fewer bytes.
    fn subvolume_id(&self, path: &Path) -> Result<u64, DiskError> {
        const IOC_INO_LOOKUP: u64 = ioc(3, 18, 4096);
        const FIRST_FREE_OBJECTID: u64 = 256;
        let mut args = vec![0_u8; 4096];
        args[8..16].copy_from_slice(&FIRST_FREE_OBJECTID.to_ne_bytes());
        let subvolume = self.open(path)?;
        sys::ioctl_bytes(subvolume.as_fd(), IOC_INO_LOOKUP, &mut args).map_err(doing("looking up the subvolume"))?;
        Ok(u64::from_ne_bytes(args[..8].try_into().expect("eight bytes")))
    }

    /// struct btrfs_ioctl_fs_info_args: max_id, num_devices, then the 16 bytes of the id.
    fn file_system_id(&self) -> Result<String, DiskError> {
        const IOC_FS_INFO: u64 = ioc(2, 31, 1024);
        let mut args = vec![0_u8; 1024];
        let root = self.open(&self.root)?;
        sys::ioctl_bytes(root.as_fd(), IOC_FS_INFO, &mut args).map_err(doing("asking for the file system's id"))?;
        let hex: String = args[16..32].iter().map(|b| format!("{b:02x}")).collect();
        Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }
}

/// struct btrfs_ioctl_vol_args_v2: the source's descriptor, a transaction, flags, 32 bytes that are not used here, and the name.
fn snapshot_args(source: i32, name: &str) -> Vec<u8> {
    const NAME_AT: usize = 56;
    let mut args = vec![0_u8; 4096];
    args[..8].copy_from_slice(&i64::from(source).to_ne_bytes());
    args[NAME_AT..NAME_AT + name.len()].copy_from_slice(name.as_bytes());
    args
}

/// struct btrfs_ioctl_vol_args: a descriptor that is not used here, and the name.
fn volume_args(name: &str) -> Vec<u8> {
    let mut args = vec![0_u8; 4096];
    args[8..8 + name.len()].copy_from_slice(name.as_bytes());
    args
}

fn run(what: &'static str, command: &mut Command) -> Result<(), DiskError> {
    let output = command.output().map_err(doing(format!("running {what}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(DiskError::Program { what, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

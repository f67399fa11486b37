//! Disks and layers: overlayfs, idmapped mounts, the btrfs image, and the program that builds templates.

use std::{fs, os::fd::AsFd, path::Path};

use super::{Finding, Status, is_root, program};
use crate::{host::Uids, shell, sys};

pub(super) fn findings(home: &Path, may_try: bool) -> Vec<Finding> {
    vec![
        file_system("overlayfs", "overlay", "the root of every sandbox is an overlay of read-only layers"),
        idmapped_mounts(home, may_try),
        file_system("btrfs", "btrfs", "disks with a size that the kernel enforces"),
        loop_devices(),
        tool("mkfs.btrfs", "btrfs-progs", "making the image that holds the sandboxes' disks"),
        tool("apt-get", "apt", "building the shipped templates"),
        tool("dpkg-deb", "dpkg", "building the shipped templates"),
    ]
}

fn file_system(name: &str, kind: &str, needed: &str) -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().next_back() == Some(kind)) {
        return Finding::new(name, Status::Ok, "known to the kernel", needed);
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let is_module = fs::read_to_string(format!("/lib/modules/{release}/modules.dep"))
        .is_ok_and(|text| text.contains(&format!("/{kind}.ko")));
    if is_module {
        // mount(8) loads it on demand.
        return Finding::new(name, Status::Ok, "a module that is loaded when it is first used", needed);
    }
    Finding::new(name, Status::Missing, "not known to the kernel", needed)
        .fix(format!("sudo modprobe {kind}; if there is no such module, install the distribution's full kernel"))
}

fn idmapped_mounts(home: &Path, may_try: bool) -> Finding {
    const NAME: &str = "idmapped mounts";
    let dir = existing(home);
    let needed = format!("on the file system of {}, so that layers have the sandbox's own ids", home.display());
    if !may_try {
        return Finding::new(NAME, Status::Ok, "not tried: only root can", needed);
    }
    let uids = Uids::of_block(0);
    let tried = shell::user_namespace(uids.build(), uids.build()).and_then(|userns| {
        let tree = sys::open_tree_clone(&dir.to_string_lossy())?;
        sys::mount_setattr(tree.as_fd(), sys::attr::IDMAP, Some(userns.as_fd()))
    });
    match tried {
        Ok(()) => Finding::new(NAME, Status::Ok, format!("one of {} was made", dir.display()), needed),
        Err(e) => Finding::new(NAME, Status::Missing, format!("one of {} failed: {e}", dir.display()), needed)
            .fix("put the state directory on ext4, xfs or btrfs, and name it with RINGFENCE_HOME"),
    }
}

fn loop_devices() -> Finding {
    let needed = "/dev/loop-control, for the image that holds the sandboxes' disks";
    if Path::new("/dev/loop-control").exists() {
        return Finding::new("loop devices", Status::Ok, "there", needed);
    }
    Finding::new("loop devices", Status::Missing, "no /dev/loop-control", needed)
        .fix("sudo modprobe loop; in a container pass /dev/loop-control and some /dev/loopN in")
}

fn tool(name: &str, package: &str, needed: &str) -> Finding {
    match program(name) {
        Some(path) => Finding::new(name, Status::Ok, path.display().to_string(), needed),
        None => Finding::new(name, Status::Missing, "not installed", needed)
            .fix(format!("sudo apt-get install --yes {package}")),
    }
}

/// The directory itself, or the nearest one above it that exists.
pub(super) fn existing(home: &Path) -> &Path {
    let readable = |dir: &&Path| if is_root() { dir.is_dir() } else { fs::metadata(dir).is_ok_and(|m| m.is_dir()) };
    home.ancestors().find(readable).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_is_not_there_yet_is_judged_by_what_is_above_it() {
        assert_eq!(existing(Path::new("/nonexistent/a/b")), Path::new("/"));
        assert_eq!(existing(Path::new("/proc/self/nothing")), Path::new("/proc/self"));
    }
}

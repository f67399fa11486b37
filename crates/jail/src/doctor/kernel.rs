//! The kernel: its age, namespaces, system call filters.

use std::{fs, path::Path};

use super::{Finding, SANDBOXES_WANTED, Status, number, sysctl};
use crate::{host::Uids, shell};

/// First release with overlayfs on idmapped layers.
const RELEASE_MIN: (u32, u32) = (5, 19);

pub(super) fn findings(may_try: bool) -> Vec<Finding> {
    vec![release(), namespaces(), user_namespaces(may_try), seccomp()]
}

/// The running kernel's release, such as `(6, 12)`.
pub(super) fn running() -> Option<(u32, u32)> {
    parse_release(&rustix::system::uname().release().to_string_lossy())
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn release() -> Finding {
    let found = rustix::system::uname().release().to_string_lossy().into_owned();
    let status = match running() {
        Some(release) if release >= RELEASE_MIN => Status::Ok,
        _ => Status::Missing,
    };
    Finding::new("kernel", status, found, "Linux 5.19 or newer, for overlayfs on idmapped layers")
        .fix("boot a newer kernel: Debian 12, Ubuntu 22.10, Fedora 37 and everything after them have one")
}

fn namespaces() -> Finding {
    let all = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let absent: Vec<&str> = all.into_iter().filter(|ns| !Path::new("/proc/self/ns").join(ns).exists()).collect();
    let (status, found) = match absent.as_slice() {
        [] => (Status::Ok, all.join(", ")),
        absent => (Status::Missing, format!("without {}", absent.join(", "))),
    };
    Finding::new("namespaces", status, found, "all seven; every sandbox has its own")
        .fix("boot a kernel that was built with CONFIG_NAMESPACES and all kinds below it")
}

fn user_namespaces(may_try: bool) -> Finding {
    const NAME: &str = "user namespaces";
    let needed = format!("root can make them, at least {SANDBOXES_WANTED} at once");
    let most = number("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    let restricted = number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    // The daemon makes them as root, which AppArmor's restriction does not touch.
    let apparmor = if restricted { "; AppArmor keeps them from the unprivileged, which is no hindrance" } else { "" };
    if most < SANDBOXES_WANTED {
        return Finding::new(NAME, Status::Missing, format!("at most {most}{apparmor}"), needed)
            .fix(sysctl("user.max_user_namespaces", 65_536));
    }
    if !may_try {
        return Finding::new(NAME, Status::Ok, format!("at most {most}{apparmor}; not tried"), needed);
    }
    let uids = Uids::of_block(0);
    match shell::user_namespace(uids.build(), uids.build()) {
        Ok(_) => Finding::new(NAME, Status::Ok, format!("at most {most}{apparmor}; one was made"), needed),
        Err(e) => Finding::new(NAME, Status::Missing, format!("making one failed: {e}"), needed).fix(
            "allow them: in a container run with --privileged; on a hardened kernel `sudo sysctl -w kernel.unprivileged_userns_clone=1`",
        ),
    }
}

fn seccomp() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let there =
        status.lines().any(|line| line.starts_with("Seccomp:")) && actions.split_whitespace().any(|a| a == "errno");
    let (status, found) =
        if there { (Status::Ok, "filters that answer with an error") } else { (Status::Missing, "no filters") };
    Finding::new("seccomp", status, found, "filter mode, for the allow list of system calls")
        .fix("boot a kernel that was built with CONFIG_SECCOMP_FILTER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_however_they_are_decorated() {
        for (text, release) in [
            ("6.18.44-fc-v669", Some((6, 18))),
            ("5.19.0", Some((5, 19))),
            ("6.1-rc3", Some((6, 1))),
            ("5.14.0-427.el9.x86_64", Some((5, 14))),
            ("", None),
            ("new", None),
        ] {
            assert_eq!(parse_release(text), release, "{text}");
        }
    }
}

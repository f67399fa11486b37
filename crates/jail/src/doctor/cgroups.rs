//! Cgroups: which hierarchy holds which controller, and what can kill and freeze.

use std::fs;

use super::{Finding, Status, kernel};

pub(super) fn findings() -> Vec<Finding> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies =
        hierarchies(&mountinfo, |point| fs::read_to_string(format!("{point}/cgroup.controllers")).unwrap_or_default());
    vec![limits(&hierarchies), kill(&hierarchies), writable(&hierarchies)]
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    point: String,
    is_v2: bool,
    is_read_only: bool,
    controllers: Vec<String>,
}

/// `v2_controllers` reads `cgroup.controllers` of a mount point: v1 names its controllers among the mount's options.
fn hierarchies(mountinfo: &str, v2_controllers: impl Fn(&str) -> String) -> Vec<Hierarchy> {
    let one = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let mut left = left.split(' ').skip(4);
        let (point, mount_options) = (left.next()?.to_owned(), left.next()?);
        let is_v2 = match kind {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let controllers: Vec<String> = if is_v2 {
            v2_controllers(&point).split_whitespace().map(str::to_owned).collect()
        } else {
            options.split(',').map(str::to_owned).collect()
        };
        let is_read_only = mount_options.split(',').any(|option| option == "ro");
        Some(Hierarchy { point, is_v2, is_read_only, controllers })
    };
    mountinfo.lines().filter_map(one).collect()
}

fn holder<'h>(all: &'h [Hierarchy], controller: &str) -> Option<&'h Hierarchy> {
    let has = |h: &&Hierarchy| h.controllers.iter().any(|c| c == controller);
    all.iter().filter(|h| h.is_v2).find(has).or_else(|| all.iter().find(has))
}

fn limits(all: &[Hierarchy]) -> Finding {
    let mut found = Vec::new();
    let mut absent = Vec::new();
    for controller in ["memory", "cpu", "pids"] {
        match holder(all, controller) {
            Some(h) => found.push(format!("{controller} by {}", if h.is_v2 { "v2" } else { "v1" })),
            None => absent.push(controller),
        }
    }
    let layout = match (all.iter().any(|h| h.is_v2), all.iter().any(|h| !h.is_v2)) {
        (true, true) => "hybrid",
        (true, false) => "v2",
        (false, true) => "v1",
        (false, false) => "no cgroups mounted",
    };
    let found = format!("{layout}: {}", if found.is_empty() { "no controller".to_owned() } else { found.join(", ") });
    let needed = "the memory, cpu and pids controllers, in v1 or v2, for the limits of each sandbox";
    if absent.is_empty() {
        return Finding::new("cgroup limits", Status::Ok, found, needed);
    }
    let fix = if all.is_empty() {
        "sudo mount -t cgroup2 none /sys/fs/cgroup".to_owned()
    } else {
        format!(
            "boot with `cgroup_enable=memory` on the kernel's command line; in a container hand {} down from the host",
            absent.join(", ")
        )
    };
    Finding::new("cgroup limits", Status::Missing, format!("{found}; without {}", absent.join(", ")), needed).fix(fix)
}

fn kill(all: &[Hierarchy]) -> Finding {
    let needed = "cgroup.kill and cgroup.freeze (v2 mounted, Linux 5.14): one write ends or freezes everything";
    let name = "cgroup kill";
    let Some(v2) = all.iter().find(|h| h.is_v2) else {
        return Finding::new(
            name,
            Status::Warn,
            "v2 is not mounted: freezing v1 and killing in rounds is used",
            needed,
        )
        .fix("sudo mkdir -p /sys/fs/cgroup/unified && sudo mount -t cgroup2 none /sys/fs/cgroup/unified");
    };
    if kernel::running().is_some_and(|release| release >= (5, 14)) {
        return Finding::new(name, Status::Ok, format!("by v2 at {}", v2.point), needed);
    }
    Finding::new(name, Status::Warn, "this kernel has no cgroup.kill: killing in rounds is used", needed)
        .fix("boot Linux 5.14 or newer")
}

fn writable(all: &[Hierarchy]) -> Finding {
    let sealed: Vec<&str> = all.iter().filter(|h| h.is_read_only).map(|h| h.point.as_str()).collect();
    let needed = "cgroup hierarchies that root can write to";
    if sealed.is_empty() {
        return Finding::new("cgroup access", Status::Ok, "mounted for writing", needed);
    }
    Finding::new("cgroup access", Status::Missing, format!("read-only: {}", sealed.join(", ")), needed)
        .fix("remount them with `sudo mount -o remount,rw PATH`; in a container run with --privileged")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
        39 31 0:36 / /sys/fs/cgroup/pids ro,nosuid - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
        27 1 254:0 / / rw - ext4 /dev/vda rw\n";
    const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    #[track_caller]
    fn check(mountinfo: &str, v2: &str, status: Status, found: &str) {
        let finding = limits(&hierarchies(mountinfo, |_| v2.to_owned()));
        assert_eq!((finding.status, finding.found.as_str()), (status, found));
    }

    #[test]
    fn controllers_are_found_wherever_they_are() {
        check(HYBRID, "", Status::Ok, "hybrid: memory by v1, cpu by v1, pids by v1");
        check(HYBRID, "pids hugetlb", Status::Ok, "hybrid: memory by v1, cpu by v1, pids by v2");
        check(UNIFIED, "cpuset cpu io memory pids", Status::Ok, "v2: memory by v2, cpu by v2, pids by v2");
        check(UNIFIED, "cpu pids", Status::Missing, "v2: cpu by v2, pids by v2; without memory");
        check("", "", Status::Missing, "no cgroups mounted: no controller; without memory, cpu, pids");
    }

    #[test]
    fn a_read_only_hierarchy_is_named() {
        let finding = writable(&hierarchies(HYBRID, |_| String::new()));
        assert_eq!((finding.status, finding.found.as_str()), (Status::Missing, "read-only: /sys/fs/cgroup/pids"));
    }
}

//! Room: disk, memory, and the kernel's own numbers beside the number of sandboxes.

use std::{fs, path::Path};

use super::{Finding, SANDBOXES_WANTED, Status, disks::existing, number, sysctl};

/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

/// What the shipped templates and a few sandboxes take, in GiB.
const DISK_GIB_WANTED: u64 = 8;

/// Descriptors that the daemon holds for one sandbox: sockets, pidfds and pipes, reckoned generously.
const DESCRIPTORS_EACH: u64 = 12;

/// Processes of a sandbox that does something ordinary.
const PROCESSES_EACH: u64 = 16;

pub(super) fn findings(home: &Path) -> Vec<Finding> {
    vec![disk(home), memory(), inotify(), pids(), descriptors(), installations()]
}

fn disk(home: &Path) -> Finding {
    let dir = existing(home);
    let needed = format!("{DISK_GIB_WANTED} GiB free, for templates and the sandboxes' disks");
    let Ok(stat) = rustix::fs::statvfs(dir) else {
        return Finding::new("disk space", Status::Warn, format!("{} cannot be asked", dir.display()), needed)
            .fix("run `ringfence doctor` as root");
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let status = match free / GIB {
        gib if gib >= DISK_GIB_WANTED => Status::Ok,
        2.. => Status::Warn,
        _ => Status::Missing,
    };
    Finding::new("disk space", status, format!("{} GiB free at {}", free / GIB, dir.display()), needed)
        .fix("free some space, or put the state elsewhere with RINGFENCE_HOME")
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    let (total, available) = (kib("MemTotal:") / 1024, kib("MemAvailable:") / 1024);
    let status = match available {
        1024.. => Status::Ok,
        512.. => Status::Warn,
        _ => Status::Missing,
    };
    Finding::new(
        "memory",
        status,
        format!("{available} MiB available of {total}"),
        "1 GiB available: a warm interpreter with pandas takes about 100 MiB, each sandbox 2 to 4",
    )
    .fix("end something else on this host, or give it more memory")
}

/// The limit counts per user of the initial namespace, and all sandboxes of a template share one such user.
fn inotify() -> Finding {
    let most = number("/proc/sys/fs/inotify/max_user_instances").unwrap_or(0);
    let status = if most >= SANDBOXES_WANTED { Status::Ok } else { Status::Warn };
    let found = format!("fs.inotify.max_user_instances = {most}");
    let needed = format!("one for each sandbox that watches files: {SANDBOXES_WANTED} for as many sandboxes");
    Finding::new("inotify", status, found, needed).fix(sysctl("fs.inotify.max_user_instances", 8192))
}

fn pids() -> Finding {
    let most = number("/proc/sys/kernel/pid_max").unwrap_or(0);
    let wanted = SANDBOXES_WANTED * PROCESSES_EACH;
    let status = if most >= wanted { Status::Ok } else { Status::Warn };
    Finding::new(
        "process ids",
        status,
        format!("kernel.pid_max = {most}"),
        format!("{wanted} for {SANDBOXES_WANTED} sandboxes"),
    )
    .fix(sysctl("kernel.pid_max", 4_194_304))
}

fn descriptors() -> Finding {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let found = most.map_or("no limit".to_owned(), |most| {
        format!("RLIMIT_NOFILE {most}: room for about {} sandboxes", most / DESCRIPTORS_EACH)
    });
    let wanted = SANDBOXES_WANTED * DESCRIPTORS_EACH;
    let status = if most.is_none_or(|most| most >= wanted) { Status::Ok } else { Status::Warn };
    Finding::new("descriptors", status, found, format!("a hard limit of {wanted} for {SANDBOXES_WANTED} sandboxes"))
        .fix(format!(
            "start the daemon with a higher hard limit: `ulimit -Hn {}`, or LimitNOFILE= in its unit",
            2 * wanted
        ))
}

/// Running daemons hold abstract sockets by which they share out uid ranges; everybody can see those.
fn installations() -> Finding {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let running = claims(&sockets);
    let found = match running {
        0 => "no daemon runs".to_owned(),
        1 => "one daemon runs".to_owned(),
        n => format!("{n} daemons run"),
    };
    Finding::new(
        "daemons on this host",
        Status::Ok,
        found,
        "any number: each has a state directory and uid range of its own",
    )
}

fn claims(unix_sockets: &str) -> usize {
    unix_sockets.lines().filter(|line| line.contains(" @ringfence-uids-")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_daemons_are_counted_by_their_claims() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00000000 0001 01 17 @ringfence-uids-3\n\
            0000000000000000: 00000002 00000000 00000000 0001 01 18 /run/ringfence-uids-3\n\
            0000000000000000: 00000002 00000000 00000000 0001 01 19 @ringfence-uids-11\n";
        assert_eq!(claims(text), 2);
    }
}

//! Limits, accounts, freezing and killing by cgroup, on v1, v2 and hybrid hosts.
//!
//! Below `ringfence-<installation>` in every hierarchy that is used stands one directory per shell (`s-<n>`), zygote
//! (`z-<n>`) and build step (`b-<n>`). Limits are set through whichever hierarchy holds the controller. The hierarchy
//! that can kill (`cgroup.kill`, v2) also has one directory per execution below the shell's; without v2, `cpuacct` has.
//! A directory is never used twice: after `cgroup.kill`, whatever is cloned into it is killed at once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::sys;

/// What limits one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of memory, kernel objects and files in memory included.
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
}

impl GroupLimits {
    /// Socket buffers, where the kernel counts them apart from memory (v1): a quarter of it, and so little that many
    /// sandboxes together stay below `net.ipv4.tcp_mem`, which is the whole host's.
    fn socket_bytes(self) -> u64 {
        const MOST: u64 = 64 << 20;
        (self.memory_bytes / 4).min(MOST)
    }
}

/// Period of the CPU limit in microseconds: short enough that a limited program does not stall visibly.
const CPU_PERIOD_US: u64 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    V1(PathBuf),
    V2(PathBuf),
}

impl At {
    fn dir(&self) -> &Path {
        match self {
            Self::V1(dir) | Self::V2(dir) => dir,
        }
    }
}

/// The hierarchies in use, each already inside this installation's own directory.
#[derive(Debug, Clone)]
pub struct Cgroups {
    memory: At,
    cpu: At,
    pids: At,
    /// Where executions have their directories: v2 where it is mounted, else v1's cpuacct.
    executions: At,
    /// v1 freezer, where v2 is not mounted.
    freezer: Option<PathBuf>,
    /// Each directory above once.
    all: Vec<PathBuf>,
}

/// Why the host's cgroups cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A controller is nowhere.
    #[error("no mounted cgroup hierarchy has the {0} controller")]
    Missing(&'static str),
    /// A file or directory could not be used.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CgroupError + '_ {
    move |source| CgroupError::Io { path: path.to_owned(), source }
}

/// Writes without creating: a missing file of cgroupfs means a missing feature, not a new file.
fn put(path: &Path, text: &str) -> Result<(), CgroupError> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(text.as_bytes())).map_err(at(path))
}

fn get(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(at(path))
}

fn get_number(path: &Path) -> Result<u64, CgroupError> {
    get(path)?.trim().parse().map_err(|_| at(path)(io::ErrorKind::InvalidData.into()))
}

/// The value after `key ` in a flat keyed file.
fn keyed(path: &Path, key: &str) -> Result<u64, CgroupError> {
    let text = get(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    value.and_then(|v| v.trim().parse().ok()).ok_or_else(|| at(path)(io::ErrorKind::InvalidData.into()))
}

/// One line of mountinfo that is a cgroup hierarchy: (mount point, v2?, super options).
pub(crate) fn hierarchies(mountinfo: &str) -> Vec<(PathBuf, bool, String)> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split(' ');
        let (fstype, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
        let Some(point) = left.split(' ').nth(4) else { continue };
        if fstype == "cgroup" || fstype == "cgroup2" {
            found.push((PathBuf::from(point), fstype == "cgroup2", options.to_owned()));
        }
    }
    found
}

impl Cgroups {
    /// Finds the hierarchies and makes this installation's directory in each.
    ///
    /// # Errors
    /// A controller is missing, or a directory cannot be made.
    pub fn set_up(installation: &str) -> Result<Self, CgroupError> {
        let mountinfo = Path::new("/proc/self/mountinfo");
        let found = hierarchies(&get(mountinfo)?);
        let v2 = found.iter().find(|(_, is_v2, _)| *is_v2).map(|(point, ..)| point.clone());
        let name = format!("ringfence-{installation}");
        let v1 = |controller: &str| {
            found
                .iter()
                .find(|(_, is_v2, options)| !is_v2 && options.split(',').any(|o| o == controller))
                .map(|(point, ..)| At::V1(point.join(&name)))
        };
        let v2_has = |controller: &str| -> Option<At> {
            let root = v2.as_ref()?;
            let available = get(&root.join("cgroup.controllers")).ok()?;
            available.split_whitespace().any(|c| c == controller).then(|| At::V2(root.join(&name)))
        };
        let holder = |controller: &'static str| {
            v2_has(controller).or_else(|| v1(controller)).ok_or(CgroupError::Missing(controller))
        };
        let (memory, cpu, pids) = (holder("memory")?, holder("cpu")?, holder("pids")?);
        let executions = match &v2 {
            Some(root) => At::V2(root.join(&name)),
            None => v1("cpuacct").ok_or(CgroupError::Missing("cpuacct"))?,
        };
        let freezer = if v2.is_some() { None } else { v1("freezer").map(|at| at.dir().to_owned()) };
        let mut all: Vec<PathBuf> = Vec::new();
        for dir in [memory.dir(), cpu.dir(), pids.dir(), executions.dir()].into_iter().chain(freezer.as_deref()) {
            if !all.iter().any(|d| d == dir) {
                all.push(dir.to_owned());
            }
        }
        let cgroups = Self { memory, cpu, pids, executions, freezer, all };
        for (point, is_v2, options) in &found {
            if cgroups.all.iter().any(|dir| dir.parent() == Some(point)) {
                cgroups.make_attaching_fast(point, *is_v2, options);
            }
        }
        for dir in &cgroups.all {
            match fs::create_dir(dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(at(dir)(e)),
                _ => {}
            }
        }
        cgroups.delegate_v2()?;
        // The first limit on socket buffers patches the kernel's code; this one keeps later ones cheap.
        if let At::V1(dir) = &cgroups.memory {
            put(&dir.join("memory.kmem.tcp.limit_in_bytes"), &i64::MAX.to_string())?;
        }
        Ok(cgroups)
    }

    /// Remounts a hierarchy with `favordynmods` (cgroups(7), since Linux 6.0): moving a process otherwise waits for an
    /// RCU grace period, 8 to 20 ms here against 0.15 ms. Where the kernel does not know it, moving stays slow.
    fn make_attaching_fast(&self, point: &Path, is_v2: bool, options: &str) {
        if options.split(',').any(|o| o == "favordynmods") {
            return;
        }
        let kept = options.split(',').filter(|o| !matches!(*o, "rw" | "ro")).chain(["favordynmods"]);
        let options = kept.collect::<Vec<_>>().join(",");
        let fstype = if is_v2 { "cgroup2" } else { "cgroup" };
        let flags = sys::MS_REMOUNT | sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC;
        let point = point.to_string_lossy();
        // A refusal costs speed, not safety.
        if sys::mount("cgroup", &point, fstype, flags, &options).is_err() {
            let _ = sys::mount("cgroup", &point, fstype, sys::MS_REMOUNT, &options);
        }
    }

    /// v2 only: controllers must be handed down before a child can have limits (cgroup-v2, "Enabling and Disabling").
    fn delegate_v2(&self) -> Result<(), CgroupError> {
        let wanted: Vec<&str> = [("memory", &self.memory), ("cpu", &self.cpu), ("pids", &self.pids)]
            .into_iter()
            .filter_map(|(name, at)| matches!(at, At::V2(_)).then_some(name))
            .collect();
        let At::V2(dir) = &self.executions else { return Ok(()) };
        for controller in wanted {
            let line = format!("+{controller}");
            if let Some(root) = dir.parent() {
                put(&root.join("cgroup.subtree_control"), &line)?;
            }
            put(&dir.join("cgroup.subtree_control"), &line)?;
        }
        Ok(())
    }

    /// Which controllers hold limits, such as `memory (v1)`.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let version = |at: &At| if matches!(at, At::V2(_)) { "v2" } else { "v1" };
        [("memory", &self.memory), ("cpu", &self.cpu), ("pids", &self.pids), ("kill", &self.executions)]
            .iter()
            .map(|(name, at)| format!("{name} ({})", version(at)))
            .collect()
    }

    /// `v1`, `v2` or `hybrid`.
    #[must_use]
    pub fn layout(&self) -> &'static str {
        let v2 = [&self.memory, &self.cpu, &self.pids, &self.executions];
        match v2.iter().filter(|at| matches!(at, At::V2(_))).count() {
            0 => "v1",
            4 => "v2",
            _ => "hybrid",
        }
    }

    /// Makes a group in every hierarchy and sets its limits.
    ///
    /// # Errors
    /// The file that refused. What was made already is removed.
    pub fn create(&self, group: &str, limits: GroupLimits) -> Result<(), CgroupError> {
        for dir in &self.all {
            let dir = dir.join(group);
            if let Err(e) = fs::create_dir(&dir) {
                self.remove_dirs(group);
                return Err(at(&dir)(e));
            }
        }
        self.set_limits(group, limits).inspect_err(|_| self.remove_dirs(group))
    }

    /// Changes a group's limits.
    ///
    /// # Errors
    /// The file that refused.
    pub fn set_limits(&self, group: &str, limits: GroupLimits) -> Result<(), CgroupError> {
        let quota = u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000;
        match &self.memory {
            At::V1(dir) => {
                let memsw = dir.join(group).join("memory.memsw.limit_in_bytes");
                let plain = dir.join(group).join("memory.limit_in_bytes");
                let text = limits.memory_bytes.to_string();
                // memsw must never be below the plain limit, so the order depends on the direction; try both.
                if put(&memsw, &text).is_err() {
                    put(&plain, &text)?;
                    let _ = put(&memsw, &text); // absent without swap accounting
                } else {
                    put(&plain, &text)?;
                }
                // Without a limit of its own, v1 counts no socket buffer at all: a sandbox of 128 MiB held 2.2 GiB in
                // connections to itself.
                put(&dir.join(group).join("memory.kmem.tcp.limit_in_bytes"), &limits.socket_bytes().to_string())?;
            }
            At::V2(dir) => {
                put(&dir.join(group).join("memory.max"), &limits.memory_bytes.to_string())?;
                let _ = put(&dir.join(group).join("memory.swap.max"), "0"); // absent without swap accounting
            }
        }
        match &self.cpu {
            At::V1(dir) => {
                put(&dir.join(group).join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
                put(&dir.join(group).join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
            At::V2(dir) => put(&dir.join(group).join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"))?,
        }
        put(&self.pids.dir().join(group).join("pids.max"), &limits.pids.to_string())
    }

    /// Moves a process into a group, in every hierarchy.
    ///
    /// # Errors
    /// The file that refused; `ESRCH` when the process is gone.
    pub fn attach(&self, group: &str, pid: i32) -> Result<(), CgroupError> {
        for dir in &self.all {
            put(&dir.join(group).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Makes the directory of a part of a group (an execution, or init's leaf).
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create_part(&self, group: &str, part: &str) -> Result<(), CgroupError> {
        let dir = self.part_dir(group, part);
        fs::create_dir(&dir).map_err(at(&dir))
    }

    /// Moves a process that is in `group` (or new) into one of its parts: the group's limits, the part's account.
    ///
    /// # Errors
    /// The file that refused.
    pub fn attach_part(&self, group: &str, part: &str, pid: i32) -> Result<(), CgroupError> {
        for dir in &self.all {
            let dir = dir.join(group);
            let dir = if *dir == *self.executions.dir().join(group) { dir.join(part) } else { dir };
            put(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    fn part_dir(&self, group: &str, part: &str) -> PathBuf {
        self.executions.dir().join(group).join(part)
    }

    /// Pids in a part, in the numbering of this process's pid namespace.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn part_pids(&self, group: &str, part: &str) -> Result<Vec<i32>, CgroupError> {
        let text = get(&self.part_dir(group, part).join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Names of a group's parts.
    #[must_use]
    pub fn parts(&self, group: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.executions.dir().join(group)) else { return Vec::new() };
        entries
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    }

    /// Pids of a group (all of its parts).
    #[must_use]
    pub fn pids(&self, group: &str) -> Vec<i32> {
        // The pids hierarchy has no parts when it is v1, and parts when it is v2: read both levels.
        let mut dirs = vec![self.pids.dir().join(group)];
        if matches!(self.pids, At::V2(_)) {
            dirs.extend(self.parts(group).iter().map(|part| self.part_dir(group, part)));
        }
        let read = |dir: PathBuf| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        dirs.into_iter().flat_map(|dir| read(dir).lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Kills everything in a part, also what forks meanwhile.
    ///
    /// # Errors
    /// Something is still alive.
    pub fn kill_part(&self, group: &str, part: &str) -> Result<(), CgroupError> {
        self.kill_dir(&self.part_dir(group, part), None)
    }

    /// Kills everything in a group and all of its parts.
    ///
    /// # Errors
    /// Something is still alive.
    pub fn kill(&self, group: &str) -> Result<(), CgroupError> {
        if matches!(self.executions, At::V2(_)) {
            return self.kill_dir(&self.executions.dir().join(group), None);
        }
        let freezer = self.freezer.as_ref().map(|dir| dir.join(group));
        for dir in self.parts(group).iter().map(|part| self.part_dir(group, part)).chain([self.pids.dir().join(group)])
        {
            self.kill_dir(&dir, freezer.as_deref())?;
        }
        Ok(())
    }

    fn kill_dir(&self, dir: &Path, freezer: Option<&Path>) -> Result<(), CgroupError> {
        let kill = dir.join("cgroup.kill");
        if kill.exists() {
            return put(&kill, "1");
        }
        // No cgroup.kill (v1, or before Linux 5.14): stop what can fork, then kill until nobody is left. The pids limit
        // bounds how many there can be.
        let state = |value: &str| freezer.map(|f| put(&f.join("freezer.state"), value));
        const ROUNDS_MAX: u32 = 1000;
        for _ in 0..ROUNDS_MAX {
            let _ = state("FROZEN");
            let pids: Vec<i32> = get(&dir.join("cgroup.procs"))?.lines().filter_map(|l| l.parse().ok()).collect();
            if pids.is_empty() {
                let _ = state("THAWED");
                return Ok(());
            }
            for pid in pids.into_iter().filter(|pid| *pid > 1) {
                let _ = sys::kill_child(pid, sys::SIGKILL);
            }
            let _ = state("THAWED");
        }
        Err(at(dir)(io::ErrorKind::ResourceBusy.into()))
    }

    /// Freezes or thaws a group.
    ///
    /// # Errors
    /// The file that refused.
    pub fn freeze(&self, group: &str, frozen: bool) -> Result<(), CgroupError> {
        match (&self.executions, &self.freezer) {
            (At::V2(dir), _) => put(&dir.join(group).join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            (At::V1(_), Some(dir)) => {
                put(&dir.join(group).join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
            }
            (At::V1(_), None) => Err(CgroupError::Missing("freezer")),
        }
    }

    /// Whether every process of a group stands still: freezing takes until each has come out of its system call.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_frozen(&self, group: &str) -> Result<bool, CgroupError> {
        match (&self.executions, &self.freezer) {
            (At::V2(dir), _) => Ok(get(&dir.join(group).join("cgroup.events"))?.lines().any(|line| line == "frozen 1")),
            (At::V1(_), Some(dir)) => Ok(get(&dir.join(group).join("freezer.state"))?.trim() == "FROZEN"),
            (At::V1(_), None) => Err(CgroupError::Missing("freezer")),
        }
    }

    /// CPU time of a part since it was made, in microseconds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn part_cpu_usec(&self, group: &str, part: &str) -> Result<u64, CgroupError> {
        let dir = self.part_dir(group, part);
        match &self.executions {
            At::V2(_) => keyed(&dir.join("cpu.stat"), "usage_usec"),
            At::V1(_) => Ok(get_number(&dir.join("cpuacct.usage"))? / 1000),
        }
    }

    /// CPU time of a group since it was made, in microseconds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cpu_usec(&self, group: &str) -> Result<u64, CgroupError> {
        self.part_cpu_usec(group, ".")
    }

    /// Memory charged to a group now, in bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn memory_bytes(&self, group: &str) -> Result<u64, CgroupError> {
        match &self.memory {
            At::V1(dir) => get_number(&dir.join(group).join("memory.usage_in_bytes")),
            At::V2(dir) => get_number(&dir.join(group).join("memory.current")),
        }
    }

    /// Largest memory since [`Self::reset_memory_peak`], in bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn memory_peak_bytes(&self, group: &str) -> Result<u64, CgroupError> {
        match &self.memory {
            At::V1(dir) => get_number(&dir.join(group).join("memory.max_usage_in_bytes")),
            At::V2(dir) => get_number(&dir.join(group).join("memory.peak")),
        }
    }

    /// Starts the peak anew. Before Linux 6.12, v2 cannot: the peak is then that of the sandbox's life.
    pub fn reset_memory_peak(&self, group: &str) {
        let _ = match &self.memory {
            At::V1(dir) => put(&dir.join(group).join("memory.max_usage_in_bytes"), "0"),
            At::V2(dir) => put(&dir.join(group).join("memory.peak"), "reset"),
        };
    }

    /// How many processes of a group the kernel killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self, group: &str) -> u64 {
        match &self.memory {
            At::V1(dir) => keyed(&dir.join(group).join("memory.oom_control"), "oom_kill"),
            At::V2(dir) => keyed(&dir.join(group).join("memory.events"), "oom_kill"),
        }
        .unwrap_or(0)
    }

    /// Processes and threads in a group now.
    #[must_use]
    pub fn process_count(&self, group: &str) -> u32 {
        let count = get_number(&self.pids.dir().join(group).join("pids.current")).unwrap_or(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Removes a part's directory. False when processes are still in it.
    #[must_use]
    pub fn remove_part(&self, group: &str, part: &str) -> bool {
        gone(&self.part_dir(group, part))
    }

    /// Removes a group's directories. False when processes are still in one.
    #[must_use]
    pub fn remove(&self, group: &str) -> bool {
        for part in self.parts(group) {
            if !self.remove_part(group, &part) {
                return false;
            }
        }
        // All of them are tried, also after one that stays.
        let left = self.all.iter().filter(|dir| !gone(&dir.join(group))).count();
        left == 0
    }

    fn remove_dirs(&self, group: &str) {
        let _ = self.remove(group);
    }

    /// The groups that exist, for reconcile.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .all
            .iter()
            .filter_map(|dir| fs::read_dir(dir).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Kills and removes every group of this installation, waiting up to `patience_ms` for the dying; then the
    /// installation's own directories. Returns the names that could not be removed.
    #[must_use]
    pub fn remove_everything(&self, patience_ms: u64) -> Vec<String> {
        let groups = self.groups();
        for group in &groups {
            let _ = self.kill(group);
        }
        let mut left = groups;
        for _ in 0..=patience_ms / 5 {
            left.retain(|group| !self.remove(group));
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if left.is_empty() {
            for dir in &self.all {
                let _ = fs::remove_dir(dir);
            }
        }
        left
    }
}

fn gone(dir: &Path) -> bool {
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_mountinfo() {
        let text = "30 23 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                    31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    32 23 0:28 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
                    33 23 0:29 / /tmp rw - tmpfs tmpfs rw\n";
        let found = hierarchies(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], (PathBuf::from("/sys/fs/cgroup/memory"), false, "rw,memory".to_owned()));
        assert_eq!(found[2], (PathBuf::from("/sys/fs/cgroup/unified"), true, "rw,nsdelegate".to_owned()));
    }
}

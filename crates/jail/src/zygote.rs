//! Starting a zygote: the warm interpreter of one template, in a jail of its own, without network, secrets, or any
//! privilege on the host.
//!
//! It shares the jailer's pid and user namespaces, because `setns` into a sandbox's pid namespace is refused from beside
//! it (setns(2): only downwards), and has every other namespace of its own.

use std::{
    ffi::CString,
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::symlink,
};

use rustix::net::SocketType;

use crate::{
    cgroup::GroupLimits,
    host::Host,
    proto::{ZygoteNo, ZygotePlan},
    shell::{Step, StepError, into_io, pipe},
    sys, wire,
};

/// What the jailer holds of a zygote that it started.
#[derive(Debug)]
pub struct Started {
    /// Its pid.
    pub pid: i32,
    /// Its control socket.
    pub control: OwnedFd,
    /// What it prints.
    pub output: OwnedFd,
    /// Kept open, so that its standard input never ends.
    pub stdin: OwnedFd,
}

/// Name of a zygote's cgroup; `generation` makes it unique, for a cgroup is never used twice.
#[must_use]
pub fn group(zygote: ZygoteNo, generation: u32) -> String {
    format!("z-{}-{generation}", zygote.0)
}

/// Processes in a zygote's cgroup: itself, a joiner, its child, and what imports may start and end.
const PIDS: u32 = 32;

/// Descriptors of a zygote, and the most that its children may have.
pub(crate) const DESCRIPTORS: u32 = 1024;

/// Signals that may wait, and POSIX timers, of one sandbox. They count at the owner of the user namespace too, whom all
/// sandboxes of a template share (`user_namespace` in `shell.rs`): with the usual 96,000 each, one took them all.
pub(crate) const PENDING_SIGNALS: u64 = 128;

/// Forks and starts a zygote. It says on its control socket when it is ready, or what failed.
///
/// # Errors
/// It could not be forked.
pub fn start(host: &Host, plan: &ZygotePlan, group: &str) -> Result<Started, StepError> {
    let (control, theirs) = wire::pair(SocketType::SEQPACKET).step("making the control socket")?;
    let (stdin_read, stdin_write) = pipe().step("making a pipe")?;
    let (output_read, output_write) = pipe().step("making a pipe")?;
    // Third-party code writes into it, or leaves a process that does not: nobody waits for either.
    rustix::io::ioctl_fionbio(&output_read, true).step("setting a pipe not to wait")?;
    let limits = GroupLimits { memory_bytes: u64::from(plan.memory_mib) << 20, cpu_millis: 2000, pids: PIDS };
    host.cgroups.create(group, limits).map_err(into_io).step("making the zygote's cgroup")?;
    match sys::fork().step("forking the zygote")? {
        sys::Forked::Parent(pid) => Ok(Started { pid, control, output: output_read, stdin: stdin_write }),
        sys::Forked::Child => {
            let fds = [
                stdin_read.as_fd(),
                output_write.as_fd(),
                output_write.as_fd(),
                theirs.as_fd(),
                host.last_filter_fd.as_fd(),
            ];
            let e = match become_zygote(host, plan, group, &fds) {
                Ok(never) => match never {},
                Err(e) => e,
            };
            let message = serde_json::json!({ "error": e.to_string() }).to_string();
            let _ = wire::send_waiting(theirs.as_fd(), message.as_bytes(), &[]);
            sys::exit_now(1)
        }
    }
}

fn become_zygote(
    host: &Host,
    plan: &ZygotePlan,
    group: &str,
    fds: &[BorrowedFd<'_>],
) -> Result<std::convert::Infallible, StepError> {
    let me = i32::try_from(std::process::id()).expect("pids fit in 31 bits");
    host.cgroups.attach(group, me).map_err(into_io).step("entering the zygote's cgroup")?;
    // Higher than guest init's, so that init is never chosen first; children inherit it.
    fs::write("/proc/self/oom_score_adj", "500").step("raising the OOM score")?;
    let all = sys::CLONE_NEWNS | sys::CLONE_NEWNET | sys::CLONE_NEWIPC | sys::CLONE_NEWUTS | sys::CLONE_NEWCGROUP;
    sys::unshare(all).step("unsharing the zygote's namespaces")?;
    sys::mount("none", "/", "", sys::MS_REC | sys::MS_PRIVATE, "").step("making mounts private")?;
    mount_root(host, plan)?;
    sys::set_hostname("zygote").step("setting the host name")?;
    sys::new_session().step("starting a session")?;
    sys::new_session_keyring().step("making a session keyring")?;
    sys::set_limit(sys::Resource::Core, 1).step("limiting core files")?;
    sys::set_limit(sys::Resource::LockedMemory, 8 << 20).step("limiting locked memory")?;
    sys::set_limit(sys::Resource::PendingSignals, PENDING_SIGNALS).step("limiting pending signals")?;
    let argv = texts(&plan.argv);
    let env = texts(&plan.env);
    sys::place_fds(fds).step("placing descriptors")?;
    sys::close_from(i32::try_from(fds.len()).expect("few")).step("closing descriptors")?;
    // Not before: what was inherited of the jailer may be more than a zygote may have.
    sys::set_limit(sys::Resource::Descriptors, u64::from(DESCRIPTORS)).step("limiting descriptors")?;
    sys::default_signals().step("restoring signals")?;
    sys::drop_bounding_set().step("emptying the bounding set")?;
    let uid = host.uids.zygote(plan.zygote);
    sys::become_id(uid, uid).step("becoming the zygote's user")?;
    sys::set_caps(0).step("dropping capabilities")?;
    sys::no_new_privs().step("forbidding new privileges")?;
    sys::load_filter(&host.zygote_filter).step("installing the zygote's filter")?;
    Err(sys::exec_path(&argv[0], &argv, &env)).step("executing the interpreter")
}

pub(crate) fn texts(list: &[String]) -> Vec<CString> {
    list.iter().map(|t| CString::new(t.as_str()).expect("plans are checked for NUL")).collect()
}

/// A read-only root of the template's layers. Ids on disk are the host's here: the zygote owns nothing in it.
fn mount_root(host: &Host, plan: &ZygotePlan) -> Result<(), StepError> {
    let scratch = host.scratch();
    let layers = sys::open_tree_clone(&host.layers().to_string_lossy()).step("taking the layers")?;
    let read_only = sys::attr::RDONLY | sys::attr::NOSUID | sys::attr::NODEV;
    sys::mount_setattr(layers.as_fd(), read_only, None).step("sealing the layers")?;
    let options = "size=64k,nr_inodes=64,mode=755";
    sys::mount("tmpfs", &scratch.to_string_lossy(), "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, options)
        .step("mounting the scratch tmpfs")?;
    std::env::set_current_dir(&scratch).step("entering the scratch tmpfs")?;
    for dir in ["l", "root"] {
        fs::create_dir(dir).step("making a mount point")?;
    }
    sys::attach_mount(layers.as_fd(), "l").step("attaching the layers")?;
    let lower = plan.layers.iter().map(|l| format!("l/{l}/rootfs")).collect::<Vec<_>>().join(":");
    let flags = sys::MS_RDONLY | sys::MS_NOSUID | sys::MS_NODEV;
    sys::mount("overlay", "root", "overlay", flags, &format!("lowerdir={lower}")).step("mounting the overlay")?;
    sys::mount("tmpfs", "root/tmp", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, "size=16m,mode=1777")
        .step("mounting /tmp")?;
    sys::mount("tmpfs", "root/dev", "tmpfs", sys::MS_NOSUID | sys::MS_NOEXEC, "size=16k,mode=755")
        .step("mounting /dev")?;
    for device in ["null", "zero", "urandom", "random"] {
        let target = format!("root/dev/{device}");
        fs::write(&target, "").step("making a device's mount point")?;
        let tree = sys::open_tree_clone(&format!("/dev/{device}")).step("taking a device")?;
        sys::attach_mount(tree.as_fd(), &target).step("attaching a device")?;
    }
    symlink("/proc/self/fd", "root/dev/fd").step("linking in /dev")?;
    fs::create_dir("root/dev/shm").step("making /dev/shm")?;
    sys::mount("tmpfs", "root/dev/shm", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, "size=16m,mode=1777")
        .step("mounting /dev/shm")?;
    let proc = sys::new_procfs(&[("hidepid", "invisible"), ("subset", "pid")]).step("making procfs")?;
    sys::attach_mount(proc.as_fd(), "root/proc").step("attaching procfs")?;
    std::env::set_current_dir("root").step("entering the root")?;
    sys::pivot_to_cwd().step("pivoting")
}

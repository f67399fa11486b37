//! Building a shell: an empty sandbox with its namespaces, mounts, cgroup and guest init, but without a program.
//!
//! The work is done by a *builder*, a process forked from the jailer for one shell, so that shells are built side by
//! side and the jailer never waits. Nothing that runs here has seen a sandbox's data. In order:
//!
//! 1. builder (host root): cgroup, mount namespace, user namespace owned by the zygote's uid, overlay root, /dev, pivot;
//! 2. its child enters the user namespace and makes the others there, so that all are owned by it, and forks init;
//! 3. a helper in the new pid namespace mounts procfs (only the host's root may mount it unmasked);
//! 4. the builder enters the network namespace and sets up the capture of what the sandbox will send;
//! 5. init covers procfs, sets the shell's own limits, drops everything, and becomes the guest's static binary.

use std::{
    ffi::CString,
    fs, io,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat, openat},
    net::SocketType,
};

use crate::{
    capture::{self, Capture},
    cgroup::GroupLimits,
    host::{Host, INIT_UID, PROGRAM_UID, UIDS_PER_SLOT},
    proto::ShellPlan,
    synth, sys, wire,
};

/// A step that failed: what the plan's sender is told.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct StepError {
    /// What was being done, without host paths.
    pub step: String,
    /// errno.
    pub source: io::Error,
}

/// Names the step that failed.
pub(crate) trait Step<T> {
    /// `step` in a few words.
    fn step(self, step: &str) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, StepError> {
        self.map_err(|source| StepError { step: step.to_owned(), source: source.into() })
    }
}

/// Name of a shell's cgroup.
#[must_use]
pub fn group(plan_shell: crate::proto::ShellId) -> String {
    format!("s-{plan_shell}")
}

/// Limits of a shell's cgroup. Init and the joiners need a few processes beyond the program's.
#[must_use]
pub fn group_limits(limits: &ringfence_model::Limits) -> GroupLimits {
    const OVERHEAD_PIDS: u32 = 4;
    GroupLimits {
        memory_bytes: u64::from(limits.memory_mib) << 20,
        cpu_millis: limits.cpu_millis,
        pids: limits.processes + OVERHEAD_PIDS,
    }
}

/// CPUs that a sandbox is shown: its limit rounded up.
#[must_use]
pub fn shown_cpus(cpu_millis: u32) -> u32 {
    cpu_millis.div_ceil(1000)
}

/// Starts a builder. Its report comes over the returned socket: see [`read_report`].
///
/// # Errors
/// It could not be forked.
pub fn start_builder(host: &Host, plan: &ShellPlan) -> Result<(i32, OwnedFd), StepError> {
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).step("making the builder's socket")?;
    match sys::fork().step("forking the builder")? {
        sys::Forked::Parent(pid) => Ok((pid, ours)),
        sys::Forked::Child => {
            drop(ours);
            let code = match build(host, plan, theirs.as_fd()) {
                Ok(()) => 0,
                Err(e) => {
                    let _ = wire::send_waiting(theirs.as_fd(), format!("E{e}").as_bytes(), &[]);
                    1
                }
            };
            sys::exit_now(code)
        }
    }
}

/// What a builder says when it is done.
#[derive(Debug)]
pub enum Report {
    /// Pid of init in the jailer's pid namespace, the host's end of its frame socket, and the capture, where it was planned.
    Built(i32, OwnedFd, Option<Capture>),
    /// What failed.
    Failed(String),
}

/// Reads a builder's report when its socket is readable. `None` when there is none yet.
///
/// # Errors
/// errno of recvmsg(2).
pub fn read_report(socket: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let mut buffer = [0_u8; 2048];
    let Some(received) = wire::receive(socket, &mut buffer)? else { return Ok(None) };
    let text = &buffer[..received.len];
    let mut fds = received.fds.into_iter();
    let frames = fds.next();
    let capture =
        <[OwnedFd; 3]>::try_from(fds.collect::<Vec<_>>()).ok().map(|[tcp, dns, link]| Capture { tcp, dns, link });
    let report = match (text.split_first(), frames) {
        (Some((b'B', pid)), Some(frames)) => match std::str::from_utf8(pid).ok().and_then(|t| t.parse().ok()) {
            Some(pid) => Report::Built(pid, frames, capture),
            None => Report::Failed("the builder's report is broken".into()),
        },
        (Some((b'E', why)), _) => Report::Failed(String::from_utf8_lossy(why).into_owned()),
        _ => Report::Failed("the builder died".into()),
    };
    Ok(Some(report))
}

fn build(host: &Host, plan: &ShellPlan, report: BorrowedFd<'_>) -> Result<(), StepError> {
    let base = host.uids.slot(plan.slot);
    let group = group(plan.shell);
    host.cgroups.create(&group, group_limits(&plan.limits)).map_err(into_io).step("making the cgroup")?;
    host.cgroups.create_part(&group, "init").map_err(into_io).step("making init's cgroup")?;
    let me = i32::try_from(std::process::id()).expect("pids fit in 31 bits");
    host.cgroups.attach(&group, me).map_err(into_io).step("entering the cgroup")?;

    sys::unshare(sys::CLONE_NEWNS).step("unsharing mounts")?;
    sys::mount("none", "/", "", sys::MS_REC | sys::MS_PRIVATE, "").step("making mounts private")?;
    sys::keep_caps_over_setuid().step("keeping capabilities")?;
    let userns = user_namespace(host.uids.zygote(plan.zygote), base).step("making the user namespace")?;
    let proc = open_dir("/proc").step("opening /proc")?;

    mount_root(host, plan, base, userns.as_fd())?;
    let synthetic = sys::open_tree_clone(
        &host.synthetic(plan.limits.memory_mib, shown_cpus(plan.limits.cpu_millis)).to_string_lossy(),
    )
    .step("taking the synthetic procfs files")?;
    sys::mount_setattr(synthetic.as_fd(), ATTRS_SEALED, None).step("sealing the synthetic procfs files")?;
    let own = sys::open_tree_clone("own").step("taking the sandbox's own files")?;
    sys::mount_setattr(own.as_fd(), ATTRS_SEALED, None).step("sealing the sandbox's own files")?;
    std::env::set_current_dir("root").step("entering the root")?;
    sys::pivot_to_cwd().step("pivoting")?;

    let (frames_host, frames_guest) = wire::pair(SocketType::STREAM).step("making the frame socket")?;
    let (go_read, go_write) = pipe().step("making a pipe")?;
    let (error_read, error_write) = pipe().step("making a pipe")?;
    let (pid_read, pid_write) = pipe().step("making a pipe")?;
    match sys::fork().step("forking into the user namespace")? {
        sys::Forked::Child => {
            let code = match enter_namespaces(userns.as_fd()) {
                Ok(sys::Forked::Parent(pid)) => i32::from(write_all(&pid_write, pid.to_string().as_bytes()).is_err()),
                Ok(sys::Forked::Child) => {
                    drop((go_write, error_read, pid_read, pid_write, frames_host));
                    let e = init(host, plan, &go_read, frames_guest.as_fd());
                    let _ = write_all(&error_write, e.to_string().as_bytes());
                    1
                }
                Err(e) => {
                    let _ = write_all(&error_write, e.to_string().as_bytes());
                    1
                }
            };
            sys::exit_now(code);
        }
        sys::Forked::Parent(pid) => {
            drop((pid_write, go_read, error_write, frames_guest));
            let text = read_all(&pid_read).step("waiting for init")?;
            sys::wait_for(pid).step("waiting for the namespaces")?;
            let Ok(init_pid) = text.parse::<i32>() else {
                return Err(told(&read_all(&error_read).unwrap_or_default(), "making the namespaces"));
            };
            let mount_ns = open_in(&proc, &format!("{init_pid}/ns/mnt")).step("opening init's mount namespace")?;
            let pid_ns = open_in(&proc, &format!("{init_pid}/ns/pid")).step("opening init's pid namespace")?;
            mount_procfs(pid_ns.as_fd(), mount_ns.as_fd(), synthetic.as_fd(), own.as_fd())?;
            let net_ns = open_in(&proc, &format!("{init_pid}/ns/net")).step("opening init's network namespace")?;
            let capture = match plan.gate {
                true => Some(capture::set_up(net_ns.as_fd(), &host.gate)?),
                false => capture::without(net_ns.as_fd()).map(|()| None)?,
            };
            write_all(&go_write, b"g").step("telling init to go on")?;
            // The pipe is close-on-exec: its end without a word means that init is the guest's binary now.
            let error = read_all(&error_read).step("waiting for init's exec")?;
            if !error.is_empty() {
                return Err(told(&error, "starting init"));
            }
            let mut fds = vec![frames_host.as_fd()];
            if let Some(Capture { tcp, dns, link }) = &capture {
                fds.extend([tcp.as_fd(), dns.as_fd(), link.as_fd()]);
            }
            wire::send_waiting(report, format!("B{init_pid}").as_bytes(), &fds).step("reporting")
        }
    }
}

const ATTRS_SEALED: u64 = sys::attr::RDONLY | sys::attr::NOSUID | sys::attr::NODEV | sys::attr::NOEXEC;

/// What another process of this build said about its failure: a [`StepError`] as text.
pub(crate) fn told(text: &str, otherwise: &str) -> StepError {
    let (step, reason) = text.split_once(": ").unwrap_or((otherwise, if text.is_empty() { "it died" } else { text }));
    StepError { step: step.to_owned(), source: io::Error::other(reason.to_owned()) }
}

pub(crate) fn into_io(error: crate::cgroup::CgroupError) -> io::Error {
    match error {
        crate::cgroup::CgroupError::Io { path, source } => {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            io::Error::new(source.kind(), format!("{file}: {source}"))
        }
        missing @ crate::cgroup::CgroupError::Missing(_) => {
            io::Error::new(io::ErrorKind::Unsupported, missing.to_string())
        }
    }
}

pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn open_dir(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_in(dir: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    Ok(openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

pub(crate) fn write_all(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    fs::File::from(fd.try_clone()?).write_all(bytes)
}

pub(crate) fn read_all(fd: &OwnedFd) -> io::Result<String> {
    let mut text = String::new();
    fs::File::from(fd.try_clone()?).read_to_string(&mut text)?;
    Ok(text)
}

/// A user namespace whose owner is `owner`, mapping 0..65536 inside to `base`.. outside.
///
/// The owner of a user namespace has every capability in it (user_namespaces(7)): that is what lets a zygote's child
/// join without any privilege on the host. The namespace is made while the maker still holds `CAP_SYS_ADMIN`, because
/// some distributions forbid it to unprivileged processes.
pub(crate) fn user_namespace(owner: u32, base: u32) -> io::Result<OwnedFd> {
    let (ready_read, ready_write) = pipe()?;
    let (done_read, done_write) = pipe()?;
    match sys::fork()? {
        sys::Forked::Child => {
            drop((ready_read, done_write));
            // What its processes may have together, counted at the owner, is what its maker may have: as much as the
            // host permits, for each sandbox is limited by itself. Raising needs CAP_SYS_RESOURCE.
            for shared in [sys::Resource::PendingSignals, sys::Resource::Processes] {
                let _ = sys::set_limit(shared, sys::UNLIMITED);
            }
            let made = sys::keep_caps_over_setuid()
                .and_then(|()| sys::become_id(owner, owner))
                .and_then(|()| sys::unshare(sys::CLONE_NEWUSER))
                .and_then(|()| write_all(&ready_write, b"r"));
            drop(ready_write);
            let _ = read_all(&done_read);
            sys::exit_now(i32::from(made.is_err()));
        }
        sys::Forked::Parent(pid) => {
            drop((ready_write, done_read));
            let ready = read_all_one(&ready_read);
            let userns = ready.and_then(|()| {
                let fd = fs::File::open(format!("/proc/{pid}/ns/user"))?;
                let map = format!("0 {base} {UIDS_PER_SLOT}\n");
                fs::write(format!("/proc/{pid}/uid_map"), &map)?;
                fs::write(format!("/proc/{pid}/gid_map"), &map)?;
                Ok(OwnedFd::from(fd))
            });
            drop(done_write);
            sys::wait_for(pid)?;
            userns
        }
    }
}

fn read_all_one(fd: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    fs::File::from(fd.try_clone()?).read_exact(&mut byte)
}

/// Mounts the root file system at `root` below a private scratch directory, which becomes the working directory. All
/// paths are relative, so that mountinfo shows none of the host's.
fn mount_root(host: &Host, plan: &ShellPlan, base: u32, userns: BorrowedFd<'_>) -> Result<(), StepError> {
    let scratch = host.scratch();
    let idmapped = |path: &Path, extra: u64| -> io::Result<OwnedFd> {
        let tree = sys::open_tree_clone(&path.to_string_lossy())?;
        sys::mount_setattr(
            tree.as_fd(),
            sys::attr::IDMAP | sys::attr::NOSUID | sys::attr::NODEV | extra,
            Some(userns),
        )?;
        Ok(tree)
    };
    let layers = idmapped(&host.layers(), sys::attr::RDONLY).step("mapping the layers' ids")?;
    let disk = plan.disk.map(|disk| idmapped(&host.disk(disk), 0).step("mapping the disk's ids")).transpose()?;
    let options = "size=256k,nr_inodes=256,mode=755";
    sys::mount("tmpfs", &scratch.to_string_lossy(), "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, options)
        .step("mounting the scratch tmpfs")?;
    std::env::set_current_dir(&scratch).step("entering the scratch tmpfs")?;
    for dir in ["l", "d", "root", "own"] {
        fs::create_dir(dir).step("making a mount point")?;
    }
    sys::attach_mount(layers.as_fd(), "l").step("attaching the layers")?;
    match disk {
        Some(disk) => sys::attach_mount(disk.as_fd(), "d").step("attaching the disk")?,
        None => mount_memory(base, plan.limits.memory_mib).step("mounting files in memory")?,
    }

    let lower = plan.layers.iter().map(|l| format!("l/{l}/rootfs")).collect::<Vec<_>>().join(":");
    let overlay =
        format!("lowerdir={lower},upperdir=d/up,workdir=d/wk,redirect_dir=on,index=off,metacopy=off,volatile");
    // Overlay makes its work directory with the mounter's file system ids; ids outside the map leave it read-only.
    sys::set_fs_id(base, base);
    sys::mount("overlay", "root", "overlay", sys::MS_NOSUID | sys::MS_NODEV, &overlay).step("mounting the overlay")?;
    // The kernel mounts an overlay that it cannot write to all the same, and says so in its log alone.
    let mounted = rustix::fs::statvfs("root").map_err(io::Error::from).step("looking at the overlay")?;
    if mounted.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(io::Error::from(io::ErrorKind::StorageFull)).step("mounting the overlay to be written to");
    }
    mount_dev(base, plan.limits.memory_mib)?;

    for (name, text) in synth::own_files(&plan.hostname, &plan.machine_id) {
        fs::write(format!("own/{name}"), text).step("writing the sandbox's own files")?;
    }
    for name in ["hostname", "hosts", "machine-id", "resolv.conf"] {
        let target = format!("root/etc/{name}");
        bind_sealed(&format!("own/{name}"), &target).step("covering a file in /etc")?;
    }
    let run = format!("size=16m,nr_inodes=4096,mode=755,uid={0},gid={0}", base + PROGRAM_UID);
    sys::mount("tmpfs", "root/run/ringfence", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, &run)
        .step("mounting /run/ringfence")?;
    Ok(())
}

/// Bytes that the files of a shell without a disk may have, as an option of tmpfs: a quarter of its memory. With /dev/shm, which
/// may have a half, they stay below the limit, so that full is ENOSPC and not an OOM kill.
#[must_use]
pub fn memory_files(memory_mib: u32) -> String {
    format!("size={}k", u64::from(memory_mib) * 256)
}

/// A disk in memory at `d`. Its ids are the host's, unlike those on a disk: nothing of it outlives the shell.
fn mount_memory(base: u32, memory_mib: u32) -> io::Result<()> {
    let options = format!("{},nr_inodes=65536,mode=700,uid={base},gid={base}", memory_files(memory_mib));
    sys::mount("tmpfs", "d", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, &options)?;
    for dir in ["d/up", "d/wk"] {
        fs::create_dir(dir)?;
        std::os::unix::fs::chown(dir, Some(base), Some(base))?;
    }
    Ok(())
}

fn bind_sealed(source: &str, target: &str) -> io::Result<()> {
    let tree = sys::open_tree_clone(source)?;
    sys::mount_setattr(tree.as_fd(), ATTRS_SEALED, None)?;
    sys::attach_mount(tree.as_fd(), target)
}

/// A minimal /dev: six harmless devices. They are nodes of their own, not the host's bound here: watching the host's
/// /dev/null with inotify, a sandbox saw whenever the host or another sandbox used it, and they could have talked
/// through its locks.
fn mount_dev(base: u32, memory_mib: u32) -> Result<(), StepError> {
    let options = format!("size=64k,nr_inodes=64,mode=755,uid={base},gid={base}");
    sys::mount("tmpfs", "root/dev", "tmpfs", sys::MS_NOSUID | sys::MS_NOEXEC, &options).step("mounting /dev")?;
    // Numbers: Documentation/admin-guide/devices.txt.
    for (device, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        let path = format!("root/dev/{device}");
        let number = rustix::fs::makedev(major, minor);
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, number).step("making a device")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).step("opening a device to all")?;
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, format!("root/dev/{link}")).step("linking in /dev")?;
    }
    for dir in ["shm", "pts", ".proc", ".own"] {
        fs::create_dir(format!("root/dev/{dir}")).step("making a directory in /dev")?;
    }
    // Half of the memory, so that a full /dev/shm is ENOSPC and not an OOM kill: its pages are charged to the sandbox.
    let shm = format!("size={}k,nr_inodes=8192,mode=1777,uid={base},gid={base}", u64::from(memory_mib) * 512);
    sys::mount("tmpfs", "root/dev/shm", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC, &shm)
        .step("mounting /dev/shm")
}

/// In a child of the builder: into the user namespace, new namespaces there, and init's fork. A cgroup namespace is
/// rooted where its maker is: in the shell's group.
fn enter_namespaces(userns: BorrowedFd<'_>) -> Result<sys::Forked, StepError> {
    sys::setns(userns).step("entering the user namespace")?;
    sys::become_id(0, 0).step("becoming root of the user namespace")?;
    let all = sys::CLONE_NEWNS
        | sys::CLONE_NEWPID
        | sys::CLONE_NEWNET
        | sys::CLONE_NEWIPC
        | sys::CLONE_NEWUTS
        | sys::CLONE_NEWCGROUP;
    sys::unshare(all).step("unsharing the namespaces")?;
    sys::fork().step("forking init")
}

/// Mounts procfs of the new pid namespace in the new mount namespace, with the synthetic files beside it for init.
fn mount_procfs(
    pid_ns: BorrowedFd<'_>,
    mount_ns: BorrowedFd<'_>,
    synthetic: BorrowedFd<'_>,
    own: BorrowedFd<'_>,
) -> Result<(), StepError> {
    sys::setns(pid_ns).step("entering the pid namespace")?;
    let (error_read, error_write) = pipe().step("making a pipe")?;
    match sys::fork().step("forking into the pid namespace")? {
        sys::Forked::Child => {
            let mounted = (|| {
                let proc = sys::new_procfs(&[("hidepid", "invisible")]).step("making procfs")?;
                sys::setns(mount_ns).step("entering the mount namespace")?;
                sys::attach_mount(proc.as_fd(), "/proc").step("attaching procfs")?;
                sys::attach_mount(synthetic, "/dev/.proc").step("attaching the synthetic files")?;
                sys::attach_mount(own, "/dev/.own").step("attaching the own files")
            })();
            if let Err(e) = &mounted {
                let _ = write_all(&error_write, e.to_string().as_bytes());
            }
            sys::exit_now(i32::from(mounted.is_err()))
        }
        sys::Forked::Parent(pid) => {
            drop(error_write);
            let error = read_all(&error_read).step("waiting for procfs")?;
            // The child is in a pid namespace below ours: its pid here is what fork returned.
            sys::wait_for(pid).step("waiting for procfs")?;
            if error.is_empty() { Ok(()) } else { Err(told(&error, "mounting procfs")) }
        }
    }
}

/// The first process of the shell, until it is the guest's binary. Returns only what failed.
fn init(host: &Host, plan: &ShellPlan, go: &OwnedFd, frames: BorrowedFd<'_>) -> StepError {
    match become_init(host, plan, go, frames) {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

fn become_init(
    host: &Host,
    plan: &ShellPlan,
    go: &OwnedFd,
    frames: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, StepError> {
    sys::new_session().step("starting a session")?;
    read_all_one(go).step("waiting for procfs")?;
    sys::set_hostname(&plan.hostname).step("setting the host name")?;
    let pts = "newinstance,ptmxmode=0666,mode=620,gid=5,max=64";
    sys::mount("devpts", "/dev/pts", "devpts", sys::MS_NOSUID | sys::MS_NOEXEC, pts).step("mounting devpts")?;
    limit_namespaces()?;
    cover_procfs()?;
    for dir in ["/dev/.proc", "/dev/.own"] {
        sys::umount(dir, sys::MNT_DETACH).step("unmounting the synthetic files")?;
        fs::remove_dir(dir).step("removing a mount point")?;
    }
    sys::new_session_keyring().step("making a session keyring")?;
    sys::set_limit(sys::Resource::Core, 1).step("limiting core files")?;
    sys::set_limit(sys::Resource::PendingSignals, crate::zygote::PENDING_SIGNALS).step("limiting pending signals")?;
    std::env::set_current_dir("/").step("entering /")?;

    let null =
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).step("opening /dev/null")?;
    // The error pipe must stay open until exec: it is close-on-exec and stands above the descriptors placed here.
    sys::place_fds(&[null.as_fd(), null.as_fd(), null.as_fd(), frames]).step("placing descriptors")?;
    // Not before: what was inherited of the jailer may be more than a sandbox may have.
    sys::set_limit(sys::Resource::Descriptors, u64::from(plan.limits.descriptors)).step("limiting descriptors")?;
    sys::default_signals().step("restoring signals")?;
    let kept = sys::cap_mask(&[sys::cap::KILL, sys::cap::SETGID, sys::cap::SETUID]);
    sys::set_inheritable(kept).step("inheriting three capabilities")?;
    sys::drop_bounding_set().step("emptying the bounding set")?;
    sys::keep_caps_over_setuid().step("keeping capabilities")?;
    sys::become_id(INIT_UID, INIT_UID).step("becoming init's user")?;
    sys::set_caps(kept).step("keeping three capabilities")?;
    sys::no_new_privs().step("forbidding new privileges")?;
    // Nothing of the host is left open: everything above the frame socket is close-on-exec, and checked by posture.
    sys::load_filter(&host.last_filter).step("installing the filter")?;
    let argv = [CString::new("init").expect("no NUL")];
    Err(sys::exec_fd(host.guest_init.as_fd(), &argv, &[])).step("executing init")
}

/// Limits that belong to the owner of a user namespace are shared by every sandbox of one owner unless each has its own
/// (namespaces(7), `/proc/sys/user`): no new namespaces, and few enough inotify instances that nobody starves others.
fn limit_namespaces() -> Result<(), StepError> {
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let path = format!("/proc/sys/user/max_{kind}_namespaces");
        match fs::write(&path, "0") {
            Err(e) if kind == "time" && e.kind() == io::ErrorKind::NotFound => {}
            written => written.step("forbidding new namespaces")?,
        }
    }
    for (what, most) in INOTIFY {
        let host = fs::read_to_string(format!("/proc/sys/fs/inotify/max_user_{what}")).unwrap_or_default();
        let share = inotify_share(host.trim().parse().unwrap_or(0), most);
        fs::write(format!("/proc/sys/user/max_inotify_{what}"), share.to_string()).step("limiting inotify")?;
    }
    Ok(())
}

/// What one sandbox may have of inotify.
const INOTIFY: [(&str, u64); 2] = [("instances", 64), ("watches", 16_384)];

/// So many sandboxes of one template may each use all that they may have, and nobody else's is missing.
const INOTIFY_NEIGHBOURS: u64 = 256;

/// They count at the owner of the user namespace too, against the host's own limit of 128 instances a user: two
/// sandboxes that took 64 each left none for the others.
fn inotify_share(host: u64, most: u64) -> u64 {
    (host / INOTIFY_NEIGHBOURS).clamp(1, most)
}

/// Raises the host's limits on inotify to what [`INOTIFY_NEIGHBOURS`] sandboxes may have. What is used is charged to each
/// sandbox's memory. Where the host does not let itself be changed, each sandbox has a smaller share.
pub(crate) fn make_room_for_inotify() {
    for (what, most) in INOTIFY {
        let path = format!("/proc/sys/fs/inotify/max_user_{what}");
        let host = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if host.is_some_and(|host| host < most * INOTIFY_NEIGHBOURS) {
            let _ = fs::write(&path, (most * INOTIFY_NEIGHBOURS).to_string());
        }
    }
}

/// Covers every entry of procfs that is not a process: with a synthetic file, or with an empty one.
fn cover_procfs() -> Result<(), StepError> {
    let synthetic = Path::new("/dev/.proc");
    for entry in fs::read_dir("/proc").step("listing procfs")? {
        let entry = entry.step("listing procfs")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().step("looking at procfs")?;
        if kind.is_symlink() || name.bytes().all(|b| b.is_ascii_digit()) {
            continue; // self, thread-self, mounts and net lead to the process; numbers are processes
        }
        let own = synthetic.join(&name);
        let source = match (own.exists(), kind.is_dir()) {
            (true, _) => own,
            (false, true) => synthetic.join(synth::EMPTY_DIRECTORY),
            (false, false) => synthetic.join(synth::EMPTY_FILE),
        };
        bind(&source.to_string_lossy(), &format!("/proc/{name}")).step("covering an entry of procfs")?;
    }
    bind("/dev/.own/boot_id", "/proc/sys/kernel/random/boot_id").step("covering the boot id")?;
    bind("/dev/.own/hostname", "/proc/sys/kernel/hostname").step("covering the host name")
}

/// A bind mount; it inherits the restrictions of the mount that `source` is on.
fn bind(source: &str, target: &str) -> io::Result<()> {
    sys::mount(source, target, "", sys::MS_BIND, "")
}

/// Makes a directory that only root may enter.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

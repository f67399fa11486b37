//! The syscalls that no library wraps as we need them: one syscall a wrapper, a safe signature, the reason why it is safe.
//!
//! Everything here assumes a single-threaded process (see [`fork`]).
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use libc::{c_int, c_long, c_uint, c_ulong, c_void};

pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, MNT_DETACH,
    MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, MS_SLAVE, O_CLOEXEC, SIGKILL,
    SIGTERM,
};

pub mod bpf;
mod descriptors;
mod process;
pub mod sockets;

pub use descriptors::{close_from, close_on_exec_from, place_fd, place_fds};
pub use process::{Ended, default_signals, kill_child, read_signal, reap_one, signal_fd, wait_for};

/// One instruction of a classic BPF program, as seccomp takes it.
pub type Filter = libc::sock_filter;

/// Capability numbers (capabilities(7)) that this crate names.
#[allow(missing_docs, reason = "the kernel's names")]
pub mod cap {
    pub const CHOWN: u8 = 0;
    pub const DAC_OVERRIDE: u8 = 1;
    pub const FOWNER: u8 = 3;
    pub const KILL: u8 = 5;
    pub const SETGID: u8 = 6;
    pub const SETUID: u8 = 7;
}

/// A set of capabilities as a bit mask.
#[must_use]
pub fn cap_mask(caps: &[u8]) -> u64 {
    caps.iter().fold(0, |mask, cap| mask | (1 << cap))
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_int(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The caller; the child's pid.
    Parent(i32),
    /// The new process.
    Child,
}

/// fork(2). Sound only while the process has one thread, which the jailer asserts when it starts: the child may then
/// allocate and call whatever it likes.
///
/// # Errors
/// errno of fork(2).
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the process is single-threaded (asserted at the jailer's start), so no lock can be held by another thread.
    match check_int(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// clone(2) with `CLONE_PARENT`: like [`fork`], but the child's parent is the caller's parent.
///
/// # Errors
/// errno of clone(2).
pub fn fork_sibling() -> io::Result<Forked> {
    let flags = libc::CLONE_PARENT as c_ulong | libc::SIGCHLD as c_ulong;
    // SAFETY: a null stack without CLONE_VM gives the child a copy of ours, as fork does; single-threaded as in `fork`.
    // glibc's cached thread id goes stale in the child, which only execs, exits, or makes plain syscalls.
    match check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(i32::try_from(pid).expect("pids fit in 32 bits"))),
    }
}

/// _exit(2): ends the process without running handlers or flushing buffers that belong to its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(code) }
}

/// malloc_trim(3): gives freed memory back to the kernel. The allocator keeps it in an arena for each thread otherwise, and a process that
/// once needed much goes on as large. It takes some milliseconds, in which other threads wait for their arenas.
pub fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it looks at the allocator's own state, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// unshare(2).
///
/// # Errors
/// errno.
pub fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::unshare(flags) }).map(drop)
}

/// setns(2) into whatever namespace `fd` is.
///
/// # Errors
/// errno.
pub fn setns(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    check_int(unsafe { libc::setns(fd.as_raw_fd(), 0) }).map(drop)
}

/// mount(2).
///
/// # Errors
/// errno.
pub fn mount(source: &str, target: &str, fstype: &str, flags: c_ulong, data: &str) -> io::Result<()> {
    let (source, target, fstype, data) = (c(source)?, c(target)?, c(fstype)?, c(data)?);
    // SAFETY: four NUL-terminated strings that outlive the call; every file system used here takes text options.
    check_int(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), fstype.as_ptr(), flags, data.as_ptr().cast::<c_void>())
    })
    .map(drop)
}

/// umount2(2).
///
/// # Errors
/// errno.
pub fn umount(target: &str, flags: c_int) -> io::Result<()> {
    let target = c(target)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    check_int(unsafe { libc::umount2(target.as_ptr(), flags) }).map(drop)
}

/// pivot_root(".", ".") and detach of the old root (pivot_root(2), "pivot_root(".", ".")").
///
/// # Errors
/// errno of the step that failed.
pub fn pivot_to_cwd() -> io::Result<()> {
    // SAFETY: two NUL-terminated strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    umount(".", MNT_DETACH)?;
    std::env::set_current_dir("/")
}

const AT_EMPTY_PATH: c_uint = 0x1000;
const OPEN_TREE_CLONE: c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;

/// A detached copy of the mount at `path` (open_tree(2) with `OPEN_TREE_CLONE`).
///
/// # Errors
/// errno.
pub fn open_tree_clone(path: &str) -> io::Result<OwnedFd> {
    let path = c(path)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE | O_CLOEXEC as c_uint)
    })?;
    Ok(owned(fd))
}

/// Attribute bits of mount_setattr(2) that are used here.
#[allow(missing_docs, reason = "the kernel's names")]
pub mod attr {
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 2;
    pub const NODEV: u64 = 4;
    pub const NOEXEC: u64 = 8;
    pub const IDMAP: u64 = 0x0010_0000;
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) on a detached mount; with [`attr::IDMAP`], `userns` gives the map.
///
/// # Errors
/// errno.
pub fn mount_setattr(tree: BorrowedFd<'_>, set: u64, userns: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let userns_fd = userns.map_or(0, |fd| u64::try_from(fd.as_raw_fd()).expect("descriptors are not negative"));
    let attr = MountAttr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd };
    // SAFETY: the empty path is NUL-terminated, and `attr` has the layout and size of struct mount_attr (version 0).
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// move_mount(2): attaches a detached mount at `target`.
///
/// # Errors
/// errno.
pub fn attach_mount(tree: BorrowedFd<'_>, target: &str) -> io::Result<()> {
    let target = c(target)?;
    // SAFETY: NUL-terminated strings that outlive the call; a borrowed descriptor.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Makes and mounts procfs of the caller's pid namespace, detached (fsopen(2), fsconfig(2), fsmount(2)).
///
/// # Errors
/// errno of the step that failed.
pub fn new_procfs(options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    const FSCONFIG_SET_STRING: c_uint = 1;
    const FSCONFIG_CMD_CREATE: c_uint = 6;
    const FSOPEN_CLOEXEC: c_uint = 1;
    const FSMOUNT_CLOEXEC: c_uint = 1;
    // SAFETY: a NUL-terminated name.
    let fs = owned(check(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) })?);
    for (key, value) in options {
        let (key, value) = (c(key)?, c(value)?);
        // SAFETY: NUL-terminated strings that outlive the call.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
        })?;
    }
    // SAFETY: null key and value, as FSCONFIG_CMD_CREATE demands.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<c_void>(),
            std::ptr::null::<c_void>(),
            0,
        )
    })?;
    let flags = c_uint::try_from(attr::NOSUID | attr::NODEV | attr::NOEXEC).expect("three low bits");
    // SAFETY: a descriptor and integers.
    let mount = check(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, flags) })?;
    Ok(owned(mount))
}

fn owned(fd: c_long) -> OwnedFd {
    let fd = RawFd::try_from(fd).expect("descriptors fit in 32 bits");
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes over a descriptor that the parent process left open at a number that both sides know.
///
/// # Errors
/// `EBADF` when nothing is open there.
pub fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on any number is harmless.
    check_int(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open (fcntl said so) and each role takes each of its inherited numbers over once, when it starts.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// setgroups(2) to none, setresgid(2), setresuid(2), in that order.
///
/// # Errors
/// errno.
pub fn become_id(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an empty list and plain integers; raw syscalls, for this process has one thread.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<c_void>()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// setfsuid(2) and setfsgid(2): the ids with which this process makes files from now on.
pub fn set_fs_id(uid: u32, gid: u32) {
    // SAFETY: plain integers; these calls cannot fail in a way that matters: mounting checks what it needs.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> io::Result<c_int> {
    // SAFETY: every option used in this file takes integers.
    check_int(unsafe { libc::prctl(option, a, b, 0 as c_ulong, 0 as c_ulong) })
}

/// `SECBIT_NO_SETUID_FIXUP` and `SECBIT_KEEP_CAPS`: later changes of uid leave capabilities alone (capabilities(7)).
///
/// # Errors
/// errno.
pub fn keep_caps_over_setuid() -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: c_ulong = 1 << 2;
    const SECBIT_KEEP_CAPS: c_ulong = 1 << 4;
    prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS, 0).map(drop)
}

/// Empties the bounding set.
///
/// # Errors
/// errno, but for the `EINVAL` past the last capability.
pub fn drop_bounding_set() -> io::Result<()> {
    drop_bounding_set_but(0)
}

/// Empties the bounding set but for `kept`.
///
/// # Errors
/// errno, but for the `EINVAL` past the last capability.
pub fn drop_bounding_set_but(kept: u64) -> io::Result<()> {
    for cap in 0..64 {
        if kept & (1 << cap) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, cap, 0) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sets permitted, effective and inheritable to `mask` and the ambient set to the same.
///
/// # Errors
/// errno.
pub fn set_caps(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let header: [u32; 2] = [VERSION_3, 0];
    let data: [u32; 6] = [low, low, low, high, high, high];
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, 0)?;
    // SAFETY: header and data have the layout of version 3 of capset(2): two sets of three 32-bit words.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    for cap in (0..64).filter(|cap| mask & (1 << cap) != 0) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as c_ulong, cap)?;
    }
    Ok(())
}

/// Sets the inheritable set to `mask` and leaves the others. It must come before [`drop_bounding_set`]: what is not in the
/// bounding set cannot be added to the inheritable one any more (capset(2)).
///
/// # Errors
/// errno.
pub fn set_inheritable(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let mut data = [0_u32; 6];
    // SAFETY: header and data have the layout of version 3 of capget(2): two sets of three 32-bit words.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    (data[2], data[5]) = (mask as u32, (mask >> 32) as u32);
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// `PR_SET_NO_NEW_PRIVS`.
///
/// # Errors
/// errno.
pub fn no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// `PR_SET_DUMPABLE`.
///
/// # Errors
/// errno.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, c_ulong::from(dumpable), 0).map(drop)
}

/// `PR_SET_CHILD_SUBREAPER`: orphans below this process become its children.
///
/// # Errors
/// errno.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// `PR_SET_PDEATHSIG`: this process is killed when its parent dies.
///
/// # Errors
/// errno.
pub fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, SIGKILL as c_ulong, 0).map(drop)
}

/// Installs a seccomp filter on the calling thread (the only one).
///
/// # Errors
/// errno.
pub fn load_filter(filter: &[Filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: filter.as_ptr().cast_mut(),
    };
    const SECCOMP_SET_MODE_FILTER: c_uint = 1;
    // SAFETY: `program` describes a live slice, which the kernel copies.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// A fresh anonymous session keyring: root's would be inherited otherwise (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
///
/// # Errors
/// errno; `ENOSYS` on a kernel without keyrings is no error, for then there is nothing to inherit.
pub fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<c_void>()) }) {
        Err(e) if e.raw_os_error() != Some(libc::ENOSYS) => Err(e),
        _ => Ok(()),
    }
}

/// execveat(2) of the file behind a descriptor.
///
/// Returns only on failure.
pub fn exec_fd(fd: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: null-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), argv.as_ptr(), env.as_ptr(), AT_EMPTY_PATH);
    }
    io::Error::last_os_error()
}

/// execve(2). Returns only on failure.
pub fn exec_path(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: null-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|t| t.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// sethostname(2).
///
/// # Errors
/// errno.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length of a live slice.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// setsid(2).
///
/// # Errors
/// errno.
pub fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check_int(unsafe { libc::setsid() }).map(drop)
}

/// Which resource of setrlimit(2).
#[derive(Debug, Clone, Copy)]
pub enum Resource {
    /// `RLIMIT_CORE`.
    Core,
    /// `RLIMIT_NOFILE`.
    Descriptors,
    /// `RLIMIT_MEMLOCK`.
    LockedMemory,
    /// `RLIMIT_SIGPENDING`.
    PendingSignals,
    /// `RLIMIT_NPROC`.
    Processes,
}

/// No limit (`RLIM_INFINITY`).
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// setrlimit(2): soft and hard limit at once.
///
/// # Errors
/// errno.
pub fn set_limit(resource: Resource, value: u64) -> io::Result<()> {
    let resource = match resource {
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Descriptors => libc::RLIMIT_NOFILE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::PendingSignals => libc::RLIMIT_SIGPENDING,
        Resource::Processes => libc::RLIMIT_NPROC,
    };
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: a pointer to a live struct.
    check_int(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
}

/// Raises the soft limit on descriptors to the hard one, which it returns.
///
/// # Errors
/// errno.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: pointers to a live struct.
    unsafe {
        check_int(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check_int(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_max)
}

/// Brings the loopback interface of the caller's network namespace up (netdevice(7), `SIOCSIFFLAGS`).
///
/// # Errors
/// errno.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: plain integers.
    let socket = owned(c_long::from(check_int(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    })?));
    // SAFETY: ifreq is plain memory; all zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: SIOCSIFFLAGS takes a pointer to a live ifreq.
    check_int(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// An ioctl(2) whose argument is one struct given as bytes, read or written in place.
///
/// # Errors
/// errno.
pub fn ioctl_bytes(fd: BorrowedFd<'_>, request: c_ulong, argument: &mut [u8]) -> io::Result<()> {
    let size = usize::try_from((request >> 16) & 0x3fff).expect("14 bits");
    assert!(argument.len() >= size, "the ioctl's number says how long its argument is");
    // SAFETY: the size encoded in the request number (ioctl(2)) is covered by the live, writable slice.
    check_int(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument.as_mut_ptr()) }).map(drop)
}

/// How many threads this process has.
///
/// # Errors
/// procfs cannot be read.
pub fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

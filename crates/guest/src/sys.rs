//! System calls of guest init. The only file of it with unsafe code; one call for each function, or a few that belong
//! together.
#![allow(unsafe_code, reason = "system calls that std does not offer")]

use std::{
    ffi::{CStr, c_ulong},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd},
    time::Duration,
};

/// The user that programs are.
const PROGRAM_UID: libc::uid_t = 1000;

/// Number of the frame socket.
const SOCKET: i32 = 3;

const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// Which side of a fork this is.
pub(crate) enum Forked {
    Child,
    Parent(i32),
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    ToRead,
    ToWrite,
}

/// What a wait ended with.
pub(crate) struct Waited {
    pub(crate) ready: bool,
    pub(crate) signal: bool,
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn prctl(option: i32, value: usize) -> io::Result<()> {
    // SAFETY: the options used here take one integer, or a pointer to a C string that outlives the call.
    check(unsafe { libc::prctl(option, value as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }).map(drop)
}

fn set_caps(capabilities: &[u32]) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let mask = capabilities.iter().fold(0_u32, |mask, cap| mask | 1 << cap);
    let header = [VERSION_3, 0];
    let sets = [mask, mask, 0, 0, 0, 0]; // effective, permitted, inheritable; then the upper halves
    // SAFETY: header and data have the layout of version 3 of capset(2).
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Clears the ambient and inheritable sets, through which the capabilities came across exec, and hides from /proc.
pub(crate) fn drop_what_is_not_needed() {
    // Failures change nothing for the worse: the jailer has set everything before, and reads what is in force.
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize);
    let _ = set_caps(&[CAP_KILL, CAP_SETGID, CAP_SETUID]);
    let _ = prctl(libc::PR_SET_DUMPABLE, 0);
}

/// Names the process in /proc.
pub(crate) fn set_name(name: &CStr) {
    let _ = prctl(libc::PR_SET_NAME, name.as_ptr() as usize);
}

/// The frame socket, as the jailer placed it.
pub(crate) fn inherited_socket() -> io::Result<File> {
    // SAFETY: fcntl on any number is harmless.
    check(unsafe { libc::fcntl(SOCKET, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and this is called once, before any other descriptor is made.
    Ok(unsafe { File::from_raw_fd(SOCKET) })
}

/// Makes reads and writes fail with `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a borrowed descriptor and integers.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// A pipe, close-on-exec: read end, write end.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just made them for us.
    Ok(unsafe { (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])) })
}

fn set_mask(how: i32, fill: bool) -> io::Result<()> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both functions initialise the set; sigprocmask reads it.
    check(unsafe {
        if fill {
            libc::sigfillset(set.as_mut_ptr())
        } else {
            libc::sigemptyset(set.as_mut_ptr())
        };
        libc::sigprocmask(how, set.as_ptr(), std::ptr::null_mut())
    })
    .map(drop)
}

/// Blocks every signal, and returns what becomes readable when a child has ended. Pid 1 gets only signals that it asks
/// for (pid_namespaces(7)); nothing inside can end it.
pub(crate) fn child_signals() -> io::Result<File> {
    set_mask(libc::SIG_SETMASK, true)?;
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    // SAFETY: the kernel has just made it for us, or `check` returns.
    Ok(unsafe { File::from_raw_fd(check(fd)?) })
}

/// Takes the signals that have come.
pub(crate) fn drain(mut signals: &File) {
    let mut buffer = [0; 1024];
    while matches!(signals.read(&mut buffer), Ok(len) if len > 0) {}
}

/// Waits until `fd` is ready, a signal has come, or the time is over.
pub(crate) fn poll(
    fd: BorrowedFd<'_>,
    ready: Ready,
    signals: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> io::Result<Waited> {
    let events = if ready == Ready::ToRead { libc::POLLIN } else { libc::POLLOUT };
    let mut fds = [
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 },
        libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    // Rounded up, so that what is nearly due is not asked for again and again.
    let timeout = timeout.map_or(-1, |t| i32::try_from(t.as_millis() + 1).unwrap_or(i32::MAX));
    // SAFETY: a live array of two.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) }) {
        Ok(_) => Ok(Waited { ready: fds[0].revents != 0, signal: fds[1].revents != 0 }),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Waited { ready: false, signal: true }),
        Err(e) => Err(e),
    }
}

/// fork(2).
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: init has one thread, so no lock is held by another.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// _exit(2).
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: no precondition.
    unsafe { libc::_exit(code) }
}

/// Ends a child that has not been waited for.
pub(crate) fn kill(pid: i32) {
    // SAFETY: plain integers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Waits for one child to end.
pub(crate) fn wait_for(pid: i32) {
    loop {
        // SAFETY: a null status is allowed.
        let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        if waited >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Waits for every child that has ended, except a worker: `keep` is left for [`wait_for`].
pub(crate) fn reap_orphans(keep: Option<i32>) {
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: room for one siginfo_t. WNOWAIT looks without reaping.
        let looked =
            unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
        if looked < 0 {
            return;
        }
        // SAFETY: zeroed, and filled in by the kernel when a child has ended; si_pid is 0 when none has.
        let pid = unsafe { info.assume_init().si_pid() };
        if pid == 0 || Some(pid) == keep {
            return;
        }
        wait_for(pid);
    }
}

/// Becomes the program's user, with nothing but the two pipes, and for a limited time.
pub(crate) fn become_file_worker(keep: [&File; 2], seconds: u32) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)?;
    set_name(c"init-files");
    // SAFETY: an empty list, and plain integers.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(PROGRAM_UID, PROGRAM_UID, PROGRAM_UID))?;
        check(libc::setresuid(PROGRAM_UID, PROGRAM_UID, PROGRAM_UID))?;
        libc::umask(0o022);
    }
    set_caps(&[])?;
    // A change of ids sets it to what `fs.suid_dumpable` says.
    prctl(libc::PR_SET_DUMPABLE, 0)?;
    close_all_but(keep)?;
    set_mask(libc::SIG_SETMASK, false)?;
    // SAFETY: plain integers.
    unsafe { libc::alarm(seconds) };
    Ok(())
}

/// Closes everything above the standard descriptors but two.
fn close_all_but(keep: [&File; 2]) -> io::Result<()> {
    let mut kept = keep.map(|file| file.as_fd().as_raw_fd());
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.map(|fd| fd - 1).into_iter().chain([i32::MAX]) {
        if first <= last {
            // SAFETY: the descriptors in the range belong to init's half of this program, which never runs here: the
            // caller exits without dropping them.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if closed < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

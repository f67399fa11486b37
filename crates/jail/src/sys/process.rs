//! Children: their ends, and the signals to and from them.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use libc::{c_int, c_long, c_void};

use super::{check, check_int, owned};

/// A child that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, free for reuse from now on.
    pub pid: i32,
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal, when it was killed by one.
    pub signal: Option<i32>,
    /// Whether that signal left a core file.
    pub dumped: bool,
}

/// Reaps one ended child, if there is one (waitpid(2) with `WNOHANG`).
///
/// # Errors
/// errno, but for `ECHILD`.
pub fn reap_one() -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: a pointer to a live integer.
    let pid = match check_int(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }) {
        Ok(0) => return Ok(None),
        Ok(pid) => pid,
        Err(e) if e.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(ended(pid, status)))
}

/// Waits for one child.
///
/// # Errors
/// errno.
pub fn wait_for(pid: i32) -> io::Result<Ended> {
    let mut status = 0;
    loop {
        // SAFETY: a pointer to a live integer.
        match check_int(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(pid) => return Ok(ended(pid, status)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn ended(pid: i32, status: c_int) -> Ended {
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    let dumped = signal.is_some() && libc::WCOREDUMP(status);
    Ended { pid, code, signal, dumped }
}

/// kill(2) of a child that this process has not reaped yet, so that the number cannot mean another process.
///
/// # Errors
/// errno.
pub fn kill_child(pid: i32, signal: c_int) -> io::Result<()> {
    assert!(pid > 1, "kill_child is for one child");
    // SAFETY: plain integers.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Blocks the given signals and returns a non-blocking descriptor from which they are read (signalfd(2)).
///
/// # Errors
/// errno.
pub fn signal_fd(signals: &[c_int]) -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain memory that sigemptyset initialises; pointers are to live values.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check_int(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = check_int(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(owned(c_long::from(fd)))
    }
}

/// Reads one signal number from a [`signal_fd`], if one waits.
///
/// # Errors
/// errno.
pub fn read_signal(fd: BorrowedFd<'_>) -> io::Result<Option<c_int>> {
    // SAFETY: signalfd_siginfo is plain memory of 128 bytes, which read fills.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: pointer and length of a live struct.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast::<c_void>(), size) };
    match check(read as c_long) {
        Ok(_) => Ok(Some(c_int::try_from(info.ssi_signo).expect("signal numbers are small"))),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Unblocks every signal and restores the default action of those that Rust's runtime ignores, before an exec.
///
/// # Errors
/// errno.
pub fn default_signals() -> io::Result<()> {
    // SAFETY: sigset_t is plain memory that sigemptyset initialises; SIG_DFL is a valid disposition.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        check_int(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()))?;
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    Ok(())
}

//! Descriptors: closing them, and putting them where another program expects them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use libc::{c_long, c_uint};

use super::{check, check_int, owned};

/// close_range(2) from `first` to the last descriptor.
///
/// # Errors
/// errno.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: the caller is about to exec or exit and owns every descriptor above `first`; none is used again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Has every descriptor from `first` on closed by the next exec (close_range(2) with `CLOSE_RANGE_CLOEXEC`): whatever a
/// starter left open in us ends there.
///
/// # Errors
/// errno.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: c_uint = 4;
    // SAFETY: plain integers; nothing is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// dup2(2): puts `fd` at `number`, without close-on-exec.
///
/// # Errors
/// errno.
pub fn place_fd(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // dup2 to itself would leave close-on-exec set.
        // SAFETY: plain integers.
        return check_int(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: whatever was at `number` is closed; callers place descriptors only just before exec.
    check_int(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Places several descriptors at consecutive numbers from 0, whatever numbers they have now.
///
/// # Errors
/// errno.
pub fn place_fds(fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let first_free = RawFd::try_from(fds.len()).expect("few descriptors");
    // Move all of them above the targets first, so that none is overwritten before its turn.
    let moved = fds
        .iter()
        // SAFETY: plain integers; the result is owned here.
        .map(|fd| check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first_free) }))
        .collect::<io::Result<Vec<_>>>()?;
    for (number, fd) in moved.into_iter().enumerate() {
        let fd = owned(c_long::from(fd));
        place_fd(fd.as_fd(), RawFd::try_from(number).expect("few descriptors"))?;
    }
    Ok(())
}

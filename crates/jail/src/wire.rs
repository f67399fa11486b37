//! Datagrams with descriptors between the roles: `SOCK_SEQPACKET` sockets, postcard, `SCM_RIGHTS`.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Most descriptors in one datagram.
pub const FDS_MAX: usize = 16;

/// A pair of connected sockets, close-on-exec.
///
/// # Errors
/// errno of socketpair(2).
pub fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// Sends one datagram. Does not wait when the receiver is full.
///
/// # Errors
/// errno of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, fds, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// Sends one datagram, waiting for room.
///
/// # Errors
/// errno of sendmsg(2).
pub fn send_waiting(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, fds, SendFlags::NOSIGNAL)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
    assert!(fds.len() <= FDS_MAX, "the space below is for FDS_MAX descriptors");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "the space is for FDS_MAX descriptors");
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// What came.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes of the datagram; empty at the end of the stream.
    pub len: usize,
    /// Descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Pid of the sender in this process's pid namespace, where `SO_PASSCRED` is set.
    pub pid: Option<i32>,
}

/// Receives one datagram into `buffer`, without waiting. `None` when none is there.
///
/// # Errors
/// errno of recvmsg(2); `InvalidData` when the datagram did not fit.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    receive_with(socket, buffer, RecvFlags::DONTWAIT)
}

/// Receives one datagram, waiting for it.
///
/// # Errors
/// As [`receive`].
pub fn receive_waiting(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, RecvFlags::empty())?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Option<Received>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
    };
    let mut received = Received { len: message.bytes, ..Received::default() };
    for ancillary in control.drain() {
        match ancillary {
            RecvAncillaryMessage::ScmRights(fds) => received.fds.extend(fds),
            RecvAncillaryMessage::ScmCredentials(ucred) => received.pid = Some(ucred.pid.as_raw_nonzero().get()),
            _ => {}
        }
    }
    // Descriptors that do not fit under this process's limit are lost (CTRUNC): whoever expected them counts them. A cut
    // message cannot be read at all.
    if message.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(received))
}

/// Encodes and sends a message.
///
/// # Errors
/// As [`send`]; `InvalidInput` when it is larger than [`crate::proto::MESSAGE_BYTES_MAX`].
pub fn send_message<T: serde::Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[OwnedFd]) -> io::Result<()> {
    let bytes = crate::proto::encode(message)?;
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    send_waiting(socket, &bytes, &fds)
}

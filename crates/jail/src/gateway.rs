//! The messages between the jailer and the gateway, over a `SOCK_SEQPACKET` socket: the sockets of every sandbox's
//! [`crate::capture`] go one way, one greeting comes the other.
//!
//! Each gateway has a socket of its own, which the supervisor makes when it starts one and hands to the jailer with
//! [`introduce`]. The gateway says [`FromGateway::Hello`] once; from then on it is told of every sandbox that there is,
//! then of those that come and go. The jailer never waits for it: what does not fit into the socket is kept, up to a
//! bound, and a gateway that does not read is dropped, which it sees as the end of its socket. So is one that says
//! anything else. While there is none, sandboxes' connections are refused.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{capture::Capture, proto, proto::ShellId, wire};

/// What the gateway is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGateway {
    /// A sandbox exists. With two descriptors: the listener for TCP, the socket for DNS.
    Opened {
        /// Which.
        shell: ShellId,
    },
    /// It ended. Whatever the gateway holds of it must be closed: its network namespace lives as long.
    Closed {
        /// Which.
        shell: ShellId,
    },
}

/// What the gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGateway {
    /// It is there and wants to be told. Said once.
    Hello,
}

/// Hands a new gateway's socket to the jailer, over the socket that it was started with. It replaces the one before.
///
/// # Errors
/// errno of sendmsg(2).
pub fn introduce(door: BorrowedFd<'_>, gateway: OwnedFd) -> io::Result<()> {
    wire::send(door, b"G", &[gateway.as_fd()])
}

/// The other side of [`introduce`], for the jailer and for `serve`: `None` when nobody was introduced.
///
/// # Errors
/// The door is closed, or something else came through it.
pub fn introduced(door: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut word = [0_u8; 8];
    let Some(mut received) = wire::receive(door, &mut word)? else { return Ok(None) };
    match (&word[..received.len], received.fds.len()) {
        (b"G", 1) => Ok(received.fds.pop()),
        ([], _) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The gateway's greeting.
///
/// # Errors
/// errno of sendmsg(2).
pub fn greet(socket: BorrowedFd<'_>) -> io::Result<()> {
    wire::send(socket, &proto::encode(&FromGateway::Hello)?, &[])
}

/// One message for the gateway as it came, without waiting. `None` when none is there.
///
/// # Errors
/// `UnexpectedEof` when the jailer has dropped this gateway; `InvalidData` when it is no message, or without its sockets
/// (more descriptors than this process may have open).
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(ToGateway, Vec<OwnedFd>)>> {
    let mut buffer = [0_u8; 64];
    let Some(received) = wire::receive(socket, &mut buffer)? else { return Ok(None) };
    if received.len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = proto::decode(&buffer[..received.len])?;
    let wanted = match message {
        ToGateway::Opened { .. } => 2,
        ToGateway::Closed { .. } => 0,
    };
    if received.fds.len() != wanted {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some((message, received.fds)))
}

/// Messages that may be kept for a gateway that is slow: every sandbox of a full installation, and their ends.
const KEPT_MAX: usize = 16_384;

/// A gateway that takes nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a gateway is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Dropped {
    #[error("it closed its socket")]
    Gone,
    #[error("it said something that is no greeting")]
    Words,
    #[error("it does not read")]
    Stuck,
    #[error("its socket failed: {0}")]
    Io(#[source] io::Error),
}

/// The jailer's end of one gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    socket: OwnedFd,
    has_greeted: bool,
    kept: VecDeque<ToGateway>,
    /// When it last took something, while something is kept.
    took_at: Instant,
}

impl Gateway {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, has_greeted: false, kept: VecDeque::new(), took_at: Instant::now() }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what it says: whether it has greeted just now.
    pub(crate) fn listen(&mut self) -> Result<bool, Dropped> {
        let mut word = [0_u8; 16];
        let received = match wire::receive(self.socket.as_fd(), &mut word) {
            Ok(None) => return Ok(false),
            Ok(Some(received)) => received,
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(Dropped::Words),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(Dropped::Gone),
            Err(e) => return Err(Dropped::Io(e)),
        };
        let said = &word[..received.len];
        if said.is_empty() {
            return Err(Dropped::Gone);
        }
        // Compared as bytes: nothing that may come after a greeting is looked at.
        let hello = proto::encode(&FromGateway::Hello).map_err(Dropped::Io)?;
        if said != hello || !received.fds.is_empty() || self.has_greeted {
            return Err(Dropped::Words);
        }
        self.has_greeted = true;
        Ok(true)
    }

    /// Keeps a message for it, if it has greeted.
    pub(crate) fn tell(&mut self, message: ToGateway) -> Result<(), Dropped> {
        if !self.has_greeted {
            return Ok(());
        }
        if self.kept.len() >= KEPT_MAX {
            return Err(Dropped::Stuck);
        }
        if self.kept.is_empty() {
            self.took_at = Instant::now();
        }
        self.kept.push_back(message);
        Ok(())
    }

    /// Sends what is kept as far as there is room: whether all of it went. `sockets_of` finds what goes with an opened
    /// shell; one that has ended meanwhile is left out.
    pub(crate) fn send<'a>(&mut self, sockets_of: impl Fn(ShellId) -> Option<&'a Capture>) -> Result<bool, Dropped> {
        while let Some(message) = self.kept.front() {
            let bytes = proto::encode(message).map_err(Dropped::Io)?;
            let sent = match message {
                ToGateway::Opened { shell } => match sockets_of(*shell) {
                    Some(capture) => {
                        wire::send(self.socket.as_fd(), &bytes, &[capture.tcp.as_fd(), capture.dns.as_fd()])
                    }
                    None => Ok(()),
                },
                ToGateway::Closed { .. } => wire::send(self.socket.as_fd(), &bytes, &[]),
            };
            match sent {
                Ok(()) => {
                    self.kept.pop_front();
                    self.took_at = Instant::now();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return if self.took_at.elapsed() < PATIENCE { Ok(false) } else { Err(Dropped::Stuck) };
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Err(Dropped::Gone);
                }
                Err(e) => return Err(Dropped::Io(e)),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;

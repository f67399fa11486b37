//! Sockets of a sandbox's network namespace for `serve`, which so reaches the programs that listen inside.
//!
//! A socket stays for its life in the namespace in which it was made. A child, forked for it, enters the namespace of the
//! network, and no other, makes the sockets and hands them over; they are neither bound nor connected. The jailer itself
//! is never anywhere else, does not know a port, and reads nothing. `serve` gains nothing by them that it could not do with
//! a program that it has started inside: what it sends goes where the sandbox's own connections go.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

use super::{Jailer, Token, kernel, unknown};
use crate::{
    check,
    proto::{Done, Refusal, ShellId},
    shell::{Step, StepError},
    sys, wire,
};

/// Children that make sockets at once: each lives for less than a millisecond.
const PENDING_MAX: usize = 32;

/// A child that makes sockets.
#[derive(Debug)]
pub(super) struct Making {
    request: u64,
    shell: ShellId,
    streams: u8,
    report: OwnedFd,
}

impl Jailer {
    pub(super) fn make_sockets(&mut self, request: u64, id: ShellId, streams: u8) -> Result<(), Refusal> {
        check::streams(streams)?;
        let (_, init, identity) = self.alive(id)?;
        if self.sockets.len() >= PENDING_MAX {
            return Err(Refusal::Failed("too many sockets are being made at once".into()));
        }
        let report = start(init, identity.network(), streams).map_err(|e| kernel(&e))?;
        self.next_token += 1;
        let number = self.next_token;
        let watched = self.watch(report.as_fd(), Token::Sockets(number));
        watched.map_err(|e| Refusal::Failed(format!("watching a child: {e}")))?;
        self.sockets.insert(number, Making { request, shell: id, streams, report });
        Ok(())
    }

    pub(super) fn on_sockets(&mut self, number: u64) {
        let Some(making) = self.sockets.get(&number) else { return };
        let mut word = [0_u8; 512];
        let received = match wire::receive(making.report.as_fd(), &mut word) {
            Ok(None) => return,
            Ok(Some(received)) => received,
            Err(_) => wire::Received::default(),
        };
        let Some(making) = self.sockets.remove(&number) else { return };
        let _ = rustix::event::epoll::delete(&self.epoll, &making.report);
        self.unwatch(|token| *token == Token::Sockets(number));
        let result = match word[..received.len].split_first() {
            // A shell that has ended meanwhile has no network any more.
            _ if self.alive(making.shell).is_err() => Err(unknown(format!("live shell {}", making.shell))),
            Some((b'S', [])) if received.fds.len() == 1 + usize::from(making.streams) => Ok(received.fds),
            Some((b'E', why)) => Err(Refusal::Failed(String::from_utf8_lossy(why).into_owned())),
            _ => Err(Refusal::Failed("the child that was to make sockets died".into())),
        };
        match result {
            Ok(fds) => self.reply(making.request, Ok(Done::Sockets), fds),
            Err(refusal) => self.reply(making.request, Err(refusal), Vec::new()),
        }
    }
}

/// Forks the child. Its report comes over the returned socket.
fn start(init: i32, network: u64, streams: u8) -> Result<OwnedFd, StepError> {
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).step("making a socket")?;
    match sys::fork().step("forking")? {
        sys::Forked::Parent(_) => Ok(ours),
        sys::Forked::Child => {
            let sent = match make(init, network, streams) {
                Ok(fds) => {
                    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    wire::send(theirs.as_fd(), b"S", &fds)
                }
                Err(e) => wire::send(theirs.as_fd(), format!("E{e}").as_bytes(), &[]),
            };
            sys::exit_now(i32::from(sent.is_err()))
        }
    }
}

/// One socket that the kernel is asked with which sockets there are (sock_diag(7)), then `streams` for TCP.
fn make(init: i32, network: u64, streams: u8) -> Result<Vec<OwnedFd>, StepError> {
    let namespace = File::open(format!("/proc/{init}/ns/net")).step("opening the network namespace")?;
    let inode = rustix::fs::fstat(&namespace).step("looking at the network namespace")?.st_ino;
    if inode != network {
        return Err(std::io::Error::from(std::io::ErrorKind::NotFound)).step("finding the network namespace");
    }
    sys::setns(namespace.as_fd()).step("entering the network namespace")?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let diag = Some(rustix::net::netlink::SOCK_DIAG);
    let mut made = vec![socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, diag).step("making a socket")?];
    for _ in 0..streams {
        made.push(stream(flags).step("making a socket")?);
    }
    Ok(made)
}

/// For both families: IPv4 is reached by mapped addresses. For IPv4 alone where the kernel has no IPv6.
fn stream(flags: SocketFlags) -> std::io::Result<OwnedFd> {
    match socket_with(AddressFamily::INET6, SocketType::STREAM, flags, Some(ipproto::TCP)) {
        Ok(socket) => {
            sockopt::set_ipv6_v6only(&socket, false)?;
            Ok(socket)
        }
        Err(rustix::io::Errno::AFNOSUPPORT) => {
            Ok(socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?)
        }
        Err(e) => Err(e.into()),
    }
}

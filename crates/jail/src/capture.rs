//! What leads everything that a sandbox sends into the gateway's hands: routes, two sockets, one BPF program.
//!
//! In the sandbox every address is local, so that nothing leaves its network namespace. An sk_lookup program hands each
//! TCP connection to one listener, of whatever address and port, but for those to the loopback addresses; getsockname(2)
//! of what is accepted tells where it wanted to go. Datagrams to port 53 of any address arrive at a second socket. For any
//! other there is no socket, and the kernel refuses them at once.
//!
//! The sockets live in the sandbox's namespace, on ports that nobody inside may take, and are held outside: the jailer
//! keeps them for as long as the shell lives, the gateway gets duplicates (see [`crate::gateway`]). While no gateway is
//! there to read them the [`Gate`] is closed, and the program refuses what it would have handed over.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use crate::{
    shell::{Step, StepError, pipe, read_all, told, write_all},
    sys::{self, bpf, sockets},
};

mod program;
mod routes;

/// Port of the listener: below 1024, so that nothing inside can take it, and no service's.
pub const LISTENER_PORT: u16 = 1;

/// Port of the other socket.
pub const DNS_PORT: u16 = 53;

/// The resolver that a sandbox is told of. Any address would lead to the same socket; this one is nobody's (RFC 5737).
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Connections that may wait for the gateway to accept them, in one sandbox.
const BACKLOG: i32 = 4096;

/// Whether a gateway is there: one word that the programs of all sandboxes read. Closed at first.
#[derive(Debug)]
pub struct Gate {
    open: OwnedFd,
}

impl Gate {
    /// A closed one.
    ///
    /// # Errors
    /// errno of bpf(2): `EPERM` without `CAP_BPF` on the host, `ENOSYS` on a kernel without it.
    pub fn new() -> Result<Self, StepError> {
        Ok(Self { open: bpf::map_create(bpf::MapKind::Array, 1).step("making the gate's map")? })
    }

    /// Opens or closes it for every sandbox at once. Connections that exist live on.
    ///
    /// # Errors
    /// errno of bpf(2).
    pub fn set_open(&self, is_open: bool) -> io::Result<()> {
        bpf::map_set(self.open.as_fd(), 0, u64::from(is_open))
    }
}

/// The capture of one sandbox. Closing the link ends it: what is sent from then on is refused.
#[derive(Debug)]
pub struct Capture {
    /// Listener for TCP, non-blocking: IPv6 that takes IPv4 as mapped addresses, or IPv4 where the host has no IPv6.
    pub tcp: OwnedFd,
    /// Socket for DNS over UDP, non-blocking; see [`sockets::receive_datagram`].
    pub dns: OwnedFd,
    /// Keeps the program attached.
    pub link: OwnedFd,
}

/// Enters a network namespace, in which nothing has run yet, and sets up its capture; lo is brought up. The caller stays
/// in the namespace: this is for a process that was forked for it. It needs the host's `CAP_BPF` and `CAP_NET_ADMIN`, and
/// `CAP_SYS_ADMIN` over the namespace.
///
/// # Errors
/// The step that failed.
pub fn set_up(network_namespace: BorrowedFd<'_>, gate: &Gate) -> Result<Capture, StepError> {
    set_up_and_tell(network_namespace, gate).map(|(capture, _)| capture)
}

/// Enters a network namespace in which there is to be nothing but loopback.
///
/// # Errors
/// The step that failed.
pub fn without(network_namespace: BorrowedFd<'_>) -> Result<(), StepError> {
    sys::setns(network_namespace).step("entering the network namespace")?;
    sys::loopback_up().step("bringing lo up")
}

/// Sets a capture up in a network namespace that is made for it and goes at once: whether this host lets us, and whether
/// sandboxes will have IPv6.
///
/// # Errors
/// The step that failed, of those that every sandbox needs.
pub fn try_out(gate: &Gate) -> Result<bool, StepError> {
    const WITH_IPV6: i32 = 6;
    const WITHOUT_IPV6: i32 = 4;
    let (read, write) = pipe().step("making a pipe")?;
    match sys::fork().step("forking")? {
        sys::Forked::Child => {
            let tried = (|| {
                sys::unshare(sys::CLONE_NEWNET).step("making a network namespace")?;
                let namespace = std::fs::File::open("/proc/self/ns/net").step("opening the network namespace")?;
                set_up_and_tell(namespace.as_fd(), gate)
            })();
            sys::exit_now(match tried {
                Ok((_, true)) => WITH_IPV6,
                Ok((_, false)) => WITHOUT_IPV6,
                Err(e) => {
                    let _ = write_all(&write, e.to_string().as_bytes());
                    1
                }
            })
        }
        sys::Forked::Parent(pid) => {
            drop(write);
            let error = read_all(&read).step("trying the gate out")?;
            match sys::wait_for(pid).step("trying the gate out")?.code {
                Some(WITH_IPV6) => Ok(true),
                Some(WITHOUT_IPV6) => Ok(false),
                _ => Err(told(&error, "trying the gate out")),
            }
        }
    }
}

/// With the capture: whether IPv6 is led there too.
fn set_up_and_tell(network_namespace: BorrowedFd<'_>, gate: &Gate) -> Result<(Capture, bool), StepError> {
    sys::setns(network_namespace).step("entering the network namespace")?;
    sys::loopback_up().step("bringing lo up")?;
    // Without IPv6 there is no route for it: the kernel refuses what is sent there, which needs no capture.
    let has_ipv6 = routes::make_everything_local().step("making every address local")?;
    let (tcp, family) = wildcard(SocketType::STREAM, LISTENER_PORT).step("making the listener")?;
    listen(&tcp, BACKLOG).step("making the listener")?;
    let (dns, _) = wildcard(SocketType::DGRAM, DNS_PORT).step("making the socket for DNS")?;
    sockets::tell_destinations(dns.as_fd(), family == AddressFamily::INET6).step("making the socket for DNS")?;
    // The gateway answers from the address that was asked, which is no interface's.
    sockopt::set_ip_freebind(&dns, true).step("making the socket for DNS")?;
    let map = bpf::map_create(bpf::MapKind::Sockets, 1).step("making the program's map")?;
    let listener = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&tcp)).expect("descriptors are not negative");
    bpf::map_set(map.as_fd(), 0, listener).step("putting the listener into the map")?;
    let program = program::assemble(map.as_fd(), gate.open.as_fd()).step("assembling the program")?;
    let program = bpf::load_sk_lookup(&program).step("loading the program")?;
    let link = bpf::link_sk_lookup(program.as_fd(), network_namespace).step("attaching the program")?;
    Ok((Capture { tcp, dns, link }, has_ipv6))
}

/// A socket on that port of every address, of both families where the kernel has IPv6.
fn wildcard(kind: SocketType, port: u16) -> io::Result<(OwnedFd, AddressFamily)> {
    let protocol = if kind == SocketType::STREAM { ipproto::TCP } else { ipproto::UDP };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match socket_with(AddressFamily::INET6, kind, flags, Some(protocol)) {
        Ok(socket) => {
            sockopt::set_ipv6_v6only(&socket, false)?;
            bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
            Ok((socket, AddressFamily::INET6))
        }
        Err(rustix::io::Errno::AFNOSUPPORT) => {
            let socket = socket_with(AddressFamily::INET, kind, flags, Some(protocol))?;
            bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
            Ok((socket, AddressFamily::INET))
        }
        Err(e) => Err(e.into()),
    }
}

impl Capture {
    /// Reads from the kernel whether the capture is in force in that network namespace (its inode).
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn check(&self, network_namespace: u64) -> Result<(), String> {
        let link = bpf::link_info(self.link.as_fd()).map_err(|e| format!("the gate's link: {e}"))?;
        if !link.is_sk_lookup || link.namespace != network_namespace {
            return Err("the gate's program is not attached to its network namespace".into());
        }
        for (socket, name, port) in [(&self.tcp, "listener", LISTENER_PORT), (&self.dns, "DNS socket", DNS_PORT)] {
            let lives_in = sockets::namespace_of(socket.as_fd())
                .and_then(|namespace| Ok(rustix::fs::fstat(&namespace)?.st_ino))
                .map_err(|e| format!("the gate's {name}: {e}"))?;
            if lives_in != network_namespace {
                return Err(format!("the gate's {name} is in another network namespace"));
            }
            let bound = rustix::net::getsockname(socket)
                .and_then(SocketAddr::try_from)
                .map_err(|e| format!("the gate's {name}: {e}"))?;
            if !bound.ip().is_unspecified() || bound.port() != port {
                return Err(format!("the gate's {name} is bound to {bound}"));
            }
        }
        match sockopt::socket_acceptconn(&self.tcp) {
            Ok(true) => Ok(()),
            _ => Err("the gate's listener does not listen".into()),
        }
    }
}

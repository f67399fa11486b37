//! What rustix has not of sockets: the address to which a datagram was sent, and the namespace in which a socket lives.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use libc::{c_int, c_long, c_void};

use super::{check, check_int, owned};

fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let size = u32::try_from(size_of::<c_int>()).expect("4");
    // SAFETY: pointer and length of a live integer, which every option used in this file takes.
    check_int(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(&value).cast::<c_void>(), size)
    })
    .map(drop)
}

/// Has the kernel tell with each datagram to which address it was sent (ip(7) `IP_PKTINFO`, ipv6(7)
/// `IPV6_RECVPKTINFO`). On an IPv6 socket that holds for IPv4 too, as mapped addresses.
///
/// # Errors
/// errno.
pub fn tell_destinations(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// The network namespace in which a socket lives (netdevice ioctl `SIOCGSKNS`). Needs `CAP_NET_ADMIN` there.
///
/// # Errors
/// errno.
pub fn namespace_of(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894C;
    // SAFETY: SIOCGSKNS takes no argument and returns a new descriptor.
    check_int(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }).map(|fd| owned(c_long::from(fd)))
}

/// A datagram that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes of it that are in the buffer.
    pub len: usize,
    /// It was longer than the buffer.
    pub is_cut: bool,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address to which it was sent, when the kernel told.
    pub to: Option<IpAddr>,
}

/// Room for the control messages of one datagram, aligned as they must be.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives one datagram of a socket with [`tell_destinations`], without waiting. `None` when none is there. IPv4 is
/// IPv4 in the answer, on whatever socket it came.
///
/// # Errors
/// errno of recvmsg(2).
pub fn receive_datagram(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    // SAFETY: plain memory; all zero is a valid value.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut control = Control([0; 128]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut name).cast();
    message.msg_namelen = u32::try_from(size_of_val(&name)).expect("28");
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` describes live, writable memory, and nothing else holds it during the call.
    let received = match check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } as c_long) {
        Ok(len) => usize::try_from(len).expect("checked to be no error"),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(e) => return Err(e),
    };
    let from = sender(&name).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut to = None;
    // SAFETY: the kernel has filled `message`, which still describes `control`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header that lies within `control`.
        let (level, kind, len) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        // SAFETY: the data follows the header; it is read only when the header says that all of it is there, and the
        // kernel writes no header that is longer than the room.
        unsafe {
            let data = libc::CMSG_DATA(header);
            let has = |bytes: u32| len >= libc::CMSG_LEN(bytes) as usize;
            match (level, kind) {
                // struct in6_pktinfo: address, interface.
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if has(20) => {
                    to = Some(IpAddr::from(data.cast::<[u8; 16]>().read_unaligned()).to_canonical());
                }
                // struct in_pktinfo: interface, local address, address in the header.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if has(12) => {
                    to = Some(IpAddr::from(data.add(8).cast::<[u8; 4]>().read_unaligned()));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    let is_cut = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Some(Datagram { len: received.min(buffer.len()), is_cut, from, to }))
}

fn sender(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match c_int::from(name.sin6_family) {
        libc::AF_INET6 => {
            let ip = IpAddr::from(name.sin6_addr.s6_addr).to_canonical();
            Some(match ip {
                IpAddr::V4(ip) => SocketAddrV4::new(ip, u16::from_be(name.sin6_port)).into(),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into(),
            })
        }
        libc::AF_INET => {
            // SAFETY: sockaddr_in is smaller than sockaddr_in6 and no stricter aligned; the family says what it is.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        _ => None,
    }
}

/// Sends one datagram that comes from the address `from`, without waiting. On an IPv6 socket IPv4 may be sent too.
///
/// # Errors
/// errno of sendmsg(2); `InvalidInput` when the addresses are of different families, or IPv6 on an IPv4 socket.
pub fn send_datagram(socket: BorrowedFd<'_>, bytes: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    if to.is_ipv4() != from.is_ipv4() {
        return Err(invalid());
    }
    let is_v6 = rustix::net::sockopt::socket_domain(socket)? == rustix::net::AddressFamily::INET6;
    // SAFETY: plain memory; all zero is a valid value.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut info = [0_u8; 20];
    let (level, kind, info_bytes, name_bytes) = if is_v6 {
        let mapped = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        name.sin6_family = libc::AF_INET6 as _;
        name.sin6_port = to.port().to_be();
        name.sin6_addr.s6_addr = mapped(to.ip()).octets();
        if let SocketAddr::V6(to) = to {
            name.sin6_scope_id = to.scope_id();
        }
        info[..16].copy_from_slice(&Ipv6Addr::octets(&mapped(from)));
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20, size_of::<libc::sockaddr_in6>())
    } else {
        let (IpAddr::V4(to_ip), IpAddr::V4(from)) = (to.ip(), from) else { return Err(invalid()) };
        // SAFETY: sockaddr_in is smaller than sockaddr_in6 and no stricter aligned.
        let name = unsafe { &mut *std::ptr::from_mut(&mut name).cast::<libc::sockaddr_in>() };
        name.sin_family = libc::AF_INET as _;
        name.sin_port = to.port().to_be();
        name.sin_addr.s_addr = u32::from(to_ip).to_be();
        info[4..8].copy_from_slice(&from.octets());
        (libc::IPPROTO_IP, libc::IP_PKTINFO, 12, size_of::<libc::sockaddr_in>())
    };
    let mut control = Control([0; 128]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut name).cast();
    message.msg_namelen = u32::try_from(name_bytes).expect("28 at most");
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `control` has room for one header and 20 bytes of data (CMSG_SPACE(20) is 40), aligned for the header; the
    // kernel only reads what is sent.
    let sent = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(info_bytes) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(info_bytes) as _;
        std::ptr::copy_nonoverlapping(info.as_ptr(), libc::CMSG_DATA(header), info_bytes as usize);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    check(sent as c_long).map(drop)
}

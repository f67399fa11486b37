//! The routes by which every address is the sandbox's own (rtnetlink(7)): what is sent to it stays in the namespace, and
//! there is no other way out.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// lo is the first interface of every network namespace.
const LO: u32 = 1;

/// Makes every IPv4 address local, and every IPv6 address where the host has IPv6: whether it has.
///
/// # Errors
/// errno of the message that was refused.
pub(super) fn make_everything_local() -> io::Result<bool> {
    // A null protocol is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // Without a source of its own, whoever asks for its address by connecting would be told that it is its peer's: with
    // this one, programs that listen on "their" address are found there.
    ask(socket.as_fd(), &local_route(AddressFamily::INET, Some(Ipv4Addr::LOCALHOST)))?;
    match ask(socket.as_fd(), &local_route(AddressFamily::INET6, None)) {
        Ok(()) => Ok(true),
        // Switched off for the interface (EACCES), or not there at all.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// `RTM_NEWROUTE`: everything of one family is local, by way of lo.
fn local_route(family: AddressFamily, source: Option<Ipv4Addr>) -> Vec<u8> {
    const RTM_NEWROUTE: u16 = 24;
    const FLAGS: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    const RTPROT_BOOT: u8 = 3;
    const HEADER_BYTES: usize = 16;
    let family = u8::try_from(family.as_raw()).expect("families are small numbers");
    // struct rtmsg: lengths of the prefixes (0: everything), type of service, table, who made it, scope, type, flags.
    let mut body =
        vec![family, 0, 0, 0, libc::RT_TABLE_LOCAL, RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL, 0, 0, 0, 0];
    let mut attribute = |kind: u16, value: [u8; 4]| {
        body.extend_from_slice(&8_u16.to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(&value);
    };
    attribute(libc::RTA_OIF, LO.to_ne_bytes());
    if let Some(source) = source {
        attribute(libc::RTA_PREFSRC, source.octets());
    }
    // struct nlmsghdr: length, type, flags, sequence number, port.
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWROUTE.to_ne_bytes());
    message.extend_from_slice(&FLAGS.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&body);
    message
}

/// Sends one message to the kernel and reads whether it was done: an `NLMSG_ERROR` with 0 or a negative errno.
fn ask(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    const NLMSG_ERROR: u16 = 2;
    send(socket, message, SendFlags::empty())?;
    let mut answer = [0_u8; 256];
    let (len, _) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    let answer = &answer[..len.min(answer.len())];
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(invalid)?;
    let code = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes).ok_or_else(invalid)?;
    match (kind, code) {
        (NLMSG_ERROR, 0) => Ok(()),
        (NLMSG_ERROR, code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        _ => Err(invalid()),
    }
}

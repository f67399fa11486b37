//! Answers questions on the socket that lies in a sandbox's network namespace.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrLike, SockaddrStorage,
    getsockname, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::message::{self, QUERY_BYTES_MAX};
use super::throttle::{Throttle, Turn};

/// Longest wait for room in the socket's buffer; then the answer is dropped, as DNS allows.
const SEND_TIME: Duration = Duration::from_secs(1);
/// Longest wait for the next question on a TCP connection (RFC 7766 6.2.3), and for the client to take an answer.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// One datagram's way: who sent it, and to which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Path {
    client: SocketAddrV6,
    asked: Ipv6Addr,
}

/// Answers queries on `socket`, a UDP socket of IPv6 that takes IPv4 as well, until it fails.
///
/// An answer leaves from the address that the query was sent to. Queries beyond what `throttle` allows are refused. Dropping
/// this ends the answers that are under way.
///
/// # Errors
/// The socket is no such socket, or cannot be read any more.
pub async fn serve<A, F>(socket: OwnedFd, throttle: Arc<Throttle>, answer: A) -> io::Result<Infallible>
where
    A: Fn(Vec<u8>) -> F,
    F: Future<Output = Option<Vec<u8>>> + Send + 'static,
{
    prepare(&socket)?;
    let socket = Arc::new(UdpSocket::from_std(socket.into())?);
    // Bounded by the turns that `throttle` gives.
    let mut answers = JoinSet::new();
    // One byte more than a query may have, so that a longer one is seen to be longer.
    let mut buffer = vec![0; QUERY_BYTES_MAX + 1];
    loop {
        let (query, path) = receive(&socket, &mut buffer).await?;
        while answers.try_join_next().is_some() {}
        let Some(turn) = throttle.turn(Instant::now()) else {
            if let Some(refusal) = message::refuse(&query) {
                // Not waited for: who asks too much may miss it.
                let _ = socket.try_io(Interest::WRITABLE, || send(&socket, &refusal, path));
            }
            continue;
        };
        let answer = answer(query);
        let socket = socket.clone();
        answers.spawn(async move {
            let _turn: Turn = turn;
            if let Some(bytes) = answer.await {
                reply(&socket, &bytes, path).await;
            }
        });
    }
}

/// Answers queries on one TCP connection, one after the other, until the client closes it, is idle, or says something else.
///
/// # Errors
/// The connection broke, or what came was no query.
pub async fn serve_stream<S, A, F>(mut stream: S, throttle: &Throttle, answer: A) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Vec<u8>) -> F,
    F: Future<Output = Option<Vec<u8>>>,
{
    loop {
        let Ok(read) = timeout(IDLE_TIME, message::read_framed(&mut stream)).await else { return Ok(()) };
        let Some(query) = read? else { return Ok(()) };
        let bytes = match throttle.turn(Instant::now()) {
            Some(_turn) => answer(query).await,
            None => message::refuse(&query),
        };
        let Some(bytes) = bytes else { return Ok(()) };
        timeout(IDLE_TIME, message::write_framed(&mut stream, &bytes)).await??;
    }
}

/// Makes the socket say where datagrams were sent to, and lets answers leave from any address.
fn prepare(socket: &OwnedFd) -> io::Result<()> {
    let own: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    if own.family() != Some(AddressFamily::Inet6) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket for DNS is not of IPv6"));
    }
    setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    // In a sandbox every address is local by a route, which IPv6 does not take for one when it is to be sent from
    // (ip6_datagram_send_ctl); a socket that may bind to foreign addresses may.
    rustix::net::sockopt::set_ipv6_freebind(socket, true)?;
    rustix::io::ioctl_fionbio(socket, true)?;
    Ok(())
}

/// The next datagram that has a sender and an address that it was sent to.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(Vec<u8>, Path)> {
    loop {
        match socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await {
            Ok(Some((length, path))) => return Ok((buffer.get(..length).unwrap_or_default().to_vec(), path)),
            Ok(None) => {}
            // Errors of single datagrams, as the ICMP answer to an earlier one of ours.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, Path)>> {
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let Some(client) = received.address.map(SocketAddrV6::from) else { return Ok(None) };
    // For IPv4 the kernel gives the mapped form of the address (ip6_datagram_recv_common_ctl).
    let asked = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    Ok(asked.map(|asked| (received.bytes, Path { client, asked })))
}

async fn reply(socket: &UdpSocket, bytes: &[u8], path: Path) {
    let sent = timeout(SEND_TIME, socket.async_io(Interest::WRITABLE, || send(socket, bytes, path)));
    match sent.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an answer to a DNS query was not sent"),
        Err(_) => tracing::debug!("an answer to a DNS query found no room to be sent"),
    }
}

fn send(socket: &UdpSocket, bytes: &[u8], path: Path) -> io::Result<()> {
    let mut info = in6_pktinfo { ipi6_addr: nix::libc::in6_addr { s6_addr: path.asked.octets() }, ipi6_ifindex: 0 };
    // A link-local address is one only together with its interface.
    if path.asked.is_unicast_link_local() {
        info.ipi6_ifindex = path.client.scope_id();
    }
    let control = [ControlMessage::Ipv6PacketInfo(&info)];
    let client = SockaddrIn6::from(path.client);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::MSG_DONTWAIT, Some(&client))?;
    Ok(())
}

/// Whether the socket is as good after this error as before.
fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EINTR, Errno::EMSGSIZE];
    error.raw_os_error().is_some_and(|number| passing.contains(&Errno::from_raw(number)))
}

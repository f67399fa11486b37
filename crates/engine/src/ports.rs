//! The ports of a sandbox, from outside: which of them somebody listens on, and a connection to one.
//!
//! Both are done with sockets that the jailer has made in the sandbox's network namespace. Only the sandbox's own loopback
//! addresses are connected to: they lead to who listens there, or to nobody, and never to the gate. Nothing that a sandbox
//! wrote is read here; the kernel's list of sockets is.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use ringfence_jail::{
    capture::LISTENER_PORT,
    check::STREAMS_MAX,
    proto::{Done, Op},
};
use ringfence_model::api::PORTS_LISTED_MAX;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, recv, send, sockopt};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::{
    jailer::JailerError,
    machine::{Machine, MachineError, Shell},
};

/// Sockets that are made at once: each time costs the jailer a fork.
const STREAMS: u8 = STREAMS_MAX;

/// A queue of a listener that is full, or a program that does not take connections: the kernel goes on trying for minutes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that one connection may have under way in each direction: they are the host's memory, not the sandbox's.
const BUFFER_BYTES: u32 = 128 << 10;

/// Datagrams of one list: a program may listen on one port with any number of sockets.
const ANSWERS_MAX: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody listens there.
    #[error("nobody listens on the port")]
    Nobody,
    /// Somebody does, and takes no connection.
    #[error("the program that listens takes no connection")]
    Busy,
    /// The jailer refused, or the kernel did.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// An address that somebody listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listening {
    pub(crate) port: u16,
    pub(crate) ip: IpAddr,
}

impl Listening {
    /// Whether a connection to a loopback address arrives there.
    pub(crate) fn is_reached(&self) -> bool {
        let ip = self.ip;
        ip.is_unspecified() || ip == IpAddr::from(Ipv4Addr::LOCALHOST) || ip == IpAddr::from(Ipv6Addr::LOCALHOST)
    }
}

/// What a shell keeps for it.
#[derive(Debug)]
pub(crate) struct Ports {
    held: Mutex<Held>,
    /// Sockets are asked for by one at a time.
    asking: tokio::sync::Mutex<()>,
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Held {
    diag: Option<OwnedFd>,
    streams: Vec<OwnedFd>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { held: Mutex::default(), asking: tokio::sync::Mutex::default(), ended: watch::Sender::new(false) }
    }
}

impl Ports {
    /// Gives the sockets back, which would keep the namespace, and ends every connection.
    pub(crate) fn close(&self) {
        self.ended.send_replace(true);
        *self.held() = Held::default();
    }

    /// True once the shell ends.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics under this lock")
    }

    fn keep(&self, diag: Option<OwnedFd>, streams: Vec<OwnedFd>) {
        let mut held = self.held();
        if !*self.ended.borrow() {
            held.diag = diag.or(held.diag.take());
            held.streams.extend(streams);
        }
    }
}

impl Machine {
    async fn ask_for_sockets(&self, shell: &Shell, streams: u8) -> Result<(OwnedFd, Vec<OwnedFd>), MachineError> {
        let (done, mut fds) = self.jailer().call(Op::Sockets { shell: shell.id, streams }).await?;
        if !matches!(done, Done::Sockets) {
            return Err(JailerError::Confused.into());
        }
        if fds.len() != 1 + usize::from(streams) {
            return Err(JailerError::Descriptors.into());
        }
        let streams = fds.split_off(1);
        Ok((fds.remove(0), streams))
    }

    async fn stream(&self, shell: &Shell) -> Result<OwnedFd, MachineError> {
        let taken = || shell.ports.held().streams.pop();
        if let Some(socket) = taken() {
            return Ok(socket);
        }
        let _turn = shell.ports.asking.lock().await;
        if let Some(socket) = taken() {
            return Ok(socket);
        }
        let (diag, mut streams) = self.ask_for_sockets(shell, STREAMS).await?;
        let socket = streams.pop().ok_or(JailerError::Confused)?;
        shell.ports.keep(Some(diag), streams);
        Ok(socket)
    }

    /// A connection to whoever listens on a port inside.
    ///
    /// # Errors
    /// See [`DialError`].
    pub(crate) async fn dial(&self, shell: &Shell, port: u16) -> Result<TcpStream, DialError> {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let socket = self.stream(shell).await?;
            let is_v6 = sockopt::socket_domain(&socket).is_ok_and(|family| family == AddressFamily::INET6);
            let address = match ip {
                IpAddr::V4(v4) if is_v6 => SocketAddr::from((v4.to_ipv6_mapped(), port)),
                IpAddr::V6(_) if !is_v6 => continue,
                ip => SocketAddr::from((ip, port)),
            };
            let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
            let _ = socket.set_send_buffer_size(BUFFER_BYTES);
            let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
            match timeout(CONNECT_PATIENCE, socket.connect(address)).await {
                Err(_) => return Err(DialError::Busy),
                Ok(Ok(stream)) => {
                    // Where nobody listens, a socket that the kernel gave this very port connects to itself (tcp(7)).
                    if matches!((stream.local_addr(), stream.peer_addr()), (Ok(ours), Ok(theirs)) if ours != theirs) {
                        let _ = stream.set_nodelay(true);
                        return Ok(stream);
                    }
                }
                // Refused; or there is no such address here, where IPv6 is switched off.
                Ok(Err(error)) => tracing::trace!(%error, "a port did not take a connection"),
            }
        }
        Err(DialError::Nobody)
    }

    /// What programs listen on, by port; at most [`PORTS_LISTED_MAX`].
    ///
    /// # Errors
    /// The jailer refused, or the kernel did.
    pub(crate) async fn listening(&self, shell: &Shell) -> Result<Vec<Listening>, MachineError> {
        let kept = shell.ports.held().diag.take();
        let diag = match kept {
            Some(diag) => diag,
            None => self.ask_for_sockets(shell, 0).await?.0,
        };
        let mut found = BTreeSet::new();
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            // A list that was not read to its end goes with its socket.
            if !list(&diag, family, &mut found).map_err(MachineError::Descriptor)? {
                return Ok(found.into_iter().collect());
            }
        }
        shell.ports.keep(Some(diag), Vec::new());
        Ok(found.into_iter().collect())
    }
}

/// Adds the listeners of one family (sock_diag(7)). False when there are more than are wanted.
fn list(diag: &OwnedFd, family: AddressFamily, found: &mut BTreeSet<Listening>) -> io::Result<bool> {
    send(diag.as_fd(), &question(family), SendFlags::empty())?;
    let mut buffer = vec![0_u8; 32 << 10];
    for _ in 0..ANSWERS_MAX {
        let (len, _) = recv(diag.as_fd(), buffer.as_mut_slice(), RecvFlags::empty())?;
        match read_answer(&buffer[..len.min(buffer.len())], found) {
            Some(Part::More) if found.len() >= PORTS_LISTED_MAX => return Ok(false),
            Some(Part::More) => {}
            Some(Part::Last) => return Ok(true),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(false)
}

const HEADER_BYTES: usize = 16;

/// `SOCK_DIAG_BY_FAMILY` for every listening TCP socket of a family (linux/inet_diag.h).
fn question(family: AddressFamily) -> Vec<u8> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST_AND_DUMP: u16 = 0x301;
    const TCP: u8 = 6;
    const LISTEN: u32 = 1 << 10;
    // struct inet_diag_req_v2: family, protocol, extensions, padding, states, and a socket id that is not looked at.
    const BODY_BYTES: usize = 56;
    let mut message = Vec::with_capacity(HEADER_BYTES + BODY_BYTES);
    message.extend_from_slice(&u32::try_from(HEADER_BYTES + BODY_BYTES).expect("72").to_ne_bytes());
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&REQUEST_AND_DUMP.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[u8::try_from(family.as_raw()).expect("families are small numbers"), TCP, 0, 0]);
    message.extend_from_slice(&LISTEN.to_ne_bytes());
    message.resize(HEADER_BYTES + BODY_BYTES, 0);
    message
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    More,
    Last,
}

/// Reads the messages of one datagram. `None` for what is no answer.
fn read_answer(mut rest: &[u8], found: &mut BTreeSet<Listening>) -> Option<Part> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while !rest.is_empty() {
        let len = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..len).filter(|message| message.len() >= HEADER_BYTES)?;
        match u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?) {
            DONE => return Some(Part::Last),
            ERROR => return None,
            _ => {
                let listening = listener(&message[HEADER_BYTES..])?;
                // The gate's own, which nothing inside can take.
                if listening.port != LISTENER_PORT && found.len() < PORTS_LISTED_MAX {
                    found.insert(listening);
                }
            }
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Part::More)
}

/// struct inet_diag_msg: family, state, two bytes; then the id: ports and addresses in network order.
fn listener(message: &[u8]) -> Option<Listening> {
    let family = *message.first()?;
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let address: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let ip = if u16::from(family) == AddressFamily::INET.as_raw() {
        IpAddr::from(*address.first_chunk::<4>()?)
    } else {
        IpAddr::from(address).to_canonical()
    };
    Some(Listening { port, ip })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER_BYTES + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn socket(family: u8, port: u16, address: [u8; 16]) -> Vec<u8> {
        let mut body = vec![family, 10, 0, 0];
        body.extend_from_slice(&port.to_be_bytes());
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&address);
        body.resize(72, 0);
        message(20, &body)
    }

    fn v4(a: [u8; 4]) -> [u8; 16] {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&a);
        address
    }

    #[test]
    fn listeners_are_read_and_the_gates_own_left_out() {
        let mut found = BTreeSet::new();
        let mut bytes = socket(2, 8000, v4([127, 0, 0, 1]));
        bytes.extend(socket(2, LISTENER_PORT, v4([0; 4])));
        bytes.extend(socket(10, 5173, Ipv6Addr::LOCALHOST.octets()));
        bytes.extend(socket(10, 9000, Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets()));
        bytes.extend(socket(2, 7000, v4([127, 0, 0, 2])));
        assert_eq!(read_answer(&bytes, &mut found), Some(Part::More));
        assert_eq!(read_answer(&message(3, &[0; 4]), &mut found), Some(Part::Last));
        let shown: Vec<_> = found.iter().map(|l| (l.port, l.ip.to_string(), l.is_reached())).collect();
        assert_eq!(
            shown,
            [
                (5173, "::1".to_owned(), true),
                (7000, "127.0.0.2".to_owned(), false),
                (8000, "127.0.0.1".to_owned(), true),
                (9000, "127.0.0.1".to_owned(), true)
            ]
        );
    }

    #[test]
    fn what_is_cut_off_is_no_answer() {
        let whole = socket(2, 8000, v4([0; 4]));
        for len in 1..whole.len() {
            assert_eq!(read_answer(&whole[..len], &mut BTreeSet::new()), None, "{len}");
        }
        assert_eq!(read_answer(&message(2, &[0; 20]), &mut BTreeSet::new()), None, "an error");
    }
}

//! What the daemon tells the service manager that started it (sd_notify(3)). `serve` knows how things stand, and the outer process is the
//! one whose word systemd takes: so `serve` says it to the outer process, in messages that can mean nothing else, and the outer process
//! says it on. The socket of the service manager reaches no role and no sandbox.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    time::Duration,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::wire;

/// Variables of the service manager's that are for the process that it started, and for nobody that this one starts.
pub(crate) const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Bytes of a status line.
const STATUS_BYTES_MAX: usize = 200;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Work is taken.
    Ready,
    /// No new work is taken any more.
    Stopping,
    /// It answers.
    Alive,
    /// How it stands, in a line.
    Status(String),
}

impl Word {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ready => vec![b'R'],
            Self::Stopping => vec![b'E'],
            Self::Alive => vec![b'A'],
            Self::Status(line) => [b"S", line.as_bytes()].concat(),
        }
    }

    /// `None` for what is no word. A status is cut to one printable line: a line break would begin another variable of the protocol.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            b"R" => Some(Self::Ready),
            b"E" => Some(Self::Stopping),
            b"A" => Some(Self::Alive),
            [b'S', line @ ..] => {
                let mut kept = String::new();
                for c in String::from_utf8_lossy(line).chars() {
                    if kept.len() + c.len_utf8() > STATUS_BYTES_MAX {
                        break;
                    }
                    kept.push(if c.is_control() { ' ' } else { c });
                }
                Some(Self::Status(kept))
            }
            _ => None,
        }
    }
}

/// `serve`'s end.
#[derive(Debug)]
pub struct Teller(OwnedFd);

impl Teller {
    /// The one behind a descriptor.
    #[must_use]
    pub fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Tells it. What finds no room is lost: a service manager that hears nothing does what it does then.
    pub fn tell(&self, word: &Word) {
        let _ = rustix::net::send(&self.0, &word.to_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}

impl AsFd for Teller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The outer process's end.
#[derive(Debug)]
pub struct Relay(OwnedFd);

impl Relay {
    /// Both ends.
    ///
    /// # Errors
    /// socketpair(2).
    pub fn pair() -> io::Result<(Teller, Self)> {
        let (teller, relay) = wire::pair(SocketType::SEQPACKET)?;
        Ok((Teller(teller), Self(relay)))
    }

    /// Says on what has been told; without a service manager that is nothing. Whether more can come.
    pub(crate) fn pass_on(&self) -> bool {
        loop {
            let word = match self.next() {
                Ok(Some(word)) => word,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let said = match &word {
                Word::Ready => "READY=1".to_owned(),
                Word::Stopping => "STOPPING=1".to_owned(),
                Word::Alive => "WATCHDOG=1".to_owned(),
                Word::Status(line) => format!("STATUS={line}"),
            };
            let _ = say(&said);
        }
    }

    /// The next word, if there is one.
    fn next(&self) -> io::Result<Option<Word>> {
        let mut bytes = [0; STATUS_BYTES_MAX + 1];
        loop {
            match rustix::net::recv(&self.0, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, length)) => {
                    if let Some(word) = Word::from_bytes(&bytes[..length.min(bytes.len())]) {
                        return Ok(Some(word));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// One message to the service manager, if there is one: a datagram to the socket that NOTIFY_SOCKET names, a path or, after an `@`, an
/// abstract name. It never waits, because a supervisor that waits for a service manager that does not read ends nothing any more: what
/// finds no room is lost. That is why this is not the crate `sd-notify`, which waits.
fn say(message: &str) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path => SocketAddrUnix::new(path)?,
    };
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sendto(&socket, message.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &address)?;
    Ok(())
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How often the service manager wants to hear that the daemon answers, if it does: twice in the time after which it gives up.
#[must_use]
pub fn alive_every() -> Option<Duration> {
    patience(std::env::var("WATCHDOG_USEC").ok().as_deref(), std::env::var("WATCHDOG_PID").ok().as_deref())
        .map(|patience| patience / 2)
}

/// WATCHDOG_USEC in microseconds, unless WATCHDOG_PID says that it is meant for another process (sd_watchdog_enabled(3)).
fn patience(microseconds: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let is_for_us = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0 && is_for_us)?;
    Some(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_arrives_and_nothing_else_does() {
        let (teller, relay) = Relay::pair().expect("a pair");
        assert_eq!(relay.next().ok(), Some(None));
        let all = [Word::Ready, Word::Status("ready: 2 sandboxes".into()), Word::Alive, Word::Stopping];
        for word in &all {
            teller.tell(word);
        }
        rustix::net::send(&teller.0, b"MAINPID=1", SendFlags::NOSIGNAL).expect("there is room");
        for word in all {
            assert_eq!(relay.next().expect("open"), Some(word));
        }
        assert_eq!(relay.next().ok(), Some(None));
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        let (teller, relay) = Relay::pair().expect("a pair");
        teller.tell(&Word::Status("x\nMAINPID=1\u{7}".into()));
        assert_eq!(relay.next().expect("open"), Some(Word::Status("x MAINPID=1 ".into())));
        teller.tell(&Word::Status("é".repeat(500)));
        let Ok(Some(Word::Status(line))) = relay.next() else { panic!("a status") };
        assert!(line.len() <= STATUS_BYTES_MAX + 2 && line.starts_with('é'), "{line}");
    }

    #[test]
    fn a_teller_that_nobody_hears_does_not_wait() {
        let (teller, relay) = Relay::pair().expect("a pair");
        for _ in 0..10_000 {
            teller.tell(&Word::Status("x".repeat(100)));
        }
        drop(relay);
        teller.tell(&Word::Alive);
    }

    #[test]
    fn how_often_is_said_by_microseconds_for_this_process() {
        let own = std::process::id().to_string();
        assert_eq!(patience(Some("600000"), None), Some(Duration::from_millis(600)));
        assert_eq!(patience(Some("600000"), Some(&own)), Some(Duration::from_millis(600)));
        for (microseconds, pid) in
            [(None, None), (Some("0"), None), (Some("soon"), None), (Some("600000"), Some("1")), (Some("1"), Some("x"))]
        {
            assert_eq!(patience(microseconds, pid), None, "{microseconds:?} {pid:?}");
        }
    }

    #[test]
    fn a_relay_knows_that_nobody_tells_it_any_more() {
        let (teller, relay) = Relay::pair().expect("a pair");
        teller.tell(&Word::Alive);
        assert!(relay.pass_on());
        drop(teller);
        assert!(!relay.pass_on());
    }
}

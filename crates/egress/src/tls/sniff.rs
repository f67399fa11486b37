//! Which protocol a client speaks, from its first bytes.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::hello::{self, ClientHello, HELLO_BYTES_MAX, HelloError, Progress};
use super::prefixed::Prefixed;

/// Longest time that a client may take to say what it speaks. Whoever is silent for so long waits for the server to begin.
pub const SNIFF_TIME: Duration = Duration::from_secs(5);
/// The same where no server begins: a client that connects before it reads its certificates may be slow on a busy machine.
const SNIFF_TIME_OF_WEB: Duration = Duration::from_secs(30);
/// What a client with prior knowledge of HTTP/2 sends first (RFC 9113 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method of HTTP that is taken for one.
const METHOD_BYTES_MAX: usize = 32;
/// Longest request line that is waited for; a longer one is left to the HTTP server, which knows how to say so.
const REQUEST_LINE_BYTES_MAX: usize = HELLO_BYTES_MAX;

/// What a client speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// TLS, with a ClientHello that was read whole.
    Tls(ClientHello),
    /// TLS, but the gate does not take this ClientHello. An alert is understood.
    BadTls(HelloError),
    /// A request line of HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
    /// Something else.
    Other,
    /// It said nothing in time: it waits for the server to speak first.
    Silent,
    /// It began with something that could have become one of the above, and did not go on in time.
    Unfinished,
    /// It closed its side before it had said enough.
    Closed,
}

/// What a client speaks, and its stream with everything that was read still in it.
#[derive(Debug)]
pub struct Sniffed<S> {
    /// The protocol.
    pub kind: Kind,
    /// The stream, from its beginning.
    pub stream: Prefixed<S>,
}

/// How long a client of this port may take to say what it speaks.
#[must_use]
pub fn time_at(port: u16) -> Duration {
    match port {
        80 | 443 => SNIFF_TIME_OF_WEB,
        _ => SNIFF_TIME,
    }
}

/// Reads from `stream` until its protocol is known: at most 16 KiB and [`SNIFF_TIME`].
///
/// # Errors
/// The stream could not be read.
pub async fn sniff<S: AsyncRead + Unpin>(stream: S) -> io::Result<Sniffed<S>> {
    sniff_within(stream, SNIFF_TIME).await
}

/// [`sniff`] with a time of one's own.
///
/// # Errors
/// The stream could not be read.
pub async fn sniff_within<S: AsyncRead + Unpin>(mut stream: S, time: Duration) -> io::Result<Sniffed<S>> {
    let mut bytes = BytesMut::with_capacity(2048);
    let kind = match timeout(time, read_kind(&mut stream, &mut bytes)).await {
        Ok(kind) => kind?,
        Err(_) if bytes.is_empty() => Kind::Silent,
        Err(_) => Kind::Unfinished,
    };
    Ok(Sniffed { kind, stream: Prefixed::new(Bytes::from(bytes), stream) })
}

/// What was read stays in `bytes`, also if this is dropped while it waits.
async fn read_kind<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut BytesMut) -> io::Result<Kind> {
    loop {
        let room = HELLO_BYTES_MAX - bytes.len();
        // `classify` decides before the room is used up; an empty read would look like the end.
        assert!(room > 0, "16 KiB are always enough to decide");
        let read = (&mut *stream).take(room as u64).read_buf(bytes).await?;
        if read == 0 {
            return Ok(Kind::Closed);
        }
        if let Some(kind) = classify(bytes) {
            return Ok(kind);
        }
    }
}

/// The protocol that begins with `bytes`, or nothing as long as more must be known.
#[must_use]
pub fn classify(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [] => None,
        [0x16] | [0x16, 3, ..] => match hello::parse(bytes) {
            Ok(Progress::More) => None,
            Ok(Progress::Whole(hello)) => Some(Kind::Tls(hello)),
            Err(error) => Some(Kind::BadTls(error)),
        },
        _ if bytes.starts_with(HTTP2_PREFACE) => Some(Kind::Http2),
        _ if HTTP2_PREFACE.starts_with(bytes) => None,
        _ => request_line(bytes),
    }
}

/// A request line of HTTP/1, which is one only when its end was seen: `USER me` of another protocol begins as well.
fn request_line(bytes: &[u8]) -> Option<Kind> {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    if method == 0 || method > METHOD_BYTES_MAX {
        return Some(Kind::Other);
    }
    match bytes.get(method) {
        None => return None,
        Some(b' ') => {}
        Some(_) => return Some(Kind::Other),
    }
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = bytes.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
            Some(if matches!(version, b"HTTP/1.1" | b"HTTP/1.0") { Kind::Http1 } else { Kind::Other })
        }
        None if bytes.len() >= REQUEST_LINE_BYTES_MAX => Some(Kind::Http1),
        None => None,
    }
}

/// A character of a method (RFC 9110 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

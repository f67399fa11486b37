//! How a client that speaks TLS is told that it may not: a fatal alert in answer to its ClientHello (RFC 8446 6.2).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest time for the alert to be written and for the client to close after it.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// Most bytes that are read and thrown away while waiting for the client to close.
const GOODBYE_BYTES_MAX: u64 = 64 * 1024;

/// What an alert says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// The ClientHello itself was not in order (50).
    DecodeError,
    /// A policy forbids it (49).
    AccessDenied,
    /// The gate does not know the name, or there is none (112).
    UnrecognizedName,
    /// Neither TLS 1.2 nor 1.3 was offered (70).
    ProtocolVersion,
    /// Something failed in the gate (80).
    InternalError,
}

impl Alert {
    /// The alert's number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::AccessDenied => 49,
            Self::DecodeError => 50,
            Self::ProtocolVersion => 70,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }

    /// The record that carries it, as it is sent before anything was agreed on: content type 21, level fatal.
    #[must_use]
    pub fn record(self) -> [u8; 7] {
        [21, 3, 3, 0, 2, 2, self.code()]
    }
}

/// Sends the alert and ends the connection in such a way that the client gets to read it.
///
/// # Errors
/// The alert could not be written, or not in time.
pub async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, alert: Alert) -> io::Result<()> {
    let goodbye = async {
        stream.write_all(&alert.record()).await?;
        stream.shutdown().await?;
        // A socket that is closed with bytes unread sends a reset, which takes the alert from under the client.
        tokio::io::copy(&mut stream.take(GOODBYE_BYTES_MAX), &mut tokio::io::sink()).await
    };
    match timeout(GOODBYE_TIME, goodbye).await {
        // A reset while waiting for the end is an end.
        Ok(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
        _ => Ok(()),
    }
}

//! The way to the exchange of this installation. Its socket is held by the supervisor and outlives it, so that a connection to it can
//! always be made: what is sent while no exchange runs waits for the next one. That is right for a moment, and wrong where none can
//! start; so each new connection is first asked for a word, and nothing of anybody's is sent over one that says none.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Gate;

/// Longest wait for that word: an exchange that died is started again after half a second, and reads its journal.
const WORD_TIME: Duration = Duration::from_secs(3);
/// A question that needs no account and changes nothing.
const QUESTION: &[u8] = b"GET /ringfence/v1/status HTTP/1.1\r\nHost: paper-api.alpaca.markets\r\n\r\n";
/// Bytes of its answer.
const ANSWER_BYTES_MAX: usize = 16 << 10;

impl Gate {
    /// A connection to an exchange that runs.
    ///
    /// # Errors
    /// None runs, or it does not answer in time. Nothing but the gate's own question was sent.
    pub(super) async fn exchange(&self) -> io::Result<UnixStream> {
        let asking = async {
            let mut stream = UnixStream::connect(self.leads.exchange()).await?;
            stream.write_all(QUESTION).await?;
            skip_answer(&mut stream).await?;
            Ok(stream)
        };
        match timeout(WORD_TIME, asking).await {
            Ok(asked) => asked,
            Err(_) => {
                let why = "the simulated exchange does not run; log/daemon.log of this installation says why it does not start";
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

/// Reads one answer to its end, whatever it says, and nothing after it.
async fn skip_answer(stream: &mut UnixStream) -> io::Result<()> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the simulated exchange does not speak HTTP as it should");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= ANSWER_BYTES_MAX {
            return Err(bad());
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or_else(bad)?;
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(())
}

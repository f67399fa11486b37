//! What a client says over a websocket: its first message with secrets put in, then whatever has no placeholder in it.

use std::future::Future;
use std::io;

use ringfence_model::net::DenialReason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::head::{BINARY, CONTROL, Head, TEXT, unmask};
use crate::secret::{Frame, FrameKind, Refusal, Scanner};

/// Bytes of a first message that placeholders are replaced in. A longer one is only searched.
const FIRST_BYTES_MAX: usize = 64 << 10;
/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Why a websocket ended.
pub(in super::super) enum Ended {
    Broken(io::Error),
    Refused(DenialReason, Option<String>),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Who answers for what a client says.
pub(in super::super) trait Warden {
    /// A search for placeholders.
    fn scanner(&self) -> Scanner;
    /// The first message with its secrets, by what is in force now.
    fn fill(&self, kind: FrameKind, text: &[u8]) -> Result<Frame, Refusal>;
    /// Writes down that these secrets go out. Whether it is on disk.
    fn record(&self, secrets: &[String]) -> impl Future<Output = bool> + Send;
    /// Counts bytes that went out.
    fn sent(&self, bytes: usize);
}

/// What the client says: the first message with its secrets, then whatever has no placeholder in it.
pub(in super::super) async fn up(
    warden: &impl Warden,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Ended> {
    let mut scanner = warden.scanner();
    let mut first: Option<(u8, Vec<u8>)> = None;
    let mut is_first = true;
    while let Some(head) = Head::read(from).await? {
        let Some(key) = head.key else { return Err(broken("a client's frame without a mask")) };
        let fits = first.as_ref().map_or(0, |(_, text)| text.len()) as u64 + head.length <= FIRST_BYTES_MAX as u64;
        if !is_first || head.opcode >= CONTROL || !fits {
            // A control frame may come between the parts of a message, which stay held back.
            if head.opcode < CONTROL
                && let Some((opcode, text)) = first.take()
            {
                // Longer than what is replaced in: what was held back goes on as the beginning of it.
                scan(&mut scanner, &text)?;
                write(warden, to, opcode, false, &text).await?;
            }
            if head.opcode >= CONTROL {
                // It is no part of the message around it, whose next piece follows on the one before.
                pass(warden, from, to, &head, key, &mut warden.scanner()).await?;
            } else {
                is_first = false;
                pass(warden, from, to, &head, key, &mut scanner).await?;
            }
            continue;
        }
        let mut part = vec![0; usize::try_from(head.length).unwrap_or_default()];
        from.read_exact(&mut part).await?;
        unmask(&mut part, key, 0);
        let (opcode, mut text) = match (first.take(), head.opcode) {
            (None, TEXT | BINARY) => (head.opcode, Vec::new()),
            (Some(begun), 0) => begun,
            _ => return Err(broken("frames out of order")),
        };
        text.extend_from_slice(&part);
        if !head.fin {
            first = Some((opcode, text));
            continue;
        }
        is_first = false;
        send_first(warden, to, opcode, &text, &mut scanner).await?;
    }
    to.shutdown().await?;
    Ok(())
}

/// The first message, whole. What is in force now decides, and its secrets are on disk before it goes.
async fn send_first(
    warden: &impl Warden,
    to: &mut (impl AsyncWrite + Unpin),
    opcode: u8,
    text: &[u8],
    scanner: &mut Scanner,
) -> Result<(), Ended> {
    let kind = if opcode == TEXT { FrameKind::Text } else { FrameKind::Binary };
    let misplaced = |why: String| Ended::Refused(DenialReason::PlaceholderMisplaced, Some(why));
    let filled = warden.fill(kind, text).map_err(|refusal| misplaced(refusal.to_string()))?;
    let Some(payload) = filled.payload else {
        // A placeholder may begin in it and go on in the next one.
        scan(scanner, text)?;
        return write(warden, to, opcode, true, text).await;
    };
    if !warden.record(&filled.injected.secrets).await {
        return Err(broken("the use of a secret could not be recorded"));
    }
    write(warden, to, opcode, true, &payload).await
}

/// One frame as it is, searched.
async fn pass(
    warden: &impl Warden,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    head: &Head,
    key: [u8; 4],
    scanner: &mut Scanner,
) -> Result<(), Ended> {
    let mut left = head.length;
    let mut at = 0;
    let mut begun = false;
    let mut chunk = vec![0; CHUNK_BYTES];
    while left > 0 || !begun {
        let room = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let part = chunk.get_mut(..room).unwrap_or_default();
        from.read_exact(part).await?;
        unmask(part, key, at);
        scan(scanner, part)?;
        unmask(part, key, at);
        if !begun {
            to.write_all(&head.raw).await?;
            begun = true;
        }
        to.write_all(part).await?;
        warden.sent(part.len());
        at += part.len();
        left -= part.len() as u64;
    }
    to.flush().await?;
    Ok(())
}

async fn write(
    warden: &impl Warden,
    to: &mut (impl AsyncWrite + Unpin),
    opcode: u8,
    fin: bool,
    payload: &[u8],
) -> Result<(), Ended> {
    let key: [u8; 4] = rand::random();
    let mut frame = zeroize::Zeroizing::new(Vec::with_capacity(payload.len() + 14));
    Head::write(&mut frame, fin, opcode, payload.len() as u64, Some(key));
    let begin = frame.len();
    frame.extend_from_slice(payload);
    unmask(frame.get_mut(begin..).unwrap_or_default(), key, 0);
    to.write_all(&frame).await?;
    to.flush().await?;
    warden.sent(payload.len());
    Ok(())
}

fn scan(scanner: &mut Scanner, bytes: &[u8]) -> Result<(), Ended> {
    match scanner.feed(bytes) {
        None => Ok(()),
        Some(secret) => {
            let why = format!(
                "the placeholder of secret `{secret}` stands in a websocket message, where it is not bound to be"
            );
            Err(Ended::Refused(DenialReason::PlaceholderMisplaced, Some(why)))
        }
    }
}

fn broken(why: &'static str) -> Ended {
    Ended::Broken(io::Error::new(io::ErrorKind::InvalidData, why))
}

//! Websockets (RFC 6455): secrets in the first message of the client, none in later ones, and none of them in what comes back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ringfence_model::net::DenialReason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

use super::Session;
use super::leash::Terms;
use crate::gate::limits::lock;
use crate::gate::record::Passage;
use crate::gate::room::Force;
use crate::secret::{FrameKind, Mask, Scanner};

/// Bytes of a first message that placeholders are replaced in. A longer one is only searched.
const FIRST_BYTES_MAX: usize = 64 << 10;
/// Bytes of a masked message that go on at once. A longer frame goes on in several.
const MASKED_BYTES: u64 = 64 << 10;
/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Longest wait for a client to take the last word.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
const CONTROL_BYTES_MAX: usize = 125;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// Opcodes from here on are of control frames.
const CONTROL: u8 = 8;
const CLOSE: u8 = 8;
/// A message was against the rules of whoever received it (RFC 6455 7.4.1).
const POLICY_VIOLATION: u16 = 1008;

type Up = WriteHalf<TokioIo<Upgraded>>;

/// Why a websocket ended.
enum Ended {
    Broken(io::Error),
    Refused(DenialReason, Option<String>),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// What moves the messages of one websocket.
pub(super) struct Socket {
    session: Arc<Session>,
    /// What it was let through for; the secrets of the first message come to it.
    terms: Terms,
    used: watch::Sender<Vec<String>>,
    /// What was in force when secrets went out with it: the other side knows those values, whatever is rotated meanwhile.
    spoken: Mutex<Arc<Force>>,
    passage: Arc<Passage>,
    /// Whether what was written to the client ends where a frame ends.
    is_between: AtomicBool,
}

impl Socket {
    pub(super) fn new(session: Arc<Session>, terms: Terms, force: Arc<Force>, passage: Arc<Passage>) -> Self {
        let (used, spoken) = (watch::Sender::new(terms.secrets.clone()), Mutex::new(force));
        Self { session, terms, used, spoken, passage, is_between: AtomicBool::new(true) }
    }

    /// Moves messages until one side is done, or is refused.
    pub(super) async fn run(self, client: OnUpgrade, server: OnUpgrade) {
        let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
        let (from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
        let (from_server, mut to_server) = tokio::io::split(TokioIo::new(server));
        let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
        // Both ends stay open until a refusal was told: the program hears of it by their end.
        let ended = tokio::select! {
            up = self.up(&mut from_client, &mut to_server) => up,
            down = self.down(&mut from_server, &mut to_client) => down.map_err(Ended::from),
            message = self.broken() => Err(Ended::Refused(DenialReason::PolicyChanged, message)),
        };
        let room = &self.session.room;
        match ended {
            Ok(()) => {}
            Err(Ended::Broken(error)) => tracing::debug!(sandbox = %room.id, %error, "a websocket broke"),
            Err(Ended::Refused(reason, message)) => {
                let denial = self.terms.deny(reason, message).await;
                if self.is_between.load(Ordering::Relaxed) {
                    let goodbye = goodbye(&denial.message);
                    let _ = timeout(GOODBYE_TIME, async {
                        to_client.write_all(&goodbye).await?;
                        to_client.shutdown().await
                    })
                    .await;
                }
            }
        }
    }

    /// Returns when it is no longer let through. Secrets of the first message count from when they went out.
    async fn broken(&self) -> Option<String> {
        let mut used = self.used.subscribe();
        loop {
            let secrets = used.borrow_and_update().clone();
            let terms = Terms { secrets, ..self.terms.clone() };
            tokio::select! {
                message = terms.broken() => return message,
                _ = used.changed() => {}
            }
        }
    }

    /// What the client says: the first message with its secrets, then whatever has no placeholder in it.
    async fn up(&self, from: &mut BufReader<ReadHalf<TokioIo<Upgraded>>>, to: &mut Up) -> Result<(), Ended> {
        let force = self.session.room.force();
        let mut scanner = force.injector.scanner();
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
                    self.write(to, opcode, false, &text).await?;
                }
                is_first &= head.opcode >= CONTROL;
                // One that comes between the parts of a message does not hide what they say together.
                let mut of_control = force.injector.scanner();
                let scanner = if head.opcode >= CONTROL { &mut of_control } else { &mut scanner };
                self.pass(from, to, &head, key, scanner).await?;
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
            self.first(to, opcode, &text).await?;
        }
        to.shutdown().await?;
        Ok(())
    }

    /// The first message, whole. What is in force now decides, and its secrets are on disk before it goes.
    async fn first(&self, to: &mut Up, opcode: u8, text: &[u8]) -> Result<(), Ended> {
        let force = self.session.room.force();
        let kind = if opcode == TEXT { FrameKind::Text } else { FrameKind::Binary };
        let misplaced = |why: String| Ended::Refused(DenialReason::PlaceholderMisplaced, Some(why));
        let filled = force.injector.inject_frame(self.terms.destination(), kind, text);
        let filled = filled.map_err(|refusal| misplaced(refusal.to_string()))?;
        let Some(payload) = filled.payload else { return self.write(to, opcode, true, text).await };
        let about = self.terms.asked.about(self.session.to);
        let session = &self.session;
        let secrets = filled.injected.secrets;
        let recorded = session.gate.allow_message(&session.room, &about, &secrets).await;
        // It is settled with the connection: this one only says which secrets were used.
        let _passage = recorded.map_err(|_| broken("the use of a secret could not be recorded"))?;
        *lock(&self.spoken) = force;
        self.used.send_modify(|used| used.extend(secrets));
        self.write(to, opcode, true, &payload).await
    }

    /// One frame as it is, searched.
    async fn pass(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut Up,
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
            self.passage.sent(part.len());
            at += part.len();
            left -= part.len() as u64;
        }
        to.flush().await?;
        Ok(())
    }

    async fn write(&self, to: &mut Up, opcode: u8, fin: bool, payload: &[u8]) -> Result<(), Ended> {
        let key: [u8; 4] = rand::random();
        let mut frame = zeroize::Zeroizing::new(Vec::with_capacity(payload.len() + 14));
        Head::write(&mut frame, fin, opcode, payload.len() as u64, Some(key));
        let begin = frame.len();
        frame.extend_from_slice(payload);
        unmask(frame.get_mut(begin..).unwrap_or_default(), key, 0);
        to.write_all(&frame).await?;
        to.flush().await?;
        self.passage.sent(payload.len());
        Ok(())
    }

    /// What the server says: masked where it could be a secret.
    async fn down(&self, from: &mut BufReader<ReadHalf<TokioIo<Upgraded>>>, to: &mut Up) -> io::Result<()> {
        let mut message = None;
        while let Some(head) = Head::read(from).await? {
            if head.key.is_some() {
                return Err(io::Error::other("a server's frame with a mask"));
            }
            let force = self.session.room.force();
            match self.is_bound(&force) {
                true if head.opcode >= CONTROL => self.control(&force, &head, from, to).await?,
                true => self.masked(&force, &head, &mut message, from, to).await?,
                false => {
                    self.is_between.store(false, Ordering::Relaxed);
                    to.write_all(&head.raw).await?;
                    let copied = tokio::io::copy(&mut (&mut *from).take(head.length), to).await?;
                    if copied < head.length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
            to.flush().await?;
            self.is_between.store(true, Ordering::Relaxed);
            self.passage.received(usize::try_from(head.length).unwrap_or(usize::MAX));
        }
        to.shutdown().await
    }

    fn is_bound(&self, force: &Arc<Force>) -> bool {
        let to = self.terms.destination();
        force.is_bound(to.host, to.port) || lock(&self.spoken).is_bound(to.host, to.port)
    }

    /// Masks of what is in force, and of what was when the secrets went out, for what begins with `begin`.
    fn masks(&self, force: &Arc<Force>, begin: &[u8]) -> Vec<Mask> {
        let spoken = lock(&self.spoken).clone();
        let mut masks = vec![force.injector.mask()];
        if !Arc::ptr_eq(&spoken, force) {
            masks.push(spoken.injector.mask());
        }
        // JSON, or whatever else a person could read. MessagePack begins with a byte that is no letter.
        let is_text = begin.trim_ascii_start().first().is_none_or(|byte| byte.is_ascii_graphic());
        if is_text { masks } else { masks.into_iter().map(Mask::of_equal_length).collect() }
    }

    /// A control frame, which may come between the parts of a message.
    async fn control(
        &self,
        force: &Arc<Force>,
        head: &Head,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut payload = vec![0; usize::try_from(head.length).unwrap_or_default()];
        from.read_exact(&mut payload).await?;
        let masks = self.masks(force, b"").into_iter();
        let payload = masks.fold(Bytes::from(payload), |payload, mask| mask.whole(payload));
        // A placeholder may be longer than what it stands for.
        let payload = payload.get(..payload.len().min(CONTROL_BYTES_MAX)).unwrap_or_default();
        self.frame(to, true, head.opcode, payload).await
    }

    /// One frame of a message, masked as a part of the whole: servers cut messages anywhere.
    async fn masked(
        &self,
        force: &Arc<Force>,
        head: &Head,
        message: &mut Option<Message>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        if message.is_some() != (head.opcode == CONTINUATION) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frames out of order"));
        }
        let mut begun = message.take().unwrap_or_else(|| Message { opcode: head.opcode, masks: Vec::new() });
        let mut left = head.length;
        loop {
            let mut part = vec![0; usize::try_from(left.min(MASKED_BYTES)).unwrap_or_default()];
            from.read_exact(&mut part).await?;
            left -= part.len() as u64;
            let is_last = left == 0 && head.fin;
            if begun.masks.is_empty() && !part.is_empty() {
                begun.masks = self.masks(force, &part);
            }
            let mut out = begun.feed(Bytes::from(part));
            if is_last {
                out = begun.finish(out);
                return self.frame(to, true, begun.opcode, &out).await;
            }
            if !out.is_empty() {
                self.frame(to, false, begun.opcode, &out).await?;
                begun.opcode = CONTINUATION;
            }
            if left == 0 {
                *message = Some(begun);
                return Ok(());
            }
        }
    }

    async fn frame(&self, to: &mut (impl AsyncWrite + Unpin), fin: bool, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(payload.len() + 10);
        Head::write(&mut frame, fin, opcode, payload.len() as u64, None);
        frame.extend_from_slice(payload);
        self.is_between.store(false, Ordering::Relaxed);
        to.write_all(&frame).await
    }
}

/// A message of the server of which parts went on.
struct Message {
    /// Of the next frame.
    opcode: u8,
    /// None before there is a byte of it.
    masks: Vec<Mask>,
}

impl Message {
    fn feed(&mut self, part: Bytes) -> Bytes {
        self.masks.iter_mut().fold(part, |part, mask| mask.feed(part))
    }

    /// `part`, and what the masks held back.
    fn finish(&mut self, part: Bytes) -> Bytes {
        let mut out = Vec::from(part);
        let mut rest = Bytes::new();
        for mut mask in self.masks.drain(..) {
            let mut more = Vec::from(mask.feed(rest));
            more.extend_from_slice(&mask.finish());
            rest = Bytes::from(more);
        }
        out.extend_from_slice(&rest);
        Bytes::from(out)
    }
}

/// The last word to a client that was refused: why.
fn goodbye(why: &str) -> Vec<u8> {
    let mut payload = POLICY_VIOLATION.to_be_bytes().to_vec();
    for c in why.chars() {
        if payload.len() + c.len_utf8() > CONTROL_BYTES_MAX {
            break;
        }
        payload.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    let mut frame = Vec::new();
    Head::write(&mut frame, true, CLOSE, payload.len() as u64, None);
    frame.extend_from_slice(&payload);
    frame
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

/// Puts the mask on, or takes it off; `at` is how far into the frame the bytes are.
fn unmask(bytes: &mut [u8], key: [u8; 4], at: usize) {
    for (byte, mask) in bytes.iter_mut().zip(key.iter().cycle().skip(at % key.len())) {
        *byte ^= mask;
    }
}

/// The head of a frame (RFC 6455 5.2).
#[derive(Debug, PartialEq, Eq)]
struct Head {
    fin: bool,
    opcode: u8,
    length: u64,
    key: Option<[u8; 4]>,
    /// As it was read.
    raw: Vec<u8>,
}

impl Head {
    /// Nothing at the end of the stream.
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut start = [0; 2];
        if from.read(start.split_at_mut(1).0).await? == 0 {
            return Ok(None);
        }
        from.read_exact(start.split_at_mut(1).1).await?;
        let [flags, short] = start;
        let mut raw = start.to_vec();
        let length = match short & 0x7f {
            126 => u64::from(from.read_u16().await?),
            127 => from.read_u64().await?,
            short => u64::from(short),
        };
        match short & 0x7f {
            126 => raw.extend_from_slice(&u16::try_from(length).unwrap_or_default().to_be_bytes()),
            127 => raw.extend_from_slice(&length.to_be_bytes()),
            _ => {}
        }
        let mut key = None;
        if short & 0x80 != 0 {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes).await?;
            raw.extend_from_slice(&bytes);
            key = Some(bytes);
        }
        let (fin, opcode) = (flags & 0x80 != 0, flags & 0x0f);
        // No extension was agreed on, so that nobody may use the bits which they have.
        let is_odd = flags & 0x70 != 0 || length > u64::MAX >> 1;
        if is_odd || opcode >= CONTROL && (!fin || length > CONTROL_BYTES_MAX as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is none"));
        }
        Ok(Some(Self { fin, opcode, length, key, raw }))
    }

    fn write(out: &mut Vec<u8>, fin: bool, opcode: u8, length: u64, key: Option<[u8; 4]>) {
        out.push(u8::from(fin) << 7 | opcode);
        let masked = u8::from(key.is_some()) << 7;
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => out.push(masked | short),
            (_, Ok(length)) => {
                out.push(masked | 126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&key.unwrap_or_default()[..if key.is_some() { 4 } else { 0 }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn heads_of_every_length_are_read_as_they_were_written() {
        for length in [0, 125, 126, 65535, 65536, 1 << 40] {
            for key in [None, Some([1, 2, 3, 4])] {
                let mut raw = Vec::new();
                Head::write(&mut raw, true, BINARY, length, key);
                let head = Head::read(&mut raw.as_slice()).await.unwrap().unwrap();
                assert_eq!(head, Head { fin: true, opcode: BINARY, length, key, raw });
            }
        }
        assert_eq!(Head::read(&mut &b""[..]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        for bytes in [&[0xc1, 0][..], &[0x08, 0], &[0x89, 126, 1, 0], &[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0], &[0x81]] {
            assert!(Head::read(&mut &*bytes).await.is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_mask_goes_on_where_it_stopped() {
        let mut whole = *b"hello world";
        unmask(&mut whole, [1, 2, 3, 4], 0);
        let mut parts = *b"hello world";
        let (first, second) = parts.split_at_mut(7);
        unmask(first, [1, 2, 3, 4], 0);
        unmask(second, [1, 2, 3, 4], 7);
        assert_eq!(whole, parts);
    }
}

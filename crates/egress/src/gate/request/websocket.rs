//! Websockets (RFC 6455): secrets in the first message of the client, none in later ones, and none of them in what comes back.

mod head;
pub(super) mod up;

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

use self::head::{CONTROL, Head};
use self::up::{Ended, Warden};
use super::Session;
use super::leash::Terms;
use crate::gate::limits::lock;
use crate::gate::record::Passage;
use crate::gate::room::Force;
use crate::secret::{Frame, FrameKind, Mask, Refusal, Scanner};

/// Bytes of a masked message that go on at once. A longer frame goes on in several.
const MASKED_BYTES: u64 = 64 << 10;
/// Longest wait for a client to take the last word.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
const CONTROL_BYTES_MAX: usize = 125;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
/// A message was against the rules of whoever received it (RFC 6455 7.4.1).
const POLICY_VIOLATION: u16 = 1008;

type Up = WriteHalf<TokioIo<Upgraded>>;

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
            up = up::up(&self, &mut from_client, &mut to_server) => up,
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

    /// What the server says: masked where it could be a secret.
    async fn down(&self, from: &mut BufReader<ReadHalf<TokioIo<Upgraded>>>, to: &mut Up) -> io::Result<()> {
        let mut message = None;
        while let Some(head) = Head::read(from).await? {
            if head.key.is_some() {
                return Err(io::Error::other("a server's frame with a mask"));
            }
            let force = self.session.force(self.terms.lead.as_ref());
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

impl Warden for Socket {
    fn scanner(&self) -> Scanner {
        self.session.force(self.terms.lead.as_ref()).injector.scanner()
    }

    fn fill(&self, kind: FrameKind, text: &[u8]) -> Result<Frame, Refusal> {
        let force = self.session.force(self.terms.lead.as_ref());
        let filled = force.injector.inject_frame(self.terms.destination(), kind, text)?;
        if filled.payload.is_some() {
            *lock(&self.spoken) = force;
        }
        Ok(filled)
    }

    async fn record(&self, secrets: &[String]) -> bool {
        let (session, about) = (&self.session, self.terms.asked.about(self.session.to));
        // Its passage is settled at once: that of the connection counts the bytes, this one only says which secrets were used.
        let recorded = session.gate.allow_message(&session.room, &about, secrets).await.is_ok();
        if recorded {
            self.used.send_modify(|used| used.extend(secrets.iter().cloned()));
        }
        recorded
    }

    fn sent(&self, bytes: usize) {
        self.passage.sent(bytes);
    }
}

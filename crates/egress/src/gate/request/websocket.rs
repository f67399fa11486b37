//! Websockets (RFC 6455): secrets in the first message of the client, none in later ones, and none of them in what comes back.

mod head;
pub(super) mod up;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ringfence_model::net::DenialReason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf};

use self::head::Head;
use self::up::{Ended, Warden};
use super::Session;
use super::shape::Asked;
use crate::gate::record::Passage;
use crate::gate::room::Force;
use crate::secret::{Destination, Frame, FrameKind, Refusal, Scanner};

/// Bytes of one frame of an answer that is masked. A longer one ends the connection.
const MASKED_BYTES_MAX: u64 = 4 << 20;

/// What moves the messages of one websocket.
pub(super) struct Socket {
    pub(super) session: Arc<Session>,
    pub(super) asked: Asked,
    pub(super) passage: Arc<Passage>,
}

impl Socket {
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
            () = self.disallowed() => Err(Ended::Refused(DenialReason::PolicyChanged, None)),
        };
        let room = &self.session.room;
        match ended {
            Ok(()) => {}
            Err(Ended::Broken(error)) => tracing::debug!(sandbox = %room.id, %error, "a websocket broke"),
            Err(Ended::Refused(reason, message)) => {
                let about = self.asked.about(self.session.to);
                self.session.gate.deny_because(room, &about, reason, message).await;
            }
        }
    }

    fn destination(&self) -> Destination<'_> {
        let host = self.asked.host.as_ref().map_or("", |host| host.as_str());
        Destination { host, port: self.session.to.port(), secure: self.session.name.is_some() }
    }

    /// Returns when what is in force no longer lets the request through that it began with.
    async fn disallowed(&self) {
        let mut watch = self.session.room.watch();
        loop {
            let force = watch.borrow_and_update().clone();
            let port = self.session.to.port();
            let allowed =
                self.asked.host.as_ref().is_none_or(|host| {
                    force.rulebook.request(host, port, &self.asked.method, &self.asked.path).is_ok()
                });
            if !allowed || watch.changed().await.is_err() {
                return;
            }
        }
    }

    /// What the server says: masked where it could be a secret.
    async fn down(
        &self,
        from: &mut BufReader<ReadHalf<TokioIo<Upgraded>>>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while let Some(head) = Head::read(from).await? {
            if head.key.is_some() {
                return Err(io::Error::other("a server's frame with a mask"));
            }
            let force = self.session.room.force();
            match self.is_bound(&force) {
                true => self.masked(&force, &head, from, to).await?,
                false => {
                    to.write_all(&head.raw).await?;
                    let copied = tokio::io::copy(&mut (&mut *from).take(head.length), to).await?;
                    if copied < head.length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
            to.flush().await?;
            self.passage.received(usize::try_from(head.length).unwrap_or(usize::MAX));
        }
        to.shutdown().await
    }

    fn is_bound(&self, force: &Force) -> bool {
        let to = self.destination();
        force.is_bound(to.host, to.port)
    }

    async fn masked(
        &self,
        force: &Force,
        head: &Head,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        if head.length > MASKED_BYTES_MAX {
            return Err(io::Error::other("a frame too long to be masked"));
        }
        let mut payload = Vec::new();
        from.take(head.length).read_to_end(&mut payload).await?;
        if payload.len() as u64 != head.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let payload = force.injector.mask().whole(Bytes::from(payload));
        let mut frame = Vec::with_capacity(payload.len() + 10);
        Head::write(&mut frame, head.fin, head.opcode, payload.len() as u64, None);
        frame.extend_from_slice(&payload);
        to.write_all(&frame).await
    }
}

impl Warden for Socket {
    fn scanner(&self) -> Scanner {
        self.session.room.force().injector.scanner()
    }

    fn fill(&self, kind: FrameKind, text: &[u8]) -> Result<Frame, Refusal> {
        self.session.room.force().injector.inject_frame(self.destination(), kind, text)
    }

    async fn record(&self, secrets: &[String]) -> bool {
        let (session, about) = (&self.session, self.asked.about(self.session.to));
        // Its passage is settled at once: that of the connection counts the bytes, this one only says which secrets were used.
        session.gate.allow_message(&session.room, &about, secrets).await.is_ok()
    }

    fn sent(&self, bytes: usize) {
        self.passage.sent(bytes);
    }
}

//! Connections whose bytes go through as they are.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ringfence_model::net::{DenialReason, Verdict};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::admit::Pass;
use super::limits::lock;
use super::record::{About, Passage};
use super::room::Room;
use super::shell::reset;
use super::{Gate, descriptors};
use crate::tls::prefixed::Prefixed;
use crate::tls::sniff::{self, Kind};

/// Longest time for a connection to come to be.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Longest time without a byte after one side said that it is done. Before that a connection may be silent for as long as it
/// likes: whether the other side is there at all is asked by TCP itself.
const IDLE_TIME: Duration = Duration::from_secs(600);
/// A host that said nothing for so long is asked whether it is there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// Then so often, and so many times.
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 6;
/// Longest time that a host may leave what was sent to it unacknowledged.
const UNHEARD_MS: u32 = 180_000;

/// Why a connection ended before its ends were done.
enum Ended {
    Broken(io::Error),
    Idle,
    Denied(DenialReason),
}

/// Connects to where it was admitted to, and copies until one side is done, idle, or no longer allowed.
pub(super) async fn run(gate: &Arc<Gate>, room: &Room, mut pass: Pass, stream: Prefixed<TcpStream>) {
    let upstream = match connect(gate, &pass).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::debug!(sandbox = %room.id, to = %pass.to, %error, "a connection upstream did not come to be");
            return reset(stream.get_ref());
        }
    };
    let heard = Arc::new(Heard::default());
    let mut upstream = Counted { inner: upstream, passage: pass.passage.clone(), heard: heard.clone() };
    let mut stream = Opening { inner: stream, unheard: pass.silent, heard: heard.clone() };
    let ended = tokio::select! {
        copied = copy_bidirectional(&mut stream, &mut upstream) => match copied {
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ended::Denied(DenialReason::NotInspectable),
            Err(error) => Ended::Broken(error),
        },
        () = idle(&heard) => Ended::Idle,
        () = disallowed(&mut pass) => Ended::Denied(DenialReason::PolicyChanged),
    };
    match ended {
        Ended::Denied(reason) => {
            let about = About { protocol: pass.protocol, host: pass.host.as_ref(), to: Some(pass.to), request: None };
            gate.deny(room, &about, reason).await;
        }
        Ended::Broken(error) => tracing::debug!(sandbox = %room.id, to = %pass.to, %error, "a connection broke"),
        Ended::Idle => tracing::debug!(sandbox = %room.id, to = %pass.to, "a connection was idle for too long"),
    }
    reset(stream.inner.get_ref());
    reset(&upstream.inner);
}

async fn connect(gate: &Gate, pass: &Pass) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT_TIME, TcpStream::connect(gate.leads_to(pass.to))).await??;
    descriptors::spare(&stream)?;
    prepare(&stream)?;
    Ok(stream)
}

/// Sets a connection upstream up: what is written goes at once, and a host that is gone without a word is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNHEARD_MS)?;
    Ok(())
}

/// When there was a byte last, and whether one side is done.
struct Heard {
    last: Mutex<Instant>,
    half: watch::Sender<bool>,
}

impl Default for Heard {
    fn default() -> Self {
        Self { last: Mutex::new(Instant::now()), half: watch::Sender::new(false) }
    }
}

impl Heard {
    fn now(&self) {
        *lock(&self.last) = Instant::now();
    }

    fn end(&self) {
        self.now();
        self.half.send_replace(true);
    }
}

async fn idle(heard: &Heard) {
    if heard.half.subscribe().wait_for(|half| *half).await.is_err() {
        return;
    }
    loop {
        let end = *lock(&heard.last) + IDLE_TIME;
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// Returns when what is in force no longer lets these bytes through.
async fn disallowed(pass: &mut Pass) {
    loop {
        if pass.watch.changed().await.is_err() {
            return;
        }
        let force = pass.watch.borrow_and_update().clone();
        let verdict = force.rulebook.connect(pass.host.as_ref(), pass.to.port());
        if !matches!(verdict, Verdict::Pass { .. }) {
            return;
        }
    }
}

/// Tells what passes.
struct Counted<S> {
    inner: S,
    passage: Arc<Passage>,
    heard: Arc<Heard>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, out))?;
        let read = out.filled().len() - before;
        self.passage.received(read);
        if read == 0 {
            self.heard.end()
        } else {
            self.heard.now()
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.passage.sent(written);
        self.heard.now();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The sandbox's side. One that was silent, and so was taken for a protocol in which the server speaks first, must not begin
/// with TLS or HTTP after all: nobody has looked at the names in there.
struct Opening {
    inner: Prefixed<TcpStream>,
    unheard: bool,
    heard: Arc<Heard>,
}

impl AsyncRead for Opening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, out))?;
        let new = out.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            self.heard.end();
        }
        if self.unheard && !new.is_empty() {
            if sniff::classify(new) != Some(Kind::Other) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "not what silence stood for")));
            }
            self.unheard = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

//! Connections whose bytes go through as they are.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ringfence_model::net::{DenialReason, Verdict};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Gate;
use super::admit::Pass;
use super::limits::lock;
use super::record::{About, Passage};
use super::room::Room;
use super::shell::reset;
use crate::tls::prefixed::Prefixed;
use crate::tls::sniff::{self, Kind};

/// Longest time for a connection to come to be.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Longest time without a byte in either direction.
const IDLE_TIME: Duration = Duration::from_secs(600);

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
    let heard = Arc::new(Mutex::new(Instant::now()));
    let mut upstream = Counted { inner: upstream, passage: pass.passage.clone(), heard: heard.clone() };
    let mut stream = Opening { inner: stream, unheard: pass.silent };
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
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn idle(heard: &Mutex<Instant>) {
    loop {
        let end = *lock(heard) + IDLE_TIME;
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
    heard: Arc<Mutex<Instant>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, out))?;
        self.passage.received(out.filled().len() - before);
        *lock(&self.heard) = Instant::now();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.passage.sent(written);
        *lock(&self.heard) = Instant::now();
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
}

impl AsyncRead for Opening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, out))?;
        let new = out.filled().get(before..).unwrap_or_default();
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

//! Connections to the daemon's Unix socket, kept open between requests.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Uri,
    body::Bytes,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::UnixStream;

use crate::serve::HEAD_TIMEOUT;

/// Time after which an unused connection is not used again. Well before the daemon closes it: a program whose thread was busy meanwhile has
/// not seen that, and would send its request to nobody.
const IDLE: Duration = Duration::from_secs(10);
const _: () = assert!(IDLE.as_secs() * 2 <= HEAD_TIMEOUT.as_secs(), "the daemon closes what the client still uses");
/// Time for a connection to be accepted: the daemon is here, or it hangs.
const CONNECT: Duration = Duration::from_secs(5);

/// What is sent: a text, or a file piece by piece.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A client that connects to the socket at this path.
pub(super) fn open(socket: &Path) -> legacy::Client<Connector, Outgoing> {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(Connector(Arc::new(socket.to_owned())))
}

/// Whatever the address, connects to one socket.
#[derive(Clone)]
pub(super) struct Connector(Arc<PathBuf>);

impl tower::Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move {
            let connecting = tokio::time::timeout(CONNECT, UnixStream::connect(path.as_path()));
            let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(Socket(TokioIo::new(stream)))
        })
    }
}

/// A Unix stream in the shape that the pool wants.
pub(super) struct Socket(TokioIo<UnixStream>);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

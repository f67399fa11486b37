//! A stream that ends when something else does, or when nothing has passed for long.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Nothing that is still wanted is silent for so long; a sandbox may be paused for a while.
const IDLE: Duration = Duration::from_secs(3600);

/// A stream on a leash. It is polled by one task.
pub(super) struct Leashed<S> {
    stream: S,
    cut: BoxFuture<'static, ()>,
    is_cut: bool,
    idle: Pin<Box<Sleep>>,
    last: Instant,
}

impl<S> Leashed<S> {
    /// Both ways fail once `cut` has come.
    pub(super) fn new(stream: S, cut: BoxFuture<'static, ()>) -> Self {
        let last = Instant::now();
        Self { stream, cut, is_cut: false, idle: Box::pin(sleep_until(last + IDLE)), last }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_cut && self.cut.as_mut().poll(cx).is_ready() {
            self.is_cut = true;
        }
        if self.is_cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        while self.idle.as_mut().poll(cx).is_ready() {
            let end = self.last + IDLE;
            if end <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.idle.as_mut().reset(end);
        }
        Ok(())
    }

    fn note<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.last = Instant::now();
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Leashed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Leashed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_its_leash() {
        let (near, mut far) = duplex(64);
        let (cut, is_cut) = oneshot::channel::<()>();
        let mut near = Leashed::new(near, Box::pin(async move { drop(is_cut.await) }));
        far.write_all(b"a").await.expect("room");
        assert_eq!(near.read_u8().await.expect("it lives"), b'a');
        let read = tokio::spawn(async move {
            let error = near.read_u8().await.expect_err("it is cut");
            (error.kind(), near.write_all(b"b").await.expect_err("it is cut").kind())
        });
        cut.send(()).expect("it waits");
        let kinds = read.await.expect("it ends");
        assert_eq!(kinds, (io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionReset));
    }
}

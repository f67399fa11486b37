//! The descriptor that is kept for saying that there are no more.

use std::{convert::Infallible, fs::File, io, time::Duration};

use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringfence_model::{ApiError, Code};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::rest::Refused;

/// What a listener failed with for want of descriptors: `EMFILE` and `ENFILE`, accept(2).
const WANT: [i32; 2] = [24, 23];
/// How long whoever is refused may take: nobody else is accepted meanwhile.
const TIME: Duration = Duration::from_secs(1);
/// After a failure another attempt at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Without it a client would wait in the kernel's queue until it gave up, and would never be told why.
pub(super) struct Spare(Option<File>);

impl Spare {
    pub(super) fn new() -> Self {
        Self(Self::take())
    }

    fn take() -> Option<File> {
        File::open("/dev/null").ok()
    }

    /// After an accept that failed. For want of descriptors, the next connection is given the one that is kept, and a refusal; then it is
    /// kept again.
    pub(super) async fn failed<S>(&mut self, error: &io::Error, accept: impl Future<Output = io::Result<S>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tracing::warn!(%error, "a connection was not accepted");
        if error.raw_os_error().is_some_and(|errno| WANT.contains(&errno)) {
            // Another thread may be faster than this connection, or than the new one that is kept: then the next failure tries again.
            if self.0.take().is_some() {
                let refused = async { refuse(accept.await?).await.map_err(io::Error::other) };
                if let Ok(Err(error)) = tokio::time::timeout(TIME, refused).await {
                    tracing::debug!(%error, "a connection was not told that there are no descriptors");
                }
            }
            self.0 = Self::take();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Answers one request, whatever it is.
async fn refuse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<()> {
    let service = hyper::service::service_fn(|_| async {
        let error = ApiError::new(
            Code::InsufficientResources,
            "the daemon has no file descriptors left for another connection; close some, delete sandboxes, or start it with a \
             higher limit (`LimitNOFILE=` in its unit, `ulimit -n` in a shell), and try again",
        );
        Ok::<_, Infallible>(Refused(error).into_response())
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn whoever_comes_without_descriptors_is_told_so_and_the_next_one_too() {
        let mut spare = Spare::new();
        for _ in 0..2 {
            let (mut client, server) = tokio::io::duplex(4096);
            client.write_all(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
            spare.failed(&io::Error::from_raw_os_error(WANT[0]), async { Ok(server) }).await;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("it is closed after the answer");
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "), "{answer}");
            assert!(answer.contains("INSUFFICIENT_RESOURCES") && answer.contains("LimitNOFILE="), "{answer}");
            assert!(spare.0.is_some(), "one is kept again");
        }
    }

    #[tokio::test]
    async fn another_failure_accepts_nobody() {
        let mut spare = Spare::new();
        let accept = async { panic!("nobody is to be accepted") };
        spare.failed::<tokio::io::DuplexStream>(&io::ErrorKind::ConnectionAborted.into(), accept).await;
        assert!(spare.0.is_some());
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_keeps_it_for_a_second_only() {
        let mut spare = Spare::new();
        let (_client, server) = tokio::io::duplex(4096);
        let begin = std::time::Instant::now();
        spare.failed(&io::Error::from_raw_os_error(WANT[1]), async { Ok(server) }).await;
        assert!(begin.elapsed() < 10 * TIME, "{:?}", begin.elapsed());
        assert!(spare.0.is_some());
    }
}

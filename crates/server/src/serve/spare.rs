//! The descriptors that are kept for saying that there are no more.

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

/// How many are kept. One is enough for one connection after the other, but another thread may be faster than the connection for which it
/// was given up, or than the new one in its place.
const KEPT: usize = 4;

/// Without them a client would wait in the kernel's queue until it gave up, and would never be told why.
pub(super) struct Spare {
    kept: Vec<File>,
    /// Gives one more, as long as there are any.
    another: Box<dyn FnMut() -> Option<File> + Send>,
}

impl Spare {
    pub(super) fn new() -> Self {
        Self::of(|| File::open("/dev/null").ok())
    }

    fn of(another: impl FnMut() -> Option<File> + Send + 'static) -> Self {
        let mut spare = Self { kept: Vec::new(), another: Box::new(another) };
        spare.fill();
        spare
    }

    /// Whether all are kept again.
    fn fill(&mut self) -> bool {
        while self.kept.len() < KEPT {
            let Some(one) = (self.another)() else { return false };
            self.kept.push(one);
        }
        true
    }

    /// After an accept that failed. For want of descriptors, the next connection is given one that is kept, and a refusal; then it is kept
    /// again. Where others were given back meanwhile, that connection is answered, to be served: accept(2) fails for want of them before
    /// anybody is there to be accepted.
    pub(super) async fn failed<S>(
        &mut self,
        error: &io::Error,
        accept: impl Future<Output = io::Result<S>>,
    ) -> Option<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tracing::warn!(%error, "a connection was not accepted");
        if error.raw_os_error().is_some_and(|errno| WANT.contains(&errno)) {
            if self.kept.pop().is_some()
                && let Ok(Ok(stream)) = tokio::time::timeout(TIME, accept).await
            {
                if self.fill() {
                    return Some(stream);
                }
                if let Ok(Err(error)) = tokio::time::timeout(TIME, refuse(stream)).await {
                    tracing::debug!(%error, "a connection was not told that there are no descriptors");
                }
            }
            self.fill();
        }
        tokio::time::sleep(PAUSE).await;
        None
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

    /// As many as are kept, and after that what `later` says, one answer after the other.
    fn spare(later: &'static [bool]) -> Spare {
        let mut later = later.iter();
        let mut first = KEPT;
        Spare::of(move || {
            let is_one = if first > 0 { true } else { *later.next().expect("nobody asks for more") };
            first = first.saturating_sub(1);
            is_one.then(|| File::open("/dev/null").expect("the test has descriptors"))
        })
    }

    #[tokio::test]
    async fn whoever_comes_without_descriptors_is_told_so_and_the_next_one_too() {
        // None while the connection has it, and one when it is over.
        let mut spare = spare(&[false, true, false, true]);
        for _ in 0..2 {
            let (mut client, server) = tokio::io::duplex(4096);
            client.write_all(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
            let served = spare.failed(&io::Error::from_raw_os_error(WANT[0]), async { Ok(server) }).await;
            assert!(served.is_none());
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("it is closed after the answer");
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "), "{answer}");
            assert!(answer.contains("INSUFFICIENT_RESOURCES") && answer.contains("LimitNOFILE="), "{answer}");
            assert_eq!(spare.kept.len(), KEPT, "it is kept again");
        }
    }

    #[tokio::test]
    async fn whoever_comes_when_there_are_some_again_is_served() {
        let mut spare = spare(&[true]);
        let (_client, server) = tokio::io::duplex(4096);
        let served = spare.failed(&io::Error::from_raw_os_error(WANT[0]), async { Ok(server) }).await;
        assert!(served.is_some());
        assert_eq!(spare.kept.len(), KEPT);
    }

    #[tokio::test]
    async fn another_failure_accepts_nobody() {
        let mut spare = spare(&[]);
        let accept = async { panic!("nobody is to be accepted") };
        let served = spare.failed::<tokio::io::DuplexStream>(&io::ErrorKind::ConnectionAborted.into(), accept).await;
        assert!(served.is_none());
        assert_eq!(spare.kept.len(), KEPT);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_keeps_it_for_a_second_only() {
        let mut spare = spare(&[false, true]);
        let (_client, server) = tokio::io::duplex(4096);
        let begin = std::time::Instant::now();
        spare.failed(&io::Error::from_raw_os_error(WANT[1]), async { Ok(server) }).await;
        assert!(begin.elapsed() < 10 * TIME, "{:?}", begin.elapsed());
        assert_eq!(spare.kept.len(), KEPT);
    }
}

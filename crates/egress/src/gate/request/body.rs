//! Bodies on their way: what goes up is searched for placeholders, what comes down is masked, and both are counted.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::HeaderMap;
use ringfence_model::net::{Denial, DenialReason};

use super::leash::{Leash, Terms};
use super::signed;
use crate::cache::body::Filling;
use crate::gate::record::Passage;
use crate::gate::room::Force;
use crate::secret::{Echo, Mask, Scanner};

/// Why a body broke.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub(super) type Answer = UnsyncBoxBody<Bytes, BodyError>;

/// A placeholder stood in a body, or it is no longer let through.
#[derive(Debug, thiserror::Error)]
#[error("the gate refused the body")]
struct Refused;

/// Where the body of a request comes from.
pub(super) enum Source {
    /// As it comes from the program.
    Stream(Incoming),
    /// It is there: it was signed, or could have been.
    Whole(Bytes),
}

impl Body for Source {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Self::Whole(bytes) => {
                let all = std::mem::take(bytes);
                Poll::Ready((!all.is_empty()).then(|| Ok(Frame::data(all))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(stream) => stream.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The body of a request.
pub(super) struct Sent {
    inner: Source,
    scanner: Scanner,
    passage: Arc<Passage>,
    terms: Option<Terms>,
    /// None for a body that is empty.
    leash: Option<Leash>,
    refusing: Option<Pin<Box<dyn Future<Output = Denial> + Send>>>,
    /// Where whoever sends the request finds that it refused itself.
    refused: Arc<OnceLock<Denial>>,
}

impl Sent {
    pub(super) fn new(
        inner: Source,
        scanner: Scanner,
        passage: Arc<Passage>,
        terms: Terms,
        refused: Arc<OnceLock<Denial>>,
    ) -> Self {
        let leash = (!inner.is_end_stream()).then(|| Leash::new(terms.clone()));
        Self { inner, scanner, passage, terms: Some(terms), leash, refusing: None, refused }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(refusing) = &mut self.refusing {
                // Told before the program can hear of it.
                let denial = ready!(refusing.as_mut().poll(cx));
                self.refusing = None;
                let _ = self.refused.set(denial);
            }
            if let Some(denial) = self.leash.as_mut().and_then(|leash| leash.poll(cx)) {
                self.leash = None;
                let _ = self.refused.set(denial);
            }
            if self.refused.get().is_some() {
                return Poll::Ready(Some(Err(Refused.into())));
            }
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            // Trailers of requests are of no use to anybody but who wants to hide something.
            let Ok(data) = frame.into_data() else { continue };
            match self.scanner.feed(&data).map(str::to_owned) {
                None => {
                    self.passage.sent(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(secret) => match self.terms.take() {
                    Some(terms) => self.refusing = Some(Box::pin(misplaced(terms, secret))),
                    None => return Poll::Ready(Some(Err(Refused.into()))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

async fn misplaced(terms: Terms, secret: String) -> Denial {
    let message = signed::in_body(&secret);
    terms.deny(DenialReason::PlaceholderMisplaced, Some(message)).await
}

/// What hides secrets in an answer.
pub(super) struct Masking {
    /// One after the other.
    pub(super) masks: Vec<Mask>,
    pub(super) echo: Option<Echo>,
}

/// The body of an answer. It holds its passage until the last byte.
pub(super) struct Masked {
    inner: Incoming,
    /// One after the other.
    masks: Vec<Mask>,
    echo: Option<Echo>,
    masking: bool,
    filling: Option<Filling>,
    trailers: Option<HeaderMap>,
    force: Arc<Force>,
    passage: Arc<Passage>,
    leash: Leash,
    refused: bool,
}

impl Masked {
    /// `filling` keeps the body as it comes; what is kept is never masked.
    pub(super) fn new(
        inner: Incoming,
        masking: Masking,
        filling: Option<Filling>,
        force: Arc<Force>,
        passage: Arc<Passage>,
        leash: Leash,
    ) -> Self {
        let Masking { masks, echo } = masking;
        let masking = !masks.is_empty();
        Self { inner, masking, masks, echo, filling, trailers: None, force, passage, leash, refused: false }
    }

    /// The body came to its end.
    fn is_whole(&mut self) {
        if let Some(filling) = self.filling.take() {
            filling.done();
        }
    }

    /// What the masks held back.
    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.masks.drain(..).fold(Bytes::new(), |rest, mask| mask.whole(rest));
        (!rest.is_empty()).then_some(rest)
    }
}

impl Body for Masked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.refused || self.leash.poll(cx).is_some() {
            self.refused = true;
            return Poll::Ready(Some(Err(Refused.into())));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)).transpose()? else {
                self.is_whole();
                return Poll::Ready(self.rest().map(|rest| Ok(Frame::data(rest))));
            };
            match frame.into_data() {
                Ok(data) => {
                    self.passage.received(data.len());
                    if let Some(filling) = &mut self.filling {
                        filling.feed(&data);
                    }
                    // With a known length nobody asks for the end.
                    if self.inner.is_end_stream() {
                        self.is_whole();
                    }
                    let data = self.masks.iter_mut().fold(data, |data, mask| mask.feed(data));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(frame) => {
                    let Ok(mut trailers) = frame.into_trailers() else { continue };
                    if let Some(echo) = &self.echo {
                        echo.headers(&mut trailers);
                    }
                    if self.masking {
                        self.force.injector.mask_headers(&mut trailers);
                    }
                    let Some(rest) = self.rest() else { return Poll::Ready(Some(Ok(Frame::trailers(trailers)))) };
                    self.trailers = Some(trailers);
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.masks.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.masking { SizeHint::default() } else { self.inner.size_hint() }
    }
}

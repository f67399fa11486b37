//! Bodies on their way: what goes up is searched for placeholders, what comes down is masked, and both are counted.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::HeaderMap;
use ringfence_model::net::Denial;

use super::Refusing;
use crate::cache::body::Filling;
use crate::gate::record::Passage;
use crate::gate::room::Force;
use crate::secret::{Mask, Scanner};

/// Why a body broke.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub(super) type Answer = UnsyncBoxBody<Bytes, BodyError>;

/// A placeholder stood in a body.
#[derive(Debug, thiserror::Error)]
#[error("the body carries a placeholder")]
struct Misplaced;

/// The body of a request.
pub(super) struct Sent {
    inner: Incoming,
    scanner: Scanner,
    passage: Arc<Passage>,
    about: Option<Refusing>,
    refusing: Option<Pin<Box<dyn Future<Output = Denial> + Send>>>,
    /// Where whoever sends the request finds that it refused itself.
    refused: Arc<OnceLock<Denial>>,
}

impl Sent {
    pub(super) fn new(
        inner: Incoming,
        scanner: Scanner,
        passage: Arc<Passage>,
        about: Refusing,
        refused: Arc<OnceLock<Denial>>,
    ) -> Self {
        Self { inner, scanner, passage, about: Some(about), refusing: None, refused }
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
            if self.refused.get().is_some() {
                return Poll::Ready(Some(Err(Misplaced.into())));
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
                Some(secret) => match self.about.take() {
                    Some(about) => self.refusing = Some(Box::pin(about.deny(secret))),
                    None => return Poll::Ready(Some(Err(Misplaced.into()))),
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

/// The body of an answer. It holds its passage until the last byte.
pub(super) struct Masked {
    inner: Incoming,
    mask: Option<Mask>,
    masking: bool,
    filling: Option<Filling>,
    trailers: Option<HeaderMap>,
    force: Arc<Force>,
    passage: Arc<Passage>,
}

impl Masked {
    /// `filling` keeps the body as it comes; what is kept is never masked.
    pub(super) fn new(
        inner: Incoming,
        mask: Option<Mask>,
        filling: Option<Filling>,
        force: Arc<Force>,
        passage: Arc<Passage>,
    ) -> Self {
        Self { inner, masking: mask.is_some(), mask, filling, trailers: None, force, passage }
    }

    /// The body came to its end.
    fn is_whole(&mut self) {
        if let Some(filling) = self.filling.take() {
            filling.done();
        }
    }

    /// What the mask held back.
    fn rest(&mut self) -> Option<Bytes> {
        self.mask.take().map(Mask::finish).filter(|rest| !rest.is_empty())
    }
}

impl Body for Masked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
                    let data = match &mut self.mask {
                        Some(mask) => mask.feed(data),
                        None => data,
                    };
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(frame) => {
                    let Ok(mut trailers) = frame.into_trailers() else { continue };
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
        self.inner.is_end_stream() && self.mask.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.masking { SizeHint::default() } else { self.inner.size_hint() }
    }
}

//! Requests to package registries: answered from what was kept, or sent in the gate's own words so that the answer can be kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::http::{HeaderValue, Response, StatusCode, Version, header, response};

use super::Session;
use super::body::{Answer, BodyError};
use super::shape::Asked;
use crate::cache::ask::{self, Wanted};
use crate::cache::body::{Filling, Reading};
use crate::cache::fresh;
use crate::cache::shelf::{Entry, Found, Shelf};
use crate::gate::now_ms;
use crate::gate::record::Passage;
use crate::gate::room::Force;

/// A request that is for the cache, and what is there for it.
pub(super) struct Kept {
    shelf: Shelf,
    wanted: Wanted,
    path: String,
    index_ms: u64,
    found: Option<Found>,
}

impl Session {
    /// Looks whether a request is for the cache. One that no rule allows is not looked up: it gets no further.
    pub(super) async fn look(&self, force: &Force, asked: &Asked, parts: &Parts, body: &Incoming) -> Option<Kept> {
        let host = asked.host.as_ref().filter(|_| self.name.is_some())?;
        let cache = &self.gate.cache;
        let shelf = cache.of(host, self.to.port())?;
        // Where a secret may go, answers are for whoever has it.
        if force.is_bound(host.as_str(), self.to.port()) || asked.websocket {
            return None;
        }
        let wanted = ask::read(host, self.to.port(), parts, !body.is_end_stream())?;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        force.rulebook.request(host, self.to.port(), parts.method.as_str(), target).ok()?;
        let found = shelf.find(&wanted.key).await;
        let path = parts.uri.path().to_owned();
        Some(Kept { shelf: shelf.clone(), wanted, path, index_ms: cache.index_ms, found })
    }
}

impl Kept {
    /// Whether nothing need go out.
    pub(super) fn is_answer(&self) -> bool {
        !self.wanted.reload && self.found.as_ref().is_some_and(|found| found.entry.is_fresh(now_ms()))
    }

    /// The answer that was kept.
    pub(super) fn answer(self, version: Version, passage: Arc<Passage>) -> Option<Response<Answer>> {
        let Self { shelf, wanted, found, .. } = self;
        let found = found?;
        let (mut head, ()) = Response::new(()).into_parts();
        head.version = version;
        head.headers = found.entry.headers();
        head.headers.insert(header::AGE, age(&found.entry));
        if fresh::client_has_it(&wanted, &head.headers) {
            head.status = StatusCode::NOT_MODIFIED;
            head.headers.remove(header::CONTENT_TYPE);
            head.headers.remove(header::CONTENT_ENCODING);
            passage.answered(head.status.as_u16());
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            return Some(Response::from_parts(head, body));
        }
        passage.answered(head.status.as_u16());
        let body = FromCache { reading: shelf.read(&wanted.key, found), passage };
        Some(Response::from_parts(head, body.boxed_unsync()))
    }

    /// Puts the gate's own words in place of the program's.
    pub(super) fn rewrite(&self, parts: &mut Parts) {
        let host = parts.headers.remove(header::HOST);
        parts.headers = self.wanted.headers.clone();
        if let Some(host) = host {
            parts.headers.insert(header::HOST, host);
        }
        if let Some(found) = &self.found {
            parts.headers.extend(fresh::conditions(&found.entry.headers()));
        }
    }

    /// What was kept is what the registry would answer: so it said.
    pub(super) async fn confirmed(mut self, head: &response::Parts) -> Option<Self> {
        let found = self.found.take()?;
        if let Some(fresh_ms) = fresh::fresh_ms(&self.path, &head.headers, self.index_ms) {
            let entry = self.shelf.refresh(found.entry, fresh_ms, now_ms()).await;
            self.found = Some(Found { entry, ..found });
        } else {
            self.found = Some(found);
        }
        Some(self)
    }

    /// Begins to keep an answer, if it may be kept. `head` is as it came.
    pub(super) fn fill(self, session: &Session, head: &response::Parts, body: &Incoming) -> Option<Filling> {
        let keep = fresh::keep(&self.wanted, &self.path, head.status, &head.headers, self.index_ms)?;
        let bytes = body.size_hint().exact();
        // The end of the connection is no end of a body: it may have been cut off.
        let has_end = bytes.is_some() || head.version == Version::HTTP_2 || is_chunked(head);
        let place = session.room.fillings.clone().try_acquire_owned().ok()?;
        has_end.then(|| self.shelf.fill(&self.wanted.key, keep, bytes, place))?
    }
}

fn is_chunked(head: &response::Parts) -> bool {
    head.headers.get(header::TRANSFER_ENCODING).is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

fn age(entry: &Entry) -> HeaderValue {
    (now_ms().saturating_sub(entry.asked_at_ms) / 1000).into()
}

/// The body of an answer that was kept. It holds its passage until the last byte.
struct FromCache {
    reading: Reading,
    passage: Arc<Passage>,
}

impl Body for FromCache {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(bytes) = ready!(self.reading.poll(cx)).transpose()? else { return Poll::Ready(None) };
        self.passage.received(bytes.len());
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.reading.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.reading.left)
    }
}

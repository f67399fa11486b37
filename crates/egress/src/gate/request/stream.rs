//! Streams that the gate serves itself: the handshake, admitted and recorded as any request.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::body::{Answer, Source};
use super::leash::Terms;
use super::shape::Asked;
use super::{Admitted, Session, Turned};
use crate::gate::feed::{Channels, Kind, Seat, wire};
use crate::gate::lead::{Lead, Way};
use crate::gate::limits::lock;
use crate::trade::Asks;

/// Which of the streams that the gate serves a request is for; none for all else.
///
/// Outside, what a market says comes by one connection for all. The exchange of this installation serves each sandbox by itself.
/// What becomes of orders is never told by a venue to a sandbox itself: an account has more orders than one sandbox's.
pub(super) fn kind(parts: &Parts, lead: &Lead, asks: Asks) -> Option<Result<Kind, Turned>> {
    match (asks, &lead.way) {
        (Asks::Updates, _) => Some(Ok(Kind::Updates)),
        (Asks::DataStream, Way::Outside(_)) => {
            let channels = Channels::of(parts.uri.path()).filter(|_| parts.uri.query().is_none());
            let unknown = || Turned::Upstream(format!("`{:.200}` is no stream of the venue", parts.uri.path()));
            Some(channels.map(Kind::Market).ok_or_else(unknown))
        }
        _ => None,
    }
}

impl Session {
    /// Lets a sandbox in to a stream.
    pub(super) async fn stream(
        &self,
        (parts, body): (Parts, Incoming),
        client: OnUpgrade,
        (asked, lead, kind): (&Asked, &Lead, Kind),
    ) -> Result<Response<Answer>, Turned> {
        let Some(accepted) = wire::accept(&parts.headers).filter(|_| asked.websocket) else {
            let why = Full::new(Bytes::from_static(b"this is a stream: it is spoken with by a websocket\n"));
            let mut response = Response::new(why.map_err(|never| match never {}).boxed_unsync());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(response);
        };
        let force = self.force(Some(lead));
        let source = Source::Stream(body);
        let Admitted { passage, secrets, .. } = self.admit(&force, (asked, Some(lead)), &parts, &source, false).await?;
        let terms = Terms {
            gate: self.gate.clone(),
            room: self.room.clone(),
            to: self.to,
            asked: asked.clone(),
            secure: self.name.is_some(),
            secrets,
            lead: Some(lead.clone()),
        };
        passage.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let seat = Seat::new(terms, passage, kind, &parts.headers);
        lock(&self.tasks).spawn(seat.run(client));
        let mut response = Response::new(Full::<Bytes>::default().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = accepted;
        Ok(response)
    }
}

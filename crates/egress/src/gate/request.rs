//! Requests of a connection that the gate sees into, phase after phase.

mod body;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod kept;
pub(in crate::gate) mod leash;
mod link;
mod shape;
pub(super) mod signed;
mod stream;
mod trade;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ringfence_model::net::{Denial, DenialReason, HostName, Protocol, Verdict};
use ringfence_model::trade::Refusal;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::body::{Answer, Masked, Masking, Sent, Source};
use self::kept::Kept;
use self::leash::{Leash, Terms};
use self::link::{Link, LinkError};
use self::shape::Asked;
use self::signed::{Plan, Unsigned};
use self::trade::json_answer;
use self::websocket::Socket;
use super::Gate;
use super::admit::Manner;
use super::connection::refuse;
use super::desk::put_chosen;
use super::lead::{self, Lead, Way};
use super::limits::lock;
use super::record::{About, Passage, rule_name};
use super::room::{Force, Room};
use crate::secret::{Destination, Echo};
use crate::tls::alert::Alert;
use crate::tls::prefixed::Prefixed;
use crate::tls::server::Alpn;
use crate::trade::Codec;

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest time for the head of a request to come, on a kept connection from the end of the answer before it. Ending one that
/// is kept would break the request which a client sends at that moment; servers of the Internet keep theirs for about as long.
const HEAD_TIME: Duration = Duration::from_secs(300);
/// Longest time for a handshake with the sandbox.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Requests of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 100;

/// One connection, whose requests are judged one by one.
struct Session {
    gate: Arc<Gate>,
    room: Arc<Room>,
    to: SocketAddr,
    /// The name that TLS was for; none in the clear.
    name: Option<HostName>,
    link: Link,
    /// The connection upstream for what the gate asks in its own words, by which nothing of the program's goes: a host that
    /// takes the end of one request for another one would answer that one in the place of what is asked next, and be kept.
    own: Link,
    /// What outlives a request: websockets.
    tasks: Mutex<JoinSet<()>>,
}

/// What was let through, and as what.
struct Admitted {
    passage: Arc<Passage>,
    /// That it is signed, and with which nonce.
    plan: Option<(Plan, Option<u64>)>,
    /// Names of the secrets that go out with it.
    secrets: Vec<String>,
}

/// Why a request gets no answer of the other side.
enum Turned {
    /// It was refused, and that was told.
    Denied(Box<Denial>),
    /// It was refused because of the other side's certificate, and that was told.
    Untrusted(Box<Denial>),
    /// A control of trading refused it, and that was told.
    Firewall(Box<Refusal>),
    /// The other side did not do its part.
    Upstream(String),
    /// The same of a venue, in whose words it is said.
    Venue(Codec, String),
    /// Nothing happens that is not on disk.
    Unrecorded,
}

/// Serves a connection in the clear.
pub(super) async fn plain(gate: &Arc<Gate>, room: &Arc<Room>, to: SocketAddr, stream: Prefixed<TcpStream>) {
    serve(session(gate, room, to, None, Alpn::Http1), stream, false).await;
}

/// Ends TLS for `host`, and serves what is inside.
pub(super) async fn intercepted(
    gate: &Arc<Gate>,
    room: &Arc<Room>,
    to: SocketAddr,
    host: HostName,
    stream: Prefixed<TcpStream>,
) {
    let config = match gate.interceptor.config(host.as_str(), Alpn::Both, SystemTime::now()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(sandbox = %room.id, %host, error = &error as &dyn std::error::Error, "there is no certificate");
            return refuse(stream, Manner::Alert(Alert::InternalError)).await;
        }
    };
    let stream = match timeout(HANDSHAKE_TIME, gate.interceptor.accept(config, stream)).await {
        Ok(Ok(stream)) => stream,
        // As when the program does not trust the gate's authority.
        Ok(Err(error)) => return tracing::debug!(sandbox = %room.id, %host, %error, "a handshake failed"),
        Err(_) => return tracing::debug!(sandbox = %room.id, %host, "a handshake took too long"),
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let alpn = if http2 { Alpn::Both } else { Alpn::Http1 };
    serve(session(gate, room, to, Some(host), alpn), stream, http2).await;
}

fn session(gate: &Arc<Gate>, room: &Arc<Room>, to: SocketAddr, name: Option<HostName>, alpn: Alpn) -> Arc<Session> {
    let link = || Link::new(to, name.clone(), alpn);
    let (link, own) = (link(), link());
    Arc::new(Session { gate: gate.clone(), room: room.clone(), to, name, link, own, tasks: Mutex::default() })
}

async fn serve<S>(session: Arc<Session>, stream: S, http2: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let served = session.clone();
    let service = service_fn(move |request| {
        let session = served.clone();
        async move { Ok::<_, Infallible>(session.answer(request).await) }
    });
    let stream = TokioIo::new(stream);
    let ended = if http2 {
        server2().serve_connection(stream, service).await
    } else {
        server1().serve_connection(stream, service).with_upgrades().await
    };
    if let Err(error) = ended {
        tracing::debug!(sandbox = %session.room.id, to = %session.to, %error, "a connection of HTTP ended");
    }
    let mut tasks = std::mem::take(&mut *lock(&session.tasks));
    while tasks.join_next().await.is_some() {}
}

/// What reads requests of HTTP/1.1.
fn server1() -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES_MAX);
    server
}

/// What reads requests of HTTP/2.
fn server2() -> http2::Builder<TokioExecutor> {
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEAD_BYTES_MAX as u32);
    server
}

impl Session {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let answer = match self.handle(request).await {
            Ok(response) => return response,
            Err(turned) => turned,
        };
        match answer {
            Turned::Denied(denial) => said(StatusCode::FORBIDDEN, denial.reason.code(), &denial.message, &denial.allow),
            Turned::Untrusted(denial) => said(StatusCode::BAD_GATEWAY, denial.reason.code(), &denial.message, ""),
            Turned::Firewall(refusal) => self.refused(&refusal),
            Turned::Upstream(why) => said(StatusCode::BAD_GATEWAY, "upstream_failed", &why, ""),
            Turned::Venue(codec, why) => json_answer(StatusCode::BAD_GATEWAY, codec.trouble(&why).to_string().into()),
            Turned::Unrecorded => said(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_recorded",
                "the gate could not write down the request, and did not send it",
                "",
            ),
        }
    }

    async fn handle(self: &Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Answer>, Turned> {
        let client = hyper::upgrade::on(&mut request);
        let (mut parts, body) = request.into_parts();
        // route and classify: for whom is it, and is it in a form that has one reading?
        let asked = match shape::read(&parts, self.name.as_ref(), self.to.port()) {
            Ok(asked) => asked,
            Err(reason) => return Err(self.deny(&parts, None, reason, None).await),
        };
        let version = parts.version;
        shape::strip(&mut parts, &asked, self.to.port(), self.name.is_some());
        let lead = match self.lead(&parts, &asked).await {
            Ok(lead) => lead,
            Err(turned) => return Err(turned),
        };
        if let Some(lead) = &lead {
            let route = self.route(&parts, &asked, lead).await?;
            if route.asks.is_judged() {
                // On the heap: other requests need not carry the room that this takes.
                let asks = route.asks;
                let answered = Box::pin(self.trade(parts, body, (&asked, lead, route))).await;
                if matches!(answered, Err(Turned::Firewall(_))) {
                    self.gate.counts.refused_early(lead.environment, asks);
                }
                return answered;
            }
            if let Some(kind) = stream::kind(&parts, lead, route.asks) {
                return self.stream((parts, body), client, (&asked, lead, kind?)).await;
            }
        }
        // gather: what may be signed is read whole first, because a signature covers it.
        let mut force = self.force(lead.as_ref());
        let (source, _place) = if signed::may_be(&force, self.destination(&asked, lead.as_ref()), &parts) {
            let place = self.room.gathering.acquire().await;
            let whole = match signed::gather(body).await {
                Ok(whole) => whole,
                Err(why) => return Err(self.unsigned(&parts, &asked, why).await),
            };
            force = self.force(lead.as_ref());
            (Source::Whole(whole), place.ok())
        } else {
            (Source::Stream(body), None)
        };
        // admit: what is in force now decides, and the decision is on disk.
        // What registries have answered is kept for all sandboxes; what is signed is nobody else's.
        let kept = match &source {
            Source::Stream(body) => self.look(&force, &asked, &parts, body).await,
            Source::Whole(_) => None,
        };
        let cached = kept.as_ref().is_some_and(Kept::is_answer);
        let Admitted { passage, plan, secrets } =
            self.admit(&force, (&asked, lead.as_ref()), &parts, &source, cached).await?;
        let kept = match kept {
            Some(kept) if cached => {
                let answer = kept.answer(version, passage);
                return answer.ok_or_else(|| Turned::Upstream("what was kept is gone".to_owned()));
            }
            kept => kept,
        };
        // inject: values stand where the placeholders did, and signatures where the client's own did.
        let (source, echo) = self.inject(&force, (&asked, lead.as_ref()), &mut parts, source, plan)?;
        if let Some(lead) = &lead {
            put_chosen(&self.room, lead, &mut parts.headers);
        }
        // forward: the body is searched as it goes.
        let refused = Arc::new(OnceLock::new());
        let terms = Terms {
            gate: self.gate.clone(),
            room: self.room.clone(),
            to: self.to,
            asked: asked.clone(),
            secure: self.name.is_some(),
            secrets,
            lead: lead.clone(),
        };
        let mut leash = Leash::new(terms.clone());
        let method = parts.method.clone();
        kept.iter().for_each(|kept| kept.rewrite(&mut parts));
        let body = Sent::new(source, force.injector.scanner(), passage.clone(), terms.clone(), refused.clone());
        let link = if kept.is_some() { &self.own } else { &self.link };
        let sent = tokio::select! {
            biased;
            sent = link.send(&self.gate, Request::from_parts(parts, body), asked.websocket, lead.as_ref()) => sent,
            denial = leash.pulled() => return Err(Turned::Denied(Box::new(denial))),
        };
        if let Some(denial) = refused.get() {
            return Err(Turned::Denied(Box::new(Denial::clone(denial))));
        }
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                let turned = self.failed(&asked, error).await;
                return Err(match (turned, &lead) {
                    (Turned::Upstream(why), Some(lead)) => Turned::Venue(lead.codec, why),
                    (turned, _) => turned,
                });
            }
        };
        // settle and record: the status now, the bytes when the last of them has gone.
        passage.answered(response.status().as_u16());
        let bound = asked.host.is_some() && {
            let to = self.destination(&asked, lead.as_ref());
            force.is_bound(to.host, to.port)
        };
        // Nor one to a request without a secret: it may tell what an earlier one brought.
        if bound && !response.body().is_end_stream() && shape::is_encoded(response.headers()) {
            let why = "the host compressed its answer, or gave a part of it, although it was asked not to";
            return Err(Turned::Upstream(why.to_owned()));
        }
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switched && !asked.websocket {
            return Err(Turned::Upstream("the host changed to a protocol that it was not asked for".to_owned()));
        }
        let server = hyper::upgrade::on(&mut response);
        let (mut head, body) = response.into_parts();
        let mut filling = None;
        match kept {
            Some(kept) if head.status == StatusCode::NOT_MODIFIED => {
                let kept = kept.confirmed(&head).await;
                let answer = kept.and_then(|kept| kept.answer(version, passage));
                return answer.ok_or_else(|| Turned::Upstream("the host confirmed what it was not asked".to_owned()));
            }
            Some(kept) => filling = kept.fill(self, &head, &body),
            None => {}
        }
        shape::strip_answer(&mut head, version);
        let masks = [echo.as_ref().map(Echo::mask), bound.then(|| force.injector.mask())].into_iter().flatten();
        let is_text = shape::is_text(&head.headers);
        let masks: Vec<_> = masks.map(|mask| if is_text { mask } else { mask.of_equal_length() }).collect();
        if let Some(echo) = &echo {
            echo.headers(&mut head.headers);
        }
        if bound {
            force.injector.mask_headers(&mut head.headers);
            // Of an answer without a body it is a fact about another one, whose length would be another as well.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        tracing::debug!(sandbox = %self.room.id, to = %self.to, %method, websocket = asked.websocket, status = head.status.as_u16(), "answered");
        if switched {
            shape::keep_upgrade(&mut head.headers);
            let socket = Socket::new(self.clone(), terms, force.clone(), passage.clone());
            // The server's side hears of it from here on, the client's once this answer is written.
            lock(&self.tasks).spawn(socket.run(client, server));
        }
        let masked = Masked::new(body, Masking { masks, echo }, filling, force, passage, leash);
        Ok(Response::from_parts(head, masked.boxed_unsync()))
    }

    /// What is in force. Nothing of a secret goes to the exchange of this installation, so that placeholders mean nothing there.
    fn force(&self, lead: Option<&Lead>) -> Arc<Force> {
        let force = self.room.force();
        match lead.is_some_and(|lead| lead.way == Way::Exchange) {
            true => Arc::new(force.without_secrets()),
            false => force,
        }
    }

    /// Where a venue's name leads, in which a request has to be known to the venue's file.
    async fn lead(&self, parts: &Parts, asked: &Asked) -> Result<Option<Lead>, Turned> {
        let Some(host) = &asked.host else { return Ok(None) };
        let Some(lead) = self.gate.leads.lead(host) else { return Ok(None) };
        if self.name.is_none() || self.to.port() != lead::PORT {
            return Err(self.deny(parts, Some(asked), DenialReason::PortNotAllowed, None).await);
        }
        match lead {
            Ok(lead) => Ok(Some(lead)),
            Err(refusal) => Err(self.firewall(parts, asked, refusal).await),
        }
    }

    /// A refusal of the controls, in the words of the venue.
    async fn firewall(&self, parts: &Parts, asked: &Asked, refusal: Refusal) -> Turned {
        let denied = self.deny(parts, Some(asked), DenialReason::TradeRefused, Some(refusal.to_string())).await;
        match denied {
            Turned::Denied(_) => Turned::Firewall(Box::new(refusal)),
            other => other,
        }
    }

    fn destination<'a>(&self, asked: &'a Asked, lead: Option<&'a Lead>) -> Destination<'a> {
        let host = lead.and_then(Lead::outside).or(asked.host.as_ref()).map_or("", HostName::as_str);
        Destination { host, port: self.to.port(), secure: self.name.is_some() }
    }

    async fn admit(
        &self,
        force: &Force,
        (asked, lead): (&Asked, Option<&Lead>),
        parts: &Parts,
        source: &Source,
        cached: bool,
    ) -> Result<Admitted, Turned> {
        let to = self.to;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let (rule, allowed) = match &asked.host {
            Some(host) => match force.rulebook.request(host, to.port(), parts.method.as_str(), target) {
                Ok(allowed) => (allowed.rule, allowed.secrets),
                Err(reason) => return Err(self.deny(parts, Some(asked), reason, None).await),
            },
            None => match force.rulebook.connect(None, to.port()) {
                Verdict::Pass { rule } => (rule, vec![]),
                Verdict::Inspect { .. } => {
                    return Err(self.deny(parts, None, DenialReason::NotInspectable, None).await);
                }
                Verdict::Refuse(reason) => return Err(self.deny(parts, None, reason, None).await),
            },
        };
        let address = match &asked.host {
            Some(host) if rule.is_some() || self.name.is_some() => self.gate.check_given(&self.room, host, to),
            host => self.gate.check_address(host.as_ref(), to),
        };
        if let Err(reason) = address {
            return Err(self.deny(parts, Some(asked), reason, None).await);
        }
        // Which secrets it asks for, and whether it can be signed, is a part of the decision, and is found without touching the
        // request.
        let destination = self.destination(asked, lead);
        let (plan, secrets) = match self.plan(force, destination, parts, source) {
            Ok(found) => found,
            Err(why) => return Err(self.unsigned(parts, asked, why).await),
        };
        if secrets.iter().any(|name| !allowed.contains(&name.as_str())) {
            return Err(self.deny(parts, Some(asked), DenialReason::PlaceholderMisplaced, None).await);
        }
        let rule = rule_name(&force.rulebook, rule);
        let path = parts.uri.path();
        let about = About { request: Some((parts.method.as_str(), path)), ..asked.about(to) };
        let signed = plan.as_ref().map(|plan| (plan.exchange, plan.nonce()));
        let allowed = self.gate.allow_signed(&self.room, &about, rule, &secrets, signed, cached).await;
        let (passage, nonce) = allowed.map_err(|error| {
            tracing::error!(sandbox = %self.room.id, %error, "a request could not be recorded, and is not sent");
            Turned::Unrecorded
        })?;
        Ok(Admitted { passage, plan: plan.map(|plan| (plan, nonce)), secrets })
    }

    /// Whether it is signed, and the names of the secrets that it is sent with.
    fn plan(
        &self,
        force: &Force,
        to: Destination<'_>,
        parts: &Parts,
        source: &Source,
    ) -> Result<(Option<Plan>, Vec<String>), Unsigned> {
        let mut trial = parts.clone();
        if let Source::Whole(body) = source {
            if let Some(plan) = signed::plan(force, to, parts, body)? {
                let nonce = plan.nonce().map(|(_, time)| time);
                let (injected, _) = plan.carry_out(force, to, &mut trial, body.clone(), nonce)?;
                return Ok((Some(plan), injected.secrets));
            }
            signed::misplaced(force.injector.scanner(), body)?;
        }
        Ok((None, force.injector.inject(to, &mut trial)?.secrets))
    }

    /// Puts the values in, and signs. What they are was decided with the passage. Says what the answer is not to repeat.
    fn inject(
        &self,
        force: &Force,
        (asked, lead): (&Asked, Option<&Lead>),
        parts: &mut Parts,
        source: Source,
        plan: Option<(Plan, Option<u64>)>,
    ) -> Result<(Source, Option<Echo>), Turned> {
        let to = self.destination(asked, lead);
        // The same injector found nothing to refuse in the same request a moment ago.
        match (source, plan) {
            (Source::Whole(body), Some((plan, nonce))) => {
                let carried = plan.carry_out(force, to, parts, body, nonce);
                let (_, signed) = carried.map_err(|_| Turned::Unrecorded)?;
                Ok((Source::Whole(signed.body), Some(Echo::new(signed.signature.as_bytes()))))
            }
            (source, _) => {
                force.injector.inject(to, parts).map_err(|_| Turned::Unrecorded)?;
                Ok((source, None))
            }
        }
    }

    async fn unsigned(&self, parts: &Parts, asked: &Asked, why: Unsigned) -> Turned {
        self.deny(parts, Some(asked), why.reason, Some(why.message)).await
    }

    async fn deny(
        &self,
        parts: &Parts,
        asked: Option<&Asked>,
        reason: DenialReason,
        message: Option<String>,
    ) -> Turned {
        let about = asked.map_or_else(
            || About { protocol: Protocol::Http, host: self.name.as_ref(), to: Some(self.to), request: None },
            |asked| asked.about(self.to),
        );
        let about = About { request: Some((parts.method.as_str(), parts.uri.path())), ..about };
        Turned::Denied(Box::new(self.gate.deny_because(&self.room, &about, reason, message).await))
    }

    async fn failed(&self, asked: &Asked, error: LinkError) -> Turned {
        tracing::debug!(sandbox = %self.room.id, to = %self.to, error = &error as &dyn std::error::Error, "upstream failed");
        if let LinkError::Untrusted(why) = &error {
            let message = Some(format!("{}: {why}", DenialReason::UpstreamUntrusted.sentence()));
            let about = asked.about(self.to);
            let denial = self.gate.deny_because(&self.room, &about, DenialReason::UpstreamUntrusted, message).await;
            return Turned::Untrusted(Box::new(denial));
        }
        Turned::Upstream(error.to_string())
    }
}

/// An answer of the gate's own.
fn said(status: StatusCode, code: &str, message: &str, allow: &str) -> Response<Answer> {
    let text = json!({ "error": { "code": code, "message": message, "allow": allow } }).to_string();
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_11;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

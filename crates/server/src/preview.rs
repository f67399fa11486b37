//! Previews: what a program serves on a port of its sandbox, at `http://PORT-SANDBOXID.localhost:…/` and below
//! `/preview/SANDBOXID/PORT/` of the daemon's own address.
//!
//! A request to such an address never comes to the API, and no other becomes a preview. Both sides are untrusted: what the
//! visitor shows to get in does not reach the program, and what the program answers must not act on anything but itself.
//! Below the path, where its pages would share an origin with the API and with those of other sandboxes, they are given none.

mod address;
mod credential;
mod forward;
mod leash;
mod page;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts},
    middleware::Next,
    response::Response,
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ringfence_engine::{
    Engine,
    previews::{Admission, Turned},
};
use ringfence_model::is_like_a_token;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{guard::Token, serve::Stop};
use address::{Address, Asked, Form};
use credential::Kind;
use forward::{Carried, Connection};
use leash::Leashed;

/// Requests and streams of all sandboxes at once. The listener takes twice as many connections, so that the API is always
/// reached.
const VISITS_MAX: usize = 512;

/// How long a program may take to begin its answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);

/// Bytes of the head of a program's answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Fields of that head.
const FIELDS_MAX: usize = 128;

/// What every visit has at hand.
#[derive(Clone)]
pub(crate) struct Previews {
    engine: Engine,
    /// Of the API: what must never come to a program.
    api: Token,
    stop: Stop,
    permits: Arc<Semaphore>,
}

impl Previews {
    pub(crate) fn new(engine: Engine, api: Token, stop: Stop) -> Self {
        Self { engine, api, stop, permits: Arc::new(Semaphore::new(VISITS_MAX)) }
    }
}

/// Before everything else: a request whose address is that of a preview goes there.
pub(crate) async fn intercept(State(previews): State<Previews>, request: Request, next: Next) -> Response {
    match address::of(request.uri(), request.headers()) {
        Asked::Other => next.run(request).await,
        Asked::Nonsense => page::page(
            StatusCode::NOT_FOUND,
            "a preview's address is /preview/SANDBOXID/PORT/, as `sandbox_status` and `ringfence preview` show it",
        ),
        Asked::Preview(address) => {
            let form = address.form;
            let mut response = previews.visit(address, request).await;
            if form == Form::Path {
                forward::take_the_origin_away(response.headers_mut());
            }
            response
        }
    }
}

impl Previews {
    async fn visit(&self, address: Address, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return page::page(StatusCode::METHOD_NOT_ALLOWED, "previews do not take CONNECT and TRACE");
        }
        if let Some(whole) = address.with_slash(&parts.uri) {
            return page::redirect(StatusCode::PERMANENT_REDIRECT, &whole);
        }
        // The tokens of projects are known by their form: nobody is told here whether one is valid.
        if credential::bearers(&parts.headers).any(|bearer| self.api.is(bearer) || is_like_a_token(bearer)) {
            return page::page(
                StatusCode::FORBIDDEN,
                "this is the token of the daemon's API, which a program in a sandbox must not see: previews have tokens of \
                 their own, which `sandbox_status` and `ringfence preview` show",
            );
        }
        let offered = credential::take(&mut parts, &address);
        let admitted = self.engine.admit_visit(&address.sandbox, address.port, offered.tokens()).await;
        let admission = match admitted {
            Ok(admission) => admission,
            Err(turned) => return page::turned(turned, &address),
        };
        let by = admission.by().and_then(|index| offered.kind(index));
        if by == Some(Kind::Cookie) && !credential::is_own_wish(&parts, &address) {
            return page::page(
                StatusCode::FORBIDDEN,
                "another page asked for this in the visitor's name: a cookie alone does not let it in",
            );
        }
        // One would see the address, and with it the token, with which its visitor comes the next time.
        if parts.headers.contains_key("service-worker") {
            return page::page(StatusCode::FORBIDDEN, "previews have no service workers");
        }
        if by == Some(Kind::Bearer) {
            parts.headers.remove(header::AUTHORIZATION);
        }
        let cookie = (by == Some(Kind::Query)).then(|| address.cookie(offered.text(admission.by())));
        if let Some(cookie) = &cookie
            && credential::is_navigation(&parts)
        {
            let mut response = page::redirect(StatusCode::SEE_OTHER, &address.outside(&parts.uri));
            put_cookie(response.headers_mut(), cookie);
            return response;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return page::turned(Turned::TooMany, &address);
        };
        let mut response = self.answer(&address, parts, body, admission, permit).await;
        if let Some(cookie) = &cookie {
            put_cookie(response.headers_mut(), cookie);
        }
        response
    }

    async fn answer(
        &self,
        address: &Address,
        mut parts: Parts,
        body: Body,
        admission: Admission,
        permit: OwnedSemaphorePermit,
    ) -> Response {
        let stream = match admission.connect().await {
            Ok(stream) => stream,
            Err(turned) => return page::turned(turned, address),
        };
        let (ended, stop) = (admission.ended(), self.stop.clone());
        let cut = Box::pin(async move {
            tokio::select! {
                () = ended => {}
                () = stop.stopped() => {}
            }
        });
        let stream = TokioIo::new(Leashed::new(stream, cut));
        let shaken = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX).handshake(stream).await;
        let Ok((mut sender, connection)) = shaken else { return page::turned(Turned::Nobody, address) };
        let carried = Carried::new(admission, permit, Connection::spawn(connection));
        let visitor = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let wants_websocket = forward::wants_websocket(&parts.headers);
        let request = forward::request(parts, body, address, wants_websocket);
        let mut response = match tokio::time::timeout(ANSWER_PATIENCE, sender.send_request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return page::no_answer(&error, address),
            Err(_) => {
                let text = format!("the program did not begin to answer within {} s", ANSWER_PATIENCE.as_secs());
                return page::page(StatusCode::GATEWAY_TIMEOUT, &text);
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (mut parts, body) = response.into_parts();
            // What the program speaks is not what we speak with the visitor.
            parts.version = Version::HTTP_11;
            forward::answer_head(&mut parts.headers, address, false);
            return Response::from_parts(parts, Body::new(carried.with(body)));
        }
        let (true, Some(visitor)) = (wants_websocket, visitor) else {
            return page::page(StatusCode::BAD_GATEWAY, "the program switched to a protocol that nobody had asked for");
        };
        let program = hyper::upgrade::on(&mut response);
        tokio::spawn(forward::both_ways(visitor, program, carried));
        let (mut parts, _) = response.into_parts();
        forward::answer_head(&mut parts.headers, address, true);
        Response::from_parts(parts, Body::empty())
    }
}

fn put_cookie(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.append(header::SET_COOKIE, value);
    }
}

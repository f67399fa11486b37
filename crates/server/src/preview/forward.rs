//! What passes between visitor and program: heads without what is the connection's or ours, bodies as they are.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header, request::Parts},
};
use hyper::{
    body::{Bytes, Frame, Incoming, SizeHint},
    client::conn::http1,
    rt::{Read, Write},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use ringfence_engine::previews::Admission;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use super::{
    address::{Address, Form},
    credential::COOKIE,
};

/// Of the connection, not of the request or the answer (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// What only a proxy may say, which is us. `expect` was answered by our own server.
const OURS: [&str; 8] = [
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
];

/// What acts on a whole origin, which below the path is not the program's.
const ON_ORIGINS: [&str; 4] = ["clear-site-data", "service-worker-allowed", "set-cookie", "strict-transport-security"];

/// Without an origin a page reads nothing of the API's, of other sandboxes', or with anybody's cookies.
const NO_ORIGIN: HeaderValue = HeaderValue::from_static("sandbox allow-scripts allow-forms");

/// Gives the pages of an answer no origin. A program's own policy stays beside it: both hold.
pub(super) fn take_the_origin_away(headers: &mut HeaderMap) {
    headers.append(header::CONTENT_SECURITY_POLICY, NO_ORIGIN);
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let values = headers.get_all(name);
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|token| token.trim().to_ascii_lowercase()).collect()
}

/// Whether a WebSocket is asked for. No other protocol is switched to.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    tokens(headers, header::CONNECTION).iter().any(|token| token == "upgrade")
        && tokens(headers, header::UPGRADE) == ["websocket"]
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in tokens(headers, header::CONNECTION) {
        // What says where a message is for and where it ends is no connection's, whoever claims so.
        if !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding") {
            headers.remove(name.as_str());
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Where a message ends is what was read of it (RFC 9112, 6.3), and is written anew.
fn drop_coding(headers: &mut HeaderMap) {
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
}

fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The request as the program gets it.
pub(super) fn request(mut parts: Parts, body: Body, address: &Address, is_websocket: bool) -> Request<Body> {
    drop_hop_by_hop(&mut parts.headers);
    for name in OURS {
        parts.headers.remove(name);
    }
    drop_coding(&mut parts.headers);
    if is_websocket {
        upgrade(&mut parts.headers);
    }
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            parts.headers.insert(name, value);
        }
    };
    // As the visitor names it: links, cookies and checks of the origin are then right.
    put("host", &address.host);
    // The daemon listens on loopback addresses alone.
    put("x-forwarded-for", "127.0.0.1");
    put("x-forwarded-host", &address.host);
    put("x-forwarded-proto", "http");
    if address.form == Form::Path {
        put("x-forwarded-prefix", &address.prefix());
    }
    parts.uri = Uri::try_from(address.inside(&parts.uri)).unwrap_or_else(|_| Uri::from_static("/"));
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Request::from_parts(parts, body)
}

/// The head of an answer as the visitor gets it.
pub(super) fn answer_head(headers: &mut HeaderMap, address: &Address, is_websocket: bool) {
    drop_hop_by_hop(headers);
    drop_coding(headers);
    if is_websocket {
        upgrade(headers);
    }
    if address.form == Form::Path {
        for name in ON_ORIGINS {
            headers.remove(name);
        }
        if let Some(to) =
            headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| moved(to, address))
        {
            headers.insert(header::LOCATION, to);
        }
        return;
    }
    let cookies: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().filter_map(own_cookie).collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// A redirect within the program, below the path.
fn moved(to: &str, address: &Address) -> Option<HeaderValue> {
    let path = to.strip_prefix("http://").and_then(|rest| rest.strip_prefix(address.host.as_str())).unwrap_or(to);
    let is_path = path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\");
    is_path.then(|| HeaderValue::from_str(&format!("{}{path}", address.prefix())).ok()).flatten()
}

/// A cookie for the program's own name alone, whatever it says; none that is ours.
fn own_cookie(cookie: &HeaderValue) -> Option<HeaderValue> {
    let mut parts = cookie.as_bytes().split(|b| *b == b';');
    let pair = parts.next()?;
    let name = pair.split(|b| *b == b'=').next()?.trim_ascii();
    if name.eq_ignore_ascii_case(COOKIE.as_bytes()) {
        return None;
    }
    let is_domain = |part: &&[u8]| {
        part.split(|b| *b == b'=').next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"domain"))
    };
    let kept: Vec<&[u8]> = std::iter::once(pair).chain(parts.filter(|part| !is_domain(part))).collect();
    HeaderValue::from_bytes(&kept.join(&b";"[..])).ok()
}

/// The task of a connection to a program, which ends with this.
pub(super) struct Connection(JoinHandle<()>);

impl Connection {
    pub(super) fn spawn<S>(connection: http1::Connection<S, Body>) -> Self
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        Self(tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a program ended badly");
            }
        }))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a visit holds until its last byte.
pub(super) struct Carried {
    _admission: Admission,
    _permit: OwnedSemaphorePermit,
    _connection: Connection,
}

impl Carried {
    pub(super) fn new(admission: Admission, permit: OwnedSemaphorePermit, connection: Connection) -> Self {
        Self { _admission: admission, _permit: permit, _connection: connection }
    }

    /// The body of an answer, which holds it.
    pub(super) fn with(self, body: Incoming) -> Carrying {
        Carrying { body, _carried: self }
    }
}

/// A body on its way.
pub(super) struct Carrying {
    body: Incoming,
    _carried: Carried,
}

impl hyper::body::Body for Carrying {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Carries the bytes of a WebSocket until either side ends.
pub(super) async fn both_ways(visitor: OnUpgrade, program: OnUpgrade, carried: Carried) {
    let switched = async { tokio::try_join!(visitor, program) };
    if let Ok((visitor, program)) = switched.await {
        let (mut visitor, mut program) = (TokioIo::new(visitor), TokioIo::new(program));
        let _ = tokio::io::copy_bidirectional(&mut visitor, &mut program).await;
    }
    drop(carried);
}

#[cfg(test)]
mod tests {
    use ringfence_model::SandboxId;

    use super::*;

    fn address(form: Form) -> Address {
        let sandbox = SandboxId::parse("ihhhhhhhhhhhhhhhhhhhh").expect("an id");
        Address { sandbox, port: 8000, form, host: "localhost:7433".into() }
    }

    fn heads(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields.map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).fold(
            HeaderMap::new(),
            |mut all, (name, value): (_, HeaderValue)| {
                all.append(name, value);
                all
            },
        )
    }

    #[test]
    fn a_request_is_the_programs_own() {
        let mut parts =
            Request::builder().uri("/preview/ihhhhhhhhhhhhhhhhhhhh/8000/a?b").body(()).unwrap().into_parts().0;
        parts.headers = heads(&[
            ("host", "localhost:7433"),
            ("connection", "keep-alive, x-secret, host"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("accept", "*/*"),
        ]);
        let request = request(parts, Body::empty(), &address(Form::Path), false);
        assert_eq!(request.uri(), "/a?b");
        let mut shown: Vec<_> =
            request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        shown.sort_unstable();
        assert_eq!(
            shown,
            [
                "accept: */*",
                "host: localhost:7433",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: localhost:7433",
                "x-forwarded-prefix: /preview/ihhhhhhhhhhhhhhhhhhhh/8000",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn only_websockets_are_switched_to() {
        let wants = |connection: &str, upgrade: &str| {
            wants_websocket(&heads(&[("connection", connection), ("upgrade", upgrade)]))
        };
        assert!(wants("keep-alive, Upgrade", "WebSocket"));
        assert!(!wants("Upgrade", "h2c"));
        assert!(!wants("Upgrade", "websocket, h2c"));
        assert!(!wants("close", "websocket"));
    }

    #[test]
    fn cookies_are_for_the_programs_own_name() {
        let mut headers = heads(&[
            ("set-cookie", "a=1; Domain=localhost; Path=/; HttpOnly"),
            ("set-cookie", "b=2; domain = .localhost"),
            ("set-cookie", "ringfence_preview=stolen; Path=/"),
            ("set-cookie", "c=3"),
        ]);
        answer_head(&mut headers, &address(Form::Name), false);
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; Path=/; HttpOnly", "b=2", "c=3"]);
    }

    #[test]
    fn below_the_path_nothing_acts_on_the_origin() {
        let mut headers = heads(&[
            ("set-cookie", "a=1"),
            ("clear-site-data", "\"*\""),
            ("service-worker-allowed", "/"),
            ("location", "/v1/sandboxes"),
        ]);
        answer_head(&mut headers, &address(Form::Path), false);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[header::LOCATION], "/preview/ihhhhhhhhhhhhhhhhhhhh/8000/v1/sandboxes");
        for (to, moves) in [
            ("http://localhost:7433/x", true),
            ("//evil.com/", false),
            ("https://example.com/", false),
            ("/\\evil.com", false),
            ("x/y", false),
        ] {
            assert_eq!(moved(to, &address(Form::Path)).is_some(), moves, "{to}");
        }
    }
}

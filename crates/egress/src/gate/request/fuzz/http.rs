//! Requests from the bytes of a client to the bytes of the connection upstream, through all that the gate does with a head.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::{convert::Infallible, io};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::{Request, Response, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ringfence_model::net::{Destination as Named, HostName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};

use super::strict::{self, Parsed};
use super::{HEADER, HOST, INJECTOR, OTHER_PLACEHOLDER, OTHER_VALUE, PLACEHOLDER, TO, VALUE, holds, run};
use crate::gate::limits::lock;
use crate::gate::request::link::{client1, for_http1, for_http2};
use crate::gate::request::{server1, server2, shape};
use crate::secret::Destination;

/// How often a client lets others go first before it hangs up on a request that is under way.
const PATIENCE: usize = 256;

/// What became of the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Became {
    /// As they were written upstream, and whether to the end.
    pub(super) sent: Vec<(Vec<u8>, bool)>,
    pub(super) refused: usize,
    pub(super) filled: usize,
}

/// First a byte that says by what the rest comes: over TLS or in the clear (1), as HTTP/2 (2), whole or in pieces (4, 8).
///
/// # Panics
/// When what goes out has another reading than what was admitted, or carries what it must not.
pub fn fuzz_http(bytes: &[u8]) {
    check(bytes);
}

pub(super) fn check(bytes: &[u8]) -> Became {
    let Some((mode, input)) = bytes.split_first() else { return Became::default() };
    let (secure, http2, pieces) = (mode & 1 != 0, mode & 2 != 0, [usize::MAX, 1, 7, 64][usize::from(mode >> 2 & 3)]);
    let whole = connection(input, secure, http2, usize::MAX);
    if pieces != usize::MAX && !http2 {
        let pieced = connection(input, secure, http2, pieces);
        for ((one, _), (other, _)) in whole.sent.iter().zip(&pieced.sent) {
            let (one, other) = (plain_chunks(one), plain_chunks(other));
            assert!(one.starts_with(&other) || other.starts_with(&one), "the same by whatever pieces it comes");
        }
    }
    whole
}

/// Where chunks are cut is up to how the body comes; the rest is not.
fn plain_chunks(bytes: &[u8]) -> Vec<u8> {
    match strict::parse(bytes) {
        Parsed::Whole(request, _) => {
            format!("{} {} {:?} {:?}", request.method, request.target, request.headers, request.body).into()
        }
        _ => Vec::new(),
    }
}

/// What is known of one connection while it lasts.
struct Scene {
    name: Option<HostName>,
    /// What another reader makes of the same bytes; nothing from where that one would refuse.
    expected: Vec<strict::Request>,
    number: AtomicUsize,
    busy: Arc<AtomicUsize>,
    /// The values may be in the input: then they may go out.
    is_known: bool,
    became: Mutex<Became>,
    /// A request of HTTP/2 is handled in a task of its own, whose panic nobody would hear of.
    panicked: AtomicBool,
}

struct Watch(Arc<Scene>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
        }
    }
}

fn connection(input: &[u8], secure: bool, http2: bool, pieces: usize) -> Became {
    let busy = Arc::new(AtomicUsize::new(0));
    let scene = Arc::new(Scene {
        name: secure.then(|| HostName::parse(HOST).expect("a name")),
        expected: if http2 { vec![] } else { expected(input) },
        number: AtomicUsize::new(0),
        busy: busy.clone(),
        is_known: http2 || holds(input, VALUE) || holds(input, OTHER_VALUE),
        became: Mutex::default(),
        panicked: AtomicBool::new(false),
    });
    let wire = TokioIo::new(Wire { input: input.to_vec(), at: 0, pieces, busy, patience: PATIENCE });
    let served = scene.clone();
    run(async move {
        let service = service_fn(move |request| {
            let scene = scene.clone();
            async move {
                let _watch = Watch(scene.clone());
                scene.busy.fetch_add(1, Ordering::Relaxed);
                let answer = scene.handle(request).await;
                scene.busy.fetch_sub(1, Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            }
        });
        let _ = if http2 {
            server2().serve_connection(wire, service).await
        } else {
            server1().serve_connection(wire, service).with_upgrades().await
        };
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    });
    assert!(!served.panicked.load(Ordering::Relaxed), "a property does not hold; see above");
    std::mem::take(&mut *lock(&served.became))
}

fn expected(mut input: &[u8]) -> Vec<strict::Request> {
    let mut requests = Vec::new();
    while let Parsed::Whole(request, length) = strict::parse(input) {
        input = &input[length..];
        requests.push(request);
    }
    requests
}

impl Scene {
    /// What `Session::handle` does with a request, without a policy and without a disk.
    async fn handle(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let port = if self.name.is_some() { 443 } else { 80 };
        let (mut parts, body) = request.into_parts();
        let expected = self.expected.get(self.number.fetch_add(1, Ordering::Relaxed));
        let original = parts.clone();
        if let Some(expected) = expected {
            assert_eq!(original.method.as_str(), expected.method, "the same method as another reader has");
        }
        let refused = || {
            lock(&self.became).refused += 1;
            let mut answer = Response::new(Empty::new());
            *answer.status_mut() = StatusCode::FORBIDDEN;
            answer
        };
        let Ok(asked) = shape::read(&parts, self.name.as_ref(), port) else { return refused() };
        shape::strip(&mut parts, &asked, port, self.name.is_some());
        let to =
            Destination { host: asked.host.as_ref().map_or("", HostName::as_str), port, secure: self.name.is_some() };
        let Ok(injected) = INJECTOR.inject(to, &mut parts) else { return refused() };
        let filled = !injected.secrets.is_empty();
        if filled {
            assert_eq!(to, TO, "a value goes to where it is bound");
            lock(&self.became).filled += 1;
        }
        let target = match original.uri.query() {
            Some(query) => format!("{}?{query}", original.uri.path()),
            None => original.uri.path().to_owned(),
        };
        assert_eq!(
            parts.uri.path_and_query().map(|judged| judged.as_str()),
            Some(&*target),
            "what is judged is what is sent"
        );
        let taken = Arc::new(Mutex::new(Vec::new()));
        let body = Recorded { inner: body, taken: taken.clone() };
        let host = parts.headers.get(header::HOST).cloned();

        let mut second = Request::new(());
        *second.method_mut() = parts.method.clone();
        *second.uri_mut() = parts.uri.clone();
        *second.headers_mut() = parts.headers.clone();
        let second = for_http2(second, self.name.as_ref());
        for name in ["connection", "te", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "host"] {
            assert!(!second.headers().contains_key(name), "`{name}` is not of HTTP/2");
        }
        assert_eq!(
            second.uri().authority().map(|authority| authority.as_str().as_bytes()),
            host.as_ref().map(|host| host.as_bytes())
        );

        let (written, is_whole) = upstream(for_http1(Request::from_parts(parts, body), asked.websocket)).await;
        let written_request = match strict::parse(&written) {
            Parsed::Bad(why) => panic!("{why}: {:?}", String::from_utf8_lossy(&written)),
            Parsed::Partial => {
                assert!(!is_whole);
                None
            }
            Parsed::Whole(request, length) => {
                assert_eq!(length, written.len(), "one request and nothing after it");
                Some(request)
            }
        };
        lock(&self.became).sent.push((written, written_request.is_some()));
        let Some(sent) = written_request else { return Response::new(Empty::new()) };
        assert!(is_whole, "a body that was cut off has no end upstream");
        assert_eq!(sent.method, original.method.as_str());
        assert_eq!(sent.target, target);
        let hosts = sent.all("host");
        let [text] = hosts[..] else { panic!("{} hosts", hosts.len()) };
        let text = std::str::from_utf8(text).expect("a host is ASCII");
        match &asked.host {
            Some(host) => {
                assert_eq!(text, host.as_str(), "the usual port is left out");
                assert_eq!(HostName::parse(text).as_ref(), Ok(host), "in its canonical form");
            }
            None => assert!(
                self.name.is_none() && Named::parse(text.trim_end_matches(":80")).is_ok_and(|to| to.name().is_none())
            ),
        }
        assert!(self.name.is_none() || self.name == asked.host);
        for name in ["keep-alive", "proxy-connection", "proxy-authorization", "te", "expect", "trailer"] {
            assert!(name == "trailer" || sent.all(name).is_empty(), "`{name}` is about one hop");
        }
        let (connection, upgrade): (&[&[u8]], &[&[u8]]) =
            if asked.websocket { (&[b"Upgrade"], &[b"websocket"]) } else { (&[], &[]) };
        assert_eq!((&sent.all("connection")[..], &sent.all("upgrade")[..]), (connection, upgrade));
        assert!(!asked.websocket || sent.all("sec-websocket-extensions").is_empty());
        assert_eq!(sent.body, *lock(&taken), "the body as it came");
        if let Some(expected) = expected {
            assert_eq!(sent.body, expected.body, "the body as another reader has it");
            assert_eq!(sent.target, origin_form(&expected.target), "the target as another reader has it");
        }
        let mut head = format!("{} {}\n", sent.method, sent.target).into_bytes();
        for (name, value) in &sent.headers {
            head.extend([name.as_bytes(), b": ", value, b"\n"].concat());
        }
        assert!(!holds(&head, PLACEHOLDER) && !holds(&head, OTHER_PLACEHOLDER), "a placeholder goes out");
        if !self.is_known {
            assert!(!holds(&head, OTHER_VALUE) && !holds(&sent.body, VALUE));
            let carriers: Vec<_> = sent.headers.iter().filter(|(_, value)| holds(value, VALUE)).collect();
            assert_eq!(carriers.len(), usize::from(filled));
        }
        if filled {
            assert_eq!(sent.all(HEADER.as_str()), [VALUE.as_bytes()]);
            assert_eq!(original.headers.get(HEADER).map(|value| value.as_bytes()), Some(PLACEHOLDER.as_bytes()));
        }
        Response::new(Empty::new())
    }
}

/// A target as an origin server reads it (RFC 9112 3.2.1), whatever form a proxy would take it in.
fn origin_form(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let path = rest.find(['/', '?']).and_then(|start| rest.get(start..)).unwrap_or("/");
            if path.starts_with('?') { format!("/{path}") } else { path.to_owned() }
        }
        _ => target.to_owned(),
    }
}

/// Writes a request to a server that reads it strictly: what was written, and whether an answer came.
async fn upstream(request: Request<Recorded>) -> (Vec<u8>, bool) {
    let (ours, theirs) = duplex(16 << 10);
    let (mut sender, connection) = client1().handshake(TokioIo::new(ours)).await.expect("nothing is sent yet");
    let exchange = async move {
        let answered = sender.send_request(request).await;
        let answered = match answered {
            Ok(answer) => answer.into_body().collect().await.is_ok(),
            Err(_) => false,
        };
        drop(sender);
        answered
    };
    let (_, answered, written) = tokio::join!(connection, exchange, server(theirs));
    (written, answered)
}

async fn server(mut stream: DuplexStream) -> Vec<u8> {
    let mut read = Vec::new();
    let mut answered = false;
    while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
        match strict::parse(&read) {
            Parsed::Whole(..) if !answered => {
                answered = true;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
            Parsed::Bad(_) => break,
            _ => {}
        }
    }
    read
}

/// A body on its way, as `Sent` is one.
struct Recorded {
    inner: Incoming,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            let Ok(data) = frame.into_data() else { continue };
            lock(&self.taken).extend_from_slice(&data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A client that says what it says, and hears nothing.
struct Wire {
    input: Vec<u8>,
    at: usize,
    pieces: usize,
    busy: Arc<AtomicUsize>,
    /// Of [`PATIENCE`], what is left.
    patience: usize,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.input.len() - self.at;
        let length = left.min(self.pieces).min(out.remaining());
        if length == 0 && self.patience > 0 {
            // What was read last may not have become a request yet.
            self.patience = match self.busy.load(Ordering::Relaxed) {
                0 => self.patience.saturating_sub(PATIENCE / 4),
                _ => self.patience - 1,
            };
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        out.put_slice(&self.input[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::request::fuzz::seeds;

    #[test]
    fn heads_hold_their_properties_for_every_seed() {
        for (name, bytes) in seeds("http") {
            let became = check(&bytes);
            let whole = became.sent.iter().filter(|(_, is_whole)| *is_whole).count();
            // What a seed was made for shows in what becomes of it.
            let (start, count) = name.split_once('-').map_or(("", 0), |(start, rest)| {
                (start, rest.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(1))
            });
            match start {
                "send" => assert_eq!((whole, became.refused), (count, 0), "{name}: {became:?}"),
                "fill" => assert_eq!((became.filled, whole), (count, count), "{name}: {became:?}"),
                "refuse" => assert!(whole == 0 && became.refused == count, "{name}: {became:?}"),
                "break" => assert!(whole == 0 && became.refused == 0, "{name}: {became:?}"),
                _ => {}
            }
        }
    }
}

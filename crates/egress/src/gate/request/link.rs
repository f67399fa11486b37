//! The connection upstream of one connection of a sandbox: made with its first request, kept, and made anew when the other
//! side has closed it meanwhile.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::http::{HeaderValue, Request, Response, Uri, Version, header, uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ringfence_model::net::HostName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::body::Sent;
use super::shape;
use crate::gate::lead::{Lead, Way};
use crate::gate::pass::{CONNECT_TIME, prepare};
use crate::gate::{Gate, descriptors};
use crate::tls::client::ConnectError;
use crate::tls::server::Alpn;

/// Longest wait for the head of an answer.
const ANSWER_TIME: Duration = Duration::from_secs(600);
/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the host could not be reached")]
    Connect(#[source] std::io::Error),
    #[error("{0}")]
    Exchange(std::io::Error),
    #[error("the host did not answer in time")]
    TimedOut,
    #[error("{0}")]
    Untrusted(String),
    #[error("the TLS handshake with the host failed")]
    Tls(#[source] ConnectError),
    #[error("the host did not speak HTTP as it should")]
    Http(#[source] hyper::Error),
}

/// A connection upstream, or none yet.
pub(super) struct Link {
    to: SocketAddr,
    /// The name to verify; none in the clear.
    name: Option<HostName>,
    alpn: Alpn,
    sender: Mutex<Option<Sender>>,
}

struct Sender {
    kind: Kind,
    /// Where it leads, if its name is a venue's.
    lead: Option<Lead>,
    /// Moves the connection's bytes. It ends with the sender and the last answer.
    driver: AbortHandle,
}

enum Kind {
    Http1(http1::SendRequest<Sent>),
    Http2(http2::SendRequest<Sent>),
}

impl Link {
    pub(super) fn new(to: SocketAddr, name: Option<HostName>, alpn: Alpn) -> Self {
        Self { to, name, alpn, sender: Mutex::default() }
    }

    /// Sends a request, over the connection that is there if it still is. A request of which nothing was sent, because the
    /// other side had closed meanwhile, is sent once more over a new one.
    pub(super) async fn send(
        &self,
        gate: &Gate,
        request: Request<Sent>,
        websocket: bool,
        lead: Option<&Lead>,
    ) -> Result<Response<Incoming>, LinkError> {
        match timeout(ANSWER_TIME, self.send_now(gate, request, websocket, lead)).await {
            Ok(answered) => answered,
            Err(_) => Err(LinkError::TimedOut),
        }
    }

    async fn send_now(
        &self,
        gate: &Gate,
        mut request: Request<Sent>,
        websocket: bool,
        lead: Option<&Lead>,
    ) -> Result<Response<Incoming>, LinkError> {
        let mut again = true;
        if let Some(host) = lead.and_then(Lead::outside)
            && let Ok(value) = HeaderValue::from_str(host.as_str())
        {
            request.headers_mut().insert(header::HOST, value);
        }
        loop {
            let mut place = self.sender.lock().await;
            if let Some(sender) = place.as_mut()
                && (sender.lead.as_ref() != lead || !sender.is_ready().await)
            {
                *place = None;
                again = false;
            }
            let sender = match place.take() {
                Some(sender) => sender,
                None => self.connect(gate, lead).await?,
            };
            let sender = place.insert(sender);
            let sent = match &mut sender.kind {
                Kind::Http1(http1) => {
                    // One after the other: the place is held until the answer's head is there.
                    let error = match http1.try_send_request(for_http1(request, websocket)).await {
                        Ok(response) => return Ok(response),
                        Err(error) => error,
                    };
                    *place = None;
                    error
                }
                Kind::Http2(http2) => {
                    let mut http2 = http2.clone();
                    drop(place);
                    let name = lead.and_then(Lead::outside).or(self.name.as_ref());
                    match http2.try_send_request(for_http2(request, name)).await {
                        Ok(response) => return Ok(response),
                        Err(error) => error,
                    }
                }
            };
            let mut sent = sent;
            match sent.take_message() {
                Some(unsent) if again => {
                    again = false;
                    request = unsent;
                }
                _ => return Err(LinkError::Http(sent.into_error())),
            }
        }
    }

    async fn connect(&self, gate: &Gate, lead: Option<&Lead>) -> Result<Sender, LinkError> {
        let connecting = async {
            let (to, name) = match lead.map(|lead| &lead.way) {
                None => (gate.leads_to(self.to), self.name.as_ref()),
                Some(Way::Exchange) => {
                    let stream = gate.exchange().await.map_err(LinkError::Exchange)?;
                    return speak(stream, false).await;
                }
                Some(Way::Outside(host)) => match gate.outside(host).await {
                    Some(to) => (to, Some(host)),
                    None => return Err(LinkError::Connect(io::ErrorKind::HostUnreachable.into())),
                },
            };
            let stream = TcpStream::connect(to).await.map_err(LinkError::Connect)?;
            descriptors::spare(&stream).and_then(|()| prepare(&stream)).map_err(LinkError::Connect)?;
            let Some(name) = name else { return speak(stream, false).await };
            let stream = gate.upstream.connect(name.as_str(), self.alpn, stream).await.map_err(refused)?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(stream, http2).await
        };
        let sender = timeout(CONNECT_TIME, connecting).await.map_err(|_| LinkError::TimedOut)??;
        Ok(Sender { lead: lead.cloned(), ..sender })
    }
}

impl Sender {
    async fn is_ready(&mut self) -> bool {
        if self.driver.is_finished() {
            return false;
        }
        match &mut self.kind {
            Kind::Http1(http1) => http1.ready().await.is_ok(),
            Kind::Http2(http2) => http2.ready().await.is_ok(),
        }
    }
}

fn refused(error: ConnectError) -> LinkError {
    match &error {
        ConnectError::Certificate { .. } => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            LinkError::Untrusted(why)
        }
        _ => LinkError::Tls(error),
    }
}

async fn speak<S>(stream: S, http2: bool) -> Result<Sender, LinkError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = TokioIo::new(stream);
    if http2 {
        let mut client = http2::Builder::new(TokioExecutor::new());
        client.timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES_MAX as u32);
        let (sender, connection) = client.handshake(stream).await.map_err(LinkError::Http)?;
        let driver = tokio::spawn(async move { ended(connection.await) });
        return Ok(Sender { kind: Kind::Http2(sender), lead: None, driver: driver.abort_handle() });
    }
    let (sender, connection) = client1().handshake(stream).await.map_err(LinkError::Http)?;
    let driver = tokio::spawn(async move { ended(connection.with_upgrades().await) });
    Ok(Sender { kind: Kind::Http1(sender), lead: None, driver: driver.abort_handle() })
}

/// What writes requests of HTTP/1.1.
pub(super) fn client1() -> http1::Builder {
    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD_BYTES_MAX);
    client
}

fn ended(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection upstream ended");
    }
}

/// The form that HTTP/1.1 has: the host in its header, the target without it.
pub(super) fn for_http1<B>(mut request: Request<B>, websocket: bool) -> Request<B> {
    shape::strip_hop(request.headers_mut());
    if websocket {
        shape::keep_upgrade(request.headers_mut());
    }
    request
}

/// The form that HTTP/2 has: the host in the target.
pub(super) fn for_http2<B>(mut request: Request<B>, name: Option<&HostName>) -> Request<B> {
    shape::strip_hop(request.headers_mut());
    let authority = request.headers_mut().remove(header::HOST);
    let authority = authority.as_ref().and_then(|host| host.to_str().ok()).map(str::to_owned);
    let authority = authority.or_else(|| name.map(ToString::to_string)).unwrap_or_default();
    let target = request.uri().path_and_query().cloned();
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTPS);
    parts.authority = authority.parse().ok();
    parts.path_and_query = Some(target.unwrap_or_else(|| uri::PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
    request
}

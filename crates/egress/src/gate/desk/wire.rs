//! Requests of the gate's own to a venue, over connections that nothing of a program's goes by.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use ringfence_model::net::HostName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Access;
use crate::gate::Gate;
use crate::gate::lead::{Lead, Way};
use crate::gate::limits::lock;
use crate::gate::pass::{CONNECT_TIME, prepare};
use crate::secret::Echo;
use crate::tls::server::Alpn;

/// Longest wait for an answer. An order whose answer takes longer is looked up.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Connections to one place that wait for the next request.
const IDLE_MAX: usize = 8;

/// A connection to a venue.
type Sender = SendRequest<Full<Bytes>>;

/// Connections that wait.
#[derive(Default)]
pub(in crate::gate) struct Wire {
    idle: Mutex<HashMap<(Way, HostName), Vec<Sender>>>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub(in crate::gate) struct Answered {
    pub(in crate::gate) status: StatusCode,
    pub(in crate::gate) headers: HeaderMap,
    pub(in crate::gate) body: Bytes,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(in crate::gate) enum WireError {
    /// Nothing was sent.
    #[error("the venue could not be reached: {0}")]
    Unsent(String),
    /// It may have arrived.
    #[error("the venue did not answer: {0}")]
    Unknown(String),
}

/// A request in the gate's own words.
#[derive(Debug, Clone)]
pub(in crate::gate) struct Said {
    pub(in crate::gate) method: Method,
    /// The name it is meant for, as clients write it.
    pub(in crate::gate) host: HostName,
    /// Path and query.
    pub(in crate::gate) target: String,
    /// JSON; empty for none.
    pub(in crate::gate) body: Vec<u8>,
}

impl Gate {
    /// Sends one request, once. What was not sent because a kept connection had ended is sent by a new one.
    pub(in crate::gate) async fn say(&self, access: &Access, said: Said) -> Result<Answered, WireError> {
        match timeout(ANSWER_TIME, self.say_now(access, said)).await {
            Ok(answered) => answered,
            Err(_) => Err(WireError::Unknown("it took too long".to_owned())),
        }
    }

    async fn say_now(&self, access: &Access, said: Said) -> Result<Answered, WireError> {
        let key = (access.lead.way.clone(), said.host.clone());
        let (request, echo) = self.request(access, said)?;
        let mut request = Some(request);
        for _ in 0..=IDLE_MAX {
            let kept = lock(&self.desk.wire.idle).get_mut(&key).and_then(Vec::pop);
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.dial(&access.lead).await?,
            };
            if is_kept && sender.ready().await.is_err() {
                continue;
            }
            let Some(message) = request.take() else { break };
            match sender.try_send_request(message).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
                    let body = whole.map_err(|error| WireError::Unknown(error.to_string()))?.to_bytes();
                    let mut idle = lock(&self.desk.wire.idle);
                    let idle = idle.entry(key).or_default();
                    if idle.len() < IDLE_MAX {
                        idle.push(sender);
                    }
                    return Ok(unechoed(Answered { status: head.status, headers: head.headers, body }, echo.as_ref()));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = Some(unsent),
                    Some(_) => return Err(WireError::Unsent(error.into_error().to_string())),
                    None => return Err(WireError::Unknown(error.into_error().to_string())),
                },
            }
        }
        Err(WireError::Unsent("every connection had ended".to_owned()))
    }

    /// The request as it is sent, and what its answer is not to repeat.
    fn request(&self, access: &Access, said: Said) -> Result<(Request<Full<Bytes>>, Option<Echo>), WireError> {
        let malformed = |error: &dyn std::fmt::Display| WireError::Unsent(error.to_string());
        let has_body = !said.body.is_empty();
        let mut request = Request::new(Bytes::from(said.body));
        *request.method_mut() = said.method;
        *request.uri_mut() = said.target.parse().map_err(|error| malformed(&error))?;
        let host = access.lead.outside().unwrap_or(&said.host);
        let headers = request.headers_mut();
        headers.extend(access.headers.clone());
        headers.insert(header::HOST, HeaderValue::from_str(host.as_str()).map_err(|error| malformed(&error))?);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("ringfence"));
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let codec = access.lead.codec;
        if codec.signed_as().is_none() || codec.is_public(request.uri().path()) {
            return Ok((request.map(Full::new), None));
        }
        let key = access.key.as_ref().ok_or_else(|| malformed(&"there is no key that signs for it"))?;
        let (request, signature) = key.sign(request, host.as_str()).map_err(|error| malformed(&error))?;
        Ok((request.map(Full::new), Some(Echo::new(signature.as_bytes()))))
    }

    async fn dial(&self, lead: &Lead) -> Result<SendRequest<Full<Bytes>>, WireError> {
        let unsent = |error: &dyn std::fmt::Display| WireError::Unsent(error.to_string());
        let dialling = async {
            match &lead.way {
                Way::Exchange => {
                    let stream = self.exchange().await;
                    speak(stream.map_err(|error| unsent(&error))?).await
                }
                Way::Outside(host) => {
                    let to = self.outside(host).await.ok_or_else(|| unsent(&"its name does not resolve"))?;
                    let stream = TcpStream::connect(to).await.map_err(|error| unsent(&error))?;
                    prepare(&stream).map_err(|error| unsent(&error))?;
                    let stream = self.upstream.connect(host.as_str(), Alpn::Http1, stream).await;
                    speak(stream.map_err(|error| unsent(&error))?).await
                }
            }
        };
        timeout(CONNECT_TIME, dialling).await.map_err(|_| unsent(&"it took too long"))?
    }
}

/// An answer without the signature of its question, which not every exchange makes for one path alone.
fn unechoed(mut answered: Answered, echo: Option<&Echo>) -> Answered {
    let Some(echo) = echo else { return answered };
    let mut mask = echo.mask();
    let mut body = mask.feed(answered.body).to_vec();
    body.extend_from_slice(&mask.whole(Bytes::new()));
    echo.headers(&mut answered.headers);
    Answered { body: body.into(), ..answered }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, WireError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut client = http1::Builder::new();
    client.max_buf_size(256 << 10);
    let (sender, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|error| WireError::Unsent(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a venue ended");
        }
    });
    Ok(sender)
}

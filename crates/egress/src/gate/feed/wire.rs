//! Websockets that the gate itself ends (RFC 6455): as a server of sandboxes, and as a client of venues.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest;
use ringfence_model::net::HostName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::gate::Gate;
use crate::gate::lead::{Lead, Way};
use crate::gate::pass::{CONNECT_TIME, prepare};
use crate::tls::server::Alpn;

/// Longest message of a sandbox, in bytes. A subscription to thousands of symbols is tens of thousands.
const SAID_BYTES_MAX: usize = 256 << 10;
/// Longest message of a venue, in bytes.
const HEARD_BYTES_MAX: usize = 2 << 20;
/// Bytes that are written and not yet taken, beyond which nothing more is.
const WRITTEN_BYTES_MAX: usize = 8 << 20;
/// Longest wait for a connection to become a websocket.
const UPGRADE_TIME: Duration = Duration::from_secs(10);
/// RFC 6455, section 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A websocket, whichever end.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why there is no websocket to a venue.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// It may be there later.
    #[error("{0}")]
    Unreachable(String),
    /// The venue wants no websocket there.
    #[error("the venue answered the handshake with {0}")]
    Refused(StatusCode),
}

/// What a server answers to a key (RFC 6455, section 4.2.2).
fn answer_to(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(MAGIC.as_bytes());
    STANDARD.encode(hash.finish())
}

/// What the handshake of a client is answered with; none when it is no handshake.
pub(in crate::gate) fn accept(headers: &HeaderMap) -> Option<HeaderMap> {
    let once = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let key = once(header::SEC_WEBSOCKET_KEY)?;
    let is_key = STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
    let version = once(header::SEC_WEBSOCKET_VERSION)?;
    if !is_key || version.as_bytes() != b"13" {
        return None;
    }
    let mut answer = HeaderMap::new();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&answer_to(key.as_bytes())).ok()?);
    Some(answer)
}

/// The websocket of a sandbox, once the answer to its handshake is written.
pub(super) async fn accepted(upgrade: OnUpgrade) -> Option<Socket> {
    let upgraded = timeout(UPGRADE_TIME, upgrade).await.ok()?.ok()?;
    Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config(SAID_BYTES_MAX))).await)
}

fn config(bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
        .max_write_buffer_size(WRITTEN_BYTES_MAX)
}

impl Gate {
    /// Opens a websocket to where a name leads, with nothing of a sandbox in its handshake.
    pub(super) async fn dial_stream(
        &self,
        lead: &Lead,
        host: &HostName,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Socket, DialError> {
        let late = |_| DialError::Unreachable("it took too long".to_owned());
        timeout(CONNECT_TIME, self.dial_stream_now(lead, host, path, headers)).await.map_err(late)?
    }

    async fn dial_stream_now(
        &self,
        lead: &Lead,
        host: &HostName,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Socket, DialError> {
        let failed = |error: &dyn std::fmt::Display| DialError::Unreachable(error.to_string());
        match &lead.way {
            Way::Exchange => {
                let stream = self.exchange().await.map_err(|error| failed(&error))?;
                shake(stream, host, path, headers).await
            }
            Way::Outside(outside) => {
                let to = self.outside(outside).await.ok_or_else(|| failed(&"its name does not resolve"))?;
                let stream = TcpStream::connect(to).await.map_err(|error| failed(&error))?;
                prepare(&stream).map_err(|error| failed(&error))?;
                let stream = self.upstream.connect(outside.as_str(), Alpn::Http1, stream).await;
                shake(stream.map_err(|error| failed(&error))?, outside, path, headers).await
            }
        }
    }
}

async fn shake<S>(stream: S, host: &HostName, path: &str, headers: &HeaderMap) -> Result<Socket, DialError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: &dyn std::fmt::Display| DialError::Unreachable(error.to_string());
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, host.as_str())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::USER_AGENT, "ringfence");
    let mut request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    request.headers_mut().extend(headers.clone());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // It ends with the answer: the bytes after it are the websocket's.
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(DialError::Refused(response.status()));
    }
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(answer_to(key.as_bytes()).as_bytes()) {
        return Err(failed(&"it does not speak the websocket protocol"));
    }
    if response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(failed(&"it uses an extension that it was not asked for"));
    }
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(|error| failed(&error))?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config(HEARD_BYTES_MAX))).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_as_the_standard_has_it() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        assert_eq!(accept(&headers), None);
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let answer = accept(&headers).unwrap();
        assert_eq!(answer[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.append(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept(&headers), None, "which one?");
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("c2hvcnQ="));
        assert_eq!(accept(&headers), None);
    }
}

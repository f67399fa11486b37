//! Websockets (RFC 6455), on connections that hyper has upgraded.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{Role, WebSocketConfig},
};

use crate::refusal::Refusal;

/// Longest message of a client, in bytes. (A subscription to thousands of symbols is tens of thousands.)
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// How much may wait for a slow client.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// How long a client may take to take a message.
pub(super) const SEND_PATIENCE: Duration = Duration::from_secs(30);

/// How often a quiet client is asked whether it is there; one that says nothing for twice as long is gone.
pub(super) const PING_EVERY: Duration = Duration::from_secs(30);

/// A websocket.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(token)))
}

/// Whether a request wants to become a websocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// The answer that makes a connection a websocket.
pub(super) fn accept(request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
    /// RFC 6455, section 1.3.
    const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let headers = request.headers();
    // Browsers say where a page is from, and open websockets anywhere; no client of Alpaca's is one.
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal::forbidden("pages in a browser cannot listen here"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let (Some(key), Some(b"13"), true, &hyper::Method::GET) =
        (key, version, has_token(headers, header::CONNECTION, "upgrade"), request.method())
    else {
        return Err(Refusal::malformed("this is no handshake of a websocket"));
    };
    let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{key}{MAGIC}")));
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&accept).map_err(|_| Refusal::internal())?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The websocket, once the answer is sent.
pub(super) async fn open(upgrade: OnUpgrade) -> Option<Socket> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .max_write_buffer_size(WAITING_BYTES_MAX);
    let upgraded = tokio::time::timeout(SEND_PATIENCE, upgrade).await.ok()?.ok()?;
    Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
}

/// Whether a client speaks MessagePack: it says so with the type of its handshake.
pub(super) fn is_msgpack(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONTENT_TYPE, "application/msgpack")
}

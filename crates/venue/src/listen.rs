//! The venue's door: HTTP/1.1 and websockets, on a Unix socket for the gateway and on TCP for people.
//!
//! What is read here comes from strategies. Every size and time has a bound beside it, and what two readers could understand
//! differently (a path with an empty part, a parameter that is there twice) is refused.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request as HttpRequest, Response,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    control,
    json::{Json, object},
    refusal::Refusal,
    trading::{self, Answer, Request},
    venue::{Desk, Venue},
};

mod credentials;
mod data;
mod stream;
mod target;
mod websocket;

use credentials::Credentials;
use target::{Face, Target};

/// Most connections at a time; one more waits in the kernel.
pub const CONNECTIONS_MAX: usize = 512;

/// Longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long a client may take to send a head, and as long again for the body.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// How often accounts with open orders are looked after when nobody asks.
const TICK: Duration = Duration::from_millis(100);

/// Requests a minute that the answers say are allowed. They are not counted: the clock is not the real one.
const RATE: &str = "10000";

/// Where to listen.
#[derive(Debug, Default)]
pub struct Doors {
    /// The gateway's.
    pub unix: Option<UnixListener>,
    /// Who may use that, by uid; none is whoever can open it.
    pub unix_uids: Option<Vec<u32>>,
    /// People's.
    pub tcp: Option<TcpListener>,
}

/// Serves until the disk refuses a record, or `stop` is done.
///
/// # Errors
/// The disk has refused one.
pub async fn serve(venue: Arc<Venue>, doors: Doors, stop: impl Future<Output = ()>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let Doors { unix, unix_uids, tcp } = doors;
    let on_unix = async {
        let Some(listener) = unix else { return std::future::pending().await };
        loop {
            let permit = room.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().map(|cred| cred.uid()).ok();
                    if unix_uids.as_ref().is_none_or(|uids| uid.is_some_and(|uid| uids.contains(&uid))) {
                        tokio::spawn(connection(venue.clone(), stream, permit));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    };
    let on_tcp = async {
        let Some(listener) = tcp else { return std::future::pending().await };
        loop {
            let permit = room.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(connection(venue.clone(), stream, permit));
                }
                Err(error) => pause(&error).await,
            }
        }
    };
    tokio::select! {
        () = on_unix => Ok(()),
        () = on_tcp => Ok(()),
        () = look_after(&venue) => Ok(()),
        () = venue.failed() => Err(io::Error::other("the journal cannot be written")),
        () = stop => Ok(()),
    }
}

/// An address for people.
///
/// # Errors
/// It cannot be bound.
pub async fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Out of descriptors is no reason to spin.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Lets time pass in accounts whose orders may fill while nobody asks.
async fn look_after(venue: &Arc<Venue>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for (name, desk) in venue.all() {
            // Whoever is at work with one lets its time pass.
            if desk.try_look(|account| !account.index.open.is_empty()).unwrap_or(false) {
                let venue = venue.clone();
                // A refusal is a full disk, which ends the venue, or an account that is over.
                let _ = tokio::task::spawn_blocking(move || venue.catch_up(&name, &desk)).await;
            }
        }
    }
}

async fn connection<S, P>(venue: Arc<Venue>, stream: S, permit: P)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Send + 'static,
{
    let service = service_fn(move |request| {
        let venue = venue.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(venue, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_PATIENCE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
    drop(permit);
}

async fn answer(venue: Arc<Venue>, request: HttpRequest<Incoming>) -> Response<Full<Bytes>> {
    let target = match Target::of(&request) {
        Ok(target) => target,
        Err(refusal) => return respond(refusal.into()),
    };
    let credentials = match Credentials::of(request.headers()) {
        Ok(credentials) => credentials,
        Err(_) if target.face == Face::Data => return respond(unauthorized_data()),
        Err(refusal) => return respond(refusal.into()),
    };
    if websocket::is_wanted(request.headers()) {
        return match target.face {
            Face::TradeStream => stream::trades(venue, request, credentials),
            Face::Data => data::stream(venue, request, credentials),
            _ => respond(Refusal::not_found("endpoint not found").into()),
        };
    }
    let answer = match target.face {
        Face::Trading | Face::Control => own(venue, target, credentials, request).await,
        Face::TradeStream => Err(Refusal::new(426, 42_610_000, "this endpoint speaks websocket")),
        Face::Data => return data::rest(venue, credentials, request).await,
    };
    respond(answer.unwrap_or_else(Answer::from))
}

/// A request for an account.
async fn own(
    venue: Arc<Venue>,
    target: Target,
    credentials: Option<Credentials>,
    request: HttpRequest<Incoming>,
) -> Result<Answer, Refusal> {
    let credentials = credentials.ok_or_else(Refusal::unauthorized)?;
    let (name, desk) = venue.of_key(&credentials.key_id, credentials.secret.as_deref())?;
    let method = request.method().as_str().to_owned();
    let body = read(&method, request).await?;
    let Target { face, path, query } = target;
    let request = Request { method, path, query, body };
    let work = venue.clone();
    let place = desk.queue().await;
    // An account's turn may walk through years of ticks.
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        act(&work, face, name, desk, &request)
    })
    .await;
    let (answer, number) = done.map_err(|error| {
        tracing::error!(%error, "a request was not answered");
        Refusal::internal()
    })??;
    venue.written(number).await?;
    Ok(answer)
}

fn act(venue: &Venue, face: Face, name: String, desk: Arc<Desk>, request: &Request) -> Result<(Answer, u64), Refusal> {
    if face == Face::Control {
        return control::answer(venue, &(name, desk), request);
    }
    let (answer, number) = venue.act(&name, &desk, |turn| trading::answer(turn, request))?;
    Ok((answer.unwrap_or_else(Answer::from), number))
}

/// The body as JSON. None for an empty one.
async fn read(method: &str, request: HttpRequest<Incoming>) -> Result<Option<Json>, Refusal> {
    let (head, body) = request.into_parts();
    let limited = Limited::new(body, BODY_BYTES_MAX);
    let bytes = match timeout(READ_PATIENCE, limited.collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Refusal::new(413, 41_310_000, "request body is too large"));
        }
        Ok(Err(_)) => return Err(Refusal::malformed("request body cannot be read")),
        Err(_) => return Err(Refusal::new(408, 40_810_000, "request body took too long")),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    if !matches!(method, "POST" | "PATCH" | "PUT") {
        return Err(Refusal::malformed("this request has no body"));
    }
    if !is_json(&head.headers) {
        return Err(Refusal::new(415, 41_510_000, "request body must be application/json"));
    }
    crate::json::parse::json(&bytes).map(Some).map_err(|error| Refusal::malformed(error.to_string()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let body = answer.body.map(|body| body.to_string()).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body.clone())));
    *response.status_mut() =
        hyper::StatusCode::from_u16(answer.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    }
    let reset = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() + 60);
    headers.insert("x-ratelimit-limit", HeaderValue::from_static(RATE));
    headers.insert("x-ratelimit-remaining", HeaderValue::from_static(RATE));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    headers.insert("x-request-id", request_id());
    response
}

/// Tells two requests apart, for people who compare logs.
fn request_id() -> HeaderValue {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    HeaderValue::from_str(&format!("{:x}-{number:016x}", std::process::id()))
        .unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// What the data host says to whoever has no key, or another's.
fn unauthorized_data() -> Answer {
    Answer { status: 401, body: Some(object! { "code" => 40_110_000_u64, "message" => "forbidden." }) }
}

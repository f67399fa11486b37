//! Market data at the listener: the account's time is put to pure functions, and a websocket is pumped as that time moves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{
    credentials::Credentials,
    respond, unauthorized_data,
    websocket::{self, PING_EVERY, SEND_PATIENCE, Socket},
};
use crate::{
    data::{
        LABEL, handle,
        stream::{Codec, Frame, Route, Session, StreamError, route},
    },
    refusal::Refusal,
    trading::Answer,
    venue::{Desk, Venue},
};

/// How long a client may take to say who it is.
const AUTH_PATIENCE: Duration = Duration::from_secs(10);

/// How often a stream looks at the clock.
const LOOK: Duration = Duration::from_millis(50);

/// Answers a request to the data host.
pub(super) async fn rest(
    venue: Arc<Venue>,
    credentials: Option<Credentials>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let Some(credentials) = credentials else { return respond(unauthorized_data()) };
    let Ok((_, desk)) = venue.of_key(&credentials.key_id, credentials.secret.as_deref()) else {
        return respond(unauthorized_data());
    };
    let (method, uri) = (request.method().as_str().to_owned(), request.uri().clone());
    let place = desk.queue().await;
    let done = tokio::task::spawn_blocking(move || {
        let now = venue.now(&desk);
        drop(place);
        handle(&venue.shelf().tape, &method, uri.path(), uri.query().unwrap_or_default(), now)
    });
    let Ok(answer) = done.await else { return respond(Refusal::internal().into()) };
    let mut response = respond(Answer { status: answer.status, body: None });
    *response.body_mut() = Full::new(Bytes::from(answer.body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if let Ok(name) = HeaderName::from_bytes(LABEL.0.as_bytes()) {
        headers.insert(name, HeaderValue::from_static(LABEL.1));
    }
    response
}

/// Makes a connection a stream of market data.
pub(super) fn stream(
    venue: Arc<Venue>,
    mut request: Request<Incoming>,
    header: Option<Credentials>,
) -> Response<Full<Bytes>> {
    let route = route(request.uri().path());
    if route == Route::Unknown {
        return respond(Refusal::not_found("endpoint not found").into());
    }
    let response = match websocket::accept(&request) {
        Ok(response) => response,
        Err(refusal) => return respond(refusal.into()),
    };
    debug_assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let codec = if websocket::is_msgpack(request.headers()) { Codec::MsgPack } else { Codec::Json };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Some(socket) = websocket::open(upgrade).await {
            let mut pump =
                Pump { venue, socket, session: Session::new(codec), header, desk: None, sent_until: Timestamp::MIN };
            let _ = pump.run(route).await;
            let _ = timeout(SEND_PATIENCE, pump.socket.close(None)).await;
        }
    });
    response
}

struct Pump {
    venue: Arc<Venue>,
    socket: Socket,
    session: Session,
    /// Who the handshake said it is; the first frame may say otherwise.
    header: Option<Credentials>,
    desk: Option<Arc<Desk>>,
    /// Up to when everything was sent.
    sent_until: Timestamp,
}

/// The connection is over.
struct Over;

impl Pump {
    async fn run(&mut self, route: Route) -> Result<(), Over> {
        self.send(self.session.greet()).await?;
        if let Route::Refused(why) = route {
            return self.send(self.session.refusal(why)).await;
        }
        let auth_by = Instant::now() + AUTH_PATIENCE;
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.message(text.as_bytes()).await?,
                        Some(Ok(Message::Binary(bytes))) => self.message(&bytes).await?,
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                        _ => return Err(Over),
                    }
                }
                _ = look.tick(), if self.session.is_subscribed() => self.pump().await?,
                () = tokio::time::sleep_until(auth_by), if self.desk.is_none() => {
                    return self.send(self.session.error(StreamError::AuthTimeout)).await;
                }
                _ = ping.tick() => {
                    if heard.elapsed() > PING_EVERY * 2 {
                        return Err(Over);
                    }
                    self.put(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    async fn message(&mut self, message: &[u8]) -> Result<(), Over> {
        let subscribed = self.session.is_subscribed();
        let frames = self.session.on_frame(message);
        if self.desk.is_none()
            && let Some(key) = self.session.key()
        {
            // An account that the handshake names without a secret is the gate's word, and counts whatever the frame says. Else
            // the frame's secret stays with the state machine: a key id is as good as an account here, as for data.
            let named = self.header.as_ref().filter(|header| header.secret.is_none());
            let key = named.map_or(key, |header| header.key_id.as_str());
            let secret = self.header.as_ref().filter(|header| header.key_id == key).and_then(|h| h.secret.clone());
            match self.venue.of_key(key, secret.as_deref()) {
                Ok((_, desk)) => self.desk = Some(desk),
                Err(_) => return self.send(self.session.error(StreamError::AuthFailed)).await.and(Err(Over)),
            }
        }
        if !subscribed && let Some(desk) = &self.desk {
            // Nothing of before the first subscription is sent.
            self.sent_until = self.now(desk.clone()).await;
        }
        for frame in frames {
            self.send(frame).await?;
        }
        Ok(())
    }

    async fn now(&mut self, desk: Arc<Desk>) -> Timestamp {
        let venue = self.venue.clone();
        let place = desk.queue().await;
        let shown = tokio::task::spawn_blocking(move || {
            let _place = place;
            venue.now(&desk)
        });
        shown.await.unwrap_or(self.sent_until)
    }

    /// Sends what has happened since the last time.
    async fn pump(&mut self) -> Result<(), Over> {
        let Some(desk) = self.desk.clone() else { return Ok(()) };
        let now = self.now(desk).await;
        while self.sent_until < now {
            let tape = self.venue.shelf().tape;
            let advance = tokio::task::block_in_place(|| self.session.advance(&tape, self.sent_until, now));
            for frame in advance.frames {
                self.send(frame).await?;
            }
            if advance.reached <= self.sent_until {
                return Ok(());
            }
            self.sent_until = advance.reached;
        }
        Ok(())
    }

    async fn put(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over),
            Err(_) => {
                // It does not take what it is sent, and will hardly take this either.
                let frame = self.session.error(StreamError::SlowClient);
                let _ = timeout(Duration::from_secs(1), self.socket.send(wire(frame))).await;
                Err(Over)
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), Over> {
        self.put(wire(frame)).await
    }
}

fn wire(frame: Frame) -> Message {
    if frame.is_binary {
        return Message::Binary(frame.payload.into());
    }
    match String::from_utf8(frame.payload) {
        Ok(text) => Message::Text(text.into()),
        Err(bytes) => Message::Binary(bytes.into_bytes().into()),
    }
}

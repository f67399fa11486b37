//! A sandbox's end of a stream: the gate is its server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use ringfence_model::net::{DenialReason, HostName};
use ringfence_store::SecretValue;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::codec::Codec;
use super::line::{self, LineEnd, Out};
use super::market::Market;
use super::updates::Updates;
use super::wire::{self, Socket};
use super::wish::Channels;
use super::words::{self, Refusal, Said};
use super::{Ask, Login, Place, Talks, Target};
use crate::gate::desk::{Access, KEYS};
use crate::gate::lead::Way;
use crate::gate::record::Passage;
use crate::gate::request::leash::Terms;
use crate::gate::room::Room;
use crate::secret::Spot;

/// How long a program may take to say who it is. (Alpaca: ten seconds.)
const LOGIN_TIME: Duration = Duration::from_secs(10);
/// Longest wait for what the venue says to a program's message.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Longest time for a program to take a frame before it is too slow.
const SEND_TIME: Duration = Duration::from_secs(30);
/// How long it may take for the last word.
const GOODBYE_TIME: Duration = Duration::from_secs(5);
/// How often a quiet program is asked whether it is there; one that says nothing for twice as long is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Bytes of why a socket is closed (RFC 6455, section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gate) enum Kind {
    /// What a market says, by these channels.
    Market(Channels),
    /// What becomes of orders.
    Updates,
}

/// A socket that was let through.
pub(in crate::gate) struct Seat {
    terms: Terms,
    passage: Arc<Passage>,
    kind: Kind,
    codec: Codec,
    /// Key id and secret as the handshake has them.
    shaken: Option<(String, String)>,
}

/// A future that is ready when the socket is no longer let through.
type Ended = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Why a socket is over.
enum Over {
    /// The program has left.
    Left,
    /// With this word.
    Said(Message),
    /// It is refused, with this word.
    Refused(DenialReason, Option<String>, Option<Message>),
}

/// A secret that the venue was told for this socket.
struct Used {
    name: String,
    value: Arc<SecretValue>,
}

/// A socket in use.
struct Sitting {
    seat: Seat,
    socket: Socket,
    ended: Ended,
    place: Option<Place>,
    /// What comes from upstream.
    line: Option<LineEnd>,
    /// The last word from there.
    word: Option<oneshot::Receiver<Message>>,
    /// By when something has to be said: by the program who it is, or by the venue what it was asked.
    due: Option<Instant>,
    /// Whether the program's next message waits for the answer to its last one.
    is_asking: bool,
}

/// Returns when what is in force no longer lets it through, or a secret has another value than was used.
fn ended(terms: &Terms, used: Vec<Used>) -> Ended {
    let terms = terms.clone();
    Box::pin(async move {
        tokio::select! {
            message = terms.broken() => message,
            name = rotated(&terms.room, &used) => {
                Some(format!("secret `{name}`, with which this stream was opened, has another value now"))
            }
        }
    })
}

async fn rotated(room: &Room, used: &[Used]) -> String {
    let mut watch = room.watch();
    loop {
        let force = watch.borrow_and_update().clone();
        let is_same = |used: &Used| {
            let now = force.injector.secrets().iter().find(|secret| secret.name == used.name);
            now.and_then(|secret| secret.value.as_ref()).is_some_and(|now| now.expose() == used.value.expose())
        };
        if let Some(used) = used.iter().find(|used| !is_same(used)) {
            return used.name.clone();
        }
        if watch.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The next frame from upstream. Without a place there is none.
async fn next(line: &mut Option<LineEnd>) -> Option<Out> {
    match line {
        Some(line) => line.next().await,
        None => std::future::pending().await,
    }
}

/// The last word from upstream.
async fn last(word: &mut Option<oneshot::Receiver<Message>>) -> Option<Message> {
    match word {
        Some(word) => word.await.ok(),
        None => std::future::pending().await,
    }
}

impl Seat {
    pub(in crate::gate) fn new(terms: Terms, passage: Arc<Passage>, kind: Kind, headers: &HeaderMap) -> Self {
        let otherwise = match kind {
            Kind::Market(_) => Codec::Json,
            // As Alpaca's paper host does; its clients take either.
            Kind::Updates => Codec::BinaryJson,
        };
        let [id, secret, _] = &KEYS;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let shaken = text(id).zip(text(secret));
        Self { terms, passage, kind, codec: Codec::of(headers, otherwise), shaken }
    }

    /// Serves the sandbox until one side is done, or it is refused.
    pub(in crate::gate) async fn run(self, upgrade: OnUpgrade) {
        let Some(socket) = wire::accepted(upgrade).await else { return };
        let ended = ended(&self.terms, vec![]);
        let due = Some(Instant::now() + LOGIN_TIME);
        let mut sitting =
            Sitting { seat: self, socket, ended, place: None, line: None, word: None, due, is_asking: false };
        let over = match sitting.talk().await {
            Ok(never) => match never {},
            Err(over) => over,
        };
        sitting.end(over).await;
    }

    fn error(&self, refusal: &Refusal) -> Message {
        match self.kind {
            Kind::Market(_) => refusal.frame(self.codec),
            Kind::Updates => words::trouble(self.codec, &refusal.text),
        }
    }

    /// That the key is none.
    fn not_authorized(&self) -> Message {
        match self.kind {
            Kind::Market(_) => Refusal::auth_failed().frame(self.codec),
            Kind::Updates => words::authorization(self.codec, "authenticate", false),
        }
    }

    /// That who it is has to be said first.
    fn not_yet(&self) -> Message {
        match self.kind {
            Kind::Market(_) => Refusal::not_authenticated().frame(self.codec),
            Kind::Updates => words::authorization(self.codec, "listen", false),
        }
    }
}

impl Sitting {
    async fn talk(&mut self) -> Result<std::convert::Infallible, Over> {
        if let Kind::Market(_) = self.seat.kind {
            self.put(words::success(self.seat.codec, "connected")).await?;
            if let Some((id, secret)) = self.seat.shaken.clone() {
                self.login((Spot::Header(&KEYS[0]), id), (Spot::Header(&KEYS[1]), secret)).await?;
            }
        }
        let mut heard_at = Instant::now();
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let (due, is_asking) = (self.due, self.is_asking);
            tokio::select! {
                message = &mut self.ended => return Err(Over::Refused(DenialReason::PolicyChanged, message, None)),
                out = next(&mut self.line) => {
                    let Some(out) = out else { return Err(self.cut_off().await) };
                    if out.is_answer {
                        (self.due, self.is_asking) = (None, false);
                    }
                    self.put(out.message).await?;
                }
                word = last(&mut self.word) => return Err(self.last_word(word)),
                message = self.socket.next(), if !is_asking => {
                    heard_at = Instant::now();
                    match message {
                        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => self.heard(message).await?,
                        // Pongs go out by themselves.
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over::Left),
                    }
                }
                () = sleep_until(due.unwrap_or(heard_at)), if due.is_some() => {
                    let late = match self.place {
                        None => Refusal::late(),
                        Some(_) => Refusal::internal("the venue did not answer in time"),
                    };
                    return Err(Over::Said(self.seat.error(&late)));
                }
                _ = ping.tick() => {
                    if !self.is_asking && heard_at.elapsed() > PING_EVERY * 2 {
                        return Err(Over::Left);
                    }
                    self.put(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// Nothing comes any more: with a last word, or because the gate ends.
    async fn cut_off(&mut self) -> Over {
        let word = timeout(GOODBYE_TIME, last(&mut self.word)).await.ok().flatten();
        self.last_word(word)
    }

    fn last_word(&self, word: Option<Message>) -> Over {
        Over::Said(word.unwrap_or_else(|| self.seat.error(&Refusal::internal("the stream is gone"))))
    }

    /// Writes a frame, for as long as the socket is let through and its program takes it.
    async fn put(&mut self, message: Message) -> Result<(), Over> {
        let bytes = message.len();
        let sent = tokio::select! {
            sent = timeout(SEND_TIME, self.socket.send(message)) => sent,
            message = &mut self.ended => return Err(Over::Refused(DenialReason::PolicyChanged, message, None)),
            word = last(&mut self.word) => return Err(self.last_word(word)),
        };
        match sent {
            Ok(Ok(())) => {
                self.seat.passage.received(bytes);
                Ok(())
            }
            Ok(Err(_)) => Err(Over::Left),
            Err(_) => Err(Over::Said(self.seat.error(&Refusal::slow()))),
        }
    }

    async fn heard(&mut self, message: Message) -> Result<(), Over> {
        self.seat.passage.sent(message.len());
        let said = match self.seat.kind {
            Kind::Market(channels) => words::read_market(&message, channels),
            Kind::Updates => words::read_updates(&message),
        };
        match (said, self.place.is_some()) {
            (Said::Login { .. } | Said::LoginAgain, true) => {
                let already = self.seat.error(&Refusal::already());
                self.put(already).await
            }
            (Said::Login { id, secret }, false) => {
                self.login((Spot::Frame(id.0), id.1), (Spot::Frame(secret.0), secret.1)).await
            }
            (Said::LoginAgain, false) => {
                let (id, secret) = self.seat.shaken.clone().unwrap_or_default();
                self.login((Spot::Header(&KEYS[0]), id), (Spot::Header(&KEYS[1]), secret)).await
            }
            (said, is_in) => {
                self.search(&message)?;
                match (said, is_in) {
                    (Said::Ask(ask), true) => self.ask(ask),
                    (Said::Ask(_), false) => {
                        let not_yet = self.seat.not_yet();
                        self.put(not_yet).await?;
                    }
                    _ => {
                        let syntax = self.seat.error(&Refusal::syntax());
                        self.put(syntax).await?;
                    }
                }
                Ok(())
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        if let Some(place) = &self.place {
            place.ask(ask);
            self.is_asking = true;
            self.due = Some(Instant::now() + ANSWER_TIME);
        }
    }

    /// A placeholder stands in no message but the one that says who it is.
    fn search(&self, message: &Message) -> Result<(), Over> {
        let bytes = match message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            _ => return Ok(()),
        };
        if self.is_of_exchange() {
            return Ok(());
        }
        match self.seat.terms.room.force().injector.scanner().feed(bytes) {
            None => Ok(()),
            Some(secret) => {
                let why = format!(
                    "the placeholder of secret `{secret}` stands in a websocket message, where it is not bound to be"
                );
                Err(Over::Refused(DenialReason::PlaceholderMisplaced, Some(why), None))
            }
        }
    }

    /// Placeholders mean nothing there.
    fn is_of_exchange(&self) -> bool {
        self.seat.terms.lead.as_ref().is_some_and(|lead| lead.way == Way::Exchange)
    }

    /// The program says who it is.
    async fn login(&mut self, id: (Spot<'_>, String), secret: (Spot<'_>, String)) -> Result<(), Over> {
        let terms = self.seat.terms.clone();
        let Some((lead, host)) = terms.lead.clone().zip(terms.asked.host.clone()) else { return Err(Over::Left) };
        let target =
            |path: &str, login| Target { lead: lead.clone(), host: host.clone(), path: path.to_owned(), login };
        let path = match self.seat.kind {
            // One stream, whichever way it is written.
            Kind::Updates => terms.asked.path.trim_end_matches('/').to_owned(),
            Kind::Market(_) => terms.asked.path.clone(),
        };
        let (line, taken, word) = line::line();
        let guest = (terms.room.id.clone(), self.seat.codec, line);
        let joined = if self.is_of_exchange() {
            let (id, secret) = (SecretValue::new(id.1), SecretValue::new(secret.1));
            let account = match terms.room.chosen() {
                Some(account) => {
                    terms.gate.has_traded(&account, &terms.room.id);
                    account
                }
                None => {
                    let access = self.access(id, secret)?;
                    self.account(&access, &host).await?
                }
            };
            let Some(access) = Access::of_exchange(&lead, &account) else {
                return Err(Over::Said(self.seat.not_authorized()));
            };
            let login = Login::Account(account.clone());
            let talk = || Talks::Updates(Updates::new(account, access, login.clone()));
            terms.gate.join_feed(target(&path, login.clone()), talk, guest)
        } else {
            let [id, secret] = [self.secret(id)?, self.secret(secret)?];
            let names = [id.name.clone(), secret.name.clone()];
            let about = terms.asked.about(terms.to);
            // Its passage is settled at once: that of the socket counts the bytes, this one says which secrets were used.
            if let Err(error) = terms.gate.allow_message(&terms.room, &about, &names).await {
                tracing::error!(sandbox = %terms.room.id, %error, "the use of a secret could not be recorded");
                return Err(Over::Said(self.seat.error(&Refusal::internal("the gate could not write it down"))));
            }
            let login = Login::Keys { id: id.value.clone(), secret: secret.value.clone() };
            let values = (SecretValue::new(id.value.expose()), SecretValue::new(secret.value.expose()));
            self.seat.terms.secrets.extend(names);
            self.ended = ended(&self.seat.terms, vec![id, secret]);
            match self.seat.kind {
                Kind::Market(channels) => {
                    let talk = || Talks::Market(Market::new(login.clone(), channels));
                    terms.gate.join_feed(target(&path, login.clone()), talk, guest)
                }
                Kind::Updates => {
                    let access = self.access(values.0, values.1)?;
                    let account = self.account(&access, &host).await?;
                    let talk = || Talks::Updates(Updates::new(account, access, login.clone()));
                    terms.gate.join_feed(target(&path, login.clone()), talk, guest)
                }
            }
        };
        match joined {
            Ok(place) => {
                (self.place, self.line, self.word) = (Some(place), Some(taken), Some(word));
                self.is_asking = true;
                self.due = Some(Instant::now() + ANSWER_TIME);
                Ok(())
            }
            Err(refusal) => Err(Over::Said(match (self.seat.kind, refusal.code) {
                (Kind::Updates, 402) => self.seat.not_authorized(),
                _ => self.seat.error(&refusal),
            })),
        }
    }

    /// The secret that a text is the placeholder of, if it may go there in this place.
    fn secret(&self, (spot, text): (Spot<'_>, String)) -> Result<Used, Over> {
        let terms = &self.seat.terms;
        let force = terms.room.force();
        let word = || Some(self.seat.not_authorized());
        match force.injector.named(terms.destination(), spot, &text) {
            Ok(Some((name, value))) => Ok(Used { name, value }),
            Ok(None) => {
                let why = "the key of a stream has to be one of the sandbox's placeholders, and is none of them";
                Err(Over::Refused(DenialReason::TradeRefused, Some(why.to_owned()), word()))
            }
            Err(refusal) => Err(Over::Refused(DenialReason::PlaceholderMisplaced, Some(refusal.to_string()), word())),
        }
    }

    /// How the venue is asked whose account it is.
    fn access(&self, id: SecretValue, secret: SecretValue) -> Result<Access, Over> {
        let Some(lead) = self.seat.terms.lead.clone() else { return Err(Over::Left) };
        let mut headers = HeaderMap::new();
        let [id_name, secret_name, _] = &KEYS;
        for (name, value) in [(id_name, id), (secret_name, secret)] {
            let value = HeaderValue::from_bytes(value.expose());
            let mut value = value.map_err(|_| Over::Said(self.seat.not_authorized()))?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        headers.remove(header::AUTHORIZATION);
        Ok(Access { lead, headers, key: None })
    }

    async fn account(&mut self, access: &Access, host: &HostName) -> Result<ringfence_model::trade::AccountId, Over> {
        let gate = self.seat.terms.gate.clone();
        let found = tokio::select! {
            found = timeout(ANSWER_TIME, gate.whose(access, host)) => found,
            message = &mut self.ended => return Err(Over::Refused(DenialReason::PolicyChanged, message, None)),
        };
        match found {
            Ok(Ok(account)) => {
                gate.has_traded(&account, &self.seat.terms.room.id);
                Ok(account)
            }
            Ok(Err(refusal)) => {
                tracing::debug!(sandbox = %self.seat.terms.room.id, %refusal, "whose account it is could not be found out");
                Err(Over::Said(self.seat.not_authorized()))
            }
            Err(_) => Err(Over::Said(self.seat.error(&Refusal::internal("the venue did not answer in time")))),
        }
    }

    /// The last word, once it is recorded.
    async fn end(mut self, over: Over) {
        // What it shared goes on without it.
        (self.place, self.line) = (None, None);
        let (word, close) = match over {
            Over::Left => (None, CloseFrame { code: CloseCode::Normal, reason: "".into() }),
            Over::Said(word) => (Some(word), CloseFrame { code: CloseCode::Normal, reason: "".into() }),
            Over::Refused(reason, message, word) => {
                let denial = self.seat.terms.deny(reason, message).await;
                (word, CloseFrame { code: CloseCode::Policy, reason: cut(&denial.message).into() })
            }
        };
        let goodbye = async {
            if let Some(word) = word {
                self.seat.passage.received(word.len());
                self.socket.send(word).await.ok()?;
            }
            self.socket.close(Some(close)).await.ok()?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Some(())
        };
        let _ = timeout(GOODBYE_TIME, goodbye).await;
    }
}

/// As much of a sentence as a close has room for.
fn cut(text: &str) -> String {
    let end = (0..=REASON_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

//! What a market says, told to those who asked for it: one subscription upstream, which is the union of all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, header};
use rmpv::Value;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::codec::{self, Codec, text};
use super::upstream::{Over, Talk};
use super::wish::{Channels, SYMBOLS_MAX, Wish};
use super::words::{self, Refusal};
use super::{Ask, Guest, Guests, Login};
use crate::gate::Gate;
use crate::secret::Echo;

/// Longest wait for a venue's answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Symbols of one connection over all channels and sandboxes.
const UNION_MAX: usize = 50_000;
/// A venue says so of a key that is none: nobody is helped by trying again.
const AUTH_FAILED: u64 = 402;
/// A venue says so of a gate that is too slow.
const SLOW_CLIENT: u64 = 407;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Away,
    /// The venue is to greet.
    Greeting,
    /// It is to say whether the key is one.
    Login,
    Ready,
}

/// A request upstream that was not answered yet. There is one at a time, so that an answer has one meaning.
#[derive(Debug)]
struct Flight {
    /// Whose it is, and what that socket hears when all is well; none for what the gate asks by itself, or when it has left.
    of: Option<(u64, Wish)>,
    /// Whether the gate asks by itself.
    is_own: bool,
    /// What it adds.
    adds: Wish,
}

/// One connection for a market's data.
pub(super) struct Market {
    login: Login,
    channels: Channels,
    guests: Guests<Wish>,
    phase: Phase,
    /// What the venue was asked to send.
    told: Wish,
    /// Whether it may be more than somebody wants still, or less.
    is_stale: bool,
    flight: Option<Flight>,
    /// What sandboxes have asked for, in order.
    queue: VecDeque<(u64, Ask)>,
    says: VecDeque<Message>,
    due: Option<Instant>,
    /// What the venue does not send although it was asked to, and was asked for twice.
    retried: Wish,
    /// The error that everybody was told already.
    error: Option<u64>,
    masks: Vec<Echo>,
}

impl Market {
    pub(super) fn new(login: Login, channels: Channels) -> Self {
        let masks = match &login {
            Login::Keys { id, secret } => vec![Echo::new(id.expose()), Echo::new(secret.expose())],
            Login::Account(_) => vec![],
        };
        Self {
            login,
            channels,
            guests: Guests::new(),
            phase: Phase::Away,
            told: Wish::default(),
            is_stale: false,
            flight: None,
            queue: VecDeque::new(),
            says: VecDeque::new(),
            due: None,
            retried: Wish::default(),
            error: None,
            masks,
        }
    }

    fn say(&mut self, number: u64, message: Message, is_answer: bool) {
        self.guests.say(number, message, is_answer, |codec| Refusal::slow().frame(codec));
    }

    fn answer(&mut self, number: u64, words: impl FnOnce(Codec) -> Message) {
        if let Some(codec) = self.guests.all.get(&number).map(|seated| seated.codec) {
            self.say(number, words(codec), true);
        }
    }

    fn everybody(&mut self, refusal: &Refusal) {
        let all: Vec<_> = self.guests.all.iter().map(|(number, seated)| (*number, seated.codec)).collect();
        for (number, codec) in all {
            self.say(number, refusal.frame(codec), false);
        }
    }

    fn let_in(&mut self, number: u64) {
        if let Some(seated) = self.guests.all.get_mut(&number).filter(|seated| !seated.is_in) {
            seated.is_in = true;
            self.answer(number, |codec| words::success(codec, "authenticated"));
        }
    }

    /// From now on this is what a socket hears, and it is told.
    fn grant(&mut self, number: u64, wish: Wish) {
        let channels = self.channels;
        if let Some(seated) = self.guests.all.get_mut(&number) {
            seated.wish = wish;
            let told = words::subscription(seated.codec, &seated.wish, channels);
            self.say(number, told, true);
        }
    }

    fn union(&self) -> Wish {
        let mut union = Wish::default();
        self.guests.all.values().for_each(|seated| union.add(&seated.wish));
        union
    }

    fn request(&mut self, action: &str, wish: &Wish) {
        let mut fields = vec![("action".into(), action.into())];
        fields.extend(wish.fields(self.channels, false));
        self.says.push_back(Codec::Msgpack.frame(&Value::Map(fields)));
        self.due = Some(Instant::now() + ANSWER_TIME);
    }

    fn subscribe(&mut self, of: Option<(u64, Wish)>, adds: Wish) {
        self.request("subscribe", &adds);
        self.told.add(&adds);
        self.flight = Some(Flight { is_own: of.is_none(), of, adds });
    }

    /// Carries out what was asked for, up to where the venue has to answer first.
    fn go_on(&mut self) {
        while self.flight.is_none() {
            let Some((number, ask)) = self.queue.pop_front() else { break };
            let Some(seated) = self.guests.all.get(&number) else { continue };
            match ask {
                Ask::Subscribe(asked) => {
                    let mut wish = seated.wish.clone();
                    wish.add(&asked);
                    let missing = asked.without(&self.told);
                    let all = self.told.len().saturating_add(missing.len());
                    if wish.len() > SYMBOLS_MAX || all > UNION_MAX {
                        self.answer(number, |codec| Refusal::symbols().frame(codec));
                    } else if self.phase != Phase::Ready || missing.is_empty() {
                        self.grant(number, wish);
                    } else {
                        self.subscribe(Some((number, wish)), missing);
                    }
                }
                Ask::Unsubscribe(asked) => {
                    let wish = seated.wish.without(&asked);
                    self.is_stale = true;
                    self.grant(number, wish);
                }
                Ask::Listen(_) => self.answer(number, |codec| Refusal::syntax().frame(codec)),
            }
        }
        if self.phase != Phase::Ready || self.flight.is_some() || !self.is_stale {
            return;
        }
        let union = self.union();
        let (missing, surplus) = (union.without(&self.told), self.told.without(&union));
        if !missing.is_empty() {
            self.subscribe(None, missing);
        } else if !surplus.is_empty() {
            self.request("unsubscribe", &surplus);
            self.told = self.told.without(&surplus);
            self.flight = Some(Flight { of: None, is_own: true, adds: Wish::default() });
        } else {
            self.is_stale = false;
        }
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.is_stale = true;
        self.due = None;
        self.error = None;
        let waiting: Vec<u64> = self.guests.all.keys().copied().collect();
        waiting.into_iter().for_each(|number| self.let_in(number));
        self.go_on();
    }

    /// The venue says what it sends from now on.
    fn subscribed(&mut self, message: &Value) {
        let Some(flight) = self.flight.take() else { return };
        self.due = None;
        if let Some((number, wish)) = flight.of {
            self.grant(number, wish);
        }
        // Whoever had asked for all may have been taken for somebody who had not asked for one as well.
        let lacking = self.union().lacking(&Wish::told(message, self.channels));
        if lacking != self.retried {
            self.told = self.told.without(&lacking);
            self.retried = lacking;
            self.is_stale = true;
        }
        self.go_on();
    }

    fn error(&mut self, refusal: Refusal) -> Result<(), Over> {
        if self.phase != Phase::Ready {
            return Err(Over::Refused(refusal));
        }
        if refusal.code == SLOW_CLIENT {
            return Err(Over::Lost("the venue says that the gate is slow".to_owned()));
        }
        let Some(flight) = self.flight.take() else {
            self.everybody(&refusal);
            return Ok(());
        };
        self.due = None;
        if flight.is_own {
            // What it refuses is not asked for again by this connection.
            self.everybody(&refusal);
        } else {
            self.told = self.told.without(&flight.adds);
        }
        if let Some((number, _)) = flight.of {
            self.answer(number, |codec| refusal.frame(codec));
        }
        self.go_on();
        Ok(())
    }

    fn control(&mut self, message: &Value) -> Result<(), Over> {
        if let Some(refusal) = Refusal::read(message) {
            return self.error(refusal);
        }
        match (self.phase, text(message, "T"), text(message, "msg")) {
            (Phase::Greeting, Some("success"), Some("connected")) => {
                self.phase = Phase::Login;
                if let Login::Keys { id, secret } = &self.login {
                    let word = |value: &[u8]| Value::from(String::from_utf8_lossy(value).into_owned());
                    let auth =
                        [("action", "auth".into()), ("key", word(id.expose())), ("secret", word(secret.expose()))];
                    self.says.push_back(Codec::Msgpack.frame(&codec::object(auth)));
                }
            }
            (Phase::Login, Some("success"), Some("authenticated")) => self.ready(),
            (Phase::Ready, Some("subscription"), _) => self.subscribed(message),
            _ => {}
        }
        Ok(())
    }

    /// Tells each what it has asked for, in the order in which it came.
    fn fan_out(&mut self, batch: &[(&'static str, &Value)]) {
        if batch.is_empty() {
            return;
        }
        let mut parts: BTreeMap<bool, Vec<Vec<u8>>> = BTreeMap::new();
        let mut frames: BTreeMap<(bool, Vec<usize>), Message> = BTreeMap::new();
        let mut out = Vec::new();
        for (number, seated) in &self.guests.all {
            let wanted = batch.iter().enumerate().filter(|(_, (channel, message))| seated.wish.has(channel, message));
            let wanted: Vec<usize> = wanted.map(|(at, _)| at).collect();
            if wanted.is_empty() {
                continue;
            }
            // Most ask for the same, and are sent the same bytes.
            let codec = seated.codec;
            let is_msgpack = codec == Codec::Msgpack;
            let frame = frames.entry((is_msgpack, wanted)).or_insert_with_key(|(_, wanted)| {
                let parts = parts
                    .entry(is_msgpack)
                    .or_insert_with(|| batch.iter().map(|(_, message)| codec.part(message)).collect());
                let chosen: Vec<&[u8]> = wanted.iter().filter_map(|at| parts.get(*at).map(Vec::as_slice)).collect();
                codec.list(chosen.into_iter())
            });
            out.push((*number, frame.clone()));
        }
        for (number, frame) in out {
            self.say(number, frame, false);
        }
    }

    /// Takes a frame of the venue: what it says of itself, and what it tells.
    fn read(&mut self, message: &Message) -> Result<(), Over> {
        let Some(Value::Array(messages)) = self.masked(message) else {
            return Err(Over::Lost("the venue says what cannot be read".to_owned()));
        };
        let channels = self.channels;
        let mut batch = Vec::new();
        for message in &messages {
            match text(message, "T").and_then(|kind| channels.of_kind(kind)) {
                Some(channel) => batch.push((channel, message)),
                None => {
                    self.fan_out(&std::mem::take(&mut batch));
                    self.control(message)?;
                }
            }
        }
        self.fan_out(&batch);
        Ok(())
    }

    /// The message with nothing in it of the key that the venue was told.
    fn masked(&self, message: &Message) -> Option<Value> {
        let bytes = match message {
            Message::Text(text) => bytes::Bytes::copy_from_slice(text.as_bytes()),
            Message::Binary(bytes) => bytes.clone(),
            _ => return None,
        };
        let masks = self.masks.iter().map(|echo| echo.mask().of_equal_length());
        codec::read_bytes(&masks.fold(bytes, |bytes, mask| mask.whole(bytes)))
    }
}

impl Talk for Market {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // The one form that every stream of Alpaca has, and in which numbers and instants are exact.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/msgpack"));
        headers
    }

    fn join(&mut self, guest: Guest) {
        let number = guest.number;
        self.guests.join(guest);
        if self.phase == Phase::Ready {
            self.let_in(number);
        }
    }

    fn ask(&mut self, number: u64, ask: Ask) {
        self.queue.push_back((number, ask));
        self.go_on();
    }

    fn leave(&mut self, number: u64) {
        self.guests.all.remove(&number);
        self.queue.retain(|(asking, _)| *asking != number);
        if let Some(flight) = &mut self.flight
            && flight.of.as_ref().is_some_and(|(asking, _)| *asking == number)
        {
            flight.of = None;
        }
        self.is_stale = true;
        self.go_on();
    }

    fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    fn begin(&mut self) {
        self.phase = Phase::Greeting;
        self.due = Some(Instant::now() + ANSWER_TIME);
    }

    fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn says(&mut self) -> Option<Message> {
        self.says.pop_front()
    }

    async fn heard(&mut self, _: &Arc<Gate>, message: &Message) -> Result<(), Over> {
        self.read(message)
    }

    fn lost(&mut self) {
        self.phase = Phase::Away;
        self.told = Wish::default();
        self.retried = Wish::default();
        self.says.clear();
        self.due = None;
        // It is what the next connection begins with.
        if let Some((number, wish)) = self.flight.take().and_then(|flight| flight.of) {
            self.grant(number, wish);
        }
        self.go_on();
    }

    fn refused(&mut self, refusal: &Refusal) {
        let is_final = refusal.code == AUTH_FAILED;
        let going = self.guests.all.iter().filter(|(_, seated)| is_final || !seated.is_in);
        let going: Vec<u64> = going.map(|(number, _)| *number).collect();
        going.into_iter().for_each(|number| self.guests.dismiss(number, |codec| refusal.frame(codec)));
        if self.error.replace(refusal.code) != Some(refusal.code) {
            self.everybody(refusal);
        }
    }
}

#[cfg(test)]
mod tests;

//! Alpaca's market data websocket as a state machine: frames in, frames out. Whoever listens owns the connection and the clock.
//!
//! [`Session::greet`] first, then [`Session::on_frame`] with each message of the client (put together from its fragments), and
//! [`Session::advance`] whenever the account's clock has moved. A minute's bar is sent when its minute is over, with the day's bar so far
//! (`dailyBars`). Derived trades are never corrected, so `updatedBars` stays silent; nothing is halted and no auction collects orders, so
//! `statuses`, `lulds` and `imbalances` do too.

mod codec;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use ringfence_market::{
    BarTape, Symbol, Tape, Tick, calendar,
    tape::{Frame as Length, Scale, Wanted},
};

pub use codec::Codec;

use super::{value::Value, words};

/// The longest message of a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The most symbols of all subscriptions of a session together.
pub const SYMBOLS_MAX: usize = 5000;

/// Messages of a frame.
const FRAME_MESSAGES: usize = 200;

/// Ticks of one call of [`Session::advance`], for each symbol.
const TICKS_MAX: usize = 2000;

/// The longest time that one call of [`Session::advance`] goes through.
const WINDOW: SignedDuration = SignedDuration::from_hours(8);

/// A frame for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Binary (`MessagePack`) or text (JSON).
    pub is_binary: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What a path of the stream's host leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Stocks: every feed is the same data.
    Stocks,
    /// Something that is not replayed, in a sentence: greet, send the error, close.
    Refused(&'static str),
    /// Nothing: 404 instead of a websocket.
    Unknown,
}

/// What a path of the stream's host leads to.
#[must_use]
pub fn route(path: &str) -> Route {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments[..] {
        ["v2", "iex" | "sip" | "delayed_sip" | "boats" | "overnight" | "otc"] => Route::Stocks,
        ["v2", "test"] => Route::Refused("there is no test stream: the replayed market is one"),
        ["v1beta1", "news"] => Route::Refused("there is no recorded news"),
        ["v1beta1", "crypto"] | ["v1beta2", "crypto"] | ["v1beta3", "crypto", ..] => {
            Route::Refused("crypto is not replayed")
        }
        ["v1beta1", "options" | "indicative" | "opra"] | ["v1beta1", "options", _] => {
            Route::Refused("options are not replayed")
        }
        _ => Route::Unknown,
    }
}

/// The errors of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamError {
    /// 400: a message that is not understood.
    Syntax,
    /// 401: something else than `auth` first.
    NotAuthenticated,
    /// 402: no key, or one that is not known.
    AuthFailed,
    /// 403: `auth` again.
    AlreadyAuthenticated,
    /// 404: no `auth` in time. The listener measures the time.
    AuthTimeout,
    /// 405: more than [`SYMBOLS_MAX`] symbols.
    SymbolLimit,
    /// 406: more connections than the account may have. The listener counts them.
    ConnectionLimit,
    /// 407: the client does not read what it is sent. The listener finds that out.
    SlowClient,
    /// 409: the data is not there.
    Insufficient,
    /// 500: a fault of ours.
    Internal,
}

impl StreamError {
    fn code(self) -> (u64, &'static str) {
        match self {
            Self::Syntax => (400, "invalid syntax"),
            Self::NotAuthenticated => (401, "not authenticated"),
            Self::AuthFailed => (402, "auth failed"),
            Self::AlreadyAuthenticated => (403, "already authenticated"),
            Self::AuthTimeout => (404, "auth timeout"),
            Self::SymbolLimit => (405, "symbol limit exceeded"),
            Self::ConnectionLimit => (406, "connection limit exceeded"),
            Self::SlowClient => (407, "slow client"),
            Self::Insufficient => (409, "insufficient subscription"),
            Self::Internal => (500, "internal error"),
        }
    }
}

/// The channels, in the order in which a subscription is told.
const CHANNELS: [&str; 10] = [
    "trades",
    "quotes",
    "bars",
    "updatedBars",
    "dailyBars",
    "statuses",
    "lulds",
    "corrections",
    "cancelErrors",
    "imbalances",
];
const TRADES: usize = 0;
const QUOTES: usize = 1;
const BARS: usize = 2;
const DAILY_BARS: usize = 4;
/// Those that come with trades and are not asked for.
const WITH_TRADES: [usize; 2] = [7, 8];
/// Newer than the others: told only where it was asked for.
const IMBALANCES: usize = 9;

/// Symbols of one channel; `*` are all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wish {
    all: bool,
    symbols: BTreeSet<Symbol>,
}

impl Wish {
    fn has(&self, symbol: &Symbol) -> bool {
        self.all || self.symbols.contains(symbol)
    }
}

/// What one call of [`Session::advance`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// What to send, in this order.
    pub frames: Vec<Frame>,
    /// How far it went: call again from here while this is before the end that was asked for. A listener does so when the client
    /// has taken what it was sent.
    pub reached: Timestamp,
}

/// One client of the stream.
#[derive(Debug)]
pub struct Session {
    codec: Codec,
    key: Option<String>,
    wishes: [Wish; CHANNELS.len()],
}

impl Session {
    /// A client that has just connected. It is spoken to in `MessagePack` when its handshake had `Content-Type: application/msgpack`,
    /// else in JSON.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, key: None, wishes: Default::default() }
    }

    /// What is sent first.
    #[must_use]
    pub fn greet(&self) -> Frame {
        self.success("connected")
    }

    /// The key that the client has given, from then on; the account goes by it.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether [`Self::advance`] can have anything to send.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        self.wishes.iter().any(|w| w.all || !w.symbols.is_empty())
    }

    /// An error as a frame.
    #[must_use]
    pub fn error(&self, error: StreamError) -> Frame {
        let (code, text) = error.code();
        self.said(code, text.into())
    }

    /// That something is not replayed, for [`Route::Refused`].
    #[must_use]
    pub fn refusal(&self, why: &'static str) -> Frame {
        let (code, text) = StreamError::Insufficient.code();
        self.said(code, format!("{text}: {why}; the simulated exchange replays stocks alone"))
    }

    fn said(&self, code: u64, text: String) -> Frame {
        let message =
            Value::map([("T", Value::text("error")), ("code", Value::Whole(code)), ("msg", Value::text(text))]);
        self.codec.frame(vec![message])
    }

    fn success(&self, text: &'static str) -> Frame {
        self.codec.frame(vec![Value::map([("T", Value::text("success")), ("msg", Value::text(text))])])
    }

    /// A message of the client, and what it is answered. After 402 the listener closes the connection.
    pub fn on_frame(&mut self, message: &[u8]) -> Vec<Frame> {
        let answer = match codec::request(message) {
            None => Err(StreamError::Syntax),
            Some(request) => self.on_request(&request),
        };
        vec![answer.unwrap_or_else(|error| self.error(error))]
    }

    fn on_request(&mut self, request: &codec::Request) -> Result<Frame, StreamError> {
        match (request.action.as_str(), &self.key) {
            ("auth", Some(_)) => Err(StreamError::AlreadyAuthenticated),
            ("auth", None) => {
                let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
                match (given(&request.key), given(&request.secret)) {
                    (Some(key), Some(_)) => {
                        self.key = Some(key);
                        Ok(self.success("authenticated"))
                    }
                    _ => Err(StreamError::AuthFailed),
                }
            }
            ("subscribe" | "unsubscribe", None) => Err(StreamError::NotAuthenticated),
            ("subscribe" | "unsubscribe", Some(_)) => {
                let mut wishes = self.wishes.clone();
                for (channel, texts) in &request.channels {
                    let at = CHANNELS.iter().position(|c| c == channel).ok_or(StreamError::Syntax)?;
                    for text in texts {
                        change(&mut wishes[at], text, request.action == "subscribe")?;
                    }
                }
                for at in WITH_TRADES {
                    wishes[at] = wishes[TRADES].clone();
                }
                let asked = wishes.iter().enumerate().filter(|(at, _)| !WITH_TRADES.contains(at));
                if asked.map(|(_, w)| w.symbols.len()).sum::<usize>() > SYMBOLS_MAX {
                    return Err(StreamError::SymbolLimit);
                }
                self.wishes = wishes;
                Ok(self.subscription())
            }
            _ => Err(StreamError::Syntax),
        }
    }

    /// The whole set, as every change is answered.
    fn subscription(&self) -> Frame {
        let mut fields = vec![("T", Value::text("subscription"))];
        for (at, (name, wish)) in CHANNELS.into_iter().zip(&self.wishes).enumerate() {
            if at == IMBALANCES && *wish == Wish::default() {
                continue;
            }
            let all = wish.all.then(|| Value::text("*"));
            let symbols = wish.symbols.iter().map(|s| Value::text(s.to_string()));
            fields.push((name, Value::List(all.into_iter().chain(symbols).collect())));
        }
        self.codec.frame(vec![words::map(fields)])
    }

    /// What happened after `from`, up to and including `to`, or as much of it as one call is for.
    #[must_use]
    pub fn advance(&self, tape: &BarTape, from: Timestamp, to: Timestamp) -> Advance {
        if !self.is_subscribed() || to <= from {
            return Advance { frames: Vec::new(), reached: to };
        }
        let mut to = to.min(from.checked_add(WINDOW).unwrap_or(to));
        let symbols: Vec<Symbol> =
            tape.symbols().into_iter().filter(|s| self.wishes.iter().any(|w| w.has(s))).collect();
        let mut ticks: Vec<(&Symbol, Tick)> = Vec::new();
        for symbol in &symbols {
            if self.wishes[TRADES].has(symbol) || self.wishes[QUOTES].has(symbol) {
                let own = tape.ticks(symbol, from, to, TICKS_MAX);
                if let Some(last) = own.last().filter(|_| own.len() == TICKS_MAX) {
                    to = last.at();
                }
                ticks.extend(own.into_iter().map(|tick| (symbol, tick)));
            }
        }
        // When it is sent, what goes first at one instant, and whose: the order is the same every time.
        let mut messages: Vec<((Timestamp, u8, &Symbol), Value)> = Vec::new();
        for (symbol, tick) in ticks.iter().filter(|(_, tick)| tick.at() <= to) {
            let key = (tick.at(), 0, *symbol);
            match tick {
                Tick::Trade(trade) if self.wishes[TRADES].has(symbol) => {
                    messages.push((key, message("t", symbol, words::trade(trade))));
                }
                Tick::Quote(quote) if self.wishes[QUOTES].has(symbol) => {
                    messages.push((key, message("q", symbol, words::quote(quote, calendar::phase(quote.at)))));
                }
                _ => {}
            }
        }
        for symbol in &symbols {
            self.bars(tape, symbol, from, to, &mut messages);
        }
        messages.sort_by(|a, b| a.0.cmp(&b.0));
        let mut frames = Vec::new();
        let mut messages = messages.into_iter().map(|(_, message)| message).peekable();
        while messages.peek().is_some() {
            frames.push(self.codec.frame(messages.by_ref().take(FRAME_MESSAGES).collect()));
        }
        Advance { frames, reached: to }
    }

    /// Bars of the minutes that ended after `from`, up to and including `to`.
    fn bars<'a>(
        &self,
        tape: &BarTape,
        symbol: &'a Symbol,
        from: Timestamp,
        to: Timestamp,
        messages: &mut Vec<((Timestamp, u8, &'a Symbol), Value)>,
    ) {
        const MINUTE: SignedDuration = SignedDuration::from_mins(1);
        const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);
        let (minutes, days) = (self.wishes[BARS].has(symbol), self.wishes[DAILY_BARS].has(symbol));
        if !minutes && !days {
            return;
        }
        let earlier = |at: Timestamp, by: SignedDuration| at.checked_sub(by).unwrap_or(Timestamp::MIN);
        let wanted = Wanted {
            frame: Length::Minutes(1),
            from: earlier(from, MINUTE - NANOSECOND),
            until: earlier(to, MINUTE),
            now: to,
            most: usize::MAX,
            descending: false,
        };
        for bar in tape.bars(symbol, &wanted, |_| Scale::NONE) {
            let Ok(ended) = bar.at.checked_add(MINUTE) else { continue };
            if minutes {
                messages.push(((ended, 1, symbol), message("b", symbol, words::bar(&bar))));
            }
            if days {
                let until = earlier(ended, NANOSECOND);
                let day = Wanted {
                    frame: Length::Day,
                    from: earlier(bar.at, SignedDuration::from_hours(24)),
                    until,
                    now: until,
                    most: 1,
                    descending: true,
                };
                let days = tape.bars(symbol, &day, |_| Scale::NONE);
                let of_day = days.first().map(|d| message("d", symbol, words::bar(d)));
                messages.extend(of_day.map(|message| ((ended, 2, symbol), message)));
            }
        }
    }
}

fn change(wish: &mut Wish, text: &str, is_wanted: bool) -> Result<(), StreamError> {
    if text == "*" {
        wish.all = is_wanted;
        return Ok(());
    }
    let symbol = Symbol::parse(text).map_err(|_| StreamError::Syntax)?;
    if is_wanted {
        wish.symbols.insert(symbol);
    } else {
        wish.symbols.remove(&symbol);
    }
    Ok(())
}

/// A message: its kind and symbol first.
fn message(kind: &'static str, symbol: &Symbol, fields: Vec<(&'static str, Value)>) -> Value {
    let head = [("T", Value::text(kind)), ("S", Value::text(symbol.to_string()))];
    words::map(head.into_iter().chain(fields).collect())
}

#[cfg(test)]
mod tests;

//! What is said on both streams, as a sandbox hears and says it (Alpaca, "Streaming Market Data" and "WebSocket Streaming").

use rmpv::Value;
use tokio_tungstenite::tungstenite::Message;

use super::Ask;
use super::codec::{self, Codec, field, object, text};
use super::wish::{Channels, Wish};

/// The longest text of a venue's error that is passed on, in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// The longest key id or secret that a sandbox may say, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// The one stream of orders.
pub(super) const TRADE_UPDATES: &str = "trade_updates";

/// An error of a market's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u64,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: u64, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// 400: a message that is not understood.
    pub(super) fn syntax() -> Self {
        Self::new(400, "invalid syntax")
    }

    /// 401: something else than `auth` first.
    pub(super) fn not_authenticated() -> Self {
        Self::new(401, "not authenticated")
    }

    /// 402: a key that is none.
    pub(super) fn auth_failed() -> Self {
        Self::new(402, "auth failed")
    }

    /// 403: `auth` again.
    pub(super) fn already() -> Self {
        Self::new(403, "already authenticated")
    }

    /// 404: no `auth` in time.
    pub(super) fn late() -> Self {
        Self::new(404, "auth timeout")
    }

    /// 405: more symbols than one socket may ask for.
    pub(super) fn symbols() -> Self {
        Self::new(405, "symbol limit exceeded")
    }

    /// 406: more sockets than one sandbox may have.
    pub(super) fn too_many() -> Self {
        Self::new(406, "connection limit exceeded")
    }

    /// 407: frames are not taken.
    pub(super) fn slow() -> Self {
        Self::new(407, "slow client")
    }

    /// 500: what is nobody's fault here.
    pub(super) fn internal(why: &str) -> Self {
        Self::new(500, format!("internal error: {why}"))
    }

    /// As a venue says it; none when it is no error.
    pub(super) fn read(message: &Value) -> Option<Self> {
        if text(message, "T") != Some("error") {
            return None;
        }
        let code = field(message, "code").and_then(Value::as_u64).unwrap_or(500);
        let said = text(message, "msg").unwrap_or("internal error");
        let end = (0..=TEXT_BYTES_MAX.min(said.len())).rev().find(|at| said.is_char_boundary(*at));
        Some(Self::new(code, said.get(..end.unwrap_or(0)).unwrap_or_default()))
    }

    /// As a sandbox hears it.
    pub(super) fn frame(&self, codec: Codec) -> Message {
        let error = object([("T", "error".into()), ("code", self.code.into()), ("msg", self.text.as_str().into())]);
        codec.frame(&Value::Array(vec![error]))
    }
}

/// That something went well on a market's stream.
pub(super) fn success(codec: Codec, what: &str) -> Message {
    codec.frame(&Value::Array(vec![object([("T", "success".into()), ("msg", what.into())])]))
}

/// The whole set that a socket hears.
pub(super) fn subscription(codec: Codec, wish: &Wish, channels: Channels) -> Message {
    let mut fields = vec![("T".into(), "subscription".into())];
    fields.extend(wish.fields(channels, true));
    codec.frame(&Value::Array(vec![Value::Map(fields)]))
}

/// The answer to an attempt to say who one is, on the stream of orders.
pub(super) fn authorization(codec: Codec, action: &str, is_well: bool) -> Message {
    let mut data = vec![
        ("status".into(), if is_well { "authorized" } else { "unauthorized" }.into()),
        ("action".into(), action.into()),
    ];
    if !is_well {
        data.push(("message".into(), "access key verification failed".into()));
    }
    codec.frame(&object([("stream", "authorization".into()), ("data", Value::Map(data))]))
}

/// What is listened to on the stream of orders.
pub(super) fn listening(codec: Codec, is_wanted: bool) -> Message {
    let streams = is_wanted.then(|| TRADE_UPDATES.into()).into_iter().collect();
    codec.frame(&object([("stream", "listening".into()), ("data", object([("streams", Value::Array(streams))]))]))
}

/// An error on the stream of orders.
pub(super) fn trouble(codec: Codec, why: &str) -> Message {
    codec.frame(&object([("stream", "error".into()), ("data", object([("error", why.into())]))]))
}

/// What a sandbox says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Who it is: texts, and the fields in which they stand.
    Login {
        id: (&'static str, String),
        secret: (&'static str, String),
    },
    /// That it has said so with its handshake.
    LoginAgain,
    Ask(Ask),
    /// Nothing that is understood.
    Nothing,
}

fn login(data: &Value) -> Said {
    let one_of = |names: [&'static str; 2]| {
        let found = names.into_iter().find_map(|name| Some((name, text(data, name)?.to_owned())));
        found.filter(|(_, text)| (1..=KEY_BYTES_MAX).contains(&text.len()))
    };
    match (one_of(["key", "key_id"]), one_of(["secret", "secret_key"])) {
        (Some(id), Some(secret)) => Said::Login { id, secret },
        (None, None) => Said::LoginAgain,
        _ => Said::Nothing,
    }
}

/// Reads a message on a market's stream.
pub(super) fn read_market(message: &Message, channels: Channels) -> Said {
    let Some(value) = codec::read(message) else { return Said::Nothing };
    match text(&value, "action") {
        Some("auth") => login(&value),
        Some("subscribe") => Wish::read(&value, channels).map_or(Said::Nothing, |wish| Said::Ask(Ask::Subscribe(wish))),
        Some("unsubscribe") => {
            Wish::read(&value, channels).map_or(Said::Nothing, |wish| Said::Ask(Ask::Unsubscribe(wish)))
        }
        _ => Said::Nothing,
    }
}

/// Reads a message on the stream of orders.
pub(super) fn read_updates(message: &Message) -> Said {
    let Some(value) = codec::read(message) else { return Said::Nothing };
    let data = field(&value, "data");
    match text(&value, "action") {
        Some("authenticate" | "auth") => login(data.unwrap_or(&value)),
        Some("listen") => {
            let streams = data.and_then(|data| field(data, "streams")).and_then(Value::as_array);
            streams.map_or(Said::Nothing, |streams| {
                Said::Ask(Ask::Listen(streams.iter().any(|stream| stream.as_str() == Some(TRADE_UPDATES))))
            })
        }
        _ => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_login_are_read_and_halves_are_not() {
        let read = |json: &str| read_updates(&Message::binary(json.to_owned()));
        let wanted = Said::Login { id: ("key_id", "k".into()), secret: ("secret_key", "s".into()) };
        assert_eq!(read(r#"{"action":"authenticate","data":{"key_id":"k","secret_key":"s"}}"#), wanted);
        let wanted = Said::Login { id: ("key", "k".into()), secret: ("secret", "s".into()) };
        assert_eq!(read(r#"{"action":"auth","key":"k","secret":"s"}"#), wanted);
        for half in [r#"{"action":"auth","key":"k"}"#, r#"{"action":"auth","key":"","secret":"s"}"#, "{}", "x", "[]"] {
            assert_eq!(read(half), Said::Nothing, "{half}");
        }
        assert_eq!(read(r#"{"action":"authenticate","data":{}}"#), Said::LoginAgain);
        let listen = r#"{"action":"listen","data":{"streams":["trade_updates","x"]}}"#;
        assert_eq!(read(listen), Said::Ask(Ask::Listen(true)));
        assert_eq!(read(r#"{"action":"listen","data":{"streams":[]}}"#), Said::Ask(Ask::Listen(false)));
        assert_eq!(read(r#"{"action":"listen"}"#), Said::Nothing);
    }

    #[test]
    fn an_error_of_a_venue_is_cut_and_passed_on() {
        let said = object([("T", "error".into()), ("code", 406.into()), ("msg", "é".repeat(300).into())]);
        let read = Refusal::read(&said).unwrap();
        assert_eq!((read.code, read.text.len()), (406, TEXT_BYTES_MAX));
        assert_eq!(
            Refusal::too_many().frame(Codec::Json),
            Message::text(r#"[{"T":"error","code":406,"msg":"connection limit exceeded"}]"#)
        );
    }
}

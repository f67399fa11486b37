//! Messages as bytes: JSON, or `MessagePack` with its timestamp extension (type -1), which Alpaca's Python and Node
//! clients expect in `t`.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::{Frame, MESSAGE_BYTES_MAX, Value};

/// How a client is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Text frames with JSON.
    Json,
    /// Binary frames with `MessagePack`. It has no decimals: prices are the doubles nearest to them.
    MsgPack,
}

/// How deep a message of a client may be nested: a map of lists of texts.
const DEPTH_MAX: usize = 8;

impl Codec {
    /// Messages as one frame: an array, as all of this protocol are.
    pub(super) fn frame(self, messages: Vec<Value>) -> Frame {
        let all = Value::List(messages);
        match self {
            Self::Json => Frame { is_binary: false, payload: all.to_json().into_bytes() },
            Self::MsgPack => {
                let mut payload = Vec::new();
                rmpv::encode::write_value(&mut payload, &packed(&all)).expect("a Vec takes everything");
                Frame { is_binary: true, payload }
            }
        }
    }
}

fn packed(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(value) => (*value).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::Whole(value) => (*value).into(),
        Value::Number(value) => nearest(*value).into(),
        Value::Time(at) => rmpv::Value::Ext(-1, stamp(*at)),
        Value::List(values) => rmpv::Value::Array(values.iter().map(packed).collect()),
        Value::Map(fields) => {
            rmpv::Value::Map(fields.iter().map(|(name, value)| (name.as_ref().into(), packed(value))).collect())
        }
    }
}

/// The nearest double, by way of text: a conversion that divides can miss it.
fn nearest(value: Decimal) -> f64 {
    value.to_string().parse().expect("a decimal's text is a number")
}

/// `timestamp 64` of the specification: nanoseconds in the upper 30 bits, seconds in the lower 34; `timestamp 96` where
/// those do not suffice.
fn stamp(at: Timestamp) -> Vec<u8> {
    let seconds = at.as_nanosecond().div_euclid(1_000_000_000);
    let nanoseconds = u32::try_from(at.as_nanosecond().rem_euclid(1_000_000_000)).expect("below a second");
    match u64::try_from(seconds).ok().filter(|s| *s < 1 << 34) {
        Some(seconds) => (u64::from(nanoseconds) << 34 | seconds).to_be_bytes().to_vec(),
        None => {
            let seconds = i64::try_from(seconds).expect("a timestamp's seconds");
            [&nanoseconds.to_be_bytes()[..], &seconds.to_be_bytes()[..]].concat()
        }
    }
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) action: String,
    pub(super) key: Option<String>,
    pub(super) secret: Option<String>,
    /// Every other field that is a list of texts.
    pub(super) channels: Vec<(String, Vec<String>)>,
}

/// Reads a message in either form, whichever is spoken: a `{` begins no map of `MessagePack`. `None` when it is none.
pub(super) fn request(bytes: &[u8]) -> Option<Request> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace())?;
    let message: Json = if *first == b'{' {
        serde_json::from_slice(bytes).ok()?
    } else {
        let mut rest = bytes;
        let value = rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH_MAX).ok()?;
        rest.is_empty().then(|| json(value)).flatten()?
    };
    let Json::Object(fields) = message else { return None };
    let mut request = Request { action: String::new(), key: None, secret: None, channels: Vec::new() };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("action", Json::String(text)) => request.action = text,
            ("key", Json::String(text)) => request.key = Some(text),
            ("secret", Json::String(text)) => request.secret = Some(text),
            (_, Json::Array(values)) => {
                let text = |value| if let Json::String(text) = value { Some(text) } else { None };
                request.channels.push((name, values.into_iter().map(text).collect::<Option<_>>()?));
            }
            // Clients send what they have nothing for as null.
            (_, Json::Null) => {}
            _ => return None,
        }
    }
    Some(request)
}

/// As JSON, where it is what JSON has: texts, lists, maps with texts for names.
fn json(value: rmpv::Value) -> Option<Json> {
    match value {
        rmpv::Value::Nil => Some(Json::Null),
        rmpv::Value::String(text) => text.into_str().map(Json::String),
        rmpv::Value::Binary(bytes) => String::from_utf8(bytes).ok().map(Json::String),
        rmpv::Value::Array(values) => values.into_iter().map(json).collect::<Option<_>>().map(Json::Array),
        rmpv::Value::Map(fields) => {
            let field = |(name, value): (rmpv::Value, rmpv::Value)| Some((name.as_str()?.to_owned(), json(value)?));
            fields.into_iter().map(field).collect::<Option<_>>().map(Json::Object)
        }
        _ => None,
    }
}

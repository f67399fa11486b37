//! The two forms in which a stream is spoken: JSON, and MessagePack with the timestamp extension.
//!
//! Inside, a message is a value of MessagePack: its instants are instants, and its numbers stay what they are in both forms.

use bytes::Bytes;
use hyper::http::{HeaderMap, header};
use jiff::Timestamp;
use rmpv::Value;
use tokio_tungstenite::tungstenite::Message;

/// Deepest nesting of a message. (News has four levels.)
const DEPTH_MAX: usize = 16;
/// The type of the extension for instants (msgpack specification, "Timestamp extension type").
const TIMESTAMP: i8 = -1;
/// Fields whose texts are instants, where a venue speaks JSON.
const INSTANTS: [&str; 3] = ["t", "created_at", "updated_at"];

/// How one side of a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Codec {
    /// Text frames of JSON.
    Json,
    /// Binary frames of JSON, as on the stream of orders.
    BinaryJson,
    /// Binary frames of MessagePack.
    Msgpack,
}

impl Codec {
    /// As the head of a handshake asks for it.
    pub(super) fn of(headers: &HeaderMap, otherwise: Self) -> Self {
        let kinds = headers.get_all(header::CONTENT_TYPE).iter();
        let mut kinds = kinds.flat_map(|value| value.as_bytes().split(|byte| *byte == b',' || *byte == b';'));
        match kinds.any(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"application/msgpack")) {
            true => Self::Msgpack,
            false => otherwise,
        }
    }

    /// A frame with this value.
    pub(super) fn frame(self, value: &Value) -> Message {
        match self {
            Self::Json => Message::text(to_json(value)),
            Self::BinaryJson => Message::binary(to_json(value)),
            Self::Msgpack => Message::binary(to_msgpack(value)),
        }
    }

    /// A value by itself, to be joined with others.
    pub(super) fn part(self, value: &Value) -> Vec<u8> {
        match self {
            Self::Json | Self::BinaryJson => to_json(value).into_bytes(),
            Self::Msgpack => to_msgpack(value),
        }
    }

    /// A frame with a list of these.
    pub(super) fn list<'p>(self, parts: impl ExactSizeIterator<Item = &'p [u8]>) -> Message {
        let mut out = Vec::new();
        if self == Self::Msgpack {
            let length = u32::try_from(parts.len()).expect("a frame of a venue has fewer bytes");
            match (u8::try_from(length), u16::try_from(length)) {
                (Ok(short @ 0..=15), _) => out.push(0x90 | short),
                (_, Ok(length)) => {
                    out.push(0xdc);
                    out.extend_from_slice(&length.to_be_bytes());
                }
                _ => {
                    out.push(0xdd);
                    out.extend_from_slice(&length.to_be_bytes());
                }
            }
            parts.for_each(|part| out.extend_from_slice(part));
            return Message::binary(out);
        }
        out.push(b'[');
        for (at, part) in parts.enumerate() {
            out.extend_from_slice(if at > 0 { b"," } else { b"" });
            out.extend_from_slice(part);
        }
        out.push(b']');
        match (self, String::from_utf8(out)) {
            (Self::Json, Ok(text)) => Message::text(text),
            (_, Ok(text)) => Message::binary(text.into_bytes()),
            (_, Err(error)) => Message::binary(error.into_bytes()),
        }
    }
}

/// What a frame says, in either form; none when it says nothing that can be read.
pub(super) fn read(message: &Message) -> Option<Value> {
    match message {
        Message::Text(text) => from_json(text.as_bytes()),
        Message::Binary(bytes) => read_bytes(bytes),
        _ => None,
    }
}

/// What the payload of a binary frame says. No text is both: what begins JSON is a small number in MessagePack, and more follows.
pub(super) fn read_bytes(bytes: &Bytes) -> Option<Value> {
    let mut rest = &bytes[..];
    match rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH_MAX) {
        Ok(value) if rest.is_empty() => Some(value),
        _ => from_json(bytes),
    }
}

/// The value of a field.
pub(super) fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let pairs = value.as_map()?;
    pairs.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

/// The text of a field.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    field(value, name)?.as_str()
}

/// An object with these fields, in this order.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn to_msgpack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("a vector takes every byte");
    out
}

/// JSON of a value. Numbers are written with the fewest digits that are read back as the same ones.
fn to_json(value: &Value) -> String {
    let mut out = String::new();
    write_json(&mut out, value);
    out
}

fn write_json(out: &mut String, value: &Value) {
    use std::fmt::Write as _;
    match value {
        Value::Nil | Value::Binary(_) => out.push_str("null"),
        Value::Boolean(is) => out.push_str(if *is { "true" } else { "false" }),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::F32(number) if number.is_finite() => {
            let _ = write!(out, "{number}");
        }
        Value::F64(number) => match serde_json::Number::from_f64(*number) {
            // Whole numbers are written without a point, as Alpaca's servers do.
            Some(_) if number.fract() == 0.0 && number.abs() < 1e15 => {
                let _ = write!(out, "{number}");
            }
            Some(number) => {
                let _ = write!(out, "{number}");
            }
            None => out.push_str("null"),
        },
        Value::F32(_) => out.push_str("null"),
        Value::String(text) => write_text(out, text.as_str().unwrap_or_default()),
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_json(out, value);
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            out.push('{');
            let named = pairs.iter().filter_map(|(name, value)| Some((name.as_str()?, value)));
            for (at, (name, value)) in named.enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_text(out, name);
                out.push(':');
                write_json(out, value);
            }
            out.push('}');
        }
        Value::Ext(kind, bytes) => match instant(*kind, bytes) {
            Some(at) => write_text(out, &at.to_string()),
            None => out.push_str("null"),
        },
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

/// A value of JSON in which every text stays one.
pub(super) fn of_texts(value: serde_json::Value) -> Value {
    of_json(value, &[], None)
}

fn from_json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok().map(|value| of_json(value, &INSTANTS, None))
}

/// A value of JSON. Its depth is bounded by the one who parsed it.
fn of_json(value: serde_json::Value, instants: &[&str], name: Option<&str>) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::Nil,
        Json::Bool(is) => Value::Boolean(is),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            _ => number.as_f64().map_or(Value::Nil, Value::F64),
        },
        Json::String(text) => {
            let at = name.filter(|name| instants.contains(name)).and_then(|_| text.parse().ok());
            at.map_or_else(|| text.into(), ext)
        }
        Json::Array(values) => Value::Array(values.into_iter().map(|value| of_json(value, instants, None)).collect()),
        Json::Object(fields) => {
            let pairs = fields.into_iter().map(|(name, value)| {
                let value = of_json(value, instants, Some(&name));
                (name.into(), value)
            });
            Value::Map(pairs.collect())
        }
    }
}

/// The instant of an extension, in one of its three lengths.
fn instant(kind: i8, bytes: &[u8]) -> Option<Timestamp> {
    if kind != TIMESTAMP {
        return None;
    }
    let (seconds, nanoseconds) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanoseconds, seconds) = bytes.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanoseconds.try_into().ok()?))
        }
        _ => return None,
    };
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

/// An instant as an extension, in its longest form, which every reader knows.
fn ext(at: Timestamp) -> Value {
    let mut bytes = Vec::with_capacity(12);
    let nanoseconds = at.subsec_nanosecond();
    // Before 1970 the part of a second counts backwards, and here it must not.
    let (seconds, nanoseconds) = match nanoseconds < 0 {
        true => (at.as_second().saturating_sub(1), nanoseconds.saturating_add(1_000_000_000)),
        false => (at.as_second(), nanoseconds),
    };
    bytes.extend_from_slice(&u32::try_from(nanoseconds).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(&seconds.to_be_bytes());
    Value::Ext(TIMESTAMP, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, again: &str) {
        let value = from_json(json.as_bytes()).expect("it is JSON");
        let packed = Bytes::from(to_msgpack(&value));
        assert_eq!(to_json(&read_bytes(&packed).expect("it is whole")), again);
    }

    #[test]
    fn what_is_said_in_one_form_is_the_same_in_the_other() {
        // What comes as JSON has its fields in the order of their names.
        let bar =
            r#"[{"S":"BRK.B","T":"b","c":190,"n":-1,"o":189.33,"v":18446744073709551615,"vw":0.25,"x":null,"z":true}]"#;
        check(bar, bar);
        check(r#"{"t":"2021-02-22T15:51:44.208123456Z"}"#, r#"{"t":"2021-02-22T15:51:44.208123456Z"}"#);
        check(r#"{"t":"2021-02-22T10:51:00-05:00"}"#, r#"{"t":"2021-02-22T15:51:00Z"}"#);
        check(r#"{"t":"1969-12-31T23:59:59.5Z"}"#, r#"{"t":"1969-12-31T23:59:59.5Z"}"#);
        check(r#"{"headline":"\"t\" \u0000 é"}"#, r#"{"headline":"\"t\" \u0000 é"}"#);
    }

    #[test]
    fn instants_are_extensions_of_every_length() {
        for (bytes, wanted) in [
            (&[0, 0, 0, 1][..], "1970-01-01T00:00:01Z"),
            (&((500_000_000_u64 << 34) | 1).to_be_bytes()[..], "1970-01-01T00:00:01.5Z"),
            (&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2][..], "1970-01-01T00:00:02.000000001Z"),
        ] {
            assert_eq!(to_json(&Value::Ext(-1, bytes.to_vec())), format!("\"{wanted}\""));
        }
        assert_eq!(to_json(&Value::Ext(-1, vec![0; 5])), "null");
        assert_eq!(to_json(&Value::Ext(-1, vec![255; 12])), "null", "no such nanosecond");
        assert_eq!(to_json(&Value::F64(f64::NAN)), "null");
        let Value::Map(pairs) = from_json(br#"{"t":"1970-01-01T00:00:01Z"}"#).unwrap() else { panic!("a map") };
        assert_eq!(pairs[0].1, Value::Ext(-1, vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    }

    #[test]
    fn a_list_of_parts_is_the_frame_of_the_whole() {
        for length in [0_u64, 1, 15, 16, 65535, 65536] {
            let values: Vec<Value> = (0..length).map(Value::from).collect();
            for codec in [Codec::Json, Codec::BinaryJson, Codec::Msgpack] {
                let parts: Vec<Vec<u8>> = values.iter().map(|value| codec.part(value)).collect();
                let list = codec.list(parts.iter().map(Vec::as_slice));
                assert!(list == codec.frame(&Value::Array(values.clone())), "{length} {codec:?}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        let deep = [vec![0x91; 40], vec![0xc0]].concat();
        for bytes in [&b"\x91"[..], b"{\"a\":", b"\xc0\xc0", b"", b"[1] 2", &deep] {
            assert_eq!(read_bytes(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
        assert_eq!(read_bytes(&Bytes::from_static(b"{}")), Some(Value::Map(vec![])));
    }
}

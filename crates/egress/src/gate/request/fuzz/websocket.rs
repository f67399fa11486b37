//! What a client says over a websocket, and what of it goes out.

use std::cell::{Cell, RefCell};

use rmpv::Value as Packed;

use super::{FIELD, INJECTOR, OTHER_PLACEHOLDER, OTHER_VALUE, PLACEHOLDER, TO, VALUE, holds, run};
use crate::gate::request::websocket::up::{Ended, Warden, up};
use crate::secret::{Frame, FrameKind, Refusal, Scanner};

/// What became of one run, for the test over the seeds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Became {
    Passed,
    Filled,
    Refused,
    Broken,
}

/// Any bytes of a client after the handshake.
///
/// # Panics
/// When a value goes out elsewhere than in its field of the first message, when a placeholder goes out, or when anything
/// else is changed.
pub fn fuzz_websocket(bytes: &[u8]) {
    check(bytes);
}

struct Witness {
    recorded: RefCell<Vec<String>>,
    sent: Cell<usize>,
}

impl Warden for Witness {
    fn scanner(&self) -> Scanner {
        INJECTOR.scanner()
    }

    fn fill(&self, kind: FrameKind, text: &[u8]) -> Result<Frame, Refusal> {
        INJECTOR.inject_frame(TO, kind, text)
    }

    fn record(&self, secrets: &[String]) -> impl Future<Output = bool> + Send {
        assert!(self.recorded.borrow().is_empty(), "once");
        assert!(!secrets.is_empty() && secrets.iter().all(|name| name == "KEY"), "{secrets:?}");
        *self.recorded.borrow_mut() = secrets.to_vec();
        std::future::ready(true)
    }

    fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes);
    }
}

pub(super) fn check(bytes: &[u8]) -> Became {
    let witness = Witness { recorded: RefCell::default(), sent: Cell::new(0) };
    let mut out = Vec::new();
    let mut from = bytes;
    let ended = run(up(&witness, &mut from, &mut out));
    let said = messages(bytes);
    let heard = messages(&out);
    assert!(heard.is_whole || ended.is_err(), "frames are cut off only where it broke");
    let counted: usize = heard.frames.iter().map(|frame| frame.payload.len()).sum();
    if ended.is_ok() {
        assert_eq!(witness.sent.get(), counted, "what is counted is what went out");
    }
    // Placeholders: not in any message, nor in messages one after the other, whatever control frames come between.
    let data: Vec<u8> = heard.data().flat_map(|frame| frame.payload.iter().copied()).collect();
    for placeholder in [PLACEHOLDER, OTHER_PLACEHOLDER] {
        assert!(!holds(&data, placeholder), "a placeholder went out in data");
        assert!(!heard.control().any(|frame| holds(&frame.payload, placeholder)), "a placeholder went out in control");
    }
    // Somebody who knows the value may say it.
    let is_known = carries(&said.all(), VALUE) || carries(&said.all(), OTHER_VALUE);
    let filled = !witness.recorded.borrow().is_empty();
    let (first, later) = heard.split();
    if !is_known {
        assert!(!carries(&later, VALUE) && !carries(&heard.all(), OTHER_VALUE), "a value went out where none belongs");
        assert!(filled || !carries(&first, VALUE), "a value that nobody recorded");
    }
    let opcode = |messages: &Messages| messages.data().next().map(|frame| frame.opcode);
    assert!(first.is_empty() || opcode(&heard) == opcode(&said));
    let (meant, rest) = said.split();
    if filled {
        assert!(holds_placeholder(&meant));
        compare(&meant, &first);
    } else if !heard.frames.is_empty() && !first.is_empty() {
        assert!(meant.starts_with(&first), "the first message as it was said");
    }
    assert!(rest.starts_with(&later), "later messages as they were said");
    match ended {
        Ok(()) => {
            // To the last byte, but for a frame that the client itself did not end: that is an error.
            assert_eq!(later, rest);
            if !filled && said.is_first_whole() {
                assert_eq!(first, meant);
            }
            assert!(said.control().map(|frame| &frame.payload).eq(heard.control().map(|frame| &frame.payload)));
            if filled { Became::Filled } else { Became::Passed }
        }
        Err(Ended::Refused(_, why)) => {
            let why = why.expect("with a reason");
            assert!(!holds(why.as_bytes(), PLACEHOLDER) && !holds(why.as_bytes(), VALUE));
            Became::Refused
        }
        Err(Ended::Broken(_)) => Became::Broken,
    }
}

/// As it is, or as JSON writes it.
fn carries(bytes: &[u8], value: &str) -> bool {
    let escaped = serde_json::to_string(value).expect("a string");
    holds(bytes, value) || holds(bytes, escaped.get(1..escaped.len() - 1).expect("quoted"))
}

fn holds_placeholder(bytes: &[u8]) -> bool {
    // In JSON a character may be written by its number.
    holds(bytes, PLACEHOLDER) || holds(bytes, "\\u")
}

/// The same structure, but for the value of the one field.
fn compare(meant: &[u8], sent: &[u8]) {
    if let Ok(meant) = serde_json::from_slice::<serde_json::Value>(meant) {
        let sent: serde_json::Value = serde_json::from_slice(sent).expect("JSON stays JSON");
        assert_eq!(expected_json(meant, None), sent);
        return;
    }
    let (mut meant, mut sent) = (meant, sent);
    if let Ok(value) = rmpv::decode::read_value(&mut meant)
        && meant.is_empty()
    {
        let sent_value = rmpv::decode::read_value(&mut sent).expect("MessagePack stays MessagePack");
        assert!(sent.is_empty());
        assert_eq!(bits(&expected_packed(value, None)), bits(&sent_value));
    }
}

fn expected_json(value: serde_json::Value, field: Option<&str>) -> serde_json::Value {
    use serde_json::Value::{Array, Object, String};
    match value {
        String(text) if text == PLACEHOLDER && field == Some(FIELD) => String(VALUE.into()),
        Array(values) => Array(values.into_iter().map(|value| expected_json(value, None)).collect()),
        Object(fields) => {
            Object(fields.into_iter().map(|(name, value)| (name.clone(), expected_json(value, Some(&name)))).collect())
        }
        other => other,
    }
}

fn expected_packed(value: Packed, field: Option<&str>) -> Packed {
    match value {
        Packed::String(text) if text.as_str() == Some(PLACEHOLDER) && field == Some(FIELD) => VALUE.into(),
        Packed::Array(values) => Packed::Array(values.into_iter().map(|value| expected_packed(value, None)).collect()),
        Packed::Map(pairs) => Packed::Map(
            pairs
                .into_iter()
                .map(|(key, value)| {
                    let value = expected_packed(value, key.as_str());
                    (key, value)
                })
                .collect(),
        ),
        other => other,
    }
}

/// By which values compare also where one of them is not equal to itself.
fn bits(value: &Packed) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("memory");
    out
}

struct Said {
    fin: bool,
    opcode: u8,
    payload: Vec<u8>,
}

struct Messages {
    frames: Vec<Said>,
    /// Nothing was left over.
    is_whole: bool,
}

impl Messages {
    fn data(&self) -> impl Iterator<Item = &Said> {
        self.frames.iter().filter(|frame| frame.opcode < 8)
    }

    fn control(&self) -> impl Iterator<Item = &Said> {
        self.frames.iter().filter(|frame| frame.opcode >= 8)
    }

    fn all(&self) -> Vec<u8> {
        self.frames.iter().flat_map(|frame| frame.payload.iter().copied()).collect()
    }

    fn is_first_whole(&self) -> bool {
        self.data().any(|frame| frame.fin)
    }

    /// The payload of the first message, and of all later ones together.
    fn split(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut first, mut rest, mut is_first) = (Vec::new(), Vec::new(), true);
        for frame in self.data() {
            if is_first { &mut first } else { &mut rest }.extend_from_slice(&frame.payload);
            is_first &= !frame.fin;
        }
        (first, rest)
    }
}

/// Frames with masks, as RFC 6455 5.2 has them, up to the first that is none.
fn messages(bytes: &[u8]) -> Messages {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let Some((frame, after)) = one(rest) {
        frames.push(frame);
        rest = after;
    }
    Messages { frames, is_whole: rest.is_empty() }
}

fn one(bytes: &[u8]) -> Option<(Said, &[u8])> {
    let ([flags, short], rest) = bytes.split_first_chunk::<2>()?;
    if flags & 0x70 != 0 || short & 0x80 == 0 {
        return None;
    }
    let (length, rest) = match short & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*length), rest)
        }
        short => (u64::from(short), rest),
    };
    let (key, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (fin, opcode) = (flags & 0x80 != 0, flags & 0xf);
    if opcode >= 8 && (!fin || length > 125) {
        return None;
    }
    let payload = payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
    Some((Said { fin, opcode, payload }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::request::fuzz::seeds;

    #[test]
    fn first_messages_hold_their_properties_for_every_seed() {
        let became: Vec<(String, Became)> =
            seeds("websocket").into_iter().map(|(name, bytes)| (name, check(&bytes))).collect();
        // What a seed was made for shows in what becomes of it.
        for (start, expected) in [
            ("fill-", Became::Filled),
            ("refuse-", Became::Refused),
            ("pass-", Became::Passed),
            ("break-", Became::Broken),
        ] {
            let of: Vec<_> = became.iter().filter(|(name, _)| name.starts_with(start)).collect();
            assert!(!of.is_empty() && of.iter().all(|(_, became)| *became == expected), "{start}: {of:?}");
        }
    }
}

//! Putting secrets into the first message of a websocket, which is where Alpaca's streams want the key.

use rmpv::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::inject::{Destination, Injected, Injector};
use super::json;
use super::refusal::{Place, Refusal};

/// Most bytes of a first message that is taken apart: a login is a few hundred.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// How deep MessagePack may nest. A login has two levels.
const FRAME_DEPTH_MAX: usize = 64;

/// How a message says that it is to be read (RFC 6455, section 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Text: JSON.
    Text,
    /// Binary: JSON or MessagePack, whichever it is.
    Binary,
}

/// A message as it is to be sent.
#[derive(Debug)]
pub struct Frame {
    /// Its payload, wiped when dropped. `None` when it is to be sent as it was.
    pub payload: Option<Zeroizing<Vec<u8>>>,
    /// What it carries now.
    pub injected: Injected,
}

/// A message with values put in, and what of it was the client's own.
struct Filled {
    payload: Zeroizing<Vec<u8>>,
    rest: Vec<u8>,
    used: Vec<usize>,
}

impl Injector {
    /// Puts secrets into the first message that a client sends over a websocket: whole, with its fragments joined and its
    /// mask taken off. Strings that are placeholders are replaced where they are bound to be; everything else stays as it
    /// is, in JSON byte for byte, in MessagePack value by value.
    ///
    /// Later messages are no place for placeholders: give them to a [`Scanner`](super::Scanner).
    ///
    /// # Errors
    /// A placeholder elsewhere, or in a message that cannot be read, or other [`Refusal`].
    pub fn inject_frame(&self, to: Destination<'_>, kind: FrameKind, payload: &[u8]) -> Result<Frame, Refusal> {
        let Some(found) = self.find(payload) else {
            return Ok(Frame { payload: None, injected: Injected::default() });
        };
        let secret = || self.secret(found).name.clone();
        if payload.len() > FRAME_BYTES_MAX {
            return Err(Refusal::FrameTooLong { secret: secret(), bytes_max: FRAME_BYTES_MAX });
        }
        // No text is both: what begins a JSON object or array is a whole number in MessagePack, and more would follow it.
        let filled = match json::scalars(payload) {
            Some(scalars) => self.fill_json(to, payload, &scalars)?,
            None if kind == FrameKind::Binary => {
                self.fill_msgpack(to, payload)?.ok_or_else(|| Refusal::FrameUnreadable { secret: secret() })?
            }
            None => return Err(Refusal::FrameUnreadable { secret: secret() }),
        };
        if let Some(index) = self.find(&filled.rest) {
            return Err(self.misplaced(index, Place::Frame));
        }
        let mut used = filled.used;
        used.sort_unstable();
        used.dedup();
        let secrets = used.into_iter().map(|index| self.secret(index).name.clone()).collect();
        Ok(Frame { payload: Some(filled.payload), injected: Injected { secrets } })
    }

    /// The value to stand instead of a string, as text; `None` when the string is to stay.
    fn in_frame(
        &self,
        to: Destination<'_>,
        text: &str,
        field: Option<&str>,
        used: &mut Vec<usize>,
    ) -> Result<Option<&str>, Refusal> {
        let Some(index) = self.exact(text.as_bytes()) else { return Ok(None) };
        let secret = self.secret(index);
        if !secret.binding.in_frame(field) {
            return Err(self.misplaced(index, Place::Frame));
        }
        let value = self.admit(index, to, Place::Frame)?;
        used.push(index);
        std::str::from_utf8(value.expose())
            .map(Some)
            .map_err(|_| Refusal::Unusable { secret: secret.name.clone(), place: Place::Frame })
    }

    fn fill_json(&self, to: Destination<'_>, text: &[u8], scalars: &[json::Scalar]) -> Result<Filled, Refusal> {
        let mut used = Vec::new();
        let mut rest = Vec::with_capacity(text.len());
        let mut pieces: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut from = 0;
        for scalar in scalars {
            let Some(literal) = text.get(scalar.span.clone()) else { continue };
            let Some(string) = json::string(literal) else { continue };
            let Some(value) = self.in_frame(to, &string, scalar.field.as_deref(), &mut used)? else { continue };
            let between = text.get(from..scalar.span.start).unwrap_or_default();
            rest.extend_from_slice(between);
            rest.extend_from_slice(b"\"\"");
            pieces.push(Zeroizing::new(between.to_vec()));
            let mut literal = Zeroizing::new(Vec::with_capacity(2 + 6 * value.len()));
            serde_json::to_writer(&mut *literal, value).expect("a string is always JSON");
            pieces.push(literal);
            from = scalar.span.end;
        }
        let tail = text.get(from..).unwrap_or_default();
        rest.extend_from_slice(tail);
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>() + tail.len();
        let mut payload = Zeroizing::new(Vec::with_capacity(length));
        for piece in &pieces {
            payload.extend_from_slice(piece);
        }
        payload.extend_from_slice(tail);
        Ok(Filled { payload, rest, used })
    }

    /// `None` when it is not one whole value of MessagePack.
    fn fill_msgpack(&self, to: Destination<'_>, payload: &[u8]) -> Result<Option<Filled>, Refusal> {
        let mut reader = payload;
        let Ok(value) = rmpv::decode::read_value_with_max_depth(&mut reader, FRAME_DEPTH_MAX) else {
            return Ok(None);
        };
        if !reader.is_empty() {
            return Ok(None);
        }
        let mut used = Vec::new();
        let mut rest = value.clone();
        let mut filled = value;
        self.fill_value(to, &mut filled, &mut rest, None, &mut used)?;
        let mut out = Zeroizing::new(Vec::with_capacity(payload.len() + used.len() * (8 << 10)));
        let mut plain = Vec::new();
        let written = rmpv::encode::write_value(&mut *out, &filled).is_ok()
            && rmpv::encode::write_value(&mut plain, &rest).is_ok();
        wipe(&mut filled);
        Ok(written.then_some(Filled { payload: out, rest: plain, used }))
    }

    /// Replaces strings in `value`, and empties the same ones in `rest`, which is a copy of it.
    fn fill_value(
        &self,
        to: Destination<'_>,
        value: &mut Value,
        rest: &mut Value,
        field: Option<&str>,
        used: &mut Vec<usize>,
    ) -> Result<(), Refusal> {
        match (value, rest) {
            (Value::String(text), Value::String(rest)) => {
                if let Some(placeholder) = text.as_str()
                    && let Some(secret) = self.in_frame(to, placeholder, field, used)?
                {
                    *text = secret.into();
                    *rest = "".into();
                }
            }
            (Value::Array(values), Value::Array(rests)) => {
                for (value, rest) in values.iter_mut().zip(rests) {
                    self.fill_value(to, value, rest, None, used)?;
                }
            }
            (Value::Map(pairs), Value::Map(rests)) => {
                for ((key, value), (_, rest)) in pairs.iter_mut().zip(rests) {
                    self.fill_value(to, value, rest, key.as_str(), used)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Overwrites every string of a value.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => {
            let mut bytes = std::mem::replace(text, "".into()).into_bytes();
            bytes.zeroize();
        }
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| wipe(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;

//! How a text can be written so that it looks like another: base64 at each alignment, hexadecimal, escapes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

/// Base64 of some bytes that start `alignment` bytes into a group of three, without the characters that also hold bits of
/// a neighbour (RFC 4648, section 4). `alignment` is 0, 1 or 2.
pub struct Base64 {
    /// The characters that hold nothing but bits of these bytes.
    pub inner: Zeroizing<Vec<u8>>,
    /// The character before them, as far as it is of these bytes.
    pub before: Edge,
    /// The character after them, likewise.
    pub after: Edge,
}

/// Some of the six bits of a base64 character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edge {
    /// Which bits; 0 when there is no such character.
    pub mask: u8,
    /// Their values.
    pub bits: u8,
}

impl Base64 {
    /// Of these bytes.
    ///
    /// # Panics
    /// When `alignment` is not 0, 1 or 2.
    #[must_use]
    pub fn new(bytes: &[u8], alignment: usize) -> Self {
        let mut padded = Zeroizing::new(vec![0; alignment]);
        padded.reserve_exact(bytes.len());
        padded.extend_from_slice(bytes);
        let text = Zeroizing::new(STANDARD_NO_PAD.encode(&*padded).into_bytes());
        let start = (alignment * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        let inner = text.get(start..end).unwrap_or_default().to_vec();
        // The bytes' own bits of the character that is cut in two by their beginning, and by their end.
        let before = Edge::new([0, 0x0f, 0x03][alignment], start.checked_sub(1).and_then(|at| text.get(at)));
        let after = Edge::new([0, 0x30, 0x3c][padded.len() % 3], text.get(end));
        Self { inner: Zeroizing::new(inner), before, after }
    }
}

impl Edge {
    fn new(mask: u8, character: Option<&u8>) -> Self {
        match character.and_then(|&character| sextet(character)) {
            Some(value) if mask != 0 => Self { mask, bits: value & mask },
            _ => Self::default(),
        }
    }

    /// A base64 character with these bits put into it; anything else as it is.
    pub fn apply(self, character: u8) -> u8 {
        match sextet(character) {
            Some(value) if self.mask != 0 => {
                let urlsafe = matches!(character, b'-' | b'_');
                match ALPHABET[usize::from((value & !self.mask) | self.bits)] {
                    b'+' if urlsafe => b'-',
                    b'/' if urlsafe => b'_',
                    other => other,
                }
            }
            _ => character,
        }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of a base64 character, of either alphabet.
fn sextet(character: u8) -> Option<u8> {
    Some(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// The same characters in the alphabet that is safe in URLs (RFC 4648, section 5).
pub fn urlsafe(standard: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(
        standard
            .iter()
            .map(|&byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => other,
            })
            .collect(),
    )
}

/// What a program may write instead of `bytes` within a JSON string (RFC 8259, section 7), a URL or HTML, without repeating any.
pub fn escaped(bytes: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let solidus = |byte: u8| (byte == b'/').then(|| b"\\/".to_vec());
    let lower = |byte: u8| (!byte.is_ascii_alphanumeric()).then(|| format!("\\u{byte:04x}").into_bytes());
    let upper = |byte: u8| (!byte.is_ascii_alphanumeric()).then(|| format!("\\u{byte:04X}").into_bytes());
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut forms: Vec<Zeroizing<Vec<u8>>> = vec![
        write(bytes, &short),
        write(bytes, &|byte| solidus(byte).or_else(|| short(byte))),
        write(bytes, &|byte| short(byte).or_else(|| lower(byte))),
        write(bytes, &|byte| short(byte).or_else(|| upper(byte))),
        write(bytes, &lower),
        write(bytes, &upper),
        write(bytes, &|byte| (!unreserved(byte)).then(|| format!("%{byte:02X}").into_bytes())),
        write(bytes, &|byte| (!unreserved(byte)).then(|| format!("%{byte:02x}").into_bytes())),
        write(bytes, &|byte| (!byte.is_ascii_alphanumeric()).then(|| format!("%{byte:02X}").into_bytes())),
        write(bytes, &|byte| (!unreserved(byte) && byte != b'/').then(|| format!("%{byte:02X}").into_bytes())),
        // As pages of HTML have it.
        write(bytes, &|byte| b"&<>\"'".contains(&byte).then(|| format!("&#{byte};").into_bytes())),
        write(bytes, &html),
        // Every byte of it, as nobody writes who does not want to hide it.
        write(bytes, &|byte| Some(format!("%{byte:02X}").into_bytes())),
        write(bytes, &|byte| Some(format!("%{byte:02x}").into_bytes())),
        write(bytes, &|byte| Some(format!("\\u{byte:04x}").into_bytes())),
        write(bytes, &|byte| Some(format!("\\u{byte:04X}").into_bytes())),
        write(bytes, &|byte| Some(format!("\\x{byte:02x}").into_bytes())),
        write(bytes, &|byte| Some(format!("&#{byte};").into_bytes())),
        write(bytes, &|byte| Some(format!("&#x{byte:x};").into_bytes())),
    ];
    forms.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    forms.dedup();
    forms.retain(|form| form.as_slice() != bytes);
    forms
}

/// The references that every writer of HTML uses.
fn html(byte: u8) -> Option<Vec<u8>> {
    Some(match byte {
        b'&' => b"&amp;".to_vec(),
        b'<' => b"&lt;".to_vec(),
        b'>' => b"&gt;".to_vec(),
        b'"' => b"&quot;".to_vec(),
        b'\'' => b"&#39;".to_vec(),
        _ => return None,
    })
}

/// The escapes that every JSON writer uses.
fn short(byte: u8) -> Option<Vec<u8>> {
    Some(match byte {
        b'"' => b"\\\"".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\t' => b"\\t".to_vec(),
        _ => return None,
    })
}

fn write(bytes: &[u8], escape: &dyn Fn(u8) -> Option<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * 6));
    for &byte in bytes {
        match escape(byte) {
            Some(escape) => out.extend_from_slice(&escape),
            None => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_inner_base64_stands_in_the_base64_of_any_surrounding(
            bytes in proptest::collection::vec(any::<u8>(), 3..40),
            before in proptest::collection::vec(any::<u8>(), 0..7),
            after in proptest::collection::vec(any::<u8>(), 0..7),
        ) {
            let whole = STANDARD_NO_PAD.encode([&before[..], &bytes, &after].concat()).into_bytes();
            let form = Base64::new(&bytes, before.len() % 3);
            let at = (before.len() * 8).div_ceil(6);
            prop_assert_eq!(&whole[at..at + form.inner.len()], form.inner.as_slice());
            // Putting the bytes' own bits in where they already are changes nothing.
            if at > 0 {
                prop_assert_eq!(form.before.apply(whole[at - 1]), whole[at - 1]);
            }
            if let Some(&next) = whole.get(at + form.inner.len()) {
                prop_assert_eq!(form.after.apply(next), next);
            }
        }
    }
}

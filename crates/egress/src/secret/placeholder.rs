//! What a sandbox sees in the place of a secret.

use rand::rngs::OsRng;
use rand::{Rng as _, TryRngCore as _};

/// Fewest characters of a placeholder that has no shape of its own.
const GENERIC_CHARS_MIN: usize = 32;
/// Most of them: enough for every key that is sent as it is, and short enough for a header.
const GENERIC_CHARS_MAX: usize = 512;

const UPPER_ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LOWER_ALPHANUMERIC: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URLSAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a secret looks like, so that clients which check its shape take the placeholder for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Alpaca's key id: `PK` and capital letters and digits. Alpaca's own are 20 or 26 characters long; this one is 27,
    /// because 18 such characters are 93 bits and 128 are wanted. No known client counts them.
    AlpacaKeyId,
    /// Alpaca's secret key: 40 letters and digits.
    AlpacaSecret,
    /// Anthropic's key: `sk-ant-api03-` and 95 characters.
    Anthropic,
    /// Any other: as long as the value, from 32 characters to 512, of the smallest alphabet of letters, digits, `-` and `_`
    /// that the value fits in.
    Generic,
}

/// A random text that stands for a secret. It is worth nothing anywhere but at the gate, which knows it by its exact text,
/// and only where it came from the sandbox that it was made for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Placeholder(String);

impl Placeholder {
    /// Makes one, of at least 128 random bits from the kernel. `value` gives length and alphabet of a [`Shape::Generic`]
    /// one and is not looked at otherwise.
    #[must_use]
    pub fn generate(shape: Shape, value: &[u8]) -> Self {
        Self(match shape {
            Shape::AlpacaKeyId => random("PK", UPPER_ALPHANUMERIC, 25),
            Shape::AlpacaSecret => random("", ALPHANUMERIC, 40),
            Shape::Anthropic => random("sk-ant-api03-", URLSAFE, 93) + "AA",
            Shape::Generic => random("", alphabet(value), value.len().clamp(GENERIC_CHARS_MIN, GENERIC_CHARS_MAX)),
        })
    }

    /// A placeholder that was made before. `None` when it is shorter or longer than any that are made, or of other
    /// characters.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let fits = (27..=GENERIC_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| URLSAFE.contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Placeholder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Placeholder(…)")
    }
}

/// Not hexadecimal: 32 digits of it would be 128 bits, but would also be mistaken for hashes in logs.
fn alphabet(value: &[u8]) -> &'static [u8] {
    if value.iter().any(|byte| matches!(byte, b'-' | b'_' | b'+' | b'/')) {
        URLSAFE
    } else if value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase) {
        ALPHANUMERIC
    } else if value.iter().any(u8::is_ascii_uppercase) {
        UPPER_ALPHANUMERIC
    } else {
        LOWER_ALPHANUMERIC
    }
}

fn random(prefix: &str, alphabet: &[u8], length: usize) -> String {
    let mut rng = OsRng.unwrap_err();
    let mut text = String::with_capacity(prefix.len() + length + 2);
    text.push_str(prefix);
    text.extend((0..length).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: Shape, value: &[u8], length: usize, prefix: &str, of: &[u8]) {
        let first = Placeholder::generate(shape, value);
        let second = Placeholder::generate(shape, value);
        assert_ne!(first, second);
        assert_eq!(first.as_str().len(), length);
        let random = first.as_str().strip_prefix(prefix).expect("the prefix of its kind");
        assert!(random.bytes().all(|byte| of.contains(&byte)), "{random}");
        assert_eq!(Placeholder::from_text(first.as_str()), Some(first.clone()));
        assert_eq!(format!("{first:?}"), "Placeholder(…)");
    }

    #[test]
    fn each_kind_has_its_shape() {
        check(Shape::AlpacaKeyId, b"", 27, "PK", UPPER_ALPHANUMERIC);
        check(Shape::AlpacaSecret, b"", 40, "", ALPHANUMERIC);
        check(Shape::Anthropic, b"", 108, "sk-ant-api03-", URLSAFE);
        check(Shape::Generic, b"short", 32, "", LOWER_ALPHANUMERIC);
        check(Shape::Generic, &[b'A'; 50], 50, "", UPPER_ALPHANUMERIC);
        check(Shape::Generic, &[b'-'; 5000], 512, "", URLSAFE);
        check(Shape::Generic, b"aB", 32, "", ALPHANUMERIC);
    }

    #[test]
    fn every_alphabet_gives_128_bits_at_the_least_length() {
        for (alphabet, length) in
            [(UPPER_ALPHANUMERIC, 25), (LOWER_ALPHANUMERIC, 32), (ALPHANUMERIC, 32), (URLSAFE, 32)]
        {
            #[expect(clippy::cast_precision_loss, reason = "numbers below 100")]
            let bits = (alphabet.len() as f64).log2() * length as f64;
            assert!(bits >= 128.0, "{bits}");
        }
    }

    #[test]
    fn what_was_never_made_is_not_taken_back() {
        for text in ["", "short", "a b c d e f g h i j k l m n o p q r s t u v"] {
            assert!(Placeholder::from_text(text).is_none(), "{text}");
        }
        assert!(Placeholder::from_text(&"a".repeat(513)).is_none());
    }
}

//! What a sandbox sees in the place of a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::OsRng;
use rand::{Rng as _, TryRngCore as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

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
    /// Base64 without padding, of 48 bytes: Kraken's clients decode their secret before they sign with it.
    Base64,
    /// The name of a key of Coinbase: `organizations/UUID/apiKeys/UUID`.
    CoinbaseKeyName,
    /// A private key of Coinbase, with which a client can sign: in PEM on P-256 when the value is PEM, else base64 of 64 bytes.
    CoinbaseSecret,
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
            Shape::Base64 => random("", ALPHANUMERIC, 64),
            Shape::CoinbaseKeyName => format!("organizations/{}/apiKeys/{}", uuid(), uuid()),
            Shape::CoinbaseSecret if value.trim_ascii_start().starts_with(b"-----BEGIN") => pem(),
            Shape::CoinbaseSecret => ed25519(),
            Shape::Generic => random("", alphabet(value), value.len().clamp(GENERIC_CHARS_MIN, GENERIC_CHARS_MAX)),
        })
    }

    /// A placeholder that was made before. `None` when it is shorter or longer than any that are made, or of other
    /// characters.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let fits = (27..=GENERIC_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| URLSAFE.contains(&byte) || b"+/= \n".contains(&byte));
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

/// Of version 4 (RFC 9562, section 5.4).
fn uuid() -> String {
    let mut bytes: [u8; 16] = OsRng.unwrap_err().random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A new private key on Ed25519, with its public part behind it.
fn ed25519() -> String {
    let seed = Zeroizing::new(OsRng.unwrap_err().random::<[u8; 32]>());
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).expect("any 32 bytes are a seed");
    STANDARD.encode([&seed[..], pair.public_key().as_ref()].concat())
}

/// A new private key on P-256 (RFC 5915) that nobody knows the public part of.
fn pem() -> String {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let pkcs8 = pkcs8.expect("the kernel gives randomness");
    let pkcs8 = pkcs8.as_ref();
    // ring writes both parts with fixed lengths: 32 bytes after the 36 of what is constant, and the last 65.
    let (private, public) = (&pkcs8[36..68], &pkcs8[pkcs8.len() - 65..]);
    let head = hex::decode("30770201010420").expect("hexadecimal");
    let curve = hex::decode("a00a06082a8648ce3d030107a144034200").expect("hexadecimal");
    let der = Zeroizing::new([&head[..], private, &curve, public].concat());
    let body = STANDARD.encode(&*der);
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----", lines.join("\n"))
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
    fn keys_of_exchanges_are_keys() {
        use crate::sign::Signer;
        use ringfence_model::api::Exchange;
        use ringfence_store::SecretValue;
        check(Shape::Base64, b"", 64, "", ALPHANUMERIC);
        for (shape, value, exchange) in [
            (Shape::Base64, &b"a2V5"[..], Exchange::Kraken),
            (Shape::CoinbaseSecret, b"-----BEGIN EC PRIVATE KEY-----", Exchange::Coinbase),
            (Shape::CoinbaseSecret, b"a2V5", Exchange::Coinbase),
        ] {
            let placeholder = Placeholder::generate(shape, value);
            assert_eq!(Signer::check(exchange, &SecretValue::new(placeholder.as_str())), Ok(()), "{shape:?}");
            assert_eq!(Placeholder::from_text(placeholder.as_str()), Some(placeholder));
        }
        let name = Placeholder::generate(Shape::CoinbaseKeyName, b"");
        assert!(name.as_str().starts_with("organizations/") && name.as_str().len() == 95, "{}", name.as_str());
        assert_eq!(Placeholder::from_text(name.as_str()), Some(name));
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
        for text in ["", "short", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v"] {
            assert!(Placeholder::from_text(text).is_none(), "{text}");
        }
        assert!(Placeholder::from_text(&"a".repeat(513)).is_none());
    }
}

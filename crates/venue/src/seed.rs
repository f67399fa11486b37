//! Everything that looks random here is SHA-256 of a seed, of what it is for, and of a number that counts up: the same seed
//! and orders give the same ids and the same partial fills, whenever and in how many pieces they are computed.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A UUID in the form that RFC 9562 leaves to applications (version 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The id of the `number`th thing of a kind.
    #[must_use]
    pub fn derived(kind: &str, seed: &str, number: u64) -> Self {
        let hash = hash(kind, seed, number);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        id[6] = 0x80 | (id[6] & 0x0f);
        id[8] = 0x80 | (id[8] & 0x3f);
        Self(id)
    }

    /// Reads the usual form, hyphens included, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hyphens = text.bytes().enumerate().all(|(at, b)| (b == b'-') == matches!(at, 8 | 13 | 18 | 23));
        if text.len() != 36 || !hyphens {
            return None;
        }
        let mut id = [0; 16];
        hex::decode_to_slice(text.replace('-', ""), &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = hex::encode(self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl Serialize for Uuid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a UUID"))
    }
}

fn hash(kind: &str, seed: &str, number: u64) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // Lengths first: no two inputs are one text.
    for part in [kind, seed] {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(number.to_be_bytes());
    hasher.finalize().into()
}

/// The `number`th draw of a seed: at least 0, below 1, in steps of a millionth of a millionth.
#[must_use]
pub fn draw(kind: &str, seed: &str, number: u64) -> Decimal {
    const STEPS: u64 = 1_000_000_000_000;
    let hash = hash(kind, seed, number);
    let mut word = [0; 8];
    word.copy_from_slice(&hash[..8]);
    Decimal::from_i128_with_scale(i128::from(u64::from_be_bytes(word) % STEPS), 12)
}

/// The id of an asset, the same in every account.
#[must_use]
pub fn asset_id(symbol: &str) -> Uuid {
    Uuid::derived("asset", symbol, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_for_the_same_seed_and_number_alone() {
        let id = Uuid::derived("order", "7", 1);
        assert_eq!(id, Uuid::derived("order", "7", 1));
        assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        assert_eq!(id.to_string().as_bytes()[14], b'8');
        for other in [("order", "7", 2), ("order", "8", 1), ("fill", "7", 1), ("orde", "r7", 1)] {
            assert_ne!(id, Uuid::derived(other.0, other.1, other.2));
        }
        for bad in ["", "x", "00000000-0000-0000-0000-00000000000", "00000000x0000-0000-0000-000000000000"] {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn draws_are_spread_between_zero_and_one() {
        let draws: Vec<_> = (0..10_000).map(|n| draw("partial", "42", n)).collect();
        assert!(draws.iter().all(|d| *d >= Decimal::ZERO && *d < Decimal::ONE));
        let low = draws.iter().filter(|d| **d < Decimal::new(1, 1)).count();
        assert!((900..1100).contains(&low), "{low} of 10000 are below a tenth");
    }
}

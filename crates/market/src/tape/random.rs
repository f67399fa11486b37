//! Numbers that look random and are always the same: `SplitMix64` (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
//! Generators*, 2014). Written here, because what a tape says must not change with a library's version.

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use crate::bar::Symbol;

pub(super) struct Random(u64);

impl Random {
    /// The numbers of one symbol's day.
    pub(super) fn new(seed: u64, symbol: &Symbol, day: Date) -> Self {
        let digest = Sha256::digest(format!("{seed}\n{symbol}\n{day}"));
        Self(u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes")))
    }

    /// Numbers of their own for a part of the day: how many of them are taken changes nothing in the next part.
    pub(super) fn part(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The high half of the product (Lemire): its bias is below end / 2^64.
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).expect("the high half of 128 bits")
    }

    /// From `-most` to `most`.
    pub(super) fn around(&mut self, most: i64) -> i64 {
        let width = most.unsigned_abs().saturating_mul(2).saturating_add(1);
        i64::try_from(self.below(width)).unwrap_or(i64::MAX).saturating_sub(most)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        // First outputs for state 1234567, as published with Vigna's splitmix64.c.
        let mut random = Random(1_234_567);
        let found = [random.next(), random.next(), random.next()];
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let mut random = Random(1);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.around(0), 0);
        let found: Vec<i64> = (0..1000).map(|_| random.around(2)).collect();
        assert_eq!((found.iter().min(), found.iter().max()), (Some(&-2), Some(&2)));
    }
}

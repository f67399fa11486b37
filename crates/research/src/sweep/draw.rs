//! Random numbers that are the same everywhere: a random search must draw the same sets after a restart, and on another machine.

use std::collections::BTreeSet;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is above 0. Its bias is below `bound` in 2⁶⁴.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// `count` different numbers below `bound`, ascending (R. Floyd's algorithm; Bentley, "Programming Pearls", CACM 30 (9), 1987).
    pub(crate) fn distinct(&mut self, count: u64, bound: u64) -> Vec<u64> {
        let mut drawn = BTreeSet::new();
        for last in bound.saturating_sub(count)..bound {
            let number = self.below(last + 1);
            if !drawn.insert(number) {
                drawn.insert(last);
            }
        }
        drawn.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        // `splitmix64.c` of Vigna with the state 1234567.
        let mut draw = Draw::new(1_234_567);
        let found: Vec<u64> = (0..3).map(|_| draw.next()).collect();
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn what_is_drawn_is_distinct_within_bounds_and_the_same_again() {
        for (count, bound) in [(0, 10), (1, 1), (10, 10), (50, 1000), (1000, u64::MAX)] {
            let drawn = Draw::new(7).distinct(count, bound);
            assert_eq!(drawn.len() as u64, count);
            assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn.iter().all(|n| *n < bound));
            assert_eq!(Draw::new(7).distinct(count, bound), drawn);
        }
        assert_ne!(Draw::new(7).distinct(50, 1000), Draw::new(8).distinct(50, 1000));
    }
}

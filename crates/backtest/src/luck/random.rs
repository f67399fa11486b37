//! Numbers that look random and are the same on every machine: `SplitMix64` (Steele, Lea and Flood, *Fast Splittable Pseudorandom
//! Number Generators*, 2014). Written here, because an interval must not change with a library's version.

/// The generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`, each with the same probability (Lemire, *Fast Random Integer Generation in an Interval*, 2019);
    /// 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        loop {
            let product = u128::from(self.bits()) * u128::from(end);
            #[allow(clippy::cast_possible_truncation, reason = "the low half")]
            let low = product as u64;
            if low >= end || low >= end.wrapping_neg().checked_rem(end).unwrap_or(0) {
                return u64::try_from(product >> 64).expect("the high half of 128 bits");
            }
        }
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "53 bits")]
        let bits = (self.bits() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        // First outputs for state 1234567, as published with Vigna's splitmix64.c.
        let mut random = Random::new(1_234_567);
        let found = [random.bits(), random.bits(), random.bits()];
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_number_below_three_is_each_of_them_equally_often() {
        let mut random = Random::new(7);
        let mut found = [0_u32; 3];
        for _ in 0..30_000 {
            found[usize::try_from(random.below(3)).expect("below 3")] += 1;
        }
        assert!(found.iter().all(|count| (9_700..10_300).contains(count)), "{found:?}");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random.unit())));
    }
}

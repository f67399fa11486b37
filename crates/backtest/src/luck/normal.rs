//! The normal distribution.

/// Probability of a standard normal number up to `x`: by the complementary error function of `libm`, whose relative error is below 1e-15.
#[must_use]
pub fn cumulative(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// The number up to which a standard normal one is with probability `p`: −∞ at 0, ∞ at 1, NaN beyond.
///
/// Wichura, *Algorithm AS 241: The Percentage Points of the Normal Distribution*, Applied Statistics 37 (1988), `PPND16`: about 1 part
/// in 10^16.
#[must_use]
pub fn quantile(p: f64) -> f64 {
    let middle = p - 0.5;
    if middle.abs() <= 0.425 {
        let r = 0.180_625 - middle * middle;
        return middle * ratio(r, &CENTRE);
    }
    let tail = if middle < 0.0 { p } else { 1.0 - p };
    if tail == 0.0 {
        return if middle < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // NaN of a logarithm of what is below 0.
    let r = (-libm::log(tail)).sqrt();
    let far = if r <= 5.0 { ratio(r - 1.6, &NEAR) } else { ratio(r - 5.0, &FAR) };
    if middle < 0.0 { -far } else { far }
}

type Coefficients = ([f64; 8], [f64; 8]);

/// Two polynomials, the highest coefficient last, by each other.
fn ratio(r: f64, (above, below): &Coefficients) -> f64 {
    let at = |all: &[f64; 8]| all.iter().rev().fold(0.0, |sum, coefficient| sum * r + coefficient);
    at(above) / at(below)
}

#[rustfmt::skip]
const CENTRE: Coefficients = (
    [3.387_132_872_796_366_5, 133.141_667_891_784_38, 1_971.590_950_306_551_3, 13_731.693_765_509_46,
     45_921.953_931_549_87, 67_265.770_927_008_7, 33_430.575_583_588_13, 2_509.080_928_730_122_7],
    [1.0, 42.313_330_701_600_91, 687.187_007_492_057_9, 5_394.196_021_424_751,
     21_213.794_301_586_597, 39_307.895_800_092_71, 28_729.085_735_721_943, 5_226.495_278_852_545],
);

#[rustfmt::skip]
const NEAR: Coefficients = (
    [1.423_437_110_749_683_5, 4.630_337_846_156_546, 5.769_497_221_460_691, 3.647_848_324_763_204_5,
     1.270_458_252_452_368_4, 0.241_780_725_177_450_6, 0.022_723_844_989_269_184, 7.745_450_142_783_414e-4],
    [1.0, 2.053_191_626_637_759, 1.676_384_830_183_803_8, 0.689_767_334_985_1,
     0.148_103_976_427_480_08, 0.015_198_666_563_616_457, 5.475_938_084_995_345e-4, 1.050_750_071_644_416_9e-9],
);

#[rustfmt::skip]
const FAR: Coefficients = (
    [6.657_904_643_501_103, 5.463_784_911_164_114, 1.784_826_539_917_291_3, 0.296_560_571_828_504_87,
     0.026_532_189_526_576_124, 1.242_660_947_388_078_4e-3, 2.711_555_568_743_487_6e-5, 2.010_334_399_292_288_1e-7],
    [1.0, 0.599_832_206_555_888, 0.136_929_880_922_735_8, 0.014_875_361_290_850_615,
     7.868_691_311_456_133e-4, 1.846_318_317_510_054_8e-5, 1.421_511_758_316_446e-7, 2.044_263_103_389_939_8e-15],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-15 + 2e-15 * expected.abs(), "{found:e} and not {expected:e}");
    }

    #[test]
    fn the_algorithm_gives_the_values_printed_with_it() {
        // The table of checks of AS 241.
        near(quantile(0.25), -0.674_489_750_196_081_7);
        near(quantile(0.001), -3.090_232_306_167_813_5);
        near(quantile(1e-20), -9.262_340_089_798_408);
    }

    #[test]
    fn the_ends_are_infinite() {
        assert_eq!((quantile(0.0), quantile(0.5), quantile(1.0)), (f64::NEG_INFINITY, 0.0, f64::INFINITY));
        assert!(quantile(-0.1).is_nan() && quantile(1.1).is_nan() && quantile(f64::NAN).is_nan());
        assert_eq!((cumulative(f64::NEG_INFINITY), cumulative(0.0), cumulative(f64::INFINITY)), (0.0, 0.5, 1.0));
    }

    #[test]
    fn one_undoes_the_other() {
        for step in -700..=500 {
            let x = f64::from(step) / 100.0;
            let back = quantile(cumulative(x));
            // Above 0 a probability near 1 has fewer digits than the number has.
            let lost = if x > 0.0 { 1e-16 / libm::exp(-x * x / 2.0) } else { 0.0 };
            assert!((back - x).abs() < 1e-13 + 3.0 * lost, "{x}: {back}");
        }
    }
}

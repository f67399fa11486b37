//! How far a Sharpe ratio can be believed.
//!
//! Every ratio here is of one bar, not of a year: divide that of a year by the root of bars a year.

use super::normal::{cumulative, quantile};
use crate::metrics::{Moments, ratios, ratios::finite};

/// Euler's constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// A Sharpe ratio, and what its error is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The ratio of one bar.
    pub sharpe: f64,
    /// Number of returns.
    pub bars: u64,
    /// Their skewness.
    pub skew: f64,
    /// Their kurtosis above that of the normal distribution.
    pub kurtosis: f64,
}

impl Measured {
    /// Of returns (above the riskless one). `None` of fewer than four, or of returns that do not differ.
    #[must_use]
    pub fn of(returns: &[f64]) -> Option<Self> {
        let moments = Moments::of(returns);
        Some(Self {
            sharpe: ratios::sharpe_per_bar(&moments)?,
            bars: returns.len() as u64,
            skew: ratios::skewness(&moments)?,
            kurtosis: ratios::kurtosis(&moments)?,
        })
    }

    /// The variance of the ratio times the number of returns less one, after Mertens (2002), as in [`probabilistic`]. `None` where it is not
    /// above 0, which a skew beyond what the ratio allows can make of it.
    fn spread(&self) -> Option<f64> {
        let Self { sharpe, skew, kurtosis, .. } = *self;
        let spread = 1.0 - skew * sharpe + (kurtosis + 2.0) / 4.0 * sharpe * sharpe;
        (spread > 0.0).then_some(spread)
    }

    #[allow(clippy::cast_precision_loss, reason = "no curve has 2^53 bars")]
    fn count(&self) -> f64 {
        self.bars as f64
    }
}

/// The probability that the true ratio is above `other` (Bailey and López de Prado, *The Sharpe Ratio Efficient Frontier*, 2012).
#[must_use]
pub fn probabilistic(measured: &Measured, other: f64) -> Option<f64> {
    let error = (measured.spread()? / (measured.count() - 1.0)).sqrt();
    finite(cumulative((measured.sharpe - other) / error))
}

/// The highest ratio that is to be expected of `trials` independent ones without any merit, whose ratios have the standard deviation
/// `deviation` (Bailey and López de Prado, *The Deflated Sharpe Ratio*, 2014). 0 of one trial.
///
/// The paper's approximation is of whole numbers from 2. Between 1 and 2, where an effective number may lie, it is drawn as a line from 0.
#[must_use]
pub fn expected_maximum(trials: f64, deviation: f64) -> f64 {
    let of = |n: f64| (1.0 - EULER) * quantile(1.0 - 1.0 / n) + EULER * quantile(1.0 - 1.0 / (n * std::f64::consts::E));
    if !(trials > 1.0 && deviation > 0.0) {
        0.0
    } else if trials < 2.0 {
        deviation * of(2.0) * (trials - 1.0)
    } else {
        deviation * of(trials)
    }
}

/// The probability that the true ratio is above what the best of so many trials without merit is expected to have (the same paper).
#[must_use]
pub fn deflated(measured: &Measured, trials: f64, deviation: f64) -> Option<f64> {
    probabilistic(measured, expected_maximum(trials, deviation))
}

/// How many returns are needed for a confidence (such as 0.95) that the true ratio is above `other` (Bailey and López de Prado, 2012).
/// `None` where the ratio found is not above it.
#[must_use]
pub fn minimum_bars(measured: &Measured, other: f64, confidence: f64) -> Option<f64> {
    let above = measured.sharpe - other;
    if above <= 0.0 {
        return None;
    }
    let reach = quantile(confidence) / above;
    finite(1.0 + measured.spread()? * reach * reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper() {
        // Bailey and López de Prado 2014, "A numerical example": a strategy with an annual ratio of 2.5 over 1,250 days, skewness -3 and
        // kurtosis 10, the best of 100 whose annual ratios have a variance of 1/2. The paper: SR0 = 0.1132, DSR = 0.9004.
        let root = 250_f64.sqrt();
        let measured = Measured { sharpe: 2.5 / root, bars: 1250, skew: -3.0, kurtosis: 7.0 };
        let deviation = 0.5_f64.sqrt() / root;
        let hurdle = expected_maximum(100.0, deviation);
        assert!((hurdle - 0.1132).abs() < 5e-5, "{hurdle}");
        let found = deflated(&measured, 100.0, deviation).expect("it has one");
        assert!((found - 0.9004).abs() < 5e-5, "{found}");
        // With 46 trials in effect the paper has 0.9505, with 88 of normal returns the same.
        let fewer = deflated(&measured, 46.0, deviation).expect("it has one");
        assert!((fewer - 0.9505).abs() < 5e-5, "{fewer}");
        let normal = Measured { skew: 0.0, kurtosis: 0.0, ..measured };
        let found = deflated(&normal, 88.0, deviation).expect("it has one");
        assert!((found - 0.9505).abs() < 5e-5, "{found}");
    }

    #[test]
    fn as_many_bars_as_needed_give_the_confidence() {
        let measured = Measured { sharpe: 0.1, bars: 500, skew: -0.7, kurtosis: 4.0 };
        let bars = minimum_bars(&measured, 0.02, 0.95).expect("it is above");
        let enough = |bars: u64| probabilistic(&Measured { bars, ..measured }, 0.02).expect("it has one");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred")]
        let floor = bars as u64;
        assert!(enough(floor) < 0.95 && enough(floor + 1) >= 0.95, "{bars}");
        assert_eq!(minimum_bars(&measured, 0.1, 0.95), None);
    }

    #[test]
    fn one_trial_is_no_search() {
        assert_eq!(expected_maximum(1.0, 0.3), 0.0);
        assert_eq!(expected_maximum(10.0, 0.0), 0.0);
        assert!(expected_maximum(1.5, 0.3) > 0.0 && expected_maximum(1.5, 0.3) < expected_maximum(2.0, 0.3));
    }
}

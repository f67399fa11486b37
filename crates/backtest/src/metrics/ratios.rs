//! Figures of a row of returns. Each definition is written in [`conventions`](super::conventions).
//!
//! `periods` is the number of returns a year, 252 for days. A figure that the returns do not have is `None`.

use super::{
    moments::Moments,
    sum::{count, mean, sum},
};

/// The share of returns that [`value_at_risk`] and [`expected_shortfall`] are about.
pub const TAIL: f64 = 0.05;

/// Annual growth: `end` is the last equity by the first.
#[must_use]
pub fn growth(end: f64, bars: usize, periods: f64) -> Option<f64> {
    if bars < 2 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "no curve has 2^53 bars")]
    let years = bars as f64 / periods;
    finite(libm::pow(end, 1.0 / years) - 1.0)
}

/// Standard deviation of the returns, of a year.
#[must_use]
pub fn volatility(returns: &Moments, periods: f64) -> Option<f64> {
    let spread = returns.deviation()?;
    finite(if returns.constant { 0.0 } else { spread * periods.sqrt() })
}

/// Mean by standard deviation, of one return: what the statistics of luck take. `None` where the returns do not differ.
#[must_use]
pub fn sharpe_per_bar(returns: &Moments) -> Option<f64> {
    if returns.constant {
        return None;
    }
    finite(returns.mean()? / returns.deviation()?)
}

/// The Sharpe ratio of a year, of returns that are less the riskless one.
#[must_use]
pub fn sharpe(returns: &Moments, periods: f64) -> Option<f64> {
    Some(sharpe_per_bar(returns)? * periods.sqrt())
}

/// The Sortino ratio of a year: the mean by the root of the mean square of the losses, where a gain counts as a loss of 0.
#[must_use]
pub fn sortino(returns: &[f64], moments: &Moments, periods: f64) -> Option<f64> {
    let below = (sum(returns.iter().map(|r| r.min(0.0) * r.min(0.0))) / count(returns)).sqrt();
    finite(moments.mean()? / below * periods.sqrt())
}

/// Skewness, corrected for the sample's size (G1 of Joanes and Gill, 1998; pandas' `skew`). `None` of fewer than three.
#[must_use]
pub fn skewness(returns: &Moments) -> Option<f64> {
    let n = returns.count;
    if n < 3.0 || returns.constant {
        return None;
    }
    let [second, third, _] = returns.central();
    finite(n * (n - 1.0).sqrt() / (n - 2.0) * third / (second * second.sqrt()))
}

/// Kurtosis above that of the normal distribution, corrected for the sample's size (G2 of Joanes and Gill, 1998; pandas' `kurt`).
/// `None` of fewer than four.
#[must_use]
pub fn kurtosis(returns: &Moments) -> Option<f64> {
    let n = returns.count;
    if n < 4.0 || returns.constant {
        return None;
    }
    let [second, _, fourth] = returns.central();
    let scale = (n - 2.0) * (n - 3.0);
    let raw = n * (n + 1.0) * (n - 1.0) / scale * fourth / (second * second);
    finite(raw - 3.0 * (n - 1.0) * (n - 1.0) / scale)
}

/// Of returns from the lowest to the highest, the one below which one in twenty lies, between neighbours by their distance (numpy's `percentile`). `None` of fewer than two.
#[must_use]
pub fn value_at_risk(ascending: &[f64]) -> Option<f64> {
    if ascending.len() < 2 {
        return None;
    }
    finite(quantile(ascending, TAIL))
}

/// Of returns from the lowest to the highest, the mean of the lowest twentieth, at least of one return. `None` of fewer than two.
#[must_use]
pub fn expected_shortfall(ascending: &[f64]) -> Option<f64> {
    if ascending.len() < 2 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of returns")]
    let last = ((count(ascending) - 1.0) * TAIL) as usize;
    mean(&ascending[..=last]).and_then(finite)
}

/// Returns with their moments.
pub type Measured<'a> = (&'a [f64], &'a Moments);

/// Slope of the returns on the benchmark's. `None` where those do not differ.
#[must_use]
pub fn beta((returns, own): Measured<'_>, (benchmark, other): Measured<'_>) -> Option<f64> {
    if returns.len() != benchmark.len() || other.constant {
        return None;
    }
    let [spread, ..] = other.central();
    let (own, other) = (own.mean()?, other.mean()?);
    let shared = sum(returns.iter().zip(benchmark).map(|(r, b)| (r - own) * (b - other)));
    finite(shared / spread)
}

/// What is left of the mean return when `beta` times the benchmark's is taken away, compounded over a year.
#[must_use]
pub fn alpha(beta: f64, returns: &Moments, benchmark: &Moments, periods: f64) -> Option<f64> {
    let left = returns.mean()? - beta * benchmark.mean()?;
    finite(libm::pow(1.0 + left, periods) - 1.0)
}

/// Mean by standard deviation of what each return is above the benchmark's; of one bar, not of a year.
#[must_use]
pub fn information_ratio(returns: &[f64], benchmark: &[f64]) -> Option<f64> {
    if returns.len() != benchmark.len() {
        return None;
    }
    let above: Vec<f64> = returns.iter().zip(benchmark).map(|(r, b)| r - b).collect();
    sharpe_per_bar(&Moments::of(&above))
}

/// The value below which the share `at` of ascending values lies, between neighbours by their distance.
/// There must be at least one.
pub(crate) fn quantile(ascending: &[f64], at: f64) -> f64 {
    let place = (count(ascending) - 1.0) * at;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of values")]
    let below = (place.floor() as usize).min(ascending.len() - 1);
    let above = (below + 1).min(ascending.len() - 1);
    let share = place - place.floor();
    ascending[below] + (ascending[above] - ascending[below]) * share
}

/// The values from the lowest to the highest.
pub(crate) fn ascending(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// A figure, unless it is infinite or none.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

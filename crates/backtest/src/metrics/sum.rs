//! Sums, means and moments, always taken in the order of the values.

/// A sum whose rounding is compensated: Neumaier, *Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen*, ZAMM 54 (1974).
///
/// Ten thousand returns of opposite signs lose no digit that matters, and the order of the values is the only one in which they are added.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.total + value;
        // What the addition has lost, exactly and without a branch: TwoSum (Knuth, The Art of Computer Programming 2, 4.2.2, theorem B).
        let taken = total - self.total;
        self.lost += (self.total - (total - taken)) + (value - taken);
        self.total = total;
    }

    /// What has been added so far.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.total + self.lost
    }
}

/// The compensated sum of values, in their order.
pub fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    for value in values {
        sum.add(value);
    }
    sum.value()
}

/// The arithmetic mean. `None` of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(sum(values.iter().copied()) / count(values)) }
}

/// The standard deviation of a sample: the divisor is one less than the number of values. `None` of fewer than two.
#[must_use]
pub fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares = sum(values.iter().map(|value| (value - mean) * (value - mean)));
    Some((squares / (count(values) - 1.0)).sqrt())
}

/// How many, as a number to divide by.
pub(crate) fn count<T>(values: &[T]) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "no slice has 2^53 values")]
    let count = values.len() as f64;
    count
}

/// Whether all values are the same but for rounding.
///
/// A return is a quotient near one, less one: rounding alone makes two equal ones differ by some units in the last place *of one*. The
/// bound of four of them is that of ffn (`_calc_sharpe`), which measures it against the return instead and so takes a constant price
/// growth for a very good strategy.
#[must_use]
pub fn constant(values: &[f64]) -> bool {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for &value in values {
        least = least.min(value);
        most = most.max(value);
    }
    values.is_empty() || most - least <= 4.0 * f64::EPSILON * (1.0 + most.abs().max(least.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_is_not_lost_beside_what_is_large() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0, "the example of the paper");
        assert_eq!(sum(std::iter::repeat_n(0.1, 10)), 1.0);
        assert_eq!(sum([]), 0.0);
    }

    #[test]
    fn a_price_that_grows_by_the_same_each_day_is_constant() {
        let mut price = 100.0;
        let returns: Vec<f64> = (0..2_000)
            .map(|_| {
                let before = price;
                price *= 1.0003;
                price / before - 1.0
            })
            .collect();
        assert!(constant(&returns));
        assert!(constant(&[]) && constant(&[0.5]));
        assert!(!constant(&[0.0, 1e-12]));
    }
}

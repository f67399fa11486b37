//! What several figures of the same values are made of, taken together: the mean in one pass, the powers of the distances from it in another.

use super::sum::{Sum, constant, count};

/// Mean and central moments of values.
///
/// Each sum is taken in the order of the values, as if it were taken alone: no figure depends on which others are wanted beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// How many values, as a number to divide by.
    pub count: f64,
    /// Whether they are [the same](constant) but for rounding.
    pub constant: bool,
    mean: f64,
    second: f64,
    third: f64,
    fourth: f64,
}

impl Moments {
    /// Those of `values`, which may be none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = count(values);
        let mut total = Sum::default();
        for &value in values {
            total.add(value);
        }
        let mean = total.value() / count;
        let (mut second, mut third, mut fourth) = (Sum::default(), Sum::default(), Sum::default());
        for value in values {
            let distance = value - mean;
            let square = distance * distance;
            let cube = square * distance;
            second.add(square);
            third.add(cube);
            fourth.add(cube * distance);
        }
        let (second, third, fourth) = (second.value(), third.value(), fourth.value());
        Self { count, constant: constant(values), mean, second, third, fourth }
    }

    /// The mean. `None` of nothing.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then_some(self.mean)
    }

    /// The standard deviation of a sample: the divisor is one less than the number of values. `None` of fewer than two.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.second / (self.count - 1.0)).sqrt())
    }

    /// Sums of the second, third and fourth powers of the distances from the mean.
    #[must_use]
    pub fn central(&self) -> [f64; 3] {
        [self.second, self.third, self.fourth]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        luck::random::Random,
        metrics::sum::{deviation, mean, sum},
    };

    #[test]
    fn what_is_taken_together_is_what_is_taken_alone_to_the_bit() {
        let mut random = Random::new(11);
        for length in [0, 1, 2, 3, 50, 3_000] {
            let values: Vec<f64> = (0..length).map(|_| 0.3 * (random.unit() - 0.4)).collect();
            let found = Moments::of(&values);
            assert_eq!((found.mean(), found.deviation()), (mean(&values), deviation(&values)), "{length}");
            assert_eq!(found.constant, constant(&values));
            let Some(middle) = mean(&values) else { continue };
            for (power, central) in (2..).zip(found.central()) {
                let alone = sum(values.iter().map(|value| {
                    let distance = value - middle;
                    (1..power).fold(distance, |product, _| product * distance)
                }));
                assert_eq!(central.to_bits(), alone.to_bits(), "power {power} of {length}");
            }
        }
    }
}

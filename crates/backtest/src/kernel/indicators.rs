//! Indicators, each defined to the bit as `ringfence/indicators.py` of the guest defines it: a value for each bar, NaN until there are
//! enough of them. Values are finite.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use super::{Indicator, KEPT_MAX};
use crate::panel::Columns;

/// What an indicator is kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Sma,
    Highest,
    Lowest,
    Mean,
    Deviation,
    Rsi,
}

/// The indicators of one symbol that were asked for.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    columns: &'a Columns,
    /// Closes added up from the first on.
    totals: Vec<f64>,
    kept: HashMap<(Name, usize), Indicator>,
    values: usize,
}

impl<'a> Kept<'a> {
    pub(super) fn new(columns: &'a Columns) -> Self {
        Self { columns, totals: totals(&columns.close), kept: HashMap::new(), values: 0 }
    }

    /// Simple moving average of closes.
    pub(super) fn sma(&mut self, window: usize) -> Indicator {
        self.get(Name::Sma, window, |kept| of_totals(&kept.totals, window))
    }

    /// Highest high of the last bars, this one among them.
    pub(super) fn highest(&mut self, window: usize) -> Indicator {
        self.get(Name::Highest, window, |kept| highest(&kept.columns.high, window))
    }

    /// Lowest low of the last bars, this one among them.
    pub(super) fn lowest(&mut self, window: usize) -> Indicator {
        self.get(Name::Lowest, window, |kept| lowest(&kept.columns.low, window))
    }

    /// Mean and standard deviation of the last closes.
    pub(super) fn mean_and_deviation(&mut self, window: usize) -> (Indicator, Indicator) {
        if !self.kept.contains_key(&(Name::Mean, window)) || !self.kept.contains_key(&(Name::Deviation, window)) {
            let (mean, deviation) = mean_and_deviation(&self.columns.close, window);
            let mean = self.get(Name::Mean, window, |_| mean);
            // The second may throw away the first, which the caller then has all the same.
            return (mean, self.get(Name::Deviation, window, |_| deviation));
        }
        (self.get(Name::Mean, window, |_| Vec::new()), self.get(Name::Deviation, window, |_| Vec::new()))
    }

    /// Wilder's relative strength index of closes.
    pub(super) fn rsi(&mut self, window: usize) -> Indicator {
        self.get(Name::Rsi, window, |kept| rsi(&kept.columns.close, window))
    }

    fn get(&mut self, name: Name, window: usize, compute: impl FnOnce(&Self) -> Vec<f64>) -> Indicator {
        if let Some(found) = self.kept.get(&(name, window)) {
            return Rc::clone(found);
        }
        let new: Indicator = compute(self).into();
        if self.values + new.len() > KEPT_MAX {
            self.kept.clear();
            self.values = 0;
        }
        self.values += new.len();
        self.kept.insert((name, window), Rc::clone(&new));
        new
    }
}

#[allow(clippy::cast_precision_loss, reason = "a window is at most some thousand bars")]
fn number(window: usize) -> f64 {
    window as f64
}

/// Values added up: of each and all before it, one after the other.
fn totals(values: &[f64]) -> Vec<f64> {
    let mut totals = values.to_vec();
    for i in 1..totals.len() {
        totals[i] += totals[i - 1];
    }
    totals
}

/// Simple moving average: the sum of the values up to a bar less the sum up to `window` bars before, by `window`.
///
/// # Panics
/// `window` is 0.
#[must_use]
pub fn sma(values: &[f64], window: usize) -> Vec<f64> {
    of_totals(&totals(values), window)
}

fn of_totals(totals: &[f64], window: usize) -> Vec<f64> {
    assert!(window > 0, "a window has at least one bar");
    let mut result = vec![f64::NAN; totals.len()];
    if window <= totals.len() {
        let divisor = number(window);
        result[window - 1] = totals[window - 1] / divisor;
        for ((result, now), before) in result[window..].iter_mut().zip(&totals[window..]).zip(totals) {
            *result = (now - before) / divisor;
        }
    }
    result
}

/// Mean and standard deviation (divided by `window`) of the last values, in two sums from the oldest value to the newest.
///
/// # Panics
/// `window` is 0.
#[must_use]
pub fn mean_and_deviation(values: &[f64], window: usize) -> (Vec<f64>, Vec<f64>) {
    assert!(window > 0, "a window has at least one bar");
    let (mut mean, mut deviation) = (vec![f64::NAN; values.len()], vec![f64::NAN; values.len()]);
    if window > values.len() {
        return (mean, deviation);
    }
    let (count, divisor) = (values.len() - window + 1, number(window));
    // Offset by offset, as numpy adds: each window's sum is taken oldest first, and the processor adds several windows at once.
    let means = &mut mean[window - 1..];
    means.fill(0.0);
    for offset in 0..window {
        means.iter_mut().zip(&values[offset..offset + count]).for_each(|(sum, value)| *sum += value);
    }
    means.iter_mut().for_each(|sum| *sum /= divisor);
    let squares = &mut deviation[window - 1..];
    squares.fill(0.0);
    for offset in 0..window {
        for ((sum, mean), value) in squares.iter_mut().zip(means.iter()).zip(&values[offset..offset + count]) {
            let difference = value - mean;
            *sum += difference * difference;
        }
    }
    squares.iter_mut().for_each(|sum| *sum = (*sum / divisor).sqrt());
    (mean, deviation)
}

/// The highest of the last values, this bar's among them.
///
/// # Panics
/// `window` is 0.
#[must_use]
pub fn highest(values: &[f64], window: usize) -> Vec<f64> {
    extreme(values, window, |new, old| new >= old)
}

/// The lowest of the last values, this bar's among them.
///
/// # Panics
/// `window` is 0.
#[must_use]
pub fn lowest(values: &[f64], window: usize) -> Vec<f64> {
    extreme(values, window, |new, old| new <= old)
}

/// The last values' extreme: a queue of those that may yet become it, of which the first is the one.
fn extreme(values: &[f64], window: usize, beats: fn(f64, f64) -> bool) -> Vec<f64> {
    assert!(window > 0, "a window has at least one bar");
    let mut result = vec![f64::NAN; values.len()];
    let mut queue: VecDeque<usize> = VecDeque::new();
    for (i, value) in values.iter().enumerate() {
        while queue.back().is_some_and(|last| beats(*value, values[*last])) {
            queue.pop_back();
        }
        queue.push_back(i);
        if queue[0] + window <= i {
            queue.pop_front();
        }
        if i + 1 >= window {
            result[i] = values[queue[0]];
        }
    }
    result
}

/// Wilder's relative strength index (*New Concepts in Technical Trading Systems*, 1978), 0 to 100.
///
/// # Panics
/// `window` is 0.
#[must_use]
pub fn rsi(values: &[f64], window: usize) -> Vec<f64> {
    assert!(window > 0, "a window has at least one bar");
    let mut result = vec![f64::NAN; values.len()];
    if window >= values.len() {
        return result;
    }
    let part = |i: usize| {
        let change = values[i] - values[i - 1];
        (if change > 0.0 { change } else { 0.0 }, if change < 0.0 { -change } else { 0.0 })
    };
    let (mut gains, mut losses) = (0.0, 0.0);
    for i in 1..=window {
        let (gain, loss) = part(i);
        gains += gain;
        losses += loss;
    }
    let (divisor, rest) = (number(window), number(window - 1));
    gains /= divisor;
    losses /= divisor;
    for (i, result) in result.iter_mut().enumerate().skip(window) {
        if i > window {
            let (gain, loss) = part(i);
            gains = (gains * rest + gain) / divisor;
            losses = (losses * rest + loss) / divisor;
        }
        let total = gains + losses;
        *result = if total > 0.0 { 100.0 * gains / total } else { 50.0 };
    }
    result
}

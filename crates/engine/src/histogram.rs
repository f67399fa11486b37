//! How long things took since the daemon started, by classes that are known ahead.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::api::Distribution;

/// Counts durations by class.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    /// Upper bounds of the classes in milliseconds, each larger than the one before. What is longer is in none.
    bounds_ms: [u64; N],
    counts: [AtomicU64; N],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// One without anything in it.
    pub(crate) const fn new(bounds_ms: [u64; N]) -> Self {
        Self {
            bounds_ms,
            counts: [const { AtomicU64::new(0) }; N],
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        }
    }

    /// Notes one duration.
    pub(crate) fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = self.bounds_ms.iter().zip(&self.counts).find(|(bound_ms, _)| us <= bound_ms.saturating_mul(1000));
        if let Some((_, count)) = class {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What was noted.
    pub(crate) fn distribution(&self) -> Distribution {
        // Read last: none in a class may be missing in the whole.
        let mut so_far = 0;
        let classes = self.bounds_ms.iter().zip(&self.counts).map(|(bound_ms, count)| {
            so_far += count.load(Ordering::Relaxed);
            (*bound_ms, so_far)
        });
        let at_most_ms = classes.collect();
        let count = self.count.load(Ordering::Relaxed).max(so_far);
        Distribution { at_most_ms, count, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_its_class_and_in_all_above() {
        let histogram = Histogram::new([1, 10, 100]);
        for us in [0, 1000, 1001, 10_000, 99_999, 5_000_000] {
            histogram.note(Duration::from_micros(us));
        }
        let seen = histogram.distribution();
        assert_eq!(seen.at_most_ms, [(1, 2), (10, 4), (100, 5)]);
        assert_eq!((seen.count, seen.sum_us), (6, 5_112_000));
    }
}

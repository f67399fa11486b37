//! Numbers that only ever grow.

use std::sync::atomic::{AtomicU64, Ordering};

use super::stamp::UnixMicros;

/// What a nonce counts. An exchange remembers the highest that it saw of a key: a key that was used with microseconds before
/// does not take milliseconds any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceUnit {
    /// Milliseconds since 1970, as most clients do.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
}

/// There is no number left that is higher and that the exchange would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the nonces of this key are used up")]
pub struct NonceError;

/// The nonces of one key. Each key has one of these for all sandboxes together: two sandboxes that count for themselves would
/// make each other's requests invalid.
#[derive(Debug)]
pub struct NonceSource {
    unit: NonceUnit,
    last: AtomicU64,
}

impl NonceSource {
    /// Nonces above `floor`, which is the highest that is known to be used, or 0.
    #[must_use]
    pub fn new(unit: NonceUnit, floor: u64) -> Self {
        Self { unit, last: AtomicU64::new(floor) }
    }

    /// The next one: the time, or one more than the last where the clock has not moved on or went back.
    ///
    /// # Errors
    /// [`NonceError`] once numbers are used up, rather than beginning again.
    pub fn next(&self, now: UnixMicros) -> Result<u64, NonceError> {
        let time = match self.unit {
            NonceUnit::Milliseconds => now.milliseconds(),
            NonceUnit::Microseconds => now.0,
            NonceUnit::Nanoseconds => now.0.saturating_mul(1_000),
        };
        let after = |last: u64| last.checked_add(1).map(|next| next.max(time));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).map_err(|_| NonceError)?;
        after(last).ok_or(NonceError)
    }

    /// The highest that was given, to be kept over a restart.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn they_follow_the_clock_and_never_fall_behind_themselves() {
        let nonces = NonceSource::new(NonceUnit::Milliseconds, 0);
        let given = [5_000_000, 5_000_500, 4_000_000, 5_001_000, 9_000_000].map(|now| nonces.next(UnixMicros(now)));
        assert_eq!(given, [Ok(5_000), Ok(5_001), Ok(5_002), Ok(5_003), Ok(9_000)]);
        assert_eq!(nonces.last(), 9_000);
        assert_eq!(NonceSource::new(NonceUnit::Microseconds, 0).next(UnixMicros(7)), Ok(7));
        assert_eq!(NonceSource::new(NonceUnit::Nanoseconds, 0).next(UnixMicros(7)), Ok(7_000));
        assert_eq!(NonceSource::new(NonceUnit::Nanoseconds, 8_000).next(UnixMicros(7)), Ok(8_001));
    }

    #[test]
    fn they_end_rather_than_begin_again() {
        let nonces = NonceSource::new(NonceUnit::Microseconds, u64::MAX - 1);
        assert_eq!(nonces.next(UnixMicros(1)), Ok(u64::MAX));
        assert_eq!(nonces.next(UnixMicros(1)), Err(NonceError));
        assert_eq!(nonces.last(), u64::MAX);
    }

    #[test]
    fn no_two_threads_get_the_same() {
        let nonces = NonceSource::new(NonceUnit::Milliseconds, 0);
        let given: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let draw = || (0..2_000).map(|at| nonces.next(UnixMicros(at)).expect("plenty")).collect();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(given.iter().all(|one: &Vec<u64>| one.is_sorted_by(|one, other| one < other)));
        assert_eq!(given.iter().flatten().collect::<BTreeSet<_>>().len(), 8_000);
    }
}

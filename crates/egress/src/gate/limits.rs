//! How much one sandbox may ask of the gate.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_model::net::{Denial, DenialReason, Protocol};

/// Connections of one sandbox that are open at once.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Requests of one sandbox at once whose bodies are held whole, 256 KiB each, because they are signed; others wait.
pub(super) const GATHERED_MAX: usize = 32;
/// New connections of one sandbox in a minute, and as many at once after a pause.
const CONNECTIONS_A_MINUTE: f64 = 1000.0;
/// Equal refusals in a minute that are recorded and told; later ones are counted.
const EQUAL_MAX: u32 = 100;
/// Different refusals in a minute that are told apart; those beyond are all taken for equal.
const KINDS_MAX: usize = 1024;
const MINUTE: Duration = Duration::from_secs(60);

/// The lock, whatever became of who held it before: everything behind these locks is whole after each statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives so many connections a minute.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: CONNECTIONS_A_MINUTE, filled_at: now }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * CONNECTIONS_A_MINUTE / 60.0).min(CONNECTIONS_A_MINUTE);
        self.filled_at = self.filled_at.max(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

/// What a flood of equal refusals is recognised by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Equal(Protocol, String, DenialReason);

/// Counts equal refusals, so that a program which tries again and again does not fill the disk.
///
/// Refusals are equal in protocol, host (or address), port and reason. After [`EQUAL_MAX`] of them in a minute the rest of that
/// minute is counted alone: neither recorded nor told.
#[derive(Debug)]
pub(super) struct Flood {
    since: Instant,
    seen: HashMap<Equal, u32>,
    others: u32,
    /// Refusals that were counted alone, ever.
    pub(super) counted: u64,
}

impl Flood {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, seen: HashMap::new(), others: 0, counted: 0 }
    }

    /// Whether to record and tell this one.
    pub(super) fn is_news(&mut self, denial: &Denial, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) > MINUTE {
            self.since = now;
            self.seen.clear();
            self.others = 0;
        }
        let key = Equal(denial.protocol, denial.destination(), denial.reason);
        let full = self.seen.len() >= KINDS_MAX && !self.seen.contains_key(&key);
        let seen = if full { &mut self.others } else { self.seen.entry(key).or_insert(0) };
        *seen = seen.saturating_add(1);
        let is_news = *seen <= EQUAL_MAX;
        if !is_news {
            self.counted += 1;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_equal_refusals_a_minute_are_news() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        let denial =
            |port| Denial::new(0, Protocol::Tcp, DenialReason::AddressNotGiven).with_address([1, 1, 1, 1].into(), port);
        let news = |flood: &mut Flood, port, at| (0..150).filter(|_| flood.is_news(&denial(port), at)).count();
        assert_eq!(news(&mut flood, 80, start), 100);
        assert_eq!(news(&mut flood, 81, start), 100);
        assert_eq!(flood.counted, 100);
        assert_eq!(news(&mut flood, 80, start + Duration::from_secs(61)), 100);
    }

    #[test]
    fn refusals_that_all_differ_are_bounded_too() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        let denial =
            |port| Denial::new(0, Protocol::Tcp, DenialReason::AddressNotGiven).with_address([1, 1, 1, 1].into(), port);
        let news = (0..5000).filter(|port| flood.is_news(&denial(*port), start)).count();
        assert_eq!(news, KINDS_MAX + EQUAL_MAX as usize);
        assert_eq!(flood.seen.len(), KINDS_MAX);
    }

    #[test]
    fn a_thousand_connections_a_minute() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let taken = |bucket: &mut Bucket, at| (0..2000).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 1000);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(6)), 100);
    }
}

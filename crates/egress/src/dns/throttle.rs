//! How many questions a sandbox may ask: so many at once, and so many a second.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Most questions of one sandbox that are being answered at once.
const AT_ONCE_MAX: usize = 64;
/// Questions a second, and as many at once after a pause.
const PER_SECOND: f64 = 200.0;

/// One sandbox's share. UDP and TCP have one together.
#[derive(Debug)]
pub struct Throttle {
    places: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

/// The right to have one question answered, for as long as that takes.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Default for Throttle {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            bucket: Mutex::new(Bucket { tokens: PER_SECOND, filled_at: Instant::now() }),
        }
    }
}

impl Throttle {
    /// A turn, or nothing if the sandbox asks too much.
    #[must_use]
    pub fn turn(&self, now: Instant) -> Option<Turn> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * PER_SECOND).min(PER_SECOND);
        bucket.filled_at = bucket.filled_at.max(now);
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;
        Some(Turn(place))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_hundred_a_second_and_no_more() {
        let throttle = Throttle::default();
        let start = Instant::now() + Duration::from_secs(1);
        let asked = |at| (0..1000).filter(|_| throttle.turn(at).is_some()).count();
        assert_eq!(asked(start), 200);
        assert_eq!(asked(start + Duration::from_millis(500)), 100);
        assert_eq!(asked(start + Duration::from_secs(60)), 200);
        assert_eq!(asked(start), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn sixty_four_at_once_and_no_more() {
        let throttle = Throttle::default();
        let mut turns: Vec<_> = std::iter::from_fn(|| throttle.turn(Instant::now())).collect();
        assert_eq!(turns.len(), 64);
        turns.pop();
        assert!(throttle.turn(Instant::now()).is_some());
    }
}

//! How often one token may ask, and how often a wrong one may be tried.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Requests that may come at once, and per second after that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: f64,
    pub(crate) per_second: f64,
}

/// Of one token: far above what a client does that waits for its answers.
pub(crate) const TOKEN_RATE: Rate = Rate { burst: 400.0, per_second: 200.0 };
/// Of wrong tokens, all together: the API over TCP is on the loopback interface, where every peer has the same address.
pub(crate) const WRONG_RATE: Rate = Rate { burst: 20.0, per_second: 1.0 };

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets by name. As many as there are valid tokens at most: a name is one that the caller has proved.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<BTreeMap<String, Bucket>>);

impl Limiter {
    /// Takes one from the bucket of that name.
    ///
    /// # Errors
    /// It is empty; until then it has one again.
    pub(crate) fn take(&self, name: &str, rate: Rate, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { left: rate.burst, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * rate.per_second).min(rate.burst);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.left) / rate.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let (limiter, begin) = (Limiter::default(), Instant::now());
        let rate = Rate { burst: 2.0, per_second: 1.0 };
        assert!(limiter.take("a", rate, begin).is_ok() && limiter.take("a", rate, begin).is_ok());
        assert_eq!(limiter.take("a", rate, begin), Err(Duration::from_secs(1)));
        assert!(limiter.take("b", rate, begin).is_ok(), "another token has its own");
        assert!(limiter.take("a", rate, begin + Duration::from_secs(1)).is_ok());
        assert!(limiter.take("a", rate, begin + Duration::from_secs(1)).is_err());
    }
}

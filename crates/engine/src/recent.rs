//! How long something took of late.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

/// As many as a median is taken of.
const KEPT: usize = 128;

/// The last durations of one kind.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<Duration>>);

impl Recent {
    /// Notes one that began at `begin` and is over.
    pub(crate) fn note(&self, begin: Instant) {
        let mut kept = self.0.lock().expect("nothing panics under this lock");
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(begin.elapsed());
    }

    /// Their median in microseconds; none before the first.
    pub(crate) fn median_us(&self) -> Option<u64> {
        let mut sorted: Vec<Duration> =
            self.0.lock().expect("nothing panics under this lock").iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|median| u64::try_from(median.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_last_ones() {
        let recent = Recent::default();
        assert_eq!(recent.median_us(), None);
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).expect("the clock began long ago");
        for _ in 0..KEPT {
            recent.note(ago(9_000));
        }
        assert!(recent.median_us().expect("some") >= 9_000_000);
        for ms in 0..u64::try_from(KEPT).expect("few") {
            recent.note(ago(ms));
        }
        let median = recent.median_us().expect("some");
        assert!((64_000..9_000_000).contains(&median), "{median}");
    }
}

//! The wall clock, which somebody may set while the daemon runs, and what then goes with it: meters and lifetimes count time that passes.

use std::time::Instant;

use ringfence_store::Actor;

use crate::{
    engine::{Engine, now_ms},
    error::Failure,
    sandbox::Lifetime,
};

/// A jump that is shorter is let be: a clock is kept right by small ones, and no meter counts in less than a minute.
const STEP_MIN_MS: u64 = 5_000;

/// Where both clocks stood when they were looked at last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    wall_ms: u64,
    steady: Instant,
}

impl Look {
    /// At both of them.
    pub(crate) fn now() -> Self {
        Self { wall_ms: now_ms(), steady: Instant::now() }
    }

    /// By how much the wall clock jumped between the two, in milliseconds; `None` when it just went on. (While the machine sleeps, no
    /// time passes for what runs on it: clock_gettime(2), `CLOCK_MONOTONIC`.)
    fn step_to(self, later: Self) -> Option<i64> {
        let passed = later.steady.saturating_duration_since(self.steady).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let expected = self.wall_ms.saturating_add(passed);
        if later.wall_ms.abs_diff(expected) < STEP_MIN_MS {
            return None;
        }
        // Both are far below 2^63 before the year 200000000.
        Some(i64::try_from(later.wall_ms).unwrap_or(i64::MAX) - i64::try_from(expected).unwrap_or(i64::MAX))
    }
}

impl Engine {
    /// The time, in milliseconds since the Unix epoch, after everything has gone with the clock that has to.
    pub(crate) async fn settled_now_ms(&self) -> u64 {
        let mut last = self.inner.clock.lock().await;
        let look = Look::now();
        match last.step_to(look) {
            None => *last = look,
            Some(step_ms) => match self.go_with_the_clock(step_ms, look.wall_ms).await {
                Ok(()) => *last = look,
                Err(error) => {
                    tracing::error!(error = %error.chain(), step_ms, "the wall clock jumped, and that could not be written; it is tried again");
                }
            },
        }
        look.wall_ms
    }

    async fn go_with_the_clock(&self, step_ms: i64, now_ms: u64) -> Result<(), Failure> {
        let entry = Self::entry(Actor::System, "clock.step").detail(serde_json::json!({"step_ms": step_ms}));
        let written = self.inner.store.write_with_audit(entry, move |tx| tx.clock_stepped(step_ms, now_ms)).await?;
        let (stepped, receipt) = written;
        drop(receipt);
        for sandbox in self.all_live() {
            let expires_at_ms = sandbox.lifetime().expires_at_ms.saturating_add_signed(step_ms);
            sandbox.set_lifetime(Lifetime { expires_at_ms });
        }
        tracing::warn!(
            step_ms,
            meters = stepped.meters,
            lifetimes = stepped.lifetimes,
            ended_tokens = stepped.ended_tokens,
            "the wall clock jumped; meters and lifetimes went with it"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_jump_is_what_the_wall_clock_went_beyond_the_time_that_passed() {
        let begin = Look { wall_ms: 1_800_000_000_000, steady: Instant::now() };
        let after = |passed_ms: u64, wall_ms: u64| {
            begin.step_to(Look { wall_ms, steady: begin.steady + Duration::from_millis(passed_ms) })
        };
        let wall = begin.wall_ms;
        // However long nobody looked, and however a clock is slewed meanwhile.
        for (passed, shown) in [(0, 0), (500, 500), (86_400_000, 86_400_000), (500, 0), (500, 5_499), (60_000, 55_001)]
        {
            assert_eq!(after(passed, wall + shown), None, "{passed} {shown}");
        }
        assert_eq!(after(500, wall + 3_600_500), Some(3_600_000));
        assert_eq!(after(500, wall + 500 - 3_600_000), Some(-3_600_000));
        assert_eq!(after(60_000, wall), Some(-60_000));
        // To the beginning of the epoch, as a machine without a battery has it.
        assert_eq!(after(0, 0), Some(-1_800_000_000_000));
    }
}

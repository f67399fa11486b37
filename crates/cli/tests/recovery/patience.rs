//! Waiting for what a daemon does in its own time.

use std::time::{Duration, Instant};

/// How long a daemon may take to answer again, and what it tidies up behind its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition; it says what is missing.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Whether anybody waits for an answer now: work that is done ahead steps back for work that is asked for.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long nobody must have asked for anything before it is quiet: a client that has an answer often asks again at once.
const QUIET: Duration = Duration::from_millis(15);

/// Requests that use the machine.
#[derive(Debug)]
pub(crate) struct Activity {
    now: AtomicUsize,
    sandboxes: AtomicUsize,
    last: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { now: AtomicUsize::new(0), sandboxes: AtomicUsize::new(0), last: Mutex::new(Instant::now()) }
    }
}

/// One such request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Active<'a>(&'a Activity);

impl Activity {
    /// A request begins.
    pub(crate) fn begin(&self) -> Active<'_> {
        self.now.fetch_add(1, Ordering::Relaxed);
        Active(self)
    }

    /// Notes how many sandboxes live.
    pub(crate) fn note_sandboxes(&self, count: usize) {
        self.sandboxes.store(count, Ordering::Relaxed);
    }

    /// Whether there are so few sandboxes that interpreters which wait may hold 6 MiB more for a quicker start.
    pub(crate) fn may_warm(&self) -> bool {
        const WARMED_MAX: usize = 64;
        self.sandboxes.load(Ordering::Relaxed) <= WARMED_MAX
    }

    fn is_quiet(&self) -> bool {
        let last = *self.last.lock().expect("nothing panics under this lock");
        self.now.load(Ordering::Relaxed) == 0 && last.elapsed() >= QUIET
    }

    /// Waits until it is quiet, at most for `patience`.
    pub(crate) async fn quiet(&self, patience: Duration) {
        const LOOK_EVERY: Duration = Duration::from_millis(5);
        let end = Instant::now() + patience;
        while !self.is_quiet() && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        *self.0.last.lock().expect("nothing panics under this lock") = Instant::now();
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

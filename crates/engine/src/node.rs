//! Whether this node takes work, how it comes to its end, and what was counted of it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use ringfence_jail::{board::Board, proto::Op};
use ringfence_model::{
    ApiError, Code,
    api::{CreateAnswer, CreateRequest},
    net::control::{GateAnswer, GateFigures, GateOp},
};
use ringfence_store::{Actor, ExecutionEnd, ExecutionStatus, StoreError};

use crate::{
    api::{Figures, Node, ProgressSender},
    engine::Engine,
    error::Failure,
    execution::Execution,
    histogram::Histogram,
    service::count,
};

/// How long each part may take to say that it is there.
const WORD_TIME: Duration = Duration::from_secs(2);

/// Free bytes below which no work is taken: decisions must reach the disk before they have an effect.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// How long the ends of killed executions may take to be known.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// How long questions are still taken after that. Clients hold one open for half a second, and ask the next at once.
const LAST_WORD: Duration = Duration::from_millis(250);

/// What an execution says that a drain has ended.
const STOPPED: &str = "the daemon was stopped";

/// What is counted while the node runs.
#[derive(Debug)]
pub(crate) struct Counts {
    ended: [AtomicU64; ENDS.len()],
    execution_took: Histogram<14>,
    creates_failed: AtomicU64,
    create_took: Histogram<13>,
    /// Until when a drain waits, once there is one.
    drain_until: Mutex<Option<Instant>>,
}

const ENDS: [(ExecutionStatus, &str); 4] = [
    (ExecutionStatus::Completed, "completed"),
    (ExecutionStatus::Failed, "failed"),
    (ExecutionStatus::Timeout, "timeout"),
    (ExecutionStatus::Killed, "killed"),
];

impl Default for Counts {
    fn default() -> Self {
        Self {
            ended: Default::default(),
            execution_took: Histogram::new([
                5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000,
            ]),
            creates_failed: AtomicU64::new(0),
            create_took: Histogram::new([1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000]),
            drain_until: Mutex::default(),
        }
    }
}

impl Counts {
    /// An execution that began then has ended.
    pub(crate) fn ended(&self, started_at_ms: u64, end: &ExecutionEnd) {
        let counters = ENDS.iter().zip(&self.ended);
        if let Some((_, counter)) = counters.into_iter().find(|((status, _), _)| *status == end.status) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // The jailer's measure, where it has one.
        let wall = Duration::from_millis(end.finished_at_ms.saturating_sub(started_at_ms));
        self.execution_took.note(end.execution_time_us.map_or(wall, Duration::from_micros));
    }

    fn drain_until(&self) -> Option<Instant> {
        *self.drain_until.lock().expect("nothing panics under this lock")
    }
}

/// Whether a request that was refused was at fault itself.
fn is_of_the_caller(error: &ApiError) -> bool {
    !matches!(error.code, Code::InsufficientResources | Code::Internal)
}

/// Free bytes and all bytes of the file system of `dir`.
fn disk(dir: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}

impl Engine {
    /// [`Engine::do_create`], counted.
    pub(crate) async fn create_counted(
        &self,
        actor: Actor,
        request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Result<CreateAnswer, Failure> {
        let begin = Instant::now();
        let made = self.do_create(actor, request, progress).await;
        match &made {
            Ok(_) => self.inner.counts.create_took.note(begin.elapsed()),
            Err(Failure::Api(error)) if is_of_the_caller(error) => {}
            Err(Failure::Store(StoreError::InsufficientCredits { .. })) => {}
            Err(_) => drop(self.inner.counts.creates_failed.fetch_add(1, Ordering::Relaxed)),
        }
        made
    }

    async fn jailer_answers(&self) -> bool {
        let asked = tokio::time::timeout(WORD_TIME, self.inner.machine.jailer().call(Op::Hello)).await;
        asked.is_ok_and(|answer| answer.is_ok())
    }

    async fn gate_figures(&self) -> Option<GateFigures> {
        let asked = tokio::time::timeout(WORD_TIME, self.inner.gate.call(GateOp::Figures)).await;
        match asked {
            Ok(Ok(GateAnswer::Figures(figures))) => Some(*figures),
            _ => None,
        }
    }

    async fn can_write(&self) -> Result<(), String> {
        match tokio::time::timeout(WORD_TIME, self.inner.store.try_write()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = Failure::from(error).chain(),
                    "a change that was tried did not reach the database"
                );
                Err("the database takes no change; the daemon's log says why".to_owned())
            }
            Err(_) => Err(format!("the database takes no change within {} s", WORD_TIME.as_secs())),
        }
    }

    /// What a drain waits for, in a sentence.
    fn draining(&self) -> Option<String> {
        if !self.is_ending() {
            return None;
        }
        let running = Node::executions(self);
        let left = self.inner.counts.drain_until().map(|until| until.saturating_duration_since(Instant::now()));
        Some(match (running, left) {
            (0, _) | (_, None) => "draining: the daemon is stopping".to_owned(),
            (running, Some(left)) => {
                let what = if running == 1 { "execution" } else { "executions" };
                let seconds = left.as_secs_f64().ceil();
                format!("draining: the daemon is stopping; it waits for {running} {what}, at most {seconds} s longer")
            }
        })
    }

    /// Executions that have not ended, without what templates have run in the background, which ends with its sandbox alone.
    fn unended(&self) -> Vec<Arc<Execution>> {
        let is_awaited = |execution: &&Arc<Execution>| execution.end().is_none() && !execution.is_followed;
        self.running().values().filter(is_awaited).cloned().collect()
    }

    async fn is_idle(&self) {
        /// What was let in just before the drain has begun by then.
        const LATE: Duration = Duration::from_millis(50);
        const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);
        loop {
            while let Some(execution) = self.unended().into_iter().next() {
                execution.wait(FOREVER).await;
            }
            tokio::time::sleep(LATE).await;
            if self.unended().is_empty() {
                return;
            }
        }
    }
}

impl Node for Engine {
    fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let (jailer, gate, written) = tokio::join!(self.jailer_answers(), self.gate_figures(), self.can_write());
            let mut missing: Vec<String> = self.draining().into_iter().collect();
            if !jailer {
                missing.push("the jailer does not answer".into());
            }
            match gate {
                None => missing.push("the gateway does not answer".into()),
                Some(gate) if !gate.exchange_answers => missing.push("the exchange does not answer".into()),
                Some(_) => {}
            }
            missing.extend(written.err());
            match disk(&self.inner.home.join("engine")) {
                Some((free, _)) if free < FREE_BYTES_MIN => missing.push(format!(
                    "the disk of the state directory is full: {} MiB are free, {} are needed",
                    free >> 20,
                    FREE_BYTES_MIN >> 20
                )),
                Some(_) => {}
                None => missing.push("the disk of the state directory cannot be looked at".into()),
            }
            missing
        })
    }

    fn drain(&self, patience: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.draining.store(true, Ordering::SeqCst);
            *self.inner.counts.drain_until.lock().expect("nothing panics under this lock") =
                Some(Instant::now() + patience);
            let running = self.unended().len();
            tracing::info!(running, seconds = patience.as_secs(), "draining: no new work is taken");
            if tokio::time::timeout(patience, self.is_idle()).await.is_ok() {
                return;
            }
            let left = self.unended();
            tracing::warn!(left = left.len(), "executions that did not end in time are killed");
            let ends = left.iter().map(|execution| async move {
                self.end_execution(&execution.id, STOPPED).await;
                execution.wait(SETTLE_PATIENCE).await;
            });
            join_all(ends).await;
            // Who asks again and again what became of one may be between two questions.
            tokio::time::sleep(LAST_WORD).await;
        })
    }

    fn answers(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            // Whoever holds one of these for long holds up everything.
            drop((self.all_live(), self.unended()));
            let read = tokio::time::timeout(WORD_TIME, self.inner.store.read(|view| view.meta("store.touched")));
            let (read, jailer) = tokio::join!(read, self.jailer_answers());
            // A database that refuses has answered; a restart would not mend it.
            read.is_ok() && jailer
        })
    }

    fn executions(&self) -> u32 {
        count(self.unended().len())
    }

    fn figures(&self) -> BoxFuture<'_, Figures> {
        Box::pin(async move {
            let counts = &self.inner.counts;
            let (gate, spent) = tokio::join!(self.gate_figures(), self.inner.store.read(|view| view.credits_spent()));
            let ended = ENDS.iter().zip(&counts.ended);
            let shelves = self.inner.shelves.lock().expect("nothing panics under this lock");
            let shelf_target = shelves.values().map(|shelf| shelf.level().1 as u64).sum();
            drop(shelves);
            Figures {
                executions: ended.map(|((_, word), counter)| (*word, counter.load(Ordering::Relaxed))).collect(),
                execution_took: counts.execution_took.distribution(),
                creates_failed: counts.creates_failed.load(Ordering::Relaxed),
                create_took: counts.create_took.distribution(),
                shelf_target,
                credits_spent: spent.ok(),
                database_bytes: self.inner.store.bytes(),
                disk_bytes: disk(&self.inner.home.join("engine")),
                roles: roles(self.inner.board.as_ref()),
                gate,
            }
        })
    }
}

fn roles(board: Option<&Board>) -> Vec<(&'static str, u64, bool)> {
    let Some(roles) = board.and_then(|board| board.read().ok()) else { return Vec::new() };
    let all = [("jailer", roles.jailer), ("serve", roles.serve), ("gateway", roles.gateway), ("venue", roles.venue)];
    all.into_iter().map(|(name, role)| (name, role.restarts(), role.runs)).collect()
}

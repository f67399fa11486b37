//! A node as whoever operates it sees it: whether it takes work, how it comes to its end, and what was counted. Nobody asks this on
//! behalf of a caller, so it is no part of the API's trait.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use ringfence_model::{credit::MilliCredits, net::control::GateFigures};

/// See the module.
pub trait Node: Send + Sync {
    /// What is missing for work to be taken, a sentence each; nothing when it is taken. The sentences may be shown to anybody on this
    /// machine. They are there within seconds, whatever does not answer.
    fn missing(&self) -> BoxFuture<'_, Vec<String>>;

    /// Takes no new work from now on. Returns when no execution runs any more; those that still do after `patience` are killed, and
    /// say so.
    fn drain(&self, patience: Duration) -> BoxFuture<'_, ()>;

    /// Whether it answers: its own state can be looked at, its database read, and its jailer heard.
    fn answers(&self) -> BoxFuture<'_, bool>;

    /// How many executions run now.
    fn executions(&self) -> u32;

    /// What was counted.
    fn figures(&self) -> BoxFuture<'_, Figures>;
}

/// A node that is shared.
pub type SharedNode = Arc<dyn Node>;

/// What was counted since the node started, and how things stand now. What could not be found out is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Executions that have ended, by how.
    pub executions: Vec<(&'static str, u64)>,
    /// How long they ran, from their start to their end.
    pub execution_took: Distribution,
    /// Sandboxes that could not be made, for whatever reason but a request that is wrong.
    pub creates_failed: u64,
    /// How long it took to make those that could.
    pub create_took: Distribution,
    /// Sandboxes that are to be on all shelves together.
    pub shelf_target: u64,
    /// Credits that all projects have spent since the installation was made, refunds taken off.
    pub credits_spent: Option<MilliCredits>,
    /// Bytes of the engine's database with its log.
    pub database_bytes: u64,
    /// Of the file system with the state directory: bytes that are free for it, and all.
    pub disk_bytes: Option<(u64, u64)>,
    /// Roles by name: how often each was started anew since the daemon was started, and whether it runs.
    pub roles: Vec<(&'static str, u64, bool)>,
    /// What the gateway has counted.
    pub gate: Option<GateFigures>,
}

/// How long something took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many took so many milliseconds or less.
    pub at_most_ms: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub sum_us: u64,
}

//! A node whose state the test sets.

#![allow(dead_code, reason = "most of those who use the fake leave the node as it is")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use ringfence_engine::api::{Figures, Node};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct FakeNode {
    pub(crate) missing: Mutex<Vec<String>>,
    /// How often it was looked at what is missing.
    pub(crate) looks: AtomicU32,
    pub(crate) executions: AtomicU32,
    pub(crate) draining: AtomicBool,
    /// How long it was told to wait at most.
    pub(crate) patience: Mutex<Option<Duration>>,
    /// The last execution has ended.
    pub(crate) idle: Notify,
}

impl Node for FakeNode {
    fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { self.missing.lock().expect("no panic").clone() })
    }

    fn drain(&self, patience: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.draining.store(true, Ordering::SeqCst);
            *self.patience.lock().expect("no panic") = Some(patience);
            if self.executions.load(Ordering::SeqCst) > 0 {
                let _ = tokio::time::timeout(patience, self.idle.notified()).await;
            }
        })
    }

    fn answers(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }

    fn executions(&self) -> u32 {
        self.executions.load(Ordering::SeqCst)
    }

    fn figures(&self) -> BoxFuture<'_, Figures> {
        Box::pin(async { Figures { creates_failed: 77, ..Figures::default() } })
    }
}

//! What the seed document says that things take, and what they took.

use anyhow::Context;
use serde::Serialize;

use super::client::Call;
use crate::{numbers, output};

/// One row: ours and the seed document's.
#[derive(Debug, Serialize)]
pub(super) struct Timing {
    what: &'static str,
    seconds: f64,
    /// Largest memory of the sandbox meanwhile.
    memory_bytes: Option<u64>,
    seed_seconds: f64,
    seed_memory_mb: Option<u32>,
}

/// All rows.
#[derive(Debug, Serialize)]
pub(super) struct Timings(Vec<Timing>);

impl Timings {
    /// From the calls that were made.
    ///
    /// # Errors
    /// An answer lacks its memory.
    pub(super) fn of(create: &Call, first: &Call, backtest: &Call, three_seconds: f64) -> anyhow::Result<Self> {
        let memory =
            |run: &Call| run.answer["memory_peak_bytes"].as_u64().context("the answer has no memory_peak_bytes");
        Ok(Self(vec![
            Timing {
                what: "create a sandbox",
                seconds: create.seconds,
                memory_bytes: None,
                seed_seconds: 1.8,
                seed_memory_mb: None,
            },
            Timing {
                what: "first execution (JSON)",
                seconds: first.seconds,
                memory_bytes: Some(memory(first)?),
                seed_seconds: 0.5,
                seed_memory_mb: Some(128),
            },
            Timing {
                what: "100-day backtest",
                seconds: backtest.seconds,
                memory_bytes: Some(memory(backtest)?),
                seed_seconds: 1.2,
                seed_memory_mb: Some(256),
            },
            Timing {
                what: "three in parallel, created too",
                seconds: three_seconds,
                memory_bytes: None,
                seed_seconds: 1.5,
                seed_memory_mb: None,
            },
        ]))
    }

    /// As people read it.
    pub(super) fn table(&self) -> String {
        let mut table = output::table(&["operation", "here", "seed", "faster", "memory here", "memory seed"]);
        for t in &self.0 {
            let dash = || "-".to_owned();
            table.add_row([
                t.what.to_owned(),
                numbers::seconds(t.seconds),
                format!("{} s", t.seed_seconds),
                format!("{:.0}×", t.seed_seconds / t.seconds),
                t.memory_bytes.map_or_else(dash, numbers::bytes),
                t.seed_memory_mb.map_or_else(dash, |mb| format!("{mb} MB")),
            ]);
        }
        output::text(table)
    }
}

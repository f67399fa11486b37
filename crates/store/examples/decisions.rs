//! How many decisions a second reach the disk: `cargo run --release -p ringfence-store --example decisions [DIRECTORY]`.
//!
//! Producers ask at once, each for its next decision when the one before has its permit, first alone and then settled
//! too. The directory says which disk is measured; without one it is that of the current directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence_model::SandboxId;
use ringfence_store::gate::{Decision, GateStore, Protocol, Ruling, SecretName, Settlement};
use ringfence_store::{Result, SealingKey, Verification};

const PRODUCERS: u8 = 64;
const DURATION: Duration = Duration::from_secs(3);
/// Some time, in milliseconds since the Unix epoch.
const NOW_MS: u64 = 1_757_371_623_056;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringfence-decisions-").tempdir_in(parent)?;
    let key = SealingKey::load_or_create(&dir.path().join("gate.key"))?;
    let store = GateStore::open(&dir.path().join("gate.db"), key)?;
    for (producers, settles) in [(1, false), (PRODUCERS, false), (PRODUCERS, true)] {
        let before = store.statistics();
        let begin = Instant::now();
        let tasks: Vec<_> =
            (0..producers).map(|number| tokio::spawn(ask(store.clone(), number, settles, begin))).collect();
        let mut waited = Vec::new();
        for task in tasks {
            waited.extend(task.await??);
        }
        let (wall, after) = (begin.elapsed(), store.statistics());
        waited.sort_unstable();
        let each = (after.changes - before.changes) as f64 / (after.transactions - before.transactions) as f64;
        println!(
            "{producers:2} at once{}: {:6.0} decisions a second, {each:3.0} changes a transaction, p50 {:?}, p99 {:?}",
            if settles { ", settled" } else { "         " },
            waited.len() as f64 / wall.as_secs_f64(),
            waited[waited.len() / 2],
            waited[waited.len() * 99 / 100],
        );
    }
    match store.verify(1, None).await? {
        Verification::Sound(found) => println!("{} entries hold", found.entries),
        Verification::Broken(link) => return Err(link.to_string().into()),
    }
    Ok(store.close().await?)
}

/// How long each decision of one producer took, from the question to its permit.
async fn ask(store: GateStore, number: u8, settles: bool, begin: Instant) -> Result<Vec<Duration>> {
    let mut waited = Vec::new();
    let secret = SecretName::parse("ALPACA_SECRET_KEY")?;
    while begin.elapsed() < DURATION {
        let decision = Decision {
            host: Some("paper-api.alpaca.markets".into()),
            address: Some([192, 0, 2, 7].into()),
            method: Some("GET".into()),
            path: Some("/v2/orders/61e69015-8549-4bfd-b9c3-01e75843f47d".into()),
            rule: Some("alpaca".into()),
            secrets: vec![secret.clone()],
            ..Decision::allow(NOW_MS, SandboxId::from_random([number; 20]), Protocol::Http, 443)
        };
        let asked = Instant::now();
        let ruling = store.decide(decision).await?;
        waited.push(asked.elapsed());
        if let (Ruling::Allowed(permit), true) = (ruling, settles) {
            let over = Settlement { status: Some(200), bytes_up: 517, bytes_down: 4096, duration_ms: 12 };
            store.settle(permit.decision(), over).await?;
        }
    }
    Ok(waited)
}

//! `ringfence stop`: ends the daemon.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use ringfence_model::{Code, api::ReadyAnswer};
use serde_json::json;

use crate::{args::Global, daemon, output};

/// Stops the daemon; sandboxes are stopped and keep their files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence stop                              then `ringfence serve`, to restart it
  RINGFENCE_HOME=/srv/ringfence ringfence stop")]
pub(crate) struct StopArgs {}

/// How long the daemon may take to end, beside what it waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same when it did not say that it will.
const PATIENCE_WITHOUT_ANSWER: Duration = Duration::from_secs(5);

/// How often it is said what the daemon waits for.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What it waits for, in words.
fn waits_for(ready: Option<&ReadyAnswer>) -> String {
    match ready.filter(|ready| ready.status == "draining").and_then(|ready| ready.missing.first()) {
        Some(draining) => format!("ringfence: {draining}"),
        None => {
            "ringfence: the daemon is stopping; it waits for requests to end and for sandboxes to be stopped".to_owned()
        }
    }
}

pub(crate) async fn run(global: Global) -> anyhow::Result<i32> {
    let Some(daemon) = daemon::find(global.home.as_deref()).await? else {
        if global.json {
            output::json(&json!({"success": true, "was_running": false}))?;
        } else {
            output::note("no daemon runs");
        }
        return Ok(0);
    };
    let begin = Instant::now();
    // One that ends already may hang up on us, and is gone soon.
    let (asked, patience) = match daemon.stop().await {
        Ok(answer) => (Ok(()), PATIENCE + Duration::from_secs(answer.drain_seconds)),
        Err(error) if error.code == Code::PermissionDenied => return Err(error.into()),
        Err(error) => (Err(error), PATIENCE_WITHOUT_ANSWER),
    };
    let mut told = begin;
    while daemon.exists().await {
        if begin.elapsed() > patience {
            asked?;
            bail!("the daemon at {} still runs after {} s", daemon.home.display(), patience.as_secs());
        }
        if told.elapsed() > TELL_EVERY {
            output::note(&waits_for(daemon.ready().await.as_ref()));
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if global.json {
        output::json(&json!({"success": true, "was_running": true, "seconds": begin.elapsed().as_secs_f64()}))?;
    } else {
        output::line("stopped")?;
    }
    Ok(0)
}

//! `ringfence reconcile`.

use std::fs;

use anyhow::{Context, bail, ensure};
use clap::Args;
use ringfence_jail::{
    reconcile::{self, Leftover},
    supervise::{HomeLock, LockError},
};
use serde_json::json;

use crate::{args::Global, daemon, failure, output};

/// Names what a daemon that ended has left on this host, and removes it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence reconcile
  sudo ringfence reconcile --yes

Processes, cgroups, mounts, loop devices and unfinished trees of this state directory: what the next start of the daemon removes by itself. \
Without --yes nothing is changed, and the exit code is 1 when something is left. Beside a daemon, which did this when it started, only \
mounts are named and removed: its own are in a namespace that nobody else sees. Sandboxes and their files are never touched.")]
pub(crate) struct ReconcileArgs {
    /// Remove it
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(global: &Global, args: &ReconcileArgs) -> anyhow::Result<i32> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root sees and removes what is left of a daemon: run it with sudo"
    );
    let home = daemon::home(global.home.as_deref());
    let home = fs::canonicalize(&home).with_context(|| format!("looking for {}", home.display()))?;
    let lock = match HomeLock::take(&home) {
        Ok(lock) => Some(lock),
        Err(LockError::Held { pid, .. }) => {
            output::note(&format!(
                "ringfence: a daemon with pid {pid} runs, and removed what was left when it started; only mounts are looked for"
            ));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let found = reconcile::find(&home, lock.is_none()).with_context(|| format!("looking at {}", home.display()))?;
    let left = match (&lock, args.yes) {
        (_, false) => found.clone(),
        (Some(lock), true) => reconcile::remove(&home, lock).context("removing what is left")?,
        (None, true) => {
            reconcile::unmount(&home).context("detaching mounts")?;
            reconcile::find(&home, true)?
        }
    };
    if global.json {
        output::json(&json!({"found": found, "removed": args.yes, "left": left}))?;
    } else {
        for leftover in &found {
            output::line(&leftover.to_string())?;
        }
        if found.is_empty() {
            output::line("nothing is left over")?;
        } else if !args.yes {
            output::note("ringfence: --yes removes it, and so does the next start of the daemon");
        }
    }
    if args.yes && !left.is_empty() && !global.json {
        let left: Vec<String> = left.iter().map(Leftover::to_string).collect();
        bail!("still there: {}", left.join(", "));
    }
    Ok(if left.is_empty() { 0 } else { failure::FAILED })
}

//! `ringfence story`: what became of one sandbox, as one page out of both audit chains.

mod gather;
mod page;
mod tell;

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use crate::{args::Global, failure, output};

/// Tells what became of a sandbox: created, configured, programs, requests, orders, end
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence story lab
  sudo ringfence story i0123456789abcdefghij --json
  sudo ringfence story lab --out lab.html

A sandbox that was deleted has its story too. It is told from both audit chains, merged by time, and says whether they hold: the exit \
code is 1 when one does not. Results, bytes and fills are from tables that no hash is over; what the chain and a table say of the same \
program is compared. Programs' output and secrets' values are not in it. It reads beside the daemon, or while none runs.")]
pub(crate) struct StoryArgs {
    /// Its id, or its name: of several, the newest
    #[arg(value_name = "SANDBOX")]
    sandbox: String,
    /// Write it to a new file: a page where it ends in .html, Markdown where it ends in .md, else text
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, args: &StoryArgs) -> anyhow::Result<i32> {
    let story = gather::story(global, &args.sandbox)?;
    let code = if story.holds() { 0 } else { failure::FAILED };
    if global.json {
        output::json(&story)?;
        return Ok(code);
    }
    let Some(path) = &args.out else {
        output::raw(page::text(&story).as_bytes())?;
        return Ok(code);
    };
    let text = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => page::html(&story),
        Some("md") => page::markdown(&story),
        _ => page::text(&story),
    };
    write(path, &text)?;
    output::line(&format!("{} holds the story of {}", path.display(), story.sandbox))?;
    if code != 0 {
        output::note("ringfence: an audit chain does not hold: the story says which");
    }
    Ok(code)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("making {}, which must not exist", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

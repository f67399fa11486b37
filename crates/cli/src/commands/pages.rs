//! `ringfence completions` and `ringfence man`.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::{
    args::Global,
    failure, output,
    pages::{self, Completed},
};

/// Prints what makes a shell complete this command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(ringfence completions bash)
  ringfence completions zsh > ~/.zfunc/_ringfence          in a directory of $fpath, before compinit
  ringfence completions fish > ~/.config/fish/completions/ringfence.fish

`sudo ringfence install` puts them where the shells look.")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Completed,
}

/// Prints the manual page, or writes the pages of all commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence man | man -l -
  ringfence man ./man1                        ringfence.1, ringfence-sandbox-create.1, and so on

`sudo ringfence install` puts them where man(1) looks.")]
pub(crate) struct ManArgs {
    /// Where to write a page for each command; made where it is missing
    dir: Option<PathBuf>,
}

pub(crate) fn completions(global: &Global, args: &CompletionsArgs) -> anyhow::Result<i32> {
    if global.json {
        return failure::usage("`completions` prints a script; leave out --json");
    }
    output::raw(&pages::completions(args.shell))?;
    Ok(0)
}

pub(crate) fn man(global: &Global, args: &ManArgs) -> anyhow::Result<i32> {
    let Some(dir) = &args.dir else {
        if global.json {
            return failure::usage("`man` prints a page; leave out --json, or name a directory");
        }
        output::raw(&pages::top()?)?;
        return Ok(0);
    };
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let pages = pages::all()?;
    for (name, page) in &pages {
        let path = dir.join(name);
        fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    if global.json {
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        output::json(&json!({"success": true, "dir": dir, "pages": names}))?;
    } else {
        output::line(&format!("{} pages in {}", pages.len(), dir.display()))?;
    }
    Ok(0)
}

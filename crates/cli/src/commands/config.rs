//! `ringfence config`: what the configuration is, where each part of it comes from, and whether a file is understood.

mod effect;
mod show;

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    args::Global,
    config::read::{self, Problem},
    daemon, failure, output,
};

/// Shows and checks the configuration
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    Show(ShowArgs),
    Check(CheckArgs),
}

/// Shows every key of the configuration: what is in effect, and where it comes from
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence config show
  ringfence config show --explain > /tmp/config.toml     every key with its meaning, as a file that can be used
  ringfence config show --json | jq '.keys[] | select(.source != \"default\")'

The file is config.toml in the state directory. A daemon reads it when it starts: after a change, `ringfence stop` and start it \
again. What comes from the environment is told of this command's; a daemon that systemd starts has another.")]
pub(crate) struct ShowArgs {
    /// What each key means, its unit and its default, as a file
    #[arg(long)]
    explain: bool,
}

/// Checks a configuration file before a daemon reads it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence config check
  ringfence config check /tmp/config.toml

The exit code is 1 when a daemon would not start with it. Names that nobody knows are told with their line, and with the name that \
was probably meant.")]
pub(crate) struct CheckArgs {
    /// The file [default: config.toml in the state directory]
    file: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, command: ConfigCommand) -> anyhow::Result<i32> {
    match command {
        ConfigCommand::Show(args) => show::run(global, args.explain),
        ConfigCommand::Check(args) => check(global, args),
    }
}

fn check(global: &Global, args: CheckArgs) -> anyhow::Result<i32> {
    let usual = daemon::home(global.home.as_deref()).join("config.toml");
    let path = args.file.as_ref().unwrap_or(&usual);
    let file = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        // Without one everything is as by default. One that was named has to be there.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && args.file.is_none() => None,
        Err(e) => return Err(e).with_context(|| format!("reading {file}")),
    };
    let keys = read::set_keys(text.as_deref().unwrap_or_default()).len();
    let problems = match text.as_deref().map(|text| read::parse(&file, text)) {
        Some(Err(problems)) => problems.list,
        _ => Vec::new(),
    };
    let is_right = problems.is_empty();
    if global.json {
        let list: Vec<_> =
            problems.iter().map(|Problem { line, what }| json!({"line": line, "message": what})).collect();
        let exists = text.is_some();
        output::json(&json!({"success": is_right, "file": file, "exists": exists, "keys": keys, "problems": list}))?;
    } else if is_right {
        output::line(&match (&text, keys) {
            (None, _) => format!("there is no {file}: every key has its default"),
            (Some(_), 1) => format!("{file} is right; it sets 1 key"),
            (Some(_), keys) => format!("{file} is right; it sets {keys} keys"),
        })?;
    } else {
        for Problem { line, what } in &problems {
            output::note(&format!("{file}:{line}: {what}"));
        }
    }
    Ok(if is_right { 0 } else { failure::FAILED })
}

//! `ringfence install` and `ringfence uninstall`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::{
    args::Global,
    daemon, failure,
    install::{Place, UNIT, apply, is_systemd_up, must_be_root, remove},
    numbers, output,
};

/// Puts this program, its systemd unit, completions and manual pages on the host
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence install --dry-run            what it would write, and where
  sudo ringfence install && sudo systemctl enable --now ringfence
  ringfence install --root ./tree --prefix /usr      for a package

A second run changes nothing; that of another version replaces what the first one wrote, and takes effect with `systemctl restart \
ringfence`. What somebody else wrote, or has changed since, is never overwritten: changes of the unit belong into `systemctl edit \
ringfence`. The unit says in its comments why it is as it is.")]
pub(crate) struct InstallArgs {
    /// Where program, completions and pages go: bin and share below it
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Directory that stands for `/`
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Removes what `install` wrote, and nothing else
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo systemctl disable --now ringfence && sudo ringfence uninstall
  sudo ringfence uninstall --prefix /opt/ringfence --dry-run

The state directory stays: sandboxes, secrets, orders and audit chains are in it. The exit code is 1 when something stays that was \
changed since it was installed.")]
pub(crate) struct UninstallArgs {
    /// The prefix that it was installed with
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// The root that it was installed with
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn install(global: &Global, args: &InstallArgs) -> anyhow::Result<i32> {
    let place = place(args.root.as_deref(), &args.prefix)?;
    if !args.dry_run {
        must_be_root(&place, "install")?;
    }
    let done = apply::install(&place, args.dry_run)?;
    let changes = done.iter().filter(|done| done.action != apply::Action::Keep).count();
    if !args.dry_run && changes > 0 {
        reload(&place)?;
    }
    if global.json {
        let answer = json!({
            "success": true, "dry_run": args.dry_run, "root": place.root, "prefix": place.prefix, "changes": changes, "files": done,
        });
        output::json(&answer)?;
        return Ok(0);
    }
    for done in &done {
        let size = if done.bytes > 0 { format!(" ({})", numbers::bytes(done.bytes)) } else { String::new() };
        output::line(&format!("{:<8} {}{size}", done.action.as_str(), place.real(&done.path).display()))?;
    }
    output::note(&match (args.dry_run, changes) {
        (true, 0) | (false, 0) => "ringfence: all of it is there already".to_owned(),
        (true, _) => "ringfence: nothing was changed".to_owned(),
        (false, _) if !place.is_host() => "ringfence: installed below another root".to_owned(),
        (false, _) if is_systemd_up() => {
            "ringfence: installed; `systemctl enable --now ringfence` starts it, now and with the host; one that runs goes on with \
             the old program until `systemctl restart ringfence`"
                .to_owned()
        }
        (false, _) => "ringfence: installed; systemd does not run here, so start it with `ringfence serve`".to_owned(),
    });
    Ok(0)
}

pub(crate) fn uninstall(global: &Global, args: &UninstallArgs) -> anyhow::Result<i32> {
    let place = place(args.root.as_deref(), &args.prefix)?;
    if !args.dry_run {
        must_be_root(&place, "uninstall")?;
        refuse_in_use(&place)?;
    }
    let removed = remove::remove(&place, args.dry_run)?;
    if !args.dry_run {
        reload(&place)?;
    }
    let home = daemon::home(global.home.as_deref());
    let state = (place.is_host() && home.exists()).then_some(home);
    if global.json {
        let answer = json!({
            "success": removed.left.is_empty(), "dry_run": args.dry_run, "root": place.root, "prefix": place.prefix,
            "removed": removed.files, "left": removed.left, "state": state,
        });
        output::json(&answer)?;
    } else {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        for path in &removed.files {
            output::line(&format!("{verb} {}", place.real(path).display()))?;
        }
        for path in &removed.left {
            let real = place.real(path);
            output::note(&format!("ringfence: {} was changed since it was installed, and stays", real.display()));
        }
        if let Some(state) = state {
            output::note(&format!(
                "ringfence: the state stays in {}: sandboxes, secrets, orders, audit chains, config.toml. `ringfence backup` keeps it as a \
                 file; remove the directory when nothing of it is needed",
                state.display()
            ));
        }
    }
    Ok(if removed.left.is_empty() { 0 } else { failure::FAILED })
}

fn place(root: Option<&Path>, prefix: &Path) -> anyhow::Result<Place> {
    Place::new(root, prefix).or_else(|error| failure::usage(format!("{error:#}")))
}

/// A unit that is enabled has a link to it, which would lead nowhere; one that runs would have lost its program.
fn refuse_in_use(place: &Place) -> anyhow::Result<()> {
    if !place.is_host() || !is_systemd_up() {
        return Ok(());
    }
    for verb in ["is-active", "is-enabled"] {
        let asked = Command::new("systemctl").args([verb, "--quiet", UNIT]).status().context("asking systemctl")?;
        if asked.success() {
            bail!("{UNIT} is in use ({verb} says so): run `systemctl disable --now ringfence` first");
        }
    }
    Ok(())
}

/// systemd reads units when it is told to.
fn reload(place: &Place) -> anyhow::Result<()> {
    if !place.is_host() || !is_systemd_up() {
        return Ok(());
    }
    let status = Command::new("systemctl").arg("daemon-reload").status().context("telling systemd")?;
    if !status.success() {
        output::note("ringfence: systemd did not take the change: run `systemctl daemon-reload`");
    }
    Ok(())
}

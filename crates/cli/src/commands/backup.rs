//! `ringfence backup` and `ringfence restore`: a state directory as one file, and back.
//!
//! Neither speaks to the daemon, so that no agent can ask for them: they read and write the directory as root.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use ringfence_jail::{
    backup::{self, Head, Manifest, Source, Summary},
    supervise::HomeLock,
};
use ringfence_store::{Copied, DatabaseKind, copy_database};
use serde_json::json;

use crate::{args::Global, daemon, numbers, output};

/// Writes the whole state to one file, while the daemon runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence backup /srv/backups/monday.tar.zst
  sudo ringfence stop && sudo ringfence backup --disks /srv/backups/all.tar.zst

The file holds sandboxes' records, the audit chains, secrets with the keys that open them, orders, templates with their layers, \
imported data and the configuration. WHOEVER HAS IT CAN READ THE SECRETS: keep it where you keep keys. The files of sandboxes are in it \
only with --disks, for which the daemon must be stopped; without them a sandbox is `failed` after a restore, its record kept. The same \
state is the same bytes.")]
pub(crate) struct BackupArgs {
    /// Where; it must not exist
    file: PathBuf,
    /// With the files of sandboxes; the daemon must not run
    #[arg(long)]
    disks: bool,
}

/// Makes a state directory from a backup
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence --home /srv/ringfence restore /srv/backups/monday.tar.zst
  sudo ringfence --home /srv/ringfence serve

The directory must be empty, or not exist. A file that is not whole, or that holds what ringfence does not write, is refused, and \
nothing is left of it. The installation gets a new identity, and the API over TCP a new token.")]
pub(crate) struct RestoreArgs {
    /// Which
    file: PathBuf,
}

/// How often both databases are copied until neither knows more of the other than that copy holds.
const TRIES_MAX: usize = 5;

fn must_be_root(what: &str) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "{what} reads keys that root alone may read: run it with sudo");
    Ok(())
}

pub(crate) fn backup(global: &Global, args: &BackupArgs) -> anyhow::Result<i32> {
    must_be_root("a backup")?;
    let home = daemon::home(global.home.as_deref());
    let home = fs::canonicalize(&home).with_context(|| format!("looking for {}", home.display()))?;
    ensure!(home.join("engine/engine.db").exists(), "{} is no state directory: name one with --home", home.display());
    // Held to the end: nobody may write to the disks while they are read.
    let _lock = if args.disks {
        Some(HomeLock::take(&home).context("the files of sandboxes are copied while no daemon runs")?)
    } else {
        None
    };
    // The next start removes what a crash leaves there.
    fs::create_dir_all(home.join("builds"))?;
    let staged = tempfile::Builder::new().prefix("x-backup-").tempdir_in(home.join("builds"))?;
    let (engine, gate) = copies(&home, staged.path())?;
    let disks_bytes = match fs::metadata(home.join("disks.btrfs")) {
        Ok(image) if args.disks => Some(image.len()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("looking at the disks"),
        _ => None,
    };
    let manifest = Manifest {
        format: backup::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: head(&engine),
        gate: gate.as_ref().map(head),
        disks_bytes,
    };
    let mut copies = Vec::new();
    for name in ["engine/audit.head", "engine/engine.db", "gate/gate.db", "gate/gate.head"] {
        let copy = staged.path().join(name.rsplit('/').next().unwrap_or(name));
        if copy.exists() {
            copies.push((name.to_owned(), copy));
        }
    }
    let summary = written(&args.file, &Source { home: &home, copies: &copies, manifest })?;
    told(global, "written", &args.file, &summary)?;
    if !global.json {
        output::note("ringfence: it holds the keys that open the secrets: keep it where you keep keys");
        if !args.disks {
            output::note("ringfence: the files of sandboxes are not in it (--disks, while the daemon is stopped)");
        }
    }
    Ok(0)
}

/// Copies both databases, and before each what is remembered of its chain: a head is noted after its entry is on disk, so that
/// the copy has every entry that is remembered. The same holds between the databases, each of which notes the other's head.
fn copies(home: &Path, to: &Path) -> anyhow::Result<(Copied, Option<Copied>)> {
    for _ in 0..TRIES_MAX {
        for name in ["audit.head", "engine.db", "gate.head", "gate.db"] {
            remove(&to.join(name))?;
        }
        let engine = home.join("engine");
        copy_head(&engine.join("audit.head"), &to.join("audit.head"))?;
        let of_engine = copy_database(DatabaseKind::Engine, &engine.join("engine.db"), &to.join("engine.db"))?;
        let gate = home.join("gate");
        if !gate.join("gate.db").exists() {
            return Ok((of_engine, None));
        }
        copy_head(&gate.join("gate.head"), &to.join("gate.head"))?;
        let of_gate = copy_database(DatabaseKind::Gate, &gate.join("gate.db"), &to.join("gate.db"))?;
        if of_gate.anchored <= of_engine.head.seq && of_engine.anchored <= of_gate.head.seq {
            return Ok((of_engine, Some(of_gate)));
        }
    }
    bail!("the databases change faster than they can be copied together: try again")
}

fn copy_head(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::copy(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(drop).with_context(|| format!("copying {}", from.display())),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| format!("removing {}", path.display())),
        _ => Ok(()),
    }
}

fn head(copied: &Copied) -> Head {
    Head { seq: copied.head.seq, hash: copied.head.hash.to_string(), schema: copied.schema }
}

/// Beside its place, and named when it is whole. What is there already is not replaced.
fn written(file: &Path, source: &Source<'_>) -> anyhow::Result<Summary> {
    ensure!(!file.exists(), "{} is there already: choose another name", file.display());
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
    let out = out.with_context(|| format!("making {}", unfinished.display()))?;
    let done = (|| {
        let mut buffered = BufWriter::with_capacity(1 << 20, &out);
        let summary = backup::write(&mut buffered, source)?;
        buffered.flush().context("writing the backup")?;
        drop(buffered);
        out.sync_all().context("writing the backup")?;
        fs::hard_link(&unfinished, file).with_context(|| format!("naming {}", file.display()))?;
        anyhow::Ok(summary)
    })();
    let removed = fs::remove_file(&unfinished);
    let summary = done?;
    removed.with_context(|| format!("removing {}", unfinished.display()))?;
    Ok(summary)
}

pub(crate) fn restore(global: &Global, args: &RestoreArgs) -> anyhow::Result<i32> {
    must_be_root("a restore")?;
    let home = daemon::home(global.home.as_deref());
    let file = File::open(&args.file).with_context(|| format!("opening {}", args.file.display()))?;
    let summary = backup::restore(BufReader::with_capacity(1 << 20, file), &home)?;
    told(global, "restored", &home, &summary)?;
    if !global.json {
        let Head { seq, hash, .. } = &summary.manifest.engine;
        output::note(&format!("ringfence: start it with `{}`", daemon::start_line(&home)));
        output::note(&format!("ringfence: then `ringfence audit verify --remembered {seq}:{hash}`"));
        if summary.manifest.disks_bytes.is_none() {
            output::note("ringfence: the backup has no files of sandboxes: those will be `failed`, their records kept");
        }
    }
    Ok(0)
}

fn told(global: &Global, what: &str, path: &Path, summary: &Summary) -> anyhow::Result<()> {
    let Summary { manifest, files, bytes, layers } = summary;
    if global.json {
        return output::json(&json!({
            "success": true,
            "path": path,
            "files": files,
            "bytes": bytes,
            "layers": layers,
            "manifest": manifest,
        }));
    }
    let bytes = numbers::bytes(*bytes);
    Ok(output::line(&format!("{what}: {} ({files} files, {bytes}, {layers} layers)", path.display()))?)
}

//! `ringfence audit prune`: old entries go out of both chains, into an export that holds them, with a checkpoint in their place.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use ringfence_model::api::{Actor, AuditCut, AuditPruneRequest};
use ringfence_store::{AuditHash, AuditPublicKey, ChainFile, Cut, ExportCheck, ExportRange, Verification};
use serde_json::json;

use super::evidence::{chains, shown, time, write_export};
use crate::{args::Global, daemon, daemon::Daemon, output};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Entries that go in one transaction: for as long as that takes, whoever wants a decision written down waits.
const PIECE: u64 = 10_000;

/// Removes old entries of both chains, once they are in an export
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("when").required(true),
    group = ArgGroup::new("where").required(true),
    after_help = "\
Examples:
  sudo ringfence audit prune --keep-days 90 --export /srv/audit-2026-q1.jsonl
  sudo ringfence audit prune --before 2026-01-01T00:00:00Z --no-export

A chain that does not hold is not pruned. What goes is exported first and the export verified; then each role removes what it wrote itself \
and signs a checkpoint with the last hash, the number of entries and the export's SHA-256, so that `audit verify` holds from there and \
the exports of before and after verify as one. Entries that are not a day old stay, and so does the last one. The daemon must run. Keep \
the export: without it, nobody can say what was in it."
)]
pub(crate) struct PruneArgs {
    /// What was written before this time, such as 2026-01-31T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, group = "when")]
    before: Option<u64>,
    /// What was written more than so many days ago
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500), group = "when")]
    keep_days: Option<u64>,
    /// Where what goes is written, a new file
    #[arg(long, value_name = "FILE", group = "where")]
    export: Option<PathBuf>,
    /// Keep nothing of it
    #[arg(long, group = "where")]
    no_export: bool,
}

pub(super) async fn run(global: &Global, args: &PruneArgs) -> anyhow::Result<i32> {
    let chains = chains(global)?;
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let before = match (args.before, args.keep_days) {
        (Some(before), _) => before,
        (None, days) => now.saturating_sub(days.unwrap_or(u64::MAX).saturating_mul(DAY_MS)),
    };
    // A time of which some is not a day old yet would be refused by the roles, after the export.
    let before = before.min(now.saturating_sub(Cut::AGE_MIN_MS));
    let ends = ends(&chains, before)?;
    if ends.is_empty() {
        output::note(&format!("ringfence: no entry that may go was written before {}", shown(before)));
        if global.json {
            output::json(&json!({"pruned": []}))?;
        }
        return Ok(0);
    }
    let export = match &args.export {
        Some(path) => exported(&chains, path, before, now, &ends)?,
        None => AuditHash::ZERO,
    };
    let pruned = cut_in_pieces(&daemon, &ends, export).await?;
    for (chain, _) in &chains {
        if let Verification::Broken(link) = chain.verify()? {
            bail!("after it was pruned, the {}'s chain is broken: {link}", chain.kind());
        }
    }
    if global.json {
        output::json(&json!({"pruned": pruned, "export": args.export}))?;
        return Ok(0);
    }
    for cut in &pruned {
        output::line(&format!("of the {}'s chain, {} entries up to {} are gone", cut.chain, cut.entries, cut.seq))?;
    }
    if let Some(path) = &args.export {
        output::line(&format!("they are in {}, SHA-256 {export}", path.display()))?;
    }
    Ok(0)
}

/// Has each role cut its chain, piece after piece. What went of each chain in all.
async fn cut_in_pieces(
    daemon: &Daemon,
    ends: &[(&ChainFile, u64)],
    export: AuditHash,
) -> anyhow::Result<Vec<AuditCut>> {
    let mut pruned: Vec<AuditCut> = Vec::new();
    loop {
        let mut cuts = Vec::new();
        for (chain, end) in ends {
            let begin = chain.checkpoint()?.map_or(0, |checkpoint| checkpoint.cut.last.seq);
            if begin < *end {
                let cut = chain.cut_after((begin + PIECE).min(*end), export)?;
                cuts.push(as_asked(&cut.context("the chain changed meanwhile: try again")?));
            }
        }
        if cuts.is_empty() {
            return Ok(pruned);
        }
        let answer = daemon.api.audit_prune(Actor::Operator, AuditPruneRequest { cuts }).await?;
        for cut in answer.pruned {
            match pruned.iter_mut().find(|known| known.chain == cut.chain) {
                Some(known) => {
                    let (entries, first_at_ms) = (known.entries + cut.entries, known.first_at_ms);
                    *known = AuditCut { entries, first_at_ms, ..cut };
                }
                None => pruned.push(cut),
            }
        }
    }
}

/// The last entry of each chain that may go, where there is one. A chain that does not hold stays as it is.
fn ends(chains: &[(ChainFile, Option<AuditPublicKey>)], before: u64) -> anyhow::Result<Vec<(&ChainFile, u64)>> {
    let mut ends = Vec::new();
    for (chain, _) in chains {
        let head = match chain.verify()? {
            Verification::Sound(found) => found.head,
            Verification::Broken(link) => {
                bail!(
                    "the {}'s chain is broken: {link}; nothing is pruned, so that it can be looked into",
                    chain.kind()
                )
            }
        };
        let pruned = chain.checkpoint()?.map_or(0, |checkpoint| checkpoint.cut.last.seq);
        let last = chain.last_before(before)?.min(head.seq.saturating_sub(1));
        if last > pruned {
            ends.push((chain, last));
        }
    }
    Ok(ends)
}

/// Writes what goes, and reads it again. The digest of the file.
fn exported(
    chains: &[(ChainFile, Option<AuditPublicKey>)],
    path: &Path,
    before: u64,
    now: u64,
    ends: &[(&ChainFile, u64)],
) -> anyhow::Result<AuditHash> {
    write_export(chains, ExportRange { since_ms: None, until_ms: Some(before) }, now, path)?;
    // Its name must outlive the machine too before anything goes.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).with_context(|| format!("syncing {}", parent.display()))?;
    let checked = (|| {
        let mut check = ExportCheck::new(Vec::new(), Vec::new());
        for (chain, seq) in ends {
            check = check.up_to(chain.kind(), *seq);
        }
        let digest = check.read(BufReader::with_capacity(1 << 20, File::open(path)?))?;
        for (chain, seq) in ends {
            let cut = chain.cut_after(*seq, digest)?;
            let holds = check.found(chain.kind()).zip(cut).is_some_and(|(found, cut)| {
                found.last == cut.last && found.entries == cut.entries && found.first_at_ms == Some(cut.first_at_ms)
            });
            if !holds {
                return Err(anyhow::Error::from(io::Error::other(format!(
                    "the export does not hold the {}'s entries up to {seq}",
                    chain.kind()
                ))));
            }
        }
        Ok(digest)
    })();
    if checked.is_err() {
        let _ = fs::remove_file(path);
    }
    checked.context("verifying the export; nothing was pruned")
}

fn as_asked(cut: &Cut) -> AuditCut {
    AuditCut {
        chain: cut.chain.to_string(),
        seq: cut.last.seq,
        hash: cut.last.hash.to_string(),
        entries: cut.entries,
        first_at_ms: cut.first_at_ms,
        last_at_ms: cut.last_at_ms,
        export_sha256: cut.export_sha256.to_string(),
    }
}

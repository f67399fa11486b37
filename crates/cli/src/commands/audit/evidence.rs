//! Exports, signed heads and keys of both chains: what root reads beside the daemon, and what anybody can verify without it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use ringfence_store::{
    AuditPublicKey, ChainFile, DatabaseKind, ExportCheck, ExportError, ExportRange, SignedHead, Verification,
};
use serde_json::{Value, json};

use super::ocsf;
use crate::{args::Global, daemon, failure, output};

/// Writes both chains as lines that can be verified elsewhere
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence audit export audit.jsonl
  sudo ringfence audit export - --since 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z | zstd > january.jsonl.zst
  ringfence audit verify --file audit.jsonl
  sudo ringfence audit export - --format ocsf | vector …

It reads beside the daemon, or while none runs. Each entry comes with what its hash is over; signed heads follow the entries that they are \
about; the last line has the digest of all before it. No secret is in the chains, but hosts and accounts are: the file has mode 0600.")]
pub(crate) struct ExportArgs {
    /// Where, a new file; `-` is standard output
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// How
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// From the first entry at or after this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Up to the last entry before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines of JSON that can be verified
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework, one a line, which cannot
    Ocsf,
}

/// Prints the newest signed head of each chain
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence audit head
  sudo ringfence audit head | mail -s heads auditor@example.com

Keep the lines where nobody who rules this host can change them: `ringfence audit verify --head LINE` then proves that nothing up to that \
entry was cut off or rewritten. Heads are signed when a role starts, and every five minutes or thousand entries while there are new ones.")]
pub(crate) struct HeadArgs;

/// Prints the public keys that heads are signed with
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence audit key
  sudo ringfence audit key --json

Each chain is signed by the role that writes it, with a key that no other role can read.")]
pub(crate) struct KeyArgs;

/// Reads a time as RFC 3339 has it.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let at: jiff::Timestamp =
        text.parse().map_err(|e| format!("it is no RFC 3339 time such as 2026-01-31T09:00:00Z: {e}"))?;
    Ok(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

/// A time as it is shown.
pub(crate) fn shown(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Both chains below `home`, that of the gateway when there is one already, each with its public key.
pub(crate) fn chains(global: &Global) -> anyhow::Result<Vec<(ChainFile, Option<AuditPublicKey>)>> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the databases of the chains can be read by root alone: run it with sudo"
    );
    let home = daemon::home(global.home.as_deref());
    let home = fs::canonicalize(&home).with_context(|| format!("looking for {}", home.display()))?;
    ensure!(home.join("engine/engine.db").exists(), "{} is no state directory: name one with --home", home.display());
    let mut found = Vec::new();
    for kind in DatabaseKind::ALL {
        let dir = home.join(kind.as_str());
        let database = dir.join(format!("{kind}.db"));
        if kind == DatabaseKind::Gate && !database.exists() {
            continue;
        }
        found.push((ChainFile::open(&database, kind)?, AuditPublicKey::read(&dir.join("audit.pub"))));
    }
    Ok(found)
}

/// `ringfence audit export`
pub(super) fn export(global: &Global, args: &ExportArgs) -> anyhow::Result<i32> {
    let chains = chains(global)?;
    let range = ExportRange { since_ms: args.since, until_ms: args.until };
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    if args.file == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        match args.format {
            Format::Jsonl => ringfence_store::export(&chains, range, now, out)?,
            Format::Ocsf => ocsf::write(&chains, range, &mut out)?,
        };
        return Ok(0);
    }
    let entries = match args.format {
        Format::Jsonl => write_export(&chains, range, now, &args.file)?,
        Format::Ocsf => new_file(&args.file, |out| ocsf::write(&chains, range, out))?,
    };
    if global.json {
        output::json(&json!({"file": args.file, "entries": entries}))?;
    } else {
        output::line(&format!("{} holds {entries} entries of {} chains", args.file.display(), chains.len()))?;
    }
    Ok(0)
}

/// Writes an export to a new file, which only root can read. How many entries it has.
pub(super) fn write_export(
    chains: &[(ChainFile, Option<AuditPublicKey>)],
    range: ExportRange,
    now_ms: u64,
    path: &Path,
) -> anyhow::Result<u64> {
    new_file(path, |out| Ok(ringfence_store::export(chains, range, now_ms, out)?))
}

/// Fills a new file, which only root can read, and has it on disk; nothing is left of one that is not whole.
pub(super) fn new_file<T>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("making {}, which must not exist", path.display()))?;
    let mut out = BufWriter::new(file);
    let written = fill(&mut out).and_then(|filled| {
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(filled)
    });
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// `ringfence audit head`
pub(super) fn heads(global: &Global) -> anyhow::Result<i32> {
    let mut found = Vec::new();
    for (chain, _) in chains(global)? {
        match chain.signed_head()? {
            Some(head) => found.push(head),
            None => output::note(&format!("ringfence: no head of the {}'s chain was signed yet", chain.kind())),
        }
    }
    if global.json {
        let one = |head: &SignedHead| json!({"line": head.to_string(), "signed_at": shown(head.at_ms), "head": head});
        output::json(&json!({"heads": found.iter().map(one).collect::<Vec<_>>()}))?;
    } else {
        found.iter().try_for_each(|head| output::line(&head.to_string()))?;
    }
    Ok(if found.is_empty() { failure::FAILED } else { 0 })
}

/// `ringfence audit key`
pub(super) fn keys(global: &Global) -> anyhow::Result<i32> {
    let mut found = Vec::new();
    for (chain, key) in chains(global)? {
        let key = key.with_context(|| {
            format!("the {}'s chain has no key yet: start the daemon once with this version", chain.kind())
        })?;
        found.push((chain.kind(), key));
    }
    if global.json {
        let keys: serde_json::Map<String, Value> =
            found.iter().map(|(kind, key)| (kind.to_string(), json!(key))).collect();
        output::json(&keys)?;
    } else {
        found.iter().try_for_each(|(kind, key)| output::line(&format!("{kind:<6}  {key}")))?;
    }
    Ok(0)
}

/// Why a head that was named counts for nothing, if it does.
fn worthless(head: &SignedHead, trusted: &[AuditPublicKey]) -> Option<String> {
    if !head.is_genuine() {
        return Some(format!("the signature of the head {} that was named is not one of its key", head.head.seq));
    }
    (!trusted.is_empty() && !trusted.contains(&head.key)).then(|| {
        format!("the head {} that was named is signed with {}, which is no key that was named", head.head.seq, head.key)
    })
}

/// Prints that it does not hold.
fn does_not_hold(global: &Global, why: &str) -> anyhow::Result<i32> {
    if global.json {
        output::json(&json!({"valid": false, "fault": why}))?;
    } else {
        output::line(&format!("it does not hold: {why}"))?;
    }
    Ok(failure::FAILED)
}

/// `ringfence audit verify --file`
pub(super) fn verify_exports(
    global: &Global,
    files: &[PathBuf],
    heads: &[SignedHead],
    trusted: &[AuditPublicKey],
) -> anyhow::Result<i32> {
    if let Some(why) = heads.iter().find_map(|head| worthless(head, trusted)) {
        return does_not_hold(global, &why);
    }
    let mut check = ExportCheck::new(heads.to_vec(), trusted.to_vec());
    let mut digests = Vec::new();
    for path in files {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        match check.read(BufReader::with_capacity(1 << 20, file)) {
            Ok(sha256) => digests.push(json!({"file": path, "sha256": sha256.to_string()})),
            Err(ExportError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
            Err(error) => return does_not_hold(global, &format!("{}: {error}", path.display())),
        }
    }
    let found = match check.finish() {
        Ok(found) => found,
        Err(error) => return does_not_hold(global, &error.to_string()),
    };
    if global.json {
        output::json(&json!({"valid": true, "files": digests, "chains": found, "demanded_heads": heads.len()}))?;
        return Ok(0);
    }
    for (chain, found) in &found {
        let from = match (found.after.seq, &found.checkpoint) {
            (0, _) => "from its beginning".to_owned(),
            (seq, Some(_)) => format!("after entry {seq}, up to which it was pruned and signed"),
            (seq, None) => format!("after entry {seq}, about which nothing is said"),
        };
        output::line(&format!(
            "the {chain}'s chain holds {from}: {} entries, {} signed heads",
            found.entries, found.signed_heads
        ))?;
        output::line(&format!("the {chain}'s chain ends at {}:{}", found.last.seq, found.last.hash))?;
    }
    heads.iter().try_for_each(say_held)?;
    if heads.is_empty() {
        output::note("ringfence: without --head, entries cut off the end or a chain made anew would not be seen");
    }
    Ok(0)
}

/// Says that the chain still has this head.
fn say_held(head: &SignedHead) -> anyhow::Result<()> {
    let SignedHead { chain, head, at_ms, .. } = head;
    Ok(output::line(&format!("entry {} of the {chain}'s chain is as it was signed {}", head.seq, shown(*at_ms)))?)
}

/// `ringfence audit verify --head`, of the databases themselves
pub(super) fn verify_heads(global: &Global, heads: &[SignedHead], trusted: &[AuditPublicKey]) -> anyhow::Result<i32> {
    if let Some(why) = heads.iter().find_map(|head| worthless(head, trusted)) {
        return does_not_hold(global, &why);
    }
    let chains = chains(global)?;
    for (chain, _) in &chains {
        if let Verification::Broken(link) = chain.verify()? {
            return does_not_hold(global, &format!("the {}'s chain is broken: {link}", chain.kind()));
        }
        if let Some(newest) = chain.signed_head()?
            && let Some(why) = worthless(&newest, trusted)
        {
            return does_not_hold(global, &format!("of the {}'s chain, {why}", chain.kind()));
        }
        // That it is genuine was checked with the chain; whose it is, only the one who knows the key can say.
        if let Some(checkpoint) = chain.checkpoint()?
            && !trusted.is_empty()
            && !trusted.contains(&checkpoint.key)
        {
            let why = format!(
                "up to entry {} the {}'s chain was cut off by somebody with the key {}, which is no key that was named",
                checkpoint.cut.last.seq,
                chain.kind(),
                checkpoint.key
            );
            return does_not_hold(global, &why);
        }
    }
    for head in heads {
        let chain = chains.iter().map(|(chain, _)| chain).find(|chain| chain.kind() == head.chain);
        let is_there = match chain {
            Some(chain) => chain.has(head.head)?,
            None => false,
        };
        if !is_there {
            let why = format!(
                "entry {} of the {}'s chain, which was signed, is not in it: entries were cut off or rewritten",
                head.head.seq, head.chain
            );
            return does_not_hold(global, &why);
        }
    }
    if global.json {
        output::json(&json!({"valid": true, "demanded_heads": heads.len()}))?;
        return Ok(0);
    }
    for (chain, _) in &chains {
        output::line(&format!("the {}'s chain holds", chain.kind()))?;
    }
    heads.iter().try_for_each(say_held)?;
    Ok(0)
}

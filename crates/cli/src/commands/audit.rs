//! `ringfence audit`: what was decided, and whether the record of it is whole.

pub(crate) mod evidence;
mod ocsf;
mod prune;
mod query;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use ringfence_model::api::{Actor, AuditEntryView, AuditHeadView, AuditLogRequest, AuditVerifyRequest, LIST_MAX};

use ringfence_store::{AuditPublicKey, SignedHead};

use crate::{args::Global, daemon, daemon::Daemon, failure, output};

/// Reads and checks the audit chain
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    Tail(TailArgs),
    Query(query::QueryArgs),
    Verify(VerifyArgs),
    Export(evidence::ExportArgs),
    Prune(prune::PruneArgs),
    Head(evidence::HeadArgs),
    Key(evidence::KeyArgs),
}

/// Shows the newest entries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence audit tail -n 20
  ringfence audit tail --follow --event sandbox
  ringfence audit tail --sandbox lab --json")]
pub(crate) struct TailArgs {
    /// How many entries, at most 1000
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    lines: u32,
    /// Go on with what is added
    #[arg(short, long)]
    follow: bool,
    /// Only about this sandbox: id or unique name
    #[arg(long, value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Only events of this name, or those that begin with it: `sandbox`, `sandbox.create`
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Only from this time on, such as 2026-01-31T09:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// Checks that no entry was changed, removed or put in between
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence audit verify
  ringfence audit verify --remembered 1042:9f86d081…   an earlier head
  ringfence audit verify --head 'ringfence-head 1 engine 1042 …' --key 5f1c…
  ringfence audit verify --file january.jsonl --file february.jsonl --key 5f1c…

With --file, exports are checked as one, in the order in which they are named: no daemon and no database is needed. With --head and \
without --file, both databases are read beside the daemon, as root; --key says whose signatures count. \
The exit code is 1 when the chain does not hold. Keep the printed head elsewhere: whoever can rewrite the whole file can \
make a new chain, but not one that contains a head that you remember.")]
pub(crate) struct VerifyArgs {
    /// First entry [default: 1]
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
    /// Last entry [default: the end]
    #[arg(long, value_name = "NUMBER")]
    to: Option<u64>,
    /// A head that the chain must still contain, as an earlier check printed it
    #[arg(long, value_name = "NUMBER:HASH", value_parser = head)]
    remembered: Option<AuditHeadView>,
    /// An export to check, again for more that continue it
    #[arg(long, value_name = "EXPORT", conflicts_with_all = ["from", "to", "remembered"])]
    file: Vec<PathBuf>,
    /// A signed head that must be in it, as `audit head` printed it; again for more
    #[arg(long, value_name = "LINE", value_parser = signed_head, conflicts_with_all = ["from", "to", "remembered"])]
    head: Vec<SignedHead>,
    /// A public key that signatures must be of, as `audit key` printed it; again for more
    #[arg(long, value_name = "PUBLIC", value_parser = public_key, conflicts_with_all = ["from", "to", "remembered"])]
    key: Vec<AuditPublicKey>,
}

fn signed_head(text: &str) -> Result<SignedHead, String> {
    SignedHead::parse(text).ok_or_else(|| "it is not a line that `ringfence audit head` prints".to_owned())
}

fn public_key(text: &str) -> Result<AuditPublicKey, String> {
    AuditPublicKey::parse(text)
        .ok_or_else(|| "it is not 64 hexadecimal digits, as `ringfence audit key` prints them".to_owned())
}

fn head(text: &str) -> Result<AuditHeadView, String> {
    let parsed = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, hash)));
    match parsed {
        Some((seq, hash)) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(AuditHeadView { seq, hash: hash.to_ascii_lowercase() })
        }
        _ => Err(format!("`{text}` is not NUMBER:HASH with 64 hexadecimal digits")),
    }
}

pub(crate) async fn run(global: Global, command: AuditCommand) -> anyhow::Result<i32> {
    let connect = || daemon::connect(global.home.as_deref());
    match command {
        AuditCommand::Tail(args) => tail(&connect().await?, &args, global.json).await,
        AuditCommand::Query(args) => query::run(&global, &args),
        AuditCommand::Verify(VerifyArgs { file, head, key, .. }) if !file.is_empty() => {
            evidence::verify_exports(&global, &file, &head, &key)
        }
        AuditCommand::Verify(VerifyArgs { head, key, .. }) if !head.is_empty() || !key.is_empty() => {
            evidence::verify_heads(&global, &head, &key)
        }
        AuditCommand::Verify(args) => verify(&connect().await?, args, global.json).await,
        AuditCommand::Export(args) => evidence::export(&global, &args),
        AuditCommand::Prune(args) => prune::run(&global, &args).await,
        AuditCommand::Head(_) => evidence::heads(&global),
        AuditCommand::Key(_) => evidence::keys(&global),
    }
}

async fn tail(daemon: &Daemon, args: &TailArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = |since: Option<String>, limit: u32| AuditLogRequest {
        sandbox_id: args.sandbox.clone(),
        event: args.event.clone(),
        since,
        limit: Some(limit),
    };
    let answer = daemon.api.audit_log(Actor::Operator, request(args.since.clone(), args.lines)).await?;
    if as_json && !args.follow {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut last = None;
    for entry in &answer.entries {
        print(entry, as_json)?;
        last = Some((entry.seq, entry.timestamp.clone()));
    }
    if !args.follow {
        return Ok(0);
    }
    const EVERY: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(EVERY).await;
        let since = last.as_ref().map(|(_, timestamp)| timestamp.clone()).or_else(|| args.since.clone());
        let answer = daemon.api.audit_log(Actor::Operator, request(since, LIST_MAX)).await?;
        let seen = last.as_ref().map_or(0, |(seq, _)| *seq);
        for entry in answer.entries.iter().filter(|entry| entry.seq > seen) {
            print(entry, as_json)?;
            last = Some((entry.seq, entry.timestamp.clone()));
        }
    }
}

/// One entry a line; as JSON when followed, because such a list has no end.
fn print(entry: &AuditEntryView, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(output::line(&serde_json::to_string(entry)?)?);
    }
    let mut line = format!("{:>6}  {}  {:<8}  {:<22}", entry.seq, entry.timestamp, entry.actor, entry.event);
    for id in [&entry.sandbox_id, &entry.execution_id].into_iter().flatten() {
        line = format!("{line}  {id}");
    }
    if !entry.detail.is_empty() {
        line = format!("{line}  {}", serde_json::to_string(&entry.detail)?);
    }
    Ok(output::line(line.trim_end())?)
}

async fn verify(daemon: &Daemon, args: VerifyArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = AuditVerifyRequest { from: args.from, to: args.to, remembered: args.remembered };
    let answer = daemon.api.audit_verify(Actor::Operator, request).await?;
    let gate_holds = answer.gate.as_ref().is_none_or(|gate| gate.valid);
    if as_json {
        output::json(&answer)?;
    } else {
        shown(
            "the chain",
            answer.valid,
            answer.entries,
            answer.head.as_ref(),
            answer.broken_at,
            answer.fault.as_deref(),
        )?;
        match &answer.gate {
            Some(gate) => shown(
                "the gateway's chain",
                gate.valid,
                gate.entries,
                gate.head.as_ref(),
                gate.broken_at,
                gate.fault.as_deref(),
            )?,
            None if answer.valid => output::note("ringfence: the gateway's chain was not checked: it does not answer"),
            None => {}
        }
    }
    Ok(if answer.valid && gate_holds { 0 } else { failure::FAILED })
}

fn shown(
    what: &str,
    valid: bool,
    entries: u64,
    head: Option<&AuditHeadView>,
    broken_at: Option<u64>,
    fault: Option<&str>,
) -> anyhow::Result<()> {
    if valid {
        output::line(&format!("{what} holds: {entries} entries"))?;
        if let Some(head) = head {
            output::line(&format!("{what} ends at {}:{}", head.seq, head.hash))?;
        }
        return Ok(());
    }
    let at = broken_at.map(|seq| format!(" at entry {seq}")).unwrap_or_default();
    output::line(&format!("{what} is broken{at}: {}", fault.unwrap_or("no fault was named")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_as_it_was_printed() {
        let hash = "ab".repeat(32);
        assert_eq!(head(&format!("7:{hash}")), Ok(AuditHeadView { seq: 7, hash: hash.clone() }));
        assert!(head(&hash).is_err());
        assert!(head("7:abc").is_err());
    }
}

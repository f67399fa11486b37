//! Reading and checking the audit chain.

use ringfence_model::{
    ApiError, Code,
    api::{
        self, AuditCut, AuditEntryView, AuditHeadView, AuditLogAnswer, AuditLogRequest, AuditPruneAnswer,
        AuditPruneRequest, AuditVerifyAnswer, AuditVerifyRequest, GateChain,
    },
    net::control::{GateAnswer, GateOp},
};
use ringfence_store::{AuditFilter, AuditHash, AuditHead, Cut, DatabaseKind, Verification};

use crate::{
    engine::Engine,
    error::Failure,
    lookup::Found,
    service::{count, operators_only},
    view,
};

impl Engine {
    pub(crate) async fn do_audit_log(&self, request: AuditLogRequest) -> Result<AuditLogAnswer, Failure> {
        let sandbox = match &request.sandbox_id {
            Some(reference) => Some(match self.find(reference).await? {
                Found::Live(sandbox) => sandbox.id.clone(),
                Found::Ended(row) => row.id,
            }),
            None => None,
        };
        let limit = api::list_limit(request.limit)?;
        let since_ms = match &request.since {
            Some(text) => {
                let since: jiff::Timestamp = text.parse().map_err(|e| {
                    let example = "2026-11-25T09:30:00Z";
                    ApiError::new(Code::InvalidArgument, format!("`since` is no RFC 3339 time such as {example}: {e}"))
                })?;
                Some(u64::try_from(since.as_millisecond()).unwrap_or(0))
            }
            None => None,
        };
        let filter =
            AuditFilter { sandbox, event_prefix: request.event.clone(), since_ms, limit: Some(limit), after_seq: None };
        let mut records = self.inner.store.audit_records(filter).await?;
        records.reverse();
        // The store's prefix knows no dots: `sandbox.create` must not find `sandbox.created`.
        let named = |event: &str| match &request.event {
            Some(wanted) => event
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || wanted.ends_with('.')),
            None => true,
        };
        let entries: Vec<_> = records
            .into_iter()
            .filter(|record| named(&record.event))
            .map(|record| AuditEntryView {
                seq: record.seq,
                timestamp: view::time(record.at_ms),
                actor: record.actor.as_str().into(),
                event: record.event,
                sandbox_id: record.sandbox.map(|id| id.to_string()),
                execution_id: record.execution.map(|id| id.to_string()),
                detail: record.detail.as_object().cloned().unwrap_or_default(),
                hash: record.hash.to_string(),
            })
            .collect();
        Ok(AuditLogAnswer { success: true, count: count(entries.len()), entries })
    }

    pub(crate) async fn do_audit_verify(&self, request: AuditVerifyRequest) -> Result<AuditVerifyAnswer, Failure> {
        let broken = |entries: u64, seq: u64, fault: String| AuditVerifyAnswer {
            success: true,
            valid: false,
            entries,
            head: None,
            broken_at: Some(seq),
            fault: Some(fault),
            gate: None,
        };
        let remembered_seq = request.remembered.as_ref().map(|remembered| remembered.seq);
        check_numbers([("from", request.from), ("to", request.to), ("remembered.seq", remembered_seq)])?;
        if let Some(remembered) = &request.remembered
            && remembered.seq > 0
        {
            let hash = AuditHash::parse(&remembered.hash).ok_or_else(|| {
                ApiError::new(Code::InvalidArgument, "`remembered.hash` is not 64 hexadecimal digits")
            })?;
            let before = remembered.seq - 1;
            let filter = AuditFilter { after_seq: Some(before), limit: Some(1), ..AuditFilter::default() };
            let record = self.inner.store.audit_records(filter).await?.pop();
            match record {
                Some(record) if record.seq == remembered.seq && record.hash == hash => {}
                _ => {
                    let cut = self.inner.store.audit_checkpoint().await?.map(|checkpoint| checkpoint.cut);
                    let fault = match cut {
                        Some(cut) if remembered.seq <= cut.last.seq => format!(
                            "entry {} was pruned: whether it was that one is in the export with SHA-256 {}; \
                             `ringfence audit verify --file` checks it",
                            remembered.seq, cut.export_sha256
                        ),
                        _ => format!(
                            "entry {} is not the one that was remembered: the chain was cut or written anew",
                            remembered.seq
                        ),
                    };
                    return Ok(broken(0, remembered.seq, fault));
                }
            }
        }
        // A walk of a long chain has a reader of the database and a core to itself: one at a time leaves others theirs.
        let _turn = self.inner.verifying.lock().await;
        match self.inner.store.verify(request.from.unwrap_or(1), request.to).await? {
            Verification::Sound(verified) => Ok(AuditVerifyAnswer {
                success: true,
                valid: true,
                entries: verified.entries,
                head: Some(AuditHeadView { seq: verified.head.seq, hash: verified.head.hash.to_string() }),
                broken_at: None,
                fault: None,
                gate: self.gate_chain().await,
            }),
            Verification::Broken(link) => Ok(broken(link.seq.saturating_sub(1), link.seq, link.to_string())),
        }
    }

    /// Has each role cut its own chain, with a checkpoint that it signs.
    pub(crate) async fn do_audit_prune(
        &self,
        by: api::Actor,
        request: AuditPruneRequest,
    ) -> Result<AuditPruneAnswer, Failure> {
        operators_only(by, "pruning the audit chain")?;
        let cuts = request.cuts.iter().map(parse_cut).collect::<Result<Vec<_>, _>>()?;
        let mut chains: Vec<DatabaseKind> = cuts.iter().map(|cut| cut.chain).collect();
        chains.sort_unstable();
        chains.dedup();
        if cuts.is_empty() || chains.len() != cuts.len() {
            let text = "name one cut for each chain that is to be pruned, and at least one";
            return Err(ApiError::new(Code::InvalidArgument, text).into());
        }
        for (cut, asked) in cuts.into_iter().zip(&request.cuts) {
            match cut.chain {
                DatabaseKind::Engine => {
                    let key = std::sync::Arc::clone(&self.inner.audit_key);
                    self.inner.store.prune_audit(key, cut, crate::engine::now_ms()).await?;
                }
                DatabaseKind::Gate => {
                    self.inner.gate.call(GateOp::PruneAudit { cut: asked.clone() }).await?;
                }
            }
            tracing::info!(chain = %cut.chain, seq = cut.last.seq, entries = cut.entries, "an audit chain was pruned");
        }
        Ok(AuditPruneAnswer { success: true, pruned: request.cuts })
    }

    /// The gateway's own chain; `None` when it cannot be asked.
    async fn gate_chain(&self) -> Option<GateChain> {
        match self.inner.gate.call(GateOp::Verify).await {
            Ok(GateAnswer::Chain(chain)) => Some(chain),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "the gateway's audit chain was not checked");
                None
            }
        }
    }
}

/// Numbers of entries are SQLite's integers, which have a sign.
///
/// # Errors
/// INVALID_ARGUMENT for one that no entry can have.
pub(crate) fn check_numbers<const N: usize>(numbers: [(&str, Option<u64>); N]) -> Result<(), ApiError> {
    for (argument, number) in numbers {
        if let Some(number) = number.filter(|number| i64::try_from(*number).is_err()) {
            let text = format!("`{argument}` is {number}, and no entry has a number beyond {}", i64::MAX);
            return Err(ApiError::new(Code::InvalidArgument, text));
        }
    }
    Ok(())
}

/// What was asked, read strictly.
fn parse_cut(cut: &AuditCut) -> Result<Cut, ApiError> {
    check_numbers([
        ("seq", Some(cut.seq)),
        ("entries", Some(cut.entries)),
        ("first_at_ms", Some(cut.first_at_ms)),
        ("last_at_ms", Some(cut.last_at_ms)),
    ])?;
    let wrong = |what: &str| ApiError::new(Code::InvalidArgument, format!("`{what}` of a cut is not what it must be"));
    let hash = |what: &str, text: &str| AuditHash::parse(text).ok_or_else(|| wrong(what));
    Ok(Cut {
        chain: DatabaseKind::parse(&cut.chain).ok_or_else(|| wrong("chain"))?,
        last: AuditHead { seq: cut.seq, hash: hash("hash", &cut.hash)? },
        entries: cut.entries,
        first_at_ms: cut.first_at_ms,
        last_at_ms: cut.last_at_ms,
        export_sha256: hash("export_sha256", &cut.export_sha256)?,
    })
}

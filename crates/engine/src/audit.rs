//! Reading and checking the audit chain.

use ringfence_model::{
    ApiError, Code,
    api::{
        self, AuditEntryView, AuditHeadView, AuditLogAnswer, AuditLogRequest, AuditVerifyAnswer, AuditVerifyRequest,
        GateChain,
    },
    net::control::{GateAnswer, GateOp},
};
use ringfence_store::{AuditFilter, AuditHash, Verification};

use crate::{engine::Engine, error::Failure, lookup::Found, service::count, view};

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
                    let fault = format!(
                        "entry {} is not the one that was remembered: the chain was cut or written anew",
                        remembered.seq
                    );
                    return Ok(broken(0, remembered.seq, fault));
                }
            }
        }
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

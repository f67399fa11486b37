//! The gate signs heads and cuts of its own audit chain, with a key that no other role can read.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ringfence_model::api::AuditCut;
use ringfence_model::net::control::GateAnswer;
use ringfence_model::{ApiError, Code};
use ringfence_store::{AuditHash, AuditHead, AuditKey, Cut, DatabaseKind, SigningPace, StoreError};

use super::{Gate, now_ms};

/// How often it is asked whether a head is to be signed.
const EVERY: Duration = Duration::from_secs(60);

/// How soon after the start it is asked first. Until then nothing here keeps a gate that is closed at once, and its database, open.
const SOON: Duration = Duration::from_millis(500);

/// Signs heads until the gate is gone. The lines go to the log, which others may keep.
pub(super) async fn sign_heads(gate: Weak<Gate>, key: Arc<AuditKey>) {
    let mut pace = SigningPace::AT_START;
    tokio::time::sleep(SOON).await;
    loop {
        {
            let Some(gate) = gate.upgrade() else { return };
            match gate.store.sign_head(Arc::clone(&key), pace, now_ms()).await {
                Ok(Some(head)) => tracing::info!(%head, "the head of the gateway's audit chain was signed"),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the head of the gateway's audit chain could not be signed"),
            }
        }
        pace = SigningPace::RUNNING;
        tokio::time::sleep(EVERY).await;
    }
}

impl Gate {
    /// Cuts entries off the beginning of the gate's own chain. What is cut is what the chain has, or nothing is.
    pub(super) async fn prune_audit(&self, cut: &AuditCut) -> Result<GateAnswer, ApiError> {
        let wrong =
            || ApiError::new(Code::InvalidArgument, "what the gateway is to cut off its audit chain is no cut of it");
        let hash = |text: &str| AuditHash::parse(text).ok_or_else(wrong);
        let cut = Cut {
            chain: DatabaseKind::parse(&cut.chain).filter(|chain| *chain == DatabaseKind::Gate).ok_or_else(wrong)?,
            last: AuditHead { seq: cut.seq, hash: hash(&cut.hash)? },
            entries: cut.entries,
            first_at_ms: cut.first_at_ms,
            last_at_ms: cut.last_at_ms,
            export_sha256: hash(&cut.export_sha256)?,
        };
        match self.store.prune_audit(Arc::clone(&self.audit_key), cut, now_ms()).await {
            Ok(_) => Ok(GateAnswer::Done),
            Err(StoreError::Refused(why)) => Err(ApiError::new(Code::InvalidArgument, why)),
            Err(error) => {
                tracing::error!(%error, "the gateway's audit chain could not be pruned");
                Err(ApiError::internal("the gateway's audit chain could not be pruned"))
            }
        }
    }
}

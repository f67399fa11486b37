//! Permits: what lets something out of the gate is a value, and it exists only once the decision is on disk.

use serde_json::Value;

use super::decision::{Decision, DecisionId, Verdict};
use super::{GateStore, GateTx};
use crate::audit::AuditReceipt;
use crate::error::Result;

/// Proof that something was allowed and that this is on disk. What goes out takes one, and only
/// [`GateStore::decide`] and [`GateStore::admit`] make one, after their commit.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was allowed takes its permit along"]
pub struct Permit {
    receipt: AuditReceipt,
}

impl Permit {
    /// The decision that allowed it.
    #[must_use]
    pub fn decision(&self) -> DecisionId {
        DecisionId::new(self.receipt.seq())
    }

    /// The audit entry that records it.
    pub fn receipt(&self) -> &AuditReceipt {
        &self.receipt
    }
}

/// A decision that is on disk.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was allowed takes its permit along"]
pub enum Ruling {
    /// It may happen.
    Allowed(Permit),
    /// It may not.
    Refused(DecisionId),
}

impl Ruling {
    /// The number of the decision.
    #[must_use]
    pub fn decision(&self) -> DecisionId {
        match self {
            Self::Allowed(permit) => permit.decision(),
            Self::Refused(decision) => *decision,
        }
    }
}

impl GateStore {
    /// Records a decision and returns when it is on disk.
    ///
    /// # Errors
    /// As [`write`](crate::Database::write), and [`Refused`](crate::StoreError::Refused) when something in it is out of bounds. Then
    /// nothing was recorded, and nothing may happen.
    pub async fn decide(&self, decision: Decision) -> Result<Ruling> {
        self.admit(move |_| Ok((decision, ()))).await.map(|(ruling, ())| ruling)
    }

    /// Lets `op` decide from what the database says and change it (a reservation), and records what it decided in the same
    /// transaction. What it changed stays when it refuses; an error undoes it.
    ///
    /// # Errors
    /// Those of `op`, and as [`GateStore::decide`].
    pub async fn admit<T, F>(&self, op: F) -> Result<(Ruling, T)>
    where
        F: FnOnce(&GateTx<'_>) -> Result<(Decision, T)> + Send + 'static,
        T: Send + 'static,
    {
        self.admit_with_detail(move |tx| op(tx).map(|(decision, value)| (decision, Value::Null, value))).await
    }

    /// [`GateStore::admit`], with what the entry says below `trade` beside what it says of any decision.
    pub(super) async fn admit_with_detail<T, F>(&self, op: F) -> Result<(Ruling, T)>
    where
        F: FnOnce(&GateTx<'_>) -> Result<(Decision, Value, T)> + Send + 'static,
        T: Send + 'static,
    {
        let change = self.write(move |tx| {
            let (decision, trade, value) = op(tx)?;
            let receipt = tx.record(&decision, trade)?;
            Ok((decision.verdict, receipt, value))
        });
        let (verdict, receipt, value) = change.await?;
        // This is the only place that makes a permit, and it is reached after the commit alone.
        let ruling = match verdict {
            Verdict::Allow => Ruling::Allowed(Permit { receipt }),
            Verdict::Refuse { .. } => Ruling::Refused(DecisionId::new(receipt.seq())),
        };
        Ok((ruling, value))
    }
}

//! The gateway's database, `gate.db`: secrets and their placeholders, what each sandbox may reach, and what was decided.
//!
//! It is the same machinery as the engine's, under another user, with a key and an audit chain of its own. A decision is
//! recorded in the chain and as a row in one transaction, and only what was allowed and is on disk gives a [`Permit`].
//!
//! ```no_run
//! # async fn example(store: ringfence_store::gate::GateStore, sandbox: ringfence_model::SandboxId)
//! # -> ringfence_store::Result<()> {
//! use ringfence_store::gate::{Decision, Protocol, Ruling, Settlement};
//!
//! let decision = Decision { host: Some("example.com".into()), ..Decision::allow(1_757_371_623_056, sandbox, Protocol::Tls, 443) };
//! if let Ruling::Allowed(permit) = store.decide(decision).await? {
//!     // Only now does anything go out; what became of it is noted when it is over.
//!     let over = Settlement { status: None, bytes_up: 517, bytes_down: 4096, duration_ms: 12 };
//!     store.settle(permit.decision(), over).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod chosen;
mod decision;
mod envelope;
mod nonce;
mod permit;
mod placeholder;
mod policy;
mod secret;
mod trade;

use ringfence_model::SandboxId;

use crate::error::{Result, StoreError};
use crate::kind::GateKind;
use crate::store::Database;
use crate::tx::{Tx, View};

pub use decision::{
    Decision, DecisionFilter, DecisionId, DecisionRow, Protocol, Retention, Settlement, Totals, Verdict,
};
pub use envelope::{EnvelopeError, EnvelopeKey, EnvelopePublicKey};
pub use nonce::NonceKey;
pub use permit::{Permit, Ruling};
pub use placeholder::PlaceholderRow;
pub use policy::PolicyRow;
pub use secret::{SecretId, SecretName, SecretOrigin, SecretRow};
pub use trade::{
    Acknowledged, Admitted, Amounts, Answer, Fill, FillOutcome, HoldRow, HoldState, LimitsRow, Moved, OrderFilter,
    OrderRow, OrderState, Owned, Standing, TradeAsk, TradeRuling, TradeStatus,
};

/// The gateway's database.
pub type GateStore = Database<GateKind>;
/// A consistent state of the gateway's database.
pub type GateView<'c> = View<'c, GateKind>;
/// A change of the gateway's database.
pub type GateTx<'c> = Tx<'c, GateKind>;

/// Bytes that a secret's value may have: as many as an environment value.
const VALUE_BYTES_MAX: usize = 96 << 10;

impl GateTx<'_> {
    /// Removes what a sandbox has here: its policy, its account, its placeholders, and the secrets that a client gave for it, which
    /// are overwritten on disk. Its decisions stay until they are pruned, its totals until those of that time are.
    ///
    /// # Errors
    /// The database refuses.
    pub fn forget_sandbox(&self, at_ms: u64, sandbox: &SandboxId) -> Result<()> {
        self.remove_policy(sandbox)?;
        self.remove_chosen_account(sandbox)?;
        self.remove_placeholders(sandbox)?;
        self.remove_secrets_of(sandbox)?;
        self.close_totals(at_ms, sandbox)
    }
}

impl GateStore {
    /// [`GateTx::forget_sandbox`].
    ///
    /// # Errors
    /// As there.
    pub async fn forget_sandbox(&self, at_ms: u64, sandbox: &SandboxId) -> Result<()> {
        let sandbox = sandbox.clone();
        self.write(move |tx| tx.forget_sandbox(at_ms, &sandbox)).await
    }
}

/// Refuses text that is too long, or holds what would not be one line where it is shown.
fn check_line(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(StoreError::Refused(format!("the {what} has {} bytes: at most {bytes_max} are kept", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(StoreError::Refused(format!("the {what} has a control character")));
    }
    Ok(())
}

/// Refuses text that is too long or no JSON. What it means is the caller's to check.
fn check_json(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(StoreError::Refused(format!("the {what} has {} bytes: at most {bytes_max} are kept", text.len())));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(drop)
        .map_err(|error| StoreError::Refused(format!("the {what} is not JSON: {error}")))
}

/// Joins parts so that none can shift into another: each behind its length.
fn bind(domain: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = domain.as_bytes().to_vec();
    for part in parts {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

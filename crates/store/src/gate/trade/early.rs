//! Messages that were refused before they came to the ledger: they have no form, or ask for nothing that there is. They count as those
//! do that the ledger refuses.

use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, Environment, Scope, TradeDate, refused_early};

use super::scope::Whose;
use super::{ACCOUNT_ITSELF, Moved};
use crate::error::Result;
use crate::gate::{GateStore, GateTx};

impl GateTx<'_> {
    /// Counts a message that was refused early, towards the throttle and the refusals in a row. Returns the states that moved.
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_refused_early(&self, account: &AccountId, sandbox: &SandboxId, at_ms: u64) -> Result<Vec<Moved>> {
        const MINUTE_MS: u64 = 60_000;
        self.begin_scope(account, Some(sandbox))?;
        let environment = account.environment().unwrap_or(Environment::Simulated);
        // What was spent on which day is not looked at.
        let day = TradeDate::new(1970, 1, 1).expect("there was such a day");
        let (limits, counters) = self.scopes(account, Some(sandbox), environment, day, at_ms / MINUTE_MS)?;
        let counted = refused_early(&limits, &counters, at_ms);
        if let Some(bucket) = counted.buckets.account {
            self.set_bucket(account, ACCOUNT_ITSELF, bucket)?;
        }
        if let Some(bucket) = counted.buckets.sandbox {
            self.set_bucket(account, sandbox.as_str(), bucket)?;
        }
        self.set_refusals(Whose { account, sandbox }, counted.refusals)?;
        let mut moved = Vec::new();
        for effect in &counted.effects {
            let of = (effect.scope == Scope::Sandbox).then_some(sandbox);
            moved.extend(self.move_state(account, of, &effect.event)?);
        }
        Ok(moved)
    }
}

impl GateStore {
    /// [`GateTx::trade_refused_early`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_refused_early(&self, account: AccountId, sandbox: SandboxId, at_ms: u64) -> Result<Vec<Moved>> {
        self.write(move |tx| tx.trade_refused_early(&account, &sandbox, at_ms)).await
    }
}

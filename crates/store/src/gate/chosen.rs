//! Simulated accounts that sandboxes were given.

use ringfence_model::{SandboxId, trade::AccountId};
use rusqlite::params;

use super::{GateStore, GateTx, GateView};
use crate::error::{Result, StoreError, doing};

impl GateView<'_> {
    /// The accounts that sandboxes were given, in the order of the sandboxes' ids.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn chosen_accounts(&self) -> Result<Vec<(SandboxId, AccountId)>> {
        const WHAT: &str = "list accounts that were chosen";
        let mut statement = self
            .conn
            .prepare_cached("SELECT sandbox_id, account FROM trading_account ORDER BY sandbox_id")
            .map_err(doing(WHAT))?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(doing(WHAT))?;
        rows.map(|row| {
            let (sandbox, account) = row.map_err(doing(WHAT))?;
            let unreadable = |column| StoreError::Unreadable { column, row: "an account that was chosen".to_owned() };
            Ok((
                SandboxId::parse(&sandbox).map_err(|_| unreadable("sandbox_id"))?,
                AccountId::parse(&account).map_err(|_| unreadable("account"))?,
            ))
        })
        .collect()
    }
}

impl GateTx<'_> {
    /// Gives a sandbox an account, in the place of another one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn choose_account(&self, sandbox: &SandboxId, account: &AccountId) -> Result<()> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO trading_account (sandbox_id, account) VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str(), account.as_str()]))
            .map(drop)
            .map_err(doing("choose an account"))
    }

    pub(super) fn remove_chosen_account(&self, sandbox: &SandboxId) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM trading_account WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str()]))
            .map(drop)
            .map_err(doing("forget an account that was chosen"))
    }
}

impl GateStore {
    /// [`GateView::chosen_accounts`].
    ///
    /// # Errors
    /// As there.
    pub async fn chosen_accounts(&self) -> Result<Vec<(SandboxId, AccountId)>> {
        self.read(|view| view.chosen_accounts()).await
    }
}

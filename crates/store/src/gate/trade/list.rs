//! What is listed for people: how accounts stand with their sandboxes, and orders.

use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, Limits, TradeDate};
use rusqlite::{OptionalExtension, params};

use super::TradeStatus;
use super::order::OrderRow;
use crate::error::{Result, StoreError, doing};
use crate::gate::{GateStore, GateView};

/// Sandboxes of one account that are listed at most: the newest.
const SANDBOXES_MAX: u32 = 500;

/// How an account stands, with its sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The last day of the account's clock of which something is known.
    pub day: Option<TradeDate>,
    /// The account. What is about a sandbox in there is nobody's.
    pub account: TradeStatus,
    /// Sandboxes that have traded there, or that have a state or limits there.
    pub sandboxes: Vec<(SandboxId, TradeStatus)>,
}

/// Which orders to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Only those that are open.
    pub open: bool,
    /// At most so many, the newest.
    pub limit: u32,
}

impl GateView<'_> {
    /// How an account stands on the last day that is known of it, with its sandboxes or with one of them.
    ///
    /// # Errors
    /// As [`GateView::trade_limits`].
    pub fn trade_standing(&self, account: &AccountId, only: Option<&SandboxId>) -> Result<Standing> {
        let day = self.last_day(account)?;
        // A day on which nobody has traded.
        let date = day.or_else(|| TradeDate::new(1970, 1, 1)).expect("it is a day");
        let mut sandboxes = Vec::new();
        for sandbox in self.sandboxes_of(account, only)? {
            let status = self.trade_status(account, Some(&sandbox), date)?;
            sandboxes.push((sandbox, status));
        }
        Ok(Standing { day, account: self.trade_status(account, None, date)?, sandboxes })
    }

    fn last_day(&self, account: &AccountId) -> Result<Option<TradeDate>> {
        let number: Option<Option<u32>> = self
            .conn
            .prepare_cached("SELECT day FROM trade_account WHERE account = ?1")
            .and_then(|mut statement| statement.query_row(params![account.as_str()], |row| row.get(0)).optional())
            .map_err(doing("read the day of an account"))?;
        Ok(number.flatten().and_then(TradeDate::from_number))
    }

    fn sandboxes_of(&self, account: &AccountId, only: Option<&SandboxId>) -> Result<Vec<SandboxId>> {
        const WHAT: &str = "list sandboxes of an account";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT s.sandbox_id FROM trade_scope s WHERE s.account = ?1 AND s.sandbox_id <> '' \
                 AND (?2 IS NULL OR s.sandbox_id = ?2) ORDER BY (SELECT max(o.number) FROM trade_order o \
                 WHERE o.account = s.account AND o.sandbox_id = s.sandbox_id) DESC, s.sandbox_id LIMIT ?3",
            )
            .map_err(doing(WHAT))?;
        let params = params![account.as_str(), only.map(SandboxId::as_str), SANDBOXES_MAX];
        let rows = statement.query_map(params, |row| row.get::<_, String>(0)).map_err(doing(WHAT))?;
        rows.map(|row| {
            let text = row.map_err(doing(WHAT))?;
            SandboxId::parse(&text).map_err(|_| StoreError::Unreadable { column: "sandbox_id", row: text })
        })
        .collect()
    }

    /// Orders, the newest first.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn trade_orders(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>> {
        let condition = "WHERE (?1 IS NULL OR o.account = ?1) AND (?2 IS NULL OR o.sandbox_id = ?2) \
             AND (NOT ?3 OR o.closed_at_ms IS NULL) ORDER BY o.number DESC LIMIT ?4";
        let account = filter.account.as_ref().map(AccountId::as_str);
        let sandbox = filter.sandbox.as_ref().map(SandboxId::as_str);
        self.order_rows(condition, params![account, sandbox, filter.open, filter.limit])
    }
}

impl GateStore {
    /// [`GateView::trade_standing`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_standing(&self, account: AccountId, only: Option<SandboxId>) -> Result<Standing> {
        self.read(move |view| view.trade_standing(&account, only.as_ref())).await
    }

    /// [`GateView::trade_orders`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_orders(&self, filter: OrderFilter) -> Result<Vec<OrderRow>> {
        self.read(move |view| view.trade_orders(&filter)).await
    }

    /// [`GateView::trade_limits_in_force`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_limits_in_force(&self, account: AccountId, sandbox: Option<SandboxId>) -> Result<Limits> {
        self.read(move |view| view.trade_limits_in_force(&account, sandbox.as_ref())).await
    }
}

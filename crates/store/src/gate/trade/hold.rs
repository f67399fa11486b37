//! Orders that wait for a person.

use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, Message, Usd};
use rusqlite::{OptionalExtension, Row, params};
use serde_json::json;

use super::TradeAsk;
use crate::audit::{Actor, AuditEntry};
use crate::error::{Result, StoreError, doing};
use crate::gate::{GateStore, GateTx, GateView};

/// How long an approval is good, in milliseconds of the host's clock: an hour.
const APPROVED_MS: u64 = 60 * 60 * 1000;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldState {
    /// Nobody has answered.
    Waiting,
    /// The same request is let through once, within an hour.
    Approved,
    /// It is not let through.
    Refused,
    /// It was let through.
    Used,
}

impl HoldState {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Used => "used",
        }
    }
}

/// An order that waits, or has waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRow {
    /// Its number.
    pub number: u64,
    /// Of which account.
    pub account: AccountId,
    /// Whose it is.
    pub sandbox: SandboxId,
    /// What was asked.
    pub message: Message,
    /// What it is worth at worst.
    pub notional: Usd,
    /// When it was asked, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How far it is.
    pub state: HoldState,
}

const COLUMNS: &str = "number, account, sandbox_id, message, notional, at_ms, state";

impl GateView<'_> {
    /// The orders that wait, the oldest first.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn trade_holds(&self) -> Result<Vec<HoldRow>> {
        const WHAT: &str = "list orders that wait";
        let sql = format!("SELECT {COLUMNS} FROM trade_hold WHERE state = 'waiting' ORDER BY number LIMIT 1000");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement.query_map([], read).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// The approval of the very same request, if it is good still.
    pub(super) fn approval(&self, ask: &TradeAsk) -> Result<Option<u64>> {
        self.conn
            .prepare_cached(
                "SELECT number FROM trade_hold WHERE account = ?1 AND sandbox_id = ?2 AND body = ?3 AND state = 'approved' \
                 AND answered_at_ms >= ?4 ORDER BY number LIMIT 1",
            )
            .and_then(|mut statement| {
                let since = ask.decision.at_ms.saturating_sub(APPROVED_MS);
                let (account, sandbox) = (ask.account.as_str(), ask.decision.sandbox.as_str());
                let params = params![account, sandbox, ask.body.as_slice(), since];
                statement.query_row(params, |row| row.get(0)).optional()
            })
            .map_err(doing("look for an approval"))
    }
}

impl GateTx<'_> {
    /// Lets an order wait for a person. The same request waits once.
    pub(super) fn wait_for_a_person(&self, ask: &TradeAsk, notional: Usd) -> Result<u64> {
        let (account, sandbox) = (ask.account.as_str(), ask.decision.sandbox.as_str());
        let waiting = self
            .conn
            .prepare_cached(
                "SELECT number FROM trade_hold WHERE account = ?1 AND sandbox_id = ?2 AND body = ?3 AND state = 'waiting'",
            )
            .and_then(|mut statement| {
                let params = params![account, sandbox, ask.body.as_slice()];
                statement.query_row(params, |row| row.get(0)).optional()
            })
            .map_err(doing("look for an order that waits"))?;
        if let Some(number) = waiting {
            return Ok(number);
        }
        let number = self.next_number("trade.hold")?;
        let message = serde_json::to_string(&ask.message).expect("a message is plain");
        self.conn
            .prepare_cached(
                "INSERT INTO trade_hold (number, account, sandbox_id, body, message, notional, at_ms, state) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'waiting')",
            )
            .and_then(|mut statement| {
                let (notional, at_ms) = (notional.units(), ask.decision.at_ms);
                statement.execute(params![number, account, sandbox, ask.body.as_slice(), message, notional, at_ms])
            })
            .map_err(doing("let an order wait"))?;
        Ok(number)
    }

    pub(super) fn use_approval(&self, number: u64) -> Result<()> {
        let used = self
            .conn
            .prepare_cached("UPDATE trade_hold SET state = 'used' WHERE number = ?1 AND state = 'approved'")
            .and_then(|mut statement| statement.execute(params![number]))
            .map_err(doing("use an approval"))?;
        assert_eq!(used, 1, "an approval is used once");
        Ok(())
    }

    /// Answers an order that waits: the operator's right. Returns it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when none of that number waits; or the database refuses.
    pub fn trade_hold_answer(&self, number: u64, approved: bool, at_ms: u64) -> Result<HoldRow> {
        let state = if approved { HoldState::Approved } else { HoldState::Refused };
        let sql = format!(
            "UPDATE trade_hold SET state = ?2, answered_at_ms = ?3 WHERE number = ?1 AND state = 'waiting' \
             RETURNING {COLUMNS}"
        );
        let row = self
            .conn
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row(params![number, state.as_str(), at_ms], read).optional())
            .map_err(doing("answer an order that waits"))?
            .transpose()?
            .ok_or_else(|| StoreError::NotFound { kind: "order that waits", id: number.to_string() })?;
        let detail =
            json!({"account": row.account, "hold": number, "answer": state.as_str(), "notional": row.notional});
        let entry = AuditEntry::new(at_ms, Actor::Operator, "trade.hold").sandbox(&row.sandbox).detail(detail);
        let _ = self.audit(&entry)?;
        Ok(row)
    }
}

impl GateStore {
    /// [`GateView::trade_holds`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_holds(&self) -> Result<Vec<HoldRow>> {
        self.read(|view| view.trade_holds()).await
    }

    /// [`GateTx::trade_hold_answer`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_hold_answer(&self, number: u64, approved: bool, at_ms: u64) -> Result<HoldRow> {
        self.write(move |tx| tx.trade_hold_answer(number, approved, at_ms)).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<HoldRow>> {
    let number: u64 = row.get(0)?;
    let (account, sandbox, message): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (notional, at_ms, state): (i64, u64, String) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let unreadable = |column| StoreError::Unreadable { column, row: format!("hold {number}") };
    Ok((|| {
        Ok(HoldRow {
            number,
            account: AccountId::try_from(account).map_err(|_| unreadable("account"))?,
            sandbox: SandboxId::try_from(sandbox).map_err(|_| unreadable("sandbox_id"))?,
            message: serde_json::from_str(&message).map_err(|_| unreadable("message"))?,
            notional: Usd::from_units(notional),
            at_ms,
            state: [HoldState::Waiting, HoldState::Approved, HoldState::Refused, HoldState::Used]
                .into_iter()
                .find(|known| known.as_str() == state)
                .ok_or_else(|| unreadable("state"))?,
        })
    })())
}

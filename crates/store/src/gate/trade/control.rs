//! What the operator sets, and what a client may tighten: states, limits, modes; and the account's equity.

use ringfence_model::SandboxId;
use ringfence_model::trade::{
    AccountId, By, Cause, Counters, Environment, Equity, Limits, Mode, Scoped, StateEvent, TradeDate, TradingState,
    Usd, loss_event,
};
use rusqlite::{OptionalExtension, params};
use serde_json::json;

use super::{Amounts, Moved, key_of};
use crate::audit::{Actor, AuditEntry};
use crate::error::{Result, StoreError, doing};
use crate::gate::{GateStore, GateTx, GateView};

/// Limits as they were set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsRow {
    /// 1, and one more with each change.
    pub version: u64,
    /// The limits.
    pub limits: Limits,
    /// By whom.
    pub set_by: By,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// How an account or a sandbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeStatus {
    /// What the operator has set.
    pub mode: Mode,
    /// Whether it may trade, of the account and of the sandbox.
    pub states: Scoped<TradingState>,
    /// Limits in force: of the sandbox, those of its account tightened by its own.
    pub limits: Scoped<Limits>,
    /// What is reserved and spent.
    pub amounts: Scoped<Amounts>,
    /// Refusals in a row of the sandbox.
    pub refusals: u32,
}

/// What is known of an account's equity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KnownEquity {
    pub(super) high_water: Option<Usd>,
    pub(super) start_of_day: Option<Usd>,
}

impl GateView<'_> {
    /// The limits that were set of an account, or of a sandbox there; none where nobody has.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn trade_limits(&self, account: &AccountId, sandbox: Option<&SandboxId>) -> Result<Option<LimitsRow>> {
        let row = self
            .conn
            .prepare_cached(
                "SELECT version, limits, set_by, at_ms FROM trade_limits WHERE account = ?1 AND sandbox_id = ?2 \
                 ORDER BY version DESC LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![account.as_str(), key_of(sandbox)], |row| {
                        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get(3)?))
                    })
                    .optional()
            })
            .map_err(doing("read limits"))?;
        let unreadable = |column| StoreError::Unreadable { column, row: format!("limits of {account}") };
        row.map(|(version, limits, set_by, at_ms)| {
            Ok(LimitsRow {
                version,
                limits: serde_json::from_str(&limits).map_err(|_| unreadable("limits"))?,
                set_by: set_by.parse().map_err(|_| unreadable("set_by"))?,
                at_ms,
            })
        })
        .transpose()
    }

    /// What the operator has set an account to: the venue itself, whose mode is that of all of its accounts.
    ///
    /// # Errors
    /// As [`GateView::trade_limits`].
    pub fn trade_mode(&self, account: &AccountId) -> Result<Mode> {
        let text: Option<String> = self
            .conn
            .prepare_cached("SELECT mode FROM trade_account WHERE account = ?1")
            .and_then(|mut statement| statement.query_row(params![account.as_str()], |row| row.get(0)).optional())
            .map_err(doing("read a mode"))?;
        let unreadable = || StoreError::Unreadable { column: "mode", row: format!("account {account}") };
        text.map_or(Ok(Mode::default()), |text| serde_json::from_str(&text).map_err(|_| unreadable()))
    }

    /// How an account, and a sandbox there, stand on a day.
    ///
    /// # Errors
    /// As [`GateView::trade_limits`].
    pub fn trade_status(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        date: TradeDate,
    ) -> Result<TradeStatus> {
        let mode = self.trade_mode(&AccountId::venue())?;
        let environment = account.environment().unwrap_or(Environment::Simulated);
        let (limits, counters) = self.scopes(account, sandbox, environment, date, 0)?;
        let Scoped { account: of_account, sandbox: of_sandbox } = counters;
        let amounts = |counters: &Counters| Amounts::from(counters);
        Ok(TradeStatus {
            mode,
            limits,
            refusals: of_sandbox.refusals,
            amounts: Scoped { account: amounts(&of_account), sandbox: amounts(&of_sandbox) },
            states: Scoped { account: of_account.state, sandbox: of_sandbox.state },
        })
    }

    /// All accounts that the ledger knows, in the order of their names, without the venue itself.
    ///
    /// # Errors
    /// As [`GateView::trade_limits`].
    pub fn trade_accounts(&self) -> Result<Vec<AccountId>> {
        const WHAT: &str = "list accounts";
        let mut statement = self
            .conn
            .prepare_cached("SELECT DISTINCT account FROM trade_scope WHERE account <> ?1 ORDER BY account")
            .map_err(doing(WHAT))?;
        let venue = AccountId::venue();
        let rows = statement.query_map(params![venue.as_str()], |row| row.get::<_, String>(0)).map_err(doing(WHAT))?;
        rows.map(|row| {
            let text = row.map_err(doing(WHAT))?;
            AccountId::parse(&text).map_err(|_| StoreError::Unreadable { column: "account", row: text })
        })
        .collect()
    }

    pub(super) fn known_equity(&self, account: &AccountId, date: TradeDate) -> Result<KnownEquity> {
        self.conn
            .prepare_cached(
                "SELECT high_water, CASE WHEN day = ?2 THEN day_equity END FROM trade_account WHERE account = ?1",
            )
            .and_then(|mut statement| {
                let read = |row: &rusqlite::Row<'_>| {
                    let amount = |units: Option<i64>| units.map(Usd::from_units);
                    Ok(KnownEquity { high_water: amount(row.get(0)?), start_of_day: amount(row.get(1)?) })
                };
                statement.query_row(params![account.as_str(), date.number()], read).optional()
            })
            .map(Option::unwrap_or_default)
            .map_err(doing("read an equity"))
    }
}

impl GateTx<'_> {
    /// Moves the state of an account, or of a sandbox there: halts it, lets it only reduce, or lets it trade again. None when that is
    /// no edge, as when somebody but the operator resumes.
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_move(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        event: &StateEvent,
    ) -> Result<Option<Moved>> {
        self.move_state(account, sandbox, event)
    }

    /// Sets the limits of an account, or of a sandbox there, all of them anew; the operator's right. Returns their version.
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_limits_set(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        limits: &Limits,
        at_ms: u64,
    ) -> Result<u64> {
        self.write_limits(account, sandbox, limits, By::Operator, at_ms)
    }

    /// Tightens the limits of a sandbox by those that `tighter` sets; any client's right. Returns the version.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for one that would let more through than what is in force; or the database refuses.
    pub fn trade_limits_tighten(
        &self,
        account: &AccountId,
        sandbox: &SandboxId,
        tighter: &Limits,
        at_ms: u64,
    ) -> Result<u64> {
        let in_force = self.limits_of(account, sandbox)?;
        in_force.tightened_by(tighter).map_err(|error| StoreError::Refused(error.to_string()))?;
        let own = self.trade_limits(account, Some(sandbox))?.map(|row| row.limits).unwrap_or_default();
        let own = own.tightened_by(tighter).map_err(|error| StoreError::Refused(error.to_string()))?;
        self.write_limits(account, Some(sandbox), &own, By::Client, at_ms)
    }

    fn write_limits(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        limits: &Limits,
        by: By,
        at_ms: u64,
    ) -> Result<u64> {
        self.begin_scope(account, sandbox)?;
        let before = self.trade_limits(account, sandbox)?.map(|row| row.limits);
        let text = serde_json::to_string(limits).expect("limits are plain");
        let version: u64 = self
            .conn
            .prepare_cached(
                "INSERT INTO trade_limits (account, sandbox_id, version, limits, set_by, at_ms) VALUES (?1, ?2, \
                 (SELECT coalesce(max(version), 0) + 1 FROM trade_limits WHERE account = ?1 AND sandbox_id = ?2), \
                 ?3, ?4, ?5) RETURNING version",
            )
            .and_then(|mut statement| {
                let params = params![account.as_str(), key_of(sandbox), text, by.as_str(), at_ms];
                statement.query_row(params, |row| row.get(0))
            })
            .map_err(doing("set limits"))?;
        let actor = if by == By::Operator { Actor::Operator } else { Actor::Agent };
        let before = before.map(|limits| limits.texts());
        let detail = json!({"account": account, "version": version, "before": before, "limits": limits.texts()});
        let mut entry = AuditEntry::new(at_ms, actor, "trade.limits").detail(detail);
        if let Some(sandbox) = sandbox {
            entry = entry.sandbox(sandbox);
        }
        let _ = self.audit(&entry)?;
        Ok(version)
    }

    /// Sets what an account is for: the operator's right. Live comes from [`Mode::arm_live`].
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_mode_set(&self, account: &AccountId, mode: Mode, at_ms: u64) -> Result<()> {
        let before = self.put_mode(account, mode)?;
        let detail = json!({"account": account, "before": before, "mode": mode});
        let _ = self.audit(&AuditEntry::new(at_ms, Actor::Operator, "trade.mode").detail(detail))?;
        Ok(())
    }

    /// Ends live, and says why.
    ///
    /// # Errors
    /// As [`GateTx::trade_mode_set`].
    pub fn trade_live_ended(&self, account: &AccountId, why: &str, at_ms: u64) -> Result<()> {
        let before = self.put_mode(account, Mode::Ended)?;
        let detail = json!({"account": account, "before": before, "why": why});
        let _ = self.audit(&AuditEntry::new(at_ms, Actor::System, "trade.live_ended").detail(detail))?;
        Ok(())
    }

    /// The mode that was before.
    fn put_mode(&self, account: &AccountId, mode: Mode) -> Result<Mode> {
        let text = serde_json::to_string(&mode).expect("a mode is plain");
        self.begin_scope(account, None)?;
        let before = self.trade_mode(account)?;
        self.conn
            .prepare_cached(
                "INSERT INTO trade_account (account, mode) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET mode = ?2",
            )
            .and_then(|mut statement| statement.execute(params![account.as_str(), text]))
            .map_err(doing("set a mode"))?;
        Ok(before)
    }

    /// Notes an account's equity, and lets its loss move the states of the account and of those sandboxes whose limits say so.
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_equity(
        &self,
        account: &AccountId,
        equity: &Equity,
        date: TradeDate,
        host_ms: u64,
    ) -> Result<Vec<Moved>> {
        self.note_equity(account, equity, date)?;
        let known = self.known_equity(account, date)?;
        let mut moved = Vec::new();
        let of_account = self.account_limits(account)?;
        for sandbox in self.scopes_with_limits(account)? {
            let limits = match &sandbox {
                None => of_account.clone(),
                Some(sandbox) => self.limits_of(account, sandbox)?,
            };
            if sandbox.is_some() && limits.losses() == of_account.losses() {
                continue;
            }
            let start = equity.start_of_day.or(known.start_of_day);
            if let Some(loss) = loss_event(&limits, equity.now, start, known.high_water, host_ms) {
                moved.extend(self.move_state(account, sandbox.as_ref(), &loss.event)?);
            }
        }
        Ok(moved)
    }

    /// The account, and those of its sandboxes that have limits of their own, there or at the venue.
    fn scopes_with_limits(&self, account: &AccountId) -> Result<Vec<Option<SandboxId>>> {
        const WHAT: &str = "list limits";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT DISTINCT l.sandbox_id FROM trade_limits l JOIN trade_scope s ON s.sandbox_id = l.sandbox_id \
                 AND s.account = ?1 WHERE l.account IN (?1, ?2) AND l.sandbox_id <> ''",
            )
            .map_err(doing(WHAT))?;
        let venue = AccountId::venue();
        let rows = statement
            .query_map(params![account.as_str(), venue.as_str()], |row| row.get::<_, String>(0))
            .map_err(doing(WHAT))?;
        let mut scopes = vec![None];
        for row in rows {
            let text = row.map_err(doing(WHAT))?;
            let sandbox = SandboxId::parse(&text);
            scopes.push(Some(sandbox.map_err(|_| StoreError::Unreadable { column: "sandbox_id", row: text })?));
        }
        Ok(scopes)
    }

    /// Keeps the highest equity, and that with which a day began: what the venue says, or the first one of the day.
    pub(super) fn note_equity(&self, account: &AccountId, equity: &Equity, date: TradeDate) -> Result<()> {
        let mode = serde_json::to_string(&Mode::default()).expect("a mode is plain");
        self.conn
            .prepare_cached(
                "INSERT INTO trade_account (account, mode, high_water, day, day_equity, equity) \
                 VALUES (?1, ?2, ?3, ?4, coalesce(?5, ?3), ?3) ON CONFLICT DO UPDATE SET \
                 high_water = max(coalesce(high_water, ?3), ?3), \
                 day_equity = CASE WHEN ?5 IS NOT NULL THEN ?5 WHEN day = ?4 THEN day_equity ELSE ?3 END, \
                 day = ?4, equity = ?3",
            )
            .and_then(|mut statement| {
                let start = equity.start_of_day.map(Usd::units);
                statement.execute(params![account.as_str(), mode, equity.now.units(), date.number(), start])
            })
            .map(drop)
            .map_err(doing("note an equity"))
    }
}

impl GateStore {
    /// [`GateTx::trade_move`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_move(
        &self,
        account: AccountId,
        sandbox: Option<SandboxId>,
        event: StateEvent,
    ) -> Result<Option<Moved>> {
        self.write(move |tx| tx.trade_move(&account, sandbox.as_ref(), &event)).await
    }

    /// Halts an account, or a sandbox there: nothing but cancels until the operator resumes.
    ///
    /// # Errors
    /// As [`GateTx::trade_move`].
    pub async fn trade_halt(
        &self,
        account: AccountId,
        sandbox: Option<SandboxId>,
        by: By,
        reason: String,
        at_ms: u64,
    ) -> Result<Option<Moved>> {
        self.trade_move(account, sandbox, StateEvent::KillSwitch(Cause { by, reason, since_ms: at_ms })).await
    }

    /// Lets an account, or a sandbox there, trade again: the operator's right.
    ///
    /// # Errors
    /// As [`GateTx::trade_move`].
    pub async fn trade_resume(
        &self,
        account: AccountId,
        sandbox: Option<SandboxId>,
        reason: String,
        at_ms: u64,
    ) -> Result<Option<Moved>> {
        let cause = Cause { by: By::Operator, reason, since_ms: at_ms };
        self.trade_move(account, sandbox, StateEvent::Resume(cause)).await
    }

    /// [`GateTx::trade_limits_set`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_limits_set(
        &self,
        account: AccountId,
        sandbox: Option<SandboxId>,
        limits: Limits,
        at_ms: u64,
    ) -> Result<u64> {
        self.write(move |tx| tx.trade_limits_set(&account, sandbox.as_ref(), &limits, at_ms)).await
    }

    /// [`GateTx::trade_limits_tighten`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_limits_tighten(
        &self,
        account: AccountId,
        sandbox: SandboxId,
        tighter: Limits,
        at_ms: u64,
    ) -> Result<u64> {
        self.write(move |tx| tx.trade_limits_tighten(&account, &sandbox, &tighter, at_ms)).await
    }

    /// [`GateView::trade_limits`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_limits(&self, account: AccountId, sandbox: Option<SandboxId>) -> Result<Option<LimitsRow>> {
        self.read(move |view| view.trade_limits(&account, sandbox.as_ref())).await
    }

    /// [`GateTx::trade_mode_set`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_mode_set(&self, account: AccountId, mode: Mode, at_ms: u64) -> Result<()> {
        self.write(move |tx| tx.trade_mode_set(&account, mode, at_ms)).await
    }

    /// [`GateTx::trade_live_ended`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_live_ended(&self, account: AccountId, why: String, at_ms: u64) -> Result<()> {
        self.write(move |tx| tx.trade_live_ended(&account, &why, at_ms)).await
    }

    /// [`GateView::trade_mode`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_mode(&self, account: AccountId) -> Result<Mode> {
        self.read(move |view| view.trade_mode(&account)).await
    }

    /// [`GateView::trade_status`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_status(
        &self,
        account: AccountId,
        sandbox: Option<SandboxId>,
        date: TradeDate,
    ) -> Result<TradeStatus> {
        self.read(move |view| view.trade_status(&account, sandbox.as_ref(), date)).await
    }

    /// [`GateView::trade_accounts`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_accounts(&self) -> Result<Vec<AccountId>> {
        self.read(|view| view.trade_accounts()).await
    }

    /// [`GateTx::trade_equity`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_equity(
        &self,
        account: AccountId,
        equity: Equity,
        date: TradeDate,
        host_ms: u64,
    ) -> Result<Vec<Moved>> {
        self.write(move |tx| tx.trade_equity(&account, &equity, date, host_ms)).await
    }
}

//! Counters of an account and of a sandbox there: read together, and moved together.

use ringfence_model::SandboxId;
use ringfence_model::trade::{
    AccountId, Bucket, Counters, Environment, Limits, Scoped, Spent, StateEvent, TradeDate, TradingState, Usd,
};
use rusqlite::{Row, params};
use serde_json::json;

use super::{ACCOUNT_ITSELF, Amounts, Moved, key_of};
use crate::audit::{Actor, AuditEntry};
use crate::error::{Result, StoreError, doing};
use crate::gate::{GateTx, GateView};

/// Minutes of the rolling day.
const ROLLING_MINUTES: u64 = 24 * 60;

/// Limits and counters of one scope, as far as there are rows.
struct Loaded {
    account: String,
    key: String,
    counters: Counters,
    limits: Option<Limits>,
}

/// An account and the sandbox that asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) account: &'a AccountId,
    pub(super) sandbox: &'a SandboxId,
}

impl GateView<'_> {
    /// Limits in force and counters. `minute` is of the account's clock, since the Unix epoch. States and limits of the venue itself
    /// hold beside those of the account.
    pub(super) fn scopes(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        environment: Environment,
        date: TradeDate,
        minute: u64,
    ) -> Result<(Scoped<Limits>, Scoped<Counters>)> {
        const WHAT: &str = "read counters";
        let venue = AccountId::venue();
        let mut loaded = self
            .conn
            .prepare_cached(
                "SELECT s.sandbox_id, s.state, s.refusals, s.level, s.level_at_ms, s.pending_bought, s.pending_turnover, \
                 s.open_orders, d.bought, d.turnover, d.orders, (SELECT limits FROM trade_limits l \
                 WHERE l.account = s.account AND l.sandbox_id = s.sandbox_id ORDER BY version DESC LIMIT 1), s.account \
                 FROM trade_scope s LEFT JOIN trade_day d ON d.account = s.account AND d.sandbox_id = s.sandbox_id \
                 AND d.day = ?3 WHERE s.account IN (?1, ?4) AND s.sandbox_id IN ('', ?2)",
            )
            .and_then(|mut statement| {
                let params = params![account.as_str(), key_of(sandbox), date.number(), venue.as_str()];
                statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(doing(WHAT))?
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let mut take = |account: &AccountId, key: &str| {
            let is = |scope: &Loaded| scope.account == account.as_str() && scope.key == key;
            let found = loaded.iter().position(is).map(|index| loaded.swap_remove(index));
            found.map_or((Counters::default(), None), |scope| (scope.counters, scope.limits))
        };
        let (mut account_counters, own) = take(account, ACCOUNT_ITSELF);
        let (venue_counters, of_venue) = take(&venue, ACCOUNT_ITSELF);
        account_counters.state = account_counters.state.or_stricter(venue_counters.state);
        let account_limits = own.unwrap_or_else(|| match environment {
            Environment::Simulated | Environment::Paper => of_venue.unwrap_or_else(Limits::out_of_the_box),
            Environment::Live => Limits::for_live(),
        });
        let (mut sandbox_counters, mut sandbox_limits) = (Counters::default(), account_limits.clone());
        if sandbox.is_some() {
            let (counters, own) = take(account, key_of(sandbox));
            let (venue_counters, of_venue) = take(&venue, key_of(sandbox));
            sandbox_counters = counters;
            sandbox_counters.state = sandbox_counters.state.or_stricter(venue_counters.state);
            for limits in [own, of_venue].into_iter().flatten() {
                sandbox_limits = sandbox_limits.with(&limits);
            }
        }
        let limits = Scoped { account: account_limits, sandbox: sandbox_limits };
        let mut counters = Scoped { account: account_counters, sandbox: sandbox_counters };
        let rolls = |limits: &Limits| {
            limits.max_rolling_notional.is_some()
                || limits.max_rolling_turnover.is_some()
                || limits.max_rolling_orders.is_some()
        };
        if rolls(&limits.account) || rolls(&limits.sandbox) {
            let mut statement = self
                .conn
                .prepare_cached(
                    "SELECT sandbox_id, sum(bought), sum(turnover), sum(orders) FROM trade_minute \
                     WHERE account = ?1 AND sandbox_id IN ('', ?2) AND minute > ?3 GROUP BY sandbox_id",
                )
                .map_err(doing(WHAT))?;
            let params = params![account.as_str(), key_of(sandbox), minute.saturating_sub(ROLLING_MINUTES)];
            let rows = statement
                .query_map(params, |row| Ok((row.get::<_, String>(0)?, spent(row, 1)?)))
                .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
                .map_err(doing(WHAT))?;
            for (key, rolling) in rows {
                if key == ACCOUNT_ITSELF {
                    counters.account.rolling = rolling;
                } else {
                    counters.sandbox.rolling = rolling;
                }
            }
        }
        Ok((limits, counters))
    }

    /// The limits that hold for an account: its own, else those of the venue, else those out of the box. A live account has its own
    /// or none.
    pub(super) fn account_limits(&self, account: &AccountId) -> Result<Limits> {
        if let Some(row) = self.trade_limits(account, None)? {
            return Ok(row.limits);
        }
        if account.environment() == Some(Environment::Live) {
            return Ok(Limits::for_live());
        }
        let of_venue = self.trade_limits(&AccountId::venue(), None)?;
        Ok(of_venue.map_or_else(Limits::out_of_the_box, |row| row.limits))
    }

    /// The limits that hold for an account, or for a sandbox there: those of its account, tightened by its own and by those that it
    /// has at the venue.
    ///
    /// # Errors
    /// As [`GateView::trade_limits`].
    pub fn trade_limits_in_force(&self, account: &AccountId, sandbox: Option<&SandboxId>) -> Result<Limits> {
        let mut limits = self.account_limits(account)?;
        if sandbox.is_some() {
            for of in [account, &AccountId::venue()] {
                if let Some(row) = self.trade_limits(of, sandbox)? {
                    limits = limits.with(&row.limits);
                }
            }
        }
        Ok(limits)
    }

    /// The state of an account, or of a sandbox there.
    pub(super) fn trading_state(&self, account: &AccountId, sandbox: Option<&SandboxId>) -> Result<TradingState> {
        use rusqlite::OptionalExtension;
        let text: Option<String> = self
            .conn
            .prepare_cached("SELECT state FROM trade_scope WHERE account = ?1 AND sandbox_id = ?2")
            .and_then(|mut statement| {
                statement.query_row(params![account.as_str(), key_of(sandbox)], |row| row.get(0)).optional()
            })
            .map_err(doing("read a trading state"))?;
        let read = |text: String| {
            let unreadable = || StoreError::Unreadable { column: "state", row: format!("account {account}") };
            serde_json::from_str(&text).map_err(|_| unreadable())
        };
        text.map_or(Ok(TradingState::Active), read)
    }
}

impl GateTx<'_> {
    /// Makes the rows of an account and a sandbox, where there are none.
    pub(super) fn begin_scope(&self, account: &AccountId, sandbox: Option<&SandboxId>) -> Result<()> {
        for key in [ACCOUNT_ITSELF, key_of(sandbox)] {
            self.conn
                .prepare_cached(
                    "INSERT INTO trade_scope (account, sandbox_id, state, refusals, pending_bought, pending_turnover, \
                     open_orders) VALUES (?1, ?2, '{\"state\":\"active\"}', 0, 0, 0, 0) ON CONFLICT DO NOTHING",
                )
                .and_then(|mut statement| statement.execute(params![account.as_str(), key]))
                .map_err(doing("begin to count"))?;
        }
        Ok(())
    }

    /// Moves what is pending, of the sandbox and of its account. That no sum falls below nothing is checked by the table too.
    pub(super) fn move_pending(&self, whose: Whose<'_>, bought: i64, turnover: i64, orders: i64) -> Result<()> {
        if (bought, turnover, orders) == (0, 0, 0) {
            return Ok(());
        }
        let moved = self
            .conn
            .prepare_cached(
                "UPDATE trade_scope SET pending_bought = pending_bought + ?3, pending_turnover = pending_turnover + ?4, \
                 open_orders = open_orders + ?5 WHERE account = ?1 AND sandbox_id IN ('', ?2)",
            )
            .and_then(|mut statement| {
                let (account, sandbox) = (whose.account.as_str(), whose.sandbox.as_str());
                statement.execute(params![account, sandbox, bought, turnover, orders])
            })
            .map_err(doing("move a reservation"))?;
        assert_eq!(moved, 2, "an order has a row of its sandbox and one of its account");
        Ok(())
    }

    /// Counts what was bought and traded, and orders that were sent. `minute` is of the account's clock, since the Unix epoch.
    pub(super) fn spend(&self, whose: Whose<'_>, date: TradeDate, minute: u64, spent: Spent) -> Result<()> {
        const WHAT: &str = "count what was spent";
        for key in [ACCOUNT_ITSELF, whose.sandbox.as_str()] {
            for (sql, at) in [
                (
                    "INSERT INTO trade_day (account, sandbox_id, day, bought, turnover, orders) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET bought = bought + ?4, \
                     turnover = turnover + ?5, orders = orders + ?6",
                    u64::from(date.number()),
                ),
                (
                    "INSERT INTO trade_minute (account, sandbox_id, minute, bought, turnover, orders) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET bought = bought + ?4, \
                     turnover = turnover + ?5, orders = orders + ?6",
                    minute,
                ),
            ] {
                let (bought, turnover) = (spent.bought.units(), spent.turnover.units());
                self.conn
                    .prepare_cached(sql)
                    .and_then(|mut statement| {
                        statement.execute(params![whose.account.as_str(), key, at, bought, turnover, spent.orders])
                    })
                    .map_err(doing(WHAT))?;
            }
            self.conn
                .prepare_cached("DELETE FROM trade_minute WHERE account = ?1 AND sandbox_id = ?2 AND minute <= ?3")
                .and_then(|mut statement| {
                    let gone = minute.saturating_sub(ROLLING_MINUTES);
                    statement.execute(params![whose.account.as_str(), key, gone])
                })
                .map_err(doing(WHAT))?;
        }
        Ok(())
    }

    pub(super) fn set_bucket(&self, account: &AccountId, key: &str, bucket: Bucket) -> Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE trade_scope SET level = ?3, level_at_ms = ?4 WHERE account = ?1 AND sandbox_id = ?2",
            )
            .and_then(|mut statement| statement.execute(params![account.as_str(), key, bucket.level, bucket.at_ms]))
            .map(drop)
            .map_err(doing("count a message"))
    }

    pub(super) fn set_refusals(&self, whose: Whose<'_>, refusals: u32) -> Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE trade_scope SET refusals = ?3 WHERE account = ?1 AND sandbox_id = ?2 AND refusals <> ?3",
            )
            .and_then(|mut statement| {
                statement.execute(params![whose.account.as_str(), whose.sandbox.as_str(), refusals])
            })
            .map(drop)
            .map_err(doing("count refusals"))
    }

    /// Moves a state, if the event is an edge from it, with an entry in the audit chain.
    pub(super) fn move_state(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        event: &StateEvent,
    ) -> Result<Option<Moved>> {
        self.begin_scope(account, sandbox)?;
        let before = self.trading_state(account, sandbox)?;
        let Some(state) = before.after(event) else { return Ok(None) };
        let cause = event.cause();
        let actor = match cause.by {
            ringfence_model::trade::By::Operator => Actor::Operator,
            ringfence_model::trade::By::Client => Actor::Agent,
            ringfence_model::trade::By::Control => Actor::System,
        };
        let mut entry = AuditEntry::new(cause.since_ms, actor, "trade.state").detail(json!({
            "account": account, "from": before.as_str(), "to": state.as_str(), "event": event,
        }));
        if let Some(sandbox) = sandbox {
            entry = entry.sandbox(sandbox);
        }
        let _ = self.audit(&entry)?;
        let text = serde_json::to_string(&state).expect("a state is plain");
        // Who resumes begins to count refusals anew, or the next one would halt it again.
        let begins_anew = state == TradingState::Active;
        self.conn
            .prepare_cached(
                "UPDATE trade_scope SET state = ?3, refusals = CASE WHEN ?4 THEN 0 ELSE refusals END \
                 WHERE account = ?1 AND sandbox_id = ?2",
            )
            .and_then(|mut statement| statement.execute(params![account.as_str(), key_of(sandbox), text, begins_anew]))
            .map_err(doing("move a trading state"))?;
        Ok(Some(Moved { account: account.clone(), sandbox: sandbox.cloned(), state }))
    }
}

impl From<&Counters> for Amounts {
    fn from(counters: &Counters) -> Self {
        Self {
            pending_bought: counters.pending.bought,
            pending_turnover: counters.pending.turnover,
            bought: counters.day.bought,
            turnover: counters.day.turnover,
            orders: counters.day.orders,
            open_orders: counters.open_orders,
        }
    }
}

fn spent(row: &Row<'_>, first: usize) -> rusqlite::Result<Spent> {
    let bought = row.get::<_, Option<i64>>(first)?.unwrap_or_default();
    let turnover = row.get::<_, Option<i64>>(first + 1)?.unwrap_or_default();
    let orders = row.get::<_, Option<u32>>(first + 2)?.unwrap_or_default();
    Ok(Spent { bought: Usd::from_units(bought), turnover: Usd::from_units(turnover), orders })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<Loaded>> {
    let (key, state): (String, String) = (row.get(0)?, row.get(1)?);
    let refusals = row.get(2)?;
    let (level, at_ms): (Option<u64>, Option<u64>) = (row.get(3)?, row.get(4)?);
    let pending = Spent { bought: Usd::from_units(row.get(5)?), turnover: Usd::from_units(row.get(6)?), orders: 0 };
    let (open_orders, day) = (row.get(7)?, spent(row, 8)?);
    let limits: Option<String> = row.get(11)?;
    let account: String = row.get(12)?;
    let unreadable = |column| StoreError::Unreadable { column, row: format!("counters of `{key}`") };
    Ok((|| {
        let state = serde_json::from_str(&state).map_err(|_| unreadable("state"))?;
        let limits = limits.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| unreadable("limits"))?;
        let counters = Counters {
            state,
            day,
            pending,
            open_orders,
            bucket: level.zip(at_ms).map(|(level, at_ms)| Bucket { level, at_ms }),
            refusals,
            ..Counters::default()
        };
        Ok(Loaded { account: account.clone(), key: key.clone(), counters, limits })
    })())
}

//! Fills: each is counted once, and turns a part of a reservation into what was spent.

use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, By, Cause, Price, Qty, Side, Spent, StateEvent, TradeDate, Usd};
use rusqlite::params;

use super::Moved;
use super::order::{OrderRow, OrderState, pending_of};
use crate::error::{Result, StoreError, doing};
use crate::gate::{GateStore, GateTx, GateView};

/// What the venue has told of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// Of which order.
    pub number: u64,
    /// Of a leg of it that is an exit, not of the order itself.
    pub leg: bool,
    /// The venue's id of the execution: the same one is counted once, from whatever source it comes.
    pub execution_id: String,
    /// How many.
    pub qty: Qty,
    /// At what price.
    pub price: Price,
    /// When, by the account's clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The day of that in New York.
    pub date: TradeDate,
    /// When it was heard of, by the host's clock, in milliseconds since the Unix epoch.
    pub host_ms: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FillOutcome {
    /// It had not been counted yet.
    pub news: bool,
    /// States that moved: repeated execution halts.
    pub moved: Vec<Moved>,
}

impl GateView<'_> {
    /// How many orders of one symbol and side had a fill at or after a time of the account's clock. Fills of one order are one.
    pub(super) fn repeated_fills(
        &self,
        account: &AccountId,
        sandbox: Option<&SandboxId>,
        (symbol, side): (&str, Side),
        since_ms: u64,
    ) -> Result<u32> {
        self.conn
            .prepare_cached(
                "SELECT count(DISTINCT number) FROM trade_fill WHERE account = ?1 AND symbol = ?2 AND side = ?3 \
                 AND at_ms >= ?4 AND (?5 IS NULL OR sandbox_id = ?5)",
            )
            .and_then(|mut statement| {
                let sandbox = sandbox.map(SandboxId::as_str);
                let params = params![account.as_str(), symbol, side.as_str(), since_ms, sandbox];
                statement.query_row(params, |row| row.get(0))
            })
            .map_err(doing("count fills"))
    }
}

impl GateTx<'_> {
    /// Counts a fill, once. What it cost is spent on its day, and no longer reserved.
    ///
    /// # Errors
    /// There is no such order, the fill is out of bounds, or the database refuses.
    pub fn trade_fill(&self, fill: &Fill) -> Result<FillOutcome> {
        let order = self.trade_order(fill.number)?;
        let out_of_bounds = || StoreError::Refused(format!("a fill of order {} is out of bounds", fill.number));
        if fill.execution_id.is_empty() || fill.execution_id.len() > 128 || !fill.qty.is_positive() {
            return Err(out_of_bounds());
        }
        let units = fill.qty.repeated(order.reservation.multiplier).ok_or_else(out_of_bounds)?;
        let value = fill.price.times(units).filter(|value| *value >= Usd::ZERO).ok_or_else(out_of_bounds)?;
        let side = if fill.leg { order.reservation.side.opposite() } else { order.reservation.side };
        let inserted = self
            .conn
            .prepare_cached(
                "INSERT INTO trade_fill (account, execution_id, number, leg, sandbox_id, symbol, side, qty, price, value, \
                 at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    order.account.as_str(),
                    fill.execution_id,
                    fill.number,
                    fill.leg,
                    order.sandbox.as_str(),
                    order.intent.symbol.as_str(),
                    side.as_str(),
                    fill.qty.units(),
                    fill.price.units(),
                    value.units(),
                    fill.at_ms
                ])
            })
            .map_err(doing("count a fill"))?;
        if inserted == 0 {
            return Ok(FillOutcome::default());
        }
        self.arrived(&order, fill.host_ms)?;
        let order = self.trade_order(fill.number)?;
        self.post(&order, fill, value)?;
        if !fill.leg {
            self.move_order(&order, OrderState::Working)?;
        }
        let bought = if side == Side::Buy { value } else { Usd::ZERO };
        self.spend(order.whose(), fill.date, fill.at_ms / 60_000, Spent { bought, turnover: value, orders: 0 })?;
        Ok(FillOutcome { news: true, moved: self.halt_repetition(&order, side, fill)? })
    }

    /// Turns a part of what is reserved into what was spent.
    fn post(&self, order: &OrderRow, fill: &Fill, value: Usd) -> Result<()> {
        let too_much = || StoreError::Refused(format!("order {} has traded more than can be counted", order.number));
        let reservation = &order.reservation;
        let (mut remaining, mut filled, mut exit_filled) = (order.remaining, order.filled, order.exit_filled);
        let (mut entry_pending, mut exit_pending) = (order.entry_pending, order.exit_pending);
        if fill.leg {
            exit_filled = exit_filled.plus(fill.qty).ok_or_else(too_much)?;
            let rest = reservation.qty.less(exit_filled);
            let price = reservation.exit_price.unwrap_or(reservation.price);
            exit_pending = pending_of(reservation, price, rest, exit_pending);
        } else {
            filled = filled.plus(fill.qty).ok_or_else(too_much)?;
            remaining = remaining.less(fill.qty);
            // How many dollars buy was only reckoned: what remains of them is what counts.
            entry_pending = if reservation.by_notional {
                entry_pending.less(value)
            } else {
                pending_of(reservation, reservation.price, remaining, entry_pending)
            };
        }
        let posted = order.posted.plus(value).ok_or_else(too_much)?;
        let before = (order.pending_bought().units(), order.pending_turnover().units());
        let after = OrderRow { entry_pending, exit_pending, ..order.clone() };
        let after = (after.pending_bought().units(), after.pending_turnover().units());
        assert!(after.0 <= before.0 && after.1 <= before.1, "a fill never reserves more");
        self.move_pending(order.whose(), after.0 - before.0, after.1 - before.1, 0)?;
        self.conn
            .prepare_cached(
                "UPDATE trade_order SET remaining = ?2, entry_pending = ?3, exit_pending = ?4, filled = ?5, \
                 exit_filled = ?6, posted = ?7 WHERE number = ?1",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    order.number,
                    remaining.units(),
                    entry_pending.units(),
                    exit_pending.units(),
                    filled.units(),
                    exit_filled.units(),
                    posted.units()
                ])
            })
            .map(drop)
            .map_err(doing("post a fill"))
    }

    /// Halts the sandbox, or the account, of which too many orders of one symbol and side were filled within the window.
    fn halt_repetition(&self, order: &OrderRow, side: Side, fill: &Fill) -> Result<Vec<Moved>> {
        let account = self.account_limits(&order.account)?;
        let sandbox = self.limits_of(&order.account, &order.sandbox)?;
        let mut moved = Vec::new();
        // A limit that the sandbox has of its account moves the account's state alone.
        let own = sandbox.repetition() != account.repetition();
        let scopes = [Some((&account, None)), own.then_some((&sandbox, Some(&order.sandbox)))];
        for (limits, of) in scopes.into_iter().flatten() {
            let Some((limit, window)) = limits.max_repeated_fills.zip(limits.repeated_window_s) else { continue };
            let since_ms = fill.at_ms.saturating_sub(u64::from(window) * 1000);
            let symbol = order.intent.symbol.as_str();
            let fills = self.repeated_fills(&order.account, of, (symbol, side), since_ms)?;
            if fills > limit {
                let reason =
                    format!("{fills} orders to {side} {symbol} were filled within {window} s, where {limit} are let");
                let cause = Cause { by: By::Control, reason, since_ms: fill.host_ms };
                moved.extend(self.move_state(&order.account, of, &StateEvent::RepeatedExecution(cause))?);
            }
        }
        Ok(moved)
    }
}

impl GateStore {
    /// [`GateTx::trade_fill`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_fill(&self, fill: Fill) -> Result<FillOutcome> {
        self.write(move |tx| tx.trade_fill(&fill)).await
    }
}

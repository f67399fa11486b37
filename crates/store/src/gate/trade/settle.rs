//! What becomes of an order after it was admitted: sent, answered, in doubt, closed.

use ringfence_model::trade::{By, Cause, Limits, StateEvent, UpstreamId};
use rusqlite::params;
use serde_json::json;

use super::Moved;
use super::order::{Answer, OrderRow, OrderState};
use super::scope::Whose;
use crate::audit::{Actor, AuditEntry};
use crate::error::{Result, doing};
use crate::gate::{GateStore, GateTx};

/// Bytes of a reason that are kept.
const BECAUSE_BYTES_MAX: usize = 512;

/// What the venue has said of an order that it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The order's id there.
    pub id: UpstreamId,
    /// Those of its legs.
    pub legs: Vec<UpstreamId>,
}

impl OrderRow {
    pub(super) fn whose(&self) -> Whose<'_> {
        Whose { account: &self.account, sandbox: &self.sandbox }
    }
}

impl GateTx<'_> {
    /// Moves the state of an order, if that is an edge.
    pub(super) fn move_order(&self, order: &OrderRow, to: OrderState) -> Result<bool> {
        if !order.state.leads_to(to) {
            return Ok(false);
        }
        self.conn
            .prepare_cached("UPDATE trade_order SET state = ?2 WHERE number = ?1")
            .and_then(|mut statement| statement.execute(params![order.number, to.as_str()]))
            .map_err(doing("move an order"))?;
        Ok(true)
    }

    /// Notes that an order is on its way. Returns whether that is news.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_sent(&self, number: u64) -> Result<bool> {
        self.move_order(&self.trade_order(number)?, OrderState::Sent)
    }

    /// Notes that nobody knows whether the venue has an order, and that its program has no answer. It keeps its reservation, and is
    /// looked up by its client order id; it is never sent again.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_ambiguous(&self, number: u64) -> Result<bool> {
        self.set_answer(number, Answer::Lost)?;
        self.move_order(&self.trade_order(number)?, OrderState::Ambiguous)
    }

    /// Notes that the program has the answer, or never had it.
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_answered(&self, number: u64, delivered: bool) -> Result<()> {
        self.set_answer(number, if delivered { Answer::Delivered } else { Answer::Lost })
    }

    fn set_answer(&self, number: u64, answer: Answer) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE trade_order SET answer = ?2 WHERE number = ?1 AND answer <> 'delivered'")
            .and_then(|mut statement| statement.execute(params![number, answer.as_str()]))
            .map(drop)
            .map_err(doing("note an answer"))
    }

    /// Notes that the venue has taken an order, and under which ids. One that took the place of another ends that one, and has its
    /// whole reservation from now on; the refusals in a row of the sandbox are over.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_acknowledged(&self, number: u64, at_ms: u64, said: &Acknowledged) -> Result<bool> {
        let order = self.trade_order(number)?;
        self.name_upstream(&order, &said.id, false)?;
        for leg in &said.legs {
            self.name_upstream(&order, leg, true)?;
        }
        self.conn
            .prepare_cached("UPDATE trade_order SET upstream_id = ?2 WHERE number = ?1 AND upstream_id IS NULL")
            .and_then(|mut statement| statement.execute(params![number, said.id.as_str()]))
            .map_err(doing("note the id of an order"))?;
        self.arrived(&order, at_ms)?;
        self.set_refusals(order.whose(), 0)?;
        self.move_order(&order, OrderState::Acknowledged)
    }

    /// Notes another id of a leg at the venue: one that was told later, or that a leg has since its price was changed.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_leg(&self, number: u64, id: &UpstreamId) -> Result<()> {
        let order = self.trade_order(number)?;
        self.name_upstream(&order, id, true)
    }

    fn name_upstream(&self, order: &OrderRow, id: &UpstreamId, leg: bool) -> Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO trade_upstream (account, upstream_id, number, leg) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute(params![order.account.as_str(), id.as_str(), order.number, leg])
            })
            .map(drop)
            .map_err(doing("note ids of an order"))
    }

    /// The venue has the order: one that took the place of another ends that one, and has its whole reservation from now on. It is
    /// called with each news of an order, because news overtake one another, and does something once.
    pub(super) fn arrived(&self, order: &OrderRow, at_ms: u64) -> Result<()> {
        let Some(replaced) = order.replaces.filter(|_| order.state.is_unresolved()) else { return Ok(()) };
        self.trade_closed(replaced, at_ms, "replaced")?;
        self.hold_in_full(order)
    }

    /// Gives a replacement its whole reservation, now that the order in whose place it came holds nothing any more.
    fn hold_in_full(&self, order: &OrderRow) -> Result<()> {
        let whole = order.reservation;
        self.move_pending(
            order.whose(),
            whole.bought().units() - order.pending_bought().units(),
            whole.turnover().expect("it was added when it was admitted").units() - order.pending_turnover().units(),
            i64::from(whole.orders) - i64::from(order.open_orders),
        )?;
        self.conn
            .prepare_cached(
                "UPDATE trade_order SET remaining = ?2, entry_pending = ?3, exit_pending = ?4, open_orders = ?5 \
                 WHERE number = ?1",
            )
            .and_then(|mut statement| {
                let (entry, exit) = (whole.entry.units(), whole.exit.units());
                statement.execute(params![order.number, whole.qty.units(), entry, exit, whole.orders])
            })
            .map(drop)
            .map_err(doing("hold a reservation"))
    }

    /// Notes that the venue has told of an order since it took it.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_working(&self, number: u64, at_ms: u64) -> Result<bool> {
        let order = self.trade_order(number)?;
        self.arrived(&order, at_ms)?;
        self.move_order(&order, OrderState::Working)
    }

    /// Notes that an order trades no more, and voids what of its reservation is left. `because` is a word such as `filled`,
    /// `canceled`, `expired`, `replaced` or `not_found`, of which 512 bytes are kept. Returns whether that is news.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_closed(&self, number: u64, at_ms: u64, because: &str) -> Result<bool> {
        let order = self.trade_order(number)?;
        if !order.state.leads_to(OrderState::Closed) {
            return Ok(false);
        }
        let (bought, turnover) = (order.pending_bought().units(), order.pending_turnover().units());
        self.move_pending(order.whose(), -bought, -turnover, -i64::from(order.open_orders))?;
        let because = super::one_line(because, BECAUSE_BYTES_MAX);
        self.conn
            .prepare_cached(
                "UPDATE trade_order SET state = 'closed', closed_at_ms = ?2, closed_because = ?3, entry_pending = 0, \
                 exit_pending = 0, open_orders = 0 WHERE number = ?1",
            )
            .and_then(|mut statement| statement.execute(params![number, at_ms, because]))
            .map_err(doing("close an order"))?;
        Ok(true)
    }

    /// Notes that the venue has refused an order: its reservation is void, and it is one more refusal in a row, which may halt the
    /// sandbox.
    ///
    /// # Errors
    /// There is no such order; or the database refuses.
    pub fn trade_refused_upstream(&self, number: u64, at_ms: u64, status: u16, message: &str) -> Result<Vec<Moved>> {
        if !self.trade_closed(number, at_ms, &format!("refused {status}: {message}"))? {
            return Ok(vec![]);
        }
        let order = self.trade_order(number)?;
        let entry = AuditEntry::new(at_ms, Actor::System, "trade.refused_upstream").sandbox(&order.sandbox).detail(
            json!({"account": order.account, "order": number, "status": status, "because": order.closed_because}),
        );
        let _ = self.audit(&entry)?;
        let refusals = self
            .conn
            .prepare_cached(
                "UPDATE trade_scope SET refusals = refusals + 1 WHERE account = ?1 AND sandbox_id = ?2 RETURNING refusals",
            )
            .and_then(|mut statement| {
                let params = params![order.account.as_str(), order.sandbox.as_str()];
                statement.query_row(params, |row| row.get::<_, u32>(0))
            })
            .map_err(doing("count refusals"))?;
        let limits = self.limits_of(&order.account, &order.sandbox)?;
        let Some(limit) = limits.max_refusals_in_a_row.filter(|limit| refusals >= *limit) else { return Ok(vec![]) };
        let reason = format!("{refusals} refusals in a row, where {limit} halt trading");
        let event = StateEvent::RefusalStreak(Cause { by: By::Control, reason, since_ms: at_ms });
        Ok(self.move_state(&order.account, Some(&order.sandbox), &event)?.into_iter().collect())
    }

    /// After a start: what was on its way when the gateway ended is in doubt, and answers that were on their way are lost. Returns
    /// how many orders are to be looked up ([`GateView::trade_unresolved`](crate::gate::GateView::trade_unresolved)).
    ///
    /// # Errors
    /// The database refuses.
    pub fn trade_recover(&self) -> Result<u64> {
        const WHAT: &str = "recover orders";
        self.conn
            .prepare_cached("UPDATE trade_order SET answer = 'lost' WHERE answer = 'pending'")
            .and_then(|mut statement| statement.execute([]))
            .map_err(doing(WHAT))?;
        self.conn
            .prepare_cached(
                "UPDATE trade_order SET state = 'ambiguous' WHERE closed_at_ms IS NULL AND state IN ('reserved', 'sent')",
            )
            .and_then(|mut statement| statement.execute([]))
            .map_err(doing(WHAT))?;
        Ok(self.trade_unresolved()?.len() as u64)
    }

    pub(super) fn limits_of(
        &self,
        account: &ringfence_model::trade::AccountId,
        sandbox: &ringfence_model::SandboxId,
    ) -> Result<Limits> {
        self.trade_limits_in_force(account, Some(sandbox))
    }
}

macro_rules! noted {
    ($($(#[$doc:meta])* $how:ident $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)+) => {
        impl GateStore {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As there.
                pub async fn $name(&self, $($arg: $type),*) -> Result<$result> {
                    self.$how(move |tx| tx.$name($($arg),*)).await
                }
            )+
        }
    };
}

noted! {
    /// [`GateTx::trade_sent`]. It need not wait for the disk: after a crash an order that was admitted is in doubt in any case.
    note trade_sent(number: u64) -> bool;
    /// [`GateTx::trade_ambiguous`].
    note trade_ambiguous(number: u64) -> bool;
    /// [`GateTx::trade_answered`], in nobody's way.
    note_later trade_answered(number: u64, delivered: bool) -> ();
    /// [`GateTx::trade_working`].
    note trade_working(number: u64, at_ms: u64) -> bool;
    /// [`GateTx::trade_recover`].
    write trade_recover() -> u64;
}

impl GateStore {
    /// [`GateTx::trade_acknowledged`]. It need not wait for the disk: what is lost in a power cut is looked up at the venue.
    ///
    /// # Errors
    /// As there.
    pub async fn trade_acknowledged(&self, number: u64, at_ms: u64, said: Acknowledged) -> Result<bool> {
        self.note(move |tx| tx.trade_acknowledged(number, at_ms, &said)).await
    }

    /// [`GateTx::trade_closed`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_closed(&self, number: u64, at_ms: u64, because: String) -> Result<bool> {
        self.note(move |tx| tx.trade_closed(number, at_ms, &because)).await
    }

    /// [`GateTx::trade_leg`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_leg(&self, number: u64, id: UpstreamId) -> Result<()> {
        self.note(move |tx| tx.trade_leg(number, &id)).await
    }

    /// [`GateTx::trade_refused_upstream`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_refused_upstream(
        &self,
        number: u64,
        at_ms: u64,
        status: u16,
        message: String,
    ) -> Result<Vec<Moved>> {
        self.write(move |tx| tx.trade_refused_upstream(number, at_ms, status, &message)).await
    }
}

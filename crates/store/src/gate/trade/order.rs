//! Orders: what was sent for whom, how far it is, and what of its reservation is left.

use ringfence_model::SandboxId;
use ringfence_model::trade::{
    AccountId, ClientOrderId, OpenOrder, OrderIntent, OrderRef, Price, Qty, Reservation, Side, UpstreamId, Usd,
};
use rusqlite::{OptionalExtension, Params, Row, params};

use crate::error::{Result, StoreError, doing};
use crate::gate::{DecisionId, GateStore, GateView};

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// It is admitted and has its reservation; nobody has said that it was sent.
    Reserved,
    /// It was sent.
    Sent,
    /// It was sent, and nobody knows whether it has arrived. The venue is asked; it is never sent again.
    Ambiguous,
    /// The venue has it.
    Acknowledged,
    /// The venue has said something about it since.
    Working,
    /// It trades no more.
    Closed,
}

impl OrderState {
    const ALL: [Self; 6] =
        [Self::Reserved, Self::Sent, Self::Ambiguous, Self::Acknowledged, Self::Working, Self::Closed];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Sent => "sent",
            Self::Ambiguous => "ambiguous",
            Self::Acknowledged => "acknowledged",
            Self::Working => "working",
            Self::Closed => "closed",
        }
    }

    /// Whether an order goes from this state to that one. News overtake one another, so that what is known stays known: an order
    /// that the venue has told of is not in doubt again, and one that is closed stays so.
    #[must_use]
    pub fn leads_to(self, to: Self) -> bool {
        match (self, to) {
            (Self::Reserved, Self::Sent)
            | (Self::Reserved | Self::Sent, Self::Ambiguous)
            | (Self::Reserved | Self::Sent | Self::Ambiguous, Self::Acknowledged)
            | (Self::Reserved | Self::Sent | Self::Ambiguous | Self::Acknowledged, Self::Working)
            | (Self::Reserved | Self::Sent | Self::Ambiguous | Self::Acknowledged | Self::Working, Self::Closed) => {
                true
            }
            (_, Self::Reserved | Self::Sent | Self::Ambiguous | Self::Acknowledged | Self::Working)
            | (Self::Closed, Self::Closed) => false,
        }
    }

    /// Whether nobody knows if the venue has it.
    #[must_use]
    pub fn is_unresolved(self) -> bool {
        matches!(self, Self::Reserved | Self::Sent | Self::Ambiguous)
    }
}

/// What is known of the answer to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is on its way.
    Pending,
    /// The program has it.
    Delivered,
    /// The program never had it: the same request is answered with this order.
    Lost,
}

impl Answer {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Lost => "lost",
        }
    }
}

/// An order as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Its number.
    pub number: u64,
    /// Of which account.
    pub account: AccountId,
    /// Whose it is.
    pub sandbox: SandboxId,
    /// What it is called at the venue by the one who sends it: the client's name for it, or the gate's.
    pub client_order_id: ClientOrderId,
    /// Its id at the venue, once it is known.
    pub upstream_id: Option<UpstreamId>,
    /// How far it is.
    pub state: OrderState,
    /// The order in whose place it came.
    pub replaces: Option<u64>,
    /// What was sent, its client order id included.
    pub intent: OrderIntent,
    /// What was reserved for it by itself.
    pub reservation: Reservation,
    /// The decision that admitted it.
    pub decision: DecisionId,
    /// When, in milliseconds since the Unix epoch of the host's clock.
    pub admitted_at_ms: u64,
    /// What is known of its answer.
    pub answer: Answer,
    /// What of the entry may still be filled.
    pub remaining: Qty,
    /// What of the entry is reserved still.
    pub entry_pending: Usd,
    /// What of the exits is reserved still.
    pub exit_pending: Usd,
    /// How many orders of it are counted as open.
    pub open_orders: u32,
    /// What of the entry was filled.
    pub filled: Qty,
    /// What of the exits was filled.
    pub exit_filled: Qty,
    /// What was paid and received for all fills.
    pub posted: Usd,
    /// What the entry in whose place it came had traded when it was admitted.
    pub(super) base_filled: Qty,
    /// And its exits.
    pub(super) base_exits: Qty,
    /// When it was closed, in milliseconds since the Unix epoch of the host's clock.
    pub closed_at_ms: Option<u64>,
    /// Why.
    pub closed_because: Option<String>,
}

/// An order that a sandbox may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The order.
    pub order: OrderRow,
    /// A leg of it was named, not the order itself.
    pub leg: bool,
}

impl OrderRow {
    /// What of it may still buy.
    pub(super) fn pending_bought(&self) -> Usd {
        match self.reservation.side {
            Side::Buy => self.entry_pending,
            Side::Sell => self.exit_pending,
        }
    }

    /// What of it may still trade. Both parts were added when it was admitted.
    pub(super) fn pending_turnover(&self) -> Usd {
        self.entry_pending.plus(self.exit_pending).expect("what was admitted was added up then, and only became less")
    }

    pub(super) fn open(&self, asking: &SandboxId) -> OpenOrder {
        let exits = if self.reservation.exit_price.is_some() { self.filled.less(self.exit_filled) } else { Qty::ZERO };
        OpenOrder {
            number: self.number,
            own: self.sandbox == *asking,
            intent: self.intent.clone(),
            reservation: self.reservation,
            remaining: self.remaining,
            pending: self.entry_pending,
            exit_pending: self.exit_pending,
            orders: self.open_orders,
            exits,
        }
    }
}

const COLUMNS: &str = "o.number, o.account, o.sandbox_id, o.client_order_id, o.upstream_id, o.state, o.replaces, \
     o.intent, o.reservation, o.decision, o.admitted_at_ms, o.answer, o.remaining, o.entry_pending, o.exit_pending, \
     o.open_orders, o.filled, o.exit_filled, o.posted, o.closed_at_ms, o.closed_because, o.base_filled, o.base_exits";

impl GateView<'_> {
    pub(super) fn order_rows(&self, condition: &str, params: impl Params) -> Result<Vec<OrderRow>> {
        const WHAT: &str = "list orders";
        let sql = format!("SELECT {COLUMNS} FROM trade_order o {condition}");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params, read).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    pub(super) fn order_row(&self, condition: &str, params: impl Params) -> Result<Option<OrderRow>> {
        let sql = format!("SELECT {COLUMNS} FROM trade_order o {condition}");
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(doing("read an order"))?
            .transpose()
    }

    /// The order of this number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; or the database refuses.
    pub fn trade_order(&self, number: u64) -> Result<OrderRow> {
        self.order_row("WHERE o.number = ?1", params![number])?
            .ok_or_else(|| StoreError::NotFound { kind: "order", id: number.to_string() })
    }

    /// The order of a sandbox that a client names, itself or by one of its legs; none when it is another's, or nobody's.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn trade_owned(&self, account: &AccountId, sandbox: &SandboxId, of: &OrderRef) -> Result<Option<Owned>> {
        let (account, sandbox) = (account.as_str(), sandbox.as_str());
        match of {
            OrderRef::Client(id) => {
                let condition = "WHERE o.account = ?1 AND o.client_order_id = ?2 AND o.sandbox_id = ?3";
                let order = self.order_row(condition, params![account, id.as_str(), sandbox])?;
                Ok(order.map(|order| Owned { order, leg: false }))
            }
            OrderRef::Upstream(id) => {
                let condition = "JOIN trade_upstream u ON u.account = o.account AND u.number = o.number \
                     WHERE u.account = ?1 AND u.upstream_id = ?2 AND o.sandbox_id = ?3";
                let order = self.order_row(condition, params![account, id.as_str(), sandbox])?;
                Ok(order.map(|order| {
                    let leg = order.upstream_id.as_ref() != Some(id);
                    Owned { order, leg }
                }))
            }
        }
    }

    /// Whose an order is, over all sandboxes, by its id at the venue; what the venue tells of orders is sorted by this.
    ///
    /// # Errors
    /// As [`GateView::trade_owned`].
    pub fn trade_of_upstream(&self, account: &AccountId, id: &UpstreamId) -> Result<Option<Owned>> {
        let condition = "JOIN trade_upstream u ON u.account = o.account AND u.number = o.number \
             WHERE u.account = ?1 AND u.upstream_id = ?2";
        let order = self.order_row(condition, params![account.as_str(), id.as_str()])?;
        Ok(order.map(|order| {
            let leg = order.upstream_id.as_ref() != Some(id);
            Owned { order, leg }
        }))
    }

    /// The ids at the venue of the legs of an order, those that are closed as well.
    ///
    /// # Errors
    /// The database refuses, or a row is not readable.
    pub fn trade_legs(&self, number: u64) -> Result<Vec<UpstreamId>> {
        const WHAT: &str = "read the legs of an order";
        let mut statement = self
            .conn
            .prepare_cached("SELECT upstream_id FROM trade_upstream WHERE number = ?1 AND leg = 1 ORDER BY upstream_id")
            .map_err(doing(WHAT))?;
        let ids = statement
            .query_map(params![number], |row| row.get::<_, String>(0))
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .map_err(doing(WHAT))?;
        let unreadable = || StoreError::Unreadable { column: "upstream_id", row: format!("order {number}") };
        ids.iter().map(|id| UpstreamId::parse(id).map_err(|_| unreadable())).collect()
    }

    /// Whose an order is, over all sandboxes, by its client order id.
    ///
    /// # Errors
    /// As [`GateView::trade_owned`].
    pub fn trade_of_client_id(&self, account: &AccountId, id: &ClientOrderId) -> Result<Option<OrderRow>> {
        self.order_row("WHERE o.account = ?1 AND o.client_order_id = ?2", params![account.as_str(), id.as_str()])
    }

    /// The open orders of an account, or of one sandbox there, the oldest first.
    ///
    /// # Errors
    /// As [`GateView::trade_owned`].
    pub fn trade_open(&self, account: &AccountId, sandbox: Option<&SandboxId>) -> Result<Vec<OrderRow>> {
        let condition = "WHERE o.account = ?1 AND o.closed_at_ms IS NULL AND (?2 IS NULL OR o.sandbox_id = ?2) \
             ORDER BY o.number";
        self.order_rows(condition, params![account.as_str(), sandbox.map(SandboxId::as_str)])
    }

    /// The orders of a sandbox over all accounts, the newest first, at most so many.
    ///
    /// # Errors
    /// As [`GateView::trade_owned`].
    pub fn trade_orders_of(&self, sandbox: &SandboxId, limit: u32) -> Result<Vec<OrderRow>> {
        let condition = "WHERE o.sandbox_id = ?1 ORDER BY o.number DESC LIMIT ?2";
        self.order_rows(condition, params![sandbox.as_str(), limit])
    }

    /// Orders of which nobody knows whether the venue has them, over all accounts. Each is looked up there by its client order id.
    ///
    /// # Errors
    /// As [`GateView::trade_owned`].
    pub fn trade_unresolved(&self) -> Result<Vec<OrderRow>> {
        let condition =
            "WHERE o.closed_at_ms IS NULL AND o.state IN ('reserved', 'sent', 'ambiguous') ORDER BY o.number";
        self.order_rows(condition, [])
    }
}

impl GateStore {
    /// [`GateView::trade_owned`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_owned(&self, account: AccountId, sandbox: SandboxId, of: OrderRef) -> Result<Option<Owned>> {
        self.read(move |view| view.trade_owned(&account, &sandbox, &of)).await
    }

    /// [`GateView::trade_of_upstream`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_of_upstream(&self, account: AccountId, id: UpstreamId) -> Result<Option<Owned>> {
        self.read(move |view| view.trade_of_upstream(&account, &id)).await
    }

    /// [`GateView::trade_legs`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_legs(&self, number: u64) -> Result<Vec<UpstreamId>> {
        self.read(move |view| view.trade_legs(number)).await
    }

    /// [`GateView::trade_of_client_id`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_of_client_id(&self, account: AccountId, id: ClientOrderId) -> Result<Option<OrderRow>> {
        self.read(move |view| view.trade_of_client_id(&account, &id)).await
    }

    /// [`GateView::trade_open`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_open(&self, account: AccountId, sandbox: Option<SandboxId>) -> Result<Vec<OrderRow>> {
        self.read(move |view| view.trade_open(&account, sandbox.as_ref())).await
    }

    /// [`GateView::trade_orders_of`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_orders_of(&self, sandbox: SandboxId, limit: u32) -> Result<Vec<OrderRow>> {
        self.read(move |view| view.trade_orders_of(&sandbox, limit)).await
    }

    /// [`GateView::trade_unresolved`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_unresolved(&self) -> Result<Vec<OrderRow>> {
        self.read(|view| view.trade_unresolved()).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<OrderRow>> {
    let number: u64 = row.get(0)?;
    let (account, sandbox, client, upstream): (String, String, String, Option<String>) =
        (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    let (state, replaces, intent, reservation): (String, _, String, String) =
        (row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?);
    let (decision, admitted_at_ms, answer): (u64, _, String) = (row.get(9)?, row.get(10)?, row.get(11)?);
    let remaining = Qty::from_units(row.get(12)?);
    let (entry_pending, exit_pending) = (Usd::from_units(row.get(13)?), Usd::from_units(row.get(14)?));
    let open_orders = row.get(15)?;
    let (filled, exit_filled) = (Qty::from_units(row.get(16)?), Qty::from_units(row.get(17)?));
    let posted = Usd::from_units(row.get(18)?);
    let (closed_at_ms, closed_because) = (row.get(19)?, row.get(20)?);
    let (base_filled, base_exits) = (Qty::from_units(row.get(21)?), Qty::from_units(row.get(22)?));
    let unreadable = |column| StoreError::Unreadable { column, row: format!("order {number}") };
    Ok((|| {
        Ok(OrderRow {
            number,
            account: AccountId::try_from(account).map_err(|_| unreadable("account"))?,
            sandbox: SandboxId::try_from(sandbox).map_err(|_| unreadable("sandbox_id"))?,
            client_order_id: ClientOrderId::try_from(client).map_err(|_| unreadable("client_order_id"))?,
            upstream_id: upstream.map(UpstreamId::try_from).transpose().map_err(|_| unreadable("upstream_id"))?,
            state: OrderState::ALL
                .into_iter()
                .find(|known| known.as_str() == state)
                .ok_or_else(|| unreadable("state"))?,
            replaces,
            intent: serde_json::from_str(&intent).map_err(|_| unreadable("intent"))?,
            reservation: serde_json::from_str(&reservation).map_err(|_| unreadable("reservation"))?,
            decision: DecisionId::new(decision),
            admitted_at_ms,
            answer: [Answer::Pending, Answer::Delivered, Answer::Lost]
                .into_iter()
                .find(|known| known.as_str() == answer)
                .ok_or_else(|| unreadable("answer"))?,
            remaining,
            entry_pending,
            exit_pending,
            open_orders,
            filled,
            exit_filled,
            posted,
            base_filled,
            base_exits,
            closed_at_ms,
            closed_because,
        })
    })())
}

/// What of an entry is reserved still when so much of it remains.
pub(super) fn pending_of(reservation: &Reservation, price: Price, remaining: Qty, before: Usd) -> Usd {
    if remaining == Qty::ZERO {
        return Usd::ZERO;
    }
    let worst = remaining.repeated(reservation.multiplier).and_then(|qty| price.times(qty));
    worst.map_or(before, |worst| worst.min(before))
}

//! Admitting: one transaction that judges, reserves, counts and records.

use ringfence_model::trade::{
    Action, CanonicalSymbol, ClientOrderId, Counted, Judgement, Limits, Message, OrderIntent, Qty, Question, Refusal,
    Reservation, Scope, Scoped, Side, Spent, Target, Usd, Verdict as Judged, decide,
};
use rusqlite::{OptionalExtension, params};
use serde_json::{Map, Value, json};

use super::order::{Answer, OrderRow, OrderState, Owned};
use super::scope::Whose;
use super::{ACCOUNT_ITSELF, Admitted, Moved, TradeAsk, TradeRuling};
use crate::error::{Result, StoreError, doing};
use crate::gate::decision::Verdict;
use crate::gate::permit::Ruling;
use crate::gate::{Decision, GateStore, GateTx};

/// How long a request whose answer was lost is known again, in milliseconds of the host's clock: ten minutes. One that is in doubt
/// is known for as long as that lasts.
const LOST_MS: u64 = 10 * 60 * 1000;
/// Bytes of a reason in the audit chain.
const REASON_BYTES_MAX: usize = 1024;

/// What the transaction has come to.
enum Outcome {
    Allowed(Admitted),
    Duplicate(Box<OrderRow>),
    Refused { refusal: Refusal, moved: Vec<Moved> },
    Held { hold: u64, refusal: Refusal },
}

/// What was read for a verdict.
struct Read {
    limits: Scoped<Limits>,
    counted: Counted,
    /// The order that the message names, if it is the sandbox's own.
    target: Option<Owned>,
    approval: Option<u64>,
    /// The account's open orders.
    open: Vec<OrderRow>,
}

impl GateStore {
    /// Judges a message of a sandbox, and returns when what was decided is on disk with all that follows from it: the reservation of
    /// an order, the counters, the states that moved, and the entry of the audit chain.
    ///
    /// # Errors
    /// As [`GateStore::decide`]. Then nothing was kept, and nothing may happen.
    pub async fn trade_admit(&self, ask: TradeAsk) -> Result<TradeRuling> {
        let (ruling, outcome) = self.admit_with_detail(move |tx| tx.trade_judge(ask)).await?;
        Ok(match (ruling, outcome) {
            (Ruling::Allowed(permit), Outcome::Allowed(action)) => {
                if let Admitted::Send { order, .. } = &action {
                    assert_eq!(order.decision, permit.decision(), "an order names the decision that admitted it");
                }
                TradeRuling::Allowed { permit, action }
            }
            (Ruling::Allowed(permit), Outcome::Duplicate(order)) => TradeRuling::Duplicate { permit, order },
            (Ruling::Refused(decision), Outcome::Refused { refusal, moved }) => {
                TradeRuling::Refused { decision, refusal, moved }
            }
            (Ruling::Refused(decision), Outcome::Held { hold, refusal }) => {
                TradeRuling::Held { decision, hold, refusal }
            }
            (Ruling::Allowed(_), Outcome::Refused { .. } | Outcome::Held { .. })
            | (Ruling::Refused(_), Outcome::Allowed(_) | Outcome::Duplicate(_)) => {
                unreachable!("the verdict of the decision is made of the outcome")
            }
        })
    }
}

impl GateTx<'_> {
    fn trade_judge(&self, ask: TradeAsk) -> Result<(Decision, Value, Outcome)> {
        let (account, sandbox) = (&ask.account, &ask.decision.sandbox);
        let mut detail = Map::new();
        detail.insert("account".into(), json!(account));
        detail.insert("kind".into(), json!(ask.message.kind()));
        detail.insert("environment".into(), json!(ask.facts.environment));
        detail.insert("mode".into(), json!(ask.facts.mode.as_str()));
        self.begin_scope(account, Some(sandbox))?;
        if let Some(first) = self.same_and_unanswered(&ask)? {
            detail.insert("duplicate_of".into(), json!(first.number));
            return Ok(decided(ask.decision, detail, Outcome::Duplicate(Box::new(first))));
        }
        let read = self.read_for(&ask)?;
        let judgement = decide(&Question {
            limits: &read.limits,
            facts: &ask.facts,
            counted: &read.counted,
            message: &ask.message,
        });
        describe(&mut detail, &ask, &read, &judgement);
        let outcome = self.carry_out(&ask, read, judgement, &mut detail)?;
        Ok(decided(ask.decision, detail, outcome))
    }

    /// The first of an order that comes a second time, because its answer was lost or it is in doubt.
    fn same_and_unanswered(&self, ask: &TradeAsk) -> Result<Option<OrderRow>> {
        if !ask.message.makes_an_order() {
            return Ok(None);
        }
        let condition = "WHERE o.account = ?1 AND o.sandbox_id = ?2 AND o.body = ?3 AND o.answer <> 'delivered' \
             AND (o.state = 'ambiguous' OR (o.answer = 'lost' AND o.admitted_at_ms >= ?4)) ORDER BY o.number LIMIT 1";
        let since = ask.decision.at_ms.saturating_sub(LOST_MS);
        let (account, sandbox) = (ask.account.as_str(), ask.decision.sandbox.as_str());
        self.order_row(condition, params![account, sandbox, ask.body.as_slice(), since])
    }

    fn read_for(&self, ask: &TradeAsk) -> Result<Read> {
        let (account, sandbox, facts) = (&ask.account, &ask.decision.sandbox, &ask.facts);
        if let Some(equity) = &facts.equity {
            self.note_equity(account, equity, facts.clock.date)?;
        }
        let minute = facts.clock.now_ms / 60_000;
        let (limits, mut counters) =
            self.scopes(account, Some(sandbox), facts.environment, facts.clock.date, minute)?;
        let target = match &ask.message {
            Message::Replace { of, .. } | Message::Cancel { of } => self.trade_owned(account, sandbox, of)?,
            _ => None,
        };
        let open = match &ask.message {
            Message::Read | Message::Cancel { .. } => vec![],
            _ => self.trade_open(account, None)?,
        };
        let mut counted =
            Counted { open: open.iter().map(|order| order.open(sandbox)).collect(), ..Counted::default() };
        let mut approval = None;
        if ask.message.makes_an_order() {
            let known = self.known_equity(account, facts.clock.date)?;
            (counted.high_water, counted.start_of_day) = (known.high_water, known.start_of_day);
            counted.client_order_id_taken = self.is_taken(ask)?;
            if limits.sandbox.duplicate_window_s.is_some() || limits.account.duplicate_window_s.is_some() {
                counted.same_at_ms = self.same_at(ask)?;
            }
            approval = self.approval(ask)?;
            counted.approved = approval.is_some();
            if let Some((symbol, side)) = about(ask, target.as_ref()) {
                for (limits, counters, of) in [
                    (&limits.account, &mut counters.account, None),
                    (&limits.sandbox, &mut counters.sandbox, Some(sandbox)),
                ] {
                    if let (Some(_), Some(window)) = (limits.max_repeated_fills, limits.repeated_window_s) {
                        let since = facts.clock.now_ms.saturating_sub(u64::from(window) * 1000);
                        counters.repeated_fills = self.repeated_fills(account, of, (symbol.as_str(), side), since)?;
                    }
                }
            }
        }
        counted.counters = counters;
        if let Some(owned) = &target {
            let number = owned.order.number;
            let (open, replacing) =
                (owned.order.state != OrderState::Closed, self.replacement_under_way(number)?.is_some());
            counted.target = Some(Target { number, leg: owned.leg, open, replacing });
        }
        Ok(Read { limits, counted, target, approval, open })
    }

    /// Whether the client order id that the message gives is in use.
    fn is_taken(&self, ask: &TradeAsk) -> Result<bool> {
        let id = match &ask.message {
            Message::Submit(intent) => intent.client_order_id.as_ref(),
            Message::Replace { changes, .. } => changes.client_order_id.as_ref(),
            _ => None,
        };
        let Some(id) = id else { return Ok(false) };
        self.conn
            .prepare_cached("SELECT 1 FROM trade_order WHERE account = ?1 AND client_order_id = ?2")
            .and_then(|mut statement| statement.exists(params![ask.account.as_str(), id.as_str()]))
            .map_err(doing("look for a client order id"))
    }

    /// When the same request was last admitted.
    fn same_at(&self, ask: &TradeAsk) -> Result<Option<u64>> {
        self.conn
            .prepare_cached(
                "SELECT max(admitted_at_ms) FROM trade_order WHERE account = ?1 AND sandbox_id = ?2 AND body = ?3",
            )
            .and_then(|mut statement| {
                let (account, sandbox) = (ask.account.as_str(), ask.decision.sandbox.as_str());
                statement.query_row(params![account, sandbox, ask.body.as_slice()], |row| row.get(0)).optional()
            })
            .map(Option::flatten)
            .map_err(doing("look for the same request"))
    }

    fn carry_out(
        &self,
        ask: &TradeAsk,
        read: Read,
        judgement: Judgement,
        detail: &mut Map<String, Value>,
    ) -> Result<Outcome> {
        let (account, sandbox) = (&ask.account, &ask.decision.sandbox);
        let whose = Whose { account, sandbox };
        if let Some(bucket) = judgement.buckets.account {
            self.set_bucket(account, ACCOUNT_ITSELF, bucket)?;
        }
        if let Some(bucket) = judgement.buckets.sandbox {
            self.set_bucket(account, sandbox.as_str(), bucket)?;
        }
        self.set_refusals(whose, judgement.refusals)?;
        let mut moved = Vec::new();
        for effect in &judgement.effects {
            let of = (effect.scope == Scope::Sandbox).then_some(sandbox);
            moved.extend(self.move_state(account, of, &effect.event)?);
        }
        Ok(match judgement.verdict {
            Judged::Refuse(refusal) => Outcome::Refused { refusal, moved },
            Judged::Hold { notional, mut refusal } => {
                let hold = self.wait_for_a_person(ask, notional)?;
                detail.insert("hold".into(), json!(hold));
                refusal.message = format!("{} (number {hold})", refusal.message);
                Outcome::Held { hold, refusal }
            }
            Judged::Allow(action) => Outcome::Allowed(match *action {
                Action::Forward => Admitted::Forward,
                Action::Cancel { number } => {
                    let owned = read.target.filter(|owned| owned.order.number == number);
                    let owned = owned.expect("the rules know no other order than the one that was found");
                    Admitted::Cancel { order: Box::new(owned.order) }
                }
                Action::ReplaceLeg { number } => {
                    let owned = read.target.filter(|owned| owned.order.number == number && owned.leg);
                    let owned = owned.expect("the rules know no other leg than the one that was found");
                    Admitted::ReplaceLeg { order: Box::new(owned.order) }
                }
                Action::CancelOwn { numbers } => Admitted::CancelOwn { orders: picked(read.open, &numbers) },
                Action::CloseEach { symbols, cancel } => {
                    Admitted::CloseEach { orders: picked(read.open, &cancel), symbols }
                }
                Action::Send { intent, reservation, replaces, .. } => {
                    if let Some(approval) = read.approval {
                        self.use_approval(approval)?;
                    }
                    let target = replaces.map(|number| {
                        let owned = read.target.as_ref().filter(|owned| owned.order.number == number);
                        &owned.expect("a replacement is of the order that was found").order
                    });
                    let order = self.reserve(ask, intent, reservation, target)?;
                    detail.insert("order".into(), json!(order.number));
                    detail.insert("client_order_id".into(), json!(order.client_order_id));
                    let replaces = target.and_then(|target| target.upstream_id.clone());
                    self.assert_within(ask, &read.limits, &order)?;
                    Admitted::Send { order: Box::new(order), replaces }
                }
            }),
        })
    }

    /// Writes the order with its reservation. A replacement reserves what it needs beyond the order in whose place it comes, so that
    /// both together hold the larger of the two, whichever of them trades.
    fn reserve(
        &self,
        ask: &TradeAsk,
        mut intent: OrderIntent,
        reservation: Reservation,
        target: Option<&OrderRow>,
    ) -> Result<OrderRow> {
        const WHAT: &str = "reserve for an order";
        let number = self.next_number("trade.order")?;
        let sandbox = &ask.decision.sandbox;
        let client_order_id =
            intent.client_order_id.clone().unwrap_or_else(|| ClientOrderId::of_order(sandbox, number));
        intent.client_order_id = Some(client_order_id.clone());
        let held = |amount: Usd, of: fn(&OrderRow) -> Usd| target.map_or(amount, |target| amount.less(of(target)));
        let order = OrderRow {
            number,
            account: ask.account.clone(),
            sandbox: sandbox.clone(),
            client_order_id,
            upstream_id: None,
            state: OrderState::Reserved,
            replaces: target.map(|target| target.number),
            decision: self.next_decision(),
            admitted_at_ms: ask.decision.at_ms,
            answer: Answer::Pending,
            remaining: target.map_or(reservation.qty, |target| reservation.qty.less(target.remaining)),
            entry_pending: held(reservation.entry, |target| target.entry_pending),
            exit_pending: held(reservation.exit, |target| target.exit_pending),
            open_orders: reservation.orders.saturating_sub(target.map_or(0, |target| target.open_orders)),
            filled: Qty::ZERO,
            exit_filled: Qty::ZERO,
            posted: Usd::ZERO,
            base_filled: target.map_or(Qty::ZERO, |target| target.filled),
            base_exits: target.map_or(Qty::ZERO, |target| target.exit_filled),
            closed_at_ms: None,
            closed_because: None,
            intent,
            reservation,
        };
        let (intent, reserved) = (
            serde_json::to_string(&order.intent).expect("an order is plain"),
            serde_json::to_string(&order.reservation).expect("a reservation is plain"),
        );
        self.conn
            .prepare_cached(
                "INSERT INTO trade_order (number, account, sandbox_id, client_order_id, state, replaces, intent, \
                 reservation, body, decision, admitted_at_ms, answer, remaining, entry_pending, exit_pending, open_orders, \
                 filled, exit_filled, posted, base_filled, base_exits) VALUES (?1, ?2, ?3, ?4, 'reserved', ?5, ?6, ?7, ?8, ?9, \
                 ?10, 'pending', ?11, ?12, ?13, ?14, 0, 0, 0, ?15, ?16)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    order.number,
                    order.account.as_str(),
                    order.sandbox.as_str(),
                    order.client_order_id.as_str(),
                    order.replaces,
                    intent,
                    reserved,
                    ask.body.as_slice(),
                    order.decision.get(),
                    order.admitted_at_ms,
                    order.remaining.units(),
                    order.entry_pending.units(),
                    order.exit_pending.units(),
                    order.open_orders,
                    order.base_filled.units(),
                    order.base_exits.units()
                ])
            })
            .map_err(doing(WHAT))?;
        let turnover = order.entry_pending.plus(order.exit_pending);
        let turnover = turnover.ok_or_else(|| StoreError::Refused("an order is too large to be counted".into()))?;
        let bought = order.pending_bought().units();
        self.move_pending(order.whose(), bought, turnover.units(), i64::from(order.open_orders))?;
        let clock = &ask.facts.clock;
        let sent = Spent { orders: 1, ..Spent::default() };
        self.spend(order.whose(), clock.date, clock.now_ms / 60_000, sent)?;
        Ok(order)
    }

    /// What the rules have allowed is what was written: read again, and compared with the limits of sums.
    fn assert_within(&self, ask: &TradeAsk, limits: &Scoped<Limits>, order: &OrderRow) -> Result<()> {
        let facts = &ask.facts;
        let minute = facts.clock.now_ms / 60_000;
        let (_, counters) =
            self.scopes(&ask.account, Some(&order.sandbox), facts.environment, facts.clock.date, minute)?;
        for ((_, limits), (scope, counters)) in limits.each().into_iter().zip(counters.each()) {
            let sum = |spent: Usd, pending: Usd| spent.plus(pending).expect("what was admitted can be added");
            if let Some(limit) = limits.max_daily_notional.filter(|_| order.pending_bought() > Usd::ZERO) {
                let bought = sum(counters.day.bought, counters.pending.bought);
                assert!(bought <= limit, "{scope}: {bought} bought or pending, of {limit} on a day");
            }
            if let Some(limit) = limits.max_daily_orders {
                assert!(counters.day.orders <= limit, "{scope}: {} orders of {limit} a day", counters.day.orders);
            }
            if let Some(limit) = limits.max_open_orders.filter(|_| order.open_orders > 0) {
                assert!(counters.open_orders <= limit, "{scope}: {} open orders of {limit}", counters.open_orders);
            }
        }
        Ok(())
    }
}

/// The symbol and side that a message would trade.
fn about(ask: &TradeAsk, target: Option<&Owned>) -> Option<(CanonicalSymbol, Side)> {
    match &ask.message {
        Message::Submit(intent) => Some((intent.symbol.clone(), intent.side)),
        Message::Replace { .. } => target.map(|owned| (owned.order.intent.symbol.clone(), owned.order.intent.side)),
        Message::ClosePosition { symbol, .. } => {
            let position = ask.facts.position(symbol)?;
            Some((symbol.clone(), if position.qty.is_positive() { Side::Sell } else { Side::Buy }))
        }
        Message::Read | Message::Cancel { .. } | Message::CancelAll | Message::CloseAll { .. } => None,
    }
}

fn picked(orders: Vec<OrderRow>, numbers: &[u64]) -> Vec<OrderRow> {
    orders.into_iter().filter(|order| numbers.contains(&order.number)).collect()
}

/// What the audit chain says about an order: what was asked, what it was compared with, and what came of it.
fn describe(detail: &mut Map<String, Value>, ask: &TradeAsk, read: &Read, judgement: &Judgement) {
    let counters = &read.counted.counters;
    let states = json!({"account": counters.account.state.as_str(), "sandbox": counters.sandbox.state.as_str()});
    detail.insert("states".into(), states);
    let intent = match (&judgement.verdict, &ask.message) {
        (Judged::Allow(action), _) if matches!(**action, Action::Send { .. }) => {
            let Action::Send { intent, reservation, replaces, reduce_only } = &**action else { return };
            detail.insert("reserved".into(), json!(reservation));
            detail.insert("replaces".into(), json!(replaces));
            detail.insert("reduce_only".into(), json!(reduce_only));
            Some(intent)
        }
        (_, Message::Submit(intent)) => Some(intent),
        (_, message) => {
            detail.insert("message".into(), json!(message));
            None
        }
    };
    if let Some(intent) = intent {
        detail.insert("intent".into(), json!(intent));
        if let Some(reference) = ask.facts.reference(&intent.symbol) {
            detail.insert("reference".into(), json!(reference));
        }
    }
    if let Judged::Refuse(refusal) | Judged::Hold { refusal, .. } = &judgement.verdict {
        detail.insert("rule".into(), json!(refusal.rule));
        detail.insert("limit".into(), json!(refusal.limit));
        detail.insert("observed".into(), json!(refusal.observed));
    }
}

fn decided(decision: Decision, detail: Map<String, Value>, outcome: Outcome) -> (Decision, Value, Outcome) {
    let verdict = match &outcome {
        Outcome::Allowed(_) | Outcome::Duplicate(_) => Verdict::Allow,
        Outcome::Refused { refusal, .. } | Outcome::Held { refusal, .. } => {
            let reason = super::one_line(&refusal.to_string(), REASON_BYTES_MAX);
            Verdict::Refuse { reason }
        }
    };
    // What is refused is signed by nobody.
    let signed = decision.signed.filter(|_| verdict == Verdict::Allow);
    (Decision { verdict, signed, ..decision }, detail.into(), outcome)
}

//! What the gate does about orders without being asked: it hears what became of them, looks up those in doubt, cancels those of a
//! sandbox that has ended or of an account that was halted, and halts where the venue has what the gate does not know.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::http::{HeaderMap, Method};
use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, By, CanonicalSymbol, Cause, StateEvent, UpstreamId};
use ringfence_store::StoreError;
use ringfence_store::gate::{OrderRow, OrderState};
use tokio::sync::OwnedMutexGuard;

use super::Access;
use super::settle::{OrderSaid, placed};
use super::wire::{Answered, Said};
use crate::gate::lead::Way;
use crate::gate::limits::lock;
use crate::gate::{Gate, now_ms};

/// How often the venue is asked about open orders.
const EVERY: Duration = Duration::from_secs(2);
/// How often the venue is asked about an account in which nothing of ours is open, while a sandbox may trade there.
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// Keys of which the venue is asked whose account they are.
const KEYS_TRIED_MAX: usize = 8;
/// How often orders that a death has left open are cancelled until they are closed, and how long after one another.
const LEFT_TRIES: usize = 120;
const LEFT_PAUSE: Duration = Duration::from_secs(1);
/// How often a key is looked for, of an account whose orders are open and that no sandbox is known to trade in.
const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// How long after it was admitted an order is nobody's business but its sender's, who may still be sending it.
const SENDING_MS: u64 = 45_000;
/// How long an order in doubt is looked up each time, and how often it is after that: the venue may be starting anew.
const DOUBT_MS: u64 = 10_000;

/// Whether an order without an answer is looked up now, so many milliseconds after it was admitted. One in doubt holds its reservation,
/// so that is ended soon; but the questions count where the venue limits them, and a venue that is away may be so for long.
fn is_due(state: OrderState, age_ms: u64) -> bool {
    let in_turn = age_ms < DOUBT_MS || u128::from(age_ms % DOUBT_MS) < EVERY.as_millis();
    age_ms > SENDING_MS || (state == OrderState::Ambiguous && in_turn)
}

/// Tends to orders until the gate is gone.
pub(in crate::gate) async fn tend(gate: Weak<Gate>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(gate) = gate.upgrade() else { return };
        if let Err(error) = gate.tend_once().await {
            tracing::error!(%error, "the ledger of orders could not be brought up to date");
        }
    }
}

impl Gate {
    async fn tend_once(self: &Arc<Self>) -> Result<(), StoreError> {
        for order in self.store.trade_unresolved().await? {
            if is_due(order.state, now_ms().saturating_sub(order.admitted_at_ms))
                && let Some(access) = self.access_to_tend(&order.account).await
            {
                self.resolve(&access, &order).await?;
            }
        }
        for account in self.store.trade_accounts().await? {
            if self.store.trade_open(account.clone(), None).await?.is_empty() {
                self.look_while_idle(&account).await?;
                continue;
            }
            if let Some(access) = self.access_to_tend(&account).await {
                self.sync(&access, &account).await?;
            }
        }
        Ok(())
    }

    /// Looks for orders that nobody knows in an account where nothing of ours is open, as long as a sandbox is there that has traded in it.
    async fn look_while_idle(self: &Arc<Self>, account: &AccountId) -> Result<(), StoreError> {
        let traders = lock(&self.desk.traders).get(account).cloned().unwrap_or_default();
        let is_there = lock(&self.rooms).values().any(|room| traders.contains(&room.id));
        if !is_there {
            return Ok(());
        }
        {
            let mut looked = lock(&self.desk.looked);
            if looked.get(account).is_some_and(|at| at.elapsed() < IDLE_EVERY) {
                return Ok(());
            }
            looked.insert(account.clone(), Instant::now());
        }
        let Some(access) = self.access_to_tend(account).await else { return Ok(()) };
        // An order that is on its way meanwhile is in the ledger before it is at the venue.
        let _turn = self.turn(account).await;
        match self.open_at_venue(&access, &[]).await {
            Some(open) => self.look_for_drift(account, &open).await,
            None => Ok(()),
        }
    }

    /// Accounts that a sandbox has asked for since this gateway started.
    pub(in crate::gate) fn accounts_of(&self, sandbox: &SandboxId) -> Vec<AccountId> {
        let traders = lock(&self.desk.traders);
        traders.iter().filter(|(_, all)| all.contains(sandbox)).map(|(account, _)| account.clone()).collect()
    }

    /// How the gate speaks for an account by itself, whatever the mode is: what is open somewhere is looked after there, and the kill
    /// switch is about all of it. With the keys of a sandbox that has traded in it, and else with any for which the venue says that
    /// they are this account's: by another account's keys its orders would be nowhere.
    pub(in crate::gate) async fn access(&self, account: &AccountId) -> Option<Access> {
        let host = self.leads.host_of(account);
        let lead = self.leads.of(account.environment()?, &host)?;
        if lead.way == Way::Exchange {
            return Access::of_exchange(&lead, account);
        }
        if !self.is_on_record(account).await {
            return None;
        }
        let traders = lock(&self.desk.traders).get(account).cloned().unwrap_or_default();
        let rooms: Vec<_> = lock(&self.rooms).values().cloned().collect();
        let (known, others): (Vec<_>, Vec<_>) = rooms.iter().partition(|room| traders.contains(&room.id));
        if let Some(access) = known.iter().find_map(|room| Access::of_secrets(&lead, &room.force())) {
            return Some(access);
        }
        let mut tried: Vec<HeaderMap> = Vec::new();
        for room in others {
            let Some(access) = Access::of_secrets(&lead, &room.force()) else { continue };
            // One that signs shows in no header whose it is.
            if tried.len() == KEYS_TRIED_MAX || (access.key.is_none() && tried.contains(&access.headers)) {
                continue;
            }
            if self.whose(&access, &host).await.is_ok_and(|found| found == *account) {
                self.has_traded(account, &room.id);
                return Some(access);
            }
            tried.push(access.headers);
        }
        None
    }

    /// That the gate uses keys of an account by itself is written down before it does so first; what it asks then, it asks every other
    /// second for as long as an order is open, and now and then while a sandbox may trade there.
    async fn is_on_record(&self, account: &AccountId) -> bool {
        if lock(&self.desk.on_record).contains(account) {
            return true;
        }
        let entry = ringfence_store::AuditEntry::new(now_ms(), ringfence_store::Actor::System, "trade.access")
            .detail(serde_json::json!({ "account": account }));
        match self.store.append(entry).await {
            Ok(_receipt) => {
                lock(&self.desk.on_record).insert(account.clone());
                true
            }
            Err(error) => {
                tracing::error!(%account, %error, "the use of a key could not be recorded, and the venue is not asked");
                false
            }
        }
    }

    /// The same for what comes again every other second: whose keys they are is not asked that often.
    async fn access_to_tend(&self, account: &AccountId) -> Option<Access> {
        let is_known = account.environment() == Some(ringfence_model::trade::Environment::Simulated)
            || lock(&self.desk.traders).contains_key(account);
        if !is_known {
            let mut searched = lock(&self.desk.searched);
            if searched.get(account).is_some_and(|at| at.elapsed() < SEARCH_EVERY) {
                return None;
            }
            searched.insert(account.clone(), Instant::now());
        }
        self.access(account).await
    }

    /// A sandbox has asked for an account.
    pub(in crate::gate) fn has_traded(&self, account: &AccountId, sandbox: &SandboxId) {
        lock(&self.desk.traders).entry(account.clone()).or_default().insert(sandbox.clone());
    }

    /// The account's turn. Who judges an order has it from before the venue is asked for positions until the order's reservation is
    /// on disk, and who notes fills has it too: a fill that were noted in between would be counted in neither.
    pub(in crate::gate) async fn turn(&self, account: &AccountId) -> OwnedMutexGuard<()> {
        let turn = lock(&self.desk.turns).entry(account.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// [`Gate::sync_held`] in the account's turn.
    pub(in crate::gate) async fn sync(&self, access: &Access, account: &AccountId) -> Result<(), StoreError> {
        let turn = self.turn(account).await;
        self.sync_held(access, account, &turn).await
    }

    /// Tells the ledger what the venue says of an account's open orders. An open order there that the ledger does not know halts the
    /// account: somebody trades in it whom no control has seen.
    pub(in crate::gate) async fn sync_held(
        &self,
        access: &Access,
        account: &AccountId,
        _turn: &OwnedMutexGuard<()>,
    ) -> Result<(), StoreError> {
        let rows = self.store.trade_open(account.clone(), None).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let symbols: BTreeSet<_> = rows.iter().map(|row| &row.intent.symbol).collect();
        let Some(open) = self.open_at_venue(access, &symbols.into_iter().collect::<Vec<_>>()).await else {
            return Ok(());
        };
        let (codec, host) = (access.lead.codec, self.host_of(access));
        for row in &rows {
            let Some(id) = &row.upstream_id else { continue };
            match open.iter().find(|said| said.id == id.as_str()) {
                Some(said) => self.note_order(row, said).await?,
                None => {
                    let ask = Said { method: Method::GET, host: host.clone(), target: codec.by_id(id), body: vec![] };
                    let Ok(answered) = self.say(access, ask).await else { continue };
                    match codec.order(&answered.body) {
                        Some(said) if answered.status.is_success() => self.note_order(row, &said).await?,
                        _ if codec.is_not_found(answered.status, &answered.body) => {
                            self.store.trade_closed(row.number, now_ms(), "not_found".to_owned()).await?;
                        }
                        _ => {}
                    }
                }
            }
        }
        self.look_for_drift(account, &open).await
    }

    /// The account's open orders at the venue, as far as they are asked for where orders in these symbols are known. None when that
    /// could not be found out.
    async fn open_at_venue(&self, access: &Access, symbols: &[&CanonicalSymbol]) -> Option<Vec<OrderSaid>> {
        let (codec, host) = (access.lead.codec, self.host_of(access));
        let mut open = Vec::new();
        for target in codec.open_orders(symbols) {
            let ask = Said { method: Method::GET, host: host.clone(), target, body: vec![] };
            open.extend(codec.orders(&self.say(access, ask).await.ok()?.body)?);
        }
        Some(open)
    }

    /// Cancels everything that is open in an account, also what the ledger does not know. Returns whether the venue did so.
    async fn cancel_at_venue(&self, access: &Access) -> bool {
        let (codec, host) = (access.lead.codec, self.host_of(access));
        let open = match codec.cancels_by_symbol() {
            true => self.open_at_venue(access, &[]).await,
            false => Some(vec![]),
        };
        let Some(open) = open else { return false };
        let mut done = true;
        for target in codec.cancel_all(&open) {
            let all = Said { method: Method::DELETE, host: host.clone(), target, body: vec![] };
            done &= self.say(access, all).await.is_ok_and(|answered| answered.status.is_success());
        }
        done
    }

    async fn look_for_drift(&self, account: &AccountId, open: &[OrderSaid]) -> Result<(), StoreError> {
        for said in open {
            let Ok(id) = UpstreamId::parse(&said.id) else { continue };
            if self.store.trade_of_upstream(account.clone(), id).await?.is_some() {
                continue;
            }
            // It may be one whose answer is still on its way.
            let by_name = ringfence_model::trade::ClientOrderId::parse(&said.client_order_id).ok();
            if let Some(name) = by_name
                && self.store.trade_of_client_id(account.clone(), name).await?.is_some()
            {
                continue;
            }
            let reason = format!("the venue has an open order `{}` that did not go through the gate", said.id);
            let cause = Cause { by: By::Control, reason, since_ms: now_ms() };
            if let Some(moved) = self.store.trade_move(account.clone(), None, StateEvent::Drift(cause)).await? {
                tracing::warn!(%account, state = moved.state.as_str(), "the venue has an order that nobody knows");
            }
            return Ok(());
        }
        Ok(())
    }

    /// Cancels orders at the venue, one by one. Returns what it said of each.
    pub(in crate::gate) async fn cancel(&self, access: &Access, orders: &[OrderRow]) -> Vec<(OrderRow, u16)> {
        let said = self.cancel_each(access, orders).await;
        said.into_iter().map(|(order, answered)| (order, answered.map_or(502, |one| one.status.as_u16()))).collect()
    }

    /// Cancels orders at the venue, one by one. Returns its whole answers; none where there was none. An order that has traded is
    /// cancelled no more, but its legs are: in its place stand those that were cancelled, each with its own id at the venue.
    pub(in crate::gate) async fn cancel_each(
        &self,
        access: &Access,
        orders: &[OrderRow],
    ) -> Vec<(OrderRow, Option<Answered>)> {
        let mut said = Vec::new();
        let by_name = access.lead.codec.cancels_by_name();
        for order in orders.iter().filter(|order| by_name || order.upstream_id.is_some()) {
            let answered = self.cancel_one(access, order).await;
            let mut legs = Vec::new();
            if !Self::is_whole(order) && !answered.as_ref().is_some_and(|one| one.status.is_success()) {
                // What cannot be read is cancelled by the next attempt, or by the kill switch.
                for leg in self.store.trade_legs(order.number).await.unwrap_or_default() {
                    let mut named = order.clone();
                    named.upstream_id = Some(leg);
                    let answered = self.cancel_one(access, &named).await;
                    if answered.as_ref().is_some_and(|one| one.status.is_success()) {
                        legs.push((named, answered));
                    }
                }
            }
            match legs.is_empty() {
                true => said.push((order.clone(), answered)),
                false => said.append(&mut legs),
            }
        }
        said
    }

    async fn cancel_one(&self, access: &Access, order: &OrderRow) -> Option<Answered> {
        let request = Said {
            method: Method::DELETE,
            host: self.host_of(access),
            target: access.lead.codec.cancel(placed(order), None),
            body: vec![],
        };
        self.say(access, request).await.ok()
    }

    /// A sandbox has ended: its open orders are cancelled, if its limits say so, until none is left. Nothing of it can be heard of any more.
    pub(in crate::gate) async fn disconnected(self: &Arc<Self>, sandbox: &SandboxId) -> Result<(), StoreError> {
        for (account, orders) in self.open_of(sandbox).await? {
            self.end_in_time(&account, sandbox, &orders).await?;
        }
        Ok(())
    }

    /// The same once, before the keys of a sandbox are gone.
    pub(in crate::gate) async fn disconnected_for_good(
        self: &Arc<Self>,
        sandbox: &SandboxId,
    ) -> Result<(), StoreError> {
        for (account, orders) in self.open_of(sandbox).await? {
            self.end_left(&account, sandbox, &orders).await?;
        }
        Ok(())
    }

    /// The open orders of a sandbox in each account where it has some.
    async fn open_of(&self, sandbox: &SandboxId) -> Result<Vec<(AccountId, Vec<OrderRow>)>, StoreError> {
        let mut all = Vec::new();
        for account in self.store.trade_accounts().await? {
            let orders = self.store.trade_open(account.clone(), Some(sandbox.clone())).await?;
            if !orders.is_empty() {
                all.push((account, orders));
            }
        }
        Ok(all)
    }

    /// Open orders of sandboxes that do not live: `serve` has begun anew, and no shell has outlived the one before; or the gateway has,
    /// and the one before may not have heard that a sandbox ended, or died before it had cancelled anything.
    pub(in crate::gate) async fn left_open(
        &self,
        lives: impl Fn(&SandboxId) -> bool,
    ) -> Result<Vec<(AccountId, SandboxId, Vec<OrderRow>)>, StoreError> {
        let mut left: Vec<(AccountId, SandboxId, Vec<OrderRow>)> = Vec::new();
        for account in self.store.trade_accounts().await? {
            for order in self.store.trade_open(account.clone(), None).await? {
                if lives(&order.sandbox) {
                    continue;
                }
                match left.iter_mut().find(|(of, whose, _)| *of == account && *whose == order.sandbox) {
                    Some((.., orders)) => orders.push(order),
                    None => left.push((account.clone(), order.sandbox.clone(), vec![order])),
                }
            }
        }
        Ok(left)
    }

    /// [`Gate::end_left`], until none of these is open any more: the venue may be starting beside the gateway, and of an order that was on
    /// its way nobody knows yet whether it has it.
    pub(in crate::gate) async fn end_in_time(
        self: &Arc<Self>,
        account: &AccountId,
        sandbox: &SandboxId,
        orders: &[OrderRow],
    ) -> Result<(), StoreError> {
        self.end_left(account, sandbox, orders).await?;
        for _ in 0..LEFT_TRIES {
            let mut still = self.store.trade_open(account.clone(), Some(sandbox.clone())).await?;
            still.retain(|order| orders.iter().any(|left| left.number == order.number));
            let limits = self.store.trade_limits_in_force(account.clone(), Some(sandbox.clone())).await?;
            if still.is_empty() || limits.cancel_on_disconnect == Some(false) {
                return Ok(());
            }
            tokio::time::sleep(LEFT_PAUSE).await;
            if let Some(access) = self.access(account).await {
                self.cancel(&access, &still).await;
                self.sync(&access, account).await?;
            }
        }
        tracing::error!(%sandbox, %account, "orders that a death has left open are still open; `ringfence trade halt` cancels them");
        Ok(())
    }

    /// Cancels what a sandbox that ended has left open in an account, if its limits say so.
    pub(in crate::gate) async fn end_left(
        self: &Arc<Self>,
        account: &AccountId,
        sandbox: &SandboxId,
        orders: &[OrderRow],
    ) -> Result<(), StoreError> {
        if orders.is_empty() {
            return Ok(());
        }
        let limits = self.store.trade_limits_in_force(account.clone(), Some(sandbox.clone())).await?;
        if limits.cancel_on_disconnect == Some(false) {
            return Ok(());
        }
        let Some(access) = self.access(account).await else {
            tracing::error!(%sandbox, %account, "there is no key by which the orders of a sandbox could be cancelled");
            return Ok(());
        };
        self.record_cancels(orders, "trade.cancel_on_disconnect").await?;
        self.cancel(&access, orders).await;
        self.sync(&access, account).await
    }

    /// The kill switch has been pulled: everything that is open in this account is cancelled at the venue, whoever sent it. Returns
    /// how many orders of sandboxes that were.
    pub(in crate::gate) async fn cancel_everything(
        self: &Arc<Self>,
        access: &Access,
        account: &AccountId,
    ) -> Result<u32, StoreError> {
        let orders = self.store.trade_open(account.clone(), None).await?;
        self.record_cancels(&orders, "trade.cancel_all").await?;
        if !self.cancel_at_venue(access).await {
            tracing::error!(%account, "the venue did not cancel all orders at once; they are cancelled one by one");
            self.cancel(access, &orders).await;
        }
        self.sync(access, account).await?;
        Ok(u32::try_from(orders.len()).unwrap_or(u32::MAX))
    }

    pub(in crate::gate) async fn record_cancels(
        &self,
        orders: &[OrderRow],
        event: &'static str,
    ) -> Result<(), StoreError> {
        for order in orders {
            let entry = ringfence_store::AuditEntry::new(now_ms(), ringfence_store::Actor::System, event)
                .sandbox(&order.sandbox)
                .detail(serde_json::json!({
                    "account": order.account, "order": order.number, "client_order_id": order.client_order_id,
                }));
            let _receipt = self.store.append(entry).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_is_looked_up_soon_and_what_is_being_sent_late() {
        let asks = |state, ages: std::ops::Range<u64>| ages.step_by(2000).filter(|age| is_due(state, *age)).count();
        assert_eq!(asks(OrderState::Ambiguous, 1000..11_000), 5);
        assert_eq!(asks(OrderState::Ambiguous, 11_000..45_000), 4);
        assert_eq!((asks(OrderState::Sent, 0..45_001), asks(OrderState::Reserved, 0..45_001)), (0, 0));
        for state in [OrderState::Ambiguous, OrderState::Sent, OrderState::Reserved] {
            assert_eq!(asks(state, 45_001..65_001), 10, "{state:?}");
        }
    }
}

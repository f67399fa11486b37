//! What the gate does about orders without being asked: it hears what became of them, looks up those in doubt, cancels those of a
//! sandbox that has ended or of an account that was halted, and halts where the venue has what the gate does not know.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::http::Method;
use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, By, CanonicalSymbol, Cause, StateEvent, UpstreamId};
use ringfence_store::StoreError;
use ringfence_store::gate::OrderRow;

use super::settle::{OrderSaid, placed};
use super::wire::{Answered, Said};
use super::{Access, SIMULATED};
use crate::gate::lead::{Lead, Way};
use crate::gate::limits::lock;
use crate::gate::{Gate, now_ms};

/// How often the venue is asked about open orders.
const EVERY: Duration = Duration::from_secs(2);

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
            // One that is being sent right now is nobody's business yet.
            if now_ms().saturating_sub(order.admitted_at_ms) > 45_000
                && let Some(access) = self.access(&order.account)
            {
                self.resolve(&access, &order).await?;
            }
        }
        for account in self.store.trade_accounts().await? {
            if let Some(access) = self.access(&account) {
                self.sync(&access, &account).await?;
            }
        }
        Ok(())
    }

    /// How the gate speaks for an account by itself: with the keys of a sandbox that has traded in it.
    pub(in crate::gate) fn access(&self, account: &AccountId) -> Option<Access> {
        let lead = self.leads.lead(&self.leads.host_of(account))?.ok()?;
        if lead.way == Way::Exchange || account.as_str().starts_with(SIMULATED) {
            // Simulated accounts are spoken for in every mode: the kill switch is about all of them.
            let lead = Lead { environment: ringfence_model::trade::Environment::Simulated, way: Way::Exchange, ..lead };
            return Access::of_exchange(&lead, account);
        }
        let wanted = lead.environment.as_str();
        if account.as_str().split(':').next() != Some(wanted) {
            return None;
        }
        let traders = lock(&self.desk.traders).get(account).cloned().unwrap_or_default();
        let rooms = lock(&self.rooms);
        let known = traders.iter().filter_map(|sandbox| rooms.get(sandbox));
        known.chain(rooms.values()).find_map(|room| Access::of_secrets(&lead, &room.force()))
    }

    /// A sandbox has asked for an account.
    pub(in crate::gate) fn has_traded(&self, account: &AccountId, sandbox: &SandboxId) {
        lock(&self.desk.traders).entry(account.clone()).or_default().insert(sandbox.clone());
    }

    /// Tells the ledger what the venue says of an account's open orders. An open order there that the ledger does not know halts the
    /// account: somebody trades in it whom no control has seen.
    pub(in crate::gate) async fn sync(&self, access: &Access, account: &AccountId) -> Result<(), StoreError> {
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

    /// Cancels everything that is open in an account, also what the ledger does not know. Returns whether the venue was told so.
    async fn cancel_at_venue(&self, access: &Access) -> bool {
        let (codec, host) = (access.lead.codec, self.host_of(access));
        let open = match codec.cancels_by_symbol() {
            true => self.open_at_venue(access, &[]).await,
            false => Some(vec![]),
        };
        let Some(open) = open else { return false };
        let mut told = true;
        for target in codec.cancel_all(&open) {
            let all = Said { method: Method::DELETE, host: host.clone(), target, body: vec![] };
            told &= self.say(access, all).await.is_ok();
        }
        told
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

    /// Cancels orders at the venue, one by one. Returns its whole answers; none where there was none.
    pub(in crate::gate) async fn cancel_each(
        &self,
        access: &Access,
        orders: &[OrderRow],
    ) -> Vec<(OrderRow, Option<Answered>)> {
        let mut said = Vec::new();
        let by_name = access.lead.codec.cancels_by_name();
        for order in orders.iter().filter(|order| by_name || order.upstream_id.is_some()) {
            let request = Said {
                method: Method::DELETE,
                host: self.host_of(access),
                target: access.lead.codec.cancel(placed(order), None),
                body: vec![],
            };
            said.push((order.clone(), self.say(access, request).await.ok()));
        }
        said
    }

    /// A sandbox has ended: its open orders are cancelled, if its limits say so. Nothing of it can be heard of any more.
    pub(in crate::gate) async fn disconnected(self: &Arc<Self>, sandbox: &SandboxId) -> Result<(), StoreError> {
        for account in self.store.trade_accounts().await? {
            let orders = self.store.trade_open(account.clone(), Some(sandbox.clone())).await?;
            if orders.is_empty() {
                continue;
            }
            let own = self.store.trade_limits(account.clone(), Some(sandbox.clone())).await?;
            let of_account = self.store.trade_limits(account.clone(), None).await?;
            let stays = [own, of_account].into_iter().flatten().find_map(|row| row.limits.cancel_on_disconnect);
            if stays == Some(false) {
                continue;
            }
            let Some(access) = self.access(&account) else {
                tracing::error!(%sandbox, %account, "there is no key by which the orders of a sandbox could be cancelled");
                continue;
            };
            self.record_cancels(&orders, "trade.cancel_on_disconnect").await?;
            self.cancel(&access, &orders).await;
            self.sync(&access, &account).await?;
        }
        Ok(())
    }

    #[allow(dead_code, reason = "the operations of trading ask for it")]
    /// The kill switch has been pulled: everything that is open in these accounts is cancelled at the venue, whoever sent it.
    pub(in crate::gate) async fn cancel_everything(self: &Arc<Self>, account: &AccountId) -> Result<u32, StoreError> {
        let orders = self.store.trade_open(account.clone(), None).await?;
        let Some(access) = self.access(account) else { return Ok(0) };
        self.record_cancels(&orders, "trade.cancel_all").await?;
        if !self.cancel_at_venue(&access).await {
            tracing::error!(%account, "the venue was not told to cancel all orders; they are cancelled one by one");
            self.cancel(&access, &orders).await;
        }
        self.sync(&access, account).await?;
        Ok(u32::try_from(orders.len()).unwrap_or(u32::MAX))
    }

    async fn record_cancels(&self, orders: &[OrderRow], event: &'static str) -> Result<(), StoreError> {
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

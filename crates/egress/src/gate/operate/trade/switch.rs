//! The kill switch: states are moved first and on disk, and then the venue is told.

use std::sync::Arc;
use std::time::Duration;

use hyper::http::Method;
use ringfence_model::ApiError;
use ringfence_model::api::{TradeDone, TradeStateAnswer};
use ringfence_model::net::control::TradeScope;
use ringfence_model::trade::{AccountId, By, Cause, StateEvent, TradingState};
use ringfence_store::{Actor, AuditEntry, StoreError};
use serde_json::json;

use super::super::failed;
use super::show::cause;
use crate::gate::desk::wire::Said;
use crate::gate::{Gate, now_ms};

/// Longest wait for venues before a halt is answered. What was begun goes on.
const VENUES_TIME: Duration = Duration::from_secs(7);

/// What the venue is told of an account.
#[derive(Debug, Clone, Copy)]
struct Wish {
    cancel: bool,
    flatten: bool,
}

impl Gate {
    /// Halts, whether the sandbox lives or not, and has open orders cancelled.
    pub(super) async fn halt(
        self: &Arc<Self>,
        by: By,
        scope: TradeScope,
        reason: String,
        cancel: bool,
        flatten: bool,
    ) -> Result<TradeStateAnswer, ApiError> {
        let halted = self
            .store
            .trade_halt(scope.in_ledger(), scope.sandbox.clone(), by, reason, now_ms())
            .await
            .map_err(failed)?;
        let wish = Wish { cancel: cancel || flatten, flatten };
        let mut accounts = Vec::new();
        if wish.cancel {
            accounts = self.tell_venues(&scope, wish).await.map_err(failed)?;
        }
        self.state_answer(scope, halted.is_some(), accounts).await.map_err(failed)
    }

    /// Only what makes positions smaller from now on.
    pub(super) async fn reduce(&self, scope: TradeScope, reason: String) -> Result<TradeStateAnswer, ApiError> {
        let event = StateEvent::Reduce(Cause { by: By::Operator, reason, since_ms: now_ms() });
        let moved = self.store.trade_move(scope.in_ledger(), scope.sandbox.clone(), event).await.map_err(failed)?;
        self.state_answer(scope, moved.is_some(), vec![]).await.map_err(failed)
    }

    /// Trading goes on. Without an account it goes on in all of them: a control may have halted one.
    pub(super) async fn resume(&self, scope: TradeScope, reason: String) -> Result<TradeStateAnswer, ApiError> {
        let mut accounts = vec![scope.in_ledger()];
        if scope.account.is_none() {
            accounts.extend(self.store.trade_accounts().await.map_err(failed)?);
        }
        let mut changed = false;
        for account in accounts {
            // Rows are not made for what is active anyway.
            if self.own_state(&account, &scope).await.map_err(failed)? != TradingState::Active {
                let moved = self.store.trade_resume(account, scope.sandbox.clone(), reason.clone(), now_ms()).await;
                changed |= moved.map_err(failed)?.is_some();
            }
        }
        self.state_answer(scope, changed, vec![]).await.map_err(failed)
    }

    /// The state of a scope in one account, that of the venue included.
    async fn own_state(&self, account: &AccountId, scope: &TradeScope) -> Result<TradingState, StoreError> {
        let standing = self.store.trade_standing(account.clone(), scope.sandbox.clone()).await?;
        Ok(match &scope.sandbox {
            None => standing.account.states.account,
            Some(_) => {
                standing.sandboxes.into_iter().next().map(|(_, status)| status.states.sandbox).unwrap_or_default()
            }
        })
    }

    async fn state_answer(
        &self,
        scope: TradeScope,
        changed: bool,
        accounts: Vec<TradeDone>,
    ) -> Result<TradeStateAnswer, StoreError> {
        let account = scope.in_ledger();
        let of_all = TradeScope { sandbox: None, ..scope.clone() };
        let state = self.own_state(&account, &scope).await?.or_stricter(self.own_state(&account, &of_all).await?);
        Ok(TradeStateAnswer {
            success: true,
            account: scope.account.map(String::from),
            sandbox_id: scope.sandbox.map(|sandbox| sandbox.to_string()),
            state: state.as_str().to_owned(),
            changed,
            cause: state.cause().map(cause),
            accounts,
        })
    }

    /// Tells venues, all accounts at once. Whoever asked waits for a while; it is done to its end in any case.
    async fn tell_venues(self: &Arc<Self>, scope: &TradeScope, wish: Wish) -> Result<Vec<TradeDone>, StoreError> {
        let accounts = match &scope.account {
            Some(account) => vec![account.clone()],
            None => self.store.trade_accounts().await?,
        };
        let tasks: Vec<_> = accounts
            .into_iter()
            .map(|account| {
                let (gate, of, sandbox) = (self.clone(), account.clone(), scope.sandbox.clone());
                let task = async move { gate.tell_venue(&of, sandbox, wish).await };
                (account, tokio::spawn(task))
            })
            .collect();
        let end = tokio::time::Instant::now() + VENUES_TIME;
        let mut done = Vec::new();
        for (account, task) in tasks {
            let trouble = |problem: &str| TradeDone {
                account: account.to_string(),
                problem: Some(problem.to_owned()),
                ..TradeDone::default()
            };
            done.push(match tokio::time::timeout_at(end, task).await {
                Ok(Ok(Ok(done))) => done,
                Ok(Ok(Err(error))) => trouble(&failed(error).message),
                Ok(Err(_)) => trouble("the gateway failed at it; its log says where"),
                Err(_) => trouble("the venue takes long; it is tried to the end, see `ringfence trade status`"),
            });
        }
        // Of accounts in which there was nothing to do nothing is told.
        done.retain(|done| done.cancelled > 0 || done.flattened || done.problem.is_some());
        Ok(done)
    }

    async fn tell_venue(
        self: &Arc<Self>,
        account: &AccountId,
        sandbox: Option<ringfence_model::SandboxId>,
        wish: Wish,
    ) -> Result<TradeDone, StoreError> {
        let mut done = TradeDone { account: account.to_string(), ..TradeDone::default() };
        let orders = self.store.trade_open(account.clone(), sandbox.clone()).await?;
        if sandbox.is_some() && orders.is_empty() {
            return Ok(done);
        }
        let Some(access) = self.access(account).await else {
            // An account that is empty as far as the ledger knows needs no key to be left alone.
            if !orders.is_empty() || wish.flatten {
                done.problem = Some(format!(
                    "{} orders are open, and no sandbox has a key by which they could be cancelled: do it at the broker",
                    orders.len()
                ));
            }
            return Ok(done);
        };
        match sandbox {
            Some(_) => {
                self.record_cancels(&orders, "trade.cancel_sandbox").await?;
                let said = self.cancel(&access, &orders).await;
                let refused = said.iter().filter(|(_, status)| !(200..300).contains(status)).count();
                let unknown = orders.iter().filter(|order| order.upstream_id.is_none()).count();
                done.cancelled = u32::try_from(said.len() - refused).unwrap_or(u32::MAX);
                if refused + unknown > 0 {
                    done.problem = Some(format!(
                        "{refused} orders could not be cancelled, and of {unknown} the venue has not said that it has them"
                    ));
                }
                self.sync(&access, account).await?;
            }
            None => {
                let before = u32::try_from(orders.len()).unwrap_or(u32::MAX);
                done.cancelled = self.cancel_everything(&access, account).await?;
                let left = self.store.trade_open(account.clone(), None).await?.len();
                if left > 0 {
                    done.cancelled = before.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX));
                    done.problem =
                        Some(format!("{left} orders are open still; the venue is asked about them every other second"));
                }
            }
        }
        if wish.flatten {
            match self.close_positions(&access, account).await? {
                None => done.flattened = true,
                Some(problem) => done.problem = Some(problem),
            }
        }
        Ok(done)
    }

    /// Has all positions of an account closed. Returns what went wrong.
    async fn close_positions(
        &self,
        access: &crate::gate::desk::Access,
        account: &AccountId,
    ) -> Result<Option<String>, StoreError> {
        let entry = AuditEntry::new(now_ms(), Actor::Operator, "trade.flatten").detail(json!({ "account": account }));
        let _receipt = self.store.append(entry).await?;
        let Some(target) = access.lead.codec.close_all() else {
            return Ok(Some(
                "positions were not closed: this venue has no request for that, close them there".to_owned(),
            ));
        };
        let target = target.to_owned();
        let said = Said { method: Method::DELETE, host: self.host_of(access), target, body: vec![] };
        Ok(match self.say(access, said).await {
            Ok(answered) if answered.status.is_success() => None,
            Ok(answered) => Some(format!("positions were not closed: the venue answered {}", answered.status.as_u16())),
            Err(error) => Some(format!("positions were not closed: {error}")),
        })
    }
}

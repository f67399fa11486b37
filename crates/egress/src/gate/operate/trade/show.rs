//! How trading stands, for people.

use std::time::Duration;

use hyper::http::{HeaderMap, Method};
use ringfence_model::api::{
    TradeAccount, TradeAmounts, TradeCause, TradeClock, TradeExchange, TradeHold, TradeHoldAnswer, TradeHoldsAnswer,
    TradeOrder, TradeOrdersAnswer, TradePosition, TradePositions, TradePositionsAnswer, TradeSandbox,
    TradeStatusAnswer,
};
use ringfence_model::net::control::TradeScope;
use ringfence_model::trade::{
    AccountId, Cause, Environment, Limits, Message, Position, Pricing, Size, TradeDate, Trail,
};
use ringfence_model::{ApiError, SandboxId};
use ringfence_store::StoreError;
use ringfence_store::gate::{Amounts, HoldRow, OrderFilter, OrderRow, Standing};
use serde::Deserialize;
use serde_json::Value;

use super::super::failed;
use super::{time, until};
use crate::gate::desk::Access;
use crate::gate::desk::wire::Said;
use crate::gate::{Gate, now_ms};

/// Longest wait for the exchange of this installation before it counts as one that does not answer.
const EXCHANGE_TIME: Duration = Duration::from_secs(2);
/// Longest wait for the positions of all accounts.
const POSITIONS_TIME: Duration = Duration::from_secs(7);

/// What a venue says of a position.
#[derive(Deserialize)]
struct PositionSaid {
    symbol: String,
    qty: String,
    avg_entry_price: Option<String>,
    current_price: Option<String>,
    market_value: Option<String>,
    unrealized_pl: Option<String>,
}

/// Who moved a state, as answers have it.
pub(super) fn cause(cause: &Cause) -> TradeCause {
    TradeCause { by: cause.by.to_string(), reason: cause.reason.clone(), since: time(cause.since_ms) }
}

fn amounts(amounts: &Amounts, day: Option<TradeDate>) -> TradeAmounts {
    TradeAmounts {
        day: day.map(|day| day.to_string()),
        bought: amounts.bought.to_string(),
        bought_pending: amounts.pending_bought.to_string(),
        turnover: amounts.turnover.to_string(),
        turnover_pending: amounts.pending_turnover.to_string(),
        orders: amounts.orders,
        open_orders: amounts.open_orders,
    }
}

fn texts(limits: &Limits) -> std::collections::BTreeMap<String, String> {
    limits.texts().into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

impl Gate {
    pub(super) async fn trade_status(&self, scope: TradeScope) -> Result<TradeStatusAnswer, ApiError> {
        let (standing, exchange) = tokio::join!(self.accounts_standing(&scope), self.exchange_status(&scope));
        let (venue, accounts, holds_waiting) = standing.map_err(failed)?;
        let (mode, state) = (self.leads.mode(), venue.account.states.account);
        Ok(TradeStatusAnswer {
            success: true,
            mode: mode.as_str().to_owned(),
            until: until(mode),
            environment: mode.environment(now_ms()).map(|environment| environment.to_string()),
            live_allowed: self.live_allowed,
            state: state.as_str().to_owned(),
            cause: state.cause().map(cause),
            accounts,
            exchange,
            holds_waiting,
        })
    }

    async fn accounts_standing(&self, scope: &TradeScope) -> Result<(Standing, Vec<TradeAccount>, u32), StoreError> {
        let venue = self.store.trade_standing(AccountId::venue(), scope.sandbox.clone()).await?;
        let holds = self.store.trade_holds().await?;
        let count = |account: &AccountId| holds.iter().filter(|hold| hold.account == *account).count();
        let mut accounts = Vec::new();
        for account in self.store.trade_accounts().await? {
            if scope.account.as_ref().is_some_and(|only| *only != account) {
                continue;
            }
            let standing = self.store.trade_standing(account.clone(), scope.sandbox.clone()).await?;
            if scope.sandbox.is_some() && standing.sandboxes.is_empty() {
                continue;
            }
            let waiting = u32::try_from(count(&account)).unwrap_or(u32::MAX);
            accounts.push(shown_account(&account, standing, waiting, scope.sandbox.is_some()));
        }
        Ok((venue, accounts, u32::try_from(holds.len()).unwrap_or(u32::MAX)))
    }

    /// Whether the exchange of this installation answers, and what its clock says.
    async fn exchange_status(&self, scope: &TradeScope) -> TradeExchange {
        let Some(lead) = self.leads.of(Environment::Simulated, &self.trading_host()) else {
            return TradeExchange::default();
        };
        let named = scope.account.as_ref().and_then(|account| Access::of_exchange(&lead, account));
        let access = named.unwrap_or(Access { lead, headers: HeaderMap::new(), key: None });
        // The first is what this exchange has and no broker; the second is what every one has.
        let asked = async {
            let own = self.ask_clock(&access, "/ringfence/v1/clock").await?;
            match own {
                Some(clock) => Ok(Some(clock)),
                None => self.ask_clock(&access, "/v2/clock").await,
            }
        };
        match tokio::time::timeout(EXCHANGE_TIME, asked).await {
            Ok(Ok(clock)) => TradeExchange { answers: true, problem: None, clock },
            Ok(Err(problem)) => TradeExchange { answers: false, problem: Some(problem), clock: None },
            Err(_) => TradeExchange { answers: false, problem: Some("it took too long".to_owned()), clock: None },
        }
    }

    async fn ask_clock(&self, access: &Access, target: &str) -> Result<Option<TradeClock>, String> {
        let said = Said { method: Method::GET, host: self.trading_host(), target: target.to_owned(), body: vec![] };
        let answered = self.say(access, said).await.map_err(|error| error.to_string())?;
        Ok(answered.status.is_success().then(|| clock(&answered.body)).flatten())
    }

    pub(super) async fn list_orders(
        &self,
        scope: TradeScope,
        open: bool,
        limit: u32,
    ) -> Result<TradeOrdersAnswer, ApiError> {
        let filter = OrderFilter { account: scope.account, sandbox: scope.sandbox, open, limit };
        let rows = self.store.trade_orders(filter).await.map_err(failed)?;
        let orders: Vec<TradeOrder> = rows.iter().map(shown_order).collect();
        Ok(TradeOrdersAnswer { success: true, count: u32::try_from(orders.len()).unwrap_or(u32::MAX), orders })
    }

    pub(super) async fn list_positions(&self, account: Option<AccountId>) -> Result<TradePositionsAnswer, ApiError> {
        let accounts = match account {
            Some(account) => vec![account],
            None => self.store.trade_accounts().await.map_err(failed)?,
        };
        let end = tokio::time::Instant::now() + POSITIONS_TIME;
        let mut all = Vec::new();
        for account in accounts {
            let asked = tokio::time::timeout_at(end, self.positions_of(&account)).await;
            let (positions, problem) = match asked {
                Ok(Ok(positions)) => (positions, None),
                Ok(Err(problem)) => (vec![], Some(problem)),
                Err(_) => (vec![], Some("the venue takes too long".to_owned())),
            };
            all.push(TradePositions { account: account.to_string(), positions, problem });
        }
        Ok(TradePositionsAnswer { success: true, accounts: all })
    }

    async fn positions_of(&self, account: &AccountId) -> Result<Vec<TradePosition>, String> {
        let access = self.access(account).await.ok_or("no sandbox has a key of this account")?;
        if let Some(counted) = self.counted(&access).await {
            let shown = |position: Position| TradePosition {
                symbol: position.symbol.to_string(),
                qty: position.qty.to_string(),
                avg_entry_price: None,
                current_price: Some(position.price.to_string()),
                market_value: position.price.times(position.qty).map(|value| value.to_string()),
                unrealized_pl: None,
            };
            return Ok(counted.map_err(|refusal| refusal.message)?.into_iter().map(shown).collect());
        }
        let target = "/v2/positions".to_owned();
        let said = Said { method: Method::GET, host: self.host_of(&access), target, body: vec![] };
        let answered = self.say(&access, said).await.map_err(|error| error.to_string())?;
        if !answered.status.is_success() {
            return Err(format!("the venue answered {}", answered.status.as_u16()));
        }
        let said: Vec<PositionSaid> =
            serde_json::from_slice(&answered.body).map_err(|_| "the venue's positions could not be read")?;
        let shown = |said: PositionSaid| TradePosition {
            symbol: said.symbol,
            qty: said.qty,
            avg_entry_price: said.avg_entry_price,
            current_price: said.current_price,
            market_value: said.market_value,
            unrealized_pl: said.unrealized_pl,
        };
        Ok(said.into_iter().map(shown).collect())
    }

    pub(super) async fn list_holds(&self) -> Result<TradeHoldsAnswer, ApiError> {
        let rows = self.store.trade_holds().await.map_err(failed)?;
        let holds: Vec<TradeHold> = rows.iter().map(shown_hold).collect();
        Ok(TradeHoldsAnswer { success: true, count: u32::try_from(holds.len()).unwrap_or(u32::MAX), holds })
    }

    pub(super) async fn answer_hold(&self, number: u64, approve: bool) -> Result<TradeHoldAnswer, ApiError> {
        let row = self.store.trade_hold_answer(number, approve, now_ms()).await.map_err(failed)?;
        Ok(TradeHoldAnswer { success: true, hold: shown_hold(&row) })
    }
}

fn shown_account(account: &AccountId, standing: Standing, holds_waiting: u32, with_limits: bool) -> TradeAccount {
    let Standing { day, account: status, sandboxes } = standing;
    let sandbox = |(id, status): (SandboxId, ringfence_store::gate::TradeStatus)| TradeSandbox {
        sandbox_id: id.to_string(),
        state: status.states.sandbox.as_str().to_owned(),
        cause: status.states.sandbox.cause().map(cause),
        amounts: amounts(&status.amounts.sandbox, day),
        refusals_in_a_row: status.refusals,
        limits: with_limits.then(|| texts(&status.limits.sandbox)),
    };
    TradeAccount {
        account: account.to_string(),
        environment: account.environment().map_or("simulated", Environment::as_str).to_owned(),
        state: status.states.account.as_str().to_owned(),
        cause: status.states.account.cause().map(cause),
        limits: texts(&status.limits.account),
        amounts: amounts(&status.amounts.account, day),
        holds_waiting,
        sandboxes: sandboxes.into_iter().map(sandbox).collect(),
    }
}

fn shown_order(row: &OrderRow) -> TradeOrder {
    let intent = &row.intent;
    let (qty, notional) = match intent.size {
        Size::Qty(qty) => (Some(qty.to_string()), None),
        Size::Notional(usd) => (None, Some(usd.to_string())),
    };
    let (stop, trail) = match intent.pricing {
        Pricing::Market | Pricing::Limit { .. } => (None, None),
        Pricing::Stop { stop } | Pricing::StopLimit { stop, .. } => (Some(stop.to_string()), None),
        Pricing::TrailingStop { trail: Trail::Price(by) } => (None, Some(by.to_string())),
        Pricing::TrailingStop { trail: Trail::Percent(by) } => (None, Some(format!("{by}%"))),
    };
    let pending = row.entry_pending.plus(row.exit_pending).unwrap_or(ringfence_model::trade::Usd::MAX);
    TradeOrder {
        number: row.number,
        account: row.account.to_string(),
        sandbox_id: row.sandbox.to_string(),
        state: row.state.as_str().to_owned(),
        client_order_id: row.client_order_id.to_string(),
        venue_order_id: row.upstream_id.as_ref().map(ToString::to_string),
        symbol: intent.symbol.to_string(),
        side: intent.side.to_string(),
        order_type: intent.pricing.order_type().to_string(),
        order_class: intent.structure.class().to_string(),
        time_in_force: intent.time_in_force.to_string(),
        qty,
        notional,
        limit_price: intent.pricing.limit().map(|limit| limit.to_string()),
        stop_price: stop,
        trail,
        filled: row.filled.to_string(),
        pending: pending.to_string(),
        decision: row.decision.get(),
        admitted_at: time(row.admitted_at_ms),
        closed_at: row.closed_at_ms.map(time),
        closed_because: row.closed_because.clone(),
    }
}

fn shown_hold(row: &HoldRow) -> TradeHold {
    TradeHold {
        number: row.number,
        account: row.account.to_string(),
        sandbox_id: row.sandbox.to_string(),
        what: in_words(&row.message),
        notional: row.notional.to_string(),
        asked_at: time(row.at_ms),
        state: row.state.as_str().to_owned(),
    }
}

/// A message in a few words.
fn in_words(message: &Message) -> String {
    match message {
        Message::Submit(intent) => {
            let size = match intent.size {
                Size::Qty(qty) => qty.to_string(),
                Size::Notional(usd) => format!("{usd} USD of"),
            };
            let limit = intent.pricing.limit().map(|limit| format!(" at {limit}")).unwrap_or_default();
            format!("{} {size} {} {}{limit}", intent.side, intent.symbol, intent.pricing.order_type())
        }
        Message::ClosePosition { symbol, .. } => format!("close {symbol}"),
        other => other.kind().to_owned(),
    }
}

/// A clock as this exchange or any broker tells it. What is not there is none.
pub(super) fn clock(body: &[u8]) -> Option<TradeClock> {
    let said: Value = serde_json::from_slice(body).ok()?;
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| said.get(*name).filter(|value| !value.is_null()));
        found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    Some(TradeClock {
        now: text(["now", "timestamp"]),
        mode: text(["mode", "mode"]),
        speed: text(["speed", "speed"]),
        is_open: said.get("is_open").and_then(Value::as_bool),
        next_open: text(["next_open", "next_open"]),
        next_close: text(["next_close", "next_close"]),
    })
}

#[cfg(test)]
mod tests {
    use ringfence_model::trade::{CanonicalSymbol, OrderIntent, Price, Qty, Side};

    use super::*;

    #[test]
    fn a_clock_of_either_kind_is_read() {
        let own =
            br#"{"mode": "replay", "now": "2024-01-02T15:00:00Z", "speed": 60, "is_open": true, "next_open": "a"}"#;
        let read = clock(own).expect("it is read");
        assert_eq!(
            (read.mode.as_deref(), read.speed.as_deref(), read.is_open),
            (Some("replay"), Some("60"), Some(true))
        );
        assert_eq!((read.now.as_deref(), read.next_close), (Some("2024-01-02T15:00:00Z"), None));
        let brokers = br#"{"timestamp": "2024-01-02T10:00:00-05:00", "is_open": false}"#;
        assert_eq!(clock(brokers).and_then(|read| read.now).as_deref(), Some("2024-01-02T10:00:00-05:00"));
        assert_eq!(clock(b"<html>"), None);
    }

    #[test]
    fn an_order_that_waits_is_told_in_words() {
        let symbol = CanonicalSymbol::parse("AAPL").expect("one");
        let qty = Qty::parse("3").expect("an amount");
        let limit = Price::parse("12.5").expect("a price");
        let order = OrderIntent::market(symbol.clone(), Side::Buy, qty);
        assert_eq!(in_words(&Message::Submit(order.clone())), "buy 3 AAPL market");
        let order = OrderIntent { pricing: Pricing::Limit { limit }, ..order };
        assert_eq!(in_words(&Message::Submit(order)), "buy 3 AAPL limit at 12.5");
        assert_eq!(in_words(&Message::CancelAll), Message::CancelAll.kind());
    }
}

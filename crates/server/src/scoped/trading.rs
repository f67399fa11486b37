//! Trading. Accounts, limits and the switches are the installation's, and of its first project; another project finds what is of one
//! of its sandboxes.

use ringfence_engine::api::{Answering, Trading};
use ringfence_model::{
    Operation,
    api::{
        Actor, LIST_MAX, TradeHaltRequest, TradeHoldAnswer, TradeHoldRequest, TradeHoldsAnswer, TradeLimitsAnswer,
        TradeLimitsRequest, TradeLimitsSetRequest, TradeModeAnswer, TradeModeRequest, TradeOrdersAnswer,
        TradeOrdersRequest, TradePositionsAnswer, TradePositionsRequest, TradeStateAnswer, TradeStateRequest,
        TradeStatusAnswer, TradeStatusRequest, TradeTightenRequest, list_limit,
    },
};

use super::Scoped;

const ACCOUNTS: &str = "trading accounts, and what holds for all sandboxes in them,";

macro_rules! trading {
    // Of a sandbox that the request may name.
    ($($method:ident $operation:ident $request:ty => $answer:ty, $named:ident;)*) => {
        $(fn $method(&self, _: Actor, mut request: $request) -> Answering<'_, $answer> {
            Box::pin(async move {
                self.check(Operation::$operation)?;
                self.sandbox_if_named(&mut request.sandbox_id).await?;
                if trading!(@needed $named request) {
                    self.of_the_first_project(ACCOUNTS)?;
                }
                self.inner.$method(self.actor(), request).await
            })
        })*
    };
    (@needed account $request:ident) => { $request.sandbox_id.is_none() || $request.account.is_some() };
    (@needed sandbox $request:ident) => { $request.sandbox_id.is_none() };
    (@needed always $request:ident) => { true };
}

impl Trading for Scoped {
    trading! {
        trade_status TradeStatus TradeStatusRequest => TradeStatusAnswer, always;
        trade_limits TradeLimits TradeLimitsRequest => TradeLimitsAnswer, account;
        trade_limits_set TradeLimitsSet TradeLimitsSetRequest => TradeLimitsAnswer, account;
        trade_tighten TradeTighten TradeTightenRequest => TradeLimitsAnswer, sandbox;
        trade_halt TradeHalt TradeHaltRequest => TradeStateAnswer, account;
        trade_reduce TradeReduce TradeStateRequest => TradeStateAnswer, account;
        trade_resume TradeResume TradeStateRequest => TradeStateAnswer, account;
    }

    fn trade_mode_set(&self, _: Actor, request: TradeModeRequest) -> Answering<'_, TradeModeAnswer> {
        Box::pin(async move {
            self.check(Operation::TradeModeSet)?;
            self.of_the_first_project(ACCOUNTS)?;
            self.inner.trade_mode_set(self.actor(), request).await
        })
    }

    fn trade_orders(&self, _: Actor, mut request: TradeOrdersRequest) -> Answering<'_, TradeOrdersAnswer> {
        Box::pin(async move {
            self.check(Operation::TradeOrders)?;
            self.sandbox_if_named(&mut request.sandbox_id).await?;
            let limit = list_limit(request.limit)?;
            if self.caller.project.is_some() && request.sandbox_id.is_none() {
                request.limit = Some(LIST_MAX);
            }
            let mut answer = self.inner.trade_orders(self.actor(), request).await?;
            self.retain(&mut answer.orders, |order| Some(&order.sandbox_id), |_| false).await?;
            answer.orders.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            answer.count = u32::try_from(answer.orders.len()).unwrap_or(u32::MAX);
            Ok(answer)
        })
    }

    fn trade_positions(&self, _: Actor, request: TradePositionsRequest) -> Answering<'_, TradePositionsAnswer> {
        Box::pin(async move {
            self.check(Operation::TradePositions)?;
            self.of_the_first_project(ACCOUNTS)?;
            self.inner.trade_positions(self.actor(), request).await
        })
    }

    fn trade_holds(&self, _: Actor) -> Answering<'_, TradeHoldsAnswer> {
        Box::pin(async move {
            self.check(Operation::TradeHolds)?;
            self.of_the_first_project(ACCOUNTS)?;
            self.inner.trade_holds(self.actor()).await
        })
    }

    fn trade_hold_answer(&self, _: Actor, request: TradeHoldRequest) -> Answering<'_, TradeHoldAnswer> {
        Box::pin(async move {
            self.check(Operation::TradeHoldAnswer)?;
            self.of_the_first_project(ACCOUNTS)?;
            self.inner.trade_hold_answer(self.actor(), request).await
        })
    }
}

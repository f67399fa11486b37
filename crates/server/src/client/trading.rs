//! Trading, asked of the daemon.

use hyper::Method;
use ringfence_engine::api::{Answering, Trading};
use ringfence_model::api::{
    Actor, TradeHaltRequest, TradeHoldAnswer, TradeHoldRequest, TradeHoldsAnswer, TradeLimitsAnswer,
    TradeLimitsRequest, TradeLimitsSetRequest, TradeModeAnswer, TradeModeRequest, TradeOrdersAnswer,
    TradeOrdersRequest, TradePositionsAnswer, TradePositionsRequest, TradeStateAnswer, TradeStateRequest,
    TradeStatusAnswer, TradeStatusRequest, TradeTightenRequest,
};

use super::{Client, exchange::Ask, with_query};

fn post(path: &str) -> Ask {
    Ask::new(Method::POST, path.to_owned())
}

impl Trading for Client {
    fn trade_status(&self, actor: Actor, request: TradeStatusRequest) -> Answering<'_, TradeStatusAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/trade/status", &request))))
    }

    fn trade_mode_set(&self, actor: Actor, request: TradeModeRequest) -> Answering<'_, TradeModeAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::PUT, "/v1/trade/mode".into()).body(&request)))
    }

    fn trade_limits(&self, actor: Actor, request: TradeLimitsRequest) -> Answering<'_, TradeLimitsAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/trade/limits", &request))))
    }

    fn trade_limits_set(&self, actor: Actor, request: TradeLimitsSetRequest) -> Answering<'_, TradeLimitsAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::PUT, "/v1/trade/limits".into()).body(&request)))
    }

    fn trade_tighten(&self, actor: Actor, request: TradeTightenRequest) -> Answering<'_, TradeLimitsAnswer> {
        Box::pin(self.ask(actor, post("/v1/trade/limits/tighten").body(&request)))
    }

    fn trade_halt(&self, actor: Actor, request: TradeHaltRequest) -> Answering<'_, TradeStateAnswer> {
        Box::pin(self.ask(actor, post("/v1/trade/halt").body(&request)))
    }

    fn trade_reduce(&self, actor: Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer> {
        Box::pin(self.ask(actor, post("/v1/trade/reduce").body(&request)))
    }

    fn trade_resume(&self, actor: Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer> {
        Box::pin(self.ask(actor, post("/v1/trade/resume").body(&request)))
    }

    fn trade_orders(&self, actor: Actor, request: TradeOrdersRequest) -> Answering<'_, TradeOrdersAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/trade/orders", &request))))
    }

    fn trade_positions(&self, actor: Actor, request: TradePositionsRequest) -> Answering<'_, TradePositionsAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/trade/positions", &request))))
    }

    fn trade_holds(&self, actor: Actor) -> Answering<'_, TradeHoldsAnswer> {
        Box::pin(self.ask(actor, Ask::get("/v1/trade/holds".into())))
    }

    fn trade_hold_answer(&self, actor: Actor, request: TradeHoldRequest) -> Answering<'_, TradeHoldAnswer> {
        let what = if request.approve { "approve" } else { "refuse" };
        Box::pin(self.ask(actor, post(&format!("/v1/trade/holds/{}/{what}", request.number))))
    }
}

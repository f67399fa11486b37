//! Trading, as every face reaches it.

use ringfence_model::api::{
    Actor, TradeHaltRequest, TradeHoldAnswer, TradeHoldRequest, TradeHoldsAnswer, TradeLimitsAnswer,
    TradeLimitsRequest, TradeLimitsSetRequest, TradeModeAnswer, TradeModeRequest, TradeOrdersAnswer,
    TradeOrdersRequest, TradePositionsAnswer, TradePositionsRequest, TradeStateAnswer, TradeStateRequest,
    TradeStatusAnswer, TradeStatusRequest, TradeTightenRequest,
};

use super::Answering;

/// Trading of one node's sandboxes: what is allowed, what is under way, and the switches. An agent may look, tighten and halt; all
/// else is for operators, and the gateway checks that once more.
///
/// # Errors
/// As [`Sandboxes`](super::Sandboxes).
pub trait Trading: Send + Sync + 'static {
    /// How trading stands.
    fn trade_status(&self, actor: Actor, request: TradeStatusRequest) -> Answering<'_, TradeStatusAnswer>;

    /// Sets the mode. Not offered over MCP, and operators only.
    fn trade_mode_set(&self, actor: Actor, request: TradeModeRequest) -> Answering<'_, TradeModeAnswer>;

    /// The limits in force.
    fn trade_limits(&self, actor: Actor, request: TradeLimitsRequest) -> Answering<'_, TradeLimitsAnswer>;

    /// Sets limits, also looser ones. Not offered over MCP, and operators only.
    fn trade_limits_set(&self, actor: Actor, request: TradeLimitsSetRequest) -> Answering<'_, TradeLimitsAnswer>;

    /// Tightens limits of a sandbox; without any, the limits in force.
    fn trade_tighten(&self, actor: Actor, request: TradeTightenRequest) -> Answering<'_, TradeLimitsAnswer>;

    /// The kill switch.
    fn trade_halt(&self, actor: Actor, request: TradeHaltRequest) -> Answering<'_, TradeStateAnswer>;

    /// Only what makes positions smaller. Not offered over MCP, and operators only, like the next.
    fn trade_reduce(&self, actor: Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer>;

    /// Lets trading go on.
    fn trade_resume(&self, actor: Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer>;

    /// Orders of sandboxes, newest first.
    fn trade_orders(&self, actor: Actor, request: TradeOrdersRequest) -> Answering<'_, TradeOrdersAnswer>;

    /// Positions, as the venue says them.
    fn trade_positions(&self, actor: Actor, request: TradePositionsRequest) -> Answering<'_, TradePositionsAnswer>;

    /// Orders that wait for a person. Not offered over MCP.
    fn trade_holds(&self, actor: Actor) -> Answering<'_, TradeHoldsAnswer>;

    /// Approves or refuses one of them. Not offered over MCP, and operators only.
    fn trade_hold_answer(&self, actor: Actor, request: TradeHoldRequest) -> Answering<'_, TradeHoldAnswer>;
}

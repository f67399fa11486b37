//! Trading, handed on to the gateway: names of sandboxes become ids here, and who asks is told along.

use ringfence_model::{
    SandboxId,
    api::{
        self, TradeHaltRequest, TradeHoldAnswer, TradeHoldRequest, TradeHoldsAnswer, TradeLimitsAnswer,
        TradeLimitsRequest, TradeLimitsSetRequest, TradeModeAnswer, TradeModeRequest, TradeOrdersAnswer,
        TradeOrdersRequest, TradePositionsAnswer, TradePositionsRequest, TradeStateAnswer, TradeStateRequest,
        TradeStatusAnswer, TradeStatusRequest, TradeTightenRequest, TradingChoice, TradingChosen, trade_account,
        trade_reason,
    },
    net::control::{GateAnswer, GateOp, TradeAsked, TradeOp, TradeSaid, TradeScope},
    trade::By,
};

use crate::{
    api::{Answering, Trading},
    engine::Engine,
    error::Failure,
    lookup::Found,
    network::mistaken,
    service::{looking, operators_only, tracked},
};

fn by(actor: api::Actor) -> By {
    match actor {
        api::Actor::Operator => By::Operator,
        api::Actor::Agent => By::Client,
    }
}

impl Engine {
    /// The sandbox that is meant, also one that has ended or that this node has forgotten: its orders may be open still.
    async fn traded(&self, reference: &str) -> Result<SandboxId, Failure> {
        match self.find(reference).await {
            Ok(Found::Live(sandbox)) => Ok(sandbox.id.clone()),
            Ok(Found::Ended(row)) => Ok(row.id),
            Err(error) => SandboxId::parse(reference).map_err(|_| error),
        }
    }

    async fn scope(&self, sandbox: Option<&str>, account: Option<&str>) -> Result<TradeScope, Failure> {
        let sandbox = match sandbox {
            Some(reference) => Some(self.traded(reference).await?),
            None => None,
        };
        Ok(TradeScope { account: trade_account(account)?, sandbox })
    }

    async fn ask_about_trading(&self, actor: api::Actor, op: TradeOp) -> Result<TradeSaid, Failure> {
        match self.inner.gate.call(GateOp::Trade(TradeAsked { by: by(actor), op })).await? {
            GateAnswer::Trade(said) => Ok(*said),
            _ => Err(mistaken("trade")),
        }
    }
}

impl Engine {
    /// Gives a sandbox a simulated account.
    pub(crate) async fn choose_account(
        &self,
        actor: ringfence_store::Actor,
        sandbox: &SandboxId,
        choice: TradingChoice,
    ) -> Result<TradingChosen, Failure> {
        let by = match actor {
            ringfence_store::Actor::Operator => api::Actor::Operator,
            ringfence_store::Actor::Agent | ringfence_store::Actor::System => api::Actor::Agent,
        };
        match self.ask_about_trading(by, TradeOp::Choose { sandbox: sandbox.clone(), choice }).await? {
            TradeSaid::Chosen(chosen) => Ok(chosen),
            _ => Err(mistaken("trade")),
        }
    }
}

/// The answer that fits the question.
macro_rules! ask {
    ($engine:expr, $actor:expr, $variant:ident, $op:expr) => {
        match $engine.ask_about_trading($actor, $op).await? {
            TradeSaid::$variant(answer) => Ok(answer),
            _ => Err(mistaken("trade")),
        }
    };
}

impl Trading for Engine {
    fn trade_status(&self, by: api::Actor, request: TradeStatusRequest) -> Answering<'_, TradeStatusAnswer> {
        looking(async move {
            let scope = self.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            ask!(self, by, Status, TradeOp::Status(scope))
        })
    }

    fn trade_mode_set(&self, by: api::Actor, request: TradeModeRequest) -> Answering<'_, TradeModeAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "setting the mode of trading")?;
            ask!(engine, by, Mode, TradeOp::SetMode(request))
        })
    }

    fn trade_limits(&self, by: api::Actor, request: TradeLimitsRequest) -> Answering<'_, TradeLimitsAnswer> {
        looking(async move {
            let scope = self.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            ask!(self, by, Limits, TradeOp::Limits(scope))
        })
    }

    fn trade_limits_set(&self, by: api::Actor, request: TradeLimitsSetRequest) -> Answering<'_, TradeLimitsAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "setting limits of trading")?;
            let scope = engine.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            request.check()?;
            ask!(engine, by, Limits, TradeOp::SetLimits { scope, limits: request.limits })
        })
    }

    fn trade_tighten(&self, by: api::Actor, request: TradeTightenRequest) -> Answering<'_, TradeLimitsAnswer> {
        let engine = self.clone();
        tracked(async move {
            let scope = engine.scope(request.sandbox_id.as_deref(), None).await?;
            request.check()?;
            match scope.sandbox.clone() {
                Some(sandbox) if !request.tighten.is_empty() => {
                    ask!(engine, by, Limits, TradeOp::Tighten { sandbox, limits: request.tighten })
                }
                _ => ask!(engine, by, Limits, TradeOp::Limits(scope)),
            }
        })
    }

    fn trade_halt(&self, by: api::Actor, request: TradeHaltRequest) -> Answering<'_, TradeStateAnswer> {
        let engine = self.clone();
        tracked(async move {
            if request.flatten {
                operators_only(by, "closing positions")?;
            }
            let scope = engine.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            request.check()?;
            let reason = trade_reason(request.reason.as_deref(), "halted by hand")?;
            let (cancel, flatten) = (request.cancel.unwrap_or(true), request.flatten);
            ask!(engine, by, State, TradeOp::Halt { scope, reason, cancel, flatten })
        })
    }

    fn trade_reduce(&self, by: api::Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "restricting trading to what reduces")?;
            let scope = engine.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            let reason = trade_reason(request.reason.as_deref(), "only what reduces, by hand")?;
            ask!(engine, by, State, TradeOp::Reduce { scope, reason })
        })
    }

    fn trade_resume(&self, by: api::Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "resuming trading")?;
            let scope = engine.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            let reason = trade_reason(request.reason.as_deref(), "resumed by hand")?;
            ask!(engine, by, State, TradeOp::Resume { scope, reason })
        })
    }

    fn trade_orders(&self, by: api::Actor, request: TradeOrdersRequest) -> Answering<'_, TradeOrdersAnswer> {
        looking(async move {
            let scope = self.scope(request.sandbox_id.as_deref(), request.account.as_deref()).await?;
            let (open, limit) = (request.open.unwrap_or(false), api::list_limit(request.limit)?);
            ask!(self, by, Orders, TradeOp::Orders { scope, open, limit })
        })
    }

    fn trade_positions(&self, by: api::Actor, request: TradePositionsRequest) -> Answering<'_, TradePositionsAnswer> {
        looking(async move {
            let account = trade_account(request.account.as_deref())?;
            ask!(self, by, Positions, TradeOp::Positions { account })
        })
    }

    fn trade_holds(&self, by: api::Actor) -> Answering<'_, TradeHoldsAnswer> {
        looking(async move { ask!(self, by, Holds, TradeOp::Holds) })
    }

    fn trade_hold_answer(&self, by: api::Actor, request: TradeHoldRequest) -> Answering<'_, TradeHoldAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "answering an order that waits")?;
            let TradeHoldRequest { number, approve } = request;
            ask!(engine, by, Hold, TradeOp::Answer { number, approve })
        })
    }
}

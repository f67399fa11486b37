//! Trading as the fake has it: a mode, a state, limits as texts, and what was asked.

use std::collections::BTreeMap;

use ringfence_engine::api::{Answering, Trading};
use ringfence_model::{ApiError, Code, api::*};

use super::{Fake, NOW, now};

#[derive(Default)]
pub(super) struct State {
    mode: Option<String>,
    until: Option<String>,
    halted: Option<String>,
    limits: BTreeMap<String, String>,
}

fn operator(actor: Actor) -> Result<(), ApiError> {
    match actor {
        Actor::Operator => Ok(()),
        Actor::Agent => Err(ApiError::new(Code::PermissionDenied, "for operators")),
    }
}

fn hold(number: u64, state: &str) -> TradeHold {
    TradeHold {
        number,
        account: "sim:a".into(),
        sandbox_id: "i00000000000000000000".into(),
        what: "buy 3 AAPL market".into(),
        notional: "600.5".into(),
        asked_at: NOW.into(),
        state: state.into(),
    }
}

impl Fake {
    fn trade<T>(&self, actor: Actor, answer: impl FnOnce(&mut State) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let mut state = self.state();
        state.actors.push(actor);
        answer(&mut state.trading)
    }

    fn mode_of(state: &State) -> String {
        state.mode.clone().unwrap_or_else(|| "simulated".into())
    }

    fn cause(state: &State) -> Option<TradeCause> {
        let reason = state.halted.clone()?;
        Some(TradeCause { by: "operator".into(), reason, since: NOW.into() })
    }

    fn word(state: &State) -> String {
        if state.halted.is_some() { "halted" } else { "active" }.into()
    }

    fn limits_of(state: &State, account: Option<String>, sandbox_id: Option<String>) -> TradeLimitsAnswer {
        let limit = |knob: &ringfence_model::trade::KnobInfo| {
            let set = state.limits.get(knob.name).cloned();
            TradeLimit {
                name: knob.name.into(),
                set_by: if set.is_some() { "operator (all accounts)" } else { "default" }.into(),
                value: set.unwrap_or_else(|| "none".into()),
                unit: knob.unit.into(),
                default: "none".into(),
                tighter: knob.tighter.into(),
                needed_live: knob.live,
                about: knob.about.into(),
            }
        };
        let limits = ringfence_model::trade::Limits::KNOBS.iter().map(limit).collect();
        TradeLimitsAnswer { success: true, account, sandbox_id, limits }
    }

    fn state_of(state: &State, account: Option<String>, sandbox_id: Option<String>) -> TradeStateAnswer {
        let (word, cause) = (Self::word(state), Self::cause(state));
        TradeStateAnswer { success: true, account, sandbox_id, state: word, changed: true, cause, accounts: vec![] }
    }
}

impl Trading for Fake {
    fn trade_status(&self, actor: Actor, request: TradeStatusRequest) -> Answering<'_, TradeStatusAnswer> {
        now(self.trade(actor, |state| {
            let mode = Self::mode_of(state);
            let amounts = TradeAmounts {
                bought: "1200".into(),
                bought_pending: "0".into(),
                turnover: "1200".into(),
                turnover_pending: "0".into(),
                orders: 2,
                open_orders: 1,
                day: Some("2024-01-02".into()),
            };
            let account = TradeAccount {
                account: request.account.unwrap_or_else(|| "sim:a".into()),
                environment: "simulated".into(),
                state: Self::word(state),
                cause: Self::cause(state),
                limits: state.limits.clone(),
                amounts,
                holds_waiting: 1,
                sandboxes: vec![],
            };
            Ok(TradeStatusAnswer {
                success: true,
                environment: Some(mode.clone()),
                mode,
                until: state.until.clone(),
                live_allowed: true,
                state: Self::word(state),
                cause: Self::cause(state),
                accounts: vec![account],
                exchange: TradeExchange { answers: false, problem: Some("it is a fake".into()), clock: None },
                holds_waiting: 1,
            })
        }))
    }

    fn trade_mode_set(&self, actor: Actor, request: TradeModeRequest) -> Answering<'_, TradeModeAnswer> {
        now(self.trade(actor, |state| {
            operator(actor)?;
            if request.mode == "live" && (request.confirm.is_none() || request.confirm != request.account) {
                return Err(ApiError::new(Code::PermissionDenied, "type the name of the account"));
            }
            let before = Self::mode_of(state);
            (state.mode, state.until) = (Some(request.mode.clone()), request.until.clone());
            Ok(TradeModeAnswer { success: true, mode: request.mode, until: request.until, before, warnings: vec![] })
        }))
    }

    fn trade_limits(&self, actor: Actor, request: TradeLimitsRequest) -> Answering<'_, TradeLimitsAnswer> {
        now(self.trade(actor, |state| Ok(Self::limits_of(state, request.account, request.sandbox_id))))
    }

    fn trade_limits_set(&self, actor: Actor, request: TradeLimitsSetRequest) -> Answering<'_, TradeLimitsAnswer> {
        now(self.trade(actor, |state| {
            operator(actor)?;
            request.check()?;
            state.limits.extend(request.limits);
            Ok(Self::limits_of(state, request.account, request.sandbox_id))
        }))
    }

    fn trade_tighten(&self, actor: Actor, request: TradeTightenRequest) -> Answering<'_, TradeLimitsAnswer> {
        now(self.trade(actor, |state| {
            request.check()?;
            state.limits.extend(request.tighten);
            Ok(Self::limits_of(state, None, request.sandbox_id))
        }))
    }

    fn trade_halt(&self, actor: Actor, request: TradeHaltRequest) -> Answering<'_, TradeStateAnswer> {
        now(self.trade(actor, |state| {
            request.check()?;
            if request.flatten {
                operator(actor)?;
            }
            state.halted = Some(request.reason.unwrap_or_else(|| "by hand".into()));
            Ok(Self::state_of(state, request.account, request.sandbox_id))
        }))
    }

    fn trade_reduce(&self, actor: Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer> {
        now(self.trade(actor, |state| {
            operator(actor)?;
            Ok(TradeStateAnswer {
                state: "reducing".into(),
                ..Self::state_of(state, request.account, request.sandbox_id)
            })
        }))
    }

    fn trade_resume(&self, actor: Actor, request: TradeStateRequest) -> Answering<'_, TradeStateAnswer> {
        now(self.trade(actor, |state| {
            operator(actor)?;
            state.halted = None;
            Ok(Self::state_of(state, request.account, request.sandbox_id))
        }))
    }

    fn trade_orders(&self, actor: Actor, request: TradeOrdersRequest) -> Answering<'_, TradeOrdersAnswer> {
        now(self.trade(actor, |_| {
            list_limit(request.limit)?;
            let order = TradeOrder {
                number: 7,
                account: "sim:a".into(),
                state: if request.open == Some(true) { "working" } else { "closed" }.into(),
                symbol: "AAPL".into(),
                side: "buy".into(),
                order_type: "limit".into(),
                qty: Some("3".into()),
                limit_price: Some("200.25".into()),
                filled: "1".into(),
                pending: "400.5".into(),
                admitted_at: NOW.into(),
                ..TradeOrder::default()
            };
            Ok(TradeOrdersAnswer { success: true, orders: vec![order], count: 1 })
        }))
    }

    fn trade_positions(&self, actor: Actor, request: TradePositionsRequest) -> Answering<'_, TradePositionsAnswer> {
        now(self.trade(actor, |_| {
            let position = TradePosition { symbol: "AAPL".into(), qty: "3".into(), ..TradePosition::default() };
            let account = request.account.unwrap_or_else(|| "sim:a".into());
            let of_account = TradePositions { account, positions: vec![position], problem: None };
            Ok(TradePositionsAnswer { success: true, accounts: vec![of_account] })
        }))
    }

    fn trade_holds(&self, actor: Actor) -> Answering<'_, TradeHoldsAnswer> {
        now(self.trade(actor, |_| Ok(TradeHoldsAnswer { success: true, holds: vec![hold(4, "waiting")], count: 1 })))
    }

    fn trade_hold_answer(&self, actor: Actor, request: TradeHoldRequest) -> Answering<'_, TradeHoldAnswer> {
        now(self.trade(actor, |_| {
            operator(actor)?;
            let state = if request.approve { "approved" } else { "refused" };
            Ok(TradeHoldAnswer { success: true, hold: hold(request.number, state) })
        }))
    }
}

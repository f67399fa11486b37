//! Credits, asked of the daemon.

use hyper::Method;
use ringfence_engine::api::{Answering, Credits};
use ringfence_model::api::{
    Actor, BalanceAnswer, BalanceRequest, CreditBudgetRequest, CreditGrantRequest, UsageAnswer, UsageRequest,
};

use super::{Client, exchange::Ask, with_query};

impl Credits for Client {
    fn check_balance(&self, actor: Actor, request: BalanceRequest) -> Answering<'_, BalanceAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/credits", &request))))
    }

    fn usage(&self, actor: Actor, request: UsageRequest) -> Answering<'_, UsageAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/usage", &request))))
    }

    fn credit_grant(&self, actor: Actor, request: CreditGrantRequest) -> Answering<'_, BalanceAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/credits/grant".into()).body(&request)))
    }

    fn credit_budget(&self, actor: Actor, request: CreditBudgetRequest) -> Answering<'_, BalanceAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::PUT, "/v1/credits/budget".into()).body(&request)))
    }
}

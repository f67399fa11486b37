//! What sandboxes cost, as every face asks for it.

use ringfence_model::api::{
    Actor, BalanceAnswer, BalanceRequest, CreditBudgetRequest, CreditGrantRequest, UsageAnswer, UsageRequest,
};

use super::Answering;

/// Budgets and usage.
///
/// # Errors
/// As [`Sandboxes`](super::Sandboxes).
pub trait Credits: Send + Sync + 'static {
    /// What a project has left.
    fn check_balance(&self, actor: Actor, request: BalanceRequest) -> Answering<'_, BalanceAnswer>;

    /// What was used, by sandbox, project or day.
    fn usage(&self, actor: Actor, request: UsageRequest) -> Answering<'_, UsageAnswer>;

    /// Gives a project more. Not offered over MCP, and operators only, like the next.
    fn credit_grant(&self, actor: Actor, request: CreditGrantRequest) -> Answering<'_, BalanceAnswer>;

    /// Sets what a project may spend from now on.
    fn credit_budget(&self, actor: Actor, request: CreditBudgetRequest) -> Answering<'_, BalanceAnswer>;
}

//! Credits. What one project has left is nobody else's; what it may spend is said by the operator of the machine.

use ringfence_engine::api::{Answering, Credits};
use ringfence_model::{
    ApiError, Code, Operation, Project,
    api::{Actor, BalanceAnswer, BalanceRequest, CreditBudgetRequest, CreditGrantRequest, UsageAnswer, UsageRequest},
};

use super::Scoped;

impl Scoped {
    /// The project that a caller means. Another one's is refused in the same words whether there is such a one or not.
    fn project(&self, named: Option<Project>) -> Result<Option<Project>, ApiError> {
        match (&self.caller.project, named) {
            (Some(own), Some(named)) if *own != named => {
                let text = format!("credits of another project than `{own}` are not shown here; leave `project` out");
                Err(ApiError::new(Code::PermissionDenied, text))
            }
            (Some(own), _) => Ok(Some(own.clone())),
            (None, named) => Ok(named),
        }
    }

    /// A budget holds against everybody in a project, also against an operator who is of that project alone.
    fn sets_budgets(&self, named: Option<Project>) -> Result<Option<Project>, ApiError> {
        if self.caller.project.is_some() && self.caller.token.is_some() {
            let text = "a token of one project changes no budget: use the `ringfence` command on the daemon's machine";
            return Err(ApiError::new(Code::PermissionDenied, text));
        }
        self.project(named)
    }
}

impl Credits for Scoped {
    fn check_balance(&self, _: Actor, mut request: BalanceRequest) -> Answering<'_, BalanceAnswer> {
        Box::pin(async move {
            self.check(Operation::CheckBalance)?;
            request.project = self.project(request.project)?;
            self.inner.check_balance(self.actor(), request).await
        })
    }

    fn usage(&self, _: Actor, mut request: UsageRequest) -> Answering<'_, UsageAnswer> {
        Box::pin(async move {
            self.check(Operation::Usage)?;
            request.project = self.project(request.project)?;
            self.sandbox_if_named(&mut request.sandbox_id).await?;
            self.inner.usage(self.actor(), request).await
        })
    }

    fn credit_grant(&self, _: Actor, mut request: CreditGrantRequest) -> Answering<'_, BalanceAnswer> {
        Box::pin(async move {
            self.check(Operation::CreditGrant)?;
            request.project = self.sets_budgets(request.project)?;
            self.inner.credit_grant(self.actor(), request).await
        })
    }

    fn credit_budget(&self, _: Actor, mut request: CreditBudgetRequest) -> Answering<'_, BalanceAnswer> {
        Box::pin(async move {
            self.check(Operation::CreditBudget)?;
            request.project = self.sets_budgets(request.project)?;
            self.inner.credit_budget(self.actor(), request).await
        })
    }
}

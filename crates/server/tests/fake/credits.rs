//! Credits of the fake: one balance for each project, which grants and budgets change and nothing spends.

use ringfence_engine::api::{Answering, Credits};
use ringfence_model::{ApiError, Code, Project, api::*, credit::MilliCredits};

use super::{Fake, now};

fn operators_only(actor: Actor) -> Result<(), ApiError> {
    match actor {
        Actor::Operator => Ok(()),
        Actor::Agent => Err(ApiError::new(Code::PermissionDenied, "budgets are for operators")),
    }
}

impl Fake {
    fn balance(&self, project: Option<Project>) -> BalanceAnswer {
        let project = project.unwrap_or_default();
        let budget = self.state().budgets.get(&project).copied();
        let whole = MilliCredits::whole;
        BalanceAnswer {
            success: true,
            unlimited: budget.is_none(),
            balance: budget,
            budget,
            spent: budget.map(|_| whole(0)),
            spent_today: whole(0),
            metered: 0,
            credits_per_minute: whole(0),
            minutes_left: None,
            prices: PricesView { create: whole(2), minute: whole(1), storage_gb_day: whole(1) },
            exhausted_at: None,
            stops_at: None,
            warning: None,
            project,
        }
    }
}

impl Credits for Fake {
    fn check_balance(&self, _: Actor, request: BalanceRequest) -> Answering<'_, BalanceAnswer> {
        now(Ok(self.balance(request.project)))
    }

    fn usage(&self, _: Actor, request: UsageRequest) -> Answering<'_, UsageAnswer> {
        let answer = request.check().map(|_| UsageAnswer {
            success: true,
            by: request.by.unwrap_or_default(),
            since: super::NOW.into(),
            rows: vec![UsageRow {
                sandbox_id: None,
                name: None,
                project: Some(request.project.unwrap_or_default()),
                day: None,
                used: UsageFigures { credits: MilliCredits(2500), ..UsageFigures::default() },
            }],
            count: 1,
            total: UsageFigures { credits: MilliCredits(2500), ..UsageFigures::default() },
        });
        now(answer)
    }

    fn credit_grant(&self, actor: Actor, request: CreditGrantRequest) -> Answering<'_, BalanceAnswer> {
        let granted = operators_only(actor).and_then(|()| request.check()).map(|()| {
            let project = request.project.unwrap_or_default();
            self.state().budgets.entry(project.clone()).or_default().0 += request.credits.0;
            self.balance(Some(project))
        });
        now(granted)
    }

    fn credit_budget(&self, actor: Actor, request: CreditBudgetRequest) -> Answering<'_, BalanceAnswer> {
        let set = operators_only(actor).and_then(|()| request.check()).map(|()| {
            let project = request.project.unwrap_or_default();
            match request.credits {
                Some(credits) => self.state().budgets.insert(project.clone(), credits),
                None => self.state().budgets.remove(&project),
            };
            self.balance(Some(project))
        });
        now(set)
    }
}

//! What runs is billed, and stopped in order when a project has nothing left; what a project may spend, and what was used.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use ringfence_model::{
    Project, SandboxId,
    api::{
        self, BalanceAnswer, BalanceRequest, CreditBudgetRequest, CreditGrantRequest, PricesView, UsageAnswer,
        UsageFigures, UsageRequest, UsageRow,
    },
    credit::{Budget, CreditSettings, DAY_MS, MilliCredits, paid_gb},
};
use ringfence_store::{Actor, SandboxStatus, TrafficTotals, Usage, UsageBy, UsageFilter, UsageOf};

use crate::{
    api::{Answering, Credits},
    engine::{Engine, now_ms},
    error::Failure,
    lookup::Found,
    service::{actor, count, looking, operators_only, tracked},
    view,
};

/// Time between two turns of billing.
const TURN: Duration = Duration::from_secs(5);
/// Turns between two looks at the gate's counters.
const TRAFFIC_EVERY: u64 = 12;
/// Turns between two looks at what disks hold.
const STORAGE_EVERY: u64 = 120;

/// What is known of credits without asking the database, for warnings in answers.
#[derive(Debug)]
pub(crate) struct Purse {
    settings: CreditSettings,
    budgets: Mutex<HashMap<Project, Budget>>,
}

impl Purse {
    pub(crate) fn new(settings: CreditSettings) -> Self {
        Self { settings, budgets: Mutex::default() }
    }

    fn budgets(&self) -> MutexGuard<'_, HashMap<Project, Budget>> {
        self.budgets.lock().expect("nothing panics under this lock")
    }

    /// What a project may spend was read.
    pub(crate) fn note(&self, project: &Project, budget: Option<Budget>) {
        match budget {
            Some(budget) => self.budgets().insert(project.clone(), budget),
            None => self.budgets().remove(project),
        };
    }

    /// What whoever works in a project is to be told, as of the last turn of billing.
    pub(crate) fn warning(&self, project: &Project) -> Option<String> {
        self.budgets().get(project)?.warning(project.as_str(), self.settings.grace_ms)
    }
}

impl Engine {
    /// Bills as long as the daemon runs. Everything is read from rows, so that it goes on after a restart where it was.
    pub(crate) async fn keep_accounts(self) {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0_u64.. {
            turns.tick().await;
            if self.is_closing() {
                return;
            }
            self.bill().await;
            if turn.is_multiple_of(TRAFFIC_EVERY) {
                self.note_all_traffic().await;
            }
            if turn.is_multiple_of(STORAGE_EVERY) {
                self.bill_storage().await;
            }
        }
    }

    /// Bills every minute that has started, and stops what nobody can pay any more.
    async fn bill(&self) {
        if self.all_live().is_empty() {
            return;
        }
        let now = self.settled_now_ms().await;
        let billed = match self.inner.store.write(move |tx| tx.bill_minutes(now)).await {
            Ok(billed) => billed,
            Err(error) => {
                let error = Failure::from(error).chain();
                tracing::warn!(error, "what runs could not be billed; it is tried again");
                return;
            }
        };
        for (project, budget) in billed.budgets {
            self.inner.purse.note(&project, Some(budget));
        }
        let over = billed.over.iter().filter_map(|id| self.live(id));
        let stops = over.map(|sandbox| async move {
            let reason = "its project has no credits left";
            if let Err(error) = self.stop(&sandbox, Actor::System, reason).await {
                tracing::warn!(error = %error.chain(), sandbox = %sandbox.id, "a sandbox without credits could not be stopped");
            }
        });
        futures::future::join_all(stops).await;
    }

    /// Notes what has passed the gate for every sandbox that runs.
    async fn note_all_traffic(&self) {
        for sandbox in self.all_live() {
            // One whose state is changing is looked at in the next turn: nobody waits for it here.
            if !sandbox.state.try_lock().is_ok_and(|state| state.status != SandboxStatus::Stopped) {
                continue;
            }
            if self.note_traffic(&sandbox.id).await.is_none() {
                // The gateway does not answer; it counts on, and is asked again.
                return;
            }
        }
    }

    /// Notes what has passed the gate for a sandbox; nothing when the gateway does not answer.
    pub(crate) async fn note_traffic(&self, sandbox: &SandboxId) -> Option<()> {
        let (_, _, totals) = self.gate_status(sandbox).await.ok()?;
        let totals = TrafficTotals {
            requests: totals.allowed,
            refused: totals.refused,
            bytes_up: totals.bytes_up,
            bytes_down: totals.bytes_down,
        };
        if totals != TrafficTotals::default() {
            let id = sandbox.clone();
            let noted = self.inner.store.write(move |tx| tx.note_traffic(&id, totals, now_ms())).await;
            noted.map_err(|error| tracing::warn!(%error, %sandbox, "what passed the gate could not be noted")).ok()?;
        }
        Some(())
    }

    /// Bills files above what is free, those of stopped sandboxes too.
    async fn bill_storage(&self) {
        for sandbox in self.all_live() {
            let Some((bytes, _)) = self.disk_use(sandbox.disk, sandbox.inherited_bytes).await else { continue };
            let (id, gb) = (sandbox.id.clone(), paid_gb(bytes));
            if gb == 0 {
                continue;
            }
            if let Err(error) = self.inner.store.write(move |tx| tx.bill_storage(&id, gb, now_ms())).await {
                tracing::warn!(%error, sandbox = %sandbox.id, "files could not be billed; it is tried again");
            }
        }
    }

    /// What a sandbox has cost.
    pub(crate) async fn cost_of(&self, sandbox: &SandboxId) -> Result<MilliCredits, Failure> {
        let id = sandbox.clone();
        Ok(self.inner.store.read(move |view| view.sandbox_cost(&id)).await?)
    }

    async fn do_check_balance(&self, project: Project) -> Result<BalanceAnswer, Failure> {
        let (now, of) = (now_ms(), project.clone());
        let standing = self.inner.store.read(move |view| view.credit_standing(&of, now)).await?;
        let (budget, prices) = (standing.budget, standing.settings.prices);
        self.inner.purse.note(&project, budget);
        let per_minute = MilliCredits(prices.minute.0.saturating_mul(i64::from(standing.metered)));
        let exhausted = budget.and_then(|budget| budget.exhausted_at_ms);
        Ok(BalanceAnswer {
            success: true,
            unlimited: budget.is_none(),
            balance: budget.map(|budget| budget.balance),
            budget: budget.map(|budget| budget.granted),
            spent: budget.map(|budget| budget.spent()),
            spent_today: standing.spent_today,
            metered: standing.metered,
            credits_per_minute: per_minute,
            minutes_left: budget.and_then(|b| u64::try_from(b.balance.0.checked_div(per_minute.0)?).ok()),
            prices: PricesView { create: prices.create, minute: prices.minute, storage_gb_day: prices.storage },
            exhausted_at: exhausted.map(view::time),
            stops_at: exhausted.map(|at| view::time(at.saturating_add(standing.settings.grace_ms))),
            warning: budget.and_then(|b| b.warning(project.as_str(), standing.settings.grace_ms)),
            project,
        })
    }

    async fn do_usage(&self, request: UsageRequest) -> Result<UsageAnswer, Failure> {
        let sandbox = match &request.sandbox_id {
            Some(reference) => Some(match self.find(reference).await? {
                Found::Live(sandbox) => sandbox.id.clone(),
                Found::Ended(row) => row.id,
            }),
            None => None,
        };
        let (days, limit) = request.check()?;
        let by = request.by.unwrap_or_default();
        let now = now_ms();
        let since_day = (now / DAY_MS).saturating_sub(u64::from(days) - 1);
        let filter = UsageFilter { project: request.project, sandbox, since_day, limit };
        let stored = match by {
            api::UsageBy::Sandbox => UsageBy::Sandbox,
            api::UsageBy::Project => UsageBy::Project,
            api::UsageBy::Day => UsageBy::Day,
        };
        let read = self.inner.store.read(move |view| {
            Ok((view.usage(stored, &filter, now)?, view.usage(UsageBy::Nothing, &filter, now)?.pop()))
        });
        let (rows, total) = read.await?;
        Ok(UsageAnswer {
            success: true,
            by,
            since: view::time(since_day * DAY_MS),
            count: count(rows.len()),
            rows: rows.into_iter().map(row).collect(),
            total: total.as_ref().map(figures).unwrap_or_default(),
        })
    }

    async fn do_credit_grant(&self, by: Actor, request: CreditGrantRequest) -> Result<BalanceAnswer, Failure> {
        request.check()?;
        let project = request.project.unwrap_or_default();
        let key = request.key.unwrap_or_else(|| hex::encode(rand::random::<[u8; 16]>()));
        let detail = serde_json::json!({"project": project, "credits": request.credits.text(), "key": key});
        let entry = Self::entry(by, "credit.grant").detail(detail);
        let of = project.clone();
        let granted = self.inner.store.write(move |tx| {
            if !tx.grant_credits(&of, request.credits, &key, now_ms())? {
                return Ok(false);
            }
            tx.audit(&entry).map(|_| true)
        });
        granted.await?;
        self.do_check_balance(project).await
    }

    async fn do_credit_budget(&self, by: Actor, request: CreditBudgetRequest) -> Result<BalanceAnswer, Failure> {
        request.check()?;
        let project = request.project.unwrap_or_default();
        let detail = serde_json::json!({"project": project, "credits": request.credits.map(MilliCredits::text)});
        let entry = Self::entry(by, "credit.budget").detail(detail);
        let (of, key) = (project.clone(), hex::encode(rand::random::<[u8; 16]>()));
        let set = self
            .inner
            .store
            .write_with_audit(entry, move |tx| tx.set_budget(&of, request.credits, &key, now_ms()))
            .await?;
        drop(set);
        self.do_check_balance(project).await
    }
}

fn row(usage: Usage) -> UsageRow {
    let used = figures(&usage);
    let empty = UsageRow { sandbox_id: None, name: None, project: None, day: None, used };
    match usage.of {
        UsageOf::Sandbox(id, name, project) => {
            UsageRow { sandbox_id: Some(id), name: Some(name), project: Some(project), ..empty }
        }
        UsageOf::Project(project) => UsageRow { project: Some(project), ..empty },
        UsageOf::Day(day) => {
            UsageRow { day: Some(view::time(day.saturating_mul(DAY_MS)).chars().take(10).collect()), ..empty }
        }
        UsageOf::Everything => empty,
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds with many digits are rounded in their last ones")]
fn figures(usage: &Usage) -> UsageFigures {
    UsageFigures {
        credits: usage.credits,
        running_seconds: usage.running_ms as f64 / 1e3,
        executions: usage.executions,
        cpu_seconds: usage.cpu_us as f64 / 1e6,
        gb_seconds: usage.memory_mib_ms as f64 / 1024.0 / 1e3,
        requests: usage.requests,
        refused: usage.refused,
        bytes_up: usage.bytes_up,
        bytes_down: usage.bytes_down,
    }
}

impl Credits for Engine {
    fn check_balance(&self, _: api::Actor, request: BalanceRequest) -> Answering<'_, BalanceAnswer> {
        looking(self.do_check_balance(request.project.unwrap_or_default()))
    }

    fn usage(&self, _: api::Actor, request: UsageRequest) -> Answering<'_, UsageAnswer> {
        looking(self.do_usage(request))
    }

    fn credit_grant(&self, by: api::Actor, request: CreditGrantRequest) -> Answering<'_, BalanceAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "granting credits")?;
            engine.do_credit_grant(actor(by), request).await
        })
    }

    fn credit_budget(&self, by: api::Actor, request: CreditBudgetRequest) -> Answering<'_, BalanceAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "setting a budget")?;
            engine.do_credit_budget(actor(by), request).await
        })
    }
}

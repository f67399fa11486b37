//! Meters of sandboxes, and the ledger that they are billed to. A meter opens and closes in the transaction that moves its sandbox.

mod check;
mod step;
mod usage;

use ringfence_model::{
    Project, SandboxId,
    credit::{Budget, CREDITS_MAX, CreditSettings, DAY_MS, MilliCredits, Prices, started_minutes},
};
use rusqlite::{OptionalExtension, params};

use crate::audit::{Actor, AuditEntry};
use crate::error::{Result, StoreError, doing};
use crate::tx::{Tx, View};

pub use step::Stepped;
pub use usage::{TrafficTotals, Usage, UsageBy, UsageFilter, UsageOf};

const BILL: &str = "bill a sandbox";
const BUDGET: &str = "change a budget";

/// A meter that is open.
struct Meter {
    sandbox: String,
    number: u64,
    project: String,
    opened_at_ms: u64,
    seen_at_ms: u64,
    billed: u64,
}

/// What came of billing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Billed {
    /// Sandboxes whose project has had nothing left for longer than the grace: they are to be stopped.
    pub over: Vec<SandboxId>,
    /// What the projects may spend that have a meter open; those with a limit alone.
    pub budgets: Vec<(Project, Budget)>,
}

/// How a project stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it may spend; `None` for any amount.
    pub budget: Option<Budget>,
    /// What it has spent on the day that was asked for: without what ran in the grace, which nobody pays.
    pub spent_today: MilliCredits,
    /// Its open meters.
    pub metered: u32,
    /// What is in force.
    pub settings: CreditSettings,
}

fn project_named(name: &str) -> Result<Project> {
    Project::parse(name).map_err(|_| StoreError::Unreadable { column: "project", row: "a meter".into() })
}

impl View<'_> {
    /// What a project may spend; `None` when that is unlimited.
    ///
    /// # Errors
    /// The database refuses.
    pub fn budget(&self, project: &Project) -> Result<Option<Budget>> {
        self.budget_named(project.as_str())
    }

    fn budget_named(&self, project: &str) -> Result<Option<Budget>> {
        self.conn
            .prepare_cached("SELECT granted_mc, balance_mc, exhausted_at_ms FROM credit_project WHERE name = ?1")
            .and_then(|mut statement| {
                let read = |row: &rusqlite::Row<'_>| {
                    let (granted, balance) = (MilliCredits(row.get(0)?), MilliCredits(row.get(1)?));
                    Ok(Budget { granted, balance, exhausted_at_ms: row.get(2)? })
                };
                statement.query_row(params![project], read).optional()
            })
            .map_err(doing("read a budget"))
    }

    /// What the operator has decided about credits; the defaults before [`Tx::set_credit_settings`].
    ///
    /// # Errors
    /// The database refuses.
    pub fn credit_settings(&self) -> Result<CreditSettings> {
        const WHAT: &str = "read the prices";
        let mut settings = CreditSettings::default();
        let mut statement = self.conn.prepare_cached("SELECT name, value FROM credit_setting").map_err(doing(WHAT))?;
        let mut rows = statement.query([]).map_err(doing(WHAT))?;
        while let Some(row) = rows.next().map_err(doing(WHAT))? {
            let (name, value): (String, i64) = (row.get(0).map_err(doing(WHAT))?, row.get(1).map_err(doing(WHAT))?);
            match name.as_str() {
                "create" => settings.prices.create = MilliCredits(value),
                "minute" => settings.prices.minute = MilliCredits(value),
                "storage" => settings.prices.storage = MilliCredits(value),
                "grace_ms" => settings.grace_ms = u64::try_from(value).unwrap_or(0),
                "budget" => settings.budget = Some(MilliCredits(value)),
                _ => {}
            }
        }
        Ok(settings)
    }

    /// How a project stands at `now_ms`.
    ///
    /// # Errors
    /// The database refuses.
    pub fn credit_standing(&self, project: &Project, now_ms: u64) -> Result<Standing> {
        const WHAT: &str = "read how a project stands";
        let one = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_row(params, |row| row.get::<_, i64>(0)))
                .map_err(doing(WHAT))
        };
        let name = project.as_str();
        let sql = "SELECT coalesce(sum(amount_mc), 0) FROM credit_transaction JOIN credit_posting ON id = transaction_id \
                   WHERE at_ms >= ?2 AND project = ?1 AND account IN ('revenue', 'written_off')";
        let spent_today = MilliCredits(one(sql, &[&name, &(now_ms - now_ms % DAY_MS)])?);
        let sql = "SELECT count(*) FROM meter WHERE closed_at_ms IS NULL AND project = ?1";
        let metered = u32::try_from(one(sql, &[&name])?).unwrap_or(u32::MAX);
        let settings = self.credit_settings()?;
        let first = match settings.budget {
            Some(budget) if !self.was_budget_said(project)? => Some(budget),
            _ => None,
        };
        let first = first.map(|granted| Budget { granted, balance: granted, exhausted_at_ms: None });
        Ok(Standing { budget: self.budget(project)?.or(first), spent_today, metered, settings })
    }

    /// What a sandbox has cost so far, refunds taken off.
    ///
    /// # Errors
    /// The database refuses.
    pub fn sandbox_cost(&self, sandbox: &SandboxId) -> Result<MilliCredits> {
        let sql = "SELECT coalesce(sum(amount_mc), 0) FROM credit_transaction JOIN credit_posting ON id = transaction_id \
                   WHERE sandbox_id = ?1 AND account = 'revenue'";
        self.of_a_sandbox(sql, sandbox).map(MilliCredits)
    }

    /// The started minutes that a sandbox was billed for.
    ///
    /// # Errors
    /// The database refuses.
    pub fn sandbox_minutes(&self, sandbox: &SandboxId) -> Result<u64> {
        let sql = "SELECT coalesce(sum(billed_minutes), 0) FROM meter WHERE sandbox_id = ?1";
        Ok(u64::try_from(self.of_a_sandbox(sql, sandbox)?).unwrap_or(0))
    }

    fn of_a_sandbox(&self, sql: &str, sandbox: &SandboxId) -> Result<i64> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)))
            .map_err(doing("read what a sandbox has cost"))
    }

    /// Whether a budget was ever set for a project, or taken away from it.
    fn was_budget_said(&self, project: &Project) -> Result<bool> {
        // A name has no colon, and what comes after one in ASCII is a semicolon.
        let sql =
            "SELECT 1 FROM credit_transaction WHERE key > 'budget:' || ?1 || ':' AND key < 'budget:' || ?1 || ';'";
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.exists(params![project.as_str()]))
            .map_err(doing("read a budget"))
    }

    /// Whose a sandbox is.
    fn project_of(&self, sandbox: &SandboxId) -> Result<String> {
        self.conn
            .prepare_cached("SELECT project FROM sandbox WHERE id = ?1")
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)))
            .map_err(doing("read whose a sandbox is"))
    }

    fn open_meters(&self, only: Option<&SandboxId>) -> Result<Vec<Meter>> {
        let sql = "SELECT sandbox_id, number, project, opened_at_ms, seen_at_ms, billed_minutes FROM meter \
                   WHERE closed_at_ms IS NULL AND (?1 IS NULL OR sandbox_id = ?1) ORDER BY sandbox_id";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(BILL))?;
        let rows = statement.query_map(params![only.map(SandboxId::as_str)], |row| {
            let (sandbox, number, project) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (opened_at_ms, seen_at_ms, billed) = (row.get(3)?, row.get(4)?, row.get(5)?);
            Ok(Meter { sandbox, number, project, opened_at_ms, seen_at_ms, billed })
        });
        rows.map_err(doing(BILL))?.map(|row| row.map_err(doing(BILL))).collect()
    }
}

impl Tx<'_> {
    /// From now on these prices, this grace and this budget of new projects are in force.
    ///
    /// # Errors
    /// The database refuses.
    pub fn set_credit_settings(&self, settings: &CreditSettings) -> Result<()> {
        const WHAT: &str = "set the prices";
        let CreditSettings { prices: Prices { create, minute, storage }, grace_ms, budget } = *settings;
        let grace = i64::try_from(grace_ms).unwrap_or(i64::MAX);
        self.conn.execute("DELETE FROM credit_setting", []).map_err(doing(WHAT))?;
        let all = [
            ("create", Some(create.0)),
            ("minute", Some(minute.0)),
            ("storage", Some(storage.0)),
            ("grace_ms", Some(grace)),
            ("budget", budget.map(|budget| budget.0)),
        ];
        for (name, value) in all {
            let Some(value) = value else { continue };
            self.conn
                .execute("INSERT INTO credit_setting (name, value) VALUES (?1, ?2)", params![name, value])
                .map_err(doing(WHAT))?;
        }
        Ok(())
    }

    /// Gives a project credits. With the first of them its budget is limited. `false` when `key` was used already.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an amount below one milli-credit, or more than a project can have, or the database refuses.
    pub fn grant_credits(&self, project: &Project, amount: MilliCredits, key: &str, now_ms: u64) -> Result<bool> {
        let most = MilliCredits::whole(CREDITS_MAX);
        let granted = self.budget(project)?.map_or(0, |budget| budget.granted.0.max(budget.balance.0));
        if amount.0 < 1 || granted.saturating_add(amount.0) > most.0 {
            return Err(StoreError::Refused(format!(
                "a project can have at most {most} credits, and a grant is at least 0.001; \
                 `ringfence credits budget` sets what it may spend from now on"
            )));
        }
        let key = format!("grant:{}:{key}", project.as_str());
        if self.is_posted(&key)? {
            return Ok(false);
        }
        let sql = "INSERT INTO credit_project (name, granted_mc, balance_mc) VALUES (?1, 0, 0) ON CONFLICT DO NOTHING";
        self.conn.execute(sql, params![project.as_str()]).map_err(doing(BUDGET))?;
        self.post(&key, project.as_str(), None, now_ms, &[("grants", -amount.0), ("balance", amount.0)])?;
        self.granted(project, "granted_mc + ?2", amount)?;
        Ok(true)
    }

    /// Sets what a project may spend from now on; `None` for any amount.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an amount that no project can have, or the database refuses.
    pub fn set_budget(&self, project: &Project, budget: Option<MilliCredits>, key: &str, now_ms: u64) -> Result<()> {
        if budget.is_some_and(|budget| budget.0 < 0 || budget > MilliCredits::whole(CREDITS_MAX)) {
            return Err(StoreError::Refused(format!("a budget is 0 to {CREDITS_MAX} credits")));
        }
        let sql = "INSERT INTO credit_project (name, granted_mc, balance_mc) VALUES (?1, 0, 0) ON CONFLICT DO NOTHING";
        self.conn.execute(sql, params![project.as_str()]).map_err(doing(BUDGET))?;
        let left = self.budget(project)?.map_or(0, |budget| budget.balance.0);
        let more = budget.map_or(0, |budget| budget.0) - left;
        let key = format!("budget:{}:{key}", project.as_str());
        self.post(&key, project.as_str(), None, now_ms, &[("grants", -more), ("balance", more)])?;
        match budget {
            Some(budget) => self.granted(project, "?2", budget),
            None => {
                let sql = "DELETE FROM credit_project WHERE name = ?1";
                self.conn.execute(sql, params![project.as_str()]).map(drop).map_err(doing(BUDGET))
            }
        }
    }

    fn granted(&self, project: &Project, to: &str, amount: MilliCredits) -> Result<()> {
        let sql = format!("UPDATE credit_project SET granted_mc = {to}, exhausted_at_ms = NULL WHERE name = ?1");
        self.conn.execute(&sql, params![project.as_str(), amount.0]).map_err(doing(BUDGET))?;
        // Who was given more is warned anew, of what is not so already.
        let percent = self.budget(project)?.filter(|b| b.balance.0 > 0).and_then(|budget| budget.warned_percent());
        let sql = "UPDATE credit_project SET warned_percent = ?2 WHERE name = ?1";
        self.conn.execute(sql, params![project.as_str(), percent.unwrap_or(0)]).map(drop).map_err(doing(BUDGET))
    }

    /// Bills every minute that has started, and remembers that what runs was seen now.
    ///
    /// # Errors
    /// The database refuses.
    pub fn bill_minutes(&self, now_ms: u64) -> Result<Billed> {
        let settings = self.credit_settings()?;
        let mut billed = Billed::default();
        let meters = self.open_meters(None)?;
        for meter in &meters {
            self.bill(meter, settings.prices, now_ms.max(meter.seen_at_ms), false)?;
        }
        for meter in meters {
            let Some(budget) = self.budget_named(&meter.project)? else { continue };
            let project = project_named(&meter.project)?;
            if budget.balance.0 <= 0 {
                // Nothing was left before anything was spent: a budget of 0.
                let since = budget.exhausted_at_ms.unwrap_or(now_ms);
                let sql = "UPDATE credit_project SET exhausted_at_ms = ?2 WHERE name = ?1 AND exhausted_at_ms IS NULL";
                self.conn.execute(sql, params![meter.project, since]).map_err(doing(BILL))?;
                if since.saturating_add(settings.grace_ms) <= now_ms {
                    let unreadable = |_| StoreError::Unreadable { column: "sandbox_id", row: "a meter".into() };
                    billed.over.push(SandboxId::parse(&meter.sandbox).map_err(unreadable)?);
                }
            }
            if billed.budgets.iter().all(|(known, _)| *known != project) {
                billed.budgets.push((project, budget));
            }
        }
        Ok(billed)
    }

    /// Bills files above what is free, once a day for each GB: `gb` is how many of a sandbox are to be paid.
    ///
    /// # Errors
    /// The database refuses.
    pub fn bill_storage(&self, sandbox: &SandboxId, gb: u64, now_ms: u64) -> Result<()> {
        const GB_MAX: u64 = 1 << 20;
        let price = self.credit_settings()?.prices.storage;
        let (project, day) = (self.project_of(sandbox)?, now_ms / DAY_MS);
        for number in 1..=gb.min(GB_MAX) {
            self.charge(&format!("storage:{sandbox}:{day}:{number}"), &project, sandbox.as_str(), now_ms, price.0)?;
        }
        Ok(())
    }

    /// Charges the creation of a sandbox whose row was added, if the project can pay `more` besides.
    pub(crate) fn pay_creation(&self, sandbox: &SandboxId, at_ms: u64, more: MilliCredits) -> Result<()> {
        let settings = self.credit_settings()?;
        let name = self.project_of(sandbox)?;
        let project = project_named(&name)?;
        self.can_pay(&project, MilliCredits(settings.prices.create.0 + more.0), at_ms)?;
        self.charge(&format!("create:{sandbox}"), &name, sandbox.as_str(), at_ms, settings.prices.create.0)
    }

    /// A project that the operator has said nothing of begins with the budget of new ones, if there is one.
    fn can_pay(&self, project: &Project, needed: MilliCredits, at_ms: u64) -> Result<()> {
        let mut budget = self.budget(project)?;
        if budget.is_none()
            && let Some(first) = self.credit_settings()?.budget
            && !self.was_budget_said(project)?
        {
            self.set_budget(project, Some(first), "first", at_ms)?;
            budget = self.budget(project)?;
        }
        match budget {
            Some(budget) if budget.balance < needed => {
                Err(StoreError::InsufficientCredits { project: project.clone(), needed, balance: budget.balance })
            }
            _ => Ok(()),
        }
    }

    /// The price of a started minute.
    pub(crate) fn minute_price(&self) -> Result<MilliCredits> {
        Ok(self.credit_settings()?.prices.minute)
    }

    /// Opens the meter of a sandbox, which pays its first minute.
    pub(crate) fn open_meter(&self, sandbox: &SandboxId, at_ms: u64) -> Result<()> {
        let (name, prices) = (self.project_of(sandbox)?, self.credit_settings()?.prices);
        self.can_pay(&project_named(&name)?, prices.minute, at_ms)?;
        let sql = "INSERT INTO meter (sandbox_id, number, project, opened_at_ms, seen_at_ms, billed_minutes) VALUES \
                   (?1, (SELECT count(*) FROM meter WHERE sandbox_id = ?1), ?2, ?3, ?3, 0)";
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![sandbox.as_str(), name, at_ms]))
            .map_err(doing("open a meter"))?;
        self.open_meters(Some(sandbox))?.iter().try_for_each(|meter| self.bill(meter, prices, at_ms, false))
    }

    /// Closes the meter of a sandbox, if one is open: at `at_ms`, or when it was seen last. Which number it has.
    pub(crate) fn close_meter(&self, sandbox: &SandboxId, at_ms: Option<u64>) -> Result<Option<u64>> {
        let prices = self.credit_settings()?.prices;
        // At most one is open, which the database keeps so.
        let Some(meter) = self.open_meters(Some(sandbox))?.pop() else { return Ok(None) };
        self.bill(&meter, prices, at_ms.unwrap_or(0).max(meter.seen_at_ms), true)?;
        Ok(Some(meter.number))
    }

    /// Gives back all that a sandbox has paid.
    pub(crate) fn refund(&self, sandbox: &SandboxId, at_ms: u64) -> Result<()> {
        self.give_back(sandbox, None, at_ms)
    }

    /// Gives back what one of a sandbox's meters has cost.
    pub(crate) fn refund_meter(&self, sandbox: &SandboxId, number: u64, at_ms: u64) -> Result<()> {
        self.give_back(sandbox, Some(number), at_ms)
    }

    fn give_back(&self, sandbox: &SandboxId, meter: Option<u64>, at_ms: u64) -> Result<()> {
        const WHAT: &str = "refund a sandbox";
        let project = self.project_of(sandbox)?;
        // A number has no colon, and what comes after one in ASCII is a semicolon.
        let sql = "SELECT account, -sum(amount_mc) FROM credit_transaction JOIN credit_posting ON id = transaction_id \
                   WHERE sandbox_id = ?1 AND (?2 IS NULL OR key > ?2 || ':' AND key < ?2 || ';') \
                   GROUP BY account HAVING sum(amount_mc) <> 0";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let keys = meter.map(|number| format!("minute:{sandbox}:{number}"));
        let rows =
            statement.query_map(params![sandbox.as_str(), keys], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
        let mut rows: Vec<(String, i64)> = rows.and_then(Iterator::collect).map_err(doing(WHAT))?;
        // The limit may have been taken away or set meanwhile: what was paid in one way is not given back in the other.
        let is_limited = self.budget_named(&project)?.is_some();
        for (account, _) in &mut rows {
            if *account == "balance" && !is_limited {
                "grants".clone_into(account);
            }
        }
        let postings: Vec<_> = rows.iter().map(|(account, amount)| (account.as_str(), *amount)).collect();
        let key = meter.map_or_else(|| format!("refund:{sandbox}"), |number| format!("refund:{sandbox}:{number}"));
        self.post(&key, &project, Some(sandbox.as_str()), at_ms, &postings).map(drop)
    }

    fn bill(&self, meter: &Meter, prices: Prices, until_ms: u64, close: bool) -> Result<()> {
        let minutes = started_minutes(meter.opened_at_ms, until_ms).max(meter.billed);
        if minutes > meter.billed {
            let more = i64::try_from(minutes - meter.billed).unwrap_or(i64::MAX);
            let amount = more.saturating_mul(prices.minute.0);
            let key = format!("minute:{}:{}:{minutes}", meter.sandbox, meter.number);
            self.charge(&key, &meter.project, &meter.sandbox, until_ms, amount)?;
        }
        let sql = "UPDATE meter SET billed_minutes = ?3, seen_at_ms = ?4, closed_at_ms = CASE WHEN ?5 THEN ?4 END \
                   WHERE sandbox_id = ?1 AND number = ?2 AND closed_at_ms IS NULL";
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![meter.sandbox, meter.number, minutes, until_ms, close]))
            .map(drop)
            .map_err(doing(BILL))
    }

    /// Takes an amount from a project. What its balance does not hold is written off: it is never negative. What is free is in no entry.
    fn charge(&self, key: &str, project: &str, sandbox: &str, at_ms: u64, amount: i64) -> Result<()> {
        if amount == 0 {
            return Ok(());
        }
        let budget = self.budget_named(project)?;
        let mut postings = vec![("revenue", amount)];
        match budget {
            None => postings.push(("unlimited", -amount)),
            Some(budget) => {
                let paid = budget.balance.0.min(amount);
                postings.extend([("balance", -paid), ("written_off", paid - amount)]);
            }
        }
        if self.post(key, project, Some(sandbox), at_ms, &postings)? && budget.is_some() {
            self.warn(project, at_ms)?;
        }
        Ok(())
    }

    /// Records in the chain, once each, that a half, four fifths or all of a budget is spent.
    fn warn(&self, project: &str, at_ms: u64) -> Result<()> {
        let Some(budget) = self.budget_named(project)? else { return Ok(()) };
        let Some(percent) = budget.warned_percent() else { return Ok(()) };
        let sql = "UPDATE credit_project SET warned_percent = ?2, exhausted_at_ms = CASE WHEN balance_mc = 0 \
                   THEN coalesce(exhausted_at_ms, ?3) ELSE exhausted_at_ms END WHERE name = ?1 AND warned_percent < ?2";
        let is_new = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![project, percent, at_ms]))
            .map_err(doing(BILL))?;
        if is_new == 0 || !self.lasting {
            return Ok(());
        }
        let event = if percent == 100 { "credit.exhausted" } else { "credit.warn" };
        let detail = serde_json::json!({
            "project": project, "percent": percent, "balance": budget.balance.text(), "budget": budget.granted.text(),
        });
        self.audit(&AuditEntry::new(at_ms, Actor::System, event).detail(detail)).map(drop)
    }

    fn is_posted(&self, key: &str) -> Result<bool> {
        self.conn
            .prepare_cached("SELECT 1 FROM credit_transaction WHERE key = ?1")
            .and_then(|mut statement| statement.exists(params![key]))
            .map_err(doing("read the ledger"))
    }

    /// Writes a transaction. `false` when there is one of this key.
    fn post(
        &self,
        key: &str,
        project: &str,
        sandbox: Option<&str>,
        at_ms: u64,
        postings: &[(&str, i64)],
    ) -> Result<bool> {
        const WHAT: &str = "write into the ledger";
        let sql = "INSERT INTO credit_transaction (key, at_ms, project, sandbox_id) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO NOTHING";
        let added = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![key, at_ms, project, sandbox]))
            .map_err(doing(WHAT))?;
        if added == 0 {
            return Ok(false);
        }
        let id = self.conn.last_insert_rowid();
        for (account, amount) in postings.iter().filter(|(_, amount)| *amount != 0) {
            let sql = "INSERT INTO credit_posting (transaction_id, account, amount_mc) VALUES (?1, ?2, ?3)";
            self.conn
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute(params![id, account, amount]))
                .map_err(doing(WHAT))?;
            if *account == "balance" {
                let sql = "UPDATE credit_project SET balance_mc = balance_mc + ?2, exhausted_at_ms = CASE \
                           WHEN balance_mc + ?2 > 0 THEN NULL ELSE exhausted_at_ms END WHERE name = ?1";
                self.conn
                    .prepare_cached(sql)
                    .and_then(|mut statement| statement.execute(params![project, amount]))
                    .map_err(doing(WHAT))?;
            }
        }
        Ok(true)
    }
}

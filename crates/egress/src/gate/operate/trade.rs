//! What `serve` asks about trading: who may ask what, the mode, and the limits.

mod choose;
mod show;
mod switch;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ringfence_model::api::{TradeLimit, TradeLimitsAnswer, TradeModeAnswer, TradeModeRequest, trade_account};
use ringfence_model::net::control::{GateAnswer, TradeAsked, TradeOp, TradeSaid, TradeScope};
use ringfence_model::trade::{AccountId, By, Environment, LIVE_MS_MAX, Limits, Mode};
use ringfence_model::{ApiError, Code, SandboxId};
use ringfence_store::gate::LimitsRow;
use ringfence_store::{AuditFilter, StoreError};

use super::{failed, invalid};
use crate::gate::limits::lock;
use crate::gate::{Gate, now_ms};

/// How often the end of live is looked for at least: the host's clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What a host's clock is set back by in its ordinary care, in milliseconds.
const CLOCK_STEP_MS_MAX: u64 = 5_000;
const TIME_IS_OVER: &str = "the time of live trading is over";

/// Whether somebody may ask this. A client reads, tightens and halts; it never sets a mode, loosens, resumes, approves or sells.
fn may(by: By, op: &TradeOp) -> Result<(), ApiError> {
    let what = match op {
        _ if by == By::Operator => return Ok(()),
        TradeOp::Status(_)
        | TradeOp::Limits(_)
        | TradeOp::Tighten { .. }
        | TradeOp::Halt { flatten: false, .. }
        | TradeOp::Orders { .. }
        | TradeOp::Positions { .. }
        | TradeOp::Choose { .. }
        | TradeOp::Holds => return Ok(()),
        TradeOp::SetMode(_) => "the mode of trading is set",
        TradeOp::SetLimits { .. } => "limits are set",
        TradeOp::Halt { .. } => "positions are closed",
        TradeOp::Reduce { .. } => "trading is restricted to what reduces",
        TradeOp::Resume { .. } => "trading is resumed",
        TradeOp::Answer { .. } => "an order that waits is answered",
    };
    let message = format!("{what} by the operator alone: use `ringfence trade` on the daemon's machine");
    Err(ApiError::new(Code::PermissionDenied, message))
}

/// A time as answers have it.
fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// When live ends; none in other modes.
fn until(mode: Mode) -> Option<String> {
    match mode {
        Mode::Live { until_ms } => Some(time(until_ms)),
        Mode::Simulated | Mode::Paper | Mode::Ended => None,
    }
}

fn mode_answer(mode: Mode, before: Mode, warnings: Vec<String>) -> TradeModeAnswer {
    let (now, before) = (mode.as_str().to_owned(), before.as_str().to_owned());
    TradeModeAnswer { success: true, mode: now, until: until(mode), before, warnings }
}

impl Gate {
    pub(super) async fn operate_trade(self: &Arc<Self>, asked: TradeAsked) -> Result<GateAnswer, ApiError> {
        let TradeAsked { by, op } = asked;
        may(by, &op)?;
        let said = match op {
            TradeOp::Status(scope) => TradeSaid::Status(self.trade_status(scope).await?),
            TradeOp::SetMode(request) => TradeSaid::Mode(self.set_trade_mode(request).await?),
            TradeOp::Limits(scope) => TradeSaid::Limits(self.trade_limits(scope).await.map_err(failed)?),
            TradeOp::SetLimits { scope, limits } => TradeSaid::Limits(self.set_trade_limits(scope, limits).await?),
            TradeOp::Tighten { sandbox, limits } => TradeSaid::Limits(self.tighten(sandbox, limits).await?),
            TradeOp::Halt { scope, reason, cancel, flatten } => {
                TradeSaid::State(self.halt(by, scope, reason, cancel, flatten).await?)
            }
            TradeOp::Reduce { scope, reason } => TradeSaid::State(self.reduce(scope, reason).await?),
            TradeOp::Resume { scope, reason } => TradeSaid::State(self.resume(scope, reason).await?),
            TradeOp::Orders { scope, open, limit } => TradeSaid::Orders(self.list_orders(scope, open, limit).await?),
            TradeOp::Positions { account } => TradeSaid::Positions(self.list_positions(account).await?),
            TradeOp::Choose { sandbox, choice } => TradeSaid::Chosen(self.choose_account(&sandbox, &choice).await?),
            TradeOp::Holds => TradeSaid::Holds(self.list_holds().await?),
            TradeOp::Answer { number, approve } => TradeSaid::Hold(self.answer_hold(number, approve).await?),
        };
        Ok(GateAnswer::Trade(Box::new(said)))
    }

    /// Brings the mode in force that was set before this gateway began. Live does not outlast its opt-in, nor its end.
    pub(in crate::gate) async fn load_mode(self: &Arc<Self>) -> Result<(), StoreError> {
        let mode = self.store.trade_mode(AccountId::venue()).await?;
        let newest = AuditFilter { limit: Some(1), ..AuditFilter::default() };
        let written_ms = self.store.audit_records(newest).await?.first().map_or(0, |entry| entry.at_ms);
        match mode {
            Mode::Live { until_ms } => match over(until_ms, now_ms(), written_ms, self.live_allowed) {
                Some(why) => self.end_live(why).await,
                None => self.put_mode(mode),
            },
            Mode::Simulated | Mode::Paper | Mode::Ended => self.put_mode(mode),
        }
        Ok(())
    }

    /// In force at once, and also where the disk does not take it: what is kept then is looked at again at the next start.
    async fn end_live(&self, why: &str) {
        tracing::warn!("{why}: orders go nowhere until a mode is set");
        self.leads.set_mode(Mode::Ended);
        self.look_again();
        if let Err(error) = self.store.trade_live_ended(AccountId::venue(), why.to_owned(), now_ms()).await {
            tracing::error!(%error, "the end of live trading could not be recorded");
        }
    }

    /// What was begun in another mode ends, also when live does.
    fn put_mode(self: &Arc<Self>, mode: Mode) {
        self.leads.set_mode(mode);
        self.look_again();
        if let Mode::Live { until_ms } = mode {
            tokio::spawn(end_of_live(Arc::downgrade(self), until_ms));
        }
    }

    fn look_again(&self) {
        let rooms: Vec<_> = lock(&self.rooms).values().cloned().collect();
        rooms.iter().for_each(|room| room.touch());
    }

    async fn set_trade_mode(self: &Arc<Self>, request: TradeModeRequest) -> Result<TradeModeAnswer, ApiError> {
        let _turn = self.changes.lock().await;
        let mode = match request.mode.as_str() {
            "simulated" => Mode::Simulated,
            "paper" => Mode::Paper,
            "live" => self.armed(&request).await?,
            _ => return Err(invalid("`mode` is `simulated`, `paper` or `live`")),
        };
        if request.mode != "live" && (request.until.is_some() || request.account.is_some()) {
            return Err(invalid("`until` and `account` are for mode `live`"));
        }
        let before = self.leads.mode();
        let warnings = self.left_behind(mode).await.map_err(failed)?;
        // On disk, with its entry in the audit chain, before an order goes another way.
        self.store.trade_mode_set(AccountId::venue(), mode, now_ms()).await.map_err(failed)?;
        self.put_mode(mode);
        Ok(mode_answer(mode, before, warnings))
    }

    async fn armed(&self, request: &TradeModeRequest) -> Result<Mode, ApiError> {
        // Said first: without it nothing else is of use.
        let denied = |why: String| ApiError::new(Code::PermissionDenied, why);
        if !self.live_allowed {
            return Err(denied(
                "live trading is not allowed in the configuration of this installation: set `live_allowed = true` under \
                 `[trade]` in config.toml and start ringfence anew"
                    .to_owned(),
            ));
        }
        let account = trade_account(request.account.as_deref())?;
        let account = account
            .filter(|account| account.environment() == Some(Environment::Live))
            .ok_or_else(|| invalid("`account` is needed: `live:` and the account's id at the broker"))?;
        let until = request.until.as_deref().unwrap_or_default();
        let until: jiff::Timestamp = until.parse().map_err(|_| invalid("`until` is needed: a time as in RFC 3339"))?;
        let until_ms = u64::try_from(until.as_millisecond()).unwrap_or_default();
        let own = self.store.trade_limits(account.clone(), None).await.map_err(failed)?;
        let limits = own.map_or_else(Limits::for_live, |row| row.limits);
        let typed = request.confirm.as_deref().unwrap_or_default();
        Mode::arm_live(self.live_allowed, account.as_str(), typed, &limits, until_ms, now_ms()).map_err(|error| {
            let text = error.to_string();
            match error {
                ringfence_model::trade::NotArmed::Missing(_) => {
                    invalid(format!("{text}; use `ringfence trade limits --account {account} set NAME=VALUE …`"))
                }
                ringfence_model::trade::NotArmed::BadEnd => invalid(text),
                _ => denied(text),
            }
        })
    }

    /// What is open where no new order goes any more.
    async fn left_behind(&self, mode: Mode) -> Result<Vec<String>, StoreError> {
        let environment = mode.environment(now_ms());
        let mut warnings = Vec::new();
        for account in self.store.trade_accounts().await? {
            let open = self.store.trade_open(account.clone(), None).await?.len();
            if open > 0 && account.environment() != environment {
                warnings.push(format!(
                    "{open} orders are open in {account} and stay there; `ringfence trade halt --account {account}` cancels them"
                ));
            }
        }
        Ok(warnings)
    }

    async fn set_trade_limits(
        &self,
        scope: TradeScope,
        values: BTreeMap<String, String>,
    ) -> Result<TradeLimitsAnswer, ApiError> {
        let _turn = self.changes.lock().await;
        let account = scope.in_ledger();
        let own = self.store.trade_limits(account.clone(), scope.sandbox.clone()).await.map_err(failed)?;
        let (mut limits, out_of_the_box) = match &scope.sandbox {
            // A sandbox begins without limits of its own: it has those of its account.
            Some(_) => (own.map_or_else(Limits::none, |row| row.limits), Limits::none()),
            None => {
                let limits = self.store.trade_limits_in_force(account.clone(), None).await.map_err(failed)?;
                (limits, defaults(&account))
            }
        };
        for (name, text) in &values {
            let text = if text == "default" { out_of_the_box.get(name) } else { Ok(text.clone()) };
            text.and_then(|text| limits.set(name, &text)).map_err(|error| invalid(error.to_string()))?;
        }
        self.store.trade_limits_set(account, scope.sandbox.clone(), limits, now_ms()).await.map_err(failed)?;
        self.trade_limits(scope).await.map_err(failed)
    }

    async fn tighten(
        &self,
        sandbox: SandboxId,
        values: BTreeMap<String, String>,
    ) -> Result<TradeLimitsAnswer, ApiError> {
        let mut tighter = Limits::none();
        for (name, text) in &values {
            if text == "none" || text == "default" {
                return Err(ApiError::new(
                    Code::PermissionDenied,
                    format!("`{name}`: `{text}` would take a limit away: only the operator may do that"),
                ));
            }
            tighter.set(name, text).map_err(|error| invalid(error.to_string()))?;
        }
        let _turn = self.changes.lock().await;
        let venue = AccountId::venue();
        let in_force = self.store.trade_limits_in_force(venue.clone(), Some(sandbox.clone())).await.map_err(failed)?;
        in_force
            .tightened_by(&tighter)
            .map_err(|loosened| ApiError::new(Code::PermissionDenied, loosened.to_string()))?;
        self.store.trade_limits_tighten(venue, sandbox.clone(), tighter, now_ms()).await.map_err(failed)?;
        self.trade_limits(TradeScope { account: None, sandbox: Some(sandbox) }).await.map_err(failed)
    }

    /// The limits in force, each with who set it.
    async fn trade_limits(&self, scope: TradeScope) -> Result<TradeLimitsAnswer, StoreError> {
        let (account, venue) = (scope.in_ledger(), AccountId::venue());
        let in_force = self.store.trade_limits_in_force(account.clone(), scope.sandbox.clone()).await?;
        let is_live = account.environment() == Some(Environment::Live);
        let mut rows: Vec<(LimitsRow, &str)> = Vec::new();
        // The nearest first: of equal values it is the one that stays whatever happens to the others.
        if scope.sandbox.is_some() {
            for of in [&account, &venue] {
                rows.extend(
                    self.store.trade_limits(of.clone(), scope.sandbox.clone()).await?.map(|row| (row, "sandbox")),
                );
            }
        }
        match self.store.trade_limits(account.clone(), None).await? {
            Some(row) => rows.push((row, if account.is_venue() { "all accounts" } else { "account" })),
            None if is_live => {}
            None => rows.extend(self.store.trade_limits(venue, None).await?.map(|row| (row, "all accounts"))),
        }
        let out_of_the_box = defaults(&account);
        let limits = Limits::KNOBS.iter().map(|knob| {
            let text = |limits: &Limits| limits.get(knob.name).unwrap_or_default();
            let (value, default) = (text(&in_force), text(&out_of_the_box));
            let setter = rows.iter().find(|(row, _)| text(&row.limits) == value && value != default);
            let set_by = setter.map_or("default".to_owned(), |(row, whose)| format!("{} ({whose})", row.set_by));
            TradeLimit {
                name: knob.name.to_owned(),
                value,
                unit: knob.unit.to_owned(),
                default,
                set_by,
                tighter: knob.tighter.to_owned(),
                needed_live: knob.live,
                about: knob.about.to_owned(),
            }
        });
        Ok(TradeLimitsAnswer {
            success: true,
            account: scope.account.map(String::from),
            sandbox_id: scope.sandbox.map(|sandbox| sandbox.to_string()),
            limits: limits.collect(),
        })
    }
}

/// What limits of an account are before anybody sets them.
fn defaults(account: &AccountId) -> Limits {
    match account.environment() {
        Some(Environment::Live) => Limits::for_live(),
        Some(Environment::Simulated | Environment::Paper) | None => Limits::out_of_the_box(),
    }
}

/// Why live that was armed until then is over at a start of the gateway, which wrote to its chain at `written_ms` last.
fn over(until_ms: u64, now_ms: u64, written_ms: u64, live_allowed: bool) -> Option<&'static str> {
    match until_ms.saturating_sub(now_ms) {
        _ if !live_allowed => Some("live trading is no longer allowed in config.toml"),
        0 => Some(TIME_IS_OVER),
        left if left > LIVE_MS_MAX || written_ms > now_ms.saturating_add(CLOCK_STEP_MS_MAX) => {
            Some("the host's clock was set back since live trading was armed")
        }
        _ => None,
    }
}

/// How long live goes on: until its time by the host's clock, and no longer than was left when it was armed, whatever becomes of that clock.
fn left(until_ms: u64, now_ms: u64, armed: Instant, length: Duration) -> Duration {
    Duration::from_millis(until_ms.saturating_sub(now_ms)).min(length.saturating_sub(armed.elapsed()))
}

/// Waits for the end of live; then what is under way ends, and it is written down.
async fn end_of_live(gate: Weak<Gate>, until_ms: u64) {
    let (armed, length) = (Instant::now(), Duration::from_millis(until_ms.saturating_sub(now_ms())));
    loop {
        let left = left(until_ms, now_ms(), armed, length);
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
    let Some(gate) = gate.upgrade() else { return };
    let _turn = gate.changes.lock().await;
    if gate.leads.mode() != (Mode::Live { until_ms }) {
        return;
    }
    // Not only until then: the clock may be set back after it.
    gate.end_live(TIME_IS_OVER).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_makes_live_no_longer() {
        let (hour, armed) = (Duration::from_secs(3600), Instant::now());
        let (now, until) = (1_000_000_000_000, 1_000_000_000_000 + 3_600_000);
        assert!(left(until, now, armed, hour) <= hour && left(until, now, armed, hour) > hour / 2);
        assert!(left(until, until, armed, hour).is_zero(), "by the host's clock");
        assert!(left(until, now - 86_400_000, armed, hour) <= hour, "the clock says that it is yesterday");
        assert!(
            left(until, now - 86_400_000, armed, Duration::ZERO).is_zero(),
            "and when the hour is over it still does"
        );
        assert_eq!(over(until, now, 0, true), None, "an empty chain");
        assert_eq!(over(until, now, now, true), None);
        assert_eq!(over(until, now, now + CLOCK_STEP_MS_MAX, true), None);
        assert!(over(until, now, now, false).is_some_and(|why| why.contains("config.toml")));
        assert!(over(until, until, until, true).is_some_and(|why| why.contains("over")));
        assert!(over(until, now - LIVE_MS_MAX, 0, true).is_some_and(|why| why.contains("set back")));
        assert!(over(until, now, now + 60_000, true).is_some_and(|why| why.contains("set back")), "by less than a day");
    }

    #[test]
    fn a_client_reads_tightens_and_halts_and_does_nothing_else() {
        let scope = TradeScope::default;
        let halt = |flatten| TradeOp::Halt { scope: scope(), reason: String::new(), cancel: true, flatten };
        let reason = String::new;
        let allowed = [
            TradeOp::Status(scope()),
            TradeOp::Limits(scope()),
            TradeOp::Tighten { sandbox: SandboxId::from_random([1; 20]), limits: BTreeMap::new() },
            halt(false),
            TradeOp::Orders { scope: scope(), open: true, limit: 1 },
            TradeOp::Positions { account: None },
            TradeOp::Holds,
        ];
        let denied = [
            TradeOp::SetMode(TradeModeRequest::default()),
            TradeOp::SetLimits { scope: scope(), limits: BTreeMap::new() },
            halt(true),
            TradeOp::Reduce { scope: scope(), reason: reason() },
            TradeOp::Resume { scope: scope(), reason: reason() },
            TradeOp::Answer { number: 1, approve: true },
        ];
        for by in [By::Client, By::Control] {
            assert!(allowed.iter().all(|op| may(by, op).is_ok()), "{by}");
            for op in &denied {
                assert_eq!(may(by, op).expect_err("denied").code, Code::PermissionDenied, "{by}: {op:?}");
            }
        }
        assert!(allowed.iter().chain(&denied).all(|op| may(By::Operator, op).is_ok()));
    }
}

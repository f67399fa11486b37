//! What the operator and clients may do about trading: modes, limits, switches. The exchange, where there is one, is a socket of
//! this test.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringfence_egress::gate::{Config, Gateway};
use ringfence_egress::tls::client::Roots;
use ringfence_model::api::{TradeLimitsAnswer, TradeModeRequest, TradeStateAnswer, TradeStatusAnswer};
use ringfence_model::net::control::{GateAnswer, GateOp, TradeAsked, TradeOp, TradeSaid, TradeScope};
use ringfence_model::trade::{
    AccountClock, AccountId, By, CanonicalSymbol, Environment, Equity, Facts, LIVE_MS_MAX, Limits, Message, Mode,
    OrderIntent, Price, Qty, Reference, Session, Side, TradeDate, UpstreamId, Usd,
};
use ringfence_model::{ApiError, Code, SandboxId};
use ringfence_store::gate::{Acknowledged, Decision, OrderState, Protocol, TradeAsk, TradeRuling};
use ringfence_store::{AuditFilter, Verification};

use crate::world::{PATIENCE, Signer, World, get};

async fn gateway(home: &Path, live_allowed: bool) -> Gateway {
    let config = Config {
        home: home.into(),
        pins: Default::default(),
        stand_ins: Default::default(),
        roots: Roots::only(&[Signer::new().root]).unwrap(),
        registries: vec![],
        logins: vec![],
        open_allowed: false,
        agent_hosts: None,
        live_allowed,
        pause_on_misuse: false,
        cache: Default::default(),
        exchange: home.join("exchange.sock"),
    };
    Gateway::start(config).await.unwrap().0
}

fn sandbox() -> SandboxId {
    SandboxId::from_random([3; 20])
}

fn of_sandbox() -> TradeScope {
    TradeScope { account: None, sandbox: Some(sandbox()) }
}

fn values<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn ask(gateway: &Gateway, by: By, op: TradeOp) -> Result<TradeSaid, ApiError> {
    match gateway.call(GateOp::Trade(TradeAsked { by, op })).await? {
        GateAnswer::Trade(said) => Ok(*said),
        other => panic!("{other:?}"),
    }
}

async fn limits(gateway: &Gateway, by: By, op: TradeOp) -> Result<TradeLimitsAnswer, ApiError> {
    match ask(gateway, by, op).await? {
        TradeSaid::Limits(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

async fn state(gateway: &Gateway, by: By, op: TradeOp) -> Result<TradeStateAnswer, ApiError> {
    match ask(gateway, by, op).await? {
        TradeSaid::State(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

async fn status(gateway: &Gateway) -> TradeStatusAnswer {
    match ask(gateway, By::Client, TradeOp::Status(TradeScope::default())).await.unwrap() {
        TradeSaid::Status(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn value<'a>(answer: &'a TradeLimitsAnswer, name: &str) -> (&'a str, &'a str) {
    let limit = answer.limits.iter().find(|limit| limit.name == name).unwrap();
    (&limit.value, &limit.set_by)
}

/// Entries of the audit chain, the oldest first.
async fn events(gateway: &Gateway, prefix: &str) -> Vec<ringfence_store::AuditRecord> {
    let filter = AuditFilter { event_prefix: Some(prefix.into()), ..AuditFilter::default() };
    let mut records = gateway.store().audit_records(filter).await.unwrap();
    records.reverse();
    records
}

fn halt(scope: TradeScope) -> TradeOp {
    TradeOp::Halt { scope, reason: "a test".into(), cancel: true, flatten: false }
}

#[tokio::test]
async fn a_client_tightens_one_sandbox_and_loosens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let gateway = gateway(home.path(), false).await;
    let tighten = |pairs| TradeOp::Tighten { sandbox: sandbox(), limits: pairs };
    let name = "max_notional_per_order";
    let tightened = limits(&gateway, By::Client, tighten(values([(name, "500")]))).await.unwrap();
    assert_eq!(value(&tightened, name), ("500", "client (sandbox)"));
    assert_eq!(value(&tightened, "max_open_orders"), ("50", "default"));
    for looser in ["500.01", "none", "default"] {
        let refused = limits(&gateway, By::Client, tighten(values([("no_shorting", "yes"), (name, looser)]))).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, Code::PermissionDenied, "{looser}");
        assert!(refused.message.contains(name), "{}", refused.message);
    }
    let nonsense = limits(&gateway, By::Client, tighten(values([(name, "a lot")]))).await.unwrap_err();
    assert_eq!(nonsense.code, Code::InvalidArgument);
    let set = |scope, pairs| TradeOp::SetLimits { scope, limits: pairs };
    let loosen = set(TradeScope::default(), values([(name, "20000")]));
    assert_eq!(limits(&gateway, By::Client, loosen.clone()).await.unwrap_err().code, Code::PermissionDenied);
    let loosened = limits(&gateway, By::Operator, loosen).await.unwrap();
    assert_eq!(value(&loosened, name), ("20000", "operator (all accounts)"));
    // What the sandbox has of its own stays, until the operator takes that away too.
    let of_one = limits(&gateway, By::Client, TradeOp::Limits(of_sandbox())).await.unwrap();
    assert_eq!(value(&of_one, name), ("500", "client (sandbox)"));
    let free = limits(&gateway, By::Operator, set(of_sandbox(), values([(name, "none")]))).await.unwrap();
    assert_eq!(value(&free, name), ("20000", "operator (all accounts)"));
    let back = set(TradeScope::default(), values([(name, "default")]));
    assert_eq!(value(&limits(&gateway, By::Operator, back).await.unwrap(), name), ("10000", "default"));
    let written = events(&gateway, "trade.limits").await;
    let actors: Vec<_> = written.iter().map(|entry| entry.actor.as_str()).collect();
    assert_eq!(actors, ["agent", "operator", "operator", "operator"]);
    assert_eq!(written[2].detail["before"][name], "500");
    assert!(matches!(gateway.store().verify(1, None).await.unwrap(), Verification::Sound(_)));
}

#[tokio::test]
async fn the_mode_outlasts_a_restart_and_is_the_operators() {
    let home = tempfile::tempdir().unwrap();
    let set = |mode: &str| TradeOp::SetMode(TradeModeRequest { mode: mode.into(), ..TradeModeRequest::default() });
    {
        let gateway = gateway(home.path(), false).await;
        assert_eq!(status(&gateway).await.mode, "simulated");
        assert_eq!(ask(&gateway, By::Client, set("paper")).await.unwrap_err().code, Code::PermissionDenied);
        assert_eq!(ask(&gateway, By::Operator, set("real")).await.unwrap_err().code, Code::InvalidArgument);
        assert_eq!(status(&gateway).await.mode, "simulated");
        let TradeSaid::Mode(answer) = ask(&gateway, By::Operator, set("paper")).await.unwrap() else { panic!() };
        assert_eq!((answer.mode.as_str(), answer.before.as_str()), ("paper", "simulated"));
        let written = events(&gateway, "trade.mode").await;
        assert_eq!((written.len(), written[0].actor.as_str()), (1, "operator"));
        assert_eq!(written[0].detail["before"]["mode"], "simulated");
        assert_eq!(written[0].detail["mode"]["mode"], "paper");
    }
    let gateway = gateway(home.path(), false).await;
    let status = status(&gateway).await;
    assert_eq!((status.mode.as_str(), status.environment.as_deref()), ("paper", Some("paper")));
}

#[tokio::test]
async fn live_is_armed_by_all_of_its_opt_ins_and_by_no_fewer() {
    const ACCOUNT: &str = "live:0c5a";
    let home = tempfile::tempdir().unwrap();
    let until = |ms: i64| {
        let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_millis(ms)).unwrap();
        Some(at.to_string())
    };
    let whole = TradeModeRequest {
        mode: "live".into(),
        until: until(3_600_000),
        account: Some(ACCOUNT.into()),
        confirm: Some(ACCOUNT.into()),
    };
    let arm = |request: &TradeModeRequest| TradeOp::SetMode(request.clone());
    let account = AccountId::parse(ACCOUNT).unwrap();
    let scope = TradeScope { account: Some(account), sandbox: None };
    let every: BTreeMap<String, String> = Limits::KNOBS
        .iter()
        .filter(|knob| knob.live)
        .map(|knob| {
            let value = Limits::out_of_the_box().get(knob.name).unwrap();
            (knob.name.to_owned(), if value == "none" { "1".to_owned() } else { value })
        })
        .collect();
    {
        // The first opt-in is missing, whatever else is there.
        let gateway = gateway(home.path(), false).await;
        let set = TradeOp::SetLimits { scope: scope.clone(), limits: every.clone() };
        limits(&gateway, By::Operator, set).await.unwrap();
        let refused = ask(&gateway, By::Operator, arm(&whole)).await.unwrap_err();
        assert_eq!(refused.code, Code::PermissionDenied);
        assert!(refused.message.contains("live_allowed"), "{}", refused.message);
    }
    let gateway_ = gateway(home.path(), true).await;
    let one_less = values([("max_daily_notional", "none")]);
    let take = TradeOp::SetLimits { scope: scope.clone(), limits: one_less };
    limits(&gateway_, By::Operator, take).await.unwrap();
    for (request, word) in [
        (TradeModeRequest { account: None, ..whole.clone() }, "account"),
        (TradeModeRequest { account: Some("paper:0c5a".into()), ..whole.clone() }, "account"),
        (TradeModeRequest { until: None, ..whole.clone() }, "until"),
        (TradeModeRequest { until: until(25 * 3_600_000), ..whole.clone() }, "24 hours"),
        (TradeModeRequest { until: until(-1000), ..whole.clone() }, "24 hours"),
        (TradeModeRequest { confirm: None, ..whole.clone() }, ACCOUNT),
        (TradeModeRequest { confirm: Some("live:0c5b".into()), ..whole.clone() }, ACCOUNT),
        (whole.clone(), "max_daily_notional"),
    ] {
        let refused = ask(&gateway_, By::Operator, arm(&request)).await.unwrap_err();
        assert!(refused.message.contains(word), "{word}: {}", refused.message);
        assert_eq!(status(&gateway_).await.mode, "simulated");
    }
    let give = values([("max_daily_notional", "1000")]);
    limits(&gateway_, By::Operator, TradeOp::SetLimits { scope, limits: give }).await.unwrap();
    assert_eq!(ask(&gateway_, By::Client, arm(&whole)).await.unwrap_err().code, Code::PermissionDenied);
    ask(&gateway_, By::Operator, arm(&whole)).await.unwrap();
    let armed = status(&gateway_).await;
    assert_eq!((armed.mode.as_str(), armed.environment.as_deref()), ("live", Some("live")));
    assert!(armed.until.is_some() && armed.live_allowed);
    drop(gateway_);
    // Armed still after a restart, but not where it is no longer allowed.
    assert_eq!(status(&gateway(home.path(), true).await).await.environment.as_deref(), Some("live"));
    let ended = status(&gateway(home.path(), false).await).await;
    assert_eq!((ended.mode.as_str(), ended.environment), ("live", None));
}

#[tokio::test]
async fn live_ends_by_itself_and_that_is_written_down() {
    let home = tempfile::tempdir().unwrap();
    {
        let gateway = gateway(home.path(), true).await;
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
        let mode = Mode::Live { until_ms: now + 1500 };
        gateway.store().trade_mode_set(AccountId::venue(), mode, now).await.unwrap();
    }
    let gateway = gateway(home.path(), true).await;
    assert_eq!(status(&gateway).await.environment.as_deref(), Some("live"));
    let ended = async {
        while events(&gateway, "trade.live_ended").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(status(&gateway).await.environment, None);
    // A clock that is set back after it does not arm it again: its end is what is kept, and not until when it was.
    assert_eq!(gateway.store().trade_mode(AccountId::venue()).await.unwrap(), Mode::Ended);
}

#[tokio::test]
async fn live_that_would_last_for_more_than_a_day_was_armed_by_another_clock_and_is_over() {
    let home = tempfile::tempdir().unwrap();
    {
        let gateway = gateway(home.path(), true).await;
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
        let mode = Mode::Live { until_ms: now + LIVE_MS_MAX + 60_000 };
        gateway.store().trade_mode_set(AccountId::venue(), mode, now).await.unwrap();
    }
    let gateway = gateway(home.path(), true).await;
    let status = status(&gateway).await;
    assert_eq!((status.mode.as_str(), status.environment), ("live", None));
    assert_eq!(events(&gateway, "trade.live_ended").await.len(), 1);
}

#[tokio::test]
async fn live_is_over_at_a_start_by_a_clock_that_is_behind_what_was_written() {
    let home = tempfile::tempdir().unwrap();
    {
        let gateway = gateway(home.path(), true).await;
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
        let mode = Mode::Live { until_ms: now + 7_200_000 };
        // Armed in what is an hour ahead now.
        gateway.store().trade_mode_set(AccountId::venue(), mode, now + 3_600_000).await.unwrap();
    }
    let gateway = gateway(home.path(), true).await;
    assert_eq!(status(&gateway).await.environment, None);
    assert_eq!(gateway.store().trade_mode(AccountId::venue()).await.unwrap(), Mode::Ended);
}

#[tokio::test]
async fn live_is_over_also_where_the_database_does_not_take_it() {
    let home = tempfile::tempdir().unwrap();
    let armed = {
        let gateway = gateway(home.path(), true).await;
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
        let mode = Mode::Live { until_ms: now + 3_600_000 };
        gateway.store().trade_mode_set(AccountId::venue(), mode, now).await.unwrap();
        mode
    };
    let database = rusqlite::Connection::open(home.path().join("gate.db")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
    database.execute_batch(full).unwrap();
    let gateway = gateway(home.path(), false).await;
    assert_eq!(status(&gateway).await.environment, None, "orders go nowhere");
    assert_eq!(gateway.store().trade_mode(AccountId::venue()).await.unwrap(), armed, "nothing could be written");
}

#[tokio::test]
async fn a_client_halts_and_only_the_operator_resumes() {
    let home = tempfile::tempdir().unwrap();
    {
        let gateway = gateway(home.path(), false).await;
        // Also a sandbox that nobody here has heard of.
        let halted = state(&gateway, By::Client, halt(of_sandbox())).await.unwrap();
        assert_eq!((halted.state.as_str(), halted.changed), ("halted", true));
        assert_eq!(halted.cause.unwrap().by, "client");
        assert_eq!(status(&gateway).await.state, "active", "of one sandbox alone");
        let halted = state(&gateway, By::Client, halt(TradeScope::default())).await.unwrap();
        assert_eq!((halted.state.as_str(), halted.accounts.len()), ("halted", 0));
        assert!(!state(&gateway, By::Operator, halt(TradeScope::default())).await.unwrap().changed);
    }
    let gateway = gateway(home.path(), false).await;
    assert_eq!(status(&gateway).await.state, "halted", "it outlasts a restart");
    let resume = |scope| TradeOp::Resume { scope, reason: "a test".into() };
    let refused = state(&gateway, By::Client, resume(TradeScope::default())).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    let of_one = state(&gateway, By::Operator, resume(of_sandbox())).await.unwrap();
    assert_eq!((of_one.state.as_str(), of_one.changed), ("halted", true), "all trading is halted still");
    let resumed = state(&gateway, By::Operator, resume(TradeScope::default())).await.unwrap();
    assert_eq!((resumed.state.as_str(), resumed.changed), ("active", true));
    let of_one = state(&gateway, By::Operator, resume(of_sandbox())).await.unwrap();
    assert_eq!((of_one.state.as_str(), of_one.changed), ("active", false));
    let reduce = TradeOp::Reduce { scope: TradeScope::default(), reason: "a test".into() };
    assert_eq!(state(&gateway, By::Operator, reduce).await.unwrap().state, "reducing");
    let moves: Vec<_> = events(&gateway, "trade.state").await.iter().map(|entry| entry.actor.as_str()).collect();
    assert_eq!(moves, ["agent", "agent", "operator", "operator", "operator"]);
}

/// A socket where the exchange would be: it has the order `o1`, which is open until it is cancelled, and says what it was asked.
fn exchange(home: &Path) -> Arc<Mutex<Vec<String>>> {
    let listener = tokio::net::UnixListener::bind(home.join("exchange.sock")).unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let mut noted = noted.lock().unwrap();
                if path == "/ringfence/v1/status" {
                    // The gate's own question, whether anybody is there.
                    return std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("{}")))));
                }
                let cancelled = noted.iter().any(|line| line.starts_with("DELETE"));
                noted.push(format!("{method} {path}"));
                let order = |status: &str| format!(r#"{{"id": "o1", "client_order_id": "", "status": "{status}"}}"#);
                let (status, body) = match (method.as_str(), path.as_str()) {
                    ("GET", "/ringfence/v1/clock") => {
                        (200, r#"{"now": "2024-01-02T15:00:00Z", "mode": "stepped"}"#.to_owned())
                    }
                    ("GET", "/v2/orders") if cancelled => (200, "[]".to_owned()),
                    ("GET", "/v2/orders") => (200, format!("[{}]", order("new"))),
                    ("GET", "/v2/orders/o1") => (200, order(if cancelled { "canceled" } else { "new" })),
                    ("GET", "/v2/positions") => {
                        (200, r#"[{"symbol": "AAPL", "qty": "3", "market_value": "600"}]"#.to_owned())
                    }
                    ("DELETE", "/v2/orders" | "/v2/positions") => (207, "[]".to_owned()),
                    ("DELETE", "/v2/orders/o1") => (204, String::new()),
                    _ => (404, "{}".to_owned()),
                };
                let response = Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
                std::future::ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    asked
}

/// An order of the sandbox that the exchange has.
async fn open_order(gateway: &Gateway, account: &AccountId) -> u64 {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    let symbol = CanonicalSymbol::parse("AAPL").unwrap();
    let price = |text| Price::parse(text).ok();
    let reference = Reference { symbol: symbol.clone(), bid: price("199"), ask: price("200"), last: None, at_ms: now };
    let facts = Facts {
        clock: AccountClock {
            now_ms: now,
            date: TradeDate::new(2024, 1, 2).unwrap(),
            minute: 600,
            session: Session::Regular,
        },
        host_ms: now,
        environment: Environment::Simulated,
        mode: Mode::Simulated,
        references: vec![reference],
        positions: vec![],
        equity: Some(Equity { now: Usd::whole(100_000).unwrap(), start_of_day: Usd::whole(100_000) }),
    };
    let decision = Decision {
        host: Some("paper-api.alpaca.markets".into()),
        method: Some("POST".into()),
        path: Some("/v2/orders".into()),
        ..Decision::allow(now, sandbox(), Protocol::Http, 443)
    };
    let message = Message::Submit(OrderIntent::market(symbol, Side::Buy, Qty::parse("3").unwrap()));
    let ask = TradeAsk { decision, account: account.clone(), facts, message, body: [7; 32] };
    let ruling = gateway.store().trade_admit(ask).await.unwrap();
    let TradeRuling::Allowed { action: ringfence_store::gate::Admitted::Send { order, .. }, .. } = ruling else {
        panic!("{ruling:?}")
    };
    gateway.store().trade_sent(order.number).await.unwrap();
    let said = Acknowledged { id: UpstreamId::parse("o1").unwrap(), legs: vec![] };
    gateway.store().trade_acknowledged(order.number, now, said).await.unwrap();
    order.number
}

#[tokio::test]
async fn a_halt_cancels_what_is_open_though_the_sandbox_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let asked = exchange(home.path());
    let gateway = gateway(home.path(), false).await;
    let account = AccountId::parse("sim:a").unwrap();
    let number = open_order(&gateway, &account).await;
    let before = status(&gateway).await;
    let [of_account] = &before.accounts[..] else { panic!("{before:?}") };
    assert_eq!((of_account.amounts.open_orders, of_account.amounts.day.as_deref()), (1, Some("2024-01-02")));
    assert_eq!(of_account.sandboxes[0].sandbox_id, sandbox().to_string());
    assert!(before.exchange.answers);
    assert_eq!(before.exchange.clock.unwrap().now.as_deref(), Some("2024-01-02T15:00:00Z"));
    let open = |open| TradeOp::Orders { scope: of_sandbox(), open, limit: 10 };
    let TradeSaid::Orders(listed) = ask(&gateway, By::Client, open(true)).await.unwrap() else { panic!() };
    let [order] = &listed.orders[..] else { panic!("{listed:?}") };
    assert_eq!(
        (order.symbol.as_str(), order.qty.as_deref(), order.venue_order_id.as_deref()),
        ("AAPL", Some("3"), Some("o1"))
    );
    // No sandbox lives in this gateway at all.
    let halted = state(&gateway, By::Client, halt(TradeScope::default())).await.unwrap();
    let [done] = &halted.accounts[..] else { panic!("{halted:?}") };
    assert_eq!((done.account.as_str(), done.cancelled, done.problem.as_deref()), ("sim:a", 1, None));
    assert!(asked.lock().unwrap().iter().any(|line| line == "DELETE /v2/orders"));
    assert_eq!(gateway.store().read(move |view| view.trade_order(number)).await.unwrap().state, OrderState::Closed);
    let TradeSaid::Orders(listed) = ask(&gateway, By::Client, open(true)).await.unwrap() else { panic!() };
    assert_eq!(listed.count, 0);
    let after = status(&gateway).await;
    assert_eq!((after.state.as_str(), after.accounts[0].state.as_str()), ("halted", "halted"));
    let TradeSaid::Positions(held) = ask(&gateway, By::Client, TradeOp::Positions { account: None }).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(held.accounts[0].positions[0].market_value.as_deref(), Some("600"));
    // Only the operator sells.
    let flatten = TradeOp::Halt { scope: TradeScope::default(), reason: "a test".into(), cancel: true, flatten: true };
    assert_eq!(state(&gateway, By::Client, flatten.clone()).await.unwrap_err().code, Code::PermissionDenied);
    assert!(!asked.lock().unwrap().iter().any(|line| line == "DELETE /v2/positions"));
    assert!(state(&gateway, By::Operator, flatten).await.unwrap().accounts[0].flattened);
    assert!(asked.lock().unwrap().iter().any(|line| line == "DELETE /v2/positions"));
}

#[tokio::test]
async fn a_halt_without_a_venue_holds_and_says_what_is_left() {
    let home = tempfile::tempdir().unwrap();
    let gateway = gateway(home.path(), false).await;
    let account = AccountId::parse("sim:a").unwrap();
    open_order(&gateway, &account).await;
    let halted = state(&gateway, By::Operator, halt(of_sandbox())).await.unwrap();
    assert_eq!(halted.state, "halted");
    let [done] = &halted.accounts[..] else { panic!("{halted:?}") };
    assert!(done.problem.is_some() && done.cancelled == 0, "{done:?}");
    let status = status(&gateway).await;
    assert!(!status.exchange.answers && status.exchange.problem.is_some());
    let of_one = &status.accounts[0].sandboxes[0];
    assert_eq!((of_one.state.as_str(), status.accounts[0].state.as_str()), ("halted", "active"));
    // And an order in an account that nobody has seen before is refused too.
    let other = AccountId::parse("sim:b").unwrap();
    let admitted = tokio::spawn(async move { open_order(&gateway, &other).await }).await;
    assert!(admitted.is_err(), "the sandbox is halted in every account");
}

/// A body that begins and never ends.
struct Endless(bool);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from_static(b"begun")))))
    }
}

#[tokio::test]
async fn what_was_begun_in_another_mode_ends() {
    const DATA: &str = "data.alpaca.markets";
    let world = World::new(&[], &[]).await;
    let listener = tokio::net::UnixListener::bind(world.home.path().join("exchange.sock")).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let body = match request.uri().path() {
                // The gate's own question, whether anybody is there.
                "/ringfence/v1/status" => Either::Left(Full::new(Bytes::from("{}"))),
                _ => Either::Right(Endless(false)),
            };
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    world.allow(DATA, 443).await;
    let (_, addresses) = world.resolve(DATA).await;
    let stream = world.connect_to(std::net::SocketAddr::new(addresses[0], 443)).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.authority()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(DATA).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut response = sender.send_request(get(DATA, "/v2/stocks/bars")).await.unwrap();
    let first = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((response.status().as_u16(), &first[..]), (200, &b"begun"[..]));
    let paper = TradeOp::SetMode(TradeModeRequest { mode: "paper".into(), ..TradeModeRequest::default() });
    ask(&world.gateway, By::Operator, paper).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, response.frame()).await.expect("it ends at once");
    assert!(ended.is_none_or(|frame| frame.is_err()));
}

//! How long an order waits for its permit: `cargo run --release -p ringfence-store --example orders [DIRECTORY]`.
//!
//! One sandbox asks, for its next order when the one before has its permit: first with no order open, then with forty-nine. The rules
//! alone are measured too. The directory says which disk is measured; without one it is that of the current directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence_model::SandboxId;
use ringfence_model::trade::{
    AccountClock, AccountId, AssetClass, CanonicalSymbol, Counted, Environment, Equity, Facts, Limits, Message, Mode,
    OrderIntent, Position, Price, Pricing, Qty, Question, Reference, Scoped, Session, Side, TradeDate, Usd, decide,
};
use ringfence_store::SealingKey;
use ringfence_store::gate::{Admitted, Decision, GateStore, Protocol, TradeAsk, TradeRuling};

const ORDERS: u64 = 3_000;
const OPEN: u64 = 49;
/// Some time, in milliseconds since the Unix epoch.
const NOW_MS: u64 = 1_764_172_800_000;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringfence-orders-").tempdir_in(parent)?;
    let key = SealingKey::load_or_create(&dir.path().join("gate.key"))?;
    let store = GateStore::open(&dir.path().join("gate.db"), key)?;
    let account = AccountId::parse("simulated:1")?;
    let mut limits = Limits::out_of_the_box();
    for name in ["max_daily_notional", "max_position_notional"] {
        limits.set(name, "none")?;
    }
    store.trade_limits_set(account.clone(), None, limits.clone(), NOW_MS).await?;
    rules_alone(&limits)?;
    for open in [0, OPEN] {
        for number in 0..open {
            admit(&store, &account, 1_000_000 + number, false).await?;
        }
        let mut waited = Vec::new();
        for number in 0..ORDERS {
            waited.push(admit(&store, &account, open * 10_000_000 + number, true).await?);
        }
        waited.sort_unstable();
        let half = waited[waited.len() / 2];
        println!("an order with {open:2} open: p50 {half:?}, p99 {:?}", waited[waited.len() * 99 / 100]);
    }
    let broken = store.trade_check().await?;
    if !broken.is_empty() {
        return Err(broken.join("; ").into());
    }
    Ok(store.close().await?)
}

fn order() -> Result<Message, Failure> {
    let mut intent = OrderIntent::market(CanonicalSymbol::parse("AAPL")?, Side::Buy, Qty::parse("1")?);
    intent.pricing = Pricing::Limit { limit: Price::parse("100")? };
    Ok(Message::Submit(intent))
}

fn facts(now_ms: u64) -> Result<Facts, Failure> {
    let date = TradeDate::new(2025, 11, 26).ok_or("a day")?;
    let clock = AccountClock { now_ms, date, minute: 660, session: Session::Regular };
    let symbol = CanonicalSymbol::parse("AAPL")?;
    let at = |text| Price::parse(text).map(Some);
    let (equity, position) = (Usd::parse("100000")?, Qty::parse("10")?);
    Ok(Facts {
        clock,
        host_ms: now_ms,
        environment: Environment::Simulated,
        mode: Mode::Simulated,
        references: vec![Reference {
            symbol: symbol.clone(),
            bid: at("99")?,
            ask: at("100")?,
            last: at("99.5")?,
            at_ms: now_ms,
        }],
        positions: vec![Position {
            symbol,
            asset_class: AssetClass::UsEquity,
            qty: position,
            price: Price::parse("100")?,
        }],
        equity: Some(Equity { now: equity, start_of_day: Some(equity) }),
    })
}

/// One order from the question to its permit; it is closed again, unless it is to stay open.
async fn admit(store: &GateStore, account: &AccountId, number: u64, closes: bool) -> Result<Duration, Failure> {
    // Slow enough for the throttle, by the clock that is passed in.
    let now_ms = NOW_MS + number * 1000;
    let mut body = [0; 32];
    body[..8].copy_from_slice(&number.to_be_bytes());
    let sandbox = SandboxId::from_random([1; 20]);
    let decision = Decision {
        host: Some("paper-api.alpaca.markets".into()),
        method: Some("POST".into()),
        path: Some("/v2/orders".into()),
        ..Decision::allow(now_ms, sandbox, Protocol::Http, 443)
    };
    let ask = TradeAsk { decision, account: account.clone(), facts: facts(now_ms)?, message: order()?, body };
    let begin = Instant::now();
    let ruling = store.trade_admit(ask).await?;
    let waited = begin.elapsed();
    match ruling {
        TradeRuling::Allowed { action: Admitted::Send { order, .. }, .. } => {
            if closes {
                store.trade_closed(order.number, now_ms, "canceled".into()).await?;
            }
            Ok(waited)
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn rules_alone(limits: &Limits) -> Result<(), Failure> {
    const TIMES: u32 = 100_000;
    let (facts, message, counted) = (facts(NOW_MS)?, order()?, Counted::default());
    let limits = Scoped { account: limits.clone(), sandbox: limits.clone() };
    let begin = Instant::now();
    for _ in 0..TIMES {
        let question = Question { limits: &limits, facts: &facts, counted: &counted, message: &message };
        std::hint::black_box(decide(std::hint::black_box(&question)));
    }
    println!("the rules alone: {:?} an order", begin.elapsed() / TIMES);
    Ok(())
}

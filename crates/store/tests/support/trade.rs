//! Orders of a trading day on which nothing is wrong.

#![allow(dead_code, reason = "each test file uses a part of it")]

use ringfence_model::trade::*;
use ringfence_store::gate::{
    Acknowledged, Admitted, Decision, Fill, GateStore, OrderRow, Protocol, TradeAsk, TradeRuling,
};

use super::{NOW_MS, sandbox_id};

pub(crate) fn account() -> AccountId {
    AccountId::parse("simulated:1").expect("an account")
}

pub(crate) fn date() -> TradeDate {
    TradeDate::new(2025, 11, 26).expect("a day")
}

pub(crate) fn usd(text: &str) -> Usd {
    Usd::parse(text).expect("an amount")
}

pub(crate) fn qty(text: &str) -> Qty {
    Qty::parse(text).expect("a quantity")
}

pub(crate) fn price(text: &str) -> Price {
    Price::parse(text).expect("a price")
}

pub(crate) fn symbol() -> CanonicalSymbol {
    CanonicalSymbol::parse("AAPL").expect("a symbol")
}

pub(crate) fn facts(at_ms: u64, held: Qty) -> Facts {
    let clock = AccountClock { now_ms: at_ms, date: date(), minute: 11 * 60, session: Session::Regular };
    let at = |text| Some(price(text));
    let position = Position { symbol: symbol(), asset_class: AssetClass::UsEquity, qty: held, price: price("100") };
    Facts {
        clock,
        host_ms: at_ms,
        environment: Environment::Simulated,
        mode: Mode::Simulated,
        references: vec![Reference { symbol: symbol(), bid: at("99"), ask: at("100"), last: at("99.5"), at_ms }],
        positions: if held == Qty::ZERO { vec![] } else { vec![position] },
        equity: Some(Equity { now: usd("100000"), start_of_day: Some(usd("100000")) }),
    }
}

/// A message of a sandbox. The same `body` is the same request.
pub(crate) fn ask(sandbox: u8, body: u64, at_ms: u64, held: Qty, message: Message) -> TradeAsk {
    let mut bytes = [sandbox; 32];
    bytes[..8].copy_from_slice(&body.to_be_bytes());
    let decision = Decision {
        host: Some("paper-api.alpaca.markets".into()),
        method: Some("POST".into()),
        path: Some("/v2/orders".into()),
        ..Decision::allow(at_ms, sandbox_id(sandbox), Protocol::Http, 443)
    };
    TradeAsk { decision, account: account(), facts: facts(at_ms, held), message, body: bytes }
}

pub(crate) fn limit(side: Side, count: &str, at: &str) -> OrderIntent {
    OrderIntent { pricing: Pricing::Limit { limit: price(at) }, ..OrderIntent::market(symbol(), side, qty(count)) }
}

pub(crate) fn buy(count: &str, at: &str) -> Message {
    Message::Submit(limit(Side::Buy, count, at))
}

pub(crate) async fn admit(store: &GateStore, ask: TradeAsk) -> TradeRuling {
    store.trade_admit(ask).await.expect("it is judged")
}

/// The order that is sent.
#[track_caller]
pub(crate) fn sent(ruling: TradeRuling) -> OrderRow {
    match ruling {
        TradeRuling::Allowed { action: Admitted::Send { order, .. }, .. } => *order,
        other => panic!("no order was sent: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(ruling: TradeRuling, rule: Rule) -> Refusal {
    match ruling {
        TradeRuling::Refused { refusal, .. } => {
            assert_eq!(refusal.rule, rule, "{refusal}");
            refusal
        }
        other => panic!("{rule} did not refuse it: {other:?}"),
    }
}

pub(crate) fn upstream(number: u64) -> UpstreamId {
    UpstreamId::parse(&format!("venue-{number}")).expect("an id")
}

pub(crate) fn taken(number: u64) -> Acknowledged {
    Acknowledged { id: upstream(number), legs: vec![] }
}

pub(crate) fn fill(number: u64, execution: &str, count: &str, at: &str) -> Fill {
    Fill {
        number,
        leg: false,
        execution_id: execution.to_owned(),
        qty: qty(count),
        price: price(at),
        at_ms: NOW_MS,
        date: date(),
        host_ms: NOW_MS,
    }
}

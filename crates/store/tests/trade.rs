//! The ledger of pre-trade controls: what is reserved, spent, owned and known again.

#[path = "support/mod.rs"]
mod support;
#[path = "support/trade.rs"]
mod trade;

use ringfence_model::trade::*;
use ringfence_store::gate::{Acknowledged, Admitted, GateStore, OrderState, TradeRuling, TradeStatus};
use ringfence_store::{AuditFilter, StoreError, Verification};
use support::{NOW_MS, Place, sandbox_id, whole_chain};
use tokio::task::JoinSet;
use trade::*;

async fn status(store: &GateStore) -> TradeStatus {
    store.trade_status(account(), Some(sandbox_id(1)), date()).await.expect("it can be read")
}

async fn sound(store: &GateStore) {
    assert_eq!(store.trade_check().await.expect("it can be checked"), Vec::<String>::new());
}

/// Buys so many at a limit of 100, and the venue takes it.
async fn bought(store: &GateStore, body: u64, count: &str) -> u64 {
    let order = sent(admit(store, ask(1, body, NOW_MS + body * 1000, Qty::ZERO, buy(count, "100"))).await);
    assert!(store.trade_sent(order.number).await.expect("it is noted"));
    assert!(store.trade_acknowledged(order.number, NOW_MS, taken(order.number)).await.expect("it is noted"));
    store.trade_answered(order.number, true).await.expect("it is noted");
    order.number
}

#[tokio::test]
async fn an_order_is_reserved_counted_and_in_the_chain_in_one_transaction_and_after_a_restart() {
    let place = Place::new();
    let store = place.open_gate();
    let ruling = admit(&store, ask(1, 1, NOW_MS, Qty::ZERO, buy("10", "100"))).await;
    let TradeRuling::Allowed { permit, action: Admitted::Send { order, replaces: None } } = ruling else {
        panic!("it was allowed")
    };
    assert_eq!(order.client_order_id.as_str(), format!("rf-{}-{}", sandbox_id(1), order.number));
    assert_eq!(order.intent.client_order_id.as_ref(), Some(&order.client_order_id));
    assert_eq!(order.decision, permit.decision());
    store.close().await.expect("it closes");

    let store = place.open_gate();
    let status = status(&store).await;
    for amounts in [status.amounts.account, status.amounts.sandbox] {
        assert_eq!((amounts.pending_bought, amounts.pending_turnover), (usd("1000"), usd("1000")));
        assert_eq!((amounts.bought, amounts.orders, amounts.open_orders), (Usd::ZERO, 1, 1));
    }
    let kept = store.trade_open(account(), Some(sandbox_id(1))).await.expect("they can be read");
    assert_eq!(kept, [*order]);
    let records = store.audit_records(AuditFilter::default()).await.expect("they can be read");
    assert_eq!(
        (records.len(), records[0].seq, records[0].event.as_str()),
        (1, permit.decision().get(), "egress.allow")
    );
    let trade = &records[0].detail["trade"];
    assert_eq!(trade["client_order_id"], kept[0].client_order_id.as_str());
    assert_eq!((&trade["kind"], &trade["environment"]), (&"submit".into(), &"simulated".into()));
    assert_eq!((&trade["reference"]["ask"], &trade["reserved"]["entry"]), (&"100".into(), &"1000".into()));
    sound(&store).await;
    assert!(matches!(whole_chain(&store).await, Verification::Sound(_)));
}

#[tokio::test]
async fn a_refusal_is_recorded_and_reserves_nothing() {
    let place = Place::new();
    let store = place.open_gate();
    bought(&store, 1, "10").await;
    let before = status(&store).await.amounts;
    refused(admit(&store, ask(1, 2, NOW_MS, Qty::ZERO, buy("101", "100"))).await, Rule::MaxNotionalPerOrder);
    let after = status(&store).await;
    assert_eq!((after.amounts, after.refusals), (before, 1));
    let records = store.audit_records(AuditFilter::default()).await.expect("they can be read");
    assert_eq!(records[0].event, "egress.refuse");
    assert_eq!(records[0].detail["trade"]["rule"], "max_notional_per_order");
    assert_eq!(records[0].detail["trade"]["observed"], "10100");
    assert!(records[0].detail["reason"].as_str().expect("a reason").starts_with("firewall: max_notional_per_order: "));
    sound(&store).await;
}

#[tokio::test]
async fn a_fill_is_counted_once_and_turns_a_reservation_into_what_was_spent() {
    let place = Place::new();
    let store = place.open_gate();
    let number = bought(&store, 1, "10").await;
    for news in [true, false] {
        let outcome = store.trade_fill(fill(number, "x1", "4", "99.5")).await.expect("it is counted");
        assert_eq!((outcome.news, outcome.moved.len()), (news, 0));
        let amounts = status(&store).await.amounts.sandbox;
        assert_eq!((amounts.pending_bought, amounts.bought), (usd("600"), usd("398")));
        sound(&store).await;
    }
    assert!(store.trade_closed(number, NOW_MS, "canceled".into()).await.expect("it is closed"));
    assert!(!store.trade_closed(number, NOW_MS, "filled".into()).await.expect("it can be asked"), "only once");
    let amounts = status(&store).await.amounts.account;
    assert_eq!((amounts.pending_bought, amounts.bought, amounts.open_orders), (Usd::ZERO, usd("398"), 0));
    // News overtake one another: what was filled before the end counts also when it is heard of later.
    store.trade_fill(fill(number, "x2", "1", "99.5")).await.expect("it is counted");
    let amounts = status(&store).await.amounts.account;
    assert_eq!((amounts.pending_bought, amounts.bought), (Usd::ZERO, usd("497.5")));
    sound(&store).await;
    for wrong in
        [fill(number, "", "1", "1"), fill(number, "x3", "0", "1"), fill(number, "x4", "9223372036", "9223372036")]
    {
        assert!(matches!(store.trade_fill(wrong).await, Err(StoreError::Refused(_))));
    }
    assert!(matches!(store.trade_fill(fill(99, "x5", "1", "1")).await, Err(StoreError::NotFound { .. })));
    sound(&store).await;
}

#[tokio::test]
async fn sums_stay_within_their_limit_whoever_asks_at_once() {
    let place = Place::new();
    let store = place.open_gate();
    let mut limits = Limits::out_of_the_box();
    limits.set("max_position_notional", "none").expect("a limit");
    limits.set("max_messages_per_s", "1000").expect("a limit");
    store.trade_limits_set(account(), None, limits, NOW_MS).await.expect("they are set");
    let mut asking = JoinSet::new();
    for number in 0..40_u64 {
        let store = store.clone();
        let message = buy("37", "100");
        asking.spawn(async move { admit(&store, ask(number as u8 % 4, number, NOW_MS, Qty::ZERO, message)).await });
    }
    let rulings = asking.join_all().await;
    let allowed = rulings.iter().filter(|ruling| matches!(ruling, TradeRuling::Allowed { .. })).count();
    assert_eq!(allowed, 13, "of 3,700 USD each, in 50,000");
    assert_eq!(status(&store).await.amounts.account.pending_bought, usd("48100"));
    sound(&store).await;
}

#[tokio::test]
async fn the_same_request_is_answered_with_the_first_order_while_its_answer_is_lost() {
    let place = Place::new();
    let store = place.open_gate();
    let again = |at_ms| ask(1, 7, at_ms, Qty::ZERO, buy("10", "100"));
    let first = sent(admit(&store, again(NOW_MS)).await);
    store.trade_sent(first.number).await.expect("it is noted");
    assert!(store.trade_ambiguous(first.number).await.expect("it is noted"));
    for at_ms in [NOW_MS, NOW_MS + 3_000, NOW_MS + 86_400_000] {
        let ruling = admit(&store, again(at_ms)).await;
        let TradeRuling::Duplicate { order, .. } = ruling else { panic!("it is known: {ruling:?}") };
        assert_eq!((order.number, order.state), (first.number, OrderState::Ambiguous));
    }
    assert_eq!(status(&store).await.amounts.sandbox.pending_bought, usd("1000"), "of one order");
    let other = admit(&store, ask(2, 7, NOW_MS, Qty::ZERO, buy("10", "100"))).await;
    assert!(matches!(other, TradeRuling::Allowed { .. }), "another sandbox's is another request");

    // The venue was asked, and has it; the program still has no answer.
    store.trade_acknowledged(first.number, NOW_MS, taken(1)).await.expect("it is noted");
    assert!(matches!(admit(&store, again(NOW_MS + 600_000)).await, TradeRuling::Duplicate { .. }));
    assert!(matches!(admit(&store, again(NOW_MS + 600_001)).await, TradeRuling::Allowed { .. }), "that is another day");
    store.trade_answered(first.number, true).await.expect("it is noted");
    let second = sent(admit(&store, again(NOW_MS)).await);
    assert_ne!(second.number, first.number, "one that was answered is asked for anew");
    sound(&store).await;
}

#[tokio::test]
async fn a_client_order_id_is_used_once() {
    let place = Place::new();
    let store = place.open_gate();
    let mut intent = limit(Side::Buy, "1", "100");
    intent.client_order_id = Some(ClientOrderId::parse("mine").expect("an id"));
    let named = |sandbox, body| ask(sandbox, body, NOW_MS, Qty::ZERO, Message::Submit(intent.clone()));
    let order = sent(admit(&store, named(1, 1)).await);
    assert_eq!(order.client_order_id.as_str(), "mine");
    for (sandbox, body) in [(1, 2), (2, 1)] {
        refused(admit(&store, named(sandbox, body)).await, Rule::DuplicateOrder);
    }
    sound(&store).await;
}

#[tokio::test]
async fn what_was_on_its_way_is_in_doubt_after_a_crash_and_is_never_sent_again() {
    let place = Place::new();
    let store = place.open_gate();
    let known = bought(&store, 1, "1").await;
    let reserved = sent(admit(&store, ask(1, 2, NOW_MS, Qty::ZERO, buy("2", "100"))).await).number;
    let on_its_way = sent(admit(&store, ask(1, 3, NOW_MS, Qty::ZERO, buy("3", "100"))).await).number;
    store.trade_sent(on_its_way).await.expect("it is noted");

    let crashed = place.as_after_a_crash();
    let store = crashed.open_gate();
    assert_eq!(store.trade_recover().await.expect("it recovers"), 2);
    let unresolved = store.trade_unresolved().await.expect("they can be read");
    let states: Vec<_> = unresolved.iter().map(|order| (order.number, order.state)).collect();
    assert_eq!(states, [(reserved, OrderState::Ambiguous), (on_its_way, OrderState::Ambiguous)]);
    for body in [2, 3] {
        let ruling = admit(&store, ask(1, body, NOW_MS, Qty::ZERO, buy("9", "100"))).await;
        assert!(matches!(ruling, TradeRuling::Duplicate { .. }), "{ruling:?}");
    }
    assert_eq!(status(&store).await.amounts.account.pending_bought, usd("600"), "all of it is held still");
    // The venue has one of them and has never seen the other.
    assert!(store.trade_acknowledged(on_its_way, NOW_MS, taken(3)).await.expect("it is noted"));
    assert!(store.trade_closed(reserved, NOW_MS, "not_found".into()).await.expect("it is closed"));
    assert!(store.trade_unresolved().await.expect("they can be read").is_empty());
    assert_eq!(status(&store).await.amounts.account.pending_bought, usd("400"));
    assert!(!store.trade_ambiguous(known).await.expect("it can be asked"), "what is known is not in doubt again");
    sound(&store).await;
}

#[tokio::test]
async fn an_order_and_its_legs_are_their_sandboxs_alone() {
    let place = Place::new();
    let store = place.open_gate();
    let stop_loss = StopLoss { stop: price("90"), limit: None };
    let structure = Structure::Bracket { take_profit: price("110"), stop_loss };
    let bracket = OrderIntent { structure, ..limit(Side::Buy, "10", "100") };
    let order = sent(admit(&store, ask(1, 1, NOW_MS, Qty::ZERO, Message::Submit(bracket))).await);
    let legs = vec![upstream(11), upstream(12)];
    store.trade_acknowledged(order.number, NOW_MS, Acknowledged { id: upstream(10), legs }).await.expect("it is noted");
    store.trade_leg(order.number, upstream(13)).await.expect("it is noted");
    let names = [
        (OrderRef::Upstream(upstream(10)), false),
        (OrderRef::Client(order.client_order_id.clone()), false),
        (OrderRef::Upstream(upstream(11)), true),
        (OrderRef::Upstream(upstream(12)), true),
        (OrderRef::Upstream(upstream(13)), true),
    ];
    for (later, (name, leg)) in (1_u64..).zip(names) {
        let at_ms = NOW_MS + later * 1000;
        let owned = store.trade_owned(account(), sandbox_id(1), name.clone()).await.expect("it can be read");
        assert_eq!(owned.map(|owned| (owned.order.number, owned.leg)), Some((order.number, leg)));
        assert_eq!(store.trade_owned(account(), sandbox_id(2), name.clone()).await.expect("it can be read"), None);
        let cancel = Message::Cancel { of: name };
        refused(admit(&store, ask(2, 2, at_ms, Qty::ZERO, cancel.clone())).await, Rule::OrderOwnership);
        let ruling = admit(&store, ask(1, 2, at_ms, Qty::ZERO, cancel)).await;
        assert!(matches!(ruling, TradeRuling::Allowed { action: Admitted::Cancel { .. }, .. }), "{ruling:?}");
        store.trade_resume(account(), Some(sandbox_id(2)), "a test".into(), NOW_MS).await.expect("it can be asked");
    }
    let ruling = admit(&store, ask(2, 3, NOW_MS + 9000, Qty::ZERO, Message::CancelAll)).await;
    let TradeRuling::Allowed { action: Admitted::CancelOwn { orders }, .. } = ruling else { panic!("{ruling:?}") };
    assert_eq!(orders, [], "of a sandbox without orders");
    let ruling = admit(&store, ask(1, 4, NOW_MS + 9000, Qty::ZERO, Message::CancelAll)).await;
    let TradeRuling::Allowed { action: Admitted::CancelOwn { orders }, .. } = ruling else { panic!("{ruling:?}") };
    assert_eq!(orders.iter().map(|order| order.number).collect::<Vec<_>>(), [order.number]);

    // Entry and one exit trade: what was bought and what was sold are both spent.
    let amounts = status(&store).await.amounts.sandbox;
    assert_eq!((amounts.pending_bought, amounts.pending_turnover, amounts.open_orders), (usd("1000"), usd("2100"), 3));
    store.trade_fill(fill(order.number, "x1", "10", "100")).await.expect("it is counted");
    let exit = ringfence_store::gate::Fill { leg: true, ..fill(order.number, "x2", "4", "110") };
    store.trade_fill(exit).await.expect("it is counted");
    let amounts = status(&store).await.amounts.sandbox;
    assert_eq!((amounts.pending_bought, amounts.pending_turnover), (Usd::ZERO, usd("660")));
    assert_eq!((amounts.bought, amounts.turnover), (usd("1000"), usd("1440")));
    sound(&store).await;
}

fn replace(number: u64, count: &str) -> Message {
    let changes = Changes { qty: Some(qty(count)), ..Changes::default() };
    Message::Replace { of: OrderRef::Upstream(upstream(number)), changes }
}

#[tokio::test]
async fn a_replacement_holds_the_larger_of_both_until_the_venue_has_decided() {
    let place = Place::new();
    let store = place.open_gate();
    let pending = async || status(&store).await.amounts.account.pending_bought;
    let first = bought(&store, 1, "40").await;

    let larger = sent(admit(&store, ask(1, 2, NOW_MS, Qty::ZERO, replace(first, "60"))).await);
    assert_eq!((larger.replaces, pending().await), (Some(first), usd("6000")));
    let moved = store.trade_refused_upstream(larger.number, NOW_MS, 422, "unable to replace order".into()).await;
    assert_eq!((moved.expect("it is noted"), pending().await), (vec![], usd("4000")));
    sound(&store).await;

    let smaller = sent(admit(&store, ask(1, 3, NOW_MS, Qty::ZERO, replace(first, "10"))).await);
    assert_eq!(pending().await, usd("4000"));
    // A part of the old one trades meanwhile.
    store.trade_fill(fill(first, "x1", "5", "100")).await.expect("it is counted");
    assert_eq!(pending().await, usd("3500"));
    assert!(store.trade_acknowledged(smaller.number, NOW_MS, taken(smaller.number)).await.expect("it is noted"));
    assert_eq!(pending().await, usd("500"), "ten in all, of which five have traded");
    let old =
        store.trade_owned(account(), sandbox_id(1), OrderRef::Upstream(upstream(first))).await.expect("it is read");
    let old = old.expect("it is kept").order;
    assert_eq!((old.state, old.closed_because.as_deref()), (OrderState::Closed, Some("replaced")));
    sound(&store).await;

    // A second one would need the same once more.
    let third = sent(admit(&store, ask(1, 4, NOW_MS, Qty::ZERO, replace(smaller.number, "20"))).await);
    refused(admit(&store, ask(1, 6, NOW_MS, Qty::ZERO, replace(smaller.number, "30"))).await, Rule::ReplaceOrder);
    assert_eq!(pending().await, usd("2000"));
    // A fill of the new one is heard of before the answer.
    store.trade_fill(fill(third.number, "x2", "8", "100")).await.expect("it is counted");
    assert_eq!(pending().await, usd("1200"));
    store.trade_acknowledged(third.number, NOW_MS, taken(third.number)).await.expect("it is noted");
    assert_eq!(pending().await, usd("1200"));
    sound(&store).await;
    refused(admit(&store, ask(1, 5, NOW_MS, Qty::ZERO, replace(first, "1"))).await, Rule::ReplaceOrder);
}

#[tokio::test]
async fn refusals_in_a_row_halt_a_sandbox_and_nobody_but_the_operator_resumes_it() {
    let place = Place::new();
    let store = place.open_gate();
    let wrong = |body| ask(1, body, NOW_MS + body * 1000, Qty::ZERO, buy("500", "100"));
    for body in 1..=4 {
        refused(admit(&store, wrong(body)).await, Rule::MaxNotionalPerOrder);
    }
    // One that the venue takes ends the row.
    bought(&store, 10, "1").await;
    assert_eq!(status(&store).await.refusals, 0);
    for body in 11..=14 {
        refused(admit(&store, wrong(body)).await, Rule::MaxNotionalPerOrder);
    }
    let ruling = admit(&store, wrong(15)).await;
    let TradeRuling::Refused { moved, .. } = ruling else { panic!("{ruling:?}") };
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].scope(), moved[0].state.as_str()), (Scope::Sandbox, "halted"));
    store.close().await.expect("it closes");

    let store = place.open_gate();
    refused(admit(&store, ask(1, 16, NOW_MS + 20_000, Qty::ZERO, buy("1", "100"))).await, Rule::TradingState);
    let other = admit(&store, ask(2, 16, NOW_MS + 20_000, Qty::ZERO, buy("1", "100"))).await;
    assert!(matches!(other, TradeRuling::Allowed { .. }), "other sandboxes trade on");
    for by in [By::Client, By::Control] {
        let event = StateEvent::Resume(Cause { by, reason: "please".into(), since_ms: NOW_MS });
        let moved = store.trade_move(account(), Some(sandbox_id(1)), event).await.expect("it can be asked");
        assert_eq!(moved, None);
    }
    let resumed = store.trade_resume(account(), Some(sandbox_id(1)), "looked at".into(), NOW_MS).await;
    assert_eq!(resumed.expect("it can be asked").expect("it moves").state, TradingState::Active);
    let after = ask(1, 17, NOW_MS + 22_000, Qty::ZERO, buy("1", "100"));
    assert!(matches!(admit(&store, after).await, TradeRuling::Allowed { .. }));
    let events = AuditFilter { event_prefix: Some("trade.state".into()), ..AuditFilter::default() };
    let records = store.audit_records(events).await.expect("they can be read");
    let edges: Vec<_> = records.iter().map(|record| (&record.detail["from"], &record.detail["to"])).collect();
    assert_eq!(edges, [(&"halted".into(), &"active".into()), (&"active".into(), &"halted".into())]);
}

#[tokio::test]
async fn what_the_venue_refuses_is_void_and_counts_in_the_row() {
    let place = Place::new();
    let store = place.open_gate();
    for body in 1..=5 {
        let order = sent(admit(&store, ask(1, body, NOW_MS + body * 1000, Qty::ZERO, buy("1", "100"))).await);
        let refusal = "insufficient buying power".to_owned();
        let moved = store.trade_refused_upstream(order.number, NOW_MS, 403, refusal).await.expect("it is noted");
        assert_eq!(moved.len(), usize::from(body == 5), "{body}");
    }
    let after = status(&store).await;
    assert_eq!(after.states.sandbox.as_str(), "halted");
    assert_eq!((after.amounts.account.pending_bought, after.amounts.account.orders), (Usd::ZERO, 5));
    sound(&store).await;
}

#[tokio::test]
async fn what_never_comes_to_the_ledger_counts_in_the_row_and_at_the_throttle() {
    let place = Place::new();
    let store = place.open_gate();
    let early = async |at_ms| store.trade_refused_early(account(), sandbox_id(1), at_ms).await.expect("it is counted");
    for n in 1..=4 {
        assert_eq!(early(NOW_MS + n).await, [], "{n}");
    }
    // An order that the venue takes ends the row.
    bought(&store, 1, "1").await;
    for n in 1..=4 {
        assert_eq!(early(NOW_MS + 10_000 + n).await, [], "{n}");
    }
    let moved = early(NOW_MS + 10_005).await;
    assert!(
        matches!(&moved[..], [one] if one.state.as_str() == "halted" && one.scope() == Scope::Sandbox),
        "{moved:?}"
    );
    assert_eq!(early(NOW_MS + 10_006).await, [], "what a halt refuses is not counted");
    // Ten messages a second are let, and these are messages: another sandbox of the account has none left.
    for n in 0..10 {
        store.trade_refused_early(account(), sandbox_id(2 + n), NOW_MS + 60_000).await.expect("it is counted");
    }
    let now = admit(&store, ask(20, 20, NOW_MS + 60_000, Qty::ZERO, buy("1", "100"))).await;
    refused(now, Rule::MaxMessagesPerSecond);
    let later = admit(&store, ask(20, 21, NOW_MS + 61_000, Qty::ZERO, buy("1", "100"))).await;
    assert!(matches!(later, TradeRuling::Allowed { .. }), "control: a second later there are");
    sound(&store).await;
}

#[tokio::test]
async fn the_kill_switch_halts_every_sandbox_of_an_account_and_lets_cancels_through() {
    let place = Place::new();
    let store = place.open_gate();
    let number = bought(&store, 1, "1").await;
    let moved = store.trade_halt(account(), None, By::Client, "enough".into(), NOW_MS).await.expect("it can be asked");
    assert_eq!(moved.expect("it moves").scope(), Scope::Account);
    for sandbox in [1, 2, 3] {
        let refusal =
            refused(admit(&store, ask(sandbox, 2, NOW_MS, Qty::ZERO, buy("1", "100"))).await, Rule::TradingState);
        assert!(refusal.message.contains("enough"), "{refusal}");
    }
    let cancel = Message::Cancel { of: OrderRef::Upstream(upstream(number)) };
    let ruling = admit(&store, ask(1, 3, NOW_MS, Qty::ZERO, cancel)).await;
    assert!(matches!(ruling, TradeRuling::Allowed { action: Admitted::Cancel { .. }, .. }), "{ruling:?}");
}

#[tokio::test]
async fn repeated_execution_halts() {
    let place = Place::new();
    let store = place.open_gate();
    let mut limits = Limits::out_of_the_box();
    limits.set("max_repeated_fills", "2").expect("a limit");
    limits.set("repeated_window_s", "60").expect("a limit");
    store.trade_limits_set(account(), None, limits, NOW_MS).await.expect("they are set");
    let mut numbers = Vec::new();
    for body in 1..=3 {
        numbers.push(bought(&store, body, "2").await);
    }
    for (index, number) in numbers.iter().enumerate() {
        // Both fills of one order are one execution.
        for part in ["a", "b"] {
            let outcome = store.trade_fill(fill(*number, &format!("{index}{part}"), "1", "100")).await;
            let moved = outcome.expect("it is counted").moved;
            assert_eq!(moved.len(), usize::from(index == 2 && part == "a"), "{index}{part}");
        }
    }
    assert_eq!(status(&store).await.states.account.as_str(), "halted");
    sound(&store).await;
}

#[tokio::test]
async fn a_client_tightens_and_never_loosens() {
    let place = Place::new();
    let store = place.open_gate();
    let set = |name: &str, text: &str| {
        let mut limits = Limits::none();
        limits.set(name, text).expect("a limit");
        limits
    };
    let tighten = async |limits| store.trade_limits_tighten(account(), sandbox_id(1), limits, NOW_MS).await;
    assert_eq!(tighten(set("max_notional_per_order", "500")).await.expect("it is tighter"), 1);
    assert_eq!(tighten(set("max_open_orders", "3")).await.expect("it is tighter"), 2);
    for (name, text) in
        [("max_notional_per_order", "500.01"), ("max_open_orders", "4"), ("max_daily_notional", "50001")]
    {
        let error = tighten(set(name, text)).await.expect_err("it loosens");
        assert!(error.to_string().contains(name), "{error}");
    }
    refused(admit(&store, ask(1, 1, NOW_MS, Qty::ZERO, buy("5.01", "100"))).await, Rule::MaxNotionalPerOrder);
    assert!(matches!(admit(&store, ask(2, 1, NOW_MS, Qty::ZERO, buy("50", "100"))).await, TradeRuling::Allowed { .. }));
    // The operator may do either, and what a sandbox has tightened stays tighter than that.
    let mut account_wide = Limits::out_of_the_box();
    account_wide.set("max_notional_per_order", "400").expect("a limit");
    store.trade_limits_set(account(), None, account_wide, NOW_MS).await.expect("they are set");
    assert_eq!(status(&store).await.limits.sandbox.max_notional_per_order, Some(usd("400")));
    assert_eq!(status(&store).await.limits.sandbox.max_open_orders, Some(3));
}

#[tokio::test]
async fn an_order_that_waits_is_let_through_once_when_a_person_has_approved_it() {
    let place = Place::new();
    let store = place.open_gate();
    let mut limits = Limits::out_of_the_box();
    limits.set("two_step_above", "500").expect("a limit");
    store.trade_limits_set(account(), None, limits, NOW_MS).await.expect("they are set");
    let large = |at_ms| ask(1, 1, at_ms, Qty::ZERO, buy("6", "100"));
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let ruling = admit(&store, large(NOW_MS)).await;
        let TradeRuling::Held { hold, refusal, .. } = ruling else { panic!("it waits: {ruling:?}") };
        assert_eq!(refusal.rule, Rule::TwoStepAbove);
        numbers.push(hold);
    }
    assert_eq!(numbers, [1, 1], "one request waits once");
    assert_eq!(status(&store).await.amounts.account.pending_bought, Usd::ZERO);
    let waiting = store.trade_holds().await.expect("they can be read");
    assert_eq!((waiting.len(), waiting[0].notional), (1, usd("600")));
    store.trade_hold_answer(1, true, NOW_MS).await.expect("it is answered");
    assert!(matches!(store.trade_hold_answer(1, true, NOW_MS).await, Err(StoreError::NotFound { .. })), "once");
    let other = ask(2, 1, NOW_MS, Qty::ZERO, buy("6", "100"));
    assert!(matches!(admit(&store, other).await, TradeRuling::Held { .. }), "another sandbox's is another order");
    let order = sent(admit(&store, large(NOW_MS + 3_600_000)).await);
    store.trade_answered(order.number, true).await.expect("it is noted");
    assert!(matches!(admit(&store, large(NOW_MS)).await, TradeRuling::Held { .. }), "an approval is used once");
    sound(&store).await;
}

#[tokio::test]
async fn losses_move_the_accounts_state_also_between_orders() {
    let place = Place::new();
    let store = place.open_gate();
    let equity = async |now: &str| {
        let equity = Equity { now: usd(now), start_of_day: None };
        let moved = store.trade_equity(account(), equity, date(), NOW_MS).await.expect("it is noted");
        moved.iter().map(|moved| moved.state.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(equity("100000").await, Vec::<&str>::new(), "the first of a day is where it begins");
    assert_eq!(equity("98000.01").await, ["reducing"; 0]);
    assert_eq!(equity("98000").await, ["reducing"]);
    assert_eq!(equity("97000").await, ["reducing"; 0], "it is so already");
    assert_eq!(equity("96000").await, ["halted"]);
    store.close().await.expect("it closes");
    let store = place.open_gate();
    assert_eq!(status(&store).await.states.account.as_str(), "halted");
}

#[tokio::test]
async fn what_counts_by_the_day_begins_anew_and_open_orders_go_along() {
    let place = Place::new();
    let store = place.open_gate();
    let number = bought(&store, 1, "90").await;
    store.trade_fill(fill(number, "x1", "50", "100")).await.expect("it is counted");
    let tomorrow = TradeDate::new(2025, 11, 28).expect("a day");
    let status = store.trade_status(account(), None, tomorrow).await.expect("it can be read");
    let amounts = status.amounts.account;
    assert_eq!((amounts.bought, amounts.orders, amounts.pending_bought), (Usd::ZERO, 0, usd("4000")));
}

#[tokio::test]
async fn an_account_that_was_chosen_is_there_after_a_restart_and_goes_with_its_sandbox() {
    let place = Place::new();
    let store = place.open_gate();
    let (first, second) = (sandbox_id(1), sandbox_id(2));
    let other = AccountId::parse("sim:other").expect("an account");
    let (of, then) = ([first.clone(), second.clone()], other.clone());
    store
        .write(move |tx| {
            tx.choose_account(&of[0], &account())?;
            tx.choose_account(&of[1], &account())?;
            tx.choose_account(&of[1], &then)
        })
        .await
        .expect("written");
    drop(store);
    let store = place.open_gate();
    let chosen = store.chosen_accounts().await.expect("readable");
    assert_eq!(chosen, [(first.clone(), account()), (second.clone(), other.clone())]);
    store.forget_sandbox(NOW_MS, &first).await.expect("it can be forgotten");
    assert_eq!(store.chosen_accounts().await.expect("readable"), [(second, other)]);
}

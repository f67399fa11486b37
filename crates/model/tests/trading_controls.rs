//! Each control: allowed at its limit, refused one step beyond.

mod trading;

use ringfence_model::trade::*;
use trading::*;

#[test]
fn c01_an_environment_that_is_not_in_force_is_refused_for_reads_too() {
    let day = Day::new();
    day.allows(&Message::Read);
    let live = day.clone().change(|day| day.facts.environment = Environment::Live);
    live.refuses(Rule::EnvironmentLock, &Message::Read);
    live.refuses(Rule::EnvironmentLock, &buy("1", "100"));
    let paper = day.clone().change(|day| day.facts.mode = Mode::Paper);
    paper.refuses(Rule::EnvironmentLock, &buy("1", "100"));
    paper.change(|day| day.facts.environment = Environment::Paper).allows(&buy("1", "100"));
}

fn all_set() -> Limits {
    let mut limits = Limits::out_of_the_box();
    for (name, text) in [
        ("max_order_qty", "1000"),
        ("max_gross_notional", "100000"),
        ("max_concentration_percent", "50"),
        ("max_daily_orders", "100"),
        ("max_daily_turnover", "100000"),
        ("max_rolling_notional", "50000"),
        ("max_rolling_orders", "100"),
        ("max_rolling_turnover", "100000"),
        ("max_repeated_fills", "20"),
        ("repeated_window_s", "60"),
        ("duplicate_window_s", "1"),
        ("max_drawdown_percent", "10"),
    ] {
        limits.set(name, text).expect("a limit");
    }
    limits
}

#[test]
fn c01_live_has_no_defaults_two_opt_ins_and_an_end() {
    let limits = all_set();
    assert_eq!(limits.missing(), Vec::<&str>::new());
    let arm = |allowed, typed, limits: &Limits, until| Mode::arm_live(allowed, "alpaca", typed, limits, until, NOW_MS);
    let end = NOW_MS + 3_600_000;
    assert_eq!(arm(true, "alpaca", &limits, end), Ok(Mode::Live { until_ms: end }));
    assert_eq!(arm(false, "alpaca", &limits, end), Err(NotArmed::NotConfigured));
    assert_eq!(arm(true, "yes", &limits, end), Err(NotArmed::NotTyped("alpaca".into())));
    for bad in [NOW_MS - 1, NOW_MS, NOW_MS + 59_999, NOW_MS + LIVE_MS_MAX + 1] {
        assert_eq!(arm(true, "alpaca", &limits, bad), Err(NotArmed::BadEnd), "{bad}");
    }
    for knob in Limits::KNOBS.iter().filter(|knob| knob.live) {
        let mut one_less = limits.clone();
        one_less.set(knob.name, "none").expect("a limit");
        assert_eq!(arm(true, "alpaca", &one_less, end), Err(NotArmed::Missing(MissingKnobs(vec![knob.name]))));
    }
    assert_eq!(Limits::for_live().missing().len(), Limits::KNOBS.iter().filter(|knob| knob.live).count());

    let day = Day::new().change(|day| {
        day.facts.environment = Environment::Live;
        day.facts.mode = Mode::Live { until_ms: NOW_MS + 1 };
        day.limits = Scoped { account: limits.clone(), sandbox: limits.clone() };
        day.counted.high_water = Some(usd("100000"));
    });
    day.allows(&buy("1", "100"));
    day.clone().change(|day| day.facts.host_ms += 1).refuses(Rule::EnvironmentLock, &buy("1", "100"));
    day.limit("max_order_qty", "none").refuses(Rule::EnvironmentLock, &buy("1", "100"));
}

#[test]
fn c03_symbols_and_asset_classes() {
    let one = submit(market(Side::Buy, "1"));
    let day = Day::new().limit("permitted_symbols", "AAPL,BRK.B");
    day.allows(&one);
    day.refuses(Rule::PermittedSymbols, &submit(of("MSFT", market(Side::Buy, "1"))));
    let day = Day::new().limit("restricted_symbols", "AAPL");
    day.refuses(Rule::RestrictedSymbols, &one);
    day.allows(&submit(of("MSFT", market(Side::Buy, "1"))));
    let mut coin = of("BTC/USD", limit(Side::Buy, "1", "100"));
    coin.asset_class = AssetClass::Crypto;
    let day = Day::new().change(|day| day.facts.references.push(reference("BTC/USD")));
    day.refuses(Rule::PermittedAssetClasses, &submit(coin.clone()));
    day.limit("permitted_asset_classes", "us_equity,crypto").allows(&submit(coin));
    for text in
        ["aapl", "904837e3-3b76-47ec-b432-046db621571b", "904837E33B7647ECB432046DB621571B", "BTC/USD/X", "", "AAPL "]
    {
        assert!(CanonicalSymbol::parse(text).is_err(), "{text}");
    }
}

#[test]
fn c04_types_times_classes_and_routing() {
    let day = Day::new();
    for time_in_force in TimeInForce::ALL.iter().copied() {
        let order = submit(OrderIntent { time_in_force, ..limit(Side::Buy, "1", "100") });
        match time_in_force {
            TimeInForce::Opg | TimeInForce::Cls => drop(day.refuses(Rule::PermittedTimeInForce, &order)),
            _ => day.allows(&order),
        }
    }
    let day = day.limit("permitted_order_types", "limit");
    day.allows(&buy("1", "100"));
    day.refuses(Rule::PermittedOrderTypes, &submit(market(Side::Buy, "1")));
    let bracket = submit(bracket("1", "110", "90"));
    Day::new().allows(&bracket);
    Day::new().limit("permitted_order_classes", "simple").refuses(Rule::PermittedOrderClasses, &bracket);
    let leg = OptionLeg { symbol: symbol("AAPL251219C00200000"), side: Side::Buy, ratio: 1 };
    let legs = OrderIntent { structure: Structure::Mleg(vec![leg]), ..market(Side::Buy, "1") };
    Day::new().refuses(Rule::PermittedOrderClasses, &submit(legs));
    let routed = submit(OrderIntent { advanced_instructions: true, ..limit(Side::Buy, "1", "100") });
    Day::new().refuses(Rule::NoAdvancedInstructions, &routed);
    Day::new().limit("no_advanced_instructions", "no").allows(&routed);
}

fn bracket(count: &str, take_profit: &str, stop: &str) -> OrderIntent {
    let stop_loss = StopLoss { stop: price(stop), limit: None };
    let structure = Structure::Bracket { take_profit: price(take_profit), stop_loss };
    OrderIntent { structure, ..limit(Side::Buy, count, "100") }
}

#[test]
fn c05_quantity_and_notional_by_the_worst_price() {
    let day = Day::new().limit("max_order_qty", "50");
    day.allows(&buy("50", "100"));
    day.refuses(Rule::MaxOrderQty, &buy("50.000000001", "100"));

    let day = Day::new();
    day.allows(&buy("100", "100"));
    let refusal = day.refuses(Rule::MaxNotionalPerOrder, &buy("100.000000001", "100"));
    assert_eq!(
        refusal.body(),
        serde_json::json!({"code": 40_310_000, "rule": "max_notional_per_order", "limit": "10000", "observed": "10000.000001",
            "message": "firewall: max_notional_per_order: the order may come to 10000.000001 USD, where 10000 USD are the most"})
    );
    // A market order is counted at what is asked, and the collar on top.
    let (_, reserved) = day.sends(&submit(market(Side::Buy, "90.9")));
    assert_eq!((reserved.price, reserved.entry), (price("110"), usd("9999")));
    day.refuses(Rule::MaxNotionalPerOrder, &submit(market(Side::Buy, "90.91")));
    // So many dollars are so many dollars.
    let dollars = |text| submit(OrderIntent { size: Size::Notional(usd(text)), ..market(Side::Buy, "1") });
    day.allows(&dollars("10000"));
    day.refuses(Rule::MaxNotionalPerOrder, &dollars("10000.000001"));
    // Each leg is an order at the venue.
    day.allows(&submit(bracket("90.9", "110", "95")));
    let refusal = day.refuses(Rule::MaxNotionalPerOrder, &submit(bracket("90.91", "110.01", "95")));
    assert!(refusal.message.starts_with("a leg"), "{refusal}");
    // An option is about a hundred.
    let mut option = of("AAPL251219C00200000", limit(Side::Buy, "1", "100"));
    option.asset_class = AssetClass::UsOption;
    let day = day.limit("permitted_asset_classes", "us_option");
    let day = day.change(|day| day.facts.references.push(reference("AAPL251219C00200000")));
    day.allows(&submit(option.clone()));
    option.size = Size::Qty(qty("1.01"));
    day.refuses(Rule::MaxNotionalPerOrder, &submit(option));
}

#[test]
fn c06_the_collar_is_on_the_aggressive_side_only() {
    let day = Day::new().holding("AAPL", "50");
    day.allows(&buy("1", "110"));
    let refusal = day.refuses(Rule::PriceCollarPercent, &buy("1", "110.01"));
    assert_eq!((refusal.limit, refusal.observed), (Some(price("110").into()), Some(price("110.01").into())));
    day.allows(&buy("1", "0.01"));
    day.allows(&sell("1", "89.1"));
    day.refuses(Rule::PriceCollarPercent, &sell("1", "89.09"));
    day.allows(&sell("1", "200"));
    let stop = |side, at| submit(OrderIntent { pricing: Pricing::Stop { stop: price(at) }, ..market(side, "1") });
    day.allows(&stop(Side::Buy, "110"));
    day.refuses(Rule::PriceCollarPercent, &stop(Side::Buy, "110.01"));
    day.allows(&stop(Side::Sell, "50"));
    let both = |stop, limit| {
        let pricing = Pricing::StopLimit { stop: price(stop), limit: price(limit) };
        submit(OrderIntent { pricing, ..market(Side::Sell, "1") })
    };
    day.allows(&both("50", "45"));
    day.refuses(Rule::PriceCollarPercent, &both("50", "44.99"));
    let trailing = |by| {
        let pricing = Pricing::TrailingStop { trail: Trail::Percent(percent(by)) };
        submit(OrderIntent { pricing, ..market(Side::Buy, "1") })
    };
    day.allows(&trailing("10"));
    day.refuses(Rule::PriceCollarPercent, &trailing("10.01"));
    let exit = |profit| submit(bracket("1", profit, "80"));
    day.allows(&exit("89.1"));
    day.refuses(Rule::PriceCollarPercent, &exit("89.09"));
}

#[test]
fn c06_a_quote_far_from_the_last_trade_is_not_believed() {
    let day = Day::new().change(|day| day.facts.references[0].ask = Some(price("250")));
    day.allows(&buy("1", "109.45"));
    day.refuses(Rule::PriceCollarPercent, &buy("1", "109.46"));
}

#[test]
fn c07_a_stale_reference_blocks_what_opens_and_what_has_no_price() {
    let aged = |ms| Day::new().holding("AAPL", "10").change(move |day| day.facts.references[0].at_ms -= ms);
    let market_sell = submit(market(Side::Sell, "1"));
    for day in [aged(0), aged(60_000)] {
        day.allows(&buy("1", "100"));
        day.allows(&submit(market(Side::Buy, "1")));
        day.allows(&market_sell);
    }
    let refusal = aged(60_001).refuses(Rule::MaxReferenceAge, &buy("1", "100"));
    assert_eq!((refusal.limit, refusal.observed), (Some(60_u32.into()), Some(61_u32.into())));
    aged(60_001).refuses(Rule::MaxReferenceAge, &submit(market(Side::Buy, "1")));
    aged(60_001).refuses(Rule::MaxReferenceAge, &market_sell);
    aged(60_001).allows(&sell("1", "99"));
    let ahead = Day::new().change(|day| day.facts.references[0].at_ms += 60_001);
    ahead.refuses(Rule::MaxReferenceAge, &buy("1", "100"));
    let none = Day::new().change(|day| day.facts.references.clear());
    none.refuses(Rule::MaxReferenceAge, &buy("1", "100"));
    let zero = Price::ZERO;
    let nothing = Day::new().change(|day| {
        let reference = &mut day.facts.references[0];
        (reference.bid, reference.ask, reference.last) = (Some(zero), Some(zero), None);
    });
    nothing.refuses(Rule::MaxReferenceAge, &buy("1", "100"));
}

#[test]
fn c08_a_position_counts_with_all_that_is_open() {
    let day = Day::new().holding("AAPL", "100").open(limit(Side::Buy, "100", "100"));
    day.allows(&buy("50", "100"));
    let refusal = day.refuses(Rule::MaxPositionNotional, &buy("50.01", "100"));
    assert_eq!((refusal.limit, refusal.observed), (Some(usd("25000").into()), Some(usd("25001").into())));
    day.allows(&submit(of("MSFT", limit(Side::Buy, "100", "100"))));
    // Selling is let through also of a position that has become too large.
    Day::new().holding("AAPL", "900").allows(&sell("100", "100"));

    let day =
        Day::new().limit("max_gross_notional", "20000").holding("MSFT", "50").open(limit(Side::Buy, "100", "100"));
    day.allows(&buy("50", "100"));
    day.refuses(Rule::MaxGrossNotional, &buy("50.01", "100"));
}

#[test]
fn c08_nothing_is_sold_that_is_not_there() {
    let day = Day::new().holding("AAPL", "10");
    day.allows(&sell("10", "100"));
    day.refuses(Rule::NoShorting, &sell("10.000000001", "100"));
    Day::new().refuses(Rule::NoShorting, &sell("0.000000001", "100"));
    let day = day.open(limit(Side::Sell, "6", "100"));
    day.allows(&sell("4", "100"));
    day.refuses(Rule::NoShorting, &sell("4.1", "100"));
    let short = Day::new().limit("no_shorting", "no");
    short.allows(&sell("100", "100"));
    let short = short.holding("AAPL", "-100").open(limit(Side::Sell, "100", "100"));
    short.allows(&sell("50", "100"));
    short.refuses(Rule::MaxPositionNotional, &sell("50.01", "100"));
}

#[test]
fn c09_concentration_and_open_orders() {
    let day = Day::new().limit("max_concentration_percent", "5");
    day.allows(&buy("50", "100"));
    day.refuses(Rule::MaxConcentrationPercent, &buy("50.01", "100"));
    let poor = day.change(|day| day.facts.equity = Some(Equity { now: Usd::ZERO, start_of_day: Some(Usd::ZERO) }));
    poor.limit("max_daily_loss_percent", "none").refuses(Rule::MaxConcentrationPercent, &buy("1", "100"));

    let with = |count| Day::new().counting(move |counters| counters.open_orders = count);
    with(49).allows(&buy("1", "100"));
    let refusal = with(50).refuses(Rule::MaxOpenOrders, &buy("1", "100"));
    assert_eq!((refusal.limit, refusal.observed), (Some(50_u32.into()), Some(51_u32.into())));
    with(47).allows(&submit(bracket("1", "110", "90")));
    with(48).refuses(Rule::MaxOpenOrders, &submit(bracket("1", "110", "90")));
}

#[test]
fn c10_what_is_bought_traded_and_sent_of_a_day_and_of_24_hours() {
    let spent = |bought, turnover, orders| Spent { bought: usd(bought), turnover: usd(turnover), orders };
    type Counter = fn(&mut Counters) -> &mut Spent;
    let day_of: Counter = |counters| &mut counters.day;
    let rolling: Counter = |counters| &mut counters.rolling;
    let buys = [(Rule::MaxDailyNotional, day_of), (Rule::MaxRollingNotional, rolling)];
    for (rule, counter) in buys {
        let day = Day::new().limit(rule.as_str(), "50000").counting(|counters| {
            *counter(counters) = spent("40000", "40000", 9);
            counters.pending.bought = usd("9000");
            counters.pending.turnover = usd("9000");
        });
        day.allows(&buy("10", "100"));
        let refusal = day.refuses(rule, &buy("10.01", "100"));
        assert_eq!((refusal.limit, refusal.observed), (Some(usd("50000").into()), Some(usd("50001").into())));
        day.holding("AAPL", "100").allows(&sell("90", "100"));
    }
    for (rule, counter) in [(Rule::MaxDailyTurnover, day_of), (Rule::MaxRollingTurnover, rolling)] {
        let day = Day::new().holding("AAPL", "100").limit(rule.as_str(), "20000").counting(|counters| {
            *counter(counters) = spent("0", "19000", 9);
        });
        day.allows(&sell("10", "100"));
        day.refuses(rule, &sell("10.01", "100"));
    }
    for (rule, counter) in [(Rule::MaxDailyOrders, day_of), (Rule::MaxRollingOrders, rolling)] {
        let day = |sent| Day::new().limit(rule.as_str(), "10").counting(|counters| counter(counters).orders = sent);
        day(9).allows(&buy("1", "100"));
        day(10).refuses(rule, &buy("1", "100"));
    }
    // The account's counters count too, and what others bought.
    let day = Day::new().change(|day| day.counted.counters.account.day.bought = usd("49500"));
    day.allows(&buy("5", "100"));
    assert!(day.refuses(Rule::MaxDailyNotional, &buy("6", "100")).message.contains("account"));
}

#[test]
fn c11_messages_a_second_come_from_a_bucket() {
    let mut day = Day::new();
    let messages = [buy("1", "100"), cancel(), Message::CancelAll, Message::CloseAll { cancel_orders: true }];
    day.counted.target = Some(Target { number: 1, leg: false, open: true, replacing: false });
    for sent in 0..10 {
        let judgement = day.decide(&messages[sent % 4]);
        assert!(matches!(judgement.verdict, Verdict::Allow(_)), "{sent}: {judgement:?}");
        day.counted.counters.account.bucket = judgement.buckets.account;
        day.counted.counters.sandbox.bucket = judgement.buckets.sandbox;
    }
    for message in &messages {
        day.refuses(Rule::MaxMessagesPerSecond, message);
    }
    day.allows(&Message::Read);
    let later = |ms| day.clone().change(move |day| day.facts.host_ms += ms);
    later(99).refuses(Rule::MaxMessagesPerSecond, &messages[0]);
    later(100).allows(&messages[0]);
    // A clock that is put back fills nothing, and one that leaps no more than a second's worth.
    day.clone().change(|day| day.facts.host_ms -= 10_000).refuses(Rule::MaxMessagesPerSecond, &messages[0]);
    let full = later(3_600_000).decide(&messages[0]).buckets.sandbox.expect("a bucket");
    assert_eq!(full.level, 9_000);
    assert_eq!(Refusal::STATUS, 403, "never 429");
}

#[test]
fn c12_repeated_execution_halts_until_a_person_resets_it() {
    let day = |fills| {
        let day = Day::new().limit("max_repeated_fills", "3").limit("repeated_window_s", "60");
        day.counting(move |counters| counters.repeated_fills = fills)
    };
    day(3).allows(&buy("1", "100"));
    day(4).refuses(Rule::MaxRepeatedFills, &buy("1", "100"));
    let effects = day(4).decide(&buy("1", "100")).effects;
    assert!(
        matches!(&effects[..], [Effect { scope: Scope::Account, event: StateEvent::RepeatedExecution(_) }]),
        "{effects:?}"
    );
    let own = day(4).change(|day| day.limits.account.max_repeated_fills = None);
    assert_eq!(own.decide(&buy("1", "100")).effects[0].scope, Scope::Sandbox);
}

#[test]
fn c13_the_same_order_is_not_sent_twice() {
    let taken = Day::new().change(|day| day.counted.client_order_id_taken = true);
    taken.refuses(Rule::DuplicateOrder, &buy("1", "100"));
    let since = |ms| {
        let day = Day::new().limit("duplicate_window_s", "2");
        day.change(move |day| day.counted.same_at_ms = Some(NOW_MS - ms))
    };
    since(2000).allows(&buy("1", "100"));
    since(1999).refuses(Rule::DuplicateOrder, &buy("1", "100"));
    let mut posing = limit(Side::Buy, "1", "100");
    posing.client_order_id = Some(ClientOrderId::parse("rf-i00000000000000000000-1").expect("an id"));
    Day::new().refuses(Rule::CanonicalForm, &submit(posing));
}

#[test]
fn c14_nobody_trades_with_oneself() {
    let day = Day::new().holding("AAPL", "10").open(limit(Side::Sell, "5", "101"));
    day.allows(&buy("1", "100.99"));
    day.refuses(Rule::NoSelfTrade, &buy("1", "101"));
    day.refuses(Rule::NoSelfTrade, &submit(market(Side::Buy, "1")));
    day.allows(&submit(of("MSFT", market(Side::Buy, "1"))));
    let day = Day::new().holding("AAPL", "10").open(limit(Side::Buy, "5", "99"));
    day.allows(&sell("1", "99.01"));
    day.refuses(Rule::NoSelfTrade, &sell("1", "99"));
    // An exit of a bracket is let be until one reaches its limit.
    let held = Day::new().open(bracket("5", "105", "90")).change(|day| day.counted.open[0].exits = qty("5"));
    held.allows(&submit(market(Side::Buy, "1")));
    held.allows(&buy("1", "104.99"));
    held.refuses(Rule::NoSelfTrade, &buy("1", "105"));
    held.limit("no_self_trade", "no").allows(&buy("1", "105"));
}

#[test]
fn c15_a_loss_leaves_what_reduces_and_then_nothing() {
    let lost = |equity: &str| {
        let equity = usd(equity);
        Day::new().holding("AAPL", "10").change(move |day| day.facts.equity.as_mut().expect("one").now = equity)
    };
    lost("98000.000001").allows(&buy("1", "100"));
    lost("98000").refuses(Rule::MaxDailyLossPercent, &buy("1", "100"));
    lost("98000").allows(&sell("1", "100"));
    let effects = |day: &Day| day.decide(&sell("1", "100")).effects;
    assert!(matches!(
        effects(&lost("98000"))[..],
        [Effect { scope: Scope::Account, event: StateEvent::LossReached(_) }]
    ));
    lost("96000").refuses(Rule::MaxDailyLossPercent, &sell("1", "100"));
    assert!(matches!(
        effects(&lost("96000"))[..],
        [Effect { scope: Scope::Account, event: StateEvent::LossDoubled(_) }]
    ));
    lost("96000")
        .change(|day| day.counted.target = Some(Target { number: 1, leg: false, open: true, replacing: false }))
        .allows(&cancel());
    // The day's first equity comes from the ledger where the venue does not say it.
    let unsaid = lost("98000").change(|day| day.facts.equity.as_mut().expect("one").start_of_day = None);
    unsaid.refuses(Rule::MaxDailyLossPercent, &buy("1", "100"));
    let known = unsaid.change(|day| day.counted.start_of_day = Some(usd("98500")));
    known.allows(&buy("1", "100"));
    let unknown = Day::new().holding("AAPL", "10").change(|day| day.facts.equity = None);
    unknown.refuses(Rule::MaxDailyLossPercent, &buy("1", "100"));
    unknown.allows(&sell("1", "100"));

    let fallen = |high: &str| {
        let high = usd(high);
        Day::new().limit("max_drawdown_percent", "5").change(move |day| day.counted.high_water = Some(high))
    };
    fallen("105263.15").allows(&buy("1", "100"));
    fallen("105263.16").refuses(Rule::MaxDrawdownPercent, &buy("1", "100"));
}

#[test]
fn c16_five_refusals_in_a_row_halt() {
    let after = |refusals| Day::new().counting(move |counters| counters.refusals = refusals);
    let wrong = buy("1", "200");
    assert_eq!(after(3).decide(&wrong).refusals, 4);
    assert_eq!(after(3).decide(&wrong).effects, []);
    let fifth = after(4).decide(&wrong);
    assert_eq!(fifth.refusals, 5);
    assert!(matches!(fifth.effects[..], [Effect { scope: Scope::Sandbox, event: StateEvent::RefusalStreak(_) }]));
    assert_eq!(after(4).decide(&buy("1", "100")).refusals, 4, "an order that is admitted is not accepted yet");
    let halted = after(7).change(|day| day.counted.counters.sandbox.state = halted());
    assert_eq!(halted.decide(&wrong).refusals, 7, "what a halt refuses is not counted");
}

fn cause() -> Cause {
    Cause { by: By::Control, reason: "a test".into(), since_ms: NOW_MS }
}

fn halted() -> TradingState {
    TradingState::Halted(cause())
}

#[test]
fn c17_hours_sessions_and_windows() {
    let at = |session| Day::new().change(move |day| day.facts.clock.session = session);
    let extended = submit(OrderIntent { extended_hours: true, ..limit(Side::Buy, "1", "100") });
    at(Session::Regular).allows(&buy("1", "100"));
    at(Session::Regular).refuses(Rule::TradingHours, &extended);
    for session in [Session::PreMarket, Session::AfterHours, Session::Closed] {
        at(session).refuses(Rule::TradingHours, &buy("1", "100"));
    }
    let longer = |session| at(session).limit("trading_hours", "extended");
    longer(Session::AfterHours).allows(&extended);
    longer(Session::Closed).refuses(Rule::TradingHours, &extended);
    at(Session::Closed).limit("trading_hours", "any").allows(&buy("1", "100"));
    let mut coin = of("BTC/USD", limit(Side::Buy, "1", "100"));
    coin.asset_class = AssetClass::Crypto;
    let night = at(Session::Closed).limit("permitted_asset_classes", "crypto");
    night.change(|day| day.facts.references.push(reference("BTC/USD"))).allows(&submit(coin));

    let minute = |minute| {
        let day = Day::new().limit("no_trade_windows", "09:30-09:45,23:50-00:10");
        day.change(move |day| day.facts.clock.minute = minute)
    };
    for closed in [570, 584, 1430, 0, 9] {
        minute(closed).refuses(Rule::NoTradeWindows, &buy("1", "100"));
    }
    for open in [569, 585, 1429, 10] {
        minute(open).allows(&buy("1", "100"));
    }
}

#[test]
fn c18_a_halt_lets_cancels_and_reads_through_and_reducing_what_reduces() {
    for of_account in [true, false] {
        let with = |state: TradingState| {
            Day::new().holding("AAPL", "10").change(move |day| {
                let counters = &mut day.counted.counters;
                *(if of_account { &mut counters.account.state } else { &mut counters.sandbox.state }) = state;
                day.counted.target = Some(Target { number: 1, leg: false, open: true, replacing: false });
            })
        };
        let day = with(halted());
        for message in [Message::Read, cancel(), Message::CancelAll] {
            day.allows(&message);
        }
        let close = Message::ClosePosition { symbol: symbol("AAPL"), size: CloseSize::All };
        for message in [buy("1", "100"), sell("1", "100"), close.clone(), Message::CloseAll { cancel_orders: false }] {
            day.refuses(Rule::TradingState, &message);
        }
        let day = with(TradingState::Reducing(cause()));
        for message in [Message::Read, cancel(), sell("10", "100"), close] {
            day.allows(&message);
        }
        day.refuses(Rule::TradingState, &buy("1", "100"));
        let day = day.limit("no_shorting", "no");
        day.refuses(Rule::TradingState, &sell("10.1", "100"));
    }
}

#[test]
fn c20_only_ones_own_orders_can_be_named() {
    let day = Day::new().open(limit(Side::Buy, "5", "99"));
    day.refuses(Rule::OrderOwnership, &cancel());
    day.refuses(Rule::OrderOwnership, &replace(1, Changes::default()));
    let named = day.clone().naming(1);
    named.allows(&cancel());
    named.allows(&replace(1, Changes::default()));
    let others = day.change(|day| day.counted.open[0].own = false).open(limit(Side::Buy, "6", "98"));
    let Verdict::Allow(action) = others.decide(&Message::CancelAll).verdict else { panic!("it is allowed") };
    assert_eq!(*action, Action::CancelOwn { numbers: vec![2] });
}

#[test]
fn c21_a_replacement_is_judged_as_the_order_that_it_becomes() {
    let day = Day::new().open(limit(Side::Buy, "50", "100")).naming(1);
    let grown = |count| replace(1, Changes { qty: Some(qty(count)), ..Changes::default() });
    let (intent, reserved) = day.sends(&grown("100"));
    assert_eq!((intent.size, reserved.entry), (Size::Qty(qty("100")), usd("10000")));
    day.refuses(Rule::MaxNotionalPerOrder, &grown("100.01"));
    let dear = |at| replace(1, Changes { limit: Some(price(at)), ..Changes::default() });
    day.allows(&dear("110"));
    day.refuses(Rule::PriceCollarPercent, &dear("110.01"));
    // Both together hold the larger of the two.
    let day = day.counting(|counters| counters.day.bought = usd("41000"));
    day.allows(&grown("90"));
    day.refuses(Rule::MaxDailyNotional, &grown("90.01"));
    let stop = replace(1, Changes { stop: Some(price("100")), ..Changes::default() });
    day.refuses(Rule::ReplaceOrder, &stop);
    let gone = day.clone().change(|day| day.counted.target.as_mut().expect("one").open = false);
    gone.refuses(Rule::ReplaceOrder, &grown("1"));
    let twice = day.clone().change(|day| day.counted.target.as_mut().expect("one").replacing = true);
    twice.refuses(Rule::ReplaceOrder, &grown("1"));
    let leg = day.change(|day| day.counted.target.as_mut().expect("one").leg = true);
    leg.allows(&dear("120"));
    leg.refuses(Rule::ReplaceOrder, &grown("1"));
}

#[test]
fn c21_a_position_that_is_closed_is_a_market_order() {
    let close = |size| Message::ClosePosition { symbol: symbol("AAPL"), size };
    let day = Day::new().holding("AAPL", "50");
    let (intent, _) = day.sends(&close(CloseSize::All));
    assert_eq!((intent.side, intent.size, intent.pricing), (Side::Sell, Size::Qty(qty("50")), Pricing::Market));
    let (intent, _) = day.sends(&close(CloseSize::Percentage(percent("33.33"))));
    assert_eq!(intent.size, Size::Qty(qty("16.665")));
    day.allows(&close(CloseSize::Qty(qty("50"))));
    day.refuses(Rule::ClosePosition, &close(CloseSize::Qty(qty("50.1"))));
    day.refuses(Rule::ClosePosition, &close(CloseSize::Percentage(percent("100.01"))));
    Day::new().refuses(Rule::ClosePosition, &close(CloseSize::All));
    Day::new().holding("AAPL", "200").refuses(Rule::MaxNotionalPerOrder, &close(CloseSize::All));
    let (intent, _) = Day::new().holding("AAPL", "-50").sends(&close(CloseSize::All));
    assert_eq!(intent.side, Side::Buy);
    let all = Message::CloseAll { cancel_orders: true };
    let day = day.open(limit(Side::Sell, "5", "100"));
    let Verdict::Allow(action) = day.decide(&all).verdict else { panic!("it is allowed") };
    assert_eq!(*action, Action::CloseEach { symbols: vec![symbol("AAPL")], cancel: vec![1] });
}

#[test]
fn c23_amounts_have_one_reading() {
    for text in
        ["", "-1", "+1", "1e3", "1E3", "NaN", "inf", " 1", "1 ", "1.", ".5", "00", "01", "1_0", "0x1", "1,5", "١"]
    {
        assert!(Qty::parse(text).is_err(), "`{text}` was read");
    }
    for text in ["9223372036.854775808", "99999999999", "1.0000000001"] {
        assert!(Qty::parse(text).is_err(), "`{text}` was read");
    }
    for (text, again) in
        [("0", "0"), ("1.0", "1"), ("0.000000001", "0.000000001"), ("9223372036.854775807", "9223372036.854775807")]
    {
        assert_eq!(Qty::parse(text).expect("a quantity").to_string(), again);
    }
    Day::new().refuses(Rule::CanonicalForm, &buy("0", "100"));
    Day::new().refuses(Rule::CanonicalForm, &buy("1", "0"));
    let most = Qty::MAX.to_string();
    Day::new().limit("max_notional_per_order", "none").refuses(Rule::CanonicalForm, &buy(&most, "9000000000"));
}

#[test]
fn c26_what_is_worth_more_than_a_threshold_waits_for_a_person() {
    let day = Day::new().limit("two_step_above", "5000");
    day.allows(&buy("50", "100"));
    let Verdict::Hold { notional, refusal } = day.decide(&buy("50.01", "100")).verdict else { panic!("it waits") };
    assert_eq!((notional, refusal.rule), (usd("5001"), Rule::TwoStepAbove));
    day.refuses(Rule::MaxNotionalPerOrder, &buy("101", "100"));
    day.change(|day| day.counted.approved = true).allows(&buy("50.01", "100"));
}

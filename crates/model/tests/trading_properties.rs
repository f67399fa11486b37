//! What holds of any order under any limits.

mod trading;

use proptest::prelude::*;
use ringfence_model::trade::*;
use trading::*;

/// Values of each limit, the loosest first.
const LADDERS: &[(&str, &[&str])] = &[
    ("permitted_symbols", &["AAPL,MSFT,TSLA", "AAPL,MSFT", "AAPL", "[]"]),
    ("restricted_symbols", &["[]", "TSLA", "MSFT,TSLA", "AAPL,MSFT,TSLA"]),
    ("permitted_asset_classes", &["us_equity,us_option,crypto", "us_equity", "[]"]),
    ("permitted_order_types", &["market,limit,stop,stop_limit,trailing_stop", "market,limit", "limit"]),
    ("permitted_time_in_force", &["day,gtc,ioc", "day,gtc", "day"]),
    ("permitted_order_classes", &["simple,bracket,oco,oto", "simple,bracket", "simple"]),
    ("no_advanced_instructions", &["no", "yes"]),
    ("max_order_qty", &["1000", "100", "10"]),
    ("max_notional_per_order", &["50000", "10000", "1000"]),
    ("price_collar_percent", &["50", "10", "2"]),
    ("max_reference_age_s", &["600", "60", "1"]),
    ("max_position_notional", &["100000", "25000", "5000"]),
    ("max_gross_notional", &["100000", "25000", "5000"]),
    ("no_shorting", &["no", "yes"]),
    ("max_concentration_percent", &["100", "20", "5"]),
    ("max_open_orders", &["50", "3", "1"]),
    ("max_daily_notional", &["100000", "50000", "10000"]),
    ("max_daily_orders", &["100", "10", "1"]),
    ("max_daily_turnover", &["100000", "50000", "10000"]),
    ("max_rolling_notional", &["100000", "50000", "10000"]),
    ("max_rolling_orders", &["100", "10", "1"]),
    ("max_rolling_turnover", &["100000", "50000", "10000"]),
    ("max_messages_per_s", &["100", "10", "1"]),
    ("max_repeated_fills", &["100", "10", "1"]),
    ("repeated_window_s", &["1", "60", "3600"]),
    ("duplicate_window_s", &["0", "10", "60"]),
    ("no_self_trade", &["no", "yes"]),
    ("max_daily_loss_percent", &["50", "2", "0.5"]),
    ("max_drawdown_percent", &["50", "5", "0.5"]),
    ("max_refusals_in_a_row", &["50", "5", "1"]),
    ("trading_hours", &["any", "extended", "regular"]),
    ("no_trade_windows", &["[]", "10:00-11:00", "10:00-11:00,10:30-12:00", "00:00-23:59"]),
    ("cancel_on_disconnect", &["no", "yes"]),
    ("heartbeat_timeout_s", &["600", "60"]),
    ("two_step_above", &["10000", "1000", "100"]),
];

/// Limits of these rungs of the ladders; rung 0 is none.
fn limits_of(rungs: &[usize]) -> Limits {
    let mut limits = Limits::none();
    for ((name, values), rung) in LADDERS.iter().zip(rungs) {
        let text = match rung {
            0 => "none",
            rung => values[(rung - 1).min(values.len() - 1)],
        };
        limits.set(name, text).expect("a limit");
    }
    limits
}

#[test]
fn every_limit_has_a_ladder_here() {
    let names: Vec<&str> = LADDERS.iter().map(|(name, _)| *name).collect();
    let knobs: Vec<&str> = Limits::KNOBS.iter().map(|knob| knob.name).collect();
    assert_eq!(names, knobs);
}

#[test]
fn each_rung_is_tighter_than_those_before_and_never_looser_than_those_after() {
    for (name, values) in LADDERS {
        let of = |text: &str| {
            let mut limits = Limits::none();
            limits.set(name, text).expect("a limit");
            limits
        };
        for (index, looser) in values.iter().enumerate() {
            assert_eq!(of(looser).get(name).as_deref(), Ok(*looser), "it is written as it is read");
            for tighter in &values[index + 1..] {
                assert_eq!(of(looser).tightened_by(&of(tighter)), Ok(of(tighter)), "{name}");
                assert_eq!(of(looser).with(&of(tighter)), of(tighter), "{name}");
                let error = of(tighter).tightened_by(&of(looser)).expect_err("it loosens");
                assert_eq!((error.name, error.from.as_str(), error.to.as_str()), (*name, *tighter, *looser));
                assert_eq!(of(tighter).with(&of(looser)), of(tighter), "{name}");
            }
            let json = serde_json::to_string(&of(looser)).expect("JSON");
            assert_eq!(serde_json::from_str::<Limits>(&json).expect("limits"), of(looser));
        }
        assert_eq!(of(values[0]).tightened_by(&Limits::none()), Ok(of(values[0])), "what is not said stays");
    }
    for (name, text) in [
        ("max_open_orders", "-1"),
        ("max_order_qty", "1e3"),
        ("price_collar_percent", "NaN"),
        ("no_shorting", "1"),
        ("trading_hours", "all"),
        ("no_trade_windows", "9:30-10:00"),
        ("no_trade_windows", "09:30-09:30"),
        ("permitted_symbols", "aapl"),
    ] {
        let mut limits = Limits::none();
        assert!(matches!(limits.set(name, text), Err(BadLimit::Value { .. })), "{name} {text}");
        assert_eq!(limits, Limits::none());
    }
    assert_eq!(Limits::none().set("max_orders", "1"), Err(BadLimit::Unknown("max_orders".into())));
    assert!(serde_json::from_str::<Limits>(r#"{"max_orders":"1"}"#).is_err());
}

fn any_price() -> impl Strategy<Value = Price> {
    (5_000_i64..20_000).prop_map(|cents| Price::from_units(cents * 10_000_000))
}

fn any_qty() -> impl Strategy<Value = Qty> {
    prop_oneof![
        (1_i64..300).prop_map(|n| Qty::from_units(n * 1_000_000_000)),
        (1_i64..300_000_000_000).prop_map(Qty::from_units)
    ]
}

fn any_pricing() -> impl Strategy<Value = Pricing> {
    prop_oneof![
        Just(Pricing::Market),
        any_price().prop_map(|limit| Pricing::Limit { limit }),
        any_price().prop_map(|stop| Pricing::Stop { stop }),
        (any_price(), any_price()).prop_map(|(stop, limit)| Pricing::StopLimit { stop, limit }),
        (1_i64..3_000).prop_map(|by| Pricing::TrailingStop { trail: Trail::Percent(Percent::from_units(by)) }),
    ]
}

fn any_order() -> impl Strategy<Value = OrderIntent> {
    let structure = prop_oneof![
        3 => Just(Structure::Simple),
        1 => (any_price(), any_price()).prop_map(|(take_profit, stop)| {
            Structure::Bracket { take_profit, stop_loss: StopLoss { stop, limit: None } }
        }),
        1 => any_price().prop_map(|limit| Structure::Oto(Exit::TakeProfit(limit))),
    ];
    let size = prop_oneof![
        4 => any_qty().prop_map(Size::Qty),
        1 => (1_i64..20_000_000_000).prop_map(|units| Size::Notional(Usd::from_units(units))),
    ];
    let time_in_force = prop::sample::select(TimeInForce::ALL);
    let symbol = prop::sample::select(vec!["AAPL", "MSFT"]);
    (symbol, any::<bool>(), size, any_pricing(), time_in_force, structure, any::<bool>()).prop_map(
        |(of, buys, size, pricing, time_in_force, structure, extended_hours)| OrderIntent {
            symbol: symbol_of(of),
            size,
            pricing,
            time_in_force,
            structure,
            extended_hours,
            ..market(if buys { Side::Buy } else { Side::Sell }, "1")
        },
    )
}

fn symbol_of(text: &str) -> CanonicalSymbol {
    CanonicalSymbol::parse(text).expect("a symbol")
}

fn any_day() -> impl Strategy<Value = Day> {
    let counters = (0_i64..60_000, 0_u32..12, 0_u32..12, 0_u32..12, 0_u64..20_000);
    let position = (any::<bool>(), -200_i64..300);
    let session = prop::sample::select(Session::ALL);
    (counters, position, session, 9_000_i64..11_000, 0_u64..700_000, prop::option::of(any_order()), 0_u16..1440)
        .prop_map(|((bought, sent, open, fills, level), (held, count), session, equity, age, open_order, minute)| {
            let mut day = Day::new();
            if let Some(intent) = open_order.filter(|intent| matches!(intent.structure, Structure::Simple)) {
                day = day.open(intent);
            }
            if held {
                day = day.holding("AAPL", &count.to_string());
            }
            day.facts.clock.session = session;
            day.facts.clock.minute = minute;
            day.facts.references[0].at_ms -= age;
            day.facts.equity.as_mut().expect("one").now = Usd::whole(equity * 10).expect("an amount");
            day.counted.high_water = Some(usd("100000"));
            day.counted.same_at_ms = Some(NOW_MS - age);
            day.counting(|counters| {
                let bought = Usd::whole(bought).expect("an amount");
                counters.day = Spent { bought, turnover: bought, orders: sent };
                counters.rolling = counters.day;
                counters.open_orders += open;
                counters.repeated_fills = fills;
                counters.bucket = Some(Bucket { level, at_ms: NOW_MS });
            })
        })
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        6 => any_order().prop_map(Message::Submit),
        2 => (prop::option::of(any_qty()), prop::option::of(any_price())).prop_map(|(qty, limit)| {
            replace(1, Changes { qty, limit, ..Changes::default() })
        }),
        1 => any_qty().prop_map(|qty| Message::ClosePosition { symbol: symbol_of("AAPL"), size: CloseSize::Qty(qty) }),
        1 => Just(Message::ClosePosition { symbol: symbol_of("AAPL"), size: CloseSize::All }),
        1 => Just(cancel()),
        1 => Just(Message::CancelAll),
        1 => Just(Message::CloseAll { cancel_orders: true }),
    ]
}

fn named(mut day: Day) -> Day {
    if !day.counted.open.is_empty() {
        day.counted.target = Some(Target { number: 1, leg: false, open: true, replacing: false });
    }
    day
}

/// Rungs of most limits are none or loose, so that orders are allowed often enough to say something.
fn rungs() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![8 => Just(0_usize), 3 => Just(1), 1 => 2_usize..5], LADDERS.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_sandbox_with_tighter_limits_never_may_more(
        day in any_day(),
        message in any_message(),
        base in rungs(),
        steps in prop::collection::vec(prop_oneof![4 => Just(0_usize), 1 => 1_usize..4], LADDERS.len()),
    ) {
        let tighter: Vec<usize> = base.iter().zip(&steps).map(|(rung, step)| rung + step).collect();
        let account = limits_of(&base);
        let tighter = account.tightened_by(&limits_of(&tighter)).expect("each rung is tighter");
        let mut day = named(day);
        day.limits = Scoped { account: account.clone(), sandbox: tighter };
        let tight = day.decide(&message);
        day.limits.sandbox = account;
        let loose = day.decide(&message);
        match (&tight.verdict, &loose.verdict) {
            (Verdict::Allow(tight), Verdict::Allow(loose)) => prop_assert_eq!(tight, loose),
            (Verdict::Allow(_), other) => prop_assert!(false, "only the tighter one allows: {other:?}"),
            (Verdict::Hold { .. }, Verdict::Refuse(refusal)) => prop_assert!(false, "only the looser one refuses: {refusal}"),
            _ => {}
        }
    }

    #[test]
    fn what_is_allowed_is_within_every_limit_at_its_worst(day in any_day(), message in any_message(), rungs in rungs()) {
        let mut day = named(day);
        let limits = limits_of(&rungs);
        day.limits = Scoped { account: limits.clone(), sandbox: limits.clone() };
        let Verdict::Allow(action) = day.decide(&message).verdict else { return Ok(()) };
        let Action::Send { intent, reservation, replaces, reduce_only } = *action else { return Ok(()) };
        let replaced = day.counted.open.iter().find(|open| Some(open.number) == replaces);
        let before = replaced.map_or((Usd::ZERO, Usd::ZERO), |open| (open.pending, open.exit_pending));
        if let Some(limit) = limits.max_notional_per_order {
            prop_assert!(reservation.entry <= limit && reservation.exit <= limit);
        }
        let counters = &day.counted.counters.account;
        let entry = reservation.entry.less(before.0);
        let exit = reservation.exit.less(before.1);
        let bought = if reservation.side == Side::Buy { entry } else { exit };
        if let Some(limit) = limits.max_daily_notional.filter(|_| bought.is_positive()) {
            let all = counters.day.bought.plus(counters.pending.bought).and_then(|sum| sum.plus(bought)).expect("a sum");
            prop_assert!(all <= limit, "{all} of {limit}");
        }
        // A buy with a limit that fills whole at its limit costs no more than what is reserved for it.
        if let (Pricing::Limit { limit }, Side::Buy, Size::Qty(qty)) = (intent.pricing, intent.side, intent.size) {
            prop_assert_eq!(limit.times(qty), Some(reservation.entry));
        }
        if reduce_only {
            let position = day.facts.position(&intent.symbol).expect("what reduces has a position").qty;
            prop_assert!(reservation.qty <= position.magnitude());
            prop_assert_eq!(position.is_positive(), reservation.side == Side::Sell);
        }
        if limits.no_shorting == Some(true) && intent.side == Side::Sell {
            let held = day.facts.position(&intent.symbol).map_or(Qty::ZERO, |position| position.qty);
            prop_assert!(reservation.qty <= held);
        }
    }

    #[test]
    fn amounts_are_read_as_they_are_written(units in 0_i64..=i64::MAX) {
        prop_assert_eq!(Usd::parse(&Usd::from_units(units).to_string()), Ok(Usd::from_units(units)));
        prop_assert_eq!(Qty::parse(&Qty::from_units(units).to_string()), Ok(Qty::from_units(units)));
        let loss = Usd::from_units(-units);
        prop_assert_eq!(serde_json::from_str::<Usd>(&serde_json::to_string(&loss).expect("JSON")).expect("an amount"), loss);
        prop_assert_eq!(Usd::from_decimal(loss.decimal()), Some(loss));
    }

    #[test]
    fn a_cost_is_exact_and_then_rounded_up(price in 0_i64..10_000_000_000_000, qty in 0_i64..10_000_000_000_000) {
        use rust_decimal::Decimal;
        let (price, qty) = (Price::from_units(price), Qty::from_units(qty));
        let exact = price.decimal() * qty.decimal();
        let cost = price.times(qty).expect("it is in range").decimal();
        prop_assert!(cost >= exact && cost - exact < Decimal::new(1, 6), "{cost} for {exact}");
    }

    #[test]
    fn nobody_but_the_operator_makes_a_state_looser(events in prop::collection::vec((0_usize..8, 0_usize..3), 1..20)) {
        let mut state = TradingState::Active;
        let rank = |state: &TradingState| match state {
            TradingState::Active => 0,
            TradingState::Reducing(_) => 1,
            TradingState::Halted(_) => 2,
        };
        for (kind, by) in events {
            let cause = Cause { by: By::ALL[by], reason: "a test".into(), since_ms: 1 };
            let event = [
                StateEvent::LossReached, StateEvent::LossDoubled, StateEvent::RefusalStreak, StateEvent::RepeatedExecution,
                StateEvent::Drift, StateEvent::KillSwitch, StateEvent::Reduce, StateEvent::Resume,
            ][kind](cause);
            if let Some(after) = state.after(&event) {
                let resumed = matches!(&event, StateEvent::Resume(cause) if cause.by == By::Operator);
                prop_assert!(rank(&after) >= rank(&state) || resumed, "{state:?} to {after:?} by {event:?}");
                prop_assert!(!resumed || after == TradingState::Active);
                state = after;
            }
        }
    }
}

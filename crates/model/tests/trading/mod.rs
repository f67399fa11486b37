//! A trading day on which nothing is wrong, to be changed by each test in one respect.

#![allow(dead_code, reason = "each test file uses a part of it")]

use ringfence_model::trade::*;

pub(crate) const NOW_MS: u64 = 1_764_172_800_000;

pub(crate) fn symbol(text: &str) -> CanonicalSymbol {
    CanonicalSymbol::parse(text).expect("a symbol")
}

pub(crate) fn qty(text: &str) -> Qty {
    Qty::parse(text).expect("a quantity")
}

pub(crate) fn usd(text: &str) -> Usd {
    Usd::parse(text).expect("an amount")
}

pub(crate) fn price(text: &str) -> Price {
    Price::parse(text).expect("a price")
}

pub(crate) fn percent(text: &str) -> Percent {
    Percent::parse(text).expect("a percentage")
}

/// A quote at which a buy is compared with 100 and a sell with 99.
pub(crate) fn reference(of: &str) -> Reference {
    let at = |text| Some(price(text));
    Reference { symbol: symbol(of), bid: at("99"), ask: at("100"), last: at("99.5"), at_ms: NOW_MS }
}

/// Everything that is judged.
#[derive(Debug, Clone)]
pub(crate) struct Day {
    pub(crate) limits: Scoped<Limits>,
    pub(crate) facts: Facts,
    pub(crate) counted: Counted,
}

impl Day {
    /// A regular hour with an equity of 100,000 USD, nothing held, the limits out of the box.
    pub(crate) fn new() -> Self {
        let clock = AccountClock {
            now_ms: NOW_MS,
            date: TradeDate::new(2025, 11, 26).expect("a day"),
            minute: 11 * 60,
            session: Session::Regular,
        };
        let equity = Equity { now: usd("100000"), start_of_day: Some(usd("100000")) };
        Self {
            limits: Scoped { account: Limits::out_of_the_box(), sandbox: Limits::out_of_the_box() },
            facts: Facts {
                clock,
                host_ms: NOW_MS,
                environment: Environment::Simulated,
                mode: Mode::Simulated,
                references: vec![reference("AAPL"), reference("MSFT")],
                positions: vec![],
                equity: Some(equity),
            },
            counted: Counted::default(),
        }
    }

    /// The same, with one limit of account and sandbox set.
    pub(crate) fn limit(mut self, name: &str, text: &str) -> Self {
        for limits in [&mut self.limits.account, &mut self.limits.sandbox] {
            limits.set(name, text).expect("a limit");
        }
        self
    }

    /// The same, with a position at 100 USD.
    pub(crate) fn holding(mut self, of: &str, count: &str) -> Self {
        let qty = Qty::try_from(count.to_owned()).expect("a quantity");
        let position = Position { symbol: symbol(of), asset_class: AssetClass::UsEquity, qty, price: price("100") };
        self.facts.positions.push(position);
        self
    }

    /// The same, with an open order of the sandbox, counted as the ledger counts it.
    pub(crate) fn open(mut self, intent: OrderIntent) -> Self {
        let Verdict::Allow(action) = self.unlimited(&Message::Submit(intent)) else { panic!("it can be opened") };
        let Action::Send { intent, reservation, .. } = *action else { panic!("it is an order") };
        let number = self.counted.open.len() as u64 + 1;
        for counters in [&mut self.counted.counters.account, &mut self.counted.counters.sandbox] {
            counters.open_orders += reservation.orders;
            let pending = &mut counters.pending;
            pending.bought = pending.bought.plus(reservation.bought()).expect("a sum");
            pending.turnover = pending.turnover.plus(reservation.turnover().expect("a sum")).expect("a sum");
        }
        self.counted.open.push(OpenOrder {
            number,
            own: true,
            remaining: reservation.qty,
            pending: reservation.entry,
            exit_pending: reservation.exit,
            orders: reservation.orders,
            exits: Qty::ZERO,
            intent,
            reservation,
        });
        self
    }

    /// The same, with the message's order being this open one.
    pub(crate) fn naming(mut self, number: u64) -> Self {
        self.counted.target = Some(Target { number, leg: false, open: true, replacing: false });
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same, with both counters changed.
    pub(crate) fn counting(mut self, change: impl Fn(&mut Counters)) -> Self {
        change(&mut self.counted.counters.account);
        change(&mut self.counted.counters.sandbox);
        self
    }

    pub(crate) fn decide(&self, message: &Message) -> Judgement {
        decide(&Question { limits: &self.limits, facts: &self.facts, counted: &self.counted, message })
    }

    fn unlimited(&self, message: &Message) -> Verdict {
        let none = Scoped { account: Limits::none(), sandbox: Limits::none() };
        decide(&Question { limits: &none, facts: &self.facts, counted: &self.counted, message }).verdict
    }

    /// The order that is allowed, and what is reserved for it.
    #[track_caller]
    pub(crate) fn sends(&self, message: &Message) -> (OrderIntent, Reservation) {
        match self.decide(message).verdict {
            Verdict::Allow(action) => match *action {
                Action::Send { intent, reservation, .. } => (intent, reservation),
                other => panic!("it is no order: {other:?}"),
            },
            other => panic!("it was not allowed: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn allows(&self, message: &Message) {
        let verdict = self.decide(message).verdict;
        assert!(matches!(verdict, Verdict::Allow(_)), "it was not allowed: {verdict:?}");
    }

    /// What refuses.
    #[track_caller]
    pub(crate) fn refuses(&self, rule: Rule, message: &Message) -> Refusal {
        match self.decide(message).verdict {
            Verdict::Refuse(refusal) => {
                assert_eq!(refusal.rule, rule, "{refusal}");
                assert_eq!(refusal.body()["code"], 40_310_000);
                refusal
            }
            other => panic!("{rule} did not refuse it: {other:?}"),
        }
    }
}

pub(crate) fn market(side: Side, count: &str) -> OrderIntent {
    OrderIntent::market(symbol("AAPL"), side, qty(count))
}

pub(crate) fn limit(side: Side, count: &str, at: &str) -> OrderIntent {
    OrderIntent { pricing: Pricing::Limit { limit: price(at) }, ..market(side, count) }
}

pub(crate) fn of(of: &str, intent: OrderIntent) -> OrderIntent {
    OrderIntent { symbol: symbol(of), ..intent }
}

pub(crate) fn submit(intent: OrderIntent) -> Message {
    Message::Submit(intent)
}

pub(crate) fn buy(count: &str, at: &str) -> Message {
    submit(limit(Side::Buy, count, at))
}

pub(crate) fn sell(count: &str, at: &str) -> Message {
    submit(limit(Side::Sell, count, at))
}

pub(crate) fn replace(number: u64, changes: Changes) -> Message {
    let of = OrderRef::Upstream(UpstreamId::parse(&format!("order-{number}")).expect("an id"));
    Message::Replace { of, changes }
}

pub(crate) fn cancel() -> Message {
    Message::Cancel { of: OrderRef::Upstream(UpstreamId::parse("order-1").expect("an id")) }
}

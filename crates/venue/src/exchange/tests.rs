//! Rules of orders, each against a market of a few ticks.

use std::sync::Arc;

use jiff::Timestamp;
use ringfence_market::{Action, Quote, Symbol, Tape, Tick, Trade};
use rust_decimal::Decimal;

use super::*;
use crate::{
    account::Opening,
    clock::{Mode, ReplayClock},
    json::parse,
    profile::Profile,
    refusal::Refusal,
    request::{NewOrder, Replacement},
};

mod fills;
mod groups;
mod pieces;
mod rules;

/// A market of whatever ticks it is given.
pub(crate) struct Script {
    pub(crate) ticks: Vec<(Symbol, Tick)>,
    pub(crate) actions: Vec<Action>,
}

pub(crate) fn symbol(name: &str) -> Symbol {
    Symbol::parse(name).expect("a symbol")
}

/// An instant of 2024, in New York: `"03-12 10:00"`, or with seconds.
#[track_caller]
pub(crate) fn at(text: &str) -> Timestamp {
    let (day, time) = text.split_once(' ').expect("a day and a time");
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let local: jiff::civil::DateTime = format!("2024-{day}T{time}").parse().expect("a time");
    ringfence_market::new_york::instant(local.date(), local.time()).expect("an instant")
}

impl Script {
    /// Lines of `MM-DD HH:MM[:SS] quote BID ASK` and `… trade PRICE`, of one symbol.
    #[track_caller]
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let mut script = Self { ticks: Vec::new(), actions: Vec::new() };
        script.add(name, text);
        script
    }

    #[track_caller]
    pub(crate) fn add(&mut self, name: &str, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = at(&format!("{} {}", words[0], words[1]));
            let number = |n: usize| words[n].parse::<Decimal>().expect("a price");
            let tick = match words[2] {
                "quote" => Tick::Quote(Quote { at, bid: number(3), bid_size: 100, ask: number(4), ask_size: 100 }),
                "trade" => Tick::Trade(Trade { at, price: number(3), size: 100, id: self.ticks.len() as u64 }),
                word => panic!("{word}"),
            };
            self.ticks.push((symbol(name), tick));
        }
        self.ticks.sort_by_key(|(_, tick)| tick.at());
    }

    fn of<'a>(&'a self, symbol: &'a Symbol) -> impl DoubleEndedIterator<Item = &'a Tick> {
        self.ticks.iter().filter(move |(of, _)| of == symbol).map(|(_, tick)| tick)
    }
}

impl Tape for Script {
    fn symbols(&self) -> Vec<Symbol> {
        let mut symbols: Vec<_> = self.ticks.iter().map(|(symbol, _)| symbol.clone()).collect();
        symbols.sort();
        symbols.dedup();
        symbols
    }

    fn quote(&self, symbol: &Symbol, at: Timestamp) -> Option<Quote> {
        self.of(symbol).rev().filter(|tick| tick.at() <= at).find_map(|tick| match tick {
            Tick::Quote(quote) => Some(quote.clone()),
            Tick::Trade(_) => None,
        })
    }

    fn last_trade(&self, symbol: &Symbol, at: Timestamp) -> Option<Trade> {
        self.of(symbol).rev().filter(|tick| tick.at() <= at).find_map(|tick| match tick {
            Tick::Trade(trade) => Some(trade.clone()),
            Tick::Quote(_) => None,
        })
    }

    fn ticks(&self, symbol: &Symbol, after: Timestamp, until: Timestamp, most: usize) -> Vec<Tick> {
        self.of(symbol).filter(|tick| after < tick.at() && tick.at() <= until).take(most).cloned().collect()
    }

    fn actions(&self, symbol: &Symbol, after: Timestamp, until: Timestamp) -> Vec<Action> {
        let begins = |action: &&Action| {
            let at = ringfence_market::new_york::midnight(action.ex_date).expect("an instant");
            action.symbol == *symbol && after < at && at <= until
        };
        self.actions.iter().filter(begins).cloned().collect()
    }

    fn digest(&self) -> String {
        "script".to_owned()
    }
}

/// An account in a scripted market.
pub(crate) struct Scene {
    pub(crate) tape: Arc<Script>,
    pub(crate) account: Account,
    pub(crate) now: Timestamp,
    /// What was told, a line each.
    pub(crate) told: Vec<String>,
    /// The same as it goes out.
    pub(crate) sent: Vec<String>,
}

impl Scene {
    /// Every fill is whole, unless a profile says otherwise.
    pub(crate) fn new(script: Script, start: &str) -> Self {
        Self::with(script, start, Profile { partial_fill_rate: Decimal::ZERO, ..Profile::default() })
    }

    pub(crate) fn with(script: Script, start: &str, profile: Profile) -> Self {
        let start = at(start);
        let opening = Opening {
            name: "test".into(),
            key_id: "PK".into(),
            secret: "secret".into(),
            cash: Decimal::from(100_000),
            seed: 7,
            generation: 0,
            clock: ReplayClock::new(start, Mode::Stepped, start),
            start,
            profile,
        };
        Self { tape: Arc::new(script), account: Account::open(opening), now: start, told: Vec::new(), sent: Vec::new() }
    }

    pub(crate) fn turn<T>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let tape = self.tape.clone();
        let symbols = tape.symbols();
        let before = self.account.clone();
        let mut turn = Turn::new(&mut self.account, tape.as_ref(), &symbols, self.now);
        let done = act(&mut turn);
        let (changes, events) = turn.end();
        // What a turn lists is all that it changed.
        let mut again = before;
        let idle = changes.is_empty();
        for change in changes {
            again.change(change);
        }
        if idle {
            again.until = self.account.until;
        }
        assert_eq!(again, self.account, "the changes are the difference");
        for event in events {
            self.sent.push(event.data.to_string());
            let order = event.data.get("order").expect("an order");
            let text = |json: &Json, name: &str| json.get(name).and_then(Json::text).unwrap_or("-").to_owned();
            let fill = match event.data.get("qty") {
                Some(Json::Text(qty)) => format!(" {qty}@{}", text(&event.data, "price")),
                _ => String::new(),
            };
            let name = text(order, "client_order_id");
            let name = if name.len() == 36 { text(order, "type") } else { name };
            self.told.push(format!("{} {name}{fill}", event.kind.word()));
        }
        done
    }

    pub(crate) fn advance(&mut self, to: &str) {
        self.advance_to(at(to));
    }

    pub(crate) fn advance_to(&mut self, to: Timestamp) {
        self.turn(|turn| turn.advance(to));
        self.now = to;
    }

    /// Submits an order, written as the fields of its JSON without quotation marks around names and words.
    pub(crate) fn submit(&mut self, text: &str) -> Result<Uuid, Refusal> {
        let body = parse::json(loose(text).as_bytes()).expect("JSON");
        let new = NewOrder::read(&body, &self.tape.symbols())?;
        let answer = self.turn(|turn| turn.submit(&new))?;
        Ok(Uuid::parse(answer.get("id").and_then(Json::text).expect("an id")).expect("an id"))
    }

    #[track_caller]
    pub(crate) fn order(&mut self, text: &str) -> Uuid {
        self.submit(text).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"))
    }

    pub(crate) fn replace(&mut self, id: Uuid, text: &str) -> Result<Uuid, Refusal> {
        let change = Replacement::read(&parse::json(loose(text).as_bytes()).expect("JSON"))?;
        let answer = self.turn(|turn| turn.replace(id, &change))?;
        Ok(Uuid::parse(answer.get("id").and_then(Json::text).expect("an id")).expect("an id"))
    }

    /// What was told since the last time.
    #[track_caller]
    pub(crate) fn tells(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.told), expected);
    }

    #[track_caller]
    pub(crate) fn refuses(&mut self, text: &str, code: u32, message: &str) {
        let before = self.account.clone();
        let refusal = self.submit(text).expect_err(text);
        assert_eq!((refusal.code, refusal.message.as_str()), (code, message), "{text}");
        assert_eq!(before, self.account, "a refusal changes nothing");
    }

    #[track_caller]
    pub(crate) fn status(&self, id: Uuid) -> &'static str {
        self.account.order(id).expect("an order").status.word()
    }

    #[track_caller]
    pub(crate) fn has(&self, name: &str, qty: &str, cash: &str) {
        let expected: (Decimal, Decimal) = (qty.parse().expect("a number"), cash.parse().expect("a number"));
        assert_eq!((self.account.qty(&symbol(name)), self.account.cash), expected);
    }
}

/// `{a:1,b:word}` as JSON: names and words get their quotation marks.
pub(crate) fn loose(text: &str) -> String {
    let mut json = String::from("{");
    let mut word = String::new();
    let flush = |json: &mut String, word: &mut String| {
        let bare = word.is_empty()
            || word.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            || matches!(word.as_str(), "true" | "false" | "null");
        if bare {
            json.push_str(word);
        } else {
            json.push_str(&format!("\"{word}\""));
        }
        word.clear();
    };
    for c in text.chars() {
        match c {
            ':' | ',' | '{' | '}' | '[' | ']' => {
                flush(&mut json, &mut word);
                json.push(c);
            }
            ' ' => {}
            c => word.push(c),
        }
    }
    flush(&mut json, &mut word);
    json.push('}');
    json
}

//! A tape made from bars. Days are worked out when somebody asks for them, and a few are kept.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::{Quote, Tape, Tick, Trade, day};
use crate::{
    action::{Action, Kind},
    bar::{Bar, Series, Symbol},
    calendar::{self, Session},
    minute::Minute,
    new_york, sample,
    sample::SampleError,
};

/// Prices must be below this many dollars.
pub const PRICE_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// Days of ticks that are kept, about 170 KB each.
const DAYS_KEPT: usize = 192;

/// What is known of one symbol.
#[derive(Debug, Clone)]
pub struct Instrument {
    /// Its symbol.
    pub symbol: Symbol,
    /// Name of the company, where it is known.
    pub name: Option<String>,
    /// Daily bars, days ascending.
    pub daily: Vec<Bar>,
    /// Minutes, ascending. A day that has any is made from them alone, whatever its daily bar says.
    pub minutes: Vec<Minute>,
    /// Its splits and dividends, in any order.
    pub actions: Vec<Action>,
}

/// Why bars cannot be made into a tape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum TapeError {
    #[error("{0} is there twice")]
    Twice(Symbol),
    #[error("{0}: the bars are not in order")]
    Order(Symbol),
    #[error("{symbol}: {price} is not a price above 0 and below 1000000000 dollars")]
    Price { symbol: Symbol, price: Decimal },
    #[error("{symbol} {day}: a high, low, open or close contradicts another")]
    Bar { symbol: Symbol, day: Date },
}

/// A day on which a symbol traded.
pub(super) struct Day {
    pub(super) session: Session,
    daily: Option<Bar>,
    minutes: Range<usize>,
    /// Worked out when it is first asked for.
    total: OnceLock<Option<Total>>,
}

impl Day {
    fn new(session: Session, daily: Option<Bar>) -> Self {
        Self { session, daily, minutes: 0..0, total: OnceLock::new() }
    }
}

pub(super) struct Entry {
    name: Option<String>,
    pub(super) days: Vec<Day>,
    minutes: Vec<Minute>,
    pub(super) actions: Vec<Action>,
}

/// What a symbol did in a whole session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) bar: Bar,
    pub(super) trades: u64,
    /// Dollars that changed hands.
    pub(super) dollars: Decimal,
}

#[derive(Default)]
struct Kept {
    ticks: HashMap<(Symbol, Date), Arc<Vec<Tick>>>,
    order: VecDeque<(Symbol, Date)>,
}

/// A [`Tape`] made from daily and minute bars, in the way that `docs/concepts/replayed-market.md` describes. Bars on days without a
/// session, and minutes outside of trading hours (04:00 to four hours after the close), are left out.
pub struct BarTape {
    seed: u64,
    entries: BTreeMap<Symbol, Entry>,
    digest: String,
    kept: Mutex<Kept>,
}

impl BarTape {
    /// Makes a tape.
    ///
    /// # Errors
    /// Bars that are not in order, contradict themselves or have impossible prices; importing finds that out with line numbers.
    pub fn new(seed: u64, instruments: Vec<Instrument>) -> Result<Self, TapeError> {
        let mut instruments = instruments;
        instruments.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let mut hash = Sha256::new();
        hash.update(format!("{}\n{seed}\n", day::MODEL));
        let mut entries = BTreeMap::new();
        for mut instrument in instruments {
            instrument.actions.sort_by_key(|a| a.ex_date);
            check(&instrument)?;
            digest(&mut hash, &instrument);
            let symbol = instrument.symbol.clone();
            if entries.insert(symbol.clone(), entry(instrument)).is_some() {
                return Err(TapeError::Twice(symbol));
            }
        }
        let digest = hex::encode(hash.finalize());
        Ok(Self { seed, entries, digest, kept: Mutex::default() })
    }

    /// A tape of the bars in this program.
    ///
    /// # Errors
    /// They are not sound: a fault of the build, which a test finds.
    ///
    /// # Panics
    /// Never: sound series make a tape.
    pub fn sample(seed: u64) -> Result<Self, SampleError> {
        Ok(Self::new(seed, Self::sample_instruments()?).expect("the sample's series are sound"))
    }

    /// What the bars in this program are.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_instruments() -> Result<Vec<Instrument>, SampleError> {
        let actions = sample::actions()?;
        let one = |series: Series| Instrument {
            symbol: series.symbol().clone(),
            name: sample::name(series.symbol().as_str()).map(str::to_owned),
            daily: series.bars().to_vec(),
            minutes: Vec::new(),
            actions: actions.iter().filter(|a| a.symbol == *series.symbol()).cloned().collect(),
        };
        Ok(sample::raw()?.into_iter().map(one).collect())
    }

    /// Name of the company, where it is known.
    #[must_use]
    pub fn name(&self, symbol: &Symbol) -> Option<&str> {
        self.entries.get(symbol)?.name.as_deref()
    }

    /// First and last day on which there is something of a symbol.
    #[must_use]
    pub fn span(&self, symbol: &Symbol) -> Option<(Date, Date)> {
        let days = &self.entries.get(symbol)?.days;
        Some((days.first()?.session.date, days.last()?.session.date))
    }

    /// Whether a day of a symbol is made from minute bars. `None` when there is nothing of that day.
    #[must_use]
    pub fn has_minutes(&self, symbol: &Symbol, day: Date) -> Option<bool> {
        let entry = self.entries.get(symbol)?;
        let at = entry.days.binary_search_by_key(&day, |d| d.session.date).ok()?;
        Some(!entry.days[at].minutes.is_empty())
    }

    /// Every action of a symbol, by ex-date.
    #[must_use]
    pub fn all_actions(&self, symbol: &Symbol) -> &[Action] {
        self.entries.get(symbol).map_or(&[], |entry| &entry.actions)
    }

    pub(super) fn entry(&self, symbol: &Symbol) -> Option<&Entry> {
        self.entries.get(symbol)
    }

    /// The ticks of a day.
    pub(super) fn day(&self, symbol: &Symbol, entry: &Entry, day: &Day) -> Arc<Vec<Tick>> {
        let key = (symbol.clone(), day.session.date);
        if let Some(found) = self.lock().ticks.get(&key) {
            return Arc::clone(found);
        }
        // Worked out without the lock: two who ask for the same day at once do it twice, and come to the same.
        let ticks = Arc::new(match &day.daily {
            Some(bar) if day.minutes.is_empty() => day::of_bar(self.seed, symbol, &day.session, bar),
            _ => day::of_minutes(self.seed, symbol, &day.session, &entry.minutes[day.minutes.clone()]),
        });
        let mut kept = self.lock();
        if kept.ticks.insert(key.clone(), Arc::clone(&ticks)).is_none() {
            kept.order.push_back(key);
            if kept.order.len() > DAYS_KEPT
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.ticks.remove(&oldest);
            }
        }
        ticks
    }

    /// What a day's session came to. `None` when there are minutes and all are outside of the session.
    pub(super) fn total<'a>(&self, symbol: &Symbol, entry: &Entry, day: &'a Day) -> Option<&'a Total> {
        let work_out = || {
            let ticks = self.day(symbol, entry, day);
            total(day.session.date, in_session(&ticks, &day.session, Timestamp::MAX))
        };
        day.total.get_or_init(work_out).as_ref()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // What is kept is whole at any time: a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest tick up to `at` that `wanted` takes.
    fn newest<T>(&self, symbol: &Symbol, at: Timestamp, wanted: impl Fn(&Tick) -> Option<T>) -> Option<T> {
        let entry = self.entries.get(symbol)?;
        let date = new_york::date(at);
        let until = entry.days.partition_point(|d| d.session.date <= date);
        entry.days[..until].iter().rev().find_map(|day| {
            let ticks = self.day(symbol, entry, day);
            let until = ticks.partition_point(|tick| tick.at() <= at);
            ticks[..until].iter().rev().find_map(&wanted)
        })
    }
}

/// The trades of a session up to and including `until`.
pub(super) fn in_session<'a>(
    ticks: &'a [Tick],
    session: &Session,
    until: Timestamp,
) -> impl Iterator<Item = &'a Trade> {
    let (open, close) = (session.open, session.close);
    ticks.iter().filter_map(move |tick| match tick {
        Tick::Trade(trade) if open <= trade.at && trade.at < close && trade.at <= until => Some(trade),
        _ => None,
    })
}

/// What trades come to; `None` for no trade.
pub(super) fn total<'a>(date: Date, trades: impl Iterator<Item = &'a Trade>) -> Option<Total> {
    let mut total: Option<Total> = None;
    for trade in trades {
        let (price, size) = (trade.price, trade.size);
        let dollars = price.saturating_mul(Decimal::from(size));
        match &mut total {
            None => {
                let bar = Bar { date, open: price, high: price, low: price, close: price, volume: size };
                total = Some(Total { bar, trades: 1, dollars });
            }
            Some(Total { bar, trades, dollars: sum }) => {
                bar.high = bar.high.max(price);
                bar.low = bar.low.min(price);
                bar.close = price;
                bar.volume = bar.volume.saturating_add(size);
                *trades += 1;
                *sum = sum.saturating_add(dollars);
            }
        }
    }
    total
}

impl Tape for BarTape {
    fn symbols(&self) -> Vec<Symbol> {
        self.entries.keys().cloned().collect()
    }

    fn quote(&self, symbol: &Symbol, at: Timestamp) -> Option<Quote> {
        self.newest(symbol, at, |tick| match tick {
            Tick::Quote(quote) => Some(quote.clone()),
            Tick::Trade(_) => None,
        })
    }

    fn last_trade(&self, symbol: &Symbol, at: Timestamp) -> Option<Trade> {
        self.newest(symbol, at, |tick| match tick {
            Tick::Trade(trade) => Some(trade.clone()),
            Tick::Quote(_) => None,
        })
    }

    fn ticks(&self, symbol: &Symbol, after: Timestamp, until: Timestamp, most: usize) -> Vec<Tick> {
        let mut found = Vec::new();
        let Some(entry) = self.entries.get(symbol).filter(|_| after < until) else { return found };
        let (first, last) = (new_york::date(after), new_york::date(until));
        let from = entry.days.partition_point(|d| d.session.date < first);
        for day in entry.days[from..].iter().take_while(|d| d.session.date <= last) {
            if day.session.post_close <= after || day.session.pre_open > until {
                continue;
            }
            let ticks = self.day(symbol, entry, day);
            let from = ticks.partition_point(|tick| tick.at() <= after);
            let rest = ticks[from..].iter().take_while(|tick| tick.at() <= until);
            found.extend(rest.take(most - found.len()).cloned());
            if found.len() == most {
                break;
            }
        }
        found
    }

    fn actions(&self, symbol: &Symbol, after: Timestamp, until: Timestamp) -> Vec<Action> {
        let begins = |action: &&Action| new_york::midnight(action.ex_date).is_some_and(|at| after < at && at <= until);
        self.all_actions(symbol).iter().filter(begins).cloned().collect()
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

fn check(instrument: &Instrument) -> Result<(), TapeError> {
    let symbol = || instrument.symbol.clone();
    let daily = instrument.daily.iter().map(|b| (b.date, [b.open, b.high, b.low, b.close]));
    let minutes = instrument.minutes.iter().map(|m| (new_york::date(m.at), [m.open, m.high, m.low, m.close]));
    for (day, prices) in daily.chain(minutes) {
        let [open, high, low, close] = prices;
        if let Some(price) = prices.into_iter().find(|p| *p <= Decimal::ZERO || *p >= PRICE_MAX) {
            return Err(TapeError::Price { symbol: symbol(), price });
        }
        if low > open.min(close) || high < open.max(close) {
            return Err(TapeError::Bar { symbol: symbol(), day });
        }
    }
    let whole = |m: &Minute| m.at.subsec_nanosecond() == 0 && m.at.as_second() % 60 == 0;
    if !instrument.daily.is_sorted_by(|a, b| a.date < b.date)
        || !instrument.minutes.is_sorted_by(|a, b| a.at < b.at)
        || !instrument.minutes.iter().all(whole)
    {
        return Err(TapeError::Order(symbol()));
    }
    Ok(())
}

/// Adds everything that is said of a symbol.
fn digest(hash: &mut Sha256, instrument: &Instrument) {
    let Instrument { symbol, daily, minutes, actions, .. } = instrument;
    hash.update(format!("symbol {symbol} {} {} {}\n", daily.len(), minutes.len(), actions.len()));
    let mut prices = |of: [Decimal; 4], volume: u64| {
        for price in of {
            // Equal prices are equal whatever zeros they end with.
            hash.update(price.normalize().serialize());
        }
        hash.update(volume.to_le_bytes());
    };
    for b in daily {
        prices([b.open, b.high, b.low, b.close], b.volume);
    }
    for m in minutes {
        prices([m.open, m.high, m.low, m.close], m.volume);
    }
    for b in daily {
        hash.update(b.date.to_string());
    }
    for m in minutes {
        hash.update(m.at.as_second().to_le_bytes());
    }
    for action in actions {
        let (kind, value) = match action.kind {
            Kind::Split(into) => ("split", into),
            Kind::Dividend(cash) => ("dividend", cash),
        };
        hash.update(format!("{kind} {} {}\n", action.ex_date, value.normalize()));
    }
}

fn entry(instrument: Instrument) -> Entry {
    let Instrument { name, daily, mut minutes, actions, .. } = instrument;
    minutes.retain(|m| calendar::session_at(m.at).is_some());
    let mut days: BTreeMap<Date, Day> = BTreeMap::new();
    for bar in daily {
        if let Some(session) = calendar::session(bar.date) {
            days.insert(bar.date, Day::new(session, Some(bar)));
        }
    }
    let mut from = 0;
    while from < minutes.len() {
        let session = calendar::session_at(minutes[from].at).expect("others were left out");
        let until = from + minutes[from..].partition_point(|m| m.at < session.post_close);
        let day = days.entry(session.date).or_insert_with(|| Day::new(session, None));
        day.minutes = from..until;
        from = until;
    }
    Entry { name, days: days.into_values().collect(), minutes, actions }
}

#[cfg(test)]
mod tests;

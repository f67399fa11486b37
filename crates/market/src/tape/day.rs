//! What happened in a day, instant by instant, made up from its bars. `docs/concepts/replayed-market.md` says the same for
//! readers; whoever changes the model changes that page and [`MODEL`].
//!
//! **From a daily bar.** The session is cut into as many equal slots as there are trades: one for each 100 shares, at least 4, at
//! most 3 a minute. Each slot begins with a quote, and its trade follows within its middle eight tenths. The first trade is the
//! open, a millisecond after the session begins; the last is the close, a millisecond before it ends; two slots that are drawn
//! hold the high and the low. In between the price goes from one to the next with noise, on the grid of prices (0.01, or 0.0001
//! where the day was below 1), and never leaves the day's range. Sizes add up to the volume; more is traded early and late.
//!
//! **From minute bars.** Each minute has up to four trades (open, the two extremes in drawn order, close), in equal slots. Nothing in a
//! minute goes by a later one.
//!
//! **Quotes.** A trade is, by a coin, a buyer's at the ask or a seller's at the bid. The spread is drawn around a middle that
//! goes by the dollars that were traded that day: 1 basis point from 100 million on, 3 from 10 million, 10 from 1 million, else
//! 30; at least one step of the grid. (Of minutes, the dollars of a day of 390 minutes like this one.) A quote stays inside the bar's range (the day's or the minute's), because orders are filled
//! at quotes, and nobody traded outside it. A bar whose range is less than a step of the grid has a quote one step wide all the
//! same. A trade at a price off the grid can be less than a step outside its quote.
//!
//! **What is known when.** Whatever a day's path does before its end was drawn with the day's high, low, close and volume known (of
//! minutes, a minute's). No answer contains an instant after the one that was asked for, but a program that learned this model could guess from a
//! morning's path something about the rest of that day. About later days there is nothing in it.

use jiff::{SignedDuration, Timestamp, civil::Date};
use rust_decimal::{Decimal, prelude::ToPrimitive};

use super::{Quote, Tick, Trade, random::Random};
use crate::{
    bar::{Bar, Symbol},
    calendar::Session,
    minute::Minute,
};

/// Named in a tape's digest; counted up when the model changes what it says.
pub(super) const MODEL: &str = "ringfence replay 1";

/// Numbers of trades are the day's number times this, and on: more than any day has.
const IDS_A_DAY: u64 = 100_000;

/// Steps of a path within one step of the grid.
const FINE: i64 = 1024;

const MS_NS: i64 = 1_000_000;

/// Prices that are multiples of a step, counted in it.
#[derive(Clone, Copy)]
struct Grid {
    scale: u32,
}

impl Grid {
    /// 0.01, or 0.0001 where the price goes below 1 (the minimum increments of SEC Rule 612).
    fn of(low: Decimal) -> Self {
        Self { scale: if low < Decimal::ONE { 4 } else { 2 } }
    }

    fn steps(self, price: Decimal) -> Decimal {
        price.saturating_mul(Decimal::from(10_u32.pow(self.scale)))
    }

    fn floor(self, price: Decimal) -> i64 {
        self.steps(price).floor().to_i64().expect("prices are below PRICE_MAX")
    }

    fn ceil(self, price: Decimal) -> i64 {
        self.steps(price).ceil().to_i64().expect("prices are below PRICE_MAX")
    }

    fn fine(self, price: Decimal) -> i64 {
        let fine = self.steps(price).saturating_mul(Decimal::from(FINE));
        fine.round().to_i64().expect("prices are below PRICE_MAX")
    }

    fn price(self, steps: i64) -> Decimal {
        Decimal::new(steps, self.scale)
    }
}

/// Where a trade belongs.
struct Slot {
    begins_ns: i64,
    length_ns: i64,
    /// The trade's instant, where it is not drawn.
    at_ns: Option<i64>,
    price: Decimal,
    size: u64,
    around: Around,
}

/// What a quote goes by.
#[derive(Clone, Copy)]
struct Around {
    grid: Grid,
    /// What it stays between, in steps of the grid.
    bounds: (i64, i64),
    /// The middle of its spread, in steps of the grid.
    spread: u64,
}

impl Around {
    /// By a bar's range, and by the dollars that a day like this comes to.
    fn new(low: Decimal, high: Decimal, close: Decimal, volume_of_day: u64) -> Self {
        let grid = Grid::of(low);
        Self { grid, bounds: (grid.ceil(low), grid.floor(high)), spread: spread(grid, close, volume_of_day) }
    }
}

fn ns(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).expect("the calendar's years fit into 64 bits of nanoseconds")
}

/// The ticks of a day of which the bar is known.
pub(super) fn of_bar(seed: u64, symbol: &Symbol, session: &Session, bar: &Bar) -> Vec<Tick> {
    let mut random = Random::new(seed, symbol, session.date);
    let around = Around::new(bar.low, bar.high, bar.close, bar.volume);
    let (open_ns, close_ns) = (ns(session.open), ns(session.close));
    let minutes = u64::try_from((close_ns - open_ns) / (60_000 * MS_NS)).expect("a session is not negative");
    let count = (bar.volume / 100).clamp(4, minutes * 3);
    let prices = path(&mut random, around, bar, usize::try_from(count).expect("at most 3 a minute"));
    let sizes = shares(&mut random, bar.volume, prices.len(), true);
    let length_ns = (close_ns - open_ns) / i64::try_from(count).expect("at most 3 a minute");
    let last = prices.len() - 1;
    let slots = prices.into_iter().zip(sizes).enumerate().zip(0_i64..).map(|((at, (price, size)), number)| Slot {
        begins_ns: open_ns + number * length_ns,
        length_ns,
        at_ns: match at {
            0 => Some(open_ns + MS_NS),
            at if at == last => Some(close_ns - MS_NS),
            _ => None,
        },
        price,
        size,
        around,
    });
    let mut found = Vec::with_capacity((last + 1) * 2);
    ticks(&mut random, session.date, slots, &mut found);
    found
}

/// The ticks of a day of which minutes are known, oldest first, each on a whole minute. Never asked for none.
pub(super) fn of_minutes(seed: u64, symbol: &Symbol, session: &Session, minutes: &[Minute]) -> Vec<Tick> {
    let mut random = Random::new(seed, symbol, session.date);
    let mut found = Vec::with_capacity(minutes.len() * 6);
    for minute in minutes {
        let mut random = random.part();
        let mut prices = vec![minute.open];
        let mut extremes = [minute.high, minute.low];
        if random.coin() {
            extremes.reverse();
        }
        prices.extend(extremes.into_iter().filter(|p| *p != minute.open && *p != minute.close));
        if prices.len() > 1 || minute.close != minute.open {
            prices.push(minute.close);
        }
        let sizes = shares(&mut random, minute.volume, prices.len(), false);
        let begins_ns = ns(minute.at);
        let length_ns = 60_000 * MS_NS / i64::try_from(prices.len()).expect("at most four");
        // Only the minute itself is known: a day of 390 minutes like it.
        let around = Around::new(minute.low, minute.high, minute.close, minute.volume.saturating_mul(390));
        let last = prices.len() - 1;
        let slots = prices.into_iter().zip(sizes).enumerate().zip(0_i64..).map(|((at, (price, size)), number)| {
            let ends = minute.at.checked_add(SignedDuration::from_mins(1)).is_ok_and(|end| end == session.close);
            let at_ns = match at {
                0 if minute.at == session.open => Some(begins_ns + MS_NS),
                at if at == last && ends => Some(ns(session.close) - MS_NS),
                _ => None,
            };
            Slot { begins_ns: begins_ns + number * length_ns, length_ns, at_ns, price, size, around }
        });
        ticks(&mut random, session.date, slots, &mut found);
    }
    found
}

/// Prices from open to close by way of the high and the low.
fn path(random: &mut Random, around: Around, bar: &Bar, count: usize) -> Vec<Decimal> {
    let Around { grid, bounds: (lowest, highest), .. } = around;
    let inner = u64::try_from(count - 2).expect("a count");
    let mut drawn = || 1 + usize::try_from(random.below(inner)).expect("below the count");
    let first = drawn();
    let second = loop {
        let second = drawn();
        if second != first {
            break second;
        }
    };
    let mut stations = vec![(0, bar.open), (first, bar.high), (second, bar.low), (count - 1, bar.close)];
    // An open that is the high need not be visited again, nor a close that is the low.
    stations.retain(|(at, price)| *at == 0 || *at == count - 1 || (*price != bar.open && *price != bar.close));
    stations.sort_by_key(|(at, _)| *at);

    let range = grid.fine(bar.high).saturating_sub(grid.fine(bar.low));
    let steps = i64::try_from(count).expect("a count");
    let noise = range / steps.isqrt().max(1);
    let mut prices = Vec::with_capacity(count);
    for pair in stations.windows(2) {
        let ((from, begin), (to, end)) = (pair[0], pair[1]);
        prices.push(begin);
        let (mut now, target) = (grid.fine(begin), grid.fine(end));
        for at in from + 1..to {
            let left = i64::try_from(to - at + 1).expect("a count");
            now += (target - now) / left + random.around(noise);
            if lowest <= highest {
                now = now.clamp(lowest * FINE, highest * FINE);
                prices.push(grid.price((now + FINE / 2).div_euclid(FINE).clamp(lowest, highest)));
            } else {
                // The range holds no price of the grid.
                prices.push(begin);
            }
        }
    }
    prices.push(bar.close);
    prices
}

/// Cuts a volume into `count` sizes, which add up to it. In a day the first and the last are five times as large, and the middle a
/// third of the ends. Every size is at least 1 while there are shares for that.
fn shares(random: &mut Random, volume: u64, count: usize, is_day: bool) -> Vec<u64> {
    let ends = u64::try_from(count).expect("a count") - 1;
    let weights: Vec<u128> = (0..=ends)
        .map(|at| {
            let drawn = 500 + random.below(1000);
            if !is_day {
                return u128::from(drawn);
            }
            let middle = (2 * at).abs_diff(ends);
            let shape = 1000 + 2000 * middle * middle / (ends * ends).max(1);
            let auction = if at == 0 || at == ends { 5 } else { 1 };
            u128::from(drawn) * u128::from(shape) * auction
        })
        .collect();
    let total: u128 = weights.iter().sum();
    let least = u64::from(volume > ends);
    let rest = u128::from(volume - least * if least == 1 { ends + 1 } else { 0 });
    let (mut sum, mut given) = (0_u128, 0_u128);
    weights
        .into_iter()
        .map(|weight| {
            sum += weight;
            // At most 2^64 times the sum of 1170 weights of at most 2^25.
            let until = rest * sum / total;
            let size = until - given;
            given = until;
            least + u64::try_from(size).expect("at most the volume")
        })
        .collect()
}

/// Steps of the grid in the middle of the spreads of a day.
fn spread(grid: Grid, close: Decimal, volume: u64) -> u64 {
    let dollars = close.saturating_mul(Decimal::from(volume));
    let basis_points = match dollars {
        d if d >= Decimal::from(100_000_000) => 1,
        d if d >= Decimal::from(10_000_000) => 3,
        d if d >= Decimal::from(1_000_000) => 10,
        _ => 30,
    };
    let wide = grid.steps(close).saturating_mul(Decimal::new(basis_points, 4));
    wide.round().to_u64().unwrap_or(1).max(1)
}

/// Adds a quote and a trade for each slot to what there is of the day.
fn ticks(random: &mut Random, day: Date, slots: impl Iterator<Item = Slot>, ticks: &mut Vec<Tick>) {
    let days = day.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
    let before = u64::try_from(ticks.len() / 2).expect("a count");
    let base = u64::try_from(days).expect("the calendar begins after 1970") * IDS_A_DAY + before;
    let stamp = |ns: i64| Timestamp::from_nanosecond(i128::from(ns)).expect("inside of the calendar");
    for (slot, id) in slots.zip(base..) {
        let grid = slot.around.grid;
        let (bid, ask) = quote(random, slot.price, slot.around);
        let size = |random: &mut Random| (1 + random.below(10)) * 100;
        let (bid_size, ask_size) = (size(random), size(random));
        let quote = Quote { at: stamp(slot.begins_ns), bid: grid.price(bid), bid_size, ask: grid.price(ask), ask_size };
        let tenth = slot.length_ns / 10;
        let later = random.below(u64::try_from(tenth * 8).expect("slots have a length"));
        // Whole microseconds, as tapes of trades have them.
        let drawn = (slot.begins_ns + tenth + i64::try_from(later).expect("less than a slot")) / 1000 * 1000;
        ticks.push(Tick::Quote(quote));
        let at = stamp(slot.at_ns.unwrap_or(drawn));
        ticks.push(Tick::Trade(Trade { at, price: slot.price, size: slot.size, id }));
    }
}

/// Bid and ask around a trade, in steps of the grid.
fn quote(random: &mut Random, price: Decimal, around: Around) -> (i64, i64) {
    let Around { grid, bounds: (low, high), spread } = around;
    let width = 1 + i64::try_from(random.below(2 * spread - 1)).unwrap_or(i64::MAX / 4);
    let (below, above) = (grid.floor(price), grid.ceil(price));
    let (bid, ask) = if random.coin() { (above - width, above) } else { (below, below + width) };
    let (bid, ask) = (bid.max(low), ask.min(high));
    if bid < ask {
        (bid, ask)
    } else if ask > low {
        (ask - 1, ask)
    } else if bid < high {
        (bid, bid + 1)
    } else {
        let bid = if below == above { (below - 1).max(1) } else { below.max(1) };
        (bid, bid + 1)
    }
}

#[cfg(test)]
mod tests;

//! Lengths of bars, and the bars of a tape.

use std::fmt;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

use super::{
    BarTape, Tick,
    bars::{Day, Entry, Total, in_session, total},
};
use crate::{adjust::PLACES, bar::Symbol, calendar, new_york};

/// How long a bar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// 1 to 59 minutes, counted from midnight in New York.
    Minutes(u8),
    /// 1 to 23 hours, counted from midnight in New York.
    Hours(u8),
    /// A session.
    Day,
    /// The sessions from Monday on.
    Week,
    /// 1, 2, 3, 4, 6 or 12 calendar months, counted from January.
    Months(u8),
}

impl Frame {
    /// Reads `5Min`, `5T`, `1Hour`, `1H`, `1Day`, `1D`, `1Week`, `1W`, `3Month` or `3M`. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &text[..text.len() - unit.len()];
        if number.is_empty() || number.starts_with('0') {
            return None;
        }
        let count: u8 = number.parse().ok()?;
        match unit {
            "Min" | "T" if count <= 59 => Some(Self::Minutes(count)),
            "Hour" | "H" if count <= 23 => Some(Self::Hours(count)),
            "Day" | "D" if count == 1 => Some(Self::Day),
            "Week" | "W" if count == 1 => Some(Self::Week),
            "Month" | "M" if [1, 2, 3, 4, 6, 12].contains(&count) => Some(Self::Months(count)),
            _ => None,
        }
    }

    /// The first day of the bar that a day belongs to.
    fn first_day(self, day: Date) -> Date {
        match self {
            Self::Minutes(_) | Self::Hours(_) | Self::Day => day,
            Self::Week => {
                let since = day.weekday().to_monday_zero_offset();
                day.checked_sub(i32::from(since).days()).expect("the calendar is far from the first date")
            }
            Self::Months(months) => {
                let months = i8::try_from(months).expect("at most 12");
                jiff::civil::date(day.year(), (day.month() - 1) / months * months + 1, 1)
            }
        }
    }

    /// Minutes, where the bar is a part of a day.
    fn minutes(self) -> Option<i64> {
        match self {
            Self::Minutes(count) => Some(i64::from(count)),
            Self::Hours(count) => Some(i64::from(count) * 60),
            _ => None,
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minutes(count) => write!(f, "{count}Min"),
            Self::Hours(count) => write!(f, "{count}Hour"),
            Self::Day => f.write_str("1Day"),
            Self::Week => f.write_str("1Week"),
            Self::Months(count) => write!(f, "{count}Month"),
        }
    }
}

/// A bar of any length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// When it begins: bars of a day and longer at midnight in New York.
    pub at: Timestamp,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Shares traded.
    pub volume: u64,
    /// Trades.
    pub trades: u64,
    /// Mean price of a share, to [`PLACES`] decimal places. `None` when no share was traded.
    pub vwap: Option<Decimal>,
}

/// What a day's prices and volumes are multiplied by before they become part of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Of prices.
    pub price: Decimal,
    /// Of volumes.
    pub shares: Decimal,
}

impl Scale {
    /// Nothing changes.
    pub const NONE: Self = Self { price: Decimal::ONE, shares: Decimal::ONE };
}

/// Which bars.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// How long.
    pub frame: Frame,
    /// The earliest beginning of a bar.
    pub from: Timestamp,
    /// The latest beginning of a bar.
    pub until: Timestamp,
    /// Nothing later is in any bar: the last one can be a part of what it becomes.
    pub now: Timestamp,
    /// At most so many.
    pub most: usize,
    /// The newest first.
    pub descending: bool,
}

impl BarTape {
    /// Bars, of which each is what the trades in it come to. Minutes and hours count every trade; days and longer ones those of
    /// the sessions. `scale` says by what a day's prices and volumes are multiplied; prices are then rounded to [`PLACES`].
    pub fn bars(&self, symbol: &Symbol, wanted: &Wanted, scale: impl Fn(Date) -> Scale) -> Vec<Aggregate> {
        let mut found = Vec::new();
        let Some(entry) = self.entry(symbol) else { return found };
        let frame = wanted.frame;
        // A bar that begins within the bounds has no day before the first one's, and none after the year of the last one.
        let first = frame.first_day(new_york::date(wanted.from).clamp(calendar::FIRST, calendar::LAST));
        let last = new_york::date(wanted.now);
        let from = entry.days.partition_point(|d| d.session.date < first);
        let until = entry.days.partition_point(|d| d.session.date <= last);
        let days = &entry.days[from..until.max(from)];
        let groups: Box<dyn Iterator<Item = &[Day]>> = {
            let same = move |a: &Day, b: &Day| frame.first_day(a.session.date) == frame.first_day(b.session.date);
            let groups = days.chunk_by(same);
            if wanted.descending { Box::new(groups.rev()) } else { Box::new(groups) }
        };
        for group in groups {
            let begins = frame.first_day(group[0].session.date);
            let Some(begins_at) = new_york::midnight(begins) else { continue };
            // All that follow are later still.
            if begins_at > wanted.until && !wanted.descending {
                break;
            }
            if begins_at > wanted.until {
                continue;
            }
            let mut bars = match frame.minutes() {
                Some(minutes) => self.parts(symbol, entry, &group[0], minutes, wanted.now, &scale),
                None => self.whole(symbol, entry, group, begins_at, wanted.now, &scale).into_iter().collect(),
            };
            bars.retain(|bar| wanted.from <= bar.at && bar.at <= wanted.until);
            if wanted.descending {
                bars.reverse();
            }
            found.extend(bars.into_iter().take(wanted.most - found.len()));
            if found.len() >= wanted.most {
                break;
            }
        }
        found
    }

    /// The bars of a day.
    fn parts(
        &self,
        symbol: &Symbol,
        entry: &Entry,
        day: &Day,
        minutes: i64,
        now: Timestamp,
        scale: &impl Fn(Date) -> Scale,
    ) -> Vec<Aggregate> {
        let date = day.session.date;
        let ticks = self.day(symbol, entry, day);
        let trades: Vec<_> = ticks
            .iter()
            .filter_map(|tick| if let Tick::Trade(trade) = tick { Some(trade) } else { None })
            .take_while(|trade| trade.at <= now)
            .collect();
        // Between 04:00 and midnight the clock never changes, so minutes are counted from the open.
        const OPEN_MINUTE: i64 = 9 * 60 + 30;
        let number = |at: Timestamp| {
            let since_open = (at.as_second() - day.session.open.as_second()).div_euclid(60);
            (since_open + OPEN_MINUTE).div_euclid(minutes)
        };
        trades
            .chunk_by(|a, b| number(a.at) == number(b.at))
            .filter_map(|chunk| {
                let begins = number(chunk[0].at) * minutes - OPEN_MINUTE;
                let at = day.session.open.checked_add(SignedDuration::from_mins(begins)).ok()?;
                let total = total(date, chunk.iter().copied())?;
                Some(aggregate(at, &[scaled(&total, scale(date))]))
            })
            .collect()
    }

    /// One bar of the sessions of some days.
    fn whole(
        &self,
        symbol: &Symbol,
        entry: &Entry,
        days: &[Day],
        at: Timestamp,
        now: Timestamp,
        scale: &impl Fn(Date) -> Scale,
    ) -> Option<Aggregate> {
        let totals: Vec<Total> = days
            .iter()
            .filter(|day| day.session.open <= now)
            .filter_map(|day| {
                let date = day.session.date;
                if day.session.close <= now {
                    return self.total(symbol, entry, day).map(|t| scaled(t, scale(date)));
                }
                let ticks = self.day(symbol, entry, day);
                total(date, in_session(&ticks, &day.session, now)).map(|t| scaled(&t, scale(date)))
            })
            .collect();
        if totals.is_empty() { None } else { Some(aggregate(at, &totals)) }
    }
}

fn rounded(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(PLACES, RoundingStrategy::MidpointNearestEven)
}

fn scaled(total: &Total, scale: Scale) -> Total {
    if scale == Scale::NONE {
        return total.clone();
    }
    let mut found = total.clone();
    let price = |value: Decimal| rounded(value.saturating_mul(scale.price));
    let bar = &mut found.bar;
    for field in [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close] {
        *field = price(*field);
    }
    let shares = Decimal::from(bar.volume).saturating_mul(scale.shares);
    bar.volume = shares.round().to_u64().unwrap_or(u64::MAX);
    found.dollars = found.dollars.saturating_mul(scale.price).saturating_mul(scale.shares);
    found
}

/// One bar of one or more totals.
fn aggregate(at: Timestamp, totals: &[Total]) -> Aggregate {
    let (first, last) = (&totals[0], &totals[totals.len() - 1]);
    let volume = totals.iter().fold(0_u64, |sum, t| sum.saturating_add(t.bar.volume));
    let dollars = totals.iter().fold(Decimal::ZERO, |sum, t| sum.saturating_add(t.dollars));
    Aggregate {
        at,
        open: first.bar.open,
        high: totals.iter().map(|t| t.bar.high).max().unwrap_or(first.bar.high),
        low: totals.iter().map(|t| t.bar.low).min().unwrap_or(first.bar.low),
        close: last.bar.close,
        volume,
        trades: totals.iter().map(|t| t.trades).sum(),
        vwap: dollars.checked_div(Decimal::from(volume)).map(rounded),
    }
}

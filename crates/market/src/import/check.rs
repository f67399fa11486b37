//! What is wrong, or looks wrong, with rows that can be read.

use jiff::{SignedDuration, Timestamp, civil::Date};
use rust_decimal::Decimal;

use super::{Bars, Dataset, Report, Row, Weight, When, Zone, day_of};
use crate::{
    action::{Action, Kind},
    bar::Bar,
    calendar,
    minute::Minute,
    new_york,
};

/// Days in a list that are named; the rest is counted.
const DAYS_NAMED: usize = 5;

/// Shares for one share that companies choose, as a fraction.
const SPLITS: [(u32, u32); 12] =
    [(2, 1), (3, 1), (3, 2), (4, 1), (5, 1), (7, 1), (10, 1), (20, 1), (1, 2), (1, 5), (1, 10), (1, 20)];

/// How near an open must be to the price after a split, as a part of it, to be suspected.
const SPLIT_NEAR: Decimal = Decimal::from_parts(4, 0, 0, false, 2);

/// Daily bars of rows of one symbol, ascending.
pub(super) fn days(rows: Vec<Row>, report: &mut Report) -> Vec<Bar> {
    let mut found: Vec<(Date, Row)> = Vec::with_capacity(rows.len());
    for row in rows {
        let day = match row.when {
            When::Day(day) => day,
            When::Local(local) => local.date(),
            // A daily bar at another time of day than midnight belongs to the day in New York.
            When::Instant(at) => day_of(at).unwrap_or_else(|| new_york::date(at)),
        };
        is_consistent(&row, report);
        found.push((day, row));
    }
    in_order(&mut found, report, |day| day.to_string());
    let bar = |(date, row): (Date, Row)| {
        let [open, high, low, close] = row.prices;
        Bar { date, open, high, low, close, volume: row.volume }
    };
    found.into_iter().map(bar).collect()
}

/// Minute bars of rows of one symbol, ascending.
pub(super) fn minutes(rows: Vec<Row>, zone: &Zone, report: &mut Report) -> Vec<Minute> {
    let mut found: Vec<(Timestamp, Row)> = Vec::with_capacity(rows.len());
    for row in rows {
        let at = match row.when {
            When::Instant(at) => Some(at),
            When::Local(local) => zone.instant(local),
            When::Day(_) => None,
        };
        let Some(at) = at.filter(|at| at.as_second() % 60 == 0 && at.subsec_nanosecond() == 0) else {
            report.add(Weight::Error, "minute", Some(row.line), "the time of a minute's bar is a whole minute");
            continue;
        };
        is_consistent(&row, report);
        found.push((at, row));
    }
    in_order(&mut found, report, |at| at.to_string());
    let minute = |(at, row): (Timestamp, Row)| {
        let [open, high, low, close] = row.prices;
        Minute { at, open, high, low, close, volume: row.volume }
    };
    found.into_iter().map(minute).collect()
}

fn is_consistent(row: &Row, report: &mut Report) {
    let [open, high, low, close] = row.prices;
    for (name, price) in [("open", open), ("low", low), ("close", close)] {
        if price > high {
            report.add(Weight::Error, "range", Some(row.line), format!("{name} {price} is above the high {high}"));
        }
    }
    for (name, price) in [("open", open), ("close", close)] {
        if price < low {
            report.add(Weight::Error, "range", Some(row.line), format!("{name} {price} is below the low {low}"));
        }
    }
}

/// Sorts, and reports what is there twice.
fn in_order<T: Ord + Copy>(rows: &mut [(T, Row)], report: &mut Report, shown: impl Fn(T) -> String) {
    if !rows.is_sorted_by_key(|(at, _)| *at) {
        let symbol = &rows[0].1.symbol;
        let text = if rows.iter().rev().is_sorted_by_key(|(at, _)| *at) {
            format!("{symbol}: the newest row comes first; they were turned round")
        } else {
            format!("{symbol}: the rows are not in order; they were sorted")
        };
        report.add(Weight::Warning, "order", None, text);
        rows.sort_by_key(|(at, row)| (*at, row.line));
    }
    for pair in rows.windows(2) {
        let ((before, first), (at, row)) = (&pair[0], &pair[1]);
        if before == at {
            let text = format!("{} {} is there twice, first in line {}", row.symbol, shown(*at), first.line);
            report.add(Weight::Error, "duplicate", Some(row.line), text);
        }
    }
}

/// Looks at sound bars for what is missing or odd.
pub fn examine(dataset: &Dataset, actions: &[Action], report: &mut Report) {
    match &dataset.bars {
        Bars::Day(bars) => examine_days(dataset, bars, actions, report),
        Bars::Minute(bars) => examine_minutes(dataset, bars, report),
    }
}

fn examine_days(dataset: &Dataset, bars: &[Bar], actions: &[Action], report: &mut Report) {
    let symbol = &dataset.symbol;
    let have: Vec<Date> = bars.iter().map(|b| b.date).collect();
    if let (Some(first), Some(last)) = (have.first(), have.last()) {
        let missing: Vec<Date> = calendar::onwards(*first)
            .map(|s| s.date)
            .take_while(|d| d <= last)
            .filter(|d| have.binary_search(d).is_err())
            .collect();
        listed(report, "gap", &missing, |days| format!("{symbol}: no bar for {days}"));
    }
    let closed: Vec<Date> = have.iter().copied().filter(|d| calendar::session(*d).is_none()).collect();
    listed(report, "no_session", &closed, |days| {
        format!("{symbol}: the exchange was closed on {days}; such bars are kept and not replayed")
    });
    for pair in bars.windows(2) {
        let (before, bar) = (&pair[0], &pair[1]);
        let known = |a: &Action| a.symbol == *symbol && a.ex_date == bar.date && matches!(a.kind, Kind::Split(_));
        if !actions.iter().any(known)
            && let Some((shares, of)) = split_like(before.close, bar.open)
        {
            let text = format!(
                "{symbol} {}: from {} to {} overnight looks like {shares} shares for {of}, and no split is known (--actions)",
                bar.date, before.close, bar.open
            );
            report.add(Weight::Warning, "split", None, text);
        }
    }
}

fn split_like(close: Decimal, open: Decimal) -> Option<(u32, u32)> {
    SPLITS.into_iter().find(|(shares, of)| {
        let after = close.checked_mul(Decimal::from(*of)).and_then(|c| c.checked_div(Decimal::from(*shares)));
        after.is_some_and(|after| (open - after).abs() <= after * SPLIT_NEAR)
    })
}

fn examine_minutes(dataset: &Dataset, bars: &[Minute], report: &mut Report) {
    let symbol = &dataset.symbol;
    let (mut outside, mut missing, mut have_days) = (0_usize, 0_i64, Vec::new());
    for day in bars.chunk_by(|a, b| new_york::date(a.at) == new_york::date(b.at)) {
        let date = new_york::date(day[0].at);
        have_days.push(date);
        let session = calendar::session(date);
        let is_inside = |m: &&Minute| session.is_some_and(|s| s.pre_open <= m.at && m.at < s.post_close);
        outside += day.len() - day.iter().filter(is_inside).count();
        if let Some(session) = session {
            let regular = day.iter().filter(|m| session.open <= m.at && m.at < session.close).count();
            let all = SignedDuration::from_secs(session.close.as_second() - session.open.as_second()).as_mins();
            missing += all - i64::try_from(regular).unwrap_or(all);
        }
    }
    if outside > 0 {
        let text =
            format!("{symbol}: {outside} minutes are outside of trading hours; such bars are kept and not replayed");
        report.add(Weight::Warning, "no_session", None, text);
    }
    if missing > 0 {
        let days = i64::try_from(have_days.len()).unwrap_or(1);
        let (weight, hint) = if missing / days.max(1) > 200 {
            (Weight::Warning, ". Are these bars longer than a minute? They are taken as one minute each")
        } else {
            (Weight::Note, "")
        };
        let text = format!("{symbol}: in {days} days, {missing} minutes of sessions have no bar{hint}");
        report.add(weight, "quiet", None, text);
    }
    if let (Some(first), Some(last)) = (have_days.first(), have_days.last()) {
        let gone: Vec<Date> = calendar::onwards(*first)
            .map(|s| s.date)
            .take_while(|d| d <= last)
            .filter(|d| have_days.binary_search(d).is_err())
            .collect();
        listed(report, "gap", &gone, |days| format!("{symbol}: no minute of {days}"));
    }
}

fn listed(report: &mut Report, check: &'static str, days: &[Date], text: impl Fn(&str) -> String) {
    if days.is_empty() {
        return;
    }
    let mut named: Vec<String> = days.iter().take(DAYS_NAMED).map(ToString::to_string).collect();
    if days.len() > DAYS_NAMED {
        named.push(format!("and {} more days", days.len() - DAYS_NAMED));
    }
    report.add(Weight::Warning, check, None, text(&named.join(", ")));
}

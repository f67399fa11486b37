//! When the New York Stock Exchange trades: sessions, holidays and early closes, 1990 to 2030.
//!
//! The regular days are rules (NYSE Rule 7.2, formerly Rule 51, "Holidays"; the early closes as the exchange announces
//! them each year), the others a table of closings for mourning, terror and storm. A test compares every weekday to
//! November 2027 with the calendar of another project. Sessions are whole days: halts within a day (1997-10-27, 15:30)
//! and late openings are not here.

use jiff::{
    SignedDuration, Span, Timestamp, ToSpan,
    civil::{Date, Time, Weekday, date, time},
};

use crate::new_york;

/// The first day that this calendar knows.
pub const FIRST: Date = date(1990, 1, 1);
/// The last day that this calendar knows.
pub const LAST: Date = date(2030, 12, 31);

/// Full closings that no rule gives.
const CLOSED: [(Date, &str); 11] = [
    (date(1994, 4, 27), "funeral of Richard Nixon"),
    (date(2001, 9, 11), "attacks of September 11"),
    (date(2001, 9, 12), "attacks of September 11"),
    (date(2001, 9, 13), "attacks of September 11"),
    (date(2001, 9, 14), "attacks of September 11"),
    (date(2004, 6, 11), "mourning for Ronald Reagan"),
    (date(2007, 1, 2), "mourning for Gerald Ford"),
    (date(2012, 10, 29), "hurricane Sandy"),
    (date(2012, 10, 30), "hurricane Sandy"),
    (date(2018, 12, 5), "mourning for George H. W. Bush"),
    (date(2025, 1, 9), "mourning for Jimmy Carter"),
];

/// Closings at 13:00 that no rule gives.
const SHORT: [Date; 3] = [date(1997, 12, 26), date(1999, 12, 31), date(2003, 12, 26)];

/// One day of trading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The day in New York.
    pub date: Date,
    /// When trading before the session begins: 04:00.
    pub pre_open: Timestamp,
    /// When the session begins: 09:30.
    pub open: Timestamp,
    /// When the session ends: 16:00, or earlier.
    pub close: Timestamp,
    /// When trading after the session ends: four hours after the close.
    pub post_close: Timestamp,
}

/// What of a day of trading an instant belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nobody trades.
    Closed,
    /// From 04:00 until the open.
    Pre,
    /// From the open until the close.
    Regular,
    /// From the close until four hours later.
    Post,
}

/// The session of a day. `None` on a day without one, and outside [`FIRST`] to [`LAST`].
#[must_use]
pub fn session(day: Date) -> Option<Session> {
    if !(FIRST..=LAST).contains(&day) || is_weekend(day) || holiday(day) {
        return None;
    }
    let at =
        |time: Time| new_york::instant(day, time).expect("every year of this calendar is one that a timestamp holds");
    let close = at(closing(day));
    Some(Session {
        date: day,
        pre_open: at(time(4, 0, 0, 0)),
        open: at(time(9, 30, 0, 0)),
        close,
        post_close: close + SignedDuration::from_hours(4),
    })
}

/// The session that an instant belongs to, with the hours before and after it.
#[must_use]
pub fn session_at(at: Timestamp) -> Option<Session> {
    session(new_york::date(at)).filter(|s| s.pre_open <= at && at < s.post_close)
}

/// What of the day an instant belongs to.
#[must_use]
pub fn phase(at: Timestamp) -> Phase {
    match session_at(at) {
        None => Phase::Closed,
        Some(s) if at < s.open => Phase::Pre,
        Some(s) if at < s.close => Phase::Regular,
        Some(_) => Phase::Post,
    }
}

/// The first open after `at`. `None` beyond the calendar, as for all below.
#[must_use]
pub fn next_open(at: Timestamp) -> Option<Timestamp> {
    onwards(new_york::date(at)).map(|s| s.open).find(|open| *open > at)
}

/// The first close after `at`.
#[must_use]
pub fn next_close(at: Timestamp) -> Option<Timestamp> {
    onwards(new_york::date(at)).map(|s| s.close).find(|close| *close > at)
}

/// The last session before the day.
#[must_use]
pub fn previous(day: Date) -> Option<Session> {
    let mut day = day.min(LAST.tomorrow().ok()?);
    while day > FIRST {
        day = day.yesterday().ok()?;
        if let Some(found) = session(day) {
            return Some(found);
        }
    }
    None
}

/// The first session after the day.
#[must_use]
pub fn next(day: Date) -> Option<Session> {
    onwards(day.tomorrow().ok()?).next()
}

/// Every session from the day on, that day's own included.
pub fn onwards(day: Date) -> impl Iterator<Item = Session> {
    let day = day.max(FIRST);
    std::iter::successors(Some(day), |d| d.tomorrow().ok()).take_while(|d| *d <= LAST).filter_map(session)
}

/// When a trade of this day is settled: five sessions later until 1995-06-06, then three, two from 2017-09-05, one from
/// 2024-05-28 (SEC Rule 15c6-1 and its amendments).
#[must_use]
pub fn settlement(day: Date) -> Option<Date> {
    let later = match day {
        d if d >= date(2024, 5, 28) => 1,
        d if d >= date(2017, 9, 5) => 2,
        d if d >= date(1995, 6, 7) => 3,
        _ => 5,
    };
    onwards(day.tomorrow().ok()?).nth(later - 1).map(|s| s.date)
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// A weekday on which the exchange is closed.
fn holiday(day: Date) -> bool {
    let year = day.year();
    let nth = |month, nth, weekday| date(year, month, 1).nth_weekday_of_month(nth, weekday).is_ok_and(|d| d == day);
    // New Year's Day on a Saturday is not kept on Friday, which ends the year's accounts.
    let new_year = date(year, 1, 1);
    let new_year = if new_year.weekday() == Weekday::Sunday { date(year, 1, 2) } else { new_year };
    day == new_year
        || (year >= 1998 && nth(1, 3, Weekday::Monday))
        || nth(2, 3, Weekday::Monday)
        || day == good_friday(year)
        || nth(5, -1, Weekday::Monday)
        || (year >= 2022 && day == kept(date(year, 6, 19)))
        || day == kept(date(year, 7, 4))
        || nth(9, 1, Weekday::Monday)
        || nth(11, 4, Weekday::Thursday)
        || day == kept(date(year, 12, 25))
        || CLOSED.iter().any(|(closed, _)| *closed == day)
}

/// The weekday on which a holiday is kept: Friday for Saturday, Monday for Sunday.
fn kept(day: Date) -> Date {
    let days: Span = match day.weekday() {
        Weekday::Saturday => (-1).days(),
        Weekday::Sunday => 1.day(),
        _ => 0.days(),
    };
    day.checked_add(days).expect("holidays are far from the ends of the calendar")
}

/// The Friday before Easter Sunday, by the anonymous Gregorian algorithm (Meeus, *Astronomical Algorithms*, chapter 8).
fn good_friday(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 19 * l) / 433;
    let month = (h + l - 7 * m + 90) / 25;
    let day = (h + l - 7 * m + 33 * month + 19) % 32;
    let [month, day] = [month, day].map(|n| i8::try_from(n).expect("a month and a day of it"));
    date(year, month, day).checked_sub(2.days()).expect("Easter is far from the ends of the calendar")
}

/// When the session of a day ends, which has one.
fn closing(day: Date) -> Time {
    let (year, month, dom, weekday) = (day.year(), day.month(), day.day(), day.weekday());
    let after_thanksgiving = month == 11 && weekday == Weekday::Friday && (23..=29).contains(&dom);
    let christmas_eve = month == 12 && dom == 24;
    // The Fourth on a Thursday shortened the Friday after it until 2002, and shortens the Wednesday before it since 2013.
    let fourth = match (month, dom, weekday) {
        (7, 3, Weekday::Monday | Weekday::Tuesday | Weekday::Thursday) => year >= 1995,
        (7, 3, Weekday::Wednesday) => year >= 2013,
        (7, 5, Weekday::Friday) => (1995..2013).contains(&year),
        _ => false,
    };
    if (christmas_eve && year <= 1992) || (after_thanksgiving && year == 1992) {
        time(14, 0, 0, 0)
    } else if fourth || christmas_eve || (after_thanksgiving && year > 1992) || SHORT.contains(&day) {
        time(13, 0, 0, 0)
    } else {
        time(16, 0, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Days that are not ordinary, from exchange_calendars.
    const PUBLISHED: &str = include_str!("calendar/published.txt");

    #[test]
    fn every_weekday_is_as_published() {
        let published: HashMap<Date, &str> = PUBLISHED
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').expect("a day and what it is"))
            .map(|(day, what)| (day.parse().expect("a date"), what))
            .collect();
        let mut compared = 0;
        for day in FIRST.series(1.day()).take_while(|d| *d <= date(2027, 11, 26)) {
            let ours = match session(day) {
                None => "closed".to_owned(),
                Some(s) => new_york::civil(s.close).strftime("%H:%M").to_string(),
            };
            let theirs = if is_weekend(day) { "closed" } else { published.get(&day).copied().unwrap_or("16:00") };
            assert_eq!(ours, theirs, "{day}");
            compared += 1;
        }
        assert_eq!((published.len(), compared), (425, 13_844));
    }

    #[track_caller]
    fn check(at: &str, phase_expected: Phase, open: &str, close: &str) {
        let at: Timestamp = at.parse().expect("an instant");
        let text = |t: Option<Timestamp>| t.expect("inside of the calendar").to_string();
        assert_eq!(
            (phase(at), text(next_open(at)).as_str(), text(next_close(at)).as_str()),
            (phase_expected, open, close)
        );
    }

    #[test]
    fn an_instant_has_a_phase_and_what_comes_next() {
        let tuesday = ("2012-01-03T14:30:00Z", "2012-01-03T21:00:00Z");
        let wednesday = ("2012-01-04T14:30:00Z", "2012-01-04T21:00:00Z");
        check("2012-01-02T15:00:00Z", Phase::Closed, tuesday.0, tuesday.1);
        check("2012-01-03T08:59:59Z", Phase::Closed, tuesday.0, tuesday.1);
        check("2012-01-03T09:00:00Z", Phase::Pre, tuesday.0, tuesday.1);
        check("2012-01-03T14:30:00Z", Phase::Regular, wednesday.0, tuesday.1);
        check("2012-01-03T20:59:59.999Z", Phase::Regular, wednesday.0, tuesday.1);
        check("2012-01-03T21:00:00Z", Phase::Post, wednesday.0, wednesday.1);
        check("2012-01-04T01:00:00Z", Phase::Closed, wednesday.0, wednesday.1);
        check("2012-11-23T18:00:00Z", Phase::Post, "2012-11-26T14:30:00Z", "2012-11-26T21:00:00Z");
        check("2012-11-23T22:00:00Z", Phase::Closed, "2012-11-26T14:30:00Z", "2012-11-26T21:00:00Z");
    }

    #[test]
    fn neighbours_and_settlement_skip_days_without_a_session() {
        assert_eq!(previous(date(2012, 1, 3)).map(|s| s.date), Some(date(2011, 12, 30)));
        assert_eq!(next(date(2012, 10, 26)).map(|s| s.date), Some(date(2012, 10, 31)));
        assert_eq!(settlement(date(2012, 10, 26)), Some(date(2012, 11, 2)));
        assert_eq!(settlement(date(2024, 5, 24)), Some(date(2024, 5, 29)));
        assert_eq!(settlement(date(2024, 5, 28)), Some(date(2024, 5, 29)));
    }

    #[test]
    fn outside_of_its_years_the_calendar_is_silent() {
        assert_eq!(session(date(1989, 12, 29)), None);
        assert_eq!(session(date(2031, 1, 2)), None);
        assert_eq!(previous(FIRST), None);
        assert_eq!(next(LAST), None);
        assert_eq!(previous(date(2050, 1, 1)).map(|s| s.date), Some(date(2030, 12, 31)));
        assert_eq!(next(date(1950, 1, 1)).map(|s| s.date), Some(date(1990, 1, 2)));
        assert_eq!(phase(Timestamp::MIN), Phase::Closed);
        assert_eq!(next_open(Timestamp::MAX), None);
    }
}

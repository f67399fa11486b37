//! New York's clock, which is the exchange's. The rules are written here, so that no answer depends on a host's files of
//! time zones: daylight saving time from the first Sunday of April to the last of October (1987 to 2006, Uniform Time Act as
//! amended in 1986), and from the second Sunday of March to the first of November (since 2007, Energy Policy Act of 2005).

use std::sync::LazyLock;

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

static UNTIL_2006: LazyLock<TimeZone> = LazyLock::new(|| rule("EST5EDT,M4.1.0,M10.5.0"));
static SINCE_2007: LazyLock<TimeZone> = LazyLock::new(|| rule("EST5EDT,M3.2.0,M11.1.0"));

/// 2007-01-01 00:00 in New York.
const CHANGE: Timestamp = Timestamp::constant(1_167_627_600, 0);

fn rule(text: &str) -> TimeZone {
    TimeZone::posix(text).expect("both rules are well formed")
}

/// What a clock in New York shows. Right from 1987 on.
#[must_use]
pub fn civil(at: Timestamp) -> DateTime {
    let zone = if at < CHANGE { &UNTIL_2006 } else { &SINCE_2007 };
    zone.to_datetime(at)
}

/// The day in New York.
#[must_use]
pub fn date(at: Timestamp) -> Date {
    civil(at).date()
}

/// When a clock in New York shows this. A time that daylight saving time skips is the one an hour later; of one that it
/// repeats, the first. `None` beyond the years that a [`Timestamp`] holds.
#[must_use]
pub fn instant(date: Date, time: Time) -> Option<Timestamp> {
    let zone = if date.year() < 2007 { &UNTIL_2006 } else { &SINCE_2007 };
    zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()
}

/// When the day begins in New York. `None` as for [`instant`].
#[must_use]
pub fn midnight(date: Date) -> Option<Timestamp> {
    instant(date, Time::midnight())
}

/// A day that is written as one and as nothing else (YYYY-MM-DD): a clock's time behind it would be lost.
#[must_use]
pub fn day(text: &str) -> Option<Date> {
    text.parse().ok().filter(|_| text.len() == "YYYY-MM-DD".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_nothing_but_a_day() {
        assert_eq!(day("2012-06-01"), Some(Date::constant(2012, 6, 1)));
        for text in ["2012-06-01T10:00", "2012-06-01 10:00", "20120601", "2012-06-31", "", "+002012-06-01"] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[track_caller]
    fn check(utc: &str, local: &str) {
        let at: Timestamp = utc.parse().expect("an instant");
        assert_eq!(civil(at).to_string(), local);
        assert_eq!(instant(civil(at).date(), civil(at).time()), Some(at));
    }

    #[test]
    fn the_clock_changes_when_new_yorks_does() {
        check("2006-04-02T06:59:59Z", "2006-04-02T01:59:59");
        check("2006-04-02T07:00:00Z", "2006-04-02T03:00:00");
        check("2006-10-29T04:00:00Z", "2006-10-29T00:00:00");
        check("2006-10-29T07:00:00Z", "2006-10-29T02:00:00");
        check("2007-01-01T05:00:00Z", "2007-01-01T00:00:00");
        check("2007-03-11T06:59:59Z", "2007-03-11T01:59:59");
        check("2007-03-11T07:00:00Z", "2007-03-11T03:00:00");
        check("2012-11-04T07:00:00Z", "2012-11-04T02:00:00");
        check("2000-03-01T14:30:00Z", "2000-03-01T09:30:00");
    }

    #[test]
    fn a_time_that_is_skipped_is_an_hour_later() {
        let skipped = instant(jiff::civil::date(2012, 3, 11), jiff::civil::time(2, 30, 0, 0)).expect("an instant");
        assert_eq!(civil(skipped).to_string(), "2012-03-11T03:30:00");
    }
}

//! Points in time, as exchanges write them.

use ringfence_model::api::NonceUnit;

/// Microseconds since 1970-01-01T00:00:00Z, without leap seconds. Always given, never read from a clock here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The time as nonces of this unit count it.
    #[must_use]
    pub fn in_unit(self, unit: NonceUnit) -> u64 {
        match unit {
            NonceUnit::Milliseconds => self.milliseconds(),
            NonceUnit::Microseconds => self.0,
            NonceUnit::Nanoseconds => self.0.saturating_mul(1_000),
        }
    }

    pub(super) fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    pub(super) fn milliseconds(self) -> u64 {
        self.0 / 1_000
    }

    /// `2020-12-08T09:08:57.715Z`. The civil date is that of the proleptic Gregorian calendar, counted in eras of 400 years
    /// that begin on a 1 March.
    pub(super) fn iso8601_milliseconds(self) -> String {
        let (days, second) = (self.seconds() / 86_400, self.seconds() % 86_400);
        // 1970-01-01 is day 719468 of the calendar that begins on 0000-03-01.
        let day = days + 719_468;
        let (era, day_of_era) = (day / 146_097, day % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let milli = self.milliseconds() % 1_000;
        format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(milliseconds: u64, text: &str) {
        assert_eq!(UnixMicros(milliseconds * 1_000 + 999).iso8601_milliseconds(), text);
    }

    /// Made with Python: `datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")`.
    #[test]
    fn dates_are_civil() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_607_418_537_715, "2020-12-08T09:08:57.715Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_251_200_001, "2024-03-01T00:00:00.001Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(1_767_225_599_000, "2025-12-31T23:59:59.000Z");
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        assert!(UnixMicros(u64::MAX).iso8601_milliseconds().ends_with('Z'));
    }
}

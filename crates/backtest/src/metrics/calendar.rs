//! Returns of days, months and years.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What one day earned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// The day.
    pub date: Date,
    /// Equity at its last bar by that of the day before, less one.
    #[serde(rename = "return")]
    pub earned: f64,
}

/// What the months of one year earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Year {
    /// The year.
    pub year: i16,
    /// January first: equity at the month's last bar by that of the month before, less one; none of a month without a bar.
    pub months: [Option<f64>; 12],
    /// The same of the whole year, as far as there are bars.
    pub total: f64,
}

/// The return of each day that has a bar.
#[must_use]
pub fn days(dates: &[Date], capital: f64, equity: &[f64]) -> Vec<Day> {
    let mut before = capital;
    lasts(dates, equity, |date| date)
        .into_iter()
        .map(|(date, last)| Day { date, earned: step(&mut before, last) })
        .collect()
}

/// The table of months and years.
#[must_use]
pub fn years(dates: &[Date], capital: f64, equity: &[f64]) -> Vec<Year> {
    let mut before = capital;
    let mut years: Vec<Year> = lasts(dates, equity, Date::year)
        .into_iter()
        .map(|(year, last)| Year { year, months: [None; 12], total: step(&mut before, last) })
        .collect();
    before = capital;
    let mut at = 0;
    for ((year, month), last) in lasts(dates, equity, |date| (date.year(), date.month())) {
        while years[at].year != year {
            at += 1;
        }
        let place = usize::from(month.unsigned_abs()) - 1;
        years[at].months[place] = Some(step(&mut before, last));
    }
    years
}

/// The last equity of each run of bars that have the same key.
fn lasts<K: PartialEq>(dates: &[Date], equity: &[f64], key: impl Fn(Date) -> K) -> Vec<(K, f64)> {
    let mut found: Vec<(K, f64)> = Vec::new();
    for (&date, &value) in dates.iter().zip(equity) {
        let key = key(date);
        match found.last_mut() {
            Some((last, end)) if *last == key => *end = value,
            _ => found.push((key, value)),
        }
    }
    found
}

/// The return up to `last`, which the next one begins with. What begins with nothing earns nothing.
fn step(before: &mut f64, last: f64) -> f64 {
    let earned = if *before > 0.0 { last / *before - 1.0 } else { 0.0 };
    *before = last;
    earned
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_month_is_measured_from_the_end_of_the_one_before() {
        let dates = [date(2023, 11, 29), date(2023, 11, 30), date(2024, 1, 2), date(2024, 1, 3), date(2024, 2, 1)];
        let years = years(&dates, 100.0, &[110.0, 120.0, 60.0, 90.0, 180.0]);
        assert_eq!(years.iter().map(|y| y.year).collect::<Vec<_>>(), [2023, 2024]);
        assert_eq!(years[0].months[10], Some(120.0 / 100.0 - 1.0));
        assert_eq!(years[0].months[11], None, "no bar in December");
        assert_eq!(years[1].months[..2], [Some(90.0 / 120.0 - 1.0), Some(1.0)]);
        assert_eq!(years[1].total, 0.5);
    }

    #[test]
    fn bars_of_one_day_are_one_return() {
        let dates = [date(2024, 1, 2), date(2024, 1, 2), date(2024, 1, 3)];
        let days = days(&dates, 100.0, &[50.0, 110.0, 121.0]);
        assert_eq!(days.len(), 2);
        assert!((days[0].earned - 0.1).abs() < 1e-15 && (days[1].earned - 0.1).abs() < 1e-15);
    }
}

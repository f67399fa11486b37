//! How far below its highest equity a curve was, when, and for how long.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A time below an earlier high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drawdown {
    /// Lowest equity by the high before, less one: from −1 to 0.
    pub depth: f64,
    /// The day of the last bar at the high; where the capital at the beginning is the high, of the first bar.
    pub peak: Date,
    /// The day of the first bar at the lowest.
    pub trough: Date,
    /// The day of the first bar that is at the high again; none while it is not.
    pub recovery: Option<Date>,
    /// Bars from the high to its recovery, or to the last bar.
    pub bars: u64,
    /// Days of the calendar from the high to its recovery, or to the last bar.
    pub days: u64,
}

/// At each bar, equity by the highest so far, less one. The capital counts as a high.
#[must_use]
pub fn depths(capital: f64, equity: &[f64]) -> Vec<f64> {
    let mut high = capital;
    equity
        .iter()
        .map(|&value| {
            high = high.max(value);
            value / high - 1.0
        })
        .collect()
}

/// Every time below a high, in their order. `dates` and `equity` are of the same length.
#[must_use]
pub fn all(dates: &[Date], capital: f64, equity: &[f64]) -> Vec<Drawdown> {
    let mut found = Vec::new();
    let Some(&first) = dates.first() else { return found };
    // The high, and the place after its bar: 0 stands for the capital.
    let (mut high, mut place) = (capital, 0);
    let mut low: Option<(f64, Date)> = None;
    for (row, (&value, &date)) in equity.iter().zip(dates).enumerate() {
        if value < high {
            let depth = value / high - 1.0;
            if low.is_none_or(|(lowest, _)| depth < lowest) {
                low = Some((depth, date));
            }
            continue;
        }
        if let Some((depth, trough)) = low.take() {
            let peak = if place == 0 { first } else { dates[place - 1] };
            found.push(Drawdown {
                depth,
                peak,
                trough,
                recovery: Some(date),
                bars: (row + 1 - place) as u64,
                days: days(peak, date),
            });
        }
        (high, place) = (value, row + 1);
    }
    if let (Some((depth, trough)), Some(&last)) = (low, dates.last()) {
        let peak = if place == 0 { first } else { dates[place - 1] };
        let bars = (dates.len() - place) as u64;
        found.push(Drawdown { depth, peak, trough, recovery: None, bars, days: days(peak, last) });
    }
    found
}

/// The deepest; of equal ones the first.
#[must_use]
pub fn deepest(drawdowns: &[Drawdown]) -> Option<Drawdown> {
    drawdowns.iter().copied().reduce(|deepest, next| if next.depth < deepest.depth { next } else { deepest })
}

/// The one that took most days; of equal ones the first.
#[must_use]
pub fn longest(drawdowns: &[Drawdown]) -> Option<Drawdown> {
    drawdowns.iter().copied().reduce(|longest, next| if next.days > longest.days { next } else { longest })
}

/// The root of the mean square of the depths (Martin and McCann, *The Investor's Guide to Fidelity Funds*, 1989). `None` of none.
#[must_use]
pub fn ulcer_index(depths: &[f64]) -> Option<f64> {
    if depths.is_empty() {
        return None;
    }
    Some((super::sum::sum(depths.iter().map(|depth| depth * depth)) / super::sum::count(depths)).sqrt())
}

fn days(from: Date, to: Date) -> u64 {
    u64::try_from((to - from).get_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use jiff::civil::date;

    use super::*;

    fn of(capital: f64, equity: &[f64]) -> Vec<Drawdown> {
        let mut day = date(2024, 1, 31);
        let dates: Vec<Date> = equity
            .iter()
            .map(|_| {
                let this = day;
                day += 1.day();
                this
            })
            .collect();
        all(&dates, capital, equity)
    }

    #[test]
    fn a_drawdown_goes_from_the_last_high_to_the_first_bar_that_is_there_again() {
        let found = of(100.0, &[110.0, 110.0, 99.0, 88.0, 88.0, 110.0, 120.0]);
        assert_eq!(
            found,
            [Drawdown {
                depth: 88.0 / 110.0 - 1.0,
                peak: date(2024, 2, 1),
                trough: date(2024, 2, 3),
                recovery: Some(date(2024, 2, 5)),
                bars: 4,
                days: 4,
            }]
        );
    }

    #[test]
    fn the_capital_is_a_high_and_the_last_one_may_be_open() {
        let found = of(100.0, &[90.0, 100.0, 50.0]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].peak, found[0].recovery, found[0].bars), (date(2024, 1, 31), Some(date(2024, 2, 1)), 2));
        assert_eq!((found[1].depth, found[1].recovery, found[1].bars), (-0.5, None, 1));
        assert_eq!(deepest(&found).map(|d| d.depth), Some(-0.5));
    }

    #[test]
    fn what_only_rises_has_none() {
        assert!(of(1.0, &[1.0, 1.0, 2.0]).is_empty());
        assert!(of(1.0, &[]).is_empty());
        assert_eq!(depths(1.0, &[1.0, 0.5, 2.0]), [0.0, -0.5, 0.0]);
    }
}

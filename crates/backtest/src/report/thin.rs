//! Fewer points for drawing, none for figures.
//!
//! A curve is cut into equal runs of bars; of each run its first, lowest, highest and last value stay. So every extreme that there is
//! in the data is on the paper, which taking every n-th point would lose. Bars are merged: the first open, the highest high, the lowest
//! low, the last close.

use super::input::Prices;

/// Bars in the chart of prices; more are merged.
pub(super) const BARS_MAX: usize = 10_000;

/// Indices of what is drawn of `values`, ascending, of at most four in each of `runs`.
pub(super) fn extremes(values: &[f64], runs: usize) -> Vec<usize> {
    if values.len() <= runs.saturating_mul(4) {
        return (0..values.len()).collect();
    }
    let mut kept = Vec::with_capacity(runs * 4);
    for run in 0..runs {
        let (from, to) = (run * values.len() / runs, (run + 1) * values.len() / runs);
        let (mut low, mut high) = (from, from);
        for at in from..to {
            if values[at] < values[low] {
                low = at;
            }
            if values[at] > values[high] {
                high = at;
            }
        }
        for at in [from, low.min(high), low.max(high), to - 1] {
            if kept.last() != Some(&at) {
                kept.push(at);
            }
        }
    }
    kept
}

/// Finite bars of `prices`, at most [`BARS_MAX`], and how many became one.
pub(super) fn merged(prices: &Prices) -> (Prices, usize) {
    let length = [prices.open.len(), prices.high.len(), prices.low.len(), prices.close.len()]
        .into_iter()
        .fold(prices.dates.len(), usize::min);
    let whole = |at: &usize| {
        [prices.open[*at], prices.high[*at], prices.low[*at], prices.close[*at]].iter().all(|price| price.is_finite())
    };
    let finite: Vec<usize> = (0..length).filter(whole).collect();
    let each = finite.len().div_ceil(BARS_MAX).max(1);
    let mut out = Prices { symbol: prices.symbol.clone(), ..Prices::default() };
    for run in finite.chunks(each) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        out.dates.push(prices.dates[*first]);
        out.open.push(prices.open[*first]);
        out.high.push(run.iter().fold(f64::NEG_INFINITY, |high, at| high.max(prices.high[*at])));
        out.low.push(run.iter().fold(f64::INFINITY, |low, at| low.min(prices.low[*at])));
        out.close.push(prices.close[*last]);
    }
    (out, each)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_and_extremes_stay(values in prop::collection::vec(-1e6..1e6_f64, 1..3000), runs in 1..200_usize) {
            let kept = extremes(&values, runs);
            prop_assert!(kept.len() <= values.len().min(runs * 4).max(1));
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!((kept[0], kept[kept.len() - 1]), (0, values.len() - 1));
            let span = |values: &mut dyn Iterator<Item = f64>| {
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
            };
            prop_assert_eq!(span(&mut kept.iter().map(|at| values[*at])), span(&mut values.iter().copied()));
        }
    }

    #[test]
    fn merged_bars_keep_extremes_and_leave_gaps_out() {
        let length = 3 * BARS_MAX;
        let price = |at: usize| 100.0 + (at % 97) as f64;
        let mut prices = Prices {
            symbol: "A".into(),
            dates: vec![date(2020, 1, 1); length],
            open: (0..length).map(price).collect(),
            high: (0..length).map(|at| price(at) + 1.0).collect(),
            low: (0..length).map(|at| price(at) - 1.0).collect(),
            close: (0..length).map(price).collect(),
        };
        prices.high[12_345] = 1000.0;
        prices.low[5] = f64::NAN;
        let (out, each) = merged(&prices);
        assert_eq!((each, out.dates.len()), (3, BARS_MAX));
        assert!(out.high.contains(&1000.0) && out.low.iter().all(|low| low.is_finite()));
    }
}

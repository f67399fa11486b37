//! Stretches of the data: the share that ranks and the rest that judges, and windows that walk through it.
//!
//! A strategy runs once over all bars; since what it wants at a bar depends on no later one (which the look-ahead check tries), a
//! stretch is what it wanted in it. The account of a stretch begins with the capital and nothing in it at the close before the stretch;
//! what the strategy wanted at that close is wanted there, so a position that it held is bought at the stretch's first fill.

use std::ops::Range;

use ringfence_backtest::{
    panel::Panel,
    targets::{Order, Orders, Targets},
};
use ringfence_model::api::SweepWalkForward;

/// The fewest bars that are judged.
const TEST_BARS_MIN: usize = 2;

/// A stretch on which is chosen, and the one after it on which is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows on which is chosen.
    pub(crate) train: Range<usize>,
    /// Rows on which is judged.
    pub(crate) test: Range<usize>,
}

/// The windows that walk through `bars`: each begins where the test of the one before began and ends with it. The last test may be
/// shorter.
pub(crate) fn windows(walk: SweepWalkForward, bars: usize) -> Vec<Window> {
    let (train, test) = (walk.train as usize, walk.test as usize);
    let mut windows = Vec::new();
    let mut at = train;
    while at < bars {
        let end = at.saturating_add(test).min(bars);
        // A rest too short to be judged goes unjudged.
        if end - at >= TEST_BARS_MIN.min(test) {
            let from = if walk.anchored { 0 } else { at - train };
            windows.push(Window { train: from..at, test: at..end });
        }
        at = end;
    }
    windows
}

/// How many bars rank, of so many.
pub(crate) fn split(train: f64, bars: usize) -> usize {
    // A share of a count: both are far below 2⁵³.
    ((bars as f64 * train).round() as usize).clamp(1, bars.saturating_sub(1).max(1))
}

/// What a strategy wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// Weights.
    Targets(Targets),
    /// Orders.
    Orders(Orders),
}

/// The bars of a stretch with the one before it, from whose close it is traded. Whether there is one before it.
pub(crate) fn bars(panel: &Panel, rows: &Range<usize>) -> (Panel, bool) {
    let from = rows.start.saturating_sub(1);
    (panel.window(from..rows.end), from < rows.start)
}

/// What was wanted in the rows of [`bars`].
pub(crate) fn wanted(stretch: &Panel, wanted: &Wanted, rows: &Range<usize>) -> Option<Wanted> {
    let from = rows.start.saturating_sub(1);
    Some(match wanted {
        Wanted::Targets(targets) => {
            let symbols = targets.symbols();
            let mut weights: Vec<f64> = (from..rows.end).flat_map(|row| targets.row(row)).copied().collect();
            for (symbol, weight) in weights.iter_mut().take(symbols).enumerate() {
                // What it wanted last holds until it wants something else.
                let last = (0..=from).rev().map(|row| targets.row(row)[symbol]).find(|w| !w.is_nan());
                *weight = last.unwrap_or(f64::NAN);
            }
            Wanted::Targets(Targets::new(stretch, weights).ok()?)
        }
        Wanted::Orders(Orders(orders)) => {
            let own = orders.iter().filter(|order| (from..rows.end).contains(&order.row));
            Wanted::Orders(Orders(own.map(|order| Order { row: order.row - from, ..*order }).collect()))
        }
    })
}

#[cfg(test)]
mod tests {
    use ringfence_backtest::panel::History;
    use ringfence_market::{Symbol, import::Interval};

    use super::*;

    fn walk(train: u32, test: u32, anchored: bool) -> SweepWalkForward {
        SweepWalkForward { train, test, anchored }
    }

    #[test]
    fn every_bar_after_the_first_stretch_is_judged_once() {
        let rolling = windows(walk(100, 30, false), 200);
        let found: Vec<_> = rolling.iter().map(|w| (w.train.clone(), w.test.clone())).collect();
        assert_eq!(found, [(0..100, 100..130), (30..130, 130..160), (60..160, 160..190), (90..190, 190..200)]);
        assert!(windows(walk(100, 30, true), 200).iter().all(|w| w.train.start == 0 && w.train.end == w.test.start));
        assert_eq!(windows(walk(100, 30, false), 131).len(), 1, "one bar cannot be judged");
        assert_eq!(windows(walk(100, 1, false), 103).len(), 3);
        assert!(windows(walk(100, 30, false), 100).is_empty());
    }

    #[test]
    fn a_split_leaves_both_sides_a_bar() {
        assert_eq!((split(0.7, 1000), split(0.001, 10), split(0.999, 10)), (700, 1, 9));
    }

    fn panel(rows: i32) -> Panel {
        let first = jiff::civil::date(2020, 1, 1);
        let prices: Vec<f64> = (0..rows).map(|row| 100.0 + f64::from(row)).collect();
        let history = History {
            symbol: Symbol::parse("X").expect("a symbol"),
            dates: (0..rows).map(|row| first.saturating_add(jiff::Span::new().days(row))).collect(),
            times: Vec::new(),
            open: prices.clone(),
            high: prices.clone(),
            low: prices.clone(),
            close: prices.clone(),
            volume: prices,
        };
        Panel::new(Interval::Day, vec![history]).expect("sound bars")
    }

    #[test]
    fn what_was_held_before_a_stretch_is_wanted_at_its_beginning() {
        const NONE: f64 = f64::NAN;
        let panel = panel(8);
        let whole = Targets::new(&panel, vec![NONE, 1.0, NONE, NONE, NONE, 0.0, NONE, NONE]).expect("weights");
        let check = |rows: Range<usize>, expected: &[f64]| {
            let (stretch, before) = bars(&panel, &rows);
            let Some(Wanted::Targets(found)) = wanted(&stretch, &Wanted::Targets(whole.clone()), &rows) else {
                panic!()
            };
            let bits = |weights: &[f64]| weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(found.weights()), bits(expected), "{rows:?}");
            assert_eq!(before, rows.start > 0);
        };
        check(0..8, whole.weights());
        check(1..3, &[NONE, 1.0, NONE]);
        check(4..6, &[1.0, NONE, 0.0]);
        check(7..8, &[0.0, NONE]);
        let order = |row| Order { row, symbol: 0, shares: 1.0 };
        let orders = Wanted::Orders(Orders(vec![order(1), order(4), order(6)]));
        let (stretch, _) = bars(&panel, &(4..6));
        assert_eq!(wanted(&stretch, &orders, &(4..6)), Some(Wanted::Orders(Orders(vec![order(1)]))));
    }
}

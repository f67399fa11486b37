//! Another future: bars that go on otherwise from some bar on, made of the same symbol's own days.

use ringfence_backtest::{
    Panel,
    panel::{History, PanelError},
};

use super::{cut::Draw, histories};

/// Decimal places of made prices, those of adjusted ones.
const SCALE: f64 = 1e6;

/// As many bars as `panel` has, the first `known` the same, each later one a day of the same symbol drawn at random: its prices by
/// the close before it, and its volume. Half of the drawn days are turned upside down, so that what rose may fall. Symbols draw the
/// same place in their own days.
///
/// # Errors
/// Never with bars that make a panel, but for prices beyond what a double holds.
pub(super) fn replaced(panel: &Panel, known: usize, seed: u64) -> Result<Panel, PanelError> {
    let mut seeds = Draw(seed ^ known as u64);
    let shared = seeds.next();
    // The first row that is replaced is of another number in each symbol's own bars.
    let from = |symbol: usize| (0..known).filter(|row| panel.columns()[symbol].has(*row)).count();
    let others = histories(panel).into_iter().enumerate().map(|(i, history)| other(history, from(i), Draw(shared)));
    Panel::new(panel.interval(), others.collect())
}

fn other(mut bars: History, from: usize, mut draw: Draw) -> History {
    let original = bars.clone();
    let days = original.close.len();
    for row in from.max(1)..days {
        let day = 1 + draw.below(days - 1);
        let before = original.close[day - 1];
        let last = bars.close[row - 1];
        let upside_down = draw.next() & 1 == 1;
        let price = |value: f64| {
            let ratio = if upside_down { before / value } else { value / before };
            ((last * ratio * SCALE).round() / SCALE).max(1.0 / SCALE)
        };
        let (high, low) = (price(original.high[day]), price(original.low[day]));
        bars.open[row] = price(original.open[day]);
        bars.close[row] = price(original.close[day]);
        (bars.high[row], bars.low[row]) = (high.max(low), high.min(low));
        bars.volume[row] = original.volume[day];
    }
    bars
}

#[cfg(test)]
mod tests {
    use ringfence_market::Symbol;

    use super::*;

    #[test]
    fn what_is_known_stays_and_what_comes_is_another_plausible_thing() {
        let symbols = ["AAPL", "GOOG"].map(|s| Symbol::parse(s).expect("a symbol"));
        let panel = Panel::sample(&symbols).expect("the sample");
        let known = 2000;
        let other = replaced(&panel, known, 5).expect("bars");
        assert_eq!(other.truncated(known), panel.truncated(known));
        assert_eq!((other.len(), other.dates()), (panel.len(), panel.dates()));
        let same =
            (known..panel.len()).filter(|row| other.columns()[0].close[*row] == panel.columns()[0].close[*row]).count();
        assert!(same < 5, "{same} closes are as they were");
        assert_eq!(replaced(&panel, known, 5).expect("bars"), other, "the same seed, the same future");
        assert_ne!(replaced(&panel, known, 6).expect("bars"), other);
    }
}

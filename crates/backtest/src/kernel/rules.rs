//! The rules: where each strategy changes its position.

use super::{Declared, Event, indicators::Kept};

/// Prices that stand still: a deviation of no more than this fraction of the mean decides nothing (`mean_reversion.py`).
const STILL: f64 = 1e-9;

/// Where a strategy changes its position, in order of rows.
pub(super) fn events(declared: &Declared, close: &[f64], kept: &mut Kept<'_>, events: &mut Vec<Event>) {
    let mut changes = Changes { before: 0.0, events };
    match *declared {
        Declared::BuyAndHold => changes.note(0, 1.0),
        Declared::SmaCross { fast, slow, short } => {
            if slow > close.len() {
                return;
            }
            let (quick, calm) = (kept.sma(fast), kept.sma(slow));
            let below = if short { -1.0 } else { 0.0 };
            let known = slow - 1;
            for (i, (quick, calm)) in quick[known..].iter().zip(&calm[known..]).enumerate() {
                changes.note(known + i, if quick > calm { 1.0 } else { below });
            }
        }
        Declared::Breakout { entry, exit, short } => {
            let (high_in, low_out) = (kept.highest(entry), kept.lowest(exit));
            let (low_in, high_out) = (kept.lowest(entry), kept.highest(exit));
            let (mut long, mut sold) = (false, false);
            // The first bar has none before it.
            for i in 1..close.len() {
                let price = close[i];
                long = held(long, price > high_in[i - 1], price < low_out[i - 1]);
                sold = short && held(sold, price < low_in[i - 1], price > high_out[i - 1]);
                changes.note(i, position(long, sold));
            }
        }
        Declared::Rsi { window, low, high, short } => {
            let index = kept.rsi(window);
            let (mut long, mut sold) = (false, false);
            for (i, index) in index.iter().enumerate() {
                long = held(long, *index < low, *index > high);
                sold = short && held(sold, *index > high, *index < low);
                changes.note(i, position(long, sold));
            }
        }
        Declared::Momentum { lookback, threshold, short } => {
            for (i, (now, before)) in close.iter().skip(lookback).zip(close).enumerate() {
                let change = now / before - 1.0;
                let sold = short && change < -threshold;
                changes.note(lookback + i, position(change > threshold, sold));
            }
        }
        Declared::MeanReversion { lookback, entry, exit, short } => {
            let (mean, deviation) = kept.mean_and_deviation(lookback);
            let (mut long, mut sold) = (false, false);
            for (i, ((mean, deviation), price)) in mean.iter().zip(deviation.iter()).zip(close).enumerate() {
                if *deviation > STILL * mean {
                    let (far, near) = (entry * deviation, exit * deviation);
                    long = held(long, *price < mean - far, *price >= mean - near);
                    sold = short && held(sold, *price > mean + far, *price <= mean + near);
                }
                changes.note(i, position(long, sold));
            }
        }
    }
}

/// `indicators.held`: on from where `on` is true until `off` is; `on` wins where both are.
fn held(before: bool, on: bool, off: bool) -> bool {
    on || (before && !off)
}

/// Short wins, as it is written last in the Python files.
fn position(long: bool, sold: bool) -> f64 {
    match (long, sold) {
        (_, true) => -1.0,
        (true, false) => 1.0,
        (false, false) => 0.0,
    }
}

struct Changes<'a> {
    before: f64,
    events: &'a mut Vec<Event>,
}

impl Changes<'_> {
    /// `indicators.changes`: a weight where it differs from that of the bar before; before the first it is 0.
    #[inline]
    fn note(&mut self, row: usize, weight: f64) {
        if weight != self.before {
            self.before = weight;
            self.events.push((row, weight));
        }
    }
}

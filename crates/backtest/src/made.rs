//! Bars and wishes for tests, made from a seed.

use jiff::civil::Date;
use ringfence_market::{Symbol, import::Interval};

use crate::{
    panel::{History, Panel},
    targets::Targets,
};

/// SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.bits() >> 32).expect("32 bits")) / 4_294_967_296.0
    }

    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(end).expect("a small number")).expect("a small number")
    }
}

pub(crate) fn symbol(name: &str) -> Symbol {
    Symbol::parse(name).expect("a symbol")
}

pub(crate) fn day(index: usize) -> Date {
    let days = i32::try_from(index).expect("few days");
    "2020-01-01".parse::<Date>().expect("a date").saturating_add(jiff::Span::new().days(days))
}

/// Bars of a symbol on these days: `[open, high, low, close]`, each with 1000 shares traded.
pub(crate) fn history(name: &str, days: &[usize], prices: &[[f64; 4]]) -> History {
    let column = |i: usize| prices.iter().map(|p| p[i]).collect::<Vec<f64>>();
    History {
        symbol: symbol(name),
        dates: days.iter().map(|i| day(*i)).collect(),
        times: Vec::new(),
        open: column(0),
        high: column(1),
        low: column(2),
        close: column(3),
        volume: vec![1000.0; days.len()],
    }
}

/// One symbol whose bars stand still within: open, high, low and close are one price.
pub(crate) fn flat(prices: &[f64]) -> Panel {
    let days: Vec<usize> = (0..prices.len()).collect();
    let bars: Vec<[f64; 4]> = prices.iter().map(|p| [*p; 4]).collect();
    Panel::new(Interval::Day, vec![history("X", &days, &bars)]).expect("sound bars")
}

/// One symbol with these bars on consecutive days.
pub(crate) fn panel(prices: &[[f64; 4]]) -> Panel {
    let days: Vec<usize> = (0..prices.len()).collect();
    Panel::new(Interval::Day, vec![history("X", &days, prices)]).expect("sound bars")
}

/// Random walks of `symbols` symbols over `days` days; with `gaps`, some bars are missing.
pub(crate) fn walks(seed: u64, symbols: usize, days: usize, gaps: bool) -> Panel {
    let mut dice = Dice(seed);
    let histories = (0..symbols).map(|s| {
        let mut price = 20.0 + 100.0 * dice.unit();
        let (mut own, mut bars) = (Vec::new(), Vec::new());
        for day in 0..days {
            let open = price * (1.0 + 0.02 * (dice.unit() - 0.5));
            let close = open * (1.0 + 0.06 * (dice.unit() - 0.49));
            let (high, low) =
                (open.max(close) * (1.0 + 0.01 * dice.unit()), open.min(close) * (1.0 - 0.01 * dice.unit()));
            price = close;
            let is_missing = gaps && dice.unit() < 0.1;
            if !is_missing || (own.is_empty() && day + 1 == days) {
                own.push(day);
                bars.push([open, high, low, close]);
            }
        }
        history(&format!("S{s}"), &own, &bars)
    });
    Panel::new(Interval::Day, histories.collect()).expect("sound bars")
}

/// Random weights whose sum without regard to sign is at most 1; about one bar in four changes some of them.
pub(crate) fn wishes(seed: u64, panel: &Panel, short: bool) -> Targets {
    let mut dice = Dice(seed);
    let symbols = panel.columns().len();
    let most = 1.0 / f64::from(u32::try_from(symbols).expect("few"));
    let mut weights = vec![f64::NAN; panel.len() * symbols];
    for weight in &mut weights {
        if dice.unit() < 0.25 {
            *weight = match dice.below(4) {
                0 => 0.0,
                1 => most,
                2 if short => -most,
                _ => most * if short { 2.0 * dice.unit() - 1.0 } else { dice.unit() },
            };
        }
    }
    Targets::new(panel, weights).expect("weights for each bar")
}

//! The charts: equity against buy and hold with drawdown below, and prices with trades marked.

use jiff::civil::Date;

use super::{
    axis::{self, Scale, amount, day_number},
    input::{Backtest, Prices},
    scene::{Anchor, Ink, Mark, Scene},
    thin,
    write::{counted, number, percent, plain},
};
use crate::types::{Curve, Trade};

/// Runs of bars by width: of each, at most four points are drawn.
const PIXELS_PER_RUN: f64 = 2.0;
/// Trades that are marked in the drawing of prices.
const TIPS_MAX: usize = 600;

const RIGHT: f64 = 56.0;
const LEFT: f64 = 6.0;
const FOOT: f64 = 20.0;
const SIZE: f64 = 11.0;

/// A curve as it is drawn: where each bar is in time, and its value.
struct Track {
    times: Vec<f64>,
    equity: Vec<f64>,
    drawdown: Vec<f64>,
    capital: f64,
}

impl Track {
    fn of(curve: &Curve) -> Self {
        let finite = curve.dates.len().min(curve.equity.len());
        let times = times(&curve.dates[..finite]);
        let equity = curve.equity[..finite].to_vec();
        let mut peak = curve.capital;
        let below = |value: &f64| {
            peak = peak.max(*value);
            if peak > 0.0 { value / peak - 1.0 } else { 0.0 }
        };
        let drawdown = equity.iter().map(below).collect();
        Self { times, equity, drawdown, capital: curve.capital }
    }

    fn total_return(&self) -> f64 {
        self.equity.last().map_or(f64::NAN, |last| last / self.capital - 1.0)
    }
}

/// Where each bar is: its day, and bars within one are spread over it.
pub(super) fn times(dates: &[Date]) -> Vec<f64> {
    let mut out = Vec::with_capacity(dates.len());
    for day in dates.chunk_by(|a, b| a == b) {
        let begin = day_number(day[0]);
        out.extend((0..day.len()).map(|at| begin + at as f64 / day.len() as f64));
    }
    out
}

/// The plot area, and time across it.
struct Frame {
    left: f64,
    right: f64,
    time: Scale,
    ends: (f64, f64),
}

impl Frame {
    fn new(width: f64, times: &[f64]) -> Self {
        let ends = (times.first().copied().unwrap_or(0.0), times.last().copied().unwrap_or(1.0));
        Self { left: LEFT, right: width - RIGHT, time: Scale::exactly(ends.0, ends.1), ends }
    }

    fn x(&self, time: f64) -> f64 {
        self.left + self.time.place(time) * (self.right - self.left)
    }

    fn runs(&self) -> usize {
        ((self.right - self.left) / PIXELS_PER_RUN) as usize
    }

    fn points(&self, times: &[f64], values: &[f64], y: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let kept = thin::extremes(values, self.runs());
        kept.into_iter().filter(|at| values[*at].is_finite()).map(|at| (self.x(times[at]), y(values[at]))).collect()
    }

    /// Horizontal lines at `ticks`, and what is written at their right end.
    fn rules(&self, marks: &mut Vec<Mark>, ticks: &[f64], y: impl Fn(f64) -> f64, text: impl Fn(f64) -> String) {
        for tick in ticks {
            let at = y(*tick);
            marks.push(Mark::Line { points: vec![(self.left, at), (self.right, at)], ink: Ink::Grid, width: 1.0 });
            marks.push(words(self.right + 6.0, at + 4.0, text(*tick), Anchor::Start, Ink::Faint));
        }
    }

    /// Days below the plot, with a short vertical line each.
    fn days(&self, marks: &mut Vec<Mark>, dates: &[Date], bottom: f64) {
        let (Some(first), Some(last)) = (dates.first(), dates.last()) else { return };
        let count = ((self.right - self.left) / 78.0) as usize;
        for (day, text) in axis::days(*first, *last, count) {
            let x = self.x(day_number(day));
            marks.push(Mark::Line { points: vec![(x, bottom), (x, bottom + 4.0)], ink: Ink::Grid, width: 1.0 });
            let half = text.chars().count() as f64 * 3.0;
            let x = x.clamp(self.left + half, self.right + RIGHT - half);
            marks.push(words(x, bottom + 16.0, text, Anchor::Middle, Ink::Faint));
        }
    }

    fn time(&self) -> Option<[f64; 4]> {
        Some([self.left, self.right, self.ends.0, self.ends.1])
    }
}

fn words(x: f64, y: f64, text: String, anchor: Anchor, ink: Ink) -> Mark {
    Mark::Words { x, y, text, anchor, ink, size: SIZE }
}

/// Width of `text`, near enough to put something beside it.
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * SIZE * 0.54
}

/// Equity above, drawdown below. `heading` stands above both, for a picture that travels alone.
pub(super) fn equity(run: &Backtest, heading: Option<(&str, &str)>, width: f64, height: f64) -> Scene {
    let own = Track::of(&run.curve);
    let hold = run.benchmark.as_ref().map(Track::of);
    let frame = Frame::new(width, &own.times);
    let mut marks = Vec::new();
    let mut top = 6.0;
    if let Some((title, below)) = heading {
        marks.push(Mark::Words {
            x: LEFT,
            y: 22.0,
            text: plain(title),
            anchor: Anchor::Start,
            ink: Ink::Text,
            size: 16.0,
        });
        marks.push(words(LEFT, 39.0, plain(below), Anchor::Start, Ink::Faint));
        top = 50.0;
    }
    let tracks = || std::iter::once(&own).chain(hold.as_ref());
    top += legend(&mut marks, &own, hold.as_ref(), top, width);
    let bottom = height - FOOT;
    let split = top + (bottom - top) * 0.68;
    let gap = 22.0;

    let scale = Scale::of_amounts(tracks().flat_map(|track| track.equity.iter().copied().chain([track.capital])));
    let y = |value: f64| split - scale.place(value) * (split - top);
    frame.rules(&mut marks, &scale.ticks(((split - top) / 42.0) as usize), y, amount);
    if scale.logarithmic {
        marks.push(words(frame.right, split + 16.0, "logarithmic".into(), Anchor::End, Ink::Faint));
    }
    if let Some(hold) = &hold {
        let points = frame.points(&hold.times, &hold.equity, y);
        marks.push(Mark::Line { points, ink: Ink::Hold, width: 1.2 });
    }
    marks.push(Mark::Line { points: frame.points(&own.times, &own.equity, y), ink: Ink::Own, width: 1.6 });

    let from = split + gap;
    marks.push(words(LEFT, from - 6.0, "Below the highest so far".into(), Anchor::Start, Ink::Faint));
    let depth = Scale::below_zero(tracks().flat_map(|track| track.drawdown.iter().copied()));
    let y = |value: f64| bottom - depth.place(value) * (bottom - from);
    frame.rules(&mut marks, &depth.ticks(((bottom - from) / 28.0) as usize), y, |tick| percent(tick, 0));
    let mut area = frame.points(&own.times, &own.drawdown, y);
    if let (Some(first), Some(last)) = (area.first().copied(), area.last().copied()) {
        area.insert(0, (first.0, from));
        area.push((last.0, from));
    }
    marks.push(Mark::Area { points: area, ink: Ink::Loss });
    if let Some(hold) = &hold {
        marks.push(Mark::Line { points: frame.points(&hold.times, &hold.drawdown, y), ink: Ink::Hold, width: 1.0 });
    }
    marks.push(Mark::Line { points: frame.points(&own.times, &own.drawdown, y), ink: Ink::Loss, width: 1.0 });
    frame.days(&mut marks, &run.curve.dates, bottom);
    Scene { width, height, label: equity_label(run, &own, hold.as_ref()), time: frame.time(), marks }
}

/// Which line is which, with where each ends; how high that is. On a narrow drawing one below the other.
fn legend(marks: &mut Vec<Mark>, own: &Track, hold: Option<&Track>, top: f64, width: f64) -> f64 {
    let entry = |name: &str, track: &Track| {
        let last = track.equity.last().copied().unwrap_or(f64::NAN);
        format!("{name}  {}  ({})", number(last, 0), signed(track.total_return()))
    };
    let entries = [Some((entry("Strategy", own), Ink::Own)), hold.map(|hold| (entry("Buy and hold", hold), Ink::Hold))];
    let (mut x, mut y) = (LEFT, top + 8.0);
    for (text, ink) in entries.into_iter().flatten() {
        let needs = 24.0 + width_of(&text);
        if x > LEFT && x + needs > width {
            (x, y) = (LEFT, y + 16.0);
        }
        marks.push(Mark::Line { points: vec![(x, y), (x + 16.0, y)], ink, width: 2.0 });
        marks.push(words(x + 22.0, y + 4.0, text, Anchor::Start, Ink::Text));
        x += needs + 24.0;
    }
    if own.equity.is_empty() {
        return 22.0;
    }
    y + 16.0 - top
}

fn signed(fraction: f64) -> String {
    let text = percent(fraction, 1);
    if fraction > 0.0 { format!("+{text}") } else { text }
}

fn equity_label(run: &Backtest, own: &Track, hold: Option<&Track>) -> String {
    let lowest = |track: &Track| track.drawdown.iter().fold(0.0_f64, |low, value| low.min(*value));
    let ends = match (run.curve.dates.first(), run.curve.dates.last()) {
        (Some(first), Some(last)) => format!("from {first} to {last}"),
        _ => "without a bar".to_owned(),
    };
    let against = hold.map_or_else(String::new, |hold| {
        format!(
            "; buy and hold {}, at worst {} below its high",
            percent(hold.total_return(), 1),
            percent(-lowest(hold), 1)
        )
    });
    format!(
        "Equity {ends}: total return {}, at worst {} below its high{against}.",
        percent(own.total_return(), 1),
        percent(-lowest(own), 1)
    )
}

/// Closes of one symbol, with entries and exits of its trades.
pub(super) fn prices(prices: &Prices, trades: &[Trade], width: f64, height: f64) -> Scene {
    let times = times(&prices.dates);
    let frame = Frame::new(width, &times);
    let (top, bottom) = (12.0, height - FOOT);
    let mut marks = Vec::new();
    let scale = Scale::of_amounts(prices.close.iter().copied());
    let y = |value: f64| bottom - scale.place(value) * (bottom - top);
    frame.rules(&mut marks, &scale.ticks(((bottom - top) / 42.0) as usize), y, amount);
    marks.push(Mark::Line { points: frame.points(&times, &prices.close, y), ink: Ink::Text, width: 1.0 });
    for (at, buys) in tips(prices, trades).into_iter().take(TIPS_MAX) {
        marks.push(Mark::Tip {
            x: frame.x(times[at]),
            y: y(prices.close[at]),
            ink: if buys { Ink::Buy } else { Ink::Sell },
        });
    }
    frame.days(&mut marks, &prices.dates, bottom);
    let label =
        format!("Closes of {} with entries and exits of {}.", plain(&prices.symbol), counted(trades.len(), "trade"));
    Scene { width, height, label, time: frame.time(), marks }
}

/// Bars at which the symbol was bought (true) or sold, ascending: of each trade its entry, and its exit where it has ended.
pub(super) fn tips(prices: &Prices, trades: &[Trade]) -> Vec<(usize, bool)> {
    let bar = |day: Date| prices.dates.partition_point(|date| *date < day).min(prices.dates.len().saturating_sub(1));
    let mut found = Vec::new();
    if prices.dates.is_empty() {
        return found;
    }
    for trade in trades.iter().filter(|trade| trade.symbol.as_str() == prices.symbol) {
        let long = trade.side == crate::types::Side::Long;
        found.push((bar(trade.entry), long));
        if !trade.open {
            found.push((bar(trade.exit), !long));
        }
    }
    found.sort_unstable();
    found
}

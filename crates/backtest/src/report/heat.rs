//! The grid of parameters as a heat map: one cell for each pair of values, one map for each strategy and symbol.
//!
//! Where runs differ in more than two parameters a cell is the median of its runs: the best would show luck as if it were a ridge.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    input::{Row, Sweep},
    scene::{Anchor, Ink, Mark, STEPS, Scene},
    write::{counted, number, plain},
};

/// Maps in a report; the rest of the strategies and symbols are in the table.
const MAPS_MAX: usize = 12;
/// Cells along a side; of longer axes the first are shown.
const SIDE_MAX: usize = 120;
/// Below this many pixels a cell has neither words nor an edge.
const SIDE_PLAIN: f64 = 12.0;
/// From this many on its figure is written in it.
const SIDE_WRITTEN: f64 = 34.0;

/// A heat map, and what it is of.
pub(super) struct Map {
    pub(super) heading: String,
    pub(super) note: String,
    pub(super) scene: Scene,
}

/// A value of a parameter, in order of number where both are numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Option<i128>, String);

impl Key {
    fn of(text: &str) -> Self {
        // Nine decimals of a parameter put it in order; equal ones are told apart by their text.
        let number = text.trim().parse::<f64>().ok().filter(|n| n.abs() < 1e18).map(|n| (n * 1e9) as i128);
        Self(number, text.to_owned())
    }
}

/// The maps of a sweep, those of the best run's strategy first; and how many were left out.
pub(super) fn maps(sweep: &Sweep, width: f64) -> (Vec<Map>, usize) {
    let mut groups: Vec<((&str, &str), Vec<&Row>)> = Vec::new();
    let mut at: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in &sweep.rows {
        let name = (row.strategy.as_str(), row.symbols.as_str());
        let group = *at.entry(name).or_insert_with(|| {
            groups.push((name, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(row);
    }
    let worth = |group: &((&str, &str), Vec<&Row>)| group.1.len() > 1 && !axes(&group.1).is_empty();
    groups.retain(worth);
    let left_out = groups.len().saturating_sub(MAPS_MAX);
    let maps = groups.iter().take(MAPS_MAX).map(|(name, rows)| map(sweep, *name, rows, width)).collect();
    (maps, left_out)
}

/// Names of the parameters that vary, those with most values first, at most two.
fn axes(rows: &[&Row]) -> Vec<String> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in rows.iter().flat_map(|row| &row.parameters) {
        values.entry(name).or_default().insert(value);
    }
    let order = |name: &str| rows[0].parameters.iter().position(|(own, _)| own == name);
    let mut varying: Vec<(&str, usize)> =
        values.iter().filter(|(_, values)| values.len() > 1).map(|(name, values)| (*name, values.len())).collect();
    varying.sort_by_key(|(name, count)| (usize::MAX - count, order(name)));
    varying.truncate(2);
    varying.sort_by_key(|(name, _)| order(name));
    varying.into_iter().map(|(name, _)| name.to_owned()).collect()
}

fn value_of<'a>(row: &'a Row, name: &str) -> &'a str {
    row.parameters.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
}

fn median(scores: &mut [f64]) -> Option<f64> {
    scores.sort_by(f64::total_cmp);
    let middle = scores.len() / 2;
    match scores.len() {
        0 => None,
        n if n % 2 == 1 => Some(scores[middle]),
        _ => Some((scores[middle - 1] + scores[middle]) / 2.0),
    }
}

fn map(sweep: &Sweep, (strategy, symbols): (&str, &str), rows: &[&Row], width: f64) -> Map {
    let names = axes(rows);
    let across = names.last().cloned().unwrap_or_default();
    let down = if names.len() > 1 { names[0].clone() } else { String::new() };
    let keys = |name: &str| rows.iter().map(|row| Key::of(value_of(row, name))).collect::<BTreeSet<_>>();
    let whole = keys(&across).len().max(keys(&down).len()) <= SIDE_MAX;
    let (columns, lines): (Vec<Key>, Vec<Key>) =
        (keys(&across).into_iter().take(SIDE_MAX).collect(), keys(&down).into_iter().take(SIDE_MAX).collect());
    let mut scores: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for row in rows {
        let place = |keys: &[Key], name: &str| keys.binary_search(&Key::of(value_of(row, name))).ok();
        let (Some(line), Some(column)) = (place(&lines, &down), place(&columns, &across)) else { continue };
        let cell = scores.entry((line, column)).or_default();
        cell.extend(row.score.own.filter(|score| score.is_finite()));
    }
    let most = scores.values().map(Vec::len).max().unwrap_or(0);
    let cells: BTreeMap<(usize, usize), Option<f64>> =
        scores.into_iter().map(|(at, mut scores)| (at, median(&mut scores))).collect();
    let hold = rows.iter().find_map(|row| row.score.hold);
    let grid = Grid { sweep, across: &across, down: &down, columns: &columns, lines: &lines, cells: &cells, hold };
    let scene = draw(&grid, width);
    Map { heading: format!("{} on {}", plain(strategy), plain(symbols)), note: note(&grid, most, whole, width), scene }
}

/// What stands below a map.
fn note(grid: &Grid<'_>, most: usize, whole: bool, width: f64) -> String {
    let mut note = String::new();
    if most > 1 {
        note.push_str(&format!("Each cell is the median of up to {}. ", counted(most, "run")));
    }
    if !whole {
        note.push_str(&format!("Of each parameter the first {SIDE_MAX} values are drawn. "));
    }
    if let Some(hold) = grid.hold {
        let above = grid.cells.values().flatten().filter(|score| **score > hold).count();
        note.push_str(&format!(
            "Buy and hold: {}; {} of {} are above it{}.",
            number(hold, 3),
            number(above as f64, 0),
            counted(grid.cells.len(), "cell"),
            if grid.side(width) >= SIDE_WRITTEN { " and have a dot" } else { "" }
        ));
    }
    note
}

struct Grid<'a> {
    sweep: &'a Sweep,
    across: &'a str,
    down: &'a str,
    columns: &'a [Key],
    lines: &'a [Key],
    cells: &'a BTreeMap<(usize, usize), Option<f64>>,
    hold: Option<f64>,
}

const SIZE: f64 = 11.0;
/// Width of a character of that size, about.
const CHAR: f64 = 6.4;

impl Grid<'_> {
    /// Left end of the cells.
    fn left(&self) -> f64 {
        let longest = self.lines.iter().map(|key| key.1.chars().count()).max().unwrap_or(0).min(14);
        let name = self.down.chars().count().min(12) + 2;
        if self.down.is_empty() { 6.0 } else { 10.0 + longest.max(name) as f64 * CHAR }
    }

    /// What is said of a cell.
    fn title(&self, (line, column): (usize, usize), score: Option<f64>) -> String {
        let at = |name: &str, key: &Key| if name.is_empty() { String::new() } else { format!("{name} {}, ", key.1) };
        let said = score.map_or("n/a".to_owned(), |score| number(score, 3));
        let (down, across) = (at(self.down, &self.lines[line]), at(self.across, &self.columns[column]));
        format!("{down}{across}{} {said}", self.sweep.metric)
    }

    /// Width of a cell.
    fn side(&self, width: f64) -> f64 {
        ((width - self.left() - 8.0) / self.columns.len().max(1) as f64).min(64.0)
    }
}

fn draw(grid: &Grid<'_>, width: f64) -> Scene {
    let (left, top) = (grid.left(), 36.0);
    let side = grid.side(width);
    let tall = side.min(26.0);
    let height = top + tall * grid.lines.len() as f64 + 8.0;
    let words =
        |x: f64, y: f64, text: String, anchor: Anchor, ink: Ink| Mark::Words { x, y, text, anchor, ink, size: SIZE };
    let cut = |text: &str, most: usize| -> String {
        let text = plain(text);
        if text.chars().count() > most {
            text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
        } else {
            text
        }
    };
    let mut marks = vec![words(left, 12.0, format!("{} →", cut(grid.across, 40)), Anchor::Start, Ink::Faint)];
    if !grid.down.is_empty() {
        marks.push(words(6.0, top - 6.0, format!("{} ↓", cut(grid.down, 12)), Anchor::Start, Ink::Faint));
    }
    let longest = grid.columns.iter().map(|key| key.1.chars().count()).max().unwrap_or(1).min(8);
    let every = ((longest as f64 + 1.0) * CHAR / side).ceil().max(1.0) as usize;
    for (at, key) in grid.columns.iter().enumerate().filter(|(at, _)| at % every == 0) {
        let x = left + (at as f64 + 0.5) * side;
        marks.push(words(x, top - 6.0, cut(&key.1, 8), Anchor::Middle, Ink::Text));
    }
    let every = (12.0 / tall).ceil().max(1.0) as usize;
    for (at, key) in grid.lines.iter().enumerate().filter(|(at, _)| !grid.down.is_empty() && at % every == 0) {
        let y = top + (at as f64 + 0.5) * tall + 4.0;
        marks.push(words(left - 6.0, y, cut(&key.1, 14), Anchor::End, Ink::Text));
    }
    let scores = || grid.cells.iter().filter_map(|(at, score)| score.map(|score| (*at, score)));
    let (low, high) = scores().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), (_, s)| (l.min(s), h.max(s)));
    let step = |score: f64| {
        let place = if high > low { (score - low) / (high - low) } else { 1.0 };
        ((place * f64::from(STEPS)) as u8).min(STEPS - 1)
    };
    let place = |(line, column): (usize, usize)| (left + column as f64 * side, top + line as f64 * tall);
    let edge = if side < SIDE_PLAIN { 0.0 } else { 1.0 };
    let cell = (side - edge, tall - edge);
    if side < SIDE_PLAIN {
        let mut by_ink: BTreeMap<Option<u8>, Vec<(f64, f64)>> = BTreeMap::new();
        for (&at, score) in grid.cells {
            by_ink.entry(score.map(step)).or_default().push(place(at));
        }
        let inked = |(step, corners): (Option<u8>, Vec<(f64, f64)>)| Mark::Cells {
            corners,
            side: cell,
            ink: step.map_or(Ink::Grid, Ink::Step),
        };
        marks.extend(by_ink.into_iter().map(inked));
    } else {
        for (&at, score) in grid.cells {
            let (x, y) = place(at);
            let ink = score.map_or(Ink::Grid, |score| Ink::Step(step(score)));
            marks.push(Mark::Cell { x, y, width: cell.0, height: cell.1, ink, title: grid.title(at, *score) });
            if let Some(score) = score.filter(|_| side >= SIDE_WRITTEN) {
                let ink = if step(score) + 2 >= STEPS { Ink::Pale } else { Ink::Text };
                let above = grid.hold.is_some_and(|hold| score > hold);
                let text = format!("{}{}", number(score, 2), if above { " •" } else { "" });
                marks.push(words(x + side / 2.0, y + tall / 2.0 + 4.0, text, Anchor::Middle, ink));
            }
        }
    }
    if let Some((at, _)) = scores().find(|(_, score)| *score == high) {
        let (x, y) = place(at);
        marks.push(Mark::Cell { x, y, width: cell.0, height: cell.1, ink: Ink::Frame, title: String::new() });
    }
    let label = format!(
        "Heat map of {} over {}: from {} to {}. The table of runs holds the same.",
        plain(&grid.sweep.metric),
        [grid.down, grid.across].into_iter().filter(|n| !n.is_empty()).map(plain).collect::<Vec<_>>().join(" and "),
        number(low, 3),
        number(high, 3)
    );
    Scene { width: left + side * grid.columns.len() as f64 + 8.0, height, label, time: None, marks }
}

//! Plateau or spike: whether the combinations beside the best one are nearly as good.

use serde::{Deserialize, Serialize};

use crate::metrics::ratios::{ascending, quantile};

/// Neighbours that keep at least so much of the lead make a plateau.
pub(super) const PLATEAU: f64 = 2.0 / 3.0;
/// Neighbours that keep less than so much of it make a spike.
pub(super) const SPIKE: f64 = 1.0 / 3.0;
/// Fewer combinations than these beyond the neighbours say nothing about what is usual.
const OTHERS_MIN: usize = 3;

/// One combination of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its place on each axis, counted from 0 in the order of the axis.
    pub place: Vec<u32>,
    /// How good it is, the higher the better; none where there is no figure.
    pub score: Option<f64>,
}

/// How the best combination compares with those beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The neighbours are nearly as good: it does not hang on the exact parameters.
    Plateau,
    /// In between.
    Slope,
    /// The neighbours are little better than any others: the exact parameters were found, perhaps, by luck.
    Spike,
    /// The grid is too small to tell, or every combination is the same.
    Unknown,
}

/// What was found around the best combination.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// In a word.
    pub shape: Shape,
    /// How much of the lead of the best over what is usual its neighbours keep: 1 is all of it, 0 nothing. None where the shape is unknown.
    pub kept: Option<f64>,
    /// Combinations one step away, in one parameter or in several.
    pub neighbours: u64,
    /// The median of their scores.
    pub neighbours_median: Option<f64>,
    /// The lowest of their scores.
    pub neighbours_lowest: Option<f64>,
    /// The median of the scores of all that are further away: what is usual.
    pub usual: Option<f64>,
}

/// Looks around the cell at `best`. On an axis that is in `unordered` (names instead of numbers) a neighbour has the same value.
///
/// `None` when there is no such cell, or when it has no score.
#[must_use]
pub fn surroundings(cells: &[Cell], best: usize, unordered: &[usize]) -> Option<Surroundings> {
    let centre = cells.get(best)?;
    let lead = centre.score.filter(|score| score.is_finite())?;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for cell in cells {
        let (Some(score), Some(steps)) = (cell.score.filter(|s| s.is_finite()), steps(centre, cell, unordered)) else {
            continue;
        };
        match steps {
            0 => {}
            1 => near.push(score),
            _ => far.push(score),
        }
    }
    let (near, far) = (ascending(&near), ascending(&far));
    let median = |sorted: &[f64]| (!sorted.is_empty()).then(|| quantile(sorted, 0.5));
    let (middle, usual) = (median(&near), median(&far));
    let enough = far.len() >= OTHERS_MIN && far.len() >= near.len();
    let kept = match (middle, usual) {
        (Some(middle), Some(usual)) if enough && lead > usual => Some((middle - usual) / (lead - usual)),
        _ => None,
    };
    let shape = match kept {
        None => Shape::Unknown,
        Some(kept) if kept >= PLATEAU => Shape::Plateau,
        Some(kept) if kept < SPIKE => Shape::Spike,
        Some(_) => Shape::Slope,
    };
    Some(Surroundings {
        shape,
        kept,
        neighbours: near.len() as u64,
        neighbours_median: middle,
        neighbours_lowest: near.first().copied(),
        usual,
    })
}

/// The largest number of steps on any axis. `None` when the grids differ; two, which is far, where a name differs.
fn steps(from: &Cell, to: &Cell, unordered: &[usize]) -> Option<u32> {
    if from.place.len() != to.place.len() {
        return None;
    }
    let pairs = from.place.iter().zip(&to.place).enumerate();
    Some(
        pairs
            .map(|(axis, (a, b))| match a.abs_diff(*b) {
                steps if steps > 0 && unordered.contains(&axis) => 2,
                steps => steps,
            })
            .max()
            .unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grid of 7 by 7 with the best in the middle.
    fn grid(score: impl Fn(i32, i32) -> f64) -> Vec<Cell> {
        (0..49_u32)
            .map(|at| {
                let (x, y) = (at % 7, at / 7);
                let away = |value: u32| i32::try_from(value).expect("small") - 3;
                Cell { place: vec![x, y], score: Some(score(away(x), away(y))) }
            })
            .collect()
    }

    #[track_caller]
    fn check(score: impl Fn(i32, i32) -> f64, shape: Shape) {
        let found = surroundings(&grid(score), 24, &[]).expect("the best has a score");
        assert_eq!((found.shape, found.neighbours), (shape, 8), "{found:?}");
    }

    #[test]
    fn a_hill_is_a_plateau_and_a_needle_a_spike() {
        let far = |x: i32, y: i32| x.abs().max(y.abs());
        check(|x, y| 2.0 - 0.01 * f64::from(far(x, y) * far(x, y)), Shape::Plateau);
        check(|x, y| if far(x, y) == 0 { 2.0 } else { 1.0 }, Shape::Spike);
        check(|x, y| 3.0 - f64::from(far(x, y)).sqrt(), Shape::Slope);
        check(|_, _| 1.0, Shape::Unknown);
    }

    #[test]
    fn it_does_not_matter_where_zero_is_nor_how_large_one_is() {
        let score = |x: i32, y: i32| -f64::from(x * x + 2 * y * y);
        let (one, other) = (grid(score), grid(|x, y| 5.0 + 8.0 * score(x, y)));
        let kept = |cells: &[Cell]| surroundings(cells, 24, &[]).and_then(|s| s.kept).expect("it is large enough");
        assert!((kept(&one) - kept(&other)).abs() < 1e-12);
    }

    #[test]
    fn names_have_no_neighbours_and_small_grids_no_shape() {
        let cells = grid(|x, y| -f64::from(x.abs() + y.abs()));
        assert_eq!(surroundings(&cells, 24, &[1]).map(|s| s.neighbours), Some(2));
        let line: Vec<Cell> = (0..3).map(|x| Cell { place: vec![x], score: Some(f64::from(x)) }).collect();
        assert_eq!(surroundings(&line, 1, &[]).map(|s| s.shape), Some(Shape::Unknown));
        assert_eq!(surroundings(&line, 9, &[]), None);
    }
}

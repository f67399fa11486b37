//! Where bars are cut off.

/// Bars that are left, from the first, and whether the rest is also replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cut {
    pub(super) known: usize,
    pub(super) replace: bool,
}

const NEAR_THE_END: [usize; 3] = [1, 2, 10];
const AT_CHANGES: usize = 8;
const ANYWHERE: usize = 5;

/// Places for a strategy that wanted `whole` (rows × symbols): near the end, right after changes of what it wanted and right before
/// them, and some drawn by the seed. Ascending, none twice; none before the second bar.
pub(super) fn cuts(whole: &[f64], symbols: usize, seed: u64) -> Vec<Cut> {
    let rows = whole.len() / symbols;
    let mut draw = Draw(seed);
    let mut found: Vec<Cut> = NEAR_THE_END
        .into_iter()
        .filter_map(|before_end| Some(Cut { known: rows.checked_sub(before_end)?, replace: before_end == 10 }))
        .collect();
    let changes = changes(whole, symbols);
    for number in 0..AT_CHANGES.min(changes.len()) {
        // One out of each eighth of them, so that no part of the time is left out.
        let (from, to) = (
            number * changes.len() / AT_CHANGES.min(changes.len()),
            (number + 1) * changes.len() / AT_CHANGES.min(changes.len()),
        );
        let at = changes[from + draw.below(to - from)];
        found.push(Cut { known: at + 1, replace: number % 2 == 0 });
        if number % 2 == 1 {
            found.push(Cut { known: at, replace: false });
        }
    }
    for number in 0..ANYWHERE {
        let known = rows / 4 + draw.below(rows - rows / 4);
        found.push(Cut { known, replace: number % 2 == 0 });
    }
    found.retain(|cut| (2..rows).contains(&cut.known));
    found.sort();
    // Of two at one place, the one with a replaced future comes last.
    found.reverse();
    found.dedup_by_key(|cut| cut.known);
    found.reverse();
    found
}

/// Rows in which something else is wanted than in the row before.
fn changes(whole: &[f64], symbols: usize) -> Vec<usize> {
    let mut held = vec![0.0_f64; symbols];
    let mut found = Vec::new();
    for (row, weights) in whole.chunks_exact(symbols).enumerate() {
        let mut changed = false;
        for (held, weight) in held.iter_mut().zip(weights).filter(|(_, weight)| !weight.is_nan()) {
            changed |= *held != *weight;
            *held = *weight;
        }
        if changed {
            found.push(row);
        }
    }
    found
}

/// SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014), which is short enough to be here and
/// therefore the same in every version.
pub(in crate::strategy) struct Draw(pub(in crate::strategy) u64);

impl Draw {
    pub(in crate::strategy) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, 0 when that is 0.
    #[allow(clippy::cast_possible_truncation, reason = "it is below a usize")]
    pub(in crate::strategy) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_near_the_end_at_changes_and_anywhere() {
        let whole: Vec<f64> =
            (0..1000).map(|row| if row % 100 == 50 { f64::from(row / 100 % 2) } else { f64::NAN }).collect();
        let found = cuts(&whole, 1, 7);
        assert_eq!(found, cuts(&whole, 1, 7), "the same seed, the same places");
        let known: Vec<_> = found.iter().map(|c| c.known).collect();
        assert!([990, 998, 999].iter().all(|near| known.contains(near)), "{known:?}");
        assert!(known.iter().filter(|k| **k % 100 == 51).count() >= 8, "right after changes: {known:?}");
        assert!(known.iter().filter(|k| **k % 100 == 50).count() >= 4, "right before changes: {known:?}");
        assert!(found.iter().filter(|c| c.replace).count() >= 5);
        assert!(known.windows(2).all(|pair| pair[0] < pair[1]) && known.iter().all(|k| (2..1000).contains(k)));
        assert_ne!(found, cuts(&whole, 1, 8));
    }

    #[test]
    fn few_bars_have_few_places() {
        for rows in 1..30 {
            let found = cuts(&vec![1.0; rows], 1, 3);
            assert!(found.iter().all(|c| (2..rows).contains(&c.known)), "{rows}: {found:?}");
            assert_eq!(found.is_empty(), rows <= 2, "{rows}: {found:?}");
        }
    }
}

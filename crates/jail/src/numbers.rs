//! Numbers that are used once. Whoever gives them out may send them a little out of order: requests overtake each other.

use std::collections::BTreeSet;

/// How far a number may lag behind the highest.
const WINDOW: usize = 4096;

/// The numbers used so far.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Everything below is used.
    floor: u32,
    used: BTreeSet<u32>,
}

impl Numbers {
    /// Uses a number. `false` when it was used before, or is so old that nobody knows any more.
    #[must_use]
    pub fn take(&mut self, number: u32) -> bool {
        if number < self.floor || !self.used.insert(number) {
            return false;
        }
        if self.used.len() > WINDOW
            && let Some(lowest) = self.used.pop_first()
        {
            self.floor = lowest + 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_in_whatever_order() {
        let mut numbers = Numbers::default();
        for number in [1, 3, 2, 10, 9] {
            assert!(numbers.take(number), "{number}");
        }
        for number in [1, 2, 3, 9, 10] {
            assert!(!numbers.take(number), "{number}");
        }
    }

    #[test]
    fn what_is_forgotten_stays_used() {
        let mut numbers = Numbers::default();
        for number in 1..=2 * WINDOW as u32 {
            assert!(numbers.take(number));
        }
        assert!(!numbers.take(1));
        assert!(!numbers.take(WINDOW as u32));
        assert!(numbers.used.len() <= WINDOW);
    }
}

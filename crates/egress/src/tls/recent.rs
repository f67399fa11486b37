//! A bounded map that forgets what was not asked for the longest.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::num::NonZeroUsize;

/// At most so many entries. Every use costs the logarithm of their number.
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (V, u64)>,
    /// When each was last used, by a count that never repeats.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    max: NonZeroUsize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(max: NonZeroUsize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, max }
    }

    /// The value of `key`, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let (value, used) = self.entries.get_mut(key)?;
        self.uses += 1;
        let key = self.by_use.remove(used).expect("every entry has its place in the order");
        self.by_use.insert(self.uses, key);
        *used = self.uses;
        Some(value)
    }

    /// Adds or replaces a value, and forgets the one that was not used the longest if there are too many.
    pub(super) fn put(&mut self, key: K, value: V) {
        self.uses += 1;
        if let Some((_, used)) = self.entries.insert(key.clone(), (value, self.uses)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, key);
        if self.entries.len() > self.max.get()
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        assert_eq!(self.entries.len(), self.by_use.len(), "entries and their order are the same set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_the_longest_is_forgotten() {
        let mut recent = Recent::new(NonZeroUsize::new(2).unwrap());
        recent.put("a", 1);
        recent.put("b", 2);
        assert_eq!(recent.get(&"a"), Some(&1));
        recent.put("c", 3);
        assert_eq!(recent.get(&"b"), None);
        assert_eq!((recent.get(&"a").copied(), recent.get(&"c").copied()), (Some(1), Some(3)));
        recent.put("a", 4);
        recent.put("d", 5);
        assert_eq!((recent.get(&"c").copied(), recent.get(&"a").copied()), (None, Some(4)));
    }
}

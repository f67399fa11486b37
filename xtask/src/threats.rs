//! docs/reference/threats.md goes through the whole list of threats, and every test that it names exists.

use std::{collections::BTreeSet, path::Path};

use crate::{Unusable, promises, read, sources};

/// Where the list is gone through.
const PAGE: &str = "docs/reference/threats.md";
/// The numbers of the list, from 1.
const THREATS: u32 = 110;

/// Threats that no row is about, and tests that exist nowhere, a sentence each.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>, Unusable> {
    let page = read(&root.join(PAGE))?;
    let known: BTreeSet<u32> = rows(&page).flat_map(numbers).collect();
    let mut found: Vec<String> = (1..=THREATS)
        .filter(|number| !known.contains(number))
        .map(|number| format!("{PAGE} has no row about threat {number}"))
        .collect();
    let mut names: Vec<&str> = promises::tests_named(&page).collect();
    for path in sources::sources(root)? {
        let text = read(&path)?;
        names.retain(|name| !promises::is_defined(&text, name));
    }
    found.extend(names.iter().map(|name| format!("{PAGE} names `{name}`, which does not exist")));
    Ok(found)
}

/// The first cell of each row of a table.
fn rows(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| row.split('|').next())
}

/// The numbers with which a cell begins: `9, 10, 12 descriptors` has three.
fn numbers(cell: &str) -> Vec<u32> {
    let words = cell.split([',', ' ']).filter(|word| !word.is_empty());
    words.map_while(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threat_has_a_row_and_every_test_that_is_named_exists() {
        assert_eq!(findings(crate::root()).expect("a checkout"), Vec::<String>::new());
    }

    #[test]
    fn numbers_are_those_at_the_beginning() {
        let page = "| threat | test |\n|---|---|\n| 9, 10, 12 of 3 kinds | `a_b` |\n| 100 | x |\n";
        assert_eq!(rows(page).flat_map(numbers).collect::<Vec<_>>(), [9, 10, 12, 100]);
    }
}

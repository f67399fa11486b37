//! SPECIFICATION.md names tests: each must exist.

use std::path::Path;

use crate::{Unusable, read, sources};

/// Tests that SPECIFICATION.md names and no source file has, a sentence each.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>, Unusable> {
    let specification = read(&root.join("SPECIFICATION.md"))?;
    let mut missing: Vec<&str> = tests_named(&specification).collect();
    for path in sources::sources(root)? {
        let text = read(&path)?;
        missing.retain(|name| !is_defined(&text, name));
    }
    Ok(missing.iter().map(|name| format!("SPECIFICATION.md names the test `{name}`, which does not exist")).collect())
}

/// Whether a source of Rust or Python has a function of that name.
pub(crate) fn is_defined(text: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("def {name}(")].iter().any(|definition| text.contains(definition))
}

/// What stands in backticks in the last cell of a table's row and looks like the name of a test.
pub(crate) fn tests_named(markdown: &str) -> impl Iterator<Item = &str> {
    let rows = markdown.lines().filter(|line| line.starts_with('|'));
    let last_cells = rows.filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    let quoted = last_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted.filter(|name| {
        name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_the_specification_names_exists() {
        assert_eq!(findings(crate::root()).expect("a checkout"), Vec::<String>::new());
    }

    #[test]
    fn names_are_taken_from_the_last_cell() {
        let text = "`not_here`\n| 1 | `nor_here` | `a_test`, `make bench`, `another_one` (x) |\n";
        assert_eq!(tests_named(text).collect::<Vec<_>>(), ["a_test", "another_one"]);
    }
}

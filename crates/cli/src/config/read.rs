//! Reading the file, and saying what is wrong with it: each fault with its line, and with the name that was probably meant.

use std::{fmt, ops::Range};

use toml::de::{DeTable, DeValue};

use super::{
    Config,
    keys::{KEYS, Key, sections},
};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1.
    pub(crate) line: usize,
    /// What, in a sentence.
    pub(crate) what: String,
}

/// All that is wrong, in the order of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems {
    /// What the lines are of.
    pub(crate) file: String,
    /// Not empty.
    pub(crate) list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { line, what }) in self.list.iter().enumerate() {
            write!(f, "{}{}:{line}: {what}", if i == 0 { "" } else { "\n" }, self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Likeness from which on a name is offered: `open` and `open_allowed` have 0.87.
const LIKENESS_MIN: f64 = 0.8;

/// Understands the text of a file.
///
/// # Errors
/// What is wrong: all unknown names, and the first other fault.
pub(crate) fn parse(file: &str, text: &str) -> Result<Config, Problems> {
    // The parser decides; the table of keys only finds the words for what it refuses.
    let error = match toml::from_str(text) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let mut list = Vec::new();
    if let Ok(root) = DeTable::parse(text) {
        unknown(text, "", root.get_ref(), &mut list);
    }
    let is_name = error.message().starts_with("unknown field");
    if list.is_empty() || !is_name {
        let line = line_of(text, error.span());
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
        let what = error.message().trim().replace('\n', ", ");
        let what = if shown.is_empty() { what } else { format!("`{shown}`: {what}") };
        list.push(Problem { line, what });
    }
    list.sort_by_key(|problem| problem.line);
    Err(Problems { file: file.to_owned(), list })
}

/// The lines on which keys of the table are set, in a text that [`parse`] takes.
pub(crate) fn set_keys(text: &str) -> Vec<(&'static Key, usize)> {
    let mut found = Vec::new();
    if let Ok(root) = DeTable::parse(text) {
        set_below(text, "", root.get_ref(), &mut found);
    }
    found
}

fn set_below(text: &str, section: &str, table: &DeTable<'_>, found: &mut Vec<(&'static Key, usize)>) {
    for (name, value) in table {
        let path = below(section, name.get_ref());
        match (KEYS.iter().find(|key| key.path == path), value.get_ref()) {
            (Some(key), _) => found.push((key, line_of(text, Some(name.span())))),
            (None, DeValue::Table(table)) => set_below(text, &path, table, found),
            (None, _) => {}
        }
    }
}

fn unknown(text: &str, section: &str, table: &DeTable<'_>, list: &mut Vec<Problem>) {
    for (name, value) in table {
        let path = below(section, name.get_ref());
        if KEYS.iter().any(|key| key.path == path) {
            continue;
        }
        let is_section = sections().iter().any(|known| *known == path || known.starts_with(&format!("{path}.")));
        match value.get_ref() {
            DeValue::Table(table) if is_section => unknown(text, &path, table, list),
            // A section that is set as if it were a key: the parser's own words are right.
            _ if is_section => {}
            DeValue::Table(_) => list.push(Problem {
                line: line_of(text, Some(name.span())),
                what: format!("there is no section [{path}]; {}", meant_section(&path)),
            }),
            _ => list.push(Problem {
                line: line_of(text, Some(name.span())),
                what: format!(
                    "there is no key `{}`{}; {}",
                    name.get_ref(),
                    within(section),
                    meant(section, name.get_ref())
                ),
            }),
        }
    }
}

fn below(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn within(section: &str) -> String {
    if section.is_empty() { " outside of all sections".to_owned() } else { format!(" in [{section}]") }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let end = span.map_or(0, |span| span.start).min(text.len());
    text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The name that was probably meant: in this section rather than in another.
fn meant(section: &str, name: &str) -> String {
    let likeness = |key: &Key| strsim::jaro_winkler(&name.to_ascii_lowercase(), key.name());
    let best = |keys: &mut dyn Iterator<Item = &'static Key>| {
        let near = keys.map(|key| (likeness(key), key)).filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
        near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
    };
    if let Some(key) = best(&mut KEYS.iter().filter(|key| key.section() == section)) {
        return format!("did you mean `{}`?", key.name());
    }
    if let Some(key) = best(&mut KEYS.iter()) {
        return format!("did you mean `{}` in [{}]?", key.name(), key.section());
    }
    let names: Vec<&str> = KEYS.iter().filter(|key| key.section() == section).map(Key::name).collect();
    if names.is_empty() {
        return format!("sections are {}", sections().join(", "));
    }
    format!("it has {}", names.join(", "))
}

fn meant_section(path: &str) -> String {
    let all = sections();
    let near = all.iter().map(|known| (strsim::jaro_winkler(path, known), known));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, known)) if likeness >= LIKENESS_MIN => format!("did you mean [{known}]?"),
        _ => format!("sections are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let problems = parse("c.toml", text).expect_err("it is wrong");
        assert_eq!(problems.list.len(), expected.len(), "{problems}");
        for (problem, (line, words)) in problems.list.iter().zip(expected) {
            assert!(problem.line == *line && problem.what.contains(words), "{problems}");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_with_its_line_and_the_one_that_was_meant() {
        check("[trade]\nlive = true\n", &[(2, "no key `live` in [trade]; did you mean `live_allowed`?")]);
        check("[gate]\n\nopen_alowed = true\n", &[(3, "did you mean `open_allowed`?")]);
        check("[gate]\nmib_max = 1\n", &[(2, "did you mean `mib_max` in [gate.cache]?")]);
        check("[gates]\nopen_allowed = true\n", &[(1, "no section [gates]; did you mean [gate]?")]);
        check("open_allowed = true\n", &[(1, "outside of all sections; did you mean `open_allowed` in [gate]?")]);
        check("[credits]\nxyz = 1\n", &[(2, "it has create, minute, storage, budget, grace_seconds")]);
        check("gate.cache.mib = 1\n", &[(1, "did you mean `mib_max`?")]);
    }

    #[test]
    fn every_unknown_name_is_told_and_the_first_other_fault() {
        let text = "[gate]\nopen = true\n[templates]\ncache = 1\n[trade]\nlive_allowed = \"yes\"\n";
        let problems = parse("c.toml", text).expect_err("it is wrong").list;
        assert_eq!(problems.iter().map(|p| p.line).take(2).collect::<Vec<_>>(), [2, 4], "{problems:?}");
        check("[trade]\nlive_allowed = \"yes\"\n", &[(2, "`live_allowed = \"yes\"`: invalid type: string \"yes\"")]);
        check("[credits]\nminute = -1\n", &[(2, "negative")]);
        check("[gate]\nopen_allowed = true\nopen_allowed = false\n", &[(3, "duplicate key")]);
        check("[gate\n", &[(1, "[gate")]);
        check("gate = 1\n", &[(1, "invalid type")]);
    }

    #[test]
    fn what_is_set_is_found_with_its_line() {
        let text =
            "[gate.pins]\n\"db.lan\" = [\"10.0.0.5\"]\n[gate]\ncache.mib_max = 1\n[trade]\n\nlive_allowed = true\n";
        parse("c.toml", text).expect("it is right");
        let mut found: Vec<(&str, usize)> = set_keys(text).iter().map(|(key, line)| (key.path, *line)).collect();
        found.sort_unstable();
        assert_eq!(found, [("gate.cache.mib_max", 4), ("gate.pins", 1), ("trade.live_allowed", 7)]);
    }
}

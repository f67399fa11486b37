//! Which language a file is in, and which template runs it.

use std::path::Path;

/// A language as the API names it, and the template that a throw-away sandbox is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Language {
    /// As `sandbox_execute` takes it.
    pub(crate) name: &'static str,
    /// A shipped template whose own language it is.
    pub(crate) template: &'static str,
}

const PYTHON: Language = Language { name: "python", template: "python" };
const JAVASCRIPT: Language = Language { name: "javascript", template: "node" };
const TYPESCRIPT: Language = Language { name: "typescript", template: "node" };
// The Python template has bash too, and is the one that is there first.
const BASH: Language = Language { name: "bash", template: "python" };

/// The language of a file, from its extension or the interpreter in its first line.
pub(crate) fn of_file(path: &Path, code: &str) -> Option<Language> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "py" | "pyw" => Some(PYTHON),
        "js" | "mjs" | "cjs" => Some(JAVASCRIPT),
        "ts" | "mts" | "cts" => Some(TYPESCRIPT),
        "sh" | "bash" => Some(BASH),
        _ => of_first_line(code),
    }
}

/// The language that a name means.
pub(crate) fn of_name(name: &str) -> Option<Language> {
    match name {
        "python" => Some(PYTHON),
        "javascript" | "js" | "node" => Some(JAVASCRIPT),
        "typescript" | "ts" => Some(TYPESCRIPT),
        "bash" | "sh" => Some(BASH),
        _ => None,
    }
}

fn of_first_line(code: &str) -> Option<Language> {
    let line = code.lines().next()?.strip_prefix("#!")?;
    let program =
        line.split_whitespace().flat_map(|word| word.rsplit('/').next()).rfind(|word| !word.starts_with('-'))?;
    match program {
        p if p.starts_with("python") => Some(PYTHON),
        p if p.starts_with("node") => Some(JAVASCRIPT),
        "bash" | "sh" | "dash" => Some(BASH),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, code: &str, language: Option<&str>) {
        assert_eq!(of_file(Path::new(path), code).map(|l| l.name), language);
    }

    #[test]
    fn a_file_says_its_language_by_name_or_first_line() {
        check("backtest.py", "", Some("python"));
        check("a/b.MJS", "", Some("javascript"));
        check("live.ts", "", Some("typescript"));
        check("run.sh", "#!/usr/bin/env python3\n", Some("bash"));
        check("tool", "#!/usr/bin/env python3\nprint(1)", Some("python"));
        check("tool", "#!/bin/bash -e\n", Some("bash"));
        check("tool", "#!/usr/bin/node", Some("javascript"));
        check("-", "print(1)", None);
        check("notes.txt", "#! ", None);
    }
}

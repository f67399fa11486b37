//! Where unsafe code may be, and how long a file may be.

use std::path::{Path, PathBuf};

use crate::{Unusable, entries, read};

/// Longest source file, in lines.
const LINES_MAX: usize = 600;

/// Directories with sources of our own.
const ROOTS: [&str; 4] = ["crates", "xtask", "templates", "strategies"];

/// Endings of files that people read as source.
const ENDINGS: [&str; 8] = ["rs", "py", "js", "mjs", "ts", "c", "h", "sh"];

/// Files that break a rule, a sentence each.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>, Unusable> {
    let mut found = Vec::new();
    for path in sources(root)? {
        let text = read(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{name} has {lines} lines, more than {LINES_MAX}: it holds more than one idea"));
        }
        if name.ends_with(".rs") && !may_be_unsafe(&name) {
            found.extend(unsafe_lines(&text).map(|line| {
                format!("{name}:{line}: unsafe code outside a sys.rs: put the system call into a wrapper there")
            }));
        }
    }
    Ok(found)
}

fn may_be_unsafe(name: &str) -> bool {
    name.ends_with("/sys.rs")
        || name.contains("/src/sys/")
        || ["crates/guest/join/", "crates/guest/leave/"].iter().any(|place| name.starts_with(place))
}

/// Every source file of ours, sorted.
pub(crate) fn sources(root: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let mut dirs: Vec<PathBuf> = ROOTS.iter().map(|dir| root.join(dir)).collect();
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for path in entries(&dir)? {
            let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if path.is_dir() {
                let generated = path.ends_with("node_modules") || path.ends_with("target") || path.ends_with("vendor");
                if !generated {
                    dirs.push(path);
                }
            } else if ENDINGS.contains(&ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Lines, from 1, on which the keyword stands outside comments and string literals of that line.
fn unsafe_lines(text: &str) -> impl Iterator<Item = usize> + '_ {
    let holds = |line: &str| code(line).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
    text.lines().enumerate().filter(move |(_, line)| holds(line)).map(|(at, _)| at + 1)
}

/// The line without its comment and the content of its string literals.
fn code(line: &str) -> String {
    let mut kept = String::new();
    let mut in_string = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_string => {
                rest.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && rest.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_in_sys_rs_alone_and_files_are_short() {
        assert_eq!(findings(crate::root()).expect("a checkout"), Vec::<String>::new());
    }

    #[test]
    fn the_keyword_is_found_and_the_word_is_not() {
        let text = "unsafe { f() }\n// unsafe\nlet a = \"unsafe\";\n#![deny(unsafe_code)]\n  let b = unsafe{g()}; // x\n\
            let c = \"\\\"\"; unsafe fn h() {}\n#[unsafe(no_mangle)]\n";
        assert_eq!(unsafe_lines(text).collect::<Vec<_>>(), [1, 5, 6, 7]);
    }

    #[test]
    fn unsafe_code_has_its_places() {
        assert!(may_be_unsafe("crates/jail/src/sys.rs"));
        assert!(may_be_unsafe("crates/jail/src/sys/mount.rs"));
        assert!(may_be_unsafe("crates/guest/join/join.rs"));
        assert!(may_be_unsafe("crates/guest/leave/leave.rs"));
        assert!(!may_be_unsafe("crates/jail/src/notsys.rs"));
        assert!(!may_be_unsafe("crates/guest/src/main.rs"));
    }
}

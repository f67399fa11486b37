//! The commands of docs/guides, in order, against a real daemon. A block with the language `console` is run, line by line: what
//! follows `$` is a command of bash, and the lines below it are what it has to print, where `…` stands for anything. Spaces do not
//! count. Above a block may stand, as a comment of HTML, `not run: REASON`, `long: REASON` (in `make suites` only) or `fails: REASON`
//! (each of its commands does); above any other block `file: PATH`, which is then written.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{BIN, is_long, prepare_with, shared, start, stop, target};

fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides")
}

/// One block of code, with what the comment above it says.
#[derive(Debug, PartialEq)]
struct Block {
    language: String,
    mark: Option<(String, String)>,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut mark, mut lines) = (Vec::new(), None, text.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
            found.push(Block { language: language.to_owned(), mark: mark.take(), lines: body });
        } else if let Some(comment) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            mark = comment.split_once(": ").map(|(kind, reason)| (kind.to_owned(), reason.to_owned()));
        } else if !line.trim().is_empty() {
            mark = None;
        }
    }
    found
}

/// Commands, each with the lines that it has to print.
fn commands(lines: &[String]) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), Vec::new())),
            (None, Some((_, expected))) => expected.push(line.clone()),
            (None, None) => panic!("a block of commands begins with one: {line}"),
        }
    }
    found
}

/// Whether the parts between `…` come in this order.
fn is_printed(output: &str, expected: &[String]) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (output, mut at) = (plain(output), 0);
    expected.iter().flat_map(|line| line.split('…')).map(plain).filter(|part| !part.is_empty()).all(|part| {
        let found = output[at..].find(&part);
        at += found.map_or(0, |found| found + part.len());
        found.is_some()
    })
}

/// Where commands are run.
struct Place<'a> {
    home: &'a Path,
    dir: &'a Path,
}

impl Place<'_> {
    /// Whether it ended well, and what it printed.
    fn run(&self, command: &str) -> (bool, String) {
        let bin = Path::new(BIN).parent().expect("it lies in a directory");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("timeout")
            .args(["600", "bash", "-o", "pipefail", "-c", command])
            .current_dir(self.dir)
            .env("PATH", path)
            .env("RINGFENCE_HOME", self.home)
            .env("RINGFENCE_NO_AUTOSTART", "1")
            .stdin(Stdio::null())
            .output()
            .expect("bash is on every host");
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    /// Goes through one guide; how many commands were run, and what was wrong.
    fn go_through(&self, name: &str, text: &str) -> (usize, Vec<String>) {
        let (mut count, mut wrong) = (0, Vec::new());
        for block in blocks(text) {
            let (kind, reason) = block.mark.clone().unwrap_or_default();
            if kind == "file" {
                let path = self.dir.join(&reason);
                fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
                fs::write(path, block.lines.join("\n") + "\n").expect("written");
            }
            if block.language != "console" {
                assert!(!["sh", "bash", "shell"].contains(&&*block.language), "{name}: commands stand in `console`");
                continue;
            }
            assert!(["", "not run", "long", "fails"].contains(&&*kind), "{name}: {kind} is no mark");
            if kind == "not run" || (kind == "long" && !is_long(&format!("a block of {name} ({reason})"))) {
                println!("{name}: not run, because {reason}");
                continue;
            }
            for (command, expected) in commands(&block.lines) {
                let (is_success, output) = self.run(&command);
                count += 1;
                if is_success == (kind == "fails") || !is_printed(&output, &expected) {
                    wrong.push(format!("{name}: {command}\nhad to print {expected:?} and printed\n{output}"));
                }
            }
        }
        (count, wrong)
    }
}

#[test]
fn every_command_of_the_guides_does_what_it_says() {
    let home = target().join("guides-home");
    prepare_with(shared(), &home, &["python", "node", "base"]);
    let home = fs::canonicalize(&home).expect("it was just made");
    fs::write(home.join("config.toml"), common::registries()).expect("the configuration can be written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    start(&home, &format!("127.0.0.1:{port}"));
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(guides()).expect("they are there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        texts.insert(name, fs::read_to_string(&path).expect("text"));
    }
    let (mut all, mut wrong) = (0, Vec::new());
    for (name, text) in &texts {
        let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let (count, more) = Place { home: &home, dir: dir.path() }.go_through(name, text);
        println!("{name}: {count} commands");
        all += count;
        wrong.extend(more);
    }
    stop(&home);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(texts.len() >= 8 && all >= 40, "{all} commands of {} guides", texts.len());
}

#[test]
fn blocks_have_marks_and_commands_have_what_they_print() {
    let text = "<!-- long: it takes time -->\n```console\n$ a\nx … y\n$ b\n```\n\n```toml\nc\n```\n";
    let found = blocks(text);
    assert_eq!(found[0].mark, Some(("long".into(), "it takes time".into())));
    assert_eq!((found[1].language.as_str(), &found[1].mark), ("toml", &None));
    let read = commands(&found[0].lines);
    assert_eq!(read, [("a".to_owned(), vec!["x … y".to_owned()]), ("b".to_owned(), Vec::new())]);
    let expected = &read[0].1;
    assert!(is_printed("0  x\nand y", expected) && !is_printed("y and x", expected) && !is_printed("x", expected));
}

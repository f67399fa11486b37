//! Python with the libraries that others measure with, for tests that compare.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{FlockOperation, flock};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// The Python of a virtual environment with what `requirements-NAME.txt` demands, made when it is not there: `target/venv-research/NAME`.
#[track_caller]
pub(crate) fn venv(name: &str) -> PathBuf {
    let wanted = here().join(format!("requirements-{name}.txt"));
    let text = fs::read_to_string(&wanted).expect("the requirements are beside the tests");
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv-research");
    fs::create_dir_all(&all).expect("cargo's own directory can be written");
    // One at a time: tests of several processes share it.
    let lock = File::create(all.join(format!("{name}.lock"))).expect("a file for the lock");
    flock(&lock, FlockOperation::LockExclusive).expect("the lock, sooner or later");
    let dir = all.join(name);
    let (python, made) = (dir.join("bin/python"), dir.join("made-of.txt"));
    if fs::read_to_string(&made).is_ok_and(|made| made == text) {
        return python;
    }
    succeeded(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir),
        "a virtual environment could not be made: install python3 (3.11 or newer) and python3-venv",
    );
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "--require-hashes",
        "--requirement",
    ];
    succeeded(
        Command::new(&python).args(install).arg(&wanted),
        "the libraries could not be installed: PyPI must be reachable the first time (a proxy is taken from HTTPS_PROXY)",
    );
    fs::write(&made, text).expect("the directory was just made");
    python
}

/// What a program beside this file prints when it is given `input`.
#[track_caller]
pub(crate) fn run(python: &Path, program: &str, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(python);
    command.arg(here().join(program)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let found = child.wait_with_output().expect("it ends");
    ended(&command, &found, "the program failed");
    writing.join().expect("it does not panic").expect("the program read what it was given");
    found.stdout
}

#[track_caller]
fn succeeded(command: &mut Command, otherwise: &str) {
    let found = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{otherwise}\n{command:?}: {e}"));
    ended(command, &found, otherwise);
}

#[track_caller]
fn ended(command: &Command, found: &Output, otherwise: &str) {
    let said = format!("{}\n{}", String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
    assert!(found.status.success(), "{otherwise}\n{command:?} ended with {}:\n{said}", found.status);
}

//! Chores of this repository that no other tool does: rules about the source itself. `cargo run -p xtask` checks them
//! all; each is a test too.

mod dependencies;
mod layering;
mod promises;
mod sources;
mod threats;

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let root = root();
    let rules = [layering::findings, sources::findings, promises::findings, threats::findings, dependencies::findings];
    let findings: Vec<String> =
        rules.iter().flat_map(|rule| rule(root).unwrap_or_else(|unusable| vec![unusable.to_string()])).collect();
    for finding in &findings {
        println!("{finding}");
    }
    ExitCode::from(u8::from(!findings.is_empty()))
}

/// The checkout that this was compiled from.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// A file of the checkout that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
struct Unusable {
    path: String,
    why: String,
}

impl Unusable {
    fn new(path: &Path, why: impl ToString) -> Self {
        Self { path: path.display().to_string(), why: why.to_string() }
    }
}

fn read(path: &Path) -> Result<String, Unusable> {
    std::fs::read_to_string(path).map_err(|e| Unusable::new(path, e))
}

/// The entries of a directory, sorted; of one that does not exist, none.
fn entries(dir: &Path) -> Result<Vec<std::path::PathBuf>, Unusable> {
    let listed = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Unusable::new(dir, e))?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.map_err(|e| Unusable::new(dir, e))?.path());
    }
    paths.sort();
    Ok(paths)
}

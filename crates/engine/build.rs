//! Lists the recipes that are compiled in: every directory of `templates` at the root of the workspace that has a
//! `template.toml`, with the files beside it.

use std::{
    env,
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What package managers and programs leave in a directory of sources.
const LEFT_OUT: [&str; 3] = ["node_modules", "dist", "__pycache__"];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../templates");
    let root = fs::canonicalize(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    println!("cargo::rerun-if-changed={}", root.display());
    let mut text = String::from("&[\n");
    for dir in sorted(&root) {
        let recipe = dir.join("template.toml");
        if !recipe.is_file() {
            continue;
        }
        let mut files = Vec::new();
        collect(&dir, &mut files);
        writeln!(text, "Shipped {{ recipe: include_str!({:?}), files: &[", recipe.display().to_string()).expect("text");
        for file in files.iter().filter(|file| **file != recipe) {
            let name = file.strip_prefix(&dir).expect("it lies below").to_str().expect("names are UTF-8");
            let executable = fs::metadata(file).expect("it was listed").permissions().mode() & 0o100 != 0;
            let path = file.display().to_string();
            writeln!(text, "({name:?}, {executable}, include_bytes!({path:?})),").expect("text");
        }
        text.push_str("] },\n");
    }
    text.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("shipped.rs");
    fs::write(&out, text).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a listing").path()).collect();
    paths.sort();
    paths
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", dir.display());
    for path in sorted(dir) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
        let kind = fs::symlink_metadata(&path).expect("it was listed").file_type();
        if name.starts_with('.') || LEFT_OUT.contains(&name) {
            continue;
        }
        assert!(kind.is_dir() || kind.is_file(), "{} is neither a file nor a directory", path.display());
        if kind.is_dir() {
            collect(&path, files);
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
}

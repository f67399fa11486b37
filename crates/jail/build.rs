//! Builds what lives in the sandboxes and is embedded here: guest init (a static binary), the join library and Node's
//! way out (freestanding shared objects), all by the toolchain that builds this crate.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let guest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../guest");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    for path in ["src", "join", "leave", "harness", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", guest.join(path).display());
    }
    build_init(&guest, &out);
    build_freestanding(&guest.join("join/join.rs"), &out.join("join.so"));
    build_freestanding(&guest.join("leave/leave.rs"), &out.join("leave.node"));
    list_harness(&guest.join("harness"), &out);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A static binary: a sandbox's root may have any libc, or none.
fn build_init(guest: &Path, out: &Path) {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target_dir = out.join("guest");
    let mut cargo = Command::new(env::var("CARGO").expect("cargo sets it"));
    // What cargo tells build scripts about this crate must not reach the build of another.
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARGO_") || name == "RUSTFLAGS") {
        if name != "CARGO_HOME" && !name.starts_with("CARGO_NET") && !name.starts_with("CARGO_HTTP") {
            cargo.env_remove(name);
        }
    }
    // Of `cargo auditable`, which fails without the variables of its own that were just removed. The guest has no list: what it is built of
    // is in the list of the executable that it is embedded in.
    cargo.env_remove("RUSTC_WORKSPACE_WRAPPER");
    cargo
        .args(["build", "--quiet", "--locked", "--release", "--bin", "ringfence-init", "--target", TARGET])
        .args(["--config", "profile.release.panic='abort'", "--config", "profile.release.opt-level='s'"])
        .args(["--config", "profile.release.lto='off'", "--config", "profile.release.strip=true"])
        .arg("--manifest-path")
        .arg(guest.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    run(&mut cargo);
    fs::copy(target_dir.join(TARGET).join("release/ringfence-init"), out.join("ringfence-init")).expect("just built");
}

/// No libc and no std: it is loaded into whatever Python or Node a template has.
fn build_freestanding(source: &Path, library: &Path) {
    let name = source.file_stem().and_then(|name| name.to_str()).expect("named above");
    let mut rustc = Command::new(env::var("RUSTC").expect("cargo sets it"));
    rustc
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", name])
        .args(["-C", "panic=abort", "-C", "opt-level=2", "-C", "strip=symbols", "-C", "link-arg=-nostdlib"])
        .arg("-o")
        .arg(library)
        .arg(source);
    run(&mut rustc);
}

/// Writes `harness.rs`: a list of (path in the root file system, content).
fn list_harness(root: &Path, out: &Path) {
    let mut files = Vec::new();
    walk(root, &mut files);
    files.sort();
    let mut text = String::from("[\n");
    for file in files {
        let name = file.strip_prefix(root).expect("found below it").to_string_lossy().into_owned();
        text.push_str(&format!("    ({name:?}, include_bytes!({:?}) as &[u8]),\n", file.to_string_lossy()));
    }
    text.push_str("]\n");
    fs::write(out.join("harness.rs"), text).expect("OUT_DIR is writable");
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n != "__pycache__") {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

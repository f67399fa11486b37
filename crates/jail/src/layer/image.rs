//! Images of OCI and of Docker become layers of ours, in the jail of other work on layers: what is in an archive is never read by the
//! daemon or the jailer.
//!
//! * [`outer`], [`manifest`]: which image an archive holds;
//! * [`blob`], [`tar`]: one layer of it, decompressed and checked, and its entries;
//! * [`apply`] and `place`: those in a tree over the layers below;
//! * [`prepare`]: what every sandbox has, and which programs there must be.
//!
//! An archive comes as a file that can be read from anywhere, at standard input.

use std::{fs::File, os::fd::OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use crate::layer::{room, say};

pub mod apply;
pub mod blob;
pub mod manifest;
pub mod outer;
mod place;
pub mod prepare;
pub mod tar;

pub use blob::Blob;
pub use manifest::ImageReport;
pub use prepare::{Found, Setting};

fn archive() -> Result<outer::Outer<File>, String> {
    let file = rustix::io::dup(rustix::stdio::stdin()).map_err(|e| format!("the archive: {e}"))?;
    let stat = fstat(&file).map_err(|e| format!("the archive: {e}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("the archive is no file".into());
    }
    outer::Outer::open(File::from(file)).map_err(|e| e.to_string())
}

fn open(path: &str) -> Result<OwnedFd, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| format!("the tree: {e}"))
}

/// In the jail: what the archive at standard input holds, in JSON.
pub(super) fn run_look(tag: Option<&str>) -> Result<(), String> {
    let report = manifest::read(&archive()?, tag, manifest::host_architecture())?;
    say(&serde_json::to_vec(&report).map_err(|e| e.to_string())?)
}

/// In the jail: layers of the archive at standard input, into the tree.
pub(super) fn run_apply(blobs: &[Blob], bytes_max: u64) -> Result<(), String> {
    let archive = archive()?;
    let root = open(&room::tree(0))?;
    let mut target = apply::Target::new(&root, bytes_max);
    for blob in blobs {
        let mut layer = blob::Layer::open(&archive, blob).map_err(|e| e.to_string())?;
        target.layer(&mut layer).map_err(|e| e.to_string())?;
        layer.finish().map_err(|e| e.to_string())?;
    }
    let apply::Done { entries, bytes, devices, set_ids, foreign } = target.done;
    let mut said = format!("{entries} entries, {} MiB\n", bytes >> 20);
    for (count, what) in [
        (devices, "devices and pipes were left out"),
        (set_ids, "set-user-id and set-group-id bits were dropped"),
        (foreign, "entries belong to nobody, for a sandbox has 65536 users"),
    ] {
        if count > 0 {
            said.push_str(&format!("{count} {what}\n"));
        }
    }
    say(said.as_bytes())
}

/// In the jail: the tree becomes one for sandboxes.
pub(super) fn run_prepare(setting: &Setting) -> Result<(), String> {
    prepare::prepare(&open(&room::tree(0))?, setting).map_err(|e| e.to_string())
}

/// In the jail: what the engine can use of layers, in JSON.
pub(super) fn run_find() -> Result<(), String> {
    let found = prepare::look(&open(room::SEEN)?).map_err(|e| e.to_string())?;
    say(&serde_json::to_vec(&found).map_err(|e| e.to_string())?)
}

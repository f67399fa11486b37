//! Work on layers: a sandbox's home becomes one, and archives that hold layers are written and read.
//!
//! What is read here was written by sandboxes or comes from elsewhere, so that it is done in the jail of a build step: a process
//! of its own, root in a user namespace and nothing on the host, with five capabilities, without a network, with a limit on
//! memory and time. It sees what it works on and nothing else, runs no program but this one, and says what came of it on its
//! output; the jailer hands that on unread.
//!
//! * [`room`]: what such a process sees;
//! * [`home`], [`rules`], [`system`]: copying a home, what is left out of it, and what an installer changed beside it;
//! * [`archive`], [`unpack`], [`entry`]: layers as one file;
//! * [`image`]: images of OCI and of Docker as layers.

use std::{
    io::{self, Write},
    os::fd::BorrowedFd,
};

use serde::{Deserialize, Serialize};

use crate::{
    build::step::Work,
    host::Host,
    proto::{LayerPlan, LayerWork},
    shell::StepError,
};

pub mod archive;
pub mod entry;
pub mod home;
pub mod image;
pub mod outside;
pub mod room;
pub mod rules;
pub mod system;
pub mod unpack;

/// Entries that one layer may have.
pub const ENTRIES_MAX: u64 = 400_000;

/// Directories below one another in what is copied or unpacked: fewer than a listing follows.
pub const DEPTH_MAX: usize = 100;

/// Exit code of work that was refused; its output says why.
pub const REFUSED: i32 = 3;

/// What became of a home: the output of [`LayerWork::CopyHome`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeReport {
    /// Files, links and directories.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What was left out, at most [`LEFT_OUT_MAX`] of it: the path from the home, or from the root with a slash before it, and why.
    pub left_out: Vec<(String, String)>,
    /// How much was left out.
    pub left_out_count: u64,
    /// Whether everything else was copied too: an installer has changed something there.
    pub has_system: bool,
    /// How much of what was left out are changes outside of the home, where nothing is copied.
    pub outside: u64,
}

impl HomeReport {
    /// Adds what another report has left out.
    fn leave_out_also(&mut self, other: Self) {
        self.left_out_count += other.left_out_count;
        // Those of the other come first: they are few, and what they say is news.
        let own = std::mem::replace(&mut self.left_out, other.left_out);
        self.left_out.extend(own);
        self.left_out.truncate(LEFT_OUT_MAX);
    }
}

/// Paths that a report names.
pub const LEFT_OUT_MAX: usize = 100;

/// Writes what came of the work; the process ends without flushing.
fn say(bytes: &[u8]) -> Result<(), String> {
    let mut out = io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| format!("saying what came of it: {e}"))
}

impl Work for LayerPlan {
    fn network(&self) -> bool {
        false
    }

    fn enter(&self, host: &Host, base: u32, userns: BorrowedFd<'_>) -> Result<(), StepError> {
        room::enter(host, &self.work, base, userns)
    }

    fn run(&self) -> i32 {
        let done = match &self.work {
            LayerWork::CopyHome { system, bytes_max, hidden, .. } => home::run(system.is_some(), *bytes_max, hidden),
            LayerWork::List(_) => archive::run_list(),
            LayerWork::Write { digest, home, .. } => archive::run(digest, home),
            LayerWork::Manifest => unpack::run_manifest(),
            LayerWork::Unpack { layers, bytes_max } => unpack::run(layers, *bytes_max),
            LayerWork::Image { tag } => image::run_look(tag.as_deref()),
            LayerWork::Apply { blobs, bytes_max, .. } => image::run_apply(blobs, *bytes_max),
            LayerWork::Prepare { setting, .. } => image::run_prepare(setting),
            LayerWork::Find(_) => image::run_find(),
        };
        match done {
            Ok(()) => 0,
            Err(why) => {
                // For an archive that is being written the reader has had a part of it; the exit code tells.
                eprint!("{why}");
                REFUSED
            }
        }
    }
}

//! What becomes of the disks when the host's file system has no room for their image.
//!
//! The image is sparse. When a page of btrfs's own trees cannot be written, the kernel ends the transaction that it was of and takes
//! nothing more until the image is mounted anew: all disks are then as at the last transaction, which is half a minute old at most.
//! A jailer that sees this ends as soon as there is room; the next one mounts the image, and sandboxes are stopped with their files,
//! as after any restart (decision 62).

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use super::{Jailer, JailerError, Role, Timer};
use crate::{
    proto::{Op, Refusal},
    say::say,
    sys,
};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// With less than this left, what sandboxes have written is written down at each look instead of twice a minute.
const LITTLE_BYTES: u64 = 512 << 20;

/// With less than this left, nothing is written down before its time, since that could be what has no room; and disks that take
/// nothing are not mounted anew.
const ALMOST_NOTHING_BYTES: u64 = 64 << 20;

/// What is known of the room.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The child that writes down.
    writing: Option<i32>,
    /// There is little, and it was said.
    is_little: bool,
    /// The disks take nothing, and it was said.
    is_lost: bool,
}

impl Jailer {
    pub(super) fn look_at_room(&mut self) -> Result<(), JailerError> {
        self.at(Instant::now() + EVERY, Timer::LookAtRoom);
        let Some(free) = free_bytes(&self.host.home) else { return Ok(()) };
        if self.disks.take_nothing() {
            if !self.room.is_lost {
                self.room.is_lost = true;
                let home = self.host.home.display();
                say(
                    "jailer",
                    &format!(
                        "the file system of {home} had no room for what sandboxes wrote: their disks take nothing until there are {} MiB",
                        ALMOST_NOTHING_BYTES >> 20
                    ),
                );
            }
            return if free < ALMOST_NOTHING_BYTES { Ok(()) } else { Err(JailerError::DisksLost) };
        }
        if free >= LITTLE_BYTES {
            self.room.is_little = false;
        } else if free >= ALMOST_NOTHING_BYTES && self.room.writing.is_none() {
            self.write_down();
        }
        Ok(())
    }

    /// Has a child do it, for it may take as long as the host's disk does.
    fn write_down(&mut self) {
        let root = self.disks.root().to_owned();
        match sys::fork() {
            Ok(sys::Forked::Child) => {
                // It holds nothing of the jailer's: an end of a pipe in it would keep some execution's output from ending.
                let written = sys::die_with_parent()
                    .and_then(|()| sys::close_from(3))
                    .and_then(|()| Ok(rustix::fs::syncfs(File::open(root)?)?));
                sys::exit_now(i32::from(written.is_err()))
            }
            Ok(sys::Forked::Parent(pid)) => {
                self.roles.insert(pid, Role::Writer);
                self.room.writing = Some(pid);
            }
            Err(e) => say("jailer", &format!("what sandboxes wrote is not written down before its time: {e}")),
        }
    }

    pub(super) fn on_writer_death(&mut self, ended: sys::Ended) {
        self.room.writing = None;
        if ended.code == Some(0) && !self.room.is_little {
            self.room.is_little = true;
            let (home, mib) = (self.host.home.display(), LITTLE_BYTES >> 20);
            say(
                "jailer",
                &format!("less than {mib} MiB are left in {home}: what sandboxes write is written down every second"),
            );
        }
    }

    /// Whether an operation may begin: nothing new is given a disk that takes nothing.
    pub(super) fn has_disks_for(&self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::BuildShell(_) | Op::Park { .. } | Op::Spawn { .. } | Op::CreateDisk { .. } | Op::CopyDisk { .. }
                if self.disks.take_nothing() =>
            {
                Err(Refusal::DisksLost)
            }
            _ => Ok(()),
        }
    }
}

fn free_bytes(home: &Path) -> Option<u64> {
    let host = rustix::fs::statvfs(home).ok()?;
    Some(host.f_bavail.saturating_mul(host.f_frsize))
}

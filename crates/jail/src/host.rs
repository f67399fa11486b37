//! What the jailer knows of its host and installation, fixed when it starts.

use std::{os::fd::OwnedFd, path::PathBuf};

use ringfence_model::LayerDigest;

use crate::{
    capture::Gate,
    cgroup::Cgroups,
    proto::{DiskId, ZygoteNo},
    sys::Filter,
};

/// Length of one sandbox's uid range: what a Debian system expects of its ids (nobody is 65534).
pub const UIDS_PER_SLOT: u32 = 65_536;

/// Most sandboxes of one installation.
pub const SLOTS: u32 = 4_094;

/// Uids of one installation: a block for the roles and zygotes, one for build steps, then the slots.
pub const UIDS_PER_INSTALLATION: u32 = UIDS_PER_SLOT * (SLOTS + 2);

/// First uid that any installation may use: far above what hosts give to people and to other container engines.
pub const UID_FLOOR: u32 = 0x2000_0000;

/// How many installations fit above [`UID_FLOOR`].
pub const INSTALLATIONS: u32 = (u32::MAX - UID_FLOOR) / UIDS_PER_INSTALLATION;

/// The program's user inside a sandbox.
pub const PROGRAM_UID: u32 = 1000;

/// Guest init's user inside a sandbox.
pub const INIT_UID: u32 = 999;

/// Where the unprivileged parts of this installation live in the host's uid space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uids {
    base: u32,
}

impl Uids {
    /// The block with that number, below [`INSTALLATIONS`].
    #[must_use]
    pub fn of_block(block: u32) -> Self {
        assert!(block < INSTALLATIONS, "blocks are numbered below {INSTALLATIONS}");
        Self { base: UID_FLOOR + block * UIDS_PER_INSTALLATION }
    }

    /// `serve`.
    #[must_use]
    pub fn serve(self) -> u32 {
        self.base + 1
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(self) -> u32 {
        self.base + 2
    }

    /// The simulated exchange.
    #[must_use]
    pub fn venue(self) -> u32 {
        self.base + 3
    }

    /// A zygote.
    #[must_use]
    pub fn zygote(self, number: ZygoteNo) -> u32 {
        self.base + 1000 + u32::from(number.0)
    }

    /// First uid of the range that build steps run in.
    #[must_use]
    pub fn build(self) -> u32 {
        self.base + UIDS_PER_SLOT
    }

    /// First uid of a slot's range.
    #[must_use]
    pub fn slot(self, slot: u32) -> u32 {
        assert!(slot < SLOTS, "slots are checked when a plan arrives");
        self.base + (slot + 2) * UIDS_PER_SLOT
    }
}

/// Everything that plans are carried out with.
#[derive(Debug)]
pub struct Host {
    /// State directory.
    pub home: PathBuf,
    /// Id of the installation: 8 hexadecimal digits.
    pub installation: String,
    /// Uid ranges.
    pub uids: Uids,
    /// Cgroups.
    pub cgroups: Cgroups,
    /// Guest init, a sealed memfd.
    pub guest_init: OwnedFd,
    /// The last filter, a sealed memfd that zygotes map.
    pub last_filter_fd: OwnedFd,
    /// The last filter.
    pub last_filter: Vec<Filter>,
    /// The zygotes' first filter.
    pub zygote_filter: Vec<Filter>,
    /// The layer with the Python harness.
    pub harness: LayerDigest,
    /// Whether sandboxes' connections have somewhere to go.
    pub gate: Gate,
}

impl Host {
    /// Where layers are.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.home.join("layers")
    }

    /// A disk's directory.
    #[must_use]
    pub fn disk(&self, disk: DiskId) -> PathBuf {
        self.home.join("disks").join(format!("d-{}", disk.0))
    }

    /// Where the jailer's private mounts are attached (never visible outside its mount namespace).
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.home.join("run").join("mnt")
    }

    /// Synthetic procfs files for a sandbox of that size.
    #[must_use]
    pub fn synthetic(&self, memory_mib: u32, cpus: u32) -> PathBuf {
        self.home.join("run").join("proc").join(format!("{memory_mib}-{cpus}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap() {
        for block in [0, 1, INSTALLATIONS - 1] {
            let uids = Uids::of_block(block);
            let mut ranges = vec![
                (uids.serve(), uids.serve() + 1),
                (uids.gateway(), uids.gateway() + 1),
                (uids.venue(), uids.venue() + 1),
                (uids.build(), uids.build() + UIDS_PER_SLOT),
            ];
            ranges.extend([0, u16::MAX / 2].map(|n| (uids.zygote(ZygoteNo(n)), uids.zygote(ZygoteNo(n)) + 1)));
            ranges.extend([0, 1, SLOTS - 1].map(|s| (uids.slot(s), uids.slot(s) + UIDS_PER_SLOT)));
            ranges.sort_unstable();
            assert!(ranges.windows(2).all(|w| w[0].1 <= w[1].0), "{ranges:?}");
        }
        let next = Uids::of_block(1).base;
        assert!(Uids::of_block(0).slot(SLOTS - 1) + UIDS_PER_SLOT <= next);
    }
}

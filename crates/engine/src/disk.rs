//! What is on a disk, as its owner is told.

use std::sync::atomic::Ordering;

use ringfence_jail::proto::{DiskId, Exited};
use ringfence_model::api::Resources;

use crate::{engine::Engine, error::Failure, sandbox::Sandbox};

/// Of a disk's limit, the part that is as good as nothing: files need room for their names, too.
const NEARLY_FULL_PART: u64 = 32;

/// What the kernel may reserve for a single write: with less left, that write is refused though there is room.
const WRITE_BYTES: u64 = 2 << 20;

/// More than the directories take that a root file system makes when it is mounted.
const START_BYTES: u64 = 4 << 20;

/// A program that ended well within this has not filled a disk: that takes longer.
const FILLING_US_MIN: u64 = 5000;

/// What the owner of a full, or nearly full, disk is told.
#[must_use]
fn warning(bytes: u64, limit_bytes: u64) -> Option<String> {
    let left = limit_bytes.saturating_sub(bytes);
    if limit_bytes == 0 || left > WRITE_BYTES.max(limit_bytes / NEARLY_FULL_PART).min(limit_bytes / 4) {
        return None;
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let how = if left > WRITE_BYTES { "nearly full" } else { "full" };
    Some(format!(
        "the disk is {how}: {:.1} of {:.1} MiB are used, and programs get EDQUOT (Disk quota exceeded) where they write; \
         delete files in the sandbox, or make one with a larger `limits.disk_mb`",
        mib(bytes),
        mib(limit_bytes)
    ))
}

/// What is to be said of a disk: of bytes on it, and of its limit.
#[must_use]
pub(crate) fn warnings(used: Option<(u64, u64)>) -> Vec<String> {
    used.and_then(|(bytes, limit_bytes)| warning(bytes, limit_bytes)).into_iter().collect()
}

impl Engine {
    /// Bytes on a disk and its limit as its owner counts them: what it shares with the disk that it was copied from is in both, and
    /// the kernel counts it in neither.
    pub(crate) async fn disk_use(&self, disk: DiskId, inherited_bytes: u64) -> Option<(u64, u64)> {
        let (bytes, limit_bytes) = self.inner.machine.disk_usage(disk).await.ok()?;
        Some((bytes.saturating_add(inherited_bytes), limit_bytes.saturating_add(inherited_bytes)))
    }

    /// Lets something start on a sandbox's disk. Its root file system makes directories there when it is mounted, and on a full disk
    /// would be one that nobody can write to, so that nothing could be deleted either.
    ///
    /// # Errors
    /// Those of the start; there is no disk.
    pub(crate) async fn with_room_to_start<T>(
        &self,
        sandbox: &Sandbox,
        start: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let (machine, disk) = (&self.inner.machine, sandbox.disk);
        let (bytes, limit_bytes) = machine.disk_usage(disk).await?;
        if bytes.saturating_add(START_BYTES) <= limit_bytes {
            return start.await;
        }
        machine.limit_disk(disk, bytes.saturating_add(START_BYTES)).await?;
        let started = start.await;
        let own = (u64::from(sandbox.limits.disk_mib) << 20).saturating_sub(sandbox.inherited_bytes);
        if let Err(error) = machine.limit_disk(disk, own).await {
            tracing::warn!(%error, sandbox = %sandbox.id, "the disk's limit is {START_BYTES} bytes too large until the next start");
        }
        started
    }

    /// What a sandbox uses that does not run: nothing but its disk.
    pub(crate) async fn disk_resources(&self, sandbox: &Sandbox) -> Resources {
        match self.disk_use(sandbox.disk, sandbox.inherited_bytes).await {
            Some((disk_bytes, disk_limit_bytes)) => Resources {
                disk_bytes,
                disk_shared_bytes: sandbox.inherited_bytes,
                disk_limit_bytes,
                ..Resources::default()
            },
            None => Resources::default(),
        }
    }

    /// What the owner of a disk is told that was full when an execution ended. The jailer is asked only where that can be: an
    /// answer does not wait for it otherwise.
    pub(crate) async fn full_disk(&self, sandbox: &Sandbox, exited: &Exited) -> Option<String> {
        let may_be = exited.code != Some(0) || exited.wall_usec >= FILLING_US_MIN;
        if !may_be && !sandbox.was_full.load(Ordering::Relaxed) {
            return None;
        }
        let (bytes, limit_bytes) = self.disk_use(sandbox.disk, sandbox.inherited_bytes).await?;
        let warning = warning(bytes, limit_bytes);
        sandbox.was_full.store(warning.is_some(), Ordering::Relaxed);
        warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_to_be_full() {
        const MIB: u64 = 1 << 20;
        for (bytes, limit, is_full) in [
            (0, 1024 * MIB, false),
            (900 * MIB, 1024 * MIB, false),
            (1000 * MIB, 1024 * MIB, true),
            (1024 * MIB, 1024 * MIB, true),
            (61 * MIB, 64 * MIB, false),
            (62 * MIB, 64 * MIB, true),
            // A disk may be so small that the rest of it is no more than one write.
            (MIB / 2, MIB, false),
            (MIB - 4096, MIB, true),
            (2 * MIB, MIB, true),
            // It is not known.
            (0, 0, false),
        ] {
            assert_eq!(warning(bytes, limit).is_some(), is_full, "{bytes} of {limit}");
        }
        let said = warning(1000 * MIB, 1024 * MIB).expect("it is full");
        assert!(said.contains("1000.0 of 1024.0 MiB") && said.contains("delete files"), "{said}");
    }
}

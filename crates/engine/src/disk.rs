//! What is on a disk, as its owner is told.

use ringfence_jail::proto::DiskId;
use ringfence_model::api::Resources;

use crate::{engine::Engine, sandbox::Sandbox};

impl Engine {
    /// Bytes on a disk and its limit as its owner counts them: what it shares with the disk that it was copied from is in both, and
    /// the kernel counts it in neither.
    pub(crate) async fn disk_use(&self, disk: DiskId, inherited_bytes: u64) -> Option<(u64, u64)> {
        let (bytes, limit_bytes) = self.inner.machine.disk_usage(disk).await.ok()?;
        Some((bytes.saturating_add(inherited_bytes), limit_bytes.saturating_add(inherited_bytes)))
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
}

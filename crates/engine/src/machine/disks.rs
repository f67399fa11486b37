//! Disks, as the jailer makes, copies, limits and deletes them.

use ringfence_jail::proto::{DiskId, Done, Op};

use super::{JailerError, Machine, MachineError};

impl Machine {
    /// Makes an empty disk.
    ///
    /// # Errors
    /// The host's disk is full, or the jailer refused.
    pub(crate) async fn create_disk(&self, disk: DiskId, size_mib: u32) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::CreateDisk { disk, size_mib }).await?)
    }

    /// Makes a disk that shares what another holds now, and answers how many bytes of that are not accounted to it.
    ///
    /// # Errors
    /// The host's disk is full, or the jailer refused.
    pub(crate) async fn copy_disk(&self, from: DiskId, to: DiskId, size_mib: u32) -> Result<u64, MachineError> {
        match self.jailer.call(Op::CopyDisk { from, to, size_mib }).await?.0 {
            Done::DiskCopied { shared_bytes } => Ok(shared_bytes),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Limits what is accounted to a disk.
    ///
    /// # Errors
    /// There is none, or the limit is less than 1 MiB.
    pub(crate) async fn limit_disk(&self, disk: DiskId, bytes: u64) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::LimitDisk { disk, bytes }).await?)
    }

    /// Gives a disk's bytes back.
    ///
    /// # Errors
    /// A shell still uses it.
    pub(crate) async fn delete_disk(&self, disk: DiskId) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::DeleteDisk(disk)).await?)
    }

    /// Every disk that exists.
    ///
    /// # Errors
    /// The jailer is gone.
    pub(crate) async fn disks(&self) -> Result<Vec<DiskId>, MachineError> {
        match self.jailer.call(Op::ListDisks).await?.0 {
            Done::Disks(disks) => Ok(disks),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Bytes that are accounted to a disk, and the limit on these.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn disk_usage(&self, disk: DiskId) -> Result<(u64, u64), MachineError> {
        match self.jailer.call(Op::DiskUsage(disk)).await?.0 {
            Done::DiskUsage { bytes, limit_bytes } => Ok((bytes, limit_bytes)),
            _ => Err(JailerError::Confused.into()),
        }
    }
}

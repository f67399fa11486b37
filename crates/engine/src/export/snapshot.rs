//! The disk of a sandbox at one moment: its processes stand still while it is copied.

use std::{sync::Arc, time::Duration};

use ringfence_jail::proto::{DiskId, ShellId};
use ringfence_model::{ApiError, Code};
use ringfence_store::SandboxStatus;

use crate::{engine::Engine, error::Failure, lookup::not_running, sandbox::Sandbox};

/// How long processes may take to stand still: each first comes out of its system call.
const STILL_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked whether they do.
const STILL_POLL: Duration = Duration::from_millis(2);

impl Engine {
    /// A disk of its own with what a sandbox's disk holds now, whether or not it runs, and how many bytes of that were written on other
    /// disks. One that was paused stays paused.
    ///
    /// # Errors
    /// It is in no such state, packages are being installed in it, or its processes cannot be held.
    pub(super) async fn copy_disk_of(
        &self,
        sandbox: &Arc<Sandbox>,
        only: Option<SandboxStatus>,
    ) -> Result<(DiskId, u64), Failure> {
        let (machine, store) = (&self.inner.machine, &self.inner.store);
        // As for a pause: nothing begins, is paused, resumed or ended meanwhile.
        let _gate = sandbox.gate.write().await;
        let state = sandbox.state.lock().await;
        let fits = matches!(state.status, SandboxStatus::Running | SandboxStatus::Paused | SandboxStatus::Stopped);
        if !fits || only.is_some_and(|only| only != state.status) {
            return Err(not_running(&sandbox.id, state.status).into());
        }
        // A program of theirs that begins later waits at the gate.
        if sandbox.is_installing() {
            let text = format!(
                "packages are being installed in sandbox {}, and half of them would be copied: wait until that has ended, and call again",
                sandbox.id
            );
            return Err(ApiError::new(Code::TemplateBuilding, text).into());
        }
        let size_mib = sandbox.limits.disk_mib;
        let number = store.write(move |tx| tx.insert_disk(None, size_mib)).await?;
        let disk = DiskId(number);
        let copied = match (state.status, &state.shell) {
            (SandboxStatus::Running, Some(shell)) => self.copy_held(sandbox, shell.id, disk).await,
            _ => self.copy_still(sandbox, disk).await,
        };
        match copied {
            Ok(shared_bytes) => Ok((disk, sandbox.inherited_bytes.saturating_add(shared_bytes))),
            Err(error) => {
                crate::shelf::discard_disk(machine, store, disk).await;
                Err(error)
            }
        }
    }

    /// Copies the disk of a sandbox that runs, and lets it run on, whatever comes of it.
    async fn copy_held(&self, sandbox: &Sandbox, shell: ShellId, to: DiskId) -> Result<u64, Failure> {
        let machine = &self.inner.machine;
        let copied = match machine.freeze(shell, true).await {
            Ok(()) => self.copy_still(sandbox, to).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = machine.freeze(shell, false).await {
            tracing::error!(%error, sandbox = %sandbox.id, "a sandbox could not be thawed");
            return Err(error.into());
        }
        copied
    }

    /// Copies the disk as soon as nobody writes to it.
    async fn copy_still(&self, sandbox: &Sandbox, to: DiskId) -> Result<u64, Failure> {
        let asked = tokio::time::Instant::now();
        loop {
            match self.inner.machine.copy_disk(sandbox.disk, to, sandbox.limits.disk_mib).await {
                Err(error) if error.is_not_yet() => {}
                copied => return Ok(copied?),
            }
            if asked.elapsed() > STILL_PATIENCE {
                let text = format!(
                    "the processes of sandbox {} do not stand still to be copied; try again, or stop it first",
                    sandbox.id
                );
                return Err(ApiError::new(Code::InsufficientResources, text).into());
            }
            tokio::time::sleep(STILL_POLL).await;
        }
    }
}

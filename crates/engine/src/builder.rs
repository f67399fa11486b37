//! Build steps on this node: [`BuildHost`] over the jailer.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ringfence_jail::proto::{BuildPlan, Done, Op};
use ringfence_model::LayerDigest;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tokio::net::unix::pipe;

use crate::{
    jailer::JailerError,
    machine::{Machine, MachineError},
    template::{BuildHost, StepStream},
};

/// Bytes as a file in memory that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create("input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

/// This node's jailer as a host of builds.
#[derive(Debug)]
pub(crate) struct Builder {
    machine: Arc<Machine>,
    next_step: AtomicU32,
}

impl Builder {
    /// One for all builds of this run: step numbers are never used twice.
    pub(crate) fn new(machine: Arc<Machine>) -> Self {
        Self { machine, next_step: AtomicU32::new(1) }
    }
}

impl BuildHost for Builder {
    type Error = MachineError;

    fn next_step(&self) -> u32 {
        self.next_step.fetch_add(1, Ordering::Relaxed)
    }

    async fn step(&self, plan: BuildPlan, input: &[u8]) -> Result<StepStream, MachineError> {
        let jailer = self.machine.jailer();
        let given = if plan.input { vec![sealed(input).map_err(MachineError::Descriptor)?] } else { Vec::new() };
        let end = jailer.on_step_end(plan.step);
        let (done, fds) = jailer.call_with(Op::BuildStep(plan), &given).await?;
        match (done, fds.into_iter().next()) {
            (Done::StepStarted, Some(output)) => {
                let output = pipe::Receiver::from_owned_fd(output).map_err(MachineError::Descriptor)?;
                Ok(StepStream { output, end })
            }
            _ => Err(JailerError::Confused.into()),
        }
    }

    async fn seal(&self, tree: String) -> Result<(LayerDigest, u64, u64), MachineError> {
        match self.machine.jailer().call(Op::SealLayer { tree }).await?.0 {
            Done::LayerSealed { digest, bytes, files } => Ok((digest, bytes, files)),
            _ => Err(JailerError::Confused.into()),
        }
    }

    async fn drop_tree(&self, tree: String) -> Result<(), MachineError> {
        Ok(self.machine.jailer().done(Op::DropTree(tree)).await?)
    }
}

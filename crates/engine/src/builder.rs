//! Build steps on this node: [`BuildHost`] over the jailer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use ringfence_jail::proto::{BuildPlan, Done, Op};
use ringfence_model::LayerDigest;
use tokio::net::unix::pipe;

use crate::{
    jailer::JailerError,
    machine::{Machine, MachineError},
    template::{BuildHost, StepStream},
};

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

    async fn step(&self, plan: BuildPlan) -> Result<StepStream, MachineError> {
        let jailer = self.machine.jailer();
        let end = jailer.on_step_end(plan.step);
        let (done, fds) = jailer.call(Op::BuildStep(plan)).await?;
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

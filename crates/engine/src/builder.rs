//! Build steps on this node: [`BuildHost`] over the jailer.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ringfence_jail::proto::{BuildPlan, Done, LayerPlan, LayerWork, Op};
use ringfence_model::LayerDigest;
use tokio::net::unix::pipe;

use crate::{
    jailer::{JailerError, StepEnd},
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

impl Builder {
    /// As [`BuildHost::seal`]; `is_home` for a tree with a home alone, which hides those of the layers below.
    pub(crate) async fn seal_as(&self, tree: String, is_home: bool) -> Result<(LayerDigest, u64, u64), MachineError> {
        match self.machine.jailer().call(Op::SealLayer { tree, is_home }).await?.0 {
            Done::LayerSealed { digest, bytes, files } => Ok((digest, bytes, files)),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Starts work on layers, with what it reads.
    pub(crate) async fn layers(
        &self,
        work: LayerWork,
        input: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<StepStream, MachineError> {
        let step = self.next_step();
        let jailer = self.machine.jailer();
        let end = jailer.on_step_end(step);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let op = Op::LayerStep(LayerPlan { step, work, timeout_ms });
        let fds: Vec<BorrowedFd<'_>> = input.into_iter().collect();
        started(jailer.call_with(op, &fds).await?, end)
    }
}

fn started(
    (done, fds): (Done, Vec<OwnedFd>),
    end: tokio::sync::oneshot::Receiver<StepEnd>,
) -> Result<StepStream, MachineError> {
    match (done, fds.into_iter().next()) {
        (Done::StepStarted, Some(output)) => {
            let output = pipe::Receiver::from_owned_fd(output).map_err(MachineError::Descriptor)?;
            Ok(StepStream { output, end })
        }
        _ => Err(JailerError::Confused.into()),
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
        started(jailer.call(Op::BuildStep(plan)).await?, end)
    }

    async fn seal(&self, tree: String) -> Result<(LayerDigest, u64, u64), MachineError> {
        self.seal_as(tree, false).await
    }

    async fn drop_tree(&self, tree: String) -> Result<(), MachineError> {
        Ok(self.machine.jailer().done(Op::DropTree(tree)).await?)
    }
}

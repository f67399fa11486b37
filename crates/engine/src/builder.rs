//! Build steps on this node: [`BuildHost`] over the jailer.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Seek, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ringfence_jail::proto::{BuildPlan, Done, LayerPlan, LayerWork, Op};
use ringfence_model::LayerDigest;
use ringfence_store::{StageRow, Store, StoreError};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tokio::{net::unix::pipe, sync::OwnedMutexGuard};

use crate::{
    engine::now_ms,
    jailer::{JailerError, StepEnd},
    machine::{Machine, MachineError},
    template::{BuildHost, Kept, Stage, StepStream},
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

/// This node's jailer and store as a host of builds.
#[derive(Debug)]
pub(crate) struct Builder {
    machine: Arc<Machine>,
    store: Store,
    next_step: AtomicU32,
    /// In the names of trees: those of an earlier run are left-overs.
    run: String,
    /// One for each stage that is being built.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Why a build cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuilderError {
    /// The jailer said no.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The database did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<JailerError> for BuilderError {
    fn from(error: JailerError) -> Self {
        MachineError::from(error).into()
    }
}

impl Builder {
    /// One for all builds of this run: step numbers are never used twice.
    pub(crate) fn new(machine: Arc<Machine>, store: Store) -> Self {
        let run = hex::encode(rand::random::<[u8; 4]>());
        Self { machine, store, next_step: AtomicU32::new(1), run, turns: Mutex::default() }
    }

    /// Whether a tree is one of a build of this run.
    pub(crate) fn is_ours(&self, tree: &str) -> bool {
        tree.strip_prefix("s-").is_some_and(|rest| rest.starts_with(&self.run))
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
        (Done::StepStarted, None) => Err(JailerError::Descriptors.into()),
        _ => Err(JailerError::Confused.into()),
    }
}

impl BuildHost for Builder {
    type Error = BuilderError;

    fn next_step(&self) -> u32 {
        self.next_step.fetch_add(1, Ordering::Relaxed)
    }

    fn tree(&self, key: &str) -> String {
        format!("s-{}-{}", self.run, &key[..16])
    }

    async fn turn(&self, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().expect("nothing panics under this lock");
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    async fn kept(&self, key: &str) -> Result<Option<Kept>, BuilderError> {
        let Some(row) = self.store.stage(key).await? else { return Ok(None) };
        let key = key.to_owned();
        // A template may have been deleted, and its layers with it.
        if let Some(layer) = &row.layer
            && !self.machine.stored().await?.0.contains(layer)
        {
            self.store.write(move |tx| tx.delete_stage(&key)).await?;
            return Ok(None);
        }
        self.store.write(move |tx| tx.touch_stage(&key, now_ms())).await?;
        let packages = serde_json::from_value(row.packages).unwrap_or_default();
        Ok(Some(Kept { layer: row.layer, bytes: row.size_bytes, packages }))
    }

    async fn keep(&self, stage: &Stage, kept: &Kept) -> Result<(), BuilderError> {
        let row = StageRow {
            key: stage.key.clone(),
            title: stage.title.to_owned(),
            layer: kept.layer.clone(),
            size_bytes: kept.bytes,
            packages: serde_json::to_value(&kept.packages).unwrap_or_default(),
            built_at_ms: now_ms(),
            used_at_ms: now_ms(),
        };
        Ok(self.store.write(move |tx| tx.put_stage(&row)).await?)
    }

    async fn step(&self, plan: BuildPlan, input: &[u8]) -> Result<StepStream, BuilderError> {
        let jailer = self.machine.jailer();
        let given = if plan.input { vec![sealed(input).map_err(MachineError::Descriptor)?] } else { Vec::new() };
        let lent: Vec<BorrowedFd<'_>> = given.iter().map(AsFd::as_fd).collect();
        let end = jailer.on_step_end(plan.step);
        Ok(started(jailer.call_with(Op::BuildStep(plan), &lent).await?, end)?)
    }

    async fn work(&self, work: LayerWork, image: Option<BorrowedFd<'_>>) -> Result<StepStream, BuilderError> {
        const TIMEOUT: Duration = Duration::from_secs(3600);
        let input = image.filter(|_| work.has_input());
        Ok(self.layers(work, input, TIMEOUT).await?)
    }

    async fn seal(&self, tree: String) -> Result<(LayerDigest, u64, u64), BuilderError> {
        Ok(self.seal_as(tree, false).await?)
    }

    async fn drop_tree(&self, tree: String) -> Result<(), BuilderError> {
        Ok(self.machine.jailer().done(Op::DropTree(tree)).await?)
    }
}
